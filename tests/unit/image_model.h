/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_IMAGE_MODEL_H
#define VISOR_TESTS_IMAGE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "block/image.h"

/* What an image must read as, in plain memory; both get the same random requests. */
struct image_model {
	uint8_t *data, *buffer;
	uint64_t size, state;
};

void image_model_init(struct image_model *model, uint64_t size, uint64_t seed);
void image_model_free(struct image_model *model);
uint64_t image_model_random(struct image_model *model, uint64_t below);
/* `count` writes, zeros, discards, reads and flushes. */
void image_model_run(struct image_model *model, struct image *image, unsigned count);
/* All of it reads as it must. */
void image_model_compare(struct image_model *model, struct image *image);

/* A path in a folder of the test's own, which image_folder_remove takes away. */
const char *image_path_in_folder(const char *name);
void image_folder_remove(void);
/* Runs a command with the path of each %s; its status must be 0. */
void image_command(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool image_has_qemu(void);

struct image *image_must_open(const char *path, bool read_only);
/* No errors; leaks too when `leaks` is false. */
void image_must_be_clean(const char *path, bool leaks);

#endif
