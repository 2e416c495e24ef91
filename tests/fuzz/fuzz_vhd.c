/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "block/vhd.h"
#include "image_exercise.h"

static void mend(uint8_t *p, unsigned size, unsigned at)
{
	store_be32(p + at, vhd_checksum(p, size, at));
}

/* As it is, and with checksums that are right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	image_exercise(IMAGE_VHD, data, size);
	if (size < 2 * VHD_FOOTER + VHD_HEADER)
		return 0;
	uint8_t *copy = malloc(size);
	memcpy(copy, data, size);
	mend(copy, VHD_FOOTER, VHD_CHECKSUM);
	mend(copy + VHD_FOOTER, VHD_HEADER, VHD_H_CHECKSUM);
	mend(copy + ALIGN_DOWN(size - 1, (size_t)512) - (size % 512 ? 512 : 0), VHD_FOOTER, VHD_CHECKSUM);
	image_exercise(IMAGE_VHD, copy, size);
	free(copy);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	const struct image_create fixed = { .format = IMAGE_VHD, .size = 64 << 10, .fixed = true };
	const struct image_create dynamic = { .format = IMAGE_VHD, .size = 64 << 20 };
	size_t size;
	uint8_t *start = image_start(&dynamic, &size);
	image_seed(&fixed, NULL, 0, emit, opaque, "fixed");
	/* With small blocks, so that changes hit something. */
	uint8_t *header = start + VHD_FOOTER, *end = start + size - VHD_FOOTER;
	store_be32(header + VHD_H_BLOCK_SIZE, 4096);
	mend(header, VHD_HEADER, VHD_H_CHECKSUM);
	store_be64(start + VHD_SIZE, 64 << 10);
	mend(start, VHD_FOOTER, VHD_CHECKSUM);
	memcpy(end, start, VHD_FOOTER);
	image_seed(&dynamic, start, size, emit, opaque, "dynamic");
	store_be32(start + VHD_TYPE, VHD_DIFFERENCING);
	mend(start, VHD_FOOTER, VHD_CHECKSUM);
	memcpy(end, start, VHD_FOOTER);
	store_be16(header + VHD_H_PARENT_NAME, 'p');
	mend(header, VHD_HEADER, VHD_H_CHECKSUM);
	image_seed(&dynamic, start, size, emit, opaque, "differencing");
	free(start);
}
