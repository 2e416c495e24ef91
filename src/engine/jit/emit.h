/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_EMIT_H
#define VISOR_ENGINE_JIT_EMIT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Host instructions, byte by byte. Code is written through one mapping and runs
 * at another address: `at` is where the next byte is written, + `delta` where
 * it runs. What does not fit is dropped and `full` is set. `cpu` is the address of struct cpu, which is in the low 2 GiB.
 */
struct emitter {
	uint8_t *at, *end;
	intptr_t delta;
	int32_t cpu;
	bool full;
};

/* A host memory operand. base, index: a register or HOST_NONE; cpu: relative to struct cpu; gs: to the GS base, the bias of the user
 * space's shape (windows.h). */
struct host_mem {
	uint8_t base, index, scale;
	int32_t disp;
	bool cpu, gs;
};

enum { HOST_NONE = 0xff };
/* Host registers that hold no guest register. */
enum { S_A = 11, S_B = 9, S_C = 10, SCRATCH_FIRST = S_B, SCRATCH_LAST = S_A, SCRATCH_MASK = 1 << S_A | 1 << S_B | 1 << S_C };

#define CPU_FIELD(field) ((struct host_mem){ .base = HOST_NONE, .index = HOST_NONE, .disp = (int32_t)offsetof(struct cpu, field), .cpu = true })
#define CPU_OFFSET(offset) ((struct host_mem){ .base = HOST_NONE, .index = HOST_NONE, .disp = (int32_t)(offset), .cpu = true })
#define MEM_BASE(reg, d) ((struct host_mem){ .base = (reg), .index = HOST_NONE, .disp = (int32_t)(d) })

/* What an opcode is like: W: REX.W; 66, F2, F3 prefixes; byte: registers 4..7 need a REX prefix; map 0F, 0F38. */
enum { EMIT_W = 1, EMIT_66 = 2, EMIT_F3 = 4, EMIT_0F = 8, EMIT_BYTE = 16, EMIT_F2 = 32 };

static inline void put8(struct emitter *e, unsigned byte)
{
	if (e->at < e->end)
		*e->at++ = (uint8_t)byte;
	else
		e->full = true;
}

void put16(struct emitter *e, unsigned value);
void put32(struct emitter *e, uint32_t value);
void put64(struct emitter *e, uint64_t value);
void put_bytes(struct emitter *e, const uint8_t *bytes, unsigned count);

/* Where the next byte will run. */
static inline uint8_t *emit_here(const struct emitter *e)
{
	return e->at + e->delta;
}

/* ModRM, SIB and displacement of a memory operand; reg: the other three bits. The prefix for m->gs is the caller's. */
void emit_modrm(struct emitter *e, unsigned reg, const struct host_mem *m);
/* REX bits X and B that the operand needs (2 and 1). */
unsigned emit_rex_xb(const struct host_mem *m);

/* opcode reg, [m] and opcode reg, rm. */
void emit_mem(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, struct host_mem m);
void emit_reg(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, unsigned rm);

/* mov reg, [m] and mov [m], reg, 64 bits. */
static inline void emit_load(struct emitter *e, unsigned reg, struct host_mem m) { emit_mem(e, EMIT_W, 0x8b, reg, m); }
static inline void emit_store(struct emitter *e, struct host_mem m, unsigned reg) { emit_mem(e, EMIT_W, 0x89, reg, m); }
static inline void emit_lea(struct emitter *e, unsigned reg, struct host_mem m) { emit_mem(e, EMIT_W, 0x8d, reg, m); }
static inline void emit_move(struct emitter *e, unsigned to, unsigned from) { emit_reg(e, EMIT_W, 0x89, from, to); }
/* mov reg, value, in the shortest form. */
void emit_constant(struct emitter *e, unsigned reg, uint64_t value);
/* mov qword [m], value sign-extended. */
void emit_store_constant(struct emitter *e, struct host_mem m, int32_t value);

/* shlx (1), sarx (2) to, from, count: 64 bits, no flags. */
void emit_shift_quietly(struct emitter *e, unsigned pp, unsigned to, unsigned from, unsigned count);

/* rorx to, from, count: 64 bits, no flags. */
void emit_rotate_quietly(struct emitter *e, unsigned to, unsigned from, unsigned count);

/* Goes on if S_A is `target`, else at `other`; the return value is where the displacement to that is written. S_B is lost; no flags. */
uint8_t *emit_compare_target(struct emitter *e, uint64_t target, const uint8_t *other);

/* Goes on behind emit_quiet if the 32 bits at m are zero, else behind itself, with S_A lost; no flags. */
uint8_t *emit_check_quietly(struct emitter *e, struct host_mem m);
void emit_quiet(struct emitter *e, uint8_t *quiet);

/* jmp and jcc rel32 to an address where code runs; the return value is where the displacement is written. */
uint8_t *emit_jump(struct emitter *e, const uint8_t *target);
uint8_t *emit_jump_if(struct emitter *e, unsigned condition, const uint8_t *target);
/* opcode reg, [target] and lea reg, [target], for data near the code. */
void emit_near(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, const void *target);
static inline void emit_address(struct emitter *e, unsigned reg, const void *target) { emit_near(e, EMIT_W, 0x8d, reg, target); }
/* A short jcc, jrcxz or jmp over what follows; emit_over ends it. */
uint8_t *emit_short(struct emitter *e, unsigned condition);
uint8_t *emit_jrcxz(struct emitter *e);
uint8_t *emit_skip(struct emitter *e);
void emit_over(struct emitter *e, uint8_t *from);
/* Makes the rel32 at `site` (as written) lead to `target` (where it runs). */
void emit_patch(uint8_t *site, intptr_t delta, const uint8_t *target);

enum { COND_O, COND_NO, COND_B, COND_AE, COND_E, COND_NE, COND_BE, COND_A, COND_S, COND_NS };

#endif
