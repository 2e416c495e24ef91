/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_GPU_H
#define VISOR_DEV_VIRTIO_GPU_H

#include "dev/virtio/virtio.h"
#include "display/surface.h"

/*
 * The GPU device (virtio 1.2, 5.7) with its 2D commands: one screen, EDID, a cursor of its own. Resources' pixels are in a piece of
 * guest memory that is shown nowhere, so that a save file has them.
 */
#define VIRTIO_GPU_MEMORY (128u << 20) /* for resources and the lists of their backing */

#define VIRTIO_GPU_LEAST 64u           /* of the screen, in each direction */
#define VIRTIO_GPU_MOST 4095u /* EDID knows no more */

struct virtio_gpu_config {
	struct virtio_device_config device;
	struct guest_memory *memory;   /* takes VIRTIO_GPU_MEMORY of it */
};

struct virtio_gpu;

/* The object begins with its struct virtio_device. */
struct virtio_gpu *virtio_gpu_create(const struct virtio_gpu_config *config, struct error *err);

/* What the screen shows while the driver has set no scanout: an adapter that shares the device's lock. Without it the screen is black. */
void virtio_gpu_stand_by(struct virtio_gpu *gpu, const struct display_source *source);

struct display_source virtio_gpu_display(struct virtio_gpu *gpu);

/* The size of screen that the guest is told to use from now on, cut to what there is; any thread. False: the guest has no driver for it. */
bool virtio_gpu_resize(struct virtio_gpu *gpu, unsigned width, unsigned height);

static inline struct virtio_device *virtio_gpu_device(struct virtio_gpu *gpu)
{
	return (struct virtio_device *)gpu;
}

#endif
