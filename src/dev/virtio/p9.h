/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_P9_H
#define VISOR_DEV_VIRTIO_P9_H

#include "dev/virtio/virtio.h"
#include "share/p9.h"

/* The 9P transport (virtio 1.2, 5.15 reserves its number; Linux's net/9p/trans_virtio.c uses it): one queue of requests with room for
 * their replies, and the tag by which the guest mounts it in the configuration space. */
#define VIRTIO_9P_TAG_MAX 31u

struct virtio_9p_config {
	struct virtio_device_config device;
	const char *tag;     /* 1 to VIRTIO_9P_TAG_MAX bytes */
	struct p9 *server;   /* the device's from now on, when it could be made */
};

struct virtio_9p;

/* The object begins with its struct virtio_device. */
struct virtio_9p *virtio_9p_create(const struct virtio_9p_config *config, struct error *err);

/* The guest has it mounted: its files cannot be saved. Any thread, while the machine stands still. */
bool virtio_9p_mounted(struct virtio_9p *p9);

static inline struct virtio_device *virtio_9p_device(struct virtio_9p *p9)
{
	return (struct virtio_device *)p9;
}

#endif
