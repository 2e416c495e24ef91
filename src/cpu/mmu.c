/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging (SDM 3A, chapter 4) and the slow side of every memory access. A
 * linear page is walked once and then served by the software TLB until the
 * manual lets the translation go: entries hold what the walk allowed for one
 * set of rights, and an access kind that needs attention (device space, ROM
 * writes, pages with decoded code, watched pages, dirty bit not yet set) never
 * enters the TLB and comes back here each time.
 */
#include "cpu/access.h"
#include "isa/op.h"
#include "isa/table.h"

#include <pthread.h>
#include <sched.h>

#define PTE_P 0x1ull
#define PTE_W 0x2ull
#define PTE_U 0x4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX 0x8000000000000000ull
#define PTE_ADDRESS 0x000ffffffffff000ull
#define PHYSICAL_BITS 46
#define PTE_RESERVED (PTE_ADDRESS & ~((1ull << PHYSICAL_BITS) - 1))

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_I 16u

enum access_kind { KIND_READ, KIND_WRITE, KIND_EXECUTE };

/* What a walk found. */
struct translation {
	uint64_t gpa;       /* of the 4 KiB page */
	uint64_t page_size; /* of the mapping: 4 KiB, 2 or 4 MiB, 1 GiB */
	bool user, write, no_execute, global, dirty;
};

/* One level of the walk: where the entry is and what it said. */
struct walk {
	struct cpu *c;
	uint64_t linear;
	enum access_kind kind;
	bool user_access;  /* CPL 3 rights */
	bool smap;         /* supervisor data access that SMAP governs */
	bool side_effects; /* set A and D */
	struct translation out;
};

static uint64_t pte_load(struct cpu *c, uint64_t gpa, unsigned size)
{
	const uint8_t *host = memory_range(c->memory, gpa, size, false);
	if (!host)
		return size_mask(size);
	return size == 8 ? __atomic_load_n((const uint64_t *)host, __ATOMIC_ACQUIRE)
			 : __atomic_load_n((const uint32_t *)host, __ATOMIC_ACQUIRE);
}

