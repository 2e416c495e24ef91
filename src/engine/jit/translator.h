/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_TRANSLATOR_H
#define VISOR_ENGINE_JIT_TRANSLATOR_H

#include "engine/jit/jit.h"

/* What the files that translate share. */

#define UNIT_MAX_INSNS 48
#define THUNK_SITES 8

struct translator;

/* The last instruction that set FIP and FOP and the last that set FDP: their indexes + 1, as far as that is not in struct cpu yet. */
struct x87_noted {
	uint8_t insn, data;
};

/* Out of line: leaves with a record. */
struct thunk {
	struct record *record;
	struct record local;        /* `record` is this until somebody needs one that stays */
	bool memory_flags;
	bool stores_rip;            /* S_A is the guest's RIP */
	uint8_t *site[THUNK_SITES]; /* rel32 of jumps to it */
	unsigned sites;
	uint8_t *guard[18];         /* host instructions that go here when they fault */
	unsigned guards;
	/* Emits what must be taken back before the state is the guest's. */
	void (*undo)(struct translator *t, bool movs);
	bool undo_movs;
	struct x87_noted x87;
};

struct translator {
	struct jit *jit;
	struct cpu *c;
	struct emitter e, cold;
	struct unit *unit;
	/* What is in reuse_register: the bias for `key`, which changed by `drift` since, or else; see reuse.c. */
	struct reuse {
		uint8_t key;
		int64_t drift;
		unsigned taken;
	} reuse[REUSE_COUNT];
	unsigned takes;
	/* General registers that were proved to point into a window of unit->window_index (1: the first; 0: none), and what they have
	 * changed by since. */
	struct proof {
		uint8_t window;
		int64_t drift;
	} proof[16], loop_proof[16];
	/* The same of the sums that operands with an index make. */
	struct sum {
		uint8_t base, index, scale;
		struct proof proof;
	} sum[PROVEN_SUMS], loop_sum[PROVEN_SUMS];
	/* What is known of the guest's registers: predict.c. */
	uint64_t value[16];
	uint32_t known;
	struct window_shape shape;  /* of the unit's space */
	unsigned peeks;
	/* The loop that goes back to the unit's start (branch.c): its branch, its second body, the state at its start. */
	bool looping;               /* the second body is under way */
	unsigned bodies;            /* that are yet to come, with this one; 0: the unit itself */
	unsigned loop_end;          /* index of the branch back */
	uint8_t *loop_site;         /* its displacement in the first body; NULL: no loop */
	uint8_t *loop_head, *loop_after;
	uint8_t loop_vector;
	struct reuse loop_reuse[REUSE_COUNT];
	const uint8_t *page;        /* the guest page in host memory */
	uint64_t linear;            /* its linear address */
	uint32_t generation, tail_generation; /* of it and of the next one, before their bytes were read */
	const uint8_t *tail;        /* the page that the last instruction ends in; NULL: this one */
	bool window;                /* the unit uses windows */
	uint8_t mode;               /* enum isa_mode of the code */
	bool kept;                  /* the code of the instruction under way leaves kept biases alone */
	bool kept_vector;           /* and it is a vector instruction */
	bool stack_replaced;        /* for the instruction under way RSP is the guest's */
	uint8_t set;
	bool memory_flags;          /* live flags are in cpu->cc, not in the host's flags */
	uint8_t vector;             /* VECTOR_* known to be allowed, and vector state to be in the host's registers */
	struct x87_noted x87;       /* before the instruction under way */
	bool full;                  /* no memory for records */
	unsigned executed;          /* instructions since the last count in the code */

	unsigned count;
	struct insn insn[UNIT_MAX_INSNS];
	uint8_t bytes[UNIT_MAX_INSNS][15]; /* of the instructions: read once, since the guest may change them meanwhile */
	uint16_t at[UNIT_MAX_INSNS + 1]; /* offsets in the page */
	uint16_t live[UNIT_MAX_INSNS + 1]; /* arithmetic flags that are live before it */
	unsigned now;               /* index of the instruction under way */

	struct thunk thunk[8 * UNIT_MAX_INSNS];
	unsigned thunks;
};

static inline bool scratch_register(unsigned r)
{
	return r == S_A || r == S_B || r == S_C;
}

/* The register that an operand's register is, or is a part of: AH to BH, from 16 on, are of RAX to RBX. */
static inline unsigned whole_register(unsigned r)
{
	return r < 16 ? r : r & 3;
}

/* 32-bit code (legacy.c). */
static inline bool legacy(const struct translator *t)
{
	return t->mode != ISA_MODE_64;
}

