/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_OPS_H
#define VISOR_CPU_OPS_H

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/flags.h"
#include "cpu/select.h"

/*
 * What the integer operations (ops_*.c) share. A hot operation has one function
 * for each operand form and size; the templates here fold to straight code, so
 * that no decision about kind or size is left at run time.
 *
 * Arithmetic is done by the host instruction, with FLAGS_SAVE behind it and,
 * where flags go in or some stay unchanged or undefined, FLAGS_LOAD before it:
 * results and undefined flags are those of the host.
 */
#define INLINE static inline __attribute__((always_inline))

#define FLAGS_SAVE "lahf\n\tseto %%al"
#define FLAGS_LOAD "addb $127, %%al\n\tsahf\n\t"
#define FLAGS_LOAD_CF "btl $8, %%eax\n\t"

/* Guest memory through a host pointer: any alignment. */
typedef uint8_t guest8 __attribute__((may_alias));
typedef uint16_t guest16 __attribute__((may_alias, aligned(1)));
typedef uint32_t guest32 __attribute__((may_alias, aligned(1)));
typedef uint64_t guest64 __attribute__((may_alias, aligned(1)));

/* 16..19 are AH, CH, DH, BH: the second byte of registers 0..3. */
INLINE uint8_t reg8(const struct cpu *c, unsigned r) { return ((const uint8_t *)&c->gpr[r & 15])[r >> 4]; }
INLINE uint16_t reg16(const struct cpu *c, unsigned r) { return (uint16_t)c->gpr[r]; }
INLINE uint32_t reg32(const struct cpu *c, unsigned r) { return (uint32_t)c->gpr[r]; }
INLINE uint64_t reg64(const struct cpu *c, unsigned r) { return c->gpr[r]; }

INLINE void set_reg8(struct cpu *c, unsigned r, uint8_t v) { ((uint8_t *)&c->gpr[r & 15])[r >> 4] = v; }
INLINE void set_reg16(struct cpu *c, unsigned r, uint16_t v) { *(guest16 *)&c->gpr[r] = v; }
INLINE void set_reg32(struct cpu *c, unsigned r, uint32_t v) { c->gpr[r] = v; }
INLINE void set_reg64(struct cpu *c, unsigned r, uint64_t v) { c->gpr[r] = v; }

/* The same with a size in bytes, for rare operations and counters. */
INLINE uint64_t reg_read(const struct cpu *c, unsigned r, unsigned size)
{
	return size == 1 ? reg8(c, r) : c->gpr[r] & size_mask(size);
}

INLINE void reg_write(struct cpu *c, unsigned r, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: set_reg8(c, r, (uint8_t)v); break;
	case 2: set_reg16(c, r, (uint16_t)v); break;
	case 4: set_reg32(c, r, (uint32_t)v); break;
	default: set_reg64(c, r, v); break;
	}
}

/* The linear address when the operand is known at selection to be flat: 64-bit mode and address size, and a segment that
 * has no base there. */
INLINE uint64_t flat_linear(const struct cpu *c, const struct insn *i)
{
	return c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (uint64_t)(int64_t)i->disp;
}

/* The same without an index, as most operands are. */
INLINE uint64_t based_linear(const struct cpu *c, const struct insn *i)
{
	return c->gpr[i->base] + (uint64_t)(int64_t)i->disp;
}

/* Declares p, the host address of a flat operand, for the access kind `field` of the TLB. On a miss `general`, the same
 * operation by any segment, does the whole instruction: so the fast function calls nothing and needs no stack frame.
 * address: flat_linear or based_linear. */
#define FLAT_HOST(p, field, bits, address, general) \
	uint64_t linear_ = address(c, i); \
	LINEAR_HOST(p, field, bits, linear_, general)

#define LINEAR_HOST(p, field, bits, linear, general) \
	const struct tlb_entry *entry_ = tlb_slot(c, linear); \
	if (unlikely(entry_->field != (((linear) + bits / 8 - 1) & ~(uint64_t)GUEST_PAGE_MASK))) { \
		general(c, i); \
		return; \
	} \
	volatile guest##bits *p = (volatile guest##bits *)((linear) + entry_->addend)

/* A function that FLAT_HOST falls back to: inlined, it would bring its frame along. */
#define GENERAL static __attribute__((noinline)) void

/* Read-modify-write of a LOCK form: nobody else's locked access falls between its read and its write. */
void *ops_rmw_locked_slow(struct cpu *c, uint64_t linear, unsigned size);
void ops_rmw_locked_end_slow(struct cpu *c);

