/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/thread.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

#include "base/util.h"

int host_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, struct error *err)
{
	static const int own[] = { SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGTRAP };
	sigset_t mask, old;
	sigfillset(&mask);
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		sigdelset(&mask, own[i]);
	/* The new thread inherits the mask, so that there is no moment in which it could take a signal. */
	pthread_sigmask(SIG_SETMASK, &mask, &old);
	int rc = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return error_set(err, rc, "cannot start the thread %s: %s; raise the limit of processes (ulimit -u)", name, strerror(rc));
	pthread_setname_np(*thread, name);
	return 0;
}

void host_thread_yield(void)
{
	sched_yield();
}
