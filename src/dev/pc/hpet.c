/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/hpet.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/*
 * The main counter is an offset to the virtual clock while it runs and a value
 * while it stands. For each comparator `fired` tells whether the present value
 * has been met, and a host timer is armed for the next meeting.
 *
 * In edge mode the line stays up after an interrupt and falls just before the
 * next: an edge like any other for the I/O APIC, and for the 8259, which drops
 * a request whose line falls before the acknowledge.
 */
#define HPET_HZ 100000000ull
#define PERIOD_FS 10000000ull  /* 1e15 / HPET_HZ */
#define TICK_NS (NS_PER_SEC / HPET_HZ)

/* Registers (IA-PC HPET 1.0a, 2.3). */
#define REG_CAPABILITIES 0x000u
#define REG_CONFIG 0x010u
#define REG_STATUS 0x020u
#define REG_COUNTER 0x0f0u
#define REG_TIMERS 0x100u
#define REG_TIMER_CONFIG 0x00u
#define REG_TIMER_COMPARATOR 0x08u

#define CAPABILITIES (0x01ull | (HPET_TIMERS - 1) << 8 | BIT64(13) | BIT64(15) | 0x8086ull << 16 | PERIOD_FS << 32)
#define CONFIG_ENABLE BIT(0)
#define CONFIG_LEGACY BIT(1)

#define TIMER_LEVEL BIT(1)
#define TIMER_ENABLE BIT(2)
#define TIMER_PERIODIC BIT(3)
#define TIMER_PERIODIC_CAP BIT(4)
#define TIMER_64BIT_CAP BIT(5)
#define TIMER_SET_VALUE BIT(6)
#define TIMER_32BIT BIT(8)
#define TIMER_ROUTE(config) ((config) >> 9 & 31)
#define TIMER_WRITABLE 0x3f4eu /* type, enable, periodic, value set, 32 bits, route */

#define DEFAULT_ROUTES 0x00f00000u
#define MIN_PERIOD 1000u       /* ticks: a faster one would only keep the host busy */
#define PINS 24u

struct hpet_timer {
	uint32_t config;
	bool fired;             /* the comparator's value has been met */
	bool up;                /* our output's level */
	uint8_t pin;            /* where it goes while up: 0..23, or PIN_IRQ0, PIN_IRQ8 */
	uint64_t comparator, period;
};
enum { PIN_IRQ0 = PINS, PIN_IRQ8 };

struct hpet {
	struct device device;
	uint32_t config, status;
	uint64_t counter;       /* while it stands; else its value at virtual time `since` */
	uint64_t since;
	struct hpet_timer timer[HPET_TIMERS];
	bool legacy_level[2];   /* outputs of the 8254 and the RTC */
	uint32_t pin_levels;    /* timers share a pin as a wired OR */
	struct timer alarm[HPET_TIMERS];
	struct alarm_arg { struct hpet *hpet; unsigned index; } alarm_arg[HPET_TIMERS];
	struct hpet_config handles;
	uint32_t routes;
	struct io_region region;
};

static bool running(const struct hpet *hpet)
{
	return hpet->config & CONFIG_ENABLE;
}

static uint64_t counter_at(const struct hpet *hpet, uint64_t now)
{
	return running(hpet) ? hpet->counter + (now - hpet->since) / TICK_NS : hpet->counter;
}

static uint64_t counter_now(const struct hpet *hpet)
{
	return counter_at(hpet, vclock_now(hpet->handles.clock));
}

/* --- Outputs. --- */

static void drive_pin(struct hpet *hpet, unsigned pin)
{
	bool level = false;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		level |= hpet->timer[i].up && hpet->timer[i].pin == pin;
	if (pin == PIN_IRQ0 || pin == PIN_IRQ8) {
		if (!(hpet->config & CONFIG_LEGACY))
			level = hpet->legacy_level[pin - PIN_IRQ0];
		irq_set(pin == PIN_IRQ0 ? &hpet->handles.irq0 : &hpet->handles.irq8, level);
	} else {
		irq_set(&hpet->handles.pins[pin], level);
	}
}

