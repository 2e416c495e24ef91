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

/* Which kinds of access this set of rights may do without a further look. */
static void fill(struct cpu *c, unsigned set, const struct walk *w, uint8_t *host, bool rom)
{
	uint64_t page = ALIGN_DOWN(w->linear, GUEST_PAGE_SIZE);
	struct tlb_entry *e = &c->tlbs[set][(page >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
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
	*e = new;
	c->tlb_global[set][(page >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)] = w->out.global;
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
	rights->writable = writable && w.out.dirty && page_check_rights(&w) == WALK_OK &&
			   !memory_page_has_code(c->memory, memory_offset(c->memory, rights->host));
	rights->global = w.out.global;
	rights->page_size = w.out.page_size;
	return true;
}

const uint8_t *mmu_code_page(struct cpu *c, bool user, uint64_t linear)
{
	struct walk w = { .c = c, .linear = linear, .kind = KIND_EXECUTE, .user_access = user };
	bool writable;
	return page_walk(&w) == WALK_OK && w.out.accessed ? memory_page(c->memory, w.out.gpa, &writable) : NULL;
}

static const struct tlb_entry tlb_empty = { TLB_NONE, TLB_NONE, TLB_NONE, 0 };

void tlb_note_code(struct cpu *c, uint64_t linear)
{
	filter_add(c->code_pages, linear >> GUEST_PAGE_SHIFT);
}

static void new_code_epoch(struct cpu *c, bool global)
{
	c->code_epoch[0]++;
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

/* The entries go, but not for a reason that the guest knows of. */
static void drop_all(struct cpu *c)
{
	for (unsigned set = 0; set < TLB_COUNT; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			c->tlbs[set][i] = tlb_empty;
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

static void drop_non_global(struct cpu *c)
{
	new_code_epoch(c, false);
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			if (!c->tlb_global[set][i])
				c->tlbs[set][i] = tlb_empty;
	c->stats.tlb_flushes++;
}

void tlb_flush_non_global(struct cpu *c)
{
	note_event(c, TLB_EVENT_LOCAL, 0, 0);
	drop_non_global(c);
}

void tlb_switch(struct cpu *c, bool flush)
{
	if (flush)
		note_event(c, TLB_EVENT_ROOT, 0, 0);
	drop_non_global(c);
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

void tlb_protect_page(struct cpu *c, const uint8_t *host_page)
{
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++) {
			struct tlb_entry *e = &c->tlbs[set][i];
			if (e->write + e->addend == (uintptr_t)host_page)
				e->write = TLB_NONE;
		}
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
