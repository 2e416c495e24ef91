/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_FUZZ_EXERCISE_H
#define VISOR_TESTS_FUZZ_EXERCISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz.h"

/* Save files, good and bad, for the targets snapshot and state. Machines have two processors. */

/* A save file of a machine in the middle of things; the caller frees it. busy: devices and rings in use. */
uint8_t *save_file(bool busy, size_t *size);

/* Makes all checksums and the count of sections right, as far as the bytes have the form of a save file. */
void save_file_mend(uint8_t *data, size_t size);

/* Loads it into a machine; when that is not refused, the machine runs a little, is saved, and reset. */
void save_file_exercise(const uint8_t *data, size_t size);

#endif
