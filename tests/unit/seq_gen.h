/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_SEQ_GEN_H
#define VISOR_TESTS_SEQ_GEN_H

#include "seq.h"

/*
 * A sequence being made. Registers with a part to play keep it: pointers and
 * indices have values known from the start, a loop's counter is the loop's;
 * what is `reserved` no instruction writes, but for the small steps of string
 * and stack instructions.
 */
struct seq_gen {
	struct seq_program *p;
	uint16_t pointers, indices, reserved; /* bit per register */
	uint64_t value[16];
	uint16_t undefined;  /* flags, as far as is known here; seq_analyse knows */
	uint32_t group;
	uint32_t groups;
	unsigned depth;
	const uint8_t *weights; /* percent, by enum seq_category */
};

enum seq_category { SEQ_INTEGER, SEQ_SSE, SEQ_AVX, SEQ_EVEX, SEQ_X87, SEQ_SYSTEM, SEQ_CATEGORIES };

/* Appends an instruction; the item, whose `fix` the caller may set. */
struct seq_item *seq_add(struct seq_gen *g, const uint8_t *bytes, unsigned length);
#define SEQ_ADD(g, ...) seq_add(g, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
/* Room for that many more items? */
bool seq_room(const struct seq_gen *g, unsigned items);

/* Plain instructions for settings. Registers by REG_*. */
void seq_mov_imm(struct seq_gen *g, unsigned reg, uint64_t value);
void seq_lea_data(struct seq_gen *g, unsigned reg, uint32_t data);
struct seq_item *seq_lea_item(struct seq_gen *g, unsigned reg, int target);
void seq_push_imm(struct seq_gen *g, uint32_t value);
void seq_define_flags(struct seq_gen *g);
/* An offset in the view for an operand of that size. */
uint32_t seq_target(unsigned size, bool write, bool aligned);
/* A register that nobody has reserved, not RSP. */
unsigned seq_scratch(const struct seq_gen *g);

/* An instruction of the row; false: not here. */
bool seq_row(struct seq_gen *g, unsigned row);
/* One of the rows of a category, one after the other over all sequences. */
bool seq_any(struct seq_gen *g);

/* seq_prepare.c: what an instruction wants before it: bounded counts, pointers where it takes them. *memory: set when
 * it has its memory operand already. False: not here. */
bool seq_prepare(struct seq_gen *g, struct encoding *e, bool *memory);
uint16_t seq_writes(const struct insn *insn);

/* seq_idiom.c: branches, loops, calls. */
void seq_unit(struct seq_gen *g);

#endif
