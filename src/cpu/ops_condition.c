/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * SETcc and CMOVcc (SDM 2B, 2A): a function for each condition. CMOVcc always
 * reads its source, and with a 32-bit operand zeroes the upper half even when
 * the condition is false.
 */
#define SETCC(cond) \
static void setcc_r##cond(struct cpu *c, const struct insn *i) \
{ \
	set_reg8(c, i->operand[0].reg, cc_test(c->cc, cond)); \
} \
static void setcc_m##cond(struct cpu *c, const struct insn *i) \
{ \
	mem_write8(c, i, cc_test(c->cc, cond)); \
}

#define CMOVCC_SIZE(cond, bits) \
static void cmov_r##bits##_##cond(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, cc_test(c->cc, cond) ? reg##bits(c, i->operand[1].reg) : reg##bits(c, d)); \
} \
static void cmov_m##bits##_##cond(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	uint##bits##_t v = mem_read##bits(c, i); \
	set_reg##bits(c, d, cc_test(c->cc, cond) ? v : reg##bits(c, d)); \
}

#define CMOVCC(cond) CMOVCC_SIZE(cond, 16) CMOVCC_SIZE(cond, 32) CMOVCC_SIZE(cond, 64)

#define EACH_CONDITION(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

EACH_CONDITION(SETCC)
EACH_CONDITION(CMOVCC)

#define SETCC_ROW(cond) { setcc_r##cond, setcc_m##cond },
#define CMOVCC_ROW(cond) { \
	{ NULL, cmov_r16_##cond, cmov_r32_##cond, cmov_r64_##cond }, \
	{ NULL, cmov_m16_##cond, cmov_m32_##cond, cmov_m64_##cond } },

static insn_exec *const setcc[16][2] = { EACH_CONDITION(SETCC_ROW) };
static insn_exec *const cmov[16][2][4] = { EACH_CONDITION(CMOVCC_ROW) };

insn_exec *ops_select_condition(struct cpu *c, struct insn *i)
{
	unsigned condition = i->opcode & 15;
	if (i->op == OP_SETCC)
		return setcc[condition][i->operand[0].kind == OPERAND_MEM];
	if (i->op == OP_CMOVCC)
		return cmov[condition][i->operand[1].kind == OPERAND_MEM][size_index(i->operand[0].size)];
	return NULL;
}
