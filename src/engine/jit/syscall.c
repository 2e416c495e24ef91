/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "cpu/system.h"
#include "isa/op.h"

/*
 * SYSCALL and SYSRET between 64-bit code of both sides, in units that use windows: the other side is entered by its table of
 * branches, like an indirect branch (where it does not use windows, nothing is found there). Vector state stays where it is. What is out of the ordinary goes to the functions: no
 * SMAP, flags that change more than themselves, events that become due.
 */
#define SYSRET_IMAGE 0x3c7fd7u

/* The thunk is taken when one of the bits is (COND_NE) or none is (COND_E) set. */
static void test_bits(struct translator *t, struct host_mem field, uint32_t bits, struct thunk *thunk, unsigned condition)
{
	emit_mem(&t->e, 0, 0xf7, 0, field);
	put32(&t->e, bits);
	jump_to_thunk(t, thunk, condition);
}

static void and_constant(struct translator *t, unsigned reg, int32_t value)
{
	emit_reg(&t->e, EMIT_W, 0x81, 4, reg);
	put32(&t->e, (uint32_t)value);
}

static void shift(struct translator *t, unsigned op, unsigned reg, unsigned count)
{
	emit_reg(&t->e, EMIT_W, 0xc1, op, reg);
	put8(&t->e, count);
}

/* RFLAGS in S_A go to cpu->rflags and cpu->cc; S_B and S_C are lost. */
static void set_rflags(struct translator *t)
{
	struct emitter *e = &t->e;
	emit_reg(e, 0, 0x89, S_A, S_B);
	and_constant(t, S_B, 0xd5);
	emit_reg(e, 0, 0x83, 1, S_B);
	put8(e, 2);
	shift(t, 4, S_B, 8);
	emit_reg(e, 0, 0x89, S_A, S_C);
	shift(t, 5, S_C, 11);
	and_constant(t, S_C, 1);
	emit_reg(e, 0, 0x09, S_C, S_B);
	emit_mem(e, EMIT_66, 0x89, S_B, GS_FIELD(cc));
	and_constant(t, S_A, (int32_t)~FLAG_ARITH);
	emit_reg(e, EMIT_W, 0x83, 1, S_A);
	put8(e, 2);
	emit_store(e, GS_FIELD(rflags), S_A);
}

/* A flat segment, as segment.c sets it; its selector is STAR's 16 bits from bit `from` on, plus `add`. */
static void set_segment(struct translator *t, unsigned seg, unsigned from, unsigned add, unsigned cpl, unsigned attributes)
{
	struct emitter *e = &t->e;
	unsigned field = (unsigned)offsetof(struct cpu, seg) + seg * (unsigned)sizeof(struct segment);
	_Static_assert(offsetof(struct segment, limit) == 8 && offsetof(struct segment, selector) == 12 &&
		       offsetof(struct segment, attributes) == 14 && sizeof(struct segment) == 16, "written as two words");
	uint64_t rest = (uint64_t)(attributes | cpl << 5) << 48 | (uint64_t)cpl << 32 | 0xffffffff;
	emit_mem(e, EMIT_0F, 0xb7, S_A, GS_OFFSET(offsetof(struct cpu, star) + from / 8));
	emit_lea(e, S_A, MEM_BASE(S_A, add));
	and_constant(t, S_A, 0xfffc);
	shift(t, 4, S_A, 32);
	emit_constant(e, S_B, rest);
	emit_reg(e, EMIT_W, 0x09, S_B, S_A);
	emit_store_constant(e, GS_OFFSET(field), 0);
	emit_store(e, GS_OFFSET(field + 8), S_A);
}

#define FLAT (SEGATTR_P | SEGATTR_S | SEG_ACCESSED | SEGATTR_G)

