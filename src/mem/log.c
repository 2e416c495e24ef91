/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mem/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

/* The copy is what whoever looks has seen at least; of pages that nobody looked at it is anything. */
struct memory_log {
	uint8_t *copy;
	uint64_t size;
	_Atomic uint64_t marked[]; /* by page: written, and not taken since */
};

static struct memory_log *make(uint64_t size)
{
	size_t words = (size >> GUEST_PAGE_SHIFT) / 64 + 1;
	struct memory_log *log = calloc(1, sizeof(*log) + words * sizeof(log->marked[0]));
	if (!log)
		return NULL;
	log->size = size;
	log->copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (log->copy == MAP_FAILED) {
		free(log);
		return NULL;
	}
	for (size_t i = 0; i < words; i++)
		atomic_init(&log->marked[i], UINT64_MAX);
	return log;
}

static void mark(struct memory_log *log, uint64_t at, uint64_t size)
{
	for (uint64_t page = at >> GUEST_PAGE_SHIFT, last = (at + size - 1) >> GUEST_PAGE_SHIFT; page <= last; page++)
		atomic_fetch_or(&log->marked[page / 64], BIT64(page % 64));
}

void memory_log_note(const struct guest_memory *memory, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < memory->aperture_count; i++) {
		const struct memory_aperture *a = &memory->apertures[i];
		struct memory_log *log = atomic_load_explicit((_Atomic(struct memory_log *) *)&a->log, memory_order_acquire);
		uint64_t first = MAX(offset, a->offset), end = MIN(offset + length, a->offset + a->size);
		if (log && first < end)
			mark(log, first - a->offset, end - first);
	}
}

void memory_log_end(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->aperture_count; i++) {
		struct memory_log *log = memory->apertures[i].log;
		if (log)
			munmap(log->copy, log->size);
		free(log);
	}
}

/* What processors wrote becomes marks. False: nobody knows what they wrote. */
static bool ask_engine(struct guest_memory *memory, const struct memory_aperture *aperture, struct memory_log *log)
{
	size_t words = (log->size >> GUEST_PAGE_SHIFT) / 64 + 1;
	uint64_t pages[words];
	memset(pages, 0, sizeof(pages));
	bool known = memory->written && memory->written(memory->changed_opaque, aperture, pages);
	for (size_t i = 0; i < words; i++)
		if (pages[i])
			atomic_fetch_or(&log->marked[i], pages[i]);
	return known;
}

bool memory_log_take(struct guest_memory *memory, struct memory_aperture *aperture, uint64_t from, uint64_t size, uint64_t *changed)
{
	struct memory_log *log = aperture->log;
	if (!log && (log = make(aperture->size)))
		atomic_store(&aperture->log, log);
	if (!log || !size || from >= log->size)
		return false;
	uint64_t last = (from + MIN(size, log->size - from) - 1) >> GUEST_PAGE_SHIFT;
	bool known = ask_engine(memory, aperture, log);
	memset(changed, 0, ((log->size >> GUEST_PAGE_SHIFT) + 63) / 64 * sizeof(*changed));
	for (uint64_t page = from >> GUEST_PAGE_SHIFT; page <= last; page++) {
		const uint8_t *now = memory->host + aperture->offset + (page << GUEST_PAGE_SHIFT);
		uint8_t *then = log->copy + (page << GUEST_PAGE_SHIFT);
		/* The mark goes before the page is read. */
		bool marked = atomic_load_explicit(&log->marked[page / 64], memory_order_relaxed) >> (page % 64) & 1 &&
			      atomic_fetch_and(&log->marked[page / 64], ~BIT64(page % 64)) >> (page % 64) & 1;
		if (!marked && (known || !memcmp(then, now, GUEST_PAGE_SIZE)))
			continue;
		memcpy(then, now, GUEST_PAGE_SIZE);
		changed[page / 64] |= BIT64(page % 64);
	}
	return true;
}