/* --- translate.c --- */
struct record *new_record(struct translator *t, enum record_kind kind);
struct thunk *new_thunk(struct translator *t, struct record *record);
/* Makes jcc (or jmp, with COND_ALWAYS) lead to the thunk. */
#define COND_ALWAYS 16u
void jump_to_thunk(struct translator *t, struct thunk *thunk, unsigned condition);
/* A thunk whose record need not stay when the code is made. */
struct thunk *local_thunk(struct translator *t, enum record_kind kind);
/* A thunk where the instruction under way is executed by its function. */
struct thunk *helper_thunk(struct translator *t);
/* Live flags go to cpu->cc, so that code may clobber the host's; `live`: which ones matter. */
void flags_to_memory(struct translator *t, uint16_t live);
/* Flags come back to the host's flags. */
void flags_to_host(struct translator *t);
/* The guest address page + offset in a register. */
void emit_guest_address(struct translator *t, unsigned reg, int64_t offset);
/* Arithmetic flags that the code at page + offset may need; the code counts as read. */
uint16_t live_at(const struct translator *t, int64_t offset);
/* Adds the instructions since the last time to the guest's count. */
void emit_count(struct translator *t);
/* Decoded instructions outlive the translation where a record names them. */
const struct insn *keep_insn(struct translator *t, const struct insn *insn);

/* The next host instruction goes to the thunk when it faults. */
void guard(struct translator *t, struct thunk *thunk);
/* By windows: flags stay, and what accesses memory is guarded. */
bool uses_windows(const struct translator *t);

/* --- operand.c --- */
/*
 * Code that leaves the host address of the instruction's memory operand in *m, or goes to the thunk when the TLB misses.
 * keep: registers among the scratch ones that *m must not use. Without windows the host's flags are lost. The access itself
 * must follow as emit_access says.
 */
void emit_operand(struct translator *t, const struct insn *insn, unsigned size, unsigned access, unsigned keep,
		  struct thunk *thunk, struct host_mem *m);
/* The same for base + disp, where base is a host register that holds a guest register. */
void emit_check(struct translator *t, struct host_mem *m, unsigned size, unsigned access, unsigned keep, struct thunk *thunk);
/* Directly before the host instruction that accesses what emit_operand or emit_check prepared. */
static inline void emit_access(struct translator *t, struct thunk *thunk)
{
	if (uses_windows(t) || thunk->record->window)
		guard(t, thunk);
}
/* A look into the TLB, with m->base the linear address but for m->disp; *m is the host address then. x and y are lost. */
void emit_tlb_check(struct translator *t, struct host_mem *m, unsigned size, unsigned access, unsigned x, unsigned y, struct thunk *thunk);
/* A field of the TLB entry whose offset in the set is in `index`, which may be HOST_NONE. */
struct host_mem tlb_field(const struct translator *t, unsigned index, size_t field);
/* The linear address of the operand without a check, as base + disp; S_A and S_B may be used. */
struct host_mem emit_linear(struct translator *t, const struct insn *insn, unsigned a, unsigned b);
/* The offset that the memory operand names (LEA), as a host operand; S_A and S_B may be used. */
struct host_mem emit_address_of(struct translator *t, const struct insn *insn, unsigned a, unsigned b);
/* The guest's general register in a host register: itself, or put into `scratch`. */
unsigned emit_gpr(struct translator *t, unsigned reg, unsigned scratch);

/* --- branch.c: false: not this file's --- */
/* A thunk that goes on at page + offset, by the engine. */
struct thunk *leave_at(struct translator *t, int64_t offset);
/* Where windows are used cpu_attention makes this fault: no flags change. Nothing but S_A does. */
void poll_by_fault(struct translator *t, struct thunk *thunk);
bool translate_branch(struct translator *t);
/* Goes on at page + offset, of the guest's addresses. */
void exit_direct(struct translator *t, int64_t offset);
/* The same for code that a RET comes to, maybe long after; polls. */
void exit_return(struct translator *t, int64_t offset);
/* To the address in S_A by the table of the space: code, and branches[...], for this set. S_B is lost; no flags change. */
void emit_branch_by_table(struct emitter *e, unsigned set);
/* To the address in S_A; without windows flags are in cpu->cc. undo: how many bytes RSP was moved by. */
void exit_indirect(struct translator *t, int undo);
/* To the address in S_A by the table of t->set's space (pages.c), in a unit that uses windows; no flags change. undo: how many
 * bytes RSP was moved by. */
void exit_by_table(struct translator *t, int undo);
/* To the thunk where the 32 bits are not zero; no flags change, S_A is lost. */
void check_quietly(struct translator *t, struct host_mem field, struct thunk *thunk);
/* --- reuse.c --- */
/* As emit_operand, by a bias that may be there already. False: it cannot be kept; *m is not set. */
bool reuse_operand(struct translator *t, const struct insn *insn, unsigned keep, struct thunk *thunk, struct host_mem *m);
/* Proves that S_A is an address of the space's shape, which is canonical; flags stay, S_B is lost. False: there is no shape, or it was
 * none before. */
