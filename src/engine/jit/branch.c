/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "engine/jit/flags.h"
#include "isa/op.h"

/*
 * Near branches of 64-bit mode. Within the page an exit is a jump that is
 * patched when its target is known; where windows are used, across pages too:
 * pages.c unlinks what does not hold any more, and indirect branches go by its
 * tables. Else what lies in another page is looked up again whenever the TLB
 * may have changed: a record (direct) or a table (indirect) remembers it together
 * with a tag, which changes with everything that decides what an address means.
 *
 * Every loop looks at cpu->attention: at direct jumps backwards, at all that may
 * leave the page where tags decide, and by cpu->branches.
 */
#define ATTENTION CPU_FIELD(attention)

static void poll(struct translator *t, struct thunk *thunk)
{
	emit_mem(&t->e, 0, 0x83, 7, ATTENTION);
	put8(&t->e, 0);
	jump_to_thunk(t, thunk, COND_NE);
}

void check_quietly(struct translator *t, struct host_mem field, struct thunk *thunk)
{
	uint8_t *quiet = emit_check_quietly(&t->e, field);
	jump_to_thunk(t, thunk, COND_ALWAYS);
	emit_quiet(&t->e, quiet);
}

struct thunk *leave_at(struct translator *t, int64_t offset)
{
	struct thunk *thunk = local_thunk(t, RECORD_GO);
	thunk->record->target = (int32_t)offset;
	thunk->memory_flags = t->memory_flags;
	return thunk;
}

void poll_by_fault(struct translator *t, struct thunk *thunk)
{
	emit_load(&t->e, S_A, CPU_FIELD(poll));
	guard(t, thunk);
	emit_mem(&t->e, 0, 0x8b, S_A, MEM_BASE(S_A, 0));
}

/*
 * A branch back to the unit's first instruction: the second time around all that the first one found out holds, so
 * the loop gets a body of its own, behind the unit, which begins with the state at this branch. Of short loops several follow each other, the last one
 * of which polls.
 */
static bool loop_edge(struct translator *t, int64_t target, unsigned condition)
{
	bool shadow = t->now && t->insn[t->now - 1].op == OP_STI; /* no event comes before the branch */
	if (!t->unit->window || shadow || predict_missed_before(t) || target != t->at[0] || (t->looping ? t->now != t->loop_end : t->loop_site != NULL))
		return false;
	flags_to_host(t);
	struct thunk *leave = leave_at(t, t->at[t->now]);
	leave->record->executed--; /* the branch is yet to come */
	if (t->bodies <= 1)
		poll_by_fault(t, leave);
	if (t->looping)
		reuse_prove_again(t, leave);
	emit_count(t);
	reuse_drop_registers(t, t->c->count_instructions ? ~0u : 1u << S_A);
	if (t->looping)
		reuse_conform(t);
	else
		reuse_save(t);
	if (t->bodies > 1) { /* the next one follows */
		if (condition != COND_ALWAYS)
			emit_jump_if(&t->e, condition ^ 1, t->loop_after);
		return true;
	}
	const uint8_t *head = t->looping ? t->loop_head : emit_here(&t->e);
	uint8_t *site = condition == COND_ALWAYS ? emit_jump(&t->e, head) : emit_jump_if(&t->e, condition, head);
	if (t->looping) {
		if (condition != COND_ALWAYS)
			emit_jump(&t->e, t->loop_after);
		return true;
	}
	t->loop_site = site;
	t->loop_end = t->now;
	t->loop_vector = t->vector;
	t->loop_after = emit_here(&t->e);
	return true;
}

/* User code is entered at whatever address it is mapped: its page goes to engine_words. S_A is the target. */
static void set_code_page(struct translator *t)
{
	if (t->unit->absolute)
		return;
	emit_reg(&t->e, EMIT_W, 0x81, 4, S_A);
	put32(&t->e, (uint32_t)-GUEST_PAGE_SIZE);
	emit_store(&t->e, WORD(code_page), S_A);
}

