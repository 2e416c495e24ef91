/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "fuzz.h"

/*
 * fuzz_NAME [SECONDS [FIRST]]: the seeds, then seeds with random changes. Number n is the same change in every run.
 * fuzz_NAME FILE...: these inputs.
 */
#define MAX_SEEDS 64
#define GROWTH 256u
#define HANG_SECONDS 60

static struct { uint8_t *data; size_t size; } seeds[MAX_SEEDS];
static unsigned seed_count;
static uint64_t state;

void fuzz_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
}

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull >> 16;
}

static size_t below(size_t n)
{
	return n ? rnd() % n : 0;
}

static void add_seed(void *opaque, const char *name, const void *data, size_t size)
{
	if (seed_count == MAX_SEEDS)
		return;
	seeds[seed_count].data = malloc(size ? size : 1);
	memcpy(seeds[seed_count].data, data, size);
	seeds[seed_count++].size = size;
}

static uint64_t interesting(void)
{
	static const uint64_t values[] = { 0, 1, 7, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
					   0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff };
	uint64_t value = below(4) ? values[below(ARRAY_SIZE(values))] : rnd();
	return below(4) ? value : value - below(32);
}

/* One change; returns the new size. Room for GROWTH more bytes is there. */
static size_t change(uint8_t *data, size_t size, size_t room)
{
	size_t at = below(size), length = below(MIN(size - at, (size_t)32)) + 1;
	unsigned width = 1u << below(4);
	switch (below(10)) {
	case 0: case 1: case 2:
		if (size)
			data[at] ^= (uint8_t)BIT(below(8));
		return size;
	case 3: case 4: case 5:
		if (size >= width)
			store_le(data + below(size - width + 1), interesting(), width);
		return size;
	case 6:
		if (size)
			data[at] = (uint8_t)rnd();
		return size;
	case 7: /* cut off, more often near the end */
		return below(2) ? below(size) : size - below(MIN(size, (size_t)16));
	case 8: /* take out */
		if (length >= size)
			return size;
		at = below(size - length);
		memmove(data + at, data + at + length, size - at - length);
		return size - length;
	default: /* repeat */
		if (!size || size + length > room || at + length > size)
			return size;
		memmove(data + at + length, data + at, size - at);
		return size + length;
	}
}

static void one_change(uint64_t number)
{
	state = (number + 1) * 0x9e3779b97f4a7c15ull;
	rnd();
	unsigned seed = (unsigned)below(seed_count);
	size_t size = seeds[seed].size, room = size + GROWTH;
	uint8_t *data = malloc(room);
	memcpy(data, seeds[seed].data, size);
	for (size_t changes = 1 + below(below(3) ? 4 : 32); changes; changes--)
		size = change(data, size, room);
	/* A copy of the exact size: so that an address sanitizer sees the end. */
	uint8_t *exact = malloc(size ? size : 1);
	memcpy(exact, data, size);
	free(data);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static int replay(char **paths)
{
	for (; *paths; paths++) {
		static uint8_t data[16 << 20];
		FILE *f = fopen(*paths, "rb");
		if (!f) {
			perror(*paths);
			return 1;
		}
		size_t size = fread(data, 1, sizeof(data), f);
		fclose(f);
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char *end = "";
	unsigned long seconds = argc > 1 ? strtoul(argv[1], &end, 10) : 5;
	log_threshold = LOG_ERROR;
	if (*end)
		return replay(argv + 1);
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, number = first;
	time_t start = time(NULL);
	fuzz_seeds(add_seed, NULL);
	alarm(HANG_SECONDS);
	for (unsigned i = 0; i < seed_count; i++)
		LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].size);
	/* The number goes out first: it is what a crash is found again by. */
	for (; time(NULL) - start < (time_t)seconds; number++) {
		if (number % 64 == 0)
			alarm(HANG_SECONDS);
		if (number % 1000 == 0 || argc > 2)
			fprintf(stderr, "%llu\n", (unsigned long long)number);
		one_change(number);
	}
	alarm(0);
	fprintf(stderr, "%u seeds, %llu changed inputs\n", seed_count, (unsigned long long)(number - first));
	for (unsigned i = 0; i < seed_count; i++)
		free(seeds[i].data);
	return 0;
}
