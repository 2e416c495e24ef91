/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/raw.h"

#include "base/util.h"
#include "isa/table.h"

/*
 * The parts of an instruction's bytes (SDM 2A, 2.1): legacy prefixes, REX, VEX or
 * EVEX, opcode, ModRM, SIB and displacement, immediates.
 */
struct parts {
	uint8_t legacy[15];     /* 66, F2, F3 and F0: segment overrides and 67 belong to the operand */
	unsigned legacy_count;
	uint8_t rex;            /* 0: none */
	const uint8_t *vex;     /* after the C4, C5 or 62; NULL: none */
	bool short_vex;
	const uint8_t *opcode;
	unsigned opcode_count;
	uint8_t modrm;
	const uint8_t *tail;    /* immediates */
	unsigned tail_count;
};

static bool is_prefix(uint8_t byte, bool *kept)
{
	switch (byte) {
	case 0x66: case 0xf2: case 0xf3: case 0xf0:
		*kept = true;
		return true;
	case 0x67: case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
		*kept = false;
		return true;
	default:
		return false;
	}
}

static const uint8_t *skip_operand(const uint8_t *at, uint8_t modrm, bool wide)
{
	unsigned mod = modrm >> 6, rm = modrm & 7, base = rm;
	if (mod == 3)
		return at;
	if (!wide)
		return NULL;
	if (rm == 4)
		base = *at++ & 7;
	return at + (mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
}

static bool split(struct parts *p, const struct insn *insn, const uint8_t *bytes)
{
	const uint8_t *at = bytes;
	bool kept;
	*p = (struct parts){ 0 };
	const bool rex = insn->encoding == ENC_LEGACY && insn->mode == ISA_MODE_64;
	for (;; at++) {
		bool prefix = is_prefix(*at, &kept);
		if (!prefix && !(rex && (*at & 0xf0) == 0x40))
			break;
		p->rex = prefix ? 0 : *at; /* which counts directly before the opcode alone */
		if (prefix && kept)
			p->legacy[p->legacy_count++] = *at;
	}
	if (insn->encoding != ENC_LEGACY) {
		p->short_vex = *at == 0xc5;
		p->vex = at + 1;
		at += insn->encoding == ENC_EVEX ? 4 : p->short_vex ? 2 : 3;
	}
	p->opcode = at;
	p->opcode_count = insn->encoding != ENC_LEGACY || insn->map == 0 ? 1 : insn->map == 1 ? 2 : 3;
	at += p->opcode_count;
	if (isa_rows[insn->row].modrm) {
		p->modrm = *at++;
		at = skip_operand(at, p->modrm, insn->adsize != 2);
	}
	p->tail = at;
	if (at)
		p->tail_count = insn->length - (unsigned)(at - bytes);
	return at != NULL;
}

static bool high_byte(const struct insn *insn)
{
	for (unsigned n = 0; n < 4; n++)
		if (insn->operand[n].kind == OPERAND_GPR && insn->operand[n].reg >= 16)
			return true;
	return false;
}

static void put_vex(struct emitter *e, const struct parts *p, unsigned xb)
{
	uint8_t first = p->short_vex ? (p->vex[0] & 0x80) | 0x61 : p->vex[0];
	uint8_t second = p->short_vex ? p->vex[0] & 0x7f : p->vex[1];
	if (xb != ~0u)
		first = (uint8_t)((first & 0x9f) | ((~xb & 3) << 5));
	put8(e, 0xc4);
	put8(e, first);
	put8(e, second);
}

static void put_evex(struct emitter *e, const struct parts *p, unsigned xb)
{
	uint8_t first = p->vex[0];
	if (xb != ~0u)
		first = (uint8_t)((first & 0x9f) | ((~xb & 3) << 5));
	put8(e, 0x62);
	put8(e, first);
	put8(e, p->vex[1]);
	put8(e, p->vex[2]);
}

/* EVEX would scale a displacement byte. */
static void put_operand(struct emitter *e, const struct parts *p, const struct host_mem *m, bool evex)
{
	unsigned reg = p->modrm >> 3 & 7;
	if (!evex || !m->disp) {
		emit_modrm(e, reg, m);
		return;
	}
	put8(e, 0x80 | reg << 3 | 4);
	put8(e, (unsigned)m->scale << 6 | (m->index == HOST_NONE ? 4u : m->index & 7u) << 3 | (m->base & 7u));
	put32(e, (uint32_t)m->disp);
}

/* INC and DEC of one byte, and 82, do not exist in 64-bit mode: the forms with ModRM do, and 80. */
static void put_opcode(struct emitter *e, const struct parts *p, const struct insn *insn)
{
	bool legacy = insn->mode != ISA_MODE_64 && insn->encoding == ENC_LEGACY && insn->map == 0;
	if (legacy && (insn->opcode & 0xf0) == 0x40) {
		put8(e, 0xff);
		put8(e, 0xc0 | (insn->opcode & 15));
	} else if (legacy && insn->opcode == 0x82) {
		put8(e, 0x80);
	} else {
		put_bytes(e, p->opcode, p->opcode_count);
	}
}

bool raw_copy(struct emitter *e, const struct insn *insn, const uint8_t *bytes, const struct host_mem *m)
{
	struct parts p;
	if (!split(&p, insn, bytes))
		return false;
	unsigned xb = m ? emit_rex_xb(m) : ~0u;
	if (m && xb && high_byte(insn))
		return false;
	if (m && m->gs)
		put8(e, 0x65);
	put_bytes(e, p.legacy, p.legacy_count);
	if (insn->encoding == ENC_VEX)
		put_vex(e, &p, xb);
	else if (insn->encoding == ENC_EVEX)
		put_evex(e, &p, xb);
	else if (m && (p.rex || xb))
		put8(e, 0x40 | (p.rex & 12) | xb);
	else if (p.rex)
		put8(e, p.rex);
	put_opcode(e, &p, insn);
	if (m)
		put_operand(e, &p, m, insn->encoding == ENC_EVEX);
	else if (isa_rows[insn->row].modrm)
		put8(e, p.modrm);
	put_bytes(e, p.tail, p.tail_count);
	return true;
}
