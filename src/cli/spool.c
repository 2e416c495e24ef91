/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor spool: what machines have printed, whether they still run or not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "host/file.h"
#include "host/rundir.h"
#include "host/spool.h"

struct spool_values {
	bool json;
};

static int fail(const struct error *err)
{
	log_error("%s", err->text);
	return STATUS_FAILURE;
}

static json_t *job_json(const struct spool_job *job)
{
	return json_pack("{s:I, s:I, s:I, s:s}", "job", (json_int_t)job->number, "size", (json_int_t)job->size, "time", (json_int_t)job->time,
			 "state", job->printing ? "printing" : "done");
}

static void print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

static void print_job(void *opaque, const struct spool_job *job)
{
	char when[32];
	time_t seconds = job->time;
	struct tm tm;
	if (opaque) {
		json_array_append_new(opaque, job_json(job));
		return;
	}
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
	printf("%6u %12llu %-20s %s\n", job->number, (unsigned long long)job->size, when, job->printing ? "printing" : "done");
}

static int list(const char *machine, bool json)
{
	struct error err;
	json_t *jobs = json ? json_array() : NULL;
	if (!json)
		printf("%6s %12s %-20s %s\n", "JOB", "SIZE", "TIME", "STATE");
	if (spool_each(machine, print_job, jobs, &err) < 0) {
		json_decref(jobs);
		return fail(&err);
	}
	if (json)
		print_json(jobs);
	return STATUS_OK;
}

static int show(const char *machine, unsigned number, bool json)
{
	struct error err;
	struct spool_job job;
	uint8_t buffer[16384];
	cleanup_close int fd = spool_read(machine, number, &job, &err);
	if (fd < 0)
		return fail(&err);
	if (json) {
		print_json(job_json(&job));
		return STATUS_OK;
	}
	for (;;) {
		ssize_t n = read(fd, buffer, sizeof(buffer));
		if (n < 0) {
			error_set(&err, errno, "%s: print job %u: %s", machine, number, strerror(errno));
			return fail(&err);
		}
		if (!n)
			return STATUS_OK;
		if (file_write_all(STDOUT_FILENO, buffer, (size_t)n, &err) < 0)
			return fail(&err);
	}
}

struct removal {
	const char *machine;
	json_t *removed;
	struct error err;
	int result;
};

static void remove_job(void *opaque, const struct spool_job *job)
{
	struct removal *removal = opaque;
	if (removal->result == 0)
		removal->result = spool_remove(removal->machine, job->number, &removal->err);
	if (removal->result == 0)
		json_array_append_new(removal->removed, json_integer((json_int_t)job->number));
}

static int rm(const char *machine, const char *which, unsigned number, bool json)
{
	struct removal removal = { .machine = machine, .removed = json_array() };
	const struct spool_job one = { .number = number };
	if (strcmp(which, "all"))
		remove_job(&removal, &one);
	else if (spool_each(machine, remove_job, &removal, &removal.err) < 0)
		removal.result = -1;
	if (json && removal.result == 0)
		print_json(json_pack("{s:O}", "removed", removal.removed));
	json_decref(removal.removed);
	return removal.result < 0 ? fail(&removal.err) : STATUS_OK;
}

static int usage(const char *what)
{
	log_error("%s; write 'visor spool list NAME', 'visor spool show NAME JOB' or 'visor spool rm NAME JOB', all for every job", what);
	return STATUS_USAGE;
}

static int spool_run(const void *values, const struct operands *operands)
{
	const struct spool_values *v = values;
	const char *verb = operands->values[0], *machine = operands->values[1], *job = operands->count > 2 ? operands->values[2] : NULL;
	char *end = NULL;
	errno = 0;
	unsigned long number = job ? strtoul(job, &end, 10) : 0;
	bool is_number = job && *job >= '0' && *job <= '9' && !*end && !errno && number <= UINT32_MAX;
	if (!rundir_name_ok(machine))
		return usage("that is no machine's name");
	if (!strcmp(verb, "list") && !job)
		return list(machine, v->json);
	if (!strcmp(verb, "show") && is_number)
		return show(machine, (unsigned)number, v->json);
	if (!strcmp(verb, "rm") && job && (is_number || !strcmp(job, "all")))
		return rm(machine, job, (unsigned)number, v->json);
	return usage("that is not understood");
}

static const struct option spool_options[] = {
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct spool_values, json),
	  .help = "print objects with job, size, time (seconds since 1970) and state (printing or done); rm: which were removed" },
	OPTION_END
};

const struct command command_spool = {
	.name = "spool",
	.operands = "list|show|rm NAME [JOB]",
	.min_operands = 2,
	.max_operands = 3,
	.completion = { COMPLETE_NOTHING, COMPLETE_MACHINE },
	.summary = "list, print out or remove what a machine has printed",
	.description = "Belongs to 'visor run --parallel spool'. Jobs are kept by the machine's name, also after its end. A job is done when nothing has "
		       "come for 3 seconds. 'show' writes a job as it was printed, in the printer's language, to standard output.",
	.options = spool_options,
	.values_size = sizeof(struct spool_values),
	.run = spool_run,
};
