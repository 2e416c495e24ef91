/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cpu/mmu.h"
#include "engine/jit/dump.h"
#include "engine/jit/flags.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * A unit is made in three steps: decode up to the first instruction that goes
 * elsewhere for sure; find out backwards which flags are live where; emit.
 * What has no code of its own is executed by its function in cpu/.
 */
#define CODE_ROOM (48u << 10) /* more than any unit needs */

static struct record initial_record(const struct translator *t, enum record_kind kind)
{
	return (struct record){ .kind = (uint8_t)kind, .set = t->set, .unit = t->unit, .reuse = { REUSE_NONE, REUSE_NONE, REUSE_NONE },
				.executed = (uint8_t)t->executed };
}

struct record *new_record(struct translator *t, enum record_kind kind)
{
	static struct record dummy;
	const struct record first = initial_record(t, kind);
	struct record *record = jit_new_record(t->jit, &first);
	if (!record) {
		t->full = true;
		record = &dummy; /* nobody runs this unit */
	}
	return record;
}

struct thunk *new_thunk(struct translator *t, struct record *record)
{
	if (t->thunks == ARRAY_SIZE(t->thunk)) {
		t->full = true;
		t->thunks--;
	}
	struct thunk *thunk = &t->thunk[t->thunks++];
	/* The rest of it is lists, with their lengths. */
	thunk->record = record;
	thunk->memory_flags = thunk->stores_rip = thunk->undo_movs = false;
	thunk->sites = thunk->guards = 0;
	thunk->undo = NULL;
	thunk->x87 = t->x87;
	return thunk;
}

void jump_to_thunk(struct translator *t, struct thunk *thunk, unsigned condition)
{
	uint8_t *site = condition == COND_ALWAYS ? emit_jump(&t->e, emit_here(&t->e)) : emit_jump_if(&t->e, condition, emit_here(&t->e));
	if (thunk->sites < THUNK_SITES)
		thunk->site[thunk->sites++] = site;
	else
		t->full = true;
}

const struct insn *keep_insn(struct translator *t, const struct insn *insn)
{
	struct insn *copy = jit_alloc(t->jit, sizeof(*copy));
	if (!copy) {
		t->full = true;
		return insn;
	}
	*copy = *insn;
	return copy;
}

struct thunk *local_thunk(struct translator *t, enum record_kind kind)
{
	struct thunk *thunk = new_thunk(t, NULL);
	thunk->local = initial_record(t, kind);
	thunk->record = &thunk->local;
	return thunk;
}

struct thunk *helper_thunk(struct translator *t)
{
	struct thunk *thunk = local_thunk(t, RECORD_HELPER);
	struct record *record = thunk->record;
	record->insn = &t->insn[t->now];
	record->target = t->at[t->now] + t->insn[t->now].length;
	record->miss = true;
	thunk->memory_flags = t->memory_flags;
	return thunk;
}

void flags_to_memory(struct translator *t, uint16_t live)
{
	if (t->memory_flags || !live)
		return;
	reuse_drop_registers(t, 1u << S_A);
	emit_move(&t->e, S_A, REG_RAX);
	flags_emit_save(&t->e, REG_RAX);
	emit_move(&t->e, REG_RAX, S_A);
	t->memory_flags = true;
}

/* The scratch register is the one that no operand may be in: see pick() in operand.c. */
void flags_to_host(struct translator *t)
{
	if (!t->memory_flags)
		return;
	emit_store(&t->e, WORD(scratch), REG_RAX);
	flags_emit_load(&t->e, REG_RAX);
	emit_load(&t->e, REG_RAX, WORD(scratch));
	t->memory_flags = false;
}

void emit_guest_address(struct translator *t, unsigned reg, int64_t offset)
{
	if (t->unit->absolute) {
		uint64_t address = t->unit->page + (uint64_t)offset;
		emit_constant(&t->e, reg, legacy(t) ? (uint32_t)address : address);
		return;
	}
	emit_load(&t->e, reg, WORD(code_page));
	emit_mem(&t->e, legacy(t) ? 0 : EMIT_W, 0x8d, reg, MEM_BASE(reg, offset));
}

void emit_count(struct translator *t)
{
	/* It costs more than the instructions that it counts. */
	if (t->executed && t->c->count_instructions) {
		emit_load(&t->e, S_B, CPU_FIELD(stats.instructions));
		emit_lea(&t->e, S_B, MEM_BASE(S_B, t->executed));
		emit_store(&t->e, CPU_FIELD(stats.instructions), S_B);
	}
	t->executed = 0;
}

