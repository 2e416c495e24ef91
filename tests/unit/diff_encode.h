/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DIFF_ENCODE_H
#define VISOR_TESTS_DIFF_ENCODE_H

#include <stdbool.h>

#include "isa/insn.h"
#include "isa/table.h"

/* Random numbers, the same on every machine for one seed. */
uint64_t diff_random(void);
void diff_seed(uint64_t seed);
static inline unsigned diff_below(unsigned n) { return (unsigned)(diff_random() >> 32) % n; }
static inline int diff_chance(unsigned percent) { return diff_below(100) < percent; }

/* An instruction made from an opcode row. */
struct encoding {
	uint8_t bytes[32];
	unsigned length;
	unsigned disp_at; /* position of a 32-bit displacement, 0 if there is none */
	unsigned rex_at, opcode_at, modrm_at; /* rex_at is opcode_at when there is no REX; opcode_at: of 0F, VEX, EVEX or opcode */
	struct insn insn;
};

/* A random encoding of the row for 64-bit mode, decoded. False: no bytes tried decode to it. */
int diff_encode(struct encoding *e, unsigned row);
/* Replaces the 32-bit displacement and decodes again. */
void diff_set_disp(struct encoding *e, int32_t disp);
/* The address of MOV's offset forms, which ends the instruction. */
void diff_set_moffs(struct encoding *e, uint64_t address);

/* A memory operand: registers by REG_*, REG_NONE and REG_RIP allowed. */
struct diff_memory {
	uint8_t base, index, scale;
	int32_t disp;
	bool disp8; /* one byte will do */
};
/* Gives the instruction, which has one, another memory operand; of a gather's the index register stays. False, and nothing is
 * changed: the encoding has no room for these registers. */
bool diff_set_memory(struct encoding *e, const struct diff_memory *m);
/* Puts a prefix byte before the instruction. */
void diff_add_prefix(struct encoding *e, uint8_t prefix);

#endif
