/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_WINDOWS_H
#define VISOR_ENGINE_JIT_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/jit/watch.h"
#include "mem/memory.h"

/*
 * Guest address spaces mirrored in the monitor's own, so that hot code reaches
 * memory by the host's MMU. A window shows 4 GiB of a guest address space, page
 * by page as far as they were wanted: guest address + window_bias = host address. Each
 * window has 4 GiB of nothing on both sides, so that one bias serves base +
 * displacement, or another window of the same bias (blocks.h). What is not mapped there faults.
 *
 * A space that is worth it gets a shape: a bias that as many of its windows as possible have, so that code takes it
 * for granted and proves that it may (predict.h). Shapes have zones of 16 GiB, which hold windows of that bias and nothing else.
 *
 * Windows are a TLB: a page of them goes when the guest flushes it, unless the page tables still say the same. They are
 * shared by the vCPUs of a machine; the root of the page tables names the
 * space, and the pages of the upper half that are global are a space of their
 * own. All functions lock.
 */
#define WINDOW_SHIFT 32
#define WINDOW_ZONE_SHIFT 34                 /* what a shape has of addresses, it has by zones */
#define WINDOW_LOWEST (2ull << 20)           /* user addresses below are never shown */
#define WINDOW_KERNEL UINT64_MAX             /* the root of the space of global pages */

struct windows;
struct space;

/* How busy a space is, for whoever decides whether it is worth windows: TSC ticks. Kept by vCPUs without a lock: what two
 * of them write at once may be lost. */
struct space_heat {
	uint64_t time;              /* spent in it */
	uint64_t checked, fills;    /* `time` at the last look; time spent on its windows since */
	uint64_t lost;              /* and on faults of windows where the guest had no page either */
	uint64_t cold_until;        /* `time` from which windows may be tried (again) */
	unsigned failures;
	bool hot;                   /* its code runs on windows */
};

/* What the windows of one space are: index is bits 32 to 47 of the guest's address. */
struct window_bias {
	uint16_t index;
	uint64_t bias;
};
#define SPACE_WINDOWS 32

struct window_shape {
	uint32_t id;                /* 0: none; else never the same again */
	uint32_t heir;              /* counts the processes that have had it */
	bool low;                   /* of a program at the lowest addresses, whose next processes are there again, but have the rest elsewhere */
	uint32_t proof;             /* predict_take's: shows for which zones the bias is right */
	uint64_t bias;
};

/* The windows of this memory: made by the first, freed after the last. NULL: no address space for them. */
struct windows *windows_get(struct guest_memory *memory);
void windows_put(struct windows *w);

/* The space of a root, made when there is none yet; *held, the space that this caller held before, may be reused by
 * others from now on. NULL: none is free. */
struct space *windows_hold(struct windows *w, struct space *before, uint64_t root);
void windows_release(struct windows *w, struct space *space);

/* Shows `count` pages from the guest's `linear` on, as far as nothing is shown there yet, but `wanted`, one of them, in any
 * case; host: where they are in guest memory. Pages with translated code are never writable. False: no room, or they were there already.
 * path: how a page of the kernel's half that is not global was found, else NULL; false, too, when it may be another one for a
 * vCPU that is in another space. */
bool windows_map(struct windows *w, struct space *space, uint64_t linear, const uint8_t *host, unsigned count, uint64_t wanted,
		 bool writable, const struct watch_path *path);
/* Whether anything is shown at the page of `linear`. */
bool windows_shows(struct windows *w, const struct space *space, uint64_t linear);
/* size: whole pages, within 4 GiB. */
void windows_unmap(struct windows *w, struct space *space, uint64_t linear, uint64_t size);
/*
 * The guest flushed the space of a root, all but the kernel's (WINDOW_USERS) or all (WINDOW_ALL). What they show may be old
 * from now on: who enters one that is flushed, or is in it when it asks for that, calls windows_settle first.
 */
#define WINDOW_USERS (UINT64_MAX - 1)
#define WINDOW_ALL (UINT64_MAX - 2)
void windows_flush(struct windows *w, uint64_t root);
bool windows_flushed(const struct space *space);

/* What the guest's page tables say of a page: where it is, the aligned block around it that this is true of, whether it may
 * be written but for code. */
struct window_page {
	const uint8_t *host;
	uint64_t size;
	bool write, global;
};
/* To be called when the space of a root becomes current or is flushed: of the kernel's pages those that are not global go when
 * they need not be the same in it. */
void windows_check_local(struct windows *w, struct space *kernel, uint64_t root);
/* Hides what is not as `look` says; false from it: nothing may be shown there. The caller holds the space. */
typedef bool window_look(void *opaque, uint64_t linear, struct window_page *page);
void windows_settle(struct windows *w, struct space *space, window_look *look, void *opaque);
/* The same for a stretch of whole pages within 4 GiB. */
void windows_settle_stretch(struct windows *w, struct space *space, uint64_t linear, uint64_t size, window_look *look, void *opaque);

struct space_heat *windows_heat(struct space *space);

/* Gives the space a shape if it has none and there is one, for addresses in these zones (bits 34 to 47), all of which, but for
 * the last one, it fits; returns whether it did. What the space shows is hidden. */
bool windows_shape(struct windows *w, struct space *space, const uint16_t *zone, unsigned zones);
/* The same, but with the shape of this id, if it is of a space that is gone: what was translated for that one serves the new one too. */
bool windows_inherit(struct windows *w, struct space *space, uint32_t id, const uint16_t *zone, unsigned zones);
struct window_shape windows_shape_of(struct windows *w, const struct space *space);
/* Where addresses with these bits are: in a window with another bias than the shape's, in none yet, in one with the shape's. */
enum window_place { WINDOW_ASTRAY, WINDOW_NOT_YET, WINDOW_IN_SHAPE };
/* How many windows are astray. */
unsigned windows_astray(const struct space *space);
enum window_place windows_place(struct windows *w, const struct space *space, uint16_t index);
/* Whether they have the shape's bias in all spaces that will have it. */
bool windows_constant(struct windows *w, const struct space *space, uint16_t index);
/* Pages of guest memory in which code was marked since the last call, for those who show memory by other ways: *since is the caller's, 0 at
 * first. Returns how many; more than WINDOW_MARKS: any. */
#define WINDOW_MARKS 64u
unsigned windows_marked(struct windows *w, unsigned *since, uint32_t page[WINDOW_MARKS]);
/* Lists the windows of a space; returns how many. */
unsigned windows_list(struct windows *w, const struct space *space, struct window_bias list[SPACE_WINDOWS]);
/* Counts up whenever the list of the space grows. */
unsigned windows_version(const struct space *space);
/* The guest's address of a host address in a window, or false. */
bool windows_guest_address(const struct windows *w, uintptr_t host, uint64_t *linear);

#endif
