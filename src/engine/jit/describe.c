/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What visor doctor says of engine jit on this host: whether guests' programs can be executed directly. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/jit/describe.h"
#include "host/file.h"
#include "host/time.h"
#include "host/tracee.h"

#define CODE 0x400000u
#define STOPS 500u

static bool has_fsgsbase(void)
{
	unsigned a, b, c, d;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1);
}

/* A page of code that faults at once; -1: errno says why not. */
static int make_code(void)
{
	static const uint8_t ud2[] = { 0x0f, 0x0b };
	int fd = memfd_create("visor-describe", MFD_CLOEXEC);
	if (fd >= 0 && (ftruncate(fd, sysconf(_SC_PAGESIZE)) < 0 || pwrite(fd, ud2, sizeof(ud2), 0) != sizeof(ud2))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Nanoseconds of a stop, with both on one processor as they are when a guest runs; 0: the tracee does not do what it is asked for. */
static uint64_t time_stops(struct tracee *t)
{
	const struct tracee_call map = { SYS_mmap, { CODE, (uint64_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, TRACEE_MEMORY, 0 } };
	uint64_t address, start = 0;
	if (tracee_calls(t, &map, 1) != 1)
		return 0;
	for (unsigned i = 0; i < 2 * STOPS; i++) {
		struct tracee_registers registers = { .rip = CODE, .rflags = 0x202 };
		start = i == STOPS ? host_time_ns() : start; /* the first ones warm up */
		if (tracee_run(t, &registers, &address) != TRACEE_EXCEPTION)
			return 0;
	}
	return (host_time_ns() - start) / STOPS;
}

static uint64_t time_pinned(struct tracee *t)
{
	cpu_set_t all, one;
	int processor = sched_getcpu();
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	if (pthread_getaffinity_np(pthread_self(), sizeof(all), &all) || pthread_setaffinity_np(pthread_self(), sizeof(one), &one))
		return time_stops(t);
	tracee_stay(t, processor);
	uint64_t ns = time_stops(t);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	return ns;
}

void jit_describe(struct engine_report *r)
{
	static const char translated[] = "programs: translated, which is slower than to have the processor execute them:";
	struct error err;
	if (!has_fsgsbase()) {
		engine_say(r, "%s it lacks FSGSBASE\n", translated);
		return;
	}
	cleanup_close int memory = make_code();
	struct tracee *t = memory < 0 ? NULL : tracee_new(memory, &err);
	uint64_t ns = t ? time_pinned(t) : 0;
	if (ns)
		engine_say(r, "programs: executed by the processor itself, in processes of their own; %llu.%llu us for a stop\n",
			   (unsigned long long)ns / 1000, (unsigned long long)ns % 1000 / 100);
	else
		engine_say(r, "%s %s; a container or a seccomp filter may forbid ptrace, or more processes\n", translated,
			   memory < 0 ? strerror(errno) : t ? "the process that would does not do what it is asked for" : err.text);
	tracee_free(t);
}
