/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MOUNT_FILES_H
#define VISOR_MOUNT_FILES_H

#include "block/partition.h"

/*
 * A folder that FUSE serves, with a file `disk` for the whole disk in an image and `p1`, `p2`... for its partitions. They have
 * fixed sizes, like block devices: a file that is cut to 0 bytes when it is opened keeps its content. Holes can be punched and found.
 */
struct files;

struct files_config {
	struct image *image;
	const struct partitions *partitions; /* stay where they are */
	const char *folder;                  /* an empty folder, absolute */
};

/* Mounts; NULL: the error says why. ENOSYS: visor was built without libfuse. */
struct files *files_mount(const struct files_config *config, struct error *err);
/* Serves until the folder is unmounted, or SIGTERM, SIGINT or SIGHUP comes. */
void files_serve(struct files *files);
/* Unmounts, if that has not been done, and frees. The image stays open. */
void files_end(struct files *files);

/* The kernel can do it, and we may; else the error says what is missing. */
int files_possible(struct error *err);

#endif
