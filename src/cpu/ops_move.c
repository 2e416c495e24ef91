/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/* MOV MOVZX MOVSX MOVSXD LEA MOVNTI MOVDIRI MOVBE BSWAP CBW CWD XLAT. */

#define MOV_SIZE(bits) \
static void mov_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, reg##bits(c, i->operand[1].reg)); \
} \
static void mov_ri##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, (uint##bits##_t)i->imm); \
} \
MOV_LOAD(bits) \
MOV_STORE(mr, bits, reg##bits(c, i->operand[1].reg)) \
MOV_STORE(mi, bits, (uint##bits##_t)i->imm)

#define MOV_LOAD(bits) \
GENERAL mov_rm##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, mem_read##bits(c, i)); \
} \
MOV_LOAD_FLAT(f, bits, flat_linear) \
MOV_LOAD_FLAT(b, bits, based_linear)

#define MOV_LOAD_FLAT(f, bits, address) \
static void mov_rm##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, read, bits, address, mov_rm##bits); \
	set_reg##bits(c, i->operand[0].reg, *p); \
}

#define MOV_STORE(form, bits, source) \
GENERAL mov_##form##bits(struct cpu *c, const struct insn *i) \
{ \
	mem_write##bits(c, i, source); \
} \
MOV_STORE_FLAT(form, f, bits, source, flat_linear) \
MOV_STORE_FLAT(form, b, bits, source, based_linear)

#define MOV_STORE_FLAT(form, f, bits, source, address) \
static void mov_##form##f##bits(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, write, bits, address, mov_##form##bits); \
	*p = source; \
}

MOV_SIZE(8)
MOV_SIZE(16)
MOV_SIZE(32)
MOV_SIZE(64)

/* MOV with an absolute offset: with 64-bit addresses it has all 64 bits, in imm. */
INLINE uint64_t absolute_linear(struct cpu *c, const struct insn *i, unsigned size, unsigned access)
{
	return linear_address(c, (enum isa_seg)i->seg, i->imm, size, access);
}

static void mov_from_absolute(struct cpu *c, const struct insn *i)
{
	unsigned size = i->operand[0].size;
	reg_write(c, REG_RAX, access_read(c, absolute_linear(c, i, size, ACCESS_R), size), size);
}

static void mov_to_absolute(struct cpu *c, const struct insn *i)
{
	unsigned size = i->operand[0].size;
	access_write(c, absolute_linear(c, i, size, ACCESS_W), c->gpr[REG_RAX], size);
}

#define SIZES(name) { name##8, name##16, name##32, name##64 }

static insn_exec *const mov[FORM_COUNT][4] = {
	[FORM_RR] = SIZES(mov_rr), [FORM_RI] = SIZES(mov_ri),
	[FORM_RM] = SIZES(mov_rm), SIZES(mov_rmf), SIZES(mov_rmb),
	[FORM_MR] = SIZES(mov_mr), SIZES(mov_mrf), SIZES(mov_mrb),
	[FORM_MI] = SIZES(mov_mi), SIZES(mov_mif), SIZES(mov_mib),
};

static insn_exec *select_mov(const struct insn *i)
{
	unsigned form;
	if (i->map == 0 && (i->opcode & 0xfc) == 0xa0)
		return i->opcode & 2 ? mov_to_absolute : mov_from_absolute;
	if (i->operand[0].kind == OPERAND_MEM)
		form = (i->operand[1].kind == OPERAND_IMM ? FORM_MI : FORM_MR) + insn_address(i);
	else if (i->operand[1].kind == OPERAND_MEM)
		form = FORM_RM + insn_address(i);
	else
		form = i->operand[1].kind == OPERAND_IMM ? FORM_RI : FORM_RR;
	return mov[form][size_index(i->operand[0].size)];
}

/* Extension from `from` to `to` bits. sign: int or uint. */
#define EXTEND(name, sign, from, to) \
static void name##_r##from##_##to(struct cpu *c, const struct insn *i) \
{ \
	set_reg##to(c, i->operand[0].reg, (uint##to##_t)(sign##from##_t)reg##from(c, i->operand[1].reg)); \
} \
GENERAL name##_m##from##_##to(struct cpu *c, const struct insn *i) \
{ \
	set_reg##to(c, i->operand[0].reg, (uint##to##_t)(sign##from##_t)mem_read##from(c, i)); \
} \
EXTEND_FLAT(name, sign, f, from, to, flat_linear) \
EXTEND_FLAT(name, sign, b, from, to, based_linear)