static void exit_cross(struct translator *t, int64_t offset)
{
	struct emitter *e = &t->e;
	flags_to_memory(t, FLAG_ARITH);
	struct record *record = new_record(t, RECORD_CROSS);
	struct thunk *thunk = new_thunk(t, record);
	thunk->memory_flags = thunk->stores_rip = true;
	emit_guest_address(t, S_A, offset);
	if (!t->unit->absolute) {
		emit_near(e, EMIT_W, 0x3b, S_A, &record->va);
		jump_to_thunk(t, thunk, COND_NE);
	}
	emit_load(e, S_B, WORD(tag[t->set]));
	emit_near(e, 0, 0x3b, S_B, &record->tag);
	jump_to_thunk(t, thunk, COND_NE);
	poll(t, thunk);
	set_code_page(t);
	emit_near(e, 0, 0xff, 4, &record->code);
}

/* For who takes it back. */
static void say_branch(const struct translator *t, struct record *record, int undo)
{
	record->undo = (int8_t)undo;
	record->length = t->insn[t->now].length;
	record->target = t->at[t->now] + record->length;
}

static void exit_by_tag(struct translator *t, int undo)
{
	struct emitter *e = &t->e;
	const int table = legacy(t) ? (int)(JUMP_COUNT * sizeof(struct jump)) : 0;
	struct record *record = new_record(t, RECORD_RIP);
	struct thunk *thunk = new_thunk(t, record);
	say_branch(t, record, undo);
	thunk->memory_flags = thunk->stores_rip = true;
	emit_reg(e, EMIT_0F, 0xb7, S_B, S_A);
	emit_reg(e, 0, 0xc1, 4, S_B);
	put8(e, 5);
	emit_mem(e, EMIT_W, 0x03, S_B, WORD(jumps));
	emit_mem(e, EMIT_W, 0x3b, S_A, MEM_BASE(S_B, table + (int)offsetof(struct jump, va)));
	jump_to_thunk(t, thunk, COND_NE);
	emit_mem(e, 0, 0x8b, S_C, MEM_BASE(S_B, table + (int)offsetof(struct jump, tag)));
	emit_mem(e, 0, 0x3b, S_C, WORD(tag[t->set]));
	jump_to_thunk(t, thunk, COND_NE);
	poll(t, thunk);
	set_code_page(t);
	emit_mem(e, 0, 0xff, 4, MEM_BASE(S_B, table + (int)offsetof(struct jump, code)));
}

/* No register but S_B: the tables are aligned so that the index is put into the table's address. */
void emit_branch_by_table(struct emitter *e, unsigned set)
{
	emit_load(e, S_B, CPU_FIELD(branches[set == TLB_USER ? 0 : 1]));
	emit_reg(e, EMIT_66, 0x89, S_A, S_B); /* mov, 16 bits */
	emit_mem(e, 0, 0xff, 4, (struct host_mem){ .base = HOST_NONE, .index = S_B, .scale = 3 });
}

/* For who finds out that the address is none, or that the branch leads nowhere yet. */
static void note_branch(struct translator *t, int undo)
{
	struct emitter *e = &t->e;
	struct record *record = new_record(t, RECORD_RIP);
	say_branch(t, record, undo);
	emit_mem(e, 0, 0xc7, 0, WORD(branch));
	put32(e, (uint32_t)((uint8_t *)record - t->jit->data));
}

void exit_by_table(struct translator *t, int undo)
{
	note_branch(t, undo);
	reuse_provide_bias(t);
	if (t->set > TLB_SUPERVISOR) /* the table is for code without AC */
		emit_jump(&t->e, t->jit->branch_miss);
	else
		emit_branch_by_table(&t->e, t->set);
}

void exit_indirect(struct translator *t, int undo)
{
	emit_count(t);
	if (!t->unit->window) {
		exit_by_tag(t, undo);
		return;
	}
	flags_to_host(t);
	exit_by_table(t, undo);
}

