/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/flags.h"
#include "cpu/system.h"
#include "isa/op.h"

/* Segment registers, descriptor-table registers, and the instructions that look at descriptors. */

static void set_mov_ss_shadow(struct cpu *c)
{
	c->interrupt_shadow = c->mov_ss_shadow = true;
	cpu_attention(c, ATTN_SHADOW);
}

static void exec_mov_to_seg(struct cpu *c, const struct insn *i)
{
	unsigned seg = i->operand[0].reg;
	if (seg == SEG_CS || seg > SEG_GS)
		cpu_ud(c);
	cpu_load_segment(c, seg, (uint16_t)sys_read_operand(c, i, &i->operand[1], 2));
	if (seg == SEG_SS)
		set_mov_ss_shadow(c);
}

/* A register takes the selector zero-extended to the operand size, memory always 16 bits. */
static void exec_mov_from_seg(struct cpu *c, const struct insn *i)
{
	unsigned seg = i->operand[1].reg;
	if (seg > SEG_GS)
		cpu_ud(c);
	sys_write_operand(c, i, &i->operand[0], c->seg[seg].selector, i->operand[0].kind == OPERAND_MEM ? 2 : i->opsize);
}

/* Only 16 bits are written; the stack pointer moves by the operand size (as processors do since the Pentium). */
static void exec_push_seg(struct cpu *c, const struct insn *i)
{
	uint64_t rsp = c->gpr[REG_RSP] - i->opsize;
	uint16_t selector = c->seg[i->operand[0].reg].selector;
	if (i->opsize == 8)
		access_write64(c, stack_linear(c, rsp, 8, ACCESS_W), selector);
	else
		access_write16(c, stack_linear(c, rsp, 2, ACCESS_W), selector);
	c->gpr[REG_RSP] = stack_merge(c, rsp);
}

static void exec_pop_seg(struct cpu *c, const struct insn *i)
{
	unsigned seg = i->operand[0].reg;
	uint64_t rsp = stack_merge(c, c->gpr[REG_RSP] + i->opsize);
	cpu_load_segment(c, seg, (uint16_t)stack_peek(c, 0, i->opsize == 8 ? 8 : 2));
	/* The new SS may have another size: RSP was worked out with the old one. */
	c->gpr[REG_RSP] = rsp;
	if (seg == SEG_SS)
		set_mov_ss_shadow(c);
}

static void exec_load_far_pointer(struct cpu *c, const struct insn *i)
{
	static const uint8_t segments[] = {
		[OP_LDS - OP_LDS] = SEG_DS, [OP_LES - OP_LDS] = SEG_ES, [OP_LFS - OP_LDS] = SEG_FS,
		[OP_LGS - OP_LDS] = SEG_GS, [OP_LSS - OP_LDS] = SEG_SS,
	};
	uint64_t linear = operand_linear(c, i, i->opsize + 2u, ACCESS_R);
	uint64_t offset = access_read(c, linear, i->opsize);
	uint16_t selector = access_read16(c, linear + i->opsize);
	cpu_load_segment(c, segments[i->op - OP_LDS], selector);
	sys_write_gpr(c, i->operand[0].reg, offset, i->opsize);
}

/* SGDT, SIDT, SLDT, STR and SMSW are for the system alone when CR4.UMIP says so. */
static void check_umip(struct cpu *c)
{
	if ((c->cr4 & CR4_UMIP) && c->cpl)
		cpu_gp(c, 0);
}

static struct table_register *table_of(struct cpu *c, const struct insn *i)
{
	return i->op == OP_LGDT || i->op == OP_SGDT ? &c->gdtr : &c->idtr;
}

static void exec_load_table(struct cpu *c, const struct insn *i)
{
	bool wide = i->mode == ISA_MODE_64;
	require_cpl0(c);
	uint64_t linear = operand_linear(c, i, wide ? 10 : 6, ACCESS_R);
	uint16_t limit = access_read16(c, linear);
	uint64_t base = access_read(c, linear + 2, wide ? 8 : 4);
	if (!wide && i->opsize == 2)
		base &= 0xffffff;
	if (wide && !is_canonical(base))
		cpu_gp(c, 0);
	*table_of(c, i) = (struct table_register){ .base = base, .limit = limit };
}

/* All 32 bits of the base are stored with either operand size, as processors since the 386 do. */
static void exec_store_table(struct cpu *c, const struct insn *i)
{
	bool wide = i->mode == ISA_MODE_64;
	check_umip(c);
	struct table_register table = *table_of(c, i);
	uint64_t linear = operand_linear(c, i, wide ? 10 : 6, ACCESS_W);
	access_probe(c, linear, wide ? 10 : 6, true);
	access_write16(c, linear, table.limit);
	access_write(c, linear + 2, table.base, wide ? 8 : 4);
}

static void exec_load_system(struct cpu *c, const struct insn *i)
{
	require_protected(c);
	require_cpl0(c);
	uint16_t selector = (uint16_t)sys_read_operand(c, i, &i->operand[0], 2);
	if (i->op == OP_LLDT)
		segment_load_ldtr(c, selector, EXC_GP);
	else
		segment_load_tr(c, selector);
}

static void store_word(struct cpu *c, const struct insn *i, uint64_t value)
{
	sys_write_operand(c, i, &i->operand[0], value, i->operand[0].kind == OPERAND_MEM ? 2 : i->opsize);
}

