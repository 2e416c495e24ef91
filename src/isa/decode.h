/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_DECODE_H
#define VISOR_ISA_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "isa/insn.h"
#include "isa/table.h"

/*
 * The decoder's own header: decode.c finds the row, decode_operand.c reads what
 * the row's operands need.
 *
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

static inline uint8_t take(struct decoder *d)
{
	if (d->position >= d->limit) {
		d->ended = true;
		return 0;
	}
	return d->bytes[d->position++];
}

static inline uint64_t take_number(struct decoder *d, unsigned size)
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

/* Fills insn->operand by the row's operand types and reads immediates; ModRM's address is parsed already. Returns 0 or
 * ISA_INVALID. */
int isa_decode_operands(struct decoder *d, struct insn *i);

#endif
