/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 31
#include "mount/files.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define SECTOR 512u
#define NODE_DISK 2u /* the root is 1; partition i is NODE_DISK + 1 + i */
#define FOR_EVER 1e6 /* seconds: names and sizes never change */
#define DEVICE "/dev/fuse"

struct files {
	struct image *image;
	const struct partitions *partitions;
	struct fuse_session *session;
	bool mounted, handlers;
	struct timespec time;
	/* Held alone by writes of parts of sectors, which have to read the rest first. */
	pthread_rwlock_t sectors;
};

static struct files *files_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* --- nodes --- */

static unsigned nodes_end(const struct files *files)
{
	return NODE_DISK + 1 + files->partitions->count;
}

static struct partition node_range(const struct files *files, fuse_ino_t node)
{
	if (node == NODE_DISK)
		return (struct partition){ .length = image_size(files->image) };
	return files->partitions->at[node - NODE_DISK - 1];
}

static void node_name(const struct files *files, unsigned node, char name[16])
{
	if (node == NODE_DISK)
		strcpy(name, "disk");
	else
		snprintf(name, 16, "p%u", files->partitions->at[node - NODE_DISK - 1].number);
}

static struct stat node_stat(const struct files *files, fuse_ino_t node)
{
	struct stat st = { .st_ino = node, .st_nlink = 1, .st_uid = geteuid(), .st_gid = getegid(), .st_blksize = 65536 };
	bool root = node == FUSE_ROOT_ID, read_only = image_read_only(files->image);
	st.st_mode = root ? S_IFDIR | 0500 : S_IFREG | (read_only ? 0400 : 0600);
	st.st_size = root ? 0 : (off_t)node_range(files, node).length;
	st.st_blocks = st.st_size / 512;
	st.st_atim = st.st_mtim = st.st_ctim = files->time;
	return st;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct files *files = files_of(req);
	char node[16];
	for (unsigned i = NODE_DISK; i < nodes_end(files); i++) {
		node_name(files, i, node);
		if (parent != FUSE_ROOT_ID || strcmp(node, name))
			continue;
		const struct fuse_entry_param entry = { .ino = i, .attr = node_stat(files, i), .attr_timeout = FOR_EVER, .entry_timeout = FOR_EVER };
		fuse_reply_entry(req, &entry);
		return;
	}
	fuse_reply_err(req, ENOENT);
}

static void do_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *info)
{
	const struct stat st = node_stat(files_of(req), node);
	fuse_reply_attr(req, &st, FOR_EVER);
}

/* Nothing can be changed, but programs that copy a file set its times. */
static void do_setattr(fuse_req_t req, fuse_ino_t node, struct stat *to, int what, struct fuse_file_info *info)
{
	const struct stat st = node_stat(files_of(req), node);
	if (what & FUSE_SET_ATTR_SIZE && to->st_size != st.st_size)
		fuse_reply_err(req, EINVAL);
	else if (what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		fuse_reply_err(req, EPERM);
	else
		fuse_reply_attr(req, &st, FOR_EVER);
}

static void do_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info)
{
	const struct files *files = files_of(req);
	cleanup_free char *buffer = malloc(size);
	size_t used = 0;
	char name[16];
	if (!buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (unsigned i = (unsigned)offset; i < nodes_end(files) - NODE_DISK + 2; i++) {
		unsigned shown = i < 2 ? FUSE_ROOT_ID : NODE_DISK + i - 2;
		const struct stat st = node_stat(files, shown);
		if (i < 2)
			strcpy(name, i ? ".." : ".");
		else
			node_name(files, shown, name);
		size_t n = fuse_add_direntry(req, buffer + used, size - used, name, &st, (off_t)i + 1);
		if (n > size - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, buffer, used);
}

/* Past the kernel's cache: `disk` and the partitions are the same bytes. */
static void do_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *info)
{
	if (node == FUSE_ROOT_ID) {
		fuse_reply_err(req, EISDIR);
	} else if ((info->flags & O_ACCMODE) != O_RDONLY && image_read_only(files_of(req)->image)) {
		fuse_reply_err(req, EROFS);
	} else {
		info->direct_io = 1;
		fuse_reply_open(req, info);
	}
}

static void refuse_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

/* --- data --- */

/* How much of a range of a node there is, and where it is on the disk. */
static uint64_t clip(const struct files *files, fuse_ino_t node, off_t offset, uint64_t size, uint64_t *at)
{
	const struct partition range = node_range(files, node);
	if (offset < 0 || (uint64_t)offset >= range.length)
		return 0;
	*at = range.offset + (uint64_t)offset;
	return MIN(size, range.length - (uint64_t)offset);
}

static void do_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct files *files = files_of(req);
	uint64_t at, length = clip(files, node, offset, size, &at);
	if (!length) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	uint64_t from = ALIGN_DOWN(at, (uint64_t)SECTOR), whole = ALIGN_UP(at + length, (uint64_t)SECTOR) - from;
	cleanup_free char *buffer = malloc(whole);
	int error = buffer ? image_read(files->image, buffer, from, whole) : ENOMEM;
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_buf(req, buffer + (at - from), length);
}

