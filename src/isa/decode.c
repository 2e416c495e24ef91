/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/insn.h"

#include <string.h>

#include "isa/op.h"
#include "isa/operand.h"
#include "isa/table.h"

/*
 * Prefixes and opcode give a map and an opcode byte; ModRM and prefixes give a
 * key, which selects the row; the row's operand types say what else to read.
 * Reading beyond the end only sets `ended`; who decides on bytes just read
 * looks at it first.
 */
struct decoder {
	const uint8_t *bytes;
	unsigned position, limit; /* limit: bytes available, 15 at most */
	bool ended;
	bool address_parsed;
	bool vvvv_used;
	bool disp8;               /* to be scaled in EVEX */
	bool rex_seen;
	enum isa_mode mode;
	uint8_t rex_b, rex_x, rex_r, w; /* 0 or 8 for R, X, B; 0 or 1 for W */
	uint8_t r2, v2;           /* EVEX.R', EVEX.V': 0 or 16 */
	uint8_t vvvv;             /* as a number, not inverted */
	uint8_t l;                /* VEX.L or EVEX.L'L */
	uint8_t segment;          /* override, SEG_NONE if none counts */
	uint8_t immediates;       /* how many were read */
	const struct isa_row *row;
};

enum { SEG_NONE = 0xff };

struct operand_type {
	uint8_t method, size;
};

static const struct operand_type operand_types[OPERAND_TYPE_COUNT] = {
#define TYPE(name, method, size) [OPERAND_TYPE_##name] = { METHOD_##method, size },
	ISA_OPERAND_TYPES(TYPE)
#undef TYPE
};

static inline uint8_t take(struct decoder *d)
{
	if (d->position >= d->limit) {
		d->ended = true;
		return 0;
	}
	return d->bytes[d->position++];
}

static uint64_t take_number(struct decoder *d, unsigned size)
{
	uint64_t v = 0;
	if (d->limit - d->position < size) {
		d->ended = true;
		return 0;
	}
	memcpy(&v, d->bytes + d->position, size);
	d->position += size;
	return v;
}

static int64_t sign_extend(uint64_t v, unsigned size)
{
	unsigned shift = 64 - size * 8;
	return (int64_t)(v << shift) >> shift;
}

/* --- Prefixes --- */

/* Reads legacy prefixes and REX; returns the first byte after them. A REX that is not last counts for nothing. */
static uint8_t take_prefixes(struct decoder *d, struct insn *i)
{
	uint8_t rex = 0, b;
	for (;;) {
		b = take(d);
		if (d->ended)
			return 0;
		switch (b) {
		case 0x66: i->prefixes |= PREFIX_66; break;
		case 0x67: i->prefixes |= PREFIX_67; break;
		case 0xf0: i->prefixes |= PREFIX_LOCK; break;
		case 0xf2: i->prefixes = (uint8_t)((i->prefixes & ~PREFIX_REP) | PREFIX_REPNE); break;
		case 0xf3: i->prefixes = (uint8_t)((i->prefixes & ~PREFIX_REPNE) | PREFIX_REP); break;
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			i->prefixes |= PREFIX_SEG;
			if (d->mode != ISA_MODE_64)
				d->segment = b >> 3 & 3;
			break;
		case 0x64: case 0x65:
			i->prefixes |= PREFIX_SEG;
			d->segment = b - 0x64 + SEG_FS;
			break;
		default:
			if (d->mode == ISA_MODE_64 && (b & 0xf0) == 0x40) {
				rex = b;
				continue;
			}
			if (rex) {
				i->prefixes |= PREFIX_REX | (rex & 8 ? PREFIX_REX_W : 0);
				d->rex_seen = true;
				d->w = rex >> 3 & 1;
				d->rex_r = (rex & 4) << 1;
				d->rex_x = (rex & 2) << 2;
				d->rex_b = (uint8_t)((rex & 1) << 3);
			}
			return b;
		}
		rex = 0;
	}
}

/* 0F, 0F 38 and 0F 3A. Returns the opcode. */
static uint8_t take_escape(struct decoder *d, struct insn *i)
{
	uint8_t b = take(d);
	i->map = 1;
	if (b == 0x38 || b == 0x3a) {
		i->map = b == 0x38 ? 2 : 3;
		b = take(d);
	}
	return b;
}

