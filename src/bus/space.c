/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

int io_space_init(struct io_space *space, uint64_t limit, struct error *err)
{
	*space = (struct io_space){ .limit = limit };
	int rc = pthread_rwlock_init(&space->rwlock, NULL);
	return rc ? error_set(err, rc, "cannot make a lock: %s", strerror(rc)) : 0;
}

void io_space_destroy(struct io_space *space)
{
	free(space->regions);
	for (struct io_table *table = space->table, *older; table; table = older) {
		older = table->older;
		free(table);
	}
	pthread_rwlock_destroy(&space->rwlock);
}

/* Room in the table for one region more. */
static int grow(struct io_space *space, struct error *err)
{
	struct io_table *old = space->table;
	if (old && space->count < old->room)
		return 0;
	unsigned room = old ? old->room * 2 : 32;
	struct io_region **regions = realloc(space->regions, room * sizeof(*regions));
	if (regions)
		space->regions = regions;
	struct io_table *table = regions ? calloc(1, sizeof(*table) + room * sizeof(*table->entry)) : NULL;
	if (!table)
		return error_set(err, ENOMEM, "out of memory");
	table->room = room;
	table->older = old;
	atomic_fetch_add(&space->changes, 1);
	atomic_store(&space->table, table); /* filled by publish() */
	atomic_fetch_add(&space->changes, 1);
	return 0;
}

/* The regions become visible to accesses. */
static void publish(struct io_space *space)
{
	struct io_table *table = space->table;
	if (!table)
		return;
	atomic_fetch_add(&space->changes, 1);
	for (unsigned i = 0; i < space->count; i++) {
		struct io_region *region = space->regions[i];
		atomic_store_explicit(&table->entry[i].first, region->base, memory_order_relaxed);
		atomic_store_explicit(&table->entry[i].last, region->base + region->size - 1, memory_order_relaxed);
		atomic_store_explicit(&table->entry[i].region, region, memory_order_relaxed);
	}
	atomic_store_explicit(&table->count, space->count, memory_order_relaxed);
	atomic_fetch_add(&space->changes, 1);
}

