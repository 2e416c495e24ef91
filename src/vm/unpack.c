/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <lz4.h>
#include <stdatomic.h>

#include "base/util.h"
#include "host/file.h"
#include "host/thread.h"

struct format {
	const char *name;
	uint8_t magic[4];
	unsigned magic_size;
	int (*filter)(struct archive *); /* NULL: LZ4, which is unpacked here */
};

static const struct format formats[] = {
	{ "gzip", { 0x1f, 0x8b }, 2, archive_read_support_filter_gzip },
	{ "bzip2", { 0x42, 0x5a }, 2, archive_read_support_filter_bzip2 },
	{ "LZMA", { 0x5d, 0x00 }, 2, archive_read_support_filter_lzma },
	{ "XZ", { 0xfd, 0x37 }, 2, archive_read_support_filter_xz },
	{ "LZO", { 0x89, 0x4c }, 2, archive_read_support_filter_lzop },
	{ "LZ4", { 0x02, 0x21, 0x4c, 0x18 }, 4, NULL },
	{ "Zstandard", { 0x28, 0xb5 }, 2, archive_read_support_filter_zstd },
};

static const struct format *find_format(const struct boot_image *packed, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (packed->size > formats[i].magic_size && !memcmp(packed->data, formats[i].magic, formats[i].magic_size))
			return &formats[i];
	error_set(err, ENOEXEC, "its payload is packed in no format that visor knows");
	return NULL;
}

static int damaged(const struct format *format, const char *why, struct error *err)
{
	return error_set(err, ENOEXEC, "its %s payload is damaged (%s)", format->name, why);
}

/* --- by libarchive, as a stream --- */

/* With the first piece of what comes out, so that the format was accepted. NULL: err is set. */
static struct archive *open_stream(const struct format *format, const struct boot_image *packed, struct error *err)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	/* A warning says that a program of the host would do it. */
	if (a && archive_read_support_format_raw(a) == ARCHIVE_OK && format->filter(a) == ARCHIVE_OK &&
	    archive_read_open_memory(a, packed->data, packed->size) == ARCHIVE_OK && archive_read_next_header(a, &entry) == ARCHIVE_OK)
		return a;
	const char *why = a ? archive_error_string(a) : NULL;
	damaged(format, why ? why : "it cannot be opened", err);
	archive_read_free(a);
	return NULL;
}

static int64_t stream_head(const struct format *format, const struct boot_image *packed, uint8_t *head, size_t size, struct error *err)
{
	struct archive *a = open_stream(format, packed, err);
	if (!a)
		return -1;
	int64_t count = archive_read_data(a, head, size);
	if (count < 0)
		count = damaged(format, archive_error_string(a), err);
	archive_read_free(a);
	return count;
}

static int unpack_stream(const struct format *format, const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque,
			 struct error *err)
{
	struct archive *a = open_stream(format, packed, err);
	if (!a)
		return -1;
	const void *data;
	size_t size;
	la_int64_t at;
	uint64_t done = 0;
	int rc;
	while ((rc = archive_read_data_block(a, &data, &size, &at)) == ARCHIVE_OK && size <= total - done) {
		sink(opaque, done, data, size);
		done += size;
	}
	if (rc != ARCHIVE_OK && rc != ARCHIVE_EOF)
		rc = damaged(format, archive_error_string(a), err);
	else
		rc = done == total && rc == ARCHIVE_EOF ? 0 : damaged(format, "its length is not what its end says", err);
	archive_read_free(a);
	return rc;
}

/* --- LZ4, by blocks --- */

/*
 * The legacy frame: after the magic blocks, each with its packed size before it, of 8 MiB but for the last one. No block refers to
 * another, so two threads share them.
 */
#define LZ4_BLOCK (8ull << 20)
#define LZ4_MAX_BLOCKS 512

struct lz4_job {
	const uint8_t *block[LZ4_MAX_BLOCKS];
	uint32_t packed[LZ4_MAX_BLOCKS];
	unsigned count;
	uint64_t total;
	atomic_uint next;
	atomic_bool failed;
	unpack_sink *sink;
	void *opaque;
};

/* False: the frame is no such sequence. */
static bool find_blocks(const struct boot_image *packed, struct lz4_job *job)
{
	for (size_t at = 4; at < packed->size; at += job->packed[job->count++]) {
		if (job->count == LZ4_MAX_BLOCKS || !boot_within(at, 4, packed->size))
			return false;
		job->packed[job->count] = load_le32(packed->data + at);
		job->block[job->count] = packed->data + (at += 4);
		if (job->packed[job->count] > INT32_MAX || !boot_within(at, job->packed[job->count], packed->size))
			return false;
	}
	return job->count;
}

static int64_t lz4_head(const struct format *format, const struct boot_image *packed, uint8_t *head, size_t size, struct error *err)
{
	struct lz4_job job = { 0 };
	int count = find_blocks(packed, &job) ?
		LZ4_decompress_safe_partial((const char *)job.block[0], (char *)head, (int)job.packed[0], (int)size, (int)size) : -1;
	return count < 0 ? damaged(format, "its blocks make no sense", err) : count;
}

static void *lz4_work(void *opaque)
{
	struct lz4_job *job = opaque;
	cleanup_free uint8_t *out = file_buffer(LZ4_BLOCK);
	for (unsigned i; out && (i = atomic_fetch_add(&job->next, 1)) < job->count && !job->failed;) {
		uint64_t offset = i * LZ4_BLOCK, size = MIN(job->total - offset, LZ4_BLOCK);
		int done = LZ4_decompress_safe((const char *)job->block[i], (char *)out, (int)job->packed[i], (int)LZ4_BLOCK);
		if (done < 0 || (uint64_t)done != size)
			job->failed = true;
		else
			job->sink(job->opaque, offset, out, size);
	}
	if (!out)
		job->failed = true;
	return NULL;
}

static int unpack_lz4(const struct format *format, const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque,
		      struct error *err)
{
	struct lz4_job job = { .total = total, .sink = sink, .opaque = opaque };
	pthread_t helper;
	if (!find_blocks(packed, &job) || total > job.count * LZ4_BLOCK || total <= (job.count - 1) * LZ4_BLOCK)
		return damaged(format, "its blocks are not as long as its end says", err);
	bool helped = job.count > 1 && host_thread_start(&helper, "unpack", lz4_work, &job, NULL) == 0;
	lz4_work(&job);
	if (helped)
		pthread_join(helper, NULL);
	return job.failed ? damaged(format, "a block cannot be unpacked", err) : 0;
}

int64_t unpack_head(const struct boot_image *packed, uint8_t *head, size_t size, struct error *err)
{
	const struct format *format = find_format(packed, err);
	if (!format)
		return -1;
	return (format->filter ? stream_head : lz4_head)(format, packed, head, size, err);
}

int unpack(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err)
{
	const struct format *format = find_format(packed, err);
	if (!format)
		return -1;
	return (format->filter ? unpack_stream : unpack_lz4)(format, packed, total, sink, opaque, err);
}
