/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the frame buffer to a picture, and the cursor on top of it. */
#include "base/util.h"
#include "dev/vga/svga_parts.h"

uint32_t svga_color(const struct svga *svga, uint32_t pixel)
{
	const uint8_t *p = svga->palette + 3 * (pixel & 0xff);
	return svga->bits == 8 ? (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2] : vga_direct_color(pixel, svga->bits);
}

/* The FIFO's registers count where there are some. */
static bool cursor_place(const struct svga *svga, int64_t *x, int64_t *y)
{
	bool by_fifo = svga_has_fifo_register(svga, FIFO_CURSOR_LAST_UPDATED) && svga_fifo_word(svga, FIFO_CURSOR_COUNT);
	uint32_t on = by_fifo ? svga_fifo_word(svga, FIFO_CURSOR_ON) : svga->cursor_on;
	*x = (int64_t)(int32_t)(by_fifo ? svga_fifo_word(svga, FIFO_CURSOR_X) : svga->cursor_x) - (int32_t)svga->hot_x;
	*y = (int64_t)(int32_t)(by_fifo ? svga_fifo_word(svga, FIFO_CURSOR_Y) : svga->cursor_y) - (int32_t)svga->hot_y;
	return on == 1 || on == 3;
}

static void draw_cursor(const struct svga *svga, struct surface *surface)
{
	int64_t left, top;
	if (!cursor_place(svga, &left, &top))
		return;
	if (svga->cursor_alpha) {
		surface_overlay(surface, left, top, svga->cursor_xor, svga->cursor_width, svga->cursor_height, SVGA_CURSOR_SIZE);
		return;
	}
	for (unsigned row = 0; row < svga->cursor_height; row++) {
		for (unsigned column = 0; column < svga->cursor_width; column++) {
			int64_t x = left + column, y = top + row;
			unsigned i = row * SVGA_CURSOR_SIZE + column;
			if (x < 0 || y < 0 || x >= surface->width || y >= surface->height)
				continue;
			uint32_t *pixel = &surface->pixels[(size_t)y * surface->width + (size_t)x];
			*pixel = ((*pixel & svga->cursor_and[i]) ^ svga->cursor_xor[i]) & 0xffffff;
		}
	}
}

/* The rows of the cursor. */
static void cursor_rows(const struct svga *svga, unsigned *first, unsigned *end)
{
	int64_t left, top;
	*first = *end = 0;
	if (!cursor_place(svga, &left, &top))
		return;
	*first = (unsigned)MIN(MAX(top, (int64_t)0), (int64_t)svga->height);
	*end = (unsigned)MIN(MAX(top + svga->cursor_height, (int64_t)0), (int64_t)svga->height);
}

static int draw_mode(const struct svga *svga, struct surface *surface, struct error *err)
{
	struct vga_picture picture = { .pitch = svga_pitch(svga), .width = svga->width, .height = svga->height, .bits = svga->bits };
	unsigned first, end;
	for (unsigned i = 0; i < 256 && svga->bits == 8; i++)
		picture.color[i] = svga_color(svga, i);
	cursor_rows(svga, &first, &end);
	if (vga_draw_picture(svga->vga, &picture, first, end, surface, err) < 0)
		return -1;
	draw_cursor(svga, surface);
	return 0;
}

int svga_draw(void *opaque, struct surface *surface, struct error *err)
{
	struct svga *svga = opaque;
	int rc;
	lock_take(svga->vga->lock);
	svga_run_fifo(svga);
	rc = svga->enable & 1 ? draw_mode(svga, surface, err) : vga_draw(svga->vga, surface, err);
	lock_release(svga->vga->lock);
	return rc;
}

char *svga_text(void *opaque)
{
	struct svga *svga = opaque;
	lock_take(svga->vga->lock);
	char *text = svga->enable & 1 ? NULL : vga_text(svga->vga);
	lock_release(svga->vga->lock);
	return text;
}
