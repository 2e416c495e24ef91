/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software TLB. A linear page is walked once and then served from here until
 * the manual lets the translation go: entries hold what the walk allowed for one
 * set of rights, and an access kind that needs attention (device space, ROM
 * writes, pages with decoded code, watched pages, dirty bit not yet set) never
 * enters the TLB and walks again each time.
 */
#include "cpu/mmu.h"

#include <sched.h>

#include "base/util.h"

static bool watched(const struct cpu *c, uint64_t page)
{
	if (c->debug_watchpoints)
		return true;
	return (c->dr[7] & 0xff) && cpu_debug_page(c, page);
}

static unsigned filter_bit(uint64_t number)
{
	return (unsigned)(number ^ number >> 12 ^ number >> 24) & 4095;
}

static bool filter_has(const uint64_t filter[64], uint64_t number)
{
	unsigned bit = filter_bit(number);
	return filter[bit >> 6] >> (bit & 63) & 1;
}

static void filter_add(uint64_t filter[64], uint64_t number)
{
	unsigned bit = filter_bit(number);
	filter[bit >> 6] |= 1ull << (bit & 63);
}

/* INVLPG drops the whole large page that holds the address; its 4 KiB pieces may be anywhere in the TLB. */
static void note_large_page(struct cpu *c, uint64_t linear, uint64_t size)
{
	uint64_t low = ALIGN_DOWN(linear, size), high = low + size - 1;
	if (size <= LARGE_BLOCK_MAX) {
		c->large_block = MAX(c->large_block, size);
		filter_add(c->large_blocks, linear >> LARGE_BLOCK_SHIFT);
		return;
	}
	c->huge_low = MIN(c->huge_low, low);
	c->huge_high = MAX(c->huge_high, high);
}

/* How much goes with the page of `linear`. */
static uint64_t flush_size(const struct cpu *c, uint64_t linear)
{
	if (linear >= c->huge_low && linear <= c->huge_high)
		return UINT64_MAX;
	return filter_has(c->large_blocks, linear >> LARGE_BLOCK_SHIFT) ? c->large_block : GUEST_PAGE_SIZE;
}

/* Entries by set * TLB_SIZE + index. */
static struct tlb_entry *entry_at(struct cpu *c, unsigned slot)
{
	return &c->tlbs[slot >> TLB_BITS][slot & (TLB_SIZE - 1)];
}

static bool *global_at(struct cpu *c, unsigned slot)
{
	return &c->tlb_global[slot >> TLB_BITS][slot & (TLB_SIZE - 1)];
}

static void note_local(struct cpu *c, unsigned slot, bool global)
{
	bool *is_global = global_at(c, slot);
	if (*is_global && !global) {
		if (c->tlb_local_count < TLB_LOCAL_MAX)
			c->tlb_local[c->tlb_local_count] = (uint16_t)slot;
		if (c->tlb_local_count <= TLB_LOCAL_MAX)
			c->tlb_local_count++;
	}
	*is_global = global;
}

/* Which kinds of access this set of rights may do without a further look. */
static void fill(struct cpu *c, unsigned set, const struct walk *w, uint8_t *host, bool rom)
{
	uint64_t page = ALIGN_DOWN(w->linear, GUEST_PAGE_SIZE);
	unsigned slot = set * TLB_SIZE + ((page >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1));
	uintptr_t addend = (uintptr_t)host - page;
	struct tlb_entry new = { TLB_NONE, TLB_NONE, TLB_NONE, addend };
	struct walk probe = *w;
	c->stats.tlb_fills++;
	if (w->out.page_size != GUEST_PAGE_SIZE)
		note_large_page(c, page, w->out.page_size);
	probe.kind = KIND_EXECUTE;
	if (page_check_rights(&probe) == WALK_OK)
		new.execute = page;
	if (!watched(c, page)) {
		probe.kind = KIND_READ;
		if (page_check_rights(&probe) == WALK_OK)
			new.read = page;
		probe.kind = KIND_WRITE;
		if (w->out.dirty && !rom && page_check_rights(&probe) == WALK_OK &&
		    !memory_page_has_code(c->memory, memory_offset(c->memory, host)))
			new.write = page;
	}
	*entry_at(c, slot) = new;
	note_local(c, slot, w->out.global);
}

