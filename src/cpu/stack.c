/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

struct stack stack_new(struct cpu *c, const struct segment *ss, uint64_t rsp, unsigned cpl, bool flat)
{
	return (struct stack){
		.ss = *ss,
		.rsp = rsp,
		.mask = flat ? ~0ull : ss->attributes & SEGATTR_DB ? 0xffffffff : 0xffff,
		.error = c->event_ext,
		.cpl = cpl,
		.flat = flat,
	};
}

struct stack stack_current(struct cpu *c)
{
	return stack_new(c, &c->seg[SEG_SS], c->gpr[REG_RSP], c->cpl, c->code_mode == ISA_MODE_64);
}

void stack_put(struct cpu *c, struct stack *s, uint64_t value, unsigned size)
{
	uint64_t offset = (s->rsp - size) & s->mask;
	if (s->flat ? !is_canonical(offset) || !is_canonical(offset + size - 1) : !segment_contains(&s->ss, offset, size))
		cpu_fault(c, EXC_SS, s->error);
	uint64_t linear = s->flat ? offset : (uint32_t)(s->ss.base + offset);
	if (s->cpl == c->cpl)
		access_write(c, linear, value, size);
	else
		cpu_write_as(c, s->cpl, linear, value, size);
	s->rsp = (s->rsp & ~s->mask) | offset;
}

uint64_t stack_peek(struct cpu *c, unsigned offset, unsigned size)
{
	uint64_t rsp = (c->gpr[REG_RSP] + offset) & c->stack_mask;
	if (c->code_mode == ISA_MODE_64 && (!is_canonical(rsp) || !is_canonical(rsp + size - 1)))
		cpu_fault(c, EXC_SS, 0);
	return access_read(c, linear_address(c, SEG_SS, rsp, size, ACCESS_R), size);
}
