/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_CLOCK_H
#define VISOR_BUS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"

/*
 * The machine's one virtual clock, in nanoseconds since the machine was made.
 * All timers hang on it; stopping the machine stops it, a restored machine goes
 * on from the saved value. Where time comes from is given at creation, so that
 * a test can step it.
 */
struct vclock_source {
	uint64_t (*now)(void *opaque);  /* host time, ns, monotonic */
	void (*wake)(void *opaque);     /* the earliest deadline is earlier than vclock_run said last; may be NULL */
	void *opaque;
};

struct timer;

struct vclock {
	struct vclock_source source;
	struct lock lock;
	bool running;
	uint64_t base_host, base_virtual; /* virtual = base_virtual + host - base_host while running */
	struct timer **heap;              /* binary heap by deadline */
	unsigned count, room;
	uint64_t awaited;                 /* the deadline that vclock_run returned last, or an earlier one that was woken for */
};

typedef void timer_fn(void *opaque);

/*
 * A one-shot timer. The callback runs on the thread that calls vclock_run, with
 * `lock` taken; a timer cancelled or re-armed under the same lock never fires late.
 */
struct timer {
	struct vclock *clock;
	struct lock *lock;
	timer_fn *fn;
	void *opaque;
	uint64_t deadline;
	unsigned index; /* place in the heap + 1; 0: not armed */
};

void vclock_init(struct vclock *clock, const struct vclock_source *source);
void vclock_destroy(struct vclock *clock);

/* Virtual nanoseconds now. */
uint64_t vclock_now(struct vclock *clock);

/* Starts or stops the flow of virtual time. A new clock stands still. */
void vclock_start(struct vclock *clock);
void vclock_stop(struct vclock *clock);

/* Sets the virtual time of a stopped clock (after a restore). */
void vclock_set(struct vclock *clock, uint64_t now);

/* Fires what is due, up to some hundred timers; returns nanoseconds to the next deadline (0: it has passed, call again),
 * UINT64_MAX when there is none or the clock stands still. */
uint64_t vclock_run(struct vclock *clock);

void timer_init(struct timer *timer, struct vclock *clock, struct lock *lock, timer_fn *fn, void *opaque);
/* Arms (or re-arms) at an absolute virtual time; a time in the past fires at once, on the clock's thread. */
void timer_arm(struct timer *timer, uint64_t deadline);
void timer_cancel(struct timer *timer);
static inline bool timer_armed(const struct timer *timer) { return timer->index != 0; }

/* value * numerator / denominator without overflow in between: for ticks <-> ns. */
static inline uint64_t muldiv64(uint64_t value, uint64_t numerator, uint64_t denominator)
{
	return (uint64_t)((unsigned __int128)value * numerator / denominator);
}

/* The same rounded up, and UINT64_MAX >> 1 when it would be more: the first nanosecond of a tick. */
static inline uint64_t muldiv64_up(uint64_t value, uint64_t numerator, uint64_t denominator)
{
	unsigned __int128 result = ((unsigned __int128)value * numerator + denominator - 1) / denominator;
	return result > UINT64_MAX >> 1 ? UINT64_MAX >> 1 : (uint64_t)result;
}

#define NS_PER_SEC 1000000000ull

#endif
