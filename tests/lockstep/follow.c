/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "isa/insn.h"
#include "isa/table.h"
#include "lockstep.h"

/*
 * The follower's way to a given place. It is kicked before each instruction from
 * the one on that may be the last, so that it leaves after it, with events still to
 * be taken, or after the delivery of the fault that it raised, or between two
 * iterations of a REP: where the leader may have left, too.
 */
#define STOPS_MAX 1000000
#define STRAY_MAX 24 /* instructions by which the leader's count may be wrong */
#define LOG_SIZE 96
#define WRITTEN_MAX 65536

static const struct cpu *place; /* the leader */
uint64_t follow_strays;
static uint64_t target; /* of stats.instructions */
static struct {
	uint64_t rip;
	uint8_t mode;
} steps[LOG_SIZE];
static uint64_t step_count;

/* Linear addresses of writes, as guest-physical ones. */
static struct { uint64_t gpa; unsigned size; } written[WRITTEN_MAX];
static unsigned written_count;
static bool watching;

static bool read_linear(const struct cpu *c, uint64_t linear, uint8_t *to, unsigned size)
{
	for (unsigned n = 0; n < size; n++) {
		uint64_t gpa;
		if (!mmu_debug_translate((struct cpu *)c, linear + n, &gpa) || !memory_read(c->memory, gpa, to + n, 1))
			return n != 0;
	}
	return true;
}

static void note_written(struct cpu *c, uint64_t linear, unsigned size)
{
	for (unsigned done = 0, part; done < size; done += part) {
		uint64_t gpa;
		part = MIN(size - done, GUEST_PAGE_SIZE - (unsigned)((linear + done) & GUEST_PAGE_MASK));
		if (written_count < WRITTEN_MAX && mmu_debug_translate(c, linear + done, &gpa)) {
			written[written_count].gpa = gpa;
			written[written_count++].size = part;
		}
	}
}

/* In the REP where the leader has stopped, more than an iteration before that place. */
static bool far_in_rep(const struct cpu *c)
{
	return c->stats.instructions == target && c->gpr[REG_RIP] == place->gpr[REG_RIP] && c->debug_watchpoints &&
	       c->gpr[REG_RCX] != place->gpr[REG_RCX] + 1;
}

static bool check(void *opaque, struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	if (access) {
		if (watching && access & ACCESS_W)
			note_written(c, linear, size);
		return false;
	}
	steps[step_count % LOG_SIZE].rip = linear;
	steps[step_count++ % LOG_SIZE].mode = c->code_mode;
	if (c->stats.instructions + 1 >= target && !far_in_rep(c))
		cpu_attention(c, ATTN_KICK);
	return false;
}

void follow_init(struct cpu *c, bool watch)
{
	c->debug_check = check;
	c->debug_breakpoints = true;
	c->debug_watchpoints = watching = watch;
}

static bool there(const struct cpu *f, const struct cpu *l)
{
	return f->stats.instructions == target && f->gpr[REG_RIP] == l->gpr[REG_RIP] && f->gpr[REG_RCX] == l->gpr[REG_RCX] &&
	       f->gpr[REG_RSP] == l->gpr[REG_RSP] && f->shutdown == l->shutdown && events_level();
}

/* In the middle of a REP the leader may be after any iteration; where accesses are watched each is one of its own. */
static void by_iteration(struct cpu *f, bool on)
{
	f->debug_watchpoints = on || watching;
	tlb_flush_all(f);
}

/* Not where the count says: then every register must agree. */
static bool astray(const struct cpu *f, const struct cpu *l)
{
	return f->stats.instructions >= target && memcmp(f->gpr, l->gpr, sizeof(f->gpr)) == 0 && events_level();
}

