/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/lapic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/pc/lapic_state.h"

/* The highest vector set, or -1. */
static int highest(const uint32_t set[8])
{
	for (int i = 7; i >= 0; i--)
		if (set[i])
			return i * 32 + 31 - __builtin_clz(set[i]);
	return -1;
}

static void bit_set(uint32_t set[8], unsigned vector)
{
	set[vector / 32] |= BIT(vector % 32);
}

static void bit_clear(uint32_t set[8], unsigned vector)
{
	set[vector / 32] &= ~BIT(vector % 32);
}

static bool bit_test(const uint32_t set[8], unsigned vector)
{
	return set[vector / 32] & BIT(vector % 32);
}

uint32_t lapic_ppr(const struct lapic *lapic)
{
	int serviced = highest(lapic->isr);
	uint32_t class = serviced < 0 ? 0 : (uint32_t)serviced & 0xf0;
	return (lapic->tpr & 0xf0) >= class ? lapic->tpr : class;
}

/* The fixed interrupt above the processor's priority, or -1. */
static int deliverable(const struct lapic *lapic)
{
	int vector = highest(lapic->irr);
	if (vector < 0 || !lapic_is_on(lapic))
		return -1;
	return ((unsigned)vector & 0xf0) > (lapic_ppr(lapic) & 0xf0) ? vector : -1;
}

/* The 8259 asks for an acknowledge cycle. With the APIC disabled LINT0 is the processor's INTR pin (11.4.3). */
static bool extint_pending(const struct lapic *lapic)
{
	uint32_t lint0 = lapic->lvt[LVT_LINT0];
	if (!(lapic->base & APIC_BASE_EN))
		return lapic->lint[0];
	return lapic->extint || (lapic->lint[0] && !(lint0 & LVT_MASK) && LVT_MODE(lint0) == APIC_EXTINT);
}

static bool pending(const struct lapic *lapic)
{
	return extint_pending(lapic) || deliverable(lapic) >= 0;
}

void lapic_notify(struct lapic *lapic)
{
	if (pending(lapic))
		cpu_pins_signal(&lapic->config.pins, CPU_SIGNAL_INTR, 0);
}

void lapic_error(struct lapic *lapic, uint32_t bit)
{
	bool news = !(lapic->esr_pending & bit);
	lapic->esr_pending |= bit;
	if (news) /* also ends the recursion of an error entry with an illegal vector */
		lapic_deliver_lvt(lapic, LVT_ERROR);
}

static void request(struct lapic *lapic, unsigned vector, bool level)
{
	if (vector < 16) {
		lapic_error(lapic, ESR_RECEIVE_ILLEGAL);
		return;
	}
	bit_set(lapic->irr, vector);
	if (level)
		bit_set(lapic->tmr, vector);
	else
		bit_clear(lapic->tmr, vector);
}

void lapic_accept_fixed(struct lapic *lapic, unsigned vector, bool level)
{
	request(lapic, vector, level);
	lapic_notify(lapic);
}

void lapic_deliver_lvt(struct lapic *lapic, enum lvt entry)
{
	uint32_t lvt = lapic->lvt[entry];
	if (lvt & LVT_MASK || !(lapic->base & APIC_BASE_EN))
		return;
	/* Timer and error have no delivery mode; theirs reads as fixed. */
	switch (LVT_MODE(lvt)) {
	case APIC_FIXED:
		lapic_accept_fixed(lapic, lvt & 0xff, false);
		break;
	case APIC_NMI:
		cpu_pins_signal(&lapic->config.pins, CPU_SIGNAL_NMI, 0);
		break;
	case APIC_INIT:
		cpu_pins_signal(&lapic->config.pins, CPU_SIGNAL_INIT, 0);
		break;
	}
}

