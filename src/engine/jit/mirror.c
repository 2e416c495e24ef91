/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/mmu.h"
#include "engine/jit/jit.h"

/*
 * A vCPU's side of the windows: which space it is in, the tables that its code
 * reads, and when a space is worth windows. A page costs some microseconds to
 * show, as much as a hundred misses of the TLB: code runs on windows in spaces
 * that have lived for a while, and not where more time goes into showing pages
 * than windows save.
 */
#define TABLE_SIZE (65536 * sizeof(uint64_t))

/*
 * Where there is no window, a bias leads to bits 32 to 47 of a place where nothing is, whatever the other bits of the address
 * are: with a bias that is the same everywhere an address that is not canonical could become one that is.
 */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t nowhere; /* bits 32 to 47; 0: not reserved */

static void reserve_nowhere(void)
{
	void *at = mmap(NULL, 5ull << WINDOW_SHIFT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at != MAP_FAILED)
		nowhere = ((uintptr_t)at >> WINDOW_SHIFT) + 2;
}

static uint64_t poison(unsigned index)
{
	return (nowhere - index) << WINDOW_SHIFT;
}

bool mirror_init(struct jit *jit)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2") || !(jit->windows = windows_get(jit->cpu->memory)))
		return false;
	pthread_once(&once, reserve_nowhere);
	/* In the low 2 GiB, where code names it by an absolute address. */
	jit->table = mmap(NULL, 2 * TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (jit->table == MAP_FAILED)
		jit->table = NULL;
	if (jit->table && nowhere)
		jit->kernel = windows_hold(jit->windows, NULL, WINDOW_KERNEL);
	if (!jit->kernel) {
		mirror_destroy(jit);
		return false;
	}
	for (unsigned i = 0; i < 2 * 65536; i++)
		jit->table[i] = poison(i & 0xffff);
	jit->tsc_ms = jit->cpu->host_tsc_hz / 1000;
	if (predict_init())
		jit->proof_sites = calloc(PROOF_SITES, sizeof(*jit->proof_sites));
	jit->wanted_rip = UINT64_MAX;
	return true;
}

void mirror_destroy(struct jit *jit)
{
	if (jit->space)
		windows_release(jit->windows, jit->space);
	if (jit->kernel)
		windows_release(jit->windows, jit->kernel);
	if (jit->windows)
		windows_put(jit->windows);
	if (jit->table)
		munmap(jit->table, 2 * TABLE_SIZE);
	free(jit->proof_sites);
	jit->proof_sites = NULL;
	jit->windows = NULL;
	jit->space = jit->kernel = NULL;
	jit->table = NULL;
}

uint64_t *mirror_table(const struct jit *jit, unsigned set)
{
	return set == TLB_USER ? jit->table : jit->table + 65536;
}

/* --- the tables --- */

static void install(struct jit *jit, struct space *space, unsigned set)
{
	struct installed *in = &jit->installed[set == TLB_USER ? 0 : 1];
	uint64_t *table = mirror_table(jit, set);
	for (unsigned i = 0; i < in->count; i++)
		table[in->list[i].index] = poison(in->list[i].index);
	in->count = 0;
	in->space = space;
	if (!space)
		return;
	in->version = windows_version(space);
	in->count = windows_list(jit->windows, space, in->list);
	for (unsigned i = 0; i < in->count; i++)
		table[in->list[i].index] = in->list[i].bias;
}

static void install_if_new(struct jit *jit, struct space *space, unsigned set)
{
	const struct installed *in = &jit->installed[set == TLB_USER ? 0 : 1];
	if (in->space != space || (space && in->version != windows_version(space)))
		install(jit, space, set);
}

/* --- heat --- */

static bool want(struct jit *jit, struct space *space)
{
	struct space_heat *h = windows_heat(space);
	const uint64_t ms = jit->tsc_ms;
	if (!h->hot) {
		h->hot = h->time >= h->cold_until + 10 * ms;
		h->checked = h->time;
		h->fills = h->lost = 0;
		return h->hot;
	}
	uint64_t interval = h->time - h->checked;
	bool showing = h->fills > 10 * ms && h->fills > interval / 4 * 3, faulting = h->lost > 4 * ms && h->lost > interval / 4;
	if (showing || faulting) {
		h->hot = false;
		h->cold_until = h->time + (50ull << MIN(h->failures, 6u)) * ms;
		h->failures++;
	} else if (interval > 40 * ms) {
		h->checked = h->time;
		h->fills = h->lost = 0;
		if (h->failures && interval > 400 * ms)
			h->failures--;
	}
	return h->hot;
}

