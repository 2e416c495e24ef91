/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/interpret.h"

#include "base/util.h"
#include "cpu/access.h"

int interpret_init(struct interp *interp, struct cpu *c, struct error *err)
{
	*interp = (struct interp){ 0 };
	return block_cache_init(&interp->cache, c->count, err);
}

void interpret_destroy(struct interp *interp)
{
	block_cache_destroy(&interp->cache);
}

static inline void count(struct cpu *c, unsigned instructions)
{
	c->stats.instructions += instructions;
	c->stats.assisted += instructions;
}

static uint64_t code_linear(const struct cpu *c)
{
	uint64_t linear = c->gpr[REG_RIP] + c->segment_base[SEG_CS];
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

static bool names(const struct block *b, const uint8_t *host, unsigned mode)
{
	return b->host == host && b->mode == mode;
}

static bool holds(const struct block *b)
{
	return atomic_load_explicit(b->generation_now, memory_order_relaxed) == b->generation;
}

static struct block *lookup(struct block_cache *cache, const uint8_t *host, unsigned mode)
{
	for (struct block *b = cache->buckets[block_hash(host, mode)]; b; b = b->next)
		if (names(b, host, mode))
			return holds(b) ? b : NULL;
	return NULL;
}

static struct block *find_slow(struct cpu *c, struct block_cache *cache, uint64_t linear)
{
	c->insn = NULL;
	if (c->code_mode == ISA_MODE_64 && !is_canonical(linear))
		cpu_gp(c, 0);
	uint64_t gpa;
	const uint8_t *host = mmu_fetch(c, linear, &gpa);
	if (!host)
		return block_decode_single(c, cache, linear);
	struct block *b = lookup(cache, host, c->code_mode);
	return b && !b->second ? b : block_decode(c, cache, host, linear);
}

/* The block may run past the end of the code segment: then one instruction at a time, each checked. */
static bool beyond_limit(const struct cpu *c, const struct block *b)
{
	return c->code_mode != ISA_MODE_64 && c->gpr[REG_RIP] + b->bytes > (uint64_t)c->seg[SEG_CS].limit + 1;
}

/* The second page must still be mapped where it was, executable, and hold the same code. */
static bool crossing_holds(struct cpu *c, const struct block *b, uint64_t linear)
{
	uint64_t gpa, next = ALIGN_DOWN(linear, GUEST_PAGE_SIZE) + GUEST_PAGE_SIZE;
	const struct tlb_entry *set = c->tlbs[c->cpl == 3 ? TLB_USER : TLB_SUPERVISOR_AC];
	const struct tlb_entry *e = &set[(next >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	c->insn = NULL;
	const uint8_t *second = likely(e->execute == next) ? (const uint8_t *)(next + e->addend) : mmu_fetch(c, next, &gpa);
	return second == b->second && *b->second_generation_now == b->second_generation;
}

/* Where the instruction at `linear` lies in guest memory, by the TLB alone; NULL when the slow way must look. */
static const uint8_t *code_host(const struct cpu *c, uint64_t linear)
{
	const struct tlb_entry *set = c->tlbs[c->cpl == 3 ? TLB_USER : TLB_SUPERVISOR_AC];
	const struct tlb_entry *e = &set[(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	return likely(e->execute == ALIGN_DOWN(linear, GUEST_PAGE_SIZE)) ? (const uint8_t *)(linear + e->addend) : NULL;
}

static __attribute__((noinline)) struct block *find_block(struct cpu *c, struct block_cache *cache)
{
	uint64_t linear = code_linear(c);
	if (unlikely(cache->keeping) && (c->cpl == 3 || cache->keeping == BLOCKS_NOT_KEPT)) {
		c->insn = NULL;
		return block_decode_single(c, cache, linear);
	}
	const uint8_t *host = code_host(c, linear);
	struct block *b = host ? lookup(cache, host, c->code_mode) : NULL;
	if (unlikely(!b))
		b = find_slow(c, cache, linear);
	else if (unlikely(b->second) && !crossing_holds(c, b, linear))
		b = block_decode(c, cache, b->host, linear);
	if (unlikely(beyond_limit(c, b))) {
		c->insn = NULL;
		b = block_decode_single(c, cache, linear);
	}
	return b;
}

/* The block after `prev`. Links serve 64-bit mode alone, where there is no limit to check. */
static inline struct block *next_block(struct cpu *c, struct block_cache *cache, struct block *prev)
{
	if (likely(c->code_mode == ISA_MODE_64)) {
		const uint8_t *host = code_host(c, c->gpr[REG_RIP]);
		struct block *b = prev->link[0];
		if (likely(b && names(b, host, ISA_MODE_64) && holds(b)))
			return b;
		b = prev->link[1];
		if (b && names(b, host, ISA_MODE_64) && holds(b))
			return b;
	}
	size_t used = cache->used;
	struct block *b = find_block(c, cache);
	/* Single and crossing blocks have conditions of their own; and the arena may have been emptied under prev. */
	if (b->host && !b->second && cache->used >= used && prev->host) {
		prev->link[1] = prev->link[0];
		prev->link[0] = b;
	}
	return b;
}

/* IP and EIP wrap; in 16-bit code a limit beyond 64 KiB does not exist in practice and EIP keeps all its bits. */
static uint64_t next_rip(const struct cpu *c, uint64_t rip, unsigned length)
{
	rip += length;
	return c->code_mode == ISA_MODE_64 ? rip : (uint32_t)rip;
}

void interpret(struct cpu *c, struct interp *interp, bool one_block)
{
	struct block *b = find_block(c, &interp->cache);
	for (;;) {
		const struct insn *i = b->insn, *end = i + b->count;
		uint64_t rip = c->gpr[REG_RIP], mask = c->code_mode == ISA_MODE_64 ? UINT64_MAX : UINT32_MAX;
		interp->current = b;
		do {
			rip = (rip + i->length) & mask;
			c->gpr[REG_RIP] = rip;
			c->insn = i;
			i->exec(c, i);
			i++;
		} while (i < end && likely(!atomic_load_explicit(&c->attention, memory_order_relaxed)));
		count(c, (unsigned)(i - b->insn));
		interp->current = NULL;
		if (unlikely(one_block || atomic_load_explicit(&c->attention, memory_order_relaxed)))
			return;
		b = next_block(c, &interp->cache, b);
	}
}

static void trace(struct cpu *c, FILE *file, const struct insn *insn)
{
	char text[128];
	isa_format(text, sizeof(text), insn, c->gpr[REG_RIP]);
	fprintf(file, "%u %04x:%016llx %s\n", c->index, c->seg[SEG_CS].selector, (unsigned long long)c->gpr[REG_RIP], text);
}

void interpret_one(struct cpu *c, struct interp *interp)
{
	const struct block *b = find_block(c, &interp->cache);
	const struct insn *i = b->insn;
	if (unlikely(interp->cache.trace != NULL))
		trace(c, interp->cache.trace, i);
	interp->current = b;
	c->gpr[REG_RIP] = next_rip(c, c->gpr[REG_RIP], i->length);
	c->insn = i;
	i->exec(c, i);
	count(c, 1);
	interp->current = NULL;
}

static bool observed(const struct cpu *c, const struct interp *interp)
{
	return c->debug_step || c->debug_breakpoints || c->debug_watchpoints || interp->cache.trace;
}

static void clear_attention(struct cpu *c, uint32_t bits)
{
	atomic_fetch_and(&c->attention, ~bits);
}

/* One instruction under a debugger or a trace; true when the debugger wants to stop. */
static bool step_observed(struct cpu *c, struct interp *interp)
{
	if (c->debug_breakpoints && c->debug_check(c->debug_opaque, c, code_linear(c), 1, 0))
		return true;
	cpu_attention(c, ATTN_STEP);
	bool stepping = interp->stepping = c->debug_step;
	interpret_one(c, interp);
	interp->stepping = false;
	bool hit = c->debug_hit;
	c->debug_hit = false;
	return stepping || hit;
}

/* What cpu_take_events wants to see again after the next instruction it leaves in the attention word: then one
 * instruction is executed here. */
enum verdict interpret_attend(struct cpu *c, struct interp *interp, enum exit_reason *reason)
{
	uint32_t attention = atomic_load_explicit(&c->attention, memory_order_acquire);
	c->insn = NULL;
	if (attention & ATTN_FLUSH)
		mmu_answer_flush(c);
	clear_attention(c, ATTN_EXIT);
	if (attention & ATTN_KICK) {
		clear_attention(c, ATTN_KICK);
		*reason = EXIT_KICK;
		return LEAVE;
	}
	if (c->exit_detail[0]) {
		*reason = EXIT_ERROR;
		return LEAVE;
	}
	if (c->spinning) {
		c->spinning = false;
		*reason = EXIT_SPIN;
		return LEAVE;
	}
	if (!cpu_take_events(c)) {
		*reason = c->shutdown ? EXIT_SHUTDOWN : EXIT_HALT;
		return LEAVE;
	}
	if (unlikely(observed(c, interp))) {
		*reason = EXIT_DEBUG;
		/* A step into a fault ends at the handler, whose first instruction may fault in turn, and so on for ever. */
		bool faulted = interp->stepping && c->debug_step;
		interp->stepping = false;
		return faulted || step_observed(c, interp) ? LEAVE : GO_ON;
	}
	if (atomic_load_explicit(&c->attention, memory_order_relaxed))
		interpret_one(c, interp);
	return GO_ON;
}

void interpret_count_faulted(struct cpu *c, struct interp *interp)
{
	const struct block *b = interp->current;
	if (b && c->fault_insn)
		count(c, (unsigned)(c->fault_insn - b->insn));
	interp->current = NULL;
}
