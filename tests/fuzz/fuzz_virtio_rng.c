/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_exercise.h"

/* Drivers of the virtio entropy device that do anything. */
static struct machine *m;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct exercise rng = { .slot = SMALL_SLOT_RNG, .devices = 1 };
	if (!m || m->ended) {
		small_machine_destroy(m);
		m = small_machine_create(1);
		fuzz_require(m);
	}
	exercise_run(&rng, m, data, size);
	if (!m->ended)
		exercise_expect_served(m, SMALL_SLOT_RNG, 0, NULL, 0, 64);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	exercise_add(CHAIN, 0, 0, 0, 64);
	exercise_add(CHAIN, 0, 0x10, 16, 0x4000);
	exercise_add(CHAIN, 0, 0x20, 16, 0);
	exercise_done(emit, opaque, "bytes");
	exercise_add(CHAIN, 0, 0, 0, 0x7fffffff);
	exercise_add(START, 0, 0, 0, 0);
	exercise_add(REGISTER_READ, 0, 0x12, 0, 1);
	exercise_add(NOTIFY, 0, 0, 0, 0);
	exercise_done(emit, opaque, "much");
}
