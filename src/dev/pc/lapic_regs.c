/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "dev/pc/lapic_state.h"

/*
 * One set of registers behind two doors: the page (xAPIC) and MSRs (x2APIC).
 * The page ignores what is wrong and notes it in the ESR; the MSRs raise #GP.
 * Messages to other LAPICs and EOIs leave only after the own lock has been given
 * back: no two LAPICs' locks are held together, and the board's comes first.
 */
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u

#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_WRITABLE 0xccfffu /* delivery status (bit 12) is always idle */
enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* What is left to do without the lock. */
struct outcome {
	bool ipi;
	int eoi;
};

/* Bits of each entry of the local vector table that software may set, in the order of enum lvt. */
static const uint32_t lvt_writable[LVT_COUNT] = { 0x300ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

/* The entry at a register number, or -1. */
static int lvt_entry(unsigned reg)
{
	return reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR ? (int)(reg - LAPIC_LVT_TIMER) : -1;
}

static uint32_t lvt_mask(const struct lapic *lapic, int entry)
{
	uint32_t mask = lvt_writable[entry];
	if (entry == LVT_TIMER && lapic->config.tsc_delay)
		mask |= TIMER_TSC_DEADLINE << 17;
	return mask;
}

static uint32_t logical_id(const struct lapic *lapic)
{
	uint32_t id = lapic->config.id;
	return lapic_is_x2(lapic) ? (id >> 4) << 16 | BIT(id & 15) : lapic->ldr;
}

/* False when there is no such register to read. */
static bool read_register(struct lapic *lapic, unsigned reg, uint32_t *value)
{
	bool x2 = lapic_is_x2(lapic);
	if (lvt_entry(reg) >= 0) {
		*value = lapic->lvt[lvt_entry(reg)];
		return true;
	}
	switch (reg) {
	case LAPIC_ID: *value = x2 ? lapic->config.id : lapic->config.id << 24; break;
	case LAPIC_VERSION: *value = 0x14 | (LVT_COUNT - 1) << 16; break;
	case LAPIC_TPR: *value = lapic->tpr; break;
	case LAPIC_PPR: *value = lapic_ppr(lapic); break;
	case LAPIC_LDR: *value = logical_id(lapic); break;
	case LAPIC_SVR: *value = lapic->svr; break;
	case LAPIC_ISR ... LAPIC_ISR + 7: *value = lapic->isr[reg - LAPIC_ISR]; break;
	case LAPIC_TMR ... LAPIC_TMR + 7: *value = lapic->tmr[reg - LAPIC_TMR]; break;
	case LAPIC_IRR ... LAPIC_IRR + 7: *value = lapic->irr[reg - LAPIC_IRR]; break;
	case LAPIC_ESR: *value = lapic->esr; break;
	case LAPIC_ICR_LOW: *value = (uint32_t)lapic->icr; break;
	case LAPIC_TIMER_INITIAL: *value = lapic->timer_initial; break;
	case LAPIC_TIMER_CURRENT: *value = lapic_timer_current(lapic); break;
	case LAPIC_TIMER_DIVIDE: *value = lapic->timer_divide; break;
	case LAPIC_APR: case LAPIC_EOI: case LAPIC_RRD:
		*value = reg == LAPIC_APR ? lapic_ppr(lapic) : 0;
		return !x2;
	case LAPIC_DFR: *value = lapic->dfr; return !x2;
	case LAPIC_ICR_HIGH: *value = (uint32_t)(lapic->icr >> 32); return !x2;
	default: return false;
	}
	return true;
}

static void write_lvt(struct lapic *lapic, int entry, uint32_t value)
{
	uint32_t old = lapic->lvt[entry];
	value = (value & lvt_mask(lapic, entry)) | (old & LVT_REMOTE_IRR);
	if (!(lapic->svr & SVR_ENABLE))
		value |= LVT_MASK; /* software-disabled: attempts to unmask are ignored (11.4.7.2) */
	if (!(value & LVT_LEVEL))
		value &= ~LVT_REMOTE_IRR;
	lapic->lvt[entry] = value;
	if (entry == LVT_TIMER)
		lapic_timer_mode_changed(lapic, old);
	else if (entry == LVT_LINT0 || entry == LVT_LINT1)
		lapic_lint_changed(lapic, (unsigned)entry - LVT_LINT0);
}

static void write_svr(struct lapic *lapic, uint32_t value)
{
	lapic->svr = value & 0x3ff;
	if (!(value & SVR_ENABLE)) {
		for (unsigned i = 0; i < LVT_COUNT; i++)
			lapic->lvt[i] |= LVT_MASK;
		lapic_timer_update(lapic);
	}
	lapic_notify(lapic);
}

/* False when there is no such register to write. */
static bool write_register(struct lapic *lapic, unsigned reg, uint32_t value, struct outcome *out)
{
	bool x2 = lapic_is_x2(lapic);
	if (lvt_entry(reg) >= 0) {
		write_lvt(lapic, lvt_entry(reg), value);
		return true;
	}
	switch (reg) {
	case LAPIC_ID: return !x2; /* read-only, as on all recent processors */
	case LAPIC_TPR:
		lapic->tpr = value & 0xff;
		lapic_notify(lapic);
		break;
	case LAPIC_EOI: out->eoi = lapic_end_of_interrupt(lapic); break;
	case LAPIC_LDR: lapic->ldr = value & 0xff000000; return !x2;
	case LAPIC_DFR: lapic->dfr = value | 0x0fffffff; return !x2;
	case LAPIC_SVR: write_svr(lapic, value); break;
	case LAPIC_ESR:
		lapic->esr = lapic->esr_pending;
		lapic->esr_pending = 0;
		break;
	case LAPIC_ICR_LOW:
		lapic->icr = (lapic->icr & 0xffffffff00000000) | (value & ICR_WRITABLE);
		out->ipi = true;
		break;
	case LAPIC_ICR_HIGH: lapic->icr = (lapic->icr & 0xffffffff) | (uint64_t)(value & 0xff000000) << 32; return !x2;
	case LAPIC_TIMER_INITIAL: lapic_timer_set_initial(lapic, value); break;
	case LAPIC_TIMER_DIVIDE: lapic_timer_set_divide(lapic, value); break;
	default: return false;
	}
	return true;
}

/* The message of the ICR; false when it cannot be sent (SDM 3A, 11.6.1, tables 11-3 and 11-4). */
static bool icr_message(struct lapic *lapic, struct apic_message *message, unsigned *shorthand)
{
	uint32_t low = (uint32_t)lapic->icr, high = (uint32_t)(lapic->icr >> 32);
	*message = (struct apic_message){
		.destination = lapic_is_x2(lapic) ? high : high >> 24 == 0xff ? APIC_DEST_ALL : high >> 24,
		.logical = low & ICR_LOGICAL,
		.level = low & ICR_LEVEL,
		.assert = low & ICR_ASSERT,
		.mode = low >> 8 & 7,
		.vector = (uint8_t)low,
	};
	*shorthand = low >> 18 & 3;
	if (*shorthand != SHORTHAND_NONE) {
		message->destination = APIC_DEST_ALL;
		message->logical = false;
	}
	if (message->mode == APIC_RESERVED || message->mode == APIC_EXTINT)
		return false;
	if (message->mode == APIC_FIXED || message->mode == APIC_LOWEST) {
		message->level = false; /* IPIs are edge-triggered whatever the ICR says */
		if (message->vector < 16) {
			lapic_error(lapic, ESR_SEND_ILLEGAL);
			return false;
		}
		return true;
	}
	return *shorthand == SHORTHAND_NONE || *shorthand == SHORTHAND_OTHERS;
}

static void send_ipi(struct lapic *lapic)
{
	struct apic_message message;
	unsigned shorthand;
	lock_take(&lapic->lock);
	bool good = icr_message(lapic, &message, &shorthand);
	lock_release(&lapic->lock);
	if (!good)
		return;
	if (shorthand == SHORTHAND_SELF)
		lapic_deliver(lapic, &message);
	else
		apic_bus_send(lapic->config.bus, &message, shorthand == SHORTHAND_OTHERS ? lapic : NULL);
}

static void finish(struct lapic *lapic, const struct outcome *out)
{
	struct apic_bus *bus = lapic->config.bus;
	if (out->ipi)
		send_ipi(lapic);
	if (out->eoi >= 0 && bus->eoi)
		bus->eoi(bus->eoi_opaque, (unsigned)out->eoi);
}

/* Registers are 32 bits wide at multiples of 16; other accesses are undefined (11.4.1): parts of a register read as
 * such, the space between as zero. */
uint64_t lapic_mmio_read(struct lapic *lapic, uint64_t offset, unsigned size)
{
	uint32_t value = 0;
	lock_take(&lapic->lock);
	if (!read_register(lapic, (unsigned)(offset >> 4) & 0xff, &value))
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
	lock_release(&lapic->lock);
	return (offset & 12 ? 0 : value >> (offset & 3) * 8) & size_mask(size);
}

void lapic_mmio_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size)
{
	struct outcome out = { .eoi = -1 };
	if (offset & 15 || size < 4)
		return;
	lock_take(&lapic->lock);
	if (!write_register(lapic, (unsigned)(offset >> 4) & 0xff, (uint32_t)value, &out))
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
	lock_release(&lapic->lock);
	finish(lapic, &out);
}

