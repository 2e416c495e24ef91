/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"

/*
 * IRETQ from CPL 0 to 64-bit code, as kernels execute it after every interrupt
 * and fault: what cpu_iret does, with all that is out of the ordinary left to it.
 */
#define UNUSUAL (FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC)

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

/* The GDT's descriptor, when it is within the limit, in the TLB, and marked as accessed; else 0. */
static uint64_t descriptor(const struct cpu *c, uint16_t selector)
{
	uint64_t linear = c->gdtr.base + (selector & 0xfff8u);
	const struct tlb_entry *e = &c->tlbs[TLB_SUPERVISOR][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	if ((selector & 4) || (selector & 0xfff8u) + 7u > c->gdtr.limit || e->read != ((linear + 7) & ~(uint64_t)GUEST_PAGE_MASK))
		return 0;
	uint64_t d = __atomic_load_n((const uint64_t *)(linear + e->addend), __ATOMIC_RELAXED);
	return d & BIT64(40) ? d : 0;
}

static bool code_fits(uint64_t d, unsigned cpl)
{
	return desc_present(d) && desc_is_code(d) && !desc_is_conforming(d) && desc_dpl(d) == cpl && desc_l(d) && !desc_db(d);
}

static bool stack_fits(uint64_t d, unsigned cpl)
{
	return desc_present(d) && desc_is_writable(d) && desc_dpl(d) == cpl;
}

/* Data segments that code of level 3 may not see become null: kernels keep none. */
static bool inner_segments(const struct cpu *c)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (i != SEG_CS && i != SEG_SS && (c->seg[i].attributes & SEGATTR_P) && SEGATTR_DPL(c->seg[i].attributes) < 3)
			return true;
	return false;
}

static void commit(struct cpu *c, const struct frame *f, unsigned cpl, uint64_t cs, uint64_t ss)
{
	uint16_t selector = (uint16_t)f->ss;
	c->seg[SEG_CS] = cpu_unpack_descriptor((uint16_t)f->cs, cs);
	c->seg[SEG_SS] = ss ? cpu_unpack_descriptor(selector, ss) : (struct segment){ .selector = selector, .attributes = (uint16_t)(cpl << 5) };
	c->gpr[REG_RIP] = f->rip;
	c->gpr[REG_RSP] = f->rsp;
	c->cc = cc_from_rflags(f->rflags);
	c->rflags = (f->rflags & RFLAGS_VALID & ~FLAG_ARITH) | 2;
	c->cpl = (uint8_t)cpl;
	c->tlb = c->tlbs[cpl ? TLB_USER : c->cr4 & CR4_SMAP ? TLB_SUPERVISOR : TLB_SUPERVISOR_AC];
}

bool cpu_iret_common(struct cpu *c)
{
	const struct frame *host = tlb_lookup_read(c, c->gpr[REG_RSP], sizeof(*host));
	if (!host || c->cpl || c->code_mode != ISA_MODE_64 || (c->rflags & UNUSUAL) || c->nmi_blocked || c->rf_clear ||
	    atomic_load_explicit(&c->signals, memory_order_relaxed))
		return false;
	struct frame f;
	memcpy(&f, host, sizeof(f));
	unsigned cpl = f.cs & 3;
	if (!(c->dr[7] & DR7_ENABLES))
		f.rflags &= ~FLAG_RF; /* see cpu_iret */
	if ((cpl != 0 && cpl != 3) || (f.rflags & UNUSUAL) || !is_canonical(f.rip) || selector_null((uint16_t)f.cs) || (f.ss & 3) != cpl ||
	    (cpl && inner_segments(c)))
		return false;
	uint64_t cs = descriptor(c, (uint16_t)f.cs), ss = 0;
	if (!selector_null((uint16_t)f.ss)) {
		ss = descriptor(c, (uint16_t)f.ss);
		if (!stack_fits(ss, cpl))
			return false;
	}
	if (!code_fits(cs, cpl) || (cpl && !ss))
		return false;
	commit(c, &f, cpl, cs, ss);
	return true;
}
