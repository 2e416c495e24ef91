/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/lock.h"

#include <stdbool.h>

static bool try(struct lock *lock)
{
	const void *none = NULL;
	return !atomic_load_explicit(&lock->owner, memory_order_relaxed) && atomic_compare_exchange_strong(&lock->owner, &none, lock_self());
}

/* Who holds it is soon done with it: a short look is cheaper than to sleep. */
static bool look(struct lock *lock)
{
	for (unsigned i = 0; i < LOCK_LOOKS; i++) {
		if (try(lock))
			return true;
		for (unsigned j = 0; j < 8; j++)
			__builtin_ia32_pause();
	}
	return false;
}

void lock_wait(struct lock *lock)
{
	if (look(lock))
		return;
	pthread_mutex_lock(&lock->mutex);
	atomic_fetch_add(&lock->sleepers, 1);
	while (!try(lock))
		pthread_cond_wait(&lock->released, &lock->mutex);
	atomic_fetch_sub(&lock->sleepers, 1);
	pthread_mutex_unlock(&lock->mutex);
}

/* With the mutex, so that a sleeper that has looked in vain is asleep by now. */
void lock_wake(struct lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	pthread_cond_signal(&lock->released);
	pthread_mutex_unlock(&lock->mutex);
}
