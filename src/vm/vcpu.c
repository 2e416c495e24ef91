/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/vcpu.h"

#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "host/thread.h"
#include "host/time.h"

#define WAKES (ATTN_KICK | ATTN_INTR | ATTN_NMI | ATTN_INIT | ATTN_SIPI | ATTN_SMI)

/* An interrupt, or whatever else ends a wait. From any thread, after the bit in cpu->attention that says what for. */
static void wake(void *opaque)
{
	struct vcpu *v = opaque;
	waiter_wake(&v->waiter);
}

static bool may_run(const struct vcpu *v)
{
	int only = atomic_load(&v->set->only);
	return !atomic_load(&v->set->held) && (only < 0 || (unsigned)only == v->index);
}

/* Stands still until released; false when the thread is to end. Who may run changes under park_lock alone: so nobody who
 * was told that all are parked can be overtaken by one that leaves. */
static bool park(struct vcpu *v)
{
	struct vcpus *set = v->set;
	pthread_mutex_lock(&set->park_lock);
	set->parked++;
	pthread_cond_broadcast(&set->parked_cond);
	while (!may_run(v) && !atomic_load(&set->quit))
		pthread_cond_wait(&set->release_cond, &set->park_lock);
	bool run = !atomic_load(&set->quit);
	if (run)
		set->parked--;
	pthread_mutex_unlock(&set->park_lock);
	return run;
}

/* After HLT. Most wakes came while the processor was executing, and what they were for has been done: those do not count. */
static void idle(struct vcpu *v)
{
	waiter_clear(&v->waiter);
	if (!(atomic_load(&v->cpu->attention) & WAKES))
		v->halted_ns += waiter_wait(&v->waiter);
}

/* Others are about to look at it. What fails is in cpu->exit_detail: then it is nothing to go on from, under any engine. */
static bool bring_state(struct vcpu *v)
{
	struct error err;
	return !v->engine_made || !v->engine->get_state || v->engine->get_state(v->cpu, &err) == 0;
}

static bool can_run(const struct vcpu *v)
{
	return v->engine_made && !v->cpu->exit_detail[0];
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *v = opaque;
	for (;;) {
		if (!may_run(v)) {
			bring_state(v);
			if (!park(v))
				return NULL;
		}
		if (unlikely(!atomic_load_explicit(&v->set->first_run_ns, memory_order_relaxed)))
			v->set->first_run_ns = host_time_ns();
		enum exit_reason reason = can_run(v) ? v->engine->run(v->cpu) : EXIT_ERROR;
		if ((unsigned)reason >= EXIT_COUNT)
			reason = EXIT_ERROR;
		v->exits[reason]++;
		if (reason == EXIT_HALT) {
			idle(v);
		} else if (reason == EXIT_SPIN) {
			host_thread_yield();
		} else if (reason != EXIT_KICK) {
			vcpus_hold(v->set);
			v->set->stopped(v->set->opaque, v->index, bring_state(v) ? reason : EXIT_ERROR);
		}
	}
}

static void drop_engine(struct vcpus *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		if (set->vcpu[i].engine_made)
			set->vcpu[i].engine->destroy(set->vcpu[i].cpu);
		set->vcpu[i].engine_made = false;
	}
}

/* Up to the first that cannot have it. */
static int make_engine(struct vcpus *set, const struct engine_type *engine, struct error *err)
{
	set->engine = engine;
	for (unsigned i = 0; i < set->count; i++) {
		struct vcpu *v = &set->vcpu[i];
		v->engine = engine;
		v->engine_made = engine->create(v->cpu, err) == 0;
		if (!v->engine_made)
			return -1;
	}
	return 0;
}

int vcpus_init(struct vcpus *set, struct cpu **cpus, unsigned count, const struct engine_type *engine, struct error *err)
{
	set->count = 0;
	set->engine = engine;
	set->held = true;
	set->only = -1;
	pthread_mutex_init(&set->park_lock, NULL);
	pthread_cond_init(&set->parked_cond, NULL);
	pthread_cond_init(&set->release_cond, NULL);
	set->vcpu = calloc(count, sizeof(*set->vcpu));
	if (!set->vcpu)
		return error_set(err, ENOMEM, "out of memory for %u vCPUs", count);
	for (unsigned i = 0; i < count; i++) {
		struct vcpu *v = &set->vcpu[i];
		v->set = set;
		v->cpu = cpus[i];
		v->index = i;
		v->cpu->wake = wake;
		v->cpu->wake_opaque = v;
		set->count++;
	}
	return make_engine(set, engine, err);
}

void vcpus_destroy(struct vcpus *set)
{
	if (!set->engine)
		return;
	vcpus_hold(set);
	pthread_mutex_lock(&set->park_lock);
	atomic_store(&set->quit, true);
	pthread_cond_broadcast(&set->release_cond);
	pthread_mutex_unlock(&set->park_lock);
	for (unsigned i = 0; i < set->count; i++)
		if (set->vcpu[i].started)
			pthread_join(set->vcpu[i].thread, NULL);
	drop_engine(set);
	pthread_mutex_destroy(&set->park_lock);
	pthread_cond_destroy(&set->parked_cond);
	pthread_cond_destroy(&set->release_cond);
	free(set->vcpu);
	set->vcpu = NULL;
	set->count = 0;
}

/* Processors share what an engine has for the machine, and it keeps its own in struct cpu: so the old one goes first, as a whole. */
int vcpus_change_engine(struct vcpus *set, const struct engine_type *engine, struct error *err)
{
	const struct engine_type *before = set->engine;
	struct error worse;
	drop_engine(set);
	if (make_engine(set, engine, err) == 0)
		return 0;
	drop_engine(set);
	if (make_engine(set, before, &worse) < 0)
		for (unsigned i = 0; i < set->count; i++)
			snprintf(set->vcpu[i].cpu->exit_detail, sizeof(set->vcpu[i].cpu->exit_detail), "no engine: %.120s", worse.text);
	return -1;
}

int vcpus_start(struct vcpus *set, struct error *err)
{
	for (unsigned i = 0; i < set->count; i++) {
		struct vcpu *v = &set->vcpu[i];
		char name[16];
		snprintf(name, sizeof(name), "vcpu%u", i % 100);
		if (!v->started && host_thread_start(&v->thread, name, vcpu_thread, v, err) < 0)
			return -1;
		v->started = true;
	}
	return 0;
}

void vcpus_hold(struct vcpus *set)
{
	pthread_mutex_lock(&set->park_lock);
	atomic_store(&set->held, true);
	pthread_mutex_unlock(&set->park_lock);
	for (unsigned i = 0; i < set->count; i++) {
		if (set->vcpu[i].engine_made)
			set->engine->kick(set->vcpu[i].cpu);
		wake(&set->vcpu[i]);
	}
}

void vcpus_park(struct vcpus *set)
{
	vcpus_hold(set);
	unsigned threads = 0;
	for (unsigned i = 0; i < set->count; i++)
		threads += set->vcpu[i].started;
	pthread_mutex_lock(&set->park_lock);
	while (set->parked < threads)
		pthread_cond_wait(&set->parked_cond, &set->park_lock);
	pthread_mutex_unlock(&set->park_lock);
}

void vcpus_release(struct vcpus *set)
{
	pthread_mutex_lock(&set->park_lock);
	atomic_store(&set->held, false);
	pthread_cond_broadcast(&set->release_cond);
	pthread_mutex_unlock(&set->park_lock);
}
