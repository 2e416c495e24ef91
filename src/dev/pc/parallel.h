/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PARALLEL_H
#define VISOR_DEV_PC_PARALLEL_H

#include "bus/chardev.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * The printer port of the AT in its bidirectional form (IEEE 1284 compatibility
 * mode), with a printer that is always ready and takes a byte with each strobe.
 */
struct parallel_config {
	struct lock *lock;
	struct io_space *ports;
	uint16_t base;            /* 0x378 */
	struct irq_line irq;      /* IRQ7 */
	struct char_backend output;
};

struct parallel;

struct parallel *parallel_create(const struct parallel_config *config, struct error *err);

#endif
