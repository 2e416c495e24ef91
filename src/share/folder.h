/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_SHARE_FOLDER_H
#define VISOR_SHARE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * A folder of the host as a tree of its own. Files are named by their path
 * below it, without a slash at either end; "" is the folder itself. No path has "." or ".." in it, and
 * none leads through a symbolic link: whoever follows links does so by asking
 * for what they say (folder_read_link) and walking anew from the folder. Each path is looked up from the folder
 * at each use, so what somebody moves out of it meanwhile is not reached any more.
 *
 * Functions return a descriptor or 0, else a negative errno value of the host.
 */
struct folder {
	int fd;             /* O_PATH */
	bool read_only;
	bool by_component;  /* the kernel has no openat2 */
};

/* The folder itself may be reached by symbolic links. */
int folder_open(struct folder *folder, const char *path, bool read_only, struct error *err);
void folder_close(struct folder *folder);

/* A name inside a folder: not empty, not "." or "..", without a slash, at most 255 bytes. */
bool folder_name_ok(const char *name);

/* `path` and a name below it, to be freed; NULL: out of memory. And the path without its last name. */
char *folder_join(const char *path, const char *name);
char *folder_parent(const char *path);
const char *folder_last_name(const char *path);

/* The file at a path, opened with O_PATH: a symbolic link itself when it is one. */
int folder_reach(const struct folder *folder, const char *path);
/* The folder that holds the file of this path. -EINVAL for "". */
int folder_reach_parent(const struct folder *folder, const char *path);

/* Opens what an O_PATH descriptor stands for, if it is a regular file or a folder: nothing else can be opened without
 * effects of its own. flags: as for open(2). */
int folder_reopen(int fd, int flags);

/* The name by which calls without a descriptor of their own reach what one stands for. */
#define FOLDER_FD_NAME 32
const char *folder_fd_name(int fd, char name[FOLDER_FD_NAME]);

#endif
