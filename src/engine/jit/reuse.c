/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <string.h>

#include "base/util.h"
#include "isa/op.h"
#include "isa/table.h"

/*
 * What is kept from one instruction to the next. In scratch registers: guest registers of the same number, which are in struct
 * cpu as well, and biases. For RIP and a segment's base the register holds their host address. Besides, what is known
 * of general registers: the window that they point into, which was guessed and proven (predict.h), so that
 * all registers that point into one window are served by one bias. Where nothing can be guessed, or guesses fail, a register's
 * own bias is looked up.
 *
 * Both hold while the register changes by constants only: between windows is more nothing than all those constants and a
 * displacement make up.
 *
 * A unit begins with none but the bias of its space's shape in S_C, which stays there but where that register is needed otherwise: an operand
 * [base + S_C + displacement] is faster than one by the GS base, which costs the load two cycles more. What comes back from a function gets biases anew by the record's `reuse`, if what was proven
 * is still true.
 */
#define DRIFT_MAX (1ll << 30)
#define NEAR 65536

static void clear_registers(struct translator *t)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		t->reuse[n].key = REUSE_NONE;
}

void reuse_clear(struct translator *t)
{
	clear_registers(t);
	memset(t->proof, 0, sizeof(t->proof));
	memset(t->sum, 0, sizeof(t->sum));
}

void reuse_drop_registers(struct translator *t, unsigned mask)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		if (mask >> reuse_register[n] & 1)
			t->reuse[n].key = REUSE_NONE;
}

void reuse_note(const struct translator *t, struct record *record)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		record->reuse[n] = t->reuse[n].key;
	record->proven = 0;
	for (unsigned r = 0; r < 16; r++)
		record->proven |= (uint32_t)t->proof[r].window << 2 * r;
	record->sums = 0;
	for (unsigned n = 0; n < PROVEN_SUMS; n++) {
		const struct sum *s = &t->sum[n];
		if (s->proof.window)
			record->sums = record->sums << 12 | PROVEN_SUM(s->base == REG_NONE ? REG_RSP : s->base, s->index, s->scale, s->proof.window);
	}
}

/* What the only register operand that is written changes by, if that is a constant. */
static bool constant_change(const struct insn *i, int64_t *by)
{
	const struct operand *from = &i->operand[1];
	if (i->opsize != 8)
		return false;
	switch (i->op) {
	case OP_ADD: *by = (int32_t)i->imm; return from->kind == OPERAND_IMM;
	case OP_SUB: *by = -(int64_t)(int32_t)i->imm; return from->kind == OPERAND_IMM;
	case OP_INC: *by = 1; return true;
	case OP_DEC: *by = -1; return true;
	case OP_LEA: *by = i->disp; return i->base == i->operand[0].reg && i->index == REG_NONE && i->adsize == 8;
	default: return false;
	}
}

static bool in_reach(int64_t drift)
{
	return drift <= DRIFT_MAX && drift >= -DRIFT_MAX;
}

static void drift(struct proof *p, bool constant, int64_t by)
{
	p->drift += constant ? by : 0;
	if (!constant || !in_reach(p->drift))
		p->window = 0;
}

static void written(struct translator *t, const struct insn *i, unsigned reg)
{
	int64_t by;
	bool constant = constant_change(i, &by);
	drift(&t->proof[reg], constant, by);
	for (unsigned n = 0; n < PROVEN_SUMS; n++) {
		struct sum *s = &t->sum[n];
		if (s->base == reg)
			drift(&s->proof, constant, by);
		if (s->index == reg)
			drift(&s->proof, constant, constant ? by * (1 << s->scale) : 0);
	}
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		struct reuse *r = &t->reuse[n];
		if (r->key != reg)
			continue;
		r->drift += constant ? by : 0;
		if (!constant || !in_reach(r->drift))
			r->key = REUSE_NONE;
	}
}

/* What the first operand is proven to be after this instruction, which makes it of another register. */
static struct proof inherited(const struct translator *t, const struct insn *i)
{
	const struct operand *to = &i->operand[0], *from = &i->operand[1];
	struct proof p = { 0 };
	if (i->opsize != 8 || to->kind != OPERAND_GPR || !(to->access & ACCESS_W) || to->reg == REG_RSP)
		return p;
	if (i->op == OP_MOV && from->kind == OPERAND_GPR && from->reg != REG_RSP)
		return t->proof[from->reg];
	if (i->op != OP_LEA || i->base >= 16 || i->base == REG_RSP || i->base == to->reg || i->index != REG_NONE || i->adsize != 8)
		return p;
	p = t->proof[i->base];
	p.drift += i->disp;
	p.window = in_reach(p.drift) ? p.window : 0;
	return p;
}

