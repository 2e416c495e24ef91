/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"

/* Far JMP, CALL and RET (SDM 2A and 2B; SDM 3A, 5.8). IRET is in iret.c. */

void far_set_cs(struct cpu *c, uint16_t selector, uint64_t descriptor, unsigned cpl, uint64_t rip)
{
	c->seg[SEG_CS] = cpu_unpack_descriptor((uint16_t)((selector & 0xfffc) | cpl), descriptor);
	c->cpl = (uint8_t)cpl;
	c->gpr[REG_RIP] = rip;
}

void far_check_target(struct cpu *c, uint64_t descriptor, uint64_t rip)
{
	if (cpu_long_mode(c) && desc_l(descriptor)) {
		if (!is_canonical(rip))
			fault_gp0(c);
	} else {
		struct segment cs = cpu_unpack_descriptor(0, descriptor);
		if (rip > cs.limit)
			fault_gp0(c);
	}
}

/* Code descriptor for JMP or CALL without a gate, or behind one (`gate`: RPL does not count). */
static void check_code(struct cpu *c, uint16_t selector, uint64_t d)
{
	if (cpu_long_mode(c) && desc_l(d) && desc_db(d))
		fault_selector(c, EXC_GP, selector);
	if (desc_is_conforming(d)) {
		if (desc_dpl(d) > c->cpl)
			fault_selector(c, EXC_GP, selector);
	} else if (selector_rpl(selector) > c->cpl || desc_dpl(d) != c->cpl) {
		fault_selector(c, EXC_GP, selector);
	}
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
}

/* Gates and TSS descriptors ask both CPL and RPL. */
static void check_system_access(struct cpu *c, uint16_t selector, uint64_t d)
{
	if (desc_dpl(d) < c->cpl || desc_dpl(d) < selector_rpl(selector))
		fault_selector(c, EXC_GP, selector);
}

struct call_gate {
	uint64_t offset;
	uint16_t selector;
	unsigned count;     /* parameters to copy */
	unsigned size;      /* of what is pushed: 2, 4, 8 */
	uint64_t code;      /* the target's descriptor */
};

static struct call_gate read_call_gate(struct cpu *c, uint16_t selector, uint64_t d)
{
	struct call_gate g = {
		.offset = (d & 0xffff) | (d >> 32 & 0xffff0000),
		.selector = (uint16_t)(d >> 16),
		.count = d >> 32 & 31,
	};
	check_system_access(c, selector, d);
	if (cpu_long_mode(c)) {
		g.offset |= segment_fetch_upper(c, selector, EXC_GP) & 0xffffffff00000000;
		g.size = 8;
	} else {
		g.size = desc_type(d) == SYS_CALL_GATE32 ? 4 : 2;
	}
	if (g.size == 2)
		g.offset &= 0xffff;
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	if (selector_null(g.selector))
		cpu_gp(c, 0);
	g.code = segment_fetch(c, g.selector, EXC_GP);
	if (!desc_is_code(g.code) || desc_dpl(g.code) > c->cpl)
		fault_selector(c, EXC_GP, g.selector);
	if (cpu_long_mode(c) && (!desc_l(g.code) || desc_db(g.code)))
		fault_selector(c, EXC_GP, g.selector);
	if (!desc_present(g.code))
		fault_selector(c, EXC_NP, g.selector);
	return g;
}

/* Task gates and TSS descriptors; does not return to the instruction. */
static void transfer_to_task(struct cpu *c, uint16_t selector, uint64_t d, enum task_switch_kind kind)
{
	check_system_access(c, selector, d);
	if (desc_type(d) == SYS_TASK_GATE) {
		if (!desc_present(d))
			fault_selector(c, EXC_NP, selector);
		selector = (uint16_t)(d >> 16);
	}
	cpu_task_switch(c, selector, kind, false, 0);
}

/* The descriptor of a far transfer's target, with the test that its kind is one that may be. */
static uint64_t fetch_target(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector))
		cpu_gp(c, 0);
	uint64_t d = segment_fetch(c, selector, EXC_GP);
	unsigned allowed = BIT(SYS_CALL_GATE32);
	if (!cpu_long_mode(c))
		allowed |= BIT(SYS_TSS16) | BIT(SYS_TSS32) | BIT(SYS_CALL_GATE16) | BIT(SYS_TASK_GATE);
	if (desc_s(d) ? !desc_is_code(d) : !(allowed >> desc_type(d) & 1))
		fault_selector(c, EXC_GP, selector);
	return d;
}

static bool is_call_gate(uint64_t d)
{
	return desc_type(d) == SYS_CALL_GATE16 || desc_type(d) == SYS_CALL_GATE32;
}

/* The last step that can fault. */
static uint64_t prepare_code(struct cpu *c, uint16_t selector, uint64_t d, uint64_t rip)
{
	far_check_target(c, d, rip);
	return segment_mark_accessed(c, selector, d);
}

static void commit_code(struct cpu *c, uint16_t selector, uint64_t d, unsigned cpl, uint64_t rip)
{
	far_set_cs(c, selector, d, cpl, rip);
	cpu_update_mode(c);
}

