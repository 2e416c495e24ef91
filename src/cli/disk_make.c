/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor disk create, convert, resize.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/disk.h"

static const char *const compressions[] = { "zlib", "zstd", NULL };

/* What a new image may be. */
struct kind {
	unsigned format, compression;
	uint64_t cluster_size, qcow2_version;
	bool fixed, lazy_refcounts;
};

#define KIND_OPTIONS(type) \
	{ .name = "format", .kind = OPTION_CHOICE, .offset = offsetof(type, kind.format), .argument = "FORMAT", .choices = disk_formats, \
	  .help = "the new image's format: raw, qcow2, vdi, vhd, vmdk. Without it the file's name says it (.img is raw), else it is qcow2" }, \
	{ .name = "fixed", .kind = OPTION_FLAG, .offset = offsetof(type, kind.fixed), \
	  .help = "vdi, vhd, vmdk: all space has its place from the start" }, \
	{ .name = "cluster-size", .kind = OPTION_SIZE, .offset = offsetof(type, kind.cluster_size), .argument = "SIZE", .min = 512, \
	  .max = 2 << 20, .help = "qcow2: the unit of allocation, 512 to 2M; 64K without it" }, \
	{ .name = "qcow2-version", .kind = OPTION_NUMBER, .offset = offsetof(type, kind.qcow2_version), .argument = "2|3", .min = 2, .max = 3, \
	  .help = "for old programs 2; 3 without it" }, \
	{ .name = "compression", .kind = OPTION_CHOICE, .offset = offsetof(type, kind.compression), .argument = "zlib|zstd", \
	  .choices = compressions, .help = "qcow2: what compressed clusters are made with; zlib without it" }, \
	{ .name = "lazy-refcounts", .kind = OPTION_FLAG, .offset = offsetof(type, kind.lazy_refcounts), \
	  .help = "qcow2: reference counts are written late and made anew after a crash" }, \
	JSON_OPTION(type)

static struct image_create new_image(const struct kind *kind, const char *path)
{
	return (struct image_create){
		.path = path, .format = kind->format ? (enum image_format)disk_format(kind->format) : disk_format_of_name(path),
		.fixed = kind->fixed, .cluster_size = (uint32_t)kind->cluster_size, .version = (unsigned)kind->qcow2_version,
		.zstd = kind->compression == 1, .lazy_refcounts = kind->lazy_refcounts,
	};
}

/* --- create --- */

struct create_values {
	struct kind kind;
	const char *backing;
	unsigned backing_format;
	bool json;
};

static int say_made(const struct image_create *create, bool json)
{
	const struct image_config config = { .path = create->path, .format = (int)create->format, .read_only = true, .alone = true };
	struct error err;
	struct image *image = image_open(&config, &err);
	char room[32];
	if (!image)
		return disk_fail(&err);
	if (json)
		disk_print_json(image_info(image));
	else
		printf("%s: %s, %s\n", create->path, image_format_names[create->format], disk_size_text(image_size(image), room));
	image_close(image);
	return STATUS_OK;
}

static int create_run(const void *values, const struct operands *operands)
{
	const struct create_values *v = values;
	struct image_create create = new_image(&v->kind, operands->values[0]);
	cleanup_free char *backing = NULL;
	struct error err;
	if (operands->count < 2 && !v->backing) {
		log_error("'visor disk create' wants a size; write: visor disk create %s 10G", create.path);
		return STATUS_USAGE;
	}
	if (operands->count == 2 && options_parse_size(operands->values[1], &create.size, &err) < 0) {
		log_error("%s", err.text);
		return STATUS_USAGE;
	}
	if (v->backing) {
		create.backing = backing = disk_backing_name(create.path, v->backing, &err);
		if (!backing)
			return disk_fail(&err);
		create.backing_format = v->backing_format ? disk_formats[v->backing_format] : NULL;
	}
	return image_create(&create, &err) < 0 ? disk_fail(&err) : say_made(&create, v->json);
}

static const struct option create_options[] = {
	KIND_OPTIONS(struct create_values),
	{ .name = "backing", .kind = OPTION_STRING, .offset = offsetof(struct create_values, backing), .argument = "FILE",
	  .completion = COMPLETE_FILE, .help = "the new image holds only what differs from this one, which must not change any more" },
	{ .name = "backing-format", .kind = OPTION_CHOICE, .offset = offsetof(struct create_values, backing_format), .argument = "FORMAT",
	  .choices = disk_formats, .help = "the format of the image behind; without it the content says it" },
	OPTION_END
};

const struct command disk_create = {
	.name = "disk create",
	.operands = "FILE [SIZE]",
	.min_operands = 1,
	.max_operands = 2,
	.completion = { COMPLETE_FILE },
	.summary = "make an empty disk image",
	.description = "With --backing the size may be left out. A file that exists is not overwritten.",
	.options = create_options,
	.values_size = sizeof(struct create_values),
	.run = create_run,
};

/* --- convert --- */