/* The bytes of VEX and EVEX after the first. Return the opcode, or ISA_INVALID. */
static int take_vex(struct decoder *d, struct insn *i, uint8_t first)
{
	uint8_t p0 = take(d), p1 = p0;
	i->encoding = ENC_VEX;
	i->map = 1;
	if (first == 0xc4) {
		p1 = take(d);
		i->map = p0 & 31;
		d->rex_x = p0 & 0x40 ? 0 : 8;
		d->rex_b = p0 & 0x20 ? 0 : 8;
		d->w = p1 >> 7;
	}
	d->rex_r = p0 & 0x80 ? 0 : 8;
	d->vvvv = ~p1 >> 3 & 15;
	d->l = p1 >> 2 & 1;
	i->pp = p1 & 3;
	if (!d->ended && (i->map < 1 || i->map > 3))
		return ISA_INVALID;
	return take(d);
}

static int take_evex(struct decoder *d, struct insn *i)
{
	uint8_t p0 = take(d), p1 = take(d), p2 = take(d);
	i->encoding = ENC_EVEX;
	i->map = p0 & 7;
	d->rex_r = p0 & 0x80 ? 0 : 8;
	d->rex_x = p0 & 0x40 ? 0 : 8;
	d->rex_b = p0 & 0x20 ? 0 : 8;
	d->r2 = p0 & 0x10 ? 0 : 16;
	d->w = p1 >> 7;
	d->vvvv = ~p1 >> 3 & 15;
	i->pp = p1 & 3;
	d->l = p2 >> 5 & 3;
	d->v2 = p2 & 8 ? 0 : 16;
	i->mask = p2 & 7;
	i->evex = (uint8_t)((p2 & 0x80 ? EVEX_Z : 0) | (p2 & 0x10 ? EVEX_B : 0));
	if (!d->ended && (i->map < 1 || i->map > 3 || (p0 & 8) || !(p1 & 4)))
		return ISA_INVALID;
	return take(d);
}

/* Outside 64-bit mode C4, C5 and 62 are LES, LDS and BOUND unless what would be their ModRM names a register. */
static bool is_vex(const struct decoder *d, uint8_t b)
{
	if (b != 0xc4 && b != 0xc5 && b != 0x62)
		return false;
	return d->mode == ISA_MODE_64 || (d->position < d->limit && d->bytes[d->position] >= 0xc0);
}

static int take_opcode(struct decoder *d, struct insn *i)
{
	uint8_t b = take_prefixes(d, i);
	if (b == 0x0f)
		b = take_escape(d, i);
	else if (is_vex(d, b)) {
		if (i->prefixes & (PREFIX_66 | PREFIX_REP | PREFIX_REPNE | PREFIX_LOCK | PREFIX_REX))
			return ISA_INVALID;
		int opcode = b == 0x62 ? take_evex(d, i) : take_vex(d, i, b);
		if (d->mode != ISA_MODE_64) /* the bits that would name registers above 7 count for nothing: SDM 2A, 2.3.5, 2.7.11 */
			d->rex_b = d->r2 = 0;
		if (d->w)
			i->evex |= EVEX_W;
		return opcode;
	}
	if (i->encoding == ENC_LEGACY)
		i->pp = i->prefixes & PREFIX_REP ? 2 : i->prefixes & PREFIX_REPNE ? 3 : i->prefixes & PREFIX_66 ? 1 : 0;
	return b;
}

/* --- The row --- */

static uint32_t make_key(const struct decoder *d, const struct insn *i)
{
	static const uint8_t of_pp[4] = { 0, KEY_66, KEY_F3, KEY_F2 };
	uint32_t key = of_pp[i->pp];
	if (i->prefixes & PREFIX_66)
		key |= KEY_66;
	if (d->mode == ISA_MODE_64)
		key |= KEY_64;
	if (d->rex_b)
		key |= KEY_B;
	if (d->w)
		key |= KEY_W;
	return key | (uint32_t)d->l << KEY_L_SHIFT;
}

static int find_row(struct decoder *d, struct insn *i)
{
	unsigned map = ISA_MAP(i->encoding, i->map);
	const struct isa_row *row = &isa_rows[isa_last_row[map][i->opcode]];
	uint32_t key = make_key(d, i);
	if (row->modrm) {
		i->modrm = take(d);
		if (d->ended)
			return ISA_SHORT;
		key |= (uint32_t)(i->modrm >> 3 & 7) << KEY_REG_SHIFT | (uint32_t)(i->modrm & 7) << KEY_RM_SHIFT;
		if (i->modrm >= 0xc0)
			key |= KEY_REG3;
	}
	while (row->op && row->map == map && row->opcode == i->opcode) {
		if ((key & row->match_mask) == row->match_value) {
			d->row = row;
			i->row = (uint16_t)(row - isa_rows);
			i->op = row->op;
			return 0;
		}
		row--;
	}
	return ISA_INVALID;
}

