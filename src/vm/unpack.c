/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <zlib.h>

#include "base/util.h"
#include "vm/unpack_lz4.h"

struct format {
	const char *name;
	uint8_t magic[2];
	int (*support)(struct archive *); /* libarchive's; NULL: done without it */
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

int unpack_damaged(const char *format, const char *why, struct error *err)
{
	return error_set(err, ENOEXEC, "what is packed in %s format is damaged (%s)", format, why ? why : "it cannot be read");
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
			return unpack_damaged(format->name, "it is longer than its end says", err);
		if (size && sink(opaque, done, data, size, err) < 0)
			return -1;
		done += size;
		if (format == GZIP)
			crc = crc32_z(crc, data, size);
	}
	if (rc != ARCHIVE_EOF)
		return unpack_damaged(format->name, archive_error_string(a), err);
	if (done < total)
		return unpack_damaged(format->name, "it is shorter than its end says", err);
	/* libarchive looks at the others' checksums alone (RFC 1952, 2.3.1). */
	if (format == GZIP && (packed->size < 8 || load_le32(packed->data + packed->size - 8) != crc))
		return unpack_damaged(format->name, "its checksum is another one", err);
	return 0;
}

int unpack(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err)
{
	const struct format *format = find_format(packed);
	struct archive_entry *entry;
	if (!format)
		return error_set(err, ENOEXEC, "it is packed in no format that visor knows");
	if (!format->support)
		return unpack_lz4(packed, total, sink, opaque, err);
	struct archive *a = archive_read_new();
	if (!a)
		return error_set(err, ENOMEM, "out of memory");
	int rc;
	/* A warning says that libarchive would have a program of the host do it. */
	if (archive_read_support_format_raw(a) != ARCHIVE_OK || format->support(a) != ARCHIVE_OK)
		rc = error_set(err, ENOTSUP, "this host's libarchive does not unpack the format %s", format->name);
	else if (archive_read_open_memory(a, packed->data, packed->size) != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK)
		rc = unpack_damaged(format->name, archive_error_string(a), err);
	else
		rc = pump(a, format, packed, total, sink, opaque, err);
	archive_read_free(a);
	return rc;
}
