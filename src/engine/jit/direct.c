/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/direct.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/fpu.h"
#include "cpu/mmu.h"
#include "cpu/system.h"
#include "engine/jit/jit.h"
#include "engine/jit/sensitive.h"
#include "host/tracee.h"

#define SPACES 8u
#define CHUNK_SHIFT 32
#define CHUNKS 32u
#define CHUNK_PAGES (1ull << (CHUNK_SHIFT - GUEST_PAGE_SHIFT))
#define RUNS_MAX 16384u           /* each costs a mapping of the host's, of which a process may have 65530 */
#define LOWEST (64ull << 10)      /* what the host lets nobody map (vm.mmap_min_addr) */
#define USER_END 0x7ffffffff000ull

/* What the tracee shows at a page: the page of guest memory + 1, and rights. 0: nothing. */
#define PAGE_WRITABLE 0x80000000u
#define PAGE_EXECUTABLE 0x40000000u
#define PAGE_TRANSLATED 0x20000000u /* code, but not to be executed here */
#define PAGE_TRAPS 0x10000000u      /* a copy, in which the instructions that tell of the host are INT3 */
#define PAGE_NUMBER 0x0fffffffu

struct run {
	uint64_t linear;
	uint32_t page, count;
	uint32_t generations;       /* of code that is executed: of its pages, all together */
	bool code;
};

#define COPIES 32u

/* A guest process and its tracee. */
struct direct_space {
	uint64_t root;
	struct tracee *tracee;      /* NULL: free */
	uint64_t last_use;
	bool flushed, marked, written; /* to be compared: with the page tables, with what has code, with what code was written to */
	bool broken;                /* of no use any more */
	bool id;                    /* RFLAGS.ID there, which its own code alone can change */
	struct {
		uint16_t index;
		uint32_t *pages;
	} chunk[CHUNKS];
	unsigned chunks;
	struct run *runs;
	unsigned run_count, run_room;
	uint64_t copy[COPIES];      /* pages with PAGE_TRAPS that have no INT3 yet */
	unsigned copies;
	/* Whether it is worth it. */
	uint64_t counted_from;      /* the tracee's processor time at the last look, and what of its time since then was not the guest's */
	unsigned stops, calls;      /* stops, but for pages that it has to be shown once; those for system calls */
	unsigned unfit;             /* times that the state did not let its code be executed, since then */
	uint64_t seen;              /* the time of the space's heat, which begins again and again where there are no windows */
	uint64_t time, off_until;   /* of the process; when it is tried again */
	uint64_t top;               /* what its root led to: tells it from the next process of this root */
	unsigned failures;
};

#define FOUND 4096u
#define ADDRESS_BITS 0x000ffffffffff001ull /* of an entry, and whether it is present (SDM 3, 4.5) */
#define LOST_MAX 100u

struct direct {
	struct jit *jit;
	struct direct_space space[SPACES], *current;
	uint64_t uses;
	bool refused;               /* the host lets us have no tracee */
	unsigned lost;              /* tracees that did not do what they were asked for */
	uint64_t host_xcr0;
	bool always;                /* whether it is worth it or not */
	struct tracee_call call[TRACEE_CALLS];
	unsigned calls;
	unsigned marks;             /* windows_marked */
	struct found {
		uint64_t print;         /* of a page of code, and what is before it */
		struct sensitive sensitive;
	} found[FOUND];
	uint64_t wanted, wanted_rip; /* the page of the last fault that was the guest's, and where it was */
	_Alignas(64) uint8_t given[16384], state[16384]; /* XSAVE areas: what the tracee has, and what it is to have */
	size_t state_size;
	const struct direct_space *state_of;
	_Atomic int inside;         /* the tracee under way, or 0 */
	bool stays;                 /* this thread and the tracee are on one processor */
	int processor;
	uint64_t stays_since;
	cpu_set_t processors;       /* that the thread may use otherwise */
};

#define XCR0_GUEST (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

