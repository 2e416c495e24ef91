/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/loop_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"
#include "host/loop.h"
#include "host/thread.h"

struct loop_thread {
	struct loop *loop;
	pthread_t thread;
	bool stopped;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool rests;
};

/* Posted, so that it comes between two pieces of work. */
static void rest(void *opaque)
{
	struct loop_thread *t = opaque;
	pthread_mutex_lock(&t->mutex);
	t->rests = true;
	pthread_cond_broadcast(&t->changed);
	while (t->rests)
		pthread_cond_wait(&t->changed, &t->mutex);
	pthread_mutex_unlock(&t->mutex);
}

static void *run(void *opaque)
{
	struct loop_thread *t = opaque;
	struct error err;
	if (loop_run(t->loop, &err) < 0)
		log_error("%s", err.text);
	return NULL;
}

struct loop_thread *loop_thread_create(const char *name, struct error *err)
{
	struct loop_thread *t = calloc(1, sizeof(*t));
	if (!t) {
		error_set(err, ENOMEM, "out of memory for the thread %s", name);
		return NULL;
	}
	pthread_mutex_init(&t->mutex, NULL);
	pthread_cond_init(&t->changed, NULL);
	t->stopped = true;
	t->loop = loop_create(err);
	if (t->loop)
		t->stopped = host_thread_start(&t->thread, name, run, t, err) < 0;
	if (!t->stopped) {
		loop_thread_rest(t);
		return t;
	}
	loop_thread_destroy(t);
	return NULL;
}

struct worker loop_thread_worker(struct loop_thread *t)
{
	return (struct worker){ loop_post, t->loop };
}

void loop_thread_rest(struct loop_thread *t)
{
	pthread_mutex_lock(&t->mutex);
	if (!t->rests)
		loop_post(t->loop, rest, t);
	while (!t->rests)
		pthread_cond_wait(&t->changed, &t->mutex);
	pthread_mutex_unlock(&t->mutex);
}

void loop_thread_go_on(struct loop_thread *t)
{
	pthread_mutex_lock(&t->mutex);
	t->rests = false;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
}

void loop_thread_stop(struct loop_thread *t)
{
	if (t->stopped)
		return;
	t->stopped = true;
	loop_thread_go_on(t);
	loop_stop(t->loop);
	pthread_join(t->thread, NULL);
	loop_drain(t->loop);
}

void loop_thread_destroy(struct loop_thread *t)
{
	if (!t)
		return;
	loop_thread_stop(t);
	loop_destroy(t->loop);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}
