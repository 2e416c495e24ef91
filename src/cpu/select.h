/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_SELECT_H
#define VISOR_CPU_SELECT_H

#include "cpu/cpu.h"
#include "isa/op.h"
#include "isa/table.h"

/* Each part of the instruction set offers its functions: NULL when the instruction is not its own. May set insn->aux. */
insn_exec *select_integer(struct cpu *c, struct insn *insn); /* ops_*.c: ISA_OPS_INTEGER */
insn_exec *select_system(struct cpu *c, struct insn *insn);  /* sys_*.c: ISA_OPS_SYSTEM but the FPU state group */
insn_exec *select_fpu(struct cpu *c, struct insn *insn);     /* fpu*.c: x87, MMX, SSE, AVX, FXSAVE, XSAVE, ... (rows with ROW_HOST) */

#endif
