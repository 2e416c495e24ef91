/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B (SDM 2A, 2C), and the locked
 * read-modify-write where the TLB does not serve: then the bounce buffer is
 * filled and written back under the machine's bus lock. A fault in between
 * releases it (cpu_fault).
 */
void *ops_rmw_locked_slow(struct cpu *c, uint64_t linear, unsigned size)
{
	/* Nearly all faults and TLB misses end here, without the lock. */
	access_probe(c, linear, size, true);
	void *host = tlb_lookup_write(c, linear, size);
	if (host)
		return host;
	access_bus_lock();
	c->bus_lock_held = true;
	return access_rmw_slow(c, linear, size);
}

void ops_rmw_locked_end_slow(struct cpu *c)
{
	access_rmw_end_slow(c);
	c->bus_lock_held = false;
	access_bus_unlock();
}

/* XCHG with memory is locked with or without the prefix. */
#define XCHG_SIZE(bits) \
static void xchg_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned a = i->operand[0].reg, b = i->operand[1].reg; \
	uint##bits##_t v = reg##bits(c, a); \
	set_reg##bits(c, a, reg##bits(c, b)); \
	set_reg##bits(c, b, v); \
} \
static void xchg_m##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned r = i->operand[i->operand[0].kind == OPERAND_MEM].reg; \
	volatile guest##bits *p = mem_rmw##bits(c, i, true); \
	uint##bits##_t v = reg##bits(c, r); \
	__asm__ volatile("xchg %1, %0" : "+m"(*p), "+r"(v) : : "memory"); \
	set_reg##bits(c, r, v); \
	rmw_end(c, true); \
}
XCHG_SIZE(8)
XCHG_SIZE(16)
XCHG_SIZE(32)
XCHG_SIZE(64)

#define XADD_SIZE(bits) \
static void xadd_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg, s = i->operand[1].reg; \
	uint##bits##_t a = reg##bits(c, d), b = reg##bits(c, s); \
	uint16_t cc; \
	__asm__("xadd %1, %0\n\t" FLAGS_SAVE : "+r"(a), "+r"(b), "=a"(cc) : : "cc"); \
	c->cc = cc; \
	set_reg##bits(c, s, b); \
	set_reg##bits(c, d, a); \
} \
XADD_MEM(xadd_m, bits, "", false) \
XADD_MEM(xadd_lm, bits, "lock ", true)

#define XADD_MEM(name, bits, prefix, lock) \
static void name##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, lock); \
	uint##bits##_t b = reg##bits(c, i->operand[1].reg); \
	uint16_t cc; \
	__asm__ volatile(prefix "xadd %1, %0\n\t" FLAGS_SAVE : "+m"(*p), "+&r"(b), "=&a"(cc) : : "cc", "memory"); \
	c->cc = cc; \
	set_reg##bits(c, i->operand[1].reg, b); \
	rmw_end(c, lock); \
}
XADD_SIZE(8)
XADD_SIZE(16)
XADD_SIZE(32)
XADD_SIZE(64)

/* The host sees the whole of RAX and of a destination register: what it does to their upper halves is the guest's. */
#define CMPXCHG_SIZE(bits, width) \
static void cmpxchg_rr##bits(struct cpu *c, const struct insn *i) \
{ \
	unsigned d = i->operand[0].reg; \
	uint64_t rax = c->gpr[REG_RAX], b = reg##bits(c, i->operand[1].reg), cc = 0; \
	uint64_t a = bits == 8 ? reg8(c, d) : c->gpr[d]; \
	__asm__("cmpxchg %" width "3, %" width "1\n\tmov %0, %2\n\t" FLAGS_SAVE "\n\txchg %0, %2" \
		: "+&a"(rax), "+&r"(a), "+&r"(cc) : "r"(b) : "cc"); \
	c->cc = (uint16_t)cc; \
	if (bits == 8) \
		set_reg8(c, d, (uint8_t)a); \
	else \
		c->gpr[d] = a; \
	if (!(cc & CC_ZF)) \
		reg_write(c, REG_RAX, rax, bits / 8); \
} \
CMPXCHG_MEM(cmpxchg_m, bits, width, "", false) \
CMPXCHG_MEM(cmpxchg_lm, bits, width, "lock ", true)

