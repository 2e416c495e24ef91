/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "exercise.h"
#include "state/field.h"
#include "state/stream.h"

/*
 * A well-formed save file with damaged values: the input is a list of changes, each
 * of them 12 bytes: which element of all objects' fields, how to combine, the value.
 */
#define MAX_CELLS 60000
#define CHANGE_SIZE 12

static uint8_t *base;
static size_t base_size;
static struct cell { uint32_t at, width; } cells[MAX_CELLS];
static unsigned cell_count;

/* Records as state/stream_object.c writes them; returns where they end. */
static size_t find_cells(size_t at)
{
	for (;;) {
		unsigned name = load_le16(base + at);
		at += 2;
		if (!name)
			return at;
		uint8_t kind = base[at + name];
		uint32_t width = load_le32(base + at + name + 1), count = load_le32(base + at + name + 5);
		/* Pages of opaque bytes are not interesting one by one. */
		bool skip = kind == FIELD_KIND_BYTES && count > 512;
		at += name + 9;
		for (uint32_t i = 0; i < count; i++) {
			if (kind == FIELD_KIND_STRUCT) {
				at = find_cells(at);
				continue;
			}
			if (!skip && cell_count < MAX_CELLS)
				cells[cell_count++] = (struct cell){ (uint32_t)at, width };
			at += width;
		}
	}
}

static void make_base(void)
{
	base = save_file(true, &base_size);
	for (size_t at = 16; base_size - at >= 18;) {
		size_t name = load_le16(base + at + 16), payload = at + 18 + name;
		if (load_le32(base + at) == STREAM_OBJECT)
			find_cells(payload + 2 + load_le16(base + payload));
		at = payload + load_le64(base + at + 8);
	}
	fuzz_require(cell_count > 1000);
}

static void apply(uint8_t *data, const uint8_t *change)
{
	const struct cell *cell = &cells[load_le16(change) % cell_count];
	uint64_t value = load_le64(change + 4), old = load_le(data + cell->at, cell->width);
	switch (change[2] & 3) {
	case 1: value ^= old; break;
	case 2: value += old; break;
	case 3: value = old ^ BIT64(value & 63); break;
	}
	store_le(data + cell->at, value, cell->width);
}

/* VISOR_FUZZ_KEEP=FILE: the save file itself, since the one that is changed is not the same in every run. */
static void keep(const uint8_t *file)
{
	const char *path = getenv("VISOR_FUZZ_KEEP");
	FILE *f = path ? fopen(path, "wb") : NULL;
	if (f) {
		fwrite(file, 1, base_size, f);
		fclose(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!base)
		make_base();
	uint8_t *file = malloc(base_size);
	memcpy(file, base, base_size);
	for (; size >= CHANGE_SIZE; data += CHANGE_SIZE, size -= CHANGE_SIZE)
		apply(file, data);
	save_file_mend(file, base_size);
	keep(file);
	save_file_exercise(file, base_size);
	free(file);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	uint8_t changes[24 * CHANGE_SIZE];
	for (unsigned i = 0; i < 8; i++) {
		char name[] = "changes0";
		name[7] = (char)('0' + i);
		for (unsigned n = 0; n < sizeof(changes) / CHANGE_SIZE; n++) {
			uint8_t *c = changes + n * CHANGE_SIZE;
			store_le32(c, (i * 24 + n) * 2654435761u & 0xffff);
			c[2] = (uint8_t)(n + i);
			c[3] = 0;
			store_le64(c + 4, n % 3 ? BIT64(n * 7 % 64) : 0x123456789abcdefull >> n);
		}
		/* Few changes: else one that is refused hides all others. */
		emit(opaque, name, changes, CHANGE_SIZE * (1 + i));
	}
}
