/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_SHARE_P9_H
#define VISOR_SHARE_P9_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/worker.h"

/*
 * A server of 9P2000.L (the protocol of Linux's v9fs) for one folder of the host.
 * Messages come as the buffers of a client: whole, one request and room for its
 * reply. A client may send anything, and reaches nothing outside of the folder.
 *
 * Requests are carried out one after another on a thread of the server's own;
 * completions run on the worker, with the owner's lock taken, or in p9_drain.
 */
struct p9_request {
	const struct iovec *out, *in; /* the message; room for the reply */
	unsigned out_count, in_count;
	uint64_t out_size, in_size;
	uint32_t replied;             /* bytes of the reply; 0: there was no room */
	void (*done)(struct p9_request *request);
	struct p9_request *next;      /* the server's own */
};

struct p9_config {
	const char *path;   /* of the folder */
	bool read_only;
	struct worker worker;
};

struct p9;

struct p9 *p9_create(const struct p9_config *config, struct error *err);
/* No request may be under way. */
void p9_destroy(struct p9 *p9);

/* The lock that completions are called with. Before the first request. */
void p9_set_owner(struct p9 *p9, struct lock *lock);

void p9_submit(struct p9 *p9, struct p9_request *request);
/* Returns when all requests have completed; the caller holds the owner's lock. */
void p9_drain(struct p9 *p9);

/* Ends the client's session: closes all of its files. With nothing under way. */
void p9_forget(struct p9 *p9);
/* Files that the client holds, opened or not; more than none: it has the folder mounted. With nothing under way. */
unsigned p9_held(const struct p9 *p9);

/* Carries a request out at once, on the caller's thread; for tests. */
void p9_handle(struct p9 *p9, struct p9_request *request);

#endif
