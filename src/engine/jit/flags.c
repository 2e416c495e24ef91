/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/flags.h"

#include <stddef.h>

#include "base/util.h"
#include "engine/jit/translator.h"
#include "isa/op.h"
#include "isa/table.h"

uint16_t flags_read(const struct insn *insn)
{
	return isa_rows[insn->row].flags_read & FLAG_ARITH;
}

uint16_t flags_killed(const struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	if (insn->op == OP_MOV_CR || insn->op == OP_MOV_DR) /* undefined, but their functions leave them alone */
		return 0;
	return (row->flags_written | row->flags_undefined) & FLAG_ARITH;
}

/* Those without a memory operand that end no unit; of those that end one the flags are live anyway. */
static bool may_fault(const struct insn *i)
{
	switch (i->op) {
	case OP_PUSH: case OP_POP: case OP_PUSHF: case OP_ENTER: case OP_LEAVE: case OP_CALL: case OP_RET: case OP_XLAT: case OP_CLZERO:
	case OP_DIV: case OP_IDIV: case OP_FWAIT:
	case OP_RDTSC: case OP_RDTSCP: case OP_RDPMC: case OP_XGETBV:
	case OP_RDFSBASE: case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE:
	case OP_SMSW: case OP_SLDT: case OP_STR: case OP_IN: case OP_OUT:
		return true;
	default:
		return isa_rows[i->row].attributes & ROW_CPL0;
	}
}

bool flags_shown(const struct insn *i)
{
	if (i->mode != ISA_MODE_64 && !copy_harmless(i) && i->op != OP_JCC && i->op != OP_JMP)
		return true;
	return i->memory || may_fault(i) || (isa_rows[i->row].attributes & (ROW_SSE | ROW_AVX | ROW_MMX | ROW_X87 | ROW_REP));
}

#define LOOK_AHEAD 8

uint16_t flags_live_at(const uint8_t *bytes, unsigned room, unsigned mode)
{
	uint16_t live = 0, open = FLAG_ARITH;
	for (unsigned n = 0; n < LOOK_AHEAD && open; n++) {
		struct insn insn;
		int length = isa_decode(&insn, bytes, room, (enum isa_mode)mode);
		if (length < 0)
			break;
		live |= open & flags_read(&insn);
		if (flags_shown(&insn))
			break;
		open &= (uint16_t)~flags_killed(&insn);
		if (isa_rows[insn.row].attributes & ROW_ENDS) {
			if (insn.op != OP_JMP || insn.operand[0].kind != OPERAND_REL || open == 0)
				break;
			int64_t target = (int64_t)length + (int64_t)insn.imm;
			if (target < 0 || target >= (int64_t)room)
				break;
			length = (int)target;
		}
		bytes += length;
		room -= (unsigned)length;
	}
	return live | open;
}

/* lahf; seto al; mov [cc], ax */
void flags_emit_save(struct emitter *e, unsigned rax)
{
	put8(e, 0x9f);
	put8(e, 0x0f);
	put8(e, 0x90);
	put8(e, 0xc0);
	emit_mem(e, EMIT_66, 0x89, rax, CPU_FIELD(cc));
}

/* movzx eax, [cc]; add al, 127; sahf */
void flags_emit_load(struct emitter *e, unsigned rax)
{
	emit_mem(e, EMIT_0F, 0xb7, rax, CPU_FIELD(cc));
	put8(e, 0x04);
	put8(e, 127);
	put8(e, 0x9e);
}
