/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "diff_open.h"

#include "cpu/access.h"
#include "cpu/fpu.h"
#include "isa/op.h"

#define MXCSR_FLAGS 0x3fu

/* --- operands --- */

static uint64_t segment_base(const struct insn *i, const struct diff_end *e)
{
	return i->seg == SEG_FS ? e->fs_base : i->seg == SEG_GS ? e->gs_base : 0;
}

/* Linear address of the memory operand. */
static uint64_t operand_at(const struct insn *i, const struct diff_end *e)
{
	const uint64_t *gpr = e->state->gpr;
	uint64_t at = (uint64_t)(int64_t)i->disp;
	if (i->base == REG_RIP)
		at += e->rip + i->length;
	else if (i->base != REG_NONE)
		at += gpr[i->base];
	if (i->index != REG_NONE)
		at += gpr[i->index] << i->scale;
	return segment_base(i, e) + (at & size_mask(i->adsize));
}

static bool faulted(const struct diff_end *e)
{
	return e->vector != DIFF_NO_FAULT;
}

static bool of_access(const struct diff_end *e)
{
	return e->vector == EXC_PF || e->vector == EXC_GP || e->vector == EXC_SS;
}

static bool is_maskmov(const struct insn *i)
{
	return i->op == OP_MASKMOVQ || i->op == OP_MASKMOVDQU || i->op == OP_VMASKMOVDQU;
}

static bool stores(const struct insn *i)
{
	return i->memory && i->operand[i->memory - 1].access & ACCESS_W;
}

/* --- which of two faults --- */

static bool may_be_about(const struct diff_end *e, uint64_t at, unsigned size)
{
	switch (e->vector) {
	case EXC_PF: return e->address - at < size;
	case EXC_AC: return at & (size - 1);
	case EXC_GP: case EXC_SS: return !is_canonical(at) || !is_canonical(at + size - 1);
	default: return false;
	}
}

/* The operands of CMPS that a fault may be about: bit 0 the source, bit 1 the destination. */
static unsigned operands_of_fault(const struct insn *i, const struct diff_end *e)
{
	unsigned size = i->opcode & 1 ? i->opsize : 1, which = 0;
	uint64_t mask = size_mask(i->adsize);
	const uint64_t at[2] = { segment_base(i, e) + (e->state->gpr[REG_RSI] & mask), e->state->gpr[REG_RDI] & mask };
	for (unsigned n = 0; n < 2; n++)
		if (may_be_about(e, at[n], size))
			which |= 1u << n;
	return which;
}

/* The operands of CMPS are read in any order (SDM 3A, 6.9): when neither can be, either fault will do. */
static bool compares_in_any_order(const struct insn *i, const struct diff_end *h, const struct diff_end *g)
{
	unsigned host = operands_of_fault(i, h), guest = operands_of_fault(i, g);
	return i->op == OP_CMPS && host && guest && (host | guest) == 3;
}

static unsigned alignment_of(const struct insn *i)
{
	if (isa_rows[i->row].feature == FEATURE_SHA)
		return 16;
	switch (i->op) {
	case OP_XSAVE: case OP_XSAVEOPT: case OP_XSAVEC: case OP_XRSTOR: return 64;
	case OP_FXSAVE: case OP_FXRSTOR: return 16;
	default: return i->memory && isa_rows[i->row].attributes & ROW_ALIGNED ? i->operand[i->memory - 1].size : 1;
	}
}

/* A non-canonical address on the stack that is misaligned too: #SS or #GP. Faults of one instruction's execution come in each
 * processor's own order (SDM 3A, 6.9). */
static bool checks_in_any_order(const struct insn *i, const struct diff_end *h, const struct diff_end *g)
{
	bool both = (h->vector == EXC_SS && g->vector == EXC_GP) || (h->vector == EXC_GP && g->vector == EXC_SS);
	return both && i->memory && i->seg == SEG_SS && operand_at(i, h) & (alignment_of(i) - 1);
}

/* Bytes under a mask: which of them is found to fault is the implementation's choice (SDM 2B, MASKMOVDQU). */
static bool any_masked_byte(const struct insn *i, const struct diff_end *h, const struct diff_end *g)
{
	if (!is_maskmov(i) || h->vector != EXC_PF || g->vector != EXC_PF)
		return false;
	uint64_t at = segment_base(i, h) + (h->state->gpr[REG_RDI] & size_mask(i->adsize));
	unsigned size = i->operand[0].kind == OPERAND_MMX ? 8 : 16;
	return h->address - at < size && g->address - at < size;
}

/* A store of what is computed: exceptions of the computation and faults of the access come in any order (SDM 3A, 6.9), and the
 * flags of masked exceptions are set before the access, or after it. */
static bool computes_and_stores(const struct insn *i)
{
	return i->op == OP_VCVTPS2PH && stores(i);
}

static bool either_of_computation(const struct insn *i, const struct diff_end *h, const struct diff_end *g)
{
	return computes_and_stores(i) && ((h->vector == EXC_XM && of_access(g)) || (of_access(h) && g->vector == EXC_XM));
}

static void settle_fault(const struct insn *i, const struct diff_end *h, struct diff_end *g)
{
	if (!compares_in_any_order(i, h, g) && !checks_in_any_order(i, h, g) && !any_masked_byte(i, h, g) && !either_of_computation(i, h, g))
		return;
	g->vector = h->vector;
	g->error = h->error;
	g->address = h->address;
}