static uint64_t host_xcr0(void)
{
	uint32_t low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

/* For tests: VISOR_DIRECT=always has all user code executed directly that may be, =never none. */
struct direct *direct_new(struct jit *jit)
{
	const char *when = getenv("VISOR_DIRECT");
	if (when && !strcmp(when, "never"))
		return NULL;
	struct direct *d = aligned_alloc(64, ALIGN_UP(sizeof(*d), 64u));
	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->jit = jit;
	d->always = when && !strcmp(when, "always");
	d->wanted_rip = UINT64_MAX;
	d->host_xcr0 = cpu_has(jit->cpu, FEATURE_XSAVE) ? host_xcr0() : 0; /* else the guest has no CR4.OSXSAVE either */
	return d;
}

/* --- what a tracee shows --- */

static uint32_t *entry_of(struct direct_space *s, uint64_t linear, bool make)
{
	const uint16_t index = (uint16_t)(linear >> CHUNK_SHIFT);
	const uint64_t n = linear >> GUEST_PAGE_SHIFT & (CHUNK_PAGES - 1);
	for (unsigned i = 0; i < s->chunks; i++)
		if (s->chunk[i].index == index)
			return &s->chunk[i].pages[n];
	if (!make || s->chunks == CHUNKS)
		return NULL;
	void *pages = mmap(NULL, CHUNK_PAGES * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	s->chunk[s->chunks].index = index;
	s->chunk[s->chunks].pages = pages;
	return &s->chunk[s->chunks++].pages[n];
}

static void drop_chunks(struct direct_space *s)
{
	for (unsigned i = 0; i < s->chunks; i++)
		munmap(s->chunk[i].pages, CHUNK_PAGES * sizeof(uint32_t));
	s->chunks = s->run_count = s->copies = 0;
}

static void free_space(struct direct *d, struct direct_space *s)
{
	tracee_free(s->tracee);
	drop_chunks(s);
	free(s->runs);
	if (d->state_of == s)
		d->state_of = NULL;
	if (d->current == s) {
		d->current = NULL;
		d->jit->directly = false;
	}
	*s = (struct direct_space){ 0 };
}

void direct_free(struct direct *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < SPACES; i++)
		free_space(d, &d->space[i]);
	free(d);
}

/* Has the tracee do what has been asked of it so far; false: it cannot. */
static bool carry_out(struct direct *d, struct direct_space *s)
{
	unsigned count = d->calls;
	d->calls = 0;
	if (!count)
		return !s->broken;
	uint64_t before = tracee_time(s->tracee);
	s->broken |= tracee_calls(s->tracee, d->call, count) != count;
	s->counted_from += tracee_time(s->tracee) - before;
	return !s->broken;
}

static bool ask(struct direct *d, struct direct_space *s, const struct tracee_call *call)
{
	if (d->calls == TRACEE_CALLS && !carry_out(d, s))
		return false;
	d->call[d->calls++] = *call;
	return true;
}

static bool ask_unmap(struct direct *d, struct direct_space *s, uint64_t linear, uint64_t size)
{
	return ask(d, s, &(struct tracee_call){ SYS_munmap, { linear, size } });
}

/* The tracee shows nothing any more. */
static bool clear(struct direct *d, struct direct_space *s)
{
	const uint64_t own = tracee_own(s->tracee);
	drop_chunks(s);
	return ask_unmap(d, s, 0, own) && ask_unmap(d, s, own + TRACEE_OWN, USER_END - own - TRACEE_OWN);
}

/* --- what may be shown --- */

/* Code is the same in many processes: what was found out about a page's bytes is kept by a print of them. */
static uint64_t print_of(const uint8_t *bytes, size_t size)
{
	uint64_t print[4] = { 1, 2, 3, 4 };
	for (size_t at = 0; at < size; at += 32)
		for (unsigned n = 0; n < 4; n++)
			print[n] = (print[n] ^ load_le64(bytes + at + 8 * n)) * 0x9e3779b97f4a7c15u;
	return ((print[0] ^ print[1] >> 32) * 3 + (print[2] ^ print[3] >> 32)) | 1;
}

static const struct sensitive *find_out(struct direct *d, uint64_t linear, const uint8_t *host)
{
	uint8_t bytes[SENSITIVE_LEAD + GUEST_PAGE_SIZE + 16];
	struct page_rights before;
	unsigned lead = mmu_peek(d->jit->cpu, TLB_USER, linear - GUEST_PAGE_SIZE, &before) && before.execute ? SENSITIVE_LEAD : 0;
	if (lead)
		memcpy(bytes, before.host + GUEST_PAGE_SIZE - SENSITIVE_LEAD, SENSITIVE_LEAD);
	memcpy(bytes + lead, host, GUEST_PAGE_SIZE);
	memset(bytes + lead + GUEST_PAGE_SIZE, 0xcc, 16);
	uint64_t print = print_of(bytes, lead + GUEST_PAGE_SIZE);
	struct found *found = &d->found[print >> 8 & (FOUND - 1)];
	if (found->print != print) {
		found->print = print;
		sensitive_find(&found->sensitive, bytes, lead, d->host_xcr0 & ~XCR0_GUEST);
	}
	return &found->sensitive;
}

/*
 * What a page of code is shown as. It is marked as code first, so that whoever writes to it is noticed. What may be written and
 * executed, too, is shown for the one or for the other.
 */
static uint32_t code_entry(struct direct *d, uint64_t linear, const struct page_rights *page)
{
	mmu_mark_code(d->jit->cpu, page->host, GUEST_PAGE_SIZE);
	const struct sensitive *found = find_out(d, linear, page->host);
	return found->doubtful ? PAGE_TRANSLATED : PAGE_EXECUTABLE | (found->count ? PAGE_TRAPS : 0);
}

static bool peek(struct jit *jit, uint64_t linear, struct page_rights *page)
{
	return linear >= LOWEST && linear < USER_END && mmu_peek(jit->cpu, TLB_USER, linear, page);
}

/* What a page of these rights is to be shown as, to be written or not. */
static uint32_t entry_for(struct direct *d, uint64_t linear, const struct page_rights *page, bool write)
{
	struct cpu *c = d->jit->cpu;
	uint64_t offset = memory_offset(c->memory, page->host);
	const uint32_t number = (uint32_t)(offset >> GUEST_PAGE_SHIFT) + 1;
	if (page->execute && !(write && page->write))
		return number | code_entry(d, linear, page);
	if (write && page->write && memory_page_has_code(c->memory, offset))
		access_page_written(c, page->host, GUEST_PAGE_SIZE);
	return number | (page->write && !memory_page_has_code(c->memory, offset) ? PAGE_WRITABLE : 0);
}

/* --- settling --- */

static uint64_t run_linear(const struct run *run, uint32_t n)
{
	return run->linear + (uint64_t)n * GUEST_PAGE_SIZE;
}

/* What is shown at the run's n-th page; NULL: that page no longer is. */
static uint32_t *run_entry(struct direct_space *s, const struct run *run, uint32_t n)
{
	uint32_t *entry = entry_of(s, run_linear(run, n), false);
	return entry && (*entry & PAGE_NUMBER) == run->page + n + 1 ? entry : NULL;
}

static void hide(struct direct *d, struct direct_space *s, uint64_t linear, uint32_t *entry)
{
	*entry = 0;
	ask_unmap(d, s, linear, GUEST_PAGE_SIZE);
}

/* Whether the guest's page tables allow what is shown at the run's n-th page. */
static bool still_good(const struct direct *d, const struct run *run, uint32_t n, uint32_t entry)
{
	const struct cpu *c = d->jit->cpu;
	struct page_rights page;
	return mmu_peek(d->jit->cpu, TLB_USER, run_linear(run, n), &page) &&
	       memory_offset(c->memory, page.host) >> GUEST_PAGE_SHIFT == run->page + n &&
	       (page.write || !(entry & PAGE_WRITABLE)) && (page.execute || !(entry & PAGE_EXECUTABLE));
}

/* The guest may have changed its page tables: pages of a run that are not as they say are hidden. Returns whether any is left. */
static bool settle_run(struct direct *d, struct direct_space *s, const struct run *run, unsigned *hidden)
{
	bool any = false;
	for (uint32_t i = 0; i < run->count; i++) {
		uint32_t *entry = run_entry(s, run, i);
		bool good = entry && still_good(d, run, i, *entry);
		any |= good;
		if (!entry || good)
			continue;
		hide(d, s, run_linear(run, i), entry);
		++*hidden;
	}
	return any;
}

/* What the process's half of the root has, but for the bits that the processor sets. */
static uint64_t top_of(const struct direct *d, uint64_t root)
{
	const uint64_t *entry = (const uint64_t *)memory_range(d->jit->cpu->memory, root, GUEST_PAGE_SIZE, false);
	uint64_t sum = 0;
	for (unsigned i = 0; entry && i < GUEST_PAGE_SIZE / sizeof(*entry) / 2; i++)
		sum = (sum ^ (entry[i] & ADDRESS_BITS)) * 0x9e3779b97f4a7c15u;
	return sum;
}

/* Another process has this root now. */
static void forget_worth(struct direct *d, struct direct_space *s)
{
	s->time = s->off_until = 0;
	s->counted_from = tracee_time(s->tracee);
	s->stops = s->calls = s->unfit = s->failures = 0;
	s->top = top_of(d, s->root);
}

static void settle(struct direct *d, struct direct_space *s)
{
	unsigned kept = 0, hidden = 0;
	s->flushed = false;
	for (unsigned i = 0; i < s->run_count; i++)
		if (settle_run(d, s, &s->runs[i], &hidden))
			s->runs[kept++] = s->runs[i];
	s->run_count = kept;
	if (!kept && hidden) {
		drop_chunks(s);
		forget_worth(d, s);
	}
}

static uint32_t generations_of(const struct direct *d, const struct run *run)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < run->count; i++)
		sum += atomic_load(&d->jit->cpu->memory->code_generation[run->page + i]);
	return sum;
}

