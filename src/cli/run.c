/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor run: a machine in the foreground. Makes the consoles, the machine, its
 * control socket, and takes them apart again in the opposite order.
 */
#include "cli/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "host/channel.h"
#include "host/deadline.h"
#include "host/file.h"
#include "host/signals.h"
#include "host/spool.h"
#include "host/terminal.h"
#include "host/time.h"
#include "vm/control.h"
#include "vm/gdb.h"

struct run;

struct port {
	struct run *run;
	enum machine_port number;
	struct channel *channel;
	struct spool *spool; /* the printer port's, in the channel's stead */
	bool paused; /* its reader falls behind */
};

struct run {
	const struct run_values *values;
	struct snapshot snapshot;
	struct machine *machine;
	struct port ports[MACHINE_PORTS];
	struct control *control;
	struct gdb *gdb;
	struct deadline deadline;
	uint64_t started_ns;
	FILE *trace, *stats;
};

/* --- consoles --- */

static void on_output(void *opaque, const uint8_t *data, size_t size)
{
	struct port *p = opaque;
	if (p->spool)
		spool_write(p->spool, data, size);
	else
		channel_write(p->channel, data, size);
}

static void on_input_ready(void *opaque)
{
	struct port *p = opaque;
	if (p->channel)
		channel_ready(p->channel);
}

static size_t on_input(void *opaque, const uint8_t *data, size_t size)
{
	struct port *p = opaque;
	return machine_console_input(p->run->machine, p->number, data, size);
}

static void on_busy(void *opaque, bool busy)
{
	struct port *p = opaque;
	if (busy == p->paused)
		return;
	p->paused = busy;
	if (busy)
		machine_pause(p->run->machine);
	else
		machine_resume(p->run->machine);
}

static void on_key(void *opaque, char key)
{
	struct port *p = opaque;
	switch (key) {
	case 'q':
	case 'Q':
		machine_request_stop(p->run->machine, STATUS_OK);
		break;
	case 'p':
		machine_power_button(p->run->machine);
		break;
	case 'r':
		machine_request_reset(p->run->machine);
		break;
	default:
		fputs("\r\nCtrl-] then q: quit at once; p: press the power button; r: reset; Ctrl-]: send Ctrl-]; ?: this\r\n", stderr);
	}
}

static const struct channel_ops channel_ops = { .input = on_input, .command = on_key, .busy = on_busy };

/* The channel of a port when it is wanted, or when the saved machine had it. */
static int open_port(struct run *run, enum machine_port number, const char *spec, bool needed, struct machine_config *config,
		     struct error *err)
{
	struct port *p = &run->ports[number];
	p->run = run;
	p->number = number;
	if (!spec && !needed)
		return 0;
	if (number == MACHINE_PARALLEL0 && spec && !strcmp(spec, "spool"))
		p->spool = spool_open(run->values->name, err);
	else
		p->channel = channel_open(spec ? spec : "none", err);
	if (!p->channel && !p->spool)
		return -1;
	config->console[number] = (struct machine_console){ on_output, on_input_ready, p };
	return 0;
}