/* --- Sizes --- */

static void set_sizes(struct decoder *d, struct insn *i)
{
	uint32_t attributes = d->row->attributes;
	bool p66 = (i->prefixes & PREFIX_66) && !(d->row->match_value & KEY_66); /* a mandatory 66 is no size prefix */
	switch (d->mode) {
	case ISA_MODE_16:
		i->opsize = p66 ? 4 : 2;
		break;
	case ISA_MODE_32:
		i->opsize = p66 ? 2 : 4;
		break;
	case ISA_MODE_64:
		if (d->w || (attributes & ROW_FORCE64))
			i->opsize = 8;
		else
			i->opsize = p66 ? 2 : attributes & ROW_DEF64 ? 8 : 4;
		break;
	}
	if ((attributes & ROW_MAX32) && i->opsize == 8)
		i->opsize = 4;
	if ((attributes & ROW_ANYMOD) && d->mode != ISA_MODE_64)
		i->opsize = 4;
	if (attributes & ROW_BYTE)
		i->opsize = 1;
	if (i->encoding != ENC_LEGACY) {
		if (d->mode != ISA_MODE_64 || !d->w)
			i->opsize = 4;
		i->vl = attributes & ROW_SCALAR ? 16 : (uint8_t)(16 << d->l);
	}
}