/* A part of one sector. */
static int write_part(struct files *files, const char *data, uint64_t at, uint64_t length)
{
	char sector[SECTOR];
	uint64_t from = ALIGN_DOWN(at, (uint64_t)SECTOR);
	int error = image_read(files->image, sector, from, SECTOR);
	if (error)
		return error;
	memcpy(sector + (at - from), data, length);
	return image_write(files->image, sector, from, SECTOR);
}

static int write_any(struct files *files, const char *data, uint64_t at, uint64_t length)
{
	bool parts = at % SECTOR || length % SECTOR;
	int error = 0;
	if (parts)
		pthread_rwlock_wrlock(&files->sectors);
	else
		pthread_rwlock_rdlock(&files->sectors);
	while (length && !error) {
		uint64_t piece = at % SECTOR || length < SECTOR ? MIN(length, SECTOR - at % SECTOR) : ALIGN_DOWN(length, (uint64_t)SECTOR);
		error = piece % SECTOR ? write_part(files, data, at, piece) : image_write(files->image, data, at, piece);
		at += piece;
		data += piece;
		length -= piece;
	}
	pthread_rwlock_unlock(&files->sectors);
	return error;
}

static void do_write(fuse_req_t req, fuse_ino_t node, const char *data, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct files *files = files_of(req);
	uint64_t at, length = clip(files, node, offset, size, &at);
	int error = length ? write_any(files, data, at, length) : size ? ENOSPC : 0; /* as at the end of a block device */
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_write(req, length);
}

/* The range reads as zeros. */
static int clear(struct files *files, uint64_t at, uint64_t length, bool unmap)
{
	static const char zeros[SECTOR];
	uint64_t first = MIN(ALIGN_UP(at, (uint64_t)SECTOR) - at, length), rest = (length - first) % SECTOR, middle = length - first - rest;
	int error = first ? write_any(files, zeros, at, first) : 0;
	if (!error && middle)
		error = image_zero(files->image, at + first, middle, unmap);
	return !error && rest ? write_any(files, zeros, at + first + middle, rest) : error;
}

static void do_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t size, struct fuse_file_info *info)
{
	struct files *files = files_of(req);
	uint64_t at, length = size > 0 ? clip(files, node, offset, (uint64_t)size, &at) : 0;
	bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	if (punch || (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE)
		fuse_reply_err(req, length ? clear(files, at, length, punch) : 0);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

static void do_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *info)
{
	struct files *files = files_of(req);
	const struct partition range = node_range(files, node);
	enum image_content content;
	uint64_t at;
	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || !clip(files, node, offset, 1, &at)) {
		fuse_reply_err(req, whence == SEEK_DATA || whence == SEEK_HOLE ? ENXIO : EINVAL);
		return;
	}
	for (uint64_t from = ALIGN_DOWN(at, (uint64_t)SECTOR), end = range.offset + range.length, length; from < end; from += length) {
		length = end - from;
		int error = image_content(files->image, from, true, &content, &length);
		if (error || (whence == SEEK_DATA) == (content == IMAGE_DATA)) {
			if (error)
				fuse_reply_err(req, error);
			else
				fuse_reply_lseek(req, (off_t)(MAX(from, at) - range.offset));
			return;
		}
	}
	if (whence == SEEK_HOLE)
		fuse_reply_lseek(req, (off_t)range.length);
	else
		fuse_reply_err(req, ENXIO);
}