static void hide_run(struct direct *d, struct direct_space *s, const struct run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		uint32_t *entry = run_entry(s, run, i);
		if (entry && (*entry & (PAGE_EXECUTABLE | PAGE_TRANSLATED)))
			hide(d, s, run_linear(run, i), entry);
	}
}

/* Code that was written to since it was looked at is looked at again when it is wanted. */
static void settle_code(struct direct *d, struct direct_space *s)
{
	unsigned kept = 0;
	s->written = false;
	for (unsigned i = 0; i < s->run_count; i++)
		if (s->runs[i].code && generations_of(d, &s->runs[i]) != s->runs[i].generations)
			hide_run(d, s, &s->runs[i]);
		else
			s->runs[kept++] = s->runs[i];
	s->run_count = kept;
}

void direct_written(struct direct *d)
{
	for (unsigned i = 0; d && i < SPACES; i++)
		d->space[i].written = true;
}

static struct direct_space *find(struct direct *d, uint64_t root)
{
	for (unsigned i = 0; i < SPACES; i++)
		if (d->space[i].tracee && d->space[i].root == root)
			return &d->space[i];
	return NULL;
}

static void hide_shown(struct direct *d, struct direct_space *s, uint64_t linear)
{
	uint32_t *entry = entry_of(s, linear, false);
	if (entry && *entry)
		hide(d, s, linear, entry);
}