bool reuse_explicit(const struct insn *i)
{
	switch (i->op) {
	case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR: case OP_CMP: case OP_TEST:
	case OP_MOV: case OP_XCHG: case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: case OP_ROL: case OP_ROR: case OP_SHL:
	case OP_SHR: case OP_SAR: case OP_SHLD: case OP_SHRD: case OP_BSF: case OP_BSR: case OP_BSWAP: case OP_MOVZX: case OP_MOVSX:
	case OP_MOVSXD: case OP_SETCC: case OP_CMOVCC: case OP_XADD: case OP_POPCNT: case OP_LZCNT: case OP_TZCNT: case OP_ANDN:
	case OP_BEXTR: case OP_BLSI: case OP_BLSMSK: case OP_BLSR: case OP_BZHI: case OP_PDEP: case OP_PEXT: case OP_RORX: case OP_SARX:
	case OP_SHLX: case OP_SHRX: case OP_MOVBE: case OP_LEA: case OP_JCC: case OP_PUSH: case OP_POP: case OP_NOP: case OP_ENDBR:
	case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC:
		return true;
	case OP_IMUL:
		return i->operand[1].kind != OPERAND_NONE;
	default:
		return false;
	}
}

void reuse_update(struct translator *t, bool kept, bool vector)
{
	const struct insn *i = &t->insn[t->now];
	if (!(vector || reuse_explicit(i)) || t->set > TLB_SUPERVISOR) {
		reuse_clear(t);
		return;
	}
	if (!kept || (i->op == OP_JCC && t->c->count_instructions))
		clear_registers(t);
	const struct proof proof = inherited(t, i);
	for (unsigned n = 0; n < 4; n++)
		if (i->operand[n].kind == OPERAND_GPR && (i->operand[n].access & ACCESS_W))
			written(t, i, whole_register(i->operand[n].reg));
	if (proof.window)
		t->proof[i->operand[0].reg] = proof;
}

static struct reuse *find(struct translator *t, unsigned key)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		if (t->reuse[n].key == key)
			return &t->reuse[n];
	return NULL;
}

/* Code is entered with it, so what takes its place is seldom worth it. */
static bool holds_bias(const struct translator *t)
{
	return t->unit->shape_bias && t->reuse[REUSE_OF_BIAS].key == REUSE_BIAS;
}

#ifdef __SANITIZE_ADDRESS__
#define CHECKED true
#else
#define CHECKED false
#endif

/* That keeps guests inside their windows, and a fault would hide what is wrong: with sanitizers ud2 does not. No flags change. */
static void check_bias(struct translator *t)
{
	struct emitter *e = &t->e;
	if (!CHECKED || !holds_bias(t))
		return;
	emit_store(e, WORD(scratch), REG_RCX);
	emit_load(e, REG_RCX, WORD(bias));
	emit_reg(e, EMIT_W, 0xf7, 2, REG_RCX); /* not */
	emit_lea(e, REG_RCX, (struct host_mem){ .base = REG_RCX, .index = S_C, .disp = 1 });
	uint8_t *good = emit_jrcxz(e);
	put_bytes(e, (const uint8_t[]){ 0x0f, 0x0b }, 2); /* ud2 */
	emit_over(e, good);
	emit_load(e, REG_RCX, WORD(scratch));
}

static void set_bias(struct translator *t)
{
	t->reuse[REUSE_OF_BIAS] = (struct reuse){ .key = REUSE_BIAS };
}

void reuse_begin(struct translator *t)
{
	if (t->unit->shape_bias)
		set_bias(t);
}

void reuse_provide_bias(struct translator *t)
{
	if (!t->unit->shape_bias || holds_bias(t))
		return;
	emit_load(&t->e, S_C, WORD(bias));
	set_bias(t);
}

