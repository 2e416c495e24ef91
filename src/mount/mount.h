/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_MOUNT_MOUNT_H
#define VISOR_MOUNT_MOUNT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/*
 * An image's partitions, or the files in one of them, on a folder of the host. Processes of our own serve it: one the image
 * (mount/files.h), and one that waits for its end, unmounts what a killed one leaves, and keeps the record (mount/record.h).
 */
struct mount_config {
	const char *image, *folder;
	int format;             /* enum image_format or IMAGE_BY_CONTENT */
	const char *snapshot;   /* as in block/image.h; may be NULL */
	bool read_only;
	bool files;             /* those in a file system instead of the partitions as files */
	unsigned partition;     /* whose; 0: the first one that has files, or the disk itself */
};

/* Returns when it is mounted, and what is there: {"folder", "image", "format", "size", "read_only", "table", "damaged", "partitions":
 * [{"number", "offset", "size", "type", "name", "content"}], and with files "partition", "content", "shown_by"}. NULL: the error. */
json_t *mount_begin(const struct mount_config *config, struct error *err);

/* Unmounts, and returns when all is written and the image is closed. EBUSY: programs use it. */
int mount_end(const char *folder, struct error *err);

#endif
