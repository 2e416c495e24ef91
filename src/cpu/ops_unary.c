/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * INC DEC NEG NOT (SDM 2A). INC and DEC keep CF: the host runs them with any CF
 * and the old one is merged in, which is cheaper than loading it.
 */
#define UNARY_SIZE(name, mnemonic, keep, bits, suffix) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t a) \
{ \
	uint16_t cc; \
	__asm__(mnemonic suffix " %0\n\t" FLAGS_SAVE : "+r"(a), "=a"(cc) : : "cc"); \
	c->cc = (uint16_t)((c->cc & (keep)) | (cc & ~(keep))); \
	return a; \
} \
static void name##_r##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d))); \
} \
GENERAL name##_m##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, false); \
	*p = host_##name##bits(c, *p); \
	rmw_end(c, false); \
} \
UNARY_FLAT(name, f, bits, flat_linear) \
UNARY_FLAT(name, b, bits, based_linear) \
static void name##_lm##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, true); \
	uint16_t cc; \
	__asm__ volatile("lock " mnemonic suffix " %0\n\t" FLAGS_SAVE : "+m"(*p), "=a"(cc) : : "cc", "memory"); \
	c->cc = (uint16_t)((c->cc & (keep)) | (cc & ~(keep))); \
	rmw_end(c, true); \
}

#define UNARY_FLAT(name, f, bits, address) \
static void name##_m##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, write, bits, address, name##_m##bits); \
	*p = host_##name##bits(c, *p); \
}

#define UNARY(name, mnemonic, keep) \
	UNARY_SIZE(name, mnemonic, keep, 8, "b") \
	UNARY_SIZE(name, mnemonic, keep, 16, "w") \
	UNARY_SIZE(name, mnemonic, keep, 32, "l") \
	UNARY_SIZE(name, mnemonic, keep, 64, "q")

UNARY(inc, "inc", CC_CF)
UNARY(dec, "dec", CC_CF)
UNARY(neg, "neg", 0u)
UNARY(not, "not", 0xffffu)

enum { REG, MEM, MEM_LOCKED = MEM + ADDRESS_COUNT, COUNT };
#define SIZES(name, form) { name##_##form##8, name##_##form##16, name##_##form##32, name##_##form##64 }
#define FORMS(name) { SIZES(name, r), SIZES(name, m), SIZES(name, mf), SIZES(name, mb), SIZES(name, lm) }

static insn_exec *const table[][COUNT][4] = {
	[OP_INC - OP_INC] = FORMS(inc),
	[OP_DEC - OP_INC] = FORMS(dec),
	[OP_NEG - OP_INC] = FORMS(neg),
	[OP_NOT - OP_INC] = FORMS(not),
};

insn_exec *ops_select_unary(struct cpu *c, struct insn *i)
{
	if (i->op < OP_INC || i->op > OP_NOT)
		return NULL;
	unsigned form = REG;
	if (i->operand[0].kind == OPERAND_MEM)
		form = i->prefixes & PREFIX_LOCK ? MEM_LOCKED : MEM + insn_address(i);
	return table[i->op - OP_INC][form][size_index(i->operand[0].size)];
}
