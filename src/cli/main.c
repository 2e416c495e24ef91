/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/commands.h"

static int run_named(const struct command *command, char **arguments)
{
	_Alignas(16) char values[COMMANDS_MAX_VALUES];
	struct operands operands;
	struct error err;
	if (command->values_size > sizeof(values)) {
		log_error("the command '%s' has too many options for this program; report it", command->name);
		return STATUS_FAILURE;
	}
	switch (options_parse(command, arguments, values, &operands, &err)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_HELP:
		help_print(command);
		return STATUS_OK;
	case OPTIONS_ERROR:
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	return command->run(values, &operands);
}

/* Output that the shell could not store (a full disk) is a failure too. */
static int flush_output(int status)
{
	if ((fflush(stdout) || ferror(stdout)) && status == STATUS_OK) {
		log_error("standard output: cannot write all of it: %m");
		return STATUS_FAILURE;
	}
	return status;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		log_error("what should be done? 'visor run --kernel FILE' starts a machine, 'visor help' shows all commands");
		return STATUS_USAGE;
	}
	const char *name = argv[1];
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	else if (!strcmp(name, "--version"))
		name = "version";
	struct error err;
	const struct command *command = need_command(NULL, name, &err);
	char **arguments = argv + 2;
	for (; command && command->commands; arguments++) {
		if (*arguments && (!strcmp(*arguments, "--help") || !strcmp(*arguments, "-h"))) {
			help_print(command);
			return flush_output(STATUS_OK);
		}
		if (*arguments) {
			command = need_command(command, *arguments, &err);
			continue;
		}
		log_error("'visor %s': what should be done? 'visor help %s' shows what can be", command->name, command->name);
		return STATUS_USAGE;
	}
	if (!command) {
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	return flush_output(run_named(command, arguments));
}
