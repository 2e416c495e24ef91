/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "isa/op.h"

/*
 * Sensitive instructions that a kernel executes all the time, at CPL 0 (code of a
 * supervisor set). Whatever is out of the ordinary goes to their functions.
 */
#define RFLAGS CPU_FIELD(rflags)

static void test_field(struct translator *t, struct host_mem field, uint32_t bits, struct thunk *thunk, unsigned condition)
{
	emit_mem(&t->e, 0, 0xf7, 0, field);
	put32(&t->e, bits);
	jump_to_thunk(t, thunk, condition);
}

/* op qword [field], sign-extended constant; 1: or, 4: and */
static void change_field(struct translator *t, struct host_mem field, unsigned op, int32_t value)
{
	emit_mem(&t->e, EMIT_W, 0x81, op, field);
	put32(&t->e, (uint32_t)value);
}

static bool cli(struct translator *t)
{
	flags_to_memory(t, t->live[t->now]);
	change_field(t, RFLAGS, 4, ~(int32_t)FLAG_IF);
	return true;
}

/* The interrupt shadow is that of the instruction behind it: no event is looked for in between. */
static bool sti(struct translator *t)
{
	if (t->now + 1 == t->count)
		return false;
	flags_to_memory(t, t->live[t->now]);
	test_field(t, CPU_FIELD(signals), ATTN_INTR | ATTN_NMI, helper_thunk(t), COND_NE);
	change_field(t, RFLAGS, 1, FLAG_IF);
	return true;
}

static bool swapgs(struct translator *t)
{
	struct emitter *e = &t->e;
	emit_load(e, S_A, CPU_FIELD(seg[SEG_GS].base));
	emit_load(e, S_B, CPU_FIELD(kernel_gs_base));
	emit_store(e, CPU_FIELD(kernel_gs_base), S_A);
	emit_store(e, CPU_FIELD(seg[SEG_GS].base), S_B);
	emit_store(e, CPU_FIELD(segment_base[SEG_GS]), S_B);
	return true;
}

/* The code behind it has other rights: another TLB. With SMAP off, the set would stay. */
static bool set_ac(struct translator *t, bool on)
{
	unsigned set = on ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
	if (!cpu_has(t->c, FEATURE_SMAP) || t->now + 1 == t->count)
		return false;
	flags_to_memory(t, t->live[t->now]);
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_END;
	test_field(t, CPU_FIELD(cr4), CR4_SMAP, thunk, COND_E);
	change_field(t, RFLAGS, on ? 1 : 4, on ? (int32_t)FLAG_AC : ~(int32_t)FLAG_AC);
	emit_constant(&t->e, S_A, (uintptr_t)t->c->tlbs[set]);
	emit_store(&t->e, CPU_FIELD(tlb), S_A);
	t->set = (uint8_t)set;
	return true;
}

void emit_rflags(struct translator *t, unsigned to, unsigned scratch)
{
	struct emitter *e = &t->e;
	emit_mem(e, EMIT_0F, 0xb7, to, CPU_FIELD(cc));
	emit_reg(e, 0, 0x89, to, scratch);
	emit_reg(e, 0, 0xc1, 5, to);
	put8(e, 8);
	emit_reg(e, 0, 0x81, 4, to);
	put32(e, 0xd5);
	emit_reg(e, 0, 0x83, 4, scratch);
	put8(e, 1);
	emit_reg(e, 0, 0xc1, 4, scratch);
	put8(e, 11);
	emit_reg(e, 0, 0x09, scratch, to);
	emit_mem(e, EMIT_W, 0x0b, to, RFLAGS);
}

static bool pushf(struct translator *t, const struct insn *i)
{
	if (i->opsize != 8 || stack_unreachable(t))
		return false;
	flags_to_memory(t, FLAG_ARITH);
	struct thunk *thunk = helper_thunk(t);
	emit_rflags(t, S_A, S_B);
	emit_reg(&t->e, 0, 0x81, 4, S_A);
	put32(&t->e, (uint32_t)~(FLAG_VM | FLAG_RF));
	emit_push(t, S_A, thunk);
	return true;
}

static bool rdtsc(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	if (t->c->tsc_scale || t->c->tsc_source)
		return false;
	flags_to_memory(t, t->live[t->now]);
	if (t->set == TLB_USER)
		test_field(t, CPU_FIELD(cr4), CR4_TSD, helper_thunk(t), COND_NE);
	put8(e, 0x0f);
	put8(e, 0x31);
	emit_reg(e, EMIT_W, 0xc1, 4, REG_RDX);
	put8(e, 32);
	emit_reg(e, EMIT_W, 0x09, REG_RDX, REG_RAX);
	emit_mem(e, EMIT_W, 0x03, REG_RAX, CPU_FIELD(tsc_offset));
	emit_move(e, REG_RDX, REG_RAX);
	emit_reg(e, EMIT_W, 0xc1, 5, REG_RDX);
	put8(e, 32);
	emit_reg(e, 0, 0x89, REG_RAX, REG_RAX);
	if (i->op == OP_RDTSCP)
		emit_mem(e, 0, 0x8b, REG_RCX, CPU_FIELD(tsc_aux));
	return true;
}

/* The value in host register `from` becomes that of a general register, or of its low 16 bits. */
static void write_gpr(struct translator *t, unsigned reg, unsigned from, unsigned size)
{
	unsigned flags = size == 2 ? EMIT_66 : EMIT_W;
	if (scratch_register(reg))
		emit_mem(&t->e, flags, 0x89, from, CPU_FIELD(gpr[reg]));
	else
		emit_reg(&t->e, flags, 0x89, from, reg);
}

