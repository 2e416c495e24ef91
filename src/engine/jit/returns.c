/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/returns.h"

#include <stddef.h>

#include "base/util.h"
#include "cpu/cpu.h"
#include "engine/jit/translator.h"

/* A place is 8 bytes of the guest's stack, by bits 3 to 18 of RSP. */
#define PLACE_SIZE ((int)sizeof(uint64_t))

static void clear(const uint8_t **table, const uint8_t *none)
{
	for (unsigned i = 0; i < RETURN_COUNT; i++)
		table[BRANCH_COUNT + i] = none;
}

void returns_clear(const struct jit *jit, struct code_space *space, unsigned set)
{
	if (space->returns)
		clear(space->branches, jit->returns_none[set]);
}

static void make_stubs(struct jit *jit, struct emitter *e, unsigned set)
{
	jit->returns_none[set] = emit_here(e);
	emit_move(e, REG_RSP, S_B);
	emit_branch_by_table(e, set);
	jit->returns_other[set] = emit_here(e);
	emit_move(e, REG_RCX, S_C);
	emit_branch_by_table(e, set);
}

/* cpu->no_branches leads there. */
static void make_attention_stub(struct jit *jit, struct emitter *e)
{
	jit->returns_attention = emit_here(e);
	emit_move(e, REG_RSP, S_B);
	emit_jump(e, jit->branch_miss);
}

void returns_make_stubs(struct jit *jit, struct emitter *e)
{
	make_stubs(jit, e, TLB_USER);
	make_stubs(jit, e, TLB_SUPERVISOR);
	make_attention_stub(jit, e);
}

/* --- code --- */

static struct code_space *space_of(const struct translator *t)
{
	return t->set == TLB_USER ? t->jit->code_user : &t->jit->code_kernel;
}

/*
 * Little code returns to few places, which the host predicts from the table of branches as well, and with less code: what a program
 * has first is translated without, and does well beside code that is.
 */
#define LITTLE_CODE 12000 /* units */

bool returns_used(const struct translator *t)
{
	if (!t->unit->window || t->set > TLB_SUPERVISOR)
		return false;
	struct code_space *space = space_of(t);
	if (t->set == TLB_USER && space->units < LITTLE_CODE)
		return false;
	if (space->returns)
		return true;
	if (!pages_table(t->jit, space))
		return false;
	clear(t->jit->no_branches, t->jit->returns_attention);
	clear(space->branches, t->jit->returns_none[t->set]);
	return space->returns = true;
}

/* S_C is the number of the place, S_B the guest's RSP. No flags change. */
static void to_place(struct emitter *e)
{
	emit_move(e, S_B, REG_RSP);
	emit_rotate_quietly(e, S_C, S_B, 3);
	emit_reg(e, EMIT_0F, 0xb7, S_C, S_C); /* movzx */
}

void returns_call(struct translator *t, int64_t after)
{
	struct emitter *e = &t->e;
	const uint8_t **places = space_of(t)->branches + BRANCH_COUNT + RETURNS_BEFORE;
	to_place(e);
	emit_lea(e, REG_RSP, (struct host_mem){ .base = HOST_NONE, .index = S_C, .scale = 3, .disp = (int32_t)(uintptr_t)places });
	put8(e, 0xe8); /* call */
	uint8_t *over = e->at;
	put32(e, 0);
	emit_move(e, REG_RSP, S_B);
	emit_compare_target(e, t->unit->page + (uint64_t)after, t->jit->returns_other[t->set]);
	exit_return(t, after);
	if (!e->full)
		emit_patch(over, e->delta, emit_here(e));
	emit_move(e, REG_RSP, S_B);
}

/* After the POP the guest's RSP is by one place higher than after the PUSH, and the CALL has pushed. */
void returns_return(struct translator *t)
{
	const int places = (int)(BRANCH_COUNT + RETURNS_BEFORE) * PLACE_SIZE;
	to_place(&t->e);
	emit_load(&t->e, REG_RSP, CPU_FIELD(branches[t->set == TLB_USER ? 0 : 1]));
	emit_lea(&t->e, REG_RSP, (struct host_mem){ .base = REG_RSP, .index = S_C, .scale = 3, .disp = places - 2 * PLACE_SIZE });
	put8(&t->e, 0xc3);
}