bool reuse_prove_target(struct translator *t, struct thunk *thunk);
/* For an instruction that does not fault, whatever the address. */
bool reuse_hint(struct translator *t, const struct insn *insn, struct host_mem *m);
/* Whether the scratch register holds the guest's register of that number; now it does. */
bool reuse_holds(struct translator *t, unsigned reg);
void reuse_hold(struct translator *t, unsigned reg);
/* The guest's register in a host register, that of the same number. */
unsigned reuse_gpr(struct translator *t, unsigned reg);
/* Instructions that write no general registers but those among their operands. */
bool reuse_explicit(const struct insn *insn);
/* After each instruction. kept: its code left scratch registers alone but for what was told; vector: it is one of
 * those that write no general registers but operands. */
void reuse_update(struct translator *t, bool kept, bool vector);
void reuse_drop_registers(struct translator *t, unsigned mask);
/* Before code goes on elsewhere: S_C is what units of the space take for granted. */
void reuse_provide_bias(struct translator *t);
/* At the unit's start. */
void reuse_begin(struct translator *t);
/* Proves at the unit's start what its code would prove before any branch, so that those who have proven it already can leave that out. */
void reuse_hoist(struct translator *t);
/* The registers that are in the shape here, for sure, and by no more beside it than an access at a small displacement can tell. */
uint16_t reuse_shaped(const struct translator *t);
void reuse_clear(struct translator *t);
/* Remembers what is kept and proven for the loop's second body; emits what brings that about again: proofs, guarded by the thunk,
 * then the rest. */
void reuse_save(struct translator *t);
void reuse_prove_again(struct translator *t, struct thunk *thunk);
void reuse_conform(struct translator *t);
void reuse_begin_loop(struct translator *t);
/* The record's code goes on with what is kept now. */
void reuse_note(const struct translator *t, struct record *record);

/* --- stack.c --- */
bool translate_stack(struct translator *t);
/* Whether RSP is the host's address of the guest's stack here, and the instruction under way may use it. */
bool stack_direct(const struct translator *t);
/* The same, and its memory operand is at RSP + displacement. */
bool stack_operand(const struct translator *t, const struct insn *insn);
/* Whether PUSH, CALL and the like have no code here. */
bool stack_unreachable(const struct translator *t);
/* RSP becomes the guest's value in host register `value`; S_A (which `value` may be) is lost. */
void emit_set_stack(struct translator *t, unsigned value);
/* Pushes register `value` (a host register that is not S_B or S_C). */
void emit_push(struct translator *t, unsigned value, struct thunk *thunk);
/* The same with a constant. Where S_A is to be kept, the stack is direct. */
void emit_push_constant(struct translator *t, uint64_t value, unsigned scratch, struct thunk *thunk);
/* Pops into S_A; `more`: bytes that RSP moves besides. */
void emit_pop(struct translator *t, unsigned more, struct thunk *thunk);
/* ADD, SUB and LEA of RSP and a constant, MOV from and to RSP; others: false. */
bool translate_stack_pointer(struct translator *t);
/* The bias of the window that holds the address in host register `base`; flags stay. */
void emit_window_bias(struct translator *t, unsigned to, unsigned base);
/* --- string.c, system.c --- */
bool translate_string(struct translator *t);
bool translate_system(struct translator *t);
/* All 64 bits of RFLAGS in host register `to`, from cpu->rflags and cpu->cc; `scratch` is lost. */
void emit_rflags(struct translator *t, unsigned to, unsigned scratch);
/* --- x87.c --- */
/* x87 and MMX instructions (and FWAIT) that are copied. */
bool x87_copied(const struct insn *insn);
/* After one of them: sees to it that struct cpu gets FIP, FDP and FOP in time. */
void x87_note(struct translator *t);
/* Stores them; flags stay, S_A and S_B are lost. */
void x87_emit_noted(struct translator *t, struct x87_noted noted);
/* --- privilege.c: SYSCALL, SYSRET, IRETQ --- */
bool translate_privilege(struct translator *t);
/* --- copy.c --- */
bool translate_copy(struct translator *t);
/* Whether it is copied and cannot fault, but for a memory operand. */
bool copy_harmless(const struct insn *i);
/* --- legacy.c --- */
bool translate_legacy(struct translator *t);
/* As emit_operand; *m uses S_A and S_B. */
void legacy_operand(struct translator *t, const struct insn *insn, unsigned size, unsigned access, struct thunk *thunk, struct host_mem *m);

#endif
