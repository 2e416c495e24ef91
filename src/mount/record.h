/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MOUNT_RECORD_H
#define VISOR_MOUNT_RECORD_H

#include <limits.h>

#include "base/error.h"

/*
 * What this user has mounted: a folder mount-XXXXXX for each in the run-time directory, with the file `record`, which is
 * locked (flock) by the processes that serve the mount as long as one of them lives; the file `log`, their standard error; and the folder
 * `image`, on which the image's partitions are mounted when their files are shown.
 */
struct record {
	char path[PATH_MAX - 16]; /* of the folder */
	int fd;                   /* of `record` */
};

/* A new one for what is going to be mounted on `folder`, locked by this process and the children it forks. */
int record_create(struct record *record, const char *folder, struct error *err);
/* The one whose mount is on `folder`; ENOENT: there is none. */
int record_find(struct record *record, const char *folder, struct error *err);
void record_close(struct record *record);
/* PATH/name, in one of a few static buffers. */
const char *record_file(const struct record *record, const char *name);

/* For who unmounts: how it ended. */
void record_set_error(struct record *record, const char *folder, const char *text);
/* Waits until nobody serves it any more; -1: the mount has ended with this error. */
int record_wait(struct record *record, struct error *err);

/* Removes the folder; nothing is mounted in it any more. */
void record_remove(struct record *record);
/* Unmounts what nobody serves any more, and removes those records. */
void record_clean(void);

#endif