void direct_flushed(struct jit *jit, const struct tlb_event *event)
{
	struct direct *d = jit->direct;
	for (unsigned i = 0; d && i < SPACES; i++) {
		struct direct_space *s = &d->space[i];
		bool here = event && (event->kind == TLB_EVENT_ROOT || event->kind == TLB_EVENT_PAGE);
		if (!s->tracee || (here && event->root != s->root))
			continue;
		if (here && event->kind == TLB_EVENT_PAGE && s == d->current && event->size == GUEST_PAGE_SIZE)
			hide_shown(d, s, event->linear);
		else
			s->flushed = true;
	}
}

/* --- showing --- */

#define AROUND (16u * GUEST_PAGE_SIZE)

static bool add_run(struct direct *d, struct direct_space *s, uint64_t linear, uint32_t entry, uint32_t count)
{
	if (s->run_count == s->run_room) {
		unsigned room = s->run_room ? 2 * s->run_room : 256;
		struct run *runs = realloc(s->runs, room * sizeof(*runs));
		if (!runs)
			return false;
		s->runs = runs;
		s->run_room = room;
	}
	struct run *run = &s->runs[s->run_count++];
	*run = (struct run){ .linear = linear, .page = (entry & PAGE_NUMBER) - 1, .count = count, .code = entry & (PAGE_EXECUTABLE | PAGE_TRANSLATED) };
	if (run->code)
		run->generations = generations_of(d, run);
	return true;
}

static const uint8_t *host_page(const struct direct *d, uint32_t entry)
{
	return d->jit->cpu->memory->host + ((uint64_t)((entry & PAGE_NUMBER) - 1) << GUEST_PAGE_SHIFT);
}

/* A copy gets its INT3 when it is there. */
static bool patch(struct direct *d, struct direct_space *s)
{
	for (unsigned n = 0; n < s->copies; n++) {
		const uint32_t *entry = entry_of(s, s->copy[n], false);
		if (!entry || !(*entry & PAGE_TRAPS))
			continue;
		const struct sensitive *found = find_out(d, s->copy[n], host_page(d, *entry));
		for (unsigned i = 0; i < found->count; i++)
			if (!tracee_poke(s->tracee, s->copy[n] + found->at[i], 0xcc))
				return false;
	}
	s->copies = 0;
	return true;
}

/* Pages from `linear` on, which are one behind the other in guest memory, the first as `entry` says. */
static bool show(struct direct *d, struct direct_space *s, uint64_t linear, uint32_t entry, uint32_t count)
{
	const uint64_t protection = PROT_READ | (entry & PAGE_WRITABLE ? PROT_WRITE : 0) | (entry & PAGE_EXECUTABLE ? PROT_EXEC : 0);
	const bool copy = entry & PAGE_TRAPS;
	const struct tracee_call call = { SYS_mmap, { linear, (uint64_t)count * GUEST_PAGE_SIZE, protection,
						      MAP_FIXED | (copy ? MAP_PRIVATE : MAP_SHARED | MAP_POPULATE),
						      TRACEE_MEMORY, (uint64_t)((entry & PAGE_NUMBER) - 1) * GUEST_PAGE_SIZE } };
	if (copy && s->copies == COPIES && !(carry_out(d, s) && patch(d, s)))
		return false;
	if (!ask(d, s, &call) || !add_run(d, s, linear, entry, count))
		return false;
	if (copy)
		s->copy[s->copies++] = linear;
	for (uint32_t i = 0; i < count; i++)
		*entry_of(s, linear + (uint64_t)i * GUEST_PAGE_SIZE, true) = entry + i;
	return true;
}

