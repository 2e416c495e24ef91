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

static void note_large_page(struct cpu *c, uint64_t linear, uint64_t size)
{
	uint64_t low = ALIGN_DOWN(linear, size), high = low + size - 1;
	if (low < c->large_page_low)
		c->large_page_low = low;
	if (high > c->large_page_high)
		c->large_page_high = high;
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
	c->large_page_low = UINT64_MAX;
	c->large_page_high = 0;
}

static const struct tlb_entry tlb_empty = { TLB_NONE, TLB_NONE, TLB_NONE, 0 };

static unsigned code_page_hash(uint64_t linear)
{
	uint64_t page = linear >> GUEST_PAGE_SHIFT;
	return (unsigned)(page ^ page >> 12 ^ page >> 24) & 4095;
}

void tlb_note_code(struct cpu *c, uint64_t linear)
{
	unsigned h = code_page_hash(linear);
	c->code_pages[h >> 6] |= 1ull << (h & 63);
}

static void new_code_epoch(struct cpu *c, bool global)
{
	c->code_epoch[0]++;
	if (global) {
		c->code_epoch[1]++;
		memset(c->code_pages, 0, sizeof(c->code_pages));
	}
}

void tlb_flush_all(struct cpu *c)
{
	new_code_epoch(c, true);
	for (unsigned set = 0; set < TLB_COUNT; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			c->tlbs[set][i] = tlb_empty;
	reset_large_pages(c);
	c->intc_page = c->intc.ops && c->intc.ops->mmio_base ? c->intc.ops->mmio_base(c->intc.opaque) : UINT64_MAX;
	c->stats.tlb_flushes++;
}

void tlb_flush_non_global(struct cpu *c)
{
	new_code_epoch(c, false);
	for (unsigned set = 0; set < TLB_USER_ALIGN; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			if (!c->tlb_global[set][i])
				c->tlbs[set][i] = tlb_empty;
	c->stats.tlb_flushes++;
}

void tlb_flush_page(struct cpu *c, uint64_t linear)
{
	/* INVLPG drops the whole large page that holds the address; its 4 KiB pieces may be anywhere in the TLB. */
	if (linear >= c->large_page_low && linear <= c->large_page_high) {
		tlb_flush_all(c);
		return;
	}
	unsigned h = code_page_hash(linear);
	if (c->code_pages[h >> 6] >> (h & 63) & 1)
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
	tlb_flush_all(c);
	atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_FLUSH);
	atomic_store(&c->flush_request, 0);
}

/* Waits until no peer can still write the page through an old TLB entry. A peer that is not inside run() answers
 * before it executes anything. */
static void protect_peers(struct cpu *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct cpu *peer = c->peers[i];
		if (peer == c)
			continue;
		atomic_store(&peer->flush_request, 1);
		cpu_attention(peer, ATTN_FLUSH);
	}
	for (unsigned i = 0; i < c->count; i++) {
		struct cpu *peer = c->peers[i];
		for (unsigned spins = 0; peer != c && atomic_load(&peer->running) && atomic_load(&peer->flush_request); spins++) {
			if (atomic_load(&c->flush_request))
				mmu_answer_flush(c);
			if (spins > 100)
				sched_yield();
			else
				__builtin_ia32_pause();
		}
	}
}

void mmu_mark_code(struct cpu *c, const uint8_t *host, unsigned length)
{
	if (!memory_mark_code(c->memory, memory_offset(c->memory, host), length))
		return;
	tlb_protect_page(c, (const uint8_t *)ALIGN_DOWN((uintptr_t)host, GUEST_PAGE_SIZE));
	if (c->count > 1)
		protect_peers(c);
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
