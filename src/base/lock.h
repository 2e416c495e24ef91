/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_LOCK_H
#define VISOR_BASE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * A recursive mutex: a device that raises a line may come back into its own
 * board. Order in which locks may be taken, outermost first: PCI configuration,
 * virtio device (or IDE controller, VGA adapter), legacy board, local APIC, clock.
 *
 * Every access to a device's register takes one, mostly without anybody else
 * who wants it, so that is one compare-and-swap and one exchange, without a call.
 */
struct lock {
	_Atomic(const void *) owner; /* the thread that has it, by lock_self */
	unsigned depth;              /* how often it has taken it again; its own */
	_Atomic unsigned sleepers;
	pthread_mutex_t mutex;       /* sleepers only */
	pthread_cond_t released;
};

#define LOCK_LOOKS 64u

/* What tells threads apart: the thread pointer, which the ABI keeps at FS:0. */
static inline const void *lock_self(void)
{
	const void *self;
	__asm__("movq %%fs:0, %0" : "=r"(self));
	return self;
}

static inline void lock_init(struct lock *lock)
{
	atomic_init(&lock->owner, NULL);
	atomic_init(&lock->sleepers, 0);
	lock->depth = 0;
	pthread_mutex_init(&lock->mutex, NULL);
	pthread_cond_init(&lock->released, NULL);
}

static inline void lock_destroy(struct lock *lock)
{
	pthread_cond_destroy(&lock->released);
	pthread_mutex_destroy(&lock->mutex);
}

/* lock.c: the slow ways. */
void lock_wait(struct lock *lock);
void lock_wake(struct lock *lock);

/* A NULL lock is no lock: for parts that need none. */
static inline void lock_take(struct lock *lock)
{
	if (!lock)
		return;
	const void *none = NULL, *self = lock_self();
	if (atomic_load_explicit(&lock->owner, memory_order_relaxed) == self)
		lock->depth++;
	else if (!atomic_compare_exchange_strong(&lock->owner, &none, self))
		lock_wait(lock);
}

/* False: another thread has it. */
static inline bool lock_try(struct lock *lock)
{
	const void *none = NULL, *self = lock_self();
	if (atomic_load_explicit(&lock->owner, memory_order_relaxed) == self) {
		lock->depth++;
		return true;
	}
	return atomic_compare_exchange_strong(&lock->owner, &none, self);
}

static inline void lock_release(struct lock *lock)
{
	if (!lock)
		return;
	if (lock->depth) {
		lock->depth--;
		return;
	}
	/* Sequentially consistent: who is about to sleep counts itself, and looks again afterwards. */
	atomic_store(&lock->owner, NULL);
	if (atomic_load(&lock->sleepers))
		lock_wake(lock);
}

#endif
