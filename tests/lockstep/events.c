/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/util.h"
#include "cpu/flags.h"
#include "lockstep.h"

/*
 * The leader's events (interrupts, exceptions, software interrupts) since the
 * last comparison, which the follower must meet in the same order at the same
 * instructions. With loose flags an exception finds the leader's arithmetic
 * flags: an engine may let flags go that nothing but the frame of a fault shows.
 */
#define EVENTS_MAX 65536

static struct event {
	uint64_t rip, cr2;
	uint16_t cc;
	uint8_t kind, vector;
} events[EVENTS_MAX];
static unsigned led, followed;
static bool loose, wrong;
uint64_t events_count, events_adopted;

static struct event event_of(const struct cpu *c, unsigned kind, unsigned vector)
{
	return (struct event){ .rip = c->gpr[REG_RIP], .cr2 = vector == EXC_PF ? c->cr2 : 0, .cc = c->cc, .kind = (uint8_t)kind,
			       .vector = (uint8_t)vector };
}

static void lead(void *opaque, struct cpu *c, unsigned kind, unsigned vector)
{
	events_count++;
	if (led < EVENTS_MAX)
		events[led] = event_of(c, kind, vector);
	led++;
	if (led >= EVENTS_MAX / 2)
		cpu_attention(c, ATTN_KICK);
}

static void follow_one(void *opaque, struct cpu *c, unsigned kind, unsigned vector)
{
	struct event mine = event_of(c, kind, vector);
	const struct event *e = &events[followed++];
	if (followed > led || followed > EVENTS_MAX || e->rip != mine.rip || e->kind != kind || e->vector != vector || e->cr2 != mine.cr2) {
		wrong = true;
		return;
	}
	if (loose && kind == EVENT_EXCEPTION && e->cc != c->cc) {
		events_adopted++;
		c->cc = e->cc;
	}
}

void events_init(struct cpu *leader, struct cpu *follower, bool loose_flags)
{
	leader->event_hook = lead;
	follower->event_hook = follow_one;
	loose = loose_flags;
}

bool events_level(void)
{
	return led == followed;
}

bool events_compare(bool print)
{
	bool same = !wrong && led == followed;
	for (unsigned n = MIN(led, followed) > 4 ? MIN(led, followed) - 4 : 0; print && !same && n < MIN(led, EVENTS_MAX); n++)
		printf("  event %u of %u (the follower met %u): kind %u, vector %u at %llx, cr2 %llx\n", n + 1, led, followed, events[n].kind,
		       events[n].vector, (unsigned long long)events[n].rip, (unsigned long long)events[n].cr2);
	led = followed = 0;
	return same;
}
