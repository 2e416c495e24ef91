/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/host.h"

#include "cpu/access.h"
#include "isa/op.h"
#include "isa/table.h"

/* MMX, SSE and AVX instructions by stubs: register forms, loads and stores. */

static bool has_mmx_register(const struct insn *insn)
{
	return insn->operand[0].kind == OPERAND_MMX || insn->operand[1].kind == OPERAND_MMX;
}

static enum fpu_class class_of(const struct insn *insn)
{
	uint32_t attributes = isa_rows[insn->row].attributes;
	if (attributes & ROW_X87)
		return attributes & ROW_NOWAIT ? FPU_X87_NOWAIT : FPU_X87;
	if (attributes & ROW_MMX && attributes & ROW_SSE)
		return has_mmx_register(insn) ? FPU_SSE_MMX : FPU_SSE; /* CVTPI2PS with memory leaves the x87 alone */
	if (attributes & ROW_MMX)
		return FPU_MMX;
	if (attributes & ROW_SSE)
		return FPU_SSE;
	if (insn->encoding == ENC_EVEX)
		return FPU_AVX512;
	for (unsigned n = 0; n < 4; n++)
		if (insn->operand[n].kind == OPERAND_MASK)
			return FPU_AVX512;
	return FPU_AVX;
}

uint32_t host_aux(const struct insn *insn, bool with_stub)
{
	uint32_t aux = (uint32_t)class_of(insn) << HOST_AUX_CLASS_SHIFT;
	if (with_stub)
		aux |= host_arena_find(insn);
	if (isa_rows[insn->row].attributes & ROW_ALIGNED)
		aux |= HOST_AUX_ALIGNED;
	return aux;
}

/* SDM 1, 11.5.3: flags are set also by unmasked exceptions; #UD where the system does not handle #XM. */
void host_raise(struct cpu *c, struct host_result result)
{
	switch (result.fault) {
	case HOST_SIMD:
		c->mxcsr = (uint32_t)result.mxcsr;
		if (c->cr4 & CR4_OSXMMEXCPT)
			cpu_fault(c, EXC_XM, 0);
		cpu_ud(c);
	case HOST_ALIGNMENT: case HOST_MEMORY:
		cpu_gp(c, 0);
	default:
		cpu_ud(c);
	}
}

static inline void run(struct cpu *c, const struct insn *insn, void *memory)
{
	enum fpu_class class = host_class(insn);
	if (class == FPU_MMX || class == FPU_SSE_MMX)
		x87_enter_mmx(c);
	struct host_result result = host_run(c, insn, memory, NULL);
	if (unlikely(result.fault))
		host_raise(c, result);
}

static void exec_register(struct cpu *c, const struct insn *insn)
{
	if (likely(fpu_check(c, host_class(insn))))
		run(c, insn, NULL);
}

static inline uint64_t operand_address(struct cpu *c, const struct insn *insn, unsigned size, unsigned access)
{
	uint64_t linear = operand_linear(c, insn, size, access);
	if (unlikely(insn->aux & HOST_AUX_ALIGNED && linear & (size - 1)))
		cpu_gp(c, 0);
	return linear;
}

/* As misaligned as the operand: whether that matters the host decides. */
static inline void *bounce(struct cpu *c, uint64_t linear)
{
	return c->bounce_buffer + (linear & 63);
}

static void exec_load(struct cpu *c, const struct insn *insn)
{
	if (unlikely(!fpu_check(c, host_class(insn))))
		return;
	unsigned size = insn->operand[insn->memory - 1].size;
	uint64_t linear = operand_address(c, insn, size, ACCESS_R);
	void *memory = tlb_lookup_read(c, linear, size);
	if (unlikely(!memory)) {
		memory = bounce(c, linear);
		access_read_slow(c, linear, memory, size);
	}
	run(c, insn, memory);
}

static void exec_store(struct cpu *c, const struct insn *insn)
{
	if (unlikely(!fpu_check(c, host_class(insn))))
		return;
	unsigned size = insn->operand[insn->memory - 1].size;
	uint64_t linear = operand_address(c, insn, size, ACCESS_W);
	void *memory = tlb_lookup_write(c, linear, size);
	if (likely(memory)) {
		run(c, insn, memory);
	} else {
		access_probe(c, linear, size, true);
		memory = bounce(c, linear);
		run(c, insn, memory);
		access_write_slow(c, linear, memory, size);
	}
}

/* MASKMOVQ, (V)MASKMOVDQU: bytes whose mask has the top bit set go to DS:rDI. All bytes must be writable: what an
 * inactive one does is the implementation's choice (SDM 2B). */
static void exec_maskmov(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, host_class(insn)))
		return;
	bool mmx = insn->operand[0].kind == OPERAND_MMX;
	unsigned size = mmx ? 8 : 16;
	uint64_t offset = c->gpr[REG_RDI] & size_mask(insn->adsize);
	uint64_t linear = linear_address(c, (enum isa_seg)insn->seg, offset, size, ACCESS_W);
	if (mmx)
		x87_enter_mmx(c);
	access_probe(c, linear, size, true);
	const uint8_t *data = mmx ? x87_st(c, insn->operand[0].reg) : c->vec[insn->operand[0].reg];
	const uint8_t *mask = mmx ? x87_st(c, insn->operand[1].reg) : c->vec[insn->operand[1].reg];
	for (unsigned i = 0; i < size; i++)
		if (mask[i] & 0x80)
			access_write8(c, c->code_mode == ISA_MODE_64 ? linear + i : (uint32_t)(linear + i), data[i]);
}

/* SHA's operands must be aligned (SDM 2A, 2.5.4: type 4), which is seen before a page is missed; with AMD's processors not
 * before, so that it is left to the host. */
static bool is_aligned_sha(const struct cpu *c, const struct isa_row *row)
{
	return row->feature == FEATURE_SHA && !c->amd;
}

insn_exec *select_host(struct cpu *c, struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	bool maskmov = insn->op == OP_MASKMOVQ || insn->op == OP_MASKMOVDQU || insn->op == OP_VMASKMOVDQU;
	bool gather = row->attributes & ROW_VSIB;
	insn->aux = host_aux(insn, !maskmov && !gather) | (is_aligned_sha(c, row) ? HOST_AUX_ALIGNED : 0);
	if (maskmov)
		return exec_maskmov;
	if (gather)
		return select_gather(c, insn);
	if (!insn->memory)
		return exec_register;
	insn_exec *masked = select_masked(c, insn);
	if (masked)
		return masked;
	return insn->operand[insn->memory - 1].access & ACCESS_W ? exec_store : exec_load;
}
