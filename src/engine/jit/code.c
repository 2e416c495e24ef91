/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/jit.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "engine/jit/dump.h"

/*
 * Code memory is shared memory mapped twice, so that no address is both writable
 * and executable; anonymous, since perf looks for names of code that no file holds. Records follow the executable mapping, where code reaches them
 * relative to RIP. Everything is given out in ascending order and thrown away
 * at once.
 *
 * System calls: mmap, mremap, mprotect, munmap, madvise.
 */
#define UNIT_ROOM (1u << 20)
#define SPARE_SIZE ALIGN_UP(sizeof(struct record), 64u)
#define REACH (1ull << 31) /* of an address relative to RIP */
#define HUGE_PAGE (2ull << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static void *map(void *at, size_t size, int protection, int flags)
{
	void *p = mmap(at, size, protection, flags | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void *jit_map_aligned(size_t size, size_t alignment, int protection)
{
	uint8_t *whole = map(NULL, size + alignment, protection, MAP_PRIVATE | MAP_ANONYMOUS);
	if (!whole)
		return NULL;
	uint8_t *at = (uint8_t *)ALIGN_UP((uintptr_t)whole, alignment);
	if (at != whole)
		munmap(whole, (size_t)(at - whole));
	if (at != whole + alignment)
		munmap(at + size, (size_t)(whole + alignment - at));
	return at;
}

/* Of address space, at a multiple of the host's large pages. */
static uint8_t *reserve(size_t size)
{
	return jit_map_aligned(size, HUGE_PAGE, PROT_NONE);
}

static void unmap_code(struct jit *jit)
{
	if (jit->code_w)
		munmap(jit->code_w, jit->code_size);
	if (jit->code_x)
		munmap(jit->code_x, jit->code_size + jit->data_size);
	jit->code_w = jit->code_x = jit->data = NULL;
}

static bool map_code(struct jit *jit, size_t total)
{
	/* Records need more than code does, but how much depends on the guest: both have room, and together no more than `total`. */
	jit->total = total;
	jit->code_size = ALIGN_DOWN(total / 2, 1u << 20);
	jit->data_size = MIN(ALIGN_DOWN(total / 8 * 7, 1u << 20), REACH - jit->code_size);
	jit->code_w = reserve(jit->code_size);
	jit->code_x = reserve(jit->code_size + jit->data_size);
	if (!jit->code_w || !jit->code_x || !map(jit->code_w, jit->code_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED))
		return false;
	/* A size of 0 leaves the old mapping, too. */
	if (mremap(jit->code_w, 0, jit->code_size, MREMAP_MAYMOVE | MREMAP_FIXED, jit->code_x) == MAP_FAILED ||
	    mprotect(jit->code_x, jit->code_size, PROT_READ | PROT_EXEC) < 0)
		return false;
	jit->data = map(jit->code_x + jit->code_size, jit->data_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
	if (jit->data)
		madvise(jit->data, jit->data_size, MADV_HUGEPAGE); /* else every 40 records cost a page fault */
	return jit->data != NULL;
}

/*
 * Translated code is several times as long as the guest's, and small pages of it were more than the processor's TLB for code
 * holds. Shared memory is made of large ones on request alone, which takes less time than the faults of small ones.
 */
static void back(uint8_t **backed, const uint8_t *at, const uint8_t *end, intptr_t delta)
{
	while (*backed < at && (size_t)(end - *backed) >= HUGE_PAGE) {
		volatile uint8_t *first = *backed;
		*first = *first; /* what has no page at all is refused */
		madvise(*backed + delta, HUGE_PAGE, MADV_COLLAPSE);
		*backed += HUGE_PAGE;
	}
}

void jit_back_code(struct jit *jit, size_t room)
{
	back(&jit->code_backed, jit->code_at + room, jit_cold_floor(jit), jit_delta(jit));
	back(&jit->cold_backed, jit->cold_at + room, jit->code_w + jit->code_size, jit_delta(jit));
}

int jit_memory_init(struct jit *jit, size_t total, struct error *err)
{
	jit->unit_room = UNIT_ROOM;
	jit->buckets = map(NULL, UNIT_BUCKETS * sizeof(*jit->buckets), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	jit->order = map(NULL, UNIT_ROOM * sizeof(*jit->order), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	jit->order_from = calloc(total / 2 / GUEST_PAGE_SIZE + 1, sizeof(*jit->order_from));
	struct jump *jumps = map(NULL, JUMP_TABLES * JUMP_COUNT * sizeof(*jumps), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	if (jit->buckets)
		madvise(jit->buckets, UNIT_BUCKETS * sizeof(*jit->buckets), MADV_HUGEPAGE);
	jit_words(jit->cpu)->jumps = jumps;
	/* Where the host limits files or address space, it may grant less. */
	bool mapped = false;
	for (size_t size = total; !mapped && size >= JIT_CACHE_MIN; size /= 2) {
		unmap_code(jit);
		mapped = map_code(jit, size);
	}
	if (!jit->buckets || !jit->order || !jit->order_from || !jumps || !mapped) {
		int code = errno;
		jit_memory_destroy(jit);
		return error_set(err, code, "cannot map %zu MiB of memory for translated code, writable and executable: %s; use a smaller "
				 "--jit-cache, or --engine interp", total >> 20, strerror(code));
	}
	jit->code_at = jit->code_w;
	jit->cold_at = jit_cold_floor(jit);
	jit->code_backed = jit->code_w;
	jit->cold_backed = (uint8_t *)ALIGN_UP((uintptr_t)jit->cold_at, HUGE_PAGE);
	jit->spare = (struct record *)jit->data;
	jit->data_used = SPARE_SIZE;
	return 0;
}

void jit_memory_destroy(struct jit *jit)
{
	struct jit_words *words = jit_words(jit->cpu);
	unmap_code(jit);
	if (jit->buckets)
		munmap(jit->buckets, UNIT_BUCKETS * sizeof(*jit->buckets));
	if (jit->order)
		munmap(jit->order, UNIT_ROOM * sizeof(*jit->order));
	free(jit->order_from);
	if (words->jumps)
		munmap(words->jumps, JUMP_TABLES * JUMP_COUNT * sizeof(*words->jumps));
	*words = (struct jit_words){ 0 };
	jit->buckets = jit->order = NULL;
	jit->order_from = NULL;
}

/* Memory stays: to have it from the host once more would cost as much as a fifth of what is made in it. */
void jit_flush(struct jit *jit)
{
	jit->data_dirty = MAX(jit->data_dirty, jit->data_used);
	madvise(jit->buckets, UNIT_BUCKETS * sizeof(*jit->buckets), MADV_DONTNEED);
	madvise(jit_words(jit->cpu)->jumps, JUMP_TABLES * JUMP_COUNT * sizeof(struct jump), MADV_DONTNEED);
	jit->data_used = SPARE_SIZE;
	jit->unit_count = jit->order_pages = 0;
	jit->code_at = jit->code_floor;
	jit->cold_at = jit_cold_floor(jit);
	jit->stats.flushes++;
	dump_forget(jit->code_floor + jit_delta(jit), (size_t)(jit->code_w + jit->code_size - jit->code_floor));
	pages_reset(jit);
}

void *jit_alloc(struct jit *jit, size_t size)
{
	size = ALIGN_UP(size, 8);
	size_t used = jit->data_used + (size_t)(jit->code_at - jit->code_w) + (size_t)(jit->cold_at - jit_cold_floor(jit));
	if (jit->data_size - jit->data_used < size || used > jit->total || jit->total - used < size)
		return NULL;
	uint8_t *p = jit->data + jit->data_used;
	if (jit->data_used < jit->data_dirty)
		memset(p, 0, size);
	jit->data_used += size;
	return p;
}

struct record *jit_new_record(struct jit *jit, const struct record *record)
{
	size_t size = record_is_short(record) ? offsetof(struct record, sums) : sizeof(*record);
	void *copy = jit_alloc(jit, size);
	return copy ? memcpy(copy, record, size) : NULL;
}

bool jit_on_windows(const struct jit *jit, unsigned set)
{
	return jit->cpu->code_mode == ISA_MODE_64 && set != TLB_USER_ALIGN && jit->window[set == TLB_USER ? TLB_USER : TLB_SUPERVISOR];
}

uint32_t jit_space_id(const struct jit *jit, unsigned set)
{
	if (!jit_on_windows(jit, set))
		return 0;
	return set == TLB_USER ? jit->code_user->id : jit->code_kernel.id;
}

uint64_t jit_unit_page(const struct jit *jit, uint64_t linear, unsigned set)
{
	return set == TLB_USER && !jit_on_windows(jit, set) ? 0 : ALIGN_DOWN(linear, (uint64_t)GUEST_PAGE_SIZE);
}

/* With the space: a library's code has units of the many that came and went. */
static unsigned hash(const uint8_t *host, uint64_t page, unsigned set, uint32_t space)
{
	/* Where guest memory is mapped in one piece the two page numbers rise together: they must not cancel each other out. */
	uint32_t h = (uint32_t)((uintptr_t)host >> GUEST_PAGE_SHIFT) * 0x9e3779b1u + (uint32_t)(page >> GUEST_PAGE_SHIFT) * 0xc2b2ae35u;
	unsigned region = (h + space * 0x85ebca6bu + set * 0x27d4eb2fu) >> 16 & (UNIT_REGIONS - 1);
	unsigned bucket = ((uintptr_t)host & GUEST_PAGE_MASK) / (GUEST_PAGE_SIZE / REGION_BUCKETS);
	return region * REGION_BUCKETS + bucket;
}

struct unit *jit_find(struct jit *jit, const uint8_t *host, uint64_t linear, unsigned set)
{
	uint64_t page = jit_unit_page(jit, linear, set);
	uint32_t space = jit_space_id(jit, set);
	struct unit **at = &jit->buckets[hash(host, page, set, space)];
	for (struct unit *u; (u = *at); at = &u->next)
		if (u->host == host && u->page == page && u->set == set && u->space == space && u->mode == jit->cpu->code_mode) {
			if (atomic_load_explicit(u->generation_now, memory_order_relaxed) == u->generation &&
			    atomic_load_explicit(u->tail_generation_now, memory_order_relaxed) == u->tail_generation)
				return u;
			*at = u->next;
			return NULL;
		}
	return NULL;
}

static size_t code_page(const struct jit *jit, const uint8_t *code)
{
	return (size_t)(code - jit->code_x) / GUEST_PAGE_SIZE;
}

void jit_insert(struct jit *jit, struct unit *unit)
{
	struct unit **bucket = &jit->buckets[hash(unit->host, unit->page, unit->set, unit->space)];
	unit->next = *bucket;
	*bucket = unit;
	const size_t page = code_page(jit, unit->code);
	while (jit->order_pages <= page)
		jit->order_from[jit->order_pages++] = jit->unit_count;
	jit->order[jit->unit_count++] = unit;
}

static bool overlap(const uint8_t *site, const uint8_t *entry)
{
	return site + 4 > entry && site < entry + 5 && site != entry + 1;
}

/* Whether a jump of forward() lies over a part of the record's own. Where both are the same jump, it is there still. */
static bool overwritten(const struct jit *jit, const struct record *record)
{
	const struct unit *unit = record->unit;
	const uint8_t *site = record->site + jit_delta(jit);
	if (!unit->retired)
		return false;
	for (unsigned n = 0; n <= unit->hoisted; n++)
		if (overlap(site, unit->entry + n * PROOF_BYTES))
			return true;
	return overlap(site, unit->memory_entry);
}

void jit_link(const struct jit *jit, const struct record *record, const uint8_t *code)
{
	if (!overwritten(jit, record))
		emit_patch(record->site, jit_delta(jit), code);
}

/* A jump at the entry, that is linked to the unit which replaces this one. proven: by who enters there. */
static void forward(struct jit *jit, struct unit *unit, uint8_t *entry, bool memory_flags, uint16_t proven)
{
	if (jit_code_room(jit) < 64)
		return;
	struct emitter e = jit_emitter(jit, jit->code_at, jit_cold_floor(jit));
	const struct record link = { .kind = RECORD_LINK, .set = unit->set, .memory_flags = memory_flags, .proven = proven, .unit = unit,
				     .thunk = emit_here(&e), .target = (int32_t)((uintptr_t)unit->host & GUEST_PAGE_MASK) };
	struct record *record = jit_new_record(jit, &link);
	if (!record)
		return;
	emit_address(&e, S_A, record);
	emit_jump(&e, memory_flags ? jit->leave_memory_flags : jit->leave);
	jit->code_at = (uint8_t *)ALIGN_UP((uintptr_t)e.at, 16);
	struct emitter patch = { .at = entry - e.delta, .end = entry - e.delta + 5, .delta = e.delta };
	record->site = emit_jump(&patch, record->thunk);
}

const uint8_t *jit_polled(struct jit *jit, struct unit *unit)
{
	const struct record go = { .kind = RECORD_GO, .set = unit->set, .unit = unit, .target = (int32_t)((uintptr_t)unit->host & GUEST_PAGE_MASK) };
	struct record *record = unit->polled ? NULL : jit_new_record(jit, &go);
	if (!record || jit_code_room(jit) < 128)
		return unit->polled;
	struct emitter e = jit_emitter(jit, jit->code_at, jit_cold_floor(jit));
	unit->polled = emit_here(&e);
	uint8_t *quiet = emit_check_quietly(&e, CPU_FIELD(attention));
	emit_address(&e, S_A, record);
	emit_jump(&e, jit->leave);
	emit_quiet(&e, quiet);
	emit_jump(&e, unit->entry);
	jit->code_at = (uint8_t *)ALIGN_UP((uintptr_t)e.at, 16);
	return unit->polled;
}

void jit_retire(struct jit *jit, struct unit *unit)
{
	struct unit **at = &jit->buckets[hash(unit->host, unit->page, unit->set, unit->space)];
	while (*at && *at != unit)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = unit->next;
	unit->retired = true;
	uint16_t proven = 0;
	for (unsigned n = 0; n <= unit->hoisted; n++) {
		forward(jit, unit, unit->entry + n * PROOF_BYTES, false, proven);
		proven |= n < unit->hoisted ? (uint16_t)(1u << unit->hoisted_reg[n]) : 0;
	}
	if (unit->memory_entry != unit->entry)
		forward(jit, unit, unit->memory_entry, true, 0);
}

struct unit *jit_unit_at(const struct jit *jit, const uint8_t *code)
{
	const size_t page = code_page(jit, code);
	unsigned low = page < jit->order_pages ? jit->order_from[page] : jit->unit_count;
	unsigned high = page + 1 < jit->order_pages ? jit->order_from[page + 1] : jit->unit_count;
	low -= low > 0; /* it may begin in a page before */
	while (high - low > 1) {
		unsigned middle = (low + high) / 2;
		if (jit->order[middle]->code <= code)
			low = middle;
		else
			high = middle;
	}
	return high && code >= jit->order[low]->code && code < jit->order[low]->code_end ? jit->order[low] : NULL;
}