/* S_C, with the shape's bias; HOST_NONE: the operand needs the register, or it holds something else. fetch: then it is loaded. */
static unsigned bias_register(struct translator *t, unsigned keep, bool fetch)
{
	if ((keep >> S_C & 1) || (!fetch && !holds_bias(t)))
		return HOST_NONE;
	reuse_provide_bias(t);
	check_bias(t);
	return S_C;
}

static struct reuse *entry_of(struct translator *t, unsigned reg)
{
	return &t->reuse[reg == S_B ? 0 : reg == S_C ? 1 : 2];
}

bool reuse_holds(struct translator *t, unsigned reg)
{
	return entry_of(t, reg)->key == REUSE_SELF;
}

void reuse_hold(struct translator *t, unsigned reg)
{
	*entry_of(t, reg) = (struct reuse){ .key = REUSE_SELF, .taken = ++t->takes };
}

unsigned reuse_gpr(struct translator *t, unsigned reg)
{
	if (!scratch_register(reg))
		return reg;
	if (!reuse_holds(t, reg))
		emit_load(&t->e, reg, CPU_FIELD(gpr[reg]));
	reuse_hold(t, reg);
	return reg;
}

/* A register to keep a bias in: a free one, or the one that was taken less recently. S_A is too much in use; S_C is the last resort where it
 * holds the shape's. */
static struct reuse *take(struct translator *t, unsigned keep, unsigned key)
{
	struct reuse *best = NULL;
	for (unsigned n = 0; n < 2; n++) {
		struct reuse *r = &t->reuse[n];
		if (keep >> reuse_register[n] & 1)
			continue;
		if (!best || (best->key != REUSE_NONE && r->key != REUSE_BIAS && (r->key == REUSE_NONE || r->taken < best->taken)))
			best = r;
	}
	if (best)
		*best = (struct reuse){ .key = (uint8_t)key, .taken = ++t->takes };
	return best;
}

static unsigned register_of(const struct translator *t, const struct reuse *r)
{
	return reuse_register[r - t->reuse];
}

static void emit_page(struct translator *t, unsigned y)
{
	if (t->shape.id && windows_constant(t->jit->windows, t->jit->space, (uint16_t)(t->unit->page >> WINDOW_SHIFT))) {
		emit_constant(&t->e, y, t->unit->page + t->shape.bias);
		return;
	}
	emit_constant(&t->e, S_A, t->unit->page);
	emit_load(&t->e, y, (struct host_mem){ .base = HOST_NONE, .index = HOST_NONE,
		  .disp = (int32_t)(uintptr_t)&mirror_table(t->jit, t->set)[(t->unit->page >> WINDOW_SHIFT) & 0xffff] });
	emit_lea(&t->e, y, (struct host_mem){ .base = (uint8_t)y, .index = S_A });
}

/* What an operand's bias could be kept for. */
static unsigned key_of(const struct translator *t, const struct insn *i)
{
	if (i->index != REG_NONE)
		return REUSE_NONE;
	if (i->seg == SEG_FS || i->seg == SEG_GS)
		return i->base == REG_NONE ? (i->seg == SEG_FS ? REUSE_FS : REUSE_GS) : REUSE_NONE;
	if (i->base == REG_RIP) {
		uint64_t to = t->unit->page + (uint64_t)((int64_t)t->at[t->now] + i->length + i->disp);
		return to >> WINDOW_SHIFT == t->unit->page >> WINDOW_SHIFT ? REG_RIP : REUSE_NONE;
	}
	return i->base < 16 && i->base != REG_RSP ? i->base : REUSE_NONE;
}

static unsigned bit_of(unsigned reg)
{
	return reg < 16 && scratch_register(reg) ? 1u << reg : 0;
}

/* --- proofs --- */

/* The number of the window among those that the unit proves; 0: there are too many. */
static unsigned number_of(struct unit *unit, int window)
{
	unsigned n = 0, room = unit->shape_bias ? PROVEN_SHAPED - 1 : PROVEN_WINDOWS;
	if (window < 0)
		return 0;
	if (window == WINDOW_SHAPED)
		return PROVEN_SHAPED;
	while (n < unit->proven_windows && unit->window_index[n] != window)
		n++;
	if (n == room)
		return 0;
	if (n == unit->proven_windows)
		unit->window_index[unit->proven_windows++] = (uint16_t)window;
	return n + 1;
}

