/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DISPLAY_SURFACE_H
#define VISOR_DISPLAY_SURFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SURFACE_MAX 8192u /* in each direction */

/* A picture: rows of pixels 0x00rrggbb, without gaps. */
struct surface {
	unsigned width, height;
	uint32_t *pixels;
	size_t room; /* pixels that there is memory for */
	/* For a back end that has the same surface drawn on again and again: devices that can draw no more than has changed since. */
	bool again;
	uint64_t picture;                   /* the device's own name for what is on it; 0: nothing that it could go on with */
	uint64_t changed[SURFACE_MAX / 64]; /* rows that were drawn, by bit */
};

/* Gives it a size, for all rows to be drawn; what it shows then is undefined, unless the size is what it was. */
int surface_resize(struct surface *surface, unsigned width, unsigned height, struct error *err);
/* Rows [first, end), as far as there are such, are to be drawn, too. */
void surface_mark(struct surface *surface, uint64_t first, uint64_t end);
/* One of the rows [first, end) was drawn, or is to be. */
bool surface_marked(const struct surface *surface, unsigned first, unsigned end);
void surface_destroy(struct surface *surface);

/* Puts pixels 0xaarrggbb, their colours already multiplied by alpha, on top of the picture at a place that may be
 * outside in part. pitch: pixels from one row to the next. */
void surface_overlay(struct surface *surface, int64_t left, int64_t top, const uint32_t *pixels, unsigned width, unsigned height,
		     unsigned pitch);

/* The picture as a PNG file in memory (24 bits a pixel), to be freed; NULL and err when it fails. */
uint8_t *surface_png(const struct surface *surface, size_t *size, struct error *err);

/*
 * Where a display back end gets its pictures from: a device that draws what it would show now. Any thread;
 * the device takes its own lock. text: what a text mode shows, lines that end with a newline, in UTF-8, to be freed; NULL in a
 * graphics mode.
 */
struct display_source {
	int (*draw)(void *opaque, struct surface *surface, struct error *err);
	char *(*text)(void *opaque);
	void *opaque;
};

#endif
