/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cli/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"

const char *const disk_formats[] = { "auto", "raw", "qcow2", "vdi", "vhd", "vmdk", "vhdx", NULL };

int disk_format(unsigned choice)
{
	return choice ? image_format_by_name(disk_formats[choice], NULL) : IMAGE_BY_CONTENT;
}

enum image_format disk_format_of_name(const char *path)
{
	const char *dot = strrchr(path, '.');
	if (dot && (!strcasecmp(dot, ".img") || !strcasecmp(dot, ".iso")))
		return IMAGE_RAW;
	int format = dot ? image_format_by_name(dot + 1, NULL) : -1;
	return format < 0 ? IMAGE_QCOW2 : (enum image_format)format;
}

/* The folder with a slash. */
static char *real_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	return folder ? realpath(folder, NULL) : NULL;
}

char *disk_backing_name(const char *path, const char *backing, struct error *err)
{
	cleanup_free char *folder = real_folder(path), *full = realpath(backing, NULL);
	char *slash = full ? strrchr(full, '/') : NULL, *name = NULL;
	if (!full)
		error_set(err, errno, "%s: cannot find it: %s", backing, strerror(errno));
	else if (!folder)
		error_set(err, errno, "%s: cannot find its folder: %s", path, strerror(errno));
	else if (!(name = strdup(strlen(folder) == (size_t)(slash - full) && !strncmp(folder, full, (size_t)(slash - full)) ? slash + 1 : full)))
		error_set(err, ENOMEM, "out of memory");
	return name;
}

int disk_fail(const struct error *err)
{
	disk_progress_end();
	log_error("%s", err->text);
	return STATUS_FAILURE;
}

void disk_print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

const char *disk_size_text(uint64_t bytes, char room[32])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned u = 0;
	double value = (double)bytes;
	for (; value >= 1024 && u + 1 < ARRAY_SIZE(units); u++)
		value /= 1024;
	snprintf(room, 32, value == (double)(uint64_t)value ? "%.0f %s" : "%.2f %s", value, units[u]);
	return room;
}

static unsigned shown;

static void show(void *opaque, uint64_t done, uint64_t total)
{
	unsigned share = 1 + (unsigned)((double)done / (double)total * 1000);
	if (share == shown)
		return;
	shown = share;
	fprintf(stderr, "\r%5.1f %%", (share - 1) / 10.0);
}

struct image_progress disk_progress(void)
{
	return (struct image_progress){ isatty(STDERR_FILENO) ? show : NULL, NULL };
}

void disk_progress_end(void)
{
	if (shown)
		fputs("\r        \r", stderr);
	shown = 0;
}

static const struct command *const disk_commands[] = {
	&disk_create, &disk_info, &disk_check, &disk_convert, &disk_resize, &disk_commit, &disk_rebase, &disk_compare, &disk_mount,
	&disk_unmount, NULL,
};

const struct command command_disk = {
	.name = "disk",
	.summary = "make, look at, check and change disk images",
	.description = "Images of the formats raw, qcow2, VDI, VHD and VMDK, and VHDX to read. None of these commands works on an image that a machine "
		       "uses; 'info' looks at it all the same.",
	.commands = disk_commands,
};
