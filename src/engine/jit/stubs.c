/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/jit.h"

#include <stddef.h>

#include "base/util.h"
#include "engine/jit/dump.h"
#include "engine/jit/flags.h"

/*
 * The way in and out:
 *
 *   struct record *enter(struct cpu *rdi, const uint8_t *code rsi)
 *
 * saves what the ABI wants kept, loads guest registers and flags and jumps to
 * `code`. `leave`, with the record in R11, is the reverse.
 */
static const uint8_t callee_saved[] = { REG_RBX, REG_RBP, 12, 13, 14, 15 };

static bool in_register(unsigned r)
{
	return r != S_A && r != S_B && r != S_C;
}

static void make_enter_vector(struct jit *jit, struct emitter *e, bool lower, bool upper, bool x87)
{
	jit->enter_vector[lower][upper][x87] = (struct record *(*)(struct cpu *, const uint8_t *))(uintptr_t)emit_here(e);
	vector_emit_load(e, lower, upper, x87 ? jit->x87 : NULL);
	emit_jump(e, (const uint8_t *)(uintptr_t)jit->enter);
}

static void make_enter(struct jit *jit, struct emitter *e)
{
	jit->enter = (struct record *(*)(struct cpu *, const uint8_t *))(uintptr_t)emit_here(e);
	for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++) {
		if (callee_saved[i] & 8)
			put8(e, 0x41);
		put8(e, 0x50 | (callee_saved[i] & 7));
	}
	emit_store(e, WORD(host_rsp), REG_RSP);
	emit_store(e, WORD(go), REG_RSI);
	emit_load(e, REG_RSP, CPU_FIELD(gpr[REG_RSP]));
	emit_mem(e, EMIT_W, 0x2b, REG_RSP, WORD(stack));
	emit_lea(e, REG_RSP, MEM_BASE(REG_RSP, -1));
	flags_emit_load(e, REG_RAX);
	for (unsigned r = 0; r < 16; r++)
		if (in_register(r) && r != REG_RSP)
			emit_load(e, r, CPU_FIELD(gpr[r]));
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		emit_load(e, reuse_register[n], WORD(reuse[n]));
	emit_mem(e, 0, 0xff, 4, WORD(go));
}

static void make_enter_vectors(struct jit *jit, struct emitter *e)
{
	for (unsigned n = 0; n < 8; n++)
		make_enter_vector(jit, e, n & 1, n & 2, n & 4);
}

static void make_leave(struct jit *jit, struct emitter *e)
{
	jit->leave = emit_here(e);
	emit_store(e, CPU_FIELD(gpr[REG_RAX]), REG_RAX);
	flags_emit_save(e, REG_RAX);
	uint8_t *over = emit_skip(e);
	jit->leave_memory_flags = emit_here(e);
	emit_store(e, CPU_FIELD(gpr[REG_RAX]), REG_RAX);
	emit_over(e, over);
	emit_load(e, REG_RAX, WORD(stack));
	emit_lea(e, REG_RSP, (struct host_mem){ .base = REG_RSP, .index = REG_RAX, .disp = 1 });
	for (unsigned r = 1; r < 16; r++)
		if (in_register(r))
			emit_store(e, CPU_FIELD(gpr[r]), r);
	emit_load(e, REG_RSP, WORD(host_rsp));
	emit_mem(e, 0, 0x8b, REG_RAX, WORD(vector));
	emit_mem(e, 0, 0x89, REG_RAX, WORD(vector_left));
	emit_reg(e, 0, 0x85, REG_RAX, REG_RAX);
	uint8_t *none = emit_jump_if(e, COND_E, emit_here(e));
	vector_emit_save(e, jit->x87);
	emit_patch(none, e->delta, emit_here(e));
	for (unsigned i = ARRAY_SIZE(callee_saved); i-- > 0;) {
		if (callee_saved[i] & 8)
			put8(e, 0x41);
		put8(e, 0x58 | (callee_saved[i] & 7));
	}
	emit_move(e, REG_RAX, S_A);
	put8(e, 0xc3);
}

/* The address goes to RIP, the branch's record to S_A. */
static void make_branch_miss(struct jit *jit, struct emitter *e)
{
	jit->branch_miss = emit_here(e);
	emit_store(e, CPU_FIELD(gpr[REG_RIP]), S_A);
	emit_mem(e, 0, 0x8b, S_A, WORD(branch));
	emit_address(e, S_B, jit->data);
	emit_lea(e, S_A, (struct host_mem){ .base = S_A, .index = S_B });
	emit_jump(e, jit->leave);
}

static void make_spare_leave(struct jit *jit, struct emitter *e)
{
	for (unsigned n = 0; n < 2; n++) {
		jit->spare_leave[n] = emit_here(e);
		emit_address(e, S_A, jit->spare);
		emit_jump(e, n ? jit->leave_memory_flags : jit->leave);
	}
}

void jit_make_stubs(struct jit *jit)
{
	struct emitter e = jit_emitter(jit, jit->code_w, jit->code_w + 8192);
	static const struct {
		const char *name;
		void (*make)(struct jit *jit, struct emitter *e);
	} stubs[] = {
		{ "enter", make_enter }, { "enter_vector", make_enter_vectors }, { "leave", make_leave }, { "branch_miss", make_branch_miss },
		{ "returns", returns_make_stubs }, { "guard", make_spare_leave }, { "privilege", jit_make_privilege_stubs },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(stubs); i++) {
		const uint8_t *start = emit_here(&e);
		stubs[i].make(jit, &e);
		dump_stub(stubs[i].name, start, (size_t)(emit_here(&e) - start));
	}
	jit->code_floor = jit->code_at = (uint8_t *)ALIGN_UP((uintptr_t)e.at, 64);
}
