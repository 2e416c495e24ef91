/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/translator.h"

#include <stddef.h>

#include "base/util.h"

unsigned emit_gpr(struct translator *t, unsigned reg, unsigned scratch)
{
	if (reg == REG_RSP && t->unit->window) {
		emit_load(&t->e, scratch, WORD(stack));
		emit_lea(&t->e, scratch, (struct host_mem){ .base = REG_RSP, .index = (uint8_t)scratch, .disp = 1 });
		return scratch;
	}
	if (!scratch_register(reg))
		return reg;
	emit_load(&t->e, scratch, CPU_FIELD(gpr[reg]));
	return scratch;
}

static void add_segment(struct translator *t, struct host_mem *m, unsigned seg, unsigned a, unsigned b)
{
	emit_load(&t->e, b, CPU_FIELD(segment_base[seg]));
	if (m->base == HOST_NONE) {
		m->base = (uint8_t)b;
	} else {
		m->index = (uint8_t)b;
		emit_lea(&t->e, a, *m);
		*m = MEM_BASE(a, 0);
	}
}

struct host_mem emit_address_of(struct translator *t, const struct insn *i, unsigned a, unsigned b)
{
	struct emitter *e = &t->e;
	struct host_mem m = { .base = HOST_NONE, .index = HOST_NONE, .disp = i->disp };
	if (i->base == REG_RIP) {
		emit_guest_address(t, a, (int64_t)t->at[t->now] + i->length + i->disp);
		m = MEM_BASE(a, 0);
	} else if (i->base != REG_NONE) {
		m.base = (uint8_t)emit_gpr(t, i->base, a);
	}
	if (i->index != REG_NONE) {
		m.index = (uint8_t)emit_gpr(t, i->index, b);
		m.scale = i->scale;
	}
	if (i->adsize == 4) {
		emit_mem(e, 0, 0x8d, a, m);
		m = MEM_BASE(a, 0);
	}
	return m;
}

struct host_mem emit_linear(struct translator *t, const struct insn *i, unsigned a, unsigned b)
{
	struct host_mem m = emit_address_of(t, i, a, b);
	bool segment = i->seg == SEG_FS || i->seg == SEG_GS;
	if (m.index != HOST_NONE || (m.base == HOST_NONE && !segment)) {
		emit_lea(&t->e, a, m);
		m = MEM_BASE(a, 0);
	}
	if (segment)
		add_segment(t, &m, i->seg, a, b);
	return m;
}

static void pick(unsigned keep, unsigned *y, unsigned *a, unsigned *x)
{
	static const uint8_t scratch[] = { S_A, S_B, S_C };
	unsigned n = 0;
	while (n < 2 && keep >> scratch[n] & 1)
		n++;
	*y = scratch[n];
	*a = scratch[(n + 1) % 3];
	*x = scratch[(n + 2) % 3];
}

struct host_mem tlb_field(const struct translator *t, unsigned index, size_t field)
{
	size_t set = offsetof(struct cpu, tlbs) + t->set * TLB_SIZE * sizeof(struct tlb_entry);
	return (struct host_mem){ .base = (uint8_t)index, .index = HOST_NONE, .disp = (int32_t)(set + field), .cpu = true };
}

/* The page of the last byte against the entry of the first, as in cpu/access.h. */
void emit_tlb_check(struct translator *t, struct host_mem *m, unsigned size, unsigned access, unsigned x, unsigned y, struct thunk *thunk)
{
	_Static_assert(sizeof(struct tlb_entry) == 32 && TLB_SIZE == 1024, "the index is made by a shift and a mask");
	struct emitter *e = &t->e;
	struct host_mem last = *m;
	bool fits = last.disp <= INT32_MAX - (int32_t)(size - 1);
	last.disp += fits ? (int32_t)size - 1 : 0;
	emit_lea(e, x, last);
	if (!fits)
		emit_lea(e, x, MEM_BASE(x, size - 1));
	if (m->disp)
		emit_lea(e, y, *m);
	else
		emit_move(e, y, m->base);
	emit_reg(e, EMIT_W, 0xc1, 5, y);
	put8(e, GUEST_PAGE_SHIFT - 5);
	emit_reg(e, 0, 0x81, 4, y);
	put32(e, (TLB_SIZE - 1) << 5);
	emit_reg(e, EMIT_W, 0x81, 4, x);
	put32(e, (uint32_t)-GUEST_PAGE_SIZE);
	emit_mem(e, EMIT_W, 0x3b, x, tlb_field(t, y, access & ACCESS_W ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read)));
	jump_to_thunk(t, thunk, COND_NE);
	emit_load(e, y, tlb_field(t, y, offsetof(struct tlb_entry, addend)));
	m->index = (uint8_t)y;
	m->scale = 0;
}

/* rorx y, base, 32; movzx y, y16; mov y, [table + y * 8] */
void emit_window_bias(struct translator *t, unsigned y, unsigned base)
{
	struct emitter *e = &t->e;
	struct host_mem bias = { .base = HOST_NONE, .index = (uint8_t)y, .scale = 3,
				 .disp = (int32_t)(uintptr_t)mirror_table(t->jit, t->set) };
	emit_rotate_quietly(e, y, base, WINDOW_SHIFT);
	emit_reg(e, EMIT_0F, 0xb7, y, y);
	emit_load(e, y, bias);
}

static void window(struct translator *t, struct host_mem *m, unsigned y, struct thunk *thunk)
{
	emit_window_bias(t, y, m->base);
	thunk->record->window = true;
	m->index = (uint8_t)y;
	m->scale = 0;
}

static void reach(struct translator *t, struct host_mem *m, unsigned size, unsigned access, unsigned x, unsigned y, struct thunk *thunk)
{
	if (uses_windows(t))
		window(t, m, y, thunk);
	else
		emit_tlb_check(t, m, size, access, x, y, thunk);
}

void emit_check(struct translator *t, struct host_mem *m, unsigned size, unsigned access, unsigned keep, struct thunk *thunk)
{
	unsigned x, y, a;
	reuse_drop_registers(t, SCRATCH_MASK);
	pick(keep, &y, &a, &x);
	/* `a` is not needed here; of the two the one that is not to be kept, or at least not the base. */
	if ((keep >> x & 1) && (!(keep >> a & 1) || m->base == x))
		x = a;
	reach(t, m, size, access, x, y, thunk);
}

void emit_operand(struct translator *t, const struct insn *insn, unsigned size, unsigned access, unsigned keep,
		  struct thunk *thunk, struct host_mem *m)
{
	unsigned x, y, a;
	if (legacy(t)) {
		legacy_operand(t, insn, size, access, thunk, m);
		return;
	}
	if (stack_operand(t, insn)) {
		*m = MEM_BASE(REG_RSP, insn->disp);
		thunk->record->window = true;
		return;
	}
	reuse_drop_registers(t, SCRATCH_MASK);
	pick(keep, &y, &a, &x);
	*m = emit_linear(t, insn, a, y);
	if (m->base == y) { /* a segment base alone */
		emit_move(&t->e, a, y);
		m->base = (uint8_t)a;
	}
	reach(t, m, size, access, x, y, thunk);
	if (m->base == a && (keep >> a & 1)) {
		emit_lea(&t->e, y, *m);
		*m = MEM_BASE(y, 0);
	}
}
