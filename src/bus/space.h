/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_SPACE_H
#define VISOR_BUS_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/lock.h"

/*
 * A space of device registers: the 64 KiB of I/O ports, or the guest-physical
 * addresses that are no memory. Regions may be added, moved and removed while
 * vCPUs access the space. A callback runs on the vCPU's thread with the
 * region's lock taken.
 */
struct io_ops {
	/* offset: bytes from the region's base. size: 1, 2, 4 or 8, at most max_size. Always within the region. */
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	unsigned max_size; /* larger accesses are split, low part first; 0 means 4 */
};

/*
 * Doorbells: `count` places in a region, `stride` bytes apart, where a write says that it came and nothing else, and may be heard a
 * little later. Whoever executes the guest may take such writes to ring() instead of write(): on any thread, with no lock
 * taken, once for several of them, or without one when the region moves.
 */
struct io_bells {
	uint64_t offset;
	unsigned stride, count;
	void (*ring)(void *opaque, unsigned index);
	void *opaque;
};

struct io_region {
	const char *name;
	const struct io_ops *ops;
	void *opaque;
	struct lock *lock; /* NULL: the callbacks lock for themselves */
	struct io_bells bells;
	bool awaits;       /* what was posted is carried out before each access */
	uint64_t base, size;
	bool mapped;
	_Atomic uint64_t reads, writes, rings; /* for --stats */
};

/* What accesses look at, without a lock: the regions that are mapped, by address. */
struct io_entry {
	_Atomic uint64_t first, last;
	_Atomic(struct io_region *) region;
};

struct io_table {
	struct io_table *older; /* smaller ones, in which somebody may still be looking */
	unsigned room;
	_Atomic unsigned count;
	struct io_entry entry[];
};

struct io_place {
	uint64_t base, size;
};

#define IO_FOUND 256u

struct io_space {
	pthread_rwlock_t rwlock;    /* not for accesses */
	_Atomic uint32_t changes;   /* odd while the table is written: who has read it then looks again */
	_Atomic(struct io_table *) table;
	_Atomic uint16_t found[IO_FOUND]; /* by address: the index of the entry that served last */
	struct io_region **regions; /* sorted by base, never overlapping */
	unsigned count;
	uint64_t limit;             /* number of addresses: 0x10000 for ports */
	/* A region with bells was mapped, or is about to be unmapped: then no bell of it rings after that. On the thread that does it,
	 * with rwlock taken. NULL: nobody hears them but by write(). */
	void (*bells_moved)(void *opaque, struct io_region *region, bool mapped);
	void *bells_opaque;
	/* Posted writes: while `posting`, those to these places may wait with whoever executes the guest, since they do nothing that can be
	 * seen but by accesses to regions that await them, and by what calls io_catch_up. */
	const struct io_place *posted;
	unsigned posted_count;
	_Atomic bool posting;
	/* Carries out what waits, of both spaces and in order, by io_write_posted; from any thread that has no device's lock. NULL:
	 * nothing ever waits. */
	void (*catch_up)(void *opaque);
	void *catch_up_opaque;
};

static inline void io_catch_up(struct io_space *space)
{
	if (space->catch_up)
		space->catch_up(space->catch_up_opaque);
}

int io_space_init(struct io_space *space, uint64_t limit, struct error *err);
void io_space_destroy(struct io_space *space);

/* Maps region->base .. +size; fails (EEXIST) when it overlaps another region or leaves the space. */
int io_space_map(struct io_space *space, struct io_region *region, struct error *err);
/* Unmaps; a region that is not mapped is left alone. */
void io_space_unmap(struct io_space *space, struct io_region *region);

/* Accesses of 1, 2, 4 or 8 bytes at any address. What nobody answers reads as all ones and swallows writes. */
uint64_t io_read(struct io_space *space, uint64_t address, unsigned size);
void io_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size);

/* The same of a write that has waited. */
void io_write_posted(struct io_space *space, uint64_t address, uint64_t value, unsigned size);

/* Says of every region with bells that is mapped that it was mapped now, or is about to go, to a listener that has just come, or leaves. */
void io_space_tell_bells(struct io_space *space, bool mapped);

/* True when a region answers at this address. */
bool io_space_claimed(struct io_space *space, uint64_t address);

#endif
