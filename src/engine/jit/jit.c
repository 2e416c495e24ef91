/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
/*
 * The translator: engine `jit`. 16-bit code, code with unusual segments, and
 * single instructions that it does not take on, are interpreted.
 */
#include "engine/jit/jit.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "cpu/access.h"
#include "cpu/mmu.h"
#include "engine/jit/describe.h"
#include "engine/jit/dump.h"
#include "engine/jit/trap.h"
#include "isa/op.h"
#include "isa/table.h"

#define CACHE_TOTAL (256ull << 20)

static void destroy(struct cpu *c)
{
	struct jit *jit = c->engine;
	if (!jit)
		return;
	if (jit->wake) {
		c->wake = jit->wake;
		c->wake_opaque = jit->wake_opaque;
	}
	direct_free(jit->direct);
	pages_destroy(jit);
	mirror_destroy(jit);
	jit_stats_destroy(&jit->stats);
	jit_memory_destroy(jit);
	interpret_destroy(&jit->interp);
	free(jit->translator);
	free(jit);
	c->engine = NULL;
}

/* An interrupt ends direct execution, which does not look at cpu->attention. */
static void wake(void *opaque)
{
	struct jit *jit = opaque;
	direct_wake(jit->direct);
	jit->wake(jit->wake_opaque);
}

static void begin_direct(struct cpu *c, struct jit *jit)
{
	if (!jit->windows || !c->wake || !(jit->direct = direct_new(jit)))
		return;
	jit->wake = c->wake;
	jit->wake_opaque = c->wake_opaque;
	c->wake = wake;
	c->wake_opaque = jit;
}

static int create(struct cpu *c, struct error *err)
{
	_Static_assert(sizeof(struct jit_words) <= sizeof(c->engine_words), "room for the words");
	struct jit *jit = calloc(1, sizeof(*jit));
	if (!jit)
		return error_set(err, ENOMEM, "no memory for the translator of vCPU %u", c->index);
	jit->cpu = c;
	c->engine = jit;
	if (!jit_stats_init(&jit->stats) || !jit_translator_init(jit)) {
		destroy(c);
		return error_set(err, ENOMEM, "no memory for the translator of vCPU %u", c->index);
	}
	mirror_init(jit); /* without windows all goes by the TLB */
	if (interpret_init(&jit->interp, c, err) < 0 || jit_memory_init(jit, MAX(JIT_CACHE_MIN, (c->code_cache ? c->code_cache : CACHE_TOTAL) / c->count), err) < 0) {
		destroy(c);
		return -1;
	}
	if (c->code_dump && dump_open(c->code_dump, err) < 0) {
		destroy(c);
		return -1;
	}
	dump_forget(jit->code_x, jit->code_size);
	jit_make_stubs(jit);
	if (jit->windows && !pages_init(jit)) {
		destroy(c);
		return error_set(err, ENOMEM, "no memory for the translator of vCPU %u", c->index);
	}
	begin_direct(c, jit);
	tlb_flush_all(c);
	return 0;
}

static void trace(struct cpu *c, FILE *file)
{
	((struct jit *)c->engine)->interp.cache.trace = file;
	cpu_attention(c, ATTN_STEP);
}

/* --- units by guest address --- */

/* The tag of an address space that was current before and not flushed since. */
static uint32_t user_tag(struct cpu *c, struct jit *jit)
{
	struct user_tag *at = &jit->user_tags[c->code_epoch[0] % ARRAY_SIZE(jit->user_tags)];
	if (!at->tag || at->epoch != c->code_epoch[0])
		*at = (struct user_tag){ c->code_epoch[0], ++jit->tags };
	return at->tag;
}