struct convert_values {
	struct kind kind;
	unsigned from;
	const char *snapshot, *backing;
	bool compress, json;
};

static int copy_into(struct image *from, const struct convert_values *v, const char *path, struct error *err)
{
	const struct image_create create = new_image(&v->kind, path);
	const struct image_copy how = { .chain = true, .empty = true, .compress = v->compress };
	struct image_progress progress = disk_progress();
	return image_copy_new(from, &create, &how, &progress, err);
}

static int convert_run(const void *values, const struct operands *operands)
{
	const struct convert_values *v = values;
	const struct image_config config = {
		.path = operands->values[0], .format = disk_format(v->from), .read_only = true, .snapshot = v->snapshot, .backing = v->backing,
	};
	const char *path = operands->values[1];
	struct error err;
	struct image *from = image_open(&config, &err);
	if (!from)
		return disk_fail(&err);
	enum image_format format = v->kind.format ? (enum image_format)disk_format(v->kind.format) : disk_format_of_name(path);
	int rc;
	if (v->compress && format != IMAGE_QCOW2)
		rc = error_set(&err, EINVAL, "--compress: only qcow2 images can be compressed; leave it out or add --format qcow2");
	else
		rc = copy_into(from, v, path, &err);
	image_close(from);
	if (rc < 0)
		return disk_fail(&err);
	disk_progress_end();
	const struct image_create made = { .path = path, .format = format };
	return say_made(&made, v->json);
}

static const struct option convert_options[] = {
	KIND_OPTIONS(struct convert_values),
	{ .name = "compress", .kind = OPTION_FLAG, .offset = offsetof(struct convert_values, compress), .help = "qcow2: compress the data" },
	{ .name = "from", .kind = OPTION_CHOICE, .offset = offsetof(struct convert_values, from), .argument = "FORMAT", .choices = disk_formats,
	  .help = "the format of SOURCE; without it the content says it" },
	{ .name = "snapshot", .kind = OPTION_STRING, .offset = offsetof(struct convert_values, snapshot), .argument = "NAME",
	  .help = "copy this internal snapshot of SOURCE" },
	{ .name = "backing", .kind = OPTION_STRING, .offset = offsetof(struct convert_values, backing), .argument = "FILE",
	  .completion = COMPLETE_FILE, .help = "the image behind SOURCE, where it does not name one" },
	OPTION_END
};

const struct command disk_convert = {
	.name = "disk convert",
	.operands = "SOURCE TARGET",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_FILE, COMPLETE_FILE },
	.summary = "copy an image into a new one, of any format",
	.description = "The new image has everything in it that was in SOURCE and the images behind. Zeros take no space. A file that exists is not "
		       "overwritten.",
	.options = convert_options,
	.values_size = sizeof(struct convert_values),
	.run = convert_run,
};

/* --- resize --- */

struct resize_values {
	unsigned format;
	bool shrink, json;
};

static int new_size(const char *text, uint64_t now, uint64_t *size, struct error *err)
{
	if (options_parse_size(text + (*text == '+'), size, err) < 0)
		return -1;
	*size = ALIGN_UP(*size + (*text == '+' ? now : 0), 512ull);
	return 0;
}

static int resize(struct image *image, const struct resize_values *v, const char *text, struct error *err)
{
	uint64_t size;
	if (new_size(text, image_size(image), &size, err) < 0)
		return -1;
	if (image_guessed(image))
		return error_set(err, EINVAL, "%s looks like no image format; if it is raw, say so: --format raw", image_path(image));
	if (size < image_size(image) && !v->shrink)
		return error_set(err, EINVAL, "%s would become smaller, and what is at its end would be lost; say --shrink if that is wanted",
				 image_path(image));
	return image_resize(image, size, err);
}

static int resize_run(const void *values, const struct operands *operands)
{
	const struct resize_values *v = values;
	const struct image_config config = { .path = operands->values[0], .format = disk_format(v->format) };
	struct error err;
	struct image *image = image_open(&config, &err);
	if (!image)
		return disk_fail(&err);
	int rc = resize(image, v, operands->values[1], &err);
	enum image_format format = image_format(image);
	const struct image_create made = { .path = config.path, .format = format };
	return image_finish(image, rc, &err) < 0 ? disk_fail(&err) : say_made(&made, v->json);
}

static const struct option resize_options[] = {
	{ .name = "shrink", .kind = OPTION_FLAG, .offset = offsetof(struct resize_values, shrink),
	  .help = "it may become smaller; what is at its end is lost" },
	FORMAT_OPTION(struct resize_values),
	JSON_OPTION(struct resize_values),
	OPTION_END
};

const struct command disk_resize = {
	.name = "disk resize",
	.operands = "FILE SIZE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_FILE },
	.summary = "change the size of the disk in an image",
	.description = "SIZE is the new size, or with a + in front what is added. The guest's partitions and file systems stay as they are.",
	.options = resize_options,
	.values_size = sizeof(struct resize_values),
	.run = resize_run,
};
