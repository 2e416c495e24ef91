/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

#define CHUNK (2u << 20) /* the largest unit of any format */

static void tell(const struct image_progress *progress, uint64_t done, uint64_t total)
{
	if (progress && progress->call)
		progress->call(progress->opaque, done, total);
}

static int failed(const struct image *image, const char *what, int error, struct error *err)
{
	return error_set(err, error, "%s: cannot %s it: %s", image_path(image), what, strerror(error));
}

/* Data goes by units of the target, so that whole ones of zeros take no space. */
static int write_units(struct image *to, const uint8_t *data, uint64_t offset, uint64_t length, const struct image_copy *how)
{
	uint64_t unit = MAX(image_unit(to), 4096u);
	for (uint64_t end = offset + length, step; offset < end; offset += step, data += step) {
		step = MIN(end - offset, unit - offset % unit);
		int error = ENOTSUP;
		if (how->empty && all_zero(data, step))
			continue;
		/* The last unit may be cut off. */
		if (how->compress && step == unit)
			error = image_write_compressed(to, data, offset);
		if (error == ENOTSUP || error == EFBIG || error == EEXIST)
			error = image_write(to, data, offset, step);
		if (error)
			return error;
	}
	return 0;
}

/* One stretch of the same kind. */
static int copy_part(struct image *from, struct image *to, uint8_t *buffer, uint64_t offset, uint64_t length,
		     enum image_content content, const struct image_copy *how, struct error *err)
{
	int error;
	if (content == IMAGE_BEHIND || (content == IMAGE_ZEROS && how->empty))
		return 0;
	if (content == IMAGE_ZEROS)
		return (error = image_zero(to, offset, length, true)) ? failed(to, "write", error, err) : 0;
	if ((error = image_read(from, buffer, offset, length)))
		return failed(from, "read", error, err);
	return (error = write_units(to, buffer, offset, length, how)) ? failed(to, "write", error, err) : 0;
}

int image_copy(struct image *from, struct image *to, const struct image_copy *how, const struct image_progress *progress,
	       struct error *err)
{
	uint64_t size = image_size(from), length;
	cleanup_free uint8_t *buffer = malloc(CHUNK);
	if (!buffer)
		return error_set(err, ENOMEM, "out of memory to copy %s", image_path(from));
	for (uint64_t offset = 0; offset < size; offset += length) {
		enum image_content content;
		/* Whole chunks, which are whole units of the target, too; zeros in longer steps. */
		length = MIN(size - offset, CHUNK - offset % CHUNK);
		int error = image_content(from, offset, how->chain, &content, &length);
		if (error)
			return failed(from, "read", error, err);
		/* A unit of the target may have data and zeros. */
		if (how->empty) {
			length = MIN(size - offset, content == IMAGE_DATA ? CHUNK - offset % CHUNK : length);
		}
		if (copy_part(from, to, buffer, offset, length, content, how, err) < 0)
			return -1;
		tell(progress, offset + length, size);
	}
	int error = image_flush(to);
	return error ? failed(to, "write", error, err) : 0;
}

int image_copy_new(struct image *from, const struct image_create *create, const struct image_copy *how, const struct image_progress *progress,
		   struct error *err)
{
	const struct image_config config = { .path = create->path, .format = (int)create->format };
	struct image_create sized = *create;
	sized.size = image_size(from);
	if (image_create(&sized, err) < 0)
		return -1;
	struct image *to = image_open(&config, err);
	int rc = image_finish(to, to ? image_copy(from, to, how, progress, err) : -1, err);
	if (rc < 0)
		unlink(create->path);
	return rc;
}

/* Beyond the end there are zeros. */
static int read_beyond(struct image *image, uint8_t *buffer, uint64_t offset, uint64_t length)
{
	uint64_t size = image ? image_size(image) : 0, have = offset < size ? MIN(length, size - offset) : 0;
	memset(buffer + have, 0, length - have);
	return have ? image_read(image, buffer, offset, have) : 0;
}

