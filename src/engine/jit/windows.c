/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/windows.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "engine/jit/blocks.h"
#include "engine/jit/predict.h"

/* System calls: mmap, munmap, mprotect, madvise. */
#define SLOT_COUNT 2048u
#define NO_SLOT 0xffffu
#define ZONE_WINDOWS (1u << (WINDOW_ZONE_SHIFT - WINDOW_SHIFT))
#define WINDOW_SIZE (1ull << WINDOW_SHIFT)
#define WINDOW_PAGES (WINDOW_SIZE / GUEST_PAGE_SIZE)
#define SPACES 256
#define RUNS_MAX 16384u                   /* of all spaces: each costs up to two host mappings */

/* What a window shows at a page: the page of guest memory + 1, and whether it may be written. 0: nothing. */
#define PAGE_WRITABLE 0x80000000u

struct window {
	uint16_t index;
	uint16_t block;          /* of the monitor's address space */
	uint32_t *pages;
};

struct run {
	uint32_t slot, first, count, page; /* pages of the window, of guest memory */
	bool local;                        /* the kernel's, but not global */
};

/* A shape, and what of the monitor's address space is kept for it. */
struct place {
	struct window_shape shape;
	uint32_t owner;          /* of its blocks */
	unsigned zones;          /* that its windows are in, or were: bits 34 to 47 of addresses */
	uint16_t zone[SPACE_WINDOWS];
};

struct space {
	uint64_t root;
	bool used;
	unsigned holders;
	uint64_t last_use;
	struct space_heat heat;
	_Atomic bool flushed;
	bool left;               /* by all when it was flushed */
	_Atomic unsigned version;
	unsigned windows;
	uint16_t slot[SPACE_WINDOWS];
	unsigned retired_windows; /* from before the space had a shape: they show nothing, but some vCPU may still reach for them */
	uint16_t retired[SPACE_WINDOWS];
	struct place place;      /* none while its shape's id is 0 */
	_Atomic unsigned astray; /* windows that are not in the shape */
	struct run *runs;
	unsigned run_count, run_room;
};

#define PLACES_LEFT 16u

