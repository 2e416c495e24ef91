/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/* BMI1, BMI2, ADX, CRC32: 32- and 64-bit operands, by the host instruction (which is there when CPUID shows it). */

/* dest = f(x, y) with x and y in the manual's order. */
#define BMI3_HOST(name, bits, k) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t x, uint##bits##_t y) \
{ \
	uint##bits##_t a; \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD #name " %" k "3, %" k "2, %" k "0\n\t" FLAGS_SAVE : "=&r"(a), "+&a"(cc) : "r"(x), "r"(y) : "cc"); \
	c->cc = cc; \
	return a; \
}

/* dest = f(x), the destination being VEX.vvvv. */
#define BMI2_HOST(name, bits, k) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t x) \
{ \
	uint##bits##_t a; \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD #name " %" k "2, %" k "0\n\t" FLAGS_SAVE : "=&r"(a), "+&a"(cc) : "r"(x) : "cc"); \
	c->cc = cc; \
	return a; \
}

#define ADX_HOST(name, bits, k) \
INLINE uint##bits##_t host_##name##bits(struct cpu *c, uint##bits##_t x, uint##bits##_t y) \
{ \
	uint16_t cc = c->cc; \
	__asm__(FLAGS_LOAD #name " %" k "2, %" k "0\n\t" FLAGS_SAVE : "+r"(x), "+&a"(cc) : "r"(y) : "cc"); \
	c->cc = cc; \
	return x; \
}

#define EXEC2(name, bits) \
static void name##bits(struct cpu *c, const struct insn *i) \
{ \
	set_reg##bits(c, i->operand[0].reg, host_##name##bits(c, (uint##bits##_t)operand_read(c, i, 1))); \
}

/* x and y: numbers of the operands. */
#define EXEC3(name, bits, x, y) \
static void name##bits(struct cpu *c, const struct insn *i) \
{ \
	uint##bits##_t a = (uint##bits##_t)operand_read(c, i, x), b = (uint##bits##_t)operand_read(c, i, y); \
	set_reg##bits(c, i->operand[0].reg, host_##name##bits(c, a, b)); \
}

#define BMI3(name) BMI3_HOST(name, 32, "k") BMI3_HOST(name, 64, "q") EXEC3(name, 32, 1, 2) EXEC3(name, 64, 1, 2)
#define BMI2(name) BMI2_HOST(name, 32, "k") BMI2_HOST(name, 64, "q") EXEC2(name, 32) EXEC2(name, 64)
#define ADX(name) ADX_HOST(name, 32, "k") ADX_HOST(name, 64, "q") EXEC3(name, 32, 0, 1) EXEC3(name, 64, 0, 1)

BMI3(andn)
BMI3(bextr)
BMI3(bzhi)
BMI3(pdep)
BMI3(pext)
BMI3(sarx)
BMI3(shlx)
BMI3(shrx)
BMI2(blsi)
BMI2(blsmsk)
BMI2(blsr)
ADX(adcx)
ADX(adox)

static void rorx32(struct cpu *c, const struct insn *i)
{
	uint32_t v = (uint32_t)operand_read(c, i, 1);
	unsigned n = i->imm & 31;
	set_reg32(c, i->operand[0].reg, v >> n | v << (-n & 31));
}

static void rorx64(struct cpu *c, const struct insn *i)
{
	uint64_t v = operand_read(c, i, 1);
	unsigned n = i->imm & 63;
	set_reg64(c, i->operand[0].reg, v >> n | v << (-n & 63));
}

/* When both destinations are one register it gets the high half (SDM 2B, MULX): that one is written last. */
static void mulx32(struct cpu *c, const struct insn *i)
{
	uint64_t v = (c->gpr[REG_RDX] & 0xffffffff) * operand_read(c, i, 2);
	set_reg32(c, i->operand[1].reg, (uint32_t)v);
	set_reg32(c, i->operand[0].reg, (uint32_t)(v >> 32));
}

static void mulx64(struct cpu *c, const struct insn *i)
{
	unsigned __int128 v = (unsigned __int128)c->gpr[REG_RDX] * operand_read(c, i, 2);
	set_reg64(c, i->operand[1].reg, (uint64_t)v);
	set_reg64(c, i->operand[0].reg, (uint64_t)(v >> 64));
}

/* CRC32 zeroes the upper half of its destination. */
static void exec_crc32(struct cpu *c, const struct insn *i)
{
	uint64_t crc = reg32(c, i->operand[0].reg), v = operand_read(c, i, 1);
	switch (i->operand[1].size) {
	case 1: __asm__("crc32b %b1, %k0" : "+r"(crc) : "r"(v)); break;
	case 2: __asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(v)); break;
	case 4: __asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(v)); break;
	default: __asm__("crc32q %1, %0" : "+r"(crc) : "r"(v)); break;
	}
	c->gpr[i->operand[0].reg] = (uint32_t)crc;
}

#define ROW(name) { name##32, name##64 }
static insn_exec *const table[][2] = {
	[OP_ANDN - OP_ANDN] = ROW(andn), [OP_BEXTR - OP_ANDN] = ROW(bextr), [OP_BLSI - OP_ANDN] = ROW(blsi),
	[OP_BLSMSK - OP_ANDN] = ROW(blsmsk), [OP_BLSR - OP_ANDN] = ROW(blsr), [OP_BZHI - OP_ANDN] = ROW(bzhi),
	[OP_MULX - OP_ANDN] = ROW(mulx), [OP_PDEP - OP_ANDN] = ROW(pdep), [OP_PEXT - OP_ANDN] = ROW(pext),
	[OP_RORX - OP_ANDN] = ROW(rorx), [OP_SARX - OP_ANDN] = ROW(sarx), [OP_SHLX - OP_ANDN] = ROW(shlx),
	[OP_SHRX - OP_ANDN] = ROW(shrx), [OP_ADCX - OP_ANDN] = ROW(adcx), [OP_ADOX - OP_ANDN] = ROW(adox),
};

insn_exec *ops_select_bmi(struct cpu *c, struct insn *i)
{
	if (i->op >= OP_ANDN && i->op <= OP_ADOX)
		return table[i->op - OP_ANDN][i->operand[0].size == 8];
	return i->op == OP_CRC32 ? exec_crc32 : NULL;
}
