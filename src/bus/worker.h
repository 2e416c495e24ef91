/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BUS_WORKER_H
#define VISOR_BUS_WORKER_H

/* Where a device hands work that must not run on a vCPU's thread: fn(arg) runs later on the I/O
 * loop's thread, items in the order of their posting. May be called from any thread. */
struct worker {
	void (*post)(void *opaque, void (*fn)(void *), void *arg);
	void *opaque;
};

#endif
