/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"

/* Task-state segments (SDM 3A, chapter 8): inner stacks and task switches. */

/* 104 bytes of a 32-bit TSS, 44 of a 16-bit one; offsets of what is saved and loaded. */
struct tss_layout {
	unsigned size;      /* of a register */
	unsigned minimum;   /* least limit */
	unsigned eip, eflags, gpr, segment, segments, ldt;
};

static const struct tss_layout tss32 = {
	.size = 4, .minimum = 0x67, .eip = 0x20, .eflags = 0x24, .gpr = 0x28, .segment = 0x48, .segments = 6, .ldt = 0x60,
};
static const struct tss_layout tss16 = {
	.size = 2, .minimum = 0x2b, .eip = 0x0e, .eflags = 0x10, .gpr = 0x12, .segment = 0x22, .segments = 4, .ldt = 0x2a,
};
#define TSS32_CR3 0x1c
#define TSS32_TRAP 0x64

struct task {
	uint64_t gpr[8], eip, eflags, cr3;
	uint16_t segment[6], ldt;
	bool trap;
};

static bool tr_is_32bit(const struct cpu *c)
{
	return c->seg[SEG_TR].attributes & 8;
}

static uint64_t read_tss(struct cpu *c, unsigned offset, unsigned size)
{
	const struct segment *tr = &c->seg[SEG_TR];
	if (!(tr->attributes & SEGATTR_P) || offset + size - 1 > tr->limit)
		fault_selector(c, EXC_TS, tr->selector);
	uint64_t address = tr->base + offset;
	return access_read_system(c, cpu_long_mode(c) ? address : (uint32_t)address, size);
}

uint64_t task_inner_stack(struct cpu *c, unsigned cpl, uint16_t *ss)
{
	if (cpu_long_mode(c)) {
		*ss = (uint16_t)cpl;
		return read_tss(c, 4 + 8 * cpl, 8);
	}
	unsigned size = tr_is_32bit(c) ? 4 : 2;
	unsigned offset = size + 2 * size * cpl;
	*ss = (uint16_t)read_tss(c, offset + size, 2);
	return read_tss(c, offset, size);
}

uint64_t task_interrupt_stack(struct cpu *c, unsigned ist)
{
	return read_tss(c, 0x24 + 8 * (ist - 1), 8);
}

/* The descriptor of the task to switch to. */
static uint64_t check_tss(struct cpu *c, uint16_t selector, enum task_switch_kind kind)
{
	enum exception vector = kind == TASK_IRET ? EXC_TS : EXC_GP;
	if ((selector & 4) || selector_null(selector))
		fault_selector(c, vector, selector);
	uint64_t d = segment_fetch(c, selector, vector);
	unsigned wanted = kind == TASK_IRET ? SYS_TSS16_BUSY : SYS_TSS16;
	if (desc_s(d) || (desc_type(d) & 7) != wanted)
		fault_selector(c, vector, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	struct segment tss = cpu_unpack_descriptor(selector, d);
	if (tss.limit < (desc_type(d) & 8 ? tss32.minimum : tss16.minimum))
		fault_selector(c, EXC_TS, selector);
	return d;
}

static uint64_t get(struct cpu *c, uint64_t base, unsigned offset, unsigned size)
{
	return access_read_system(c, (uint32_t)(base + offset), size);
}

static void put(struct cpu *c, uint64_t base, unsigned offset, uint64_t value, unsigned size)
{
	access_write_system(c, (uint32_t)(base + offset), value, size);
}

static struct task read_task(struct cpu *c, uint64_t base, const struct tss_layout *l)
{
	struct task t = { .cr3 = c->cr3 };
	t.eip = get(c, base, l->eip, l->size);
	t.eflags = get(c, base, l->eflags, l->size);
	for (unsigned i = 0; i < 8; i++)
		t.gpr[i] = get(c, base, l->gpr + i * l->size, l->size) | (l->size == 2 ? 0xffff0000 : 0);
	for (unsigned i = 0; i < l->segments; i++)
		t.segment[i] = (uint16_t)get(c, base, l->segment + i * l->size, 2);
	t.ldt = (uint16_t)get(c, base, l->ldt, 2);
	if (l->size == 4) {
		t.cr3 = get(c, base, TSS32_CR3, 4);
		t.trap = get(c, base, TSS32_TRAP, 2) & 1;
	}
	return t;
}

static void save_task(struct cpu *c, const struct tss_layout *l, enum task_switch_kind kind)
{
	uint64_t base = c->seg[SEG_TR].base, rflags = cpu_get_rflags(c);
	if (kind == TASK_IRET)
		rflags &= ~FLAG_NT;
	put(c, base, l->eip, c->gpr[REG_RIP], l->size);
	put(c, base, l->eflags, rflags, l->size);
	for (unsigned i = 0; i < 8; i++)
		put(c, base, l->gpr + i * l->size, c->gpr[i], l->size);
	for (unsigned i = 0; i < l->segments; i++)
		put(c, base, l->segment + i * l->size, c->seg[i].selector, 2);
}

static void set_busy(struct cpu *c, uint16_t selector, uint64_t d, bool busy)
{
	uint64_t byte = (d >> 40 & 0xfd) | (busy ? 2 : 0);
	put(c, c->gdtr.base, (selector & 0xfff8u) + 5, byte, 1);
}

/* Touches what will be written, so that a page fault comes before any change. */
static void probe_tss(struct cpu *c, uint64_t base, unsigned first, unsigned last)
{
	put(c, base, first, get(c, base, first, 1), 1);
	put(c, base, last, get(c, base, last, 1), 1);
}

/* Segment registers of the new task; faults are the new task's (SDM 3A, table 8-1). */
static void load_task_code(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector))
		fault_selector(c, EXC_TS, selector);
	uint64_t d = segment_fetch(c, selector, EXC_TS);
	unsigned rpl = selector_rpl(selector);
	if (!desc_is_code(d) || (desc_is_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl))
		fault_selector(c, EXC_TS, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	c->seg[SEG_CS] = cpu_unpack_descriptor(selector, segment_mark_accessed(c, selector, d));
}

