/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_IOAPIC_H
#define VISOR_DEV_PC_IOAPIC_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_PINS 24u

/*
 * I/O APIC, version 0x20: the 82093AA's registers plus the EOI register. A
 * redirection becomes a message like that of an MSI, so whatever serves MSIs
 * serves the I/O APIC.
 */
struct ioapic_config {
	struct lock *lock;       /* the board's */
	struct io_space *mmio;
	uint64_t base;           /* 0: IOAPIC_BASE */
	unsigned id;             /* after reset, 0..15 */
	struct msi_sink sink;    /* apic_bus_sink() */
};

struct ioapic;

struct ioapic *ioapic_create(const struct ioapic_config *config, struct error *err);

/* Input 0..23. The level is "asserted": the polarity bit of the redirection describes a wire that no guest can
 * see, so it is stored and otherwise has no effect. */
struct irq_line ioapic_line(struct ioapic *ioapic, unsigned pin);

/* EOI broadcast by a local APIC; fits struct apic_bus_config.eoi. Takes the board's lock. */
void ioapic_eoi(void *ioapic, unsigned vector);

#endif
