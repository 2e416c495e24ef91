/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/select.h"

static void exec_undefined(struct cpu *c, const struct insn *insn)
{
	cpu_ud(c);
}

void cpu_select(struct cpu *c, struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	insn->exec = NULL;
	if (cpu_has(c, (enum isa_feature)row->feature)) {
		insn->exec = select_integer(c, insn);
		if (!insn->exec)
			insn->exec = select_system(c, insn);
		if (!insn->exec)
			insn->exec = select_fpu(c, insn);
	}
	if (!insn->exec)
		insn->exec = exec_undefined;
}
