/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/decode.h"

/*
 * Prefixes and opcode give a map and an opcode byte; ModRM and prefixes give a
 * key, which selects the row; the row's operand types say what else to read.
 */

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
		error = isa_decode_operands(d, i);
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
