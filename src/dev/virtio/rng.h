/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_RNG_H
#define VISOR_DEV_VIRTIO_RNG_H

#include <stddef.h>

#include "dev/virtio/virtio.h"

/* The virtio entropy device (virtio 1.2, 5.4). */
struct virtio_rng_config {
	struct virtio_device_config device;
	/* Fills `buffer` with random bytes of the host; the bytes given, at most `length`, 0 when there are none. Called
	 * on the worker; must not block. */
	size_t (*entropy)(void *opaque, void *buffer, size_t length);
	void *opaque;
};

struct virtio_rng;

/* The object begins with its struct virtio_device. */
struct virtio_rng *virtio_rng_create(const struct virtio_rng_config *config, struct error *err);

static inline struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
	return (struct virtio_device *)rng;
}

#endif
