/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_RUNDIR_H
#define VISOR_HOST_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * The run-time directory: $XDG_RUNTIME_DIR/visor, /run/visor for root without
 * that variable, else /tmp/visor-UID. Only its owner may use it (0700); one that
 * belongs to somebody else is refused. Each running machine has NAME.sock there.
 */

/* Makes it when missing; a descriptor of the directory. */
int rundir_open(struct error *err);

/* The path of a file there, which the caller makes. */
int rundir_file_path(const char *file, char *path, size_t room, struct error *err);

/* Names of machines: 1 to 63 letters, digits, '-', '_' and '.', the first one a letter or digit. */
bool rundir_name_ok(const char *name);

/* A listening socket for the machine of this name; fails with EADDRINUSE when one runs already. What a killed process left
 * behind is replaced. */
int rundir_listen(const char *name, struct error *err);
/* Removes the name; the socket itself is the caller's to close. */
void rundir_unlink(const char *name);

/* A connection to that machine; ENOENT when there is none. */
int rundir_connect(const char *name, struct error *err);

/* Calls fn with the name of every machine that answers, in alphabetical order; leftovers of killed ones are removed. */
int rundir_each(void (*fn)(void *opaque, const char *name), void *opaque, struct error *err);

#endif