#define EXTEND_FLAT(name, sign, f, from, to, address) \
static void name##_m##f##from##_##to(struct cpu *c, const struct insn *i) \
{ \
	FLAT_HOST(p, read, from, address, name##_m##from##_##to); \
	set_reg##to(c, i->operand[0].reg, (uint##to##_t)(sign##from##_t)*p); \
}

#define EXTENDS(name, sign) \
	EXTEND(name, sign, 8, 16) EXTEND(name, sign, 8, 32) EXTEND(name, sign, 8, 64) \
	EXTEND(name, sign, 16, 16) EXTEND(name, sign, 16, 32) EXTEND(name, sign, 16, 64) \
	EXTEND(name, sign, 32, 32) EXTEND(name, sign, 32, 64)

EXTENDS(zx, uint)
EXTENDS(sx, int)

/* [form][source size][destination size] */
#define EXTEND_FORM(f) { \
	{ NULL, f##8_16, f##8_32, f##8_64 }, { NULL, f##16_16, f##16_32, f##16_64 }, { NULL, NULL, f##32_32, f##32_64 } }
static insn_exec *const extend[2][1 + ADDRESS_COUNT][3][4] = {
	{ EXTEND_FORM(zx_r), EXTEND_FORM(zx_m), EXTEND_FORM(zx_mf), EXTEND_FORM(zx_mb) },
	{ EXTEND_FORM(sx_r), EXTEND_FORM(sx_m), EXTEND_FORM(sx_mf), EXTEND_FORM(sx_mb) },
};

static insn_exec *select_extend(const struct insn *i)
{
	unsigned form = i->operand[1].kind != OPERAND_MEM ? 0 : 1 + insn_address(i);
	unsigned from = size_index(i->operand[1].size), to = size_index(i->operand[0].size);
	/* MOVSXD with a 16-bit operand size reads 16 bits (SDM 2B, MOVSX). */
	return extend[i->op != OP_MOVZX][form][MIN(from, to)][to];
}

#define LEA(bits) \
static void lea##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, (uint##bits##_t)effective_address(c, i)); \
}
LEA(16)
LEA(32)
LEA(64)

static void lea_flat(struct cpu *c, const struct insn *i)
{
	c->gpr[i->operand[0].reg] = flat_linear(c, i);
}

static void lea_flat32(struct cpu *c, const struct insn *i)
{
	c->gpr[i->operand[0].reg] = (uint32_t)flat_linear(c, i);
}

static insn_exec *select_lea(const struct insn *i)
{
	if (i->adsize == 8 && i->opsize == 8)
		return lea_flat;
	if (i->adsize >= 4 && i->opsize == 4)
		return lea_flat32;
	return i->opsize == 2 ? lea16 : i->opsize == 4 ? lea32 : lea64;
}

static uint64_t swap_bytes(uint64_t v, unsigned size)
{
	return __builtin_bswap64(v) >> (64 - size * 8);
}

static void exec_movbe(struct cpu *c, const struct insn *i)
{
	operand_write(c, i, 0, swap_bytes(operand_read(c, i, 1), i->operand[0].size));
}

/* With a 16-bit operand the result is undefined; processors give 0 (SDM 2A, BSWAP). */
static void exec_bswap(struct cpu *c, const struct insn *i)
{
	unsigned d = i->operand[0].reg;
	if (i->opsize == 8)
		c->gpr[d] = __builtin_bswap64(c->gpr[d]);
	else if (i->opsize == 4)
		c->gpr[d] = __builtin_bswap32((uint32_t)c->gpr[d]);
	else
		set_reg16(c, d, 0);
}

static void exec_cbw(struct cpu *c, const struct insn *i)
{
	int64_t v = i->opsize == 2 ? (int8_t)c->gpr[REG_RAX] : i->opsize == 4 ? (int16_t)c->gpr[REG_RAX] : (int32_t)c->gpr[REG_RAX];
	reg_write(c, REG_RAX, (uint64_t)v, i->opsize);
}

static void exec_cwd(struct cpu *c, const struct insn *i)
{
	bool negative = c->gpr[REG_RAX] >> (i->opsize * 8 - 1) & 1;
	reg_write(c, REG_RDX, negative ? ~0ull : 0, i->opsize);
}

static void exec_xlat(struct cpu *c, const struct insn *i)
{
	uint64_t offset = (c->gpr[REG_RBX] + reg8(c, REG_RAX)) & size_mask(i->adsize);
	set_reg8(c, REG_RAX, access_read8(c, linear_address(c, (enum isa_seg)i->seg, offset, 1, ACCESS_R)));
}

insn_exec *ops_select_move(struct cpu *c, struct insn *i)
{
	switch (i->op) {
	case OP_MOV:
	case OP_MOVNTI:
	case OP_MOVDIRI:
		return select_mov(i);
	case OP_MOVZX:
	case OP_MOVSX:
	case OP_MOVSXD:
		return select_extend(i);
	case OP_LEA: return select_lea(i);
	case OP_MOVBE: return exec_movbe;
	case OP_BSWAP: return exec_bswap;
	case OP_CBW: return exec_cbw;
	case OP_CWD: return exec_cwd;
	case OP_XLAT: return exec_xlat;
	default: return NULL;
	}
}
