/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_AGAIN_H
#define VISOR_TESTS_AGAIN_H

/*
 * A surface that is drawn on again and again must show the same as one that is drawn anew, whether processors' writes are known (all of
 * them are in these tests, since the test itself notes what it writes) or must be found by comparing.
 */
#include <stdlib.h>

#include "display/surface.h"
#include "mem/memory.h"

struct again {
	struct surface surface;
	unsigned draws, partial; /* partial: of them not of all rows */
};

static bool again_nothing_written(void *opaque, const struct memory_aperture *aperture, uint64_t *pages)
{
	return true;
}

static inline void again_check(struct again *again, struct guest_memory *memory, const struct display_source *source, const struct surface *wanted)
{
	struct error err = { 0 };
	again->surface.again = true;
	memory->written = again->draws++ % 2 ? again_nothing_written : NULL;
	assert_int_equal(source->draw(source->opaque, &again->surface, &err), 0);
	assert_int_equal(again->surface.width, wanted->width);
	assert_int_equal(again->surface.height, wanted->height);
	assert_int_equal(memcmp(again->surface.pixels, wanted->pixels, (size_t)wanted->width * wanted->height * sizeof(*wanted->pixels)), 0);
	for (unsigned y = 0; y < wanted->height; y++) {
		if (surface_marked(&again->surface, y, y + 1))
			continue;
		again->partial++;
		break;
	}
}

#endif
