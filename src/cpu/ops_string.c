/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/ops.h"

/*
 * MOVS STOS LODS CMPS SCAS INS OUTS (SDM 2A, 2B; REP in 2B). RCX, RSI and RDI
 * are committed after every iteration, so that a fault in the middle leaves the
 * state of the failing one. When attention is wanted between two iterations RIP
 * goes back to the instruction, which continues when it comes round again.
 * MOVS, STOS, CMPS and SCAS work in chunks that stay within a page on each side:
 * the host's own instruction over guest memory. Single steps trap after each iteration.
 */
INLINE bool repeated(const struct insn *i)
{
	return i->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

INLINE uint64_t counter(const struct cpu *c, const struct insn *i)
{
	return c->gpr[REG_RCX] & size_mask(i->adsize);
}

/* Signed bytes from one element to the next. */
INLINE uint64_t step_of(const struct cpu *c, unsigned size)
{
	return c->rflags & FLAG_DF ? -(uint64_t)size : size;
}

INLINE void advance(struct cpu *c, const struct insn *i, unsigned r, uint64_t bytes)
{
	reg_write(c, r, c->gpr[r] + bytes, i->adsize);
}

INLINE uint64_t source_linear(struct cpu *c, const struct insn *i, unsigned size)
{
	return linear_address(c, (enum isa_seg)i->seg, c->gpr[REG_RSI] & size_mask(i->adsize), size, ACCESS_R);
}

INLINE uint64_t dest_linear(struct cpu *c, const struct insn *i, unsigned size, unsigned access)
{
	return linear_address(c, SEG_ES, c->gpr[REG_RDI] & size_mask(i->adsize), size, access);
}

/* Counts n iterations off; true when there is another one to do now. */
INLINE bool rep_next(struct cpu *c, const struct insn *i, uint64_t n)
{
	advance(c, i, REG_RCX, -n);
	if (!counter(c, i))
		return false;
	if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed))) {
		c->gpr[REG_RIP] -= i->length;
		c->stats.instructions--; /* it is counted when it is done */
		/* What comes between two iterations sees RF set (SDM 3B, 17.3.1.1): no breakpoint at the next ones. */
		c->rflags |= FLAG_RF;
		c->rf_clear = false;
		return false;
	}
	return true;
}

/* --- Chunks --- */

/* Whole elements from `offset` (at `linear`) to the end of the page in the direction of DF, and of what the address size
 * reaches. */
INLINE uint64_t elements_in_page(const struct cpu *c, const struct insn *i, uint64_t offset, uint64_t linear, unsigned size)
{
	uint64_t in_page = linear & GUEST_PAGE_MASK, mask = size_mask(i->adsize);
	if (c->rflags & FLAG_DF) {
		bool whole = in_page + size <= GUEST_PAGE_SIZE && mask - offset >= size - 1;
		return whole ? MIN(in_page, offset) / size + 1 : 0;
	}
	uint64_t last = MIN(GUEST_PAGE_MASK - in_page, mask - offset);
	return last / size + (last % size == size - 1);
}

/* The registers of the host's instruction. It is right for every overlap, since both addresses name the same bytes as the
 * guest's. */
struct host_string {
	const void *from;
	void *to;
	uint64_t count, rax;
	void *noted; /* where writes begin that must be noted, or NULL */
};

#define HOST_RUN(h, text) __asm__ volatile(text : "+D"((h)->to), "+S"((h)->from), "+c"((h)->count), "+a"((h)->rax) : : "memory", "cc")
#define HOST_EITHER_WAY(down, h, text) \
	do { \
		if (down) \
			HOST_RUN(h, "std\n\t" text "\n\tcld"); \
		else \
			HOST_RUN(h, text); \
	} while (0)
#define HOST_STRING(c, h, size, text, end) \
	do { \
		const bool down_ = (c)->rflags & FLAG_DF; \
		switch (size) { \
		case 1: HOST_EITHER_WAY(down_, h, text "b" end); break; \
		case 2: HOST_EITHER_WAY(down_, h, text "w" end); break; \
		case 4: HOST_EITHER_WAY(down_, h, text "l" end); break; \
		default: HOST_EITHER_WAY(down_, h, text "q" end); break; \
		} \
	} while (0)

