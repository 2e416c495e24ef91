/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "display/surface.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

int surface_resize(struct surface *surface, unsigned width, unsigned height, struct error *err)
{
	size_t pixels = (size_t)width * height;
	if (!width || !height || width > SURFACE_MAX || height > SURFACE_MAX)
		return error_set(err, EINVAL, "a picture of %u x %u pixels cannot be shown", width, height);
	if (pixels > surface->room) {
		uint32_t *more = realloc(surface->pixels, pixels * sizeof(*more));
		if (!more)
			return error_set(err, ENOMEM, "out of memory for a picture of %u x %u pixels", width, height);
		surface->pixels = more;
		surface->room = pixels;
	}
	surface->width = width;
	surface->height = height;
	surface->picture = 0;
	memset(surface->changed, 0xff, sizeof(surface->changed));
	return 0;
}

void surface_mark(struct surface *surface, uint64_t first, uint64_t end)
{
	for (uint64_t row = first; row < MIN(end, (uint64_t)surface->height); row++)
		surface->changed[row / 64] |= BIT64(row % 64);
}

bool surface_marked(const struct surface *surface, unsigned first, unsigned end)
{
	for (unsigned row = first; row < end; row++)
		if (surface->changed[row / 64] >> (row % 64) & 1)
			return true;
	return false;
}

void surface_destroy(struct surface *surface)
{
	free(surface->pixels);
	*surface = (struct surface){ 0 };
}

static uint32_t blend(uint32_t below, uint32_t above)
{
	uint32_t rest = 255 - (above >> 24), color = 0;
	for (unsigned shift = 0; shift < 24; shift += 8) {
		uint32_t c = (above >> shift & 0xff) + (below >> shift & 0xff) * rest / 255;
		color |= MIN(c, 255u) << shift;
	}
	return color;
}

void surface_overlay(struct surface *surface, int64_t left, int64_t top, const uint32_t *pixels, unsigned width, unsigned height,
		     unsigned pitch)
{
	for (unsigned row = 0; row < height; row++) {
		for (unsigned column = 0; column < width; column++) {
			int64_t x = left + column, y = top + row;
			if (x < 0 || y < 0 || x >= surface->width || y >= surface->height)
				continue;
			uint32_t *pixel = &surface->pixels[(size_t)y * surface->width + (size_t)x];
			*pixel = blend(*pixel, pixels[(size_t)row * pitch + column]);
		}
	}
}
