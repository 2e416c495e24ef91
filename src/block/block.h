/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_BLOCK_H
#define VISOR_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/worker.h"

/*
 * A disk as its device sees it: requests go in, completions come back.
 *
 * Threads. block_submit may be called from any thread, also from a completion.
 * The request and the memory of its iovec belong to the disk until `done` is
 * called, once for each request, on the worker, with the owner's lock taken.
 * Requests are independent: the disk may finish them in any order and at the
 * same time. A flush covers the requests whose completion was delivered before
 * it was submitted. block_drain runs completions on the calling thread instead,
 * so it may be called with the owner's lock taken and never waits for the worker.
 */
enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,         /* all completed writes are on stable storage after it */
	BLOCK_DISCARD,       /* the range's content is of no interest; reads give old data or zeros */
	BLOCK_WRITE_ZEROES,
};

struct block_request {
	enum block_op op;
	bool may_unmap;            /* write zeroes: the space may be given back */
	const struct iovec *iov;   /* read and write */
	unsigned iov_count;
	uint64_t offset, length;   /* bytes; multiples of BLOCK_SECTOR within the disk; length is that of the iovec */
	/* error: 0 or an errno value of the host */
	void (*done)(struct block_request *request, int error);
	void *opaque;
	/* the disk's own */
	struct block_request *next;
	int error;
};

#define BLOCK_SECTOR 512u

struct block;

struct block_ops {
	/* Performs one request, on a thread of the pool; 0 or an errno value. */
	int (*perform)(struct block *block, const struct block_request *request);
	void (*close)(struct block *block);
	/* The descriptor of a file that has the request's data at the same offset, so that the kernel may do it alone; -1: perform must.
	 * What the kernel does not do in whole is performed again. May be missing; any thread. */
	int (*direct)(struct block *block, const struct block_request *request);
	/* With it, for reads: one is about to be done; whether a `sparse` disk has nothing but zeros there, because nothing was ever written. */
	void (*ahead)(struct block *block, const struct block_request *request);
	bool (*hole)(struct block *block, const struct block_request *request);
	/* block_reserve and block_reserved; may be missing. */
	int (*reserve)(struct block *block, bool on);
	bool (*reserved)(struct block *block);
};

/* Format drivers put this first into their own struct and call block_start when the file is open. */
struct block {
	const struct block_ops *ops;
	char *name;                /* for messages: the file's path */
	uint64_t size;             /* bytes, a multiple of BLOCK_SECTOR */
	bool read_only, shared, sparse;
	unsigned physical_block;   /* bytes: writes of less cost a read; 512 when unknown */
	struct block_queue *queue;
};

enum block_cache {
	BLOCK_WRITE_BACK,    /* on stable storage after a flush */
	BLOCK_WRITE_THROUGH, /* when the write is complete */
	BLOCK_UNSAFE,        /* flushes do nothing: for disks that are thrown away */
};

struct block_config {
	const char *path;
	const char *format;   /* "raw", "qcow2"...; NULL: by the file's content */
	const char *snapshot; /* of a qcow2 image, by name or id, read-only; NULL: the current state */
	const char *backing;  /* the image behind it, where it does not name one or another is wanted; NULL */
	bool read_only;
	/* Other machines of this host write it, too, and all say so (image.h). Every write is on stable storage when it is complete, whatever `cache`
	 * says; what one has written the others read, since all go by the host's cache. */
	bool shared;
	enum block_cache cache;
	struct worker worker;
	bool worker_waits; /* it is there for this disk alone: it may do requests itself, which can take as long as the host likes */
};

/*
 * Opens a disk image of any format (block/image.h), or a block device. The file is locked (fcntl, open file
 * description locks) against a second writer in any process, and against any reader when it is
 * opened for writing; the images behind it against writers. A raw image's size that is no multiple of 512 is rounded up; the
 * missing bytes read as zeros.
 */
struct block *block_open(const struct block_config *config, struct error *err);

/* The lock that completions are called with; NULL: none. Before the first request. */
void block_set_owner(struct block *block, struct lock *lock);

/* Never fails: errors come through the completion, an out-of-range request's as EINVAL, a write to a read-only
 * disk's as EROFS. */
void block_submit(struct block *block, struct block_request *request);

/* Returns when no request is in flight and all completions have run; they may submit more, which are waited for
 * as well. The caller holds the owner's lock, or knows that the worker stands still. */
void block_drain(struct block *block);

/* The same, but what no thread has begun ends with ECANCELED, and so does what completions submit meanwhile. */
void block_cancel(struct block *block);

/* After a drain: what the guest wrote is in the file, as for someone who copies it now. 0 or an errno value. */
int block_settle(struct block *block);

/* Drains, flushes to stable storage, and frees. On the worker, or while it stands still; what is posted to it by then it may
 * run afterwards, without effect. */
void block_close(struct block *block);

/* A shared disk is this machine's alone until it lets go of it, or ends. 0; EBUSY: it is another one's. Any thread. */
int block_reserve(struct block *block, bool on);
bool block_reserved(struct block *block); /* by another machine */

/* For format drivers. block_start takes over `block`, calling ops->close for it when it fails. */
int block_start(struct block *block, const struct block_config *config, struct error *err);

#endif
