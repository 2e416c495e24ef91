/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/hostfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/iovec.h"
#include "base/log.h"
#include "base/util.h"
#include "host/holder.h"

#define ZERO_CHUNK (64u << 10)
#define PIECES 64
/*
 * Bytes that one system call writes. The host's page cache gets folios as large as a write is, and in ext4 a later write of 4 KiB goes over all blocks of its
 * folio: 50 us in one of 1 MiB, 3 us in one of 16 KiB, where more calls cost next to nothing.
 */
#define WRITE_PIECE (16u << 10)
/* What is read ahead when a read follows another one, and when many do; larger reads are worth the way by themselves. */
#define AHEAD_MIN (64u << 10)
#define AHEAD_MAX (2u << 20)
#define AHEAD_READ (256u << 10)
#define SECTOR 512ull
#define LOCK_TRIES 100
#define LOCK_PAUSE_US 10000
/* Bytes beyond any file's end. Who shares a file locks one of the first for itself, which does not hurt the others, but does all who want the whole;
 * those who only read it have one together. */
#define SHARE_LOCKS ((off_t)1 << 62)
#define SHARE_WRITERS 64
#define SHARE_RESERVED (SHARE_LOCKS + SHARE_WRITERS + 1)

enum copy { COPY_OUT, COPY_IN, CLEAR };

static void iov_copy(const struct iovec *iov, unsigned count, uint64_t skip, char *data, uint64_t length, enum copy what)
{
	struct iovec part[PIECES];
	while (length) {
		unsigned n = iovec_slice(iov, count, skip, length, part, PIECES);
		if (!n)
			return;
		for (unsigned i = 0; i < n; i++) {
			if (what == COPY_OUT)
				memcpy(data, part[i].iov_base, part[i].iov_len);
			else if (what == COPY_IN)
				memcpy(part[i].iov_base, data, part[i].iov_len);
			else
				memset(part[i].iov_base, 0, part[i].iov_len);
			if (what != CLEAR)
				data += part[i].iov_len;
			skip += part[i].iov_len;
			length -= part[i].iov_len;
		}
	}
}

void iov_gather(const struct iovec *iov, unsigned count, uint64_t skip, void *to, uint64_t length)
{
	iov_copy(iov, count, skip, to, length, COPY_OUT);
}

void iov_scatter(const struct iovec *iov, unsigned count, uint64_t skip, const void *from, uint64_t length)
{
	iov_copy(iov, count, skip, (char *)from, length, COPY_IN);
}

void iov_clear(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length)
{
	iov_copy(iov, count, skip, NULL, length, CLEAR);
}

void hostfile_for_guest(struct hostfile *file)
{
	struct stat st;
	file->for_guest = posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM) == 0;
	file->sparse = !file->is_device && fstat(file->fd, &st) == 0 && st.st_blocks * 512 < st.st_size;
}

bool hostfile_is_hole(struct hostfile *file, uint64_t at, uint64_t length)
{
	off_t data = lseek(file->fd, (off_t)at, SEEK_DATA);
	return data < 0 ? errno == ENXIO : (uint64_t)data >= at + length;
}

/* Reads that another thread does in another order at the same moment spoil the guess for once. */
void hostfile_ahead(struct hostfile *file, uint64_t at, uint64_t length)
{
	uint64_t next = file->next, end = at + length;
	if (!file->for_guest || length > AHEAD_READ)
		return;
	if (at > next || at + file->window + AHEAD_READ < next) {
		file->window = 0;
		file->next = end;
		return;
	}
	/* Half of what was asked for in advance is still to come; or the same read is on its way by another path. */
	if (end + file->window / 2 <= next)
		return;
	uint32_t window = MIN(MAX(2 * file->window, AHEAD_MIN), AHEAD_MAX);
	uint64_t from = MAX(end, next);
	file->window = window;
	file->next = from + window;
	posix_fadvise(file->fd, (off_t)from, window, POSIX_FADV_WILLNEED);
}

