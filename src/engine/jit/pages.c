/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/pages.h"

#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/mmu.h"
#include "engine/jit/jit.h"

#define TABLE_BYTES (BRANCH_COUNT * sizeof(uint8_t *))

/* --- tables of branches --- */

/* Aligned to its size: branches_word. */
static const uint8_t **new_table(const struct jit *jit)
{
	const uint8_t **table = jit_map_aligned(TABLE_BYTES, TABLE_BYTES, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; table && i < BRANCH_COUNT; i++)
		table[i] = jit->branch_miss;
	return table;
}

static void clear_table(const struct jit *jit, struct code_space *space)
{
	for (unsigned i = 0; space->branches && i < BRANCH_COUNT; i++)
		space->branches[i] = jit->branch_miss;
}

static void clear_branches(const struct jit *jit, struct code_space *space, struct code_page *page)
{
	unsigned first = page->linear & (BRANCH_COUNT - 1);
	for (unsigned i = 0; page->branches && i < GUEST_PAGE_SIZE; i++)
		space->branches[first + i] = jit->branch_miss;
	page->branches = false;
}

/* --- pages --- */

static bool is_kernel(const struct jit *jit, const struct code_space *space)
{
	return space == &jit->code_kernel;
}

static struct code_page *find_page(const struct code_space *space, uint64_t linear)
{
	struct code_page *page = space->bucket[(linear >> GUEST_PAGE_SHIFT) & (SPACE_PAGE_BUCKETS - 1)];
	while (page && page->linear != linear)
		page = page->next;
	return page;
}

static void drop_page(struct jit *jit, struct code_space *space, struct code_page *page)
{
	for (struct record *r = page->links; r; r = r->next)
		jit_link(jit, r, r->thunk);
	page->links = NULL;
	for (struct unit *u = page->tails; u; u = u->next_tail)
		jit_retire(jit, u);
	page->tails = NULL;
	clear_branches(jit, space, page);
	page->host = NULL;
	jit->stats.unlinked_pages++;
}

/* Whether the page that is shown is a global one: the kernel's local ones are looked at whenever another space comes. */
static void set_local(struct code_space *space, struct code_page *page, bool local)
{
	page->local = local;
	if (!local || page->listed)
		return;
	page->listed = true;
	page->next_local = space->locals;
	space->locals = page;
}

static const uint8_t *look(struct jit *jit, struct code_space *space, struct code_page *page)
{
	bool kernel = is_kernel(jit, space), global = false;
	const uint8_t *host = mmu_code_page(jit->cpu, !kernel, page->linear, &global);
	if (kernel && host)
		set_local(space, page, !global);
	return host;
}

/* --- programs with much code --- */

/*
 * Little code returns to few places, which the host predicts from the table of branches as well, and with half of the instructions. Of much
 * code (units) it does not, and where only some of it used returns.c calls and returns would not match: it begins anew with that. A
 * program at the lowest addresses shows it early by how far its code reaches; the pages of others tell them when they come again and all translations are gone.
 */
#define MUCH_CODE 30000
#define MUCH_REACH (16ull << 20)
#define FEW_UNITS 1000

static uint32_t print_of(const struct code_page *page)
{
	return (uint32_t)(page->linear >> GUEST_PAGE_SHIFT) * 0x9e3779b1u + (uint32_t)((uintptr_t)page->last_host >> GUEST_PAGE_SHIFT) * 0xc2b2ae35u;
}

static void note_much(struct jit *jit, const struct code_space *space)
{
	for (const struct code_page *page = space->pages; page; page = page->next_in_space)
		jit->much[print_of(page) % MUCH_PAGES] = print_of(page);
}

static bool turns_much(const struct code_space *user)
{
	return user && !user->returning && (user->units >= MUCH_CODE || user->highest - user->lowest >= MUCH_REACH);
}

bool pages_grown(const struct jit *jit)
{
	return turns_much(jit->code_user);
}

static void tell_much(struct jit *jit, struct code_space *space, const struct code_page *page)
{
	if (is_kernel(jit, space))
		return;
	if (page->linear < 1ull << 31) {
		space->lowest = space->lowest ? MIN(space->lowest, page->linear) : page->linear;
		space->highest = MAX(space->highest, page->linear);
	}
	if (space->units < FEW_UNITS && jit->much[print_of(page) % MUCH_PAGES] == print_of(page))
		space->returning = true;
}

