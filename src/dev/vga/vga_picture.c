/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pictures in the frame buffer, line by line. Who has the same surface drawn on again and again gets
 * the lines alone whose memory has changed since.
 */
#include "base/util.h"
#include "dev/vga/vga_parts.h"
#include "mem/log.h"

#define PAGES (VGA_MEMORY_SIZE / GUEST_PAGE_SIZE)

void vga_shift_planar(const uint8_t *planes, uint8_t *pixel)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned bit = 7 - i;
		pixel[i] = (uint8_t)((planes[0] >> bit & 1) | (planes[1] >> bit & 1) << 1 | (planes[2] >> bit & 1) << 2 |
				     (planes[3] >> bit & 1) << 3);
	}
}

static uint32_t expand(uint32_t value, unsigned bits)
{
	return value << (8 - bits) | value >> (2 * bits - 8);
}

uint32_t vga_direct_color(uint32_t pixel, unsigned bits)
{
	switch (bits) {
	case 15: return expand(pixel >> 10 & 31, 5) << 16 | expand(pixel >> 5 & 31, 5) << 8 | expand(pixel & 31, 5);
	case 16: return expand(pixel >> 11 & 31, 5) << 16 | expand(pixel >> 5 & 63, 6) << 8 | expand(pixel & 31, 5);
	default: return pixel & 0xffffff;
	}
}

static uint32_t pixel_at(const struct vga_picture *picture, const uint8_t *at)
{
	return picture->bits == 8 ? picture->color[*at] : vga_direct_color(load_le32(at), picture->bits);
}

/* What would be behind the memory's end is black. */
static void draw_line(const struct vga *vga, const struct vga_picture *picture, uint64_t from, uint32_t *out)
{
	unsigned bytes = (picture->bits + 7) / 8;
	if (picture->bits == 32 && from + 4 * (uint64_t)picture->width <= VGA_MEMORY_SIZE) {
		for (unsigned x = 0; x < picture->width; x++)
			out[x] = load_le32(vga->memory + from + 4 * (size_t)x) & 0xffffff;
		return;
	}
	for (unsigned x = 0; x < picture->width; x++, from += bytes)
		out[x] = from <= VGA_MEMORY_SIZE - 4 ? pixel_at(picture, vga->memory + from) : 0;
}

static void draw_planar_line(const struct vga *vga, const struct vga_picture *picture, uint64_t from, uint32_t *out)
{
	for (unsigned x = 0; x < picture->width; x += 8, from += 4) {
		uint8_t pixels[8] = { 0 };
		if (from <= VGA_MEMORY_SIZE - 4)
			vga_shift_planar(vga->memory + from, pixels);
		for (unsigned i = 0; i < 8 && x + i < picture->width; i++)
			out[x + i] = picture->color[pixels[i]];
	}
}

static unsigned line_bytes(const struct vga_picture *picture)
{
	return picture->bits == 4 ? (picture->width + 7) / 8 * 4 : picture->width * ((picture->bits + 7) / 8);
}

/* The rows that have something of a page. A page may lie between the lines, or before the first. */
static void mark_page(const struct vga_picture *picture, uint64_t page, struct surface *surface)
{
	uint64_t first = page * GUEST_PAGE_SIZE, end = first + GUEST_PAGE_SIZE;
	uint64_t row = first > picture->from ? (first - picture->from) / picture->pitch : 0;
	surface_mark(surface, row, end > picture->from ? (end - picture->from + picture->pitch - 1) / picture->pitch : 0);
}

/* Leaves those rows marked that are to be drawn: all, unless the surface has what was drawn last and nothing but memory may have changed. */
static void find_changes(struct vga *vga, const struct vga_picture *picture, uint64_t had, struct surface *surface)
{
	uint64_t pages[(PAGES + 63) / 64], size = (uint64_t)picture->pitch * (picture->height - 1) + line_bytes(picture);
	bool same = had && had == vga->shown_name && !memcmp(picture, &vga->shown, sizeof(*picture));
	if (!picture->pitch || !memory_log_take(vga->ram, vga->aperture, picture->from, size, pages))
		return;
	vga->shown = *picture;
	surface->picture = ++vga->shown_name;
	if (!same)
		return;
	memset(surface->changed, 0, sizeof(surface->changed));
	for (uint64_t i = 0; i < PAGES; i++)
		if (pages[i / 64] >> (i % 64) & 1)
			mark_page(picture, i, surface);
}

int vga_draw_picture(struct vga *vga, const struct vga_picture *picture, unsigned cursor_first, unsigned cursor_end, struct surface *surface,
		     struct error *err)
{
	uint64_t had = surface->picture;
	if (surface_resize(surface, picture->width, picture->height, err) < 0)
		return -1;
	if (surface->again) {
		find_changes(vga, picture, had, surface);
		surface_mark(surface, vga->cursor_first, vga->cursor_end);
		surface_mark(surface, cursor_first, cursor_end);
		vga->cursor_first = cursor_first;
		vga->cursor_end = cursor_end;
	}
	for (unsigned y = 0; y < picture->height; y++) {
		uint64_t from = picture->from + (uint64_t)picture->pitch * y;
		uint32_t *out = surface->pixels + (size_t)y * picture->width;
		if (!surface_marked(surface, y, y + 1))
			continue;
		if (picture->bits == 4)
			draw_planar_line(vga, picture, from, out);
		else
			draw_line(vga, picture, from, out);
	}
	return 0;
}