static void flush(fuse_req_t req)
{
	struct files *files = files_of(req);
	fuse_reply_err(req, image_read_only(files->image) ? 0 : image_flush(files->image));
}

static void do_fsync(fuse_req_t req, fuse_ino_t node, int data_only, struct fuse_file_info *info)
{
	flush(req);
}

/* Whoever closes a file hears whether it came to the disk. */
static void do_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *info)
{
	if ((info->flags & O_ACCMODE) == O_RDONLY)
		fuse_reply_err(req, 0);
	else
		flush(req);
}

/* --- the session --- */

static void do_init(void *opaque, struct fuse_conn_info *connection)
{
	if (connection->capable & FUSE_CAP_ATOMIC_O_TRUNC)
		connection->want |= FUSE_CAP_ATOMIC_O_TRUNC;
}

static const struct fuse_lowlevel_ops operations = {
	.init = do_init, .lookup = do_lookup, .getattr = do_getattr, .setattr = do_setattr, .readdir = do_readdir, .open = do_open,
	.create = refuse_create, .mkdir = refuse_mkdir, .unlink = refuse_unlink,
	.read = do_read, .write = do_write, .flush = do_flush, .fsync = do_fsync, .fallocate = do_fallocate, .lseek = do_lseek,
};

static char complaint[200]; /* the last line that libfuse, or fusermount3, has said */

static void take_complaint(enum fuse_log_level level, const char *format, va_list arguments)
{
	vsnprintf(complaint, sizeof(complaint), format, arguments);
	complaint[strcspn(complaint, "\n")] = 0;
}

int files_possible(struct error *err)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return error_set(err, errno, DEVICE ": %s; load the kernel's module ('modprobe fuse' as root), or give this container the device",
				 strerror(errno));
	return error_set(err, errno, DEVICE ": %s; be root, or get access to it from whoever runs this host ('visor disk convert' needs none)",
			 strerror(errno));
}

/* A comma would end the option. */
static int add_options(struct fuse_args *args, const struct image *image)
{
	char options[256];
	snprintf(options, sizeof(options), "-osubtype=visor,default_permissions%s,fsname=%.160s", image_read_only(image) ? ",ro" : "",
		 image_path(image));
	for (char *p = strstr(options, "fsname="); *p; p++)
		*p = *p == ',' || *p == '\\' ? '_' : *p;
	return fuse_opt_add_arg(args, "visor") || fuse_opt_add_arg(args, options) ? -1 : 0;
}

static int start(struct files *files, const char *folder, struct error *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	fuse_set_log_func(take_complaint);
	if (add_options(&args, files->image) == 0)
		files->session = fuse_session_new(&args, &operations, sizeof(operations), files);
	fuse_opt_free_args(&args);
	if (!files->session)
		return error_set(err, EIO, "cannot use libfuse%s%s", *complaint ? ": " : "", complaint);
	if (fuse_session_mount(files->session, folder))
		return error_set(err, EIO, "%s: cannot mount there: %s%s", folder, *complaint ? complaint : "FUSE refuses it",
				 geteuid() ? " (users besides root need the package fuse3)" : "");
	files->mounted = true;
	return 0;
}

struct files *files_mount(const struct files_config *config, struct error *err)
{
	struct files *files = calloc(1, sizeof(*files));
	if (!files) {
		error_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	files->image = config->image;
	files->partitions = config->partitions;
	clock_gettime(CLOCK_REALTIME, &files->time);
	pthread_rwlock_init(&files->sectors, NULL);
	if (start(files, config->folder, err) == 0)
		return files;
	files_end(files);
	return NULL;
}

void files_serve(struct files *files)
{
	files->handlers = fuse_set_signal_handlers(files->session) == 0;
	fuse_session_loop_mt(files->session, 0);
}

void files_end(struct files *files)
{
	if (files->handlers)
		fuse_remove_signal_handlers(files->session);
	if (files->mounted)
		fuse_session_unmount(files->session);
	if (files->session)
		fuse_session_destroy(files->session);
	pthread_rwlock_destroy(&files->sectors);
	free(files);
}
