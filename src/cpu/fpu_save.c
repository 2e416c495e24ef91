/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"

#include "cpu/access.h"
#include "isa/op.h"

/* FXSAVE and FXRSTOR, MXCSR, and the other instructions of the group that the host does not execute for the guest. */

#define FXSAVE_SIZE 512u
#define FXSAVE_XMM 160u

/* SDM 1, table 10-2. The pointers have 64 bits with REX.W, else 32 and a selector. */
void x87_to_image(const struct cpu *c, uint8_t *image, bool wide)
{
	memcpy(image, c->x87, 160);
	image[X87_FTW + 1] = 0;
	store_le16(image + X87_FOP, c->x87_opcode & 0x7ff);
	store_le64(image + X87_FIP, wide ? c->x87_ip : (uint32_t)c->x87_ip | (uint64_t)c->x87_cs << 32);
	store_le64(image + X87_FDP, wide ? c->x87_dp : (uint32_t)c->x87_dp | (uint64_t)c->x87_ds << 32);
	for (unsigned n = 0; n < 8; n++)
		memset(image + X87_ST + 16 * n + 10, 0, 6);
}

void x87_from_image(struct cpu *c, const uint8_t *image, bool wide)
{
	memcpy(c->x87 + X87_ST, image + X87_ST, 128);
	for (unsigned n = 0; n < 8; n++)
		memset(x87_st(c, n) + 10, 0, 6);
	c->x87[X87_FTW] = image[X87_FTW];
	x87_set_control(c, load_le16(image + X87_FCW), load_le16(image + X87_FSW));
	c->x87_opcode = load_le16(image + X87_FOP) & 0x7ff;
	c->x87_ip = load_le64(image + X87_FIP);
	c->x87_dp = load_le64(image + X87_FDP);
	c->x87_cs = c->x87_ds = 0;
	if (!wide) {
		c->x87_cs = (uint16_t)(c->x87_ip >> 32);
		c->x87_ds = (uint16_t)(c->x87_dp >> 32);
		c->x87_ip = (uint32_t)c->x87_ip;
		c->x87_dp = (uint32_t)c->x87_dp;
	}
}

static uint64_t image_address(struct cpu *c, const struct insn *insn, unsigned access)
{
	uint64_t linear = operand_linear(c, insn, FXSAVE_SIZE, access);
	if (c->code_mode == ISA_MODE_64 && !is_canonical(linear))
		access_non_canonical(c, (enum isa_seg)insn->seg); /* #SS goes before #GP here, unlike with XSAVE */
	if (linear & 15)
		cpu_gp(c, 0);
	return linear;
}

static unsigned xmm_count(const struct cpu *c)
{
	return c->code_mode == ISA_MODE_64 ? 16 : 8;
}

static void exec_fxsave(struct cpu *c, const struct insn *insn)
{
	uint8_t image[FXSAVE_XMM + 16 * 16];
	unsigned count = xmm_count(c);
	if (!fpu_check(c, FPU_X87_NOWAIT))
		return;
	uint64_t linear = image_address(c, insn, ACCESS_W);
	x87_to_image(c, image, insn->prefixes & PREFIX_REX_W);
	store_le32(image + X87_MXCSR, c->mxcsr);
	store_le32(image + X87_MXCSR_MASK, MXCSR_MASK);
	for (unsigned n = 0; n < count; n++)
		memcpy(image + FXSAVE_XMM + 16 * n, c->vec[n], 16);
	fpu_write_memory(c, linear, image, FXSAVE_XMM + 16 * count);
}

static void exec_fxrstor(struct cpu *c, const struct insn *insn)
{
	uint8_t image[FXSAVE_SIZE]; /* all of it must be there, used or not */
	unsigned count = xmm_count(c);
	if (!fpu_check(c, FPU_X87_NOWAIT))
		return;
	fpu_read_memory(c, image_address(c, insn, ACCESS_R), image, FXSAVE_SIZE);
	uint32_t mxcsr = load_le32(image + X87_MXCSR);
	if (mxcsr & ~MXCSR_MASK)
		cpu_gp(c, 0);
	c->mxcsr = mxcsr;
	x87_from_image(c, image, insn->prefixes & PREFIX_REX_W);
	for (unsigned n = 0; n < count; n++)
		memcpy(c->vec[n], image + FXSAVE_XMM + 16 * n, 16);
}

static enum fpu_class mxcsr_class(const struct insn *insn)
{
	return insn->encoding == ENC_LEGACY ? FPU_SSE : FPU_AVX;
}

static void exec_ldmxcsr(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, mxcsr_class(insn)))
		return;
	uint32_t mxcsr = access_read32(c, operand_linear(c, insn, 4, ACCESS_R));
	if (mxcsr & ~MXCSR_MASK)
		cpu_gp(c, 0);
	c->mxcsr = mxcsr;
}

static void exec_stmxcsr(struct cpu *c, const struct insn *insn)
{
	if (fpu_check(c, mxcsr_class(insn)))
		access_write32(c, operand_linear(c, insn, 4, ACCESS_W), c->mxcsr);
}

/* Outside 64-bit mode only registers 0..7 are touched. */
static void exec_vzeroupper(struct cpu *c, const struct insn *insn)
{
	unsigned count = xmm_count(c);
	if (!fpu_check(c, FPU_AVX))
		return;
	for (unsigned n = 0; n < count; n++)
		memset(c->vec[n] + 16, 0, 48);
}

static void exec_vzeroall(struct cpu *c, const struct insn *insn)
{
	unsigned count = xmm_count(c);
	if (fpu_check(c, FPU_AVX))
		memset(c->vec, 0, 64 * count);
}

static void exec_emms(struct cpu *c, const struct insn *insn)
{
	if (!fpu_check(c, FPU_MMX))
		return;
	x87_set_top(c, 0);
	c->x87[X87_FTW] = 0;
}

static void exec_fwait(struct cpu *c, const struct insn *insn)
{
	if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		cpu_fault(c, EXC_NM, 0);
	if (x87_fsw(c) & X87_FSW_ES) /* with IGNNE# too there is nothing else to do */
		x87_pending(c);
}

insn_exec *select_fpu_save(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_FXSAVE: return exec_fxsave;
	case OP_FXRSTOR: return exec_fxrstor;
	case OP_LDMXCSR: case OP_VLDMXCSR: return exec_ldmxcsr;
	case OP_STMXCSR: case OP_VSTMXCSR: return exec_stmxcsr;
	case OP_VZEROUPPER: return exec_vzeroupper;
	case OP_VZEROALL: return exec_vzeroall;
	case OP_EMMS: return exec_emms;
	case OP_FWAIT: return exec_fwait;
	default: return NULL;
	}
}