struct page mmu_translate(struct cpu *c, unsigned set, uint64_t linear, enum access_kind kind)
{
	bool user = set == TLB_USER || set == TLB_USER_ALIGN;
	struct walk w = { .c = c, .linear = linear, .kind = kind, .user_access = user, .side_effects = true,
			  .smap = set == TLB_SUPERVISOR && (c->cr4 & CR4_SMAP) };
	int rc = page_walk(&w);
	if (rc != WALK_OK)
		page_walk_fault(&w, rc);
	bool writable = false;
	struct page page = { .gpa = w.out.gpa };
	if (w.out.gpa != c->intc_page)
		page.host = memory_page(c->memory, w.out.gpa, &writable);
	page.rom = !writable;
	if (page.host && set != TLB_USER_ALIGN)
		fill(c, set, &w, page.host, page.rom);
	return page;
}

static void reset_large_pages(struct cpu *c)
{
	memset(c->large_blocks, 0, sizeof(c->large_blocks));
	c->large_block = 0;
	c->huge_low = UINT64_MAX;
	c->huge_high = 0;
}

#define BLOCK_SIZE (2ull << 20)

/* What is around a page of a large one may be device space or ROM, or be watched. */
static bool whole_block(struct cpu *c, const struct translation *t)
{
	uint64_t gpa = ALIGN_DOWN(t->gpa, BLOCK_SIZE);
	return t->page_size >= BLOCK_SIZE && c->intc_page - gpa >= BLOCK_SIZE && !(c->dr[7] & 0xff) && !c->debug_watchpoints &&
	       memory_range(c->memory, gpa, BLOCK_SIZE, false);
}

bool mmu_peek(struct cpu *c, unsigned set, uint64_t linear, struct page_rights *rights)
{
	struct walk w = { .c = c, .linear = linear, .kind = KIND_READ, .user_access = set == TLB_USER || set == TLB_USER_ALIGN,
			  .smap = set == TLB_SUPERVISOR && (c->cr4 & CR4_SMAP) };
	bool writable;
	if (watched(c, linear) || page_walk(&w) != WALK_OK || !w.out.accessed || w.out.gpa == c->intc_page)
		return false;
	rights->host = memory_page(c->memory, w.out.gpa, &writable);
	if (!rights->host)
		return false;
	w.kind = KIND_WRITE;
	rights->write = writable && w.out.dirty && page_check_rights(&w) == WALK_OK;
	rights->writable = rights->write && !memory_page_has_code(c->memory, memory_offset(c->memory, rights->host));
	rights->global = w.out.global;
	w.kind = KIND_EXECUTE;
	rights->execute = page_check_rights(&w) == WALK_OK;
	rights->size = whole_block(c, &w.out) ? BLOCK_SIZE : GUEST_PAGE_SIZE;
	return true;
}

const uint8_t *mmu_code_page(struct cpu *c, bool user, uint64_t linear, bool *global)
{
	struct walk w = { .c = c, .linear = linear, .kind = KIND_EXECUTE, .user_access = user };
	bool writable;
	if (page_walk(&w) != WALK_OK || !w.out.accessed)
		return NULL;
	*global = w.out.global;
	return memory_page(c->memory, w.out.gpa, &writable);
}

static const struct tlb_entry tlb_empty = { TLB_NONE, TLB_NONE, TLB_NONE, 0 };

void tlb_note_code(struct cpu *c, uint64_t linear)
{
	filter_add(c->code_pages, linear >> GUEST_PAGE_SHIFT);
}

static void new_code_epoch(struct cpu *c, bool global)
{
	c->code_epoch[0] = ++c->code_epoch_last;
	if (global) {
		c->code_epoch[1]++;
		memset(c->code_pages, 0, sizeof(c->code_pages));
	}
}

static void note_event(struct cpu *c, enum tlb_event_kind kind, uint64_t linear, uint64_t size)
{
	if (c->tlb_event_count < TLB_EVENTS)
		c->tlb_events[c->tlb_event_count] = (struct tlb_event){ kind, cpu_root(c), linear, size };
	if (c->tlb_event_count <= TLB_EVENTS)
		c->tlb_event_count++;
}

static void empty_shelves(struct cpu *c)
{
	for (unsigned i = 0; i < TLB_SHELVES; i++)
		c->tlb_shelf[i].used = false;
}

