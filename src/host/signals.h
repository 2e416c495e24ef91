/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_SIGNALS_H
#define VISOR_HOST_SIGNALS_H

#include "base/error.h"
#include "host/loop.h"

/*
 * The signals that ask a process to end (SIGHUP, SIGINT, SIGTERM), to stop
 * (SIGTSTP) and that it goes on (SIGCONT), as events of a loop. SIGPIPE is ignored:
 * writes report EPIPE.
 */

/* Call before any other thread is made: threads inherit that these signals wait for the loop. */
void signals_block(void);

/* The signals that signals_block holds back go to fn on the loop's thread. */
int signals_watch(struct loop *loop, void (*fn)(void *opaque, int signo), void *opaque, struct error *err);
void signals_unwatch(void);

#endif