void lapic_set_tpr(struct lapic *lapic, uint32_t value)
{
	/* What does not get through now did not before: that another thread sees the old value is of no account. */
	if (value >= lapic->tpr) {
		__atomic_store_n(&lapic->tpr, value, __ATOMIC_RELAXED);
		return;
	}
	lock_take(&lapic->lock);
	lapic->tpr = value;
	lapic_notify(lapic);
	lock_release(&lapic->lock);
}

/* Bits of an x2APIC register that software may set (11.12.1.2); the others raise #GP, as do read-only registers. */
static bool x2_writable(const struct lapic *lapic, unsigned reg, uint64_t *mask)
{
	int entry = lvt_entry(reg);
	if (entry >= 0) {
		/* Delivery status and remote IRR are read-only: writing them back is no error. */
		*mask = lvt_mask(lapic, entry) | BIT(12) | LVT_REMOTE_IRR;
		return true;
	}
	switch (reg) {
	case LAPIC_TPR: *mask = 0xff; break;
	case LAPIC_EOI: case LAPIC_ESR: *mask = 0; break;
	case LAPIC_SVR: *mask = 0x3ff; break;
	case LAPIC_ICR_LOW: *mask = 0xffffffff00000000 | ICR_WRITABLE; break;
	case LAPIC_TIMER_INITIAL: *mask = 0xffffffff; break;
	case LAPIC_TIMER_DIVIDE: *mask = 0xb; break;
	case LAPIC_SELF_IPI: *mask = 0xff; break;
	default: return false;
	}
	return true;
}

