/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/decode.h"

#include "isa/op.h"
#include "isa/operand.h"

struct operand_type {
	uint8_t method, size;
};

static const struct operand_type operand_types[OPERAND_TYPE_COUNT] = {
#define TYPE(name, method, size) [OPERAND_TYPE_##name] = { METHOD_##method, size },
	ISA_OPERAND_TYPES(TYPE)
#undef TYPE
};

static int64_t sign_extend(uint64_t v, unsigned size)
{
	unsigned shift = 64 - size * 8;
	return (int64_t)(v << shift) >> shift;
}

static unsigned operand_bytes(const struct decoder *d, const struct insn *i, unsigned size)
{
	unsigned vl = i->vl ? i->vl : 16, opsize = i->opsize == 1 ? 4 : i->opsize;
	static const uint8_t fixed[] = { 0, 1, 2, 4, 8, 10, 16, 32, 64 };
	switch (size) {
	case SIZE_V: return opsize;
	case SIZE_Z: return opsize == 2 ? 2 : 4;
	case SIZE_Y: return d->mode == ISA_MODE_64 && d->w ? 8 : 4;
	case SIZE_N: return d->mode == ISA_MODE_64 ? 8 : 4;
	case SIZE_P: return 2 + opsize;
	case SIZE_S: return d->mode == ISA_MODE_64 ? 10 : 6;
	case SIZE_A: return 2 * opsize;
	case SIZE_X: return vl;
	case SIZE_X2: return vl / 2;
	case SIZE_X4: return vl / 4;
	case SIZE_X8: return vl / 8;
	case SIZE_DUP: return vl == 16 ? 8 : vl;
	case SIZE_AD: return i->adsize;
	case SIZE_E: return d->w ? 8 : 4;
	default: return size < sizeof(fixed) ? fixed[size] : 0;
	}
}

/* --- Operands --- */

static int set_register(struct operand *o, enum operand_kind kind, unsigned reg)
{
	o->kind = (uint8_t)kind;
	o->reg = (uint8_t)reg;
	return 0;
}

static int set_gpr(const struct decoder *d, struct operand *o, unsigned reg)
{
	if (o->size == 1 && !d->rex_seen && reg >= 4 && reg < 8)
		reg += 12; /* AH, CH, DH, BH */
	return set_register(o, OPERAND_GPR, reg);
}

static int set_memory(struct decoder *d, struct insn *i, struct operand *o)
{
	o->kind = OPERAND_MEM;
	i->memory = (uint8_t)(o - i->operand + 1);
	return 0;
}

static int set_immediate(struct decoder *d, struct insn *i, struct operand *o, bool sign)
{
	uint64_t v = take_number(d, o->size);
	if (sign)
		v = (uint64_t)sign_extend(v, o->size);
	o->kind = OPERAND_IMM;
	if (d->immediates++ == 0)
		i->imm = v;
	else
		i->imm2 = (uint8_t)v;
	return 0;
}

static int set_offset(struct decoder *d, struct insn *i, struct operand *o)
{
	i->imm = take_number(d, i->adsize);
	i->disp = (int32_t)i->imm;
	i->seg = d->segment != SEG_NONE ? d->segment : SEG_DS;
	return set_memory(d, i, o);
}

static int set_far_pointer(struct decoder *d, struct insn *i, struct operand *o)
{
	i->imm = take_number(d, o->size - 2u);
	uint64_t selector = take_number(d, 2);
	i->imm2 = (uint8_t)selector;
	i->imm2_hi = (uint8_t)(selector >> 8);
	o->kind = OPERAND_FAR;
	return 0;
}

static int set_relative(struct decoder *d, struct insn *i, struct operand *o)
{
	i->imm = (uint64_t)sign_extend(take_number(d, o->size), o->size);
	o->kind = OPERAND_REL;
	return 0;
}

static int set_segment(struct operand *o, unsigned reg)
{
	if (reg > SEG_GS || (reg == SEG_CS && (o->access & ACCESS_W)))
		return ISA_INVALID;
	return set_register(o, OPERAND_SEG, reg);
}

static int set_control(struct operand *o, unsigned reg)
{
	if (!(0x11du >> reg & 1)) /* 0, 2, 3, 4, 8 */
		return ISA_INVALID;
	return set_register(o, OPERAND_CR, reg);
}

static int set_mask(struct operand *o, unsigned reg)
{
	return reg > 7 ? ISA_INVALID : set_register(o, OPERAND_MASK, reg);
}

/* A vector register in the immediate's high half. */
static int set_is4(struct decoder *d, struct insn *i, struct operand *o)
{
	i->imm = take(d);
	d->immediates++;
	return set_register(o, OPERAND_VEC, (unsigned)i->imm >> 4 & (d->mode == ISA_MODE_64 ? 15 : 7));
}

