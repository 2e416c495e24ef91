/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * BT BTS BTR BTC BSF BSR POPCNT LZCNT TZCNT (SDM 2A, 2B, 2C). A register gives
 * BT and its kin a signed bit offset into a string of operands behind the
 * memory address; an immediate is taken modulo the operand size.
 */
INLINE uint64_t bit_linear(struct cpu *c, const struct insn *i, unsigned size, unsigned access)
{
	uint64_t offset = effective_address(c, i);
	if (i->operand[1].kind == OPERAND_GPR) {
		uint64_t bit = c->gpr[i->operand[1].reg];
		int64_t index = size == 2 ? (int16_t)bit : size == 4 ? (int32_t)bit : (int64_t)bit;
		offset += (uint64_t)(index >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * size;
		offset &= size_mask(i->adsize);
	}
	return linear_address(c, (enum isa_seg)i->seg, offset, size, access);
}

#define HOST_BIT(name, mnemonic, bits, suffix) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b) \
{ \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD mnemonic suffix " %2, %0\n\t" FLAGS_SAVE : "+r"(a), "+&a"(cc) : "r"(b) : "cc"); \
	c->cc = cc; \
	return a; \
}

#define BIT_OFFSET(bits) (uint##bits##_t)(i->operand[1].kind == OPERAND_IMM ? i->imm : c->gpr[i->operand[1].reg])

#define BIT_SIZE(name, mnemonic, bits, suffix) \
HOST_BIT(name, mnemonic, bits, suffix) \
static void name##_r##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_##name##bits(c, reg##bits(c, d), BIT_OFFSET(bits))); \
} \
static void name##_m##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = rmw_begin(c, bit_linear(c, i, bits / 8, ACCESS_RW), bits / 8, false); \
	*p = host_##name##bits(c, *p, BIT_OFFSET(bits)); \
	rmw_end(c, false); \
} \
static void name##_lm##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = rmw_begin(c, bit_linear(c, i, bits / 8, ACCESS_RW), bits / 8, true); \
	uint##bits##_t bit = BIT_OFFSET(bits) & (bits - 1); \
	uint16_t cc = c->cc; \
	__asm__ volatile(FLAGS_LOAD "lock " mnemonic suffix " %2, %0\n\t" FLAGS_SAVE \
			 : "+m"(*p), "+&a"(cc) : "r"(bit) : "cc", "memory"); \
	c->cc = cc; \
	rmw_end(c, true); \
}

#define BIT_OP(name, mnemonic) \
	BIT_SIZE(name, mnemonic, 16, "w") \
	BIT_SIZE(name, mnemonic, 32, "l") \
	BIT_SIZE(name, mnemonic, 64, "q")

BIT_OP(bts, "bts")
BIT_OP(btr, "btr")
BIT_OP(btc, "btc")

/* BT only reads: a register keeps even the upper half of a 32-bit operand. */
#define BT_SIZE(bits, suffix) \
HOST_BIT(bt, "bt", bits, suffix) \
static void bt_r##bits(struct cpu *c, const struct insn *i) \
{ \
	host_bt##bits(c, reg##bits(c, i->operand[0].reg), BIT_OFFSET(bits)); \
} \
static void bt_m##bits(struct cpu *c, const struct insn *i) \
{ \
	host_bt##bits(c, access_read##bits(c, bit_linear(c, i, bits / 8, ACCESS_R)), BIT_OFFSET(bits)); \
}
BT_SIZE(16, "w")
BT_SIZE(32, "l")
BT_SIZE(64, "q")

enum { REG, MEM, MEM_LOCKED };
#define SIZES(name, form) { NULL, name##_##form##16, name##_##form##32, name##_##form##64 }
static insn_exec *const table[][3][4] = {
	[OP_BT - OP_BT] = { SIZES(bt, r), SIZES(bt, m) },
	[OP_BTS - OP_BT] = { SIZES(bts, r), SIZES(bts, m), SIZES(bts, lm) },
	[OP_BTR - OP_BT] = { SIZES(btr, r), SIZES(btr, m), SIZES(btr, lm) },
	[OP_BTC - OP_BT] = { SIZES(btc, r), SIZES(btc, m), SIZES(btc, lm) },
};

/* The whole destination goes in and out: BSF and BSR of 0 leave it as the host does. */
#define SCAN_SIZE(name, mnemonic, bits, suffix, width) \
INLINE void host_##name##bits(struct cpu *c, const struct insn *i, uint##bits##_t b) \
{ \
	uint64_t a = c->gpr[i->operand[0].reg]; \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD mnemonic suffix " %2, %" width "0\n\t" FLAGS_SAVE : "+r"(a), "+&a"(cc) : "r"(b) : "cc"); \
	c->cc = cc; \
	c->gpr[i->operand[0].reg] = a; \
} \
static void name##_r##bits(struct cpu *c, const struct insn *i) \
{ \
	host_##name##bits(c, i, reg##bits(c, i->operand[1].reg)); \
} \
static void name##_m##bits(struct cpu *c, const struct insn *i) \
{ \
	host_##name##bits(c, i, mem_read##bits(c, i)); \
}

#define SCAN(name) \
	SCAN_SIZE(name, #name, 16, "w", "w") \
	SCAN_SIZE(name, #name, 32, "l", "k") \
	SCAN_SIZE(name, #name, 64, "q", "q")

SCAN(bsf)
SCAN(bsr)
SCAN(popcnt)
SCAN(lzcnt)
SCAN(tzcnt)

#define SCANS(name) { SIZES(name, r), SIZES(name, m) }
static insn_exec *const scans[][2][4] = { SCANS(bsf), SCANS(bsr), SCANS(popcnt), SCANS(lzcnt), SCANS(tzcnt) };
enum { SCAN_BSF, SCAN_BSR, SCAN_POPCNT, SCAN_LZCNT, SCAN_TZCNT };

insn_exec *ops_select_bit(struct cpu *c, struct insn *i)
{
	unsigned size = size_index(i->opsize), scan;
	if (i->op >= OP_BT && i->op <= OP_BTC) {
		unsigned form = i->operand[0].kind != OPERAND_MEM ? REG : i->prefixes & PREFIX_LOCK ? MEM_LOCKED : MEM;
		return table[i->op - OP_BT][form][size];
	}
	switch (i->op) {
	case OP_BSF: scan = SCAN_BSF; break;
	case OP_BSR: scan = SCAN_BSR; break;
	case OP_POPCNT: scan = SCAN_POPCNT; break;
	/* A processor without these ignores the F3 prefix (SDM 2B, LZCNT; 2C, TZCNT). */
	case OP_LZCNT: scan = cpu_has(c, FEATURE_LZCNT) ? SCAN_LZCNT : SCAN_BSR; break;
	case OP_TZCNT: scan = cpu_has(c, FEATURE_BMI1) ? SCAN_TZCNT : SCAN_BSF; break;
	default: return NULL;
	}
	return scans[scan][i->operand[1].kind == OPERAND_MEM][size];
}