void guard(struct translator *t, struct thunk *thunk)
{
	if (thunk->guards < ARRAY_SIZE(thunk->guard))
		thunk->guard[thunk->guards++] = emit_here(&t->e);
	else
		t->full = true;
}

bool uses_windows(const struct translator *t)
{
	return t->unit->window && t->set <= TLB_SUPERVISOR && !jit_slow_site(t->jit, t->page + t->at[t->now]);
}

/* --- decode --- */

/* System instructions that a kernel executes all the time, by their functions, and goes on in the same code nearly always. */
static bool stays(const struct translator *t, const struct insn *i)
{
	if (t->set == TLB_USER)
		return false;
	switch (i->op) {
	case OP_IN: case OP_OUT: case OP_WRMSR: case OP_INVLPG: case OP_INVPCID: case OP_CPUID:
		return true;
	case OP_MOV_CR: /* CR0 and CR4 decide how vector instructions execute */
		return i->operand[1].kind == OPERAND_CR || i->operand[0].reg == 2 || i->operand[0].reg == 3 || i->operand[0].reg == 8;
	default:
		return false;
	}
}

/* Whether control never goes on behind it in this unit. */
static bool ends(const struct translator *t, const struct insn *i)
{
	if (!(isa_rows[i->row].attributes & ROW_ENDS) || i->op == OP_JCC)
		return false;
	bool inlined = i->op == OP_CLI || i->op == OP_STI || i->op == OP_STAC || i->op == OP_CLAC;
	return t->set == TLB_USER || !(inlined || stays(t, i));
}

#define MARK_STEP 64u /* bytes: what memory_mark_code tells apart */

/* Code is marked before it is read, and what was not read is not marked: data may stand beside it. */
static void mark_up_to(struct translator *t, unsigned *marked, unsigned at)
{
	unsigned want = MIN(at, GUEST_PAGE_SIZE);
	if (*marked >= want)
		return;
	want = ALIGN_UP(want, MARK_STEP);
	mmu_mark_code(t->c, t->page + *marked, want - *marked);
	*marked = want;
}

/* The bytes of an instruction that may go on in the next page; returns how many could be read. With windows such a unit goes
 * when that page does; others have no means to know. */
static unsigned read_over_edge(struct translator *t, unsigned at)
{
	uint64_t next = t->linear + GUEST_PAGE_SIZE;
	unsigned here = GUEST_PAGE_SIZE - at;
	bool global;
	const uint8_t *host = t->window ? mmu_code_page(t->c, t->set == TLB_USER, next, &global) : NULL;
	if (!host)
		return here;
	t->tail_generation = atomic_load(memory_generation(t->c->memory, host));
	mmu_mark_code(t->c, host, MARK_STEP);
	memcpy(t->bytes[t->count] + here, host, 15 - here);
	t->tail = host;
	return 15;
}

static int decode_one(struct translator *t, unsigned at)
{
	struct insn *i = &t->insn[t->count];
	uint8_t *bytes = t->bytes[t->count];
	unsigned room = MIN(GUEST_PAGE_SIZE - at, 15u);
	memcpy(bytes, t->page + at, room);
	int length = isa_decode(i, bytes, room, (enum isa_mode)t->mode);
	if (length < 0 && room < 15) {
		room = read_over_edge(t, at);
		length = isa_decode(i, bytes, room, (enum isa_mode)t->mode);
		if (length < 0 || at + (unsigned)length <= GUEST_PAGE_SIZE)
			t->tail = NULL;
	}
	return length;
}

static bool decode(struct translator *t, unsigned start)
{
	unsigned at = start, marked = start;
	while (t->count < UNIT_MAX_INSNS && at < GUEST_PAGE_SIZE) {
		struct insn *i = &t->insn[t->count];
		mark_up_to(t, &marked, at + 15);
		int length = decode_one(t, at);
		if (length < 0)
			break; /* left to the interpreter, which raises the exception or fetches from the next page */
		cpu_select(t->c, i);
		t->at[t->count++] = (uint16_t)at;
		at += (unsigned)length;
		if (ends(t, i))
			break;
	}
	t->at[t->count] = (uint16_t)at;
	return t->count > 0;
}

uint16_t live_at(const struct translator *t, int64_t offset)
{
	if (offset < 0 || offset >= GUEST_PAGE_SIZE)
		return FLAG_ARITH;
	unsigned room = MIN(GUEST_PAGE_SIZE - (unsigned)offset, MARK_STEP);
	uint8_t bytes[MARK_STEP];
	mmu_mark_code(t->c, t->page + offset, room);
	memcpy(bytes, t->page + offset, room);
	return flags_live_at(bytes, room, t->mode);
}