/* How many elements at RSI, at RDI the host may work through; 0 where only the careful way serves. */
INLINE uint64_t source_elements(struct cpu *c, const struct insn *i, unsigned size, struct host_string *h)
{
	if (c->segment_check[i->seg] || c->rflags & FLAG_TF)
		return 0;
	uint64_t linear = source_linear(c, i, size);
	h->from = tlb_lookup_read(c, linear, 1);
	if (unlikely(!h->from))
		h->from = access_page(c, linear, false);
	return h->from ? elements_in_page(c, i, c->gpr[REG_RSI] & size_mask(i->adsize), linear, size) : 0;
}

INLINE uint64_t dest_elements(struct cpu *c, const struct insn *i, unsigned size, unsigned access, struct host_string *h)
{
	if (c->segment_check[SEG_ES] || c->rflags & FLAG_TF)
		return 0;
	uint64_t linear = dest_linear(c, i, size, access);
	h->to = access == ACCESS_W ? tlb_lookup_write(c, linear, 1) : tlb_lookup_read(c, linear, 1);
	if (unlikely(!h->to)) {
		h->to = access_page(c, linear, access == ACCESS_W);
		h->noted = access == ACCESS_W ? h->to : NULL;
	}
	return h->to ? elements_in_page(c, i, c->gpr[REG_RDI] & size_mask(i->adsize), linear, size) : 0;
}

INLINE void note_written(struct cpu *c, const struct host_string *h, uint64_t bytes, unsigned size)
{
	if (unlikely(h->noted))
		access_page_written(c, c->rflags & FLAG_DF ? (uint8_t *)h->noted + size - bytes : h->noted, bytes);
}

/* The chunks return the number of iterations done, 0 when a page has not one whole element. */
INLINE uint64_t movs_chunk(struct cpu *c, const struct insn *i, unsigned size)
{
	struct host_string h = { 0 };
	uint64_t n = MIN(counter(c, i), source_elements(c, i, size, &h));
	h.count = n = n ? MIN(n, dest_elements(c, i, size, ACCESS_W, &h)) : 0;
	if (!n)
		return 0;
	HOST_STRING(c, &h, size, "rep movs", "");
	note_written(c, &h, n * size, size);
	advance(c, i, REG_RSI, n * step_of(c, size));
	advance(c, i, REG_RDI, n * step_of(c, size));
	return n;
}

INLINE uint64_t stos_chunk(struct cpu *c, const struct insn *i, unsigned size)
{
	struct host_string h = { .rax = c->gpr[REG_RAX] };
	uint64_t n = h.count = MIN(counter(c, i), dest_elements(c, i, size, ACCESS_W, &h));
	if (!n)
		return 0;
	HOST_STRING(c, &h, size, "rep stos", "");
	note_written(c, &h, n * size, size);
	advance(c, i, REG_RDI, n * step_of(c, size));
	return n;
}

/* The flags are those of the last comparison, which may have ended the repetition. */
INLINE uint64_t cmps_chunk(struct cpu *c, const struct insn *i, unsigned size)
{
	struct host_string h = { 0 };
	uint64_t n = MIN(counter(c, i), source_elements(c, i, size, &h));
	h.count = n = n ? MIN(n, dest_elements(c, i, size, ACCESS_R, &h)) : 0;
	if (!n)
		return 0;
	if (i->prefixes & PREFIX_REPNE)
		HOST_STRING(c, &h, size, "repne cmps", "\n\t" FLAGS_SAVE);
	else
		HOST_STRING(c, &h, size, "repe cmps", "\n\t" FLAGS_SAVE);
	c->cc = (uint16_t)h.rax;
	n -= h.count;
	advance(c, i, REG_RSI, n * step_of(c, size));
	advance(c, i, REG_RDI, n * step_of(c, size));
	return n;
}

