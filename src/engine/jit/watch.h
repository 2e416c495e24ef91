/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_WATCH_H
#define VISOR_ENGINE_JIT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/memory.h"

/*
 * Paging-structure entries that lead to pages of the kernel's half which are not global. Such a page may be another one in
 * every address space; where the kernel shares its page tables among them all, it is the same, and stays shown as long as
 * the entries of the address space that comes are those that it was found by.
 */
#define WATCH_MAX 1024u
#define WATCH_TOPS 16u

struct watch_list {
	struct {
		uint16_t index;  /* in the PML4 */
		uint64_t value;
	} top[WATCH_TOPS];
	struct {
		const uint64_t *entry;
		uint64_t value;
	} watch[WATCH_MAX];
	unsigned tops, count;
};

/* One walk: from the entry of the PML4 down, as they were read. */
struct watch_path {
	uint16_t index;
	unsigned count;
	const uint64_t *entry[4];
	uint64_t value[4];
};

/* False: there is no room, or an entry has changed since it was added for another page. */
bool watch_add(struct watch_list *list, const struct watch_path *path);
/* The entries are as they were. */
bool watch_path_holds(const struct watch_path *path);
/* All that is listed is what the address space with this root has, and as it was. */
bool watch_holds(const struct watch_list *list, const struct guest_memory *memory, uint64_t root);
/* The path begins in this root as well. */
bool watch_same_top(const struct watch_path *path, const struct guest_memory *memory, uint64_t root);

#endif
