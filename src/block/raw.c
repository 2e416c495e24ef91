/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "block/format.h"

/* Fits everything: it is what is left when no other format does. */
static bool raw_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return true;
}

static int raw_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct hostfile *file = image->file;
	int error = hostfile_size(file, &image->size);
	if (error)
		return error_set(err, error, "%s: cannot find out its size: %s", file->path, strerror(error));
	if (!image->size)
		return error_set(err, EINVAL, "disk image %s is empty; make it as large as the disk shall be (truncate -s 10G %s)",
				 file->path, file->path);
	if (image->size % BLOCK_SECTOR)
		log_warn("disk image %s: its size is no multiple of 512 bytes; the last sector ends with zeros", file->path);
	image->size = ALIGN_UP(image->size, (uint64_t)BLOCK_SECTOR);
	image->unit = BLOCK_SECTOR;
	image->in_place = true;
	return 0;
}

static void raw_close(struct image *image)
{
}

static int raw_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	extent->kind = EXTENT_DATA;
	extent->at = offset;
	extent->length = length;
	return 0;
}

static int raw_resize(struct image *image, uint64_t size, struct error *err)
{
	if (image->file->is_device)
		return error_set(err, EINVAL, "%s is a block device, whose size is fixed", image->file->path);
	int error = hostfile_truncate(image->file, size);
	return error ? error_set(err, error, "%s: cannot make it %llu bytes long: %s", image->file->path, (unsigned long long)size,
				 strerror(error)) : 0;
}

static int raw_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	if (backing)
		return error_set(err, EINVAL, "%s: a raw image cannot have another behind it; choose qcow2", create->path);
	int error = hostfile_truncate(file, create->size);
	return error ? error_set(err, error, "%s: cannot make it %llu bytes long: %s", create->path, (unsigned long long)create->size,
				 strerror(error)) : 0;
}

const struct image_ops raw_ops = {
	.format = IMAGE_RAW,
	.instance_size = sizeof(struct image),
	.probe = raw_probe,
	.open = raw_open,
	.close = raw_close,
	.map = raw_map,
	.resize = raw_resize,
	.create = raw_create,
};