static void emit_bias(struct translator *t, unsigned y, unsigned number)
{
	if (unit_shaped(t->unit, number)) {
		emit_load(&t->e, y, WORD(bias));
		return;
	}
	uint64_t *bias = &mirror_table(t->jit, t->set)[t->unit->window_index[number - 1]];
	emit_load(&t->e, y, (struct host_mem){ .base = HOST_NONE, .index = HOST_NONE, .disp = (int32_t)(uintptr_t)bias });
}

/* rorx y, reg, 20 (or 22); mov y8, [y32 + ...]: faults unless the address in `reg` is in the window. Flags stay. */
static void emit_proof(struct translator *t, unsigned number, unsigned reg, unsigned y, struct thunk *thunk)
{
	bool shaped = unit_shaped(t->unit, number);
	uint32_t page = shaped ? t->shape.proof : predict_page(t->unit->window_index[number - 1]);
	emit_rotate_quietly(&t->e, y, reg, (shaped ? WINDOW_ZONE_SHIFT : WINDOW_SHIFT) - GUEST_PAGE_SHIFT);
	guard(t, thunk);
	put8(&t->e, 0x67);
	emit_mem(&t->e, EMIT_BYTE, 0x8a, y, MEM_BASE(y, (int32_t)page));
	reuse_drop_registers(t, 1u << y);
}

/* S_A is free: the host address of the segment's base. */
static void emit_segment(struct translator *t, unsigned seg, unsigned y)
{
	emit_load(&t->e, y, CPU_FIELD(segment_base[seg]));
	emit_window_bias(t, S_A, y);
	emit_lea(&t->e, y, (struct host_mem){ .base = (uint8_t)y, .index = S_A });
}

bool reuse_prove_target(struct translator *t, struct thunk *thunk)
{
	if (!t->unit->shape_bias || predict_missed_before(t))
		return false;
	emit_proof(t, PROVEN_SHAPED, S_A, S_B, thunk);
	return true;
}

/* A scratch register to prove with; 0: none. */
static unsigned spare(const struct translator *t, unsigned keep)
{
	static const uint8_t order[REUSE_COUNT] = { 2, 0, 1 };
	unsigned best = 0;
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		unsigned r = reuse_register[order[n]];
		bool free = t->reuse[order[n]].key == REUSE_NONE;
		if (!(keep >> r & 1) && (!best || (free && t->reuse[best == S_B ? 0 : best == S_C ? 1 : 2].key != REUSE_NONE)))
			best = r;
	}
	return best;
}

/* --- proofs at the start of a unit --- */

static bool proves_base(const struct insn *i)
{
	return i->memory && i->operand[i->memory - 1].size && i->base < 16 && i->base != REG_RSP && i->index == REG_NONE && i->adsize == 8 &&
	       i->seg != SEG_FS && i->seg != SEG_GS && !scratch_register(i->base);
}

/* Registers whose values at the start are bases of operands, before any branch; used_by: of which instruction first. */
static uint16_t find_bases(struct translator *t, uint16_t used_by[16])
{
	uint8_t origin[16];
	uint16_t found = 0;
	for (unsigned r = 0; r < 16; r++)
		origin[r] = (uint8_t)r;
	for (t->now = 0; t->now < t->count && t->insn[t->now].op != OP_JCC; t->now++) {
		const struct insn *i = &t->insn[t->now];
		const struct operand *from = &i->operand[1];
		unsigned base = proves_base(i) ? origin[i->base] : REG_NONE;
		if (base != REG_NONE && !(found >> base & 1) && uses_windows(t) && !predict_missed_before(t)) {
			found |= (uint16_t)(1u << base);
			used_by[base] = t->at[t->now];
		}
		if (!reuse_explicit(i) && !(isa_rows[i->row].attributes & (ROW_SSE | ROW_AVX)))
			break;
		bool copied = i->op == OP_MOV && i->opsize == 8 && from->kind == OPERAND_GPR && from->reg < 16;
		for (unsigned n = 0; n < 4; n++)
			if (i->operand[n].kind == OPERAND_GPR && (i->operand[n].access & ACCESS_W))
				origin[whole_register(i->operand[n].reg)] = copied ? origin[from->reg] : REG_NONE;
	}
	t->now = 0;
	return found;
}

