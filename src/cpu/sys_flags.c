/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"
#include "isa/op.h"

/* HLT, the interrupt flag, PUSHF and POPF, IN and OUT. */

static void exec_hlt(struct cpu *c, const struct insn *i)
{
	require_cpl0(c);
	c->halted = true;
	c->stats.halts++;
	cpu_attention(c, ATTN_EXIT);
}

/* CPL 0 in real mode, 3 in virtual-8086 mode: one comparison serves all modes. */
static void require_iopl(struct cpu *c)
{
	if (c->cpl > cpu_iopl(c))
		cpu_gp(c, 0);
}

static void exec_cli(struct cpu *c, const struct insn *i)
{
	require_iopl(c);
	cpu_set_if(c, false);
}

static void exec_sti(struct cpu *c, const struct insn *i)
{
	require_iopl(c);
	if (!(c->rflags & FLAG_IF)) {
		cpu_set_if(c, true);
		c->interrupt_shadow = true;
		cpu_attention(c, ATTN_SHADOW);
	}
}

static void exec_pushf(struct cpu *c, const struct insn *i)
{
	if (cpu_v86(c) && cpu_iopl(c) < 3)
		cpu_gp(c, 0);
	cpu_push(c, cpu_get_rflags(c) & ~(FLAG_VM | FLAG_RF), i->opsize);
}

static void exec_popf(struct cpu *c, const struct insn *i)
{
	uint64_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
	if (cpu_v86(c) && cpu_iopl(c) < 3)
		cpu_gp(c, 0);
	uint64_t image = stack_peek(c, 0, i->opsize);
	if (i->opsize > 2)
		mask |= FLAG_AC | FLAG_ID;
	if (c->cpl <= cpu_iopl(c))
		mask |= FLAG_IF;
	if (c->cpl == 0)
		mask |= FLAG_IOPL;
	c->gpr[REG_RSP] = stack_merge(c, c->gpr[REG_RSP] + i->opsize);
	cpu_set_rflags(c, (cpu_get_rflags(c) & ~mask) | (image & mask));
}

static unsigned port_size(const struct insn *i)
{
	return i->opcode & 1 ? i->opsize == 2 ? 2 : 4 : 1;
}

static uint16_t port_number(const struct cpu *c, const struct insn *i)
{
	return i->opcode & 8 ? (uint16_t)c->gpr[REG_RDX] : i->imm & 0xff;
}

static void exec_in(struct cpu *c, const struct insn *i)
{
	unsigned size = port_size(i);
	uint16_t port = port_number(c, i);
	cpu_check_io(c, port, size);
	uint64_t value = cpu_io_read(c, port, size);
	if (size == 4)
		c->gpr[REG_RAX] = (uint32_t)value;
	else
		c->gpr[REG_RAX] = (c->gpr[REG_RAX] & ~size_mask(size)) | (value & size_mask(size));
}

static void exec_out(struct cpu *c, const struct insn *i)
{
	unsigned size = port_size(i);
	uint16_t port = port_number(c, i);
	cpu_check_io(c, port, size);
	cpu_io_write(c, port, c->gpr[REG_RAX], size);
}

insn_exec *select_flags(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_HLT: return exec_hlt;
	case OP_CLI: return exec_cli;
	case OP_STI: return exec_sti;
	case OP_PUSHF: return exec_pushf;
	case OP_POPF: return exec_popf;
	case OP_IN: return exec_in;
	case OP_OUT: return exec_out;
	default: return NULL;
	}
}