/* Where the tracee has its own pages nothing of the guest's can be shown. So it gives way as soon as there is something near. */
static bool near_own(const struct direct_space *s, uint64_t linear)
{
	return linear >> CHUNK_SHIFT == tracee_own(s->tracee) >> CHUNK_SHIFT;
}

/* What the page at `at` is to be shown as, beside the one at `wanted`; 0: not at all. In a large page all are alike. */
static uint32_t entry_beside(struct direct *d, uint64_t at, uint64_t wanted, const struct page_rights *page, bool write)
{
	struct page_rights beside = *page;
	if (page->size > GUEST_PAGE_SIZE)
		beside.host += at - wanted;
	else if (!peek(d->jit, at, &beside))
		return 0;
	return entry_for(d, at, &beside, write);
}

/* Whether the access was a store, at a page that is there: nothing else faults where code may be read. */
static bool is_store(const struct direct *d, const uint32_t *shown, uint64_t address)
{
	return shown && *shown && address - d->jit->cpu->gpr[REG_RIP] >= 15;
}

/* Shows the page of an address, and what was used beside it; false: it is shown already as the page tables say, or cannot be. */
static bool fill(struct direct *d, struct direct_space *s, uint64_t address)
{
	const uint64_t wanted = ALIGN_DOWN(address, (uint64_t)GUEST_PAGE_SIZE);
	const uint32_t *shown = entry_of(s, wanted, false);
	const bool store = is_store(d, shown, address);
	struct page_rights page;
	if (!peek(d->jit, wanted, &page))
		return false;
	if (near_own(s, wanted)) {
		s->broken = true;
		return false;
	}
	const uint64_t around = page.size > GUEST_PAGE_SIZE ? page.size : AROUND, low = ALIGN_DOWN(wanted, around);
	const uint32_t first = entry_for(d, wanted, &page, store);
	if (shown && *shown == first)
		return false;
	if ((s->run_count >= RUNS_MAX || (!shown && s->chunks == CHUNKS)) && !clear(d, s))
		return false;
	uint64_t begin = 0;
	uint32_t value = 0, count = 0;
	for (uint64_t at = low; at <= low + around; at += GUEST_PAGE_SIZE) {
		uint32_t *beside = entry_of(s, at, true);
		bool fits = at < low + around && beside && (at == wanted || !*beside);
		uint32_t now = at == wanted ? first : fits ? entry_beside(d, at, wanted, &page, store) : 0;
		if (count && now == value + count && !(now & PAGE_TRAPS)) {
			count++;
			continue;
		}
		if (count && !show(d, s, begin, value, count))
			return false;
		begin = at;
		value = now;
		count = now ? 1 : 0;
	}
	d->jit->stats.direct_fills++;
	return true;
}

/* --- code that others translate --- */

static void protect(struct direct *d, struct direct_space *s, uint32_t page)
{
	for (unsigned i = 0; i < s->run_count; i++) {
		const struct run *run = &s->runs[i];
		const uint32_t n = page - run->page;
		uint32_t *entry = n < run->count ? run_entry(s, run, n) : NULL;
		if (entry && (*entry & PAGE_WRITABLE))
			hide(d, s, run_linear(run, n), entry);
	}
}

/* Of spaces that are not current no call can be asked for now. */
static void take_marks(struct direct *d)
{
	uint32_t page[WINDOW_MARKS];
	unsigned count = windows_marked(d->jit->windows, &d->marks, page);
	if (!count)
		return;
	for (unsigned i = 0; i < SPACES; i++)
		d->space[i].marked |= &d->space[i] != d->current;
	for (unsigned i = 0; i < count && count <= WINDOW_MARKS; i++)
		protect(d, d->current, page[i]);
	if (count > WINDOW_MARKS)
		d->current->marked = true;
}

/* Hides all that can be written and has code. */
static void protect_all(struct direct *d, struct direct_space *s)
{
	s->marked = false;
	for (unsigned i = 0; i < s->run_count; i++)
		for (uint32_t n = 0; n < s->runs[i].count; n++)
			if (memory_page_has_code(d->jit->cpu->memory, (uint64_t)(s->runs[i].page + n) << GUEST_PAGE_SHIFT))
				protect(d, s, s->runs[i].page + n);
}

/* --- whether it is worth it --- */