static uint16_t live_behind_end(const struct translator *t)
{
	const struct insn *last = &t->insn[t->count - 1];
	unsigned after = t->at[t->count];
	if (!ends(t, last))
		return live_at(t, after);
	if (last->op == OP_JMP && last->operand[0].kind == OPERAND_REL)
		return live_at(t, (int64_t)after + (int64_t)last->imm);
	return FLAG_ARITH;
}

static void find_live(struct translator *t)
{
	uint16_t live = live_behind_end(t);
	t->live[t->count] = live;
	for (unsigned n = t->count; n-- > 0;) {
		const struct insn *i = &t->insn[n];
		if (i->op == OP_JCC)
			live |= live_at(t, (int64_t)t->at[n + 1] + (int64_t)i->imm);
		live = (live & (uint16_t)~flags_killed(i)) | flags_read(i);
		if (flags_shown(i))
			live = FLAG_ARITH;
		t->live[n] = live;
	}
}

/* --- emit --- */

static void translate_helper(struct translator *t)
{
	struct thunk *thunk = helper_thunk(t);
	thunk->record->miss = false;
	if (isa_rows[t->insn[t->now].row].attributes & ROW_ENDS)
		thunk->record->kind = stays(t, &t->insn[t->now]) ? RECORD_STAY : RECORD_END;
	jump_to_thunk(t, thunk, COND_ALWAYS);
	t->memory_flags = false;
}

static bool translate_inline(struct translator *t)
{
	if (legacy(t))
		return translate_legacy(t);
	return translate_branch(t) || translate_stack(t) || translate_stack_pointer(t) || translate_string(t) || translate_system(t) ||
	       translate_privilege(t) || translate_copy(t);
}

static void translate_one(struct translator *t)
{
	struct thunk *first = &t->thunk[t->thunks];
	t->kept = t->kept_vector = false;
	if (!translate_inline(t)) {
		t->thunks = (unsigned)(first - t->thunk);
		translate_helper(t);
	}
	reuse_update(t, t->kept, t->kept_vector);
	predict_step(t);
	/* What was executed by its function comes back here. */
	for (struct thunk *thunk = first; thunk < t->thunk + t->thunks; thunk++) {
		if (!record_is_short(thunk->record) && !thunk->record->resume)
			thunk->record->resume = emit_here(&t->e);
		if (thunk->record->kind == RECORD_HELPER)
			reuse_note(t, thunk->record);
	}
}

/* Whether the thunk's n-th host instruction has its guard with those before it; more: how many came behind the first of them. */
static bool joins(const struct thunk *thunk, unsigned n, unsigned *more)
{
	bool joined = n && *more < GUARD_MORE && (size_t)(thunk->guard[n] - thunk->guard[n - 1]) <= UINT8_MAX;
	*more = joined ? *more + 1 : 0;
	return joined;
}

static unsigned guards_of(const struct thunk *thunk)
{
	unsigned count = 0;
	for (unsigned n = 0, more = 0; n < thunk->guards; n++)
		count += !joins(thunk, n, &more);
	return count;
}

/* Where only a fault leads there, the guard is all. */
static void put_guards(struct translator *t, const struct thunk *thunk, const uint8_t *slow)
{
	const struct record *r = thunk->record;
	const uint8_t *code = t->jit->code_x;
	for (unsigned n = 0, more = 0; n < thunk->guards; n++) {
		if (joins(thunk, n, &more)) {
			t->unit->guards[t->unit->guard_count - 1].more[more - 1] = (uint8_t)(thunk->guard[n] - thunk->guard[n - 1]);
			continue;
		}
		struct guard *guard = &t->unit->guards[t->unit->guard_count++];
		*guard = (struct guard){ .at = (uint32_t)(thunk->guard[n] - code), .slow = slow ? (uint32_t)(slow - code) : 0,
					 .resume = (uint16_t)(r->resume - thunk->guard[n]), .target = (int16_t)r->target, .kind = r->kind,
					 .length = r->insn ? r->insn->length : 0, .set = r->set, .executed = r->executed,
					 .memory_flags = thunk->memory_flags, .window = r->window, .hoisted = r->hoisted };
		memcpy(guard->reuse, r->reuse, sizeof(guard->reuse));
		guard->proven = r->proven;
		guard->sums = r->sums;
	}
}

