/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	image_exercise(IMAGE_QCOW2, data, size);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const struct image_create kinds[] = {
		{ .format = IMAGE_QCOW2, .size = 64 << 10, .cluster_size = 512 },
		{ .format = IMAGE_QCOW2, .size = 64 << 10, .cluster_size = 4096 },
		{ .format = IMAGE_QCOW2, .size = 64 << 10, .cluster_size = 4096, .version = 2 },
		{ .format = IMAGE_QCOW2, .size = 64 << 10, .cluster_size = 4096, .zstd = true, .lazy_refcounts = true },
	};
	static const char *const names[] = { "small", "v3", "v2", "zstd" };
	for (unsigned i = 0; i < 4; i++)
		image_seed(&kinds[i], NULL, 0, emit, opaque, names[i]);
}
