/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_LOCK_H
#define VISOR_BASE_LOCK_H

#include <pthread.h>

/*
 * A recursive mutex: a device that raises a line may come back into its own
 * board. Order in which locks may be taken, outermost first: PCI configuration,
 * virtio device, legacy board, local APIC, clock.
 */
struct lock {
	pthread_mutex_t mutex;
};

#define LOCK_LOOKS 64u

static inline void lock_init(struct lock *lock)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
}

static inline void lock_destroy(struct lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

/* A NULL lock is no lock: for parts that need none. */
static inline void lock_take(struct lock *lock)
{
	if (!lock)
		return;
	/* Who holds it is soon done with it: a short look is cheaper than to sleep. */
	for (unsigned i = 0; i < LOCK_LOOKS; i++) {
		if (pthread_mutex_trylock(&lock->mutex) == 0)
			return;
		for (unsigned j = 0; j < 8; j++)
			__builtin_ia32_pause();
	}
	pthread_mutex_lock(&lock->mutex);
}

static inline void lock_release(struct lock *lock)
{
	if (lock)
		pthread_mutex_unlock(&lock->mutex);
}

#endif
