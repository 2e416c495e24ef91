/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "lockstep.h"

/*
 * lockstep LEADER FOLLOWER KERNEL [-i INITRD] [-a APPEND] [-m MIB] [-n MILLIONS] [-u TEXT] [-f PERCENT] [-s SEED] [-c MILLIONS] [-w]
 * [-l] [-q]: runs a guest on two engines and compares them whenever the leader leaves its engine. LEADER: interp, jit;
 * FOLLOWER: interp. -n: instructions, in millions, after which to stop; -u: stops when the guest has written this to
 * its console; -f: percent of long runs; -c: how often all of memory is compared; -w: compares all that the follower
 * writes at once (slow); -l: the arithmetic flags of exceptions' frames need not agree; -q: the console is not shown.
 */
#define SERVE_PERIOD 32 /* runs of the leader */

static const struct engine_type *const engines[] = { &engine_interp, &engine_jit };

static struct {
	struct side leader, follower;
	uint64_t runs, halts, most;
	const char *kernel, *initrd, *append, *until;
	unsigned megabytes, free, seed;
	uint64_t instructions, compare_every, next_compare;
	bool watch, quiet, progress, loose;
} run = { .leader.role = "leader", .follower.role = "follower", .megabytes = 256, .free = 25, .seed = 1,
	  .append = "console=ttyS0", .instructions = UINT64_MAX, .compare_every = 50000000 };

static const struct engine_type *engine_called(const char *name)
{
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++)
		if (strcmp(engines[n]->name, name) == 0)
			return engines[n];
	fprintf(stderr, "lockstep: no engine is called '%s'\n", name);
	exit(2);
}

static void parse(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: lockstep LEADER FOLLOWER KERNEL [options]; see lockstep.c\n");
		exit(2);
	}
	run.leader.engine = engine_called(argv[1]);
	run.follower.engine = engine_called(argv[2]);
	run.kernel = argv[3];
	for (int n = 4; n < argc; n++) {
		const char *value = n + 1 < argc ? argv[n + 1] : "";
		switch (argv[n][0] == '-' ? argv[n][1] : 0) {
		case 'w': run.watch = true; continue;
		case 'l': run.loose = true; continue;
		case 'q': run.quiet = true; continue;
		case 'i': run.initrd = value; break;
		case 'a': run.append = value; break;
		case 'u': run.until = value; break;
		case 'm': run.megabytes = (unsigned)strtoul(value, NULL, 0); break;
		case 'n': run.instructions = (uint64_t)(strtod(value, NULL) * 1e6); break;
		case 'f': run.free = (unsigned)strtoul(value, NULL, 0); break;
		case 's': run.seed = (unsigned)strtoul(value, NULL, 0); break;
		case 'c': run.compare_every = (uint64_t)(strtod(value, NULL) * 1e6); break;
		default: fprintf(stderr, "lockstep: what is '%s'?\n", argv[n]); exit(2);
		}
		n++;
	}
}

static bool report(const char *what, uint64_t count, enum exit_reason reason)
{
	printf("\nlockstep: %s after %llu instructions, run %llu of %llu instructions, which ended with reason %u\n", what,
	       (unsigned long long)run.leader.c->stats.instructions, (unsigned long long)run.runs, (unsigned long long)count, reason);
	events_compare(true);
	compare_state(&run.leader, &run.follower, true);
	follow_compare_written(&run.leader, &run.follower, true);
	compare_memory(&run.leader, &run.follower);
	follow_print(&run.follower);
	return false;
}

static bool ended(void)
{
	return run.leader.m->ended || (run.until && side_found(&run.leader)) || run.leader.c->stats.instructions >= run.instructions;
}

/* Time on both sides, and what is due then; a halted guest waits for the next timer. */
static bool pass_time(uint64_t count, bool halted)
{
	run.leader.now += count * TIME_OF_INSN;
	run.follower.now += count * TIME_OF_INSN;
	if (!halted && run.runs % SERVE_PERIOD)
		return true;
	uint64_t next = side_serve(&run.leader);
	if (side_serve(&run.follower) != next)
		return report("the timers differ", count, EXIT_HALT);
	bool woken = atomic_load(&run.leader.c->signals) != 0;
	if (!halted || woken || run.leader.m->ended)
		return true;
	if (next == UINT64_MAX)
		return report("the guest waits for nothing", count, EXIT_HALT);
	run.leader.now += next;
	run.follower.now += next;
	side_serve(&run.leader);
	side_serve(&run.follower);
	return true;
}

static bool one_run(void)
{
	struct side *l = &run.leader, *f = &run.follower;
	uint64_t before = l->c->stats.instructions;
	run.runs++;
	pace_start(run.progress);
	enum exit_reason reason = side_run(l);
	uint64_t count = l->c->stats.instructions - before;
	run.most = MAX(run.most, count);
	run.progress = count != 0;
	run.halts += reason == EXIT_HALT;
	if (reason == EXIT_ERROR || reason == EXIT_DEBUG)
		return report("the leader has failed", count, reason);
	if (!follow(f, l, count, reason))
		return report("the follower takes another way", count, reason);
	if (!events_compare(true))
		return report("the events differ", count, reason);
	if (!compare_state(l, f, false) || (run.watch && !follow_compare_written(l, f, true)))
		return report("the states differ", count, reason);
	if (l->c->stats.instructions >= run.next_compare) {
		run.next_compare += run.compare_every;
		if (!compare_memory(l, f))
			return report("memory differs", count, reason);
	}
	if (reason == EXIT_SHUTDOWN) { /* what the machine does when its thread sees this */
		machine_request(l->m, REQUEST_TRIPLE_FAULT, "triple fault");
		machine_request(f->m, REQUEST_TRIPLE_FAULT, "triple fault");
		run.runs += SERVE_PERIOD - run.runs % SERVE_PERIOD;
	}
	return pass_time(count, reason == EXIT_HALT);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	const struct machine_config config = {
		.memory = (uint64_t)run.megabytes << 20, .kernel = run.kernel, .initrd = run.initrd, .append = run.append, .debug_exit = true,
		.no_reboot = true,
	};
	if (!side_create(&run.leader, &config) || !side_create(&run.follower, &config))
		return 1;
	side_shown = run.quiet ? NULL : &run.leader;
	side_look_for(&run.leader, run.until);
	pace_leader(run.leader.c, run.leader.engine, run.free, run.seed);
	follow_init(run.follower.c, run.watch);
	events_init(run.leader.c, run.follower.c, run.loose);
	run.next_compare = run.compare_every;
	bool same = true;
	while (same && !ended())
		same = one_run();
	pace_stop();
	if (same)
		same = compare_memory(&run.leader, &run.follower);
	printf("\nlockstep: %s and %s %s: %llu instructions in %llu runs (mean %.1f, at most %llu), %llu halts, %llu counts wrong, status %d\n",
	       run.leader.engine->name, run.follower.engine->name, same ? "agree" : "differ",
	       (unsigned long long)run.leader.c->stats.instructions, (unsigned long long)run.runs,
	       (double)run.leader.c->stats.instructions / (double)run.runs, (unsigned long long)run.most, (unsigned long long)run.halts,
	       (unsigned long long)follow_strays, run.leader.m->status);
	printf("lockstep: %llu events, %llu times the leader's flags\n", (unsigned long long)events_count,
	       (unsigned long long)events_adopted);
	int status = !same ? 1 : run.leader.m->ended && run.leader.m->status ? run.leader.m->status : 0;
	side_destroy(&run.leader);
	side_destroy(&run.follower);
	return status;
}
