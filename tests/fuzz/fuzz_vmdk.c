/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/vmdk.h"
#include "image_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	image_exercise(IMAGE_VMDK, data, size);
	return 0;
}

/* A text whose extents are zeros, or the text's file itself. */
static void text_seed(fuzz_seed_fn *emit, void *opaque)
{
	char text[4096] = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"custom\"\n"
			  "parentFileNameHint=\"parent.vmdk\"\nRW 64 ZERO\nRDONLY 8 FLAT \"image\" 0\nRW 64 ZERO\n";
	emit(opaque, "text", text, sizeof(text));
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	const struct image_create create = { .format = IMAGE_VMDK, .size = 4 << 20 };
	size_t size;
	uint8_t *start = image_start(&create, &size);
	store_le64(start + VMDK_GRAIN_SIZE, 8);
	image_seed(&create, start, size, emit, opaque, "sparse");
	/* For streaming: one grain that is no compressed data. */
	uint64_t table = load_le32(start + load_le64(start + VMDK_GD) * 512) * 512ull;
	store_le32(start + VMDK_FLAGS, VMDK_FLAG_NEWLINES | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS);
	store_le16(start + VMDK_COMPRESSION, 1);
	store_le32(start + table, (uint32_t)(size / 512) - 4);
	store_le32(start + size - 2048 + 8, 100);
	emit(opaque, "stream", start, size);
	text_seed(emit, opaque);
	free(start);
}
