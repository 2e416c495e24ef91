/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"

/*
 * Faults and the delivery of events through IVT or IDT.
 *
 * Delivery reads tables and writes the stack frame first and changes registers
 * last; a fault on the way therefore leaves the state in which the event came.
 * cpu.event_ext and cpu.delivering say what is being delivered, for error codes
 * and for the double-fault rule.
 */

void cpu_fault(struct cpu *c, enum exception vector, uint32_t error_code)
{
	c->fault_insn = c->insn;
	if (c->insn) {
		uint64_t rip = c->gpr[REG_RIP] - c->insn->length;
		c->gpr[REG_RIP] = c->code_mode == ISA_MODE_64 ? rip : (uint32_t)rip;
		c->insn = NULL;
	}
	if (c->borrowed_cpl) {
		c->cpl = c->borrowed_cpl - 1;
		c->borrowed_cpl = 0;
		c->tlb = cpu_tlb(c, c->cpl);
	}
	c->bounce = NULL;
	if (c->bus_lock_held) {
		c->bus_lock_held = false;
		access_bus_unlock();
	}
	if (vector != EXC_DB)
		c->db_pending = 0;
	c->event_ext = 0;
	c->fault_vector = (uint8_t)vector;
	c->fault_error = error_code;
	longjmp(*c->fault_env, 1);
}

void cpu_page_fault(struct cpu *c, uint64_t linear, uint32_t error_code)
{
	c->cr2 = linear;
	cpu_fault(c, EXC_PF, error_code);
}

void cpu_debug_fault(struct cpu *c, uint64_t dr6)
{
	c->db_pending = dr6;
	cpu_fault(c, EXC_DB, 0);
}

void cpu_write_as(struct cpu *c, unsigned cpl, uint64_t linear, uint64_t value, unsigned size)
{
	uint8_t own = c->cpl;
	c->borrowed_cpl = (uint8_t)(own + 1);
	c->cpl = (uint8_t)cpl;
	c->tlb = cpu_tlb(c, cpl);
	access_write(c, linear, value, size);
	c->cpl = own;
	c->tlb = cpu_tlb(c, own);
	c->borrowed_cpl = 0;
}

struct event {
	enum event_kind kind;
	unsigned vector;
	uint32_t error;
	bool has_error;
};

#define VECTORS_WITH_ERROR \
	(BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_PF) | BIT(EXC_AC))

/* RFLAGS as the frame shows them: RF set for faults, so that the instruction is not stopped again by the same
 * breakpoint, and between two iterations of a string instruction (SDM 3B, 17.3.1.1). */
static uint64_t pushed_rflags(const struct cpu *c, const struct event *e)
{
	uint64_t rflags = cpu_get_rflags(c);
	bool fault = e->kind == EVENT_EXCEPTION && e->vector != EXC_DB && e->vector != EXC_DF && e->vector != EXC_MC;
	if (fault)
		return rflags | FLAG_RF;
	return e->kind == EVENT_SOFT || e->kind == EVENT_ICEBP ? rflags & ~FLAG_RF : rflags;
}

/* What every delivery does to the flags. */
static void enter_handler(struct cpu *c, const struct event *e, bool clear_if)
{
	c->rflags &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (clear_if)
		c->rflags &= ~FLAG_IF;
	c->step_armed = c->rf_clear = false;
	c->interrupt_shadow = c->mov_ss_shadow = false;
	c->halted = false;
	if (e->kind == EVENT_NMI)
		c->nmi_blocked = true;
	cpu_update_mode(c);
}

static void deliver_real(struct cpu *c, const struct event *e)
{
	if (e->vector * 4 + 3 > c->idtr.limit)
		cpu_fault(c, EXC_GP, 0);
	uint32_t entry = (uint32_t)access_read_system(c, c->idtr.base + e->vector * 4, 4);
	struct stack s = stack_current(c);
	stack_put(c, &s, pushed_rflags(c, e) & 0xffff, 2);
	stack_put(c, &s, c->seg[SEG_CS].selector, 2);
	stack_put(c, &s, c->gpr[REG_RIP], 2);
	if ((entry & 0xffff) > c->seg[SEG_CS].limit)
		cpu_fault(c, EXC_GP, 0);
	c->gpr[REG_RSP] = s.rsp;
	cpu_load_segment_real(c, SEG_CS, (uint16_t)(entry >> 16));
	c->gpr[REG_RIP] = entry & 0xffff;
	c->rflags &= ~FLAG_AC;
	enter_handler(c, e, true);
}

/* Error code that names the IDT entry. */
static _Noreturn void fault_gate(struct cpu *c, enum exception vector, const struct event *e)
{
	cpu_fault(c, vector, e->vector * 8 + 2 + c->event_ext);
}

struct gate {
	uint64_t offset;
	uint16_t selector;
	unsigned type, ist;
};