/* Whatever was found by address before must be looked for again. */
static void retag(struct cpu *c, struct jit *jit)
{
	struct jit_words *words = jit_words(c);
	bool all = jit->epoch_seen[1] != c->code_epoch[1];
	bool global = jit->local_kernel || all;
	jit->epoch_seen[0] = c->code_epoch[0];
	jit->epoch_seen[1] = c->code_epoch[1];
	jit->stats.retags++;
	if (all)
		memset(jit->user_tags, 0, sizeof(jit->user_tags));
	words->tag[TLB_USER] = user_tag(c, jit);
	if (global) {
		jit->local_kernel = false;
		words->tag[TLB_SUPERVISOR] = ++jit->tags;
		words->tag[TLB_SUPERVISOR_AC] = ++jit->tags;
	}
}

static const uint8_t *fetch(struct cpu *c, uint64_t linear)
{
	const struct tlb_entry *set = c->tlbs[c->cpl == 3 ? TLB_USER : TLB_SUPERVISOR_AC];
	const struct tlb_entry *e = &set[(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	if (likely(e->execute == ALIGN_DOWN(linear, (uint64_t)GUEST_PAGE_SIZE)))
		return (const uint8_t *)(linear + e->addend);
	uint64_t gpa;
	c->insn = NULL;
	if (!is_canonical(linear))
		cpu_gp(c, 0);
	return mmu_fetch(c, linear, &gpa);
}

/* The last page below the addresses that are none, and the first above: branches over the edge fault themselves. */
static bool at_hole(uint64_t linear)
{
	return (linear + GUEST_PAGE_SIZE) >> 47 == 1 || (linear - GUEST_PAGE_SIZE) >> 47 == 0x1fffe;
}

/* What the code that a link leaves has proven about registers, as far as it is so where the link leads. */
static uint16_t proven_by_link(const struct jit *jit, const struct record *from)
{
	return jit->code_user && from->unit->space == jit->code_user->id && from->unit->shape_bias ? (uint16_t)from->proven : 0;
}

static bool goes_direct(const struct cpu *c, const struct jit *jit)
{
	return unlikely(jit->directly) && c->cpl == 3 && direct_fits(jit);
}

/* The unit at RIP; NULL: the code there is to be executed directly, or that instruction is to be interpreted. May fault. */
static struct unit *unit_here(struct cpu *c, struct jit *jit, bool memory_flags)
{
	unsigned set = current_tlb_set(c);
	uint64_t linear = c->gpr[REG_RIP];
	/* Code of a supervisor set takes CPL 0 for granted. */
	bool good = c->code_mode == ISA_MODE_64 ? !at_hole(linear) : legacy_translatable(c, linear);
	if (!good || set == TLB_USER_ALIGN || c->cpl - 1u < 2 || goes_direct(c, jit))
		return NULL;
	const uint8_t *host = fetch(c, linear);
	if (!host)
		return NULL;
	tlb_note_code(c, linear);
	if (set != TLB_USER && !c->tlb_global[TLB_SUPERVISOR_AC][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)])
		jit->local_kernel = true;
	uint64_t page = ALIGN_DOWN(linear, (uint64_t)GUEST_PAGE_SIZE);
	struct unit *unit = jit_find(jit, host, linear, set);
	if (!unit)
		unit = jit_translate(jit, host, linear, memory_flags);
	if (unit && !unit->absolute)
		jit_words(c)->code_page = page;
	jit->entering = unit;
	return unit;
}

/* --- ways out --- */

static uint64_t page_of(struct cpu *c, const struct unit *unit)
{
	return unit->absolute ? unit->page : jit_words(c)->code_page;
}

static uint64_t bias_of(const struct jit *jit, const struct unit *unit, unsigned number)
{
	return unit_shaped(unit, number) ? unit->shape_bias : mirror_table(jit, unit->set)[unit->window_index[number - 1]];
}

static bool proven_by(const struct jit *jit, const struct unit *unit, unsigned number, uint64_t linear)
{
	unsigned index = linear >> WINDOW_SHIFT & 0xffff;
	if (!is_canonical(linear))
		return false;
	if (unit_shaped(unit, number))
		return mirror_table(jit, unit->set)[index] == unit->shape_bias;
	return index == unit->window_index[number - 1];
}

/* Whether the general registers point into the windows that the code behind the record takes for proven. */
static bool still_proven(const struct cpu *c, const struct record *record)
{
	const struct jit *jit = c->engine;
	for (unsigned r = 0; r < 16; r++) {
		unsigned number = record->proven >> 2 * r & 3;
		if (number && !proven_by(jit, record->unit, number, c->gpr[r]))
			return false;
	}
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		unsigned key = record->reuse[n];
		if (reuse_is_segment(key) && !proven_by(jit, record->unit, PROVEN_SHAPED, c->segment_base[key - REUSE_SEGMENT]))
			return false;
	}
	for (uint32_t sums = record->sums; sums; sums >>= 12) {
		uint64_t base = (sums & 15) == REG_RSP ? 0 : c->gpr[sums & 15];
		unsigned number = sums >> 10 & 3;
		if (number && !proven_by(jit, record->unit, number, base + (c->gpr[sums >> 4 & 15] << (sums >> 8 & 3))))
			return false;
	}
	return true;
}

