/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_HOST_H
#define VISOR_CPU_HOST_H

#include "cpu/cpu.h"
#include "cpu/fpu.h"
#include "cpu/host_signal.h"

/*
 * Instructions executed by the host processor itself. For a decoded
 * instruction a stub is generated once:
 *
 *   struct host_result stub(struct cpu *rdi, void *memory rsi, void *image rdx)
 *
 * It loads the registers that the instruction names from struct cpu into the
 * host's registers of the same number (general registers go to scratch ones),
 * executes the instruction with its memory operand at [rsi], and stores what
 * was written. A host exception inside a stub ends it with nothing stored. The
 * x87 state travels in an FXSAVE image of 512 bytes at rdx.
 */
struct host_result {
	uint64_t fault; /* enum host_fault */
	uint64_t mxcsr; /* with HOST_SIMD */
};

typedef struct host_result host_stub(struct cpu *c, void *memory, void *image);

#define HOST_CODE_MAX 1024

struct host_code {
	unsigned length;
	unsigned fault; /* where the stub continues after a host exception, bytes from its start */
	uint8_t bytes[HOST_CODE_MAX];
};

/* --- host_emit.c --- */
/* Generates the stub of an instruction: position-independent code. False: this is no instruction for a stub. */
bool host_emit(struct host_code *code, const struct insn *insn);

/* --- host_arena.c --- */
/* The stub's number, to be given to host_arena_stub; 0 when the arena is full or there is none. */
uint32_t host_arena_find(const struct insn *insn);
host_stub *host_arena_stub(uint32_t number);
/* Generates, runs and forgets: what executes when the arena is full. */
struct host_result host_arena_run_once(struct cpu *c, const struct insn *insn, void *memory, void *image);
/* Tests only: stubs that the arena may still take. */
void host_arena_limit(unsigned stubs);
/* Tests only: an empty arena; no instruction that was given a stub may be executed any more. */
void host_arena_forget(void);
/* Bytes of vector register that the host has: 16, 32 or 64. */
unsigned host_vector_size(void);

/*
 * Two adjacent pages of which none, the first or the second may be accessed, to find out by trial which part of its
 * operand a masked instruction touches. Locked from window_open to window_close; no guest access in between.
 */
uint8_t *host_window_open(bool first, bool second);
void host_window_close(void);

/* --- host.c --- */
/* insn->aux of everything that host_*.c executes. */
#define HOST_AUX_STUB 0x3ffffu /* stub number */
#define HOST_AUX_CLASS_SHIFT 18 /* enum fpu_class */
#define HOST_AUX_ALIGNED (1u << 22)
uint32_t host_aux(const struct insn *insn, bool with_stub);

static inline enum fpu_class host_class(const struct insn *insn)
{
	return (enum fpu_class)(insn->aux >> HOST_AUX_CLASS_SHIFT & 7);
}

static inline struct host_result host_run(struct cpu *c, const struct insn *insn, void *memory, void *image)
{
	uint32_t number = insn->aux & HOST_AUX_STUB;
	return likely(number) ? host_arena_stub(number)(c, memory, image) : host_arena_run_once(c, insn, memory, image);
}

/* Raises what a stub's failure means to the guest. */
_Noreturn void host_raise(struct cpu *c, struct host_result result);

insn_exec *select_host(struct cpu *c, struct insn *insn);
/* host_masked.c: memory operands of which only the active elements are accessed. */
insn_exec *select_masked(struct cpu *c, struct insn *insn);
/* host_gather.c: VSIB operands. */
insn_exec *select_gather(struct cpu *c, struct insn *insn);

#endif