/* A level-triggered fixed local interrupt is sent once and again after its EOI. */
static void lint_level(struct lapic *lapic, unsigned pin)
{
	uint32_t *lvt = &lapic->lvt[LVT_LINT0 + pin];
	if (!lapic->lint[pin] || *lvt & (LVT_MASK | LVT_REMOTE_IRR) || !lapic_is_on(lapic))
		return;
	*lvt |= LVT_REMOTE_IRR;
	lapic_accept_fixed(lapic, *lvt & 0xff, true);
}

static bool lint_is_level(const struct lapic *lapic, unsigned pin)
{
	uint32_t lvt = lapic->lvt[LVT_LINT0 + pin];
	return LVT_MODE(lvt) == APIC_FIXED && lvt & LVT_LEVEL;
}

void lapic_lint_changed(struct lapic *lapic, unsigned pin)
{
	if (lint_is_level(lapic, pin))
		lint_level(lapic, pin);
	lapic_notify(lapic);
}

static void lint_set(void *opaque, unsigned pin, int level)
{
	struct lapic *lapic = opaque;
	lock_take(&lapic->lock);
	bool rise = level && !lapic->lint[pin];
	lapic->lint[pin] = level;
	if (!(lapic->base & APIC_BASE_EN)) {
		if (pin == 1 && rise) /* LINT1 is the NMI pin */
			cpu_pins_signal(&lapic->config.pins, CPU_SIGNAL_NMI, 0);
	} else if (lint_is_level(lapic, pin)) {
		lint_level(lapic, pin);
	} else if (rise) {
		lapic_deliver_lvt(lapic, LVT_LINT0 + pin);
	}
	if (rise)
		lapic_notify(lapic);
	lock_release(&lapic->lock);
}

struct irq_line lapic_lint(struct lapic *lapic, unsigned pin)
{
	return (struct irq_line){ lint_set, lapic, pin & 1 };
}

int lapic_end_of_interrupt(struct lapic *lapic)
{
	int vector = highest(lapic->isr);
	if (vector < 0)
		return -1;
	bit_clear(lapic->isr, (unsigned)vector);
	bool level = bit_test(lapic->tmr, (unsigned)vector);
	for (unsigned pin = 0; level && pin < 2; pin++) {
		uint32_t *lvt = &lapic->lvt[LVT_LINT0 + pin];
		if (*lvt & LVT_REMOTE_IRR && (int)(*lvt & 0xff) == vector) {
			*lvt &= ~LVT_REMOTE_IRR;
			lint_level(lapic, pin);
		}
	}
	lapic_notify(lapic);
	return level ? vector : -1;
}

void lapic_deliver(struct lapic *lapic, const struct apic_message *message)
{
	const struct cpu_pins *pins = &lapic->config.pins;
	bool notify = false;
	lock_take(&lapic->lock);
	bool enabled = lapic->base & APIC_BASE_EN;
	switch (enabled ? message->mode : APIC_RESERVED) {
	case APIC_FIXED: case APIC_LOWEST:
		if (lapic_is_on(lapic)) {
			request(lapic, message->vector, message->level);
			notify = pending(lapic);
		}
		break;
	case APIC_NMI:
		cpu_pins_signal(pins, CPU_SIGNAL_NMI, 0);
		break;
	case APIC_INIT:
		if (message->assert || !message->level) /* the de-assert does nothing since the Pentium 4 (11.6.1) */
			cpu_pins_signal(pins, CPU_SIGNAL_INIT, 0);
		break;
	case APIC_SIPI:
		cpu_pins_signal(pins, CPU_SIGNAL_SIPI, message->vector);
		break;
	case APIC_EXTINT:
		lapic->extint = true;
		notify = pending(lapic);
		break;
	}
	lock_release(&lapic->lock);
	if (notify) /* whoever wakes by this wants the lock at once */
		cpu_pins_signal(pins, CPU_SIGNAL_INTR, 0);
}

static bool matches_logical(const struct lapic *lapic, uint32_t destination)
{
	if (lapic_is_x2(lapic)) {
		uint32_t id = lapic->config.id;
		return destination >> 16 == id >> 4 && destination & BIT(id & 15);
	}
	uint32_t own = lapic->ldr >> 24;
	if (lapic->dfr >> 28 == 0xf) /* flat model */
		return own & destination & 0xff;
	return own >> 4 == (destination >> 4 & 15) && own & destination & 15;
}

