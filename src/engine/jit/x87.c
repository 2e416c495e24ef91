/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>
#include <string.h>

#include "base/util.h"
#include "cpu/fpu.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * x87 and MMX instructions are copied with the guest's x87 state in the host's registers (VECTOR_X87). What the host
 * knows of the last instruction (FIP, FDP, FOP) are its own addresses: the guest's are stored in struct cpu behind
 * each run of x87 instructions, and on the ways out of it.
 */

/* --- state --- */

void x87_load(struct cpu *c, struct jit *jit)
{
	memcpy(jit->x87, c->x87, sizeof(c->x87));
	memset(jit->x87 + X87_FOP, 0, X87_MXCSR - X87_FOP);
	store_le32(jit->x87 + X87_MXCSR, MXCSR_RESET);
}

void x87_store(struct cpu *c, const struct jit *jit)
{
	memcpy(c->x87, jit->x87, X87_FOP);
	memcpy(x87_st(c, 0), jit->x87 + X87_ST, 128);
}

/* --- which instructions --- */

static bool uses_mmx_register(const struct insn *i)
{
	return i->operand[0].kind == OPERAND_MMX || i->operand[1].kind == OPERAND_MMX;
}

bool x87_copied(const struct insn *i)
{
	uint32_t attributes = isa_rows[i->row].attributes;
	if (i->op == OP_FWAIT || i->op == OP_EMMS)
		return true;
	if (!(attributes & ROW_HOST) || !(attributes & (ROW_X87 | ROW_MMX)))
		return false;
	/* CVTPI2PS with memory leaves the x87 state alone on some processors only. */
	return attributes & ROW_X87 ? i->op != OP_FNINIT : uses_mmx_register(i);
}

/* Instructions that set FIP and its kin (SDM 1, 8.1.8). */
static bool noted(const struct insn *i)
{
	if (!(isa_rows[i->row].attributes & ROW_X87) || !x87_copied(i))
		return false;
	switch (i->op) {
	case OP_FLDCW: case OP_FNSTCW: case OP_FNSTSW: case OP_FNCLEX:
	case OP_FENI8087_NOP: case OP_FDISI8087_NOP: case OP_FSETPM287_NOP:
		return false;
	default:
		return true;
	}
}

/* --- instruction pointers --- */

static void emit_selector(struct translator *t, size_t to, unsigned seg)
{
	emit_mem(&t->e, EMIT_0F, 0xb7, S_A, CPU_OFFSET(offsetof(struct cpu, seg) + seg * sizeof(struct segment) + offsetof(struct segment, selector)));
	emit_mem(&t->e, EMIT_66, 0x89, S_A, CPU_OFFSET(to));
}

static void emit_instruction(struct translator *t, unsigned index)
{
	const struct insn *i = &t->insn[index];
	emit_guest_address(t, S_A, t->at[index]);
	emit_store(&t->e, CPU_FIELD(x87_ip), S_A);
	emit_selector(t, offsetof(struct cpu, x87_cs), SEG_CS);
	emit_mem(&t->e, EMIT_66, 0xc7, 0, CPU_FIELD(x87_opcode));
	put16(&t->e, (i->opcode & 7u) << 8 | i->modrm);
}

static void emit_data(struct translator *t, unsigned index)
{
	const struct insn *i = &t->insn[index];
	unsigned now = t->now;
	t->now = index; /* what RIP is relative to */
	struct host_mem m = emit_address_of(t, i, S_A, S_B);
	t->now = now;
	if (m.index != HOST_NONE || m.disp || m.base == HOST_NONE) {
		emit_lea(&t->e, S_A, m);
		m = MEM_BASE(S_A, 0);
	}
	emit_store(&t->e, CPU_FIELD(x87_dp), m.base);
	emit_selector(t, offsetof(struct cpu, x87_ds), i->seg);
}

void x87_emit_noted(struct translator *t, struct x87_noted noted)
{
	if (noted.data)
		emit_data(t, noted.data - 1u);
	if (noted.insn)
		emit_instruction(t, noted.insn - 1u);
}

/* Instructions that set the pointers write no general registers: addresses can be worked out behind the last of a run. */
void x87_note(struct translator *t)
{
	const struct insn *i = &t->insn[t->now], *next = i + 1;
	if (!noted(i))
		return;
	t->x87.insn = (uint8_t)(t->now + 1);
	if (i->memory)
		t->x87.data = (uint8_t)(t->now + 1);
	if (t->now + 1 < t->count && noted(next) && cpu_has(t->c, (enum isa_feature)isa_rows[next->row].feature))
		return;
	unsigned index = t->x87.data ? t->insn[t->x87.data - 1].index : REG_NONE;
	reuse_drop_registers(t, 1u << S_A | (index == REG_NONE || !scratch_register(index) ? 0 : 1u << S_B));
	x87_emit_noted(t, t->x87);
	t->x87 = (struct x87_noted){ 0 };
}