static void load_task_stack(struct cpu *c, uint16_t selector)
{
	if (selector_null(selector))
		fault_selector(c, EXC_TS, selector);
	uint64_t d = segment_check_stack(c, selector, c->cpl, EXC_TS);
	c->seg[SEG_SS] = cpu_unpack_descriptor(selector, segment_mark_accessed(c, selector, d));
}

static void load_task_data(struct cpu *c, unsigned seg, uint16_t selector)
{
	if (selector_null(selector))
		return;
	uint64_t d = segment_fetch(c, selector, EXC_TS);
	bool any_level = desc_is_code(d) && desc_is_conforming(d);
	if (!desc_is_readable(d) || (!any_level && (selector_rpl(selector) > desc_dpl(d) || c->cpl > desc_dpl(d))))
		fault_selector(c, EXC_TS, selector);
	if (!desc_present(d))
		fault_selector(c, EXC_NP, selector);
	c->seg[seg] = cpu_unpack_descriptor(selector, segment_mark_accessed(c, selector, d));
}

static void load_task_segments(struct cpu *c, const struct task *t)
{
	if (cpu_v86(c)) {
		for (unsigned i = SEG_ES; i <= SEG_GS; i++)
			cpu_load_segment_real(c, i, t->segment[i]);
		cpu_update_mode(c);
		return;
	}
	load_task_code(c, t->segment[SEG_CS]);
	cpu_update_mode(c);
	load_task_stack(c, t->segment[SEG_SS]);
	load_task_data(c, SEG_DS, t->segment[SEG_DS]);
	load_task_data(c, SEG_ES, t->segment[SEG_ES]);
	load_task_data(c, SEG_FS, t->segment[SEG_FS]);
	load_task_data(c, SEG_GS, t->segment[SEG_GS]);
	cpu_update_mode(c);
}

/* From here on faults are those of the new task: its selectors are in place, segments unusable until loaded. */
static void enter_task(struct cpu *c, const struct task *t, uint64_t eflags)
{
	c->insn = NULL;
	c->cr0 |= CR0_TS;
	c->dr[7] &= ~0x55ull; /* the local breakpoints end with the task */
	if ((c->cr0 & CR0_PG) && t->cr3 != c->cr3)
		cpu_set_cr3(c, t->cr3);
	for (unsigned i = 0; i < 8; i++)
		c->gpr[i] = t->gpr[i];
	c->gpr[REG_RIP] = t->eip;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		c->seg[i] = (struct segment){ .selector = t->segment[i] };
	c->cpl = eflags & FLAG_VM ? 3 : (uint8_t)selector_rpl(t->segment[SEG_CS]);
	c->seg[SEG_LDTR] = (struct segment){ .selector = t->ldt };
	cpu_set_rflags(c, eflags);
	cpu_update_mode(c);
	segment_load_ldtr(c, t->ldt, EXC_TS);
	load_task_segments(c, t);
}

static void push_error(struct cpu *c, unsigned size, uint32_t error)
{
	struct stack s = stack_current(c);
	stack_put(c, &s, error, size);
	c->gpr[REG_RSP] = s.rsp;
}

void cpu_task_switch(struct cpu *c, uint16_t selector, enum task_switch_kind kind, bool has_error, uint32_t error_code)
{
	uint64_t d = check_tss(c, selector, kind);
	const struct tss_layout *old = tr_is_32bit(c) ? &tss32 : &tss16, *new = desc_type(d) & 8 ? &tss32 : &tss16;
	struct segment *tr = &c->seg[SEG_TR], next = cpu_unpack_descriptor(selector, d);
	if (tr->limit < old->minimum)
		fault_selector(c, EXC_TS, tr->selector);
	uint64_t old_d = segment_fetch(c, tr->selector, EXC_TS);
	struct task t = read_task(c, next.base, new);
	bool nested = kind == TASK_CALL || kind == TASK_GATE;
	probe_tss(c, tr->base, old->eip, old->minimum);
	probe_tss(c, c->gdtr.base, (selector & 0xfff8u) + 5, (tr->selector & 0xfff8u) + 5);
	if (nested)
		probe_tss(c, next.base, 0, 1);

	save_task(c, old, kind);
	if (!nested)
		set_busy(c, tr->selector, old_d, false);
	uint64_t eflags = (t.eflags & ~FLAG_NT) | (nested ? FLAG_NT : t.eflags & FLAG_NT);
	if (nested)
		put(c, next.base, 0, tr->selector, 2);
	set_busy(c, selector, d, true);
	next.attributes |= 2;
	*tr = next;
	if (t.trap) {
		c->db_pending |= DR6_BT;
		cpu_attention(c, ATTN_STEP);
	}
	enter_task(c, &t, eflags);
	if (has_error)
		push_error(c, new->size, error_code);
	if (c->gpr[REG_RIP] > c->seg[SEG_CS].limit)
		cpu_gp(c, c->event_ext);
}
