/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_IRQ_H
#define VISOR_BUS_IRQ_H

#include <stdint.h>

/*
 * A handle to one input pin of an interrupt controller. A device drives the
 * level; whether an edge or a level counts is the controller's business. May be
 * called from any thread; the controller takes its own lock.
 */
struct irq_line {
	void (*set)(void *opaque, unsigned pin, int level);
	void *opaque;
	unsigned pin;
};

/* A line without a controller (set == NULL) is a pin that is not connected. */
static inline void irq_set(const struct irq_line *line, int level)
{
	if (line->set)
		line->set(line->opaque, line->pin, level);
}

/* Where message-signalled interrupts go: a write of `data` to `address` (SDM 3A, 11.11). */
struct msi_sink {
	void (*send)(void *opaque, uint64_t address, uint32_t data);
	void *opaque;
};

static inline void msi_send(const struct msi_sink *sink, uint64_t address, uint32_t data)
{
	if (sink && sink->send)
		sink->send(sink->opaque, address, data);
}

#endif
