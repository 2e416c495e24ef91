/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/commands.h"

#include <string.h>

#include "base/util.h"

const struct command *const commands[] = {
	&command_run, &command_list, &command_stats, &command_pause, &command_resume, &command_reset, &command_save, &command_engine,
	&command_stop, &command_insert, &command_eject, &command_screenshot, &command_type, &command_key, &command_spool, &command_version, &command_help, NULL,
};

const struct command *find_command(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static const char *command_name(const void *table, unsigned index)
{
	return ((const struct command *const *)table)[index]->name;
}

const char *nearest_command(const char *word)
{
	return options_nearest(word, command_name, commands, ARRAY_SIZE(commands) - 1);
}
