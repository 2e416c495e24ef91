/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands for a machine's screen and keyboard.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "host/file.h"

static int fail(const struct error *err)
{
	log_error("%s", err->text);
	return STATUS_FAILURE;
}

/* --- screenshot --- */

struct screenshot_values {
	const char *output;
	bool text;
};

static int print_text(const char *machine)
{
	struct error err;
	json_t *answer = client_request(machine, "GET", "/screen", NULL, &err);
	const char *text = json_string_value(json_object_get(answer, "text"));
	int status = STATUS_OK;
	if (!answer) {
		status = fail(&err);
	} else if (!text) {
		log_error("%s: the screen is in a graphics mode; use --output FILE for a picture", machine);
		status = STATUS_FAILURE;
	} else {
		fputs(text, stdout);
	}
	json_decref(answer);
	return status;
}

static int write_picture(const char *path, const uint8_t *data, size_t size, struct error *err)
{
	struct file_replace file;
	if (!strcmp(path, "-"))
		return file_write_all(STDOUT_FILENO, data, size, err);
	if (file_replace_begin(&file, path, err) < 0)
		return -1;
	int rc = file_write_all(file.fd, data, size, err);
	if (rc == 0)
		rc = file_replace_commit(&file, err);
	file_replace_end(&file);
	return rc;
}

static int screenshot_run(const void *values, const struct operands *operands)
{
	const struct screenshot_values *v = values;
	const char *machine = operands->values[0];
	struct error err;
	size_t size;
	if (v->text)
		return print_text(machine);
	if (!v->output) {
		log_error("screenshot: where to? give --output FILE.png, or --text for what a text mode shows");
		return STATUS_USAGE;
	}
	cleanup_free uint8_t *data = client_fetch(machine, "/screenshot", &size, &err);
	if (!data)
		return fail(&err);
	return write_picture(v->output, data, size, &err) < 0 ? fail(&err) : STATUS_OK;
}

static const struct option screenshot_options[] = {
	{ .name = "output", .kind = OPTION_STRING, .offset = offsetof(struct screenshot_values, output), .argument = "FILE",
	  .completion = COMPLETE_FILE, .help = "the PNG file to write; - for standard output" },
	{ .name = "text", .kind = OPTION_FLAG, .offset = offsetof(struct screenshot_values, text),
	  .help = "print the characters of a text mode instead" },
	OPTION_END
};

const struct command command_screenshot = {
	.name = "screenshot",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_MACHINE },
	.summary = "take a picture of a machine's screen",
	.options = screenshot_options,
	.values_size = sizeof(struct screenshot_values),
	.run = screenshot_run,
};

/* --- type and key --- */

static int post_text(const char *machine, const char *path, const char *name, const char *text)
{
	struct error err;
	json_t *body = json_pack("{s:s}", name, text), *answer = NULL;
	if (!body)
		error_set(&err, EINVAL, "'%s': no text in UTF-8", text);
	else
		answer = client_request(machine, "POST", path, body, &err);
	if (!answer)
		return fail(&err);
	json_decref(answer);
	return STATUS_OK;
}

static int type_run(const void *values, const struct operands *operands)
{
	return post_text(operands->values[0], "/type", "text", operands->values[1]);
}

static int key_run(const void *values, const struct operands *operands)
{
	for (unsigned i = 1; i < operands->count; i++) {
		int status = post_text(operands->values[0], "/key", "keys", operands->values[i]);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

static const struct option no_options[] = { OPTION_END };

const struct command command_type = {
	.name = "type",
	.operands = "NAME TEXT",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_MACHINE },
	.summary = "type a text on a machine's keyboard",
	.description = "A newline in the text is the Enter key. The keyboard has the US layout.",
	.options = no_options,
	.run = type_run,
};

const struct command command_key = {
	.name = "key",
	.operands = "NAME KEYS...",
	.min_operands = 2,
	.max_operands = OPTIONS_MAX_OPERANDS,
	.completion = { COMPLETE_MACHINE },
	.summary = "press keys on a machine's keyboard, as ctrl-alt-delete",
	.description = "Keys that are joined by dashes are held together. Names: letters and digits, f1 to f12, esc, enter, tab, space, backspace, "
		       "ctrl, alt, shift, meta, up, down, left, right, home, end, page-up, page-down, insert, delete, print, pause, menu; "
		       "right-ctrl and its like; kp-0 and its like for the numeric pad.",
	.options = no_options,
	.run = key_run,
};
