/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST (SDM 2A). For each: the host instruction
 * on values (host_), the same locked on memory (lock_), and one function for
 * each operand form.
 */
#define HOST_OP(name, mnemonic, load, cc_constraint, bits, suffix) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b) \
{ \
	uint16_t cc = c->cc; \
	__asm__(load mnemonic suffix " %2, %0\n\t" FLAGS_SAVE : "+r"(a), cc_constraint(cc) : "r"(b) : "cc"); \
	c->cc = cc; \
	return a; \
}

#define HOST_LOCK(name, mnemonic, load, cc_constraint, bits, suffix) \
INLINE void lock_##name##bits(struct cpu *c, volatile guest##bits *p, uint##bits##_t b) \
{ \
	uint16_t cc = c->cc; \
	__asm__ volatile(load "lock " mnemonic suffix " %2, %0\n\t" FLAGS_SAVE \
			 : "+m"(*p), cc_constraint(cc) : "r"(b) : "cc", "memory"); \
	c->cc = cc; \
}

#define DEST_REG(name, bits) \
static void name##_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), reg##bits(c, i->operand[1].reg))); \
} \
static void name##_ri##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), (uint##bits##_t)i->imm)); \
}

#define DEST_REG_MEM(name, form, bits, flat) \
static void name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	uint##bits##_t b = mem_read##bits(c, i, flat); \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), b)); \
}

#define DEST_MEM(name, form, bits, source, flat) \
static void name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, flat, false); \
	*p = host_##name##bits(c, *p, (uint##bits##_t)(source)); \
	rmw_end(c, false); \
}

#define DEST_LOCKED(name, form, bits, source) \
static void name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, false, true); \
	lock_##name##bits(c, p, (uint##bits##_t)(source)); \
	rmw_end(c, true); \
}

#define SOURCE_REG(bits) reg##bits(c, i->operand[1].reg)

#define ALU_SIZE(name, mnemonic, load, cc_constraint, bits, suffix) \
	HOST_OP(name, mnemonic, load, cc_constraint, bits, suffix) \
	HOST_LOCK(name, mnemonic, load, cc_constraint, bits, suffix) \
	DEST_REG(name, bits) \
	DEST_REG_MEM(name, rm, bits, false) \
	DEST_REG_MEM(name, rmf, bits, true) \
	DEST_MEM(name, mr, bits, SOURCE_REG(bits), false) \
	DEST_MEM(name, mrf, bits, SOURCE_REG(bits), true) \
	DEST_MEM(name, mi, bits, i->imm, false) \
	DEST_MEM(name, mif, bits, i->imm, true) \
	DEST_LOCKED(name, lmr, bits, SOURCE_REG(bits)) \
	DEST_LOCKED(name, lmi, bits, i->imm)

#define ALU(name, mnemonic, load, cc_constraint) \
	ALU_SIZE(name, mnemonic, load, cc_constraint, 8, "b") \
	ALU_SIZE(name, mnemonic, load, cc_constraint, 16, "w") \
	ALU_SIZE(name, mnemonic, load, cc_constraint, 32, "l") \
	ALU_SIZE(name, mnemonic, load, cc_constraint, 64, "q")

ALU(add, "add", "", "=a")
ALU(or, "or", "", "=a")
ALU(adc, "adc", FLAGS_LOAD_CF, "+&a")
ALU(sbb, "sbb", FLAGS_LOAD_CF, "+&a")
ALU(and, "and", "", "=a")
ALU(sub, "sub", "", "=a")
ALU(xor, "xor", "", "=a")

/* CMP and TEST: flags alone, the destination is only read. */
#define HOST_TEST(name, mnemonic, bits, suffix) \
INLINE void host_##name##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b) \
{ \
	uint16_t cc; \
	__asm__(mnemonic suffix " %2, %1\n\t" FLAGS_SAVE : "=a"(cc) : "r"(a), "r"(b) : "cc"); \
	c->cc = cc; \
}

#define TEST_FORM(name, form, bits, a, b) \
static void name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	host_##name##bits(c, a, b); \
}

