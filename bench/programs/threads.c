// SPDX-License-Identifier: GPL-2.0-or-later
/* threads mutex COUNT: two threads hand a turn to each other under a mutex and a condition, and race for a counter. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long count, turns, counter;

static void *player(void *opaque)
{
	long me = (long)opaque;
	for (long i = 0; i < count; i++) {
		pthread_mutex_lock(&lock);
		while (turns % 2 != me)
			pthread_cond_wait(&changed, &lock);
		turns++;
		pthread_cond_signal(&changed);
		pthread_mutex_unlock(&lock);
	}
	for (long i = 0; i < 40 * count; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "mutex"))
		return 2;
	count = atol(argv[2]);
	pthread_t threads[2];
	for (long i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, player, (void *)i))
			return 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("%ld %ld\n", turns, counter);
	return 0;
}