/* What the space uses may share a bias from now on. */
static void give_shape(struct jit *jit)
{
	uint16_t index[4 * SPACE_WINDOWS], zone[SPACE_WINDOWS];
	unsigned count = mmu_user_stretches(jit->cpu, index, ARRAY_SIZE(index)), zones = 0;
	for (unsigned i = 0; i < count && zones < SPACE_WINDOWS; i++) {
		uint16_t z = index[i] >> (WINDOW_ZONE_SHIFT - WINDOW_SHIFT);
		if (!zones || zone[zones - 1] != z)
			zone[zones++] = z;
	}
	if (!zones)
		return;
	for (unsigned i = 0; i < CODE_SPACES; i++) {
		struct code_space *code = &jit->code_space[i];
		if (code->shape.id && pages_same(jit, code) && windows_inherit(jit->windows, jit->space, code->shape.id, zone, zones)) {
			jit->stats.inherited++;
			return;
		}
	}
	if (windows_shape(jit->windows, jit->space, zone, zones))
		jit->stats.shapes++;
}

static void charge(struct jit *jit)
{
	uint64_t now = __rdtsc(), spent = now - jit->since;
	jit->since = now;
	if (spent > 10 * jit->tsc_ms) /* asleep */
		spent = 0;
	if (jit->space)
		windows_heat(jit->space)->time += spent;
	windows_heat(jit->kernel)->time += spent;
}

bool mirror_tick(struct jit *jit)
{
	struct cpu *c = jit->cpu;
	if (!jit->windows)
		return false;
	charge(jit);
	bool kernel = (c->cr4 & CR4_PGE) && (c->cr4 & CR4_SMAP) && want(jit, jit->kernel);
	jit->directly = direct_wanted(jit);
	if (!jit->directly)
		direct_rest(jit);
	bool user = jit->space && !jit->directly && want(jit, jit->space);
	bool changed = kernel != jit->window[TLB_SUPERVISOR] || user != jit->window[TLB_USER];
	if (user && !jit->window[TLB_USER])
		give_shape(jit);
	jit->window[TLB_SUPERVISOR] = kernel;
	jit->window[TLB_USER] = user;
	return changed;
}

/* --- flushes --- */

static bool look(void *opaque, uint64_t linear, struct window_page *found)
{
	struct jit *jit = opaque;
	struct page_rights page;
	bool upper = linear >> 63;
	if (!mmu_peek(jit->cpu, upper ? TLB_SUPERVISOR : TLB_USER, linear, &page))
		return false;
	*found = (struct window_page){ page.host, page.size, page.write, page.global };
	return true;
}

/* Few of the pages around one that was flushed as part of a large one have changed: often it was none. */
static void unmap(struct jit *jit, const struct tlb_event *event)
{
	bool upper = event->linear >> 63;
	struct space *space = upper ? jit->kernel : jit->space;
	if (space && event->size > GUEST_PAGE_SIZE && (upper || (event->root == jit->root && event->root == cpu_root(jit->cpu))))
		windows_settle_stretch(jit->windows, space, event->linear, event->size, look, jit);
	else if (space && (upper || event->root == jit->root))
		windows_unmap(jit->windows, space, event->linear, event->size);
	else if (!upper)
		windows_flush(jit->windows, event->root);
}

static void take_event(struct jit *jit, const struct tlb_event *event)
{
	jit->stats.tlb_events[event->kind]++;
	pages_flushed(jit, event);
	direct_flushed(jit, event);
	switch (event->kind) {
	case TLB_EVENT_ALL: windows_flush(jit->windows, WINDOW_ALL); break;
	case TLB_EVENT_LOCAL: windows_flush(jit->windows, WINDOW_USERS); break;
	case TLB_EVENT_ROOT: windows_flush(jit->windows, event->root); break;
	case TLB_EVENT_PAGE: unmap(jit, event); break;
	}
}