static struct code_page *get_page(struct jit *jit, struct code_space *space, uint64_t linear, const uint8_t *host, uint32_t generation)
{
	struct code_page *page = find_page(space, linear);
	if (page && page->host && (page->host != host || page->generation != generation))
		drop_page(jit, space, page);
	bool shown = page && page->host;
	if (!page) {
		struct code_page **bucket = &space->bucket[(linear >> GUEST_PAGE_SHIFT) & (SPACE_PAGE_BUCKETS - 1)];
		page = jit_alloc(jit, sizeof(*page));
		if (!page)
			return NULL;
		*page = (struct code_page){ .linear = linear, .next = *bucket, .next_in_space = space->pages };
		*bucket = space->pages = page;
	}
	page->host = page->last_host = host;
	if (!shown)
		tell_much(jit, space, page);
	page->generation = generation;
	if (!shown && is_kernel(jit, space))
		look(jit, space, page);
	return page;
}

static struct code_page *page_of_unit(struct jit *jit, struct code_space *space, const struct unit *unit)
{
	return get_page(jit, space, unit->page, unit->host - ((uintptr_t)unit->host & GUEST_PAGE_MASK), unit->generation);
}

static bool unchanged(const struct jit *jit, const struct code_page *page)
{
	return atomic_load_explicit(memory_generation(jit->cpu->memory, page->host), memory_order_relaxed) == page->generation;
}

static bool settle_page(struct jit *jit, struct code_space *space, struct code_page *page, bool walk)
{
	bool same = unchanged(jit, page) && (!walk || look(jit, space, page) == page->host);
	if (!same)
		drop_page(jit, space, page);
	return same;
}

/* Those of the list that are still local, and lead somewhere; the others leave it. */
static void settle_local(struct jit *jit, struct code_space *space)
{
	struct code_page **at = &space->locals;
	for (struct code_page *page; (page = *at);) {
		if (page->host && page->local && settle_page(jit, space, page, true) && page->local) {
			at = &page->next_local;
			continue;
		}
		page->listed = false;
		*at = page->next_local;
	}
	space->local_stale = false;
}

static void settle(struct jit *jit, struct code_space *space)
{
	if (space->local_stale && !space->stale)
		settle_local(jit, space);
	if (!space->stale && !space->written)
		return;
	for (struct code_page *page = space->pages; page; page = page->next_in_space)
		if (page->host)
			settle_page(jit, space, page, space->stale);
	space->stale = space->local_stale = space->written = false;
}

/* --- spaces --- */

static void empty(struct jit *jit, struct code_space *space)
{
	clear_table(jit, space);
	returns_clear(jit, space, is_kernel(jit, space) ? TLB_SUPERVISOR : TLB_USER);
	space->pages = space->locals = NULL;
	space->units = space->missed = 0;
	space->lowest = space->highest = 0;
	space->returning = false;
	space->stale = space->local_stale = space->written = false;
	memset(space->bucket, 0, sizeof(space->bucket));
}

#define NO_ROOT UINT64_MAX

/* The one that was not used for longest, of those that will hardly have heirs if they are half of all. */
static struct code_space *oldest_space(struct jit *jit)
{
	struct code_space *oldest = NULL, *passing = NULL;
	unsigned passings = 0;
	for (unsigned i = 0; i < CODE_SPACES; i++) {
		struct code_space *s = &jit->code_space[i];
		if (!oldest || s->used < oldest->used)
			oldest = s;
		if (s->shape.low)
			continue;
		passings++;
		if (!passing || s->used < passing->used)
			passing = s;
	}
	return passings >= CODE_SPACES / 2 ? passing : oldest;
}

static void begin_anew(struct jit *jit, struct code_space *space)
{
	empty(jit, space);
	space->id = ++jit->space_ids;
}

static void take_over(struct code_space *space, uint64_t root, struct window_shape shape)
{
	space->stale = true;
	space->units = space->missed = 0;
	space->root = root;
	space->shape = shape;
}

/* The one with the shape that the root's space has now. It may come from a process that is gone (windows_inherit): its units serve
 * where the same pages are at the same addresses. One with another shape is kept for such an heir. */
