/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/util.h"
#include "cpu/mmu.h"
#include "engine/jit/jit.h"

/*
 * Most instructions that may fault never do, so that records and code are not made for them: the guard says what they would
 * be, and the instruction is decoded again. Where its bytes have changed since, nothing is executed in its
 * place: the code is left in front of it.
 */
static bool unchanged(const struct unit *unit)
{
	return atomic_load(unit->generation_now) == unit->generation && atomic_load(unit->tail_generation_now) == unit->tail_generation;
}

bool guard_decode(struct jit *jit, const struct unit *unit, int target, unsigned length)
{
	const uint8_t *page = unit->host - ((uintptr_t)unit->host & GUEST_PAGE_MASK);
	unsigned at = (unsigned)target - length, here = MIN(GUEST_PAGE_SIZE - at, 15u);
	uint8_t bytes[15] = { 0 };
	memcpy(bytes, page + at, here);
	if (unit->tail)
		memcpy(bytes + here, unit->tail, 15 - here);
	if (isa_decode(&jit->spare_insn, bytes, 15, (enum isa_mode)unit->mode) != (int)length || !unchanged(unit))
		return false;
	cpu_select(jit->cpu, &jit->spare_insn);
	return true;
}

struct guard *guard_at(const struct unit *unit, uint32_t at)
{
	for (struct guard *guard = unit->guards; guard < unit->guards + unit->guard_count; guard++) {
		uint32_t is = guard->at;
		for (unsigned n = 0; is < at && n < GUARD_MORE && guard->more[n]; n++)
			is += guard->more[n];
		if (is == at)
			return guard;
	}
	return NULL;
}

const uint8_t *guard_record(struct jit *jit, struct unit *unit, struct guard *guard)
{
	struct record *r = jit->spare;
	*r = (struct record){ .kind = guard->kind, .set = guard->set, .window = guard->window, .miss = true, .executed = guard->executed,
			      .hoisted = guard->hoisted, .target = guard->target, .unit = unit, .insn = &jit->spare_insn, .resume = jit->code_x + guard->at + guard->resume, .guard = guard };
	memcpy(r->reuse, guard->reuse, sizeof(r->reuse));
	r->proven = guard->proven;
	r->sums = guard->sums;
	if (guard->kind != RECORD_GO && !guard_decode(jit, unit, guard->target, guard->length)) {
		r->kind = RECORD_GO;
		r->executed--;
		r->target = guard->target - guard->length;
	}
	return jit->spare_leave[guard->memory_flags];
}
