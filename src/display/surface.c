/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "display/surface.h"

#include <errno.h>
#include <stdlib.h>

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
	return 0;
}

void surface_destroy(struct surface *surface)
{
	free(surface->pixels);
	*surface = (struct surface){ 0 };
}
