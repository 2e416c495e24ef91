/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"
#include "isa/op.h"

/* Far transfers and software interrupts; the work is in far.c, iret.c and exception.c. */

/* The far pointer of the operand: immediate, or m16:16, m16:32, m16:64. */
static uint64_t far_pointer(struct cpu *c, const struct insn *i, uint16_t *selector)
{
	if (i->operand[0].kind == OPERAND_FAR) {
		*selector = (uint16_t)(i->imm2 | i->imm2_hi << 8);
		return i->imm;
	}
	uint64_t ea = effective_address(c, i);
	uint64_t linear = linear_address(c, i->seg, ea, i->opsize + 2u, ACCESS_R);
	uint64_t offset = access_read(c, linear, i->opsize);
	*selector = access_read16(c, linear + i->opsize);
	return offset;
}

static void exec_jmpf(struct cpu *c, const struct insn *i)
{
	uint16_t selector;
	uint64_t offset = far_pointer(c, i, &selector);
	cpu_far_jump(c, selector, offset, i->opsize);
}

static void exec_callf(struct cpu *c, const struct insn *i)
{
	uint16_t selector;
	uint64_t offset = far_pointer(c, i, &selector);
	cpu_far_call(c, selector, offset, i->opsize);
}

static void exec_retf(struct cpu *c, const struct insn *i)
{
	cpu_far_return(c, i->opsize, i->opcode == 0xca ? (uint16_t)i->imm : 0);
}

static void exec_iret(struct cpu *c, const struct insn *i)
{
	cpu_iret(c, i->opsize);
}

/* INT n in virtual-8086 mode needs IOPL 3; INT3 and INTO do not (SDM 3B, 20.3.3). */
static void exec_int(struct cpu *c, const struct insn *i)
{
	if (cpu_v86(c) && cpu_iopl(c) < 3)
		cpu_gp(c, 0);
	cpu_deliver(c, EVENT_SOFT, i->imm & 0xff, 0);
}

static void exec_int3(struct cpu *c, const struct insn *i)
{
	cpu_deliver(c, EVENT_SOFT, EXC_BP, 0);
}

static void exec_into(struct cpu *c, const struct insn *i)
{
	if (c->cc & CC_OF)
		cpu_deliver(c, EVENT_SOFT, EXC_OF, 0);
}

static void exec_int1(struct cpu *c, const struct insn *i)
{
	cpu_deliver(c, EVENT_ICEBP, EXC_DB, 0);
}

insn_exec *select_far(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_JMPF: return exec_jmpf;
	case OP_CALLF: return exec_callf;
	case OP_RETF: return exec_retf;
	case OP_IRET: return exec_iret;
	case OP_INT: return exec_int;
	case OP_INT3: return exec_int3;
	case OP_INTO: return exec_into;
	case OP_INT1: return exec_int1;
	default: return NULL;
	}
}
