/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/control.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "host/http.h"
#include "host/rundir.h"
#include "host/thread.h"
#include "vm/snapshot.h"
#include "vm/snapshot_config.h"

struct control {
	struct machine *machine;
	char *name;
	int fd; /* listens */
	pthread_t starter;
	struct http_server *server; /* its result; NULL: failed */
	bool paused; /* by us: machine_pause nests */
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	bool ending;
};

typedef void route_fn(struct control *control, json_t *body, struct http_reply *reply);

/* A request on its way to the loop and back. The last of the two sides frees it. */
struct job {
	struct control *control;
	route_fn *fn;
	json_t *body;
	struct http_reply reply;
	bool done, abandoned; /* under control->mutex */
};

/* --- routes, on the loop's thread --- */

static void get_machine(struct control *c, json_t *body, struct http_reply *reply)
{
	reply->body = json_pack("{s:s, s:i, s:s, s:o}", "name", c->name, "pid", (int)getpid(), "state",
				machine_panicked(c->machine) ? "panicked" : machine_paused(c->machine) ? "paused" : "running", "config", machine_config_json(c->machine));
}

static void get_stats(struct control *c, json_t *body, struct http_reply *reply)
{
	reply->body = machine_stats_json(c->machine);
}

static void post_pause(struct control *c, json_t *body, struct http_reply *reply)
{
	if (!c->paused)
		machine_pause(c->machine);
	c->paused = true;
}

static void post_resume(struct control *c, json_t *body, struct http_reply *reply)
{
	if (c->paused)
		machine_resume(c->machine);
	c->paused = false;
	machine_release(c->machine);
}

static void post_save(struct control *c, json_t *body, struct http_reply *reply)
{
	const char *file;
	bool stop = false;
	struct error err;
	if (json_get_string(body, "file", &file, &err) < 0 || json_get_optional_bool(body, "stop", &stop, &err) < 0) {
		http_reply_error(reply, 400, err.text);
		return;
	}
	if (*file != '/') {
		http_reply_error(reply, 400, "\"file\": an absolute path is wanted here");
		return;
	}
	/* With stop, not one instruction may run after the save. */
	if (stop)
		machine_pause(c->machine);
	if (snapshot_save(c->machine, file, &err) < 0)
		http_reply_error(reply, 500, err.text);
	else if (stop)
		machine_request_stop(c->machine, 0);
	if (stop && reply->status != 200)
		machine_resume(c->machine);
}

static void post_engine(struct control *c, json_t *body, struct http_reply *reply)
{
	const char *name;
	struct error err;
	const struct engine_type *engine = NULL;
	if (json_get_string(body, "engine", &name, &err) < 0)
		http_reply_error(reply, 400, err.text);
	else if (!(engine = engine_by_name(name)))
		http_reply_error(reply, 400, "\"engine\": there is none of that name; jit, interp or kvm");
	else if (machine_set_engine(c->machine, engine, &err) < 0)
		http_reply_error(reply, 500, err.text);
}

static void get_net(struct control *c, json_t *body, struct http_reply *reply)
{
	reply->body = machine_nets_json(c->machine);
}

/* The interface that the request is about: "nic", or the first one with a user network. */
static struct net *find_net(struct control *c, const json_t *body, struct error *err)
{
	const struct machine_config *config = machine_config(c->machine);
	uint64_t index = 0;
	while (index < config->nic_count && config->nics[index].kind != NET_USER)
		index++;
	if (json_object_get(body, "nic") && json_get_uint(body, "nic", 0, MACHINE_MAX_NICS - 1, &index, err) < 0)
		return NULL;
	struct net *net = index < config->nic_count ? machine_net(c->machine, (unsigned)index) : NULL;
	if (!net)
		error_set(err, ENOENT, "the machine has no such network interface; 'visor net' shows those that there are");
	return net;
}

