/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "virtio_exercise.h"

/* Drivers of the virtio console that do anything, while somebody types. */
static struct machine *m;

static void type(const struct step *s)
{
	uint8_t text[300];
	memset(text, (int)s->b, sizeof(text));
	machine_console_input(m, MACHINE_HVC0, text, s->a % sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct exercise console = { .slot = SMALL_SLOT_CONSOLE, .devices = 1, .host = type };
	if (!m || m->ended) {
		small_machine_destroy(m);
		m = small_machine_create(1);
		fuzz_require(m);
	}
	exercise_run(&console, m, data, size);
	if (!m->ended)
		exercise_expect_served(m, SMALL_SLOT_CONSOLE, 1, "text", 4, 0);
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	exercise_bytes(EXERCISE_BUFFERS, "some output\n", 12);
	exercise_add(CHAIN, 0, 1, 12, 0);
	exercise_add(CHAIN, 0, 1, 0x20000, 0);
	exercise_done(emit, opaque, "output");
	exercise_add(HOST, 0, 0, 200, 'a');
	exercise_add(CHAIN, 0, 0, 0, 16);
	exercise_add(CHAIN, 0, 0x10, 8, 4096);
	exercise_add(HOST, 0, 0, 10, 'b');
	exercise_add(START, 0, 0, 0, 0);
	exercise_add(HOST, 0, 0, 10, 'c');
	exercise_done(emit, opaque, "input");
}
