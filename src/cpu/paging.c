/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page walk (SDM 3A, chapter 4): 32-bit paging with PSE, PAE and 4-level.
 * Accessed and dirty bits are set atomically; an entry that changes under the
 * walk makes it start again.
 */
#include "cpu/mmu.h"

#include "base/util.h"

#define PTE_P 0x1ull
#define PTE_W 0x2ull
#define PTE_U 0x4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX 0x8000000000000000ull
#define PTE_ADDRESS 0x000ffffffffff000ull

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_I 16u

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

enum { WALK_RETRY = -2 };

int page_check_rights(const struct walk *w)
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
	t->accessed = entry & PTE_A;
	t->dirty = entry & PTE_D;
	int rc = page_check_rights(w);
	if (rc != WALK_OK || !w->side_effects)
		return rc;
	uint64_t bits = PTE_A | (w->kind == KIND_WRITE ? PTE_D : 0);
	t->dirty = (entry | bits) & PTE_D;
	return pte_set(w->c, gpa, size, entry, bits) ? WALK_OK : WALK_RETRY;
}

static uint64_t reserved_bits(const struct cpu *c)
{
	return (PTE_ADDRESS & ~((1ull << c->physical_bits) - 1)) | (c->efer & EFER_NXE ? 0 : PTE_NX);
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

unsigned mmu_path(struct cpu *c, uint64_t linear, const uint64_t *entry[4], uint64_t value[4])
{
	uint64_t table = c->cr3 & PTE_ADDRESS;
	for (unsigned level = 4;; level--) {
		uint64_t index = linear >> (12 + 9 * (level - 1)) & 511;
		const uint8_t *host = memory_range(c->memory, table + index * 8, 8, false);
		if (!host)
			return 0;
		entry[4 - level] = (const uint64_t *)host;
		value[4 - level] = __atomic_load_n((const uint64_t *)host, __ATOMIC_ACQUIRE);
		if (!(value[4 - level] & PTE_P))
			return 0;
		if (level == 1 || (level <= 3 && (value[4 - level] & PTE_PS)))
			return 5 - level;
		table = value[4 - level] & PTE_ADDRESS;
	}
}

static const uint64_t *table_at(const struct cpu *c, uint64_t entry)
{
	return (const uint64_t *)memory_range(c->memory, entry & PTE_ADDRESS, 4096, false);
}

unsigned mmu_user_stretches(struct cpu *c, uint16_t *index, unsigned room)
{
	const uint64_t *top = cpu_long_mode(c) ? table_at(c, c->cr3) : NULL;
	unsigned count = 0;
	for (unsigned t = 0; top && t < 256; t++) {
		const uint64_t *pointers = top[t] & PTE_P ? table_at(c, top[t]) : NULL;
		for (unsigned p = 0; pointers && p < 512; p += 4)
			if ((pointers[p] | pointers[p + 1] | pointers[p + 2] | pointers[p + 3]) & PTE_P && count < room)
				index[count++] = (uint16_t)(t << 7 | p >> 2);
	}
	return count;
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
					       .user = true, .write = true, .dirty = true, .accessed = true };
		return WALK_OK;
	}
	if (c->efer & EFER_LMA)
		return walk_wide(w, c->cr3 & PTE_ADDRESS, 4);
	return c->cr4 & CR4_PAE ? walk_pae(w) : walk_32(w);
}

int page_walk(struct walk *w)
{
	int rc;
	do
		rc = walk_once(w);
	while (rc == WALK_RETRY);
	return rc;
}

void page_walk_fault(const struct walk *w, int rc)
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