static void legacy_set(void *opaque, unsigned which, int level)
{
	struct hpet *hpet = opaque;
	lock_take(hpet->handles.lock);
	hpet->legacy_level[which] = level;
	drive_pin(hpet, PIN_IRQ0 + which);
	lock_release(hpet->handles.lock);
}

struct irq_line hpet_legacy_input(struct hpet *hpet, unsigned which)
{
	return (struct irq_line){ legacy_set, hpet, which & 1 };
}

static unsigned route(const struct hpet *hpet, unsigned index)
{
	if (hpet->config & CONFIG_LEGACY && index < 2)
		return PIN_IRQ0 + index;
	return TIMER_ROUTE(hpet->timer[index].config);
}

/* Writable bits keep the route a number that the timer offers; another reads back as what was there (2.3.8). */
static bool route_offered(const struct hpet *hpet, unsigned pin)
{
	return pin < PINS && hpet->routes & BIT(pin);
}

static void set_output(struct hpet *hpet, unsigned index, bool up)
{
	struct hpet_timer *t = &hpet->timer[index];
	unsigned old = t->pin;
	bool was = t->up;
	t->up = up;
	if (up)
		t->pin = (uint8_t)route(hpet, index);
	if (was && (!up || old != t->pin))
		drive_pin(hpet, old);
	if (up)
		drive_pin(hpet, t->pin);
}

static bool connected(const struct hpet *hpet, unsigned index)
{
	unsigned pin = route(hpet, index);
	return hpet->timer[index].config & TIMER_ENABLE && running(hpet) && (pin >= PINS || route_offered(hpet, pin));
}

static void interrupt(struct hpet *hpet, unsigned index)
{
	bool level = hpet->timer[index].config & TIMER_LEVEL;
	if (level)
		hpet->status |= BIT(index);
	if (!connected(hpet, index))
		return;
	if (!level)
		set_output(hpet, index, false);
	set_output(hpet, index, true);
}

/* After a change of configuration or status: an edge stays, a level follows its status bit. */
static void refresh_output(struct hpet *hpet, unsigned index)
{
	struct hpet_timer *t = &hpet->timer[index];
	bool up = t->config & TIMER_LEVEL ? hpet->status & BIT(index) : t->up && t->pin == route(hpet, index);
	set_output(hpet, index, up && connected(hpet, index));
}

/* --- Comparators. --- */

static uint64_t value_mask(const struct hpet_timer *t)
{
	return t->config & TIMER_32BIT ? 0xffffffff : UINT64_MAX;
}

/* Ticks until the comparator is met; a value at or behind the counter is met after the wrap. */
static uint64_t distance(const struct hpet_timer *t, uint64_t counter)
{
	return (t->comparator - counter - 1) & value_mask(t);
}

static void arm(struct hpet *hpet, unsigned index)
{
	struct hpet_timer *t = &hpet->timer[index];
	uint64_t now = vclock_now(hpet->handles.clock);
	uint64_t ticks = distance(t, counter_at(hpet, now));
	if (!running(hpet) || t->fired || ticks > INT64_MAX / TICK_NS) { /* or not for centuries */
		timer_cancel(&hpet->alarm[index]);
		return;
	}
	ticks++;
	uint64_t phase = (now - hpet->since) % TICK_NS; /* of the tick under way */
	if (t->config & TIMER_PERIODIC && t->period < MIN_PERIOD)
		ticks = MAX(ticks, MIN_PERIOD);
	timer_arm(&hpet->alarm[index], now - phase + ticks * TICK_NS);
}

/* Periodic: the comparator runs ahead of the counter by whole periods. One-shot: once, in 32-bit mode once a wrap. */
static void on_alarm(void *opaque)
{
	const struct alarm_arg *arg = opaque;
	struct hpet *hpet = arg->hpet;
	struct hpet_timer *t = &hpet->timer[arg->index];
	if (t->config & TIMER_PERIODIC && t->period) {
		uint64_t late = (counter_now(hpet) - t->comparator) & value_mask(t);
		t->comparator = (t->comparator + (late / t->period + 1) * t->period) & value_mask(t);
	} else if (!(t->config & TIMER_32BIT)) {
		t->fired = true;
	}
	interrupt(hpet, arg->index);
	arm(hpet, arg->index);
}

/* --- Registers. --- */

