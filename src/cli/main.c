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
	const struct command *command = find_command(name);
	if (!command) {
		const char *near = nearest_command(name);
		if (near)
			log_error("'%s': there is no such command; did you mean 'visor %s'?", name, near);
		else
			log_error("'%s': there is no such command; 'visor help' shows all", name);
		return STATUS_USAGE;
	}
	return flush_output(run_named(command, argv + 2));
}
