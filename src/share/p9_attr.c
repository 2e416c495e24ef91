/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attributes of files and of the file system.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "share/p9_server.h"

#define GETATTR_BASIC 0x7ffull

enum {
	SET_MODE = 0x1, SET_UID = 0x2, SET_GID = 0x4, SET_SIZE = 0x8, SET_ATIME = 0x10, SET_MTIME = 0x20, SET_CTIME = 0x40,
	SET_ATIME_GIVEN = 0x80, SET_MTIME_GIVEN = 0x100,
};

static void put_time(struct cursor *out, const struct timespec *t)
{
	put(out, (uint64_t)t->tv_sec, 8);
	put(out, (uint64_t)t->tv_nsec, 8);
}

int p9_getattr(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	struct cursor *out = &call->out;
	struct stat st;
	if (!fid || fid->kind == FID_XATTR_READ || fid->kind == FID_XATTR_WRITE)
		return EBADF;
	int fd = fid_reach(call->server, fid, &st);
	if (fd < 0)
		return -fd;
	fid_done(fid, fd);
	put(out, GETATTR_BASIC, 8);
	put_qid(out, call->server, &st);
	put(out, st.st_mode, 4);
	put(out, st.st_uid, 4);
	put(out, st.st_gid, 4);
	put(out, st.st_nlink, 8);
	put(out, st.st_rdev, 8);
	put(out, (uint64_t)st.st_size, 8);
	put(out, (uint64_t)st.st_blksize, 8);
	put(out, (uint64_t)st.st_blocks, 8);
	put_time(out, &st.st_atim);
	put_time(out, &st.st_mtim);
	put_time(out, &st.st_ctim);
	put_time(out, &(struct timespec){ 0 }); /* birth, generation and version of the data are not said */
	put(out, 0, 8);
	put(out, 0, 8);
	return 0;
}

struct new_attributes {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec times[2];
};

static void read_time(struct cursor *in, uint32_t valid, uint32_t set, uint32_t given, struct timespec *t)
{
	t->tv_sec = (time_t)get(in, 8);
	t->tv_nsec = (long)(get(in, 8) % 1000000000u);
	if (!(valid & set))
		t->tv_nsec = UTIME_OMIT;
	else if (!(valid & given))
		t->tv_nsec = UTIME_NOW;
}

static int set_size(const struct fid *fid, int fd, const struct stat *st, uint64_t size)
{
	char name[FOLDER_FD_NAME];
	if (size > INT64_MAX)
		return EINVAL;
	if (fid->kind == FID_OPEN && fid->can_write)
		return ftruncate(fid->fd, (off_t)size) < 0 ? errno : 0;
	if (!S_ISREG(st->st_mode))
		return S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
	return truncate(folder_fd_name(fd, name), (off_t)size) < 0 ? errno : 0;
}

static int set_times(int fd, const struct timespec times[2])
{
	char name[FOLDER_FD_NAME];
	if (utimensat(fd, "", times, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != EINVAL)
		return errno;
	return utimensat(AT_FDCWD, folder_fd_name(fd, name), times, 0) < 0 ? errno : 0;
}

static int set_attributes(const struct fid *fid, int fd, const struct stat *st, const struct new_attributes *a)
{
	char name[FOLDER_FD_NAME];
	int error = 0;
	if (a->valid & (SET_UID | SET_GID)) {
		uid_t uid = a->valid & SET_UID ? a->uid : (uid_t)-1;
		gid_t gid = a->valid & SET_GID ? a->gid : (gid_t)-1;
		if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 && errno != EPERM && errno != EINVAL)
			return errno;
	}
	if (a->valid & SET_MODE) {
		if (S_ISLNK(st->st_mode))
			return EOPNOTSUPP;
		if (chmod(folder_fd_name(fd, name), p9_safe_mode(a->mode, S_ISDIR(st->st_mode))) < 0)
			return errno;
	}
	if (a->valid & SET_SIZE && (error = set_size(fid, fd, st, a->size)))
		return error;
	if (a->valid & (SET_ATIME | SET_MTIME))
		return set_times(fd, a->times);
	return 0;
}

int p9_setattr(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	struct cursor *in = &call->in;
	struct new_attributes a = { .valid = (uint32_t)get(in, 4) };
	struct stat st;
	a.mode = (uint32_t)get(in, 4);
	a.uid = (uint32_t)get(in, 4);
	a.gid = (uint32_t)get(in, 4);
	a.size = get(in, 8);
	read_time(in, a.valid, SET_ATIME, SET_ATIME_GIVEN, &a.times[0]);
	read_time(in, a.valid, SET_MTIME, SET_MTIME_GIVEN, &a.times[1]);
	if (!fid || in->bad || fid->kind == FID_XATTR_READ || fid->kind == FID_XATTR_WRITE)
		return EBADF;
	if (call->server->folder.read_only)
		return EROFS;
	int fd = fid_reach(call->server, fid, &st);
	if (fd < 0)
		return -fd;
	int error = set_attributes(fid, fd, &st, &a);
	fid_done(fid, fd);
	return error;
}

