/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "isa/op.h"

/*
 * MOVS and STOS on windows. With REP RSI and RDI become host addresses for as long as
 * the host's instruction runs. A fault in the middle leaves them where they are,
 * as it does in the guest; the thunk makes guest addresses of them again.
 */
#define COUNT_MAX 65536 /* elements at a time: what is longer is done in pieces that interrupts can come between */

static bool plain(const struct insn *i)
{
	return i->adsize == 8 && i->seg != SEG_FS && i->seg != SEG_GS;
}

/* One element, by S_C or RAX. */
static void once(struct translator *t, const struct insn *i, struct thunk *thunk)
{
	struct emitter *e = &t->e;
	unsigned size = i->opcode & 1 ? i->opsize : 1, value = i->op == OP_MOVS ? S_C : REG_RAX;
	unsigned prefix = size == 8 ? EMIT_W : size == 2 ? EMIT_66 : 0;
	thunk->record->window = true;
	emit_window_bias(t, S_A, REG_RDI);
	if (i->op == OP_MOVS) {
		struct host_mem from = { .base = REG_RSI, .index = S_B };
		emit_window_bias(t, S_B, REG_RSI);
		guard(t, thunk);
		emit_mem(e, size == 1 ? EMIT_0F : prefix, size == 1 ? 0xb6 : 0x8b, value, from);
	}
	guard(t, thunk);
	emit_mem(e, prefix, size == 1 ? 0x88 : 0x89, value, (struct host_mem){ .base = REG_RDI, .index = S_A });
	if (i->op == OP_MOVS)
		emit_lea(e, REG_RSI, MEM_BASE(REG_RSI, size));
	emit_lea(e, REG_RDI, MEM_BASE(REG_RDI, size));
}

/* With AC a kernel copies from and to user memory: addresses of the lower half go by the user's table, where there is one. */
static bool reaches_both(const struct translator *t)
{
	return t->unit->window && t->set == TLB_SUPERVISOR_AC && !jit_slow_site(t->jit, t->page + t->at[t->now]);
}

static void check_user_windows(struct translator *t, struct thunk *thunk)
{
	emit_mem(&t->e, 0, 0x80, 7, WORD(user_window));
	put8(&t->e, 0);
	jump_to_thunk(t, thunk, COND_E);
}

/* The bias for the address in `base`. The user's table, of which the lower half is in use, is followed by the kernel's. */
static void find_bias(struct translator *t, unsigned to, unsigned base, unsigned scratch)
{
	struct emitter *e = &t->e;
	if (t->set != TLB_SUPERVISOR_AC) {
		emit_window_bias(t, to, base);
		return;
	}
	emit_move(e, to, base);
	emit_reg(e, EMIT_W, 0xc1, 5, to);
	put8(e, 32);
	emit_reg(e, EMIT_0F, 0xb7, to, to);
	emit_reg(e, 0, 0x89, to, scratch);
	emit_reg(e, 0, 0x81, 4, scratch);
	put32(e, 0x8000);
	emit_lea(e, to, (struct host_mem){ .base = (uint8_t)to, .index = (uint8_t)scratch, .scale = 1 });
	emit_load(e, to, (struct host_mem){ .base = HOST_NONE, .index = (uint8_t)to, .scale = 3,
					    .disp = (int32_t)(uintptr_t)mirror_table(t->jit, TLB_USER) });
}

/* reg += bias (in `bias`), and back: flags stay. */
static void to_host(struct translator *t, unsigned reg, unsigned bias)
{
	emit_lea(&t->e, reg, (struct host_mem){ .base = (uint8_t)reg, .index = (uint8_t)bias });
}

static void to_guest(struct translator *t, unsigned reg, unsigned bias)
{
	emit_reg(&t->e, EMIT_W, 0xf7, 2, bias); /* not */
	emit_lea(&t->e, reg, (struct host_mem){ .base = (uint8_t)reg, .index = (uint8_t)bias, .disp = 1 });
}

static void back(struct translator *t, bool movs)
{
	to_guest(t, REG_RDI, S_A);
	if (movs)
		to_guest(t, REG_RSI, S_B);
}

bool translate_string(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	bool movs = i->op == OP_MOVS;
	struct emitter *e = &t->e;
	if ((!uses_windows(t) && !reaches_both(t)) || (!movs && i->op != OP_STOS) || !plain(i))
		return false;
	flags_to_memory(t, t->live[t->now]);
	struct thunk *thunk = helper_thunk(t);
	emit_mem(e, 0, 0xf7, 0, CPU_FIELD(rflags));
	put32(e, FLAG_DF);
	jump_to_thunk(t, thunk, COND_NE);
	if (!(i->prefixes & (PREFIX_REP | PREFIX_REPNE))) {
		once(t, i, thunk);
		return true;
	}
	emit_reg(e, EMIT_W, 0x81, 7, REG_RCX);
	put32(e, COUNT_MAX);
	jump_to_thunk(t, thunk, COND_A);
	if (t->set == TLB_SUPERVISOR_AC)
		check_user_windows(t, thunk);
	struct thunk *fault = helper_thunk(t);
	fault->record->window = true;
	fault->undo = back;
	fault->undo_movs = movs;
	find_bias(t, S_A, REG_RDI, S_B);
	if (movs)
		find_bias(t, S_B, REG_RSI, S_C);
	to_host(t, REG_RDI, S_A);
	if (movs)
		to_host(t, REG_RSI, S_B);
	guard(t, fault);
	if (i->opsize == 2 && (i->opcode & 1))
		put8(e, 0x66);
	put8(e, 0xf3);
	if (i->opsize == 8 && (i->opcode & 1))
		put8(e, 0x48);
	put8(e, i->opcode);
	back(t, movs);
	return true;
}