/* --- what a fault leaves --- */

/* A store from an MMX register that faults: what makes MMX state of the x87's (SDM 1, 9.5.1), TOP that becomes zero and tags that
 * become valid, has happened or not, each by itself. */
static void settle_mmx(const struct insn *i, const struct diff_state *h, struct diff_state *g)
{
	uint8_t st[8][10];
	unsigned top = g->fsw >> 11 & 7;
	if (!(isa_rows[i->row].attributes & ROW_MMX) || !stores(i) || h->fsw >> 11 & 7)
		return;
	memcpy(st, g->st, sizeof st);
	for (unsigned n = 0; n < 8; n++)
		memcpy(g->st[(top + n) & 7], st[n], sizeof st[n]);
	g->fsw &= (uint16_t)~0x3800;
	if (h->tags == 0xff || g->tags == 0xff)
		g->tags = h->tags;
}

static void settle_mxcsr(const struct insn *i, const struct diff_state *h, struct diff_state *g)
{
	if (computes_and_stores(i))
		g->mxcsr |= h->mxcsr & MXCSR_FLAGS;
}

/* XRSTOR may have loaded some components when another one faults (SDM 1, 13.8 gives no order). */
static void settle_xrstor(const struct insn *i, const struct diff_state *h, struct diff_state *g)
{
	if (i->op != OP_XRSTOR)
		return;
	memcpy(g->vec, h->vec, sizeof g->vec);
	memcpy(g->k, h->k, sizeof g->k);
	memcpy(g->st, h->st, sizeof g->st);
	g->mxcsr = h->mxcsr;
	g->fcw = h->fcw;
	g->fsw = h->fsw;
	g->tags = h->tags;
}

/*
 * Ten bytes are stored by more than one access, of which one may fault when
 * another is done (SDM 3A, 8.1.1). CALL may have pushed the return address, below
 * an unchanged RSP, when it finds that its target is not canonical.
 */
static void settle_memory(const struct insn *i, const struct diff_end *h, void (*ignore)(uint64_t linear, unsigned size))
{
	if (stores(i) && (i->op == OP_FSTP || i->op == OP_FBSTP) && i->operand[i->memory - 1].size == 10 && h->vector == EXC_PF)
		ignore(operand_at(i, h), 10);
	if (i->op == OP_CALL && h->vector == EXC_GP)
		ignore(h->state->gpr[REG_RSP] - 8, 8);
}

/* --- registers --- */

static bool is_rep_string(const struct insn *i)
{
	return i->op >= OP_MOVS && i->op <= OP_SCAS && i->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

bool diff_open_gpr(const struct insn *i, const uint64_t *gpr)
{
	return is_rep_string(i) && i->adsize == 4 && !(uint32_t)gpr[REG_RCX] &&
	       (gpr[REG_RCX] | gpr[REG_RSI] | gpr[REG_RDI]) >> 32;
}

/*
 * Repetitions with 32-bit addresses that have not made one iteration, since ECX
 * is zero or the first one faults: the upper halves of the registers may be zero
 * like those of 32-bit results, or as they were.
 */
void diff_settle_gpr(const struct insn *i, const uint64_t *before, const uint64_t *host, uint64_t *guest)
{
	static const uint8_t regs[] = { REG_RCX, REG_RSI, REG_RDI };
	if (before ? !diff_open_gpr(i, before) : !is_rep_string(i) || i->adsize != 4)
		return;
	for (unsigned n = 0; n < ARRAY_SIZE(regs); n++)
		if (host[regs[n]] == (uint32_t)guest[regs[n]])
			guest[regs[n]] = host[regs[n]];
}

void diff_settle(const struct insn *i, const struct diff_state *before, const struct diff_end *h, struct diff_end *g,
		 void (*ignore)(uint64_t linear, unsigned size))
{
	if (faulted(h) != faulted(g))
		return;
	diff_settle_gpr(i, before ? before->gpr : NULL, h->state->gpr, g->state->gpr);
	if (!faulted(h))
		return;
	settle_fault(i, h, g);
	settle_mxcsr(i, h->state, g->state);
	if (!of_access(h) || h->vector != g->vector)
		return;
	settle_mmx(i, h->state, g->state);
	settle_xrstor(i, h->state, g->state);
	settle_memory(i, h, ignore);
}

/*
 * An x87 store that an unmasked exception keeps from storing makes no access at
 * all, or has its address checked all the same: x87 exceptions and page faults
 * are of one class (SDM 3A, 6.9).
 */
bool diff_no_access(const struct insn *i, const struct diff_state *host, const struct diff_end *g)
{
	uint32_t attributes = isa_rows[i->row].attributes;
	return attributes & ROW_X87 && !(attributes & ROW_NOWAIT) && stores(i) && of_access(g) && host->fsw & 0x80 &&
	       ~g->state->fcw & 0x3f;
}

uint64_t diff_open_flags(const struct insn *i)
{
	bool rotate = (i->op == OP_ROL || i->op == OP_ROR) && i->operand[1].kind == OPERAND_IMM;
	return rotate && (i->imm & (i->opsize == 8 ? 63 : 31)) > 1 ? FLAG_OF : 0;
}
