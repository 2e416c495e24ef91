/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MEM_DMA_H
#define VISOR_MEM_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/memory.h"

/*
 * A device's handle to guest memory. Devices reach RAM alone: an address that
 * no RAM answers is refused, never sent to another device. All functions may be
 * called from any thread; what a vCPU writes at the same moment is read torn or
 * whole as it comes, so a device copies a value once and validates the copy.
 */
struct dma {
	struct guest_memory *memory;
};

/* Copies `size` bytes at guest-physical `gpa`; false when any byte of the range is not memory (or, for a
 * write, not writable): then the part that is memory may have been copied. */
bool dma_read(const struct dma *dma, uint64_t gpa, void *buffer, uint64_t size);
bool dma_write(const struct dma *dma, uint64_t gpa, const void *buffer, uint64_t size);

/* The host address of [gpa, gpa+size) when it is memory that lies side by side on the host, else NULL.
 * Valid as long as the machine: slots of RAM never move. size must not be 0. */
void *dma_map(const struct dma *dma, uint64_t gpa, uint64_t size, bool for_write);

/* After a write of `size` bytes through a pointer from dma_map: drops decoded guest code there. */
void dma_wrote(const struct dma *dma, const void *host, uint64_t size);

#endif
