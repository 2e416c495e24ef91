/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/bells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

/*
 * An eventfd stays in the loop until the machine ends, and serves one bell after another: regions move on vCPUs'
 * threads, while the loop's descriptors are its own thread's. So a bell that was put onto one has rung
 * before it is taken away, whether anything came or not, and what the loop sees of it later is nobody's.
 */
struct bell {
	struct bells *set;
	struct bell *next;
	int fd;
	bool deaf;                /* the loop cannot watch it */
	struct io_region *region; /* NULL: free */
	unsigned index;
	uint64_t gpa;
};

struct bells {
	struct loop *loop;
	struct io_space *mmio;
	struct lock lock;         /* over all below; inside that of the space */
	const struct engine_type *engine;
	struct cpu *cpu;
	struct bell *list;
};

static void ring(struct bell *b)
{
	const struct io_bells *bells = &b->region->bells;
	bells->ring(bells->opaque, b->index);
}

/* Edge-triggered: each write is an event, and nobody has to read the counter. */
static void rung(void *opaque, uint32_t events)
{
	struct bell *b = opaque;
	lock_take(&b->set->lock);
	if (b->region) {
		b->region->rings++;
		ring(b);
	}
	lock_release(&b->set->lock);
}

static void take_off(struct bell *b)
{
	struct bells *set = b->set;
	set->engine->ring_by(set->cpu, b->gpa, b->fd, false);
	ring(b);
	b->region = NULL;
}

/* On the loop's thread; what came before is seen now. */
static void watch(void *arg)
{
	struct bell *b = arg;
	struct error err;
	if (loop_add(b->set->loop, b->fd, EPOLLIN | EPOLLET, rung, b, &err) == 0)
		return;
	log_warn("a queue's notifications take the slow way: %s", err.text);
	lock_take(&b->set->lock);
	if (b->region)
		take_off(b);
	b->deaf = true;
	lock_release(&b->set->lock);
}

static struct bell *free_bell(struct bells *set)
{
	for (struct bell *b = set->list; b; b = b->next)
		if (!b->region && !b->deaf)
			return b;
	struct bell *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->set = set;
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->fd < 0) {
		free(b);
		return NULL;
	}
	b->next = set->list;
	set->list = b;
	loop_post(set->loop, watch, b);
	return b;
}

/* One that cannot be is heard by the region's write(). */
static void put_on(struct bells *set, struct io_region *region)
{
	for (unsigned i = 0; i < region->bells.count; i++) {
		struct bell *b = free_bell(set);
		uint64_t gpa = region->base + region->bells.offset + (uint64_t)i * region->bells.stride;
		if (!b || !set->engine->ring_by(set->cpu, gpa, b->fd, true))
			return;
		b->region = region;
		b->index = i;
		b->gpa = gpa;
	}
}

static void moved(void *opaque, struct io_region *region, bool mapped)
{
	struct bells *set = opaque;
	lock_take(&set->lock);
	if (mapped)
		put_on(set, region);
	for (struct bell *b = set->list; b && !mapped; b = b->next)
		if (b->region == region)
			take_off(b);
	lock_release(&set->lock);
}

void bells_start(struct bells *set, const struct engine_type *engine, struct cpu *cpu)
{
	if (!engine->ring_by)
		return;
	set->engine = engine;
	set->cpu = cpu;
	set->mmio->bells_opaque = set;
	set->mmio->bells_moved = moved;
	io_space_tell_bells(set->mmio, true);
}

void bells_stop(struct bells *set)
{
	if (!set || !set->mmio->bells_moved)
		return;
	io_space_tell_bells(set->mmio, false);
	set->mmio->bells_moved = NULL;
}

struct bells *bells_create(struct loop *loop, struct io_space *mmio, struct error *err)
{
	struct bells *set = calloc(1, sizeof(*set));
	if (!set) {
		error_set(err, ENOMEM, "out of memory for the machine");
		return NULL;
	}
	set->loop = loop;
	set->mmio = mmio;
	lock_init(&set->lock);
	return set;
}

void bells_destroy(struct bells *set)
{
	if (!set)
		return;
	for (struct bell *b = set->list, *next; b; b = next) {
		next = b->next;
		loop_remove(set->loop, b->fd);
		close(b->fd);
		free(b);
	}
	lock_destroy(&set->lock);
	free(set);
}
