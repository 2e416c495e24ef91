/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * Near branches. The target is cut to the operand size and checked before
 * anything is committed: in 64-bit mode it must be canonical, else within the
 * limit of CS (SDM 2A, CALL, JMP, Jcc; #GP(0)).
 */
INLINE uint64_t checked_target(struct cpu *c, const struct insn *i, uint64_t target, bool long_mode)
{
	if (long_mode) {
		if (unlikely(!is_canonical(target)))
			cpu_gp(c, 0);
		return target;
	}
	target &= i->opsize == 2 ? 0xffff : 0xffffffff;
	if (unlikely(target > c->seg[SEG_CS].limit))
		cpu_gp(c, 0);
	return target;
}

INLINE uint64_t relative_target(struct cpu *c, const struct insn *i, bool long_mode)
{
	return checked_target(c, i, c->gpr[REG_RIP] + i->imm, long_mode);
}

#define JCC(cond) \
static void jcc##cond(struct cpu *c, const struct insn *i) \
{ \
	if (cc_test(c->cc, cond)) \
		c->gpr[REG_RIP] = relative_target(c, i, true); \
} \
static void jcc_legacy##cond(struct cpu *c, const struct insn *i) \
{ \
	if (cc_test(c->cc, cond)) \
		c->gpr[REG_RIP] = relative_target(c, i, false); \
}

#define EACH_CONDITION(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
EACH_CONDITION(JCC)
#define JCC_ROW(cond) { jcc_legacy##cond, jcc##cond },
static insn_exec *const jcc[16][2] = { EACH_CONDITION(JCC_ROW) };

static void jmp_rel(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = relative_target(c, i, true);
}

static void jmp_rel_legacy(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = relative_target(c, i, false);
}

static void jmp_reg(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = checked_target(c, i, c->gpr[i->operand[0].reg], true);
}

static void jmp_mem(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = checked_target(c, i, mem_read64(c, i), true);
}

static void jmp_legacy(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = checked_target(c, i, operand_read(c, i, 0), false);
}

/* For all modes and operands; what the fast forms fall back to. */
GENERAL call_general(struct cpu *c, const struct insn *i)
{
	uint64_t target = i->operand[0].kind == OPERAND_REL ? c->gpr[REG_RIP] + i->imm : operand_read(c, i, 0);
	target = checked_target(c, i, target, i->mode == ISA_MODE_64);
	cpu_push(c, c->gpr[REG_RIP], i->opsize);
	c->gpr[REG_RIP] = target;
}

INLINE void call64(struct cpu *c, const struct insn *i, uint64_t target)
{
	target = checked_target(c, i, target, true);
	uint64_t rsp = c->gpr[REG_RSP] - 8;
	LINEAR_HOST(p, write, 64, rsp, call_general);
	*p = c->gpr[REG_RIP];
	c->gpr[REG_RSP] = rsp;
	c->gpr[REG_RIP] = target;
}

static void call_rel(struct cpu *c, const struct insn *i)
{
	call64(c, i, c->gpr[REG_RIP] + i->imm);
}

static void call_reg(struct cpu *c, const struct insn *i)
{
	call64(c, i, c->gpr[i->operand[0].reg]);
}

/* RET with 16 bits, outside 64-bit mode, or with an immediate: aux holds the bytes to drop. */
GENERAL ret_general(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = checked_target(c, i, cpu_peek(c, 0, i->opsize), i->mode == ISA_MODE_64);
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + i->opsize + i->aux);
}

static void ret64(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP];
	LINEAR_HOST(p, read, 64, rsp, ret_general);
	c->gpr[REG_RIP] = checked_target(c, i, *p, true);
	c->gpr[REG_RSP] = rsp + 8;
}

/* LOOPcc counts in RCX of the address size; the count is committed after the target is known to be good. */
INLINE void loop(struct cpu *c, const struct insn *i, bool condition)
{
	uint64_t count = (c->gpr[REG_RCX] - 1) & size_mask(i->adsize);
	if (count && condition)
		c->gpr[REG_RIP] = relative_target(c, i, i->mode == ISA_MODE_64);
	reg_write(c, REG_RCX, count, i->adsize);
}

static void exec_loop(struct cpu *c, const struct insn *i)
{
	loop(c, i, true);
}

static void exec_loope(struct cpu *c, const struct insn *i)
{
	loop(c, i, c->cc & CC_ZF);
}

static void exec_loopne(struct cpu *c, const struct insn *i)
{
	loop(c, i, !(c->cc & CC_ZF));
}

static void exec_jcxz(struct cpu *c, const struct insn *i)
{
	if (!(c->gpr[REG_RCX] & size_mask(i->adsize)))
		c->gpr[REG_RIP] = relative_target(c, i, i->mode == ISA_MODE_64);
}

static insn_exec *select_ret(struct insn *i)
{
	i->aux = i->opcode == 0xc2 ? (uint16_t)i->imm : 0;
	return i->mode == ISA_MODE_64 && i->opsize == 8 && !i->aux ? ret64 : ret_general;
}

insn_exec *ops_select_branch(struct cpu *c, struct insn *i)
{
	bool long_mode = i->mode == ISA_MODE_64;
	unsigned kind = i->operand[0].kind;
	switch (i->op) {
	case OP_JCC: return jcc[i->opcode & 15][long_mode];
	case OP_JMP:
		if (kind == OPERAND_REL)
			return long_mode ? jmp_rel : jmp_rel_legacy;
		return !long_mode ? jmp_legacy : kind == OPERAND_MEM ? jmp_mem : jmp_reg;
	case OP_CALL:
		if (!long_mode || kind == OPERAND_MEM)
			return call_general;
		return kind == OPERAND_REL ? call_rel : call_reg;
	case OP_RET: return select_ret(i);
	case OP_LOOP: return exec_loop;
	case OP_LOOPE: return exec_loope;
	case OP_LOOPNE: return exec_loopne;
	case OP_JCXZ: return exec_jcxz;
	default: return NULL;
	}
}
