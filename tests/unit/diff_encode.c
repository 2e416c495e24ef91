/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "diff_encode.h"

#include <string.h>

#include "isa/op.h"

/*
 * The inverse of the decoder, made from the same rows: fields that a row's
 * match condition names get its value, the others are random.
 */
static uint64_t state = 1;

void diff_seed(uint64_t seed)
{
	state = seed * 0x9e3779b97f4a7c15ull + 0x1234567;
}

uint64_t diff_random(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ull);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

struct writer {
	struct encoding *e;
	const struct isa_row *row;
	unsigned encoding, map;
};

static void put(struct encoding *e, unsigned byte)
{
	e->bytes[e->length++] = (uint8_t)byte;
}

/* A field of the key: as the row wants it, else random. */
static unsigned field(const struct isa_row *row, unsigned shift, unsigned bits)
{
	uint32_t mask = ((1u << bits) - 1) << shift;
	uint32_t value = (uint32_t)diff_random() << shift & mask;
	return ((value & ~row->match_mask) | (row->match_value & row->match_mask & mask)) >> shift;
}

static int wants(const struct isa_row *row, uint32_t key)
{
	return (row->match_mask & row->match_value & key) != 0;
}

static int free_bit(const struct isa_row *row, uint32_t key)
{
	return !(row->match_mask & key);
}

static unsigned pp_of(const struct isa_row *row)
{
	return wants(row, KEY_66) ? 1 : wants(row, KEY_F3) ? 2 : wants(row, KEY_F2) ? 3 : 0;
}

static void put_legacy(struct writer *w)
{
	const struct isa_row *row = w->row;
	if (wants(row, KEY_66) || (free_bit(row, KEY_66) && diff_chance(15) && !(row->attributes & ROW_FORCE64)))
		put(w->e, 0x66);
	if (diff_chance(5))
		put(w->e, 0x67);
	if (wants(row, KEY_F3))
		put(w->e, 0xf3);
	else if (wants(row, KEY_F2))
		put(w->e, 0xf2);
	else if (row->attributes & ROW_REP && diff_chance(60))
		put(w->e, diff_chance(50) ? 0xf3 : 0xf2);
	else if (row->attributes & ROW_LOCK && diff_chance(10))
		put(w->e, 0xf0);
	else if (row->op == OP_XCHG && row->opcode == 0x90 && diff_chance(30)) /* which some take for PAUSE */
		put(w->e, 0xf3);
	unsigned rex = diff_below(16) | 0x40;
	if (wants(row, KEY_W))
		rex |= 8;
	else if (!free_bit(row, KEY_W) || diff_chance(60))
		rex &= ~8u;
	if (wants(row, KEY_B))
		rex |= 1;
	else if (!free_bit(row, KEY_B))
		rex &= ~1u;
	w->e->rex_at = w->e->length;
	if (rex & 8 || wants(row, KEY_B) || diff_chance(50))
		put(w->e, rex);
	w->e->opcode_at = w->e->length;
	if (w->map)
		put(w->e, 0x0f);
	if (w->map >= 2)
		put(w->e, w->map == 2 ? 0x38 : 0x3a);
	put(w->e, row->opcode);
}

static unsigned vex_l(const struct writer *w)
{
	unsigned l = field(w->row, KEY_L_SHIFT, 2);
	return w->encoding == ENC_VEX ? l & 1 : l;
}

static void put_vex(struct writer *w)
{
	const struct isa_row *row = w->row;
	unsigned vvvv = diff_chance(75) ? diff_below(16) : 15, w_bit = field(row, 3, 1);
	unsigned p1 = w_bit << 7 | vvvv << 3 | vex_l(w) << 2 | pp_of(row);
	if (w->map == 1 && !w_bit && diff_chance(40)) {
		put(w->e, 0xc5);
		put(w->e, (p1 & 0x7f) | diff_below(2) << 7);
	} else {
		put(w->e, 0xc4);
		put(w->e, diff_below(8) << 5 | w->map);
		put(w->e, p1);
	}
	put(w->e, row->opcode);
}