static void restore_reused(struct cpu *c, const struct jit *jit, const struct record *record)
{
	const uint64_t *table = mirror_table(jit, record->unit->set);
	for (unsigned n = 0; n < REUSE_COUNT; n++) {
		unsigned key = record->reuse[n];
		if (key == REUSE_NONE)
			continue;
		if (key == REUSE_SELF) {
			jit_words(c)->reuse[n] = c->gpr[reuse_register[n]];
			continue;
		}
		if (reuse_is_segment(key)) {
			jit_words(c)->reuse[n] = c->segment_base[key - REUSE_SEGMENT];
			continue;
		}
		if (key >= REUSE_WINDOW) {
			jit_words(c)->reuse[n] = bias_of(jit, record->unit, key - REUSE_WINDOW + 1);
			continue;
		}
		bool address = key >= 16;
		uint64_t at = key == REUSE_FS ? c->segment_base[SEG_FS] : key == REUSE_GS ? c->segment_base[SEG_GS] :
			      key == REG_RIP ? record->unit->page : c->gpr[key];
		jit_words(c)->reuse[n] = table[(at >> WINDOW_SHIFT) & 0xffff] + (address ? at : 0);
	}
}

static bool changes_vectors(const struct insn *i)
{
	return (isa_rows[i->row].attributes & (ROW_SSE | ROW_AVX)) || i->op == OP_FXRSTOR || i->op == OP_XRSTOR || i->op == OP_XRSTORS;
}

/* Whether the record's unit is still what there is at RIP, behind its instruction. */
static bool stayed(struct cpu *c, const struct record *record)
{
	const uint8_t *host = record->unit->host - ((uintptr_t)record->unit->host & GUEST_PAGE_MASK) + record->target;
	uint64_t linear = c->gpr[REG_RIP];
	const struct tlb_entry *e = &c->tlbs[TLB_SUPERVISOR_AC][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
	return c->code_mode == ISA_MODE_64 && current_tlb_set(c) == record->set && e->execute == ALIGN_DOWN(linear, (uint64_t)GUEST_PAGE_SIZE) &&
	       (const uint8_t *)(linear + e->addend) == host;
}

/* What its instruction leaves behind lets the record's code go on. */
static bool goes_on(struct cpu *c, const struct record *record)
{
	if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed)))
		return false;
	if (unlikely(!still_proven(c, record)))
		return false;
	if (record->unit->mode != ISA_MODE_64 && !legacy_flat(c))
		return false;
	return record->kind == RECORD_STAY ? stayed(c, record) : record->kind != RECORD_END;
}

