/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a request: to the kernel's ring where the disk is a file as it is; else, or when that did not do all of it, `waiting` until a thread of the pool takes it, then
 * performed there, then `finished` until a delivery calls its completion. What is a copy to or from the host's page cache, most likely, costs less than to
 * wake another thread for it, and writes to one file would only wait for one another there: it is `near`, done by the worker itself if that may wait, without
 * the owner's lock. Threads
 * start when requests wait and none is idle, up to MAX_THREADS. A delivery is
 * posted to the worker when `finished` becomes non-empty; whoever comes first,
 * the posted call or block_drain, empties it, and so it is with `near`.
 *
 * in_flight counts from submit until the completion has returned. Completions run
 * with the owner's lock taken, so block_drain, which holds it too, never
 * returns while another thread is inside one.
 *
 * What was posted may still be under way when the disk is closed: the queue
 * itself lives until the last of it has come.
 */
#define _GNU_SOURCE
#include "block/block.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "block/hostfile.h"
#include "block/ring.h"

#define MAX_THREADS 4
/* Larger reads go by other threads, several at a time. */
#define NEAR_READ (64u << 10)
/* A write of less than whole pages has to read first what stands around it. */
#define PAGE 4096u
/* So many, or so many bytes, are done before the guest is told, which goes on meanwhile. */
#define BURST 8u
#define BURST_BYTES (64u << 10)

struct request_list {
	struct block_request *first, **last;
};

struct block_queue {
	struct block *block;
	struct worker worker;
	bool worker_waits;
	_Atomic bool never_near; /* reads that must not wait are not to be had of this file */
	struct lock *owner;
	struct block_ring *ring; /* may be NULL */
	pthread_mutex_t mutex;
	pthread_cond_t work, progress;
	struct request_list waiting, near, finished;
	unsigned in_flight;
	bool posted;       /* a delivery that nobody has forestalled is on its way to the worker */
	bool near_posted;  /* a call that does `near` is */
	unsigned coming;   /* all calls that are */
	bool stopping, closed, cancelling;
	unsigned idle, threads;
	pthread_t thread[MAX_THREADS];
};

static void list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_append(struct request_list *list, struct block_request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

static struct block_request *list_pop(struct request_list *list)
{
	struct block_request *request = list->first;
	if (request) {
		list->first = request->next;
		if (!list->first)
			list->last = &list->first;
	}
	return request;
}

/* Calls completions until none is left; true when there was one. The owner's lock is taken or not needed. */
static bool deliver_locked(struct block_queue *queue)
{
	bool any = false;
	pthread_mutex_lock(&queue->mutex);
	queue->posted = false;
	struct block_request *request;
	while ((request = list_pop(&queue->finished))) {
		pthread_mutex_unlock(&queue->mutex);
		request->done(request, request->error);
		any = true;
		pthread_mutex_lock(&queue->mutex);
		if (--queue->in_flight == 0)
			pthread_cond_broadcast(&queue->progress);
	}
	pthread_mutex_unlock(&queue->mutex);
	return any;
}

static void queue_free(struct block_queue *queue)
{
	pthread_cond_destroy(&queue->work);
	pthread_cond_destroy(&queue->progress);
	pthread_mutex_destroy(&queue->mutex);
	free(queue);
}

/* A posted call has come; false: too late, and the queue may be gone. */
static bool has_come(struct block_queue *queue)
{
	pthread_mutex_lock(&queue->mutex);
	bool closed = queue->closed, last = --queue->coming == 0;
	pthread_mutex_unlock(&queue->mutex);
	if (closed && last)
		queue_free(queue);
	return !closed;
}

/* With the mutex taken, which it gives up: a worker may call at once. */
static void post(struct block_queue *queue, void (*fn)(void *))
{
	queue->coming++;
	pthread_mutex_unlock(&queue->mutex);
	worker_post(&queue->worker, fn, queue);
	pthread_mutex_lock(&queue->mutex);
}

static void deliver_finished(struct block_queue *queue)
{
	lock_take(queue->owner);
	deliver_locked(queue);
	lock_release(queue->owner);
}

static void deliver(void *opaque)
{
	if (has_come(opaque))
		deliver_finished(opaque);
}

/* With the mutex taken; somebody delivers it soon. */
static void note_end(struct block_queue *queue, struct block_request *request, int error)
{
	request->error = error;
	list_append(&queue->finished, request);
	pthread_cond_broadcast(&queue->progress);
}

/* With the mutex taken, which may be given up. */
static void finish(struct block_queue *queue, struct block_request *request, int error)
{
	note_end(queue, request, error);
	if (queue->posted)
		return;
	queue->posted = true;
	post(queue, deliver);
}

static void *pool_thread(void *opaque)
{
	struct block *block = opaque;
	struct block_queue *queue = block->queue;
	pthread_mutex_lock(&queue->mutex);
	for (;;) {
		struct block_request *request = list_pop(&queue->waiting);
		if (request) {
			pthread_mutex_unlock(&queue->mutex);
			int error = block->ops->perform(block, request);
			pthread_mutex_lock(&queue->mutex);
			finish(queue, request, error);
			continue;
		}
		if (queue->stopping)
			break;
		queue->idle++;
		pthread_cond_wait(&queue->work, &queue->mutex);
		queue->idle--;
	}
	pthread_mutex_unlock(&queue->mutex);
	return NULL;
}

/* Signals are for the threads that expect them. */
static int start_thread(struct block *block)
{
	struct block_queue *queue = block->queue;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&queue->thread[queue->threads], NULL, pool_thread, block);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		queue->threads++;
	return rc;
}

