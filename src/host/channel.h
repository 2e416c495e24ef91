/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_CHANNEL_H
#define VISOR_HOST_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "host/loop.h"

/*
 * The host's end of a guest's character device: a terminal, a pipe or a file.
 *
 *   stdio       standard input and output; a terminal gets raw mode and the escape key
 *   none        output goes nowhere, input never comes
 *   file:PATH   output into a file, which is emptied first
 *   pipe:PATH   two named pipes that exist: input from PATH.in, output to PATH.out
 */
struct channel;

struct channel_ops {
	/* Bytes for the guest; returns how many it took. After fewer than all, channel_ready is to be called. */
	size_t (*input)(void *opaque, const uint8_t *data, size_t size);
	/* A key after the escape key. May be NULL: then a terminal has no escape key. */
	void (*command)(void *opaque, char key);
	/* The reader of the output falls behind (true) or has caught up (false): the guest should stand still between. */
	void (*busy)(void *opaque, bool busy);
}; /* all on the loop's thread */

/* Whether `spec` is one of these words; opens nothing. */
int channel_check(const char *spec, struct error *err);
/* Opens what `spec` names; nothing is read and no mode changes before channel_start. */
struct channel *channel_open(const char *spec, struct error *err);

/* Serves the input on `loop` from now on. */
int channel_start(struct channel *channel, struct loop *loop, const struct channel_ops *ops, void *opaque, struct error *err);

/* From any thread, never blocks. */
void channel_write(struct channel *channel, const uint8_t *data, size_t size);
/* The guest takes input again. From any thread, never blocks. */
void channel_ready(struct channel *channel);

/* No more input and no callbacks; the loop can go. Output is still taken. */
void channel_stop(struct channel *channel);
/* Writes out what is left, puts the terminal back and closes. Fails when output was lost. */
int channel_close(struct channel *channel, struct error *err);

#endif
