/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CLI_COMMANDS_H
#define VISOR_CLI_COMMANDS_H

#include "base/options.h"

/* Exit statuses; the rest is the guest's own (--debug-exit). */
enum {
	STATUS_OK = 0,
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2,
	STATUS_TRIPLE_FAULT = 3, /* with --no-reboot */
	STATUS_TIME_LIMIT = 4,
};

/* One row each, in the file that carries the command out. */
extern const struct command command_run;
extern const struct command command_balloon, command_doctor, command_list, command_stats, command_pause, command_resume, command_reset, command_save, command_engine, command_stop;
extern const struct command command_insert, command_eject, command_screenshot, command_type, command_key;
extern const struct command command_net, command_disk, command_spool, command_image, command_rm;
extern const struct command command_version, command_help;

/* All of them in the order of the help, NULL at the end. */
extern const struct command *const commands[];
#define COMMANDS_MAX_VALUES 2048 /* room for the values of any command */

/* The last word of its name. */
const char *command_word(const struct command *command);
/* In a list as `commands`: the one with this last word of its name, or NULL. */
const struct command *find_command(const struct command *const *list, const char *word);
/* The same; without one an error that names the nearest. `group` is what the list is a part of, or NULL. */
const struct command *need_command(const struct command *group, const char *word, struct error *err);

/* The help of one command, or of all when NULL, to standard output. */
void help_print(const struct command *command);

#endif
