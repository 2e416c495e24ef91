/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_INPUT_H
#define VISOR_DEV_VIRTIO_INPUT_H

#include "dev/virtio/virtio.h"

/* The input device (virtio 1.2, 5.8): a keyboard, or a pointer that is told where it is. Types and codes are those of Linux's input events. */
enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_TABLET };

#define VIRTIO_INPUT_RANGE 32767u /* the largest position in each direction */

struct virtio_input_config {
	struct virtio_device_config device;
	enum virtio_input_kind kind;
};

struct virtio_input;

/* The object begins with its struct virtio_device. */
struct virtio_input *virtio_input_create(const struct virtio_input_config *config, struct error *err);

/* The guest has a driver that is up. Any thread without locks, as all below. */
bool virtio_input_driven(struct virtio_input *input);
/* A key, by its KEY_* code below 128. */
void virtio_input_key(struct virtio_input *input, unsigned code, bool down);
/* Where the pointer is, 0 to VIRTIO_INPUT_RANGE; steps of the wheel, towards the user; the buttons held: 1 left, 2 right, 4 middle. */
void virtio_input_pointer(struct virtio_input *input, unsigned x, unsigned y, int wheel, unsigned buttons);

static inline struct virtio_device *virtio_input_device(struct virtio_input *input)
{
	return (struct virtio_device *)input;
}

#endif