/* Its thread: what is not complete a thread of the pool does again, and finds out why. */
static void ring_done(void *opaque, struct block_request *request, int result)
{
	struct block_queue *queue = opaque;
	pthread_mutex_lock(&queue->mutex);
	if (result >= 0 && (uint64_t)result == request->length) {
		finish(queue, request, 0);
	} else if (queue->cancelling) {
		finish(queue, request, ECANCELED);
	} else {
		list_append(&queue->waiting, request);
		pthread_cond_signal(&queue->work);
	}
	pthread_mutex_unlock(&queue->mutex);
}

static int direct_fd(struct block *block, const struct block_request *request)
{
	bool moves = request->op == BLOCK_READ || request->op == BLOCK_WRITE;
	return moves && request->length && block->ops->direct ? block->ops->direct(block, request) : -1;
}

/* Once for each read, by whoever has it first. */
static void read_ahead(struct block *block, const struct block_request *request)
{
	if (request->op == BLOCK_READ && block->ops->ahead && direct_fd(block, request) >= 0)
		block->ops->ahead(block, request);
}

/* To the ring, or the pool; its completion may be called at once. */
static void submit_far(struct block *block, struct block_request *request)
{
	struct block_queue *queue = block->queue;
	int fd = queue->ring ? direct_fd(block, request) : -1;
	if (fd >= 0 && block_ring_submit(queue->ring, request, fd))
		return;
	pthread_mutex_lock(&queue->mutex);
	list_append(&queue->waiting, request);
	if (queue->idle)
		pthread_cond_signal(&queue->work);
	else if (queue->threads < MAX_THREADS && start_thread(block) != 0)
		log_warn_once("%s: cannot start another thread for disk requests", block->name);
	pthread_mutex_unlock(&queue->mutex);
}

static bool is_near(struct block *block, const struct block_request *request)
{
	if (!block->queue->worker_waits || direct_fd(block, request) < 0)
		return false;
	if (request->op == BLOCK_WRITE)
		return !((request->offset | request->length) % PAGE);
	return request->length <= NEAR_READ || block->sparse;
}

static bool read_cached(struct block *block, const struct block_request *request)
{
	if (request->length > NEAR_READ || request->iov_count > IOV_MAX || block->queue->never_near)
		return false;
	ssize_t n = preadv2(direct_fd(block, request), request->iov, (int)request->iov_count, (off_t)request->offset, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP)
		block->queue->never_near = true;
	return n >= 0 && (uint64_t)n == request->length;
}

static bool read_hole(struct block *block, const struct block_request *request)
{
	if (!block->sparse || !block->ops->hole(block, request))
		return false;
	iov_clear(request->iov, request->iov_count, 0, request->length);
	return true;
}

/* Whether it is done. */
static bool read_near(struct block *block, const struct block_request *request)
{
	bool cached = read_cached(block, request);
	if (!cached && read_hole(block, request))
		return true;
	read_ahead(block, request);
	return cached;
}

/* The first that is near; its length, 0: there is none. With the mutex taken, which is given up meanwhile. */
static uint64_t do_near(struct block_queue *queue)
{
	struct block_request *request = list_pop(&queue->near);
	if (!request)
		return 0;
	pthread_mutex_unlock(&queue->mutex);
	uint64_t length = request->length; /* its own no more when it is submitted */
	bool write = request->op == BLOCK_WRITE, done = true;
	int error = 0;
	if (write)
		error = queue->block->ops->perform(queue->block, request);
	else
		done = read_near(queue->block, request);
	if (!done)
		submit_far(queue->block, request);
	pthread_mutex_lock(&queue->mutex);
	if (done)
		note_end(queue, request, error);
	return length;
}

/* On the worker. */
static void serve_near(void *opaque)
{
	struct block_queue *queue = opaque;
	if (!has_come(queue))
		return;
	pthread_mutex_lock(&queue->mutex);
	queue->near_posted = false;
	uint64_t length, bytes = 0;
	for (unsigned n = 0; (length = do_near(queue)); ) {
		bytes += length;
		if (++n < BURST && bytes < BURST_BYTES)
			continue;
		pthread_mutex_unlock(&queue->mutex);
		deliver_finished(queue);
		pthread_mutex_lock(&queue->mutex);
		n = 0;
		bytes = 0;
	}
	pthread_mutex_unlock(&queue->mutex);
	deliver_finished(queue);
}

