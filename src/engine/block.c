/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/block.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/access.h"
#include "isa/table.h"

/* Bounds the memory of the caches of all vCPUs together; a Debian boot fills about 6 MiB of one. */
#define ARENA_TOTAL (12u << 20)
#define ARENA_MAX (6u << 20)
#define ARENA_MIN (1u << 20)

static void exec_invalid(struct cpu *c, const struct insn *insn)
{
	cpu_ud(c);
}

static void exec_too_long(struct cpu *c, const struct insn *insn)
{
	cpu_gp(c, 0);
}

static size_t block_size(unsigned count)
{
	return ALIGN_UP(sizeof(struct block) + count * sizeof(struct insn), 64);
}

int block_cache_init(struct block_cache *cache, unsigned vcpus, struct error *err)
{
	*cache = (struct block_cache){ .room = MAX(ARENA_MIN, MIN(ARENA_MAX, ARENA_TOTAL / vcpus)) };
	cache->buckets = calloc(BLOCK_BUCKETS, sizeof(*cache->buckets));
	cache->single = aligned_alloc(64, block_size(1));
	cache->arena = mmap(NULL, cache->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cache->arena == MAP_FAILED)
		cache->arena = NULL;
	if (!cache->buckets || !cache->single || !cache->arena) {
		block_cache_destroy(cache);
		return error_set(err, ENOMEM, "no memory for the decoded-instruction cache of a vCPU");
	}
	return 0;
}

void block_cache_destroy(struct block_cache *cache)
{
	free(cache->buckets);
	free(cache->single);
	if (cache->arena)
		munmap(cache->arena, cache->room);
	*cache = (struct block_cache){ 0 };
}

void block_cache_clear(struct block_cache *cache)
{
	memset(cache->buckets, 0, BLOCK_BUCKETS * sizeof(*cache->buckets));
	cache->used = 0;
}

static struct block *arena_block(struct block_cache *cache)
{
	if (cache->used + block_size(BLOCK_MAX_INSNS) > cache->room)
		block_cache_clear(cache);
	return (struct block *)(cache->arena + cache->used);
}

/* Takes the block of the same name out of its chain: it is stale. */
static void unlink_stale(struct block_cache *cache, const uint8_t *host, unsigned mode)
{
	struct block **at = &cache->buckets[block_hash(host, mode)];
	for (; *at; at = &(*at)->next)
		if ((*at)->host == host && (*at)->mode == mode) {
			*at = (*at)->next;
			return;
		}
}

/* What does not decode raises its exception when it is reached. */
static void make_fault(struct insn *insn, int reason)
{
	*insn = (struct insn){ .exec = reason == ISA_TOO_LONG ? exec_too_long : exec_invalid };
}

/* Appends the instruction at the block's end; false when the block ends before it. */
static bool append(struct cpu *c, struct block *b, const uint8_t *bytes, unsigned available)
{
	struct insn *insn = &b->insn[b->count];
	int length = isa_decode(insn, bytes, available, (enum isa_mode)b->mode);
	if (length == ISA_SHORT)
		return false;
	if (length < 0) {
		make_fault(insn, length);
		b->count++;
		return false;
	}
	cpu_select(c, insn);
	b->bytes = (uint16_t)(b->bytes + length);
	b->count++;
	return !(isa_rows[insn->row].attributes & ROW_ENDS);
}

static void insert(struct block_cache *cache, struct block *b)
{
	struct block **bucket = &cache->buckets[block_hash(b->host, b->mode)];
	b->next = *bucket;
	*bucket = b;
	cache->used += block_size(b->count);
}

/* The instruction at `host` reaches over the end of its page. Outside 64-bit mode it is not cached, so that the limit of
 * the code segment is looked at for each byte. */
static struct block *decode_crossing(struct cpu *c, struct block_cache *cache, struct block *b, uint64_t linear, unsigned room)
{
	uint64_t gpa;
	if (c->code_mode != ISA_MODE_64 || !is_canonical(linear + room))
		return block_decode_single(c, cache, linear);
	const uint8_t *second = mmu_fetch(c, linear + room, &gpa);
	if (!second)
		return block_decode_single(c, cache, linear);
	uint8_t bytes[15];
	b->second = second;
	b->second_generation_now = memory_generation(c->memory, second);
	b->second_generation = *b->second_generation_now;
	mmu_mark_code(c, second, 15 - room);
	memcpy(bytes, b->host, room);
	memcpy(bytes + room, second, 15 - room);
	if (!append(c, b, bytes, 15) && !b->count)
		make_fault(&b->insn[b->count++], ISA_TOO_LONG);
	b->bytes = 0;
	insert(cache, b);
	return b;
}

struct block *block_decode(struct cpu *c, struct block_cache *cache, const uint8_t *host, uint64_t linear)
{
	unsigned room = GUEST_PAGE_SIZE - (unsigned)((uintptr_t)host & GUEST_PAGE_MASK);
	unlink_stale(cache, host, c->code_mode);
	struct block *b = arena_block(cache);
	*b = (struct block){ .host = host, .mode = c->code_mode, .generation_now = memory_generation(c->memory, host) };
	b->generation = *b->generation_now;
	mmu_mark_code(c, host, MIN(room, 64));
	unsigned marked = MIN(room, 64);
	while (b->count < BLOCK_MAX_INSNS) {
		if (b->bytes + 15u > marked && marked < room) {
			unsigned more = MIN(room - marked, 64);
			mmu_mark_code(c, host + marked, more);
			marked += more;
		}
		if (b->bytes == room || !append(c, b, host + b->bytes, room - b->bytes))
			break;
	}
	if (!b->count)
		return decode_crossing(c, cache, b, linear, room);
	insert(cache, b);
	c->stats.blocks_decoded++;
	return b;
}

/* Fetches byte by byte what may lie in two pages or in device space, so that the second page faults only when the
 * instruction reaches into it. */
static void fetch_byte(struct cpu *c, uint64_t linear, uint8_t *to)
{
	if (c->code_mode == ISA_MODE_64 && !is_canonical(linear))
		cpu_gp(c, 0);
	uint64_t gpa;
	const uint8_t *host = mmu_fetch(c, linear, &gpa);
	*to = host ? *host : (uint8_t)io_read(c->mmio, gpa, 1);
}

struct block *block_decode_single(struct cpu *c, struct block_cache *cache, uint64_t linear)
{
	struct block *b = cache->single;
	static const _Atomic uint32_t never;
	*b = (struct block){ .mode = c->code_mode, .count = 1, .generation_now = &never };
	uint8_t bytes[16];
	int length = ISA_SHORT;
	for (unsigned n = 0; n < 15 && length == ISA_SHORT; n++) {
		uint64_t offset = c->gpr[REG_RIP] + n;
		if (c->code_mode != ISA_MODE_64 && offset > c->seg[SEG_CS].limit)
			cpu_gp(c, 0);
		fetch_byte(c, c->code_mode == ISA_MODE_64 ? linear + n : (uint32_t)(linear + n), &bytes[n]);
		length = isa_decode(&b->insn[0], bytes, n + 1, (enum isa_mode)b->mode);
	}
	if (length < 0)
		make_fault(&b->insn[0], length == ISA_SHORT ? ISA_TOO_LONG : length);
	else
		cpu_select(c, &b->insn[0]);
	return b;
}