INLINE void *rmw_begin(struct cpu *c, uint64_t linear, unsigned size, bool lock)
{
	void *host = tlb_lookup_write(c, linear, size);
	if (likely(host))
		return host;
	return lock ? ops_rmw_locked_slow(c, linear, size) : access_rmw_slow(c, linear, size);
}

INLINE void rmw_end(struct cpu *c, bool lock)
{
	if (likely(!c->bounce))
		return;
	if (lock)
		ops_rmw_locked_end_slow(c);
	else
		access_rmw_end_slow(c);
}

#define OPS_DEFINE_MEM(bits) \
INLINE uint##bits##_t mem_read##bits(struct cpu *c, const struct insn *i) \
{ \
	return access_read##bits(c, operand_linear(c, i, bits / 8, ACCESS_R)); \
} \
INLINE void mem_write##bits(struct cpu *c, const struct insn *i, uint##bits##_t v) \
{ \
	access_write##bits(c, operand_linear(c, i, bits / 8, ACCESS_W), v); \
} \
INLINE volatile guest##bits *mem_rmw##bits(struct cpu *c, const struct insn *i, bool lock) \
{ \
	return rmw_begin(c, operand_linear(c, i, bits / 8, ACCESS_RW), bits / 8, lock); \
}
OPS_DEFINE_MEM(8)
OPS_DEFINE_MEM(16)
OPS_DEFINE_MEM(32)
OPS_DEFINE_MEM(64)
#undef OPS_DEFINE_MEM

/* Generic operands of rare operations. */
INLINE uint64_t operand_read(struct cpu *c, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->operand[n];
	if (o->kind == OPERAND_GPR)
		return reg_read(c, o->reg, o->size);
	if (o->kind == OPERAND_MEM)
		return access_read(c, operand_linear(c, i, o->size, ACCESS_R), o->size);
	return i->imm;
}

INLINE void operand_write(struct cpu *c, const struct insn *i, unsigned n, uint64_t v)
{
	const struct operand *o = &i->operand[n];
	if (o->kind == OPERAND_GPR)
		reg_write(c, o->reg, v, o->size);
	else
		access_write(c, operand_linear(c, i, o->size, ACCESS_W), v, o->size);
}

/* --- Selection --- */

/* Ways to a memory operand: any; flat (flat_linear); flat without an index (based_linear). */
enum op_address { ADDRESS_ANY, ADDRESS_FLAT, ADDRESS_BASED, ADDRESS_COUNT };

INLINE enum op_address insn_address(const struct insn *i)
{
	if (i->mode != ISA_MODE_64 || i->adsize != 8 || i->seg == SEG_FS || i->seg == SEG_GS)
		return ADDRESS_ANY;
	return i->index == REG_NONE ? ADDRESS_BASED : ADDRESS_FLAT;
}

/* Forms of a two-operand instruction; those with memory come once for each op_address. */
enum op_form { FORM_RR, FORM_RI, FORM_RM, FORM_MR = FORM_RM + ADDRESS_COUNT, FORM_MI = FORM_MR + ADDRESS_COUNT,
	       FORM_LOCK_MR = FORM_MI + ADDRESS_COUNT, FORM_LOCK_MI, FORM_COUNT };

/* Sizes 1, 2, 4, 8 as 0..3. */
INLINE unsigned size_index(unsigned size)
{
	return (unsigned)__builtin_ctz(size | 8);
}

/* Selectors of the files; NULL when the operation is not theirs. */
insn_exec *ops_select_alu(struct cpu *c, struct insn *i);
insn_exec *ops_select_unary(struct cpu *c, struct insn *i);
insn_exec *ops_select_move(struct cpu *c, struct insn *i);
insn_exec *ops_select_condition(struct cpu *c, struct insn *i);
insn_exec *ops_select_shift(struct cpu *c, struct insn *i);
insn_exec *ops_select_muldiv(struct cpu *c, struct insn *i);
insn_exec *ops_select_bit(struct cpu *c, struct insn *i);
insn_exec *ops_select_bmi(struct cpu *c, struct insn *i);
insn_exec *ops_select_stack(struct cpu *c, struct insn *i);
insn_exec *ops_select_branch(struct cpu *c, struct insn *i);
insn_exec *ops_select_atomic(struct cpu *c, struct insn *i);
insn_exec *ops_select_string(struct cpu *c, struct insn *i);
insn_exec *ops_select_bcd(struct cpu *c, struct insn *i);
insn_exec *ops_select_misc(struct cpu *c, struct insn *i);
/* What executes PAUSE. */
insn_exec *ops_pause(const struct cpu *c);

#endif