static struct record *stay(struct translator *t, struct thunk *thunk)
{
	if (thunk->record != &thunk->local)
		return thunk->record;
	struct record *record = new_record(t, RECORD_HELPER);
	*record = thunk->local;
	return record;
}

static void emit_thunk(struct translator *t, struct thunk *thunk)
{
	uint8_t *here = emit_here(&t->e);
	if (t->e.full || t->full)
		return;
	if (thunk->record == &thunk->local && !thunk->sites && !thunk->undo && !thunk->x87.insn && !thunk->x87.data) {
		put_guards(t, thunk, NULL);
		return;
	}
	struct record *record = stay(t, thunk);
	for (unsigned n = 0; n < thunk->sites; n++)
		emit_patch(thunk->site[n], t->e.delta, here);
	if (thunk->undo)
		thunk->undo(t, thunk->undo_movs);
	x87_emit_noted(t, thunk->x87);
	if (record->kind == RECORD_LINK)
		record->thunk = here;
	else if (!record_is_short(record) && record->insn)
		record->insn = keep_insn(t, record->insn);
	if (thunk->stores_rip)
		emit_store(&t->e, CPU_FIELD(gpr[REG_RIP]), S_A);
	emit_address(&t->e, S_A, record);
	emit_jump(&t->e, thunk->memory_flags ? t->jit->leave_memory_flags : t->jit->leave);
	put_guards(t, thunk, here);
}

static void emit_thunks(struct translator *t)
{
	unsigned guards = 0;
	for (unsigned n = 0; n < t->thunks; n++)
		guards += guards_of(&t->thunk[n]);
	if (guards) {
		t->unit->guards = jit_alloc(t->jit, guards * sizeof(struct guard));
		t->full |= !t->unit->guards;
	}
	for (unsigned n = 0; n < t->thunks; n++)
		emit_thunk(t, &t->thunk[n]);
}

static void load_flags(struct translator *t)
{
	if (!t->live[0])
		return;
	emit_move(&t->e, S_A, REG_RAX);
	flags_emit_load(&t->e, REG_RAX);
	emit_move(&t->e, REG_RAX, S_A);
}

/* What is seldom run: thunks and, where windows are used, the entry with flags in memory. */
static void emit_cold(struct translator *t)
{
	const struct emitter hot = t->e;
	t->e = jit_emitter(t->jit, t->jit->cold_at, t->jit->code_w + t->jit->code_size);
	t->full |= hot.full;
	if (t->window) {
		t->unit->memory_entry = emit_here(&t->e);
		load_flags(t);
		emit_jump(&t->e, t->unit->entry);
	}
	emit_thunks(t);
	t->cold = t->e;
	t->e = hot;
}

/* Two entries, by where the flags are; the code begins with them where the first comer had them. */
static void emit_entries(struct translator *t, bool memory_flags)
{
	t->unit->code = emit_here(&t->e);
	if (t->window) {
		/* Where calls return, nothing else leads; together they are in fewer cache lines. */
		if (t->jit->leads == LEADS_INDIRECT && t->set <= TLB_SUPERVISOR)
			pages_emit_pad(t->jit, &t->e, t->unit);
		if (t->jit->leads == LEADS_BACK) {
			t->unit->polled = emit_here(&t->e);
			poll_by_fault(t, leave_at(t, t->at[0]));
		}
		t->unit->entry = emit_here(&t->e);
		return;
	}
	if (memory_flags) {
		t->unit->entry = emit_here(&t->e);
		flags_to_memory(t, FLAG_ARITH);
		t->unit->memory_entry = emit_here(&t->e);
		return;
	}
	t->unit->memory_entry = emit_here(&t->e);
	load_flags(t);
	t->unit->entry = emit_here(&t->e);
}

#define LOOP_SHORT 10 /* instructions */

/* The second body of a loop. */
static void emit_loop(struct translator *t)
{
	const unsigned length = t->loop_end + 1;
	t->looping = true;
	t->bodies = length <= LOOP_SHORT ? 4 : length <= 2 * LOOP_SHORT ? 2 : 1;
	t->memory_flags = false;
	t->vector = t->loop_vector;
	t->executed = 0;
	reuse_begin_loop(t);
	predict_begin(t);
	t->loop_head = emit_here(&t->e);
	emit_patch(t->loop_site, t->e.delta, t->loop_head);
	for (; t->bodies; t->bodies--)
		for (t->now = 0; t->now <= t->loop_end; t->now++) {
			t->executed++;
			translate_one(t);
		}
}