struct windows {
	struct windows *next;
	unsigned users;
	struct guest_memory *memory;
	pthread_mutex_t lock;
	struct window window[SLOT_COUNT];
	uint16_t slot_of[BLOCKS];
	uint16_t free_slots[SLOT_COUNT];
	unsigned free_count, next_slot;
	struct space space[SPACES];
	struct place left[PLACES_LEFT]; /* by spaces that are gone, the oldest one first: the next process of that program may have it */
	unsigned left_count;
	uint64_t uses;
	unsigned runs;
	uint32_t mark[WINDOW_MARKS];    /* pages that code was marked in, by their number in `marks` */
	unsigned marks;
	struct watch_list local;
	unsigned local_wait, local_penalty; /* checks until local pages are shown again; how many the next time */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct windows *list;

static uint8_t *window_host(const struct windows *w, unsigned slot)
{
	return blocks_host(w->window[slot].block);
}

static uint64_t window_linear(const struct window *window)
{
	return (uint64_t)((int64_t)((uint64_t)window->index << 48) >> 16);
}

/* --- making --- */

static void code_marked(void *opaque, uint64_t offset);

static struct windows *make(struct guest_memory *memory)
{
	struct windows *w = blocks_init() ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return NULL;
	memset(w->slot_of, 0xff, sizeof(w->slot_of));
	w->memory = memory;
	pthread_mutex_init(&w->lock, NULL);
	memory->code_marked = code_marked;
	memory->code_marked_opaque = w;
	return w;
}

struct windows *windows_get(struct guest_memory *memory)
{
	pthread_mutex_lock(&list_lock);
	struct windows *w = list;
	while (w && w->memory != memory)
		w = w->next;
	if (!w && (w = make(memory))) {
		w->next = list;
		list = w;
	}
	if (w)
		w->users++;
	pthread_mutex_unlock(&list_lock);
	return w;
}

/* --- emptying --- */

static void hide(uint8_t *host, uint64_t size)
{
	mmap(host, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

static void clear(struct windows *w, struct space *space)
{
	if (!space->run_count)
		return;
	for (unsigned i = 0; i < space->windows; i++) {
		hide(window_host(w, space->slot[i]), WINDOW_SIZE);
		madvise(w->window[space->slot[i]].pages, WINDOW_PAGES * sizeof(uint32_t), MADV_DONTNEED);
	}
	w->runs -= space->run_count;
	space->run_count = 0;
	if (space->root == WINDOW_KERNEL)
		w->local.count = w->local.tops = 0;
}

static void clear_all(struct windows *w)
{
	for (unsigned i = 0; i < SPACES; i++)
		clear(w, &w->space[i]);
}

/* --- spaces --- */

static struct space *find_space(struct windows *w, uint64_t root)
{
	for (unsigned i = 0; i < SPACES; i++)
		if (w->space[i].used && w->space[i].root == root)
			return &w->space[i];
	return NULL;
}

static int64_t zone_block(uint16_t zone, int64_t shift)
{
	return zone * (int64_t)ZONE_WINDOWS + shift;
}

/* Where the window would be if it had the shape's bias. */
static int64_t shaped_block(const struct window_shape *shape, unsigned index)
{
	return index + ((int64_t)shape->bias >> WINDOW_SHIFT);
}

static bool in_shape(const struct space *space, const struct window *window)
{
	return space->place.shape.id && window->block == shaped_block(&space->place.shape, window->index);
}

/* --- shapes that are left --- */

static void free_zone(const struct place *place, uint16_t zone)
{
	blocks_free((unsigned)shaped_block(&place->shape, zone * ZONE_WINDOWS), ZONE_WINDOWS);
}

static void give_back_place(const struct place *left)
{
	for (unsigned i = 0; i < left->zones; i++)
		free_zone(left, left->zone[i]);
	predict_give_back(left->shape.proof);
}

static void remove_left(struct windows *w, struct place *left)
{
	memmove(left, left + 1, (size_t)(w->left + --w->left_count - left) * sizeof(*left));
}

/* One that hardly has heirs, if there is any. */
static void give_back_one(struct windows *w)
{
	unsigned n = 0;
	while (n < w->left_count && w->left[n].shape.low)
		n++;
	struct place *left = &w->left[n < w->left_count ? n : 0];
	give_back_place(left);
	remove_left(w, left);
}

/* Returns whether there were any. */
static bool give_back_left(struct windows *w)
{
	bool any = w->left_count;
	for (unsigned i = 0; i < w->left_count; i++)
		give_back_place(&w->left[i]);
	w->left_count = 0;
	return any;
}

static void park(struct windows *w, const struct place *left)
{
	if (w->left_count == PLACES_LEFT)
		give_back_one(w);
	w->left[w->left_count++] = *left;
}

/* Where code has addresses as constants (windows_constant) the zones stay the shape's, for good. */
static bool stays(const struct place *place, unsigned zone)
{
	return !zone || !place->shape.low;
}

static void drop_zones(struct place *place)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < place->zones; i++) {
		uint16_t zone = place->zone[i];
		if (stays(place, zone)) {
			place->zone[kept++] = zone;
			continue;
		}
		predict_hide(place->shape.proof, zone);
		free_zone(place, zone);
	}
	place->zones = kept;
}

static void leave_place(struct windows *w, struct space *space)
{
	if (!space->place.shape.id)
		return;
	drop_zones(&space->place);
	park(w, &space->place);
	space->place = (struct place){ 0 };
}

static void give_back_slot(struct windows *w, const struct space *space, uint16_t slot)
{
	const struct window *window = &w->window[slot];
	w->slot_of[window->block] = NO_SLOT;
	if (!in_shape(space, window))
		blocks_free(window->block, 1);
	w->free_slots[w->free_count++] = slot;
}

/* Only of a space that nobody holds: no table leads to its windows. */
static void give_back_slots(struct windows *w, struct space *space)
{
	for (unsigned i = 0; i < space->windows; i++)
		give_back_slot(w, space, space->slot[i]);
	for (unsigned i = 0; i < space->retired_windows; i++)
		give_back_slot(w, space, space->retired[i]);
	space->windows = space->retired_windows = 0;
	atomic_store(&space->astray, 0);
	leave_place(w, space);
}

/* A free one, or the one that nobody holds and that was not used for longest. */
static struct space *take_space(struct windows *w, uint64_t root)
{
	struct space *best = NULL;
	for (unsigned i = 0; i < SPACES; i++) {
		struct space *s = &w->space[i];
		if (!s->used) {
			best = s;
			break;
		}
		if (!s->holders && s->root != WINDOW_KERNEL && (!best || s->last_use < best->last_use))
			best = s;
	}
	if (!best)
		return NULL;
	clear(w, best);
	give_back_slots(w, best);
	best->used = true;
	best->flushed = best->left = false;
	best->root = root;
	best->heat = (struct space_heat){ 0 };
	return best;
}

struct space *windows_hold(struct windows *w, struct space *before, uint64_t root)
{
	pthread_mutex_lock(&w->lock);
	if (before)
		before->holders--;
	struct space *space = find_space(w, root);
	if (!space)
		space = take_space(w, root);
	if (space) {
		space->holders++;
		space->last_use = ++w->uses;
	}
	pthread_mutex_unlock(&w->lock);
	return space;
}

void windows_release(struct windows *w, struct space *space)
{
	pthread_mutex_lock(&w->lock);
	space->holders--;
	pthread_mutex_unlock(&w->lock);
}

/* Only of a space that nobody else holds. */
static void make_new(struct windows *w, struct space *space)
{
	give_back_slots(w, space);
	atomic_fetch_add(&space->version, 1);
	space->heat = (struct space_heat){ 0 };
}

/* A root that is flushed while nobody is there is a new process's, when nothing is shown or, later, nothing of it is right. */
static void flush_space(struct windows *w, struct space *space)
{
	atomic_store(&space->flushed, true);
	space->left = !space->holders;
	if (space->left && !space->run_count)
		make_new(w, space);
}

void windows_flush(struct windows *w, uint64_t root)
{
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < SPACES; i++) {
		struct space *space = &w->space[i];
		bool kernel = space->root == WINDOW_KERNEL;
		if (space->used && (root == WINDOW_ALL || (root == WINDOW_USERS && !kernel) || space->root == root))
			flush_space(w, space);
	}
	pthread_mutex_unlock(&w->lock);
}

