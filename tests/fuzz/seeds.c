/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fuzz.h"

/* With libFuzzer: "fuzz_NAME --seeds=DIR" writes the seeds into an existing folder and ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

void fuzz_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
}

static void write_seed(void *opaque, const char *name, const void *data, size_t size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", (const char *)opaque, name);
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
		perror(path);
		exit(1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_threshold = LOG_ERROR;
	for (int i = 1; i < *argc; i++)
		if (!strncmp((*argv)[i], "--seeds=", 8)) {
			fuzz_seeds(write_seed, (*argv)[i] + 8);
			exit(0);
		}
	return 0;
}
