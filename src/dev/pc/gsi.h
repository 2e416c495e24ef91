/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_GSI_H
#define VISOR_DEV_PC_GSI_H

#include "bus/device.h"
#include "bus/irq.h"

/*
 * The board's interrupt wires. Wire n goes to input n of the 8259 pair (0..15)
 * and to pin n of the I/O APIC (wire 0 to pin 2, wire 2 nowhere); several
 * sources on a wire are a wired OR.
 */
#define GSI_COUNT 24u
#define GSI_SOURCES 32u

struct gsi_config {
	struct lock *lock;
	struct irq_line pic[16];
	struct irq_line ioapic[GSI_COUNT];
};

struct gsi;

struct gsi *gsi_create(const struct gsi_config *config, struct error *err);

/* A new source on wire n; the order of calls must be the same in every process that loads a saved machine. The
 * 33rd source of a wire, or a wire that is not there, is not connected. */
struct irq_line gsi_line(struct gsi *gsi, unsigned n);

#endif