/* Operands in ModRM.rm. */
static int set_rm_operand(struct decoder *d, struct insn *i, struct operand *o, unsigned method)
{
	unsigned rm = i->modrm & 7;
	bool memory = i->modrm < 0xc0 && !(d->row->attributes & ROW_ANYMOD);
	switch (method) {
	case METHOD_E: case METHOD_Q: case METHOD_W: case METHOD_KE: case METHOD_M:
		if (memory)
			return set_memory(d, i, o);
		break;
	default:
		if (memory)
			return ISA_INVALID;
	}
	switch (method) {
	case METHOD_E: case METHOD_R: return set_gpr(d, o, rm | d->rex_b);
	case METHOD_Q: case METHOD_N: return set_register(o, OPERAND_MMX, rm);
	case METHOD_W: case METHOD_U:
		return set_register(o, OPERAND_VEC, rm | d->rex_b | (i->encoding == ENC_EVEX ? d->rex_x << 1 : 0));
	case METHOD_KE: case METHOD_KR: return set_register(o, OPERAND_MASK, rm);
	case METHOD_STI: return set_register(o, OPERAND_ST, rm);
	default: return ISA_INVALID;
	}
}

/* Operands in ModRM.reg. */
static int set_reg_operand(struct decoder *d, struct insn *i, struct operand *o, unsigned method)
{
	unsigned reg = i->modrm >> 3 & 7;
	switch (method) {
	case METHOD_G: return d->r2 ? ISA_INVALID : set_gpr(d, o, reg | d->rex_r);
	case METHOD_S: return set_segment(o, reg);
	case METHOD_C: return set_control(o, reg | d->rex_r);
	case METHOD_D: return d->rex_r ? ISA_INVALID : set_register(o, OPERAND_DR, reg);
	case METHOD_P: return set_register(o, OPERAND_MMX, reg);
	case METHOD_V: return set_register(o, OPERAND_VEC, reg | d->rex_r | d->r2);
	default: return set_mask(o, reg | d->rex_r | d->r2);
	}
}

/* Operands in VEX.vvvv. */
static int set_vvvv_operand(struct decoder *d, struct operand *o, unsigned method)
{
	unsigned reg = d->mode == ISA_MODE_64 ? d->vvvv : d->vvvv & 7;
	d->vvvv_used = true;
	switch (method) {
	case METHOD_H: return set_register(o, OPERAND_VEC, reg | d->v2);
	case METHOD_B: return set_gpr(d, o, reg);
	default: return set_mask(o, reg);
	}
}

static int set_operand(struct decoder *d, struct insn *i, struct operand *o, unsigned type)
{
	unsigned method = operand_types[type].method, size = operand_types[type].size;
	if (method == METHOD_SEG)
		return set_register(o, OPERAND_SEG, size);
	o->size = (uint8_t)operand_bytes(d, i, size);
	switch (method) {
	case METHOD_E: case METHOD_M: case METHOD_R: case METHOD_Q: case METHOD_N: case METHOD_W: case METHOD_U:
	case METHOD_KE: case METHOD_KR: case METHOD_STI:
		return set_rm_operand(d, i, o, method);
	case METHOD_G: case METHOD_S: case METHOD_C: case METHOD_D: case METHOD_P: case METHOD_V: case METHOD_K:
		return set_reg_operand(d, i, o, method);
	case METHOD_H: case METHOD_B: case METHOD_KV:
		return set_vvvv_operand(d, o, method);
	case METHOD_L: return set_is4(d, i, o);
	case METHOD_Z: return set_gpr(d, o, (i->opcode & 7) | d->rex_b);
	case METHOD_A: return set_far_pointer(d, i, o);
	case METHOD_I: return set_immediate(d, i, o, false);
	case METHOD_IS: return set_immediate(d, i, o, true);
	case METHOD_J: return set_relative(d, i, o);
	case METHOD_O: return set_offset(d, i, o);
	case METHOD_ONE:
		o->kind = OPERAND_IMM;
		i->imm = 1;
		return 0;
	case METHOD_RAX: return set_register(o, OPERAND_GPR, REG_RAX);
	case METHOD_RCX: return set_register(o, OPERAND_GPR, REG_RCX);
	case METHOD_RDX: return set_register(o, OPERAND_GPR, REG_RDX);
	case METHOD_ST: return set_register(o, OPERAND_ST, 0);
	case METHOD_XMM0: return set_register(o, OPERAND_VEC, 0);
	default: return ISA_INVALID;
	}
}

int isa_decode_operands(struct decoder *d, struct insn *i)
{
	for (unsigned n = 0; n < 4 && d->row->operand[n]; n++) {
		struct operand *o = &i->operand[n];
		o->access = d->row->access >> (2 * n) & 3;
		int error = set_operand(d, i, o, d->row->operand[n]);
		if (error)
			return error;
	}
	if (i->op == OP_NOP && i->memory)
		i->operand[0].size = 0; /* it is not accessed */
	if (i->operand[0].size == 1 && (i->operand[0].kind == OPERAND_GPR || i->operand[0].kind == OPERAND_MEM))
		i->opsize = 1;
	return 0;
}