/* Executes the record's instruction by its function. */
static const uint8_t *help(struct cpu *c, struct jit *jit, struct record *record)
{
	const struct insn *insn = record->insn;
	const bool shown = !(jit->faulted && record->window);
	uint64_t linear[2];
	unsigned addresses = shown ? 0 : jit_addresses(c, insn, linear);
	jit->unserved = jit->faulted;
	jit->faulted = false;
	c->gpr[REG_RIP] = page_of(c, record->unit) + (uint64_t)(int64_t)record->target;
	c->insn = insn;
	jit->current = record;
	if (changes_vectors(insn))
		jit_words(c)->vector_used = ~0u;
	(record->miss ? jit->stats.missed : jit->stats.helped)[insn->row]++;
	insn->exec(c, insn);
	jit->current = NULL;
	c->insn = NULL;
	if (unlikely(!shown))
		jit_window_fault(jit, record, jit->fault_address, linear, addresses);
	if (likely(goes_on(c, record))) {
		jit->entering = record->unit;
		jit->pending = record->executed;
		restore_reused(c, jit, record);
		return record->resume;
	}
	c->stats.instructions += record->executed;
	return NULL;
}

/* What the control registers do not allow raises its exception in the instruction's function. */
static const uint8_t *load_vectors(struct cpu *c, struct jit *jit, struct record *record)
{
	uint32_t allowed = vector_allowed(c);
	/* A register may have drifted over the edge, or be in a zone of the shape where there is no window yet: that would be the
	 * same if the code began anew. */
	if ((allowed & record->vector) != record->vector || !still_proven(c, record)) {
		if (help(c, jit, record)) /* the code behind it takes the state for loaded */
			c->stats.instructions += record->executed;
		return NULL;
	}
	c->gpr[REG_RIP] = page_of(c, record->unit) + (uint64_t)(int64_t)(record->target - record->insn->length);
	vector_set(jit_words(c), allowed & (record->vector | jit_words(c)->vector_left | (uint32_t)~(VECTOR_AVX512 | VECTOR_X87)));
	jit->stats.vector_loads++;
	jit->entering = record->unit;
	jit->pending = record->executed - 1u;
	restore_reused(c, jit, record);
	return record->again;
}

static const uint8_t *follow_link(struct cpu *c, struct jit *jit, struct record *record)
{
	c->gpr[REG_RIP] = page_of(c, record->unit) + (uint64_t)(int64_t)record->target;
	uint64_t flushes = jit->stats.flushes;
	jit->leads = record->polls ? LEADS_BACK : LEADS_ANY;
	struct unit *unit = unit_here(c, jit, record->memory_flags);
	jit->leads = LEADS_ANY;
	if (!unit)
		return NULL;
	if (flushes != jit->stats.flushes || !record->site || unit->window != record->unit->window)
		return unit->entry;
	const uint8_t *code = record->polls ? jit_polled(jit, unit) : record->memory_flags ? unit->memory_entry : unit_entry(unit, proven_by_link(jit, record));
	if (!code)
		return unit->entry;
	if ((uint32_t)record->target < GUEST_PAGE_SIZE && !record->listed) {
		jit->stats.links++;
		jit_link(jit, record, code);
	} else {
		pages_link(jit, record, unit, code);
	}
	return unit->entry;
}

static const uint8_t *follow_cross(struct cpu *c, struct jit *jit, struct record *record)
{
	uint64_t flushes = jit->stats.flushes, va = c->gpr[REG_RIP];
	unsigned set = record->set;
	struct unit *unit = unit_here(c, jit, true);
	if (!unit)
		return NULL;
	if (flushes == jit->stats.flushes && !unit->window) {
		jit->stats.crosses++;
		record->va = va;
		record->tag = jit_words(c)->tag[set];
		record->code = unit->memory_entry;
	}
	return unit->entry;
}

/* A branch to an address that is not canonical faults before it does anything: it is taken back and executed again. */
static const uint8_t *take_back(struct cpu *c, struct jit *jit, struct record *record)
{
	const struct unit *unit = record->unit;
	c->gpr[REG_RSP] += (uint64_t)(int64_t)record->undo;
	if (!guard_decode(jit, unit, record->target, record->length)) {
		c->stats.instructions += (uint64_t)record->executed - 1;
		c->gpr[REG_RIP] = page_of(c, unit) + (uint64_t)(int64_t)(record->target - record->length);
		return NULL;
	}
	*jit->spare = (struct record){ .kind = RECORD_END, .set = record->set, .executed = record->executed, .target = record->target,
				       .unit = record->unit, .insn = &jit->spare_insn };
	return help(c, jit, jit->spare);
}

