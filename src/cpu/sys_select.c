/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/select.h"
#include "cpu/system.h"

uint64_t sys_read_operand(struct cpu *c, const struct insn *i, const struct operand *o, unsigned size)
{
	if (o->kind == OPERAND_MEM)
		return access_read(c, operand_linear(c, i, size, ACCESS_R), size);
	return c->gpr[o->reg] & size_mask(size);
}

void sys_write_gpr(struct cpu *c, unsigned reg, uint64_t value, unsigned size)
{
	if (size == 2)
		c->gpr[reg] = (c->gpr[reg] & ~0xffffull) | (uint16_t)value;
	else
		c->gpr[reg] = value & size_mask(size);
}

void sys_write_operand(struct cpu *c, const struct insn *i, const struct operand *o, uint64_t value, unsigned size)
{
	if (o->kind == OPERAND_MEM)
		access_write(c, operand_linear(c, i, size, ACCESS_W), value, size);
	else
		sys_write_gpr(c, o->reg, value, size);
}

insn_exec *select_system(struct cpu *c, struct insn *insn)
{
	static insn_exec *(*const parts[])(struct cpu *, struct insn *) = {
		select_far, select_flags, select_segments, select_control, select_call,
	};
	insn_exec *exec = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(parts) && !exec; i++)
		exec = parts[i](c, insn);
	return exec;
}
