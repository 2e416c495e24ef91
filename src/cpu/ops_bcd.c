/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * AAA AAS AAM AAD DAA DAS (SDM 2A), after the manual's operation sections: no
 * host instruction exists in 64-bit mode. The undefined flags stay as they are,
 * or follow the result where all of SF, ZF and PF are written together.
 */
static void set_result_flags(struct cpu *c, uint8_t v, uint16_t af_cf)
{
	uint16_t cc = (uint16_t)((c->cc & CC_OF) | 0x200 | af_cf);
	if (!v)
		cc |= CC_ZF;
	if (v & 0x80)
		cc |= CC_SF;
	if (!__builtin_parity(v))
		cc |= CC_PF;
	c->cc = cc;
}

/* DAA and DAS differ in the sign of the correction. */
static void decimal_adjust(struct cpu *c, int sign)
{
	uint8_t old = reg8(c, REG_RAX), v = old;
	bool old_cf = c->cc & CC_CF;
	uint16_t flags = 0;
	if ((old & 15) > 9 || (c->cc & CC_AF)) {
		v = (uint8_t)(v + sign * 6);
		flags = CC_AF;
		/* The borrow of DAS' first step counts (SDM 2A, DAS). */
		if (old_cf || (sign < 0 && old < 6))
			flags |= CC_CF;
	}
	if (old > 0x99 || old_cf) {
		v = (uint8_t)(v + sign * 0x60);
		flags |= CC_CF;
	}
	set_reg8(c, REG_RAX, v);
	set_result_flags(c, v, flags);
}

static void exec_daa(struct cpu *c, const struct insn *i)
{
	decimal_adjust(c, 1);
}

static void exec_das(struct cpu *c, const struct insn *i)
{
	decimal_adjust(c, -1);
}

static void ascii_adjust(struct cpu *c, int sign)
{
	uint16_t ax = reg16(c, REG_RAX);
	uint16_t flags = 0;
	if ((ax & 15) > 9 || (c->cc & CC_AF)) {
		ax = (uint16_t)(ax + sign * 0x106);
		flags = CC_AF | CC_CF;
	}
	ax &= 0xff0f;
	set_reg16(c, REG_RAX, ax);
	set_result_flags(c, (uint8_t)ax, flags);
}

static void exec_aaa(struct cpu *c, const struct insn *i)
{
	ascii_adjust(c, 1);
}

static void exec_aas(struct cpu *c, const struct insn *i)
{
	ascii_adjust(c, -1);
}

static void exec_aam(struct cpu *c, const struct insn *i)
{
	uint8_t base = (uint8_t)i->imm, al = reg8(c, REG_RAX);
	if (!base)
		cpu_fault(c, EXC_DE, 0);
	set_reg16(c, REG_RAX, (uint16_t)(al / base << 8 | al % base));
	set_result_flags(c, al % base, 0);
}

static void exec_aad(struct cpu *c, const struct insn *i)
{
	uint16_t ax = reg16(c, REG_RAX);
	uint8_t v = (uint8_t)((ax >> 8) * (uint8_t)i->imm + ax);
	set_reg16(c, REG_RAX, v);
	set_result_flags(c, v, 0);
}

insn_exec *ops_select_bcd(struct cpu *c, struct insn *i)
{
	switch (i->op) {
	case OP_AAA: return exec_aaa;
	case OP_AAS: return exec_aas;
	case OP_AAM: return exec_aam;
	case OP_AAD: return exec_aad;
	case OP_DAA: return exec_daa;
	case OP_DAS: return exec_das;
	default: return NULL;
	}
}