static int x2_write(struct lapic *lapic, unsigned reg, uint64_t value)
{
	struct outcome out = { .eoi = -1 };
	uint64_t mask = 0;
	if (!x2_writable(lapic, reg, &mask) || value & ~mask)
		return -1;
	lock_take(&lapic->lock);
	if (reg == LAPIC_ICR_LOW)
		lapic->icr = value & 0xffffffff00000000; /* the low half follows, and sends */
	if (reg != LAPIC_SELF_IPI)
		write_register(lapic, reg, (uint32_t)value, &out);
	else if (lapic_is_on(lapic))
		lapic_accept_fixed(lapic, (unsigned)value, false);
	lock_release(&lapic->lock);
	finish(lapic, &out);
	return 0;
}

static int x2_read(struct lapic *lapic, unsigned reg, uint64_t *value)
{
	uint32_t word = 0;
	lock_take(&lapic->lock);
	bool there = read_register(lapic, reg, &word);
	*value = reg == LAPIC_ICR_LOW ? lapic->icr : word;
	lock_release(&lapic->lock);
	return there ? 0 : -1;
}

/* The states of figure 11-27: disabled, xAPIC, x2APIC. */
static int write_base(struct lapic *lapic, uint64_t value)
{
	const uint64_t modes = APIC_BASE_EN | APIC_BASE_EXTD;
	uint64_t allowed = (BIT64(lapic->config.phys_bits) - 0x1000) | APIC_BASE_BSP | APIC_BASE_EN;
	uint64_t old = lapic->base & modes, new = value & modes;
	if (lapic->config.x2apic)
		allowed |= APIC_BASE_EXTD;
	if (value & ~allowed || new == APIC_BASE_EXTD || (new == modes && !old) || (old == modes && new == APIC_BASE_EN))
		return -1;
	lock_take(&lapic->lock);
	lapic->base = (value & ~APIC_BASE_BSP) | (lapic->config.bsp ? APIC_BASE_BSP : 0);
	if (old && !new)
		lapic_reset_registers(lapic);
	lapic_notify(lapic);
	lock_release(&lapic->lock);
	return 0;
}

int lapic_read_msr(void *opaque, uint32_t msr, uint64_t *value)
{
	struct lapic *lapic = opaque;
	if (msr == MSR_APIC_BASE) {
		*value = lapic->base;
		return 0;
	}
	if (msr == MSR_TSC_DEADLINE && lapic->config.tsc_delay) {
		lock_take(&lapic->lock);
		*value = lapic->tsc_deadline;
		lock_release(&lapic->lock);
		return 0;
	}
	if (msr - MSR_X2APIC < 0x100 && lapic_is_x2(lapic))
		return x2_read(lapic, msr - MSR_X2APIC, value);
	return -1;
}

int lapic_write_msr(void *opaque, uint32_t msr, uint64_t value)
{
	struct lapic *lapic = opaque;
	if (msr == MSR_APIC_BASE)
		return write_base(lapic, value);
	if (msr == MSR_TSC_DEADLINE && lapic->config.tsc_delay) {
		lock_take(&lapic->lock);
		lapic_timer_set_deadline(lapic, value);
		lock_release(&lapic->lock);
		return 0;
	}
	if (msr - MSR_X2APIC < 0x100 && lapic_is_x2(lapic))
		return x2_write(lapic, msr - MSR_X2APIC, value);
	return -1;
}
