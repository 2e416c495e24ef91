/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"
#include "engine/jit/flags.h"
#include "engine/jit/raw.h"
#include "isa/op.h"
#include "isa/table.h"

/* Instructions that are copied: the host does what the guest wants, with its memory operand at another address. */

enum copy_kind { COPY_NOT, COPY_PLAIN, COPY_NOTHING /* no effect */, COPY_HINT /* and no fault */, COPY_GUARDED /* may raise an exception */ };

static enum copy_kind kind_of(const struct insn *i)
{
	switch (i->op) {
	case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR: case OP_CMP: case OP_TEST:
	case OP_MOV: case OP_XCHG: case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: case OP_MUL: case OP_IMUL:
	case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR: case OP_SHLD: case OP_SHRD:
	case OP_BSF: case OP_BSR: case OP_BSWAP: case OP_CBW: case OP_CWD: case OP_MOVZX: case OP_MOVSX: case OP_MOVSXD:
	case OP_SETCC: case OP_CMOVCC: case OP_CMPXCHG: case OP_CMPXCHG8B: case OP_XADD: case OP_LAHF: case OP_SAHF:
	case OP_CLC: case OP_STC: case OP_CMC: case OP_POPCNT: case OP_LZCNT: case OP_TZCNT: case OP_ANDN: case OP_BEXTR:
	case OP_BLSI: case OP_BLSMSK: case OP_BLSR: case OP_BZHI: case OP_MULX: case OP_PDEP: case OP_PEXT: case OP_RORX:
	case OP_SARX: case OP_SHLX: case OP_SHRX: case OP_ADCX: case OP_ADOX: case OP_MOVBE: case OP_CRC32: case OP_MOVNTI:
	case OP_LFENCE: case OP_MFENCE: case OP_SFENCE:
		return COPY_PLAIN;
	case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC:
		/* With a register offset the operand is a bit string in memory: see translate_bit. */
		return i->memory && i->operand[1].kind == OPERAND_GPR ? COPY_NOT : COPY_PLAIN;
	case OP_DIV: case OP_IDIV: case OP_CMPXCHG16B:
		return COPY_GUARDED;
	case OP_PREFETCH: case OP_PREFETCHW:
		return COPY_HINT;
	case OP_NOP: case OP_ENDBR: case OP_CLDEMOTE:
		return COPY_NOTHING;
	default:
		return COPY_NOT;
	}
}

bool copy_harmless(const struct insn *i)
{
	enum copy_kind kind = kind_of(i);
	return kind == COPY_PLAIN || kind == COPY_NOTHING || i->op == OP_LEA;
}

/* What is one, of those that the host executes for the interpreter too; x87 and MMX have state of another kind. */
static bool is_vector(const struct insn *i)
{
	const struct isa_row *row = &isa_rows[i->row];
	if (i->op == OP_VZEROUPPER || i->op == OP_VZEROALL)
		return true;
	if (!(row->attributes & ROW_HOST) || (row->attributes & (ROW_X87 | ROW_MMX | ROW_VSIB)) || i->op == OP_VMASKMOVDQU ||
	    i->op == OP_MASKMOVDQU)
		return false;
	return !(i->memory && i->mask && row->tuple == TUPLE_ELEMENT); /* memory is as long as the mask says */
}

static uint8_t vector_class(const struct insn *i)
{
	if (i->encoding == ENC_LEGACY)
		return VECTOR_SSE;
	bool wide = i->encoding == ENC_EVEX;
	for (unsigned n = 0; n < 4; n++)
		wide |= i->operand[n].kind == OPERAND_MASK;
	return wide ? VECTOR_AVX512 : VECTOR_AVX;
}