static void emit_unit(struct translator *t, bool memory_flags)
{
	emit_entries(t, memory_flags);
	predict_begin(t);
	reuse_begin(t);
	reuse_hoist(t);
	for (t->now = 0; t->now < t->count; t->now++) {
		t->executed++;
		translate_one(t);
	}
	if (!ends(t, &t->insn[t->count - 1])) {
		t->now = t->count - 1;
		exit_direct(t, t->at[t->count]);
	}
	if (t->loop_site)
		emit_loop(t);
	t->unit->code_end = emit_here(&t->e);
	emit_cold(t);
}

static struct unit *new_unit(struct translator *t, const uint8_t *host, uint64_t linear)
{
	struct jit *jit = t->jit;
	struct unit *unit = jit_alloc(jit, sizeof(*unit));
	if (!unit || jit->unit_count == jit->unit_room || jit_code_room(jit) < CODE_ROOM ||
	    (size_t)(jit->code_w + jit->code_size - jit->cold_at) < CODE_ROOM)
		return NULL;
	unit->host = host;
	unit->set = t->set;
	unit->mode = t->mode;
	unit->window = t->window;
	unit->absolute = t->set != TLB_USER || unit->window;
	unit->page = jit_unit_page(jit, linear, t->set);
	unit->space = jit_space_id(jit, t->set);
	unit->bytes = t->at[t->count] - ((uintptr_t)host & GUEST_PAGE_MASK);
	unit->generation_now = unit->tail_generation_now = memory_generation(t->c->memory, t->page);
	unit->generation = unit->tail_generation = t->generation;
	if (t->tail) {
		unit->tail = t->tail;
		unit->tail_generation_now = memory_generation(t->c->memory, t->tail);
		unit->tail_generation = t->tail_generation;
	}
	return unit;
}

static struct unit *finish(struct translator *t, struct unit *unit)
{
	struct jit *jit = t->jit;
	if (t->full || t->e.full || t->cold.full || (unit->tail && !pages_tail(jit, unit)))
		return NULL;
	jit->stats.units++;
	if (unit->window)
		pages_count(jit, unit);
	jit->stats.guest_bytes += unit->bytes;
	jit->stats.code_bytes += (uint64_t)(t->e.at - jit->code_at) + (uint64_t)(t->cold.at - jit->cold_at);
	jit->code_at = (uint8_t *)ALIGN_UP((uintptr_t)t->e.at, 16);
	jit->cold_at = t->cold.at;
	jit_insert(jit, unit);
	return unit;
}

bool jit_translator_init(struct jit *jit)
{
	jit->translator = calloc(1, sizeof(*jit->translator));
	return jit->translator != NULL;
}

static void begin(struct translator *t, const uint8_t *host, uint64_t linear)
{
	struct jit *jit = t->jit;
	struct cpu *c = t->c = jit->cpu;
	unsigned start = (unsigned)(linear & GUEST_PAGE_MASK);
	t->set = (uint8_t)((c->tlb - c->tlbs[0]) / TLB_SIZE);
	t->count = t->thunks = t->executed = 0;
	t->looping = false;
	t->bodies = 0;
	t->loop_site = NULL;
	t->memory_flags = t->full = t->stack_replaced = false;
	t->x87 = (struct x87_noted){ 0 };
	reuse_clear(t);
	t->page = host - start;
	t->linear = linear - start;
	t->window = jit_on_windows(jit, t->set);
	t->vector = t->window && t->set == TLB_USER ? vector_assumed(jit) : 0;
	t->mode = c->code_mode;
	t->tail = NULL;
	t->generation = atomic_load(memory_generation(t->c->memory, t->page));
}

struct unit *jit_translate(struct jit *jit, const uint8_t *host, uint64_t linear, bool memory_flags)
{
	struct translator *t = jit->translator;
	t->jit = jit;
	begin(t, host, linear);
	if (!decode(t, (unsigned)(linear & GUEST_PAGE_MASK)))
		return NULL;
	jit_back_code(jit, CODE_ROOM);
	t->unit = new_unit(t, host, linear);
	if (!t->unit) {
		jit_flush(jit);
		return NULL;
	}
	find_live(t);
	t->e = jit_emitter(jit, jit->code_at, jit_cold_floor(jit));
	emit_unit(t, memory_flags);
	struct unit *unit = finish(t, t->unit);
	if (!unit)
		jit_flush(jit);
	else
		dump_unit(linear, unit->bytes, unit->set == TLB_USER, unit->window, unit->code, (size_t)(unit->code_end - unit->code));
	return unit;
}
