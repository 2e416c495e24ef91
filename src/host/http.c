/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/library.h"
#include "base/util.h"

#define SYMBOLS(S)                                                                                             \
	S(MHD_add_response_header) S(MHD_create_response_from_buffer) S(MHD_destroy_response)                  \
	S(MHD_get_daemon_info) S(MHD_queue_response) S(MHD_quiesce_daemon) S(MHD_start_daemon) S(MHD_stop_daemon)
LIBRARY(mhd, "libmicrohttpd.so.12", "libmicrohttpd12", SYMBOLS);

#define CONNECTION_MEMORY 16384u
/* Thread-local variables are a part of it, and jansson takes 2,048 levels of nesting. */
#define STACK_SIZE ((size_t)1 << 20)

struct http_server {
	struct MHD_Daemon *daemon;
	void (*handler)(void *opaque, const struct http_request *, struct http_reply *);
	void *opaque;
};

/* What has come of a request's body. */
struct upload {
	size_t size;
	bool too_large;
	char data[HTTP_MAX_BODY];
};

void http_reply_error(struct http_reply *reply, unsigned status, const char *text)
{
	json_decref(reply->body);
	reply->status = status;
	reply->body = json_pack("{s:s}", "error", text);
}

/* The answer's JSON as text in `data`. */
static void make_text(struct http_reply *reply)
{
	if (!reply->body)
		reply->body = json_object();
	reply->data = reply->body ? json_dumps(reply->body, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
	reply->size = reply->data ? strlen(reply->data) : 0;
	reply->type = "application/json";
	json_decref(reply->body);
	reply->body = NULL;
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct http_reply *reply)
{
	if (!reply->data)
		make_text(reply);
	struct MHD_Response *response =
		reply->data ? mhd.MHD_create_response_from_buffer(reply->size, reply->data, MHD_RESPMEM_MUST_FREE) : NULL;
	if (!response) {
		free(reply->data);
		return MHD_NO;
	}
	mhd.MHD_add_response_header(response, "Content-Type", reply->type);
	mhd.MHD_add_response_header(response, "Connection", "close");
	if (reply->allow)
		mhd.MHD_add_response_header(response, "Allow", reply->allow);
	enum MHD_Result result = mhd.MHD_queue_response(connection, reply->status, response);
	mhd.MHD_destroy_response(response);
	return result;
}

static void answer(struct http_server *server, const char *method, const char *path, const struct upload *upload,
		   struct http_reply *reply)
{
	struct error err;
	struct http_request request = { method, path, NULL };
	if (upload->too_large) {
		http_reply_error(reply, 413, "the request is too large");
		return;
	}
	if (upload->size && !(request.body = json_parse(upload->data, upload->size, &err))) {
		http_reply_error(reply, 400, err.text);
		return;
	}
	server->handler(server->opaque, &request, reply);
	json_decref(request.body);
}

/* Called first with the headers, then with each piece of the body, at last with size 0. */
static enum MHD_Result on_request(void *opaque, struct MHD_Connection *connection, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **context)
{
	struct upload *upload = *context;
	if (!upload) {
		*context = upload = malloc(sizeof(*upload));
		if (!upload)
			return MHD_NO;
		upload->size = 0;
		upload->too_large = false;
		return MHD_YES;
	}
	if (*size) {
		if (*size > sizeof(upload->data) - upload->size)
			upload->too_large = true;
		else if (!upload->too_large)
			memcpy(upload->data + upload->size, data, *size);
		upload->size += upload->too_large ? 0 : *size;
		*size = 0;
		return MHD_YES;
	}
	struct http_reply reply = { .status = 200 };
	answer(opaque, method, path, upload, &reply);
	return send_reply(connection, &reply);
}

static void on_completed(void *opaque, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why)
{
	free(*context);
	*context = NULL;
}

static void no_log(void *opaque, const char *format, va_list args)
{
}

struct http_server *http_server_create(int listen_fd, void (*handler)(void *opaque, const struct http_request *, struct http_reply *),
				       void *opaque, struct error *err)
{
	struct http_server *server = malloc(sizeof(*server));
	if (!server)
		error_set(err, ENOMEM, "no memory for the control socket");
	if (!server || library_load(&mhd_library, err) < 0) {
		close(listen_fd);
		free(server);
		return NULL;
	}
	*server = (struct http_server){ .handler = handler, .opaque = opaque };
	/* Its threads get no signals. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	server->daemon = mhd.MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, on_request,
		server, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		HTTP_MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, HTTP_TIMEOUT_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_THREAD_STACK_SIZE,
		STACK_SIZE, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (server->daemon)
		return server;
	close(listen_fd);
	free(server);
	error_set(err, EIO, "cannot serve the control socket: libmicrohttpd does not start");
	return NULL;
}

void http_server_destroy(struct http_server *server)
{
	if (!server)
		return;
	MHD_socket fd = mhd.MHD_quiesce_daemon(server->daemon);
	for (unsigned i = 0; i < 100; i++) {
		const union MHD_DaemonInfo *info = mhd.MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
		if (!info || !info->num_connections)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	mhd.MHD_stop_daemon(server->daemon);
	if (fd >= 0)
		close(fd);
	free(server);
}