int hostfile_readv(struct hostfile *file, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length, uint64_t at)
{
	struct iovec part[PIECES];
	hostfile_ahead(file, at, length);
	for (uint64_t done = 0; done < length;) {
		unsigned pieces = iovec_slice(iov, count, skip + done, length - done, part, PIECES);
		ssize_t n = pieces ? preadv(file->fd, part, (int)pieces, (off_t)(at + done)) : 0;
		if (n < 0 && errno != EINTR)
			return errno;
		if (n == 0) {
			iov_clear(iov, count, skip + done, length - done);
			return pieces ? 0 : EINVAL;
		}
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

int hostfile_writev(struct hostfile *file, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length, uint64_t at)
{
	struct iovec part[PIECES];
	for (uint64_t done = 0; done < length;) {
		unsigned pieces = iovec_slice(iov, count, skip + done, MIN(length - done, (uint64_t)WRITE_PIECE), part, PIECES);
		ssize_t n = pieces ? pwritev(file->fd, part, (int)pieces, (off_t)(at + done)) : 0;
		if (n < 0 && errno != EINTR)
			return errno;
		if (n == 0)
			return pieces ? ENOSPC : EINVAL;
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

int hostfile_read(struct hostfile *file, void *data, uint64_t size, uint64_t at)
{
	const struct iovec iov = { data, size };
	return hostfile_readv(file, &iov, 1, 0, size, at);
}

int hostfile_write(struct hostfile *file, const void *data, uint64_t size, uint64_t at)
{
	const struct iovec iov = { (void *)data, size };
	return hostfile_writev(file, &iov, 1, 0, size, at);
}

static int allocate(struct hostfile *file, int mode, uint64_t at, uint64_t length)
{
	int rc;
	do
		rc = fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

static bool unsupported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV;
}

int hostfile_discard(struct hostfile *file, uint64_t at, uint64_t length)
{
	if (!length || file->no_punch)
		return 0;
	int error = allocate(file, FALLOC_FL_PUNCH_HOLE, at, length);
	if (unsupported(error)) {
		file->no_punch = true;
		error = 0;
	}
	return error;
}

static int write_zero_bytes(struct hostfile *file, uint64_t at, uint64_t length)
{
	cleanup_free void *zeros = calloc(1, ZERO_CHUNK);
	if (!zeros)
		return ENOMEM;
	for (uint64_t done = 0; done < length;) {
		uint64_t chunk = MIN(length - done, (uint64_t)ZERO_CHUNK);
		int error = hostfile_write(file, zeros, chunk, at + done);
		if (error)
			return error;
		done += chunk;
	}
	return 0;
}

int hostfile_zero(struct hostfile *file, uint64_t at, uint64_t length, bool unmap)
{
	if (!length)
		return 0;
	_Atomic bool *refused = unmap ? &file->no_punch : &file->no_zero_range;
	if (!*refused) {
		int error = allocate(file, unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, at, length);
		if (!unsupported(error))
			return error;
		*refused = true;
	}
	return write_zero_bytes(file, at, length);
}

int hostfile_truncate(struct hostfile *file, uint64_t size)
{
	if (file->is_device)
		return 0;
	return ftruncate(file->fd, (off_t)size) < 0 ? errno : 0;
}

int hostfile_sync(struct hostfile *file)
{
	if (file->read_only)
		return 0;
	if (!file->sync_error && fdatasync(file->fd) < 0)
		file->sync_error = errno;
	return file->sync_error;
}

uint64_t hostfile_extent(struct hostfile *file, uint64_t at, uint64_t length, bool *hole)
{
	off_t data = lseek(file->fd, (off_t)at, SEEK_DATA);
	*hole = data < 0 ? errno == ENXIO && !file->is_device : (uint64_t)data >= at + SECTOR;
	if (data < 0)
		return length;
	if (*hole)
		return MIN(length, ALIGN_DOWN((uint64_t)data - at, SECTOR));
	/* The file may end inside a sector, of which the rest reads as zeros. */
	off_t end = lseek(file->fd, (off_t)at, SEEK_HOLE);
	return end > (off_t)at ? MIN(length, ALIGN_UP((uint64_t)end - at, SECTOR)) : length;
}

int hostfile_size(struct hostfile *file, uint64_t *size)
{
	struct stat st;
	if (file->is_device)
		return ioctl(file->fd, BLKGETSIZE64, size) < 0 ? errno : 0;
	if (fstat(file->fd, &st) < 0)
		return errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

uint64_t hostfile_allocated(struct hostfile *file)
{
	struct stat st;
	return fstat(file->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

unsigned hostfile_physical_block(struct hostfile *file)
{
	unsigned physical = 0;
	if (!file->is_device)
		return 4096;
	return ioctl(file->fd, BLKPBSZGET, &physical) == 0 && physical >= 512 ? physical : 512;
}

/* -1 and errno, as fcntl. */
static int try_lock(struct hostfile *file)
{
	struct flock range = { .l_type = file->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	int rc = -1;
	if (!file->shared)
		return fcntl(file->fd, F_OFD_SETLK, &range);
	range.l_len = 1;
	for (unsigned i = file->read_only ? SHARE_WRITERS : 0; rc < 0 && i < SHARE_WRITERS + (unsigned)file->read_only; i++) {
		range.l_start = SHARE_LOCKS + i;
		rc = fcntl(file->fd, F_OFD_SETLK, &range);
		if (rc < 0 && errno != EAGAIN && errno != EACCES)
			break;
	}
	return rc;
}

int hostfile_reserve(struct hostfile *file, bool on)
{
	struct flock range = { .l_type = on ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = SHARE_RESERVED, .l_len = 1 };
	if (!file->shared || file->read_only || fcntl(file->fd, F_OFD_SETLK, &range) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? EBUSY : errno;
}

bool hostfile_reserved(struct hostfile *file)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHARE_RESERVED, .l_len = 1 };
	return file->shared && fcntl(file->fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

static int lock_file(struct hostfile *file, struct error *err)
{
	char who[160];
	/* The kernel closes the ring of a killed process, and with it its files, some time after the process is gone. */
	for (unsigned tries = 0; try_lock(file) < 0; tries++) {
		if (errno != EAGAIN && errno != EACCES)
			goto unsupported;
		bool known = host_lock_holder(file->fd, who, sizeof(who));
		if (known || tries == LOCK_TRIES)
			return error_set(err, EBUSY, "disk image %s is in use by %s; stop that one first, %s", file->path,
					 known ? who : "another machine or program",
					 file->shared ? "or have both share it" : "or use a copy of the image");
		usleep(LOCK_PAUSE_US);
	}
	return 0;
unsupported:
	/* Some network and FUSE file systems have no locks; the image is usable, at the user's risk. */
	log_warn("disk image %s cannot be locked (%s): make sure that no other machine uses it", file->path, strerror(errno));
	return 0;
}

static int open_file(struct hostfile *file, int flags, struct error *err)
{
	file->fd = open(file->path, (file->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, 0644);
	if (file->fd >= 0)
		return 0;
	if (flags)
		return error_set(err, errno, "cannot make disk image %s: %s%s", file->path, strerror(errno),
				 errno == EEXIST ? "; remove it first or choose another name" : "");
	if ((errno == EACCES || errno == EROFS || errno == EPERM) && !file->read_only)
		return error_set(err, errno, "cannot open disk image %s for writing: %s; change its permissions or attach it read-only",
				 file->path, strerror(errno));
	return error_set(err, errno, "cannot open disk image %s: %s", file->path, strerror(errno));
}

static int check_kind(struct hostfile *file, struct error *err)
{
	struct stat st;
	if (fstat(file->fd, &st) < 0)
		return error_set(err, errno, "disk image %s: %s", file->path, strerror(errno));
	file->is_device = S_ISBLK(st.st_mode);
	if (!file->is_device && !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "disk image %s is neither a file nor a block device", file->path);
	return 0;
}

enum locking { UNLOCKED, LOCKED, SHARED };

static struct hostfile *make(const char *path, bool read_only, enum locking locking, int flags, struct error *err)
{
	struct hostfile *file = calloc(1, sizeof(*file));
	char *copy = strdup(path);
	if (!file || !copy) {
		free(file);
		free(copy);
		error_set(err, ENOMEM, "out of memory for disk image %s", path);
		return NULL;
	}
	file->path = copy;
	file->read_only = read_only;
	file->shared = locking == SHARED;
	if (open_file(file, flags, err) == 0 && check_kind(file, err) == 0 && (locking == UNLOCKED || lock_file(file, err) == 0))
		return file;
	hostfile_close(file);
	return NULL;
}

struct hostfile *hostfile_open(const char *path, bool read_only, struct error *err)
{
	return make(path, read_only, LOCKED, 0, err);
}

struct hostfile *hostfile_open_shared(const char *path, bool read_only, struct error *err)
{
	return make(path, read_only, SHARED, 0, err);
}

struct hostfile *hostfile_open_unlocked(const char *path, struct error *err)
{
	return make(path, true, UNLOCKED, 0, err);
}

struct hostfile *hostfile_create(const char *path, struct error *err)
{
	return make(path, false, LOCKED, O_CREAT | O_EXCL, err);
}

void hostfile_close(struct hostfile *file)
{
	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}