static void hoist(struct translator *t, unsigned reg, uint16_t used_by, struct thunk *thunk)
{
	struct unit *unit = t->unit;
	const uint8_t *start = emit_here(&t->e);
	emit_proof(t, PROVEN_SHAPED, reg, S_A, thunk);
	t->full |= !t->e.full && emit_here(&t->e) - start != PROOF_BYTES;
	unit->hoisted_reg[unit->hoisted] = (uint8_t)reg;
	unit->hoisted_for[unit->hoisted++] = used_by;
	t->proof[reg] = (struct proof){ .window = PROVEN_SHAPED };
}

/* The callee-saved ones come first: they are the most likely to be proven by others. */
void reuse_hoist(struct translator *t)
{
	static const uint8_t order[] = { REG_RBX, REG_RBP, 12, 13, 14, 15, REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_RAX };
	uint16_t used_by[16], bases = t->unit->shape_bias ? find_bases(t, used_by) : 0;
	struct thunk *thunk = NULL;
	for (unsigned n = 0; n < ARRAY_SIZE(order) && bases && t->unit->hoisted < HOISTED_MAX; n++) {
		unsigned r = order[n];
		if (!(bases >> r & 1) || !predict_shaped(t, r))
			continue;
		if (!thunk) {
			thunk = leave_at(t, t->at[0]);
			thunk->record->hoisted = true;
		}
		hoist(t, r, used_by[r], thunk);
	}
	check_bias(t);
}

uint16_t reuse_shaped(const struct translator *t)
{
	uint16_t mask = 0;
	for (unsigned r = 0; r < 16 && t->unit->shape_bias; r++)
		if (t->proof[r].window == PROVEN_SHAPED && !t->proof[r].drift)
			mask |= (uint16_t)(1u << r);
	return mask;
}

/* The register with the window's bias; 0: there is no room. */
static unsigned window_register(struct translator *t, unsigned number, unsigned keep)
{
	unsigned key = REUSE_WINDOW + number - 1;
	struct reuse *r = find(t, key);
	if (r && (keep >> register_of(t, r) & 1))
		return 0;
	if (!r) {
		if (!(r = take(t, keep, key)))
			return 0;
		emit_bias(t, register_of(t, r), number);
	}
	r->taken = ++t->takes;
	return register_of(t, r);
}

/* Whether there is a register to prove with besides that of the bias. */
static bool room_for_proof(const struct translator *t, unsigned keep)
{
	unsigned free = 0;
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		free += !(keep >> reuse_register[n] & 1);
	return free >= 2 && (~keep >> S_B & 1 || ~keep >> S_C & 1);
}

/* Which bias the base is guessed to have: a number of the unit's proofs, 0: nobody knows, or there is no room for the proof. */
static unsigned guess_base(struct translator *t, const struct insn *i, unsigned keep)
{
	unsigned number = spare(t, keep) ? number_of(t->unit, predict_window(t, i, true)) : 0;
	return unit_shaped(t->unit, number) || room_for_proof(t, keep) ? number : 0;
}

/* What the shape's bias is in for an operand of one register; proves: which is to be proven first. A load is worth having it. */
static unsigned shape_register(struct translator *t, const struct insn *i, unsigned keep, bool proves)
{
	const struct operand *to = &i->operand[0];
	if (proves && !spare(t, keep | 1u << S_C))
		return HOST_NONE;
	return bias_register(t, keep, to->kind == OPERAND_GPR && (to->access & ACCESS_W));
}

/* [base + disp] by the window that the base was proven to point into, or is now. */
static bool proven_operand(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	struct proof *p = &t->proof[i->base];
	unsigned number = p->window, y = HOST_NONE;
	keep |= bit_of(i->base);
	if (!number && (find(t, i->base) || !(number = guess_base(t, i, keep))))
		return false;
	const bool shaped = unit_shaped(t->unit, number);
	if (!shaped && !(y = window_register(t, number, keep)))
		return false;
	unsigned base = reuse_gpr(t, i->base);
	if (shaped)
		y = shape_register(t, i, keep, !p->window);
	if (!p->window)
		emit_proof(t, number, base, spare(t, keep | (y == HOST_NONE ? 0 : 1u << y)), thunk);
	if (!p->window || (i->disp >= -NEAR && i->disp <= NEAR))
		p->drift = 0; /* where the access succeeds the register is that near to the window */
	p->window = (uint8_t)number;
	*m = (struct host_mem){ .base = (uint8_t)base, .index = (uint8_t)y, .disp = i->disp, .gs = y == HOST_NONE };
	return true;
}

