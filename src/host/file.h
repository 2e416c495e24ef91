/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_FILE_H
#define VISOR_HOST_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Closes what is open: cleanup_close int fd = -1; */
void cleanup_close_fd(int *fd);
#define cleanup_close __attribute__((cleanup(cleanup_close_fd)))

/* The whole of a file of at most `max` bytes; the caller frees it. One byte of zero follows the data. NULL: the file is
 * missing, unreadable, larger, or no file. */
uint8_t *file_read(const char *path, size_t max, size_t *size, struct error *err);

/* Each folder of the path, as mkdir -p; what follows the last slash is not made. */
int file_make_folders(const char *path, struct error *err);

/* Writes all of it, through short writes and interruptions. */
int file_write_all(int fd, const void *data, size_t size, struct error *err);

/* The folders that a path leads through, all that end with a slash in it, as far as they are missing; for their owner alone. */
int file_make_folders(const char *path, struct error *err);

/*
 * Opens a file for reading and writing that this process alone keeps up to date: made with `size` bytes of `content`, and the
 * folders it lies in, when it is missing. Fails (EBUSY) when another process has it.
 */
int file_open_kept(const char *path, const void *content, size_t size, struct error *err);
/* Writes at an offset, and has it on stable storage. */
int file_write_at(int fd, uint64_t offset, const void *data, size_t size, struct error *err);

/* A file mapped for reading. */
struct file_map {
	const uint8_t *data;
	size_t size;
};
int file_map(struct file_map *map, const char *path, struct error *err);
void file_unmap(struct file_map *map);

/*
 * A file that appears under its name only when it is complete: written beside it
 * as PATH.tmp-PID, then synchronised and renamed. What had the name before stays until then.
 */
struct file_replace {
	int fd;
	char *path, *temporary;
};
int file_replace_begin(struct file_replace *file, const char *path, struct error *err);
int file_replace_commit(struct file_replace *file, struct error *err);
/* After a failure, or after commit (then it does nothing). */
void file_replace_end(struct file_replace *file);

#endif