int p9_statfs(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	struct cursor *out = &call->out;
	struct statfs fs;
	if (!fid || fid->kind == FID_XATTR_READ || fid->kind == FID_XATTR_WRITE)
		return EBADF;
	int fd = fid_reach(call->server, fid, NULL);
	if (fd < 0)
		return -fd;
	int error = fstatfs(fd, &fs) < 0 ? errno : 0;
	fid_done(fid, fd);
	if (error)
		return error;
	put(out, 0x01021997, 4); /* V9FS_MAGIC */
	put(out, (uint64_t)fs.f_bsize, 4);
	put(out, fs.f_blocks, 8);
	put(out, fs.f_bfree, 8);
	put(out, fs.f_bavail, 8);
	put(out, fs.f_files, 8);
	put(out, fs.f_ffree, 8);
	put(out, (uint64_t)(uint32_t)fs.f_fsid.__val[0] | (uint64_t)(uint32_t)fs.f_fsid.__val[1] << 32, 8);
	put(out, MIN((uint64_t)fs.f_namelen, (uint64_t)NAME_MAX), 4);
	return 0;
}

/* --- extended attributes: those of users; others would mean something on the host (security.capability) --- */

static bool may_see(const char *name)
{
	return !strncmp(name, "user.", 5) && strlen(name) <= XATTR_NAME_MAX;
}

/* Drops from a list what the client may not see; its new size. */
static uint32_t filter_names(char *list, size_t size)
{
	size_t kept = 0;
	for (size_t at = 0, length; at < size; at += length) {
		length = strlen(list + at) + 1;
		if (!may_see(list + at))
			continue;
		memmove(list + kept, list + at, length);
		kept += length;
	}
	return (uint32_t)kept;
}

/* The value of `name`, or the list of names when it is empty, in the handle. */
static int load_xattr(int fd, const struct stat *st, const char *name, struct fid *fid)
{
	char path[FOLDER_FD_NAME];
	char *value = malloc(XATTR_SIZE_MAX + 1);
	ssize_t size;
	if (!value)
		return ENOMEM;
	folder_fd_name(fd, path);
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
		size = *name ? -1 : 0; /* no other kind has attributes of users */
		errno = ENODATA;
	} else {
		size = *name ? getxattr(path, name, value, XATTR_SIZE_MAX) : listxattr(path, value, XATTR_SIZE_MAX);
	}
	if (size < 0) {
		int error = errno;
		free(value);
		return error;
	}
	value[size] = 0;
	fid->value_size = *name ? (uint32_t)size : filter_names(value, (size_t)size);
	fid->value = realloc(value, fid->value_size + 1u);
	fid->value = fid->value ? fid->value : (uint8_t *)value;
	return 0;
}

int p9_xattrwalk(struct p9_call *call)
{
	struct p9_server *s = call->server;
	struct fid *fid = call_fid(call);
	uint32_t number = (uint32_t)get(&call->in, 4);
	const char *name = get_string(&call->in);
	struct stat st;
	int error = 0;
	if (!fid || call->in.bad || fid->kind == FID_XATTR_READ || fid->kind == FID_XATTR_WRITE)
		return EBADF;
	if (*name && !may_see(name))
		return EOPNOTSUPP;
	struct fid *value = fid_add(s, number, fid->uid, strdup(fid->path), &error);
	if (!value)
		return error;
	int fd = fid_reach(s, fid, &st);
	error = fd < 0 ? -fd : load_xattr(fd, &st, name, value);
	fid_done(fid, fd);
	if (error) {
		fid_remove(s, value);
		return error;
	}
	value->kind = FID_XATTR_READ;
	value->cost += value->value_size;
	s->cost += value->value_size;
	put(&call->out, value->value_size, 8);
	return 0;
}

int p9_xattrcreate(struct p9_call *call)
{
	struct p9_server *s = call->server;
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in);
	uint64_t size = get(&call->in, 8);
	uint32_t flags = (uint32_t)get(&call->in, 4);
	if (!fid || call->in.bad || fid->kind != FID_NAME)
		return EBADF;
	if (s->folder.read_only)
		return EROFS;
	if (!may_see(name))
		return EOPNOTSUPP;
	if (size > XATTR_SIZE_MAX)
		return E2BIG;
	uint8_t *value = malloc(size + 1);
	char *attribute = strdup(name);
	if (!value || !attribute) {
		free(value);
		free(attribute);
		return ENOMEM;
	}
	fid->kind = FID_XATTR_WRITE;
	fid->value = value;
	fid->value_size = (uint32_t)size;
	fid->value_done = 0;
	fid->attribute = attribute;
	fid->attribute_flags = flags & (XATTR_CREATE | XATTR_REPLACE);
	fid->cost += size;
	s->cost += size;
	return 0;
}

/* A value of no bytes takes the attribute away: so the client says it. */
int p9_store_xattr(struct p9_server *s, const struct fid *fid)
{
	char path[FOLDER_FD_NAME];
	struct stat st;
	if (fid->value_done != fid->value_size)
		return EINVAL;
	int fd = folder_reach(&s->folder, fid->path);
	if (fd < 0)
		return -fd;
	int error = 0;
	if (fstat(fd, &st) < 0)
		error = errno;
	else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		error = EPERM;
	else if (fid->value_size && setxattr(folder_fd_name(fd, path), fid->attribute, fid->value, fid->value_size, (int)fid->attribute_flags) < 0)
		error = errno;
	else if (!fid->value_size && removexattr(folder_fd_name(fd, path), fid->attribute) < 0)
		error = errno;
	close(fd);
	return error;
}
