/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_THREAD_H
#define VISOR_HOST_THREAD_H

#include <pthread.h>

#include "base/error.h"

/* Starts a thread that takes no signals of the process, only those that its own instructions raise. name: up to 15 characters. */
int host_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, struct error *err);

/* Lets other threads have this host CPU first. */
void host_thread_yield(void);

#endif
