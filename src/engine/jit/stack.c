/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "engine/jit/flags.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * The stack: PUSH, POP and LEAVE of 64 bits, and RSP itself.
 *
 * In units that use windows the host's RSP is the host's address of the guest's
 * stack, so that PUSH, POP and operands at RSP + displacement are copied as they
 * are; WORD(stack) says how far it is from the guest's value. That is safe as long as RSP is inside its
 * window or not far beside it, where nothing is: every access proves it
 * anew, since one outside faults. So wherever RSP moves by a constant, an access has to follow
 * before any branch, else one is made up; every other value of RSP goes by the table of windows.
 */
#define NEAR_STACK 65536      /* bytes that RSP may be beside its window, or an access beside RSP: far less than the gap */
#define DRIFT_MAX (1 << 20)

bool stack_direct(const struct translator *t)
{
	return t->unit->window && !jit_slow_site(t->jit, t->page + t->at[t->now]);
}

bool stack_operand(const struct translator *t, const struct insn *i)
{
	return stack_direct(t) && !t->stack_replaced && i->base == REG_RSP && i->index == REG_NONE && i->adsize == 8 && i->seg != SEG_FS && i->seg != SEG_GS;
}

bool stack_unreachable(const struct translator *t)
{
	return t->unit->window && !stack_direct(t);
}

static void access(struct translator *t, struct thunk *thunk)
{
	thunk->record->window |= stack_direct(t);
	emit_access(t, thunk);
}

/* push reg (0x50) or pop reg (0x58) */
static void direct(struct translator *t, unsigned opcode, unsigned reg, struct thunk *thunk)
{
	access(t, thunk);
	if (reg & 8)
		put8(&t->e, 0x41);
	put8(&t->e, opcode | (reg & 7));
}

void emit_push(struct translator *t, unsigned value, struct thunk *thunk)
{
	if (stack_direct(t)) {
		direct(t, 0x50, value, thunk);
		return;
	}
	struct host_mem m = MEM_BASE(REG_RSP, -8);
	emit_check(t, &m, 8, ACCESS_W, 1u << value, thunk);
	access(t, thunk);
	emit_store(&t->e, m, value);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, -8));
}

void emit_push_constant(struct translator *t, uint64_t value, unsigned scratch, struct thunk *thunk)
{
	bool small = (int64_t)value == (int32_t)value;
	if (!stack_direct(t) || !small) {
		emit_constant(&t->e, scratch, value);
		emit_push(t, scratch, thunk);
		return;
	}
	access(t, thunk);
	put8(&t->e, 0x68);
	put32(&t->e, (uint32_t)value);
}

void emit_pop(struct translator *t, unsigned more, struct thunk *thunk)
{
	if (stack_direct(t)) {
		direct(t, 0x58, S_A, thunk);
		if (more)
			emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, more));
		return;
	}
	struct host_mem m = MEM_BASE(REG_RSP, 0);
	emit_check(t, &m, 8, ACCESS_R, 1u << S_A, thunk);
	access(t, thunk);
	emit_load(&t->e, S_A, m);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, 8 + more));
}

static void note_distance(struct translator *t, unsigned bias)
{
	emit_reg(&t->e, EMIT_W, 0xf7, 2, bias); /* not */
	emit_store(&t->e, WORD(stack), bias);
}

void emit_set_stack(struct translator *t, unsigned value)
{
	unsigned bias = value == S_A ? S_B : S_A;
	emit_window_bias(t, bias, value);
	emit_lea(&t->e, REG_RSP, (struct host_mem){ .base = (uint8_t)value, .index = (uint8_t)bias });
	note_distance(t, bias);
}

static struct thunk *begin(struct translator *t)
{
	if (!stack_direct(t))
		flags_to_memory(t, t->live[t->now]);
	return helper_thunk(t);
}

/* PUSH m: the address is that of RSP before. */
static bool push_memory(struct translator *t, const struct insn *i)
{
	struct host_mem m;
	if (!uses_windows(t))
		flags_to_memory(t, t->live[t->now]);
	struct thunk *thunk = begin(t);
	emit_operand(t, i, 8, ACCESS_R, 1u << S_A, thunk, &m);
	access(t, thunk);
	emit_load(&t->e, S_A, m);
	emit_push(t, S_A, thunk);
	return true;
}