static void set_address_size(struct decoder *d, struct insn *i)
{
	bool p67 = i->prefixes & PREFIX_67;
	switch (d->mode) {
	case ISA_MODE_16: i->adsize = p67 ? 4 : 2; break;
	case ISA_MODE_32: i->adsize = p67 ? 2 : 4; break;
	case ISA_MODE_64: i->adsize = p67 ? 4 : 8; break;
	}
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

/* --- ModRM addresses --- */

static void address16(struct decoder *d, struct insn *i)
{
	static const uint8_t base[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP, REG_RSI, REG_RDI, REG_RBP, REG_RBX };
	static const uint8_t index[8] = { REG_RSI, REG_RDI, REG_RSI, REG_RDI, REG_NONE, REG_NONE, REG_NONE, REG_NONE };
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7;
	i->base = base[rm];
	i->index = index[rm];
	if (mod == 0 && rm == 6) {
		i->base = REG_NONE;
		mod = 2;
	}
	if (mod == 1) {
		i->disp = (int8_t)take(d);
		d->disp8 = true;
	} else if (mod == 2)
		i->disp = (int16_t)take_number(d, 2);
}

static void address32(struct decoder *d, struct insn *i)
{
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7, sib = 0;
	bool vsib = d->row->attributes & ROW_VSIB;
	i->base = (uint8_t)(rm | d->rex_b);
	if (rm == 4) {
		sib = take(d);
		rm = sib & 7;
		i->base = (uint8_t)(rm | d->rex_b);
		i->index = (uint8_t)((sib >> 3 & 7) | d->rex_x);
		i->scale = (uint8_t)(sib >> 6);
		if (vsib)
			i->index |= d->v2;
		else if (i->index == 4) {
			i->index = REG_NONE;
			i->scale = 0;
		}
	}
	if (mod == 0 && rm == 5) {
		i->base = d->mode == ISA_MODE_64 && (i->modrm & 7) == 5 ? REG_RIP : REG_NONE;
		mod = 2;
	}
	if (mod == 1) {
		i->disp = (int8_t)take(d);
		d->disp8 = true;
	} else if (mod == 2)
		i->disp = (int32_t)take_number(d, 4);
}

static int parse_address(struct decoder *d, struct insn *i)
{
	if ((d->row->attributes & ROW_VSIB) && (i->adsize == 2 || (i->modrm & 7) != 4))
		return ISA_INVALID;
	if (i->adsize == 2)
		address16(d, i);
	else
		address32(d, i);
	if (d->segment != SEG_NONE)
		i->seg = d->segment;
	else
		i->seg = i->base == REG_RSP || i->base == REG_RBP ? SEG_SS : SEG_DS;
	return 0;
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

static int parse_operands(struct decoder *d, struct insn *i)
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

/* --- Rules on what was decoded --- */

static bool lock_allowed(const struct decoder *d, const struct insn *i)
{
	return (d->row->attributes & ROW_LOCK) && i->operand[0].kind == OPERAND_MEM;
}

/* EVEX: opmask, zeroing, broadcast, rounding, and disp8*N (SDM 2A, 2.7). */
static int finish_evex(struct decoder *d, struct insn *i)
{
	uint32_t attributes = d->row->attributes;
	bool memory_destination = i->operand[0].kind == OPERAND_MEM;
	if (i->mask ? !(attributes & ROW_MASK) : (attributes & ROW_VSIB) || (i->evex & EVEX_Z))
		return ISA_INVALID;
	if ((i->evex & EVEX_Z) && (!(attributes & ROW_ZERO) || memory_destination))
		return ISA_INVALID;
	if (i->mask && !(i->evex & EVEX_Z) && !memory_destination && i->operand[0].kind == OPERAND_VEC)
		i->operand[0].access |= ACCESS_R;
	if (i->evex & EVEX_B) {
		if (i->memory) {
			if (!(attributes & ROW_BCST))
				return ISA_INVALID;
			i->operand[i->memory - 1].size = d->w ? 8 : 4;
		} else if (!(attributes & (ROW_ER | ROW_SAE | ROW_NO_ER)))
			return ISA_INVALID;
		else if (attributes & ROW_ER)
			i->evex |= (uint8_t)(d->l << EVEX_RC_SHIFT);
	}
	if (d->disp8 && i->memory) {
		static const uint8_t element[] = { [TUPLE_BYTE] = 1, [TUPLE_WORD] = 2 };
		unsigned n = i->operand[i->memory - 1].size;
		if (d->row->tuple == TUPLE_ELEMENT)
			n = d->w ? 8 : 4;
		else if (d->row->tuple > TUPLE_ELEMENT)
			n = element[d->row->tuple];
		i->disp *= (int32_t)n;
	}
	return 0;
}

static int check_distinct(const struct insn *i)
{
	unsigned a = i->operand[0].reg, c = i->operand[2].reg;
	if (a == i->index || (i->encoding == ENC_VEX && (a == c || c == i->index)))
		return ISA_INVALID;
	return 0;
}

static int finish(struct decoder *d, struct insn *i)
{
	if ((i->prefixes & PREFIX_LOCK) && !lock_allowed(d, i))
		return ISA_INVALID;
	if (i->encoding == ENC_LEGACY)
		return 0;
	if (d->v2 && d->mode != ISA_MODE_64)
		return ISA_INVALID;
	if (!d->vvvv_used && (d->vvvv || (d->v2 && !(d->row->attributes & ROW_VSIB))))
		return ISA_INVALID;
	if (i->encoding == ENC_EVEX) {
		int error = finish_evex(d, i);
		if (error)
			return error;
	}
	return d->row->attributes & ROW_DISTINCT ? check_distinct(i) : 0;
}

/* EVEX.b with a register frees L'L for the rounding mode; the vector length is then 64. */
static int settle_vector_length(struct decoder *d, struct insn *i)
{
	bool rounding = (i->evex & EVEX_B) && i->modrm >= 0xc0;
	if (rounding)
		i->vl = d->row->attributes & ROW_SCALAR ? 16 : 64;
	else if (d->l == 3 && i->encoding == ENC_EVEX)
		return ISA_INVALID;
	return 0;
}

static int decode(struct decoder *d, struct insn *i)
{
	int opcode = take_opcode(d, i);
	if (opcode < 0 || d->ended)
		return opcode;
	i->opcode = (uint8_t)opcode;
	int error = find_row(d, i);
	if (error)
		return error;
	set_sizes(d, i);
	set_address_size(d, i);
	error = settle_vector_length(d, i);
	if (error)
		return error;
	if (d->row->modrm && i->modrm < 0xc0 && !(d->row->attributes & ROW_ANYMOD))
		error = parse_address(d, i);
	else if (d->segment != SEG_NONE)
		i->seg = d->segment;
	if (!error)
		error = parse_operands(d, i);
	return error ? error : finish(d, i);
}

int isa_decode(struct insn *insn, const uint8_t *bytes, unsigned available, enum isa_mode mode)
{
	struct decoder d = { .bytes = bytes, .limit = available < 15 ? available : 15, .mode = mode, .segment = SEG_NONE };
	memset(insn, 0, sizeof(*insn));
	insn->mode = (uint8_t)mode;
	insn->seg = SEG_DS;
	insn->base = insn->index = REG_NONE;
	int result = decode(&d, insn);
	if (d.ended)
		return available < 15 ? ISA_SHORT : ISA_TOO_LONG;
	if (result < 0)
		return result;
	insn->length = (uint8_t)d.position;
	return insn->length;
}
