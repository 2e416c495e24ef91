/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * 32-bit code: protected mode with or without paging, and compatibility mode.
 * Most of it has the same encoding in 64-bit mode, where an operand size of
 * 32 bits does to a register's upper half what the functions in cpu/ do. Here is
 * what differs: addresses, the stack, near branches.
 *
 * It is translated where segments are flat: CS, SS, DS and ES from 0 to 4 GiB, a
 * stack of 32 bits. Units take that for granted; whatever changes it is executed by
 * its function, behind which it is looked at again. FS and GS have bases, and their
 * limits are looked at by the code. Units use the TLB, not windows.
 */
#define LAST_PAGE 0xfffff000u /* EIP wraps behind it */

bool legacy_flat(const struct cpu *c)
{
	const uint8_t *check = c->segment_check;
	const uint64_t *base = c->segment_base;
	return c->code_mode == ISA_MODE_32 && !(check[SEG_SS] | check[SEG_DS] | check[SEG_ES]) &&
	       !(base[SEG_SS] | base[SEG_DS] | base[SEG_ES] | base[SEG_CS]) && c->seg[SEG_CS].limit == 0xffffffff &&
	       c->stack_mask == 0xffffffff;
}

bool legacy_translatable(const struct cpu *c, uint64_t linear)
{
	return linear < LAST_PAGE && legacy_flat(c);
}

/* --- memory --- */

/* S_A, zero-extended, is the offset; it becomes the linear address. */
static void add_segment(struct translator *t, unsigned seg, struct thunk *thunk)
{
	struct emitter *e = &t->e;
	emit_mem(e, 0, 0x80, 7, CPU_FIELD(segment_check[seg]));
	put8(e, 0);
	jump_to_thunk(t, thunk, COND_NE);
	emit_load(e, S_B, CPU_FIELD(segment_base[seg]));
	emit_mem(e, 0, 0x8d, S_A, (struct host_mem){ .base = S_A, .index = S_B });
}

static void emit_offset(struct translator *t, const struct insn *i, unsigned to)
{
	struct host_mem m = { .base = HOST_NONE, .index = HOST_NONE, .scale = i->scale, .disp = i->disp };
	if (i->base != REG_NONE)
		m.base = i->base;
	if (i->index != REG_NONE)
		m.index = i->index;
	emit_mem(&t->e, 0, 0x8d, to, m);
}

/* The entry of a constant address is known. */
static void constant_address(struct translator *t, uint32_t linear, unsigned access, struct thunk *thunk,
			     struct host_mem *m)
{
	unsigned slot = (linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1);
	size_t page = access & ACCESS_W ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
	struct host_mem field = tlb_field(t, HOST_NONE, page);
	struct host_mem addend = tlb_field(t, HOST_NONE, offsetof(struct tlb_entry, addend));
	field.disp += (int32_t)(slot * sizeof(struct tlb_entry));
	addend.disp += (int32_t)(slot * sizeof(struct tlb_entry));
	emit_constant(&t->e, S_A, linear & ~(uint32_t)GUEST_PAGE_MASK);
	emit_mem(&t->e, EMIT_W, 0x3b, S_A, field);
	jump_to_thunk(t, thunk, COND_NE);
	emit_load(&t->e, S_B, addend);
	*m = (struct host_mem){ .base = S_A, .index = S_B, .disp = (int32_t)(linear & GUEST_PAGE_MASK) };
}

void legacy_operand(struct translator *t, const struct insn *i, unsigned size, unsigned access, struct thunk *thunk,
		    struct host_mem *m)
{
	bool segment = i->seg == SEG_FS || i->seg == SEG_GS;
	bool constant = i->base == REG_NONE && i->index == REG_NONE && !segment;
	if (constant && ((uint32_t)i->disp & GUEST_PAGE_MASK) + size <= GUEST_PAGE_SIZE) {
		constant_address(t, (uint32_t)i->disp, access, thunk, m);
		return;
	}
	emit_offset(t, i, S_A);
	if (segment)
		add_segment(t, i->seg, thunk);
	*m = MEM_BASE(S_A, 0);
	emit_tlb_check(t, m, size, access, S_C, S_B, thunk);
}