bool windows_flushed(const struct space *space)
{
	return atomic_load(&space->flushed);
}

struct space_heat *windows_heat(struct space *space)
{
	return &space->heat;
}

/* --- freeing --- */

static void unlink_from_list(struct windows *w)
{
	struct windows **at = &list;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
}

void windows_put(struct windows *w)
{
	pthread_mutex_lock(&list_lock);
	bool last = --w->users == 0;
	if (last)
		unlink_from_list(w);
	pthread_mutex_unlock(&list_lock);
	if (!last)
		return;
	w->memory->code_marked = NULL;
	clear_all(w);
	for (unsigned i = 0; i < SPACES; i++) {
		make_new(w, &w->space[i]);
		free(w->space[i].runs);
	}
	give_back_left(w);
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (w->window[i].pages)
			munmap(w->window[i].pages, WINDOW_PAGES * sizeof(uint32_t));
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- windows of a space --- */

static struct window *find_window(struct windows *w, const struct space *space, uint16_t index)
{
	for (unsigned i = 0; i < space->windows; i++)
		if (w->window[space->slot[i]].index == index)
			return &w->window[space->slot[i]];
	return NULL;
}

static bool take_slot(struct windows *w, uint16_t *slot)
{
	if (w->free_count) {
		*slot = w->free_slots[--w->free_count];
		return true;
	}
	if (w->next_slot == SLOT_COUNT)
		return false;
	void *pages = mmap(NULL, WINDOW_PAGES * sizeof(uint32_t), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		return false;
	*slot = (uint16_t)w->next_slot++;
	w->window[*slot].pages = pages;
	return true;
}

static bool has_zone(const struct place *place, uint16_t zone)
{
	for (unsigned i = 0; i < place->zones; i++)
		if (place->zone[i] == zone)
			return true;
	return false;
}

/* Whether the zone is the shape's, or becomes so. */
static bool take_zone(struct place *place, uint16_t zone)
{
	if (has_zone(place, zone))
		return true;
	if (place->zones == SPACE_WINDOWS || !blocks_take(shaped_block(&place->shape, zone * ZONE_WINDOWS), ZONE_WINDOWS, place->owner))
		return false;
	place->zone[place->zones++] = zone;
	predict_show(place->shape.proof, zone);
	return true;
}

/* 0: there is none. */
static unsigned take_block(struct space *space, uint16_t index)
{
	if (space->place.shape.id && index < BLOCKS && take_zone(&space->place, index / ZONE_WINDOWS))
		return (unsigned)shaped_block(&space->place.shape, index);
	return blocks_take_any(blocks_owner());
}

static struct window *add_window(struct windows *w, struct space *space, uint16_t index)
{
	uint16_t slot;
	if (space->windows == SPACE_WINDOWS || !take_slot(w, &slot))
		return NULL;
	unsigned block = take_block(space, index);
	if (!block) {
		w->free_slots[w->free_count++] = slot;
		return NULL;
	}
	w->window[slot].index = index;
	w->window[slot].block = (uint16_t)block;
	w->slot_of[block] = slot;
	space->slot[space->windows++] = slot;
	if (!in_shape(space, &w->window[slot]))
		atomic_fetch_add(&space->astray, 1);
	atomic_fetch_add(&space->version, 1);
	return &w->window[slot];
}

/* --- shapes --- */

#define SHIFT_MAX 4096
#define SHIFT_FAR 1024
#define SHIFT_TRIES 32

/* How much of what the space uses would have one bias; the last zone, the stack's, matters least. */
static unsigned count_fitting(const uint16_t *zone, unsigned zones, int64_t shift, uint32_t owner)
{
	unsigned fitting = 0;
	for (unsigned i = 0; i < zones; i++)
		if (blocks_fit(zone_block(zone[i], shift), ZONE_WINDOWS, owner))
			fitting += i + 1 == zones ? 1 : 2;
	return fitting;
}

/* What has the lowest and the highest addresses, besides the stack, leaves little choice. */
static bool far_apart(const uint16_t *zone, unsigned zones)
{
	return zone[0] * ZONE_WINDOWS <= SHIFT_MAX && zones > 2 && zone[zones - 2] * ZONE_WINDOWS >= (int)BLOCKS - SHIFT_MAX;
}

static bool all_fit(unsigned fitting, unsigned zones)
{
	return fitting && fitting >= 2 * zones - 2; /* but for the stack */
}

/* 0: something does not fit. Others keep away from where those are that have no choice, but to go up a little. */
static int64_t find_shift(const uint16_t *zone, unsigned zones, uint32_t owner)
{
	const bool far = far_apart(zone, zones);
	unsigned most = 0;
	int64_t best = 0, end = SHIFT_MAX;
	for (int64_t n = far ? 1 : SHIFT_FAR; n <= end && most < 2 * zones - 1; n++)
		for (int64_t shift = far ? n : -n; shift <= n; shift += 2 * n) {
			unsigned fitting = count_fitting(zone, zones, shift, owner);
			if (fitting <= most)
				continue;
			most = fitting;
			best = shift;
			if (all_fit(most, zones))
				end = MIN(end, n + SHIFT_TRIES);
		}
	return all_fit(most, zones) ? best : 0;
}

/* Takes the shapes that are left, or that of the space that was not used for longest. */
static void take_back_shape(struct windows *w)
{
	struct space *oldest = NULL;
	if (give_back_left(w))
		return;
	for (unsigned i = 0; i < SPACES; i++) {
		struct space *s = &w->space[i];
		if (s->used && s->place.shape.id && !s->holders && (!oldest || s->last_use < oldest->last_use))
			oldest = s;
	}
	if (!oldest)
		return;
	clear(w, oldest);
	make_new(w, oldest);
	give_back_left(w);
}

static void begin_shape(struct windows *w, struct space *space, const struct place *place, const uint16_t *zone, unsigned zones)
{
	clear(w, space);
	memcpy(space->retired, space->slot, sizeof(space->slot));
	space->retired_windows = space->windows;
	space->windows = 0;
	atomic_store(&space->astray, 0);
	space->place = *place;
	for (unsigned i = 0; i + 1 < zones; i++)
		take_zone(&space->place, zone[i]);
	atomic_fetch_add(&space->version, 1);
}

/* Its page tables have nothing of a process any more. */
static bool is_dead(const struct windows *w, uint64_t root)
{
	const uint64_t *top = (const uint64_t *)memory_range(w->memory, root, GUEST_PAGE_SIZE, false);
	for (unsigned i = 0; top && i < 256; i++)
		if (__atomic_load_n(&top[i], __ATOMIC_RELAXED) & 1)
			return false;
	return true;
}

static void bury(struct windows *w, struct space *space)
{
	if (space->used && !space->holders && is_dead(w, space->root)) {
		clear(w, space);
		make_new(w, space);
	}
}

static struct place *find_left(struct windows *w, uint32_t id)
{
	for (unsigned i = 0; i < w->left_count; i++)
		if (w->left[i].shape.id == id)
			return &w->left[i];
	return NULL;
}

/* Whether all fits but, perhaps, the last zone, the stack's. */
static bool serves(const struct place *left, const uint16_t *zone, unsigned zones)
{
	for (unsigned i = 0; i + 1 < zones; i++)
		if (!has_zone(left, zone[i]) && !blocks_fit(shaped_block(&left->shape, zone[i] * ZONE_WINDOWS), ZONE_WINDOWS, left->owner))
			return false;
	return left->zones + zones <= SPACE_WINDOWS;
}

static bool in_the_way(const struct place *place, int64_t block)
{
	for (unsigned i = 0; i < place->zones; i++)
		if (llabs(shaped_block(&place->shape, place->zone[i] * ZONE_WINDOWS) - block) <= ZONE_WINDOWS)
			return true;
	return false;
}

/* Of what is left by others, and was at these blocks. */
static void make_room(struct windows *w, int64_t block)
{
	for (unsigned i = 0; i < SPACES; i++) {
		struct space *s = &w->space[i];
		if (in_the_way(&s->place, block))
			bury(w, s);
	}
	for (unsigned i = w->left_count; i-- > 0;) {
		struct place *left = &w->left[i];
		if (!in_the_way(left, block))
			continue;
		give_back_place(left);
		remove_left(w, left);
	}
}

static bool left_in_the_way(const struct windows *w, int64_t block)
{
	for (unsigned i = 0; i < w->left_count; i++)
		if (in_the_way(&w->left[i], block))
			return true;
	return false;
}

/* Whether all but the last zone, the stack's, would fit if others gave way with what they left. */
static bool would_fit(const struct windows *w, const uint16_t *zone, unsigned zones, int64_t shift, uint32_t owner)
{
	for (unsigned i = 0; i + 1 < zones; i++) {
		int64_t block = zone_block(zone[i], shift);
		if (!left_in_the_way(w, block) && !blocks_fit(block, ZONE_WINDOWS, owner))
			return false;
	}
	return true;
}

static void make_rooms(struct windows *w, const uint16_t *zone, unsigned zones, int64_t shift)
{
	for (unsigned i = 0; i + 1 < zones; i++)
		make_room(w, zone_block(zone[i], shift));
}

/* 0: something does not fit. Where there is little choice, what others left gives way. */
static int64_t make_shift(struct windows *w, const uint16_t *zone, unsigned zones, uint32_t owner)
{
	int64_t shift = find_shift(zone, zones, owner);
	if (shift || !far_apart(zone, zones))
		return shift;
	for (unsigned i = 0; i < SPACES; i++)
		if (w->space[i].place.shape.id)
			bury(w, &w->space[i]);
	for (int64_t n = 1; !shift && n <= SHIFT_MAX; n++)
		if (would_fit(w, zone, zones, n, owner)) {
			make_rooms(w, zone, zones, n);
			shift = find_shift(zone, zones, owner);
		}
	return shift;
}

/* Takes the shape for the heir. False: it is of a space that is there still, or does not fit. */
static bool take_left(struct windows *w, uint32_t id, const uint16_t *zone, unsigned zones, struct place *taken)
{
	for (unsigned i = 0; i < SPACES; i++)
		if (w->space[i].place.shape.id == id)
			bury(w, &w->space[i]);
	struct place *left = find_left(w, id);
	if (!left)
		return false;
	*taken = *left;
	remove_left(w, left);
	taken->shape.heir++;
	if (serves(taken, zone, zones))
		return true;
	make_rooms(w, zone, zones, (int64_t)taken->shape.bias >> WINDOW_SHIFT);
	if (serves(taken, zone, zones))
		return true;
	park(w, taken);
	return false;
}

static bool shape(struct windows *w, struct space *space, const uint16_t *zone, unsigned zones)
{
	uint32_t owner = blocks_owner();
	int64_t shift = space->retired_windows ? 0 : make_shift(w, zone, zones, owner);
	uint32_t proof = shift ? predict_take() : 0;
	if (shift && !proof)
		take_back_shape(w);
	if (!proof)
		return false;
	const struct place place = { .shape = { .id = blocks_owner(), .bias = (uint64_t)shift << WINDOW_SHIFT, .proof = proof, .low = !zone[0] },
				     .owner = owner };
	begin_shape(w, space, &place, zone, zones);
	return true;
}

bool windows_inherit(struct windows *w, struct space *space, uint32_t id, const uint16_t *zone, unsigned zones)
{
	pthread_mutex_lock(&w->lock);
	struct place left;
	bool heir = !space->place.shape.id && !space->retired_windows && take_left(w, id, zone, zones, &left);
	if (heir)
		begin_shape(w, space, &left, zone, zones);
	pthread_mutex_unlock(&w->lock);
	return heir;
}

bool windows_shape(struct windows *w, struct space *space, const uint16_t *zone, unsigned zones)
{
	pthread_mutex_lock(&w->lock);
	bool made = !space->place.shape.id && shape(w, space, zone, zones);
	pthread_mutex_unlock(&w->lock);
	return made;
}

struct window_shape windows_shape_of(struct windows *w, const struct space *space)
{
	pthread_mutex_lock(&w->lock);
	struct window_shape shape = space->place.shape;
	pthread_mutex_unlock(&w->lock);
	return shape;
}

unsigned windows_astray(const struct space *space)
{
	return atomic_load_explicit(&space->astray, memory_order_relaxed);
}

enum window_place windows_place(struct windows *w, const struct space *space, uint16_t index)
{
	enum window_place place = WINDOW_NOT_YET;
	pthread_mutex_lock(&w->lock);
	const struct window *window = find_window(w, space, index);
	if (window)
		place = in_shape(space, window) ? WINDOW_IN_SHAPE : WINDOW_ASTRAY;
	pthread_mutex_unlock(&w->lock);
	return place;
}

bool windows_constant(struct windows *w, const struct space *space, uint16_t index)
{
	pthread_mutex_lock(&w->lock);
	const struct window *window = find_window(w, space, index);
	bool constant = window && in_shape(space, window) && stays(&space->place, index / ZONE_WINDOWS);
	pthread_mutex_unlock(&w->lock);
	return constant;
}

static struct run *add_run(struct windows *w, struct space *space)
{
	if (space->run_count == space->run_room) {
		unsigned room = space->run_room ? 2 * space->run_room : 64;
		struct run *runs = realloc(space->runs, room * sizeof(*runs));
		if (!runs)
			return NULL;
		space->runs = runs;
		space->run_room = room;
	}
	w->runs++;
	return &space->runs[space->run_count++];
}

static bool map_run(struct windows *w, struct window *window, uint32_t first, uint32_t page, unsigned count, bool writable)
{
	unsigned slot = (unsigned)(window - w->window);
	uint8_t *at = window_host(w, slot) + (uint64_t)first * GUEST_PAGE_SIZE;
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	/* The host shows what is around a page that is read, but of one that is written this page alone. */
	int populate = writable && count > 1 && count <= 64 ? MAP_POPULATE : 0;
	if (mmap(at, (uint64_t)count * GUEST_PAGE_SIZE, protection, MAP_SHARED | MAP_FIXED | populate,
		 w->memory->fd, (off_t)page * GUEST_PAGE_SIZE) == MAP_FAILED) {
		hide(at, (uint64_t)count * GUEST_PAGE_SIZE);
		return false;
	}
	for (unsigned i = 0; i < count; i++)
		window->pages[first + i] = (page + i + 1) | (writable ? PAGE_WRITABLE : 0);
	return true;
}

/* Code that another vCPU marks meanwhile is seen by whoever comes second: the mask before the lock, or code_marked after. */
static bool has_code(const struct windows *w, uint32_t page, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (memory_page_has_code(w->memory, (uint64_t)(page + i) << GUEST_PAGE_SHIFT))
			return true;
	return false;
}

/* The part of the stretch around `wanted` that shows nothing yet; the page alone where it shows something else. */
static void clip(const struct window *window, uint32_t first, unsigned count, uint32_t wanted, uint32_t *from, uint32_t *to)
{
	*from = wanted;
	*to = wanted + 1;
	if (window->pages[wanted])
		return;
	while (*from > first && !window->pages[*from - 1])
		--*from;
	while (*to < first + count && !window->pages[*to])
		++*to;
}

/* Whether the page is the same one in every space that some vCPU is in, and will be looked after. */
static bool add_local(struct windows *w, const struct watch_path *path)
{
	if (w->local_wait || !path->count)
		return false;
	for (unsigned i = 0; i < SPACES; i++) {
		const struct space *space = &w->space[i];
		if (space->used && space->holders && space->root != WINDOW_KERNEL && !watch_same_top(path, w->memory, space->root))
			return false;
	}
	return watch_add(&w->local, path) && watch_path_holds(path);
}

static bool map_locked(struct windows *w, struct space *space, uint64_t linear, uint32_t page, unsigned count, uint64_t wanted,
		       bool writable, const struct watch_path *path)
{
	if (wanted < WINDOW_LOWEST)
		return false;
	if (linear < WINDOW_LOWEST) {
		unsigned below = (unsigned)((WINDOW_LOWEST - linear) >> GUEST_PAGE_SHIFT);
		linear = WINDOW_LOWEST;
		page += below;
		count -= below;
	}
	if (w->runs >= RUNS_MAX)
		clear_all(w);
	uint16_t index = (uint16_t)(linear >> WINDOW_SHIFT);
	struct window *window = find_window(w, space, index);
	if (!window && !(window = add_window(w, space, index)))
		return false;
	uint32_t first = (uint32_t)(linear & (WINDOW_SIZE - 1)) >> GUEST_PAGE_SHIFT, from, to;
	clip(window, first, count, first + (uint32_t)((wanted - linear) >> GUEST_PAGE_SHIFT), &from, &to);
	page += from - first;
	writable &= !has_code(w, page, to - from);
	if (window->pages[from] == ((page + 1) | (writable ? PAGE_WRITABLE : 0)))
		return false;
	struct run *run = !path || add_local(w, path) ? add_run(w, space) : NULL;
	if (!run)
		return false;
	*run = (struct run){ (uint32_t)(window - w->window), from, to - from, page, path != NULL };
	return map_run(w, window, from, page, to - from, writable);
}

bool windows_map(struct windows *w, struct space *space, uint64_t linear, const uint8_t *host, unsigned count, uint64_t wanted,
		 bool writable, const struct watch_path *path)
{
	uint32_t page = (uint32_t)(memory_offset(w->memory, host) >> GUEST_PAGE_SHIFT);
	pthread_mutex_lock(&w->lock);
	bool done = map_locked(w, space, linear, page, count, wanted, writable, path);
	pthread_mutex_unlock(&w->lock);
	return done;
}

bool windows_shows(struct windows *w, const struct space *space, uint64_t linear)
{
	pthread_mutex_lock(&w->lock);
	const struct window *window = find_window(w, space, (uint16_t)(linear >> WINDOW_SHIFT));
	bool shows = window && window->pages[(linear & (WINDOW_SIZE - 1)) >> GUEST_PAGE_SHIFT];
	pthread_mutex_unlock(&w->lock);
	return shows;
}

void windows_unmap(struct windows *w, struct space *space, uint64_t linear, uint64_t size)
{
	pthread_mutex_lock(&w->lock);
	struct window *window = find_window(w, space, (uint16_t)(linear >> WINDOW_SHIFT));
	uint32_t first = (uint32_t)(linear & (WINDOW_SIZE - 1)) >> GUEST_PAGE_SHIFT;
	bool shown = false;
	for (unsigned i = 0; window && i < size >> GUEST_PAGE_SHIFT; i++) {
		shown |= window->pages[first + i] != 0;
		window->pages[first + i] = 0;
	}
	if (shown)
		hide(window_host(w, (unsigned)(window - w->window)) + (uint64_t)first * GUEST_PAGE_SIZE, size);
	pthread_mutex_unlock(&w->lock);
}

/* --- settling --- */

/* The pages of a run from `at` on that one look serves for: shown as they are, or not to be shown that way any more. */
struct piece {
	uint32_t at, count;
	bool good;
};

static struct piece look_at(const struct windows *w, const struct run *run, uint32_t at, window_look *look, void *opaque)
{
	const struct window *window = &w->window[run->slot];
	uint64_t linear = window_linear(window) + (uint64_t)at * GUEST_PAGE_SIZE;
	uint32_t entry = window->pages[at], end = run->first + run->count;
	struct window_page page;
	struct piece piece = { at, 1, true };
	if (!entry || (entry & ~PAGE_WRITABLE) != run->page + (at - run->first) + 1)
		return piece; /* hidden, or another run's */
	if (!look(opaque, linear, &page)) {
		piece.good = false;
		return piece;
	}
	bool kernel = linear >> 63;
	piece.count = MIN(end - at, (uint32_t)((page.size - (linear & (page.size - 1))) >> GUEST_PAGE_SHIFT));
	piece.good = memory_offset(w->memory, page.host) >> GUEST_PAGE_SHIFT == (entry & ~PAGE_WRITABLE) - 1 && (page.global || !kernel || run->local);
	for (uint32_t i = at; piece.good && !page.write && i < at + piece.count; i++)
		piece.good = !(window->pages[i] & PAGE_WRITABLE);
	return piece;
}

static void hide_piece(struct windows *w, const struct run *run, const struct piece *piece)
{
	struct window *window = &w->window[run->slot];
	for (uint32_t i = 0; i < piece->count; i++)
		window->pages[piece->at + i] = 0;
	hide(window_host(w, run->slot) + (uint64_t)piece->at * GUEST_PAGE_SIZE, (uint64_t)piece->count * GUEST_PAGE_SIZE);
}

/* Counts the pieces that are bad, and hides them; the run is empty when it returns true. */
static bool settle_run(struct windows *w, const struct run *run, bool change, unsigned *bad, window_look *look, void *opaque)
{
	bool empty = true;
	for (uint32_t at = run->first; at < run->first + run->count;) {
		struct piece piece = look_at(w, run, at, look, opaque);
		*bad += !piece.good;
		if (change && !piece.good)
			hide_piece(w, run, &piece);
		empty &= w->window[run->slot].pages[at] == 0 || !piece.good;
		at += piece.count;
	}
	return empty;
}

static void settle(struct windows *w, struct space *space, window_look *look, void *opaque)
{
	unsigned bad = 0, kept = 0;
	for (unsigned i = 0; i < space->run_count; i++)
		settle_run(w, &space->runs[i], false, &bad, look, opaque);
	if (bad > 4 + space->run_count / 8) {
		clear(w, space); /* costs less, and much of it is not wanted any more */
		return;
	}
	for (unsigned i = 0; i < space->run_count; i++)
		if (!settle_run(w, &space->runs[i], true, &bad, look, opaque))
			space->runs[kept++] = space->runs[i];
	w->runs -= space->run_count - kept;
	space->run_count = kept;
}

void windows_settle(struct windows *w, struct space *space, window_look *look, void *opaque)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&space->flushed, false);
	settle(w, space, look, opaque);
	if (space->left && space->holders <= 1 && !space->run_count)
		make_new(w, space);
	space->left = false;
	pthread_mutex_unlock(&w->lock);
}

