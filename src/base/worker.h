/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_WORKER_H
#define VISOR_BASE_WORKER_H

/*
 * Where queue work and completions run: the I/O loop thread of a machine. post
 * may be called from any thread with any lock taken; fn(arg) runs soon, once,
 * on the loop thread with no lock taken, in the order of posting. post
 * itself waits for nobody: the caller may be the one that another thread, with fn's
 * locks taken, waits for. The object behind arg must live until the loop has run
 * dry or stopped.
 */
struct worker {
	void (*post)(void *opaque, void (*fn)(void *arg), void *arg);
	void *opaque;
};

static inline void worker_post(const struct worker *worker, void (*fn)(void *arg), void *arg)
{
	worker->post(worker->opaque, fn, arg);
}

#endif