/* Sets accessed and dirty bits, unless the entry has changed meanwhile: then the walk starts again. */
static bool pte_set(struct cpu *c, uint64_t gpa, unsigned size, uint64_t old, uint64_t bits)
{
	if ((old & bits) == bits)
		return true;
	uint8_t *host = memory_range(c->memory, gpa, size, true);
	if (!host)
		return true;
	uint32_t old32 = (uint32_t)old;
	bool same = size == 8
		? __atomic_compare_exchange_n((uint64_t *)host, &old, old | bits, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
		: __atomic_compare_exchange_n((uint32_t *)host, &old32, old32 | (uint32_t)bits, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST);
	if (same && memory_page_has_code(c->memory, memory_offset(c->memory, host)))
		memory_note_write_slow(c->memory, memory_offset(c->memory, host), size);
	return same;
}

enum { WALK_OK = -1, WALK_RETRY = -2 }; /* else: the page-fault error code's P and RSVD bits */

/* Rights of the translation against the access; 0 when allowed, else PF_P. */
static int check_rights(const struct walk *w)
{
	const struct cpu *c = w->c;
	const struct translation *t = &w->out;
	bool denied;
	if (w->user_access)
		denied = !t->user || (w->kind == KIND_WRITE && !t->write);
	else
		denied = (t->user && w->smap && w->kind != KIND_EXECUTE) ||
			 (w->kind == KIND_WRITE && !t->write && (c->cr0 & CR0_WP)) ||
			 (w->kind == KIND_EXECUTE && t->user && (c->cr4 & CR4_SMEP));
	if (w->kind == KIND_EXECUTE && t->no_execute)
		denied = true;
	return denied ? (int)PF_P : WALK_OK;
}

/* The last level was reached: rights, then accessed and dirty bits of the leaf. */
static int finish(struct walk *w, uint64_t gpa, unsigned size, uint64_t entry, uint64_t page_size, uint64_t base)
{
	struct translation *t = &w->out;
	t->page_size = page_size;
	t->global = (entry & PTE_G) && (w->c->cr4 & CR4_PGE);
	t->gpa = ALIGN_DOWN(base | (w->linear & (page_size - 1)), GUEST_PAGE_SIZE);
	int rc = check_rights(w);
	if (rc != WALK_OK || !w->side_effects)
		return rc;
	uint64_t bits = PTE_A | (w->kind == KIND_WRITE ? PTE_D : 0);
	t->dirty = (entry | bits) & PTE_D;
	return pte_set(w->c, gpa, size, entry, bits) ? WALK_OK : WALK_RETRY;
}

static uint64_t reserved_bits(const struct cpu *c)
{
	return PTE_RESERVED | (c->efer & EFER_NXE ? 0 : PTE_NX);
}

/* 4-level and PAE paging from `level` (4, 3 or 2) down; table: guest-physical address of that level's table. */
static int walk_wide(struct walk *w, uint64_t table, int level)
{
	struct cpu *c = w->c;
	for (;; level--) {
		unsigned shift = 12 + 9 * ((unsigned)level - 1);
		uint64_t gpa = table + ((w->linear >> shift) & 511) * 8;
		uint64_t entry = pte_load(c, gpa, 8);
		if (!(entry & PTE_P))
			return 0;
		bool leaf = level == 1 || (level <= 3 && (entry & PTE_PS));
		uint64_t page_size = 1ull << shift;
		uint64_t bad = reserved_bits(c);
		if (level == 4 || (level == 3 && !cpu_has(c, FEATURE_PDPE1GB)))
			bad |= PTE_PS;
		if (leaf && level > 1)
			bad |= (page_size - 1) & ~0x1fffull; /* bit 12 is PAT */
		if (entry & bad)
			return PF_P | PF_RSVD;
		w->out.user &= !!(entry & PTE_U);
		w->out.write &= !!(entry & PTE_W);
		w->out.no_execute |= !!(entry & PTE_NX);
		if (leaf)
			return finish(w, gpa, 8, entry, page_size, entry & PTE_ADDRESS & ~(page_size - 1));
		if (w->side_effects && !pte_set(c, gpa, 8, entry, PTE_A))
			return WALK_RETRY;
		table = entry & PTE_ADDRESS;
	}
}

static int walk_pae(struct walk *w)
{
	uint64_t pdpte = w->c->pdpte[(w->linear >> 30) & 3];
	if (!(pdpte & PTE_P))
		return 0;
	return walk_wide(w, pdpte & PTE_ADDRESS, 2);
}

/* 32-bit paging with PSE and PSE-36 (SDM 3A, 4.3). */
static int walk_32(struct walk *w)
{
	struct cpu *c = w->c;
	uint64_t gpa = (c->cr3 & 0xfffff000) + ((w->linear >> 22) & 1023) * 4;
	uint64_t pde = pte_load(c, gpa, 4);
	if (!(pde & PTE_P))
		return 0;
	w->out.user &= !!(pde & PTE_U);
	w->out.write &= !!(pde & PTE_W);
	if ((pde & PTE_PS) && (c->cr4 & CR4_PSE)) {
		if (pde & (1u << 21))
			return PF_P | PF_RSVD;
		uint64_t base = (pde & 0xffc00000) | (pde >> 13 & 0xff) << 32;
		return finish(w, gpa, 4, pde, 1u << 22, base);
	}
	if (w->side_effects && !pte_set(c, gpa, 4, pde, PTE_A))
		return WALK_RETRY;
	gpa = (pde & 0xfffff000) + ((w->linear >> 12) & 1023) * 4;
	uint64_t pte = pte_load(c, gpa, 4);
	if (!(pte & PTE_P))
		return 0;
	w->out.user &= !!(pte & PTE_U);
	w->out.write &= !!(pte & PTE_W);
	return finish(w, gpa, 4, pte, GUEST_PAGE_SIZE, pte & 0xfffff000);
}

static int walk_once(struct walk *w)
{
	struct cpu *c = w->c;
	w->out = (struct translation){ .user = true, .write = true };
	if (!(c->cr0 & CR0_PG)) {
		w->out = (struct translation){ .gpa = ALIGN_DOWN(w->linear, GUEST_PAGE_SIZE), .page_size = GUEST_PAGE_SIZE,
					       .user = true, .write = true, .dirty = true };
		return WALK_OK;
	}
	if (c->efer & EFER_LMA)
		return walk_wide(w, c->cr3 & PTE_ADDRESS, 4);
	return c->cr4 & CR4_PAE ? walk_pae(w) : walk_32(w);
}

static int walk(struct walk *w)
{
	int rc;
	do
		rc = walk_once(w);
	while (rc == WALK_RETRY);
	return rc;
}

static _Noreturn void raise_page_fault(const struct walk *w, int rc)
{
	struct cpu *c = w->c;
	uint32_t code = (uint32_t)rc;
	if (w->kind == KIND_WRITE)
		code |= PF_W;
	if (w->user_access)
		code |= PF_U;
	if (w->kind == KIND_EXECUTE && ((c->cr4 & CR4_SMEP) || ((c->cr4 & CR4_PAE) && (c->efer & EFER_NXE))))
		code |= PF_I;
	cpu_page_fault(c, w->linear, code);
}

/* --- TLB --- */

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
	if (check_rights(&probe) == WALK_OK)
		new.execute = page;
	if (!watched(c, page)) {
		probe.kind = KIND_READ;
		if (check_rights(&probe) == WALK_OK)
			new.read = page;
		probe.kind = KIND_WRITE;
		if (w->out.dirty && !rom && check_rights(&probe) == WALK_OK &&
		    !memory_page_has_code(c->memory, memory_offset(c->memory, host)))
			new.write = page;
	}
	*e = new;
	c->tlb_global[set][(page >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)] = w->out.global;
}

