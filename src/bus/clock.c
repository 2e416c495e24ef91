/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/clock.h"

#include <stdlib.h>

void vclock_init(struct vclock *clock, const struct vclock_source *source)
{
	*clock = (struct vclock){ .source = *source, .awaited = UINT64_MAX };
	lock_init(&clock->lock);
}

void vclock_destroy(struct vclock *clock)
{
	free(clock->heap);
	lock_destroy(&clock->lock);
}

static uint64_t now_locked(const struct vclock *clock)
{
	if (!clock->running)
		return clock->base_virtual;
	return clock->base_virtual + clock->source.now(clock->source.opaque) - clock->base_host;
}

uint64_t vclock_now(struct vclock *clock)
{
	lock_take(&clock->lock);
	uint64_t now = now_locked(clock);
	lock_release(&clock->lock);
	return now;
}

static void wake(struct vclock *clock)
{
	if (clock->source.wake)
		clock->source.wake(clock->source.opaque);
}

void vclock_start(struct vclock *clock)
{
	lock_take(&clock->lock);
	if (!clock->running) {
		clock->base_host = clock->source.now(clock->source.opaque);
		clock->running = true;
	}
	lock_release(&clock->lock);
	wake(clock);
}

void vclock_stop(struct vclock *clock)
{
	lock_take(&clock->lock);
	clock->base_virtual = now_locked(clock);
	clock->running = false;
	lock_release(&clock->lock);
}

void vclock_set(struct vclock *clock, uint64_t now)
{
	lock_take(&clock->lock);
	clock->base_virtual = now;
	if (clock->running)
		clock->base_host = clock->source.now(clock->source.opaque);
	lock_release(&clock->lock);
}

static void place(struct vclock *clock, unsigned at, struct timer *timer)
{
	clock->heap[at] = timer;
	timer->index = at + 1;
}

static void sift_up(struct vclock *clock, unsigned at)
{
	struct timer *timer = clock->heap[at];
	while (at && timer->deadline < clock->heap[(at - 1) / 2]->deadline) {
		place(clock, at, clock->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(clock, at, timer);
}

static void sift_down(struct vclock *clock, unsigned at)
{
	struct timer *timer = clock->heap[at];
	for (;;) {
		unsigned child = 2 * at + 1;
		if (child >= clock->count)
			break;
		if (child + 1 < clock->count && clock->heap[child + 1]->deadline < clock->heap[child]->deadline)
			child++;
		if (timer->deadline <= clock->heap[child]->deadline)
			break;
		place(clock, at, clock->heap[child]);
		at = child;
	}
	place(clock, at, timer);
}

static void heap_remove(struct vclock *clock, struct timer *timer)
{
	unsigned at = timer->index - 1;
	timer->index = 0;
	struct timer *last = clock->heap[--clock->count];
	if (last == timer)
		return;
	place(clock, at, last);
	sift_up(clock, at);
	sift_down(clock, last->index - 1);
}

void timer_init(struct timer *timer, struct vclock *clock, struct lock *lock, timer_fn *fn, void *opaque)
{
	*timer = (struct timer){ .clock = clock, .lock = lock, .fn = fn, .opaque = opaque };
}

/* Room is made when the heap grows, by doubling; a machine has a few dozen timers. */
static void heap_insert(struct vclock *clock, struct timer *timer)
{
	if (clock->count == clock->room) {
		unsigned room = clock->room ? clock->room * 2 : 32;
		struct timer **heap = realloc(clock->heap, room * sizeof(*heap));
		if (!heap)
			return;
		clock->heap = heap;
		clock->room = room;
	}
	place(clock, clock->count++, timer);
	sift_up(clock, timer->index - 1);
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
	struct vclock *clock = timer->clock;
	lock_take(&clock->lock);
	if (timer->index)
		heap_remove(clock, timer);
	timer->deadline = deadline;
	heap_insert(clock, timer);
	bool earlier = deadline < clock->awaited;
	if (earlier)
		clock->awaited = deadline;
	lock_release(&clock->lock);
	if (earlier)
		wake(clock);
}

void timer_cancel(struct timer *timer)
{
	struct vclock *clock = timer->clock;
	lock_take(&clock->lock);
	if (timer->index)
		heap_remove(clock, timer);
	lock_release(&clock->lock);
}

/* The device's lock is taken before the clock's, so the earliest timer is looked at
 * without, and looked at again with its device's lock held. */
static bool fire_one(struct vclock *clock, uint64_t *next)
{
	lock_take(&clock->lock);
	struct timer *timer = clock->count && clock->running ? clock->heap[0] : NULL;
	uint64_t now = now_locked(clock);
	bool due = timer && timer->deadline <= now;
	*next = timer ? (due ? 0 : timer->deadline - now) : UINT64_MAX;
	clock->awaited = timer ? timer->deadline : UINT64_MAX;
	lock_release(&clock->lock);
	if (!due)
		return false;
	lock_take(timer->lock);
	lock_take(&clock->lock);
	due = timer->index && timer->deadline <= now;
	if (due)
		heap_remove(clock, timer);
	lock_release(&clock->lock);
	if (due)
		timer->fn(timer->opaque);
	lock_release(timer->lock);
	return true;
}

/* Timers that are due again at once, as many short periods on a slow host, must not keep the thread from its other work. */
#define MOST_AT_ONCE 256

uint64_t vclock_run(struct vclock *clock)
{
	uint64_t next = 0;
	for (unsigned i = 0; i < MOST_AT_ONCE && fire_one(clock, &next); i++)
		;
	return next;
}
