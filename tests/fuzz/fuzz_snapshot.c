/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "vm/snapshot.h"

/* Save files of any bytes: as they are, and with checksums that are right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot snapshot;
	if (snapshot_parse(&snapshot, data, size, NULL) == 0)
		snapshot_close(&snapshot);
	uint8_t *mended = malloc(size ? size : 1);
	memcpy(mended, data, size);
	save_file_mend(mended, size);
	save_file_exercise(mended, size);
	free(mended);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	for (unsigned busy = 0; busy < 2; busy++) {
		size_t size;
		uint8_t *data = save_file(busy, &size);
		emit(opaque, busy ? "busy" : "fresh", data, size);
		free(data);
	}
}