INLINE uint64_t scas_chunk(struct cpu *c, const struct insn *i, unsigned size)
{
	struct host_string h = { .rax = c->gpr[REG_RAX] };
	uint64_t n = h.count = MIN(counter(c, i), dest_elements(c, i, size, ACCESS_R, &h));
	if (!n)
		return 0;
	if (i->prefixes & PREFIX_REPNE)
		HOST_STRING(c, &h, size, "repne scas", "\n\t" FLAGS_SAVE);
	else
		HOST_STRING(c, &h, size, "repe scas", "\n\t" FLAGS_SAVE);
	c->cc = (uint16_t)h.rax;
	n -= h.count;
	advance(c, i, REG_RDI, n * step_of(c, size));
	return n;
}

/* --- One iteration --- */

INLINE void movs_one(struct cpu *c, const struct insn *i, unsigned size)
{
	uint64_t v = access_read(c, source_linear(c, i, size), size);
	access_write(c, dest_linear(c, i, size, ACCESS_W), v, size);
	advance(c, i, REG_RSI, step_of(c, size));
	advance(c, i, REG_RDI, step_of(c, size));
}

INLINE void stos_one(struct cpu *c, const struct insn *i, unsigned size)
{
	access_write(c, dest_linear(c, i, size, ACCESS_W), c->gpr[REG_RAX], size);
	advance(c, i, REG_RDI, step_of(c, size));
}

INLINE void lods_one(struct cpu *c, const struct insn *i, unsigned size)
{
	reg_write(c, REG_RAX, access_read(c, source_linear(c, i, size), size), size);
	advance(c, i, REG_RSI, step_of(c, size));
}

INLINE void host_compare(struct cpu *c, uint64_t a, uint64_t b, unsigned size)
{
	uint16_t cc;
	switch (size) {
	case 1: __asm__("cmpb %b2, %b1\n\t" FLAGS_SAVE : "=a"(cc) : "r"(a), "r"(b) : "cc"); break;
	case 2: __asm__("cmpw %w2, %w1\n\t" FLAGS_SAVE : "=a"(cc) : "r"(a), "r"(b) : "cc"); break;
	case 4: __asm__("cmpl %k2, %k1\n\t" FLAGS_SAVE : "=a"(cc) : "r"(a), "r"(b) : "cc"); break;
	default: __asm__("cmpq %2, %1\n\t" FLAGS_SAVE : "=a"(cc) : "r"(a), "r"(b) : "cc"); break;
	}
	c->cc = cc;
}

INLINE void cmps_one(struct cpu *c, const struct insn *i, unsigned size)
{
	uint64_t a = access_read(c, source_linear(c, i, size), size);
	uint64_t b = access_read(c, dest_linear(c, i, size, ACCESS_R), size);
	host_compare(c, a, b, size);
	advance(c, i, REG_RSI, step_of(c, size));
	advance(c, i, REG_RDI, step_of(c, size));
}

INLINE void scas_one(struct cpu *c, const struct insn *i, unsigned size)
{
	host_compare(c, c->gpr[REG_RAX], access_read(c, dest_linear(c, i, size, ACCESS_R), size), size);
	advance(c, i, REG_RDI, step_of(c, size));
}

/* The port is read when nothing can fault any more (SDM 1, 18.5; 2A, INS). */
INLINE void ins_one(struct cpu *c, const struct insn *i, unsigned size)
{
	uint16_t port = (uint16_t)c->gpr[REG_RDX];
	cpu_check_io(c, port, size);
	uint64_t to = dest_linear(c, i, size, ACCESS_W);
	access_probe(c, to, size, true);
	access_write(c, to, cpu_io_read(c, port, size), size);
	advance(c, i, REG_RDI, step_of(c, size));
}

INLINE void outs_one(struct cpu *c, const struct insn *i, unsigned size)
{
	uint16_t port = (uint16_t)c->gpr[REG_RDX];
	cpu_check_io(c, port, size);
	cpu_io_write(c, port, access_read(c, source_linear(c, i, size), size), size);
	advance(c, i, REG_RSI, step_of(c, size));
}

/* --- Loops --- */

static inline uint64_t no_chunk(struct cpu *c, const struct insn *i, unsigned size)
{
	return 0;
}

