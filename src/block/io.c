/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes of an image, over the map that its format gives. What
 * is mapped is read and written in place, by many threads at once. A write to what is not, or
 * what is shared with others, has the image alone: it finds room, puts the data there, completed to whole
 * units by what was read at that place before, and links it last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "block/format.h"

static const uint8_t zeros[64 << 10];

static void take_shared(struct image *image)
{
	pthread_rwlock_rdlock(&image->use);
}

static void take_alone(struct image *image)
{
	pthread_rwlock_wrlock(&image->use);
}

static void release(struct image *image)
{
	pthread_rwlock_unlock(&image->use);
}

static int map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	*extent = (struct extent){ .file = image->file };
	pthread_mutex_lock(&image->tables);
	int error = image->ops->map(image, offset, length, extent);
	pthread_mutex_unlock(&image->tables);
	return error;
}

static bool in_place(const struct extent *extent)
{
	return extent->kind == EXTENT_DATA && !extent->keep;
}

/* --- reading --- */

static int read_behind(struct image *image, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t offset, uint64_t length);

static int read_packed(struct image *image, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t offset, uint64_t length)
{
	uint64_t start = ALIGN_DOWN(offset, (uint64_t)image->unit);
	int error = 0;
	pthread_mutex_lock(&image->unpacking);
	if (!image->unpacked) {
		image->unpacked = malloc(image->unit);
		image->unpacked_offset = UINT64_MAX;
	}
	if (!image->unpacked)
		error = ENOMEM;
	else if (image->unpacked_offset != start)
		error = image->ops->unpack(image, start, image->unpacked);
	if (!error)
		iov_scatter(iov, count, skip, image->unpacked + (offset - start), length);
	if (image->unpacked)
		image->unpacked_offset = error ? UINT64_MAX : start;
	pthread_mutex_unlock(&image->unpacking);
	return error;
}

static int read_extent(struct image *image, const struct extent *extent, const struct iovec *iov, unsigned count, uint64_t skip,
		       uint64_t offset)
{
	uint64_t in_unit = image->unit - offset % image->unit;
	switch (extent->kind) {
	case EXTENT_NONE:
		return read_behind(image, iov, count, skip, offset, extent->length);
	case EXTENT_ZERO:
		iov_clear(iov, count, skip, extent->length);
		return 0;
	case EXTENT_DATA:
		return hostfile_readv(extent->file, iov, count, skip, extent->length, extent->at);
	case EXTENT_PACKED:
		return read_packed(image, iov, count, skip, offset, MIN(extent->length, in_unit));
	}
	return EIO;
}

/* With `use` held; beyond the image's end there are zeros. */
static int read_held(struct image *image, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t offset, uint64_t length)
{
	while (length) {
		struct extent extent;
		if (offset >= image->size) {
			iov_clear(iov, count, skip, length);
			return 0;
		}
		int error = map(image, offset, MIN(length, image->size - offset), &extent);
		if (!error && extent.kind == EXTENT_PACKED)
			extent.length = MIN(extent.length, image->unit - offset % image->unit);
		if (!error)
			error = read_extent(image, &extent, iov, count, skip, offset);
		if (error)
			return error;
		skip += extent.length;
		offset += extent.length;
		length -= extent.length;
	}
	return 0;
}

static int read_behind(struct image *image, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t offset, uint64_t length)
{
	struct image *backing = image->backing;
	if (!backing) {
		iov_clear(iov, count, skip, length);
		return 0;
	}
	take_shared(backing);
	int error = read_held(backing, iov, count, skip, offset, length);
	release(backing);
	return error;
}

int image_readv(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length)
{
	take_shared(image);
	int error = read_held(image, iov, count, 0, offset, length);
	release(image);
	return error;
}

int image_read(struct image *image, void *data, uint64_t offset, uint64_t length)
{
	const struct iovec iov = { data, length };
	return image_readv(image, &iov, 1, offset, length);
}

int image_read_alone(struct image *image, void *data, uint64_t offset, uint64_t length)
{
	const struct iovec iov = { data, length };
	return read_held(image, &iov, 1, 0, offset, length);
}

/* --- content --- */

static int content_held(struct image *image, uint64_t offset, bool chain, enum image_content *content, uint64_t *length);

static int content_behind(struct image *image, uint64_t offset, enum image_content *content, uint64_t *length)
{
	struct image *backing = image->backing;
	*content = IMAGE_ZEROS;
	if (!backing || offset >= backing->size)
		return 0;
	*length = MIN(*length, backing->size - offset);
	take_shared(backing);
	int error = content_held(backing, offset, true, content, length);
	release(backing);
	return error;
}

