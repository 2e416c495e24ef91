/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_FLASH_H
#define VISOR_DEV_PC_FLASH_H

#include "bus/device.h"
#include "bus/space.h"
#include "mem/memory.h"

/*
 * A flash memory with the Intel command set (CFI primary command set 1), in which
 * UEFI keeps its variables. In array mode it is memory that processors read as such; writes are commands and come
 * here. In other modes reads come here, too.
 */
#define FLASH_BLOCK 4096u /* bytes of an erase block */

struct flash_config {
	struct lock *lock;
	struct io_space *mmio;
	struct guest_memory *memory;   /* takes `size` bytes of it */
	uint64_t base;
	uint32_t size;                 /* a multiple of FLASH_BLOCK */
	const void *content;           /* of `size` bytes, at the start */
	/* The guest has changed [offset, +size); with the lock taken, on a vCPU's thread: must not block. */
	void (*changed)(void *opaque, uint32_t offset, uint32_t size);
	void *opaque;
};

struct flash;

struct flash *flash_create(const struct flash_config *config, struct error *err);

/* Copies what it holds now, from any thread. */
void flash_copy(struct flash *flash, uint32_t offset, void *to, uint32_t size);

#endif