static bool push(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize == 8 && o->kind == OPERAND_MEM)
		return push_memory(t, i);
	if (i->opsize != 8 || (o->kind != OPERAND_GPR && o->kind != OPERAND_IMM))
		return false;
	struct thunk *thunk = begin(t);
	t->kept = stack_direct(t);
	if (o->kind == OPERAND_IMM)
		emit_push_constant(t, (uint64_t)(int64_t)(int32_t)i->imm, S_A, thunk);
	else if (t->kept && scratch_register(o->reg))
		emit_push(t, reuse_gpr(t, o->reg), thunk);
	else
		emit_push(t, emit_gpr(t, o->reg, S_A), thunk);
	if (o->reg == REG_RSP || o->kind == OPERAND_IMM)
		reuse_drop_registers(t, 1u << S_A);
	return true;
}

static bool pop(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 8 || o->kind != OPERAND_GPR || (o->reg == REG_RSP && !stack_direct(t)))
		return false;
	struct thunk *thunk = begin(t);
	if (o->reg == REG_RSP) {
		direct(t, 0x58, S_A, thunk);
		emit_set_stack(t, S_A);
		return true;
	}
	t->kept = stack_direct(t);
	if (stack_direct(t)) {
		direct(t, 0x58, o->reg, thunk);
		if (scratch_register(o->reg)) {
			emit_store(&t->e, CPU_FIELD(gpr[o->reg]), o->reg);
			reuse_hold(t, o->reg);
		}
		return true;
	}
	emit_pop(t, 0, thunk);
	if (scratch_register(o->reg))
		emit_store(&t->e, CPU_FIELD(gpr[o->reg]), S_A);
	else
		emit_move(&t->e, o->reg, S_A);
	return true;
}

static bool leave(struct translator *t, const struct insn *i)
{
	if (i->opsize != 8 || !uses_windows(t) != !t->unit->window)
		return false;
	struct host_mem m = MEM_BASE(REG_RBP, 0);
	struct thunk *thunk = begin(t);
	emit_check(t, &m, 8, ACCESS_R, 1u << S_A, thunk);
	emit_access(t, thunk);
	emit_load(&t->e, S_A, m);
	if (t->unit->window) {
		emit_lea(&t->e, REG_RSP, (struct host_mem){ .base = REG_RBP, .index = m.index, .disp = 8 });
		note_distance(t, m.index);
	} else {
		emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RBP, 8));
	}
	emit_move(&t->e, REG_RBP, S_A);
	return true;
}

bool translate_stack(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if ((i->op != OP_PUSH && i->op != OP_POP && i->op != OP_LEAVE) || stack_unreachable(t))
		return false;
	return i->op == OP_PUSH ? push(t, i) : i->op == OP_POP ? pop(t, i) : leave(t, i);
}

/* --- RSP as an operand --- */

static bool goes_elsewhere(const struct insn *i)
{
	return i->op == OP_JCC || (isa_rows[i->row].attributes & ROW_ENDS);
}

/* Whether instruction n accesses memory near RSP for sure, before it does anything else to it. What is executed by its function
 * proves nothing, but comes back with RSP looked up anew. */
static bool proves(const struct translator *t, unsigned n)
{
	const struct insn *i = &t->insn[n];
	if (jit_slow_site(t->jit, t->page + t->at[n]))
		return false;
	bool stack = i->op == OP_PUSH || i->op == OP_POP || i->op == OP_CALL || i->op == OP_RET;
	bool operand = i->memory && i->operand[i->memory - 1].size && i->base == REG_RSP && i->index == REG_NONE && i->adsize == 8 &&
		       i->seg != SEG_FS && i->seg != SEG_GS && i->disp >= -NEAR_STACK && i->disp <= NEAR_STACK && i->op != OP_LEA;
	return stack || operand;
}

static bool writes_stack_pointer(const struct insn *i)
{
	for (unsigned n = 0; n < 4; n++)
		if (i->operand[n].kind == OPERAND_GPR && i->operand[n].reg == REG_RSP && (i->operand[n].access & ACCESS_W))
			return true;
	return false;
}

static bool proven_soon(const struct translator *t)
{
	for (unsigned n = t->now + 1; n < t->count; n++) {
		if (proves(t, n))
			return true;
		if (goes_elsewhere(&t->insn[n]) || writes_stack_pointer(&t->insn[n]))
			return false;
	}
	return false;
}

