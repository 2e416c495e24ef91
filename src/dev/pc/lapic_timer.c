/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "dev/pc/lapic_state.h"

/*
 * The count is not kept: it follows from the time since it was loaded (SDM 3A,
 * 11.5.4), which may lie before time 0 after a change of the divider; the
 * subtraction comes out right all the same. A shorter period than MIN_PERIOD_NS
 * would only keep the host busy.
 */
#define MIN_PERIOD_NS 10000u

static unsigned mode(const struct lapic *lapic)
{
	return LVT_TIMER_MODE(lapic->lvt[LVT_TIMER]);
}

/* Bits 0, 1 and 3 of the divide register: 2, 4, ... 128, 1. */
static uint64_t divisor(const struct lapic *lapic)
{
	unsigned code = (lapic->timer_divide & 3) | (lapic->timer_divide & 8) >> 1;
	return 1u << ((code + 1) & 7);
}

static uint64_t counts_to_ns(const struct lapic *lapic, uint64_t counts)
{
	return muldiv64_up(counts * divisor(lapic), NS_PER_SEC, lapic->config.timer_hz);
}

static uint64_t elapsed_counts(const struct lapic *lapic, uint64_t now)
{
	return muldiv64(now - lapic->timer_start, lapic->config.timer_hz, NS_PER_SEC) / divisor(lapic);
}

uint32_t lapic_timer_current(struct lapic *lapic)
{
	if (!lapic->timer_running || mode(lapic) > TIMER_PERIODIC)
		return 0;
	uint64_t counts = elapsed_counts(lapic, vclock_now(lapic->config.clock));
	if (mode(lapic) == TIMER_PERIODIC)
		return lapic->timer_initial - (uint32_t)(counts % lapic->timer_initial);
	return counts >= lapic->timer_initial ? 0 : lapic->timer_initial - (uint32_t)counts;
}

/* A masked timer counts on, but needs nobody to look at it. */
static void arm_count(struct lapic *lapic)
{
	uint64_t now = vclock_now(lapic->config.clock);
	uint64_t periods = elapsed_counts(lapic, now) / lapic->timer_initial;
	uint64_t due = lapic->timer_start + counts_to_ns(lapic, lapic->timer_initial);
	if (mode(lapic) == TIMER_PERIODIC) {
		due = lapic->timer_start + counts_to_ns(lapic, (periods + 1) * lapic->timer_initial);
		if (counts_to_ns(lapic, lapic->timer_initial) < MIN_PERIOD_NS)
			due = MAX(due, now + MIN_PERIOD_NS);
	} else if (periods && lapic->lvt[LVT_TIMER] & LVT_MASK) {
		lapic->timer_running = false; /* it ended unseen */
	}
	if (lapic->timer_running && !(lapic->lvt[LVT_TIMER] & LVT_MASK))
		timer_arm(&lapic->timer, due);
}

void lapic_timer_update(struct lapic *lapic)
{
	timer_cancel(&lapic->timer);
	if (mode(lapic) == TIMER_TSC_DEADLINE) {
		if (lapic->tsc_deadline)
			timer_arm(&lapic->timer, lapic->tsc_expiry);
	} else if (mode(lapic) <= TIMER_PERIODIC && lapic->timer_running && lapic->timer_initial) {
		arm_count(lapic); /* the fourth mode is reserved: it counts nothing */
	}
}

void lapic_timer_fire(void *opaque)
{
	struct lapic *lapic = opaque;
	if (mode(lapic) == TIMER_TSC_DEADLINE)
		lapic->tsc_deadline = 0;
	else if (mode(lapic) == TIMER_ONE_SHOT)
		lapic->timer_running = false;
	lapic_deliver_lvt(lapic, LVT_TIMER);
	lapic_timer_update(lapic);
}

void lapic_timer_set_initial(struct lapic *lapic, uint32_t value)
{
	if (mode(lapic) > TIMER_PERIODIC)
		return;
	lapic->timer_initial = value;
	lapic->timer_start = vclock_now(lapic->config.clock);
	lapic->timer_running = value != 0;
	lapic_timer_update(lapic);
}

/* The count so far stays; only its pace changes. */
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value)
{
	uint64_t now = vclock_now(lapic->config.clock);
	uint32_t done = lapic->timer_initial - lapic_timer_current(lapic);
	lapic->timer_divide = value & 0xb;
	lapic->timer_start = now - counts_to_ns(lapic, done);
	lapic_timer_update(lapic);
}

/* A change to or from TSC-deadline mode disarms the timer (11.5.4.1); from periodic to one-shot the count under
 * way is the last. */
void lapic_timer_mode_changed(struct lapic *lapic, uint32_t old)
{
	bool was = LVT_TIMER_MODE(old) == TIMER_TSC_DEADLINE;
	if (LVT_TIMER_MODE(old) == TIMER_PERIODIC && mode(lapic) == TIMER_ONE_SHOT && lapic->timer_running) {
		uint64_t counts = elapsed_counts(lapic, vclock_now(lapic->config.clock));
		lapic->timer_start += counts_to_ns(lapic, counts - counts % lapic->timer_initial);
	}
	if (was != (mode(lapic) == TIMER_TSC_DEADLINE)) {
		lapic->tsc_deadline = 0;
		lapic->timer_running = false;
		lapic->timer_initial = 0;
	}
	lapic_timer_update(lapic);
}

void lapic_timer_set_deadline(struct lapic *lapic, uint64_t deadline)
{
	const struct lapic_config *config = &lapic->config;
	if (mode(lapic) != TIMER_TSC_DEADLINE)
		return;
	lapic->tsc_deadline = deadline;
	if (deadline) {
		uint64_t delay = config->tsc_delay(config->tsc_opaque, deadline);
		lapic->tsc_expiry = vclock_now(config->clock) + delay;
		if (!delay) {
			lapic->tsc_deadline = 0;
			lapic_deliver_lvt(lapic, LVT_TIMER);
		}
	}
	lapic_timer_update(lapic);
}