/* The entries go, but not for a reason that the guest knows of. */
static void drop_all(struct cpu *c)
{
	for (unsigned set = 0; set < TLB_COUNT; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			c->tlbs[set][i] = tlb_empty;
	memset(c->tlb_global, true, sizeof(c->tlb_global));
	c->tlb_local_count = 0;
	c->tlb_space = c->cr3;
	empty_shelves(c);
	reset_large_pages(c);
	c->intc_page = c->intc.ops && c->intc.ops->mmio_base ? c->intc.ops->mmio_base(c->intc.opaque) : UINT64_MAX;
	c->stats.tlb_flushes++;
}

void tlb_flush_all(struct cpu *c)
{
	note_event(c, TLB_EVENT_ALL, 0, 0);
	new_code_epoch(c, true);
	drop_all(c);
}

static bool is_empty(const struct tlb_entry *e)
{
	return e->read == TLB_NONE && e->write == TLB_NONE && e->execute == TLB_NONE;
}

/* Drops one; shelf: where it is kept, or NULL. */
static void drop_local(struct cpu *c, unsigned slot, struct tlb_shelf *shelf)
{
	struct tlb_entry *e = entry_at(c, slot);
	if (*global_at(c, slot))
		return;
	*global_at(c, slot) = true;
	if (shelf && shelf->count < TLB_SHELF_ROOM && !is_empty(e)) {
		shelf->kept[shelf->count].slot = (uint16_t)slot;
		shelf->kept[shelf->count++].entry = *e;
	}
	*e = tlb_empty;
}

static void drop_non_global(struct cpu *c, struct tlb_shelf *shelf)
{
	if (c->tlb_local_count <= TLB_LOCAL_MAX)
		for (unsigned i = 0; i < c->tlb_local_count; i++)
			drop_local(c, c->tlb_local[i], shelf);
	else
		for (unsigned slot = 0; slot < TLB_USER_ALIGN * TLB_SIZE; slot++)
			drop_local(c, slot, shelf);
	c->tlb_local_count = 0;
	c->stats.tlb_flushes++;
}

void tlb_flush_non_global(struct cpu *c)
{
	note_event(c, TLB_EVENT_LOCAL, 0, 0);
	new_code_epoch(c, false);
	drop_non_global(c, NULL);
	empty_shelves(c);
	c->tlb_space = c->cr3;
}

/* --- PCIDs --- */

/* The PCID's shelf; else one that is free or was not used for longest, and is free then. */
static struct tlb_shelf *shelf_of(struct cpu *c, uint64_t space)
{
	struct tlb_shelf *best = &c->tlb_shelf[0];
	for (unsigned i = 0; i < TLB_SHELVES; i++) {
		struct tlb_shelf *s = &c->tlb_shelf[i];
		if (s->used && (s->space & CR3_PCID) == (space & CR3_PCID))
			return s;
		if (best->used && (!s->used || s->last_use < best->last_use))
			best = s;
	}
	best->used = false;
	return best;
}

static void put_on_shelf(struct cpu *c)
{
	struct tlb_shelf *s = shelf_of(c, c->tlb_space);
	s->used = true;
	s->space = c->tlb_space;
	s->last_use = ++c->tlb_uses;
	s->code_epoch = c->code_epoch[0];
	s->count = 0;
	drop_non_global(c, s);
}

/* Places that have been taken by global entries meanwhile stay theirs. */
static void take_from_shelf(struct cpu *c, const struct tlb_shelf *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		unsigned slot = s->kept[i].slot;
		struct tlb_entry *e = entry_at(c, slot);
		if (!is_empty(e))
			continue;
		*e = s->kept[i].entry;
		note_local(c, slot, false);
	}
}

void tlb_switch(struct cpu *c, bool flush)
{
	if (flush)
		note_event(c, TLB_EVENT_ROOT, 0, 0);
	put_on_shelf(c);
	c->tlb_space = c->cr3;
	struct tlb_shelf *s = shelf_of(c, c->cr3);
	if (s->used && s->space == c->cr3 && !flush) {
		c->code_epoch[0] = s->code_epoch;
		take_from_shelf(c, s);
	} else {
		new_code_epoch(c, false);
	}
	s->used = false;
}

static void drop_block(struct cpu *c, uint64_t low, uint64_t size)
{
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++) {
			struct tlb_entry *e = &c->tlbs[set][i];
			if (e->read - low < size || e->write - low < size || e->execute - low < size)
				*e = tlb_empty;
		}
}