/* Memory operands that there is code for: not those of 16-bit addresses, nor in CS, whose limit and type are checked
 * otherwise. */
static bool reachable(const struct insn *i)
{
	return !i->memory || (i->adsize == 4 && i->seg != SEG_CS);
}

/* --- the stack --- */

static struct thunk *begin(struct translator *t, uint16_t live)
{
	flags_to_memory(t, live);
	return helper_thunk(t);
}

/* The host address of what is `disp` bytes from register `base`, whose 32-bit sum with it is in S_A afterwards. */
static struct host_mem near_register(struct translator *t, unsigned base, int disp, unsigned size, unsigned access,
				     struct thunk *thunk)
{
	struct host_mem m = MEM_BASE(S_A, 0);
	emit_mem(&t->e, 0, 0x8d, S_A, MEM_BASE(base, disp));
	emit_tlb_check(t, &m, size, access, S_C, S_B, thunk);
	return m;
}

static struct host_mem push_place(struct translator *t, unsigned size, struct thunk *thunk)
{
	return near_register(t, REG_RSP, -4, size, ACCESS_W, thunk);
}

static void pushed(struct translator *t)
{
	emit_reg(&t->e, 0, 0x89, S_A, REG_RSP);
}

static void push_constant(struct translator *t, uint32_t value, struct thunk *thunk)
{
	struct host_mem m = push_place(t, 4, thunk);
	emit_mem(&t->e, 0, 0xc7, 0, m);
	put32(&t->e, value);
	pushed(t);
}

/* What is in WORD(target). */
static void push_target(struct translator *t, struct thunk *thunk)
{
	struct host_mem m = push_place(t, 4, thunk);
	emit_mem(&t->e, 0, 0x8b, S_C, WORD(target));
	emit_mem(&t->e, 0, 0x89, S_C, m);
	pushed(t);
}

static void load_operand(struct translator *t, const struct insn *i, unsigned to, struct thunk *thunk)
{
	struct host_mem m;
	legacy_operand(t, i, 4, ACCESS_R, thunk, &m);
	emit_mem(&t->e, 0, 0x8b, to, m);
}

static bool push(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 4)
		return false;
	struct thunk *thunk = begin(t, t->live[t->now]);
	if (o->kind == OPERAND_IMM) {
		push_constant(t, (uint32_t)i->imm, thunk);
	} else if (o->kind == OPERAND_MEM) {
		load_operand(t, i, S_A, thunk);
		emit_store(&t->e, WORD(target), S_A);
		push_target(t, thunk);
	} else {
		struct host_mem m = push_place(t, 4, thunk);
		emit_mem(&t->e, 0, 0x89, o->reg, m);
		pushed(t);
	}
	return true;
}

/* 16 bits are written, as in cpu/sys_segment.c. */
static bool push_segment(struct translator *t, const struct insn *i)
{
	if (i->opsize != 4)
		return false;
	struct thunk *thunk = begin(t, t->live[t->now]);
	struct host_mem m = push_place(t, 2, thunk);
	emit_mem(&t->e, EMIT_0F, 0xb7, S_C, CPU_FIELD(seg[i->operand[0].reg].selector));
	emit_mem(&t->e, EMIT_66, 0x89, S_C, m);
	pushed(t);
	return true;
}

static bool push_flags(struct translator *t, const struct insn *i)
{
	if (i->opsize != 4)
		return false;
	struct thunk *thunk = begin(t, FLAG_ARITH);
	emit_rflags(t, S_A, S_B);
	emit_reg(&t->e, 0, 0x81, 4, S_A);
	put32(&t->e, (uint32_t)~(FLAG_VM | FLAG_RF));
	emit_store(&t->e, WORD(target), S_A);
	push_target(t, thunk);
	return true;
}

/* Pops into S_C. */
static void pop_value(struct translator *t, unsigned base, unsigned more, struct thunk *thunk)
{
	struct host_mem m = near_register(t, base, 0, 4, ACCESS_R, thunk);
	emit_mem(&t->e, 0, 0x8b, S_C, m);
	emit_mem(&t->e, 0, 0x8d, REG_RSP, MEM_BASE(base, 4 + more));
}