static void change_forward(struct control *c, const json_t *body, struct http_reply *reply,
			   int (*change)(struct net *net, const struct net_forward *forward, struct error *err))
{
	const char *text;
	struct net_forward forward;
	struct error err;
	struct net *net;
	if (json_get_string(body, "forward", &text, &err) < 0 || net_forward_parse(text, &forward, &err) < 0 ||
	    !(net = find_net(c, body, &err)))
		http_reply_error(reply, 400, err.text);
	else if (change(net, &forward, &err) < 0)
		http_reply_error(reply, 409, err.text);
}

static void post_forward(struct control *c, json_t *body, struct http_reply *reply)
{
	change_forward(c, body, reply, net_add_forward);
}

static void post_unforward(struct control *c, json_t *body, struct http_reply *reply)
{
	change_forward(c, body, reply, net_remove_forward);
}

/* A picture can be large: drawn and packed on the loop's thread all the same, since a screen is looked at seldom. */
static void get_screenshot(struct control *c, json_t *body, struct http_reply *reply)
{
	struct display_source source;
	struct surface surface = { 0 };
	struct error err;
	reply->type = "image/png";
	if (machine_display(c->machine, &source, &err) < 0)
		http_reply_error(reply, 404, err.text);
	else if (source.draw(source.opaque, &surface, &err) < 0 || !(reply->data = surface_png(&surface, &reply->size, &err)))
		http_reply_error(reply, 500, err.text);
	surface_destroy(&surface);
}

static void get_screen(struct control *c, json_t *body, struct http_reply *reply)
{
	struct display_source source;
	struct error err;
	if (machine_display(c->machine, &source, &err) < 0) {
		http_reply_error(reply, 404, err.text);
		return;
	}
	char *text = source.text(source.opaque);
	reply->body = json_pack("{s:s?}", "text", text);
	free(text);
}

static void post_media(struct control *c, json_t *body, struct http_reply *reply)
{
	const char *drive, *file = json_string_value(json_object_get(body, "file"));
	bool force = false;
	struct error err;
	if (json_get_string(body, "drive", &drive, &err) < 0 || json_get_optional_bool(body, "force", &force, &err) < 0)
		http_reply_error(reply, 400, err.text);
	else if (file && *file != '/')
		http_reply_error(reply, 400, "\"file\": an absolute path is wanted here");
	else if (machine_change_medium(c->machine, drive, file, force, &err) < 0)
		http_reply_error(reply, err.code == ENOENT ? 404 : 409, err.text);
}

static void post_type(struct control *c, json_t *body, struct http_reply *reply)
{
	const char *text;
	struct error err;
	if (json_get_string(body, "text", &text, &err) < 0 || machine_type_text(c->machine, text, &err) < 0)
		http_reply_error(reply, 400, err.text);
}

static void post_key(struct control *c, json_t *body, struct http_reply *reply)
{
	const char *keys;
	struct error err;
	if (json_get_string(body, "keys", &keys, &err) < 0 || machine_press_keys(c->machine, keys, &err) < 0)
		http_reply_error(reply, 400, err.text);
}

static void post_balloon(struct control *c, json_t *body, struct http_reply *reply)
{
	uint64_t memory;
	struct error err;
	if (json_get_uint(body, "memory", 0, UINT64_MAX >> 1, &memory, &err) < 0)
		http_reply_error(reply, 400, err.text);
	else if (machine_set_balloon(c->machine, memory, &err) < 0)
		http_reply_error(reply, err.code == EINVAL ? 400 : 409, err.text);
}

static void post_stop(struct control *c, json_t *body, struct http_reply *reply)
{
	machine_request_stop(c->machine, 0);
}

static void post_reset(struct control *c, json_t *body, struct http_reply *reply)
{
	machine_request_reset(c->machine);
}

static void post_powerbutton(struct control *c, json_t *body, struct http_reply *reply)
{
	machine_power_button(c->machine);
}

