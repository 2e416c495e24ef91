/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_WAITER_H
#define VISOR_HOST_WAITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How long a thread that waits looks for what it waits for before it sleeps. To wake a
 * thread takes the host 5 to 50 us, so a wait begins with a look: for PATIENCE_MIN ns and more, up to PATIENCE_MAX, as long as that
 * would have spared sleeps, and not at all while waits are long, or when others want this host CPU.
 */
#define PATIENCE_MIN 10000u
#define PATIENCE_MAX 200000u

struct patience {
	uint32_t ns;      /* how long to look now */
	uint32_t crowded; /* waits until that is tried again on a busy host */
};

/* Between two looks in a wait that began at `start` (host_time_ns): false when it is time to sleep. */
bool patience_lasts(struct patience *p, uint64_t start);
/* A wait took so many ns in all. */
void patience_learn(struct patience *p, uint64_t took);

/*
 * One thread's wait for others. A wake that comes before the wait is not lost;
 * several are one. It costs a system call only when the other thread sleeps.
 */
struct waiter {
	_Atomic uint32_t state;
	struct patience patience; /* of the waiting thread */
};

/* From any thread. */
void waiter_wake(struct waiter *w);
/* By the thread that waits: earlier wakes are forgotten. What they were for is to be looked at after this. */
static inline void waiter_clear(struct waiter *w) { atomic_store(&w->state, 0); }
/* Until waiter_wake; returns the nanoseconds that it took. */
uint64_t waiter_wait(struct waiter *w);

#endif
