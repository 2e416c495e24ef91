/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_BLK_H
#define VISOR_DEV_VIRTIO_BLK_H

#include "block/block.h"
#include "dev/virtio/virtio.h"

/*
 * The virtio block device (virtio 1.2, 5.2): read, write, flush, get-id,
 * discard and write-zeroes, one queue for each vCPU up to VIRTIO_BLK_MAX_QUEUES.
 * A driver without the flush feature gets each write on stable storage before
 * its completion.
 */
#define VIRTIO_BLK_MAX_QUEUES 4

struct virtio_blk_config {
	struct virtio_device_config device;
	struct block *block;  /* becomes the device's own: closed with it */
	unsigned cpus;
	const char *serial;   /* up to 20 characters; NULL: the device's name */
};

struct virtio_blk;

/* On failure the block stays the caller's. The object begins with its struct virtio_device. */
struct virtio_blk *virtio_blk_create(const struct virtio_blk_config *config, struct error *err);

static inline struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
	return (struct virtio_device *)blk;
}

#endif
