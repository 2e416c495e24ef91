/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MOUNT_TABLE_H
#define VISOR_MOUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* What is mounted where, as the kernel says (proc(5), /proc/PID/mountinfo). Folders are absolute, without links in them. */

/* Something is mounted on the folder; kind: "fuse.visor", "ext4"... of the one on top. */
bool mount_table_has(const char *folder, char *kind, size_t room);
/* A descriptor that poll(2) finds POLLPRI on when the table has changed; -1. */
int mount_table_watch(void);
/* Unmounts, also what serves no more. lazy: now, whoever uses it. EBUSY: somebody does. */
int mount_table_remove(const char *folder, bool lazy, struct error *err);

/* The absolute path of a folder that may be a dead mount. The caller frees it. */
char *mount_path(const char *folder, struct error *err);

#endif