static void put_evex(struct writer *w)
{
	const struct isa_row *row = w->row;
	unsigned mask = row->attributes & ROW_VSIB ? 1 + diff_below(7) :
			row->attributes & ROW_MASK && diff_chance(60) ? diff_below(8) : 0;
	unsigned zero = row->attributes & ROW_ZERO && mask && diff_chance(40);
	unsigned b = row->attributes & (ROW_BCST | ROW_ER | ROW_SAE) && diff_chance(35);
	unsigned v = diff_chance(75) ? diff_below(32) : 31; /* inverted: 0 */
	put(w->e, 0x62);
	put(w->e, diff_below(16) << 4 | w->map);
	put(w->e, field(row, 3, 1) << 7 | (v & 15) << 3 | 4 | pp_of(row));
	put(w->e, zero << 7 | vex_l(w) << 5 | b << 4 | (v >> 4) << 3 | mask);
	put(w->e, row->opcode);
}

static void put_disp32(struct encoding *e)
{
	e->disp_at = e->length;
	for (unsigned n = 0; n < 4; n++)
		put(e, n < 2 ? (unsigned)diff_random() & 0xff : 0);
}

static void put_modrm(struct writer *w)
{
	const struct isa_row *row = w->row;
	unsigned mod = wants(row, KEY_REG3) || (free_bit(row, KEY_REG3) && diff_chance(50)) ? 3 : diff_below(3);
	unsigned rm = field(row, KEY_RM_SHIFT, 3);
	if (row->attributes & ROW_VSIB)
		rm = 4;
	put(w->e, mod << 6 | field(row, KEY_REG_SHIFT, 3) << 3 | rm);
	if (mod == 3)
		return;
	unsigned base = rm;
	if (rm == 4) {
		base = diff_below(8);
		put(w->e, diff_below(4) << 6 | diff_below(8) << 3 | base);
	}
	if (mod == 1)
		put(w->e, (unsigned)diff_random() & 0xff);
	else if (mod == 2 || base == 5)
		put_disp32(w->e);
}

static int try_encode(struct encoding *e, unsigned number)
{
	const struct isa_row *row = &isa_rows[number];
	struct writer w = { .e = e, .row = row, .encoding = row->map > 6 ? ENC_EVEX : row->map > 3 ? ENC_VEX : ENC_LEGACY };
	w.map = row->map - w.encoding * 3;
	e->length = e->disp_at = e->rex_at = e->opcode_at = 0;
	switch (w.encoding) {
	case ENC_VEX: put_vex(&w); break;
	case ENC_EVEX: put_evex(&w); break;
	default: put_legacy(&w); break;
	}
	e->modrm_at = e->length;
	if (row->modrm)
		put_modrm(&w);
	for (unsigned n = e->length; n < sizeof e->bytes; n++)
		e->bytes[n] = (uint8_t)diff_random();
	int length = isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
	e->length = length > 0 ? (unsigned)length : 0;
	return length > 0 && e->insn.row == number;
}

/* Branches lead into the INT3s around the instruction: neither further nor back into itself. */
static void bound_branch(struct encoding *e)
{
	unsigned size = e->insn.opcode >> 4 == 7 || e->insn.opcode >> 2 == 0xe0 >> 2 || e->insn.opcode == 0xeb ? 1 : 4;
	int32_t distance = (int32_t)(size == 1 ? 32 + diff_below(90) : 32 + diff_below(4000)) * (diff_chance(50) ? 1 : -1);
	memcpy(e->bytes + e->length - size, &distance, size);
	isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
}

static void bound_branches(struct encoding *e)
{
	for (unsigned n = 0; n < 4; n++)
		if (e->insn.operand[n].kind == OPERAND_REL)
			bound_branch(e);
}

int diff_encode(struct encoding *e, unsigned row)
{
	for (unsigned tries = 0; tries < 200; tries++)
		if (try_encode(e, row)) {
			bound_branches(e);
			return 1;
		}
	return 0;
}

void diff_set_disp(struct encoding *e, int32_t disp)
{
	memcpy(e->bytes + e->disp_at, &disp, 4);
	isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
}

void diff_set_moffs(struct encoding *e, uint64_t address)
{
	memcpy(e->bytes + e->length - e->insn.adsize, &address, e->insn.adsize);
	isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
}