/* listed: see struct record. Branches back poll, in units that use windows. */
static void link_to(struct translator *t, int64_t offset, unsigned condition, bool listed)
{
	reuse_provide_bias(t);
	struct record *record = new_record(t, RECORD_LINK);
	struct thunk *thunk = new_thunk(t, record);
	record->target = (int32_t)offset;
	record->listed = listed;
	record->proven = listed ? 0 : reuse_shaped(t); /* whoever returns there has its own values */
	record->polls = t->unit->window && !listed && offset <= t->at[t->now];
	record->memory_flags = thunk->memory_flags = t->memory_flags;
	jump_to_thunk(t, thunk, condition);
	record->site = thunk->site[0];
}

void exit_return(struct translator *t, int64_t offset)
{
	poll_by_fault(t, leave_at(t, offset));
	link_to(t, offset, COND_ALWAYS, true);
}

static void exit_link(struct translator *t, int64_t offset)
{
	const bool back = offset <= t->at[t->now];
	if (back && t->unit->window) {
		flags_to_host(t);
	} else if (back) {
		struct record *record = new_record(t, RECORD_GO);
		struct thunk *thunk = new_thunk(t, record);
		record->target = (int32_t)offset;
		thunk->memory_flags = t->memory_flags;
		if (t->memory_flags || !live_at(t, offset))
			poll(t, thunk);
		else
			check_quietly(t, ATTENTION, thunk);
	}
	link_to(t, offset, COND_ALWAYS, false);
}

void exit_direct(struct translator *t, int64_t offset)
{
	bool near = offset == (int32_t)offset && t->unit->window;
	emit_count(t);
	if (near || (offset >= 0 && offset < GUEST_PAGE_SIZE))
		exit_link(t, offset);
	else
		exit_cross(t, offset);
}

static int64_t target_of(const struct translator *t, const struct insn *i)
{
	return (int64_t)t->at[t->now] + i->length + (int64_t)i->imm;
}

static void jcc(struct translator *t, const struct insn *i)
{
	int64_t target = target_of(t, i);
	unsigned condition = i->opcode & 15;
	t->kept = true;
	if (loop_edge(t, target, condition))
		return;
	flags_to_host(t);
	emit_count(t);
	bool near = target == (int32_t)target && t->unit->window;
	if (near || (target > t->at[t->now] && target < GUEST_PAGE_SIZE)) {
		link_to(t, target, condition, false);
		return;
	}
	reuse_provide_bias(t); /* for both ways */
	put8(&t->e, 0x0f); /* what follows may be longer than a short jump spans */
	put8(&t->e, 0x80 | (condition ^ 1));
	uint8_t *from = t->e.at;
	put32(&t->e, 0);
	exit_direct(t, target);
	t->memory_flags = false;
	if (!t->e.full)
		emit_patch(from, t->e.delta, emit_here(&t->e));
}

/*
 * A call to what is no address at all faults before it pushes: the thunk's function sees to that. S_A is the target. Flags stay:
 * movsx would lose bits, so the 17 upper bits are looked at by shlx and sarx, where there are windows, which need them too.
 */
static void check_canonical(struct translator *t, struct thunk *thunk)
{
	struct emitter *e = &t->e;
	if (t->memory_flags || !t->unit->window) {
		emit_move(e, S_B, S_A);
		emit_reg(e, EMIT_W, 0xc1, 4, S_B);
		put8(e, 16);
		emit_reg(e, EMIT_W, 0xc1, 7, S_B);
		put8(e, 16);
		emit_reg(e, EMIT_W, 0x39, S_B, S_A);
		jump_to_thunk(t, thunk, COND_NE);
		return;
	}
	if (reuse_prove_target(t, thunk))
		return;
	reuse_drop_registers(t, 1u << S_C);
	emit_move(e, S_C, REG_RCX);
	emit_constant(e, REG_RCX, 16);
	emit_shift_quietly(e, 1, S_B, S_A, REG_RCX);
	emit_shift_quietly(e, 2, S_B, S_B, REG_RCX);
	emit_reg(e, EMIT_W, 0xf7, 2, S_B); /* not */
	emit_lea(e, REG_RCX, (struct host_mem){ .base = S_A, .index = S_B, .disp = 1 });
	uint8_t *equal = emit_jrcxz(e);
	emit_move(e, REG_RCX, S_C);
	jump_to_thunk(t, thunk, COND_ALWAYS);
	emit_over(e, equal);
	emit_move(e, REG_RCX, S_C);
}

