/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/* Flag instructions, hints and fences, cache lines, random numbers, BOUND, UD. */

static void exec_nop(struct cpu *c, const struct insn *i)
{
}

static void exec_ud(struct cpu *c, const struct insn *i)
{
	cpu_ud(c);
}

enum { REG_AH = 16 };

static void exec_lahf(struct cpu *c, const struct insn *i)
{
	set_reg8(c, REG_AH, ((c->cc >> 8) & 0xd5) | 2);
}

static void exec_sahf(struct cpu *c, const struct insn *i)
{
	c->cc = (uint16_t)((c->cc & CC_OF) | ((reg8(c, REG_AH) & 0xd5) | 2) << 8);
}

static void exec_salc(struct cpu *c, const struct insn *i)
{
	set_reg8(c, REG_RAX, c->cc & CC_CF ? 0xff : 0);
}

static void exec_clc(struct cpu *c, const struct insn *i)
{
	c->cc &= (uint16_t)~CC_CF;
}

static void exec_stc(struct cpu *c, const struct insn *i)
{
	c->cc |= CC_CF;
}

static void exec_cmc(struct cpu *c, const struct insn *i)
{
	c->cc ^= CC_CF;
}

static void exec_cld(struct cpu *c, const struct insn *i)
{
	c->rflags &= ~FLAG_DF;
}

static void exec_std(struct cpu *c, const struct insn *i)
{
	c->rflags |= FLAG_DF;
}

/* #BR when the signed index is outside the pair of bounds, both inclusive (SDM 2A, BOUND). */
static void exec_bound(struct cpu *c, const struct insn *i)
{
	unsigned size = i->opsize;
	uint64_t offset = effective_address(c, i), mask = size_mask(i->adsize);
	uint64_t low = access_read(c, linear_address(c, (enum isa_seg)i->seg, offset, size, ACCESS_R), size);
	uint64_t high = access_read(c, linear_address(c, (enum isa_seg)i->seg, (offset + size) & mask, size, ACCESS_R), size);
	uint64_t index = c->gpr[i->operand[0].reg];
	bool out = size == 2 ? (int16_t)index < (int16_t)low || (int16_t)index > (int16_t)high
			     : (int32_t)index < (int32_t)low || (int32_t)index > (int32_t)high;
	if (out)
		cpu_fault(c, EXC_BR, 0);
}

/* All flags but CF are cleared (SDM 2B, RDRAND, RDSEED). */
static void commit_random(struct cpu *c, const struct insn *i, uint64_t v, bool valid)
{
	reg_write(c, i->operand[0].reg, valid ? v : 0, i->opsize);
	c->cc = 0x200 | (valid ? CC_CF : 0);
}

static void exec_rdrand(struct cpu *c, const struct insn *i)
{
	uint64_t v;
	bool valid;
	__asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(v), "=qm"(valid) : : "cc");
	commit_random(c, i, v, valid);
}

static void exec_rdseed(struct cpu *c, const struct insn *i)
{
	uint64_t v;
	bool valid;
	__asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(v), "=qm"(valid) : : "cc");
	commit_random(c, i, v, valid);
}

static void exec_rdpid(struct cpu *c, const struct insn *i)
{
	c->gpr[i->operand[0].reg] = (uint32_t)c->tsc_aux;
}

/* Guest stores are the host's, non-temporal ones included. Loads are never seen out of order, hence LFENCE is empty. */
static void exec_mfence(struct cpu *c, const struct insn *i)
{
	__asm__ volatile("mfence" : : : "memory");
}

static void exec_sfence(struct cpu *c, const struct insn *i)
{
	__asm__ volatile("sfence" : : : "memory");
}

/* CLFLUSH, CLFLUSHOPT, CLWB are checked like a read of one byte (SDM 2A). */
static void exec_clflush(struct cpu *c, const struct insn *i)
{
	access_probe(c, operand_linear(c, i, 1, ACCESS_R), 1, false);
}

/* AMD APM 3, CLZERO: the 64 bytes at rAX, aligned down. */
static void exec_clzero(struct cpu *c, const struct insn *i)
{
	static const uint8_t zero[64];
	uint64_t offset = c->gpr[REG_RAX] & size_mask(i->adsize) & ~63ull;
	access_write_slow(c, linear_address(c, (enum isa_seg)i->seg, offset, 64, ACCESS_W), zero, 64);
}

/* The destination address is that of the register operand, in ES (SDM 2B, MOVDIR64B). */
static void exec_movdir64b(struct cpu *c, const struct insn *i)
{
	uint8_t buffer[64];
	uint64_t offset = c->gpr[i->operand[0].reg] & size_mask(i->adsize);
	access_read_slow(c, operand_linear(c, i, 64, ACCESS_R), buffer, 64);
	uint64_t to = linear_address(c, SEG_ES, offset, 64, ACCESS_W);
	if (to & 63)
		cpu_gp(c, 0);
	access_write_slow(c, to, buffer, 64);
}

/* A processor that waits for another one which has no host CPU to run on would wait for the rest of its time slice. The guest
 * waits a little first, since most waits are short. */
static void exec_pause(struct cpu *c, const struct insn *i)
{
	enum { PAUSES_BEFORE_YIELD = 64 };
	if (++c->pauses % PAUSES_BEFORE_YIELD)
		return;
	c->spinning = true;
	cpu_attention(c, ATTN_EXIT);
}

insn_exec *ops_pause(const struct cpu *c)
{
	return c->count > 1 ? exec_pause : exec_nop;
}

insn_exec *ops_select_misc(struct cpu *c, struct insn *i)
{
	switch (i->op) {
	case OP_PAUSE: return ops_pause(c);
	case OP_NOP:
	case OP_ENDBR:
	case OP_PREFETCH:
	case OP_PREFETCHW:
	case OP_CLDEMOTE:
	case OP_LFENCE:
	case OP_SERIALIZE:
		return exec_nop;
	case OP_LAHF:
	case OP_SAHF:
		if (i->mode == ISA_MODE_64 && !cpu_has(c, FEATURE_LAHF64))
			return exec_ud;
		return i->op == OP_LAHF ? exec_lahf : exec_sahf;
	case OP_UD0:
	case OP_UD1:
	case OP_UD2:
		return exec_ud;
	case OP_SALC: return exec_salc;
	case OP_CLC: return exec_clc;
	case OP_STC: return exec_stc;
	case OP_CMC: return exec_cmc;
	case OP_CLD: return exec_cld;
	case OP_STD: return exec_std;
	case OP_BOUND: return exec_bound;
	case OP_RDRAND: return exec_rdrand;
	case OP_RDSEED: return exec_rdseed;
	case OP_RDPID: return exec_rdpid;
	case OP_MFENCE: return exec_mfence;
	case OP_SFENCE: return exec_sfence;
	case OP_CLFLUSH:
	case OP_CLFLUSHOPT:
	case OP_CLWB:
		return exec_clflush;
	case OP_CLZERO: return exec_clzero;
	case OP_MOVDIR64B: return exec_movdir64b;
	default: return NULL;
	}
}