/* Code that goes on only with vector state in the host's registers. */
static void want_vectors(struct translator *t, uint8_t class)
{
	if (t->vector & class)
		return;
	struct host_mem lacks = WORD(lacks[__builtin_ctz(class)]);
	bool quiet = t->live[t->now] && !t->memory_flags && (uses_windows(t) || !t->insn[t->now].memory);
	if (quiet)
		reuse_drop_registers(t, 1u << S_A);
	else
		flags_to_memory(t, t->live[t->now]); /* an operand's check wants them there too */
	struct thunk *thunk = helper_thunk(t);
	thunk->record->kind = RECORD_VECTOR;
	thunk->record->miss = false;
	thunk->record->vector = class;
	thunk->record->again = emit_here(&t->e);
	reuse_note(t, thunk->record);
	if (quiet) {
		check_quietly(t, lacks, thunk);
	} else {
		emit_mem(&t->e, 0, 0x83, 7, lacks);
		put8(&t->e, 0);
		jump_to_thunk(t, thunk, COND_NE);
	}
	t->vector |= class;
}

/* The scratch registers among the operands. */
static unsigned data_registers(const struct insn *i, unsigned access)
{
	unsigned mask = 0;
	for (unsigned n = 0; n < 4; n++) {
		const struct operand *o = &i->operand[n];
		if (o->kind == OPERAND_GPR && scratch_register(o->reg) && (o->access & access))
			mask |= 1u << o->reg;
	}
	return mask;
}

static bool only_written(const struct insn *i, unsigned reg)
{
	unsigned access = 0, size = 8;
	for (unsigned n = 0; n < 4; n++) {
		const struct operand *o = &i->operand[n];
		if (o->kind == OPERAND_GPR && o->reg == reg) {
			access |= o->access;
			size = MIN(size, o->size);
		}
	}
	/* BSF and BSR of 0 leave their destination alone, CMOV that of a false condition. */
	return access == ACCESS_W && size >= 4 && i->op != OP_BSF && i->op != OP_BSR && i->op != OP_CMOVCC;
}

/* For operands: biases go from their registers. */
static void make_room(struct translator *t, unsigned mask)
{
	for (unsigned r = SCRATCH_FIRST; r <= SCRATCH_LAST; r++)
		if ((mask >> r & 1) && !reuse_holds(t, r))
			reuse_drop_registers(t, 1u << r);
}

static void load_registers(struct translator *t, const struct insn *i, unsigned mask)
{
	for (unsigned r = SCRATCH_FIRST; r <= SCRATCH_LAST; r++)
		if ((mask >> r & 1) && !reuse_holds(t, r) && !only_written(i, r))
			emit_load(&t->e, r, CPU_FIELD(gpr[r]));
}

/* Copied without a look at anything but its operands. */
static bool plain(const struct insn *i)
{
	for (unsigned n = 0; n < 4; n++) {
		const struct operand *o = &i->operand[n];
		if (o->kind != OPERAND_NONE && o->kind != OPERAND_IMM && (o->kind != OPERAND_GPR || o->reg >= 16 || o->reg == REG_RSP))
			return false;
	}
	return kind_of(i) == COPY_PLAIN && reuse_explicit(i);
}

/* Whether it is written again before anybody could see what is in struct cpu. */
static bool stored_soon(const struct translator *t, unsigned reg)
{
	if (!t->kept || t->memory_flags || !t->unit->window || t->set > TLB_SUPERVISOR || !reuse_explicit(&t->insn[t->now]))
		return false;
	for (unsigned n = t->now + 1; n < t->count && plain(&t->insn[n]); n++)
		if (data_registers(&t->insn[n], ACCESS_W) >> reg & 1)
			return true;
	return false;
}

static void store_registers(struct translator *t, unsigned written, unsigned used)
{
	for (unsigned r = SCRATCH_FIRST; r <= SCRATCH_LAST; r++) {
		if ((written >> r & 1) && !stored_soon(t, r))
			emit_store(&t->e, CPU_FIELD(gpr[r]), r);
		if (used >> r & 1)
			reuse_hold(t, r);
	}
}

