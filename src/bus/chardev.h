/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_CHARDEV_H
#define VISOR_BUS_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

/*
 * Where a character device (serial port, virtio console, debug port) sends its
 * output. Called on a vCPU's thread or a queue's thread with the device's lock
 * taken: it must not block and must not come back into the device.
 */
struct char_backend {
	void (*write)(void *opaque, const uint8_t *data, size_t length);
	void *opaque;
};

/* A back end without a function swallows output. */
static inline void char_write(const struct char_backend *backend, const uint8_t *data, size_t length)
{
	if (backend->write)
		backend->write(backend->opaque, data, length);
}

/*
 * Input goes the other way by a function of the device that returns how many
 * bytes it took (uart_receive). When it took fewer than it was given, it calls
 * `room` once there is space again: then the rest may be offered. The call
 * comes with the device's lock taken; it should wake the feeder, and no more.
 */
struct char_room {
	void (*room)(void *opaque);
	void *opaque;
};

static inline void char_room_call(const struct char_room *room)
{
	if (room->room)
		room->room(room->opaque);
}

#endif
