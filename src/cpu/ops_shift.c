/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * Rotates and shifts (SDM 2A RCL/RCR/ROL/ROR, 2B SAL/SAR/SHL/SHR, SHLD, SHRD).
 * All flags are loaded before the host instruction: a masked count of 0 leaves
 * them, rotates leave most, and what the host leaves of the undefined ones must
 * be the guest's.
 */
#define SHIFT_SIZE(name, mnemonic, bits, suffix) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t a, uint8_t count) \
{ \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD mnemonic suffix " %%cl, %0\n\t" FLAGS_SAVE : "+r"(a), "+&a"(cc) : "c"(count) : "cc"); \
	c->cc = cc; \
	return a; \
} \
SHIFT_FORMS(name, 1, bits, 1) \
SHIFT_FORMS(name, i, bits, (uint8_t)i->imm) \
SHIFT_FORMS(name, c, bits, (uint8_t)c->gpr[REG_RCX])

#define SHIFT_FORMS(name, by, bits, count) \
static void name##_r##by##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), count)); \
} \
static void name##_m##by##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, false); \
	*p = host_##name##bits(c, *p, count); \
	rmw_end(c, false); \
}

#define SHIFT(name, mnemonic) \
	SHIFT_SIZE(name, mnemonic, 8, "b") \
	SHIFT_SIZE(name, mnemonic, 16, "w") \
	SHIFT_SIZE(name, mnemonic, 32, "l") \
	SHIFT_SIZE(name, mnemonic, 64, "q")

SHIFT(rol, "rol")
SHIFT(ror, "ror")
SHIFT(rcl, "rcl")
SHIFT(rcr, "rcr")
SHIFT(shl, "shl")
SHIFT(shr, "shr")
SHIFT(sar, "sar")

/* SHLD, SHRD: a 16-bit count above 16 is undefined by the manual, and again the host's. */
#define DOUBLE_SIZE(name, mnemonic, bits, suffix) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b, uint8_t count) \
{ \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD mnemonic suffix " %%cl, %3, %0\n\t" FLAGS_SAVE \
		: "+r"(a), "+&a"(cc) : "c"(count), "r"(b) : "cc"); \
	c->cc = cc; \
	return a; \
} \
DOUBLE_FORMS(name, i, bits, (uint8_t)i->imm) \
DOUBLE_FORMS(name, c, bits, (uint8_t)c->gpr[REG_RCX])

#define DOUBLE_FORMS(name, by, bits, count) \
static void name##_r##by##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), reg##bits(c, i->operand[1].reg), count)); \
} \
static void name##_m##by##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, false); \
	*p = host_##name##bits(c, *p, reg##bits(c, i->operand[1].reg), count); \
	rmw_end(c, false); \
}

#define DOUBLE(name, mnemonic) \
	DOUBLE_SIZE(name, mnemonic, 16, "w") \
	DOUBLE_SIZE(name, mnemonic, 32, "l") \
	DOUBLE_SIZE(name, mnemonic, 64, "q")

DOUBLE(shld, "shld")
DOUBLE(shrd, "shrd")

enum { BY_1, BY_IMM, BY_CL, BY_COUNT };
#define SIZES(name, form) { name##_##form##8, name##_##form##16, name##_##form##32, name##_##form##64 }
#define FORMS(name) { \
	{ SIZES(name, r1), SIZES(name, ri), SIZES(name, rc) }, \
	{ SIZES(name, m1), SIZES(name, mi), SIZES(name, mc) } }

static insn_exec *const shifts[][2][BY_COUNT][4] = {
	[OP_ROL - OP_ROL] = FORMS(rol),
	[OP_ROR - OP_ROL] = FORMS(ror),
	[OP_RCL - OP_ROL] = FORMS(rcl),
	[OP_RCR - OP_ROL] = FORMS(rcr),
	[OP_SHL - OP_ROL] = FORMS(shl),
	[OP_SHR - OP_ROL] = FORMS(shr),
	[OP_SAR - OP_ROL] = FORMS(sar),
};

#define SIZES3(name, form) { NULL, name##_##form##16, name##_##form##32, name##_##form##64 }
#define FORMS3(name) { { SIZES3(name, ri), SIZES3(name, rc) }, { SIZES3(name, mi), SIZES3(name, mc) } }

static insn_exec *const doubles[2][2][2][4] = { FORMS3(shld), FORMS3(shrd) };

insn_exec *ops_select_shift(struct cpu *c, struct insn *i)
{
	bool memory = i->operand[0].kind == OPERAND_MEM;
	unsigned size = size_index(i->operand[0].size);
	if (i->op >= OP_ROL && i->op <= OP_SAR) {
		unsigned by = i->opcode < 0xd0 ? BY_IMM : i->opcode < 0xd2 ? BY_1 : BY_CL;
		return shifts[i->op - OP_ROL][memory][by][size];
	}
	if (i->op == OP_SHLD || i->op == OP_SHRD)
		return doubles[i->op == OP_SHRD][memory][i->operand[2].kind != OPERAND_IMM][size];
	return NULL;
}