/* Pages are asked for in bursts, above all at the start. */
#define STOPS_LOOK 96u
#define CALLS_LOOK 32u
#define STOP_WORTH_NS 8000u /* in the tracee from one stop to the next: less is better translated */
#define LIFE_MS 5u         /* of the process until it is worth a tracee */

/* A free one, or the one that was not used for longest. */
static struct direct_space *take(struct direct *d)
{
	struct direct_space *best = &d->space[0];
	for (unsigned i = 0; i < SPACES && best->tracee; i++)
		if (!d->space[i].tracee || d->space[i].last_use < best->last_use)
			best = &d->space[i];
	return best;
}

/* A process that computes. The tracee of one that does no longer serves as well as a new one. */
static struct direct_space *begin(struct direct *d, uint64_t root)
{
	struct error err;
	struct direct_space *s = take(d);
	if (s->tracee && !clear(d, s))
		free_space(d, s);
	if (!s->tracee && !(s->tracee = tracee_new(d->jit->cpu->memory->fd, &err))) {
		d->refused = true;
		return NULL;
	}
	s->root = root;
	s->seen = 0;
	s->flushed = s->marked = s->written = s->broken = false;
	forget_worth(d, s);
	d->jit->stats.direct_spaces++;
	return s;
}

/* What the processor does in the tracee is what the guest's would do. */
static bool same_processor(const struct direct *d)
{
	const struct cpu *c = d->jit->cpu;
	const uint64_t same = CR4_FSGSBASE | CR4_OSXSAVE | CR4_OSFXSR | CR4_OSXMMEXCPT, other = CR4_PCE;
	return cpu_long_mode(c) && !(~c->cr4 & same) && !(c->cr4 & other) && c->xcr0 == (d->host_xcr0 & XCR0_GUEST) && !(c->cr0 & (CR0_TS | CR0_EM)) &&
	       !(c->dr[7] & DR7_ENABLES) && !c->tsc_source && !c->debug_step && !c->debug_breakpoints && !c->debug_watchpoints;
}

static bool worth(const struct direct_space *s, uint64_t now)
{
	return now - s->counted_from >= (uint64_t)s->stops * STOP_WORTH_NS && s->unfit < STOPS_LOOK;
}

/* Now and then. */
static void judge(struct direct *d, struct direct_space *s)
{
	if ((s->stops + s->unfit < STOPS_LOOK && s->calls < CALLS_LOOK) || d->always)
		return;
	uint64_t now = tracee_time(s->tracee);
	if (!worth(s, now)) {
		d->jit->directly = false;
		s->off_until = s->time + (20ull << MIN(s->failures, 6u)) * d->jit->tsc_ms;
		s->failures++;
		d->jit->stats.direct_left++;
	} else if (s->failures) {
		s->failures--;
	}
	s->counted_from = now;
	s->stops = s->calls = s->unfit = 0;
}

static void leave_current(struct direct *d)
{
	if (d->current && !carry_out(d, d->current))
		free_space(d, d->current);
	d->current = NULL;
}

bool direct_wanted(struct jit *jit)
{
	struct direct *d = jit->direct;
	if (!d || d->refused || !jit->space || (jit->cpu->count_instructions && !d->always) || !same_processor(d))
		return false;
	const struct space_heat *heat = windows_heat(jit->space);
	struct direct_space *s = find(d, cpu_root(jit->cpu));
	if (s != d->current)
		leave_current(d);
	if (!s && (d->always || heat->time >= LIFE_MS * jit->tsc_ms))
		s = begin(d, cpu_root(jit->cpu));
	d->current = s;
	if (!s)
		return false;
	s->last_use = ++d->uses;
	if (heat->time < s->seen && top_of(d, s->root) != s->top)
		forget_worth(d, s);
	s->time += heat->time - (heat->time < s->seen ? 0 : s->seen);
	s->seen = heat->time;
	judge(d, s);
	return d->always || s->time >= MAX(s->off_until, LIFE_MS * jit->tsc_ms);
}

/* --- one stretch --- */

#define FLAGS_TAKEN (FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID)
#define FLAGS_OTHER (FLAG_TF | FLAG_NT | FLAG_AC | FLAG_IOPL | FLAG_VM | FLAG_RF)

/* None, or the one that the host has as well. */
static bool flat_data(const struct cpu *c, enum isa_seg seg)
{
	return !c->seg[seg].selector || c->seg[seg].selector == TRACEE_SS;
}