bool lapic_matches(struct lapic *lapic, uint32_t destination, bool logical)
{
	lock_take(&lapic->lock);
	bool match = true;
	if (destination != APIC_DEST_ALL)
		match = logical ? matches_logical(lapic, destination)
				: destination == lapic->config.id;
	lock_release(&lapic->lock);
	return match;
}

unsigned lapic_priority(struct lapic *lapic)
{
	lock_take(&lapic->lock);
	unsigned priority = lapic_is_on(lapic) ? lapic_ppr(lapic) : 256;
	lock_release(&lapic->lock);
	return priority;
}

static bool intc_pending(void *opaque)
{
	struct lapic *lapic = opaque;
	lock_take(&lapic->lock);
	bool pending = extint_pending(lapic) || deliverable(lapic) >= 0;
	lock_release(&lapic->lock);
	return pending;
}

/* The 8259's lock comes before this one, so its cycle runs without. */
static int intc_acknowledge(void *opaque)
{
	struct lapic *lapic = opaque;
	lock_take(&lapic->lock);
	bool external = extint_pending(lapic) && lapic->config.extint;
	lapic->extint = false;
	int vector = external ? -1 : deliverable(lapic);
	if (vector >= 0) {
		bit_clear(lapic->irr, (unsigned)vector);
		bit_set(lapic->isr, (unsigned)vector);
		lapic_notify(lapic);
	}
	lock_release(&lapic->lock);
	if (external) {
		vector = lapic->config.extint(lapic->config.extint_opaque);
		lock_take(&lapic->lock);
		lapic_notify(lapic);
		lock_release(&lapic->lock);
	}
	return vector;
}

static uint64_t intc_get_cr8(void *opaque)
{
	return ((struct lapic *)opaque)->tpr >> 4;
}

static void intc_set_cr8(void *opaque, uint64_t value)
{
	lapic_set_tpr(opaque, (uint32_t)(value & 15) << 4);
}

static void intc_init(void *opaque)
{
	struct lapic *lapic = opaque;
	lock_take(&lapic->lock);
	lapic_reset_registers(lapic);
	lock_release(&lapic->lock);
}

static uint64_t intc_mmio_base(void *opaque)
{
	uint64_t base = ((struct lapic *)opaque)->base;
	return (base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN ? APIC_BASE_ADDRESS(base) : UINT64_MAX;
}

static uint64_t intc_mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	return lapic_mmio_read(opaque, offset, size);
}

static void intc_mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	lapic_mmio_write(opaque, offset, value, size);
}

const struct intc_ops lapic_intc_ops = {
	.pending = intc_pending,
	.acknowledge = intc_acknowledge,
	.get_cr8 = intc_get_cr8,
	.set_cr8 = intc_set_cr8,
	.read_msr = lapic_read_msr,
	.write_msr = lapic_write_msr,
	.init = intc_init,
	.mmio_base = intc_mmio_base,
	.mmio_read = intc_mmio_read,
	.mmio_write = intc_mmio_write,
};

struct intc lapic_intc(struct lapic *lapic)
{
	return (struct intc){ &lapic_intc_ops, lapic };
}

bool lapic_enabled(const struct lapic *lapic)
{
	return lapic->base & APIC_BASE_EN;
}

void lapic_virtual_wire(struct lapic *lapic)
{
	lock_take(&lapic->lock);
	lapic->svr |= SVR_ENABLE;
	lapic->lvt[LVT_LINT0] = lapic->config.bsp ? APIC_EXTINT << 8 : LVT_MASK | APIC_EXTINT << 8;
	lapic->lvt[LVT_LINT1] = APIC_NMI << 8;
	lock_release(&lapic->lock);
}