static void arm_all(struct hpet *hpet)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		arm(hpet, i);
}

static void write_config(struct hpet *hpet, uint32_t value)
{
	uint64_t now = vclock_now(hpet->handles.clock);
	uint32_t changed = (value ^ hpet->config) & (CONFIG_ENABLE | CONFIG_LEGACY);
	hpet->counter = counter_at(hpet, now);
	hpet->since = now;
	if (changed & CONFIG_LEGACY) /* whoever holds a legacy line lets go before it changes hands */
		for (unsigned i = 0; i < 2; i++)
			set_output(hpet, i, false);
	hpet->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		refresh_output(hpet, i);
	if (changed & CONFIG_LEGACY) {
		drive_pin(hpet, PIN_IRQ0);
		drive_pin(hpet, PIN_IRQ8);
	}
	arm_all(hpet);
}

static void write_timer_config(struct hpet *hpet, unsigned index, uint32_t value)
{
	struct hpet_timer *t = &hpet->timer[index];
	uint32_t config = (t->config & ~TIMER_WRITABLE) | (value & TIMER_WRITABLE);
	if (!route_offered(hpet, TIMER_ROUTE(value)))
		config = (config & ~0x3e00u) | (t->config & 0x3e00);
	t->config = config;
	if (config & TIMER_32BIT) {
		t->comparator &= 0xffffffff;
		t->period &= 0xffffffff;
	}
	t->fired = false;
	refresh_output(hpet, index);
	arm(hpet, index);
}

static uint64_t merge(uint64_t old, uint64_t value, uint64_t mask)
{
	return (old & ~mask) | (value & mask);
}

/* In periodic mode a write sets the period, and the comparator too when a write of VAL_SET announced it; that holds
 * for one write, also when it is one of two halves (2.3.9.2). */
static void write_comparator(struct hpet *hpet, unsigned index, uint64_t value, uint64_t mask)
{
	struct hpet_timer *t = &hpet->timer[index];
	if (!(t->config & TIMER_PERIODIC) || t->config & TIMER_SET_VALUE)
		t->comparator = merge(t->comparator, value, mask) & value_mask(t);
	if (t->config & TIMER_PERIODIC)
		t->period = merge(t->period, value, mask) & value_mask(t);
	t->config &= ~TIMER_SET_VALUE;
	t->fired = false;
	arm(hpet, index);
}

static void write_counter(struct hpet *hpet, uint64_t value)
{
	hpet->counter = value;
	hpet->since = vclock_now(hpet->handles.clock);
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		hpet->timer[i].fired = false;
	arm_all(hpet);
}

static void write_status(struct hpet *hpet, uint32_t value)
{
	hpet->status &= ~value;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		if (value & BIT(i) && hpet->timer[i].config & TIMER_LEVEL)
			refresh_output(hpet, i);
}

static uint64_t read_register(const struct hpet *hpet, unsigned reg)
{
	unsigned index = (reg - REG_TIMERS) / 0x20;
	switch (reg) {
	case REG_CAPABILITIES: return CAPABILITIES;
	case REG_CONFIG: return hpet->config;
	case REG_STATUS: return hpet->status;
	case REG_COUNTER: return counter_now(hpet);
	}
	if (reg < REG_TIMERS || index >= HPET_TIMERS)
		return 0;
	const struct hpet_timer *t = &hpet->timer[index];
	switch (reg & 0x1f) {
	case REG_TIMER_CONFIG:
		return t->config | TIMER_PERIODIC_CAP | TIMER_64BIT_CAP | (uint64_t)hpet->routes << 32;
	case REG_TIMER_COMPARATOR:
		return t->comparator;
	default:
		return 0; /* no FSB delivery */
	}
}

/* `mask` has ones for the half, or both halves, that is written. */
static void write_register(struct hpet *hpet, unsigned reg, uint64_t value, uint64_t mask)
{
	unsigned index = (reg - REG_TIMERS) / 0x20;
	switch (reg) {
	case REG_CONFIG: write_config(hpet, (uint32_t)merge(hpet->config, value, mask)); break;
	case REG_STATUS: write_status(hpet, (uint32_t)(value & mask)); break;
	case REG_COUNTER: write_counter(hpet, merge(counter_now(hpet), value, mask)); break;
	}
	if (reg < REG_TIMERS || index >= HPET_TIMERS)
		return;
	if ((reg & 0x1f) == REG_TIMER_CONFIG)
		write_timer_config(hpet, index, (uint32_t)merge(hpet->timer[index].config, value, mask));
	else if ((reg & 0x1f) == REG_TIMER_COMPARATOR)
		write_comparator(hpet, index, value, mask);
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_register(opaque, (unsigned)offset & ~7u) >> (offset & 7) * 8;
}