/* Flags that must be in the host's flags when it executes: what it reads, and what it leaves alone. */
static uint16_t flags_through(const struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if (!isa_rows[i->row].flags_read && !flags_killed(i))
		return 0;
	return flags_read(i) | (t->live[t->now + 1] & (uint16_t)~flags_killed(i));
}

static unsigned stack_access(const struct translator *t, const struct insn *i)
{
	unsigned access = 0;
	for (unsigned n = 0; n < 4 && t->unit->window; n++)
		if (i->operand[n].kind == OPERAND_GPR && i->operand[n].reg == REG_RSP)
			access |= i->operand[n].access | ACCESS_R;
	return access;
}

static void undo_stack(struct translator *t, bool unused)
{
	emit_load(&t->e, REG_RSP, WORD(saved_stack));
}

/* RSP as a register operand, where the host's RSP is not the guest's: it will be, for one instruction. */
static void prepare_stack(struct translator *t, struct thunk *thunk)
{
	t->stack_replaced = true;
	emit_store(&t->e, WORD(saved_stack), REG_RSP);
	emit_store(&t->e, CPU_FIELD(gpr[REG_RSP]), emit_gpr(t, REG_RSP, S_A));
	if (thunk)
		thunk->undo = undo_stack;
}

static void put_stack_back(struct translator *t, unsigned access)
{
	t->stack_replaced = false;
	if (!(access & ACCESS_W)) {
		undo_stack(t, false);
		return;
	}
	emit_move(&t->e, S_A, REG_RSP);
	emit_set_stack(t, S_A);
}

static void copy(struct translator *t, enum copy_kind kind)
{
	const struct insn *i = &t->insn[t->now];
	const uint8_t *bytes = t->bytes[t->now];
	unsigned data = data_registers(i, ACCESS_RW);
	bool memory = i->memory && i->operand[i->memory - 1].size;
	struct thunk *thunk = memory || kind == COPY_GUARDED ? helper_thunk(t) : NULL;
	struct host_mem m;
	unsigned stack = stack_access(t, i);
	t->kept = !stack;
	t->kept_vector = (isa_rows[i->row].attributes & (ROW_SSE | ROW_AVX | ROW_X87 | ROW_MMX)) && i->op != OP_PCMPESTRI && i->op != OP_PCMPISTRI;
	make_room(t, data);
	if (stack) {
		reuse_clear(t);
		prepare_stack(t, thunk);
	}
	if (memory) {
		if (!uses_windows(t) && !stack_operand(t, i))
			flags_to_memory(t, t->live[t->now]);
		thunk->memory_flags = t->memory_flags; /* cpu->cc stays good when the flags come back to the host's */
		if (stack_operand(t, i)) {
			emit_operand(t, i, 0, 0, data, thunk, &m);
		} else if (stack || !reuse_operand(t, i, data, thunk, &m)) {
			reuse_clear(t);
			t->kept = false;
			emit_operand(t, i, i->operand[i->memory - 1].size, i->operand[i->memory - 1].access, data, thunk, &m);
		}
	}
	/* What DIV leaves in its undefined flags may depend on those before it: the same everywhere. */
	if (flags_through(t) || (kind == COPY_GUARDED && flags_killed(i)))
		flags_to_host(t);
	load_registers(t, i, data);
	if (stack)
		emit_load(&t->e, REG_RSP, CPU_FIELD(gpr[REG_RSP]));
	if (kind == COPY_GUARDED || (memory && (uses_windows(t) || thunk->record->window)))
		guard(t, thunk);
	t->full |= !raw_copy(&t->e, i, bytes, memory ? &m : NULL);
	if (flags_killed(i))
		t->memory_flags = false;
	store_registers(t, data_registers(i, ACCESS_W), data);
	if (stack)
		put_stack_back(t, stack);
}

/* Where the data is found without much ado. */
static void hint(struct translator *t)
{
	struct host_mem m;
	t->kept = true;
	if (uses_windows(t) && reuse_hint(t, &t->insn[t->now], &m))
		t->full |= !raw_copy(&t->e, &t->insn[t->now], t->bytes[t->now], &m);
}