/* RSP moves by a constant; flags stay. */
static bool move_stack_pointer(struct translator *t, int64_t by)
{
	if (by < -DRIFT_MAX || by > DRIFT_MAX || !stack_direct(t))
		return false;
	if (!proven_soon(t)) {
		struct thunk *thunk = helper_thunk(t);
		access(t, thunk);
		emit_mem(&t->e, EMIT_0F, 0xb6, S_A, MEM_BASE(REG_RSP, by)); /* movzx */
	}
	t->kept = true;
	reuse_drop_registers(t, 1u << S_A);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, by));
	return true;
}

/*
 * In user windows the host's address has the low 32 bits and the sign of the guest's, so that the arithmetic has the same flags, but where
 * the guest's wraps around zero. Then the access that comes first is to what no user window shows (WINDOW_LOWEST).
 */
static void add_host(struct translator *t, const struct insn *i, int64_t by)
{
	_Static_assert(DRIFT_MAX < WINDOW_LOWEST, "a sum that is beyond it did not wrap");
	struct thunk *thunk = helper_thunk(t);
	flags_to_host(t);
	access(t, thunk);
	emit_mem(&t->e, EMIT_0F, 0xb6, S_A, MEM_BASE(REG_RSP, by)); /* movzx */
	emit_reg(&t->e, EMIT_W, 0x81, i->op == OP_ADD ? 0 : 5, REG_RSP);
	put32(&t->e, (uint32_t)(int32_t)i->imm);
	t->kept = true;
	reuse_drop_registers(t, 1u << S_A);
	t->memory_flags = false;
}

/* The arithmetic is done on the guest's value, for its flags. */
static bool add(struct translator *t, const struct insn *i, int64_t by)
{
	if (!t->live[t->now + 1])
		return move_stack_pointer(t, by);
	if (by < -DRIFT_MAX || by > DRIFT_MAX || !stack_direct(t))
		return false;
	if (t->set == TLB_USER) {
		add_host(t, i, by);
		return true;
	}
	if (!move_stack_pointer(t, by))
		return false;
	emit_gpr(t, REG_RSP, S_A);
	emit_lea(&t->e, S_A, MEM_BASE(S_A, -by));
	emit_reg(&t->e, EMIT_W, 0x81, i->op == OP_ADD ? 0 : 5, S_A);
	put32(&t->e, (uint32_t)(int32_t)i->imm);
	t->memory_flags = false;
	return true;
}

static bool lea(struct translator *t, const struct insn *i)
{
	if (i->opsize != 8)
		return false;
	if (i->base == REG_RSP && i->index == REG_NONE && i->adsize == 8)
		return move_stack_pointer(t, i->disp);
	struct host_mem m = emit_address_of(t, i, S_A, S_B);
	emit_lea(&t->e, S_A, m);
	emit_set_stack(t, S_A);
	return true;
}

static bool move(struct translator *t, const struct insn *i)
{
	const struct operand *to = &i->operand[0], *from = &i->operand[1];
	if (i->opsize != 8 || to->kind != OPERAND_GPR || from->kind != OPERAND_GPR)
		return false;
	t->kept = to->reg != REG_RSP;
	reuse_drop_registers(t, 1u << S_A);
	if (scratch_register(to->reg))
		reuse_drop_registers(t, 1u << to->reg);
	if (to->reg == REG_RSP) {
		emit_set_stack(t, emit_gpr(t, from->reg, S_A));
		return true;
	}
	if (scratch_register(to->reg)) {
		emit_gpr(t, REG_RSP, S_A);
		emit_store(&t->e, CPU_FIELD(gpr[to->reg]), S_A);
	} else {
		emit_gpr(t, REG_RSP, to->reg);
	}
	return true;
}

bool translate_stack_pointer(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	const struct operand *to = &i->operand[0], *from = &i->operand[1];
	bool constant = i->opsize == 8 && to->kind == OPERAND_GPR && to->reg == REG_RSP && from->kind == OPERAND_IMM;
	if (!t->unit->window)
		return false;
	switch (i->op) {
	case OP_ADD: return constant && add(t, i, (int32_t)i->imm);
	case OP_SUB: return constant && add(t, i, -(int64_t)(int32_t)i->imm);
	case OP_LEA: return to->reg == REG_RSP && lea(t, i);
	case OP_MOV: return (to->reg == REG_RSP || from->reg == REG_RSP) && move(t, i);
	default: return false;
	}
}
