/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"
#include "isa/op.h"

/*
 * SYSCALL, SYSENTER and their returns. Intel's and AMD's processors differ
 * outside 64-bit mode; the vendor that CPUID shows decides.
 */

static void enter_kernel(struct cpu *c, uint16_t selector, bool long_code, uint64_t rip)
{
	segment_set_flat_code(c, selector, 0, long_code);
	segment_set_flat_stack(c, (uint16_t)((selector & 0xfffc) + 8), 0);
	c->cpl = 0;
	c->gpr[REG_RIP] = rip;
	cpu_update_mode(c);
}

static void exec_syscall(struct cpu *c, const struct insn *i)
{
	bool long_code = c->code_mode == ISA_MODE_64;
	if (!(c->efer & EFER_SCE) || !cpu_protected(c) || (!c->amd && !long_code))
		cpu_ud(c);
	uint16_t selector = (uint16_t)(c->star >> 32);
	if (!cpu_long_mode(c)) {
		c->gpr[REG_RCX] = (uint32_t)c->gpr[REG_RIP];
		c->rflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
		enter_kernel(c, selector, false, (uint32_t)c->star);
		return;
	}
	uint64_t rflags = cpu_get_rflags(c) & ~FLAG_RF;
	c->gpr[REG_RCX] = c->gpr[REG_RIP];
	c->gpr[REG_R8 + 3] = rflags;
	cpu_set_rflags(c, rflags & ~c->sfmask);
	enter_kernel(c, selector, true, long_code ? c->lstar : c->cstar);
}

#define SYSRET_FLAGS 0x3c7fd7ull

static void exec_sysret(struct cpu *c, const struct insn *i)
{
	if (!(c->efer & EFER_SCE) || !cpu_protected(c) || (!c->amd && c->code_mode != ISA_MODE_64))
		cpu_ud(c);
	require_cpl0(c);
	bool wide = i->opsize == 8;
	uint64_t rip = wide ? c->gpr[REG_RCX] : (uint32_t)c->gpr[REG_RCX];
	if (wide && !c->amd && !is_canonical(rip))
		cpu_gp(c, 0);
	uint16_t selector = (uint16_t)(c->star >> 48);
	if (cpu_long_mode(c))
		cpu_set_rflags(c, c->gpr[REG_R8 + 3] & SYSRET_FLAGS);
	else
		cpu_set_if(c, true);
	segment_set_flat_code(c, (uint16_t)(selector + (wide ? 16 : 0)), 3, wide);
	segment_set_flat_stack(c, (uint16_t)(selector + 8), 3);
	c->cpl = 3;
	c->gpr[REG_RIP] = rip;
	cpu_update_mode(c);
}

static void exec_sysenter(struct cpu *c, const struct insn *i)
{
	bool long_mode = cpu_long_mode(c);
	if (c->amd && long_mode)
		cpu_ud(c);
	if (!cpu_protected(c) || !(c->sysenter_cs & 0xfffc))
		cpu_gp(c, 0);
	c->rflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
	c->gpr[REG_RSP] = long_mode ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
	enter_kernel(c, (uint16_t)c->sysenter_cs, long_mode, long_mode ? c->sysenter_eip : (uint32_t)c->sysenter_eip);
}

static void exec_sysexit(struct cpu *c, const struct insn *i)
{
	bool wide = i->opsize == 8;
	uint64_t rip = c->gpr[REG_RDX], rsp = c->gpr[REG_RCX];
	if (c->amd && cpu_long_mode(c))
		cpu_ud(c);
	if (!cpu_protected(c) || !(c->sysenter_cs & 0xfffc) || c->cpl)
		cpu_gp(c, 0);
	if (wide && (!is_canonical(rip) || !is_canonical(rsp)))
		cpu_gp(c, 0);
	uint16_t selector = (uint16_t)(c->sysenter_cs + (wide ? 32 : 16));
	segment_set_flat_code(c, selector, 3, wide);
	segment_set_flat_stack(c, (uint16_t)((selector & 0xfffc) + 8), 3);
	c->cpl = 3;
	c->gpr[REG_RSP] = wide ? rsp : (uint32_t)rsp;
	c->gpr[REG_RIP] = wide ? rip : (uint32_t)rip;
	cpu_update_mode(c);
}

static void exec_swapgs(struct cpu *c, const struct insn *i)
{
	if (c->code_mode != ISA_MODE_64)
		cpu_ud(c);
	require_cpl0(c);
	uint64_t base = c->seg[SEG_GS].base;
	c->seg[SEG_GS].base = c->segment_base[SEG_GS] = c->kernel_gs_base;
	c->kernel_gs_base = base;
}

insn_exec *select_call(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_SYSCALL: return exec_syscall;
	case OP_SYSRET: return exec_sysret;
	case OP_SYSENTER: return exec_sysenter;
	case OP_SYSEXIT: return exec_sysexit;
	case OP_SWAPGS: return exec_swapgs;
	default: return NULL;
	}
}
