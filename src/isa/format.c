/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "isa/insn.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "isa/op.h"
#include "isa/operand.h"
#include "isa/table.h"

struct text {
	char *out;
	size_t size, length; /* length: what the whole text needs */
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	bool room = t->length < t->size;
	int n = vsnprintf(room ? t->out + t->length : NULL, room ? t->size - t->length : 0, format, args);
	va_end(args);
	if (n > 0)
		t->length += (size_t)n;
}

/* A suffix by size in bytes 1, 2, 4, 8, where the assembler's name has one. */
struct sized_name {
	uint16_t op;
	const char *name[4];
};

static const struct sized_name by_operand_size[] = {
	{ OP_MOVS, { "movsb", "movsw", "movsd", "movsq" } },
	{ OP_CMPS, { "cmpsb", "cmpsw", "cmpsd", "cmpsq" } },
	{ OP_STOS, { "stosb", "stosw", "stosd", "stosq" } },
	{ OP_LODS, { "lodsb", "lodsw", "lodsd", "lodsq" } },
	{ OP_SCAS, { "scasb", "scasw", "scasd", "scasq" } },
	{ OP_INS, { "insb", "insw", "insd", "insd" } },
	{ OP_OUTS, { "outsb", "outsw", "outsd", "outsd" } },
	{ OP_CBW, { "", "cbw", "cwde", "cdqe" } },
	{ OP_CWD, { "", "cwd", "cdq", "cqo" } },
	{ OP_PUSHA, { "", "pusha", "pushad", "" } },
	{ OP_POPA, { "", "popa", "popad", "" } },
	{ OP_PUSHF, { "", "pushf", "pushfd", "pushfq" } },
	{ OP_POPF, { "", "popf", "popfd", "popfq" } },
	{ OP_IRET, { "", "iret", "iretd", "iretq" } },
};

static const uint16_t named_with_rex_w[] = { /* "fxsave64" */
	OP_FXSAVE, OP_FXRSTOR, OP_XSAVE, OP_XSAVEOPT, OP_XSAVEC, OP_XSAVES, OP_XRSTOR, OP_XRSTORS,
};

