/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/system.h"
#include "isa/op.h"

/* Control and debug registers, TLB and cache control, MSRs, counters, CPUID. */

static uint64_t read_cr8(struct cpu *c)
{
	return c->intc.ops ? c->intc.ops->get_cr8(c->intc.opaque) : 0;
}

static void write_cr8(struct cpu *c, uint64_t value)
{
	if (value >> 4)
		cpu_gp(c, 0);
	if (!c->intc.ops)
		return;
	bool lower = value < c->intc.ops->get_cr8(c->intc.opaque);
	c->intc.ops->set_cr8(c->intc.opaque, value);
	/* A lower priority may let an interrupt through. */
	if (lower && c->intc.ops->pending(c->intc.opaque)) {
		atomic_fetch_or(&c->signals, ATTN_INTR);
		cpu_attention(c, ATTN_INTR);
	}
}

static unsigned register_size(const struct insn *i)
{
	return i->mode == ISA_MODE_64 ? 8 : 4;
}

static void exec_mov_to_cr(struct cpu *c, const struct insn *i)
{
	uint64_t value = c->gpr[i->operand[1].reg] & size_mask(register_size(i));
	unsigned n = i->operand[0].reg;
	if (n != 0 && (n < 2 || n > 4) && n != 8)
		cpu_ud(c);
	require_cpl0(c);
	switch (n) {
	case 0: cpu_set_cr0(c, value); break;
	case 2: c->cr2 = value; break;
	case 3: cpu_set_cr3(c, value); break;
	case 4: cpu_set_cr4(c, value); break;
	case 8: write_cr8(c, value); break;
	}
}