static int content_held(struct image *image, uint64_t offset, bool chain, enum image_content *content, uint64_t *length)
{
	struct extent extent;
	bool hole = false;
	int error = map(image, offset, *length, &extent);
	if (error)
		return error;
	*length = extent.length;
	if (extent.kind == EXTENT_NONE && chain)
		return content_behind(image, offset, content, length);
	if (extent.kind == EXTENT_DATA)
		*length = hostfile_extent(extent.file, extent.at, extent.length, &hole);
	*content = extent.kind == EXTENT_NONE ? IMAGE_BEHIND : extent.kind == EXTENT_ZERO || hole ? IMAGE_ZEROS : IMAGE_DATA;
	return 0;
}

int image_content(struct image *image, uint64_t offset, bool chain, enum image_content *content, uint64_t *length)
{
	take_shared(image);
	*length = MIN(*length, image->size - offset);
	int error = content_held(image, offset, chain, content, length);
	release(image);
	return error;
}

/* The range reads as zeros, as far as the tables tell. */
static bool reads_zero(struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t end = MIN(offset + length, image->size);
	while (offset < end) {
		struct extent extent;
		uint64_t part = end - offset;
		enum image_content content = IMAGE_ZEROS;
		if (map(image, offset, part, &extent))
			return false;
		part = extent.length;
		if (extent.kind == EXTENT_NONE ? content_behind(image, offset, &content, &part) : extent.kind != EXTENT_ZERO)
			return false;
		if (content != IMAGE_ZEROS)
			return false;
		offset += part;
	}
	return true;
}

/* --- writing --- */

/* What stood at [from, to) goes to its new place, a part of the unit at `start`. */
static int fill(struct image *image, const struct extent *place, uint64_t start, uint64_t from, uint64_t to)
{
	if (from == to || (place->fresh && reads_zero(image, from, to - from)))
		return 0;
	cleanup_free void *data = malloc(to - from);
	if (!data)
		return ENOMEM;
	int error = image_read_alone(image, data, from, to - from);
	return error ? error : hostfile_write(place->file, data, to - from, place->at + (from - start));
}

/* The first part of a write to what is not mapped, at least a unit's worth; *done gets its length. Alone. */
static int write_new(struct image *image, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t offset, uint64_t length,
		     uint64_t *done)
{
	uint64_t unit = image->unit, start = ALIGN_DOWN(offset, unit);
	struct extent place = { .kind = EXTENT_DATA, .file = image->file };
	image->changed = true;
	int error = image->ops->place(image, start, ALIGN_UP(offset + length, unit) - start, &place);
	if (error)
		return error;
	uint64_t end = start + place.length, stop = MIN(offset + length, end);
	error = hostfile_writev(place.file, iov, count, skip, stop - offset, place.at + (offset - start));
	if (!error)
		error = fill(image, &place, start, start, offset);
	if (!error)
		error = fill(image, &place, start, stop, end);
	if (!error)
		error = image->ops->link(image, start, &place);
	if (error && image->ops->unplace)
		image->ops->unplace(image, start, &place);
	*done = stop - offset;
	image->unpacked_offset = UINT64_MAX;
	return error;
}

/* With `use` held, shared or alone; when shared, it stops at what is not mapped. *done counts up. */
static int write_held(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length, bool alone,
		      uint64_t *done)
{
	while (*done < length) {
		struct extent extent;
		uint64_t at = offset + *done, step;
		int error = image->is_broken ? EIO : map(image, at, length - *done, &extent);
		if (error)
			return error;
		step = extent.length;
		if (in_place(&extent))
			error = hostfile_writev(extent.file, iov, count, *done, step, extent.at);
		else if (alone)
			error = write_new(image, iov, count, *done, at, step, &step);
		else
			return 0;
		if (error)
			return error;
		*done += step;
	}
	return 0;
}

/* Whether a raw image that nobody called raw would look like another format after the write. */
static int guard_guess(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length)
{
	uint8_t head[PROBE_SIZE], tail[BLOCK_SECTOR];
	uint64_t last = image->size - BLOCK_SECTOR, end = offset + length;
	if (offset >= PROBE_SIZE && end <= last)
		return 0;
	int error = image_read(image, head, 0, PROBE_SIZE);
	if (!error)
		error = image_read(image, tail, last, BLOCK_SECTOR);
	if (error)
		return error;
	if (offset < PROBE_SIZE)
		iov_gather(iov, count, 0, head + offset, MIN(end, (uint64_t)PROBE_SIZE) - offset);
	if (end > last)
		iov_gather(iov, count, MAX(last, offset) - offset, tail + (MAX(last, offset) - last), end - MAX(last, offset));
	if (image_looks_raw(head, PROBE_SIZE, tail))
		return 0;
	log_warn_once("%s: a write is refused that would make it look like an image of another format; if it may, say that it is raw: "
		      "format=raw", image->file->path);
	return EPERM;
}