static struct gate read_gate(struct cpu *c, const struct event *e)
{
	unsigned size = cpu_long_mode(c) ? 16 : 8;
	if (e->vector * size + size - 1 > c->idtr.limit)
		fault_gate(c, EXC_GP, e);
	uint64_t address = c->idtr.base + e->vector * size;
	uint64_t d = access_read_system(c, cpu_long_mode(c) ? address : (uint32_t)address, 8);
	struct gate g = {
		.offset = (d & 0xffff) | (d >> 32 & 0xffff0000),
		.selector = (uint16_t)(d >> 16),
		.type = desc_type(d),
		.ist = d >> 32 & 7,
	};
	unsigned allowed = BIT(SYS_INT_GATE32) | BIT(SYS_TRAP_GATE32);
	if (!cpu_long_mode(c))
		allowed |= BIT(SYS_TASK_GATE) | BIT(SYS_INT_GATE16) | BIT(SYS_TRAP_GATE16);
	if (desc_s(d) || !(allowed >> g.type & 1))
		fault_gate(c, EXC_GP, e);
	if (e->kind == EVENT_SOFT && desc_dpl(d) < c->cpl)
		fault_gate(c, EXC_GP, e);
	if (!desc_present(d))
		fault_gate(c, EXC_NP, e);
	if (cpu_long_mode(c))
		g.offset |= access_read_system(c, address + 8, 4) << 32;
	else if (g.type == SYS_INT_GATE16 || g.type == SYS_TRAP_GATE16)
		g.offset &= 0xffff;
	return g;
}