static struct sum *find_sum(struct translator *t, const struct insn *i)
{
	for (unsigned n = 0; n < PROVEN_SUMS; n++)
		if (t->sum[n].proof.window && t->sum[n].base == i->base && t->sum[n].index == i->index && t->sum[n].scale == i->scale)
			return &t->sum[n];
	return NULL;
}

/* The access proves that the sum is where it is, or was proven to be. */
static void note_sum(struct translator *t, const struct insn *i, unsigned number)
{
	struct sum *s = find_sum(t, i);
	bool near = i->disp >= -NEAR && i->disp <= NEAR;
	if (!s && near) {
		t->sum[1] = t->sum[0];
		t->sum[0] = (struct sum){ .base = i->base, .index = i->index, .scale = i->scale, .proof.window = (uint8_t)number };
	} else if (near) {
		s->proof.drift = 0;
	}
}

/* The sum is in the shape, or is proven to be now: its registers are those of the operand. */
static bool shaped_indexed(struct translator *t, const struct insn *i, unsigned keep, unsigned number, bool proven, struct thunk *thunk,
			   struct host_mem *m)
{
	struct host_mem address = { .base = HOST_NONE, .index = (uint8_t)reuse_gpr(t, i->index), .scale = i->scale, .disp = i->disp };
	if (i->base != REG_NONE)
		address.base = (uint8_t)reuse_gpr(t, i->base);
	unsigned y = proven ? 0 : spare(t, keep | bit_of(i->base) | bit_of(i->index));
	if (!proven) {
		emit_lea(&t->e, y, address);
		emit_proof(t, number, y, y, thunk);
	}
	note_sum(t, i, number);
	address.gs = true;
	*m = address;
	return true;
}

static bool proven_indexed(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	const struct sum *sum = find_sum(t, i);
	const unsigned all = keep | bit_of(i->base) | bit_of(i->index);
	unsigned number = sum ? sum->proof.window : spare(t, all) ? number_of(t->unit, predict_window(t, i, false)) : 0;
	struct host_mem address = { .base = HOST_NONE, .index = HOST_NONE, .scale = i->scale, .disp = i->disp };
	if (!number)
		return false;
	if (unit_shaped(t->unit, number))
		return shaped_indexed(t, i, keep, number, sum != NULL, thunk, m);
	if (keep >> S_A & 1 || !room_for_proof(t, keep | 1u << S_A))
		return false;
	unsigned y = window_register(t, number, keep | 1u << S_A | bit_of(i->base) | bit_of(i->index));
	if (!y)
		return false;
	address.index = (uint8_t)reuse_gpr(t, i->index);
	if (i->base != REG_NONE)
		address.base = (uint8_t)reuse_gpr(t, i->base);
	emit_lea(&t->e, S_A, address);
	reuse_drop_registers(t, 1u << S_A);
	if (!sum)
		emit_proof(t, number, S_A, spare(t, keep | 1u << S_A | 1u << y), thunk);
	note_sum(t, i, number);
	*m = (struct host_mem){ .base = S_A, .index = (uint8_t)y };
	return true;
}

/* An operand with an index: its window is anybody's. */
static bool indexed(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	if (i->seg == SEG_FS || i->seg == SEG_GS || i->base == REG_RSP || i->base == REG_RIP)
		return false;
	if (proven_indexed(t, i, keep, thunk, m))
		return true;
	if (keep >> S_A & 1)
		return false;
	struct reuse *r = take(t, keep | bit_of(i->base) | bit_of(i->index), REUSE_NONE);
	if (!r)
		return false;
	struct host_mem address = { .base = HOST_NONE, .index = (uint8_t)reuse_gpr(t, i->index), .scale = i->scale, .disp = i->disp };
	if (i->base != REG_NONE)
		address.base = (uint8_t)reuse_gpr(t, i->base);
	unsigned y = register_of(t, r);
	emit_lea(&t->e, S_A, address);
	reuse_drop_registers(t, 1u << S_A);
	emit_window_bias(t, y, S_A);
	*m = (struct host_mem){ .base = S_A, .index = (uint8_t)y };
	return true;
}

static bool addressed(unsigned key)
{
	return key == REUSE_FS || key == REUSE_GS || key == REG_RIP;
}

