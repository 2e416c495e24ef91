/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands for the drives of a running machine.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "cli/client.h"
#include "cli/commands.h"

struct media_values {
	bool force;
};

static int change(const char *machine, const char *drive, const char *file, bool force)
{
	struct error err;
	json_t *body = json_pack("{s:s, s:s?, s:b}", "drive", drive, "file", file, "force", force), *answer = NULL;
	if (!body)
		error_set(&err, EINVAL, "the name cannot be sent; use one in UTF-8");
	else
		answer = client_request(machine, "POST", "/media", body, &err);
	if (!answer) {
		log_error("%s", err.text);
		return STATUS_FAILURE;
	}
	json_decref(answer);
	return STATUS_OK;
}

static int insert_run(const void *values, const struct operands *operands)
{
	const struct media_values *v = values;
	/* The machine's process has a working directory of its own. */
	char *path = realpath(operands->values[2], NULL);
	if (!path) {
		log_error("%s: %s", operands->values[2], strerror(errno));
		return STATUS_FAILURE;
	}
	int status = change(operands->values[0], operands->values[1], path, v->force);
	free(path);
	return status;
}

static int eject_run(const void *values, const struct operands *operands)
{
	const struct media_values *v = values;
	return change(operands->values[0], operands->values[1], NULL, v->force);
}

static const struct option media_options[] = {
	{ .name = "force", .kind = OPTION_FLAG, .offset = offsetof(struct media_values, force),
	  .help = "although the guest has locked the drive, as with a needle in the small hole" },
	OPTION_END
};

const struct command command_insert = {
	.name = "insert",
	.operands = "NAME DRIVE FILE",
	.min_operands = 3,
	.max_operands = 3,
	.completion = { COMPLETE_MACHINE, COMPLETE_NOTHING, COMPLETE_FILE },
	.summary = "put a disc or floppy disk into a machine's drive",
	.description = "Drives are called cdrom0, cdrom1 and so on, floppy0 and floppy1, in the order that they were given to 'visor run'. What was in "
		       "the drive goes.",
	.options = media_options,
	.values_size = sizeof(struct media_values),
	.run = insert_run,
};

const struct command command_eject = {
	.name = "eject",
	.operands = "NAME DRIVE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_MACHINE },
	.summary = "take the disc or floppy disk out of a machine's drive",
	.options = media_options,
	.values_size = sizeof(struct media_values),
	.run = eject_run,
};