static void real_jump(struct cpu *c, uint16_t selector, uint64_t offset)
{
	if (offset > c->seg[SEG_CS].limit)
		cpu_gp(c, 0);
	cpu_load_segment_real(c, SEG_CS, selector);
	c->gpr[REG_RIP] = offset;
	cpu_update_mode(c);
}

void cpu_far_jump(struct cpu *c, uint16_t selector, uint64_t offset, unsigned opsize)
{
	offset &= size_mask(opsize);
	if (!cpu_protected_segments(c)) {
		real_jump(c, selector, offset);
		return;
	}
	uint64_t d = fetch_target(c, selector);
	if (desc_s(d)) {
		check_code(c, selector, d);
		d = prepare_code(c, selector, d, offset);
		commit_code(c, selector, d, c->cpl, offset);
	} else if (is_call_gate(d)) {
		struct call_gate g = read_call_gate(c, selector, d);
		if (!desc_is_conforming(g.code) && desc_dpl(g.code) != c->cpl)
			fault_selector(c, EXC_GP, g.selector);
		g.code = prepare_code(c, g.selector, g.code, g.offset);
		commit_code(c, g.selector, g.code, c->cpl, g.offset);
	} else {
		transfer_to_task(c, selector, d, TASK_JUMP);
	}
}

static void push_return(struct cpu *c, struct stack *s, unsigned size)
{
	stack_put(c, s, c->seg[SEG_CS].selector, size);
	stack_put(c, s, c->gpr[REG_RIP], size);
}

/* The parameters of a call gate, from the caller's stack. */
static void copy_parameters(struct cpu *c, struct stack *s, const struct call_gate *g)
{
	for (unsigned i = g->count; i-- > 0;)
		stack_put(c, s, stack_peek(c, i * g->size, g->size), g->size);
}

static void call_inner_legacy(struct cpu *c, const struct call_gate *g)
{
	unsigned cpl = desc_dpl(g->code);
	uint16_t selector;
	uint64_t rsp = task_inner_stack(c, cpl, &selector);
	if (selector_null(selector))
		cpu_fault(c, EXC_TS, 0);
	uint64_t ss = segment_check_stack(c, selector, cpl, EXC_TS);
	struct segment unpacked = cpu_unpack_descriptor(selector, ss);
	struct stack s = stack_new(c, &unpacked, rsp, cpl, false);
	s.error = selector & 0xfffcu;
	stack_put(c, &s, c->seg[SEG_SS].selector, g->size);
	stack_put(c, &s, c->gpr[REG_RSP], g->size);
	copy_parameters(c, &s, g);
	push_return(c, &s, g->size);
	uint64_t code = prepare_code(c, g->selector, g->code, g->offset);
	c->seg[SEG_SS] = cpu_unpack_descriptor(selector, segment_mark_accessed(c, selector, ss));
	c->gpr[REG_RSP] = s.rsp;
	commit_code(c, g->selector, code, cpl, g->offset);
}

static void call_inner_long(struct cpu *c, const struct call_gate *g)
{
	unsigned cpl = desc_dpl(g->code);
	uint16_t null;
	struct stack s = stack_new(c, &c->seg[SEG_SS], task_inner_stack(c, cpl, &null), cpl, true);
	stack_put(c, &s, c->seg[SEG_SS].selector, 8);
	stack_put(c, &s, c->gpr[REG_RSP], 8);
	push_return(c, &s, 8);
	uint64_t code = prepare_code(c, g->selector, g->code, g->offset);
	c->seg[SEG_SS] = (struct segment){ .selector = (uint16_t)cpl, .attributes = (uint16_t)(cpl << 5) };
	c->gpr[REG_RSP] = s.rsp;
	commit_code(c, g->selector, code, cpl, g->offset);
}

static void call_through_gate(struct cpu *c, uint16_t selector, uint64_t d)
{
	struct call_gate g = read_call_gate(c, selector, d);
	if (!desc_is_conforming(g.code) && desc_dpl(g.code) < c->cpl) {
		if (g.size == 8)
			call_inner_long(c, &g);
		else
			call_inner_legacy(c, &g);
		return;
	}
	struct stack s = stack_current(c);
	push_return(c, &s, g.size);
	g.code = prepare_code(c, g.selector, g.code, g.offset);
	c->gpr[REG_RSP] = s.rsp;
	commit_code(c, g.selector, g.code, c->cpl, g.offset);
}

void cpu_far_call(struct cpu *c, uint16_t selector, uint64_t offset, unsigned opsize)
{
	offset &= size_mask(opsize);
	struct stack s = stack_current(c);
	if (!cpu_protected_segments(c)) {
		push_return(c, &s, opsize);
		if (offset > c->seg[SEG_CS].limit)
			cpu_gp(c, 0);
		c->gpr[REG_RSP] = s.rsp;
		real_jump(c, selector, offset);
		return;
	}
	uint64_t d = fetch_target(c, selector);
	if (desc_s(d)) {
		check_code(c, selector, d);
		push_return(c, &s, opsize);
		d = prepare_code(c, selector, d, offset);
		c->gpr[REG_RSP] = s.rsp;
		commit_code(c, selector, d, c->cpl, offset);
	} else if (is_call_gate(d)) {
		call_through_gate(c, selector, d);
	} else {
		transfer_to_task(c, selector, d, TASK_CALL);
	}
}

