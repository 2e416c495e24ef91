/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_exercise.h"

/* Drivers of the virtio keyboard and pointer that do anything, while somebody types and points. */
static struct machine *m;

static void use(const struct step *s)
{
	if (s->device & 1)
		machine_virtio_pointer(m, s->a & 0x7fff, s->b & 0x7fff, (int8_t)s->where, s->where >> 8 & 7);
	else
		machine_virtio_key(m, s->a & 0x7f, s->b & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct exercise input = { .slot = SMALL_SLOT_SERVICES, .devices = 2, .host = use };
	if (!m || m->ended) {
		small_machine_destroy(m);
		m = small_machine_create_with(1, &(const struct machine_services){ .input = true });
		fuzz_require(m);
	}
	exercise_run(&input, m, data, size);
	/* The status queue: which lamps shine. */
	static const uint8_t lamp[8] = { 0x11, 0, 1, 0, 1 };
	for (unsigned i = 0; i < 2 && !m->ended; i++)
		exercise_expect_served(m, SMALL_SLOT_SERVICES + i, 1, lamp, sizeof(lamp), 0);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	for (unsigned device = 0; device < 2; device++)
		for (unsigned i = 0; i < 8; i++)
			exercise_add(CHAIN, device, (uint64_t)i << 4, 0, 8);
	for (unsigned i = 0; i < 6; i++)
		exercise_add(HOST, i, 0x0101, 30 + i, i);
	exercise_add(ADVANCE, 0, 0, 100000000, 0);
	exercise_done(emit, opaque, "events");
	/* Buffers are there, but the device may not reach memory. */
	exercise_add(CHAIN, 0, 0, 0, 8);
	exercise_add(CHAIN, 0, 0x10, 0, 8);
	exercise_add(CONFIG_WRITE, 0, 0, 3, 0);
	exercise_add(CHAIN, 0, 0x20, 0, 8);
	exercise_add(HOST, 0, 0, 30, 1);
	exercise_add(CONFIG_WRITE, 0, 0, 7, 0);
	exercise_add(HOST, 0, 0, 30, 0);
	exercise_done(emit, opaque, "no-master");
	/* Every selection of the configuration, and what is there. */
	for (unsigned device = 0; device < 2; device++)
		for (unsigned select = 1; select < 0x14; select += select == 3 ? 0xd : 1) {
			exercise_add(REGISTER_WRITE, device, 0x2000, select, 0);
			exercise_add(REGISTER_WRITE, device, 0x2001, select % 4, 0);
			exercise_add(REGISTER_READ, device, 0x2002, 0, 0);
			exercise_add(REGISTER_READ, device, 0x2008, 0, 2);
		}
	exercise_done(emit, opaque, "configuration");
	exercise_bytes(EXERCISE_BUFFERS, "\x11\0\1\0\1\0\0", 8);
	exercise_add(CHAIN, 0, 1, 8, 0);
	exercise_add(CHAIN, 0, 1, 3, 0);
	exercise_done(emit, opaque, "lamps");
}