/* --- changing an encoding --- */

static void decode_again(struct encoding *e)
{
	int length = isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
	e->length = length > 0 ? (unsigned)length : 0;
}

static void replace(struct encoding *e, unsigned at, unsigned old, const uint8_t *bytes, unsigned new)
{
	memmove(e->bytes + at + new, e->bytes + at + old, sizeof e->bytes - at - (new > old ? new : old));
	memcpy(e->bytes + at, bytes, new);
}

/* ModRM without its reg field, SIB, displacement. */
static unsigned memory_bytes(uint8_t *to, const struct diff_memory *m, unsigned reg, bool sib)
{
	unsigned n = 0, mod = m->disp8 ? 1 : 2, size;
	bool no_base = m->base == REG_NONE;
	sib |= m->index != REG_NONE || no_base || (m->base & 7) == 4;
	if (m->base == REG_RIP || no_base)
		mod = 0;
	else if (!m->disp && (m->base & 7) != 5)
		mod = 0;
	to[n++] = (uint8_t)(mod << 6 | reg << 3 | (m->base == REG_RIP ? 5 : sib ? 4 : m->base & 7));
	if (sib && m->base != REG_RIP)
		to[n++] = (uint8_t)(m->scale << 6 | (m->index == REG_NONE ? 4 : m->index & 7) << 3 | (no_base ? 5 : m->base & 7));
	size = m->base == REG_RIP || no_base || mod == 2 ? 4 : mod;
	memcpy(to + n, &m->disp, size);
	return n + size;
}

static unsigned memory_length(const uint8_t *modrm)
{
	unsigned mod = modrm[0] >> 6, rm = modrm[0] & 7, base = rm == 4 ? modrm[1] & 7 : rm;
	return 1 + (rm == 4) + (mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
}

/* The high bits of base and index; false when there is no room for them. */
static bool put_high_bits(struct encoding *e, unsigned b, unsigned x, bool keep_x)
{
	uint8_t *p = e->bytes + e->opcode_at;
	if (e->insn.encoding != ENC_LEGACY) {
		if (*p == 0xc5)
			return !b && !x;
		p[1] = (uint8_t)((p[1] & (keep_x ? ~0x20u : ~0x60u)) | (b ? 0 : 0x20) | (keep_x || x ? 0 : 0x40));
		return true;
	}
	if (e->rex_at != e->opcode_at) {
		p[-1] = (uint8_t)((p[-1] & ~3u) | x << 1 | b);
		return true;
	}
	if (!b && !x)
		return true;
	for (unsigned n = 0; n < 4; n++)
		if (e->insn.operand[n].kind == OPERAND_GPR && e->insn.operand[n].reg >= 16)
			return false;
	const uint8_t rex = (uint8_t)(0x40 | x << 1 | b);
	replace(e, e->rex_at, 0, &rex, 1);
	e->opcode_at++;
	e->modrm_at++;
	return true;
}

bool diff_set_memory(struct encoding *e, const struct diff_memory *m)
{
	bool vsib = isa_rows[e->insn.row].attributes & ROW_VSIB;
	struct diff_memory to = *m;
	struct encoding before = *e;
	uint8_t bytes[8];
	if (vsib) {
		to.index = e->insn.index & 15;
		to.scale = e->insn.scale;
	}
	unsigned b = m->base < 16 ? m->base >> 3 : 0, x = to.index < 16 ? to.index >> 3 : 0;
	if ((vsib && m->base == REG_RIP) || !put_high_bits(e, b, x, vsib))
		return false;
	uint8_t *modrm = e->bytes + e->modrm_at;
	replace(e, e->modrm_at, memory_length(modrm), bytes, memory_bytes(bytes, &to, *modrm >> 3 & 7, vsib));
	decode_again(e);
	if (e->insn.row == before.insn.row && e->length)
		return true;
	*e = before;
	return false;
}

void diff_add_prefix(struct encoding *e, uint8_t prefix)
{
	replace(e, 0, 0, &prefix, 1);
	e->rex_at++;
	e->opcode_at++;
	e->modrm_at++;
	decode_again(e);
}