#define CMPXCHG_MEM(name, bits, width, prefix, lock) \
static void name##bits(struct cpu *c, const struct insn *i) \
{ \
	volatile guest##bits *p = mem_rmw##bits(c, i, lock); \
	uint64_t rax = c->gpr[REG_RAX], b = reg##bits(c, i->operand[1].reg), cc = 0; \
	__asm__ volatile(prefix "cmpxchg %" width "3, %1\n\tmov %0, %2\n\t" FLAGS_SAVE "\n\txchg %0, %2" \
			 : "+&a"(rax), "+m"(*p), "+&r"(cc) : "r"(b) : "cc", "memory"); \
	c->cc = (uint16_t)cc; \
	c->gpr[REG_RAX] = rax; \
	rmw_end(c, lock); \
}
CMPXCHG_SIZE(8, "b")
CMPXCHG_SIZE(16, "w")
CMPXCHG_SIZE(32, "k")
CMPXCHG_SIZE(64, "q")

/* size: of each half. Always with the host's LOCK: nothing is lost by more atomicity. ZF alone changes. */
#define CMPXCHG_PAIR(name, bytes, mnemonic) \
INLINE void name(struct cpu *c, const struct insn *i, bool lock) \
{ \
	uint64_t linear = operand_linear(c, i, bytes, ACCESS_RW); \
	if (bytes == 16 && (linear & 15)) \
		cpu_gp(c, 0); \
	volatile uint8_t (*p)[bytes] = rmw_begin(c, linear, bytes, lock); \
	uint64_t rax = c->gpr[REG_RAX], rdx = c->gpr[REG_RDX]; \
	bool equal; \
	__asm__ volatile("lock " mnemonic " %0\n\tsete %3" \
			 : "+m"(*p), "+a"(rax), "+d"(rdx), "=qm"(equal) \
			 : "b"(c->gpr[REG_RBX]), "c"(c->gpr[REG_RCX]) : "cc", "memory"); \
	c->cc = (uint16_t)((c->cc & ~CC_ZF) | (equal ? CC_ZF : 0)); \
	c->gpr[REG_RAX] = rax; \
	c->gpr[REG_RDX] = rdx; \
	rmw_end(c, lock); \
} \
static void exec_##name(struct cpu *c, const struct insn *i) \
{ \
	name(c, i, false); \
} \
static void exec_##name##_lock(struct cpu *c, const struct insn *i) \
{ \
	name(c, i, true); \
}
CMPXCHG_PAIR(cmpxchg8b, 8, "cmpxchg8b")
CMPXCHG_PAIR(cmpxchg16b, 16, "cmpxchg16b")

#define SIZES(name) { name##8, name##16, name##32, name##64 }
enum { REG, MEM, MEM_LOCKED };
static insn_exec *const xchg[2][4] = { SIZES(xchg_rr), SIZES(xchg_m) };
static insn_exec *const xadd[3][4] = { SIZES(xadd_rr), SIZES(xadd_m), SIZES(xadd_lm) };
static insn_exec *const cmpxchg[3][4] = { SIZES(cmpxchg_rr), SIZES(cmpxchg_m), SIZES(cmpxchg_lm) };

/* F3 REX.B 90: with AMD's processors REX.B makes it XCHG, with Intel's F3 makes it PAUSE. The manuals do not say (SDM 2B, PAUSE). */
static bool is_pause(const struct cpu *c, const struct insn *i)
{
	return !c->amd && i->map == 0 && i->opcode == 0x90 && i->prefixes & PREFIX_REP;
}

insn_exec *ops_select_atomic(struct cpu *c, struct insn *i)
{
	unsigned size = size_index(i->operand[0].size);
	bool lock = i->prefixes & PREFIX_LOCK;
	unsigned form = i->operand[0].kind != OPERAND_MEM ? REG : lock ? MEM_LOCKED : MEM;
	switch (i->op) {
	case OP_XCHG: return is_pause(c, i) ? ops_pause(c) : xchg[i->memory != 0][size];
	case OP_XADD: return xadd[form][size];
	case OP_CMPXCHG: return cmpxchg[form][size];
	case OP_CMPXCHG8B: return lock ? exec_cmpxchg8b_lock : exec_cmpxchg8b;
	case OP_CMPXCHG16B: return lock ? exec_cmpxchg16b_lock : exec_cmpxchg16b;
	default: return NULL;
	}
}
