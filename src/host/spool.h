/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_SPOOL_H
#define VISOR_HOST_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * What a machine has printed, in its state directory: $XDG_STATE_HOME/visor/NAME.spool, /var/lib/visor/NAME.spool
 * for root without that variable, else ~/.local/state/visor/NAME.spool. A job is a file N.prn; it ends when nothing
 * has come for SPOOL_IDLE_SECONDS, since a printer port does not say where a job ends.
 */
#define SPOOL_IDLE_SECONDS 3

/* The path of something in the state directory: NAME + suffix; fails (ENAMETOOLONG). */
int state_path(char *path, size_t size, const char *name, const char *suffix, struct error *err);

struct spool;

/* Makes the folder. */
struct spool *spool_open(const char *machine, struct error *err);
/* From any thread, never blocks. */
void spool_write(struct spool *spool, const uint8_t *data, size_t size);
/* Writes out what is left; fails when output was lost. NULL: nothing. */
int spool_close(struct spool *spool, struct error *err);

struct spool_job {
	unsigned number;
	uint64_t size;
	int64_t time;     /* of the last byte, seconds since 1970 */
	bool printing;    /* more may come */
};

/* Calls fn with each job in the order of their numbers; a machine that has printed nothing has none. */
int spool_each(const char *machine, void (*fn)(void *opaque, const struct spool_job *job), void *opaque, struct error *err);
/* One job; a descriptor to read it, ENOENT: there is none of that number. */
int spool_read(const char *machine, unsigned number, struct spool_job *job, struct error *err);
int spool_remove(const char *machine, unsigned number, struct error *err);

#endif