void windows_settle_stretch(struct windows *w, struct space *space, uint64_t linear, uint64_t size, window_look *look, void *opaque)
{
	pthread_mutex_lock(&w->lock);
	struct window *window = find_window(w, space, (uint16_t)(linear >> WINDOW_SHIFT));
	uint32_t first = (uint32_t)(linear & (WINDOW_SIZE - 1)) >> GUEST_PAGE_SHIFT, count = (uint32_t)(size >> GUEST_PAGE_SHIFT);
	for (uint32_t at = first; window && at < first + count; at++) {
		uint32_t entry = window->pages[at];
		if (!entry)
			continue;
		const struct run run = { .slot = (uint32_t)(window - w->window), .first = at, .count = 1, .page = (entry & ~PAGE_WRITABLE) - 1 };
		unsigned bad = 0;
		settle_run(w, &run, true, &bad, look, opaque);
	}
	pthread_mutex_unlock(&w->lock);
}

/* Hides what the run still shows. */
static void hide_run(struct windows *w, const struct run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		struct piece piece = { run->first + i, 1, false };
		if ((w->window[run->slot].pages[piece.at] & ~PAGE_WRITABLE) == run->page + i + 1)
			hide_piece(w, run, &piece);
	}
}

static void hide_local(struct windows *w, struct space *kernel)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < kernel->run_count; i++)
		if (kernel->runs[i].local)
			hide_run(w, &kernel->runs[i]);
		else
			kernel->runs[kept++] = kernel->runs[i];
	w->runs -= kernel->run_count - kept;
	kernel->run_count = kept;
	w->local.count = w->local.tops = 0;
}