static bool enter_space(struct jit *jit)
{
	uint64_t root = cpu_root(jit->cpu);
	if (jit->space && jit->root == root)
		return false;
	charge(jit);
	jit->root = root;
	jit->space = windows_hold(jit->windows, jit->space, root);
	return true;
}

/* What the guest flushed is compared with its page tables: most of it is as it was, and would be shown again. */
static void settle(struct jit *jit)
{
	if (jit->space && windows_flushed(jit->space))
		windows_settle(jit->windows, jit->space, look, jit);
	if (windows_flushed(jit->kernel))
		windows_settle(jit->windows, jit->kernel, look, jit);
}

void mirror_sync(struct jit *jit)
{
	struct cpu *c = jit->cpu;
	unsigned count = c->tlb_event_count;
	c->tlb_event_count = 0;
	if (!jit->windows)
		return;
	if (count > TLB_EVENTS) {
		jit->stats.tlb_events[TLB_EVENT_ALL]++;
		windows_flush(jit->windows, WINDOW_ALL);
		pages_flushed(jit, NULL);
		direct_flushed(jit, NULL);
	}
	bool flushed = count > TLB_EVENTS;
	for (unsigned i = 0; i < count && count <= TLB_EVENTS; i++) {
		take_event(jit, &c->tlb_events[i]);
		flushed |= c->tlb_events[i].kind != TLB_EVENT_PAGE;
	}
	bool entered = enter_space(jit);
	settle(jit);
	if (entered || flushed)
		windows_check_local(jit->windows, jit->kernel, jit->root);
	if (entered) {
		jit->directly = direct_wanted(jit);
		jit->window[TLB_USER] = jit->space && windows_heat(jit->space)->hot;
	}
	install_if_new(jit, jit->window[TLB_USER] ? jit->space : NULL, TLB_USER);
	install_if_new(jit, jit->kernel, TLB_SUPERVISOR);
	pages_sync(jit);
}

#define SIGNALS_IN_MS 400u /* as many as the host delivers */

void mirror_faulted(struct jit *jit, uint64_t linear)
{
	jit->wanted = linear;
	jit->wanted_rip = jit->cpu->gpr[REG_RIP];
	struct space *space = linear >> 63 ? jit->kernel : jit->space;
	if (space)
		windows_heat(space)->lost += jit->tsc_ms / SIGNALS_IN_MS;
}

/* --- showing pages --- */

/*
 * How many pages around `linear` are shown with it: those of its large page and of equal ones beside it, else neighbours that
 * were used before, all where they continue in guest memory. A writable stretch ends at pages with translated code.
 */
#define AROUND (16u * GUEST_PAGE_SIZE)
#define AROUND_LARGE (32ull << 20)

struct stretch {
	uint64_t linear;
	const uint8_t *host;
	uint64_t size;
};

/* What windows show of user memory is what user code may do there, whoever accesses it. */
static unsigned set_shown(uint64_t linear)
{
	return linear >> 63 ? TLB_SUPERVISOR : TLB_USER;
}

static bool continues(struct jit *jit, const struct page_rights *first, uint64_t linear, const uint8_t *host)
{
	struct page_rights next;
	return mmu_peek(jit->cpu, set_shown(linear), linear, &next) && next.host == host && next.writable == first->writable &&
	       next.global == first->global && next.size >= first->size;
}

static bool same_page_continues(struct jit *jit, const struct page_rights *first, const uint8_t *host)
{
	return !first->writable || !memory_page_has_code(jit->cpu->memory, memory_offset(jit->cpu->memory, host));
}

/* Whether the page at linear, `step` bytes beside one that belongs to the stretch, does so too. */
static bool belongs(struct jit *jit, const struct page_rights *first, uint64_t linear, uint64_t beside, const uint8_t *host)
{
	bool same = ALIGN_DOWN(linear, first->size) == ALIGN_DOWN(beside, first->size);
	return same ? same_page_continues(jit, first, host) : continues(jit, first, linear, host);
}