static void set_level(struct translator *t, unsigned cpl, unsigned set, unsigned from, unsigned code, unsigned stack)
{
	struct emitter *e = &t->e;
	set_segment(t, SEG_CS, from, code, cpl, FLAT | SEG_CODE | SEG_READABLE | SEGATTR_L);
	set_segment(t, SEG_SS, from, stack, cpl, FLAT | SEG_WRITABLE | SEGATTR_DB);
	emit_mem(e, 0, 0xc6, 0, GS_FIELD(cpl));
	put8(e, cpl);
	emit_constant(e, S_A, (uintptr_t)t->c->tlbs[set]);
	emit_store(e, GS_FIELD(tlb), S_A);
}

/* The kernel goes back to RCX, user code comes to LSTAR, with RSP by the other side's windows. */
static void go(struct translator *t, unsigned set)
{
	struct emitter *e = &t->e;
	uint8_t own = t->set;
	emit_count(t);
	emit_gpr(t, REG_RSP, S_A);
	t->set = (uint8_t)set;
	emit_set_stack(t, S_A);
	t->memory_flags = true;
	flags_to_host(t);
	if (set == TLB_USER)
		emit_move(e, S_A, REG_RCX);
	else
		emit_load(e, S_A, GS_FIELD(lstar));
	exit_by_table(t, 0);
	t->set = own;
}

static struct thunk *begin(struct translator *t)
{
	flags_to_memory(t, FLAG_ARITH);
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_END;
	thunk->record->miss = false;
	test_bits(t, GS_FIELD(efer), EFER_SCE, thunk, COND_E);
	test_bits(t, GS_FIELD(cr4), CR4_SMAP, thunk, COND_E);
	return thunk;
}

static bool translate_syscall(struct translator *t)
{
	struct emitter *e = &t->e;
	if (t->set != TLB_USER)
		return false;
	struct thunk *thunk = begin(t);
	test_bits(t, GS_FIELD(rflags), FLAG_AC | FLAG_TF | FLAG_RF, thunk, COND_NE);
	emit_rflags(t, S_A, S_B);
	emit_store(e, GS_FIELD(gpr[11]), S_A);
	emit_load(e, S_B, GS_FIELD(sfmask));
	emit_reg(e, EMIT_W, 0xf7, 2, S_B);
	emit_reg(e, EMIT_W, 0x21, S_B, S_A);
	set_rflags(t);
	set_level(t, 0, TLB_SUPERVISOR, 32, 0, 8);
	emit_constant(e, REG_RCX, t->unit->page + t->at[t->now] + t->insn[t->now].length);
	go(t, TLB_SUPERVISOR);
	return true;
}

static bool translate_sysret(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	if (t->set != TLB_SUPERVISOR || i->opsize != 8)
		return false;
	struct thunk *thunk = begin(t);
	test_bits(t, GS_FIELD(rflags), FLAG_AC, thunk, COND_NE);
	test_bits(t, GS_FIELD(gpr[11]), FLAG_AC | FLAG_TF, thunk, COND_NE);
	test_bits(t, GS_FIELD(signals), ATTN_INTR | ATTN_NMI, thunk, COND_NE);
	/* What user code takes for granted (vector.c): one class or both, side by side. */
	uint8_t assumed = vector_assumed(t->jit);
	if (assumed) {
		emit_mem(e, assumed & VECTOR_AVX ? EMIT_W : 0, 0x83, 7, WORD(lacks[0]));
		put8(e, 0);
		jump_to_thunk(t, thunk, COND_NE);
	}
	/* A return address that is not canonical is AMD's processors' business after the return, and Intel's before it. */
	emit_move(e, S_A, REG_RCX);
	shift(t, 5, S_A, 47);
	jump_to_thunk(t, thunk, COND_NE);
	emit_load(e, S_A, GS_FIELD(gpr[11]));
	and_constant(t, S_A, (int32_t)SYSRET_IMAGE);
	set_rflags(t);
	set_level(t, 3, TLB_USER, 48, 16, 8);
	go(t, TLB_USER);
	return true;
}

bool translate_system_call(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if (!t->unit->window)
		return false;
	return i->op == OP_SYSCALL ? translate_syscall(t) : i->op == OP_SYSRET && translate_sysret(t, i);
}
