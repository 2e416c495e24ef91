/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2.h"

#define WINDOW_BITS 12 /* readers of the format have no room for more */

static unsigned offset_bits(const struct qcow2 *q)
{
	return 62 - (q->cluster_bits - 8);
}

void qcow2_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *at, uint64_t *length)
{
	uint64_t sectors = (entry & (QCOW2_PACKED - 1)) >> offset_bits(q);
	*at = entry & ((1ull << offset_bits(q)) - 1);
	*length = (sectors + 1) * 512 - (*at & 511);
}

static int inflate_cluster(const uint8_t *from, size_t have, uint8_t *to, size_t want)
{
	z_stream stream = { .next_in = (uint8_t *)from, .avail_in = (unsigned)have, .next_out = to, .avail_out = (unsigned)want };
	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return ENOMEM;
	int rc = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* What follows in the last sector belongs to someone else. */
	return (rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK) && !stream.avail_out ? 0 : EIO;
}

static int unzstd_cluster(const uint8_t *from, size_t have, uint8_t *to, size_t want)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer in = { from, have, 0 };
	ZSTD_outBuffer out = { to, want, 0 };
	int error = stream ? 0 : ENOMEM;
	while (!error && out.pos < out.size) {
		size_t in_before = in.pos, out_before = out.pos;
		if (ZSTD_isError(ZSTD_decompressStream(stream, &out, &in)) || (in.pos == in_before && out.pos == out_before))
			error = EIO;
	}
	ZSTD_freeDStream(stream);
	return error;
}

int qcow2_unpack(struct image *image, uint64_t offset, void *unit)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t entry, at, length;
	pthread_mutex_lock(&image->tables);
	int error = qcow2_entry(q, offset, &entry);
	pthread_mutex_unlock(&image->tables);
	if (error)
		return error;
	qcow2_packed_range(q, entry, &at, &length);
	cleanup_free uint8_t *data = malloc(length);
	if (!data)
		return ENOMEM;
	error = hostfile_read(image->file, data, length, at);
	if (!error)
		error = (q->zstd ? unzstd_cluster : inflate_cluster)(data, length, unit, image->unit);
	if (error == EIO)
		return image_broken(image, "the compressed cluster at 0x%llx cannot be decompressed", (unsigned long long)at);
	return error;
}

/* The length, or 0 when it does not get smaller. */
static size_t deflate_cluster(const void *from, size_t size, uint8_t *to)
{
	z_stream stream = { .next_in = (uint8_t *)from, .avail_in = (unsigned)size, .next_out = to, .avail_out = (unsigned)size - 1 };
	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	int rc = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return rc == Z_STREAM_END ? size - 1 - stream.avail_out : 0;
}

static size_t zstd_cluster(const void *from, size_t size, uint8_t *to)
{
	size_t n = ZSTD_compress(to, size - 1, from, size, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(n) ? 0 : n;
}

/* Compressed data lies byte by byte behind what was written before, in clusters that several share. */
static int place_packed(struct qcow2 *q, size_t length, uint64_t *at)
{
	uint64_t size = qcow2_cluster_size(q), room = q->pack_at ? ALIGN_UP(q->pack_at, size) - q->pack_at : 0, cluster, count, used = 0;
	uint64_t shared = room ? q->pack_at >> q->cluster_bits : 0;
	int error = room ? qcow2_refcount(q, shared, &used) : 0;
	if (!error && used == qcow2_max_refcount(q))
		room = 0;
	if (!error && length > room) {
		error = qcow2_allocate(q, 1, 1, &cluster, &count);
		if (error)
			return error;
		if (!room || cluster != shared + 1) {
			q->pack_at = cluster << q->cluster_bits;
			room = 0;
		}
	}
	if (!error && room)
		error = qcow2_set_refcount(q, shared, used + 1);
	*at = q->pack_at;
	q->pack_at += length;
	return error;
}

int qcow2_pack(struct image *image, uint64_t offset, const void *unit)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t at, entry;
	cleanup_free uint8_t *data = malloc(image->unit);
	if (!data)
		return ENOMEM;
	size_t length = (q->zstd ? zstd_cluster : deflate_cluster)(unit, image->unit, data);
	if (!length)
		return EFBIG;
	int error = qcow2_begin_change(q);
	if (!error)
		error = qcow2_entry(q, offset, &entry);
	if (!error && entry)
		error = EEXIST;
	if (!error)
		error = place_packed(q, length, &at);
	if (!error && at >> offset_bits(q))
		error = EFBIG;
	if (!error)
		error = hostfile_write(image->file, data, length, at);
	if (error)
		return error;
	uint64_t sectors = ((at + length - 1) >> 9) - (at >> 9);
	return qcow2_set_entry(q, offset, QCOW2_PACKED | sectors << offset_bits(q) | at);
}
