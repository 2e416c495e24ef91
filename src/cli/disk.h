/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CLI_DISK_H
#define VISOR_CLI_DISK_H

#include <jansson.h>

#include "base/options.h"
#include "block/copy.h"

/* What the commands about disk images share. */
extern const struct command disk_create, disk_info, disk_check, disk_convert, disk_resize, disk_commit, disk_rebase, disk_compare,
	disk_mount, disk_unmount;

/* Options that most of them have. */
#define FORMAT_OPTION(type) \
	{ .name = "format", .kind = OPTION_CHOICE, .offset = offsetof(type, format), .argument = "FORMAT", .choices = disk_formats, \
	  .help = "the image's format; without it the content says it" }
#define JSON_OPTION(type) \
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(type, json), .help = "print the result as a JSON object" }

/* For --format; index 0: not given. */
extern const char *const disk_formats[];
int disk_format(unsigned choice); /* enum image_format or IMAGE_BY_CONTENT */
/* The format that a file's name suggests, qcow2 when none. */
enum image_format disk_format_of_name(const char *path);
/* How the image at `path` writes down the name of the one behind it: alone when in the same folder, else absolute. The caller frees it. */
char *disk_backing_name(const char *path, const char *backing, struct error *err);

int disk_fail(const struct error *err); /* says it; STATUS_FAILURE */
void disk_print_json(json_t *json);     /* and releases it */
/* "10 GiB" */
const char *disk_size_text(uint64_t bytes, char room[32]);
/* A share of the work on standard error, when that is a terminal; end clears it. */
struct image_progress disk_progress(void);
void disk_progress_end(void);

#endif
