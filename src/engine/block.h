/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_BLOCK_H
#define VISOR_ENGINE_BLOCK_H

#include <stdio.h>

#include "cpu/cpu.h"

/*
 * The cache of decoded instructions, one per vCPU. A block is a straight run of
 * instructions inside one page, named by the host address of its first byte
 * (that is, by guest-physical page) and the code size. It holds as long as the
 * page's code generation stays what it was when the block was decoded.
 */
struct block {
	const uint8_t *host;
	/* The blocks that came after this one the last times: looked at before the hash table. They may be stale, never freed:
	 * the arena is emptied as a whole. */
	struct block *link[2];
	struct block *next;                  /* in its hash chain */
	const _Atomic uint32_t *generation_now;
	/* One instruction that crosses into the next page: where that page was; NULL otherwise. */
	const uint8_t *second;
	const _Atomic uint32_t *second_generation_now;
	uint32_t generation, second_generation;
	uint16_t bytes;                      /* guest bytes covered */
	uint8_t count;
	uint8_t mode;
	struct insn insn[];
};

#define BLOCK_MAX_INSNS 32
#define BLOCK_BUCKETS 16384u

struct block_cache {
	struct block **buckets;
	uint8_t *arena;
	size_t used, room;
	struct block *single; /* scratch for an instruction that cannot be cached */
	FILE *trace;
	/* Blocks of user code, or all, are `single`: there are writes to it that nobody notices. */
	enum { BLOCKS_KEPT, BLOCKS_NOT_OF_USER, BLOCKS_NOT_KEPT } keeping;
};

/* vcpus: how many share the memory meant for all caches. */
int block_cache_init(struct block_cache *cache, unsigned vcpus, struct error *err);
void block_cache_destroy(struct block_cache *cache);
/* Forgets all blocks. */
void block_cache_clear(struct block_cache *cache);

static inline unsigned block_hash(const uint8_t *host, unsigned mode)
{
	uintptr_t h = (uintptr_t)host;
	return (unsigned)((h ^ h >> 14) + mode * 0x1357u) & (BLOCK_BUCKETS - 1);
}

/* Decodes the block at the current RIP; host: its first byte in guest memory. */
struct block *block_decode(struct cpu *c, struct block_cache *cache, const uint8_t *host, uint64_t linear);
/* Decodes exactly one instruction at RIP, not cached: in device space, at the edge of the code segment. May fault. */
struct block *block_decode_single(struct cpu *c, struct block_cache *cache, uint64_t linear);

#endif
