/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_META_H
#define VISOR_BLOCK_META_H

#include "block/hostfile.h"

/*
 * An image's tables, a cache of pages of its file. What is stored stays in memory until meta_sync writes it, in an
 * order that leaves the image consistent wherever it stops: pages of META_COUNTS (which clusters are in use) are on stable storage, with
 * all data written before, when the first page of META_MAP (where the guest's data is) goes out. So whatever a map leads to is
 * there and is counted; at worst something is counted that no map leads to.
 *
 * No locks: the caller has the image's. A page never holds anything but tables.
 */
enum meta_stage { META_COUNTS, META_MAP, META_STAGES };

struct meta;

/* page_size: a power of two. NULL: out of memory. */
struct meta *meta_create(struct hostfile *file, unsigned page_size);
void meta_destroy(struct meta *meta); /* dirty pages are lost */

/* The bytes from `at` on, `left` of them to the end of their page; good until the next call. 0 or an errno value. */
int meta_load(struct meta *meta, uint64_t at, const uint8_t **bytes, unsigned *left);
/* Changes bytes that are in one page. */
int meta_store(struct meta *meta, uint64_t at, const void *bytes, unsigned count, enum meta_stage stage);
/* The range is something else now, or was written past the cache. */
void meta_forget(struct meta *meta, uint64_t at, uint64_t length);

bool meta_is_dirty(const struct meta *meta);
/* So much waits to be written that the owner should sync. */
bool meta_is_full(const struct meta *meta);
/* Ends with everything on stable storage. `ordered` false leaves out what keeps the order over a crash of the host, for images that
 * say on their own that their counts cannot be relied on. */
int meta_sync(struct meta *meta, bool ordered);

#endif