/* The handler's code segment; *inner: the privilege level changes. */
static uint64_t check_handler_code(struct cpu *c, uint16_t selector, bool *inner)
{
	if (selector_null(selector))
		fault_gp0(c);
	uint64_t d = segment_fetch(c, selector, EXC_GP);
	if (!desc_is_code(d) || desc_dpl(d) > c->cpl)
		fault_selector(c, EXC_GP, selector);
	if (cpu_long_mode(c) && (!desc_l(d) || desc_db(d)))
		fault_selector(c, EXC_GP, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	*inner = !desc_is_conforming(d) && desc_dpl(d) < c->cpl;
	if (cpu_v86(c) && (!*inner || desc_dpl(d) != 0))
		fault_selector(c, EXC_GP, selector);
	return d;
}

/* The stack for an inner level from a 16- or 32-bit TSS. */
static struct stack legacy_inner_stack(struct cpu *c, unsigned cpl, uint16_t *selector, uint64_t *descriptor)
{
	uint64_t rsp = task_inner_stack(c, cpl, selector);
	if (selector_null(*selector))
		cpu_fault(c, EXC_TS, c->event_ext);
	*descriptor = segment_check_stack(c, *selector, cpl, EXC_TS);
	struct segment ss = cpu_unpack_descriptor(*selector, *descriptor);
	struct stack s = stack_new(c, &ss, rsp, cpl, false);
	s.error = (*selector & 0xfffcu) | c->event_ext;
	return s;
}

static void push_v86_segments(struct cpu *c, struct stack *s, unsigned size)
{
	static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		stack_put(c, s, c->seg[order[i]].selector, size);
}

static void deliver_legacy_gate(struct cpu *c, const struct event *e, const struct gate *g)
{
	bool inner, v86 = cpu_v86(c);
	uint64_t cs = check_handler_code(c, g->selector, &inner), ss = 0;
	unsigned size = g->type & 8 ? 4 : 2, cpl = inner ? desc_dpl(cs) : c->cpl;
	uint16_t ss_selector = 0;
	struct stack s = inner ? legacy_inner_stack(c, cpl, &ss_selector, &ss) : stack_current(c);
	if (v86)
		push_v86_segments(c, &s, size);
	if (inner) {
		stack_put(c, &s, c->seg[SEG_SS].selector, size);
		stack_put(c, &s, c->gpr[REG_RSP], size);
	}
	stack_put(c, &s, pushed_rflags(c, e), size);
	stack_put(c, &s, c->seg[SEG_CS].selector, size);
	stack_put(c, &s, c->gpr[REG_RIP], size);
	if (e->has_error)
		stack_put(c, &s, e->error, size);
	far_check_target(c, cs, g->offset);
	cs = segment_mark_accessed(c, g->selector, cs);
	if (inner) {
		ss = segment_mark_accessed(c, ss_selector, ss);
		c->seg[SEG_SS] = cpu_unpack_descriptor(ss_selector, ss);
	}
	c->gpr[REG_RSP] = s.rsp;
	if (v86) {
		for (unsigned i = SEG_ES; i <= SEG_GS; i++)
			if (i != SEG_CS && i != SEG_SS)
				c->seg[i] = (struct segment){ 0 };
	}
	far_set_cs(c, g->selector, cs, cpl, g->offset);
	enter_handler(c, e, !(g->type & 1));
}

static void deliver_long_gate(struct cpu *c, const struct event *e, const struct gate *g)
{
	bool inner;
	uint64_t cs = check_handler_code(c, g->selector, &inner);
	unsigned cpl = inner ? desc_dpl(cs) : c->cpl;
	uint16_t null;
	uint64_t rsp = g->ist ? task_interrupt_stack(c, g->ist) : inner ? task_inner_stack(c, cpl, &null) : c->gpr[REG_RSP];
	/* Compatibility mode's ESP of a 64-bit frame is 32 bits wide. */
	if (c->code_mode != ISA_MODE_64 && !g->ist && !inner)
		rsp &= c->stack_mask;
	if (!is_canonical(rsp))
		cpu_fault(c, EXC_SS, c->event_ext);
	struct stack s = stack_new(c, &c->seg[SEG_SS], rsp & ~0xfull, cpl, true);
	stack_put(c, &s, c->seg[SEG_SS].selector, 8);
	stack_put(c, &s, c->gpr[REG_RSP], 8);
	stack_put(c, &s, pushed_rflags(c, e), 8);
	stack_put(c, &s, c->seg[SEG_CS].selector, 8);
	stack_put(c, &s, c->gpr[REG_RIP], 8);
	if (e->has_error)
		stack_put(c, &s, e->error, 8);
	far_check_target(c, cs, g->offset);
	cs = segment_mark_accessed(c, g->selector, cs);
	if (inner)
		c->seg[SEG_SS] = (struct segment){ .selector = (uint16_t)cpl, .attributes = (uint16_t)(cpl << 5) };
	c->gpr[REG_RSP] = s.rsp;
	far_set_cs(c, g->selector, cs, cpl, g->offset);
	enter_handler(c, e, !(g->type & 1));
}

static void deliver_protected(struct cpu *c, const struct event *e)
{
	struct gate g = read_gate(c, e);
	if (g.type == SYS_TASK_GATE) {
		cpu_task_switch(c, g.selector, TASK_GATE, e->has_error, e->error);
		c->step_armed = c->rf_clear = c->interrupt_shadow = c->mov_ss_shadow = c->halted = false;
		if (e->kind == EVENT_NMI)
			c->nmi_blocked = true;
	} else if (cpu_long_mode(c)) {
		deliver_long_gate(c, e, &g);
	} else {
		deliver_legacy_gate(c, e, &g);
	}
}

void cpu_deliver(struct cpu *c, enum event_kind kind, unsigned vector, uint32_t error_code)
{
	struct event e = { .kind = kind, .vector = vector, .error = error_code };
	if (unlikely(c->event_hook != NULL))
		c->event_hook(c->event_opaque, c, kind, vector);
	e.has_error = kind == EVENT_EXCEPTION && vector < 32 && (VECTORS_WITH_ERROR >> vector & 1);
	if (kind == EVENT_EXTERNAL || kind == EVENT_NMI)
		c->stats.interrupts++;
	else if (vector < 32 && (kind != EVENT_SOFT || vector == EXC_BP || vector == EXC_OF))
		c->stats.exceptions[vector]++; /* INT 10h and the like are a BIOS's services */
	if (kind == EVENT_EXCEPTION && vector == EXC_DB) {
		c->dr[6] = (c->dr[6] & ~0xfull) | c->db_pending;
		c->dr[7] &= ~DR7_GD;
		c->db_pending = 0;
	}
	c->event_ext = kind != EVENT_SOFT && cpu_protected(c);
	if (cpu_protected(c))
		deliver_protected(c, &e);
	else
		deliver_real(c, &e);
	c->event_ext = 0;
}

/* Classes of SDM 3A, table 6-4. */
static bool is_contributory(unsigned vector)
{
	return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/* SDM 3A, table 6-5. */
static bool makes_double_fault(unsigned first, unsigned second)
{
	if (first == EXC_PF)
		return second == EXC_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

/* What cpu_take_events put off when the fault came out of it, and who watches every instruction. Most faults have neither. */
static void look_again(struct cpu *c)
{
	uint32_t signals = atomic_load(&c->signals);
	bool debug = c->debug_step || c->debug_breakpoints || c->debug_watchpoints || (c->dr[7] & DR7_ENABLES) || c->db_pending;
	if (signals || debug || (c->rflags & (FLAG_TF | FLAG_RF)))
		cpu_attention(c, signals | ATTN_STEP);
}

void cpu_deliver_fault(struct cpu *c)
{
	unsigned vector = c->fault_vector;
	uint32_t error = c->fault_error;
	if (c->delivering) {
		unsigned first = c->delivering - 1u;
		if (first == EXC_DF && (vector == EXC_PF || is_contributory(vector))) {
			c->delivering = 0;
			c->shutdown = true;
			cpu_attention(c, ATTN_EXIT);
			return;
		}
		if (makes_double_fault(first, vector)) {
			vector = EXC_DF;
			error = 0;
		}
	}
	c->delivering = (uint8_t)(vector + 1);
	cpu_deliver(c, EVENT_EXCEPTION, vector, error);
	c->delivering = 0;
	look_again(c);
}
