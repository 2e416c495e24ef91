/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_INTC_H
#define VISOR_BUS_INTC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The two directions between a processor and its local interrupt controller.
 * The processor asks through `struct intc` on its own thread; the controller
 * signals through `struct cpu_pins` from any thread.
 */
struct intc_ops {
	/* True when an interrupt would be delivered if RFLAGS.IF were set: from the LAPIC above
	 * its processor priority, or from the 8259 through LINT0 as ExtINT. */
	bool (*pending)(void *opaque);
	/* Interrupt acknowledge: the vector (0..255) moves to in-service; -1 when nothing is pending any more. */
	int (*acknowledge)(void *opaque);
	/* CR8, the task priority class 0..15 (SDM 3A, 11.8.6). */
	uint64_t (*get_cr8)(void *opaque);
	void (*set_cr8)(void *opaque, uint64_t value);
	/* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and x2APIC MSRs 0x800..0x8ff.
	 * Negative: the access raises #GP(0). */
	int (*read_msr)(void *opaque, uint32_t msr, uint64_t *value);
	int (*write_msr)(void *opaque, uint32_t msr, uint64_t value);
	/* The xAPIC register page: its guest-physical base, UINT64_MAX while there is none (disabled, or x2APIC mode). The
	 * processor's own accesses to it come here and never reach the MMIO space. */
	uint64_t (*mmio_base)(void *opaque);
	uint64_t (*mmio_read)(void *opaque, uint64_t offset, unsigned size);
	void (*mmio_write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	/* INIT on the processor also resets its controller, ID and base excepted. */
	void (*init)(void *opaque);
};

struct intc {
	const struct intc_ops *ops;
	void *opaque;
};

enum cpu_signal {
	CPU_SIGNAL_INTR, /* level: re-evaluate intc_ops.pending */
	CPU_SIGNAL_NMI,
	CPU_SIGNAL_INIT,
	CPU_SIGNAL_SIPI, /* argument: vector, the start address is vector << 12 */
	CPU_SIGNAL_SMI,
};

struct cpu_pins {
	void (*signal)(void *opaque, enum cpu_signal signal, unsigned argument);
	void *opaque;
};

static inline void cpu_pins_signal(const struct cpu_pins *pins, enum cpu_signal signal, unsigned argument)
{
	if (pins->signal)
		pins->signal(pins->opaque, signal, argument);
}

#endif