/* A page for one access: its host address, or NULL and the guest-physical address for device space. */
struct page {
	uint8_t *host;
	uint64_t gpa;
	bool rom;
};

static struct page translate(struct cpu *c, unsigned set, uint64_t linear, enum access_kind kind)
{
	bool user = set == TLB_USER || set == TLB_USER_ALIGN;
	struct walk w = { .c = c, .linear = linear, .kind = kind, .user_access = user, .side_effects = true,
			  .smap = set == TLB_SUPERVISOR && (c->cr4 & CR4_SMAP) };
	int rc = walk(&w);
	if (rc != WALK_OK)
		raise_page_fault(&w, rc);
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

void tlb_flush_all(struct cpu *c)
{
	for (unsigned set = 0; set < TLB_COUNT; set++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			c->tlbs[set][i] = tlb_empty;
	reset_large_pages(c);
	c->intc_page = c->intc.ops && c->intc.ops->mmio_base ? c->intc.ops->mmio_base(c->intc.opaque) : UINT64_MAX;
	c->stats.tlb_flushes++;
}

void tlb_flush_non_global(struct cpu *c)
{
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

/* --- accesses --- */

static unsigned current_set(const struct cpu *c)
{
	return (unsigned)((c->tlb - c->tlbs[0]) / TLB_SIZE);
}

void access_non_canonical(struct cpu *c, enum isa_seg seg)
{
	cpu_fault(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* The stack is meant where the instruction names SS, or has no memory operand at all. */
static enum isa_seg fault_segment(const struct cpu *c)
{
	const struct insn *i = c->insn;
	if (!i)
		return SEG_DS;
	if (i->memory)
		return (enum isa_seg)i->seg;
	bool implicit = isa_rows[i->row].attributes & (ROW_REP | ROW_MMX | ROW_SSE | ROW_AVX) || i->op == OP_XLAT || i->op == OP_CLZERO;
	return implicit ? SEG_DS : SEG_SS;
}

static void check_linear(struct cpu *c, uint64_t linear, unsigned size)
{
	if (c->code_mode == ISA_MODE_64 && unlikely(!is_canonical(linear) || !is_canonical(linear + size - 1)))
		access_non_canonical(c, fault_segment(c));
	if (unlikely(c->tlb == c->tlbs[TLB_USER_ALIGN]) && size <= 8 && (linear & (size - 1)))
		cpu_fault(c, EXC_AC, 0);
}

static uint64_t device_read(struct cpu *c, uint64_t gpa, unsigned size)
{
	c->stats.mmio_reads++;
	if (ALIGN_DOWN(gpa, GUEST_PAGE_SIZE) == c->intc_page)
		return c->intc.ops->mmio_read(c->intc.opaque, gpa & GUEST_PAGE_MASK, size);
	return io_read(c->mmio, gpa, size);
}

static void device_write(struct cpu *c, uint64_t gpa, uint64_t value, unsigned size)
{
	c->stats.mmio_writes++;
	if (ALIGN_DOWN(gpa, GUEST_PAGE_SIZE) == c->intc_page)
		c->intc.ops->mmio_write(c->intc.opaque, gpa & GUEST_PAGE_MASK, value, size);
	else
		io_write(c->mmio, gpa, value, size);
}

/* The largest power of two of at most 8 that fits. */
static unsigned piece(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

/* Aligned pieces of up to 8 bytes go in one access, so that a peer never sees half of one; they need not be aligned. */
typedef uint16_t __attribute__((aligned(1), may_alias)) any16;
typedef uint32_t __attribute__((aligned(1), may_alias)) any32;
typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

static void copy_from_guest(void *to, const uint8_t *from, unsigned size)
{
	switch (size) {
	case 2: store_le16(to, *(const volatile any16 *)from); break;
	case 4: store_le32(to, *(const volatile any32 *)from); break;
	case 8: store_le64(to, *(const volatile any64 *)from); break;
	default: memcpy(to, from, size);
	}
}

static void copy_to_guest(uint8_t *to, const void *from, unsigned size)
{
	switch (size) {
	case 2: *(volatile any16 *)to = load_le16(from); break;
	case 4: *(volatile any32 *)to = load_le32(from); break;
	case 8: *(volatile any64 *)to = load_le64(from); break;
	default: memcpy(to, from, size);
	}
}

static void read_page(struct cpu *c, const struct page *page, uint64_t linear, void *buffer, unsigned size)
{
	unsigned at = linear & GUEST_PAGE_MASK;
	if (page->host) {
		copy_from_guest(buffer, page->host + at, size);
		return;
	}
	for (uint8_t *to = buffer; size;) {
		unsigned n = piece(size);
		store_le(to, device_read(c, page->gpa + at, n), n);
		to += n;
		at += n;
		size -= n;
	}
}

static void write_page(struct cpu *c, const struct page *page, uint64_t linear, const void *buffer, unsigned size)
{
	unsigned at = linear & GUEST_PAGE_MASK;
	if (page->host) {
		if (page->rom)
			return;
		copy_to_guest(page->host + at, buffer, size);
		if (memory_note_write_slow(c->memory, memory_offset(c->memory, page->host) + at, size))
			cpu_attention(c, ATTN_CODE);
		return;
	}
	for (const uint8_t *from = buffer; size;) {
		unsigned n = piece(size);
		device_write(c, page->gpa + at, load_le(from, n), n);
		from += n;
		at += n;
		size -= n;
	}
}

static void watch(struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	if (unlikely(c->dr[7] & 0xff))
		cpu_debug_data(c, linear, size, access);
	if (unlikely(c->debug_watchpoints) && c->debug_check)
		c->debug_check(c->debug_opaque, c, linear, size, access);
}

static unsigned first_part(uint64_t linear, unsigned size)
{
	return MIN(size, GUEST_PAGE_SIZE - (unsigned)(linear & GUEST_PAGE_MASK));
}

static uint64_t wrap(const struct cpu *c, uint64_t linear)
{
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

static void read_with_set(struct cpu *c, unsigned set, uint64_t linear, void *buffer, unsigned size)
{
	unsigned first = first_part(linear, size);
	struct page page = translate(c, set, linear, KIND_READ);
	if (first == size) {
		read_page(c, &page, linear, buffer, size);
		return;
	}
	uint64_t next = wrap(c, linear + first);
	struct page second = translate(c, set, next, KIND_READ);
	read_page(c, &page, linear, buffer, first);
	read_page(c, &second, next, (uint8_t *)buffer + first, size - first);
}

static void write_with_set(struct cpu *c, unsigned set, uint64_t linear, const void *buffer, unsigned size)
{
	unsigned first = first_part(linear, size);
	struct page page = translate(c, set, linear, KIND_WRITE);
	if (first == size) {
		write_page(c, &page, linear, buffer, size);
		return;
	}
	uint64_t next = wrap(c, linear + first);
	struct page second = translate(c, set, next, KIND_WRITE);
	write_page(c, &page, linear, buffer, first);
	write_page(c, &second, next, (const uint8_t *)buffer + first, size - first);
}

void access_read_slow(struct cpu *c, uint64_t linear, void *buffer, unsigned size)
{
	check_linear(c, linear, size);
	read_with_set(c, current_set(c), linear, buffer, size);
	watch(c, linear, size, ACCESS_R);
}

void access_write_slow(struct cpu *c, uint64_t linear, const void *buffer, unsigned size)
{
	check_linear(c, linear, size);
	write_with_set(c, current_set(c), linear, buffer, size);
	watch(c, linear, size, ACCESS_W);
}

uint64_t access_read_system(struct cpu *c, uint64_t linear, unsigned size)
{
	uint64_t value = 0;
	if (cpu_long_mode(c) && !is_canonical(linear))
		cpu_gp(c, 0);
	read_with_set(c, TLB_SUPERVISOR, linear, &value, size);
	return value;
}

void access_write_system(struct cpu *c, uint64_t linear, uint64_t value, unsigned size)
{
	if (cpu_long_mode(c) && !is_canonical(linear))
		cpu_gp(c, 0);
	write_with_set(c, TLB_SUPERVISOR, linear, &value, size);
}

void access_probe(struct cpu *c, uint64_t linear, unsigned size, bool write)
{
	enum access_kind kind = write ? KIND_WRITE : KIND_READ;
	check_linear(c, linear, size);
	translate(c, current_set(c), linear, kind);
	unsigned first = first_part(linear, size);
	if (first != size)
		translate(c, current_set(c), wrap(c, linear + first), kind);
}

void *access_rmw_slow(struct cpu *c, uint64_t linear, unsigned size)
{
	check_linear(c, linear, size);
	unsigned first = first_part(linear, size);
	struct page page = translate(c, current_set(c), linear, KIND_WRITE);
	if (first != size)
		translate(c, current_set(c), wrap(c, linear + first), KIND_WRITE);
	c->bounce_linear = linear;
	c->bounce_size = size;
	/* In place even where code was decoded or a watchpoint set, so that locked operations stay atomic; what else a
	 * write needs is done in access_rmw_end_slow. */
	if (first == size && page.host && !page.rom) {
		c->bounce = page.host + (linear & GUEST_PAGE_MASK);
		return c->bounce;
	}
	read_with_set(c, current_set(c), linear, c->bounce_buffer, size);
	c->bounce = c->bounce_buffer;
	return c->bounce;
}

void access_rmw_end_slow(struct cpu *c)
{
	uint8_t *at = c->bounce;
	c->bounce = NULL;
	if (at == c->bounce_buffer)
		write_with_set(c, current_set(c), c->bounce_linear, at, c->bounce_size);
	else if (memory_note_write_slow(c->memory, memory_offset(c->memory, at), c->bounce_size))
		cpu_attention(c, ATTN_CODE);
	watch(c, c->bounce_linear, c->bounce_size, ACCESS_RW);
}

static pthread_mutex_t bus_mutex = PTHREAD_MUTEX_INITIALIZER;

void access_bus_lock(void)
{
	pthread_mutex_lock(&bus_mutex);
}

void access_bus_unlock(void)
{
	pthread_mutex_unlock(&bus_mutex);
}

const uint8_t *mmu_fetch(struct cpu *c, uint64_t linear, uint64_t *gpa)
{
	/* SMAP does not govern fetches, so one supervisor set serves all of them. */
	unsigned set = c->cpl == 3 ? TLB_USER : TLB_SUPERVISOR_AC;
	struct page page = translate(c, set, linear, KIND_EXECUTE);
	*gpa = page.gpa | (linear & GUEST_PAGE_MASK);
	return page.host ? page.host + (linear & GUEST_PAGE_MASK) : NULL;
}

bool mmu_debug_translate(struct cpu *c, uint64_t linear, uint64_t *gpa)
{
	struct walk w = { .c = c, .linear = linear, .kind = KIND_READ };
	if (walk(&w) != WALK_OK)
		return false;
	*gpa = w.out.gpa | (linear & GUEST_PAGE_MASK);
	return true;
}

/* --- segments outside 64-bit mode (SDM 3A, 5.3 to 5.5) --- */

static bool type_allows(const struct segment *s, unsigned access)
{
	if (!(s->attributes & SEGATTR_P))
		return false; /* null selector: unusable */
	if (s->attributes & 8) /* code */
		return !(access & ACCESS_W) && (s->attributes & 2);
	return !(access & ACCESS_W) || (s->attributes & 2);
}

static bool within_limit(const struct segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;
	if ((s->attributes & 0xc) == 4) { /* expand-down data */
		uint64_t top = s->attributes & SEGATTR_DB ? 0xffffffff : 0xffff;
		return offset > s->limit && last <= top;
	}
	return last <= s->limit;
}

void segment_check_slow(struct cpu *c, enum isa_seg seg, uint64_t offset, unsigned size, unsigned access)
{
	const struct segment *s = &c->seg[seg];
	bool ok = (!cpu_protected_segments(c) || type_allows(s, access)) && within_limit(s, offset, size ? size : 1);
	if (!ok)
		cpu_fault(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}
