/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MOUNT_HELPER_H
#define VISOR_MOUNT_HELPER_H

#include <stdbool.h>

#include "base/error.h"

/* Content of this kind (partition_content) is a file system, not swap space and such. */
bool helper_has_files(const char *content);

/*
 * Mounts the file system in a file, by the FUSE program for its kind (partition_content), or, for root, by the kernel where that program is missing
 * or there is none. Programs come first since what a guest has written should not meet the kernel's drivers. What the program prints goes to `log`.
 * Returns when it is mounted; *program then names who shows it, and *read_only says whether that one writes. Without either the error says
 * what to install.
 */
int helper_mount(const char *file, const char *folder, const char *content, bool *read_only, const char *log, const char **program, struct error *err);

#endif
