/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/select.h"

static void exec_undefined(struct cpu *c, const struct insn *insn)
{
	cpu_ud(c);
}

/* Opcodes that a processor without the feature runs as an older instruction or a NOP instead of raising #UD: F3 is
 * ignored before BSF, BSR and WBINVD; the prefetch and CLDEMOTE opcodes are reserved NOPs. */
static bool degrades(unsigned op)
{
	switch (op) {
	case OP_LZCNT:
	case OP_TZCNT:
	case OP_WBNOINVD:
	case OP_PREFETCH:
	case OP_PREFETCHW:
	case OP_CLDEMOTE:
		return true;
	default:
		return false;
	}
}

void cpu_select(struct cpu *c, struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	insn->exec = NULL;
	if (cpu_has(c, (enum isa_feature)row->feature) || degrades(insn->op)) {
		insn->exec = select_integer(c, insn);
		if (!insn->exec)
			insn->exec = select_system(c, insn);
		if (!insn->exec)
			insn->exec = select_fpu(c, insn);
	}
	if (!insn->exec)
		insn->exec = exec_undefined;
}