/* Where address spaces differ in the kernel's half, it is not worth the trouble. */
void windows_check_local(struct windows *w, struct space *kernel, uint64_t root)
{
	pthread_mutex_lock(&w->lock);
	if (w->local_wait)
		w->local_wait--;
	if (w->local.count && !watch_holds(&w->local, w->memory, root)) {
		hide_local(w, kernel);
		w->local_penalty = MIN(2 * w->local_penalty + 1, 65535u);
		w->local_wait = w->local_penalty;
	} else if (w->local.count && w->local_penalty) {
		w->local_penalty--;
	}
	pthread_mutex_unlock(&w->lock);
}

static void protect_run(struct windows *w, const struct run *run, uint32_t page)
{
	uint32_t at = run->first + (page - run->page);
	uint32_t *entry = &w->window[run->slot].pages[at];
	if (*entry != ((page + 1) | PAGE_WRITABLE))
		return;
	mprotect(window_host(w, run->slot) + (uint64_t)at * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, PROT_READ);
	*entry &= ~PAGE_WRITABLE;
}

/* Code was marked in the page, which no window may let anyone write from now on. */
static void code_marked(void *opaque, uint64_t offset)
{
	struct windows *w = opaque;
	uint32_t page = (uint32_t)(offset >> GUEST_PAGE_SHIFT);
	pthread_mutex_lock(&w->lock);
	w->mark[w->marks++ % WINDOW_MARKS] = page;
	for (unsigned s = 0; s < SPACES; s++) {
		const struct space *space = &w->space[s];
		for (unsigned i = 0; i < space->run_count; i++)
			if (page - space->runs[i].page < space->runs[i].count)
				protect_run(w, &space->runs[i], page);
	}
	pthread_mutex_unlock(&w->lock);
}