static void emit_reuse(struct translator *t, unsigned key, unsigned y)
{
	if (addressed(key))
		reuse_drop_registers(t, 1u << S_A);
	if (key == REG_RIP)
		emit_page(t, y);
	else if (key == REUSE_FS || key == REUSE_GS)
		emit_segment(t, key == REUSE_FS ? SEG_FS : SEG_GS, y);
	else
		emit_window_bias(t, y, reuse_gpr(t, key));
}

/* An address in the low 2 GiB that is a constant needs neither a register nor a proof. */
static bool shaped_constant(struct translator *t, const struct insn *i, unsigned keep, struct host_mem *m)
{
	uint64_t linear = (uint64_t)(int64_t)i->disp;
	if (i->base == REG_RIP)
		linear += t->unit->page + t->at[t->now] + i->length;
	if (!t->unit->shape_bias || (i->base != REG_RIP && i->base != REG_NONE) || i->index != REG_NONE || i->seg == SEG_FS || i->seg == SEG_GS ||
	    linear > INT32_MAX || !windows_constant(t->jit->windows, t->jit->space, 0))
		return false;
	unsigned y = bias_register(t, keep, false);
	*m = (struct host_mem){ .base = (uint8_t)y, .index = HOST_NONE, .disp = (int32_t)linear, .gs = y == HOST_NONE };
	return true;
}

/* The same where there is no shape, or the address is not in it: the bias of its window is kept. */
static bool constant_operand(struct translator *t, const struct insn *i, unsigned keep, struct host_mem *m)
{
	if (i->base != REG_NONE || i->index != REG_NONE || i->seg == SEG_FS || i->seg == SEG_GS)
		return false;
	unsigned number = number_of(t->unit, (int)((int64_t)i->disp >> WINDOW_SHIFT & 0xffff)), y = number ? window_register(t, number, keep) : 0;
	if (!y)
		return false;
	*m = MEM_BASE(y, i->disp);
	return true;
}

/* FS:[disp], or GS, in a space with a shape: the base is proven, and stays in a register. */
static bool shaped_segment(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	const unsigned key = REUSE_SEGMENT + i->seg;
	struct reuse *r = find(t, key);
	if (!r) {
		if (!t->unit->shape_bias || predict_missed_before(t) || keep >> S_A & 1 || !(r = take(t, keep, key)))
			return false;
		emit_load(&t->e, register_of(t, r), CPU_FIELD(segment_base[i->seg]));
		emit_proof(t, PROVEN_SHAPED, register_of(t, r), S_A, thunk);
	}
	r->taken = ++t->takes;
	unsigned y = bias_register(t, keep, false);
	*m = (struct host_mem){ .base = (uint8_t)register_of(t, r), .index = (uint8_t)y, .disp = i->disp, .gs = y == HOST_NONE };
	return true;
}

bool reuse_operand(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	unsigned key = key_of(t, i);
	if (!uses_windows(t) || !t->unit->absolute || i->adsize != 8)
		return false;
	thunk->record->window = true;
	if (shaped_constant(t, i, keep, m) || ((key == REUSE_FS || key == REUSE_GS) && shaped_segment(t, i, keep, thunk, m)))
		return true;
	if (constant_operand(t, i, keep, m))
		return true;
	if (key == REUSE_NONE)
		return i->index != REG_NONE && indexed(t, i, keep, thunk, m);
	if (key < 16 && proven_operand(t, i, keep, thunk, m))
		return true;
	struct reuse *r = find(t, key);
	bool there = r != NULL;
	if (!there && (addressed(key) && (keep >> S_A & 1)))
		return false;
	if (!r && !(r = take(t, keep | bit_of(key), key)))
		return false;
	unsigned y = register_of(t, r);
	if (!there)
		emit_reuse(t, key, y);
	r->taken = ++t->takes;
	if (addressed(key)) {
		*m = MEM_BASE(y, key == REG_RIP ? (int64_t)t->at[t->now] + i->length + i->disp : i->disp);
		return true;
	}
	*m = (struct host_mem){ .base = (uint8_t)reuse_gpr(t, i->base), .index = (uint8_t)y, .disp = i->disp };
	if (i->disp >= -NEAR && i->disp <= NEAR)
		r->drift = 0; /* where the access succeeds the register is that near to the window */
	return true;
}

