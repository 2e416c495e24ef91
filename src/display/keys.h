/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DISPLAY_KEYS_H
#define VISOR_DISPLAY_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Keys of a US keyboard by their Linux input codes (KEY_*), which up to 88 are those of
 * scan code set 1. 0: no such key.
 */
#define KEY_LEFT_SHIFT 42u

/* "ctrl", "f1", "a", "page-up", "shift". */
unsigned key_by_name(const char *name);

/* The key that types a character, with Shift or without. */
unsigned key_by_character(unsigned character, bool *shift);

/* An X11 keysym, as VNC sends it, whatever the shift keys are. */
unsigned key_by_keysym(uint32_t keysym);

/* "ctrl-alt-delete" into at most `room` codes in their order; how many. Fails (EINVAL) and names the part that is no key. */
#define KEY_CHORD_MAX 8
int key_chord(const char *text, unsigned codes[KEY_CHORD_MAX], struct error *err);

#endif
