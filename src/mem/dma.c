/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mem/dma.h"

#include <stddef.h>

#include "base/util.h"

static bool wraps(uint64_t gpa, uint64_t size)
{
	return size && gpa + size - 1 < gpa;
}

bool dma_read(const struct dma *dma, uint64_t gpa, void *buffer, uint64_t size)
{
	return !wraps(gpa, size) && memory_read(dma->memory, gpa, buffer, size);
}

bool dma_write(const struct dma *dma, uint64_t gpa, const void *buffer, uint64_t size)
{
	return !wraps(gpa, size) && memory_write(dma->memory, gpa, buffer, size);
}

/* A range that leaves its slot may go on in the next one at the next host address: PAM cuts
 * the first MiB into many slots of one piece of the memfd. */
static void *map_pages(const struct dma *dma, uint64_t gpa, uint64_t size, bool for_write)
{
	uint8_t *first = NULL;
	uint64_t start = ALIGN_DOWN(gpa, (uint64_t)GUEST_PAGE_SIZE), end = gpa + size - 1;
	for (uint64_t at = start; at <= end; at += GUEST_PAGE_SIZE) {
		bool writable = false;
		uint8_t *page = memory_page(dma->memory, at, &writable);
		if (!first)
			first = page;
		if (!page || (for_write && !writable) || page != first + (at - start))
			return NULL;
	}
	return first + (gpa - start);
}

void *dma_map(const struct dma *dma, uint64_t gpa, uint64_t size, bool for_write)
{
	if (!size || wraps(gpa, size) || size > dma->memory->size)
		return NULL;
	void *host = memory_range(dma->memory, gpa, size, for_write);
	return host ? host : map_pages(dma, gpa, size, for_write);
}

void dma_wrote(const struct dma *dma, const void *host, uint64_t size)
{
	memory_note_write_slow(dma->memory, memory_offset(dma->memory, host), size);
}
