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
	pthread_rwlock_destroy(&space->rwlock);
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

static int insert(struct io_space *space, struct io_region *region, struct error *err)
{
	unsigned at = find(space, region->base);
	if (at < space->count && space->regions[at]->base < region->base + region->size)
		return error_set(err, EEXIST, "%s at 0x%llx overlaps %s", region->name,
				 (unsigned long long)region->base, space->regions[at]->name);
	if (space->count == space->room) {
		unsigned room = space->room ? space->room * 2 : 32;
		struct io_region **regions = realloc(space->regions, room * sizeof(*regions));
		if (!regions)
			return error_set(err, ENOMEM, "out of memory");
		space->regions = regions;
		space->room = room;
	}
	memmove(space->regions + at + 1, space->regions + at, (space->count - at) * sizeof(*space->regions));
	space->regions[at] = region;
	space->count++;
	region->mapped = true;
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
		space->count--;
		memmove(space->regions + at, space->regions + at + 1, (space->count - at) * sizeof(*space->regions));
		region->mapped = false;
	}
	pthread_rwlock_unlock(&space->rwlock);
}

/* The region's lock is taken after the space's has been given back: a callback
 * may move regions (a BAR write) and must find the space unlocked. */
static struct io_region *lookup(struct io_space *space, uint64_t address, uint64_t *base)
{
	struct io_region *region = NULL;
	pthread_rwlock_rdlock(&space->rwlock);
	unsigned at = find(space, address);
	if (at < space->count && space->regions[at]->base <= address) {
		region = space->regions[at];
		*base = region->base;
	}
	pthread_rwlock_unlock(&space->rwlock);
	return region;
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
		lock_take(region->lock);
		region->reads++;
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

void io_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size)
{
	uint64_t base = 0;
	struct io_region *region = lookup(space, address, &base);
	if (region && serves(region, address - base, size)) {
		lock_take(region->lock);
		region->writes++;
		region->ops->write(region->opaque, address - base, value & size_mask(size), size);
		lock_release(region->lock);
		return;
	}
	if (size == 1)
		return;
	unsigned half = size / 2;
	io_write(space, address, value, half);
	io_write(space, address + half, value >> (half * 8), half);
}

bool io_space_claimed(struct io_space *space, uint64_t address)
{
	uint64_t base;
	return lookup(space, address, &base) != NULL;
}
