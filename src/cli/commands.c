/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/commands.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

const struct command *const commands[] = {
	&command_run, &command_list, &command_stats, &command_pause, &command_resume, &command_reset, &command_save, &command_engine,
	&command_stop, &command_insert, &command_eject, &command_screenshot, &command_type, &command_key, &command_net, &command_disk, &command_balloon,
	&command_spool, &command_image, &command_rm, &command_doctor, &command_version, &command_help, NULL,
};

const char *command_word(const struct command *command)
{
	const char *space = strrchr(command->name, ' ');
	return space ? space + 1 : command->name;
}

const struct command *find_command(const struct command *const *list, const char *word)
{
	for (const struct command *const *c = list; *c; c++)
		if (!strcmp(command_word(*c), word))
			return *c;
	return NULL;
}

static const char *word_at(const void *table, unsigned index)
{
	return command_word(((const struct command *const *)table)[index]);
}

const struct command *need_command(const struct command *group, const char *word, struct error *err)
{
	const struct command *const *list = group ? group->commands : commands;
	const struct command *command = find_command(list, word);
	const char *name = group ? group->name : "", *space = group ? " " : "";
	unsigned count = 0;
	if (command)
		return command;
	while (list[count])
		count++;
	const char *near = options_nearest(word, word_at, list, count);
	if (near)
		error_set(err, EINVAL, "'%s%s%s': there is no such command; did you mean 'visor %s%s%s'?", name, space, word, name, space, near);
	else
		error_set(err, EINVAL, "'%s%s%s': there is no such command; 'visor help%s%s' shows all", name, space, word, space, name);
	return NULL;
}