int image_writev(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length)
{
	uint64_t done = 0;
	int error = image->read_only ? EROFS : image->guessed ? guard_guess(image, iov, count, offset, length) : 0;
	if (error)
		return error;
	take_shared(image);
	error = write_held(image, iov, count, offset, length, false, &done);
	release(image);
	if (error || done == length)
		return error;
	take_alone(image);
	error = write_held(image, iov, count, offset, length, true, &done);
	release(image);
	return error;
}

int image_write(struct image *image, const void *data, uint64_t offset, uint64_t length)
{
	const struct iovec iov = { (void *)data, length };
	return image_writev(image, &iov, 1, offset, length);
}

/* --- zeros --- */

/* One extent's worth, by writing zeros where nothing cheaper serves. */
static int zero_extent(struct image *image, const struct extent *extent, uint64_t offset, uint64_t length, bool unmap, uint64_t *step)
{
	*step = extent->length;
	if (in_place(extent))
		return hostfile_zero(extent->file, extent->at, extent->length, unmap);
	if (reads_zero(image, offset, extent->length))
		return 0;
	const struct iovec iov = { (void *)zeros, sizeof(zeros) };
	return write_new(image, &iov, 1, 0, offset, MIN(extent->length, (uint64_t)sizeof(zeros)), step);
}

/* The whole units of a range; the last one counts when the image ends in it. */
static uint64_t whole_units(const struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t unit = image->unit, end = offset + length;
	if (offset % unit)
		return 0;
	return (end == image->size ? ALIGN_UP(end, unit) : ALIGN_DOWN(end, unit)) - offset;
}

static int zero_held(struct image *image, uint64_t offset, uint64_t length, bool unmap, bool hint)
{
	for (uint64_t end = offset + length, step; offset < end; offset += step) {
		struct extent extent;
		uint64_t whole = image->ops->zero ? whole_units(image, offset, end - offset) : 0;
		int error = ENOTSUP;
		if (whole) {
			image->changed = true;
			image->unpacked_offset = UINT64_MAX;
			error = image->ops->zero(image, offset, whole, unmap, &step);
			step = MIN(step, end - offset);
		}
		if (error == ENOTSUP) {
			/* Up to where whole units begin. */
			uint64_t until = whole || !image->ops->zero ? end : MIN(end, ALIGN_UP(offset + 1, (uint64_t)image->unit));
			error = map(image, offset, until - offset, &extent);
			step = extent.length;
			if (!error && hint)
				error = in_place(&extent) ? hostfile_discard(extent.file, extent.at, extent.length) : 0;
			else if (!error)
				error = zero_extent(image, &extent, offset, until - offset, unmap, &step);
		}
		if (error)
			return error;
	}
	return 0;
}

static int zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, bool hint)
{
	if (image->read_only)
		return EROFS;
	if (image->is_broken)
		return EIO;
	/* A format without `place` has everything mapped for good. */
	(image->ops->place ? take_alone : take_shared)(image);
	int error = zero_held(image, offset, length, unmap, hint);
	release(image);
	return error;
}

int image_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap)
{
	return zero(image, offset, length, unmap, false);
}

int image_discard(struct image *image, uint64_t offset, uint64_t length)
{
	return zero(image, offset, length, true, true);
}

/* --- the rest --- */

int image_write_compressed(struct image *image, const void *data, uint64_t offset)
{
	if (!image->ops->pack)
		return ENOTSUP;
	if (image->read_only)
		return EROFS;
	take_alone(image);
	image->changed = true;
	image->unpacked_offset = UINT64_MAX;
	int error = image->is_broken ? EIO : image->ops->pack(image, offset, data);
	release(image);
	return error;
}

int image_direct(struct image *image, bool write, uint64_t offset, uint64_t length)
{
	bool guarded = write && image->guessed && (offset < PROBE_SIZE || offset + length > image->size - BLOCK_SECTOR);
	return image->ops == &raw_ops && !guarded ? image->file->fd : -1;
}

void image_for_guest(struct image *image)
{
	hostfile_for_guest(image->file);
}

bool image_sparse(const struct image *image)
{
	return image->ops == &raw_ops && hostfile_sparse(image->file);
}

bool image_is_hole(struct image *image, uint64_t offset, uint64_t length)
{
	return hostfile_is_hole(image->file, offset, length);
}

void image_ahead(struct image *image, uint64_t offset, uint64_t length)
{
	hostfile_ahead(image->file, offset, length);
}

int image_sync_alone(struct image *image)
{
	int error;
	if (image->ops->sync)
		error = image->ops->sync(image);
	else
		error = image->meta ? meta_sync(image->meta, true) : hostfile_sync(image->file);
	if (!error)
		image->changed = false;
	return error;
}

/* What is mapped already needs no look at the tables. */
int image_flush(struct image *image)
{
	if (image->read_only)
		return 0;
	if (!image->changed)
		return image->ops->sync_data ? image->ops->sync_data(image) : hostfile_sync(image->file);
	take_alone(image);
	int error = image_sync_alone(image);
	release(image);
	return error;
}
