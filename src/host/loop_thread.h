/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_LOOP_THREAD_H
#define VISOR_HOST_LOOP_THREAD_H

#include "base/error.h"
#include "base/worker.h"

/*
 * A worker with a thread of its own, for posted work that may wait for the host. It rests from its making on: what is posted meanwhile
 * waits, and comes before the next rest. Whoever has it at rest may look at, and change, everything that its work touches. All calls but the posting come from one thread.
 */
struct loop_thread;

/* name: up to 15 characters, of the thread. */
struct loop_thread *loop_thread_create(const char *name, struct error *err);
struct worker loop_thread_worker(struct loop_thread *t);
/* Returns when the thread stands between two pieces of work. The caller holds no lock that the work takes. */
void loop_thread_rest(struct loop_thread *t);
void loop_thread_go_on(struct loop_thread *t);
/* Ends the thread; what was posted and what that posts, and what is posted from now on, runs here and in loop_thread_destroy. */
void loop_thread_stop(struct loop_thread *t);
void loop_thread_destroy(struct loop_thread *t);

#endif
