/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_LOCKSTEP_H
#define VISOR_TESTS_LOCKSTEP_H

#include "vm/machine_parts.h"

/*
 * Two machines of one configuration, driven by one thread. The leader runs until
 * it leaves its engine; the follower then executes as many instructions, and
 * everything must be equal. Time is a number that each side counts in the same
 * way, so that nothing needs to be recorded: instructions take TIME_OF_INSN, given
 * out between two runs, readings of a clock TIME_OF_READING. Devices are served
 * between runs alone, on both sides after the same number of them.
 */
#define TIME_OF_INSN 10 /* ns */
#define TIME_OF_READING 10

struct side {
	const char *role;
	const struct engine_type *engine;
	struct machine *m;
	struct cpu *c;
	uint64_t now;
	uint64_t output, output_hash; /* bytes written to the consoles */
	uint64_t random;              /* state of its random numbers */
	const char *wanted;           /* text that ends the test when it has been written */
	unsigned matched;
};

/* --- side.c --- */
bool side_create(struct side *s, const struct machine_config *config);
void side_destroy(struct side *s);
/* Runs the engine; time passes as it looks at clocks. */
enum exit_reason side_run(struct side *s);
/* Fires timers and serves what devices have posted. Returns nanoseconds to the next timer, UINT64_MAX for none. */
uint64_t side_serve(struct side *s);
/* Whether that text has been written since; not looked for when NULL. */
void side_look_for(struct side *s, const char *text);
bool side_found(const struct side *s);
/* The side whose console is shown. */
extern struct side *side_shown;

/* --- pace.c: when the leader leaves its engine --- */
/* `free`: percent of runs that go on for some hundred units instead of ending with the first. */
void pace_leader(struct cpu *c, const struct engine_type *engine, unsigned free, uint64_t seed);
/* Before each run of the leader (did the last one do anything?); when there are no more. */
void pace_start(bool progress);
void pace_stop(void);

/* --- follow.c --- */
void follow_init(struct cpu *follower, bool watch);
/* Takes the follower to where the leader is, which was `count` instructions further and has left with `reason`. */
bool follow(struct side *follower, struct side *leader, uint64_t count, enum exit_reason reason);
/* How often the leader's count was wrong by some. */
extern uint64_t follow_strays;
/* Arithmetic flags that are undefined where it is. */
uint16_t follow_undefined(const struct side *follower);
/* The instructions that it executed last. */
void follow_print(const struct side *follower);
/* Compares what the follower has written since the last call with the leader's memory (when it watches). */
bool follow_compare_written(struct side *leader, struct side *follower, bool print);

/* --- events.c --- */
void events_init(struct cpu *leader, struct cpu *follower, bool loose_flags);
/* The follower has met as many as the leader. */
bool events_level(void);
/* True: both have met the same since the last call. */
bool events_compare(bool print);
/* Events, and those at which the follower was given the leader's flags. */
extern uint64_t events_count, events_adopted;

/* --- compare.c --- */
bool compare_state(struct side *leader, struct side *follower, bool print);
/* All of memory. */
bool compare_memory(struct side *leader, struct side *follower);

#endif
