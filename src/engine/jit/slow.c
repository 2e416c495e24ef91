/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <x86intrin.h>

#include "base/util.h"
#include "cpu/access.h"
#include "engine/jit/jit.h"
#include "isa/op.h"

/*
 * Accesses that windows do not serve. Most are the first to a page, which is
 * shown then. Those that go on faulting (device registers, tables beside code)
 * are translated again with the TLB in their place.
 */
#define FAULTS_MAX 3

/* Where the site is, or where it could be put: NULL then. All places for it taken: any of them. */
static unsigned place(const struct jit *jit, const uint8_t *host)
{
	uintptr_t h = (uintptr_t)host;
	unsigned first = (unsigned)(h ^ h >> 12 ^ h >> 24) % SLOW_SITES;
	for (unsigned n = 0; n < 16; n++) {
		unsigned at = (first + n) % SLOW_SITES;
		if (jit->slow[at] == host || !jit->slow[at])
			return at;
	}
	return first;
}

bool jit_slow_listed(const struct jit *jit, const uint8_t *host)
{
	return jit->slow[place(jit, host)] == host;
}

unsigned jit_addresses(struct cpu *c, const struct insn *i, uint64_t linear[2])
{
	unsigned n = 0;
	if (i->memory && i->op != OP_MOVS && i->op != OP_STOS)
		linear[n++] = effective_address(c, i) + c->segment_base[i->seg];
	switch (i->op) {
	case OP_PUSH: case OP_CALL:
		linear[n++] = c->gpr[REG_RSP] - 8;
		break;
	case OP_POP: case OP_RET:
		linear[n++] = c->gpr[REG_RSP];
		break;
	case OP_MOVS:
		linear[n++] = c->gpr[REG_RSI];
		linear[n++] = c->gpr[REG_RDI];
		break;
	case OP_STOS:
		linear[n++] = c->gpr[REG_RDI];
		break;
	case OP_LEAVE:
		linear[n++] = c->gpr[REG_RBP];
		break;
	default:
		break;
	}
	return n;
}

static bool show(struct jit *jit, uintptr_t address, const uint64_t *linear, unsigned count)
{
	uint64_t at;
	if (address && windows_guest_address(jit->windows, address, &at))
		return mirror_fill(jit, at);
	bool any = false; /* it has no window yet, or is not canonical */
	for (unsigned i = 0; i < count; i++)
		any |= mirror_fill(jit, linear[i]);
	return any;
}

static void make_slow(struct jit *jit, const struct record *record)
{
	const struct unit *unit = record->unit;
	const uint8_t *page = unit->host - ((uintptr_t)unit->host & GUEST_PAGE_MASK);
	const uint8_t *site = page + record->target - record->insn->length;
	if (!jit_slow_site(jit, site)) {
		jit->slow[place(jit, site)] = site;
		*site_filter_word(&jit->slow_filter, site) |= site_filter_bit(site);
		jit->stats.slow_sites++;
	}
	jit_retire(jit, record->unit); /* it may be older than what is known of the site */
}

/* Code that runs once more at most is not worth another translation. */
#define MISSES_MAX 2

void jit_not_proven(struct jit *jit, struct record *record)
{
	const uint8_t *page = record->unit->host - ((uintptr_t)record->unit->host & GUEST_PAGE_MASK);
	uint8_t *faults = record->guard ? &record->guard->faults : &record->faults;
	if (record->hoisted && record->guard) {
		size_t n = (size_t)(jit->fault_at - record->unit->entry) / PROOF_BYTES;
		predict_missed(jit, record->unit, page + record->unit->hoisted_for[n]);
		jit_retire(jit, record->unit);
		return;
	}
	predict_missed(jit, record->unit, page + record->target - (record->insn ? record->insn->length : 0));
	if (++*faults >= MISSES_MAX)
		jit_retire(jit, record->unit);
}

void jit_window_fault(struct jit *jit, struct record *record, uintptr_t address, const uint64_t *linear, unsigned count)
{
	if (address && predict_failed(address)) {
		/* The first access to a window that fits the space's shape makes it; others are no better proven the next time. */
		if (!record->unit->shape_bias || !show(jit, 0, linear, count))
			jit_not_proven(jit, record);
		return;
	}
	uint8_t *faults = record->guard ? &record->guard->faults : &record->faults;
	if (show(jit, address, linear, count) || ++*faults < FAULTS_MAX)
		return;
	make_slow(jit, record);
}

/*
 * The host's signal costs as much as thousands of looks at the TLB, so it is worth avoiding at sites where the guest's own
 * exceptions come one after the other (a program that fills new memory, or divides by zero), and there alone.
 */
#define GUEST_FAULTS 16
#define GUEST_FAULT_US 20 /* apart, on the average */

void jit_guest_fault(struct jit *jit, struct record *record)
{
	uint64_t now = __rdtsc();
	const void *site = record->guard ? (const void *)record->guard : record;
	struct fault_site *f = &jit->fault_sites[((uintptr_t)site >> 3) % ARRAY_SIZE(jit->fault_sites)];
	if (f->site != site || now - f->since > GUEST_FAULTS * GUEST_FAULT_US * jit->tsc_ms / 1000) {
		*f = (struct fault_site){ .site = site, .since = now };
		return;
	}
	if (++f->count < GUEST_FAULTS)
		return;
	f->site = NULL;
	make_slow(jit, record);
}