static bool state_fits(const struct direct *d, const struct direct_space *s)
{
	const struct cpu *c = d->jit->cpu;
	return same_processor(d) && c->code_mode == ISA_MODE_64 && (c->rflags & (FLAGS_OTHER | FLAG_IF)) == FLAG_IF && !(c->rflags & FLAG_ID) == !s->id &&
	       c->gpr[REG_RIP] < USER_END && c->segment_base[SEG_FS] < USER_END && c->segment_base[SEG_GS] < USER_END &&
	       c->seg[SEG_CS].selector == TRACEE_CS && c->seg[SEG_SS].selector == TRACEE_SS && flat_data(c, SEG_DS) && flat_data(c, SEG_ES) &&
	       !c->seg[SEG_FS].selector && !c->seg[SEG_GS].selector;
}

bool direct_fits(const struct jit *jit)
{
	struct direct_space *s = jit->direct->current;
	const uint32_t *entry = entry_of(s, jit->cpu->gpr[REG_RIP], false);
	if (entry && (*entry & PAGE_TRANSLATED))
		return false;
	bool fits = state_fits(jit->direct, s);
	s->unfit += !fits;
	return fits;
}

/* Both on one processor, but for a moment now and then in which the host may choose another one. */
#define STAY_MS 50u

static void stay(struct direct *d, struct tracee *tracee)
{
	uint64_t now = __rdtsc();
	if (d->stays && now - d->stays_since > STAY_MS * d->jit->tsc_ms) {
		direct_rest(d->jit);
	} else if (!d->stays) {
		cpu_set_t one;
		d->processor = sched_getcpu();
		CPU_ZERO(&one);
		CPU_SET(d->processor, &one);
		d->stays = pthread_getaffinity_np(pthread_self(), sizeof(d->processors), &d->processors) == 0 &&
			   pthread_setaffinity_np(pthread_self(), sizeof(one), &one) == 0;
		d->stays_since = now;
	}
	tracee_stay(tracee, d->processor);
}

void direct_rest(struct jit *jit)
{
	struct direct *d = jit->direct;
	if (!d || !d->stays)
		return;
	pthread_setaffinity_np(pthread_self(), sizeof(d->processors), &d->processors);
	d->stays = false;
}

static void give_registers(struct cpu *c, struct tracee_registers *r)
{
	memcpy(r->gpr, c->gpr, sizeof(r->gpr));
	r->rip = c->gpr[REG_RIP];
	r->rflags = cpu_get_rflags(c);
	r->fs_base = c->segment_base[SEG_FS];
	r->gs_base = c->segment_base[SEG_GS];
	for (unsigned seg = 0; seg < ARRAY_SIZE(r->selector); seg++)
		r->selector[seg] = c->seg[seg].selector;
}

static void take_bases(struct cpu *c, const struct tracee_registers *r)
{
	c->segment_base[SEG_FS] = c->seg[SEG_FS].base = r->fs_base;
	c->segment_base[SEG_GS] = c->seg[SEG_GS].base = r->gs_base;
}

static void take_registers(struct cpu *c, const struct tracee_registers *r)
{
	memcpy(c->gpr, r->gpr, sizeof(r->gpr));
	c->gpr[REG_RIP] = r->rip;
	cpu_set_rflags(c, (cpu_get_rflags(c) & ~FLAGS_TAKEN) | (r->rflags & FLAGS_TAKEN));
	take_bases(c, r);
	/* What the code has loaded itself is what the host knows of selectors, in which systems hardly differ. */
	for (unsigned seg = 0; seg < ARRAY_SIZE(r->selector); seg++)
		if (seg != SEG_CS && seg != SEG_SS && r->selector[seg] != c->seg[seg].selector)
			cpu_load_segment(c, (enum isa_seg)seg, r->selector[seg]);
	take_bases(c, r);
}

/* Vector state goes over when it is not what the tracee has. */
static bool give_state(struct direct *d, struct direct_space *s)
{
	if (!d->state_size) {
		d->state_size = sizeof(d->given);
		if (!tracee_get_xstate(s->tracee, d->given, &d->state_size))
			return false;
		memcpy(d->state, d->given, d->state_size);
	}
	fpu_to_area(d->jit->cpu, d->state);
	if (d->state_of == s && !memcmp(d->state, d->given, d->state_size))
		return true;
	return tracee_set_xstate(s->tracee, d->state, d->state_size);
}

static bool take_state(struct direct *d, struct direct_space *s)
{
	size_t size = sizeof(d->given);
	if (!tracee_get_xstate(s->tracee, d->given, &size))
		return false;
	fpu_from_area(d->jit->cpu, d->given);
	fpu_to_area(d->jit->cpu, d->given);
	d->state_of = s;
	return true;
}

