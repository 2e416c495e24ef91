/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_FERR_H
#define VISOR_DEV_PC_FERR_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * The PC/AT's way of reporting x87 errors, for CR0.NE = 0 (SDM 1, appendix
 * D.2.1.2): FERR# of the bootstrap processor sets a latch that drives IRQ13. A
 * write to port 0xf0 clears the latch and, while FERR# lasts, asserts IGNNE#, so
 * that the handler may use x87 instructions before it has cleared the error.
 */
struct ferr_config {
	struct lock *lock;
	struct io_space *ports;
	struct irq_line irq;    /* IRQ13 */
	struct irq_line ignne;  /* to the processor */
};

struct ferr;

struct ferr *ferr_create(const struct ferr_config *config, struct error *err);

/* The input that the processor drives; any thread. */
struct irq_line ferr_input(struct ferr *ferr);

#endif