static const struct route {
	const char *method, *path;
	route_fn *fn;
} routes[] = {
	{ "GET", "/machine", get_machine },
	{ "GET", "/stats", get_stats },
	{ "POST", "/pause", post_pause },
	{ "POST", "/resume", post_resume },
	{ "GET", "/net", get_net },
	{ "POST", "/net/forward", post_forward },
	{ "POST", "/net/unforward", post_unforward },
	{ "POST", "/save", post_save },
	{ "POST", "/engine", post_engine },
	{ "GET", "/screenshot", get_screenshot },
	{ "GET", "/screen", get_screen },
	{ "POST", "/media", post_media },
	{ "POST", "/type", post_type },
	{ "POST", "/key", post_key },
	{ "POST", "/balloon", post_balloon },
	{ "POST", "/stop", post_stop },
	{ "POST", "/reset", post_reset },
	{ "POST", "/powerbutton", post_powerbutton },
};

/* --- between the server's threads and the loop --- */

static void free_job(struct job *job)
{
	json_decref(job->body);
	free(job);
}

/* On the loop's thread; also when the loop ends, and then nobody waits any more. */
static void do_job(void *arg)
{
	struct job *job = arg;
	struct control *c = job->control;
	if (job->abandoned) { /* control_destroy came first; the control is gone */
		free_job(job);
		return;
	}
	job->fn(c, job->body, &job->reply);
	pthread_mutex_lock(&c->mutex);
	job->done = true;
	pthread_cond_broadcast(&c->answered);
	pthread_mutex_unlock(&c->mutex);
}

/* On a connection's thread. */
static void run_on_loop(struct control *c, route_fn *fn, json_t *body, struct http_reply *reply)
{
	struct job *job = malloc(sizeof(*job));
	if (!job) {
		http_reply_error(reply, 503, "out of memory");
		return;
	}
	*job = (struct job){ .control = c, .fn = fn, .body = json_incref(body), .reply = *reply };
	pthread_mutex_lock(&c->mutex);
	bool posted = !c->ending;
	if (posted)
		loop_post(machine_loop(c->machine), do_job, job);
	while (posted && !job->done && !c->ending)
		pthread_cond_wait(&c->answered, &c->mutex);
	bool done = job->done;
	if (done)
		*reply = job->reply;
	job->abandoned = posted && !done; /* the loop frees it, at its end */
	if (!job->abandoned)
		free_job(job);
	pthread_mutex_unlock(&c->mutex);
	if (!done)
		http_reply_error(reply, 503, "the machine has ended");
}

static void on_request(void *opaque, const struct http_request *request, struct http_reply *reply)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (strcmp(request->path, routes[i].path))
			continue;
		if (!strcmp(request->method, routes[i].method)) {
			run_on_loop(opaque, routes[i].fn, request->body, reply);
			if (reply->status == 200 && !reply->body && !reply->data)
				reply->body = json_object();
			return;
		}
		http_reply_error(reply, 405, "this path has another method");
		reply->allow = routes[i].method;
		return;
	}
	http_reply_error(reply, 404, "there is no such path");
}

/* Beside the machine's start, which takes no longer than this: who connects meanwhile waits in the socket's queue. */
static void *start_server(void *opaque)
{
	struct control *c = opaque;
	struct error err;
	c->server = http_server_create(c->fd, on_request, c, &err);
	if (!c->server)
		log_error("%s: it runs, but takes no commands: %s", c->name, err.text);
	return NULL;
}

struct control *control_create(struct machine *machine, const char *name, struct error *err)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c || !(c->name = strdup(name))) {
		free(c);
		error_set(err, ENOMEM, "no memory for the control socket");
		return NULL;
	}
	c->machine = machine;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->answered, NULL);
	c->fd = rundir_listen(name, err);
	if (c->fd >= 0 && host_thread_start(&c->starter, "control", start_server, c, err) == 0)
		return c;
	if (c->fd >= 0) {
		rundir_unlink(name);
		close(c->fd);
	}
	free(c->name);
	free(c);
	return NULL;
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	rundir_unlink(c->name);
	pthread_mutex_lock(&c->mutex);
	c->ending = true;
	pthread_cond_broadcast(&c->answered);
	pthread_mutex_unlock(&c->mutex);
	pthread_join(c->starter, NULL);
	http_server_destroy(c->server);
	pthread_cond_destroy(&c->answered);
	pthread_mutex_destroy(&c->mutex);
	free(c->name);
	free(c);
}