static void exec_store_system(struct cpu *c, const struct insn *i)
{
	require_protected(c);
	check_umip(c);
	store_word(c, i, c->seg[i->op == OP_SLDT ? SEG_LDTR : SEG_TR].selector);
}

static void exec_smsw(struct cpu *c, const struct insn *i)
{
	check_umip(c);
	store_word(c, i, c->cr0);
}

/* LMSW can set PE but not clear it. */
static void exec_lmsw(struct cpu *c, const struct insn *i)
{
	require_cpl0(c);
	uint64_t value = sys_read_operand(c, i, &i->operand[0], 2);
	uint64_t mask = CR0_MP | CR0_EM | CR0_TS | (value & CR0_PE);
	cpu_set_cr0(c, (c->cr0 & ~mask) | (value & mask));
}

static void set_zf(struct cpu *c, bool on)
{
	c->cc = (uint16_t)(on ? c->cc | CC_ZF : c->cc & ~CC_ZF);
}

/* The descriptor when it may be seen from CPL and RPL; types: which system types LAR or LSL accepts. */
static bool visible_descriptor(struct cpu *c, uint16_t selector, unsigned types, uint64_t *d)
{
	if (selector_null(selector) || !cpu_read_descriptor(c, selector, d))
		return false;
	if (!desc_s(*d) && !(types >> desc_type(*d) & 1))
		return false;
	if (desc_is_code(*d) && desc_is_conforming(*d))
		return true;
	return desc_dpl(*d) >= c->cpl && desc_dpl(*d) >= selector_rpl(selector);
}

#define TYPES_WITH_LIMIT_LONG (BIT(SYS_LDT) | BIT(SYS_TSS32) | BIT(SYS_TSS32_BUSY))
#define TYPES_WITH_LIMIT (TYPES_WITH_LIMIT_LONG | BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY))
#define TYPES_FOR_LAR_LONG (TYPES_WITH_LIMIT_LONG | BIT(SYS_CALL_GATE32))
#define TYPES_FOR_LAR (TYPES_WITH_LIMIT | BIT(SYS_CALL_GATE16) | BIT(SYS_CALL_GATE32) | BIT(SYS_TASK_GATE))

static void exec_lar(struct cpu *c, const struct insn *i)
{
	uint64_t d;
	require_protected(c);
	uint16_t selector = (uint16_t)sys_read_operand(c, i, &i->operand[1], 2);
	bool ok = visible_descriptor(c, selector, cpu_long_mode(c) ? TYPES_FOR_LAR_LONG : TYPES_FOR_LAR, &d);
	if (ok)
		sys_write_gpr(c, i->operand[0].reg, d >> 32 & 0xffff00, i->opsize);
	set_zf(c, ok);
}

static void exec_lsl(struct cpu *c, const struct insn *i)
{
	uint64_t d;
	require_protected(c);
	uint16_t selector = (uint16_t)sys_read_operand(c, i, &i->operand[1], 2);
	bool ok = visible_descriptor(c, selector, cpu_long_mode(c) ? TYPES_WITH_LIMIT_LONG : TYPES_WITH_LIMIT, &d);
	if (ok)
		sys_write_gpr(c, i->operand[0].reg, cpu_unpack_descriptor(0, d).limit, i->opsize);
	set_zf(c, ok);
}

static void exec_verify(struct cpu *c, const struct insn *i)
{
	uint64_t d;
	require_protected(c);
	uint16_t selector = (uint16_t)sys_read_operand(c, i, &i->operand[0], 2);
	bool ok = visible_descriptor(c, selector, 0, &d);
	set_zf(c, ok && (i->op == OP_VERR ? desc_is_readable(d) : desc_is_writable(d)));
}

static void exec_arpl(struct cpu *c, const struct insn *i)
{
	require_protected(c);
	unsigned rpl = c->gpr[i->operand[1].reg] & 3;
	uint16_t selector = (uint16_t)sys_read_operand(c, i, &i->operand[0], 2);
	bool lower = selector_rpl(selector) < rpl;
	if (lower)
		sys_write_operand(c, i, &i->operand[0], (selector & 0xfffcu) | rpl, 2);
	else if (i->operand[0].kind == OPERAND_MEM)
		access_probe(c, operand_linear(c, i, 2, ACCESS_RW), 2, true);
	set_zf(c, lower);
}

insn_exec *select_segments(struct cpu *c, struct insn *insn)
{
	switch (insn->op) {
	case OP_MOV_SEG: return insn->operand[0].kind == OPERAND_SEG ? exec_mov_to_seg : exec_mov_from_seg;
	case OP_PUSH_SEG: return exec_push_seg;
	case OP_POP_SEG: return exec_pop_seg;
	case OP_LDS: case OP_LES: case OP_LFS: case OP_LGS: case OP_LSS: return exec_load_far_pointer;
	case OP_LGDT: case OP_LIDT: return exec_load_table;
	case OP_SGDT: case OP_SIDT: return exec_store_table;
	case OP_LLDT: case OP_LTR: return exec_load_system;
	case OP_SLDT: case OP_STR: return exec_store_system;
	case OP_LMSW: return exec_lmsw;
	case OP_SMSW: return exec_smsw;
	case OP_LAR: return exec_lar;
	case OP_LSL: return exec_lsl;
	case OP_VERR: case OP_VERW: return exec_verify;
	case OP_ARPL: return exec_arpl;
	default: return NULL;
	}
}
