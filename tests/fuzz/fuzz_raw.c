/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/util.h"
#include "image_exercise.h"

/* Half of the inputs are said to be raw; the others may be of any format, by their content. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	image_exercise(size % 2 ? IMAGE_RAW : (enum image_format)IMAGE_BY_CONTENT, data, size);
	return 0;
}

/* The beginnings of what formats are known by, of odd sizes too. */
void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const struct { const char *name, head[32]; size_t size; } heads[] = {
		{ "zeros", "", 8192 }, { "odd", "abc", 1001 }, { "qcow2", "QFI\xfb\0\0\0\3", 4096 }, { "vmdk", "KDMV\1\0\0\0", 4096 },
		{ "descriptor", "# Disk DescriptorFile\nversion=1\n", 512 }, { "vhdx", "vhdxfile", 4096 }, { "vhd", "conectix", 512 },
	};
	static uint8_t data[8192];
	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
		memset(data, 0, sizeof(data));
		memcpy(data, heads[i].head, sizeof(heads[i].head));
		emit(opaque, heads[i].name, data, heads[i].size);
	}
}