static void load_target(struct translator *t, const struct insn *i, struct thunk *thunk)
{
	if (i->memory) {
		struct host_mem m;
		if (stack_operand(t, i) || !reuse_operand(t, i, 0, thunk, &m))
			emit_operand(t, i, 8, ACCESS_R, 1u << S_A, thunk, &m);
		emit_access(t, thunk);
		emit_load(&t->e, S_A, m);
	} else if (emit_gpr(t, i->operand[0].reg, S_A) != S_A) {
		emit_move(&t->e, S_A, i->operand[0].reg);
	}
}

/* A TLB check clobbers the host's flags, all of which are live at a branch. */
static void flags_for_access(struct translator *t)
{
	if (!uses_windows(t))
		flags_to_memory(t, FLAG_ARITH);
}

static void push_after(struct translator *t, int64_t after, bool indirect, struct thunk *thunk)
{
	struct emitter *e = &t->e;
	struct host_mem m = MEM_BASE(REG_RSP, -8);
	if (indirect)
		emit_store(e, WORD(target), S_A);
	emit_check(t, &m, 8, ACCESS_W, 1u << S_A, thunk);
	emit_guest_address(t, S_A, after);
	emit_access(t, thunk);
	emit_store(e, m, S_A);
	emit_lea(e, REG_RSP, MEM_BASE(REG_RSP, -8));
	if (indirect)
		emit_load(e, S_A, WORD(target));
}

static void call(struct translator *t, const struct insn *i)
{
	bool indirect = i->operand[0].kind != OPERAND_REL;
	if (!stack_direct(t) || (indirect && !uses_windows(t)))
		flags_to_memory(t, FLAG_ARITH);
	int64_t after = t->at[t->now] + i->length;
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_END;
	if (indirect) {
		load_target(t, i, thunk);
		check_canonical(t, thunk);
	}
	if (stack_direct(t))
		emit_push_constant(t, t->unit->page + (uint64_t)after, S_B, thunk);
	else
		push_after(t, after, indirect, thunk);
	if (returns_used(t)) {
		emit_count(t);
		flags_to_host(t);
		returns_call(t, after, indirect);
	}
	if (indirect)
		exit_indirect(t, 0);
	else
		exit_direct(t, target_of(t, i));
}

static void jump(struct translator *t, const struct insn *i)
{
	if (i->operand[0].kind == OPERAND_REL) {
		if (!loop_edge(t, target_of(t, i), COND_ALWAYS))
			exit_direct(t, target_of(t, i));
		return;
	}
	flags_for_access(t);
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_END;
	load_target(t, i, thunk);
	exit_indirect(t, 0);
}

static void ret(struct translator *t, const struct insn *i)
{
	unsigned more = i->opcode == 0xc2 ? (uint16_t)i->imm : 0;
	if (!stack_direct(t))
		flags_to_memory(t, FLAG_ARITH);
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_END;
	emit_pop(t, more, thunk);
	if (!returns_used(t)) {
		exit_indirect(t, -8);
		return;
	}
	emit_count(t);
	flags_to_host(t);
	note_branch(t, -8);
	returns_return(t);
}

bool translate_branch(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if ((i->op == OP_CALL || i->op == OP_RET) && stack_unreachable(t))
		return false;
	switch (i->op) {
	case OP_JCC:
		jcc(t, i);
		return true;
	case OP_JMP:
		jump(t, i);
		return true;
	case OP_CALL:
		call(t, i);
		return true;
	case OP_RET:
		if (i->opsize != 8 || i->opcode == 0xc2)
			return false;
		ret(t, i);
		return true;
	default:
		return false;
	}
}