static int content_beyond(struct image *image, uint64_t offset, bool *zeros, uint64_t *length)
{
	enum image_content content = IMAGE_ZEROS;
	int error = image && offset < image_size(image) ? image_content(image, offset, true, &content, length) : 0;
	*zeros = content == IMAGE_ZEROS;
	return error;
}

/* How far two images are both zeros, or else are to be read and compared. */
static int both_zeros(struct image *a, struct image *b, uint64_t offset, uint64_t *length, bool *zeros, struct error *err)
{
	bool za, zb;
	uint64_t la = *length, lb = *length;
	int error = content_beyond(a, offset, &za, &la);
	if (error)
		return failed(a, "read", error, err);
	error = content_beyond(b, offset, &zb, &lb);
	if (error)
		return failed(b, "read", error, err);
	*zeros = za && zb;
	*length = MIN(la, lb);
	return 0;
}

static int read_both(struct image *a, struct image *b, uint8_t *buffer, uint64_t offset, uint64_t length, struct error *err)
{
	int error = read_beyond(a, buffer, offset, length);
	if (error)
		return failed(a, "read", error, err);
	error = read_beyond(b, buffer + CHUNK, offset, length);
	return error ? failed(b, "read", error, err) : 0;
}

int image_compare(struct image *a, struct image *b, uint64_t *differ, const struct image_progress *progress, struct error *err)
{
	uint64_t size = MAX(image_size(a), image_size(b)), length;
	cleanup_free uint8_t *buffer = malloc(2 * CHUNK);
	*differ = UINT64_MAX;
	if (!buffer)
		return error_set(err, ENOMEM, "out of memory to compare %s", image_path(a));
	for (uint64_t offset = 0; offset < size; offset += length) {
		bool zeros;
		length = MIN(size - offset, (uint64_t)CHUNK);
		if (both_zeros(a, b, offset, &length, &zeros, err) < 0)
			return -1;
		if (!zeros && read_both(a, b, buffer, offset, length, err) < 0)
			return -1;
		if (!zeros && memcmp(buffer, buffer + CHUNK, length)) {
			uint64_t i = 0;
			while (buffer[i] == buffer[CHUNK + i])
				i++;
			*differ = offset + i;
			return 0;
		}
		tell(progress, offset + length, size);
	}
	return 0;
}

/* Copies [offset, offset + length), which is not in the image itself, where the two differ. */
static int detach_part(struct image *image, struct image *backing, uint8_t *buffer, uint64_t offset, uint64_t length, struct error *err)
{
	for (uint64_t end = offset + length, part; offset < end; offset += part) {
		bool zeros;
		part = end - offset;
		if (both_zeros(image_backing(image), backing, offset, &part, &zeros, err) < 0)
			return -1;
		if (zeros)
			continue;
		if (read_both(image_backing(image), backing, buffer, offset, part, err) < 0)
			return -1;
		int error = memcmp(buffer, buffer + CHUNK, part) ? image_write(image, buffer, offset, part) : 0;
		if (error)
			return failed(image, "write", error, err);
	}
	return 0;
}

int image_detach(struct image *image, struct image *backing, const struct image_progress *progress, struct error *err)
{
	uint64_t size = image_size(image), length;
	cleanup_free uint8_t *buffer = malloc(2 * CHUNK);
	if (!buffer)
		return error_set(err, ENOMEM, "out of memory to compare what is behind %s", image_path(image));
	for (uint64_t offset = 0; offset < size; offset += length) {
		enum image_content content;
		length = MIN(size - offset, CHUNK - offset % CHUNK);
		int error = image_content(image, offset, false, &content, &length);
		if (error)
			return failed(image, "read", error, err);
		if (content == IMAGE_BEHIND && detach_part(image, backing, buffer, offset, length, err) < 0)
			return -1;
		tell(progress, offset + length, size);
	}
	int error = image_flush(image);
	return error ? failed(image, "write", error, err) : 0;
}