/* The index of the first region that ends above the address. */
static unsigned find(const struct io_space *space, uint64_t address)
{
	unsigned low = 0, high = space->count;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (space->regions[mid]->base + space->regions[mid]->size - 1 < address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void tell_bells(const struct io_space *space, struct io_region *region, bool mapped)
{
	if (region->bells.count && space->bells_moved)
		space->bells_moved(space->bells_opaque, region, mapped);
}

void io_space_tell_bells(struct io_space *space, bool mapped)
{
	pthread_rwlock_wrlock(&space->rwlock);
	for (unsigned i = 0; i < space->count; i++)
		tell_bells(space, space->regions[i], mapped);
	pthread_rwlock_unlock(&space->rwlock);
}

static int insert(struct io_space *space, struct io_region *region, struct error *err)
{
	unsigned at = find(space, region->base);
	if (at < space->count && space->regions[at]->base < region->base + region->size)
		return error_set(err, EEXIST, "%s at 0x%llx overlaps %s", region->name,
				 (unsigned long long)region->base, space->regions[at]->name);
	if (grow(space, err) < 0)
		return -1;
	memmove(space->regions + at + 1, space->regions + at, (space->count - at) * sizeof(*space->regions));
	space->regions[at] = region;
	space->count++;
	region->mapped = true;
	publish(space);
	tell_bells(space, region, true);
	return 0;
}

int io_space_map(struct io_space *space, struct io_region *region, struct error *err)
{
	if (!region->size || region->base >= space->limit || region->size > space->limit - region->base)
		return error_set(err, EINVAL, "%s at 0x%llx does not fit the address space", region->name,
				 (unsigned long long)region->base);
	pthread_rwlock_wrlock(&space->rwlock);
	int rc = region->mapped ? 0 : insert(space, region, err);
	pthread_rwlock_unlock(&space->rwlock);
	return rc;
}

void io_space_unmap(struct io_space *space, struct io_region *region)
{
	pthread_rwlock_wrlock(&space->rwlock);
	if (region->mapped) {
		unsigned at = find(space, region->base);
		tell_bells(space, region, false);
		space->count--;
		memmove(space->regions + at, space->regions + at + 1, (space->count - at) * sizeof(*space->regions));
		region->mapped = false;
		publish(space);
	}
	pthread_rwlock_unlock(&space->rwlock);
}

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static bool holds(const struct io_entry *entry, uint64_t address)
{
	return LOAD(entry->first) <= address && address <= LOAD(entry->last);
}

/* The index of the entry, or the number of entries. */
static unsigned search(const struct io_table *table, uint64_t address, unsigned count)
{
	unsigned low = 0, high = count;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (LOAD(table->entry[mid].last) < address)
			low = mid + 1;
		else
			high = mid;
	}
	return low < count && holds(&table->entry[low], address) ? low : count;
}

static struct io_region *look(struct io_space *space, const struct io_table *table, uint64_t address, uint64_t *base)
{
	_Atomic uint16_t *found = &space->found[(address ^ address >> 12) % IO_FOUND];
	unsigned count = table ? LOAD(table->count) : 0, at = LOAD(*found);
	if (unlikely(at >= count || !holds(&table->entry[at], address))) {
		at = search(table, address, count);
		if (at == count)
			return NULL;
		atomic_store_explicit(found, (uint16_t)at, memory_order_relaxed);
	}
	*base = LOAD(table->entry[at].first);
	return LOAD(table->entry[at].region);
}

/* Regions move seldom, and are looked for all the time. A callback may move them (a BAR write): it finds nothing locked. */
static struct io_region *lookup(struct io_space *space, uint64_t address, uint64_t *base)
{
	for (;;) {
		uint32_t changes = atomic_load_explicit(&space->changes, memory_order_acquire);
		struct io_region *region = look(space, LOAD(space->table), address, base);
		atomic_thread_fence(memory_order_acquire);
		if (likely(!(changes & 1) && LOAD(space->changes) == changes))
			return region;
		__builtin_ia32_pause();
	}
}

/* The region's lock serves here, too; where there is none a number may get lost. */
static void count(_Atomic uint64_t *number)
{
	atomic_store_explicit(number, LOAD(*number) + 1, memory_order_relaxed);
}

static bool serves(const struct io_region *region, uint64_t offset, unsigned size)
{
	unsigned max = region->ops->max_size ? region->ops->max_size : 4;
	return size <= max && offset + size <= region->size;
}

uint64_t io_read(struct io_space *space, uint64_t address, unsigned size)
{
	uint64_t base = 0;
	struct io_region *region = lookup(space, address, &base);
	if (region && serves(region, address - base, size)) {
		if (unlikely(region->awaits))
			io_catch_up(space);
		lock_take(region->lock);
		count(&region->reads);
		uint64_t value = region->ops->read(region->opaque, address - base, size);
		lock_release(region->lock);
		return value & size_mask(size);
	}
	if (size == 1)
		return 0xff;
	unsigned half = size / 2;
	uint64_t low = io_read(space, address, half);
	return low | io_read(space, address + half, half) << (half * 8);
}

static void write_now(struct io_space *space, uint64_t address, uint64_t value, unsigned size, bool posted)
{
	uint64_t base = 0;
	struct io_region *region = lookup(space, address, &base);
	if (region && serves(region, address - base, size)) {
		if (unlikely(region->awaits && !posted))
			io_catch_up(space);
		lock_take(region->lock);
		count(&region->writes);
		region->ops->write(region->opaque, address - base, value & size_mask(size), size);
		lock_release(region->lock);
		return;
	}
	if (size == 1)
		return;
	unsigned half = size / 2;
	write_now(space, address, value, half, posted);
	write_now(space, address + half, value >> (half * 8), half, posted);
}

void io_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size)
{
	write_now(space, address, value, size, false);
}

void io_write_posted(struct io_space *space, uint64_t address, uint64_t value, unsigned size)
{
	write_now(space, address, value, size, true);
}

bool io_space_claimed(struct io_space *space, uint64_t address)
{
	uint64_t base;
	return lookup(space, address, &base) != NULL;
}