static bool pop(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 4 || o->kind != OPERAND_GPR)
		return false;
	pop_value(t, REG_RSP, 0, begin(t, t->live[t->now]));
	emit_reg(&t->e, 0, 0x89, S_C, o->reg);
	return true;
}

static bool leave(struct translator *t, const struct insn *i)
{
	if (i->opsize != 4)
		return false;
	pop_value(t, REG_RBP, 0, begin(t, t->live[t->now]));
	emit_reg(&t->e, 0, 0x89, S_C, REG_RBP);
	return true;
}

/* --- branches --- */

static struct thunk *begin_branch(struct translator *t)
{
	struct thunk *thunk = begin(t, FLAG_ARITH);
	thunk->record->kind = RECORD_END;
	return thunk;
}

static int64_t behind(const struct translator *t, const struct insn *i)
{
	return (int64_t)t->at[t->now] + i->length;
}

static void push_return(struct translator *t, const struct insn *i, struct thunk *thunk)
{
	if (t->unit->absolute) {
		push_constant(t, (uint32_t)(t->unit->page + (uint64_t)behind(t, i)), thunk);
		return;
	}
	struct host_mem m = push_place(t, 4, thunk);
	emit_guest_address(t, S_C, behind(t, i));
	emit_mem(&t->e, 0, 0x89, S_C, m);
	pushed(t);
}

/* CALL of a register other than ESP, of memory, or direct. */
static bool call(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 4 || (o->kind == OPERAND_GPR && o->reg == REG_RSP))
		return false;
	struct thunk *thunk = begin_branch(t);
	if (o->kind == OPERAND_MEM) {
		load_operand(t, i, S_A, thunk);
		emit_store(&t->e, WORD(target), S_A);
	}
	push_return(t, i, thunk);
	if (o->kind == OPERAND_REL) {
		exit_direct(t, behind(t, i) + (int64_t)i->imm);
		return true;
	}
	if (o->kind == OPERAND_MEM)
		emit_load(&t->e, S_A, WORD(target));
	else
		emit_reg(&t->e, 0, 0x89, o->reg, S_A);
	exit_indirect(t, 0);
	return true;
}

static bool jump(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 4)
		return false;
	if (o->kind == OPERAND_REL) {
		exit_direct(t, behind(t, i) + (int64_t)i->imm);
		return true;
	}
	struct thunk *thunk = begin_branch(t);
	if (o->kind == OPERAND_MEM)
		load_operand(t, i, S_A, thunk);
	else
		emit_reg(&t->e, 0, 0x89, o->reg, S_A);
	exit_indirect(t, 0);
	return true;
}

static bool ret(struct translator *t, const struct insn *i)
{
	if (i->opsize != 4)
		return false;
	pop_value(t, REG_RSP, i->opcode == 0xc2 ? (uint16_t)i->imm : 0, begin_branch(t));
	emit_move(&t->e, S_A, S_C);
	exit_indirect(t, 0);
	return true;
}

/* JECXZ, and LOOP of ECX: no flags change. Both ways end here. */
static bool count_branch(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	int64_t target = behind(t, i) + (int64_t)i->imm;
	if (i->opsize != 4 || i->adsize != 4)
		return false;
	flags_to_host(t);
	emit_count(t);
	if (i->op == OP_LOOP)
		emit_mem(e, 0, 0x8d, REG_RCX, MEM_BASE(REG_RCX, -1));
	put_bytes(e, (const uint8_t[]){ 0x67, 0xe3, 5 }, 3); /* jecxz over the jump */
	uint8_t *counted = emit_jump(e, emit_here(e));
	exit_direct(t, i->op == OP_LOOP ? behind(t, i) : target);
	t->memory_flags = false;
	if (!e->full)
		emit_patch(counted, e->delta, emit_here(e));
	exit_direct(t, i->op == OP_LOOP ? target : behind(t, i));
	return true;
}

/* --- the rest --- */

