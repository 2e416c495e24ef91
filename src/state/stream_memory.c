/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RAM in the save file: chunks without their zero pages, compressed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/util.h"
#include "state/stream.h"

#define BITMAP_SIZE (STREAM_CHUNK_PAGES / 8)
#define CHUNK_HEADER_SIZE (8 + BITMAP_SIZE)
#define LEVEL 1

struct stream_packer {
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
	uint8_t pages[STREAM_CHUNK_SIZE]; /* those that are not zero, side by side */
	size_t packed_room;
	uint8_t packed[];
};

struct stream_packer *stream_packer_create(struct error *err)
{
	size_t room = ZSTD_compressBound(STREAM_CHUNK_SIZE);
	struct stream_packer *p = malloc(sizeof(*p) + room);
	if (p) {
		p->packed_room = room;
		p->compress = ZSTD_createCCtx();
		p->decompress = ZSTD_createDCtx();
	}
	if (p && p->compress && p->decompress)
		return p;
	stream_packer_destroy(p);
	error_set(err, ENOMEM, "no memory to compress the guest's memory with");
	return NULL;
}

void stream_packer_destroy(struct stream_packer *p)
{
	if (!p)
		return;
	ZSTD_freeCCtx(p->compress);
	ZSTD_freeDCtx(p->decompress);
	free(p);
}

int stream_put_memory(struct stream_packer *p, struct buffer *buffer, uint64_t offset, const uint8_t *memory, unsigned pages,
		      struct error *err)
{
	uint8_t bitmap[BITMAP_SIZE] = { 0 };
	unsigned used = 0;
	for (unsigned i = 0; i < pages; i++) {
		const uint8_t *page = memory + (size_t)i * STREAM_PAGE_SIZE;
		if (all_zero(page, STREAM_PAGE_SIZE))
			continue;
		bitmap[i / 8] |= (uint8_t)BIT(i % 8);
		memcpy(p->pages + (size_t)used++ * STREAM_PAGE_SIZE, page, STREAM_PAGE_SIZE);
	}
	if (!used)
		return 0;
	size_t packed = ZSTD_compressCCtx(p->compress, p->packed, p->packed_room, p->pages, (size_t)used * STREAM_PAGE_SIZE, LEVEL);
	if (ZSTD_isError(packed))
		return error_set(err, ENOMEM, "cannot compress the guest's memory: %s", ZSTD_getErrorName(packed));
	buffer_put_number(buffer, offset, 8);
	buffer_put(buffer, bitmap, sizeof(bitmap));
	buffer_put(buffer, p->packed, packed);
	return (int)used;
}

static int damaged(const struct stream_section *s, struct error *err, const char *what)
{
	return error_set(err, EINVAL, "the memory chunk at byte %llu: %s; the file is damaged, use another copy",
			 (unsigned long long)s->offset, what);
}

int stream_get_memory(struct stream_packer *p, const struct stream_section *s, uint8_t *memory, uint64_t memory_size,
		      struct error *err)
{
	if (s->size < CHUNK_HEADER_SIZE)
		return damaged(s, err, "its data end too early");
	uint64_t offset = load_le64(s->payload);
	const uint8_t *bitmap = s->payload + 8, *packed = s->payload + CHUNK_HEADER_SIZE;
	unsigned used = 0, last = 0;
	for (unsigned i = 0; i < STREAM_CHUNK_PAGES; i++) {
		if (bitmap[i / 8] & BIT(i % 8)) {
			used++;
			last = i + 1;
		}
	}
	if (offset % STREAM_PAGE_SIZE || offset > memory_size || memory_size - offset < (uint64_t)last * STREAM_PAGE_SIZE)
		return damaged(s, err, "it lies outside the machine's memory");
	size_t size = ZSTD_decompressDCtx(p->decompress, p->pages, sizeof(p->pages), packed, s->size - CHUNK_HEADER_SIZE);
	if (ZSTD_isError(size) || size != (size_t)used * STREAM_PAGE_SIZE)
		return damaged(s, err, "it cannot be decompressed");
	const uint8_t *from = p->pages;
	for (unsigned i = 0; memory && i < last; i++) {
		if (!(bitmap[i / 8] & BIT(i % 8)))
			continue;
		memcpy(memory + offset + (size_t)i * STREAM_PAGE_SIZE, from, STREAM_PAGE_SIZE);
		from += STREAM_PAGE_SIZE;
	}
	return 0;
}
