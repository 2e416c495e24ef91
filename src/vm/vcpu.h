/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_VCPU_H
#define VISOR_VM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "host/waiter.h"

/*
 * The threads that run virtual processors. A thread is, in turn, inside its
 * engine, waiting for an interrupt after HLT, or parked. It parks whenever `held` is set (or
 * another vCPU alone may run); only parked processors may be looked at or changed by others.
 */
struct vcpus;

struct vcpu {
	struct vcpus *set;
	struct cpu *cpu;
	unsigned index;
	bool started;          /* the thread exists */
	const struct engine_type *engine;
	bool engine_made;
	pthread_t thread;
	struct waiter waiter;  /* for the end of HLT */
	_Atomic uint64_t exits[EXIT_COUNT];
	_Atomic uint64_t halted_ns; /* time spent waiting after HLT */
};

struct vcpus {
	unsigned count;
	struct vcpu *vcpu;
	const struct engine_type *engine;
	_Atomic uint64_t first_run_ns; /* host time of the first guest instruction; 0: not yet */
	atomic_bool held, quit;
	_Atomic int only;      /* the one that may run; negative: all */
	pthread_mutex_t park_lock; /* over changes of held, only, quit, and parked */
	pthread_cond_t parked_cond, release_cond;
	unsigned parked;
	/* On the vCPU's thread, for EXIT_SHUTDOWN, EXIT_DEBUG, EXIT_ENGINE and EXIT_ERROR; it holds the set (vcpus_hold), and the
	 * thread parks afterwards. */
	void (*stopped)(void *opaque, unsigned index, enum exit_reason reason);
	void *opaque;
};

/* Makes the engines' part of each processor. cpus: `count` processors, ready but for engine and wake. */
int vcpus_init(struct vcpus *set, struct cpu **cpus, unsigned count, const struct engine_type *engine, struct error *err);
/* Ends the threads first. */
void vcpus_destroy(struct vcpus *set);

/* Gives all processors, parked, another engine; on failure they keep theirs. */
int vcpus_change_engine(struct vcpus *set, const struct engine_type *engine, struct error *err);

/* Starts the threads, parked. */
int vcpus_start(struct vcpus *set, struct error *err);
/* All stop soon; from any thread, does not wait. */
void vcpus_hold(struct vcpus *set);
/* Holds, and returns when all are parked; not from a vCPU's thread. */
void vcpus_park(struct vcpus *set);
/* Lets them run again; `only` is set before. */
void vcpus_release(struct vcpus *set);

#endif
