/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "engine/jit/shadow.h"

#include <stddef.h>
#include <sys/mman.h>

#include "base/util.h"
#include "cpu/cpu.h"
#include "engine/jit/translator.h"

/*
 * One stack: a page that faults, the stack, a page whose first word returns to where the stack is found empty. System calls: mmap,
 * mprotect, munmap.
 */
#define STACK_BYTES (256u << 10)
#define SLOT (GUEST_PAGE_SIZE + STACK_BYTES + GUEST_PAGE_SIZE)

static uint64_t *top(const struct jit *jit, unsigned set)
{
	return (uint64_t *)(jit->shadow + set * SLOT + GUEST_PAGE_SIZE + STACK_BYTES);
}

bool shadow_init(struct jit *jit)
{
	jit->shadow = mmap(NULL, 2 * SLOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (jit->shadow == MAP_FAILED) {
		jit->shadow = NULL;
		return false;
	}
	for (unsigned set = TLB_USER; set <= TLB_SUPERVISOR; set++)
		if (mprotect(jit->shadow + set * SLOT, GUEST_PAGE_SIZE, PROT_NONE) < 0)
			return false;
	return true;
}

void shadow_destroy(struct jit *jit)
{
	if (jit->shadow)
		munmap(jit->shadow, 2 * SLOT);
	jit->shadow = NULL;
}

void shadow_reset(struct jit *jit, unsigned set)
{
	if (jit->shadow)
		jit_words(jit->cpu)->shadow[set] = (uintptr_t)top(jit, set);
}

const uint8_t *shadow_overflow(struct jit *jit, const uint8_t *at, uintptr_t address)
{
	for (unsigned set = TLB_USER; jit->shadow && set <= TLB_SUPERVISOR; set++)
		if (address - (uintptr_t)(jit->shadow + set * SLOT) < GUEST_PAGE_SIZE) {
			jit_words(jit->cpu)->shadow_again[0] = (uintptr_t)top(jit, set);
			jit_words(jit->cpu)->shadow_again[1] = (uintptr_t)at;
			return jit->shadow_full;
		}
	return NULL;
}

static void make_stubs(struct jit *jit, struct emitter *e, unsigned set)
{
	top(jit, set)[0] = (uintptr_t)emit_here(e);
	emit_move(e, REG_RSP, S_B);
	jit->shadow_other[set] = emit_here(e);
	emit_branch_by_table(e, set);
	shadow_reset(jit, set);
}

void shadow_make_stubs(struct jit *jit, struct emitter *e)
{
	if (!jit->shadow)
		return;
	make_stubs(jit, e, TLB_USER);
	make_stubs(jit, e, TLB_SUPERVISOR);
	jit->shadow_full = emit_here(e);
	emit_load(e, REG_RSP, WORD(shadow_again[0]));
	emit_mem(e, 0, 0xff, 4, WORD(shadow_again[1]));
}

/* --- code --- */

bool shadow_used(const struct translator *t)
{
	return t->unit->window && t->set <= TLB_SUPERVISOR && t->jit->shadow;
}

/* S_B is the guest's RSP meanwhile. */
static void to_shadow(struct translator *t)
{
	emit_move(&t->e, S_B, REG_RSP);
	emit_load(&t->e, REG_RSP, WORD(shadow[t->set]));
}

static void from_shadow(struct translator *t)
{
	emit_store(&t->e, WORD(shadow[t->set]), REG_RSP);
	emit_move(&t->e, REG_RSP, S_B);
}

void shadow_call(struct translator *t, int64_t after)
{
	struct emitter *e = &t->e;
	to_shadow(t);
	put8(e, 0xe8); /* call */
	uint8_t *over = e->at;
	put32(e, 0);
	from_shadow(t);
	emit_compare_target(e, t->unit->page + (uint64_t)after, t->jit->shadow_other[t->set]);
	exit_return(t, after);
	if (!e->full)
		emit_patch(over, e->delta, emit_here(e));
	from_shadow(t);
}

void shadow_return(struct translator *t)
{
	to_shadow(t);
	put8(&t->e, 0xc3);
}
