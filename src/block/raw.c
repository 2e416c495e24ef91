/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

struct raw {
	struct block block;
	int fd;
	_Atomic bool no_punch, no_zero_range; /* the file system refused it once */
};

#define ZERO_CHUNK (64u << 10)

static struct raw *raw_of(struct block *block)
{
	return container_of(block, struct raw, block);
}

/* The part of an iovec that begins `skip` bytes in, at most IOV_MAX pieces. */
static int iov_tail(const struct block_request *request, uint64_t skip, struct iovec *tail)
{
	int count = 0;
	for (unsigned i = 0; i < request->iov_count && count < IOV_MAX; i++) {
		struct iovec piece = request->iov[i];
		uint64_t cut = MIN(skip, piece.iov_len);
		skip -= cut;
		piece.iov_base = (char *)piece.iov_base + cut;
		piece.iov_len -= cut;
		if (piece.iov_len)
			tail[count++] = piece;
	}
	return count;
}

static void zero_iov(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

/* The kernel may do less than was asked for; a read that meets the end of the file gives zeros from there. */
static int transfer(struct raw *raw, const struct block_request *request)
{
	struct iovec tail[IOV_MAX];
	for (uint64_t done = 0; done < request->length;) {
		int count = iov_tail(request, done, tail);
		off_t at = (off_t)(request->offset + done);
		ssize_t n;
		if (!count)
			return EINVAL;
		if (request->op == BLOCK_READ)
			n = preadv(raw->fd, tail, count, at);
		else
			n = pwritev(raw->fd, tail, count, at);
		if (n < 0 && errno != EINTR)
			return errno;
		if (n == 0 && request->op == BLOCK_WRITE)
			return ENOSPC;
		if (n == 0) {
			zero_iov(tail, count);
			for (int i = 0; i < count; i++)
				n += (ssize_t)tail[i].iov_len;
		}
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

static int allocate(struct raw *raw, int mode, const struct block_request *request)
{
	int rc;
	do
		rc = fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)request->offset, (off_t)request->length);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

static bool unsupported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV;
}

/* A hint: a file system that cannot give space back has done all it can. */
static int discard(struct raw *raw, const struct block_request *request)
{
	if (!request->length || raw->no_punch)
		return 0;
	int error = allocate(raw, FALLOC_FL_PUNCH_HOLE, request);
	if (unsupported(error)) {
		raw->no_punch = true;
		error = 0;
	}
	return error;
}

static int write_zero_bytes(struct raw *raw, const struct block_request *request)
{
	cleanup_free void *zeros = calloc(1, ZERO_CHUNK);
	if (!zeros)
		return ENOMEM;
	for (uint64_t done = 0; done < request->length;) {
		size_t chunk = MIN(request->length - done, (uint64_t)ZERO_CHUNK);
		ssize_t n = pwrite(raw->fd, zeros, chunk, (off_t)(request->offset + done));
		if (n < 0 && errno != EINTR)
			return errno;
		if (n == 0)
			return ENOSPC;
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

static int write_zeroes(struct raw *raw, const struct block_request *request)
{
	if (!request->length)
		return 0;
	_Atomic bool *refused = request->may_unmap ? &raw->no_punch : &raw->no_zero_range;
	if (!*refused) {
		int mode = request->may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
		int error = allocate(raw, mode, request);
		if (!unsupported(error))
			return error;
		*refused = true;
	}
	return write_zero_bytes(raw, request);
}

static int flush(struct raw *raw)
{
	return !raw->block.read_only && fdatasync(raw->fd) < 0 ? errno : 0;
}

static int raw_perform(struct block *block, const struct block_request *request)
{
	struct raw *raw = raw_of(block);
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return transfer(raw, request);
	case BLOCK_FLUSH:
		return flush(raw);
	case BLOCK_DISCARD:
		return discard(raw, request);
	case BLOCK_WRITE_ZEROES:
		return write_zeroes(raw, request);
	}
	return EINVAL;
}

static void raw_close(struct block *block)
{
	struct raw *raw = raw_of(block);
	if (raw->fd >= 0)
		close(raw->fd);
	free(block->name);
	free(raw);
}

static const struct block_ops raw_ops = { .perform = raw_perform, .close = raw_close };

static int lock_image(struct raw *raw, struct error *err)
{
	struct flock range = { .l_type = raw->block.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(raw->fd, F_OFD_SETLK, &range) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(err, EBUSY, "disk image %s is in use by another machine or program; "
				 "stop that one first, or use a copy of the image", raw->block.name);
	/* Some network and FUSE file systems have no locks; the image is usable, at the user's risk. */
	log_warn("disk image %s cannot be locked (%s): make sure that no other machine uses it", raw->block.name,
		 strerror(errno));
	return 0;
}

static int learn_size(struct raw *raw, struct error *err)
{
	struct block *block = &raw->block;
	struct stat st;
	unsigned int physical = 0;
	if (fstat(raw->fd, &st) < 0)
		return error_set(err, errno, "disk image %s: %s", block->name, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, EINVAL, "disk image %s is neither a file nor a block device", block->name);
	block->size = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(raw->fd, BLKGETSIZE64, &block->size) < 0)
		return error_set(err, errno, "%s: cannot read the size of the block device: %s", block->name,
				 strerror(errno));
	if (!block->size)
		return error_set(err, EINVAL, "disk image %s is empty; make it as large as the disk shall be "
				 "(truncate -s 10G %s)", block->name, block->name);
	block->physical_block = S_ISREG(st.st_mode) ? 4096 : BLOCK_SECTOR;
	if (S_ISBLK(st.st_mode) && ioctl(raw->fd, BLKPBSZGET, &physical) == 0 && physical >= BLOCK_SECTOR)
		block->physical_block = physical;
	if (block->size % BLOCK_SECTOR)
		log_warn("disk image %s: its size is no multiple of 512 bytes; the last sector ends with zeros",
			 block->name);
	block->size = ALIGN_UP(block->size, (uint64_t)BLOCK_SECTOR);
	return 0;
}

static int open_image(struct raw *raw, struct error *err)
{
	const char *path = raw->block.name;
	raw->fd = open(path, (raw->block.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (raw->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && !raw->block.read_only)
		return error_set(err, errno, "cannot open disk image %s for writing: %s; "
				 "change its permissions or attach it read-only", path, strerror(errno));
	if (raw->fd < 0)
		return error_set(err, errno, "cannot open disk image %s: %s", path, strerror(errno));
	return 0;
}

struct block *block_open_raw(const struct block_config *config, struct error *err)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	char *name = strdup(config->path);
	if (!raw || !name) {
		free(raw);
		free(name);
		error_set(err, ENOMEM, "out of memory for disk image %s", config->path);
		return NULL;
	}
	raw->fd = -1;
	raw->block = (struct block){ .ops = &raw_ops, .name = name, .read_only = config->read_only };
	if (open_image(raw, err) < 0 || learn_size(raw, err) < 0 || lock_image(raw, err) < 0) {
		raw_close(&raw->block);
		return NULL;
	}
	return block_start(&raw->block, config, err) < 0 ? NULL : &raw->block;
}
