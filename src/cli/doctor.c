/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor doctor: what visor finds on this host, and what to do about what is missing.
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/util.h"
#include "cli/commands.h"
#include "vm/machine.h"

struct doctor_values {
	bool json;
};

static struct engine_report examine(const struct engine_type *engine)
{
	struct engine_report report = { .works = true, .text = "works on every host" };
	if (engine->examine)
		engine->examine(&report);
	if (engine->describe && report.works)
		engine->describe(&report);
	return report;
}

static json_t *engine_json(const struct engine_type *engine)
{
	const struct engine_report r = examine(engine);
	return json_pack("{s:s, s:b, s:b, s:s, s:s}", "engine", engine->name, "works", r.works, "fast", r.fast, "text", r.text, "details", r.details);
}

static void print_engine(const struct engine_type *engine)
{
	const struct engine_report r = examine(engine);
	printf("engine %s: %s%s\n", engine->name, r.works ? "" : "does not work: ", r.text);
	for (const char *line = r.details; *line;) {
		size_t length = strcspn(line, "\n");
		printf("  %.*s\n", (int)length, line);
		line += length + (line[length] == '\n');
	}
}

static int doctor_run(const void *values, const struct operands *operands)
{
	const struct doctor_values *v = values;
	char why[512];
	const char *chosen = engine_choose(why, sizeof(why))->name;
	if (!v->json) {
		for (unsigned i = 0; engine_list[i]; i++)
			print_engine(engine_list[i]);
		printf("--engine auto: %s; of kvm: %s\n", chosen, why);
		return 0;
	}
	json_t *list = json_array();
	for (unsigned i = 0; engine_list[i]; i++)
		json_array_append_new(list, engine_json(engine_list[i]));
	json_t *json = json_pack("{s:o, s:s, s:s}", "engines", list, "auto", chosen, "why", why);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return 0;
}

#define AT(member) offsetof(struct doctor_values, member)

static const struct option doctor_options[] = {
	{ .name = "json", .kind = OPTION_FLAG, AT(json), .help = "print JSON" },
	OPTION_END
};

const struct command command_doctor = {
	.name = "doctor",
	.operands = "",
	.summary = "say what of this host visor can use, and what to do about the rest",
	.description = "For each engine: whether it works here, and how; for kvm the processor, modules, permissions, capabilities and the measured speed, for jit whether the "
		       "processor itself executes guests' programs. "
		       "The last line is what --engine auto takes.",
	.options = doctor_options,
	.values_size = sizeof(struct doctor_values),
	.run = doctor_run,
};