static void note_jump(struct cpu *c, struct jit *jit, const struct unit *unit, uint64_t va)
{
	jit->stats.indirect++;
	*jit_jump(c, va) = (struct jump){ .va = va, .tag = jit_words(c)->tag[unit->set], .code = unit->memory_entry };
}

static const uint8_t *follow_indirect(struct cpu *c, struct jit *jit, struct record *record)
{
	uint64_t va = c->gpr[REG_RIP];
	if (!is_canonical(va))
		return take_back(c, jit, record);
	uint64_t flushes = jit->stats.flushes;
	jit->leads = LEADS_INDIRECT;
	struct unit *unit = unit_here(c, jit, !record->unit->window);
	jit->leads = LEADS_ANY;
	if (!unit || flushes != jit->stats.flushes)
		return NULL;
	if (record->unit->window && unit->window)
		pages_branch(jit, unit);
	if (record->unit->window || unit->window)
		return unit->entry;
	note_jump(c, jit, unit, va);
	return unit->entry;
}

/* The first time that SYSCALL or its like leads there. */
static const uint8_t *follow_far(struct cpu *c, struct jit *jit)
{
	uint64_t flushes = jit->stats.flushes, va = c->gpr[REG_RIP];
	struct unit *unit = unit_here(c, jit, !jit_on_windows(jit, current_tlb_set(c)));
	if (!unit || flushes != jit->stats.flushes)
		return NULL;
	if (unit->window)
		pages_branch(jit, unit);
	else
		note_jump(c, jit, unit, va);
	return unit->entry;
}

/* Sees to what translated code left for. Returns where it goes on; NULL: at RIP. */
static const uint8_t *handle(struct cpu *c, struct jit *jit, struct record *record)
{
	jit->stats.exits[record->kind]++;
	switch (record->kind) {
	case RECORD_HELPER: case RECORD_STAY: case RECORD_END:
		return help(c, jit, record);
	case RECORD_VECTOR:
		return load_vectors(c, jit, record);
	case RECORD_LINK:
		return follow_link(c, jit, record);
	case RECORD_GO:
		/* At a loop's end, or at the start, where an address that is none may lead anywhere; else it is the poll. */
		if (jit->faulted && (record->hoisted || predict_failed(jit->fault_address)))
			jit_not_proven(jit, record);
		jit->faulted = false;
		c->stats.instructions += record->executed;
		c->gpr[REG_RIP] = page_of(c, record->unit) + (uint64_t)(int64_t)record->target;
		return NULL;
	default:
		break;
	}
	if (atomic_load_explicit(&c->attention, memory_order_relaxed))
		return record->kind == RECORD_RIP && !is_canonical(c->gpr[REG_RIP]) ? take_back(c, jit, record) : NULL;
	if (record->kind == RECORD_FAR)
		return follow_far(c, jit);
	return record->kind == RECORD_CROSS ? follow_cross(c, jit, record) : follow_indirect(c, jit, record);
}

/* --- the loop --- */

static void sync_tags(struct cpu *c, struct jit *jit)
{
	if (unlikely(jit->epoch_seen[0] != c->code_epoch[0] || jit->epoch_seen[1] != c->code_epoch[1]))
		retag(c, jit);
	if (unlikely(c->tlb_event_count || (jit->windows && jit->root != cpu_root(c))))
		mirror_sync(jit);
}

