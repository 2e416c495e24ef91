/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_ENGINE_H
#define VISOR_ENGINE_ENGINE_H

#include <stdio.h>

#include "base/error.h"
#include "cpu/cpu.h"

/*
 * The contract of every engine. State lives in struct cpu; an engine that keeps
 * it elsewhere while it runs (kvm) brings it back in get_state. run() executes
 * until something needs the machine and says why.
 */
enum exit_reason {
	EXIT_KICK,     /* asked to leave (ATTN_KICK): pause, save, end */
	EXIT_HALT,     /* HLT or wait-for-SIPI: sleep until the CPU is signalled */
	EXIT_SPIN,     /* many PAUSEs: whom it waits for may need this host CPU */
	EXIT_SHUTDOWN, /* triple fault */
	EXIT_DEBUG,    /* breakpoint, watchpoint or step of a debugger */
	EXIT_ERROR,    /* the monitor cannot go on; cpu->exit_detail says why */
	EXIT_ENGINE,   /* another engine is to go on (engine_stand_in); cpu->exit_detail says why */
	EXIT_COUNT
};

struct engine_counter {
	const char *group; /* NULL: none */
	const char *name;
	uint64_t value;
	uint64_t per;      /* not 0: what is counted is value / per */
};

/* What an engine finds on this host. */
struct engine_report {
	bool works;
	bool fast;          /* guests' kernels too are executed by the processor itself */
	char text[512];     /* in what way it works; or why not, and what to do */
	char details[1000]; /* lines, each "what: how it is" */
};
/* Adds to the details. */
void __attribute__((format(printf, 2, 3))) engine_say(struct engine_report *report, const char *format, ...);

struct engine_type {
	const char *name;
	/* Finds out, in milliseconds; NULL: it works on every host. */
	void (*examine)(struct engine_report *report);
	/* Adds details of how it works; NULL: there are none. Takes longer. */
	void (*describe)(struct engine_report *report);
	/* Once per vCPU, before its first run; later frees it. */
	int (*create)(struct cpu *cpu, struct error *err);
	void (*destroy)(struct cpu *cpu);
	/* On the vCPU's own thread. */
	enum exit_reason (*run)(struct cpu *cpu);
	/* State from the engine to struct cpu, with the vCPU stopped; NULL where struct cpu is always current. The vCPU's thread calls
	 * it before others may look at struct cpu; run() finds out by itself that it is to go on from there. */
	int (*get_state)(struct cpu *cpu, struct error *err);
	/* Logs every instruction of a stopped vCPU to the file, which stays the caller's; NULL ends it. NULL where the engine
	 * cannot trace. */
	void (*trace)(struct cpu *cpu, FILE *file);
	/* What the engine counted for --stats, with the vCPU stopped or not: at most `room` of them; returns how many. NULL: none. */
	unsigned (*counters)(const struct cpu *cpu, struct engine_counter *list, unsigned room);
	/* Bytes of private memory that its cache of translated code takes. NULL: none. */
	uint64_t (*cache_memory)(const struct cpu *cpu);
	/* cpu->stats.instructions is right even without cpu->count_instructions; the engine cannot count. */
	bool counts_always, counts_never;
	/* Guest code runs at the processor's own privilege levels: where they leak, so do the guest's. */
	bool own_privilege;
	/* Takes away from the processor's features what the engine cannot give a guest; NULL: it can give all. err: the engine does not
	 * work on this host. */
	int (*limit)(uint64_t features[2], struct error *err);
	/* Makes run() return EXIT_KICK soon; from any thread. */
	void (*kick)(struct cpu *cpu);
	/* Sets bit n for each page n of the aperture that the machine's vCPUs have written since the last call; from any thread. False: that is
	 * not known, as after the first call. NULL: it never is. */
	bool (*written)(struct cpu *cpu, const struct memory_aperture *aperture, uint64_t *pages);
	/* Carries out the machine's posted writes (bus/space.h); from any thread that has no device's lock. NULL: none ever waits. */
	void (*catch_up)(struct cpu *cpu);
	/* Of the machine that the vCPU belongs to, from any thread: from now on a write to the device register at `gpa` adds to the eventfd
	 * and does nothing else; or no longer. False: it cannot be, such writes go where all do. NULL: the engine has nothing of the kind. */
	bool (*ring_by)(struct cpu *cpu, uint64_t gpa, int eventfd, bool on);
};

/* Attention, and an end to the wait for an interrupt: the kick of engines that look at cpu->attention. */
void engine_kick(struct cpu *cpu);

extern const struct engine_type engine_interp, engine_jit, engine_kvm;

/* All there are, the fastest first; NULL at the end. */
extern const struct engine_type *const engine_list[];
/* NULL when there is none of that name. */
const struct engine_type *engine_by_name(const char *name);
/* The processor has VMX or SVM, as far as whoever runs us lets us see. */
bool engine_host_virtualizes(void);
/* The fastest that works on this host, and why it is that one, in one line. In microseconds where KVM has no hardware to work with. */
const struct engine_type *engine_choose(char *why, size_t size);

/* The engine that goes on where this one gives up; NULL: none. */
const struct engine_type *engine_stand_in(const struct engine_type *engine);

#endif
