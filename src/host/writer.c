/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define STUCK_SECONDS 5

struct writer {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int fd;
	uint8_t *data;      /* filled by writer_put */
	size_t size, room;
	size_t in_flight;   /* bytes that the thread has taken and not yet written */
	uint64_t written;
	bool ending, done, was_busy;
	int error;
	void (*busy)(void *opaque, bool busy);
	void *opaque;
};

/* Writes to the descriptor; the mutex is not held. */
static void write_out(struct writer *w, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(w->fd, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) { /* somebody else made the terminal non-blocking */
			nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
			continue;
		}
		pthread_mutex_lock(&w->mutex);
		if (n <= 0) {
			w->error = n < 0 ? errno : EIO;
			n = 0;
			size = 0;
		}
		data += n;
		size -= MIN(size, (size_t)n);
		w->in_flight = size;
		w->written += (size_t)n;
		pthread_cond_broadcast(&w->changed);
		pthread_mutex_unlock(&w->mutex);
	}
}

static void *writer_thread(void *arg)
{
	struct writer *w = arg;
	pthread_mutex_lock(&w->mutex);
	for (;;) {
		while (!w->size && !w->ending)
			pthread_cond_wait(&w->changed, &w->mutex);
		if (!w->size)
			break;
		uint8_t *data = w->data;
		size_t size = w->size;
		w->data = NULL;
		w->size = w->room = 0;
		w->in_flight = size;
		bool drop = w->error;
		pthread_mutex_unlock(&w->mutex);
		if (!drop)
			write_out(w, data, size);
		free(data);
		pthread_mutex_lock(&w->mutex);
		w->in_flight = 0;
		if (w->was_busy && w->size < WRITER_LOW_WATER) {
			w->was_busy = false;
			pthread_mutex_unlock(&w->mutex);
			w->busy(w->opaque, false);
			pthread_mutex_lock(&w->mutex);
		}
	}
	w->done = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

struct writer *writer_create(int fd, void (*busy)(void *opaque, bool busy), void *opaque, struct error *err)
{
	struct writer *w = calloc(1, sizeof(*w));
	if (!w) {
		error_set(err, ENOMEM, "no memory for a console's output");
		return NULL;
	}
	*w = (struct writer){ .fd = fd, .busy = busy, .opaque = opaque };
	pthread_mutex_init(&w->mutex, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are the main thread's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int code = pthread_create(&w->thread, NULL, writer_thread, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code) {
		error_set(err, code, "cannot start a console's output thread: %s", strerror(code));
		free(w);
		return NULL;
	}
	return w;
}

void writer_put(struct writer *w, const uint8_t *data, size_t size)
{
	bool tell = false;
	pthread_mutex_lock(&w->mutex);
	if (!w->error) {
		if (w->room - w->size < size) {
			size_t room = MAX(w->size + size, 2 * w->room);
			uint8_t *more = realloc(w->data, room);
			if (more) {
				w->data = more;
				w->room = room;
			} else {
				w->error = ENOMEM;
				size = 0;
			}
		}
		memcpy(w->data + w->size, data, size);
		w->size += size;
		if (w->busy && !w->was_busy && w->size + w->in_flight > WRITER_HIGH_WATER)
			tell = w->was_busy = true;
		pthread_cond_broadcast(&w->changed);
	}
	pthread_mutex_unlock(&w->mutex);
	if (tell)
		w->busy(w->opaque, true);
}

/* True when the thread has ended; false when the descriptor is stuck. The mutex is held. */
static bool wait_for_end(struct writer *w)
{
	uint64_t before = w->written;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STUCK_SECONDS;
	while (!w->done) {
		if (pthread_cond_timedwait(&w->changed, &w->mutex, &until) == ETIMEDOUT && !w->done)
			return false;
		if (w->written != before) {
			before = w->written;
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_sec += STUCK_SECONDS;
		}
	}
	return true;
}

int writer_destroy(struct writer *w)
{
	if (!w)
		return 0;
	pthread_mutex_lock(&w->mutex);
	w->ending = true;
	w->busy = NULL;
	w->was_busy = false;
	pthread_cond_broadcast(&w->changed);
	bool ended = wait_for_end(w);
	int error = w->error;
	pthread_mutex_unlock(&w->mutex);
	if (!ended) { /* the thread may sit in write() for ever and keeps what it uses */
		pthread_detach(w->thread);
		return ETIMEDOUT;
	}
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	free(w->data);
	free(w);
	return error;
}
