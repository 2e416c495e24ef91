/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/blocks.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"

/* System calls: mmap, munmap. */
#define BLOCK_SIZE (1ull << BLOCK_SHIFT)
#define ROOM_BELOW 1u      /* blocks that stay free below the host's latest mapping, */
#define ROOM_FIRST 0x3000u /* and some where guests seldom have anything */
#define ROOM_COUNT 0x400u
#define ROOM_LEAST 0x100u  /* where the host limits address space, the last ones are left to it */
#define ROOM_BREAK 4u      /* behind the program's break */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool reserved[BLOCKS];
static uint32_t owner_of[BLOCKS], owners;
static unsigned count, next = 0x1000;

/* --- reserving --- */

bool blocks_reserve(uintptr_t start, uint64_t size)
{
	void *want = (void *)start;
	void *at = mmap(want, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at != MAP_FAILED && at != want) {
		munmap(at, size); /* a kernel that takes the address for a hint */
		errno = ENOMEM;
		return false;
	}
	return at == want;
}

/* What is free of the blocks, by halves. */
static void reserve_blocks(unsigned first, unsigned end)
{
	if (first >= end)
		return;
	if (blocks_reserve((uintptr_t)first << BLOCK_SHIFT, (uint64_t)(end - first) << BLOCK_SHIFT)) {
		for (unsigned b = first; b < end; b++)
			reserved[b] = true;
		count += end - first;
	} else if (end - first > (errno == EEXIST ? 1u : ROOM_LEAST)) {
		unsigned middle = first + (end - first) / 2;
		reserve_blocks(first, middle);
		reserve_blocks(middle, end);
	}
}

/* Those of the blocks that are reserved, by one call for all that are side by side: a thousand calls take milliseconds. */
static void give_back(unsigned first, unsigned end)
{
	for (unsigned b = first, from; b < end; b++) {
		for (from = b; b < end && reserved[b]; b++)
			reserved[b] = false;
		if (b > from)
			munmap(blocks_host(from), (uint64_t)(b - from) << BLOCK_SHIFT);
		count -= b - from;
	}
}

static void reserve_all(void)
{
	void *latest = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned high = latest == MAP_FAILED ? BLOCKS / 2 : (unsigned)((uintptr_t)latest >> BLOCK_SHIFT);
	unsigned program = (unsigned)((uintptr_t)sbrk(0) >> BLOCK_SHIFT);
	if (latest != MAP_FAILED)
		munmap(latest, 4096);
	const struct { unsigned first, end; } room[] = {
		{ high - MIN(high, ROOM_BELOW), high + 1 }, { ROOM_FIRST, ROOM_FIRST + ROOM_COUNT }, { program, program + ROOM_BREAK },
	};
	/* All of it first, the room afterwards: the fewer pieces, the fewer mappings of the host's. */
	reserve_blocks(1, BLOCKS - 1);
	for (unsigned r = 0; r < ARRAY_SIZE(room); r++)
		give_back(room[r].first, MIN(room[r].end, BLOCKS));
}

bool blocks_init(void)
{
	pthread_once(&once, reserve_all);
	return count != 0;
}

/* --- giving --- */

uint32_t blocks_owner(void)
{
	return __atomic_add_fetch(&owners, 1, __ATOMIC_RELAXED);
}

static bool beside(unsigned block, uint32_t owner)
{
	return reserved[block] && (!owner_of[block] || owner_of[block] == owner);
}

static bool fit(int64_t first, unsigned wanted, uint32_t owner)
{
	if (first < 1 || first + wanted > BLOCKS - 1 || !beside((unsigned)first - 1, owner) || !beside((unsigned)first + wanted, owner))
		return false;
	for (unsigned b = (unsigned)first; b < first + wanted; b++)
		if (!reserved[b] || owner_of[b])
			return false;
	return true;
}

static void give(unsigned first, unsigned wanted, uint32_t owner)
{
	for (unsigned b = first; b < first + wanted; b++)
		owner_of[b] = owner;
}

bool blocks_fit(int64_t block, unsigned wanted, uint32_t owner)
{
	pthread_mutex_lock(&lock);
	bool good = fit(block, wanted, owner);
	pthread_mutex_unlock(&lock);
	return good;
}

bool blocks_take(int64_t block, unsigned wanted, uint32_t owner)
{
	pthread_mutex_lock(&lock);
	bool good = fit(block, wanted, owner);
	if (good)
		give((unsigned)block, wanted, owner);
	pthread_mutex_unlock(&lock);
	return good;
}

unsigned blocks_take_any(uint32_t owner)
{
	unsigned found = 0;
	pthread_mutex_lock(&lock);
	for (unsigned n = 0; !found && n < BLOCKS; n++) {
		next = next + 1 < BLOCKS ? next + 1 : 1;
		if (fit(next, 1, owner))
			found = next;
	}
	if (found)
		give(found, 1, owner);
	pthread_mutex_unlock(&lock);
	return found;
}

void blocks_free(unsigned block, unsigned wanted)
{
	pthread_mutex_lock(&lock);
	give(block, wanted, 0);
	pthread_mutex_unlock(&lock);
}