static int open_ports(struct run *run, struct machine_config *config, const bool has_port[MACHINE_PORTS], struct error *err)
{
	const struct run_values *v = run->values;
	char debugcon[4096];
	if (v->restore && v->virtio_console && !has_port[MACHINE_HVC0])
		return error_set(err, EINVAL, "--virtio-console: the saved machine has none; leave it out");
	if (v->debugcon && snprintf(debugcon, sizeof(debugcon), "file:%s", v->debugcon) >= (int)sizeof(debugcon))
		return error_set(err, ENAMETOOLONG, "--debugcon: the file's name is too long");
	const struct {
		enum machine_port number;
		const char *flag, *spec;
	} ports[] = {
		{ MACHINE_SERIAL0, "console", v->console },
		{ MACHINE_SERIAL1, "serial2", v->serial2 },
		{ MACHINE_PARALLEL0, "parallel", v->parallel },
		{ MACHINE_HVC0, "virtio-console", v->virtio_console },
		{ MACHINE_DEBUGCON, "debugcon", v->debugcon ? debugcon : NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		if (open_port(run, ports[i].number, ports[i].spec, has_port[ports[i].number], config, err) < 0)
			return error_prefix(err, "--%s", ports[i].flag);
	}
	return 0;
}

static int start_ports(struct run *run, struct error *err)
{
	for (unsigned i = 0; i < MACHINE_PORTS; i++) {
		struct port *p = &run->ports[i];
		if (p->channel && channel_start(p->channel, machine_loop(run->machine), &channel_ops, p, err) < 0)
			return -1;
	}
	return 0;
}

static void stop_ports(struct run *run)
{
	for (unsigned i = 0; i < MACHINE_PORTS; i++)
		if (run->ports[i].channel)
			channel_stop(run->ports[i].channel);
}

static int close_ports(struct run *run)
{
	int result = 0;
	struct error err;
	for (unsigned i = 0; i < MACHINE_PORTS; i++) {
		if (channel_close(run->ports[i].channel, &err) < 0 || spool_close(run->ports[i].spool, &err) < 0) {
			log_error("%s", err.text);
			result = -1;
		}
	}
	return result;
}

/* --- events --- */

static void on_event(void *opaque, const struct machine_event *event)
{
	switch (event->kind) {
	case MACHINE_FAILED:
	case MACHINE_SHUTDOWN:
		log_error("%s", event->text);
		break;
	default:
		log_info("%s", event->text);
	}
}

static void on_signal(void *opaque, int signo)
{
	struct run *run = opaque;
	switch (signo) {
	case SIGTSTP:
		terminal_restore();
		kill(getpid(), SIGSTOP);
		break;
	case SIGCONT:
		terminal_resume();
		break;
	default:
		log_info("ended by signal %d (%s)", signo, strsignal(signo));
		machine_request_stop(run->machine, 128 + signo);
	}
}

static void on_time_limit(void *opaque)
{
	struct run *run = opaque;
	log_error("the time limit of %llu seconds is over; the machine was ended", (unsigned long long)run->values->time_limit);
	machine_request_stop(run->machine, STATUS_TIME_LIMIT);
}

/* --- trace and statistics --- */

static int start_trace(struct run *run, struct error *err)
{
	const char *path = run->values->trace;
	if (!path)
		return 0;
	const struct engine_type *engine = machine_config(run->machine)->engine;
	if (!engine->trace)
		return error_set(err, EINVAL, "--trace: the engine '%s' cannot trace; choose --engine interp", engine->name);
	run->trace = fopen(path, "we");
	if (!run->trace)
		return error_set(err, errno, "--trace %s: cannot write it: %s", path, strerror(errno));
	for (unsigned i = 0; i < machine_cpu_count(run->machine); i++)
		engine->trace(machine_cpu(run->machine, i), run->trace);
	return 0;
}

static int stop_trace(struct run *run)
{
	if (!run->trace || fclose(run->trace) == 0)
		return 0;
	log_error("--trace %s: not all of it could be written: %s", run->values->trace, strerror(errno));
	return -1;
}

/* What cannot be written is better known at the start than after hours. */
static int open_stats(struct run *run, struct error *err)
{
	const char *path = run->values->stats;
	if (!path)
		return 0;
	run->stats = *path ? fopen(path, "we") : stderr;
	return run->stats ? 0 : error_set(err, errno, "--stats %s: cannot write it: %s", path, strerror(errno));
}

static int write_stats(struct run *run)
{
	const char *path = run->values->stats;
	if (!run->stats)
		return 0;
	json_t *stats = machine_stats_json(run->machine);
	int result = stats ? json_dumpf(stats, run->stats, JSON_INDENT(2)) : -1;
	if (fputc('\n', run->stats) == EOF)
		result = -1;
	if (run->stats != stderr && fclose(run->stats) != 0)
		result = -1;
	if (result < 0)
		log_error("--stats %s: cannot write it: %s", path, strerror(errno));
	json_decref(stats);
	return result;
}

/* --- screen --- */

static int start_vnc(struct run *run, const char *name, struct error *err)
{
	const struct run_values *v = run->values;
	unsigned port;
	size_t size;
	char title[64];
	if (!v->vnc)
		return 0;
	cleanup_free char *password = NULL;
	if (v->vnc_password) {
		password = (char *)file_read(v->vnc_password, 4096, &size, err);
		if (!password)
			return error_prefix(err, "--vnc-password");
		password[strcspn(password, "\r\n")] = 0;
		if (!*password)
			return error_set(err, EINVAL, "--vnc-password: the first line of '%s' is empty; write the password there", v->vnc_password);
	}
	snprintf(title, sizeof(title), "visor: %s", name);
	if (machine_start_vnc(run->machine, v->vnc, password, title, &port, err) < 0)
		return error_prefix(err, "--vnc");
	log_info("the screen is shown by VNC at port %u", port);
	return 0;
}

/* --- life --- */

static int prepare(struct run *run, struct error *err)
{
	const struct run_values *v = run->values;
	struct machine_config config;
	bool has_port[MACHINE_PORTS] = { false };
	if (open_stats(run, err) < 0 || (v->restore && snapshot_open(&run->snapshot, v->restore, err) < 0))
		return -1;
	if (run_configure(v, &run->snapshot, &config, has_port, err) < 0 || open_ports(run, &config, has_port, err) < 0)
		return -1;
	config.event = on_event;
	config.event_opaque = run;
	config.started_ns = run->started_ns;
	run->machine = machine_create(&config, err);
	if (!run->machine)
		return -1;
	if (v->restore && snapshot_load(&run->snapshot, run->machine, err) < 0)
		return error_prefix(err, "%s", v->restore);
	snapshot_close(&run->snapshot); /* the machine has its own copies */
	return start_trace(run, err);
}

static int serve(struct run *run, struct error *err)
{
	const struct run_values *v = run->values;
	struct loop *loop = machine_loop(run->machine);
	char name[32];
	snprintf(name, sizeof(name), "vm-%ld", (long)getpid());
	run->control = control_create(run->machine, v->name ? v->name : name, err);
	if (!run->control || signals_watch(loop, on_signal, run, err) < 0)
		return -1;
	if (v->time_limit && deadline_start(&run->deadline, loop, v->time_limit, on_time_limit, run, err) < 0)
		return -1;
	if (start_vnc(run, v->name ? v->name : name, err) < 0)
		return -1;
	if (v->gdb && !(run->gdb = gdb_create(run->machine, v->gdb, err)))
		return error_prefix(err, "--gdb");
	if (start_ports(run, err) < 0)
		return -1;
	return machine_run(run->machine, err);
}

/* The opposite of prepare and serve, as far as they came. Output that was lost makes a failure of a success. */
static int finish(struct run *run)
{
	int result = 0;
	control_destroy(run->control);
	deadline_cancel(&run->deadline);
	signals_unwatch();
	if (run->machine) {
		stop_ports(run);
		gdb_destroy(run->gdb);
		result |= write_stats(run);
		machine_destroy(run->machine);
	} else if (run->stats && run->stats != stderr) {
		fclose(run->stats);
	}
	result |= stop_trace(run) | close_ports(run);
	snapshot_close(&run->snapshot);
	return result;
}

static int run_run(const void *values, const struct operands *operands)
{
	struct run_values v = *(const struct run_values *)values;
	struct run run = { .values = &v, .started_ns = host_process_began() };
	const char *image = operands->count ? operands->values[0] : NULL;
	struct error err;
	if (v.verbose)
		log_threshold = LOG_INFO;
	if (run_check_image(&v, image, &err) < 0 || run_check(&v, &err) < 0) {
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	if (image && run_use_image(&v, image, &err) < 0) {
		log_error("%s", err.text);
		return STATUS_FAILURE;
	}
	signals_block();
	int status = prepare(&run, &err);
	if (status == 0)
		status = serve(&run, &err);
	int lost = finish(&run);
	if (status < 0) {
		log_error("%s", err.text);
		return STATUS_FAILURE;
	}
	return status == STATUS_OK && lost ? STATUS_FAILURE : status;
}

const struct command command_run = {
	.name = "run",
	.operands = "[IMAGE]",
	.max_operands = 1,
	.completion = { COMPLETE_IMAGE },
	.summary = "run a virtual machine in the foreground",
	.description =
		"Starts a PC and puts its first serial port on the terminal. Give it a Linux kernel (--kernel), a disk to boot from "
		"(--disk), or both. Ctrl-] then q quits, Ctrl-] then ? shows the other keys. Standard input and output may be pipes or "
		"files; when the input ends, the guest goes on.\n\n"
		"With the name of an image ('visor image list') it starts the machine --name, which is made from that image the first time: with a "
		"disk of its own, which keeps what the guest writes, and a user, SSH key and host name from the flags (by cloud-init). "
		"'visor rm NAME' removes it.\n\n"
		"The status is 0 when the guest powers off.",
	.options = run_options,
	.values_size = sizeof(struct run_values),
	.defaults = &run_defaults,
	.run = run_run,
};
