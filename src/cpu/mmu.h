/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_MMU_H
#define VISOR_CPU_MMU_H

#include "cpu/cpu.h"

/* Inside cpu/: the page walk, the TLB that remembers it, and what both give to memory accesses. */

enum access_kind { KIND_READ, KIND_WRITE, KIND_EXECUTE };

/* What a walk found. */
struct translation {
	uint64_t gpa;       /* of the 4 KiB page */
	uint64_t page_size; /* of the mapping: 4 KiB, 2 or 4 MiB, 1 GiB */
	bool user, write, no_execute, global, dirty, accessed;
};

struct walk {
	struct cpu *c;
	uint64_t linear;
	enum access_kind kind;
	bool user_access;  /* CPL 3 rights */
	bool smap;         /* supervisor data access that SMAP governs */
	bool side_effects; /* set A and D */
	struct translation out;
};

/* WALK_OK, or the page-fault error code's P and RSVD bits. */
enum { WALK_OK = -1 };
int page_walk(struct walk *w);
/* Rights of the translation found against w->kind: WALK_OK or P. */
int page_check_rights(const struct walk *w);
/* #PF for what page_walk returned. */
_Noreturn void page_walk_fault(const struct walk *w, int rc);

/* A page for one access: its host address, or NULL and the guest-physical address for device space. */
struct page {
	uint8_t *host;
	uint64_t gpa;
	bool rom;
};

/* Walks, faults, and fills the TLB of this set of rights (TLB_USER, ...). */
struct page mmu_translate(struct cpu *c, unsigned set, uint64_t linear, enum access_kind kind);

/* What data accesses with this set of rights may do at a page that was used before, for an engine that shows memory by
 * other ways than the TLB. */
struct page_rights {
	uint8_t *host;
	uint64_t size;  /* of the block around, aligned, of which all this is true as well but for `writable`, and that lies
			 * in guest memory as it does in the guest's addresses */
	bool write;     /* the guest lets it be written, and it is dirty already */
	bool writable;  /* and no translated code is in it */
	bool execute;
	bool global;
};

/* Looks without side effects: false when the page is not memory, may not be read, has not been accessed, or is watched. */
bool mmu_peek(struct cpu *c, unsigned set, uint64_t linear, struct page_rights *rights);

/* Looks without side effects: the host address that code of user or supervisor mode at `linear`, a page, is fetched from;
 * NULL: a fetch would fault, be the first one, or reach no memory. *global is set otherwise. */
const uint8_t *mmu_code_page(struct cpu *c, bool user, uint64_t linear, bool *global);

/* The entries that a 4-level walk of `linear` finds, in host memory, from the PML4's down; returns how many, 0 where the page is
 * not present. */
unsigned mmu_path(struct cpu *c, uint64_t linear, const uint64_t *entry[4], uint64_t value[4]);

/* Which 4 GiB of the lower half (bits 32 to 47 of addresses, ascending) the 4-level page tables may have something in; returns how many
 * of them are in index[room]. */
unsigned mmu_user_stretches(struct cpu *c, uint16_t *index, unsigned room);

/* The TLB that data accesses use now. */
static inline unsigned current_tlb_set(const struct cpu *c)
{
	return (unsigned)((c->tlb - c->tlbs[0]) / TLB_SIZE);
}

#endif
