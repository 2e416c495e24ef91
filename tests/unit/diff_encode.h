/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DIFF_ENCODE_H
#define VISOR_TESTS_DIFF_ENCODE_H

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
	struct insn insn;
};

/* A random encoding of the row for 64-bit mode, decoded. False: no bytes tried decode to it. */
int diff_encode(struct encoding *e, unsigned row);
/* Replaces the 32-bit displacement and decodes again. */
void diff_set_disp(struct encoding *e, int32_t disp);
/* The address of MOV's offset forms, which ends the instruction. */
void diff_set_moffs(struct encoding *e, uint64_t address);

#endif
