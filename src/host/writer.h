/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_WRITER_H
#define VISOR_HOST_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Output that never blocks who writes it: a thread of its own carries the bytes
 * to a descriptor that may be a terminal, a pipe or a file. Chosen over O_NONBLOCK,
 * which would change the terminal for the shell and its other programs too.
 */
struct writer;

#define WRITER_HIGH_WATER (256u * 1024) /* above this, busy(true) asks the source to hold on */
#define WRITER_LOW_WATER (64u * 1024)   /* below this again, busy(false) */

/* busy: on any thread, with no lock of the writer's taken; may be NULL. The descriptor stays the caller's. */
struct writer *writer_create(int fd, void (*busy)(void *opaque, bool busy), void *opaque, struct error *err);

/* From any thread; takes everything. After an error of the descriptor (EPIPE, a full disk) output is dropped. */
void writer_put(struct writer *writer, const uint8_t *data, size_t size);

/* Writes out what is left, gives up when nothing moves for some seconds, and frees it. Returns the error (an errno value)
 * that ended the output, or 0. */
int writer_destroy(struct writer *writer);

#endif