/* Accesses are aligned and 32 or 64 bits wide (2.3.1). */
static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	unsigned shift = (unsigned)(offset & 7) * 8;
	if (size >= 4 && !(offset & (size - 1)))
		write_register(opaque, (unsigned)offset & ~7u, value << shift, size_mask(size) << shift);
}

static const struct io_ops hpet_ops = { hpet_read, hpet_write, 8 };

static const struct field timer_fields[] = {
	FIELD(struct hpet_timer, config),
	FIELD(struct hpet_timer, fired),
	FIELD(struct hpet_timer, up),
	FIELD(struct hpet_timer, pin),
	FIELD_RESET(struct hpet_timer, comparator, UINT64_MAX),
	FIELD(struct hpet_timer, period),
	FIELD_END
};

static const struct field hpet_fields[] = {
	FIELD(struct hpet, config),
	FIELD(struct hpet, status),
	FIELD(struct hpet, counter),
	FIELD(struct hpet, since),
	FIELD_STRUCT_ARRAY(struct hpet, timer, timer_fields),
	FIELD_ARRAY_KEEP(struct hpet, legacy_level), /* the other timers' to drive */
	FIELD_END
};

static void hpet_reset(void *device)
{
	struct hpet *hpet = device;
	unsigned first = hpet->routes ? (unsigned)__builtin_ctz(hpet->routes) : 0;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		hpet->timer[i].config = first << 9;
		timer_cancel(&hpet->alarm[i]);
	}
	for (unsigned pin = 0; pin < PINS; pin++)
		if (hpet->routes & BIT(pin))
			drive_pin(hpet, pin);
	drive_pin(hpet, PIN_IRQ0);
	drive_pin(hpet, PIN_IRQ8);
}

static int hpet_loaded(void *device, struct error *err)
{
	struct hpet *hpet = device;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		const struct hpet_timer *t = &hpet->timer[i];
		if (t->config & ~TIMER_WRITABLE || t->pin > PIN_IRQ8 || !route_offered(hpet, TIMER_ROUTE(t->config)))
			return error_set(err, EINVAL, "hpet: timer %u has impossible state in the saved machine; "
					 "the file is damaged", i);
	}
	arm_all(hpet);
	return 0;
}

static void hpet_destroy(void *device)
{
	struct hpet *hpet = device;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_cancel(&hpet->alarm[i]);
	io_space_unmap(hpet->handles.mmio, &hpet->region);
	free(hpet);
}

static const struct device_type hpet_type = {
	.name = "hpet",
	.fields = hpet_fields,
	.reset = hpet_reset,
	.loaded = hpet_loaded,
	.destroy = hpet_destroy,
};

struct hpet *hpet_create(const struct hpet_config *config, struct error *err)
{
	struct hpet *hpet = calloc(1, sizeof(*hpet));
	if (!hpet) {
		error_set(err, ENOMEM, "hpet: out of memory");
		return NULL;
	}
	device_init(&hpet->device, &hpet_type, "hpet", config->lock);
	hpet->handles = *config;
	hpet->routes = config->route_cap & (BIT(PINS) - 1) ? config->route_cap & (BIT(PINS) - 1) : DEFAULT_ROUTES;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		hpet->alarm_arg[i] = (struct alarm_arg){ hpet, i };
		timer_init(&hpet->alarm[i], config->clock, config->lock, on_alarm, &hpet->alarm_arg[i]);
	}
	hpet->region = (struct io_region){ "hpet", &hpet_ops, hpet, config->lock, .base = HPET_BASE, .size = 0x400 };
	if (io_space_map(config->mmio, &hpet->region, err) < 0) {
		hpet_destroy(hpet);
		return NULL;
	}
	return hpet;
}
