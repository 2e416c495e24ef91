/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "base/util.h"
#include "image_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	image_exercise(IMAGE_VDI, data, size);
	return 0;
}

/* With blocks and tables smaller than usual, so that changes hit something. */
void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	const struct image_create create = { .format = IMAGE_VDI, .size = 16 << 20 };
	size_t size;
	uint8_t *start = image_start(&create, &size);
	store_le32(start + 0x158, 1024);    /* the place of the first block */
	store_le64(start + 0x170, 64 << 10);
	store_le32(start + 0x178, 4096);    /* a block's size */
	image_seed(&create, start, 1024, emit, opaque, "dynamic");
	free(start);
}
