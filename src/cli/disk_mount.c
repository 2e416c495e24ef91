/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor disk mount, unmount.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/disk.h"
#include "mount/mount.h"

struct mount_values {
	unsigned format;
	const char *snapshot;
	uint64_t partition;
	bool read_only, files, json;
};

static void print_partition(const json_t *at)
{
	char size[32];
	const char *name = json_string_value(json_object_get(at, "name")), *content = json_string_value(json_object_get(at, "content"));
	printf("  p%lld: %s, %s%s%s\n", (long long)json_integer_value(json_object_get(at, "number")),
	       disk_size_text((uint64_t)json_integer_value(json_object_get(at, "size")), size), content ? content : "nothing known", *name ? ", " : "",
	       name);
}

static void print_mounted(const json_t *info)
{
	const char *program = json_string_value(json_object_get(info, "shown_by")), *folder = json_string_value(json_object_get(info, "folder"));
	const char *mode = json_is_true(json_object_get(info, "read_only")) ? ", read-only" : "";
	size_t i;
	json_t *at;
	if (program) {
		printf("%s: the files (%s, by %s)%s\n", folder, json_string_value(json_object_get(info, "content")), program, mode);
		return;
	}
	printf("%s: the disk and its partitions%s\n", folder, mode);
	if (json_is_true(json_object_get(info, "damaged")))
		log_warn("the partition table (GPT) is damaged; only the disk is shown");
	json_array_foreach(json_object_get(info, "partitions"), i, at)
		print_partition(at);
}

static int mount_run(const void *values, const struct operands *operands)
{
	const struct mount_values *v = values;
	const struct mount_config config = {
		.image = operands->values[0], .folder = operands->values[1], .format = disk_format(v->format), .snapshot = v->snapshot,
		.read_only = v->read_only, .files = v->files || v->partition, .partition = (unsigned)v->partition,
	};
	struct error err;
	json_t *info = mount_begin(&config, &err);
	if (!info)
		return disk_fail(&err);
	if (v->json) {
		disk_print_json(info);
		return STATUS_OK;
	}
	print_mounted(info);
	json_decref(info);
	return STATUS_OK;
}

static const struct option mount_options[] = {
	{ .name = "read-only", .kind = OPTION_FLAG, .offset = offsetof(struct mount_values, read_only),
	  .help = "nothing is written; machines may use the image as one that others start from" },
	{ .name = "files", .kind = OPTION_FLAG, .offset = offsetof(struct mount_values, files),
	  .help = "show the files in the first file system, instead of the partitions" },
	{ .name = "partition", .kind = OPTION_NUMBER, .offset = offsetof(struct mount_values, partition), .argument = "N", .min = 1, .max = 1024,
	  .help = "show the files in this partition" },
	{ .name = "snapshot", .kind = OPTION_STRING, .offset = offsetof(struct mount_values, snapshot), .argument = "NAME",
	  .help = "show this internal snapshot, read-only" },
	FORMAT_OPTION(struct mount_values),
	JSON_OPTION(struct mount_values),
	OPTION_END
};

const struct command disk_mount = {
	.name = "disk mount",
	.operands = "IMAGE FOLDER",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_FILE, COMPLETE_FILE },
	.summary = "show an image's partitions or files in a folder",
	.description = "The folder then has the files disk, the whole disk, and p1, p2... for the partitions, which any program can read and write. With --files or "
		       "--partition it has the files in a partition, shown by the FUSE program for that kind of file system (package fuse2fs for ext2, ext3 and "
		       "ext4, fusefat to read FAT, ntfs-3g, fuseiso, squashfuse), or for root by the kernel where there is none. No root is needed where "
		       "/dev/fuse may be used. No machine can use the image meanwhile. What is written is on the disk after fsync, and after "
		       "'visor disk unmount FOLDER', which waits until the image is closed.",
	.options = mount_options,
	.values_size = sizeof(struct mount_values),
	.run = mount_run,
};

struct unmount_values {
	bool json;
};

static int unmount_run(const void *values, const struct operands *operands)
{
	const struct unmount_values *v = values;
	struct error err;
	if (mount_end(operands->values[0], &err) < 0)
		return disk_fail(&err);
	if (v->json)
		disk_print_json(json_pack("{s:b}", "unmounted", 1));
	return STATUS_OK;
}

static const struct option unmount_options[] = {
	JSON_OPTION(struct unmount_values),
	OPTION_END
};

const struct command disk_unmount = {
	.name = "disk unmount",
	.operands = "FOLDER",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "end what 'disk mount' shows in a folder",
	.description = "Returns when all is written and the image is closed. It also removes what is left of a mount whose processes were killed.",
	.options = unmount_options,
	.values_size = sizeof(struct unmount_values),
	.run = unmount_run,
};
