/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_FUZZ_H
#define VISOR_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/*
 * A fuzz target is a file with these two functions. It is built twice: with
 * main.c, which feeds it changed seeds for some seconds as a part of the tests, and, with clang and
 * -Dfuzz=true, with libFuzzer (tests/fuzz/run).
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives out small valid inputs, made by the target itself. */
typedef void fuzz_seed_fn(void *opaque, const char *name, const void *data, size_t size);
void fuzz_seeds(fuzz_seed_fn *emit, void *opaque);

/* What must hold for every input: else the process ends by a signal. */
#define fuzz_require(condition) \
	do { \
		if (!(condition)) { \
			fuzz_failed(__FILE__, __LINE__, #condition); \
			__builtin_trap(); \
		} \
	} while (0)
void fuzz_failed(const char *file, int line, const char *condition);

#endif
