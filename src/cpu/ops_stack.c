/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * PUSH POP PUSHA POPA ENTER LEAVE. RSP and all other registers change when
 * nothing can fault any more. The fast forms are those of 64-bit mode, where SS
 * has no base and the stack no mask.
 */
GENERAL push_general(struct cpu *c, const struct insn *i)
{
	cpu_push(c, operand_read(c, i, 0), i->opsize);
}

static void push64_reg(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP] - 8;
	LINEAR_HOST(p, write, 64, rsp, push_general);
	*p = c->gpr[i->operand[0].reg];
	c->gpr[REG_RSP] = rsp;
}

static void push64_imm(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP] - 8;
	LINEAR_HOST(p, write, 64, rsp, push_general);
	*p = i->imm;
	c->gpr[REG_RSP] = rsp;
}

/* POP RSP leaves the popped value: the increment comes first. */
GENERAL pop_reg(struct cpu *c, const struct insn *i)
{
	uint64_t v = cpu_peek(c, 0, i->opsize);
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + i->opsize);
	reg_write(c, i->operand[0].reg, v, i->opsize);
}

static void pop64_reg(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP];
	LINEAR_HOST(p, read, 64, rsp, pop_reg);
	uint64_t v = *p;
	c->gpr[REG_RSP] = rsp + 8;
	c->gpr[i->operand[0].reg] = v;
}

/* An address with RSP as its base uses the value after the increment (SDM 2B, POP). */
static void pop_mem(struct cpu *c, const struct insn *i)
{
	uint64_t v = cpu_peek(c, 0, i->opsize);
	uint64_t rsp = stack_merge(c, c->gpr[REG_RSP] + i->opsize);
	uint64_t offset = effective_address(c, i);
	if (i->base == REG_RSP)
		offset = (offset + rsp - c->gpr[REG_RSP]) & size_mask(i->adsize);
	access_write(c, linear_address(c, (enum isa_seg)i->seg, offset, i->opsize, ACCESS_W), v, i->opsize);
	c->gpr[REG_RSP] = rsp;
}

static void exec_pusha(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP];
	for (unsigned r = 0; r < 8; r++) {
		rsp -= i->opsize;
		access_write(c, stack_linear(c, rsp, i->opsize, ACCESS_W), c->gpr[r], i->opsize);
	}
	c->gpr[REG_RSP] = stack_merge(c, rsp);
}

/* The image of (E)SP is skipped. */
static void exec_popa(struct cpu *c, const struct insn *i)
{
	uint64_t v[8];
	for (unsigned r = 0; r < 8; r++)
		v[r] = cpu_peek(c, (7 - r) * i->opsize, i->opsize);
	for (unsigned r = 0; r < 8; r++) {
		if (r != REG_RSP)
			reg_write(c, r, v[r], i->opsize);
	}
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + 8u * i->opsize);
}

/* SDM 2A, ENTER: the frame pointers of the outer levels are copied; a write at the final RSP must be possible. */
static void exec_enter(struct cpu *c, const struct insn *i)
{
	unsigned size = i->opsize, level = i->imm2 & 31;
	uint64_t rsp = c->gpr[REG_RSP] - size;
	uint64_t rbp = c->gpr[REG_RBP];
	access_write(c, stack_linear(c, rsp, size, ACCESS_W), rbp, size);
	uint64_t frame = rsp;
	for (unsigned n = 1; n < level; n++) {
		rbp -= size;
		uint64_t v = access_read(c, stack_linear(c, rbp, size, ACCESS_R), size);
		rsp -= size;
		access_write(c, stack_linear(c, rsp, size, ACCESS_W), v, size);
	}
	if (level) {
		rsp -= size;
		access_write(c, stack_linear(c, rsp, size, ACCESS_W), stack_merge(c, frame), size);
	}
	rsp -= (uint16_t)i->imm;
	access_probe(c, stack_linear(c, rsp, size, ACCESS_W), size, true);
	reg_write(c, REG_RBP, stack_merge(c, frame), size);
	c->gpr[REG_RSP] = stack_merge(c, rsp);
}

GENERAL leave_general(struct cpu *c, const struct insn *i)
{
	uint64_t rbp = c->gpr[REG_RBP];
	uint64_t v = access_read(c, stack_linear(c, rbp, i->opsize, ACCESS_R), i->opsize);
	c->gpr[REG_RSP] = stack_merge(c, rbp + i->opsize);
	reg_write(c, REG_RBP, v, i->opsize);
}

static void leave64(struct cpu *c, const struct insn *i)
{
	uint64_t rbp = c->gpr[REG_RBP];
	LINEAR_HOST(p, read, 64, rbp, leave_general);
	c->gpr[REG_RBP] = *p;
	c->gpr[REG_RSP] = rbp + 8;
}

insn_exec *ops_select_stack(struct cpu *c, struct insn *i)
{
	bool fast = i->mode == ISA_MODE_64 && i->opsize == 8;
	unsigned kind = i->operand[0].kind;
	switch (i->op) {
	case OP_PUSH:
		if (!fast || kind == OPERAND_MEM)
			return push_general;
		return kind == OPERAND_GPR ? push64_reg : push64_imm;
	case OP_POP:
		if (kind == OPERAND_MEM)
			return pop_mem;
		return fast ? pop64_reg : pop_reg;
	case OP_PUSHA: return exec_pusha;
	case OP_POPA: return exec_popa;
	case OP_ENTER: return exec_enter;
	case OP_LEAVE: return fast ? leave64 : leave_general;
	default: return NULL;
	}
}
