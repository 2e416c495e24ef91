/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_LIMITS_H
#define VISOR_HOST_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes of RAM and swap that the host has; UINT64_MAX when it does not say. */
uint64_t host_memory_size(void);

/* What this process takes of it, in bytes: private memory that no file holds; the kernel's page tables. */
struct host_memory_use {
	uint64_t private, page_tables;
};
/* False: the host does not say (no /proc). */
bool host_memory_use(struct host_memory_use *use);

#endif
