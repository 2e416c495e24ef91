/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_BLOCKS_H
#define VISOR_ENGINE_JIT_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The monitor's own address space in blocks of 4 GiB, of which all that was free when the first machine asked is reserved for
 * windows, but for some room that the host's mmap needs. Blocks that are taken have nothing of others beside them: the neighbours are
 * reserved, and empty or of the same owner. All functions lock.
 */
#define BLOCK_SHIFT 32
#define BLOCKS 0x8000u

/* Reserves this very address space, which nobody can access then. False: something is there (errno: EEXIST), or the host does not
 * allow it. */
bool blocks_reserve(uintptr_t start, uint64_t size);
/* False: nothing could be reserved. */
bool blocks_init(void);
/* Never 0, and never the same again. */
uint32_t blocks_owner(void);
/* Whether the owner may take so many blocks from this one on. */
bool blocks_fit(int64_t block, unsigned count, uint32_t owner);
/* False: they do not fit. */
bool blocks_take(int64_t block, unsigned count, uint32_t owner);
/* Takes any block that fits; 0: there is none. */
unsigned blocks_take_any(uint32_t owner);
/* They show nothing any more. */
void blocks_free(unsigned block, unsigned count);
static inline uint8_t *blocks_host(unsigned block) { return (uint8_t *)((uintptr_t)block << BLOCK_SHIFT); }

#endif
