/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <lz4.h>
#include <stdatomic.h>
#include <zlib.h>

#include "base/util.h"
#include "host/thread.h"

struct format {
	const char *name;
	uint8_t magic[2];
	int (*support)(struct archive *); /* NULL: LZ4 */
};

static const struct format formats[] = {
	{ "gzip", { 0x1f, 0x8b }, archive_read_support_filter_gzip },
	{ "bzip2", { 0x42, 0x5a }, archive_read_support_filter_bzip2 },
	{ "LZMA", { 0x5d, 0x00 }, archive_read_support_filter_lzma },
	{ "XZ", { 0xfd, 0x37 }, archive_read_support_filter_xz },
	{ "LZO", { 0x89, 0x4c }, archive_read_support_filter_lzop },
	{ "LZ4", { 0x02, 0x21 }, NULL },
	{ "Zstandard", { 0x28, 0xb5 }, archive_read_support_filter_zstd },
};
#define GZIP (&formats[0])

static const struct format *find_format(const struct boot_image *packed)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (packed->size > sizeof(formats[i].magic) && !memcmp(packed->data, formats[i].magic, sizeof(formats[i].magic)))
			return &formats[i];
	return NULL;
}

static int damaged(const struct format *format, const char *why, struct error *err)
{
	return error_set(err, ENOEXEC, "what is packed in %s format is damaged (%s)", format->name, why ? why : "it cannot be read");
}

static int pump(struct archive *a, const struct format *format, const struct boot_image *packed, uint64_t total, unpack_sink *sink,
		void *opaque, struct error *err)
{
	const void *data;
	size_t size;
	la_int64_t at;
	uint64_t done = 0;
	uLong crc = 0;
	int rc;
	while ((rc = archive_read_data_block(a, &data, &size, &at)) == ARCHIVE_OK) {
		if (size > total - done)
			return damaged(format, "it is longer than its end says", err);
		if (size && sink(opaque, done, data, size, err) < 0)
			return -1;
		done += size;
		if (format == GZIP)
			crc = crc32_z(crc, data, size);
	}
	if (rc != ARCHIVE_EOF)
		return damaged(format, archive_error_string(a), err);
	if (done < total)
		return damaged(format, "it is shorter than its end says", err);
	/* libarchive looks at the others' checksums alone (RFC 1952, 2.3.1). */
	if (format == GZIP && (packed->size < 8 || load_le32(packed->data + packed->size - 8) != crc))
		return damaged(format, "its checksum is another one", err);
	return 0;
}

static int unpack_stream(const struct format *format, const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque,
			 struct error *err)
{
	struct archive_entry *entry;
	struct archive *a = archive_read_new();
	if (!a)
		return error_set(err, ENOMEM, "out of memory");
	int rc;
	/* A warning says that libarchive would have a program of the host do it. */
	if (archive_read_support_format_raw(a) != ARCHIVE_OK || format->support(a) != ARCHIVE_OK)
		rc = error_set(err, ENOTSUP, "this host's libarchive does not unpack the format %s", format->name);
	else if (archive_read_open_memory(a, packed->data, packed->size) != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK)
		rc = damaged(format, archive_error_string(a), err);
	else
		rc = pump(a, format, packed, total, sink, opaque, err);
	archive_read_free(a);
	return rc;
}

/*
 * LZ4, which kernels that shall start fast are packed in. The legacy frame is, after the magic, blocks with their packed length before
 * them, of 8 MiB but for the last one. None refers to another, so two threads share them, which libarchive would not do.
 */
#define LZ4_BLOCK (8ull << 20)
#define LZ4_MAX_BLOCKS 128
#define LZ4_FIRST 4096 /* bytes of the first piece */

struct lz4_job {
	struct {
		const char *data;
		int size;
	} block[LZ4_MAX_BLOCKS];
	unsigned count;
	uint64_t total;
	atomic_uint next;
	atomic_bool failed;
	unpack_sink *sink;
	void *opaque;
};

static bool find_blocks(const struct boot_image *packed, struct lz4_job *job)
{
	for (size_t at = 4; at < packed->size;) {
		uint64_t size = boot_within(at, 4, packed->size) ? load_le32(packed->data + at) : UINT64_MAX;
		at += 4;
		if (job->count == LZ4_MAX_BLOCKS || size > INT32_MAX || !boot_within(at, size, packed->size))
			return false;
		job->block[job->count].data = (const char *)packed->data + at;
		job->block[job->count++].size = (int)size;
		at += size;
	}
	return job->count && job->total <= job->count * LZ4_BLOCK && job->total > (job->count - 1) * LZ4_BLOCK;
}

static void *unpack_blocks(void *opaque)
{
	struct lz4_job *job = opaque;
	cleanup_free char *out = malloc(LZ4_BLOCK);
	for (unsigned i; out && !job->failed && (i = atomic_fetch_add(&job->next, 1)) < job->count;) {
		uint64_t offset = i * LZ4_BLOCK, size = MIN(job->total - offset, LZ4_BLOCK), skip = i ? 0 : MIN(size, LZ4_FIRST);
		if (LZ4_decompress_safe(job->block[i].data, out, job->block[i].size, (int)LZ4_BLOCK) != (int)size ||
		    job->sink(job->opaque, offset + skip, (uint8_t *)out + skip, size - skip, NULL) < 0)
			job->failed = true;
	}
	if (!out)
		job->failed = true;
	return NULL;
}

static int unpack_lz4(const struct format *format, const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque,
		      struct error *err)
{
	struct lz4_job job = { .total = total, .sink = sink, .opaque = opaque };
	uint8_t first[LZ4_FIRST];
	int size = (int)MIN(total, LZ4_FIRST);
	pthread_t helper;
	if (!find_blocks(packed, &job))
		return damaged(format, "its blocks are not as long as its end says", err);
	if (LZ4_decompress_safe_partial(job.block[0].data, (char *)first, job.block[0].size, size, size) != size)
		return damaged(format, "its first block cannot be unpacked", err);
	if (sink(opaque, 0, first, (size_t)size, err) < 0)
		return -1;
	bool helped = job.count > 1 && host_thread_start(&helper, "unpack", unpack_blocks, &job, NULL) == 0;
	unpack_blocks(&job);
	if (helped)
		pthread_join(helper, NULL);
	return job.failed ? damaged(format, "a block cannot be unpacked", err) : 0;
}

int unpack(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err)
{
	const struct format *format = find_format(packed);
	if (!format)
		return error_set(err, ENOEXEC, "it is packed in no format that visor knows");
	return (format->support ? unpack_stream : unpack_lz4)(format, packed, total, sink, opaque, err);
}
