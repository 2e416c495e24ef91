/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "isa/op.h"

/* PUSH, POP and LEAVE of 64 bits. */

void emit_push(struct translator *t, unsigned value, struct thunk *thunk)
{
	struct host_mem m = MEM_BASE(REG_RSP, -8);
	emit_check(t, &m, 8, ACCESS_W, 1u << value, thunk);
	emit_access(t, thunk);
	emit_store(&t->e, m, value);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, -8));
}

void emit_pop(struct translator *t, unsigned more, struct thunk *thunk)
{
	struct host_mem m = MEM_BASE(REG_RSP, 0);
	emit_check(t, &m, 8, ACCESS_R, 1u << S_A, thunk);
	emit_access(t, thunk);
	emit_load(&t->e, S_A, m);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, 8 + more));
}

static struct thunk *begin(struct translator *t)
{
	if (!uses_windows(t))
		flags_to_memory(t, t->live[t->now]);
	return helper_thunk(t);
}

/* PUSH m: the address is that of RSP before. */
static bool push_memory(struct translator *t, const struct insn *i)
{
	struct host_mem m;
	struct thunk *thunk = begin(t);
	emit_operand(t, i, 8, ACCESS_R, 1u << S_A, thunk, &m);
	emit_access(t, thunk);
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
	if (o->kind == OPERAND_IMM) {
		struct host_mem m = MEM_BASE(REG_RSP, -8);
		emit_check(t, &m, 8, ACCESS_W, 0, thunk);
		emit_access(t, thunk);
		emit_store_constant(&t->e, m, (int32_t)i->imm);
		emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, -8));
	} else if (scratch_register(o->reg)) {
		/* The check needs two scratch registers besides. */
		struct host_mem m = MEM_BASE(REG_RSP, -8);
		emit_check(t, &m, 8, ACCESS_W, 1u << S_A, thunk);
		emit_load(&t->e, S_A, GS_FIELD(gpr[o->reg]));
		emit_access(t, thunk);
		emit_store(&t->e, m, S_A);
		emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RSP, -8));
	} else {
		emit_push(t, o->reg, thunk);
	}
	return true;
}

static bool pop(struct translator *t, const struct insn *i)
{
	const struct operand *o = &i->operand[0];
	if (i->opsize != 8 || o->kind != OPERAND_GPR || o->reg == REG_RSP)
		return false;
	emit_pop(t, 0, begin(t));
	if (scratch_register(o->reg))
		emit_store(&t->e, GS_FIELD(gpr[o->reg]), S_A);
	else
		emit_move(&t->e, o->reg, S_A);
	return true;
}

static bool leave(struct translator *t, const struct insn *i)
{
	if (i->opsize != 8)
		return false;
	struct host_mem m = MEM_BASE(REG_RBP, 0);
	struct thunk *thunk = begin(t);
	emit_check(t, &m, 8, ACCESS_R, 1u << S_A, thunk);
	emit_access(t, thunk);
	emit_load(&t->e, S_A, m);
	emit_lea(&t->e, REG_RSP, MEM_BASE(REG_RBP, 8));
	emit_move(&t->e, REG_RBP, S_A);
	return true;
}

bool translate_stack(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	switch (i->op) {
	case OP_PUSH: return push(t, i);
	case OP_POP: return pop(t, i);
	case OP_LEAVE: return leave(t, i);
	default: return false;
	}
}