static bool move_from_segment(struct translator *t, const struct insn *i)
{
	const struct operand *to = &i->operand[0], *from = &i->operand[1];
	if (to->kind == OPERAND_MEM && from->kind == OPERAND_SEG && from->reg <= SEG_GS) {
		struct host_mem m;
		if (!uses_windows(t))
			flags_to_memory(t, t->live[t->now]);
		struct thunk *thunk = helper_thunk(t);
		emit_operand(t, i, 2, ACCESS_W, 1u << S_A, thunk, &m);
		emit_mem(&t->e, EMIT_0F, 0xb7, S_A, CPU_FIELD(seg[from->reg].selector));
		emit_access(t, thunk);
		emit_mem(&t->e, EMIT_66, 0x89, S_A, m);
		return true;
	}
	if (to->kind != OPERAND_GPR || to->reg == REG_RSP || from->reg > SEG_GS)
		return false;
	emit_mem(&t->e, EMIT_0F, 0xb7, S_A, CPU_FIELD(seg[from->reg].selector));
	write_gpr(t, to->reg, S_A, i->opsize);
	return true;
}

static bool move_from_control(struct translator *t, const struct insn *i)
{
	static const unsigned field[5] = { [0] = offsetof(struct cpu, cr0), [2] = offsetof(struct cpu, cr2), [3] = offsetof(struct cpu, cr3),
					   [4] = offsetof(struct cpu, cr4) };
	const struct operand *to = &i->operand[0], *from = &i->operand[1];
	if (to->kind != OPERAND_GPR || to->reg == REG_RSP || from->reg > 4 || from->reg == 1)
		return false;
	emit_mem(&t->e, to->size == 8 ? EMIT_W : 0, 0x8b, S_A, CPU_OFFSET(field[from->reg]));
	write_gpr(t, to->reg, S_A, 8);
	return true;
}

static bool fs_gs_base(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	const unsigned reg = i->operand[0].reg, seg = i->op == OP_RDFSBASE || i->op == OP_WRFSBASE ? SEG_FS : SEG_GS;
	if (reg == REG_RSP || i->opsize != 8)
		return false;
	flags_to_memory(t, t->live[t->now]);
	struct thunk *thunk = helper_thunk(t);
	test_field(t, CPU_FIELD(cr4), CR4_FSGSBASE, thunk, COND_E);
	if (i->op == OP_RDFSBASE || i->op == OP_RDGSBASE) {
		emit_load(e, S_A, CPU_FIELD(seg[seg].base));
		write_gpr(t, reg, S_A, 8);
		return true;
	}
	unsigned value = emit_gpr(t, reg, S_A);
	emit_move(e, S_B, value); /* canonical? */
	emit_reg(e, EMIT_W, 0xc1, 4, S_B);
	put8(e, 16);
	emit_reg(e, EMIT_W, 0xc1, 7, S_B);
	put8(e, 16);
	emit_reg(e, EMIT_W, 0x39, S_B, value);
	jump_to_thunk(t, thunk, COND_NE);
	emit_store(e, CPU_FIELD(seg[seg].base), value);
	emit_store(e, CPU_FIELD(segment_base[seg]), value);
	return true;
}

static bool set_direction(struct translator *t, bool on)
{
	flags_to_memory(t, t->live[t->now]);
	change_field(t, RFLAGS, on ? 1 : 4, on ? (int32_t)FLAG_DF : ~(int32_t)FLAG_DF);
	return true;
}

/* Every 64th goes to the function, which yields. */
static bool pause_briefly(struct translator *t)
{
	struct emitter *e = &t->e;
	if (t->c->count == 1)
		return true;
	flags_to_memory(t, t->live[t->now]);
	emit_mem(e, 0, 0x8b, S_A, CPU_FIELD(pauses));
	emit_lea(e, S_A, MEM_BASE(S_A, 1));
	emit_reg(e, 0, 0xf7, 0, S_A);
	put32(e, 63);
	jump_to_thunk(t, helper_thunk(t), COND_E);
	emit_mem(e, 0, 0x89, S_A, CPU_FIELD(pauses));
	return true;
}

/* What user code may execute as well. */
static bool translate_any(struct translator *t, const struct insn *i)
{
	switch (i->op) {
	case OP_CLD: return set_direction(t, false);
	case OP_STD: return set_direction(t, true);
	case OP_RDTSC: return rdtsc(t, i);
	case OP_RDTSCP: return cpu_has(t->c, FEATURE_RDTSCP) && rdtsc(t, i);
	case OP_PAUSE: return pause_briefly(t);
	case OP_PUSHF: return pushf(t, i);
	case OP_MOV_SEG: return move_from_segment(t, i);
	case OP_RDFSBASE: case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE: return fs_gs_base(t, i);
	default: return false;
	}
}

bool translate_system(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if (translate_any(t, i))
		return true;
	if (t->set == TLB_USER)
		return false;
	switch (i->op) {
	case OP_CLI: return cli(t);
	case OP_STI: return sti(t);
	case OP_SWAPGS: return swapgs(t);
	case OP_STAC: return set_ac(t, true);
	case OP_CLAC: return set_ac(t, false);
	case OP_MOV_CR: return move_from_control(t, i);
	default: return false;
	}
}
