/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "engine/kvm/kvm.h"

unsigned kvm_counters(const struct cpu *c, struct engine_counter *list, unsigned room)
{
	const struct kvm_counts *n = &kvm_of(c)->counts;
	const struct kvm_vm *vm = kvm_of(c)->vm;
	const struct engine_counter all[] = {
		{ NULL, "runs", n->runs, 0 },
		{ "exits", "io", n->io, 0 },
		{ "exits", "mmio", n->mmio, 0 },
		{ "exits", "msr", n->msr, 0 },
		{ "exits", "halt", n->halt, 0 },
		{ "exits", "window", n->window, 0 },
		{ "exits", "kicked", n->kicked, 0 },
		{ "exits", "debug", n->debug, 0 },
		{ NULL, "state_out", n->state_out, 0 },
		{ NULL, "state_in", n->state_in, 0 },
		{ NULL, "posted", c->index ? 0 : vm->posted, 0 }, /* the machine's, as those below: they stand with the first processor */
		{ "page_log", "asked", c->index ? 0 : vm->asked, 0 },
		{ "page_log", "known", c->index ? 0 : vm->known, 0 },
	};
	unsigned count = MIN(room, (unsigned)ARRAY_SIZE(all));
	for (unsigned i = 0; i < count; i++)
		list[i] = all[i];
	return count;
}