void tlb_flush_page(struct cpu *c, uint64_t linear)
{
	uint64_t size = flush_size(c, linear);
	if (size == UINT64_MAX) {
		tlb_flush_all(c);
		return;
	}
	linear = ALIGN_DOWN(linear, size);
	note_event(c, TLB_EVENT_PAGE, linear, size);
	if (size > GUEST_PAGE_SIZE) {
		new_code_epoch(c, true);
		drop_block(c, linear, size);
		return;
	}
	if (filter_has(c->code_pages, linear >> GUEST_PAGE_SHIFT))
		new_code_epoch(c, true);
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		c->tlbs[set][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)] = tlb_empty;
}

static void protect(struct tlb_entry *e, const uint8_t *host_page)
{
	if (e->write + e->addend == (uintptr_t)host_page)
		e->write = TLB_NONE;
}

void tlb_protect_page(struct cpu *c, const uint8_t *host_page)
{
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			protect(&c->tlbs[set][i], host_page);
	for (unsigned n = 0; n < TLB_SHELVES; n++)
		for (unsigned i = 0; c->tlb_shelf[n].used && i < c->tlb_shelf[n].count; i++)
			protect(&c->tlb_shelf[n].kept[i].entry, host_page);
}

void mmu_answer_flush(struct cpu *c)
{
	atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_FLUSH);
	uint32_t request = atomic_load(&c->flush_request);
	do {
		if (request == FLUSH_MAP)
			tlb_flush_all(c);
		else
			drop_all(c);
	} while (!atomic_compare_exchange_weak(&c->flush_request, &request, FLUSH_NOTHING));
}

/* One turn of waiting for others, who may be waiting for us. */
static void wait_turn(struct cpu *c, unsigned turn)
{
	if (atomic_load(&c->flush_request))
		mmu_answer_flush(c);
	if (turn > 100)
		sched_yield();
	else
		__builtin_ia32_pause();
}

/* Waits until no peer can still write the page through an old TLB entry. A peer that is not inside run() answers
 * before it executes anything. */
static void protect_peers(struct cpu *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct cpu *peer = c->peers[i];
		if (peer == c)
			continue;
		uint32_t none = 0;
		atomic_compare_exchange_strong(&peer->flush_request, &none, FLUSH_WRITES);
		cpu_attention(peer, ATTN_FLUSH);
		if (peer->wake && atomic_load(&peer->running))
			peer->wake(peer->wake_opaque);
	}
	for (unsigned i = 0; i < c->count; i++) {
		struct cpu *peer = c->peers[i];
		for (unsigned spins = 0; peer != c && atomic_load(&peer->running) && atomic_load(&peer->flush_request); spins++)
			wait_turn(c, spins);
	}
}

static bool protect_first(struct cpu *c, const uint8_t *host, unsigned length)
{
	if (!memory_mark_code(c->memory, memory_offset(c->memory, host), length))
		return false;
	tlb_protect_page(c, (const uint8_t *)ALIGN_DOWN((uintptr_t)host, GUEST_PAGE_SIZE));
	if (c->memory->code_marked)
		c->memory->code_marked(c->memory->code_marked_opaque, memory_offset(c->memory, host));
	if (c->count > 1)
		protect_peers(c);
	return true;
}

void mmu_mark_code(struct cpu *c, const uint8_t *host, unsigned length)
{
	if (c->count == 1) {
		protect_first(c, host, length);
		return;
	}
	_Atomic uint32_t *protecting = &c->memory->code_protecting;
	atomic_fetch_add(protecting, 1);
	bool first = protect_first(c, host, length);
	atomic_fetch_sub(protecting, 1);
	/* Whoever marked the page first may still be at it, and our own TLB still let us write there unseen. */
	for (unsigned turn = 0; !first && atomic_load(protecting); turn++)
		wait_turn(c, turn);
}

const uint8_t *mmu_fetch(struct cpu *c, uint64_t linear, uint64_t *gpa)
{
	/* SMAP does not govern fetches, so one supervisor set serves all of them. */
	unsigned set = c->cpl == 3 ? TLB_USER : TLB_SUPERVISOR_AC;
	struct page page = mmu_translate(c, set, linear, KIND_EXECUTE);
	*gpa = page.gpa | (linear & GUEST_PAGE_MASK);
	return page.host ? page.host + (linear & GUEST_PAGE_MASK) : NULL;
}

bool mmu_debug_translate(struct cpu *c, uint64_t linear, uint64_t *gpa)
{
	struct walk w = { .c = c, .linear = linear, .kind = KIND_READ };
	if (page_walk(&w) != WALK_OK)
		return false;
	*gpa = w.out.gpa | (linear & GUEST_PAGE_MASK);
	return true;
}
