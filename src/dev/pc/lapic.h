/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_LAPIC_H
#define VISOR_DEV_PC_LAPIC_H

#include "bus/clock.h"
#include "bus/device.h"
#include "bus/intc.h"
#include "bus/irq.h"
#include "dev/pc/apic_bus.h"

#define LAPIC_BASE 0xfee00000ull

/*
 * Local APIC of one processor (SDM 3A, chapter 11): xAPIC by its register page,
 * x2APIC by MSRs, timer with one-shot, periodic and TSC-deadline modes. It has
 * a lock of its own: any thread delivers, the owning vCPU reads, writes and
 * acknowledges. No two local APICs' locks are ever held together.
 */
struct lapic_config {
	unsigned id;                       /* initial APIC ID, 0..15 */
	bool bsp;
	bool x2apic;                       /* IA32_APIC_BASE.EXTD may be set */
	unsigned phys_bits;                /* MAXPHYADDR; 0: 36 */
	struct apic_bus *bus;              /* the new LAPIC joins it */
	struct vclock *clock;
	struct cpu_pins pins;              /* to the processor */
	/* Interrupt acknowledge of the 8259 for ExtINT: pic_acknowledge. NULL: there is none. */
	int (*extint)(void *opaque);
	void *extint_opaque;
	uint64_t timer_hz;                 /* the timer's input clock, before the divider; 0: 1 GHz */
	/* Nanoseconds until the guest's TSC shows `tsc`, 0 when it is there; called on the vCPU's thread. NULL: no TSC-deadline
	 * mode. */
	uint64_t (*tsc_delay)(void *opaque, uint64_t tsc);
	void *tsc_opaque;
};

/* Named "lapic" and the ID. The struct device is the first member. */
struct lapic *lapic_create(const struct lapic_config *config, struct error *err);

/* What the processor calls, all on its own thread. */
struct intc lapic_intc(struct lapic *lapic);

/* Inputs LINT0 (the 8259's INTR) and LINT1 (NMI). */
struct irq_line lapic_lint(struct lapic *lapic, unsigned pin);

/* Virtual wire mode (MP specification, 3.6.2.2) as firmware leaves it: enabled, LINT0 ExtINT on the bootstrap
 * processor, LINT1 NMI. For boots without firmware, after reset. */
void lapic_virtual_wire(struct lapic *lapic);

/* The register page; the same as intc_ops.mmio_read and mmio_write. */
uint64_t lapic_mmio_read(struct lapic *lapic, uint64_t offset, unsigned size);
void lapic_mmio_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size);

/* IA32_APIC_BASE.EN: CPUID.1:EDX[9] follows it. Any thread. */
bool lapic_enabled(const struct lapic *lapic);

#endif
