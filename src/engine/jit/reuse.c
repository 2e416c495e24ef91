/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include "base/util.h"
#include "isa/op.h"

/*
 * What stays in scratch registers from one instruction to the next: guest registers of the same number, which are in struct
 * cpu as well, and biases. The bias of
 * a register's window serves all accesses off that register while it changes by
 * constants only: between windows is more nothing than all those constants and a displacement
 * make up. For RIP and a segment's base the register holds their host address.
 *
 * A unit begins with none; what comes back from a function gets them anew by the record's `reuse`.
 */
#define DRIFT_MAX (1ll << 30)
#define NEAR 65536

void reuse_clear(struct translator *t)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		t->reuse[n].key = REUSE_NONE;
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

static void written(struct translator *t, const struct insn *i, unsigned reg)
{
	int64_t by;
	bool constant = constant_change(i, &by);
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		struct reuse *r = &t->reuse[n];
		if (r->key != reg)
			continue;
		r->drift += constant ? by : 0;
		if (!constant || r->drift > DRIFT_MAX || r->drift < -DRIFT_MAX)
			r->key = REUSE_NONE;
	}
}

/* Instructions that write no general registers but those among their operands. */
static bool explicit(const struct insn *i)
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
	if (!kept || !(vector || explicit(i)) || t->set > TLB_SUPERVISOR || (i->op == OP_JCC && t->c->count_instructions)) {
		reuse_clear(t);
		return;
	}
	for (unsigned n = 0; n < 4; n++)
		if (i->operand[n].kind == OPERAND_GPR && (i->operand[n].access & ACCESS_W)) {
			/* AH to BH are parts of RAX to RBX. */
			unsigned reg = i->operand[n].reg;
			written(t, i, reg < 16 ? reg : reg & 3);
		}
}

static struct reuse *find(struct translator *t, unsigned key)
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		if (t->reuse[n].key == key)
			return &t->reuse[n];
	return NULL;
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
		emit_load(&t->e, reg, GS_FIELD(gpr[reg]));
	reuse_hold(t, reg);
	return reg;
}

/* A register to keep a bias in: a free one, or the one that was taken less recently. S_A is too much in use. */
static struct reuse *take(struct translator *t, unsigned keep, unsigned key)
{
	struct reuse *best = NULL;
	for (unsigned n = 0; n < 2; n++) {
		struct reuse *r = &t->reuse[n];
		if (keep >> reuse_register[n] & 1)
			continue;
		if (!best || (best->key != REUSE_NONE && (r->key == REUSE_NONE || r->taken < best->taken)))
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

/* S_A is free: the host address of the segment's base. */
static void emit_segment(struct translator *t, unsigned seg, unsigned y)
{
	emit_load(&t->e, y, GS_FIELD(segment_base[seg]));
	emit_window_bias(t, S_A, y);
	emit_lea(&t->e, y, (struct host_mem){ .base = (uint8_t)y, .index = S_A });
}

static void emit_page(struct translator *t, unsigned y)
{
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

/* An operand with an index: its window is anybody's. S_A is free. */
static bool indexed(struct translator *t, const struct insn *i, unsigned keep, struct host_mem *m)
{
	if (i->seg == SEG_FS || i->seg == SEG_GS || i->base == REG_RSP || i->base == REG_RIP)
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

bool reuse_operand(struct translator *t, const struct insn *i, unsigned keep, struct thunk *thunk, struct host_mem *m)
{
	unsigned key = key_of(t, i);
	if (!uses_windows(t) || !t->unit->absolute || i->adsize != 8)
		return false;
	thunk->record->window = true;
	if (key == REUSE_NONE)
		return i->index != REG_NONE && !(keep >> S_A & 1) && indexed(t, i, keep, m);
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

void reuse_save(const struct translator *t, struct reuse saved[REUSE_COUNT])
{
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		saved[n] = t->reuse[n];
}

/* Without a register but its own and S_A, which holds nothing around a loop. */
static void bring_back(struct translator *t, unsigned n, unsigned key)
{
	unsigned y = reuse_register[n];
	if (key == REUSE_SELF) {
		emit_load(&t->e, y, GS_FIELD(gpr[y]));
	} else if (addressed(key)) {
		emit_reuse(t, key, y);
	} else {
		emit_window_bias(t, y, emit_gpr(t, key, S_A));
	}
}

/* Around a loop a drift must not grow: it is what it was at the start, or the bias is looked up again. */
void reuse_conform(struct translator *t, const struct reuse saved[REUSE_COUNT])
{
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		const struct reuse *want = &saved[n];
		bool there = t->reuse[n].key == want->key && (t->reuse[n].drift == want->drift || want->key >= 16);
		if (!there && want->key != REUSE_NONE)
			bring_back(t, n, want->key);
	}
	for (unsigned n = 0; n < REUSE_COUNT; n++)
		t->reuse[n] = saved[n];
}
