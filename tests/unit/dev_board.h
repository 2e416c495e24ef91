/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DEV_BOARD_H
#define VISOR_TESTS_DEV_BOARD_H

/* Surroundings of a device under test: spaces, a stepped clock, recording interrupt lines. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"
#include "fields_copy.h"

#define US 1000ull
#define MS 1000000ull

struct board {
	struct lock lock;
	struct io_space ports, mmio;
	struct vclock clock;
	uint64_t now;
	int level[64];
	unsigned rises[64];
};

static inline uint64_t board_now(void *opaque)
{
	return ((struct board *)opaque)->now;
}

static inline void board_init(struct board *board)
{
	memset(board, 0, sizeof(*board));
	const struct vclock_source source = { .now = board_now, .opaque = board };
	lock_init(&board->lock);
	assert_int_equal(io_space_init(&board->ports, 0x10000, NULL), 0);
	assert_int_equal(io_space_init(&board->mmio, UINT64_MAX, NULL), 0);
	vclock_init(&board->clock, &source);
	vclock_start(&board->clock);
}

static inline void board_destroy(struct board *board)
{
	vclock_destroy(&board->clock);
	io_space_destroy(&board->ports);
	io_space_destroy(&board->mmio);
	lock_destroy(&board->lock);
}

static inline void board_line_set(void *opaque, unsigned pin, int level)
{
	struct board *board = opaque;
	board->rises[pin] += level && !board->level[pin];
	board->level[pin] = level;
}

static inline struct irq_line board_line(struct board *board, unsigned n)
{
	return (struct irq_line){ board_line_set, board, n };
}

/* Lets time pass, with a stop at each timer. */
static inline void board_step(struct board *board, uint64_t ns)
{
	uint64_t end = board->now + ns;
	for (;;) {
		uint64_t next = vclock_run(&board->clock);
		if (next > end - board->now)
			break;
		board->now += next;
	}
	board->now = end;
	vclock_run(&board->clock);
}

static inline uint8_t inb(struct board *board, uint16_t port)
{
	return (uint8_t)io_read(&board->ports, port, 1);
}

static inline void outb(struct board *board, uint16_t port, uint8_t value)
{
	io_write(&board->ports, port, value, 1);
}

static inline int board_restore(void *to, void *from)
{
	struct device *new = to, *old = from;
	if (old->type->saving)
		old->type->saving(old);
	fields_copy(old->type->fields, to, from);
	return new->type->loaded ? new->type->loaded(new, NULL) : 0;
}

static inline void board_end(void *device)
{
	((struct device *)device)->type->destroy(device);
}

#endif