static inline void no_check(struct cpu *c, unsigned size)
{
}

/* Ports are refused even to a count of zero. */
static inline void port_check(struct cpu *c, unsigned size)
{
	cpu_check_io(c, (uint16_t)c->gpr[REG_RDX], size);
}

#define REP_LOOP(name, chunk, check, bits) \
static void name##_rep##bits(struct cpu *c, const struct insn *i) \
{ \
	check(c, bits / 8); \
	if (!counter(c, i)) \
		return; \
	uint64_t n; \
	do { \
		n = chunk(c, i, bits / 8); \
		if (!n) { \
			name##_one(c, i, bits / 8); \
			n = 1; \
		} \
	} while (rep_next(c, i, n)); \
}

/* CMPS and SCAS end when ZF is not what the prefix wants. A fault finds the flags from before the instruction (SDM 2B, REP),
 * with AMD's processors those of the last comparison. */
#define REP_COMPARE(name, bits) \
static void name##_rep##bits(struct cpu *c, const struct insn *i) \
{ \
	const uint16_t wanted = i->prefixes & PREFIX_REPNE ? 0 : CC_ZF, before = c->cc; \
	uint64_t n; \
	if (!counter(c, i)) \
		return; \
	do { \
		if (!c->amd) \
			c->cc = before; \
		n = name##_chunk(c, i, bits / 8); \
		if (!n) { \
			name##_one(c, i, bits / 8); \
			n = 1; \
		} \
		if ((c->cc & CC_ZF) != wanted) { \
			advance(c, i, REG_RCX, -n); \
			return; \
		} \
	} while (rep_next(c, i, n)); \
}

#define SINGLE(name, bits) \
static void name##_single##bits(struct cpu *c, const struct insn *i) \
{ \
	name##_one(c, i, bits / 8); \
}

#define LOOP_OP(name, chunk, check) \
	SINGLE(name, 8) SINGLE(name, 16) SINGLE(name, 32) SINGLE(name, 64) \
	REP_LOOP(name, chunk, check, 8) REP_LOOP(name, chunk, check, 16) \
	REP_LOOP(name, chunk, check, 32) REP_LOOP(name, chunk, check, 64)
#define COMPARE_OP(name) \
	SINGLE(name, 8) SINGLE(name, 16) SINGLE(name, 32) SINGLE(name, 64) \
	REP_COMPARE(name, 8) REP_COMPARE(name, 16) REP_COMPARE(name, 32) REP_COMPARE(name, 64)

LOOP_OP(movs, movs_chunk, no_check)
LOOP_OP(stos, stos_chunk, no_check)
LOOP_OP(lods, no_chunk, no_check)
LOOP_OP(ins, no_chunk, port_check)
LOOP_OP(outs, no_chunk, port_check)
COMPARE_OP(cmps)
COMPARE_OP(scas)

#define SIZES(name) { \
	{ name##_single8, name##_single16, name##_single32, name##_single64 }, \
	{ name##_rep8, name##_rep16, name##_rep32, name##_rep64 } }

static insn_exec *const table[][2][4] = {
	[OP_MOVS - OP_MOVS] = SIZES(movs),
	[OP_CMPS - OP_MOVS] = SIZES(cmps),
	[OP_STOS - OP_MOVS] = SIZES(stos),
	[OP_LODS - OP_MOVS] = SIZES(lods),
	[OP_SCAS - OP_MOVS] = SIZES(scas),
	[OP_INS - OP_MOVS] = SIZES(ins),
	[OP_OUTS - OP_MOVS] = SIZES(outs),
};

insn_exec *ops_select_string(struct cpu *c, struct insn *i)
{
	if (i->op < OP_MOVS || i->op > OP_OUTS)
		return NULL;
	/* Ports are at most four bytes wide: REX.W does not count. Bit 0 of every opcode says byte or not. */
	unsigned size = i->opcode & 1 ? i->opsize : 1;
	if (i->op == OP_INS || i->op == OP_OUTS)
		size = MIN(size, 4);
	return table[i->op - OP_MOVS][repeated(i)][size_index(size)];
}
