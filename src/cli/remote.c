/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that speak to a running machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "host/rundir.h"

static const struct option no_options[] = { OPTION_END };

static int fail(const struct error *err)
{
	log_error("%s", err->text);
	return STATUS_FAILURE;
}

/* A request whose answer says nothing but that it was done. */
static int post(const char *machine, const char *path, json_t *body)
{
	struct error err;
	json_t *answer = client_request(machine, "POST", path, body, &err);
	if (!answer)
		return fail(&err);
	json_decref(answer);
	return STATUS_OK;
}

static void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* --- list --- */

struct list_values {
	bool json;
};

static void add_machine(void *opaque, const char *name)
{
	json_t *answer = client_request(name, "GET", "/machine", NULL, NULL);
	if (answer) /* else it has ended meanwhile */
		json_array_append_new(opaque, answer);
}

static void print_machine(const json_t *m)
{
	const json_t *config = json_object_get(m, "config");
	printf("%-24s %8lld %-8s %4lld %6lldM\n", json_string_value(json_object_get(m, "name")),
	       (long long)json_integer_value(json_object_get(m, "pid")), json_string_value(json_object_get(m, "state")),
	       (long long)json_integer_value(json_object_get(config, "cpus")),
	       (long long)json_integer_value(json_object_get(config, "memory")) >> 20);
}

static int list_run(const void *values, const struct operands *operands)
{
	const struct list_values *v = values;
	struct error err;
	json_t *machines = json_array(), *m;
	size_t i;
	if (rundir_each(add_machine, machines, &err) < 0) {
		json_decref(machines);
		return fail(&err);
	}
	if (v->json)
		print_json(machines);
	else
		printf("%-24s %8s %-8s %4s %7s\n", "NAME", "PID", "STATE", "CPUS", "MEMORY");
	json_array_foreach(machines, i, m)
		if (!v->json)
			print_machine(m);
	json_decref(machines);
	return STATUS_OK;
}

static const struct option list_options[] = {
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct list_values, json),
	  .help = "print an array of objects with name, pid, state and config" },
	OPTION_END
};

const struct command command_list = {
	.name = "list",
	.summary = "list the running machines",
	.options = list_options,
	.values_size = sizeof(struct list_values),
	.run = list_run,
};

/* --- stats, pause, resume, reset --- */

static int stats_run(const void *values, const struct operands *operands)
{
	struct error err;
	json_t *stats = client_request(operands->values[0], "GET", "/stats", NULL, &err);
	if (!stats)
		return fail(&err);
	print_json(stats);
	json_decref(stats);
	return STATUS_OK;
}

static int pause_run(const void *values, const struct operands *operands)
{
	return post(operands->values[0], "/pause", NULL);
}

static int resume_run(const void *values, const struct operands *operands)
{
	return post(operands->values[0], "/resume", NULL);
}

static int reset_run(const void *values, const struct operands *operands)
{
	return post(operands->values[0], "/reset", NULL);
}

#define NAME_OPERAND .operands = "NAME", .min_operands = 1, .max_operands = 1, .completion = { COMPLETE_MACHINE }

const struct command command_stats = {
	.name = "stats",
	NAME_OPERAND,
	.summary = "print what a machine has done so far, as JSON",
	.options = no_options,
	.run = stats_run,
};

const struct command command_pause = {
	.name = "pause",
	NAME_OPERAND,
	.summary = "stop a machine's processors and clock",
	.description = "For the guest no time passes until 'visor resume'.",
	.options = no_options,
	.run = pause_run,
};

const struct command command_resume = {
	.name = "resume",
	NAME_OPERAND,
	.summary = "go on with a paused machine",
	.options = no_options,
	.run = resume_run,
};

const struct command command_reset = {
	.name = "reset",
	NAME_OPERAND,
	.summary = "press a machine's reset button",
	.options = no_options,
	.run = reset_run,
};

/* --- save --- */

struct save_values {
	bool stop;
};

static int save_run(const void *values, const struct operands *operands)
{
	const struct save_values *v = values;
	const char *file = operands->values[1];
	char directory[PATH_MAX];
	char *path = NULL;
	struct error err;
	/* The machine's process has a working directory of its own. */
	if (*file == '/')
		path = strdup(file);
	else if (!getcwd(directory, sizeof(directory)) || asprintf(&path, "%s/%s", directory, file) < 0)
		path = NULL;
	json_t *body = path ? json_pack("{s:s, s:b}", "file", path, "stop", v->stop) : NULL;
	free(path);
	if (!body) {
		error_set(&err, EINVAL, "%s: the name cannot be sent; use a short one in UTF-8", file);
		return fail(&err);
	}
	return post(operands->values[0], "/save", body);
}