bool reuse_hint(struct translator *t, const struct insn *i, struct host_mem *m)
{
	if (i->adsize != 8 || i->seg == SEG_FS || i->seg == SEG_GS || i->base == REG_RIP || i->base == REG_RSP || i->base == REG_NONE)
		return false;
	struct host_mem address = { .base = (uint8_t)reuse_gpr(t, i->base), .index = HOST_NONE, .scale = i->scale, .disp = i->disp };
	struct reuse *r = take(t, bit_of(i->base) | bit_of(i->index), REUSE_NONE);
	if (!r)
		return false;
	if (i->index != REG_NONE)
		address.index = (uint8_t)reuse_gpr(t, i->index);
	unsigned y = register_of(t, r);
	emit_lea(&t->e, S_A, address);
	reuse_drop_registers(t, 1u << S_A);
	emit_window_bias(t, y, S_A);
	*m = (struct host_mem){ .base = S_A, .index = (uint8_t)y };
	return true;
}

/* --- loops --- */

void reuse_save(struct translator *t)
{
	memcpy(t->loop_reuse, t->reuse, sizeof(t->reuse));
	memcpy(t->loop_proof, t->proof, sizeof(t->proof));
	memcpy(t->loop_sum, t->sum, sizeof(t->sum));
}

void reuse_begin_loop(struct translator *t)
{
	memcpy(t->reuse, t->loop_reuse, sizeof(t->reuse));
	memcpy(t->proof, t->loop_proof, sizeof(t->proof));
	memcpy(t->sum, t->loop_sum, sizeof(t->sum));
}

/* Without a register but its own and S_A, which holds nothing around a loop. */
static void bring_back(struct translator *t, unsigned n, unsigned key)
{
	unsigned y = reuse_register[n];
	if (key == REUSE_SELF) {
		emit_load(&t->e, y, CPU_FIELD(gpr[y]));
	} else if (key >= REUSE_WINDOW) {
		emit_bias(t, y, key - REUSE_WINDOW + 1);
	} else if (key >= REUSE_SEGMENT) { /* proven when the loop began, and units do not change it */
		emit_load(&t->e, y, CPU_FIELD(segment_base[key - REUSE_SEGMENT]));
	} else if (addressed(key)) {
		emit_reuse(t, key, y);
	} else {
		emit_window_bias(t, y, emit_gpr(t, key, S_A));
	}
}

static bool same_sum(const struct sum *a, const struct sum *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale && a->proof.window == b->proof.window && a->proof.drift == b->proof.drift;
}

static void prove_sum_again(struct translator *t, unsigned n, struct thunk *thunk)
{
	const struct sum *want = &t->loop_sum[n];
	for (unsigned m = 0; m < PROVEN_SUMS; m++)
		if (!want->proof.window || same_sum(want, &t->sum[m]))
			return;
	struct host_mem address = { .base = HOST_NONE, .index = (uint8_t)emit_gpr(t, want->index, S_A), .scale = want->scale };
	if (want->base != REG_NONE) {
		reuse_drop_registers(t, 1u << S_B);
		address.base = (uint8_t)emit_gpr(t, want->base, S_B);
	}
	emit_lea(&t->e, S_A, address);
	emit_proof(t, want->proof.window, S_A, S_A, thunk);
}

/* What was proven at the start of the loop is so when it begins again, for a drift that does not grow. */
void reuse_prove_again(struct translator *t, struct thunk *thunk)
{
	for (unsigned r = 0; r < 16; r++) {
		const struct proof *want = &t->loop_proof[r], *p = &t->proof[r];
		if (!want->window || (p->window == want->window && p->drift == want->drift))
			continue;
		unsigned reg = emit_gpr(t, r, S_A);
		emit_proof(t, want->window, reg, S_A, thunk);
	}
	for (unsigned n = 0; n < PROVEN_SUMS; n++)
		prove_sum_again(t, n, thunk);
}

/* Around a loop a drift must not grow: it is what it was at the start, or the bias is looked up again. */
void reuse_conform(struct translator *t)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		const struct reuse *want = &t->loop_reuse[n];
		bool there = t->reuse[n].key == want->key && (t->reuse[n].drift == want->drift || want->key >= 16);
		if (!there && want->key != REUSE_NONE)
			bring_back(t, n, want->key);
	}
	reuse_begin_loop(t);
}
