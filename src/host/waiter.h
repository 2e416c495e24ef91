/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_WAITER_H
#define VISOR_HOST_WAITER_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * One thread's wait for others. A wake that comes before the wait is not lost;
 * several are one. It costs a system call only when the other thread sleeps.
 *
 * To wake a thread takes the host 5 to 50 us, so a wait begins with a look for a
 * while: as long as waits have been short, up to WAITER_POLL_MAX, and not at all while they are long.
 */
#define WAITER_POLL_MIN 10000u
#define WAITER_POLL_MAX 200000u

struct waiter {
	_Atomic uint32_t state;
	/* Of the waiting thread: how long to look before sleeping; waits until that is tried again on a busy host. */
	uint32_t poll_ns, crowded;
};

/* From any thread. */
void waiter_wake(struct waiter *w);
/* By the thread that waits: earlier wakes are forgotten. What they were for is to be looked at after this. */
static inline void waiter_clear(struct waiter *w) { atomic_store(&w->state, 0); }
/* Until waiter_wake; returns the nanoseconds that it took. */
uint64_t waiter_wait(struct waiter *w);

#endif