/* Reads one of AH to BH and memory, and has a ModRM byte. */
static bool is_high_with_memory(const struct insn *i, unsigned *high)
{
	if (!i->memory || i->memory > 2 || i->operand[2].kind != OPERAND_NONE || !isa_rows[i->row].modrm || i->map != 0)
		return false;
	const struct operand *o = &i->operand[2 - i->memory];
	*high = o->reg - 16u;
	return o->kind == OPERAND_GPR && o->reg >= 16 && o->access == ACCESS_R;
}

/* AH to BH go with no REX prefix, which the operand's address needs: the register's byte goes to a scratch register first.
 * Its address has no such register, since it had no prefix either. */
static bool translate_high(struct translator *t, const struct insn *i, unsigned high)
{
	const unsigned data = 1u << S_B;
	struct host_mem m;
	if (!uses_windows(t))
		return false;
	struct thunk *thunk = helper_thunk(t);
	thunk->memory_flags = t->memory_flags;
	t->kept = true;
	reuse_drop_registers(t, data);
	if (stack_operand(t, i)) {
		emit_operand(t, i, 0, 0, data, thunk, &m);
	} else if (!reuse_operand(t, i, data, thunk, &m)) {
		reuse_clear(t);
		t->kept = false;
		emit_operand(t, i, 1, i->operand[i->memory - 1].access, data, thunk, &m);
	}
	if (flags_through(t))
		flags_to_host(t);
	emit_rotate_quietly(&t->e, S_B, high, 8);
	guard(t, thunk);
	if (i->prefixes & PREFIX_LOCK)
		put8(&t->e, 0xf0);
	emit_mem(&t->e, EMIT_BYTE, i->opcode, S_B, m);
	if (flags_killed(i))
		t->memory_flags = false;
	return true;
}

/* With guest registers in the host registers of the same number. */
static bool lea_kept(struct translator *t, const struct insn *i, unsigned to)
{
	struct host_mem m = { .base = HOST_NONE, .index = HOST_NONE, .scale = i->scale, .disp = i->disp };
	bool page = i->base == REG_RIP, stack = i->base == REG_RSP && t->unit->window;
	if (i->adsize != 8 || i->opsize == 2 || (page && (!t->unit->absolute || i->opsize != 8)) || (stack && i->index != REG_NONE))
		return false;
	if (stack) {
		m.base = (uint8_t)emit_gpr(t, REG_RSP, to);
	} else if (page) {
		emit_guest_address(t, to, (int64_t)t->at[t->now] + i->length + i->disp);
		m = MEM_BASE(to, 0);
	} else if (i->base != REG_NONE) {
		m.base = (uint8_t)reuse_gpr(t, i->base);
	}
	if (i->index != REG_NONE)
		m.index = (uint8_t)reuse_gpr(t, i->index);
	if (!page)
		emit_mem(&t->e, i->opsize == 8 ? EMIT_W : 0, 0x8d, to, m);
	if (scratch_register(to)) {
		emit_store(&t->e, CPU_FIELD(gpr[to]), to);
		reuse_hold(t, to);
	}
	t->kept = true;
	return true;
}

static bool translate_lea(struct translator *t, const struct insn *i)
{
	unsigned to = i->operand[0].reg;
	if (to == REG_RSP && t->unit->window)
		return false;
	if (lea_kept(t, i, to))
		return true;
	struct host_mem m = emit_address_of(t, i, S_A, S_B);
	unsigned host = scratch_register(to) ? S_A : to;
	if (i->opsize == 2) {
		emit_lea(&t->e, S_A, m);
		if (scratch_register(to))
			emit_mem(&t->e, EMIT_66, 0x89, S_A, CPU_FIELD(gpr[to]));
		else
			emit_reg(&t->e, EMIT_66, 0x89, S_A, to);
		return true;
	}
	emit_mem(&t->e, i->opsize == 8 ? EMIT_W : 0, 0x8d, host, m);
	if (scratch_register(to))
		emit_store(&t->e, CPU_FIELD(gpr[to]), S_A);
	return true;
}

