/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * MUL IMUL DIV IDIV (SDM 2A, 2B). The host computes; a quotient that does not
 * fit is found before, so that #DE is raised here and never by the host.
 */

/* IMUL Gv,Ev and Gv,Ev,imm. */
#define IMUL_SIZE(bits, suffix) \
INLINE uint##bits##_t host_imul##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b) \
{ \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD "imul" suffix " %2, %0\n\t" FLAGS_SAVE : "+r"(a), "+&a"(cc) : "r"(b) : "cc"); \
	c->cc = cc; \
	return a; \
} \
static void imul_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	set_reg##bits(c, d, host_imul##bits(c, reg##bits(c, d), reg##bits(c, i->operand[1].reg))); \
} \
static void imul_rm##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	uint##bits##_t b = mem_read##bits(c, i); \
	set_reg##bits(c, d, host_imul##bits(c, reg##bits(c, d), b)); \
} \
static void imul_rri##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, host_imul##bits(c, reg##bits(c, i->operand[1].reg), (uint##bits##_t)i->imm)); \
} \
static void imul_rmi##bits(struct cpu *c, const struct insn *i) \
{ \
	uint##bits##_t a = mem_read##bits(c, i); \
	set_reg##bits(c, i->operand[0].reg, host_imul##bits(c, a, (uint##bits##_t)i->imm)); \
}

IMUL_SIZE(16, "w")
IMUL_SIZE(32, "l")
IMUL_SIZE(64, "q")

static insn_exec *const imul[2][2][4] = {
	{ { NULL, imul_rr16, imul_rr32, imul_rr64 }, { NULL, imul_rm16, imul_rm32, imul_rm64 } },
	{ { NULL, imul_rri16, imul_rri32, imul_rri64 }, { NULL, imul_rmi16, imul_rmi32, imul_rmi64 } },
};

/* The E operand of the one-operand forms, wherever the row puts it. */
INLINE unsigned source_operand(const struct insn *i)
{
	return i->memory ? i->memory - 1u : i->operand[1].kind == OPERAND_GPR ? 1 : 0;
}

INLINE void commit8(struct cpu *c, uint64_t rax, uint64_t rdx)
{
	set_reg16(c, REG_RAX, (uint16_t)rax);
}

#define COMMIT(bits) \
INLINE void commit##bits(struct cpu *c, uint64_t rax, uint64_t rdx) \
{ \
	set_reg##bits(c, REG_RAX, (uint##bits##_t)rax); \
	set_reg##bits(c, REG_RDX, (uint##bits##_t)rdx); \
}
COMMIT(16)
COMMIT(32)
COMMIT(64)
#undef COMMIT

/* RDX:RAX (AX in the byte forms) and a source, by the host instruction: the multiplications and divisions alike.
 * The flags pass through R8, for RAX is taken. */
#define WIDE_HOST(name, mnemonic, bits, suffix, width) \
static void name##_host##bits(struct cpu *c, uint64_t source) \
{ \
	uint64_t rax = c->gpr[REG_RAX], rdx = c->gpr[REG_RDX], cc = c->cc; \
	__asm__("xchg %2, %0\n\t" FLAGS_LOAD "mov %2, %0\n\t" mnemonic suffix " %" width "3\n\t" \
		"mov %0, %2\n\t" FLAGS_SAVE "\n\txchg %2, %0" \
		: "+&a"(rax), "+&d"(rdx), "+&r"(cc) : "r"(source) : "cc"); \
	c->cc = (uint16_t)cc; \
	commit##bits(c, rax, rdx); \
}

#define WIDE(name, mnemonic) \
	WIDE_HOST(name, mnemonic, 8, "b", "b") \
	WIDE_HOST(name, mnemonic, 16, "w", "w") \
	WIDE_HOST(name, mnemonic, 32, "l", "k") \
	WIDE_HOST(name, mnemonic, 64, "q", "q")

WIDE(mul, "mul")
WIDE(imul, "imul")
WIDE(div, "div")
WIDE(idiv, "idiv")

typedef void wide_host(struct cpu *c, uint64_t source);
#define SIZES(name) { name##_host8, name##_host16, name##_host32, name##_host64 }
static wide_host *const wide[][4] = { SIZES(mul), SIZES(imul), SIZES(div), SIZES(idiv) };
enum { WIDE_MUL, WIDE_IMUL, WIDE_DIV, WIDE_IDIV };

static void exec_mul(struct cpu *c, const struct insn *i)
{
	wide[WIDE_MUL][size_index(i->opsize)](c, operand_read(c, i, source_operand(i)));
}

static void exec_imul(struct cpu *c, const struct insn *i)
{
	wide[WIDE_IMUL][size_index(i->opsize)](c, operand_read(c, i, source_operand(i)));
}

static unsigned __int128 dividend(const struct cpu *c, unsigned size)
{
	if (size == 1)
		return (uint16_t)c->gpr[REG_RAX];
	return (unsigned __int128)(c->gpr[REG_RDX] & size_mask(size)) << (size * 8) | (c->gpr[REG_RAX] & size_mask(size));
}

static void exec_div(struct cpu *c, const struct insn *i)
{
	uint64_t divisor = operand_read(c, i, source_operand(i));
	/* The quotient fits exactly when the upper half is below the divisor; that covers a divisor of 0. */
	if ((uint64_t)(dividend(c, i->opsize) >> (i->opsize * 8)) >= divisor)
		cpu_fault(c, EXC_DE, 0);
	wide[WIDE_DIV][size_index(i->opsize)](c, divisor);
}

/* |n| / |d| must be below 2^(bits-1), or equal to it when the quotient is negative. */
static bool idiv_fits(unsigned __int128 n, uint64_t d, unsigned bits)
{
	bool n_negative = n >> (2 * bits - 1) & 1, d_negative = d >> (bits - 1) & 1;
	if (n_negative)
		n = bits == 64 ? -n : -n & (((unsigned __int128)1 << (2 * bits)) - 1);
	if (d_negative)
		d = -d & size_mask(bits / 8);
	unsigned __int128 limit = ((unsigned __int128)1 << (bits - 1)) + (n_negative != d_negative);
	return n < limit * d;
}

static void exec_idiv(struct cpu *c, const struct insn *i)
{
	uint64_t divisor = operand_read(c, i, source_operand(i));
	if (!idiv_fits(dividend(c, i->opsize), divisor, i->opsize * 8u))
		cpu_fault(c, EXC_DE, 0);
	wide[WIDE_IDIV][size_index(i->opsize)](c, divisor);
}

insn_exec *ops_select_muldiv(struct cpu *c, struct insn *i)
{
	switch (i->op) {
	case OP_MUL: return exec_mul;
	case OP_DIV: return exec_div;
	case OP_IDIV: return exec_idiv;
	case OP_IMUL:
		if (i->map == 0 && (i->opcode & 0xfe) == 0xf6)
			return exec_imul;
		return imul[i->map == 0][i->operand[1].kind == OPERAND_MEM][size_index(i->opsize)];
	default: return NULL;
	}
}
