/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a request: `waiting` until the thread takes it, carried out there, then `finished` until it is delivered: by a call that
 * is posted to the worker, or by p9_drain, whichever comes first. A posted call may come when the server is gone; what it looks at then is
 * the queue, which lives until the last one has come.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "host/thread.h"
#include "share/p9_server.h"

#define FILES_FOR_OTHERS 256u /* descriptors that a client's open files must leave to the rest of the process */

struct list {
	struct p9_request *first, **last;
};

struct p9 {
	struct p9_server server;
	struct worker worker;
	struct lock *owner;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t work, progress;
	struct list waiting, finished;
	unsigned under_way;
	bool started, stopping, closed, posted;
	unsigned deliveries; /* posted calls that have not come yet */
};

static void append(struct list *list, struct p9_request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

static struct p9_request *take(struct list *list)
{
	struct p9_request *request = list->first;
	if (request && !(list->first = request->next))
		list->last = &list->first;
	return request;
}

static void free_queue(struct p9 *p9)
{
	pthread_mutex_destroy(&p9->mutex);
	pthread_cond_destroy(&p9->work);
	pthread_cond_destroy(&p9->progress);
	free(p9);
}

/* With the owner's lock and the mutex taken. */
static void deliver_finished(struct p9 *p9)
{
	struct p9_request *request;
	p9->posted = false;
	while ((request = take(&p9->finished))) {
		p9->under_way--;
		pthread_mutex_unlock(&p9->mutex);
		request->done(request);
		pthread_mutex_lock(&p9->mutex);
	}
}

static void deliver(void *opaque)
{
	struct p9 *p9 = opaque;
	pthread_mutex_lock(&p9->mutex);
	bool closed = p9->closed, last = --p9->deliveries == 0;
	pthread_mutex_unlock(&p9->mutex);
	if (closed) {
		if (last)
			free_queue(p9);
		return;
	}
	if (p9->owner)
		lock_take(p9->owner);
	pthread_mutex_lock(&p9->mutex);
	deliver_finished(p9);
	pthread_mutex_unlock(&p9->mutex);
	if (p9->owner)
		lock_release(p9->owner);
}

/* With the mutex taken, which it gives up for the call: a worker may run it at once. */
static void post_delivery(struct p9 *p9)
{
	if (p9->posted)
		return;
	p9->posted = true;
	p9->deliveries++;
	pthread_mutex_unlock(&p9->mutex);
	worker_post(&p9->worker, deliver, p9);
	pthread_mutex_lock(&p9->mutex);
}

static void *serve_thread(void *opaque)
{
	struct p9 *p9 = opaque;
	pthread_mutex_lock(&p9->mutex);
	for (;;) {
		struct p9_request *request = take(&p9->waiting);
		if (!request) {
			if (p9->stopping)
				break;
			pthread_cond_wait(&p9->work, &p9->mutex);
			continue;
		}
		pthread_mutex_unlock(&p9->mutex);
		p9_serve(&p9->server, request);
		pthread_mutex_lock(&p9->mutex);
		append(&p9->finished, request);
		pthread_cond_broadcast(&p9->progress);
		post_delivery(p9);
	}
	pthread_mutex_unlock(&p9->mutex);
	return NULL;
}

void p9_handle(struct p9 *p9, struct p9_request *request)
{
	p9_serve(&p9->server, request);
}

void p9_submit(struct p9 *p9, struct p9_request *request)
{
	pthread_mutex_lock(&p9->mutex);
	p9->under_way++;
	append(&p9->waiting, request);
	pthread_cond_signal(&p9->work);
	pthread_mutex_unlock(&p9->mutex);
}

void p9_drain(struct p9 *p9)
{
	pthread_mutex_lock(&p9->mutex);
	while (p9->under_way) {
		while (!p9->finished.first)
			pthread_cond_wait(&p9->progress, &p9->mutex);
		deliver_finished(p9);
	}
	pthread_mutex_unlock(&p9->mutex);
}

void p9_forget(struct p9 *p9)
{
	fids_clear(&p9->server);
	p9->server.msize = 0;
}

unsigned p9_held(const struct p9 *p9)
{
	return p9->server.fid_count;
}

void p9_set_owner(struct p9 *p9, struct lock *lock)
{
	p9->owner = lock;
}

/* A client may hold thousands of files open; the limit that a shell gives is for programs that use select(2). */
static unsigned raise_open_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return FILES_FOR_OTHERS;
	rlim_t now = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_cur != now && setrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit.rlim_cur = now;
	rlim_t most = MIN(limit.rlim_cur, (rlim_t)BIT(20));
	return (unsigned)(most > 2 * FILES_FOR_OTHERS ? most - FILES_FOR_OTHERS : most / 2);
}

struct p9 *p9_create(const struct p9_config *config, struct error *err)
{
	struct p9 *p9 = calloc(1, sizeof(*p9));
	struct stat st;
	if (!p9) {
		error_set(err, ENOMEM, "out of memory for a shared folder");
		return NULL;
	}
	p9->worker = config->worker;
	p9->waiting.last = &p9->waiting.first;
	p9->finished.last = &p9->finished.first;
	pthread_mutex_init(&p9->mutex, NULL);
	pthread_cond_init(&p9->work, NULL);
	pthread_cond_init(&p9->progress, NULL);
	p9->server.open_max = raise_open_files();
	p9->server.folder.fd = -1;
	if (folder_open(&p9->server.folder, config->path, config->read_only, err) < 0)
		goto fail;
	if (fstat(p9->server.folder.fd, &st) < 0) {
		error_set(err, errno, "%s: cannot share it: %s", config->path, strerror(errno));
		goto fail;
	}
	p9->server.root_dev = st.st_dev;
	p9->server.root_ino = st.st_ino;
	if (host_thread_start(&p9->thread, "visor-share", serve_thread, p9, err) < 0)
		goto fail;
	p9->started = true;
	return p9;
fail:
	p9_destroy(p9);
	return NULL;
}

void p9_destroy(struct p9 *p9)
{
	if (p9->started) {
		pthread_mutex_lock(&p9->mutex);
		p9->stopping = true;
		pthread_cond_signal(&p9->work);
		pthread_mutex_unlock(&p9->mutex);
		pthread_join(p9->thread, NULL);
	}
	fids_clear(&p9->server);
	folder_close(&p9->server.folder);
	pthread_mutex_lock(&p9->mutex);
	p9->closed = true;
	bool last = p9->deliveries == 0;
	pthread_mutex_unlock(&p9->mutex);
	if (last)
		free_queue(p9);
}
