/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that are open: data, folders' entries, locks.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/iovec.h"
#include "base/util.h"
#include "share/p9_server.h"

#define READDIR_MAX 65536u
#define ENTRY_FIXED 24u /* qid[13] offset[8] type[1] name's length[2] */
#define READ_FIXED 11u  /* a reply's header and count[4] */
#define WRITE_FIXED 23u /* a message's header, fid[4] offset[8] count[4] */

/* What of the client's flags has a meaning on this side. */
static int open_flags(uint32_t flags)
{
	return (int)(flags & (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC));
}

static bool writes(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static void become_open(struct p9_server *s, struct fid *fid, int fd, uint32_t flags, const struct stat *st)
{
	fid->kind = FID_OPEN;
	fid->fd = fd;
	fid->can_write = (flags & O_ACCMODE) != O_RDONLY;
	fid->position = -1;
	fid_note(fid, st);
	s->open_count++;
}

int p9_lopen(struct p9_call *call)
{
	struct p9_server *s = call->server;
	struct fid *fid = call_fid(call);
	uint32_t flags = (uint32_t)get(&call->in, 4);
	struct stat st;
	if (!fid || call->in.bad || fid->kind != FID_NAME)
		return EBADF;
	if (writes(flags) && s->folder.read_only)
		return EROFS;
	if (s->open_count >= s->open_max)
		return EMFILE;
	int fd = fid_reach(s, fid, &st);
	if (fd < 0)
		return -fd;
	int opened = S_ISDIR(st.st_mode) && writes(flags) ? -EISDIR : folder_reopen(fd, open_flags(flags));
	fid_done(fid, fd);
	if (opened < 0)
		return -opened;
	become_open(s, fid, opened, flags, &st);
	put_qid(&call->out, s, &st);
	put(&call->out, 0, 4);
	return 0;
}

/* An existing file is opened like any other, so that nothing but regular files is. */
static int create(int folder, const char *name, uint32_t flags, bool *made)
{
	int fd = openat(folder, name, open_flags(flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	*made = fd >= 0;
	if (fd >= 0 || errno != EEXIST || flags & O_EXCL)
		return fd < 0 ? -errno : fd;
	int there = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0)
		return -errno;
	fd = folder_reopen(there, open_flags(flags));
	close(there);
	return fd;
}

static int create_in(struct p9_call *call, struct fid *fid, int folder, const char *name, uint32_t flags, mode_t mode, uint32_t gid)
{
	struct stat st;
	bool made;
	char *path = folder_join(fid->path, name);
	int fd = path ? create(folder, name, flags, &made) : -ENOMEM;
	int error = fd < 0 ? -fd : made ? p9_settle_new(call, fid, fd, mode, gid) : 0;
	if (!error && fstat(fd, &st) < 0)
		error = errno;
	if (error) {
		if (fd >= 0)
			close(fd);
		free(path);
		return error;
	}
	fid_set_path(call->server, fid, path);
	become_open(call->server, fid, fd, flags, &st);
	put_qid(&call->out, call->server, &st);
	put(&call->out, 0, 4);
	return 0;
}

int p9_lcreate(struct p9_call *call)
{
	struct p9_server *s = call->server;
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in);
	uint32_t flags = (uint32_t)get(&call->in, 4), mode = (uint32_t)get(&call->in, 4), gid = (uint32_t)get(&call->in, 4);
	if (!fid || call->in.bad || fid->kind != FID_NAME)
		return EBADF;
	if (!folder_name_ok(name))
		return EINVAL;
	if (s->folder.read_only)
		return EROFS;
	if (s->open_count >= s->open_max)
		return EMFILE;
	int folder = fid_reach(s, fid, NULL);
	if (folder < 0)
		return -folder;
	int error = create_in(call, fid, folder, name, flags, mode, gid);
	close(folder); /* the handle is one of the file now */
	return error;
}

/* --- data --- */

static void read_value(struct p9_call *call, const struct fid *fid, uint64_t offset, uint32_t count)
{
	const struct p9_request *r = call->request;
	struct iovec to[1];
	const uint8_t *from = fid->value + MIN(offset, (uint64_t)fid->value_size);
	uint64_t left = MIN((uint64_t)count, fid->value_size - MIN(offset, (uint64_t)fid->value_size)), done = 0;
	while (left && iovec_slice(r->in, r->in_count, READ_FIXED + done, left, to, 1)) {
		memcpy(to[0].iov_base, from + done, to[0].iov_len);
		done += to[0].iov_len;
		left -= to[0].iov_len;
	}
	call->payload = (uint32_t)done;
}

/* Into the client's buffers, without a copy. */
static int read_file(struct p9_call *call, const struct fid *fid, uint64_t offset, uint32_t count)
{
	const struct p9_request *r = call->request;
	struct iovec to[IOV_MAX];
	unsigned pieces = iovec_slice(r->in, r->in_count, READ_FIXED, count, to, IOV_MAX);
	ssize_t n = pieces ? preadv(fid->fd, to, (int)pieces, (off_t)offset) : 0;
	if (n < 0)
		return errno;
	call->payload = (uint32_t)n;
	return 0;
}

/* What fits into a message and into the client's buffers. */
static uint32_t fitting(const struct p9_call *call, uint32_t count)
{
	uint64_t room = call->request->in_size - MIN(call->request->in_size, (uint64_t)READ_FIXED);
	return (uint32_t)MIN(MIN((uint64_t)count, room), (uint64_t)call->server->msize - READ_FIXED);
}

int p9_read(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	uint64_t offset = get(&call->in, 8);
	uint32_t count = (uint32_t)get(&call->in, 4);
	int error = 0;
	if (!fid || call->in.bad || (fid->kind != FID_OPEN && fid->kind != FID_XATTR_READ))
		return EBADF;
	if (fid->kind == FID_XATTR_READ)
		read_value(call, fid, offset, fitting(call, count));
	else
		error = read_file(call, fid, offset, fitting(call, count));
	put(&call->out, call->payload, 4);
	return error;
}

static int write_value(struct p9_call *call, struct fid *fid, uint64_t offset, uint32_t count)
{
	const struct p9_request *r = call->request;
	struct iovec from[1];
	if (offset != fid->value_done || count > fid->value_size - fid->value_done)
		return EINVAL;
	for (uint32_t done = 0; done < count; done += (uint32_t)from[0].iov_len) {
		if (!iovec_slice(r->out, r->out_count, WRITE_FIXED + done, count - done, from, 1))
			return EINVAL;
		memcpy(fid->value + fid->value_done, from[0].iov_base, from[0].iov_len);
		fid->value_done += (uint32_t)from[0].iov_len;
	}
	put(&call->out, count, 4);
	return 0;
}

int p9_write(struct p9_call *call)
{
	const struct p9_request *r = call->request;
	struct iovec from[IOV_MAX];
	struct fid *fid = call_fid(call);
	uint64_t offset = get(&call->in, 8);
	uint32_t count = (uint32_t)get(&call->in, 4);
	if (!fid || call->in.bad)
		return EBADF;
	if (r->out_size < WRITE_FIXED || count > r->out_size - WRITE_FIXED)
		return EINVAL;
	if (fid->kind == FID_XATTR_WRITE)
		return write_value(call, fid, offset, count);
	if (fid->kind != FID_OPEN)
		return EBADF;
	unsigned pieces = iovec_slice(r->out, r->out_count, WRITE_FIXED, count, from, IOV_MAX);
	ssize_t n = pwritev(fid->fd, from, (int)pieces, (off_t)offset);
	if (n < 0)
		return errno;
	put(&call->out, (uint64_t)n, 4);
	return 0;
}

int p9_fsync(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	uint32_t data_alone = call->in.size - call->in.at >= 4 ? (uint32_t)get(&call->in, 4) : 0; /* older clients leave it out */
	if (!fid || fid->kind != FID_OPEN)
		return EBADF;
	return (data_alone ? fdatasync(fid->fd) : fsync(fid->fd)) < 0 ? errno : 0;
}

/* --- folders --- */

/* The entry of the folder's own parent says nothing about what is above the shared one. */
static void put_entry(struct cursor *out, const struct p9_server *s, const struct fid *fid, const struct dirent64 *e)
{
	bool above = !strcmp(e->d_name, "..") && !*fid->path;
	ino_t ino = above ? s->root_ino : e->d_ino;
	put(out, e->d_type == DT_DIR ? 0x80 : e->d_type == DT_LNK ? 0x02 : 0, 1);
	put(out, 0, 4);
	put(out, qid_path(s, above ? s->root_dev : fid->dev, ino), 8);
	put(out, (uint64_t)e->d_off, 8);
	put(out, e->d_type, 1);
	put_string(out, e->d_name, strlen(e->d_name));
}

/* As many entries as have room in `out`; 0 or an errno value. */
static int list_folder(struct p9_server *s, struct fid *fid, uint64_t offset, struct cursor *out)
{
	uint64_t buffer[READDIR_MAX / 8];
	if (fid->position < 0 || (uint64_t)fid->position != offset)
		if (lseek(fid->fd, (off_t)offset, SEEK_SET) < 0)
			return errno;
	fid->position = -1;
	/* Entries of the kernel are no larger than those of the protocol: most of them are used. */
	ssize_t size = getdents64(fid->fd, buffer, MAX(MIN((size_t)out->size, sizeof(buffer)), (size_t)512));
	if (size < 0)
		return errno;
	for (ssize_t at = 0; at < size;) {
		const struct dirent64 *e = (const struct dirent64 *)((char *)buffer + at);
		if (out->size - out->at < ENTRY_FIXED + strlen(e->d_name))
			return out->at ? 0 : EINVAL;
		put_entry(out, s, fid, e);
		at += e->d_reclen;
		if (at == size)
			fid->position = e->d_off;
	}
	return 0;
}

int p9_readdir(struct p9_call *call)
{
	const struct p9_request *r = call->request;
	struct fid *fid = call_fid(call);
	uint64_t offset = get(&call->in, 8);
	uint32_t count = (uint32_t)get(&call->in, 4);
	struct iovec to[1];
	if (!fid || call->in.bad || fid->kind != FID_OPEN)
		return EBADF;
	struct cursor list = { .size = MIN(fitting(call, count), READDIR_MAX) };
	list.data = malloc(READDIR_MAX);
	int error = list.data ? list_folder(call->server, fid, offset, &list) : ENOMEM;
	while (!error && call->payload < list.at &&
	       iovec_slice(r->in, r->in_count, READ_FIXED + call->payload, list.at - call->payload, to, 1)) {
		memcpy(to[0].iov_base, list.data + call->payload, to[0].iov_len);
		call->payload += (uint32_t)to[0].iov_len;
	}
	free(list.data);
	put(&call->out, call->payload, 4);
	return error;
}

/* --- locks --- */

enum { P9_LOCK_READ, P9_LOCK_WRITE, P9_LOCK_NONE };
enum { P9_LOCK_SUCCESS, P9_LOCK_BLOCKED, P9_LOCK_ERROR };

static bool read_lock(struct cursor *in, struct flock *lock, uint8_t type)
{
	static const short types[] = { [P9_LOCK_READ] = F_RDLCK, [P9_LOCK_WRITE] = F_WRLCK, [P9_LOCK_NONE] = F_UNLCK };
	uint64_t start = get(in, 8), length = get(in, 8);
	if (in->bad || type > P9_LOCK_NONE || start > INT64_MAX || length > INT64_MAX)
		return false;
	*lock = (struct flock){ .l_type = types[type], .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length };
	return true;
}

/*
 * The client has settled its own processes' claims before it asks; the lock of the open file keeps others off, on the host and in other
 * machines. It never waits: the client comes again. A descriptor that cannot have such a lock (flock for writing on a file open for reading)
 * is left to the client.
 */
int p9_lock(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	uint8_t type = (uint8_t)get(&call->in, 1), status = P9_LOCK_SUCCESS;
	struct flock lock;
	get(&call->in, 4);
	if (!fid || fid->kind != FID_OPEN)
		return EBADF;
	if (!read_lock(&call->in, &lock, type))
		return EINVAL;
	if (fcntl(fid->fd, F_OFD_SETLK, &lock) < 0 && errno != EBADF)
		status = errno == EAGAIN || errno == EACCES ? P9_LOCK_BLOCKED : P9_LOCK_ERROR;
	put(&call->out, status, 1);
	return 0;
}

int p9_getlock(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	uint8_t type = (uint8_t)get(&call->in, 1);
	struct flock lock;
	if (!fid || fid->kind != FID_OPEN)
		return EBADF;
	if (!read_lock(&call->in, &lock, type) || type == P9_LOCK_NONE)
		return EINVAL;
	uint32_t process = (uint32_t)get(&call->in, 4);
	const char *client = get_string(&call->in);
	if (call->in.bad)
		return EINVAL;
	if (fcntl(fid->fd, F_OFD_GETLK, &lock) < 0)
		return errno;
	put(&call->out, lock.l_type == F_UNLCK ? P9_LOCK_NONE : lock.l_type == F_WRLCK ? P9_LOCK_WRITE : P9_LOCK_READ, 1);
	put(&call->out, (uint64_t)lock.l_start, 8);
	put(&call->out, (uint64_t)lock.l_len, 8);
	put(&call->out, lock.l_type == F_UNLCK ? process : 0, 4);
	put_string(&call->out, client, strlen(client));
	return 0;
}

int p9_clunk(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	return fid ? fid_remove(call->server, fid) : EBADF;
}