/* AT_HWCAP2, bit 1: the kernel lets programs write the base themselves. */
static void set_gs_base(struct jit *jit, uint64_t base)
{
	jit_words(jit->cpu)->bias = base;
	if (getauxval(AT_HWCAP2) & 2)
		__asm__ volatile("wrgsbase %0" : : "r"(base));
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

/* User code of a space with a shape has its bias in the GS base. */
static void sync_bias(struct jit *jit)
{
	uint64_t bias = jit->code_user ? jit->code_user->shape.bias : 0;
	if (unlikely(bias != jit_words(jit->cpu)->bias))
		set_gs_base(jit, bias);
}

/* Puts the tables of branches in place that cpu_attention took away; false: attention is wanted (again). */
static bool set_branches(struct cpu *c, const struct jit *jit)
{
	const uintptr_t user = branches_word(jit->code_user && jit->code_user->branches && !jit->directly ? jit->code_user->branches : jit->no_branches);
	const uintptr_t kernel = branches_word(jit->window[TLB_SUPERVISOR] && jit->code_kernel.branches ? jit->code_kernel.branches : jit->no_branches);
	jit_words(c)->user_window = jit->window[TLB_USER];
	jit_words(c)->user_table = jit->window[TLB_USER] || jit->directly;
	jit_words(c)->kernel_window = jit->window[TLB_SUPERVISOR];
	if (likely(atomic_load_explicit(&c->branches[0], memory_order_relaxed) == user &&
		   atomic_load_explicit(&c->branches[1], memory_order_relaxed) == kernel &&
		   atomic_load_explicit(&c->poll, memory_order_relaxed)))
		return true;
	atomic_store_explicit(&c->poll, c->gpr, memory_order_relaxed);
	atomic_store_explicit(&c->branches[0], user, memory_order_relaxed);
	atomic_store(&c->branches[1], kernel);
	return !atomic_load(&c->attention);
}

/* Where RSP's window is, for code that has the host's address in RSP. */
static uint64_t stack_word(const struct cpu *c, const struct jit *jit)
{
	const struct unit *unit = jit->entering;
	return ~(unit->window ? mirror_table(jit, unit->set)[(c->gpr[REG_RSP] >> WINDOW_SHIFT) & 0xffff] : 0);
}

typedef struct record *enter_stub(struct cpu *c, const uint8_t *code);

static enter_stub *enter(struct cpu *c, const struct jit *jit)
{
	uint32_t vector = jit_words(c)->vector;
	return likely(!vector) ? jit->enter : jit->enter_vector[vector_lower_used(c)][!!(vector & VECTOR_AVX512)][!!(vector & VECTOR_X87)];
}

/* Unit after unit until attention is asked for. */
static void execute(struct cpu *c, struct jit *jit)
{
	struct jit_words *words = jit_words(c);
	const uint8_t *code = NULL;
	vector_set(words, 0);
	words->vector_used = ~0u;
	for (;;) {
		if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed))) {
			c->stats.instructions += code ? jit->pending : 0;
			return;
		}
		sync_tags(c, jit);
		sync_bias(jit);
		if (!code && goes_direct(c, jit)) {
			words->vector_used = ~0u;
			direct_run(jit);
			continue;
		}
		if (!code) {
			struct unit *unit = unit_here(c, jit, true);
			if (!unit) {
				jit->stats.interpreted++;
				words->vector_used = ~0u;
				interpret(c, &jit->interp, true);
				continue;
			}
			code = unit->entry;
			jit->pending = 0;
			words->reuse[REUSE_OF_BIAS] = words->bias;
		}
		if (unlikely(!set_branches(c, jit) || jit->entering->retired || !vector_provide(jit))) {
			c->stats.instructions += jit->pending;
			code = NULL;
			jit->pending = 0;
			continue;
		}
		jit->pending = 0;
		words->stack = stack_word(c, jit);
		jit->stats.entries++;
		c->stats.assisted++;
		if (words->vector & VECTOR_X87)
			x87_load(c, jit);
		struct record *record = enter(c, jit)(c, code);
		if (words->vector_left & VECTOR_X87)
			x87_store(c, jit);
		words->reuse[REUSE_OF_BIAS] = words->bias;
		code = handle(c, jit, record);
		/* Behind an instruction that was helped the code takes for granted what it found before it. */
		if (words->vector_left && code && !record_is_short(record) && code == record->resume)
			vector_set(words, words->vector_left);
	}
}

