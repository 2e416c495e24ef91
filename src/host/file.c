/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

#define LARGE_PAGE (2ull << 20)

void cleanup_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int open_regular(const char *path, struct stat *st, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot open it: %s", path, strerror(errno));
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	close(fd);
	return error_set(err, EINVAL, "%s: it is %s; give a regular file", path,
			 S_ISDIR(st->st_mode) ? "a directory" : "no regular file");
}

/* Page faults cost more than the reading; in large pages there are few. */
static void *large_buffer(size_t size)
{
	if (size < 2 * LARGE_PAGE)
		return malloc(size);
	void *buffer = aligned_alloc(LARGE_PAGE, (size + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1));
	if (buffer)
		madvise(buffer, size, MADV_HUGEPAGE);
	return buffer;
}

uint8_t *file_read(const char *path, size_t max, size_t *size, struct error *err)
{
	struct stat st;
	cleanup_close int fd = open_regular(path, &st, err);
	if (fd < 0)
		return NULL;
	if ((uint64_t)st.st_size > max) {
		error_set(err, EFBIG, "%s: it has %llu bytes, more than the %zu that can be; is it the right file?", path,
			  (unsigned long long)st.st_size, max);
		return NULL;
	}
	uint8_t *data = large_buffer((size_t)st.st_size + 1);
	if (!data) {
		error_set(err, ENOMEM, "%s: no memory for its %llu bytes", path, (unsigned long long)st.st_size);
		return NULL;
	}
	size_t done = 0;
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, data + done, (size_t)st.st_size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set(err, errno, "%s: cannot read it: %s", path, strerror(errno));
			free(data);
			return NULL;
		}
		if (n == 0)
			break; /* someone cut it off meanwhile */
		done += (size_t)n;
	}
	data[done] = 0;
	*size = done;
	return data;
}

int file_write_all(int fd, const void *data, size_t size, struct error *err)
{
	const char *p = data;
	while (size) {
		ssize_t n = write(fd, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n < 0 ? errno : EIO, "cannot write: %s", strerror(n < 0 ? errno : EIO));
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int file_map(struct file_map *map, const char *path, struct error *err)
{
	struct stat st;
	*map = (struct file_map){ 0 };
	cleanup_close int fd = open_regular(path, &st, err);
	if (fd < 0)
		return -1;
	if (st.st_size == 0)
		return 0;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return error_set(err, errno, "%s: cannot map it: %s", path, strerror(errno));
	*map = (struct file_map){ p, (size_t)st.st_size };
	return 0;
}

void file_unmap(struct file_map *map)
{
	if (map->data)
		munmap((void *)map->data, map->size);
	*map = (struct file_map){ 0 };
}

int file_replace_begin(struct file_replace *file, const char *path, struct error *err)
{
	struct stat st;
	*file = (struct file_replace){ .fd = -1 };
	/* A device or FIFO must not be replaced, nor a link to the file. */
	bool exists = stat(path, &st) == 0;
	if (exists && !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s: it is %s; give a regular file or a new name", path,
				 S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
	file->path = exists ? realpath(path, NULL) : strdup(path);
	if (!file->path || asprintf(&file->temporary, "%s.tmp-%ld", file->path, (long)getpid()) < 0) {
		file->temporary = NULL;
		file_replace_end(file);
		return error_set(err, ENOMEM, "%s: out of memory", path);
	}
	file->fd = open(file->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd < 0) {
		error_set(err, errno, "%s: cannot create it: %s", file->temporary, strerror(errno));
		free(file->temporary); /* it is not ours to remove */
		file->temporary = NULL;
		file_replace_end(file);
		return -1;
	}
	return 0;
}

/* The rename itself is on the disk only when the directory is. */
static void sync_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	cleanup_close int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0)
		fsync(fd);
}

int file_replace_commit(struct file_replace *file, struct error *err)
{
	if (fsync(file->fd) < 0)
		return error_set(err, errno, "%s: cannot write it to the disk: %s", file->path, strerror(errno));
	if (rename(file->temporary, file->path) < 0)
		return error_set(err, errno, "%s: cannot rename %s to it: %s", file->path, file->temporary, strerror(errno));
	sync_directory_of(file->path);
	free(file->temporary);
	file->temporary = NULL;
	return 0;
}

void file_replace_end(struct file_replace *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->temporary)
		unlink(file->temporary);
	free(file->temporary);
	free(file->path);
	*file = (struct file_replace){ .fd = -1 };
}

int file_make_folders(const char *path, struct error *err)
{
	char *copy = strdup(path);
	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	int rc = 0;
	for (char *slash = strchr(copy + 1, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			rc = error_set(err, errno, "cannot make the folder '%s': %s", copy, strerror(errno));
		*slash = '/';
	}
	free(copy);
	return rc;
}

static int make_file(const char *path, const void *content, size_t size, struct error *err)
{
	struct file_replace file;
	if (file_make_folders(path, err) < 0 || file_replace_begin(&file, path, err) < 0)
		return -1;
	int rc = file_write_all(file.fd, content, size, err);
	if (rc == 0)
		rc = file_replace_commit(&file, err);
	file_replace_end(&file);
	return rc;
}

int file_open_kept(const char *path, const void *content, size_t size, struct error *err)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (access(path, F_OK) < 0 && errno == ENOENT && make_file(path, content, size, err) < 0)
		return -1;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set(err, errno, "cannot open '%s': %s", path, strerror(errno));
	if (fcntl(fd, F_OFD_SETLK, &range) == 0 || (errno != EAGAIN && errno != EACCES))
		return fd;
	close(fd);
	return error_set(err, EBUSY, "'%s' is in use by another machine; stop that one first, or name another file", path);
}

int file_write_at(int fd, uint64_t offset, const void *data, size_t size, struct error *err)
{
	for (const uint8_t *from = data; size;) {
		ssize_t n = pwrite(fd, from, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n ? errno : ENOSPC, "cannot write: %s", strerror(n ? errno : ENOSPC));
		from += n;
		offset += (uint64_t)n;
		size -= (size_t)n;
	}
	return fdatasync(fd) < 0 ? error_set(err, errno, "cannot write: %s", strerror(errno)) : 0;
}
