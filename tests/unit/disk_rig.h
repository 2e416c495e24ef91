/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_DISK_RIG_H
#define VISOR_TESTS_DISK_RIG_H

/* Disk images for controllers on the board of virtio_rig.h. */
#include "virtio_rig.h"

#include <stdlib.h>
#include <unistd.h>

#include "block/block.h"

#define DISK_PATH 32

/* A file with these bytes, whose name comes into `path`, opened; format as block_open takes it. The test unlinks it. */
static inline struct block *make_image(struct rig *rig, char path[DISK_PATH], const void *data, size_t size, bool read_only, bool shared, const char *format)
{
	struct error err = { 0 };
	strcpy(path, "/tmp/visor-image-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
	const struct block_config config = {
		.path = path, .format = format, .read_only = read_only, .shared = shared, .worker = rig_worker(rig)
	};
	struct block *block = block_open(&config, &err);
	assert_non_null(block);
	return block;
}

#endif
