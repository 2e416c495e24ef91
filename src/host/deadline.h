/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_DEADLINE_H
#define VISOR_HOST_DEADLINE_H

#include <stdint.h>

#include "base/error.h"
#include "host/loop.h"

/* One call of a function after some seconds of host time, which goes on while a machine stands still. */
struct deadline {
	struct loop *loop;
	int fd;
	void (*fn)(void *opaque);
	void *opaque;
};

int deadline_start(struct deadline *deadline, struct loop *loop, uint64_t seconds, void (*fn)(void *opaque), void *opaque,
		   struct error *err);
void deadline_cancel(struct deadline *deadline);

#endif
