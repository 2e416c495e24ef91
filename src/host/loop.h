/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_LOOP_H
#define VISOR_HOST_LOOP_H

#include <stdint.h>

#include "base/error.h"

/*
 * The event loop of one thread: file descriptors, work posted by other threads,
 * and one source of timers. Only loop_post, loop_wake and loop_stop may be called
 * from other threads; callbacks may add, change and remove descriptors, their own included.
 */
struct loop;

/* events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as in epoll_ctl(2); with EPOLLET the callback need not read. */
typedef void loop_fn(void *opaque, uint32_t events);

struct loop *loop_create(struct error *err);
void loop_destroy(struct loop *loop);

/* Level-triggered without EPOLLET. A regular file, which epoll cannot watch, counts as always ready. */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *opaque, struct error *err);
/* Other events for a descriptor; 0 keeps it in the loop without looking at it. */
int loop_modify(struct loop *loop, int fd, uint32_t events, struct error *err);
/* After this the callback is not called any more; one that is not in the loop is left alone. */
void loop_remove(struct loop *loop, int fd);

/* fn(arg) on the loop's thread, in the order of posting. opaque is the struct loop: this fits struct worker.
 * Work posted before loop_run waits for it; work left over when the loop ends runs in loop_drain or loop_destroy. */
void loop_post(void *opaque, void (*fn)(void *arg), void *arg);

/* run() fires what is due and returns nanoseconds to the next deadline, UINT64_MAX for none; asked before every wait. */
void loop_set_timers(struct loop *loop, uint64_t (*run)(void *opaque), void *opaque);
/* The timers' earliest deadline may have changed. opaque is the struct loop: this fits vclock_source.wake. */
void loop_wake(void *opaque);

/* Serves events until loop_stop; negative when the host fails. */
int loop_run(struct loop *loop, struct error *err);
/* One round: waits at most max_ns. */
int loop_once(struct loop *loop, uint64_t max_ns, struct error *err);
void loop_stop(struct loop *loop);
/* Runs the posted work, and what that posts, until there is none. */
void loop_drain(struct loop *loop);

#endif
