/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "block/image.h"

/* A disk that is an image file: its requests are the image's functions, on the threads of the queue. */
struct disk {
	struct block block;
	struct image *image;
	enum block_cache cache;
};

static int perform_op(struct image *image, const struct block_request *r)
{
	switch (r->op) {
	case BLOCK_READ:
		return image_readv(image, r->iov, r->iov_count, r->offset, r->length);
	case BLOCK_WRITE:
		return image_writev(image, r->iov, r->iov_count, r->offset, r->length);
	case BLOCK_FLUSH:
		return image_flush(image);
	case BLOCK_DISCARD:
		return image_discard(image, r->offset, r->length);
	case BLOCK_WRITE_ZEROES:
		return image_zero(image, r->offset, r->length, r->may_unmap);
	}
	return EINVAL;
}

static int disk_perform(struct block *block, const struct block_request *request)
{
	struct disk *disk = container_of(block, struct disk, block);
	if (disk->cache == BLOCK_UNSAFE && request->op == BLOCK_FLUSH)
		return 0;
	int error = perform_op(disk->image, request);
	if (!error && disk->cache == BLOCK_WRITE_THROUGH && request->op != BLOCK_READ && request->op != BLOCK_FLUSH)
		error = image_flush(disk->image);
	return error;
}

static void disk_close(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);
	int error = image_close(disk->image);
	if (error)
		log_error("%s: the last writes may be lost: %s", block->name, strerror(error));
	free(block->name);
	free(disk);
}

static int disk_direct(struct block *block, const struct block_request *request)
{
	struct disk *disk = container_of(block, struct disk, block);
	if (request->op == BLOCK_WRITE && disk->cache == BLOCK_WRITE_THROUGH)
		return -1;
	return image_direct(disk->image, request->op == BLOCK_WRITE, request->offset, request->length);
}

static void disk_ahead(struct block *block, const struct block_request *request)
{
	image_ahead(container_of(block, struct disk, block)->image, request->offset, request->length);
}

static bool disk_hole(struct block *block, const struct block_request *request)
{
	return image_is_hole(container_of(block, struct disk, block)->image, request->offset, request->length);
}

static int disk_reserve(struct block *block, bool on)
{
	return image_reserve(container_of(block, struct disk, block)->image, on);
}

static bool disk_reserved(struct block *block)
{
	return image_reserved(container_of(block, struct disk, block)->image);
}

static const struct block_ops disk_ops = { .perform = disk_perform, .close = disk_close, .reserve = disk_reserve, .reserved = disk_reserved };
static const struct block_ops file_ops = {
	.perform = disk_perform, .close = disk_close, .direct = disk_direct, .ahead = disk_ahead, .hole = disk_hole,
	.reserve = disk_reserve, .reserved = disk_reserved,
};

int block_reserve(struct block *block, bool on)
{
	return block->shared && block->ops->reserve ? block->ops->reserve(block, on) : 0;
}

bool block_reserved(struct block *block)
{
	return block->shared && block->ops->reserved && block->ops->reserved(block);
}

static struct image *open_image(const struct block_config *config, struct error *err)
{
	struct image_config image = {
		.path = config->path, .format = IMAGE_BY_CONTENT, .read_only = config->read_only, .snapshot = config->snapshot,
		.backing = config->backing, .shared = config->shared,
	};
	if (config->format && (image.format = image_format_by_name(config->format, err)) < 0)
		return NULL;
	return image_open(&image, err);
}

struct block *block_open(const struct block_config *config, struct error *err)
{
	struct image *image = open_image(config, err);
	if (!image)
		return NULL;
	struct disk *disk = calloc(1, sizeof(*disk));
	char *name = strdup(config->path);
	if (!disk || !name) {
		free(disk);
		free(name);
		image_close(image);
		error_set(err, ENOMEM, "out of memory for disk image %s", config->path);
		return NULL;
	}
	if (!image_read_only(image))
		image_for_guest(image);
	disk->image = image;
	disk->cache = config->shared ? BLOCK_WRITE_THROUGH : config->cache;
	disk->block = (struct block){
		.ops = image_format(image) == IMAGE_RAW ? &file_ops : &disk_ops, .name = name, .size = image_size(image), .read_only = image_read_only(image),
		.physical_block = image_physical_block(image), .shared = config->shared, .sparse = image_sparse(image),
	};
	return block_start(&disk->block, config, err) < 0 ? NULL : &disk->block;
}
