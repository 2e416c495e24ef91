/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "cpu/fpu.h"
#include "hostrun.h"
#include "isa/op.h"
#include "seq_gen.h"

/* What instructions read and write besides their explicit operands. */

#define R(name) (1u << REG_##name)

static bool has_rep(const struct insn *i)
{
	return i->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

static uint16_t implicit_writes(const struct insn *i)
{
	uint16_t count = has_rep(i) ? R(RCX) : 0;
	switch (i->op) {
	case OP_MUL: case OP_DIV: case OP_IDIV:
		return i->opsize == 1 ? R(RAX) : R(RAX) | R(RDX);
	case OP_IMUL:
		return i->operand[1].kind == OPERAND_NONE ? R(RAX) | R(RDX) : 0;
	case OP_CMPXCHG8B: case OP_CMPXCHG16B:
		return R(RAX) | R(RDX);
	case OP_CBW: case OP_CMPXCHG: case OP_LAHF: case OP_XLAT:
		return R(RAX);
	case OP_CWD:
		return R(RDX);
	case OP_LODS:
		return R(RAX) | R(RSI) | count;
	case OP_MOVS: case OP_CMPS:
		return R(RSI) | R(RDI) | count;
	case OP_STOS: case OP_SCAS:
		return R(RDI) | count;
	case OP_ENTER: case OP_LEAVE:
		return R(RBP);
	case OP_PCMPESTRI: case OP_PCMPISTRI: case OP_VPCMPESTRI: case OP_VPCMPISTRI:
		return R(RCX);
	default:
		return 0;
	}
}

/* Pointers that string instructions may move on their way. */
static uint16_t movable(const struct insn *i)
{
	switch (i->op) {
	case OP_MOVS: case OP_CMPS: case OP_STOS: case OP_SCAS: case OP_LODS:
		return R(RSI) | R(RDI);
	default:
		return 0;
	}
}

uint16_t seq_writes(const struct insn *i)
{
	uint16_t mask = implicit_writes(i) & (uint16_t)~movable(i);
	for (unsigned n = 0; n < 4; n++)
		if (i->operand[n].kind == OPERAND_GPR && i->operand[n].access & ACCESS_W)
			mask |= (uint16_t)(1u << (i->operand[n].reg < 16 ? i->operand[n].reg : i->operand[n].reg - 16));
	return mask;
}

static bool reserved(const struct seq_gen *g, unsigned reg)
{
	return g->reserved >> reg & 1;
}

/* The register as a pointer into the data; one that is reserved for something else will do too, and fault. */
static bool want_pointer(struct seq_gen *g, unsigned reg, unsigned size)
{
	if (reserved(g, reg))
		return g->pointers >> reg & 1 || diff_chance(5);
	if (diff_chance(3))
		return true;
	if (diff_chance(60))
		seq_lea_data(g, reg, seq_target(size, true, size == 64));
	else
		seq_mov_imm(g, reg, SEQ_VIEW_BASE(0) + seq_target(size, true, size == 64));
	return true;
}

static bool prepare_string(struct seq_gen *g, const struct insn *i)
{
	uint16_t uses = movable(i) & implicit_writes(i);
	g->p->one_view |= i->op == OP_MOVS && has_rep(i);
	if (uses & R(RSI) && !want_pointer(g, REG_RSI, 8))
		return false;
	if (uses & R(RDI) && !want_pointer(g, REG_RDI, 8))
		return false;
	if (has_rep(i))
		seq_mov_imm(g, REG_RCX, (diff_chance(10) && i->adsize == 4 ? diff_random() << 32 : 0) |
			    (diff_chance(20) ? 0 : diff_below(40)));
	if (diff_chance(20))
		SEQ_ADD(g, (uint8_t)(0xfc | diff_below(2)));
	return true;
}

/* Dividends that mostly fit: RDX is the sign or zero, or little. */
static bool prepare_divide(struct seq_gen *g, const struct insn *i)
{
	if (diff_chance(12))
		return true;
	if (i->opsize == 1)
		SEQ_ADD(g, 0x0f, i->op == OP_DIV ? 0xb6 : 0xbe, 0xc0); /* movzx, movsx eax, al */
	else if (i->op == OP_IDIV && diff_chance(70))
		i->opsize == 8 ? SEQ_ADD(g, 0x48, 0x99) : i->opsize == 4 ? SEQ_ADD(g, 0x99) : SEQ_ADD(g, 0x66, 0x99);
	else
		seq_mov_imm(g, REG_RDX, diff_chance(60) ? 0 : diff_below(256));
	return true;
}

/* Bit offsets of a few KiB at most. */
static bool prepare_bit_test(struct seq_gen *g, const struct encoding *e)
{
	const struct operand *o = &e->insn.operand[1];
	if (!e->insn.memory || o->kind != OPERAND_GPR || o->size == 2 || diff_chance(2))
		return true;
	if (reserved(g, o->reg))
		return g->indices >> o->reg & 1;
	SEQ_ADD(g, (uint8_t)(0x48 | (o->reg >> 3) << 2 | o->reg >> 3), 0x0f, 0xbf,
		(uint8_t)(0xc0 | (o->reg & 7) << 3 | (o->reg & 7))); /* movsx reg, its low word */
	return true;
}

/* Small indices: VPSRLD or VPSRLQ of the index register. */
static void prepare_gather(struct seq_gen *g, const struct insn *i)
{
	bool eight = i->opcode & 1;
	unsigned reg = i->index, bits = (eight ? 64 : 32) - diff_below(10);
	if (diff_chance(4))
		return;
	if (i->encoding == ENC_EVEX)
		SEQ_ADD(g, 0x62, (uint8_t)(0x91 | (reg & 8 ? 0 : 0x20) | (reg & 16 ? 0 : 0x40)),
			(uint8_t)((eight ? 0x80 : 0) | 0x05 | (~reg & 15) << 3), (uint8_t)(0x40 | (reg & 16 ? 0 : 8)),
			eight ? 0x73 : 0x72, (uint8_t)(0xd0 | (reg & 7)), (uint8_t)bits);
	else
		SEQ_ADD(g, 0xc4, (uint8_t)(0xc1 | (reg & 8 ? 0 : 0x20)), (uint8_t)(0x05 | (~reg & 15) << 3),
			eight ? 0x73 : 0x72, (uint8_t)(0xd0 | (reg & 7)), (uint8_t)bits);
}

/* What POPF takes: never NT, whose IRET is the system's; IF as it is. */
static void prepare_popf(struct seq_gen *g, const struct insn *i)
{
	uint32_t flags = (uint32_t)(diff_random() & FLAG_ARITH) | FLAG_IF | 2;
	flags |= diff_chance(30) ? FLAG_DF : 0;
	flags |= diff_chance(4) ? FLAG_TF : 0;
	if (i->opsize == 2) {
		SEQ_ADD(g, 0x66, 0x68, (uint8_t)flags, (uint8_t)(flags >> 8));
		return;
	}
	flags |= diff_chance(20) ? FLAG_ID : 0;
	if (diff_chance(4)) {
		flags |= FLAG_AC;
		g->p->user_only = true;
	}
	seq_push_imm(g, flags);
}

/* [rsp], where a good value lies. */
static bool prepare_mxcsr(struct seq_gen *g, struct encoding *e, bool *memory)
{
	const struct diff_memory m = { .base = REG_RSP, .index = REG_NONE };
	uint32_t mxcsr = (uint32_t)(diff_random() & 0xe07f) | MXCSR_MASKS;
	if (diff_chance(10))
		mxcsr ^= diff_below(64) << 7;
	if (diff_chance(3))
		mxcsr |= 1u << (18 + diff_below(13));
	*memory = true;
	if (!diff_set_memory(e, &m))
		return false;
	seq_push_imm(g, mxcsr);
	return true;
}

/* A base that leads somewhere; what is reserved may be anything. */
static bool prepare_base(struct seq_gen *g, const struct insn *i)
{
	if (!hostrun_has_bases())
		return false;
	if (!reserved(g, i->operand[0].reg) && diff_chance(90))
		seq_mov_imm(g, i->operand[0].reg, i->op == OP_WRFSBASE ? g->p->fs_base + diff_below(64) : diff_below(64));
	return true;
}

static bool prepare_enter(struct seq_gen *g, struct encoding *e)
{
	e->bytes[e->length - 3] &= 0x7f;
	e->bytes[e->length - 2] = 0;
	e->bytes[e->length - 1] = (uint8_t)(diff_chance(70) ? 0 : diff_below(4));
	isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
	if (e->bytes[e->length - 1] > 1 && diff_chance(90))
		SEQ_ADD(g, 0x48, 0x8d, 0x6c, 0x24, 0x40); /* lea rbp, [rsp+0x40] */
	return true;
}

/* Refused at CPL 3, another matter at CPL 0. Vectors below 32 and 0x80 are other systems' own. */
static void prepare_system(struct seq_gen *g, struct encoding *e)
{
	g->p->user_only = true;
	if (e->insn.op == OP_INT && (e->insn.imm == 0x80 || e->insn.imm < 32)) {
		e->bytes[e->length - 1] = (uint8_t)(0x81 + diff_below(100));
		isa_decode(&e->insn, e->bytes, 15, ISA_MODE_64);
	}
}

static bool is_shift_by_cl(const struct insn *i)
{
	switch (i->op) {
	case OP_SHL: case OP_SHR: case OP_SAR: case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHLD:
	case OP_SHRD:
		break;
	default:
		return false;
	}
	for (unsigned n = 1; n < 3; n++)
		if (i->operand[n].kind == OPERAND_GPR && i->operand[n].size == 1)
			return true;
	return false;
}

static void prepare_count(struct seq_gen *g)
{
	static const uint8_t counts[] = { 0, 0, 0x20, 0x40, 1, 1, 31, 63, 8, 9, 16, 17 };
	if (!reserved(g, REG_RCX) && diff_chance(50))
		SEQ_ADD(g, 0xb1, counts[diff_below(ARRAY_SIZE(counts))]);
}

bool seq_prepare(struct seq_gen *g, struct encoding *e, bool *memory)
{
	const struct insn *i = &e->insn;
	const struct isa_row *row = &isa_rows[i->row];
	if (row->attributes & ROW_VSIB)
		prepare_gather(g, i);
	if (is_shift_by_cl(i))
		prepare_count(g);
	if (row->attributes & ROW_CPL0)
		g->p->user_only = true;
	switch (i->op) {
	case OP_MOVS: case OP_CMPS: case OP_STOS: case OP_SCAS: case OP_LODS: return prepare_string(g, i);
	case OP_DIV: case OP_IDIV: return prepare_divide(g, i);
	case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC: return prepare_bit_test(g, e);
	case OP_XLAT: return want_pointer(g, REG_RBX, 64);
	case OP_MASKMOVQ: case OP_MASKMOVDQU: case OP_VMASKMOVDQU: return want_pointer(g, REG_RDI, 16);
	case OP_CLZERO: return want_pointer(g, REG_RAX, 64);
	case OP_POPF: prepare_popf(g, i); return true;
	case OP_LDMXCSR: case OP_VLDMXCSR: return prepare_mxcsr(g, e, memory);
	case OP_RDFSBASE: case OP_RDGSBASE: return hostrun_has_bases();
	case OP_WRFSBASE: case OP_WRGSBASE: return prepare_base(g, i);
	case OP_ENTER: return prepare_enter(g, e);
	case OP_LEAVE: SEQ_ADD(g, 0x48, 0x8d, 0x6c, 0x24, (uint8_t)(diff_below(16) * 8)); return true;
	case OP_CLI: case OP_STI: case OP_IN: case OP_OUT: case OP_INS: case OP_OUTS: case OP_HLT: case OP_INT:
		prepare_system(g, e);
		return true;
	case OP_MOV_SEG: case OP_PUSH_SEG: g->p->user_only = true; return true;
	default: return true;
	}
}