static void exec_mov_from_cr(struct cpu *c, const struct insn *i)
{
	uint64_t value = 0;
	unsigned n = i->operand[1].reg;
	if (n != 0 && (n < 2 || n > 4) && n != 8)
		cpu_ud(c);
	require_cpl0(c);
	switch (n) {
	case 0: value = c->cr0; break;
	case 2: value = c->cr2; break;
	case 3: value = c->cr3; break;
	case 4: value = c->cr4; break;
	case 8: value = read_cr8(c); break;
	}
	sys_write_gpr(c, i->operand[0].reg, value, register_size(i));
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE; then, and above 7, they do not exist. */
static unsigned debug_register(struct cpu *c, unsigned n)
{
	if (n > 7 || ((n == 4 || n == 5) && (c->cr4 & CR4_DE)))
		cpu_ud(c);
	require_cpl0(c);
	if (c->dr[7] & DR7_GD)
		cpu_debug_fault(c, DR6_BD);
	return n == 4 || n == 5 ? n + 2 : n;
}

static void exec_mov_to_dr(struct cpu *c, const struct insn *i)
{
	unsigned n = debug_register(c, i->operand[0].reg);
	cpu_set_debug_register(c, n, c->gpr[i->operand[1].reg] & size_mask(register_size(i)));
}

static void exec_mov_from_dr(struct cpu *c, const struct insn *i)
{
	unsigned n = debug_register(c, i->operand[1].reg);
	sys_write_gpr(c, i->operand[0].reg, c->dr[n], register_size(i));
}

static void exec_clts(struct cpu *c, const struct insn *i)
{
	require_cpl0(c);
	c->cr0 &= ~CR0_TS;
}

/* No cache to write back: memory is always current. */
static void exec_cache(struct cpu *c, const struct insn *i)
{
	require_cpl0(c);
}

static void exec_invlpg(struct cpu *c, const struct insn *i)
{
	if (cpu_v86(c))
		cpu_gp(c, 0);
	require_cpl0(c);
	uint64_t linear = c->segment_base[i->seg] + effective_address(c, i);
	if (c->code_mode != ISA_MODE_64)
		linear = (uint32_t)linear;
	if (is_canonical(linear))
		tlb_flush_page(c, linear);
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

/* SDM 2A, INVPCID. The TLB holds the current PCID alone: other ones have nothing to invalidate. */
static void exec_invpcid(struct cpu *c, const struct insn *i)
{
	if (cpu_v86(c))
		cpu_gp(c, 0);
	require_cpl0(c);
	uint64_t type = c->gpr[i->operand[0].reg] & size_mask(register_size(i));
	uint64_t linear = operand_linear(c, i, 16, ACCESS_R);
	uint64_t pcid = access_read64(c, linear), address = access_read64(c, linear + 8);
	if (type > INVPCID_ALL || pcid >> 12)
		cpu_gp(c, 0);
	if (type <= INVPCID_CONTEXT && pcid && !(c->cr4 & CR4_PCIDE))
		cpu_gp(c, 0);
	if (type == INVPCID_ADDRESS && !is_canonical(address))
		cpu_gp(c, 0);
	bool current = pcid == (c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0);
	if (type == INVPCID_ALL_GLOBAL)
		tlb_flush_all(c);
	else if (type == INVPCID_ALL || (type == INVPCID_CONTEXT && current))
		tlb_flush_non_global(c);
	else if (type == INVPCID_ADDRESS && current)
		tlb_flush_page(c, address);
	else
		tlb_flush_non_global(c); /* of a PCID whose entries an engine may keep */
}

static void set_edx_eax(struct cpu *c, uint64_t value)
{
	c->gpr[REG_RAX] = (uint32_t)value;
	c->gpr[REG_RDX] = value >> 32;
}

static uint64_t get_edx_eax(const struct cpu *c)
{
	return (uint32_t)c->gpr[REG_RAX] | c->gpr[REG_RDX] << 32;
}

static void exec_rdmsr(struct cpu *c, const struct insn *i)
{
	uint64_t value;
	require_cpl0(c);
	cpu_read_msr(c, (uint32_t)c->gpr[REG_RCX], &value);
	set_edx_eax(c, value);
}

static void exec_wrmsr(struct cpu *c, const struct insn *i)
{
	require_cpl0(c);
	cpu_write_msr(c, (uint32_t)c->gpr[REG_RCX], get_edx_eax(c));
}

static void check_tsd(struct cpu *c)
{
	if ((c->cr4 & CR4_TSD) && c->cpl)
		cpu_gp(c, 0);
}

static void exec_rdtsc(struct cpu *c, const struct insn *i)
{
	check_tsd(c);
	set_edx_eax(c, cpu_read_tsc(c));
}

static void exec_rdtscp(struct cpu *c, const struct insn *i)
{
	check_tsd(c);
	set_edx_eax(c, cpu_read_tsc(c));
	c->gpr[REG_RCX] = (uint32_t)c->tsc_aux;
}

/* CPUID shows no performance counters, so every index is one that does not exist. */
static void exec_rdpmc(struct cpu *c, const struct insn *i)
{
	cpu_gp(c, 0);
}

static void exec_cpuid(struct cpu *c, const struct insn *i)
{
	uint32_t out[4];
	cpu_cpuid(c, (uint32_t)c->gpr[REG_RAX], (uint32_t)c->gpr[REG_RCX], out);
	c->gpr[REG_RAX] = out[0];
	c->gpr[REG_RBX] = out[1];
	c->gpr[REG_RCX] = out[2];
	c->gpr[REG_RDX] = out[3];
}

static void exec_xgetbv(struct cpu *c, const struct insn *i)
{
	uint32_t index = (uint32_t)c->gpr[REG_RCX];
	if (!(c->cr4 & CR4_OSXSAVE))
		cpu_ud(c);
	if (index == 0)
		set_edx_eax(c, c->xcr0);
	else if (index == 1 && cpu_has(c, FEATURE_XGETBV1))
		set_edx_eax(c, fpu_xinuse(c, c->xcr0));
	else
		cpu_gp(c, 0);
}

static void exec_xsetbv(struct cpu *c, const struct insn *i)
{
	if (!(c->cr4 & CR4_OSXSAVE))
		cpu_ud(c);
	require_cpl0(c);
	if ((uint32_t)c->gpr[REG_RCX] != 0)
		cpu_gp(c, 0);
	cpu_set_xcr0(c, get_edx_eax(c));
}

/* #UD, not #GP, above level 0. */
static void exec_set_ac(struct cpu *c, const struct insn *i)
{
	if (c->cpl || cpu_v86(c))
		cpu_ud(c);
	c->rflags = i->op == OP_STAC ? c->rflags | FLAG_AC : c->rflags & ~FLAG_AC;
	c->tlb = cpu_tlb(c, c->cpl);
}

static void exec_fs_gs_base(struct cpu *c, const struct insn *i)
{
	bool write = i->op == OP_WRFSBASE || i->op == OP_WRGSBASE;
	unsigned seg = i->op == OP_RDFSBASE || i->op == OP_WRFSBASE ? SEG_FS : SEG_GS;
	if (c->code_mode != ISA_MODE_64 || !(c->cr4 & CR4_FSGSBASE))
		cpu_ud(c);
	if (!write) {
		sys_write_gpr(c, i->operand[0].reg, c->seg[seg].base, i->operand[0].size);
		return;
	}
	uint64_t base = c->gpr[i->operand[0].reg] & size_mask(i->operand[0].size); /* 66 does not matter */
	if (!is_canonical(base))
		cpu_gp(c, 0);
	c->seg[seg].base = c->segment_base[seg] = base;
}

/* Both opcodes work on either vendor's processor, as under KVM. */
static void exec_vmcall(struct cpu *c, const struct insn *i)
{
	uint64_t mask = c->code_mode == ISA_MODE_64 ? ~0ull : 0xffffffff;
	uint64_t args[4] = { c->gpr[REG_RBX] & mask, c->gpr[REG_RCX] & mask, c->gpr[REG_RDX] & mask, c->gpr[REG_RSI] & mask };
	c->gpr[REG_RAX] = kvm_hypercall(c, c->gpr[REG_RAX] & mask, args) & mask;
}

/* Hidden in CPUID, or for other modes than there are. */
static void exec_absent(struct cpu *c, const struct insn *i)
{
	cpu_ud(c);
}

insn_exec *select_control(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_MOV_CR: return insn->operand[0].kind == OPERAND_CR ? exec_mov_to_cr : exec_mov_from_cr;
	case OP_MOV_DR: return insn->operand[0].kind == OPERAND_DR ? exec_mov_to_dr : exec_mov_from_dr;
	case OP_CLTS: return exec_clts;
	case OP_INVD: case OP_WBINVD: case OP_WBNOINVD: return exec_cache;
	case OP_INVLPG: return exec_invlpg;
	case OP_INVPCID: return exec_invpcid;
	case OP_RDMSR: return exec_rdmsr;
	case OP_WRMSR: return exec_wrmsr;
	case OP_RDTSC: return exec_rdtsc;
	case OP_RDTSCP: return exec_rdtscp;
	case OP_RDPMC: return exec_rdpmc;
	case OP_CPUID: return exec_cpuid;
	case OP_XGETBV: return exec_xgetbv;
	case OP_XSETBV: return exec_xsetbv;
	case OP_STAC: case OP_CLAC: return exec_set_ac;
	case OP_RDFSBASE: case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE: return exec_fs_gs_base;
	case OP_VMCALL: case OP_VMMCALL: return exec_vmcall;
	case OP_MONITOR: case OP_MWAIT: case OP_MONITORX: case OP_MWAITX: case OP_RSM: case OP_GETSEC: return exec_absent;
	default: return NULL;
	}
}