#define TEST_SIZE(name, mnemonic, bits, suffix) \
	HOST_TEST(name, mnemonic, bits, suffix) \
	TEST_FORM(name, rr, bits, reg##bits(c, i->operand[0].reg), SOURCE_REG(bits)) \
	TEST_FORM(name, ri, bits, reg##bits(c, i->operand[0].reg), (uint##bits##_t)i->imm) \
	TEST_FORM(name, rm, bits, reg##bits(c, i->operand[0].reg), mem_read##bits(c, i, false)) \
	TEST_FORM(name, rmf, bits, reg##bits(c, i->operand[0].reg), mem_read##bits(c, i, true)) \
	TEST_FORM(name, mr, bits, mem_read##bits(c, i, false), SOURCE_REG(bits)) \
	TEST_FORM(name, mrf, bits, mem_read##bits(c, i, true), SOURCE_REG(bits)) \
	TEST_FORM(name, mi, bits, mem_read##bits(c, i, false), (uint##bits##_t)i->imm) \
	TEST_FORM(name, mif, bits, mem_read##bits(c, i, true), (uint##bits##_t)i->imm)

#define TEST(name, mnemonic) \
	TEST_SIZE(name, mnemonic, 8, "b") \
	TEST_SIZE(name, mnemonic, 16, "w") \
	TEST_SIZE(name, mnemonic, 32, "l") \
	TEST_SIZE(name, mnemonic, 64, "q")

TEST(cmp, "cmp")
TEST(test, "test")

#define SIZES(name, form) { name##_##form##8, name##_##form##16, name##_##form##32, name##_##form##64 }
#define FORMS(name) \
	[FORM_RR] = SIZES(name, rr), [FORM_RI] = SIZES(name, ri), [FORM_RM] = SIZES(name, rm), [FORM_RM_FLAT] = SIZES(name, rmf), \
	[FORM_MR] = SIZES(name, mr), [FORM_MR_FLAT] = SIZES(name, mrf), [FORM_MI] = SIZES(name, mi), [FORM_MI_FLAT] = SIZES(name, mif)
#define LOCKED(name) [FORM_LOCK_MR] = SIZES(name, lmr), [FORM_LOCK_MI] = SIZES(name, lmi)

static insn_exec *const table[][FORM_COUNT][4] = {
	[OP_ADD - OP_ADD] = { FORMS(add), LOCKED(add) },
	[OP_OR - OP_ADD] = { FORMS(or), LOCKED(or) },
	[OP_ADC - OP_ADD] = { FORMS(adc), LOCKED(adc) },
	[OP_SBB - OP_ADD] = { FORMS(sbb), LOCKED(sbb) },
	[OP_AND - OP_ADD] = { FORMS(and), LOCKED(and) },
	[OP_SUB - OP_ADD] = { FORMS(sub), LOCKED(sub) },
	[OP_XOR - OP_ADD] = { FORMS(xor), LOCKED(xor) },
	[OP_CMP - OP_ADD] = { FORMS(cmp) },
	[OP_TEST - OP_ADD] = { FORMS(test) },
};

static enum op_form form_of(const struct insn *i)
{
	unsigned flat = insn_flat(i);
	if (i->operand[0].kind == OPERAND_MEM) {
		bool imm = i->operand[1].kind == OPERAND_IMM;
		if (i->prefixes & PREFIX_LOCK)
			return imm ? FORM_LOCK_MI : FORM_LOCK_MR;
		return (imm ? FORM_MI : FORM_MR) + flat;
	}
	switch (i->operand[1].kind) {
	case OPERAND_IMM: return FORM_RI;
	case OPERAND_MEM: return FORM_RM + flat;
	default: return FORM_RR;
	}
}

insn_exec *ops_select_alu(struct cpu *c, struct insn *i)
{
	if (i->op < OP_ADD || i->op > OP_TEST)
		return NULL;
	return table[i->op - OP_ADD][form_of(i)][size_index(i->operand[0].size)];
}
