/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>

#include "engine/jit/jit.h"
#include "lockstep.h"

/*
 * A kick ends a run where the engine next looks at cpu->attention. The translator is kicked as it enters
 * translated code: it then leaves at the end of the first unit or chain of units that looks, with its place exact. Other
 * engines are kicked after some instructions, by the debugger's hook. Some runs go on for longer, so that links and
 * caches are used, too; a timer ends what never leaves translated code.
 */
#define MOST_ENTRIES 400
#define MOST_INSNS 200
#define TICK_US 4000
#define GREG_RIP 16 /* <ucontext.h> has a name for it that isa/insn.h uses */

static struct cpu *leader;
static unsigned free_percent;
static uint64_t state;
static uint64_t left; /* entries or instructions before the kick */

static uint64_t next_random(unsigned below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % below;
}

void pace_start(bool progress)
{
	static uint64_t least;
	least = progress ? 0 : least + 1; /* entries that only prepare something */
	left = next_random(100) < free_percent ? next_random(MOST_ENTRIES) : least;
}

void pace_stop(void)
{
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_PROF, &never, NULL);
}

static void count_down(void)
{
	if (left)
		left--;
	else
		cpu_attention(leader, ATTN_KICK);
}

/* --- the translator --- */

static struct record *(*enter)(struct cpu *cpu, const uint8_t *code);
static struct record *(*enter_vector[2][2][2])(struct cpu *cpu, const uint8_t *code);

static struct record *paced_enter(struct cpu *c, const uint8_t *code)
{
	count_down();
	return enter(c, code);
}

#define PACED_ENTER_VECTOR(lower, upper, x87) \
	static struct record *paced_enter_vector_##lower##upper##x87(struct cpu *c, const uint8_t *code) \
	{ \
		count_down(); \
		return enter_vector[lower][upper][x87](c, code); \
	}
PACED_ENTER_VECTOR(0, 0, 0)
PACED_ENTER_VECTOR(0, 0, 1)
PACED_ENTER_VECTOR(0, 1, 0)
PACED_ENTER_VECTOR(0, 1, 1)
PACED_ENTER_VECTOR(1, 0, 0)
PACED_ENTER_VECTOR(1, 0, 1)
PACED_ENTER_VECTOR(1, 1, 0)
PACED_ENTER_VECTOR(1, 1, 1)

/* In translated code alone: after the delivery of an interrupt the engine would leave before it has executed anything, where the
 * follower cannot. */
static void on_tick(int number, siginfo_t *info, void *context)
{
	const struct jit *jit = leader->engine;
	uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[GREG_RIP];
	if (at - (uintptr_t)jit->code_x < jit->code_size)
		cpu_attention(leader, ATTN_KICK);
}

static void pace_jit(struct jit *jit)
{
	const struct itimerval every = { { 0, TICK_US }, { 0, TICK_US } };
	const struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO };
	enter = jit->enter;
	memcpy(enter_vector, jit->enter_vector, sizeof(enter_vector));
	jit->enter = paced_enter;
	jit->enter_vector[0][0][0] = paced_enter_vector_000;
	jit->enter_vector[0][0][1] = paced_enter_vector_001;
	jit->enter_vector[0][1][0] = paced_enter_vector_010;
	jit->enter_vector[0][1][1] = paced_enter_vector_011;
	jit->enter_vector[1][0][0] = paced_enter_vector_100;
	jit->enter_vector[1][0][1] = paced_enter_vector_101;
	jit->enter_vector[1][1][0] = paced_enter_vector_110;
	jit->enter_vector[1][1][1] = paced_enter_vector_111;
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &every, NULL);
}

/* --- the others --- */

static bool before_insn(void *opaque, struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	if (!access && next_random(MOST_INSNS) == 0)
		count_down();
	return false;
}

void pace_leader(struct cpu *c, const struct engine_type *engine, unsigned percent, uint64_t seed)
{
	leader = c;
	free_percent = percent;
	state = seed;
	if (strcmp(engine->name, "jit") == 0) {
		pace_jit(c->engine);
		return;
	}
	c->debug_check = before_insn;
	c->debug_breakpoints = true;
}
