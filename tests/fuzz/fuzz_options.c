/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli/commands.h"
#include "cli/run.h"
#include "fuzz.h"

/* Command lines: arguments end with a zero byte, the first one is the command. Nothing is carried out. */
#define MAX_ARGUMENTS 64

static void check_text(const struct error *err)
{
	fuzz_require(err->text[0] && memchr(err->text, 0, sizeof(err->text)));
}

static void configure(const struct run_values *v)
{
	bool has_port[MACHINE_PORTS] = { 0 };
	struct machine_config config;
	struct error err = { 0 };
	if (run_check(v, &err) < 0 || (!v->restore && run_configure(v, NULL, &config, has_port, &err) < 0))
		check_text(&err);
	else if (!v->restore)
		fuzz_require(config.memory && config.cpus && config.engine && config.disk_count <= MACHINE_MAX_DISKS);
}

static void parse(char **arguments)
{
	_Alignas(16) char values[COMMANDS_MAX_VALUES];
	struct operands operands;
	struct error err = { 0 };
	const struct command *command = need_command(NULL, *arguments, &err);
	while (command && command->commands) {
		if (!*++arguments)
			return;
		command = need_command(command, *arguments, &err);
	}
	if (!command) {
		check_text(&err);
		command = &command_run;
	}
	fuzz_require(command->values_size <= sizeof(values));
	switch (options_parse(command, arguments + 1, values, &operands, &err)) {
	case OPTIONS_OK:
		fuzz_require(operands.count >= command->min_operands && operands.count <= command->max_operands);
		if (command == &command_run)
			configure((const struct run_values *)(const void *)values);
		break;
	case OPTIONS_HELP:
		break;
	case OPTIONS_ERROR:
		fuzz_require(err.text[0] && memchr(err.text, 0, sizeof(err.text)));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *arguments[MAX_ARGUMENTS + 1];
	unsigned count = 0;
	char *text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = 0;
	for (char *at = text; at < text + size && count < MAX_ARGUMENTS; at += strlen(at) + 1)
		arguments[count++] = at;
	arguments[count] = NULL;
	if (count)
		parse(arguments);
	free(text);
	return 0;
}

#define SEED(name, text) emit(opaque, name, text, sizeof(text) - 1)

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	SEED("run", "run\0--memory\0256M\0--kernel=/vmlinuz\0--initrd\0/initrd\0--append\0console=ttyS0\0--cpus\0""2\0--stats");
	SEED("disks", "run\0--disk\0a,ro\0--disk=b\0--bios\0--console\0file:/tmp/x\0--virtio-console\0none\0--time-limit\0""5");
	SEED("restore", "run\0--restore\0f\0--name\0m1\0--cpu\0x86-64-v3\0--engine\0interp\0--no-reboot\0--gdb\0:1234");
	SEED("save", "save\0vm\0--stop\0--\0--file");
	SEED("stop", "stop\0--force\0--timeout\0""99999999999999999999\0vm");
	SEED("disk", "disk\0create\0--format\0qcow2\0--backing=b\0f\0""1G");
	SEED("group", "disk\0craete\0--json");
	SEED("wrong", "rnu\0--memroy\0""1Q\0-x\0--help");
}