/* BT and its kin on a bit string (SDM 2A, BT): the element that holds the bit is at base + size * (offset >> log2 bits). */
static bool translate_bit(struct translator *t, const struct insn *i)
{
	struct emitter *e = &t->e;
	unsigned shift = i->opsize == 8 ? 6 : 5, offset = i->operand[1].reg;
	if (i->opsize == 2 || i->adsize != 8)
		return false;
	flags_to_memory(t, t->live[t->now]);
	struct thunk *thunk = helper_thunk(t);
	struct host_mem m = emit_linear(t, i, S_A, S_B);
	offset = emit_gpr(t, offset, S_B);
	if (offset != S_B)
		emit_move(e, S_B, offset);
	if (i->opsize == 4)
		emit_reg(e, EMIT_W, 0x63, S_B, S_B); /* movsxd */
	emit_reg(e, EMIT_W, 0xc1, 7, S_B);
	put8(e, shift);
	m.index = S_B;
	m.scale = i->opsize == 8 ? 3 : 2;
	emit_lea(e, S_A, m);
	m = MEM_BASE(S_A, 0);
	emit_check(t, &m, i->opsize, i->operand[0].access, 1u << S_A | 1u << S_B, thunk);
	offset = emit_gpr(t, i->operand[1].reg, S_B);
	if (offset != S_B)
		emit_move(e, S_B, offset);
	emit_reg(e, 0, 0x83, 4, S_B); /* within the element, which is all that is accessed then */
	put8(e, (1u << shift) - 1);
	flags_to_host(t);
	emit_access(t, thunk);
	if (i->prefixes & PREFIX_LOCK)
		put8(e, 0xf0);
	emit_mem(e, (i->opsize == 8 ? EMIT_W : 0) | EMIT_0F, i->opcode, S_B, m);
	return true;
}

bool translate_copy(struct translator *t)
{
	const struct insn *i = &t->insn[t->now];
	if (!cpu_has(t->c, (enum isa_feature)isa_rows[i->row].feature))
		return false;
	if (i->op == OP_LEA)
		return translate_lea(t, i);
	if (i->memory && i->operand[1].kind == OPERAND_GPR && (i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC))
		return translate_bit(t, i);
	enum copy_kind kind = kind_of(i);
	if (kind == COPY_NOT && is_vector(i)) {
		want_vectors(t, vector_class(i));
		bool harmless = !i->memory && !(isa_rows[i->row].attributes & ROW_FP);
		copy(t, harmless ? COPY_PLAIN : COPY_GUARDED);
		return true;
	}
	if (kind == COPY_NOT && x87_copied(i)) {
		want_vectors(t, VECTOR_X87);
		if (isa_rows[i->row].attributes & ROW_SSE)
			want_vectors(t, VECTOR_SSE);
		copy(t, COPY_GUARDED);
		x87_note(t);
		return true;
	}
	if (kind == COPY_NOTHING) {
		t->kept = true;
		return true;
	}
	if (kind == COPY_HINT) {
		hint(t);
		return true;
	}
	bool divide = i->op == OP_DIV || i->op == OP_IDIV;
	if (kind == COPY_NOT || (divide && jit_slow_site(t->jit, t->page + t->at[t->now]))) /* it faults all the time */
		return false;
	if (i->memory && !isa_rows[i->row].modrm)
		return false;
	unsigned high;
	if (kind == COPY_PLAIN && is_high_with_memory(i, &high))
		return translate_high(t, i, high);
	for (unsigned n = 0; n < 4; n++) /* no registers but general ones */
		if (i->operand[n].kind > OPERAND_REL || (i->memory && i->operand[n].kind == OPERAND_GPR && i->operand[n].reg >= 16))
			return false; /* AH to BH go with no REX prefix, which the operand's address needs */
	copy(t, kind);
	return true;
}
