/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/waiter.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "host/time.h"

/* System calls: futex, sched_yield. */
#define CROWDED_NS 20000u
#define CROWDED_WAITS 100u

enum { WAITER_NOTHING, WAITER_WOKEN, WAITER_ASLEEP };

static void futex(struct waiter *w, int operation, uint32_t value)
{
	syscall(SYS_futex, &w->state, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void waiter_wake(struct waiter *w)
{
	if (atomic_exchange(&w->state, WAITER_WOKEN) == WAITER_ASLEEP)
		futex(w, FUTEX_WAKE, 1);
}

/* Whoever else wants this host CPU gets it, and may be the very thread that is to wake this one: then to look costs more
 * than to sleep, for some time. */
static bool others_run(struct waiter *w, uint64_t *now)
{
	sched_yield();
	uint64_t before = *now;
	*now = host_time_ns();
	if (*now - before < CROWDED_NS)
		return false;
	w->poll_ns = 0;
	w->crowded = CROWDED_WAITS;
	return true;
}

static bool woken(const struct waiter *w)
{
	return atomic_load_explicit(&w->state, memory_order_relaxed) == WAITER_WOKEN;
}

static bool poll(struct waiter *w, uint64_t start)
{
	uint64_t now = start;
	while (!woken(w)) {
		if (now - start >= w->poll_ns || others_run(w, &now))
			return false;
		for (unsigned i = 0; i < 20 && !woken(w); i++)
			__builtin_ia32_pause();
	}
	return true;
}

/* As long as a longer look would have spared the sleep. */
static void adapt(struct waiter *w, uint64_t took)
{
	if (w->crowded)
		w->crowded--;
	else if (took > WAITER_POLL_MAX)
		w->poll_ns = 0;
	else if (took > w->poll_ns)
		w->poll_ns = MIN(MAX(2 * w->poll_ns, WAITER_POLL_MIN), WAITER_POLL_MAX);
}

uint64_t waiter_wait(struct waiter *w)
{
	uint64_t start = host_time_ns();
	if (!poll(w, start)) {
		uint32_t nothing = WAITER_NOTHING;
		atomic_compare_exchange_strong(&w->state, &nothing, WAITER_ASLEEP);
		while (atomic_load(&w->state) == WAITER_ASLEEP)
			futex(w, FUTEX_WAIT, WAITER_ASLEEP);
	}
	atomic_store(&w->state, WAITER_NOTHING);
	uint64_t took = host_time_ns() - start;
	adapt(w, took);
	return took;
}
