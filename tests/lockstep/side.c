/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lockstep.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "cpu/cpuid.h"
#include "host/random.h"
#include "host/time.h"

struct side *side_shown;

/* --- the host as the machines see it: these stand in for those of host/ --- */

#define START_OF_TIME 1600000000ll /* the time of day at the beginning */

static struct side *current; /* whose machine executes now */
static bool counting;

static uint64_t clock_of_current(void)
{
	if (!current)
		return 0;
	return counting ? current->now += TIME_OF_READING : current->now;
}

uint64_t host_time_ns(void)
{
	return clock_of_current();
}

int64_t host_wall_seconds(void)
{
	return START_OF_TIME;
}

uint64_t host_tsc_hz(void)
{
	return NS_PER_SEC;
}

int timespec_get(struct timespec *t, int base)
{
	uint64_t now = clock_of_current();
	*t = (struct timespec){ .tv_sec = START_OF_TIME + (time_t)(now / NS_PER_SEC), .tv_nsec = (long)(now % NS_PER_SEC) };
	return base;
}

size_t host_random(void *buffer, size_t length)
{
	for (size_t n = 0; n < length; n++) {
		uint64_t *state = current ? &current->random : &(uint64_t){ 0 };
		*state = *state * 6364136223846793005ull + 1442695040888963407ull;
		((uint8_t *)buffer)[n] = (uint8_t)(*state >> 56);
	}
	return length;
}

static uint64_t tsc(void *opaque)
{
	return clock_of_current();
}

/* --- machines --- */

/* Good for texts whose beginning does not come again in them. */
static void look(struct side *s, uint8_t byte)
{
	if (!s->wanted || side_found(s))
		return;
	if (s->wanted[s->matched] != byte)
		s->matched = 0;
	s->matched += s->wanted[s->matched] == byte;
}

void side_look_for(struct side *s, const char *text)
{
	s->wanted = text;
	s->matched = 0;
}

bool side_found(const struct side *s)
{
	return s->wanted && !s->wanted[s->matched];
}

static void output(void *opaque, const uint8_t *data, size_t size)
{
	struct side *s = opaque;
	for (size_t n = 0; n < size; n++) {
		s->output_hash = (s->output_hash ^ data[n]) * 0x100000001b3ull;
		look(s, data[n]);
	}
	s->output += size;
	if (s == side_shown) {
		fwrite(data, 1, size, stdout);
		fflush(stdout);
	}
}

/* No two machines get the same numbers from RDRAND and RDSEED, which the host executes. */
static void hide_random_numbers(struct cpu *c)
{
	static const uint8_t hidden[] = { FEATURE_RDRAND, FEATURE_RDSEED };
	for (unsigned n = 0; n < ARRAY_SIZE(hidden); n++)
		c->features[hidden[n] >> 6] &= ~BIT64(hidden[n] & 63);
	for (unsigned n = 0; n < c->cpuid_count; n++) {
		if (c->cpuid[n].leaf == 1)
			c->cpuid[n].reg[2] &= ~BIT(30);
		if (c->cpuid[n].leaf == 7 && c->cpuid[n].subleaf == 0)
			c->cpuid[n].reg[1] &= ~BIT(18);
	}
}

bool side_create(struct side *s, const struct machine_config *config)
{
	struct machine_config mine = *config;
	struct error err = { 0 };
	mine.cpus = 1;
	mine.engine = s->engine;
	mine.count_instructions = true;
	mine.console[MACHINE_SERIAL0] = (struct machine_console){ output, NULL, s };
	current = s;
	s->m = machine_create(&mine, &err);
	if (!s->m) {
		fprintf(stderr, "lockstep: %s\n", err.text);
		return false;
	}
	s->c = s->m->cpus[0];
	s->c->tsc_source = tsc;
	hide_random_numbers(s->c);
	s->c->tsc_stopped = 0;
	s->c->tsc_offset = 0;
	cpu_start_time(s->c, s->now);
	vclock_start(&s->m->clock);
	return true;
}

void side_destroy(struct side *s)
{
	current = s;
	machine_destroy(s->m);
	current = NULL;
}

enum exit_reason side_run(struct side *s)
{
	current = s;
	counting = true;
	enum exit_reason reason = s->engine->run(s->c);
	counting = false;
	return reason;
}

/* Of vclock_run, each of hundreds of timers. */
#define MOST_ROUNDS 20000

uint64_t side_serve(struct side *s)
{
	uint64_t next = 0;
	current = s;
	for (unsigned rounds = 0; (next = vclock_run(&s->m->clock)) == 0 && rounds < MOST_ROUNDS; rounds++)
		;
	loop_drain(s->m->loop);
	return next;
}
