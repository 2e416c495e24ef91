/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/util.h"
#include "virtio_exercise.h"

/* Drivers of the virtio disk that do anything. */
static struct machine *m;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct exercise disk = { .slot = SMALL_SLOT_DISK, .devices = 1 };
	if (!m || m->ended) {
		small_machine_destroy(m);
		m = small_machine_create(2);
		fuzz_require(m);
	}
	exercise_run(&disk, m, data, size);
	static const uint8_t flush[16] = { 4 };
	if (!m->ended)
		exercise_expect_served(m, SMALL_SLOT_DISK, 0, flush, sizeof(flush), 1);
	return 0;
}

static void request(uint32_t type, uint64_t sector, const void *more, size_t size, uint32_t in, uint32_t out)
{
	uint8_t header[16 + 64] = { 0 };
	store_le32(header, type);
	store_le64(header + 8, sector);
	if (size)
		memcpy(header + 16, more, size);
	exercise_bytes(EXERCISE_BUFFERS, header, 16 + size);
	exercise_add(CHAIN, 0, 0, 16 + out, in);
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	request(0, 1, NULL, 0, 512 + 1, 0);
	request(0, SMALL_DISK / 512 - 1, NULL, 0, 1024 + 1, 0);
	request(1, 3, NULL, 0, 1, 1024);
	request(4, 0, NULL, 0, 1, 0);
	request(8, 0, NULL, 0, 20 + 1, 0);
	exercise_done(emit, opaque, "transfer");
	const uint8_t ranges[32] = { [0] = 8, [8] = 16, [12] = 1, [16] = 64, [24] = 8 };
	request(11, 0, ranges, 32, 1, 32);
	request(13, 0, ranges, 16, 1, 16);
	exercise_done(emit, opaque, "ranges");
	/* A table of descriptors in memory: header, 4 KiB, status. */
	static const uint32_t table[12] = { EXERCISE_BUFFERS, 0, 16, 1 | 1 << 16, EXERCISE_BUFFERS + 0x4000, 0, 4096, 3 | 2 << 16,
					    EXERCISE_BUFFERS + 0x3000, 0, 1, 2 };
	struct small_ring ring = small_ring(SMALL_SLOT_DISK, 0);
	const uint32_t indirect[4] = { EXERCISE_BUFFERS + 0x2000, 0, sizeof(table), 4 };
	exercise_bytes(EXERCISE_BUFFERS + 0x2000, table, sizeof(table));
	exercise_bytes(ring.desc, indirect, sizeof(indirect));
	exercise_add(MEMORY_WRITE, 0, (ring.avail - EXERCISE_MEMORY) / 8, 1 << 16, 0);
	exercise_add(NOTIFY, 0, 0, 0, 0);
	exercise_add(REGISTER_READ, 0, 0x2000, 0, 3);
	exercise_add(REGISTER_WRITE, 0, 0x2020, 1, 0);
	exercise_done(emit, opaque, "indirect");
}
