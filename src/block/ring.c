/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/ring.h"

#include <errno.h>
#include <limits.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define DEPTH 128u
/* Data in the page cache is copied at once, by the submitter; large requests are for the kernel's threads. */
#define LARGE (64u << 10)

struct block_ring {
	struct io_uring uring;
	pthread_mutex_t submission;
	pthread_t thread;
	block_ring_done *done;
	void *opaque;
};

/* An entry without a request is the end; one with the ring is nothing. */
static void *wait_for_ends(void *opaque)
{
	struct block_ring *ring = opaque;
	for (;;) {
		struct io_uring_cqe *cqe;
		if (io_uring_wait_cqe(&ring->uring, &cqe) < 0)
			continue; /* interrupted */
		void *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
		if (!request)
			return NULL;
		if (request != ring)
			ring->done(ring->opaque, request, result);
	}
}

struct block_ring *block_ring_create(block_ring_done *done, void *opaque)
{
	struct block_ring *ring = calloc(1, sizeof(*ring));
	sigset_t all, before;
	if (!ring || io_uring_queue_init(DEPTH, &ring->uring, 0) < 0) {
		free(ring);
		return NULL;
	}
	ring->done = done;
	ring->opaque = opaque;
	pthread_mutex_init(&ring->submission, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&ring->thread, NULL, wait_for_ends, ring);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		return ring;
	io_uring_queue_exit(&ring->uring);
	pthread_mutex_destroy(&ring->submission);
	free(ring);
	return NULL;
}

/* With the lock taken. */
static bool send_out(struct block_ring *ring)
{
	int rc;
	do
		rc = io_uring_submit(&ring->uring);
	while (rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
	return rc > 0;
}

bool block_ring_submit(struct block_ring *ring, struct block_request *request, int fd)
{
	bool sent = false;
	if (request->iov_count > IOV_MAX || request->length > INT_MAX)
		return false;
	pthread_mutex_lock(&ring->submission);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	if (sqe) {
		if (request->op == BLOCK_READ)
			io_uring_prep_readv(sqe, fd, request->iov, request->iov_count, request->offset);
		else
			io_uring_prep_writev(sqe, fd, request->iov, request->iov_count, request->offset);
		io_uring_sqe_set_data(sqe, request);
		if (request->length > LARGE)
			io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
		sent = send_out(ring);
		if (!sent) {
			/* It stays in the queue, but must not be done twice. */
			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data(sqe, ring);
		}
	}
	pthread_mutex_unlock(&ring->submission);
	return sent;
}

void block_ring_destroy(struct block_ring *ring)
{
	if (!ring)
		return;
	pthread_mutex_lock(&ring->submission);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	send_out(ring);
	pthread_mutex_unlock(&ring->submission);
	pthread_join(ring->thread, NULL);
	io_uring_queue_exit(&ring->uring);
	pthread_mutex_destroy(&ring->submission);
	free(ring);
}
