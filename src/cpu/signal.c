/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

/*
 * Events between two instructions. Other threads set bits in cpu.signals, then
 * in cpu.attention; cpu_take_events clears attention first and looks at signals
 * after, so that nothing is lost. A bit of signals stays until the event was
 * taken; what cannot be taken now is looked at again when RFLAGS.IF, the
 * interrupt shadow or the NMI block ends.
 */

#define ATTN_EVENTS (ATTN_INTR | ATTN_NMI | ATTN_INIT | ATTN_SIPI | ATTN_SMI | ATTN_STEP | ATTN_SHADOW)

static void pins_signal(void *opaque, enum cpu_signal signal, unsigned argument)
{
	static const uint32_t bits[] = {
		[CPU_SIGNAL_INTR] = ATTN_INTR, [CPU_SIGNAL_NMI] = ATTN_NMI, [CPU_SIGNAL_INIT] = ATTN_INIT,
		[CPU_SIGNAL_SIPI] = ATTN_SIPI, [CPU_SIGNAL_SMI] = ATTN_SMI,
	};
	struct cpu *c = opaque;
	if (signal == CPU_SIGNAL_SIPI)
		__atomic_store_n(&c->sipi_vector, (uint8_t)argument, __ATOMIC_RELAXED);
	atomic_fetch_or(&c->signals, bits[signal]);
	cpu_attention(c, bits[signal]);
	if (c->wake)
		c->wake(c->wake_opaque);
}

const struct cpu_pins cpu_pins_template = { .signal = pins_signal };

static void ignne_set(void *opaque, unsigned pin, int level)
{
	struct cpu *c = opaque;
	atomic_store_explicit(&c->ignne, level, memory_order_relaxed);
}

struct irq_line cpu_ignne(struct cpu *c)
{
	return (struct irq_line){ ignne_set, c, 0 };
}

static bool take_signal(struct cpu *c, uint32_t bit)
{
	return atomic_fetch_and(&c->signals, ~bit) & bit;
}

static void take_init(struct cpu *c)
{
	cpu_reset(c, false);
	if (c->intc.ops)
		c->intc.ops->init(c->intc.opaque);
}

static void take_sipi(struct cpu *c)
{
	if (!c->wait_for_sipi)
		return;
	c->wait_for_sipi = false;
	uint8_t vector = __atomic_load_n(&c->sipi_vector, __ATOMIC_RELAXED);
	cpu_load_segment_real(c, SEG_CS, (uint16_t)(vector << 8));
	c->gpr[REG_RIP] = 0;
	cpu_update_mode(c);
}

static void take_rare_signals(struct cpu *c)
{
	if (take_signal(c, ATTN_INIT))
		take_init(c);
	if (take_signal(c, ATTN_SIPI))
		take_sipi(c);
	if (!c->wait_for_sipi && !c->shutdown)
		take_signal(c, ATTN_SMI); /* there is no system management mode */
}

/* Traps that the instruction just done leaves behind. */
static void finish_instruction(struct cpu *c)
{
	if (c->rf_clear) {
		c->rflags &= ~FLAG_RF;
		c->rf_clear = false;
	}
	if (c->step_armed) {
		c->step_armed = false;
		c->db_pending |= DR6_BS;
	}
}

static void take_interrupt(struct cpu *c)
{
	take_signal(c, ATTN_INTR);
	int vector = c->intc.ops->acknowledge(c->intc.opaque);
	if (c->intc.ops->pending(c->intc.opaque)) {
		atomic_fetch_or(&c->signals, ATTN_INTR);
		cpu_attention(c, ATTN_INTR);
	}
	if (vector >= 0)
		cpu_deliver(c, EVENT_EXTERNAL, (unsigned)vector, 0);
}

static void take_interrupts(struct cpu *c, bool shadow)
{
	/* Even if nothing waits now: what comes before the next instruction has begun must find it done first. */
	if (shadow) {
		cpu_attention(c, ATTN_SHADOW);
		return;
	}
	uint32_t signals = atomic_load(&c->signals);
	if ((signals & ATTN_NMI) && !c->nmi_blocked) {
		take_signal(c, ATTN_NMI);
		cpu_deliver(c, EVENT_NMI, EXC_NMI, 0);
	}
	if ((signals & ATTN_INTR) && (c->rflags & FLAG_IF) && c->intc.ops)
		take_interrupt(c);
}

static void check_code_breakpoints(struct cpu *c)
{
	uint64_t rip = cpu_rip(c);
	uint64_t linear = c->code_mode == ISA_MODE_64 ? rip : (uint32_t)(c->seg[SEG_CS].base + rip);
	if ((c->dr[7] & DR7_ENABLES) && !(c->rflags & FLAG_RF) && cpu_debug_code(c, linear))
		cpu_deliver(c, EVENT_EXCEPTION, EXC_DB, 0);
}

/* The order is that of SDM 3A, table 6-2. */
bool cpu_take_events(struct cpu *c)
{
	c->insn = NULL;
	atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_EVENTS);
	if (atomic_load(&c->signals) & (ATTN_INIT | ATTN_SIPI | ATTN_SMI))
		take_rare_signals(c);
	if (c->wait_for_sipi || c->shutdown)
		return false;
	if (c->dr[7] & DR7_ENABLES)
		cpu_attention(c, ATTN_STEP);
	finish_instruction(c);
	bool shadow = c->interrupt_shadow, traps_wait = c->mov_ss_shadow;
	c->interrupt_shadow = c->mov_ss_shadow = false;
	if (c->db_pending && !traps_wait)
		cpu_deliver(c, EVENT_EXCEPTION, EXC_DB, 0);
	else if (c->db_pending)
		cpu_attention(c, ATTN_STEP);
	take_interrupts(c, shadow);
	if (c->halted)
		return false;
	if (!traps_wait)
		check_code_breakpoints(c);
	if (c->rflags & FLAG_RF) {
		c->rf_clear = true;
		cpu_attention(c, ATTN_STEP);
	}
	if (c->rflags & FLAG_TF) {
		c->step_armed = true;
		cpu_attention(c, ATTN_STEP);
	}
	return true;
}