static const struct option save_options[] = {
	{ .name = "stop", .kind = OPTION_FLAG, .offset = offsetof(struct save_values, stop),
	  .help = "end the machine after the save, before it runs another instruction" },
	OPTION_END
};

const struct command command_save = {
	.name = "save",
	.operands = "NAME FILE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_MACHINE, COMPLETE_FILE },
	.summary = "put a running machine into a file",
	.description =
		"'visor run --restore FILE' goes on with it. Disks are not in the file: keep them as they were at the time of the "
		"save, best by --stop.",
	.options = save_options,
	.values_size = sizeof(struct save_values),
	.run = save_run,
};

/* --- engine --- */

static int engine_run(const void *values, const struct operands *operands)
{
	json_t *body = json_pack("{s:s}", "engine", operands->values[1]);
	struct error err;
	if (!body) {
		error_set(&err, EINVAL, "%s: no engine's name; jit, interp or kvm", operands->values[1]);
		return fail(&err);
	}
	return post(operands->values[0], "/engine", body);
}

const struct command command_engine = {
	.name = "engine",
	.operands = "NAME ENGINE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_MACHINE },
	.summary = "change what runs a machine's instructions: jit, interp or kvm",
	.description = "The guest goes on from the instruction where it was, and does not notice.",
	.options = no_options,
	.run = engine_run,
};

/* --- balloon --- */

static int balloon_run(const void *values, const struct operands *operands)
{
	uint64_t memory;
	struct error err;
	if (options_parse_size(operands->values[1], &memory, &err) < 0) {
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	return post(operands->values[0], "/balloon", json_pack("{s:I}", "memory", (json_int_t)MIN(memory, (uint64_t)INT64_MAX)));
}

const struct command command_balloon = {
	.name = "balloon",
	.operands = "NAME SIZE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_MACHINE },
	.summary = "say how much of its memory a machine's guest shall have",
	.description = "Up to what it was started with, as 256M. The guest gives up the rest, or takes it back, in its own time; 'visor stats' shows how "
		       "far it is, as balloon.memory. It needs Linux's driver virtio_balloon, or another system's.",
	.options = no_options,
	.run = balloon_run,
};

/* --- stop --- */

struct stop_values {
	bool force;
	uint64_t timeout;
};

/* The machine is gone when nobody answers under its name. */
static bool wait_for_end(const char *machine, uint64_t seconds)
{
	for (uint64_t tenths = 0; tenths < seconds * 10; tenths++) {
		struct error err;
		int fd = rundir_connect(machine, &err);
		if (fd < 0)
			return err.code == ENOENT;
		close(fd);
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	return false;
}

static int stop_run(const void *values, const struct operands *operands)
{
	const struct stop_values *v = values;
	const char *machine = operands->values[0];
	int status = post(machine, v->force ? "/stop" : "/powerbutton", NULL);
	if (status != STATUS_OK || wait_for_end(machine, v->timeout))
		return status;
	if (v->force)
		log_error("%s: it has not ended after %llu seconds; kill its process, 'visor list' shows which", machine,
			  (unsigned long long)v->timeout);
	else
		log_error("%s: the guest has not shut down after %llu seconds; 'visor stop --force %s' ends it at once", machine,
			  (unsigned long long)v->timeout, machine);
	return STATUS_FAILURE;
}

static const struct option stop_options[] = {
	{ .name = "force", .kind = OPTION_FLAG, .offset = offsetof(struct stop_values, force),
	  .help = "end it at once, as pulling the plug does" },
	{ .name = "timeout", .kind = OPTION_NUMBER, .offset = offsetof(struct stop_values, timeout), .argument = "SECONDS",
	  .max = INT_MAX, .help = "how long to wait for the end; 60 without it" },
	OPTION_END
};

static const struct stop_values stop_defaults = { .timeout = 60 };

const struct command command_stop = {
	.name = "stop",
	NAME_OPERAND,
	.summary = "shut a machine down",
	.description = "Presses the power button, which asks the guest to shut down, and waits until it has.",
	.options = stop_options,
	.values_size = sizeof(struct stop_values),
	.defaults = &stop_defaults,
	.run = stop_run,
};