static struct stretch find_stretch(struct jit *jit, const struct page_rights *page, uint64_t linear)
{
	uint64_t around = page->size > GUEST_PAGE_SIZE ? AROUND_LARGE : AROUND;
	uint64_t low = ALIGN_DOWN(linear, around), high = low + around, end = linear + GUEST_PAGE_SIZE;
	const uint8_t *host = page->host;
	while (linear > low && belongs(jit, page, linear - GUEST_PAGE_SIZE, linear, host - GUEST_PAGE_SIZE)) {
		linear -= GUEST_PAGE_SIZE;
		host -= GUEST_PAGE_SIZE;
	}
	while (end < high && belongs(jit, page, end, end - GUEST_PAGE_SIZE, host + (end - linear)))
		end += GUEST_PAGE_SIZE;
	return (struct stretch){ linear, host, end - linear };
}

/* What one entry of the page tables says. */
static struct stretch one_piece(const struct page_rights *page, uint64_t linear)
{
	uint64_t before = page->writable ? 0 : linear & (page->size - 1);
	return (struct stretch){ linear - before, page->host - before, page->writable ? GUEST_PAGE_SIZE : page->size };
}

static void find_path(struct jit *jit, uint64_t linear, struct watch_path *path)
{
	path->index = linear >> 39 & 511;
	path->count = mmu_path(jit->cpu, linear, path->entry, path->value);
}

static bool show(struct jit *jit, struct space *space, const struct stretch *s, uint64_t linear, bool writable, const struct watch_path *path)
{
	jit->stats.fills++;
	jit->stats.filled_pages += s->size >> GUEST_PAGE_SHIFT;
	return windows_map(jit->windows, space, s->linear, s->host, (unsigned)(s->size >> GUEST_PAGE_SHIFT), linear, writable, path);
}

/* What was used beside it costs a system call now, and a signal as well when it is wanted. */
static void show_beside(struct jit *jit, struct space *space, unsigned set, const struct stretch *shown)
{
	struct page_rights page;
	uint64_t low = ALIGN_DOWN(shown->linear, AROUND), end = low + AROUND;
	for (uint64_t at = low; at < end;) {
		if (at == shown->linear || !mmu_peek(jit->cpu, set, at, &page) || page.size > GUEST_PAGE_SIZE || (at >> 63 && !page.global)) {
			at += at == shown->linear ? shown->size : GUEST_PAGE_SIZE;
			continue;
		}
		struct stretch s = find_stretch(jit, &page, at);
		if (!windows_shows(jit->windows, space, at))
			show(jit, space, &s, at, page.writable, NULL);
		at = s.linear + s.size;
	}
}

/* More than this was spent by others while the host let them have the processor. */
#define FILLS_IN_MS 20u

static void charge_fill(const struct jit *jit, struct space *space, uint64_t start)
{
	uint64_t spent = MIN(__rdtsc() - start, jit->tsc_ms / FILLS_IN_MS);
	windows_heat(space)->fills += spent + jit->tsc_ms / SIGNALS_IN_MS;
}

bool mirror_fill(struct jit *jit, uint64_t linear)
{
	struct page_rights page;
	linear = ALIGN_DOWN(linear, (uint64_t)GUEST_PAGE_SIZE);
	bool upper = linear >> 63;
	unsigned set = set_shown(linear), own = current_tlb_set(jit->cpu);
	struct watch_path path;
	if (upper)
		find_path(jit, linear, &path);
	if ((own != set && own != TLB_SUPERVISOR_AC) || !mmu_peek(jit->cpu, set, linear, &page))
		return false;
	bool local = upper && !page.global;
	struct space *space = upper ? jit->kernel : jit->space;
	if (!space)
		return false;
	uint64_t start = __rdtsc();
	struct stretch s = local ? one_piece(&page, linear) : find_stretch(jit, &page, linear);
	bool done = show(jit, space, &s, linear, page.writable, local ? &path : NULL);
	if (done && !local && page.size == GUEST_PAGE_SIZE)
		show_beside(jit, space, set, &s);
	install_if_new(jit, space, set);
	charge_fill(jit, space, start);
	return done;
}

void mirror_fill_wanted(struct jit *jit)
{
	jit->wanted_rip = UINT64_MAX;
	if (jit->window[jit->wanted >> 63 ? TLB_SUPERVISOR : TLB_USER])
		mirror_fill(jit, jit->wanted);
}