static bool go(struct side *follower, struct side *leader, enum exit_reason reason)
{
	struct cpu *f = follower->c, *l = leader->c;
	bool end = reason == EXIT_HALT || reason == EXIT_SHUTDOWN;
	enum exit_reason mine = EXIT_KICK;
	for (unsigned stops = 0; stops < STOPS_MAX; stops++) {
		if (there(f, l) && (!end || mine == reason))
			return true;
		if (astray(f, l) && !end) {
			follow_strays++;
			return true;
		}
		if (f->stats.instructions > target + STRAY_MAX || (mine != EXIT_KICK && mine != EXIT_SPIN))
			return false;
		if (f->stats.instructions == target && f->gpr[REG_RIP] == l->gpr[REG_RIP] && !f->debug_watchpoints)
			by_iteration(f, true);
		mine = side_run(follower);
	}
	return false;
}

bool follow(struct side *follower, struct side *leader, uint64_t count, enum exit_reason reason)
{
	struct cpu *f = follower->c;
	target = f->stats.instructions + count;
	place = leader->c;
	bool there = go(follower, leader, reason);
	if (f->debug_watchpoints && !watching)
		by_iteration(f, false);
	return there;
}

bool follow_compare_written(struct side *leader, struct side *follower, bool print)
{
	bool same = written_count < WRITTEN_MAX;
	for (unsigned n = 0; n < written_count; n++) {
		uint8_t l[64] = { 0 }, f[64] = { 0 };
		unsigned size = MIN(written[n].size, (unsigned)sizeof(l));
		memory_read(leader->c->memory, written[n].gpa, l, size);
		memory_read(follower->c->memory, written[n].gpa, f, size);
		if (memcmp(l, f, size) == 0)
			continue;
		same = false;
		if (print)
			printf("  memory at %llx: %s %016llx, %s %016llx\n", (unsigned long long)written[n].gpa, leader->role,
			       (unsigned long long)load_le64(l), follower->role, (unsigned long long)load_le64(f));
	}
	written_count = 0;
	return same;
}

/* The instruction of a step, if its code is still there. */
static bool step_insn(const struct side *follower, uint64_t step, struct insn *insn)
{
	uint8_t bytes[15] = { 0 };
	return read_linear(follower->c, steps[step % LOG_SIZE].rip, bytes, sizeof(bytes)) &&
	       isa_decode(insn, bytes, 15, (enum isa_mode)steps[step % LOG_SIZE].mode) > 0;
}

uint16_t follow_undefined(const struct side *follower)
{
	uint16_t undefined = 0;
	struct insn insn;
	for (uint64_t n = step_count > LOG_SIZE ? step_count - LOG_SIZE : 0; n < step_count; n++)
		if (step_insn(follower, n, &insn)) {
			undefined &= (uint16_t)~isa_rows[insn.row].flags_written;
			undefined |= isa_rows[insn.row].flags_undefined;
		}
	return undefined & FLAG_ARITH;
}

static void print_step(const struct cpu *c, uint64_t linear, unsigned mode, struct insn *insn)
{
	char text[128] = "?";
	uint8_t bytes[15] = { 0 };
	*insn = (struct insn){ .length = 1 };
	if (read_linear(c, linear, bytes, sizeof(bytes)) && isa_decode(insn, bytes, 15, (enum isa_mode)mode) > 0)
		isa_format(text, sizeof(text), insn, linear);
	printf("    %016llx  %s\n", (unsigned long long)linear, text);
}

#define AHEAD 16

void follow_print(const struct side *follower)
{
	const struct cpu *c = follower->c;
	struct insn insn;
	printf("  the follower's last instructions:\n");
	for (uint64_t n = step_count > LOG_SIZE ? step_count - LOG_SIZE : 0; n < step_count; n++)
		print_step(c, steps[n % LOG_SIZE].rip, steps[n % LOG_SIZE].mode, &insn);
	uint64_t linear = c->gpr[REG_RIP] + c->segment_base[SEG_CS];
	printf("  what lies ahead:\n");
	for (unsigned n = 0; n < AHEAD; n++, linear += insn.length)
		print_step(c, linear, c->code_mode, &insn);
}
