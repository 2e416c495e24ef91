/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_PAGES_H
#define VISOR_ENGINE_JIT_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "engine/jit/windows.h"

/*
 * Pages of guest code by linear address, for code that runs on windows: a guest address space (one root of page tables, or
 * the kernel's half) and in it the pages that units lead to directly. While the list says that a page is where it
 * was, jumps to it from other pages are jumps of the host, without a check. The list is compared with the guest's page tables
 * when the guest flushes its TLB, and with the pages' generations when code was written; what has changed is unlinked.
 * All of it belongs to one vCPU.
 */
struct emitter;
struct jit;
struct record;
struct unit;

#define BRANCH_COUNT 65536u
/* A table, as translated code has it: with the low 16 bits of an address put in place of its own it is the entry's index from 0. */
static inline uintptr_t branches_word(const void *table) { return (uintptr_t)table / sizeof(void *); }
#define SPACE_PAGE_BUCKETS 1024u
#define CODE_SPACES 16u
#define MUCH_PAGES 1024u

struct code_page {
	uint64_t linear;
	const uint8_t *host;     /* NULL: nothing leads there any more */
	const uint8_t *last_host; /* what it is or was */
	uint32_t generation;
	bool local;              /* the kernel's: not global */
	bool listed;             /* in the space's list of those */
	bool branches;           /* the space's table of branches has entries of this page */
	struct record *links;    /* jumps of other pages to it */
	struct unit *tails;      /* units of the page before whose last instruction ends here */
	struct code_page *next, *next_in_space, *next_local;
};

struct code_space {
	uint32_t id;             /* never 0, never used twice */
	bool stale;              /* the guest flushed its TLB: to be compared with the page tables */
	bool written;            /* code was written: to be compared with generations */
	bool local_stale;        /* the same of the pages that are not global: another address space is current */
	uint64_t root, used;
	const uint8_t **branches; /* where indirect branches lead, by the low 16 bits of the address; NULL: not made yet */
	unsigned units;          /* made so far for the process whose it is */
	unsigned missed;         /* operands whose windows were guessed wrong, by then: predict.c */
	uint64_t lowest, highest; /* of the pages with code at the lowest addresses; 0: none yet */
	bool returning;          /* calls and returns go by returns.c */
	struct window_shape shape; /* that its units take for granted */
	uint64_t *returns;       /* the table of returns.c; NULL: not made yet */
	struct code_page *pages, *locals, *bucket[SPACE_PAGE_BUCKETS];
};

/* The space of a unit that uses windows; NULL: it is not there any more, or not current. */
struct code_space *pages_space(struct jit *jit, const struct unit *unit);
/* Whether the code of that space, as far as it can be seen, is where the current address space has it. */
bool pages_same(struct jit *jit, struct code_space *space);
/* A unit was made in its space. */
void pages_count(struct jit *jit, const struct unit *unit);
/* False: no memory. */
bool pages_init(struct jit *jit);
void pages_destroy(struct jit *jit);
/* All translations are gone. */
void pages_reset(struct jit *jit);
/* The guest flushed TLB entries; event NULL: more than were noted. */
void pages_flushed(struct jit *jit, const struct tlb_event *event);
/* A page with translated code was written. */
void pages_written(struct jit *jit);
/* There is so much code of the current user space that it begins anew when it is synced next (returns.h). */
bool pages_grown(const struct jit *jit);
/* Before translated code runs: CR3 may have changed, and spaces may be stale. */
void pages_sync(struct jit *jit);
static inline bool pages_unsettled(const struct code_space *space) { return space && (space->stale || space->local_stale || space->written); }

/* Links a jump of another page to `code` of the unit, at whose linear address it leads. */
void pages_link(struct jit *jit, struct record *record, const struct unit *unit, const uint8_t *code);
/* The unit ends in the page behind its own. False: no memory. */
bool pages_tail(struct jit *jit, struct unit *unit);
/* Not where AC is set: the tables are for code that SMAP holds. Indirect branches to `unit` go there directly from now on. */
void pages_branch(struct jit *jit, struct unit *unit);
/* The unit's pad: code in front of it that compares the address in S_A with the unit's; flags stay. The unit's address is in
 * front of that. */
void pages_emit_pad(const struct jit *jit, struct emitter *e, struct unit *unit);

#endif