static int check(const struct block *block, const struct block_request *request)
{
	if (request->op != BLOCK_READ && block->read_only)
		return request->op == BLOCK_FLUSH ? 0 : EROFS;
	if (request->op == BLOCK_FLUSH)
		return 0;
	bool fits = request->offset <= block->size && request->length <= block->size - request->offset;
	return fits && !((request->offset | request->length) % BLOCK_SECTOR) ? 0 : EINVAL;
}

void block_submit(struct block *block, struct block_request *request)
{
	struct block_queue *queue = block->queue;
	int error = check(block, request);
	pthread_mutex_lock(&queue->mutex);
	queue->in_flight++;
	if (queue->cancelling)
		error = ECANCELED;
	bool far = false;
	if (error) {
		finish(queue, request, error);
	} else if (is_near(block, request)) {
		list_append(&queue->near, request);
		pthread_cond_broadcast(&queue->progress);
		if (!queue->near_posted) {
			queue->near_posted = true;
			post(queue, serve_near);
		}
	} else {
		far = true;
	}
	pthread_mutex_unlock(&queue->mutex);
	/* Counted already, so nobody takes the queue away. */
	if (far) {
		read_ahead(block, request);
		submit_far(block, request);
	}
}

void block_drain(struct block *block)
{
	struct block_queue *queue = block->queue;
	for (;;) {
		if (deliver_locked(queue))
			continue;
		pthread_mutex_lock(&queue->mutex);
		while (queue->in_flight && !queue->finished.first && !do_near(queue))
			pthread_cond_wait(&queue->progress, &queue->mutex);
		bool empty = !queue->in_flight;
		pthread_mutex_unlock(&queue->mutex);
		if (empty)
			return;
	}
}

void block_cancel(struct block *block)
{
	struct block_queue *queue = block->queue;
	struct block_request *request;
	pthread_mutex_lock(&queue->mutex);
	queue->cancelling = true;
	while ((request = list_pop(&queue->waiting)) || (request = list_pop(&queue->near))) {
		request->error = ECANCELED;
		list_append(&queue->finished, request);
	}
	pthread_mutex_unlock(&queue->mutex);
	block_drain(block);
	pthread_mutex_lock(&queue->mutex);
	queue->cancelling = false;
	pthread_mutex_unlock(&queue->mutex);
}

void block_set_owner(struct block *block, struct lock *lock)
{
	block->queue->owner = lock;
}

/* One thread runs from the start, so that a request is always served. */
int block_start(struct block *block, const struct block_config *config, struct error *err)
{
	struct block_queue *queue = calloc(1, sizeof(*queue));
	int rc = queue ? 0 : ENOMEM;
	if (queue) {
		queue->block = block;
		queue->worker = config->worker;
		queue->worker_waits = config->worker_waits;
		pthread_mutex_init(&queue->mutex, NULL);
		pthread_cond_init(&queue->work, NULL);
		pthread_cond_init(&queue->progress, NULL);
		list_init(&queue->waiting);
		list_init(&queue->near);
		list_init(&queue->finished);
		block->queue = queue;
		rc = start_thread(block);
	}
	if (rc == 0) {
		queue->ring = block->ops->direct ? block_ring_create(ring_done, queue) : NULL;
		return 0;
	}
	error_set(err, rc, "%s: cannot start a thread for disk requests: %s", block->name, strerror(rc));
	if (queue)
		queue_free(queue);
	block->ops->close(block);
	return -1;
}

int block_settle(struct block *block)
{
	const struct block_request flush = { .op = BLOCK_FLUSH };
	return block->read_only ? 0 : block->ops->perform(block, &flush);
}

void block_close(struct block *block)
{
	if (!block)
		return;
	struct block_queue *queue = block->queue;
	block_drain(block);
	pthread_mutex_lock(&queue->mutex);
	queue->stopping = true;
	pthread_cond_broadcast(&queue->work);
	pthread_mutex_unlock(&queue->mutex);
	for (unsigned i = 0; i < queue->threads; i++)
		pthread_join(queue->thread[i], NULL);
	block_ring_destroy(queue->ring);
	pthread_mutex_lock(&queue->mutex);
	queue->closed = true;
	bool last = !queue->coming;
	pthread_mutex_unlock(&queue->mutex);
	if (last)
		queue_free(queue);
	block->queue = NULL;
	int error = block_settle(block);
	if (error)
		log_error("%s: the last writes may be lost: %s", block->name, strerror(error));
	block->ops->close(block);
}