static struct code_space *space_of(struct jit *jit, uint64_t root, struct window_shape shape)
{
	struct code_space *unshaped = NULL;
	for (unsigned i = 0; i < CODE_SPACES; i++) {
		struct code_space *space = &jit->code_space[i];
		if (space->id && space->shape.id == shape.id && (shape.id || space->root == root)) {
			if (space->root != root || space->shape.heir != shape.heir)
				take_over(space, root, shape);
			return space;
		}
		if (space->root == root && space->shape.id)
			space->root = NO_ROOT;
		else if (space->root == root)
			unshaped = space;
	}
	struct code_space *space = unshaped ? unshaped : oldest_space(jit);
	begin_anew(jit, space);
	space->root = root;
	space->shape = shape;
	return space;
}

/* A program's next process is told by so many pages with code in the same places, of so many, one of which is among the first: those that
 * it shares with the last one come to the front, where they are found before those of libraries, which are elsewhere in each. */
#define SAME_PAGES 16u
#define LOOKS_MAX 4096u
#define LOOKS_FIRST 512u

static bool is_same(struct jit *jit, const struct code_page *page)
{
	struct page_rights now;
	return mmu_peek(jit->cpu, TLB_USER, page->linear, &now) && now.host == page->last_host;
}

bool pages_same(struct jit *jit, struct code_space *space)
{
	unsigned same = 0, looks = 0;
	struct code_page **at = &space->pages, *front = NULL;
	for (struct code_page *page; (page = *at) && same < SAME_PAGES && looks < (same ? LOOKS_MAX : LOOKS_FIRST);) {
		looks += page->last_host != NULL;
		if (!page->last_host || !is_same(jit, page)) {
			at = &page->next_in_space;
			continue;
		}
		same++;
		*at = page->next_in_space;
		page->next_in_space = front;
		front = page;
	}
	while (front) {
		struct code_page *page = front;
		front = page->next_in_space;
		page->next_in_space = space->pages;
		space->pages = page;
	}
	return same == SAME_PAGES;
}

void pages_sync(struct jit *jit)
{
	struct code_space *kernel = &jit->code_kernel;
	if (!kernel->id)
		kernel->id = ++jit->space_ids;
	struct window_shape shape = jit->window[TLB_USER] ? windows_shape_of(jit->windows, jit->space) : (struct window_shape){ 0 };
	struct code_space *user = jit->window[TLB_USER] ? jit->code_user : NULL;
	if (jit->window[TLB_USER] && (!user || user->root != jit->root || user->shape.id != shape.id || user->shape.heir != shape.heir)) {
		kernel->local_stale |= !user || user->root != jit->root;
		user = space_of(jit, jit->root, shape);
		user->used = ++jit->space_uses;
	}
	if (turns_much(user)) {
		note_much(jit, user);
		begin_anew(jit, user);
		user->returning = true;
	}
	jit->code_user = user;
	if (pages_unsettled(kernel))
		settle(jit, kernel);
	if (pages_unsettled(jit->code_user))
		settle(jit, jit->code_user);
}

struct code_space *pages_space(struct jit *jit, const struct unit *unit)
{
	struct code_space *space = unit->set == TLB_USER ? jit->code_user : &jit->code_kernel;
	return space && space->id == unit->space ? space : NULL;
}

void pages_count(struct jit *jit, const struct unit *unit)
{
	struct code_space *space = pages_space(jit, unit);
	if (space)
		space->units++;
}

/* --- events --- */

static void mark_users(struct jit *jit, bool all, uint64_t root)
{
	for (unsigned i = 0; i < CODE_SPACES; i++)
		jit->code_space[i].stale |= all || jit->code_space[i].root == root;
	jit->code_kernel.local_stale = true;
}

static void flush_stretch(struct jit *jit, const struct tlb_event *event)
{
	bool upper = event->linear >> 63;
	struct code_space *space = upper ? &jit->code_kernel : jit->code_user;
	if (!upper && (!space || space->root != event->root || event->root != cpu_root(jit->cpu))) {
		mark_users(jit, false, event->root);
		return;
	}
	if (event->size > GUEST_PAGE_SIZE) {
		space->stale = true;
		return;
	}
	struct code_page *page = find_page(space, event->linear);
	if (page && page->host)
		settle_page(jit, space, page, true);
}

void pages_flushed(struct jit *jit, const struct tlb_event *event)
{
	if (!event || event->kind == TLB_EVENT_ALL) {
		mark_users(jit, true, 0);
		jit->code_kernel.stale = true;
	} else if (event->kind == TLB_EVENT_PAGE) {
		flush_stretch(jit, event);
	} else {
		mark_users(jit, event->kind == TLB_EVENT_LOCAL, event->root);
	}
}

