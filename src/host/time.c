/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/time.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Both ends are exact to some 10 ns. A sleep takes 60 us more. (The kernel's own figure, of perf_event_open, takes longer to get.) */
#define CALIBRATION_NS 1000000ull
#define ATTEMPTS 5

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t host_time_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t host_process_began(void)
{
	return host_time_ns() - read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t host_wall_seconds(void)
{
	return (int64_t)time(NULL);
}

/* Leaf 0x15: EBX/EAX is TSC / crystal clock, ECX the crystal's frequency, 0 where the processor does not tell. */
static uint64_t hz_from_crystal(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(0x15, &a, &b, &c, &d) || !a || !b || !c)
		return 0;
	return (uint64_t)c * b / a;
}

/* Leaf 0x40000010, where a hypervisor has it: EAX is the TSC's frequency in kHz. */
static uint64_t hz_from_hypervisor(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 31 & 1))
		return 0;
	__cpuid(0x40000000, a, b, c, d);
	if (a < 0x40000010 || a > 0x40010000)
		return 0;
	__cpuid(0x40000010, a, b, c, d);
	return (uint64_t)a * 1000;
}

struct sample {
	uint64_t ns, tsc;
};

/* Both clocks at the same moment: of a few readings the one that took the fewest ticks, so that an
 * interruption between the two does not count. */
static struct sample sample_clocks(void)
{
	struct sample best = { 0, 0 };
	uint64_t shortest = UINT64_MAX;
	for (unsigned i = 0; i < 10; i++) {
		uint64_t before = host_tsc();
		uint64_t ns = host_time_ns();
		uint64_t after = host_tsc();
		if (after - before < shortest) {
			shortest = after - before;
			best = (struct sample){ ns, before + (after - before) / 2 };
		}
	}
	return best;
}

static uint64_t measure(void)
{
	struct sample start = sample_clocks();
	const struct timespec pause = { .tv_nsec = CALIBRATION_NS };
	nanosleep(&pause, NULL);
	struct sample end = sample_clocks();
	uint64_t ns = end.ns - start.ns;
	return ns ? (uint64_t)((unsigned __int128)(end.tsc - start.tsc) * 1000000000ull / ns) : 0;
}

static bool agree(uint64_t a, uint64_t b)
{
	uint64_t difference = a > b ? a - b : b - a;
	return difference < a / 5000; /* 200 ppm: Linux accepts 500 from a clock source it checks */
}

static uint64_t cached_hz;

static void find_hz(void)
{
	uint64_t told = hz_from_crystal();
	if (!told)
		told = hz_from_hypervisor();
	uint64_t hz = measure();
	/* What CPUID tells is exact; the measurement only guards against a hypervisor that scales the counter. */
	if (told && hz && (told > hz ? told - hz : hz - told) < hz / 100) {
		cached_hz = told;
		return;
	}
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		uint64_t again = measure();
		if (agree(hz, again)) {
			cached_hz = hz / 2 + again / 2;
			return;
		}
		hz = again;
	}
	cached_hz = hz ? hz : 1000000000ull;
}

uint64_t host_tsc_hz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, find_hz);
	return cached_hz;
}
