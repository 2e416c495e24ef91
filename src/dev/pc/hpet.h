/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_HPET_H
#define VISOR_DEV_PC_HPET_H

#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

#define HPET_BASE 0xfed00000ull
#define HPET_TIMERS 3u
#define HPET_LEGACY_PIT 0u
#define HPET_LEGACY_RTC 1u

/*
 * High precision event timer (IA-PC HPET 1.0a) with three comparators, main
 * counter 64 bits at 100 MHz. The 8254 and the RTC drive IRQ0 and IRQ8 through it:
 * legacy replacement cuts them off and puts timers 0 and 1 in their place.
 */
struct hpet_config {
	struct lock *lock;
	struct io_space *mmio;
	struct vclock *clock;
	struct irq_line irq0, irq8;            /* legacy replacement route */
	struct irq_line pins[24];              /* I/O APIC inputs that a timer may be routed to */
	uint32_t route_cap;                    /* bit per usable pin; 0: 20..23 */
};

struct hpet;

struct hpet *hpet_create(const struct hpet_config *config, struct error *err);

/* Where the 8254 (HPET_LEGACY_PIT) and the RTC (HPET_LEGACY_RTC) send their output. */
struct irq_line hpet_legacy_input(struct hpet *hpet, unsigned which);

#endif
