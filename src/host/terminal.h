/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_TERMINAL_H
#define VISOR_HOST_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * The controlling terminal in raw mode. A process has one, so this part has
 * state of its own. The mode that was found comes back at exit, on a fatal signal
 * and by terminal_restore; only SIGKILL can leave the terminal raw.
 */

/* Saves the mode of terminal `fd` and makes it raw: every key goes to the guest. Output processing is off too. */
int terminal_raw(int fd, struct error *err);
/* Puts the saved mode back; may be called any time, also from a signal handler. */
void terminal_restore(void);
/* Raw again after the process was stopped; does nothing unless terminal_raw came before and it is in the foreground. */
void terminal_resume(void);

#define TERMINAL_ESCAPE 0x1d /* Ctrl-] */

/*
 * Finds the escape key in what was typed. Copies to `out` (room for `size` bytes) what is the guest's and returns its
 * length; `command` gets each character that followed an escape, but for the escape itself, which is the guest's again.
 * *escaped lives on between calls and starts false.
 */
size_t terminal_filter(bool *escaped, const uint8_t *in, size_t size, uint8_t *out,
		       void (*command)(void *opaque, char key), void *opaque);

#endif