static const struct field lapic_fields[] = {
	FIELD_RESET(struct lapic, base, LAPIC_BASE | APIC_BASE_EN),
	FIELD_ARRAY(struct lapic, irr),
	FIELD_ARRAY(struct lapic, isr),
	FIELD_ARRAY(struct lapic, tmr),
	FIELD(struct lapic, tpr),
	FIELD(struct lapic, ldr),
	FIELD_RESET(struct lapic, dfr, 0xffffffff),
	FIELD_RESET(struct lapic, svr, 0xff),
	FIELD(struct lapic, esr),
	FIELD(struct lapic, esr_pending),
	FIELD(struct lapic, icr),
	FIELD_ARRAY_RESET(struct lapic, lvt, LVT_MASK),
	FIELD_ARRAY_KEEP(struct lapic, lint), /* they are the board's to drive */
	FIELD(struct lapic, extint),
	FIELD(struct lapic, timer_initial),
	FIELD(struct lapic, timer_divide),
	FIELD(struct lapic, timer_start),
	FIELD(struct lapic, timer_running),
	FIELD(struct lapic, tsc_deadline),
	FIELD(struct lapic, tsc_expiry),
	FIELD_END
};

void lapic_reset_registers(struct lapic *lapic)
{
	uint64_t base = lapic->base;
	fields_reset(lapic_fields, lapic);
	lapic->base = base;
	timer_cancel(&lapic->timer);
}

static void lapic_reset(void *device)
{
	struct lapic *lapic = device;
	lapic_reset_registers(lapic);
	lapic->base = LAPIC_BASE | APIC_BASE_EN | (lapic->config.bsp ? APIC_BASE_BSP : 0);
}

static int lapic_loaded(void *device, struct error *err)
{
	struct lapic *lapic = device;
	bool extended = lapic->base & APIC_BASE_EXTD;
	if ((extended && (!(lapic->base & APIC_BASE_EN) || !lapic->config.x2apic)) ||
	    !!(lapic->base & APIC_BASE_BSP) != lapic->config.bsp || lapic->irr[0] & 0xffff || lapic->isr[0] & 0xffff)
		return error_set(err, EINVAL, "%s: impossible state in the saved machine; the file is damaged or from a "
				 "machine with another CPU model", lapic->device.name);
	if (lapic->timer_running && !lapic->timer_initial)
		return error_set(err, EINVAL, "%s: a timer runs without a count; the file is damaged", lapic->device.name);
	lapic_timer_update(lapic);
	lapic_notify(lapic);
	return 0;
}

static void lapic_destroy(void *device)
{
	struct lapic *lapic = device;
	timer_cancel(&lapic->timer);
	lock_destroy(&lapic->lock);
	free(lapic);
}

static const struct device_type lapic_type = {
	.name = "lapic",
	.fields = lapic_fields,
	.reset = lapic_reset,
	.loaded = lapic_loaded,
	.destroy = lapic_destroy,
};

struct lapic *lapic_create(const struct lapic_config *config, struct error *err)
{
	if (config->bus->count == APIC_BUS_MAX || config->id >= APIC_BUS_MAX) {
		error_set(err, EINVAL, "lapic%u: there is room for %u processors", config->id, APIC_BUS_MAX);
		return NULL;
	}
	struct lapic *lapic = calloc(1, sizeof(*lapic));
	if (!lapic) {
		error_set(err, ENOMEM, "lapic%u: out of memory", config->id);
		return NULL;
	}
	char name[24];
	snprintf(name, sizeof(name), "lapic%u", config->id);
	lock_init(&lapic->lock);
	device_init(&lapic->device, &lapic_type, name, &lapic->lock);
	lapic->config = *config;
	if (!lapic->config.timer_hz)
		lapic->config.timer_hz = NS_PER_SEC;
	if (!lapic->config.phys_bits)
		lapic->config.phys_bits = 36;
	timer_init(&lapic->timer, config->clock, &lapic->lock, lapic_timer_fire, lapic);
	config->bus->lapics[config->bus->count++] = lapic;
	lapic_reset(lapic);
	return lapic;
}
