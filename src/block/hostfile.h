/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_HOSTFILE_H
#define VISOR_BLOCK_HOSTFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

/*
 * A file or block device of the host that holds an image or a part of one. It is locked
 * (fcntl, open file description locks) against a second writer in any process, and against any reader while it is
 * open for writing. Who opens it shared writes together with all others who do, and with nobody else.
 *
 * What transfers data returns 0 or an errno value, may be called from any thread, and does all of it: short transfers and interruptions
 * stay inside. Reads beyond the end give zeros.
 */
struct hostfile {
	char *path;
	int fd;
	bool read_only, is_device, shared;
	_Atomic bool no_punch, no_zero_range; /* the file system refused it once */
	bool for_guest, sparse;  /* hostfile_for_guest */
	_Atomic uint64_t next;   /* where the next read begins if reads are in sequence */
	_Atomic uint32_t window; /* bytes that were read ahead the last time */
	_Atomic int sync_error; /* of the first failed sync: nobody knows what was lost, so none succeeds after it */
};

/* NULL: the error says why, for a locked one by whom. */
struct hostfile *hostfile_open(const char *path, bool read_only, struct error *err);
struct hostfile *hostfile_open_shared(const char *path, bool read_only, struct error *err);
/* Read-only and without a lock: what is read may be half of a change. */
struct hostfile *hostfile_open_unlocked(const char *path, struct error *err);
/* A new file; one that exists is an error. */
struct hostfile *hostfile_create(const char *path, struct error *err);
void hostfile_close(struct hostfile *file);

/*
 * A guest is going to write here and there in it. The host reads nothing ahead then, which would fill its page cache with folios of MiB, where a write of 4 KiB
 * costs ext4 up to 100 us instead of 2 (it looks at every block of the folio); instead of it hostfile_ahead does, by single pages. Before the first transfer.
 */
void hostfile_for_guest(struct hostfile *file);
/* A file of which parts were never written, when it was opened for a guest: hostfile_is_hole is worth a call. */
static inline bool hostfile_sparse(const struct hostfile *file)
{
	return file->sparse;
}
/* The whole range is such a part, which reads as zeros without a place in the host's page cache. */
bool hostfile_is_hole(struct hostfile *file, uint64_t at, uint64_t length);
/* These bytes are about to be read: has the host begin with what comes after them, if it looks as if that were wanted next. Only a hint. */
void hostfile_ahead(struct hostfile *file, uint64_t at, uint64_t length);

/* Among those who share it: one may have it reserved, until it lets go or ends. EBUSY: another one has; reserved says so, too. */
int hostfile_reserve(struct hostfile *file, bool on);
bool hostfile_reserved(struct hostfile *file);

/* Bytes. */
int hostfile_size(struct hostfile *file, uint64_t *size);
/* Bytes that the host has given to it, and what one of its blocks is; 0 when unknown. */
uint64_t hostfile_allocated(struct hostfile *file);
unsigned hostfile_physical_block(struct hostfile *file);

int hostfile_read(struct hostfile *file, void *data, uint64_t size, uint64_t at);
int hostfile_write(struct hostfile *file, const void *data, uint64_t size, uint64_t at);
/* Bytes [skip, skip + length) of an iovec's data. */
int hostfile_readv(struct hostfile *file, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length, uint64_t at);
int hostfile_writev(struct hostfile *file, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length, uint64_t at);

/* The range reads as zeros afterwards; with `unmap` its space is given back if the host can. It never shrinks the file, and
 * need not grow it. */
int hostfile_zero(struct hostfile *file, uint64_t at, uint64_t length, bool unmap);
/* A hint that the range's content is of no interest. */
int hostfile_discard(struct hostfile *file, uint64_t at, uint64_t length);
int hostfile_truncate(struct hostfile *file, uint64_t size);
/* All completed writes are on stable storage after it. */
int hostfile_sync(struct hostfile *file);
/* How far from `at`, at most `length`, the file is all hole or all data, in whole sectors; `length` is a multiple of those. */
uint64_t hostfile_extent(struct hostfile *file, uint64_t at, uint64_t length, bool *hole);

/* Copies between plain memory and bytes [skip, skip + length) of an iovec's data. */
void iov_gather(const struct iovec *iov, unsigned count, uint64_t skip, void *to, uint64_t length);
void iov_scatter(const struct iovec *iov, unsigned count, uint64_t skip, const void *from, uint64_t length);
void iov_clear(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length);

#endif
