/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_I8237_H
#define VISOR_DEV_PC_I8237_H

#include <stdbool.h>
#include <stddef.h>

#include "bus/device.h"
#include "bus/space.h"
#include "mem/dma.h"

/*
 * The two 8237A DMA controllers of the AT with their page registers: channels
 * 0 to 3 move bytes, 5 to 7 words. A device that has data, or wants some, calls
 * i8237_transfer; when the channel is not ready it is told by `ready`.
 */
struct i8237_config {
	struct lock *lock;
	struct io_space *ports;
	struct dma dma;
};

struct i8237;

struct i8237 *i8237_create(const struct i8237_config *config, struct error *err);

/* The device at a channel; ready: the channel was unmasked or set up anew, with the lock taken. */
void i8237_attach(struct i8237 *i8237, unsigned channel, void (*ready)(void *opaque), void *opaque);

enum i8237_direction { I8237_TO_MEMORY, I8237_FROM_MEMORY };

/*
 * The device's DREQ for up to `size` bytes, with the lock taken. Moves what the channel is programmed for; in verify mode nothing
 * but the count. Returns the bytes moved, 0 when the channel is masked, disabled or programmed the other way. *terminal_count: the
 * count ran out, at the last of these bytes.
 */
size_t i8237_transfer(struct i8237 *i8237, unsigned channel, enum i8237_direction direction, void *data, size_t size,
		      bool *terminal_count);

#endif