static unsigned size_index(unsigned size)
{
	return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

static const char *const conditions[16] = {
	"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g",
};

static const char *prefetch_name(const struct insn *i)
{
	static const char *const level[4] = { "prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2" };
	unsigned reg = i->modrm >> 3 & 7;
	if (i->opcode == 0x18)
		return level[reg & 3];
	return reg == 2 ? "prefetchwt1" : "prefetch";
}

static void put_mnemonic(struct text *t, const struct insn *i)
{
	static const char *const jcxz[3] = { "jcxz", "jecxz", "jrcxz" };
	const char *name = isa_rows[i->row].mnemonic;
	switch (i->op) {
	case OP_JCC: case OP_SETCC: case OP_CMOVCC:
		put(t, "%s%s", name, conditions[i->opcode & 15]);
		return;
	case OP_JCXZ:
		put(t, "%s", jcxz[size_index(i->adsize) - 1]);
		return;
	case OP_PREFETCH:
		put(t, "%s", prefetch_name(i));
		return;
	case OP_ENDBR:
		put(t, "%s", i->modrm == 0xfb ? "endbr32" : "endbr64");
		return;
	}
	for (unsigned n = 0; n < sizeof(by_operand_size) / sizeof(by_operand_size[0]); n++)
		if (by_operand_size[n].op == i->op) {
			put(t, "%s", by_operand_size[n].name[size_index(i->opsize)]);
			return;
		}
	put(t, "%s", name);
	for (unsigned n = 0; n < sizeof(named_with_rex_w) / sizeof(named_with_rex_w[0]); n++)
		if (named_with_rex_w[n] == i->op && (i->prefixes & PREFIX_REX_W))
			put(t, "64");
}

static void put_prefixes(struct text *t, const struct insn *i)
{
	if (i->prefixes & PREFIX_LOCK)
		put(t, "lock ");
	if (!(isa_rows[i->row].attributes & ROW_REP))
		return;
	bool compares = i->op == OP_CMPS || i->op == OP_SCAS;
	if (i->prefixes & PREFIX_REP)
		put(t, compares ? "repe " : "rep ");
	else if (i->prefixes & PREFIX_REPNE)
		put(t, "repne ");
}

static const char *const segment_names[6] = { "es", "cs", "ss", "ds", "fs", "gs" };

static void put_gpr(struct text *t, unsigned reg, unsigned size)
{
	static const char *const legacy[8] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
	static const char *const low[8] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
	static const char *const high[4] = { "ah", "ch", "dh", "bh" };
	if (reg >= 16)
		put(t, "%s", size == 1 && reg < 20 ? high[reg - 16] : "?");
	else if (reg >= 8)
		put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
	else if (size == 1)
		put(t, "%s", low[reg]);
	else
		put(t, "%s%s", size == 2 ? "" : size == 4 ? "e" : "r", legacy[reg]);
}

static void put_vector(struct text *t, unsigned reg, unsigned size)
{
	put(t, "%cmm%u", size == 64 ? 'z' : size == 32 ? 'y' : 'x', reg);
}

static const char *size_name(unsigned size)
{
	switch (size) {
	case 1: return "byte ptr ";
	case 2: return "word ptr ";
	case 4: return "dword ptr ";
	case 6: return "fword ptr ";
	case 8: return "qword ptr ";
	case 10: return "tbyte ptr ";
	case 16: return "xmmword ptr ";
	case 32: return "ymmword ptr ";
	case 64: return "zmmword ptr ";
	default: return "";
	}
}

static void put_signed(struct text *t, int64_t v, bool plus)
{
	if (v < 0)
		put(t, "-0x%" PRIx64, 0 - (uint64_t)v);
	else
		put(t, "%s0x%" PRIx64, plus ? "+" : "", (uint64_t)v);
}

static unsigned default_segment(const struct insn *i)
{
	return i->base == REG_RSP || i->base == REG_RBP ? SEG_SS : SEG_DS;
}

static void put_index(struct text *t, const struct insn *i)
{
	if (i->base != REG_NONE)
		put(t, "+");
	if (isa_rows[i->row].attributes & ROW_VSIB)
		put_vector(t, i->index, isa_vsib_index_size(i));
	else
		put_gpr(t, i->index, i->adsize);
	if (i->adsize != 2)
		put(t, "*%u", 1u << i->scale);
}

static void put_memory(struct text *t, const struct insn *i, const struct operand *o, uint64_t ip)
{
	bool vsib = isa_rows[i->row].attributes & ROW_VSIB; /* its index 16 is a register, not REG_NONE */
	put(t, "%s", size_name(o->size));
	if (i->seg != default_segment(i))
		put(t, "%s:", segment_names[i->seg]);
	put(t, "[");
	if (!vsib && i->base == REG_NONE && i->index == REG_NONE) {
		uint64_t offset = i->adsize == 8 ? (uint64_t)(int64_t)i->disp : (uint32_t)i->disp;
		bool moffs = i->modrm == 0 && i->map == 0 && (i->opcode & 0xfc) == 0xa0;
		put(t, "0x%" PRIx64 "]", moffs ? i->imm : i->adsize == 2 ? (uint16_t)offset : offset);
		return;
	}
	if (i->base == REG_RIP)
		put(t, i->adsize == 8 ? "rip" : "eip");
	else if (i->base != REG_NONE)
		put_gpr(t, i->base, i->adsize);
	if (vsib || i->index != REG_NONE)
		put_index(t, i);
	if (i->disp)
		put_signed(t, i->disp, true);
	put(t, "]");
	if (i->base == REG_RIP && ip)
		put(t, " <0x%" PRIx64 ">", ip + i->length + (uint64_t)(int64_t)i->disp);
}

static void put_immediate(struct text *t, const struct insn *i, const struct operand *o, bool second)
{
	uint64_t v = second ? i->imm2 : i->imm;
	if ((int64_t)v < 0 && o->size < 8)
		put_signed(t, (int64_t)v, false);
	else
		put(t, "0x%" PRIx64, v);
}

static void put_target(struct text *t, const struct insn *i, uint64_t ip)
{
	uint64_t target = ip + i->length + i->imm;
	if (i->mode != ISA_MODE_64)
		target &= i->opsize == 2 ? 0xffff : 0xffffffff;
	put(t, "0x%" PRIx64, target);
}

static void put_operand(struct text *t, const struct insn *i, const struct operand *o, uint64_t ip, bool second)
{
	switch (o->kind) {
	case OPERAND_GPR: put_gpr(t, o->reg, o->size); break;
	case OPERAND_MEM: put_memory(t, i, o, ip); break;
	case OPERAND_IMM: put_immediate(t, i, o, second); break;
	case OPERAND_REL: put_target(t, i, ip); break;
	case OPERAND_FAR: put(t, "0x%x:0x%" PRIx64, (unsigned)(i->imm2 | i->imm2_hi << 8), i->imm); break;
	case OPERAND_SEG: put(t, "%s", segment_names[o->reg]); break;
	case OPERAND_CR: put(t, "cr%u", o->reg); break;
	case OPERAND_DR: put(t, "dr%u", o->reg); break;
	case OPERAND_ST: put(t, "st(%u)", o->reg); break;
	case OPERAND_MMX: put(t, "mm%u", o->reg); break;
	case OPERAND_VEC: put_vector(t, o->reg, o->size); break;
	case OPERAND_MASK: put(t, "k%u", o->reg); break;
	}
}

unsigned isa_vsib_index_size(const struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	bool half = row->operand[0] == OPERAND_TYPE_MeX2 || row->operand[1] == OPERAND_TYPE_MeX2;
	return half && insn->vl > 16 ? insn->vl / 2u : insn->vl;
}

unsigned isa_broadcast_count(const struct insn *insn)
{
	const struct isa_row *row = &isa_rows[insn->row];
	unsigned whole = row->operand[insn->memory - 1] == OPERAND_TYPE_Wx2 ? insn->vl / 2u : insn->vl;
	return whole / insn->operand[insn->memory - 1].size;
}

/* EVEX: what follows the first operand, a broadcast memory operand, and all operands. */
static void put_evex(struct text *t, const struct insn *i, unsigned n)
{
	if (n == 0 && i->mask)
		put(t, " {k%u}%s", i->mask, i->evex & EVEX_Z ? "{z}" : "");
	if (i->memory == n + 1 && (i->evex & EVEX_B))
		put(t, "{1to%u}", isa_broadcast_count(i));
}

static void put_rounding(struct text *t, const struct insn *i)
{
	static const char *const mode[4] = { "rn", "rd", "ru", "rz" };
	if (!(i->evex & EVEX_B) || i->memory)
		return;
	if (isa_rows[i->row].attributes & ROW_ER)
		put(t, ", {%s-sae}", mode[i->evex >> EVEX_RC_SHIFT & 3]);
	else if (isa_rows[i->row].attributes & ROW_SAE)
		put(t, ", {sae}");
}

int isa_format(char *text, size_t size, const struct insn *insn, uint64_t ip)
{
	struct text t = { .out = text, .size = size };
	bool second = false;
	if (size)
		text[0] = 0;
	put_prefixes(&t, insn);
	put_mnemonic(&t, insn);
	for (unsigned n = 0; n < 4 && insn->operand[n].kind; n++) {
		put(&t, n ? ", " : " ");
		put_operand(&t, insn, &insn->operand[n], ip, second);
		second |= insn->operand[n].kind == OPERAND_IMM;
		if (insn->encoding == ENC_EVEX)
			put_evex(&t, insn, n);
	}
	if (insn->encoding == ENC_EVEX)
		put_rounding(&t, insn);
	return (int)t.length;
}
