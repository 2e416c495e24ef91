/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/jit/flags.h"

#include <stddef.h>

#include "base/util.h"
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

bool flags_shown(const struct insn *i)
{
	bool stack = i->op == OP_PUSH || i->op == OP_POP || i->op == OP_CALL || i->op == OP_RET || i->op == OP_LEAVE;
	bool may_fault = i->op == OP_DIV || i->op == OP_IDIV || i->op == OP_FWAIT;
	bool forbidden = i->op == OP_RDTSC || i->op == OP_RDTSCP || i->op == OP_RDFSBASE || i->op == OP_RDGSBASE || i->op == OP_WRFSBASE ||
			 i->op == OP_WRGSBASE || i->op == OP_IN || i->op == OP_OUT || i->op == OP_WRMSR || i->op == OP_RDMSR ||
			 (i->op == OP_MOV_CR && i->operand[0].kind == OPERAND_CR);
	return i->memory || stack || may_fault || forbidden || (isa_rows[i->row].attributes & (ROW_SSE | ROW_AVX | ROW_MMX | ROW_X87 | ROW_REP));
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
	emit_mem(e, EMIT_66, 0x89, rax, GS_FIELD(cc));
}

/* movzx eax, [cc]; add al, 127; sahf */
void flags_emit_load(struct emitter *e, unsigned rax)
{
	emit_mem(e, EMIT_0F, 0xb7, rax, GS_FIELD(cc));
	put8(e, 0x04);
	put8(e, 127);
	put8(e, 0x9e);
}
