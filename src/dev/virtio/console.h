/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_CONSOLE_H
#define VISOR_DEV_VIRTIO_CONSOLE_H

#include <stddef.h>

#include "bus/chardev.h"
#include "dev/virtio/virtio.h"

/* The virtio console (virtio 1.2, 5.3) with one port. */
struct virtio_console_config {
	struct virtio_device_config device;
	struct char_backend backend;  /* the guest's output; called on the worker */
	struct char_room room;        /* the guest has given buffers since input was refused; called on the worker */
};

struct virtio_console;

/* The object begins with its struct virtio_device. */
struct virtio_console *virtio_console_create(const struct virtio_console_config *config, struct error *err);

/* Input for the guest, from any thread without locks; the bytes taken. The rest the caller keeps until `room`. */
size_t virtio_console_receive(struct virtio_console *console, const uint8_t *data, size_t length);

static inline struct virtio_device *virtio_console_device(struct virtio_console *console)
{
	return (struct virtio_device *)console;
}

#endif
