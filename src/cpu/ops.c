/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

insn_exec *select_integer(struct cpu *c, struct insn *insn)
{
	static insn_exec *(*const selectors[])(struct cpu *, struct insn *) = {
		ops_select_move, ops_select_alu, ops_select_branch, ops_select_stack, ops_select_unary, ops_select_shift,
		ops_select_condition, ops_select_bit, ops_select_muldiv, ops_select_string, ops_select_atomic, ops_select_bmi,
		ops_select_misc, ops_select_bcd,
	};
	for (unsigned n = 0; n < ARRAY_SIZE(selectors); n++) {
		insn_exec *exec = selectors[n](c, insn);
		if (exec)
			return exec;
	}
	return NULL;
}
