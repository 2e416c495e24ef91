/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/waiter.h"

#include <linux/futex.h>
#include <sched.h>
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

/* Whoever else wants this host CPU gets it, and may be the very thread that is waited for: then to look costs more
 * than to sleep, for some time. */
static bool others_run(struct patience *p, uint64_t *now)
{
	uint64_t before = *now;
	sched_yield();
	*now = host_time_ns();
	if (*now - before < CROWDED_NS)
		return false;
	p->ns = 0;
	p->crowded = CROWDED_WAITS;
	return true;
}

bool patience_lasts(struct patience *p, uint64_t start)
{
	if (!p->ns)
		return false;
	uint64_t now = host_time_ns();
	return !others_run(p, &now) && now - start < p->ns;
}

/* As long as a longer look would have spared the sleep. */
void patience_learn(struct patience *p, uint64_t took)
{
	if (p->crowded)
		p->crowded--;
	else if (took > PATIENCE_MAX)
		p->ns = 0;
	else if (took > p->ns)
		p->ns = MIN(MAX(2 * p->ns, PATIENCE_MIN), PATIENCE_MAX);
}

static bool woken(const struct waiter *w)
{
	return atomic_load_explicit(&w->state, memory_order_relaxed) == WAITER_WOKEN;
}

static bool poll(struct waiter *w, uint64_t start)
{
	while (!woken(w)) {
		if (!patience_lasts(&w->patience, start))
			return false;
		for (unsigned i = 0; i < 20 && !woken(w); i++)
			__builtin_ia32_pause();
	}
	return true;
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
	patience_learn(&w->patience, took);
	return took;
}