static bool lea(struct translator *t, const struct insn *i)
{
	if (i->adsize != 4 || i->opsize != 4)
		return false;
	emit_offset(t, i, i->operand[0].reg);
	return true;
}

/* The accumulator and a constant address: an encoding that has 64-bit addresses in 64-bit mode. */
static bool move_accumulator(struct translator *t, const struct insn *i)
{
	unsigned size = i->operand[i->memory - 1].size, access = i->operand[i->memory - 1].access;
	struct host_mem m;
	struct thunk *thunk = begin(t, t->live[t->now]);
	legacy_operand(t, i, size, access, thunk, &m);
	emit_mem(&t->e, size == 2 ? EMIT_66 : 0, (access & ACCESS_W ? 0x88 : 0x8a) | (size > 1), REG_RAX, m);
	return true;
}

static bool is_bit(const struct insn *i)
{
	return i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC;
}

/* BT and its kin on a bit string in memory (SDM 2A, BT), by elements of 4 bytes. */
static bool bit_string(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	unsigned offset = i->operand[1].reg;
	if (i->opsize != 4 || i->seg == SEG_FS || i->seg == SEG_GS)
		return false;
	struct thunk *thunk = begin(t, t->live[t->now]);
	emit_offset(t, i, S_A);
	emit_reg(e, 0, 0x89, offset, S_B);
	emit_reg(e, 0, 0xc1, 7, S_B);
	put8(e, 5);
	emit_mem(e, 0, 0x8d, S_A, (struct host_mem){ .base = S_A, .index = S_B, .scale = 2 });
	struct host_mem m = MEM_BASE(S_A, 0);
	emit_tlb_check(t, &m, 4, i->operand[0].access, S_C, S_B, thunk);
	emit_reg(e, 0, 0x89, offset, S_C);
	emit_reg(e, 0, 0x83, 4, S_C);
	put8(e, 31);
	flags_to_host(t);
	if (i->prefixes & PREFIX_LOCK)
		put8(e, 0xf0);
	emit_mem(e, EMIT_0F, i->opcode, S_C, m);
	return true;
}

/* Bits of VEX and EVEX that name registers above 7, or 64-bit operands, mean nothing here but would in 64-bit mode. */
static bool plain_vex(const struct insn *i, const uint8_t *at)
{
	bool general = false, fourth = i->operand[3].kind == OPERAND_VEC;
	for (unsigned n = 0; n < 4; n++)
		general |= i->operand[n].kind == OPERAND_GPR;
	const uint8_t *end = at + i->length;
	while (*at != 0xc4 && *at != 0xc5 && *at != 0x62)
		at++;
	if (*at == 0xc5)
		return (at[1] & 0xc0) == 0xc0;
	if (!(at[2] & 0x40) || (general && (at[2] & 0x80)) || (fourth && (end[-1] & 0x80)))
		return false;
	return *at == 0xc4 ? (at[1] & 0xe0) == 0xe0 : (at[1] & 0xf0) == 0xf0 && (at[3] & 8);
}

bool translate_legacy(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if (!reachable(i) || (i->encoding != ENC_LEGACY && !plain_vex(i, t->bytes[t->now])))
		return false;
	switch (i->op) {
	case OP_PUSH: return push(t, i);
	case OP_PUSH_SEG: return push_segment(t, i);
	case OP_PUSHF: return push_flags(t, i);
	case OP_POP: return pop(t, i);
	case OP_LEAVE: return leave(t, i);
	case OP_CALL: return call(t, i);
	case OP_JMP: return jump(t, i);
	case OP_RET: return ret(t, i);
	case OP_JCC: return i->opsize == 4 && translate_branch(t);
	case OP_JCXZ: case OP_LOOP: return count_branch(t, i);
	case OP_LEA: return lea(t, i);
	default: break;
	}
	if (i->op == OP_MOV && i->memory && !isa_rows[i->row].modrm)
		return move_accumulator(t, i);
	if (is_bit(i) && i->memory && i->operand[1].kind == OPERAND_GPR)
		return bit_string(t, i);
	return translate_system(t) || translate_copy(t);
}
