/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/returns.h"

#include <stddef.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/cpu.h"
#include "engine/jit/translator.h"

/* A place is 8 bytes of the guest's stack, by bits 3 to 18 of RSP; two come before the first. System calls: mmap, munmap. */
#define PLACES 65536u
#define BEFORE 2u
#define TABLE_BYTES ((PLACES + BEFORE) * sizeof(uint64_t))

static void clear(uint64_t *table, const uint8_t *none)
{
	for (unsigned i = 0; i < PLACES + BEFORE; i++)
		table[i] = (uintptr_t)none;
}

void returns_clear(const struct jit *jit, struct code_space *space, unsigned set)
{
	if (space->returns)
		clear(space->returns, jit->returns_none[set]);
}

void returns_free(struct code_space *space)
{
	if (space->returns)
		munmap(space->returns, TABLE_BYTES);
	space->returns = NULL;
}

static void make_stubs(struct jit *jit, struct emitter *e, unsigned set)
{
	jit->returns_none[set] = emit_here(e);
	emit_move(e, REG_RSP, S_B);
	jit->returns_other[set] = emit_here(e);
	if (set == TLB_USER)
		emit_load(e, S_C, WORD(bias)); /* RET's index was in it */
	emit_branch_by_table(e, set);
}

void returns_make_stubs(struct jit *jit, struct emitter *e)
{
	make_stubs(jit, e, TLB_USER);
	make_stubs(jit, e, TLB_SUPERVISOR);
}

/* --- code --- */

static struct code_space *space_of(const struct translator *t)
{
	return t->set == TLB_USER ? t->jit->code_user : &t->jit->code_kernel;
}

/* In the low 2 GiB, where code names it by an absolute address. */
bool returns_used(const struct translator *t)
{
	if (!t->unit->window || t->set > TLB_SUPERVISOR)
		return false;
	struct code_space *space = space_of(t);
	if (t->set == TLB_USER && !space->returning)
		return false;
	if (space->returns)
		return true;
	void *table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (table == MAP_FAILED)
		return false;
	space->returns = table;
	clear(table, t->jit->returns_none[t->set]);
	return true;
}

/* RSP becomes the address of the place, + offset; S_B is the guest's meanwhile. `index`, a scratch register, is lost; no flags change. */
static void to_table(struct translator *t, int offset, unsigned index)
{
	struct host_mem place = { .base = HOST_NONE, .index = (uint8_t)index, .scale = 3,
				  .disp = (int32_t)(uintptr_t)(space_of(t)->returns + BEFORE) + offset };
	reuse_drop_registers(t, 1u << S_B | 1u << index);
	emit_move(&t->e, S_B, REG_RSP);
	emit_rotate_quietly(&t->e, index, S_B, 3);
	emit_reg(&t->e, EMIT_0F, 0xb7, index, index); /* movzx */
	emit_lea(&t->e, REG_RSP, place);
}

void returns_call(struct translator *t, int64_t after, bool indirect)
{
	struct emitter *e = &t->e;
	to_table(t, 0, indirect ? S_C : S_A);
	put8(e, 0xe8); /* call */
	uint8_t *over = e->at;
	put32(e, 0);
	emit_move(e, REG_RSP, S_B);
	emit_compare_target(e, t->unit->page + (uint64_t)after, t->jit->returns_other[t->set]);
	const struct reuse called = t->reuse[REUSE_OF_BIAS];
	reuse_drop_registers(t, 1u << S_C); /* as behind returns_other */
	exit_return(t, after);
	t->reuse[REUSE_OF_BIAS] = called;
	if (!e->full)
		emit_patch(over, e->delta, emit_here(e));
	emit_move(e, REG_RSP, S_B);
}

/* After the POP the guest's RSP is by one place higher than after the PUSH. */
void returns_return(struct translator *t)
{
	to_table(t, -2 * (int)sizeof(uint64_t), S_C);
	put8(&t->e, 0xc3);
}