uint64_t far_check_return_code(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector))
		cpu_gp(c, 0);
	uint64_t d = segment_fetch(c, selector, EXC_GP);
	unsigned rpl = selector_rpl(selector);
	if (!desc_is_code(d) || rpl < c->cpl)
		fault_selector(c, EXC_GP, selector);
	if (desc_is_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl)
		fault_selector(c, EXC_GP, selector);
	if (cpu_long_mode(c) && desc_l(d) && desc_db(d))
		fault_selector(c, EXC_GP, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	return d;
}

uint64_t far_check_return_stack(struct cpu *c, uint16_t selector, unsigned cpl, uint64_t code)
{
	if (!selector_null(selector))
		return segment_check_stack(c, selector, cpl, EXC_GP);
	/* A null SS is good for 64-bit code below level 3. */
	if (!cpu_long_mode(c) || !desc_l(code) || cpl == 3 || selector_rpl(selector) != cpl)
		cpu_gp(c, 0);
	return 0;
}

void far_commit_return_stack(struct cpu *c, uint16_t selector, uint64_t ss, unsigned cpl, uint64_t rsp, uint64_t code)
{
	if (selector_null(selector))
		c->seg[SEG_SS] = (struct segment){ .selector = selector, .attributes = (uint16_t)(cpl << 5) };
	else
		c->seg[SEG_SS] = cpu_unpack_descriptor(selector, ss);
	/* A 16-bit stack takes SP alone; the rest of RSP stays, as on every processor. */
	if (cpu_long_mode(c) && desc_l(code))
		c->gpr[REG_RSP] = rsp;
	else if (c->seg[SEG_SS].attributes & SEGATTR_DB)
		c->gpr[REG_RSP] = (uint32_t)rsp;
	else
		c->gpr[REG_RSP] = (c->gpr[REG_RSP] & ~0xffffull) | (rsp & 0xffff);
}

void far_drop_inner_segments(struct cpu *c)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		unsigned a = c->seg[i].attributes;
		bool conforming = (a & (SEG_CODE | SEG_CONFORMING)) == (SEG_CODE | SEG_CONFORMING);
		if (i == SEG_CS || i == SEG_SS || !(a & SEGATTR_P))
			continue;
		if (!conforming && SEGATTR_DPL(a) < c->cpl)
			c->seg[i] = (struct segment){ 0 };
	}
}

static uint64_t add_to_stack(const struct cpu *c, uint64_t rsp, unsigned bytes, uint64_t mask)
{
	return mask == 0xffff ? (rsp & ~0xffffull) | ((rsp + bytes) & 0xffff) : (rsp + bytes) & mask;
}

static void return_outer(struct cpu *c, uint16_t selector, uint64_t cs, uint64_t rip, unsigned opsize,
			 uint16_t pop_bytes)
{
	unsigned cpl = selector_rpl(selector);
	uint64_t rsp = stack_peek(c, 2 * opsize + pop_bytes, opsize);
	uint16_t ss_selector = (uint16_t)stack_peek(c, 3 * opsize + pop_bytes, opsize);
	uint64_t ss = far_check_return_stack(c, ss_selector, cpl, cs);
	far_check_target(c, cs, rip);
	if (!selector_null(ss_selector))
		ss = segment_mark_accessed(c, ss_selector, ss);
	cs = segment_mark_accessed(c, selector, cs);
	far_commit_return_stack(c, ss_selector, ss, cpl, rsp, cs);
	far_set_cs(c, selector, cs, cpl, rip);
	far_drop_inner_segments(c);
	cpu_update_mode(c);
	c->gpr[REG_RSP] = add_to_stack(c, c->gpr[REG_RSP], pop_bytes, c->stack_mask);
}

void cpu_far_return(struct cpu *c, unsigned opsize, uint16_t pop_bytes)
{
	uint64_t rip = stack_peek(c, 0, opsize);
	uint16_t selector = (uint16_t)stack_peek(c, opsize, opsize);
	uint64_t rsp = add_to_stack(c, c->gpr[REG_RSP], 2 * opsize + pop_bytes, c->stack_mask);
	if (!cpu_protected_segments(c)) {
		if (rip > c->seg[SEG_CS].limit)
			cpu_gp(c, 0);
		c->gpr[REG_RSP] = rsp;
		real_jump(c, selector, rip);
		return;
	}
	uint64_t cs = far_check_return_code(c, selector);
	if (selector_rpl(selector) > c->cpl) {
		return_outer(c, selector, cs, rip, opsize, pop_bytes);
		return;
	}
	far_check_target(c, cs, rip);
	cs = segment_mark_accessed(c, selector, cs);
	c->gpr[REG_RSP] = rsp;
	far_set_cs(c, selector, cs, c->cpl, rip);
	cpu_update_mode(c);
}
