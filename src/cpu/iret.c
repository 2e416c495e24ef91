/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"

/* IRET, IRETD, IRETQ (SDM 2A, IRET/IRETD/IRETQ). */

/* Flags that the popped image may change at this CPL and IOPL. */
static uint64_t changeable_flags(const struct cpu *c, unsigned opsize)
{
	uint64_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
	if (opsize > 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (c->cpl <= cpu_iopl(c))
		mask |= FLAG_IF;
	if (c->cpl == 0) {
		mask |= FLAG_IOPL;
		if (opsize > 2)
			mask |= FLAG_VIF | FLAG_VIP;
	}
	return mask;
}

/* RF keeps instruction breakpoints off the next instruction; when there are none it is forgotten at once, which spares a look
 * behind that instruction. Only an interrupt before it could tell. */
static void set_flags(struct cpu *c, uint64_t image, uint64_t mask)
{
	if (!(c->dr[7] & DR7_ENABLES))
		image &= ~FLAG_RF;
	cpu_set_rflags(c, (cpu_get_rflags(c) & ~mask) | (image & mask));
}

static void iret_real(struct cpu *c, unsigned opsize)
{
	uint64_t rip = stack_peek(c, 0, opsize);
	uint16_t cs = (uint16_t)stack_peek(c, opsize, opsize);
	uint64_t flags = stack_peek(c, 2 * opsize, opsize);
	if (rip > c->seg[SEG_CS].limit)
		cpu_gp(c, 0);
	uint64_t mask = changeable_flags(c, opsize);
	if (cpu_v86(c))
		mask = (mask | FLAG_IF) & ~(FLAG_IOPL | FLAG_VIF | FLAG_VIP); /* IOPL is 3 here */
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + 3 * opsize);
	cpu_load_segment_real(c, SEG_CS, cs);
	c->gpr[REG_RIP] = rip;
	set_flags(c, flags, mask);
	cpu_update_mode(c);
}

static void iret_to_v86(struct cpu *c, uint64_t eip, uint16_t cs, uint64_t flags)
{
	static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	uint16_t selectors[ARRAY_SIZE(order)];
	uint64_t esp = stack_peek(c, 12, 4);
	uint16_t ss = (uint16_t)stack_peek(c, 16, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		selectors[i] = (uint16_t)stack_peek(c, 20 + 4 * i, 4);
	if (eip > 0xffff)
		cpu_gp(c, 0);
	set_flags(c, flags, ~0ull);
	c->cpl = 3;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		cpu_load_segment_real(c, order[i], selectors[i]);
	cpu_load_segment_real(c, SEG_SS, ss);
	cpu_load_segment_real(c, SEG_CS, cs);
	c->gpr[REG_RSP] = esp;
	c->gpr[REG_RIP] = eip;
	cpu_update_mode(c);
}

static void iret_task(struct cpu *c)
{
	if (cpu_long_mode(c))
		cpu_gp(c, 0);
	uint16_t link = (uint16_t)access_read_system(c, c->seg[SEG_TR].base, 2);
	cpu_task_switch(c, link, TASK_IRET, false, 0);
}

static void iret_same_level(struct cpu *c, uint16_t selector, uint64_t cs, uint64_t rip, uint64_t flags,
			    unsigned opsize)
{
	far_check_target(c, cs, rip);
	cs = segment_mark_accessed(c, selector, cs);
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + 3 * opsize);
	uint64_t mask = changeable_flags(c, opsize);
	far_set_cs(c, selector, cs, c->cpl, rip);
	set_flags(c, flags, mask);
	cpu_update_mode(c);
}

/* To an outer level; in 64-bit mode SS:RSP come from the frame at any level. */
static void iret_with_stack(struct cpu *c, uint16_t selector, uint64_t cs, uint64_t rip, uint64_t flags,
			    unsigned opsize)
{
	unsigned cpl = selector_rpl(selector);
	uint64_t rsp = stack_peek(c, 3 * opsize, opsize);
	uint16_t ss_selector = (uint16_t)stack_peek(c, 4 * opsize, opsize);
	uint64_t ss = far_check_return_stack(c, ss_selector, cpl, cs);
	far_check_target(c, cs, rip);
	if (!selector_null(ss_selector))
		ss = segment_mark_accessed(c, ss_selector, ss);
	cs = segment_mark_accessed(c, selector, cs);
	uint64_t mask = changeable_flags(c, opsize);
	bool outer = cpl > c->cpl;
	far_commit_return_stack(c, ss_selector, ss, cpl, rsp, cs);
	far_set_cs(c, selector, cs, cpl, rip);
	if (outer)
		far_drop_inner_segments(c);
	set_flags(c, flags, mask);
	cpu_update_mode(c);
}

static void iret_protected(struct cpu *c, unsigned opsize)
{
	if (c->rflags & FLAG_NT) {
		iret_task(c);
		return;
	}
	uint64_t rip = stack_peek(c, 0, opsize);
	uint16_t selector = (uint16_t)stack_peek(c, opsize, opsize);
	uint64_t flags = stack_peek(c, 2 * opsize, opsize);
	if ((flags & FLAG_VM) && opsize == 4 && c->cpl == 0 && !cpu_long_mode(c)) {
		iret_to_v86(c, rip, selector, flags);
		return;
	}
	uint64_t cs = far_check_return_code(c, selector);
	if (c->code_mode == ISA_MODE_64 || selector_rpl(selector) > c->cpl)
		iret_with_stack(c, selector, cs, rip, flags, opsize);
	else
		iret_same_level(c, selector, cs, rip, flags, opsize);
}

void cpu_iret(struct cpu *c, unsigned opsize)
{
	c->nmi_blocked = false; /* even when IRET faults (SDM 3A, 6.7.1) */
	c->rf_clear = false;
	if (cpu_protected_segments(c)) {
		iret_protected(c, opsize);
	} else {
		if (cpu_v86(c) && cpu_iopl(c) < 3)
			cpu_gp(c, 0);
		iret_real(c, opsize);
	}
	if (atomic_load_explicit(&c->signals, memory_order_relaxed) & ATTN_NMI)
		cpu_attention(c, ATTN_NMI);
}
