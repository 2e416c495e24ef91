/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_APIC_BUS_H
#define VISOR_DEV_PC_APIC_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/irq.h"

/*
 * What connects the local APICs: decodes interrupt messages, finds the
 * destinations and arbitrates lowest priority. Any thread may send. The local
 * APICs are added before the first message; the bus itself has no state to save.
 */
#define APIC_BUS_MAX 16u

/* Delivery modes of the ICR, the LVT, redirections and MSIs (SDM 3A, 11.6.1). */
enum apic_delivery {
	APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_SIPI, APIC_EXTINT,
};

#define APIC_DEST_ALL 0xffffffffu

struct apic_message {
	uint32_t destination;    /* APIC ID or logical destination; APIC_DEST_ALL: everyone */
	bool logical;
	bool level;              /* trigger mode */
	bool assert;             /* level */
	uint8_t mode;            /* enum apic_delivery */
	uint8_t vector;
};

struct lapic;

struct apic_bus {
	struct lapic *lapics[APIC_BUS_MAX];
	unsigned count;
	_Atomic unsigned turn;   /* where the next lowest-priority arbitration starts */
	/* EOI of a level-triggered vector goes here: the I/O APIC. Set before the machine runs. */
	void (*eoi)(void *opaque, unsigned vector);
	void *eoi_opaque;
};

/* Delivers to all (or, for lowest priority, one) of the processors that match, `except` left out (NULL: none).
 * Returns the number of processors that got it. */
unsigned apic_bus_send(struct apic_bus *bus, const struct apic_message *message, const struct lapic *except);

/* The sink for MSIs of devices and of the I/O APIC (SDM 3A, 11.11). The bus must outlive it. */
struct msi_sink apic_bus_sink(struct apic_bus *bus);

#endif