void pages_written(struct jit *jit)
{
	for (unsigned i = 0; i < CODE_SPACES; i++)
		jit->code_space[i].written = true;
	jit->code_kernel.written = true;
}

void pages_reset(struct jit *jit)
{
	for (unsigned i = 0; i < CODE_SPACES; i++)
		empty(jit, &jit->code_space[i]);
	empty(jit, &jit->code_kernel);
}

bool pages_init(struct jit *jit)
{
	jit->no_branches = new_table(jit);
	jit->cpu->no_branches = branches_word(jit->no_branches);
	return jit->no_branches != NULL;
}

void pages_destroy(struct jit *jit)
{
	jit->cpu->no_branches = 0;
	if (jit->no_branches)
		munmap((void *)jit->no_branches, TABLE_BYTES);
	returns_free(&jit->code_kernel);
	for (unsigned i = 0; i < CODE_SPACES; i++) {
		returns_free(&jit->code_space[i]);
		if (jit->code_space[i].branches)
			munmap(jit->code_space[i].branches, TABLE_BYTES);
	}
	if (jit->code_kernel.branches)
		munmap(jit->code_kernel.branches, TABLE_BYTES);
}

/* --- what leads to a page --- */

void pages_link(struct jit *jit, struct record *record, const struct unit *unit, const uint8_t *code)
{
	struct code_space *space = pages_space(jit, unit);
	struct code_page *page = space ? page_of_unit(jit, space, unit) : NULL;
	if (!page)
		return;
	record->next = page->links;
	page->links = record;
	jit_link(jit, record, code);
	jit->stats.links++;
}

bool pages_tail(struct jit *jit, struct unit *unit)
{
	struct code_space *space = pages_space(jit, unit);
	struct code_page *page = space ? get_page(jit, space, unit->page + GUEST_PAGE_SIZE, unit->tail, unit->tail_generation) : NULL;
	if (!page)
		return false;
	unit->next_tail = page->tails;
	page->tails = unit;
	return true;
}

void pages_emit_pad(const struct jit *jit, struct emitter *e, struct unit *unit)
{
	uint64_t linear = unit->page + ((uintptr_t)unit->host & GUEST_PAGE_MASK);
	put64(e, (uintptr_t)unit);
	unit->pad = emit_here(e);
	unit->pad_other = emit_compare_target(e, linear, jit->branch_miss);
}

/* For a unit that was made before an indirect branch led to it. */
static bool make_pad(struct jit *jit, struct unit *unit)
{
	if (jit_code_room(jit) < 128)
		return false;
	struct emitter e = jit_emitter(jit, jit->code_at, jit_cold_floor(jit));
	pages_emit_pad(jit, &e, unit);
	emit_jump(&e, unit->entry);
	jit->code_at = (uint8_t *)ALIGN_UP((uintptr_t)e.at, 16);
	return true;
}

static struct unit *unit_of_pad(const struct jit *jit, const uint8_t *pad)
{
	struct unit *unit;
	memcpy(&unit, pad - jit_delta(jit) - sizeof(unit), sizeof(unit));
	return unit;
}

/* Two branches whose addresses share the table's entry: the other's pad comes behind this one's. */
void pages_branch(struct jit *jit, struct unit *unit)
{
	struct code_space *space = unit->set <= TLB_SUPERVISOR ? pages_space(jit, unit) : NULL;
	struct code_page *page = space ? page_of_unit(jit, space, unit) : NULL;
	if (!page || (!space->branches && !(space->branches = new_table(jit))) || (!unit->pad && !make_pad(jit, unit)))
		return;
	const uint8_t **entry = &space->branches[(unit->page + ((uintptr_t)unit->host & GUEST_PAGE_MASK)) & (BRANCH_COUNT - 1)];
	const uint8_t *other = *entry;
	if (other == unit->pad)
		return;
	if (other != jit->branch_miss)
		emit_patch(unit_of_pad(jit, other)->pad_other, jit_delta(jit), jit->branch_miss);
	emit_patch(unit->pad_other, jit_delta(jit), other);
	*entry = unit->pad;
	page->branches = true;
	jit->stats.indirect++;
}
