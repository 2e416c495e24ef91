/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STATE_STREAM_H
#define VISOR_STATE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "state/field.h"

/*
 * The save file, all numbers little-endian:
 *
 *   header   "VISORSAV", u32 format version, u32 zero
 *   section  u32 kind, u32 crc, u64 payload size, u16 name size, name, payload
 *   ...
 *   section  kind STREAM_END: payload u64 number of the sections before it
 *
 * The crc (zlib's CRC-32) is over the section without the crc itself. An object's
 * payload is its type's name and its records, ended by an empty name; a record is
 * the field's name, kind, width, count and data; the data of a struct is its own
 * records, ended likewise. So a reader needs no knowledge of the program that wrote
 * the file to walk it, and says by name what it does not know.
 */
#define STREAM_VERSION 1u

enum stream_kind {
	STREAM_INFO = 1,   /* JSON text: program, machine's configuration */
	STREAM_OBJECT = 2, /* the fields of a device or processor */
	STREAM_MEMORY = 3, /* one chunk of RAM, by stream_put_memory */
	STREAM_END = 4,
};

/* --- bytes that grow --- */

struct buffer {
	uint8_t *data;
	size_t size, room;
	bool failed; /* out of memory: everything after it was dropped */
};

void buffer_put(struct buffer *buffer, const void *data, size_t size);
void buffer_put_number(struct buffer *buffer, uint64_t value, unsigned size);
/* u16 size, bytes */
void buffer_put_name(struct buffer *buffer, const char *name);
void buffer_free(struct buffer *buffer);

/* --- writing --- */

struct stream_writer {
	/* Takes all of it, or fails. */
	int (*write)(void *opaque, const void *data, size_t size, struct error *err);
	void *opaque;
	uint64_t sections;
};

int stream_write_header(struct stream_writer *writer, struct error *err);
int stream_write_section(struct stream_writer *writer, enum stream_kind kind, const char *name, const struct buffer *payload,
			 struct error *err);
int stream_write_end(struct stream_writer *writer, struct error *err);

/* Appends an object's payload. */
void stream_put_object(struct buffer *buffer, const char *type, const struct field *fields, const void *object);

/* --- reading: functions over bytes that may be anything --- */

struct stream_section {
	enum stream_kind kind;
	char name[64];
	const uint8_t *payload;
	size_t size;
	uint64_t offset; /* of the section in the file, for messages */
};

struct stream_reader {
	const uint8_t *data;
	size_t size, at;
	uint64_t sections;
	bool ended; /* the end section was there, and nothing after it */
};

/* Checks the header. */
int stream_read_header(struct stream_reader *reader, const uint8_t *data, size_t size, struct error *err);
/* The next section, its checksum verified: 1, or 0 after the end section. A file that is cut off, damaged or goes on after
 * its end is an error. */
int stream_read_section(struct stream_reader *reader, struct stream_section *section, struct error *err);

/*
 * Compares an object's payload with the type and fields that the program has and, unless `object` is NULL, lays the
 * values into it. Fields that the payload does not have keep their values.
 */
int stream_get_object(const struct stream_section *section, const char *type, const struct field *fields, void *object,
		      struct error *err);

/* --- RAM --- */

#define STREAM_CHUNK_PAGES 256u
#define STREAM_PAGE_SIZE 4096u
#define STREAM_CHUNK_SIZE ((size_t)STREAM_CHUNK_PAGES * STREAM_PAGE_SIZE)

struct stream_packer; /* scratch memory for compression and decompression */
struct stream_packer *stream_packer_create(struct error *err);
void stream_packer_destroy(struct stream_packer *packer);

/*
 * A chunk is u64 offset, a bitmap of its pages that are not all zero, and these pages compressed by zstd. `pages` (at most
 * STREAM_CHUNK_PAGES) start at `offset` bytes of the memory, a multiple of the page size. Returns the number of pages that
 * are not zero; with 0 nothing is put and the chunk can be left out.
 */
int stream_put_memory(struct stream_packer *packer, struct buffer *buffer, uint64_t offset, const uint8_t *memory, unsigned pages,
		      struct error *err);
/* Checks a chunk against a memory of `memory_size` bytes and, unless `memory` (its first byte) is NULL, lays the pages into it;
 * zero pages are left alone. */
int stream_get_memory(struct stream_packer *packer, const struct stream_section *section, uint8_t *memory, uint64_t memory_size,
		      struct error *err);

#endif
