/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/cpu.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu.h"
#include "cpu/system.h"

struct tlb_entry *cpu_tlb(struct cpu *c, unsigned cpl)
{
	if (cpl == 3)
		return c->tlbs[(c->cr0 & CR0_AM) && (c->rflags & FLAG_AC) ? TLB_USER_ALIGN : TLB_USER];
	if ((c->cr4 & CR4_SMAP) && !(c->rflags & FLAG_AC))
		return c->tlbs[TLB_SUPERVISOR];
	return c->tlbs[TLB_SUPERVISOR_AC];
}

/* A present, writable, expand-up data segment of 4 GiB lets every access through. */
static bool segment_unlimited(const struct segment *s)
{
	uint16_t relevant = SEGATTR_P | SEGATTR_S | SEG_CODE | SEG_EXPAND_DOWN | SEG_WRITABLE;
	return s->limit == 0xffffffff && (s->attributes & relevant) == (SEGATTR_P | SEGATTR_S | SEG_WRITABLE);
}

void cpu_update_segment(struct cpu *c, unsigned seg)
{
	bool long_code = c->code_mode == ISA_MODE_64;
	c->segment_base[seg] = !long_code || seg >= SEG_FS ? c->seg[seg].base : 0;
	c->segment_check[seg] = !long_code && !segment_unlimited(&c->seg[seg]);
	if (seg == SEG_SS)
		c->stack_mask = long_code ? ~0ull : c->seg[SEG_SS].attributes & SEGATTR_DB ? 0xffffffff : 0xffff;
}

void cpu_update_mode(struct cpu *c)
{
	uint16_t cs = c->seg[SEG_CS].attributes;
	if ((c->efer & EFER_LMA) && (cs & SEGATTR_L))
		c->code_mode = ISA_MODE_64;
	else
		c->code_mode = cs & SEGATTR_DB ? ISA_MODE_32 : ISA_MODE_16;
	for (unsigned i = 0; i <= SEG_GS; i++)
		cpu_update_segment(c, i);
	c->tlb = cpu_tlb(c, c->cpl);
}

uint64_t cpu_get_rflags(const struct cpu *c)
{
	return (c->rflags & ~FLAG_ARITH) | cc_to_rflags(c->cc) | 2;
}

void cpu_set_rflags(struct cpu *c, uint64_t rflags)
{
	uint64_t changed = c->rflags ^ rflags;
	c->cc = cc_from_rflags(rflags);
	c->rflags = (rflags & RFLAGS_VALID & ~(FLAG_ARITH | FLAG_IF)) | 2;
	cpu_set_if(c, rflags & FLAG_IF);
	if (rflags & FLAG_RF)
		c->rf_clear = false;
	if (rflags & (FLAG_TF | FLAG_RF))
		cpu_attention(c, ATTN_STEP);
	if (changed & (FLAG_VM | FLAG_AC))
		cpu_update_mode(c);
}

static void reset_segment(struct cpu *c, unsigned seg, uint16_t selector, uint64_t base, uint16_t attributes)
{
	c->seg[seg] = (struct segment){ .base = base, .limit = 0xffff, .selector = selector, .attributes = attributes };
}

/* What power-on and INIT have in common. */
static void reset_core(struct cpu *c)
{
	uint32_t signature[4];
	memset(c->gpr, 0, sizeof(c->gpr));
	cpu_cpuid(c, 1, 0, signature);
	c->gpr[REG_RDX] = signature[0];
	c->gpr[REG_RIP] = 0xfff0;
	c->cpl = 0;
	c->rflags = 2;
	c->cc = cc_from_rflags(2);
	for (unsigned i = 0; i <= SEG_GS; i++)
		reset_segment(c, i, 0, 0, SEGATTR_P | SEGATTR_S | SEG_WRITABLE | SEG_ACCESSED);
	reset_segment(c, SEG_CS, 0xf000, 0xffff0000, SEGATTR_P | SEGATTR_S | SEG_WRITABLE | SEG_ACCESSED);
	reset_segment(c, SEG_LDTR, 0, 0, SEGATTR_P | SYS_LDT);
	reset_segment(c, SEG_TR, 0, 0, SEGATTR_P | SYS_TSS32_BUSY);
	c->gdtr = c->idtr = (struct table_register){ .base = 0, .limit = 0xffff };
	c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
	for (unsigned i = 0; i < 4; i++)
		c->dr[i] = c->pdpte[i] = 0;
	c->dr[6] = DR6_RESET;
	c->dr[7] = DR7_RESET;
	c->halted = c->interrupt_shadow = c->mov_ss_shadow = c->nmi_blocked = c->nmi_pending = c->shutdown = false;
	c->step_armed = c->rf_clear = false;
	c->db_pending = 0;
	c->delivering = c->event_ext = c->borrowed_cpl = 0;
	c->wait_for_sipi = c->index != 0;
	c->insn = NULL;
	c->bounce = NULL;
}

void cpu_reset(struct cpu *c, bool power_on)
{
	uint64_t cr0 = c->cr0;
	reset_core(c);
	/* INIT leaves the cache bits, FPU, MSRs and TSC alone. */
	c->cr0 = power_on ? CR0_CD | CR0_NW | CR0_ET : (cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	if (power_on) {
		atomic_store(&c->signals, 0);
		cpu_fpu_reset(c);
		c->xcr0 = 1;
		c->xss = 0;
		cpu_reset_msrs(c);
	}
	tlb_flush_all(c);
	cpu_update_mode(c);
}