unsigned windows_marked(struct windows *w, unsigned *since, uint32_t page[WINDOW_MARKS])
{
	pthread_mutex_lock(&w->lock);
	unsigned count = w->marks - *since;
	for (unsigned i = 0; i < count && count <= WINDOW_MARKS; i++)
		page[i] = w->mark[(*since + i) % WINDOW_MARKS];
	*since = w->marks;
	pthread_mutex_unlock(&w->lock);
	return count;
}

unsigned windows_list(struct windows *w, const struct space *space, struct window_bias biases[SPACE_WINDOWS])
{
	pthread_mutex_lock(&w->lock);
	unsigned count = space->windows;
	for (unsigned i = 0; i < count; i++) {
		const struct window *window = &w->window[space->slot[i]];
		biases[i] = (struct window_bias){ window->index, (uintptr_t)window_host(w, space->slot[i]) - window_linear(window) };
	}
	pthread_mutex_unlock(&w->lock);
	return count;
}

unsigned windows_version(const struct space *space)
{
	return atomic_load_explicit(&space->version, memory_order_acquire);
}

bool windows_guest_address(const struct windows *w, uintptr_t host, uint64_t *linear)
{
	uintptr_t block = host >> BLOCK_SHIFT;
	if (block < 1 || block >= BLOCKS - 1)
		return false;
	bool upper = host >> (BLOCK_SHIFT - 1) & 1; /* half of what is nothing belongs to the window before */
	uintptr_t beside = upper ? block + 1 : block - 1, other = upper ? block - 1 : block + 1;
	uint16_t slot = w->slot_of[block] != NO_SLOT ? w->slot_of[block] : w->slot_of[beside] != NO_SLOT ? w->slot_of[beside] : w->slot_of[other];
	if (slot == NO_SLOT)
		return false;
	*linear = window_linear(&w->window[slot]) + (host - (uintptr_t)window_host(w, slot));
	return true;
}
