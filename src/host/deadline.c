/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/deadline.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void on_time(void *opaque, uint32_t events)
{
	struct deadline *d = opaque;
	deadline_cancel(d);
	d->fn(d->opaque);
}

int deadline_start(struct deadline *d, struct loop *loop, uint64_t seconds, void (*fn)(void *opaque), void *opaque,
		   struct error *err)
{
	struct itimerspec when = { .it_value.tv_sec = (time_t)seconds };
	*d = (struct deadline){ loop, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), fn, opaque };
	if (d->fd < 0 || timerfd_settime(d->fd, 0, &when, NULL) < 0) {
		error_set(err, errno, "cannot set a timer: %s", strerror(errno));
	} else if (loop_add(loop, d->fd, EPOLLIN, on_time, d, err) == 0) {
		return 0;
	}
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	return -1;
}

void deadline_cancel(struct deadline *d)
{
	if (!d->loop || d->fd < 0)
		return;
	loop_remove(d->loop, d->fd);
	close(d->fd);
	d->fd = -1;
}
