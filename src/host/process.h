/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_PROCESS_H
#define VISOR_HOST_PROCESS_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Runs a program of the host, found by PATH, and waits. What it prints is added to the file `log` (NULL: to our standard error). Signals of the
 * terminal end it and not us, so that we clean up. -1: it cannot be started, fails or is killed; the text has the last line that it printed.
 */
int process_run(const char *const argv[], const char *log, struct error *err);

/* Whether PATH, with the sbin folders that a user's may lack, has a program of that name. */
bool process_exists(const char *program);

#endif
