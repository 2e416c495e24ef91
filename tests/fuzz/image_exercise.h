/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_IMAGE_EXERCISE_H
#define VISOR_TESTS_IMAGE_EXERCISE_H

#include <stddef.h>
#include <stdint.h>

#include "block/image.h"
#include "fuzz.h"

/* A file with these bytes is looked at, read, checked, written, resized and mended as an image of the format. */
void image_exercise(enum image_format format, const uint8_t *data, size_t size);

/* Makes an image out of the first bytes of one (NULL: the new one of `create`), writes to it, and gives out the file. */
void image_seed(const struct image_create *create, const uint8_t *start, size_t size, fuzz_seed_fn *emit, void *opaque, const char *name);
/* The first bytes of a new image; the caller frees them. */
uint8_t *image_start(const struct image_create *create, size_t *size);

#endif
