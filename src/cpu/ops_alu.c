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

#define DEST_REG_MEM(name, bits) \
GENERAL name##_rm##bits(struct cpu *c, const struct insn *i) \
{ \
	uint##bits##_t b = mem_read##bits(c, i); \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), b)); \
} \
DEST_REG_FLAT(name, f, bits, flat_linear) \
DEST_REG_FLAT(name, b, bits, based_linear)

#define DEST_REG_FLAT(name, f, bits, address) \
static void name##_rm##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, read, bits, address, name##_rm##bits); \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), *p)); \
}

#define DEST_MEM(name, form, bits, source) \
GENERAL name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, false); \
	*p = host_##name##bits(c, *p, (uint##bits##_t)(source)); \
	rmw_end(c, false); \
} \
DEST_MEM_FLAT(name, form, f, bits, source, flat_linear) \
DEST_MEM_FLAT(name, form, b, bits, source, based_linear)

#define DEST_MEM_FLAT(name, form, f, bits, source, address) \
static void name##_##form##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, write, bits, address, name##_##form##bits); \
	*p = host_##name##bits(c, *p, (uint##bits##_t)(source)); \
}

#define DEST_LOCKED(name, form, bits, source) \
static void name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, true); \
	lock_##name##bits(c, p, (uint##bits##_t)(source)); \
	rmw_end(c, true); \
}

#define SOURCE_REG(bits) reg##bits(c, i->operand[1].reg)

#define ALU_SIZE(name, mnemonic, load, cc_constraint, bits, suffix) \
	HOST_OP(name, mnemonic, load, cc_constraint, bits, suffix) \
	HOST_LOCK(name, mnemonic, load, cc_constraint, bits, suffix) \
	DEST_REG(name, bits) \
	DEST_REG_MEM(name, bits) \
	DEST_MEM(name, mr, bits, SOURCE_REG(bits)) \
	DEST_MEM(name, mi, bits, i->imm) \
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

/* v is the memory operand. */
#define TEST_MEM(name, form, bits, x, y) \
GENERAL name##_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	uint##bits##_t v = mem_read##bits(c, i); \
	host_##name##bits(c, x, y); \
} \
TEST_FLAT(name, form, f, bits, x, y, flat_linear) \
TEST_FLAT(name, form, b, bits, x, y, based_linear)

#define TEST_FLAT(name, form, f, bits, x, y, address) \
static void name##_##form##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, read, bits, address, name##_##form##bits); \
	uint##bits##_t v = *p; \
	host_##name##bits(c, x, y); \
}

#define TEST_SIZE(name, mnemonic, bits, suffix) \
	HOST_TEST(name, mnemonic, bits, suffix) \
	TEST_FORM(name, rr, bits, reg##bits(c, i->operand[0].reg), SOURCE_REG(bits)) \
	TEST_FORM(name, ri, bits, reg##bits(c, i->operand[0].reg), (uint##bits##_t)i->imm) \
	TEST_MEM(name, rm, bits, reg##bits(c, i->operand[0].reg), v) \
	TEST_MEM(name, mr, bits, v, SOURCE_REG(bits)) \
	TEST_MEM(name, mi, bits, v, (uint##bits##_t)i->imm)

#define TEST(name, mnemonic) \
	TEST_SIZE(name, mnemonic, 8, "b") \
	TEST_SIZE(name, mnemonic, 16, "w") \
	TEST_SIZE(name, mnemonic, 32, "l") \
	TEST_SIZE(name, mnemonic, 64, "q")

TEST(cmp, "cmp")
TEST(test, "test")

#define SIZES(name, form) { name##_##form##8, name##_##form##16, name##_##form##32, name##_##form##64 }
#define FORMS(name) \
	[FORM_RR] = SIZES(name, rr), [FORM_RI] = SIZES(name, ri), \
	[FORM_RM] = SIZES(name, rm), SIZES(name, rmf), SIZES(name, rmb), \
	[FORM_MR] = SIZES(name, mr), SIZES(name, mrf), SIZES(name, mrb), \
	[FORM_MI] = SIZES(name, mi), SIZES(name, mif), SIZES(name, mib)
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

static unsigned form_of(const struct insn *i)
{
	if (i->operand[0].kind == OPERAND_MEM) {
		bool imm = i->operand[1].kind == OPERAND_IMM;
		if (i->prefixes & PREFIX_LOCK)
			return imm ? FORM_LOCK_MI : FORM_LOCK_MR;
		return (imm ? FORM_MI : FORM_MR) + insn_address(i);
	}
	switch (i->operand[1].kind) {
	case OPERAND_IMM: return FORM_RI;
	case OPERAND_MEM: return FORM_RM + insn_address(i);
	default: return FORM_RR;
	}
}

insn_exec *ops_select_alu(struct cpu *c, struct insn *i)
{
	if (i->op < OP_ADD || i->op > OP_TEST)
		return NULL;
	return table[i->op - OP_ADD][form_of(i)][size_index(i->operand[0].size)];
}
