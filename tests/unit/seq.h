/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_SEQ_H
#define VISOR_TESTS_SEQ_H

#include "diff_state.h"
#include "engine/engine.h"

/*
 * Random instruction sequences, run by an engine in a small machine and by the
 * bare host on the same linear addresses.
 *
 * Memory of the test, twice in the address space (two views of the same physical pages): code, not writable; data, not
 * executable, its last page read-only; a stack. Between them nothing is mapped.
 */
#define SEQ_VIEWS 2
#define SEQ_VIEW_BASE(v) ((v) ? 0x31000000ull : 0x21000000ull)
#define SEQ_CODE 0x0u
#define SEQ_CODE_PAGES 512u
#define SEQ_DATA 0x400000u
#define SEQ_DATA_PAGES 5u
#define SEQ_STACK 0x408000u
#define SEQ_STACK_PAGES 2u
#define SEQ_PAGES (SEQ_DATA_PAGES + SEQ_STACK_PAGES) /* that may change */
#define SEQ_RW_END (SEQ_DATA + (SEQ_DATA_PAGES - 1) * GUEST_PAGE_SIZE)
#define SEQ_DATA_END (SEQ_DATA + SEQ_DATA_PAGES * GUEST_PAGE_SIZE)
#define SEQ_STACK_END (SEQ_STACK + SEQ_STACK_PAGES * GUEST_PAGE_SIZE)

#define SEQ_MAX 160 /* items, those of idioms and the INT3 at the end included */

/* What is to be filled in when the address of an item is known. */
enum seq_fix {
	SEQ_FIX_NONE,
	SEQ_FIX_BRANCH, /* relative to another item, at the instruction's end: 1 or 4 bytes */
	SEQ_FIX_ITEM,   /* RIP-relative displacement of 4 bytes to another item */
	SEQ_FIX_DATA,   /* the same to an offset in the view */
	SEQ_FIX_ABS,    /* 8 bytes: address of another item in view 0 */
};

struct seq_item {
	uint8_t bytes[16];
	uint8_t length;
	uint8_t fix, fix_at, fix_size;
	bool removed;
	bool unreachable;     /* data among code: bytes that nobody executes */
	bool stops;           /* the next item is reached from elsewhere only */
	int16_t target;       /* item that it may go to, or -1 */
	bool is_call, is_return;
	uint16_t row;
	uint16_t undefined;   /* arithmetic flags that are undefined before it */
	uint32_t data;        /* SEQ_FIX_DATA */
	uint32_t at;          /* offset from the sequence's start */
	uint32_t group;       /* taken out together when a failing sequence is made smaller */
};

struct seq_program {
	struct seq_item item[SEQ_MAX];
	unsigned count;
	unsigned size;        /* bytes */
	uint32_t code;        /* where it lies: offset in the view */
	bool user_only;       /* runs otherwise at CPL 0 */
	bool one_view;        /* REP MOVS: the order of its stores when one page has two addresses is the processor's own */
	uint64_t seed;
	/* The state at its start. */
	struct diff_state start;
	uint64_t rflags, fs_base, gs_base;
	uint8_t memory[SEQ_PAGES][GUEST_PAGE_SIZE];
};

struct seq_result {
	struct diff_state state;
	uint64_t rflags, rip, fs_base, gs_base, cr2;
	uint32_t error;
	uint8_t vector;       /* EXC_*; SEQ_TIMEOUT */
};
#define SEQ_TIMEOUT 255

/* --- seq_gen.c, seq_idiom.c --- */
void seq_gen_init(const struct cpu *cpu);
void seq_generate(struct seq_program *p, uint64_t seed);
/* Rows that no sequence contains, and why; NULL for the others. */
const char *seq_exclusion(unsigned row);

/* --- seq_program.c --- */
/* Gives each item its address and fills in what depends on it. False: a short branch does not reach. */
bool seq_layout(struct seq_program *p, uint8_t *bytes);
/* Where flags are undefined; takes out what would read one. */
void seq_analyse(struct seq_program *p);
/* The item at that address, SEQ_MAX if there is none. */
unsigned seq_find(const struct seq_program *p, uint64_t rip);
void seq_print(const struct seq_program *p);
uint16_t seq_flags_after(const struct seq_item *item, uint16_t undefined);
uint16_t seq_flags_read(const struct seq_item *item);

/* --- seq_machine.c --- */
struct cpu *seq_machine(void);
bool seq_engine_start(const struct engine_type *engine);
void seq_engine_stop(void);
/* Puts the code into host's and guest's memory; _remove replaces it by INT3. */
void seq_put_code(const struct seq_program *p, const uint8_t *bytes);
void seq_remove_code(const struct seq_program *p);
void seq_run_host(const struct seq_program *p, unsigned view, struct seq_result *r);
/* Follows the host step by step. False: it left the sequence as generated (a return address was changed, say), read
 * a flag that was undefined, or had registers left open, so that no two processors need agree; *undefined: flags at its end. */
bool seq_trace_host(const struct seq_program *p, unsigned view, uint16_t *undefined);
/* From the start; cpl 0 or 3. */
void seq_run_guest(const struct seq_program *p, unsigned view, unsigned cpl, struct seq_result *r);
/* Page n of what may change, after the last run. */
const uint8_t *seq_host_page(unsigned n);
const uint8_t *seq_guest_page(unsigned n);
/* Makes the guest's bytes like the host's where a difference is known: linear, in any view. */
void seq_memory_ignore(uint64_t from, unsigned size);
/* Linear address in view 0 of page n. */
uint64_t seq_page_address(unsigned n);

#endif
