/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "display/surface.h"

struct output {
	uint8_t *data;
	size_t size, room;
};

static void append(png_structp png, png_bytep data, png_size_t size)
{
	struct output *out = png_get_io_ptr(png);
	if (size > out->room - out->size) {
		size_t room = MAX(2 * out->room, out->size + size);
		uint8_t *more = realloc(out->data, room);
		if (!more)
			png_error(png, "out of memory");
		out->data = more;
		out->room = room;
	}
	memcpy(out->data + out->size, data, size);
	out->size += size;
}

static void flush(png_structp png)
{
}

/* libpng leaves by longjmp when it fails; nothing here that has to be freed changes after setjmp. */
static int write_rows(png_structp png, png_infop info, const struct surface *surface, uint8_t *row)
{
	if (setjmp(png_jmpbuf(png)))
		return -1;
	png_set_IHDR(png, info, surface->width, surface->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		     PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (unsigned y = 0; y < surface->height; y++) {
		const uint32_t *pixels = surface->pixels + (size_t)y * surface->width;
		for (unsigned x = 0; x < surface->width; x++) {
			row[3 * x] = (uint8_t)(pixels[x] >> 16);
			row[3 * x + 1] = (uint8_t)(pixels[x] >> 8);
			row[3 * x + 2] = (uint8_t)pixels[x];
		}
		png_write_row(png, row);
	}
	png_write_end(png, info);
	return 0;
}

uint8_t *surface_png(const struct surface *surface, size_t *size, struct error *err)
{
	struct output out = { 0 };
	cleanup_free uint8_t *row = malloc(3 * (size_t)surface->width);
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	int rc = -1;
	if (row && info) {
		png_set_write_fn(png, &out, append, flush);
		rc = write_rows(png, info, surface, row);
	}
	png_destroy_write_struct(&png, &info);
	if (rc < 0) {
		free(out.data);
		error_set(err, ENOMEM, "the picture cannot be made a PNG file: out of memory");
		return NULL;
	}
	*size = out.size;
	return out.data;
}
