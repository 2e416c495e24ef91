/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_LAPIC_STATE_H
#define VISOR_DEV_PC_LAPIC_STATE_H

#include "base/util.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "bus/intc.h"
#include "dev/pc/lapic.h"

/*
 * The local APIC's insides, shared by lapic.c (priorities, acceptance),
 * lapic_regs.c (registers) and lapic_timer.c. What is declared here wants
 * lapic->lock held unless it says otherwise.
 */

/* Register numbers: offset in the page >> 4, MSR - 0x800 (SDM 3A, tables 11-1 and 11-6). */
enum lapic_register {
	LAPIC_ID = 0x02, LAPIC_VERSION = 0x03, LAPIC_TPR = 0x08, LAPIC_APR = 0x09, LAPIC_PPR = 0x0a, LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c, LAPIC_LDR = 0x0d, LAPIC_DFR = 0x0e, LAPIC_SVR = 0x0f, LAPIC_ISR = 0x10, LAPIC_TMR = 0x18,
	LAPIC_IRR = 0x20, LAPIC_ESR = 0x28, LAPIC_ICR_LOW = 0x30, LAPIC_ICR_HIGH = 0x31, LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_THERMAL = 0x33, LAPIC_LVT_PERF = 0x34, LAPIC_LVT_LINT0 = 0x35, LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37, LAPIC_TIMER_INITIAL = 0x38, LAPIC_TIMER_CURRENT = 0x39, LAPIC_TIMER_DIVIDE = 0x3e,
	LAPIC_SELF_IPI = 0x3f,
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_REMOTE_IRR BIT(14)
#define LVT_LEVEL BIT(15)
#define LVT_MASK BIT(16)
#define LVT_MODE(lvt) ((lvt) >> 8 & 7)
#define LVT_TIMER_MODE(lvt) ((lvt) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

#define SVR_ENABLE BIT(8)

#define ESR_SEND_ILLEGAL BIT(5)
#define ESR_RECEIVE_ILLEGAL BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)

#define APIC_BASE_BSP BIT64(8)
#define APIC_BASE_EXTD BIT64(10)
#define APIC_BASE_EN BIT64(11)
#define APIC_BASE_ADDRESS(base) ((base) & ~0xfffull)

struct lapic {
	struct device device;
	struct lapic_config config;
	struct lock lock;
	struct timer timer;

	_Atomic uint64_t base;     /* IA32_APIC_BASE */
	uint32_t irr[8], isr[8], tmr[8];
	uint32_t tpr, ldr, dfr, svr;
	uint32_t esr, esr_pending; /* what is read; what the next write to the ESR shows */
	uint64_t icr;
	uint32_t lvt[LVT_COUNT];
	bool lint[2];              /* levels of the pins */
	bool extint;               /* an ExtINT message waits for its acknowledge cycle */

	uint32_t timer_initial, timer_divide;
	uint64_t timer_start;      /* virtual time at which the count was timer_initial */
	bool timer_running;
	uint64_t tsc_deadline;     /* the MSR; 0: not armed */
	uint64_t tsc_expiry;       /* virtual time of tsc_deadline */
};

static inline bool lapic_is_x2(const struct lapic *lapic)
{
	return lapic->base & APIC_BASE_EXTD;
}

/* Enabled by the base MSR and by software. */
static inline bool lapic_is_on(const struct lapic *lapic)
{
	return lapic->base & APIC_BASE_EN && lapic->svr & SVR_ENABLE;
}

/* --- lapic.c --- */

extern const struct intc_ops lapic_intc_ops;

/* Registers after power-on, INIT, or the way out of the disabled state. */
void lapic_reset_registers(struct lapic *lapic);
/* Tells the processor when something has become deliverable. */
void lapic_notify(struct lapic *lapic);
/* A fixed interrupt into the IRR. */
void lapic_accept_fixed(struct lapic *lapic, unsigned vector, bool level);
/* An interrupt of the local vector table. */
void lapic_deliver_lvt(struct lapic *lapic, enum lvt entry);
/* Looks again at what LINT0 and LINT1 ask for, after a change of their entries. */
void lapic_lint_changed(struct lapic *lapic, unsigned pin);
void lapic_error(struct lapic *lapic, uint32_t bit);
uint32_t lapic_ppr(const struct lapic *lapic);
/* Ends the highest interrupt in service. Returns the vector to broadcast when it was level-triggered, else -1. */
int lapic_end_of_interrupt(struct lapic *lapic);

/* A message from the bus; takes the lock. */
void lapic_deliver(struct lapic *lapic, const struct apic_message *message);
/* Does this LAPIC answer to the destination? Takes the lock. */
bool lapic_matches(struct lapic *lapic, uint32_t destination, bool logical);
/* Processor priority for lowest-priority arbitration; 256 when it accepts nothing. Takes the lock. */
unsigned lapic_priority(struct lapic *lapic);

/* --- lapic_regs.c; these take the lock themselves --- */

int lapic_read_msr(void *opaque, uint32_t msr, uint64_t *value);
int lapic_write_msr(void *opaque, uint32_t msr, uint64_t value);
void lapic_set_tpr(struct lapic *lapic, uint32_t value);

/* --- lapic_timer.c --- */

void lapic_timer_fire(void *opaque);
/* (Re-)arms or cancels after any change of the timer's registers. */
void lapic_timer_update(struct lapic *lapic);
uint32_t lapic_timer_current(struct lapic *lapic);
void lapic_timer_set_initial(struct lapic *lapic, uint32_t value);
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value);
/* The timer's entry changed from `old`. */
void lapic_timer_mode_changed(struct lapic *lapic, uint32_t old);
void lapic_timer_set_deadline(struct lapic *lapic, uint64_t tsc);

#endif
