/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/fpu.h"
#include "cpu/host.h"
#include "cpu/select.h"

insn_exec *select_fpu(struct cpu *c, struct insn *insn)
{
	uint32_t attributes = isa_rows[insn->row].attributes;
	insn_exec *exec = select_fpu_save(c, insn);
	if (!exec)
		exec = select_xsave(c, insn);
	if (!exec && attributes & ROW_X87)
		exec = select_x87(c, insn);
	else if (!exec && attributes & (ROW_MMX | ROW_SSE | ROW_AVX))
		exec = select_host(c, insn);
	return exec;
}