/* All that the tracee is to show is as the guest wants it. */
static bool prepare(struct direct *d, struct direct_space *s)
{
	struct cpu *c = d->jit->cpu;
	take_marks(d);
	if (s->marked)
		protect_all(d, s);
	if (s->flushed)
		settle(d, s);
	if (s->written)
		settle_code(d, s);
	if (c->gpr[REG_RIP] == d->wanted_rip)
		fill(d, s, d->wanted);
	d->wanted_rip = UINT64_MAX;
	return carry_out(d, s) && patch(d, s) && give_state(d, s);
}

static void fail(struct direct *d, struct direct_space *s)
{
	struct cpu *c = d->jit->cpu;
	snprintf(c->exit_detail, sizeof(c->exit_detail), "the process that executes programs of vCPU %u has ended", c->index);
	free_space(d, s);
	cpu_attention(c, ATTN_EXIT);
}

/* Executes the instruction at RIP; when it has used a page for the first time, the page can be shown from now on. */
static void execute_one(struct direct *d, struct direct_space *s, uint64_t address)
{
	struct cpu *c = d->jit->cpu;
	s->stops++;
	d->wanted = address;
	d->wanted_rip = address ? c->gpr[REG_RIP] : UINT64_MAX;
	interpret_one(c, &d->jit->interp);
	d->wanted_rip = UINT64_MAX;
	if (address && d->current == s && c->cpl == 3)
		fill(d, s, address);
}

/* Whether it is our INT3 that is there. */
static bool is_ours(struct direct *d, uint64_t at, uint32_t entry)
{
	const struct sensitive *found = entry & PAGE_TRAPS ? find_out(d, ALIGN_DOWN(at, (uint64_t)GUEST_PAGE_SIZE), host_page(d, entry)) : NULL;
	for (unsigned i = 0; found && i < found->count; i++)
		if (found->at[i] == (at & GUEST_PAGE_MASK))
			return true;
	return false;
}

/* INT3 and INT1 are traps of the host's as well: RIP is behind them. TF, which the code has set itself, traps behind the next instruction. */
static void trapped(struct direct *d, struct direct_space *s)
{
	struct cpu *c = d->jit->cpu;
	const uint64_t at = c->gpr[REG_RIP] - 1;
	const uint32_t *shown = entry_of(s, at, false), entry = shown ? *shown : 0;
	if (is_ours(d, at, entry)) {
		c->gpr[REG_RIP] = at;
		if (c->rflags & FLAG_TF)
			return; /* it is stepped like any other */
	} else if (c->rflags & FLAG_TF) {
		c->db_pending |= DR6_BS;
		cpu_attention(c, ATTN_STEP);
		return;
	} else {
		bool two_bytes = entry && host_page(d, entry)[at & GUEST_PAGE_MASK] == 0x03;
		c->gpr[REG_RIP] -= two_bytes ? 2 : 1;
	}
	execute_one(d, s, 0);
}

#define SYSCALL_LENGTH 2u

static void stopped(struct direct *d, struct direct_space *s, enum tracee_stop stop, uint64_t address)
{
	switch (stop) {
	case TRACEE_CALL:
		d->jit->cpu->gpr[REG_RIP] -= SYSCALL_LENGTH;
		d->jit->stats.direct_calls++;
		s->calls++;
		execute_one(d, s, 0);
		break;
	case TRACEE_PAGE:
		if (!fill(d, s, address))
			execute_one(d, s, address);
		break;
	case TRACEE_EXCEPTION:
		execute_one(d, s, 0);
		break;
	case TRACEE_TRAP:
		trapped(d, s);
		break;
	default:
		break;
	}
}

void direct_run(struct jit *jit)
{
	struct direct *d = jit->direct;
	struct direct_space *s = d->current;
	struct cpu *c = jit->cpu;
	struct tracee_registers registers;
	uint64_t address;
	if (!prepare(d, s)) {
		free_space(d, s); /* the guest's state is still ours */
		d->refused = ++d->lost > LOST_MAX;
		return;
	}
	judge(d, s);
	stay(d, s->tracee);
	give_registers(c, &registers);
	atomic_store(&d->inside, tracee_id(s->tracee));
	if (atomic_load(&c->attention)) {
		atomic_store(&d->inside, 0);
		return;
	}
	enum tracee_stop stop = tracee_run(s->tracee, &registers, &address);
	atomic_store(&d->inside, 0);
	jit->stats.direct_stops++;
	if (stop == TRACEE_GONE || !take_state(d, s)) {
		fail(d, s);
		return;
	}
	s->id = registers.rflags & FLAG_ID;
	take_registers(c, &registers);
	stopped(d, s, stop, address);
}

void direct_wake(struct direct *d)
{
	int id = atomic_load(&d->inside);
	if (id)
		tracee_interrupt(id);
}
