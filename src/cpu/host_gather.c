/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/host.h"

#include "cpu/access.h"
#include "isa/table.h"

/*
 * Gathers and scatters, element by element from the lowest. Each finished
 * element's mask is cleared before the next access, so that a page fault
 * leaves a state from which the instruction goes on (SDM 2A, 2.3.12 and 2.8.11).
 */
struct elements {
	unsigned data_size, index_size, count;
	uint8_t *data;
	const uint8_t *index;
};

/* Opcodes 90..93 gather, A0..A3 scatter: odd ones have qword indices; W makes the data qwords. */
static struct elements elements_of(struct cpu *c, const struct insn *insn, unsigned data_reg)
{
	struct elements e = { .data_size = insn->evex & EVEX_W ? 8 : 4, .index_size = insn->opcode & 1 ? 8 : 4,
			      .data = c->vec[data_reg], .index = c->vec[insn->index] };
	e.count = insn->vl / MAX(e.data_size, e.index_size);
	return e;
}

static uint64_t element_linear(struct cpu *c, const struct insn *insn, const struct elements *e, unsigned i,
			       unsigned access)
{
	int64_t index = e->index_size == 8 ? (int64_t)load_le64(e->index + 8 * i) : (int32_t)load_le32(e->index + 4 * i);
	uint64_t address = c->gpr[insn->base] + ((uint64_t)index << insn->scale) + (uint64_t)(int64_t)insn->disp;
	return linear_address(c, (enum isa_seg)insn->seg, address & size_mask(insn->adsize), e->data_size, access);
}

static void gather_element(struct cpu *c, const struct insn *insn, const struct elements *e, unsigned i)
{
	uint64_t linear = element_linear(c, insn, e, i, ACCESS_R);
	store_le(e->data + e->data_size * i, access_read(c, linear, e->data_size), e->data_size);
}

static void zero_above(uint8_t *vec, unsigned bytes)
{
	memset(vec + bytes, 0, 64 - bytes);
}

/*
 * Before the first access each element of the mask, those without an index too,
 * becomes its sign in all its bits, and what is above them zero: a fault shows
 * it (SDM 2C, VGATHERDPS, "Operation"). AMD's processors change only the mask of
 * elements that are finished.
 */
static void spread_signs(const struct insn *insn, uint8_t *mask, unsigned size)
{
	for (unsigned at = 0; at < insn->vl; at += size)
		memset(mask + at, mask[at + size - 1] & 0x80 ? 0xff : 0, size);
	zero_above(mask, insn->vl);
}

/* VEX: the mask is the sign of each element of the third operand, which ends as zero. */
static void exec_gather_vex(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_AVX))
		return;
	struct elements e = elements_of(c, insn, insn->operand[0].reg);
	uint8_t *mask = c->vec[insn->operand[2].reg];
	if (!c->amd)
		spread_signs(insn, mask, e.data_size);
	for (unsigned i = 0; i < e.count; i++) {
		uint8_t *sign = mask + e.data_size * i;
		if (sign[e.data_size - 1] & 0x80) {
			gather_element(c, insn, &e, i);
			if (!c->amd)
				zero_above(e.data, insn->vl); /* a fault later on leaves it so */
		}
		memset(sign, 0, e.data_size);
	}
	memset(mask, 0, 64);
	zero_above(e.data, e.count * e.data_size);
}

static void exec_gather_evex(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_AVX512))
		return;
	struct elements e = elements_of(c, insn, insn->operand[0].reg);
	for (unsigned i = 0; i < e.count; i++) {
		if (c->k[insn->mask] >> i & 1) {
			gather_element(c, insn, &e, i);
			zero_above(e.data, insn->vl); /* a fault later on leaves it so, on the host too */
		}
		c->k[insn->mask] &= ~BIT64(i);
	}
	c->k[insn->mask] = 0;
	zero_above(e.data, e.count * e.data_size);
}

static void exec_scatter(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_AVX512))
		return;
	struct elements e = elements_of(c, insn, insn->operand[1].reg);
	for (unsigned i = 0; i < e.count; i++) {
		if (c->k[insn->mask] >> i & 1) {
			uint64_t linear = element_linear(c, insn, &e, i, ACCESS_W);
			access_write(c, linear, load_le(e.data + e.data_size * i, e.data_size), e.data_size);
		}
		c->k[insn->mask] &= ~BIT64(i);
	}
	c->k[insn->mask] = 0;
}

/* #UD by the encoding: no opmask; the rest (ROW_DISTINCT) the decoder sees. */
insn_exec *select_gather(struct cpu *c, struct insn *insn)
{
	if (insn->encoding == ENC_VEX)
		return exec_gather_vex;
	if (!insn->mask)
		return NULL;
	return insn->operand[0].kind == OPERAND_MEM ? exec_scatter : exec_gather_evex;
}