/* Code was written. */
static void forget_code(struct cpu *c, struct jit *jit)
{
	c->code_epoch[1]++;
	if (!jit->windows)
		return;
	pages_written(jit);
	direct_written(jit->direct);
	mirror_sync(jit);
}

static enum exit_reason loop(struct cpu *c, struct jit *jit)
{
	enum exit_reason reason;
	for (;;) {
		if (!atomic_load_explicit(&c->attention, memory_order_relaxed))
			execute(c, jit);
		/* Code has changed: units of its page are found to be stale when they are looked for. */
		if (atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_CODE) & ATTN_CODE)
			forget_code(c, jit);
		if (mirror_tick(jit) || unlikely(pages_grown(jit))) {
			c->code_epoch[1]++;
			mirror_sync(jit);
		}
		/* The guest is back from its page fault; what faulted is interpreted when IRET leaves events to be looked at. */
		if (unlikely(c->gpr[REG_RIP] == jit->wanted_rip)) {
			sync_tags(c, jit);
			mirror_fill_wanted(jit);
		}
		if (interpret_attend(c, &jit->interp, &reason) == LEAVE)
			return reason;
	}
}

static void count_faulted(struct cpu *c, struct jit *jit)
{
	jit->leads = LEADS_ANY;
	if (jit->current && jit->unserved && (c->fault_vector == EXC_PF || c->fault_vector == EXC_DE))
		jit_guest_fault(jit, jit->current);
	if (jit->current)
		c->stats.instructions += (uint64_t)jit->current->executed - 1; /* it may have been counted already */
	if (jit->current && jit->current->window && c->fault_vector == EXC_PF)
		mirror_faulted(jit, c->cr2);
	jit->current = NULL;
	interpret_count_faulted(c, &jit->interp);
}

static const uint8_t *resolve(void *opaque, const uint8_t *at, uintptr_t address)
{
	struct jit *jit = opaque;
	struct unit *unit = jit_unit_at(jit, at);
	struct guard *guard = unit ? guard_at(unit, (uint32_t)(at - jit->code_x)) : NULL;
	if (!guard)
		return NULL;
	jit->stats.guards++;
	jit->faulted = true;
	jit->fault_at = at;
	jit->fault_address = address;
	return guard->slow ? jit->code_x + guard->slow : guard_record(jit, unit, guard);
}

static enum exit_reason run(struct cpu *c)
{
	struct jit *jit = c->engine;
	jmp_buf env;
	if (!trap_enter(jit->code_x, jit->code_size, resolve, jit)) {
		snprintf(c->exit_detail, sizeof(c->exit_detail), "no memory for a signal stack of vCPU %u", c->index);
		return EXIT_ERROR;
	}
	set_gs_base(jit, 0);
	c->fault_env = &env;
	atomic_store(&c->running, true);
	/* A delivery that faults comes back here too; cpu_deliver_fault works out double and triple faults. */
	if (_setjmp(env)) {
		count_faulted(c, jit);
		cpu_deliver_fault(c);
	} else {
		/* Whatever has changed while we were out is looked at first; ATTN_CODE is set where code was written. */
		cpu_attention(c, ATTN_STEP);
	}
	enum exit_reason reason = loop(c, jit);
	c->insn = NULL;
	c->fault_env = NULL;
	trap_enter(NULL, 0, resolve, NULL);
	direct_rest(jit);
	atomic_store(&c->running, false);
	return reason;
}

static uint64_t cache_memory(const struct cpu *c)
{
	const struct jit *jit = c->engine;
	return MAX(jit->data_used, jit->data_dirty);
}

const struct engine_type engine_jit = {
	.name = "jit",
	.describe = jit_describe,
	.create = create,
	.destroy = destroy,
	.run = run,
	.trace = trace,
	.counters = jit_counters,
	.cache_memory = cache_memory,
	.kick = engine_kick,
};
