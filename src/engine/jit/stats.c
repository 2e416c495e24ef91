/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "base/util.h"
#include "engine/jit/jit.h"
#include "isa/table.h"

bool jit_stats_init(struct jit_stats *stats)
{
	stats->helped = calloc(isa_row_count, sizeof(*stats->helped));
	stats->missed = calloc(isa_row_count, sizeof(*stats->missed));
	return stats->helped && stats->missed;
}

void jit_stats_destroy(struct jit_stats *stats)
{
	free(stats->helped);
	free(stats->missed);
}

struct list {
	struct engine_counter *at, *end;
};

static void put(struct list *l, const char *group, const char *name, uint64_t value)
{
	if (l->at < l->end)
		*l->at++ = (struct engine_counter){ group, name, value, 0 };
}

static void put_ratio(struct list *l, const char *name, uint64_t value, uint64_t per)
{
	if (l->at < l->end)
		*l->at++ = (struct engine_counter){ NULL, name, value, MAX(per, 1u) };
}

/* Rows of one mnemonic add up where they are shown; rare ones are left out. */
static uint64_t put_rows(struct list *l, const char *group, const uint32_t *count)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < isa_row_count; i++)
		sum += count[i];
	for (unsigned i = 0; i < isa_row_count; i++)
		if (count[i] > sum / 500)
			put(l, group, isa_rows[i].mnemonic, count[i]);
	return sum;
}

unsigned jit_counters(const struct cpu *cpu, struct engine_counter *counters, unsigned room)
{
	const struct jit *jit = cpu->engine;
	const struct jit_stats *s = &jit->stats;
	struct list l = { counters, counters + room };
	put(&l, NULL, "units", s->units);
	put(&l, NULL, "guest_bytes", s->guest_bytes);
	put(&l, NULL, "code_bytes", s->code_bytes);
	put_ratio(&l, "code_bytes_per_guest_byte", s->code_bytes, s->guest_bytes);
	put(&l, NULL, "evictions", s->flushes);
	put(&l, NULL, "retags", s->retags);
	put(&l, NULL, "interpreted_runs", s->interpreted);
	put(&l, NULL, "window_fills", s->fills);
	put(&l, NULL, "window_pages", s->filled_pages);
	static const char *const exits[RECORD_KINDS] = {
		[RECORD_LINK] = "link", [RECORD_CROSS] = "cross_page", [RECORD_RIP] = "indirect", [RECORD_FAR] = "privilege", [RECORD_STAY] = "system", [RECORD_GO] = "attention",
		[RECORD_HELPER] = "helper", [RECORD_END] = "helper_end", [RECORD_VECTOR] = "vector_load",
	};
	put(&l, "exits", "total", s->entries);
	for (unsigned i = 0; i < RECORD_KINDS; i++)
		put(&l, "exits", exits[i], s->exits[i]);
	put(&l, NULL, "links", s->links);
	put(&l, NULL, "guard_faults", s->guards);
	static const char *const events[] = { "all", "local", "root", "page" };
	for (unsigned i = 0; i < 4; i++)
		put(&l, "window_flushes", events[i], s->tlb_events[i]);
	put(&l, NULL, "slow_sites", s->slow_sites);
	put(&l, NULL, "mispredicted", s->mispredicted);
	put(&l, NULL, "shapes", s->shapes);
	put(&l, NULL, "inherited", s->inherited);
	put(&l, "direct", "spaces", s->direct_spaces);
	put(&l, "direct", "left", s->direct_left);
	put(&l, "direct", "stops", s->direct_stops);
	put(&l, "direct", "calls", s->direct_calls);
	put(&l, "direct", "fills", s->direct_fills);
	put(&l, NULL, "helped", put_rows(&l, "helped_by", s->helped));
	put(&l, NULL, "missed", put_rows(&l, "missed_by", s->missed));
	return (unsigned)(l.at - counters);
}
