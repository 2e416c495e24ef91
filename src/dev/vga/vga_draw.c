/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the frame buffer to a picture, as the registers say at the moment: scan
 * line by scan line.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/vga/vga_parts.h"

/* --- colours --- */

uint32_t vga_dac_color(const struct vga *vga, uint8_t index)
{
	const uint8_t *c = vga->dac[index & vga->dac_mask];
	if (vga->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC)
		return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
	uint32_t color = 0;
	for (unsigned i = 0; i < 3; i++)
		color = color << 8 | (uint32_t)(c[i] << 2 | c[i] >> 4); /* full scale of 6 bits becomes that of 8 */
	return color;
}

uint32_t vga_attribute_color(const struct vga *vga, unsigned attribute)
{
	const uint8_t *at = vga->at;
	uint8_t color = at[attribute & at[AT_PLANES] & 15];
	if (at[AT_MODE] & AT_MODE_P54)
		color = (color & 0x0f) | (uint8_t)((at[AT_COLOR_SELECT] & 3) << 4);
	return vga_dac_color(vga, (color & 0x3f) | (uint8_t)((at[AT_COLOR_SELECT] & 0x0c) << 4));
}

/* --- geometry --- */

void vga_raster(const struct vga *vga, struct vga_raster *raster)
{
	const uint8_t *cr = vga->cr;
	unsigned over = cr[CR_OVERFLOW], max = cr[CR_MAX_SCAN];
	raster->columns = cr[CR_HDISPLAY_END] + 1u;
	raster->lines = (cr[CR_VDISPLAY_END] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1u;
	raster->split = cr[CR_LINE_COMPARE] | (over & 0x10) << 4 | (max & 0x40) << 3;
	raster->pitch = cr[CR_OFFSET] * 2u;
	raster->start = cr[CR_START_LOW] | (unsigned)cr[CR_START_HIGH] << 8;
	raster->row_height = (max & 31) + 1u;
	raster->doubled = max & 0x80 ? 2 : 1;
}

/* The address counter's bits on the memory's address lines: byte, word or double word steps, and the row scan counter in
 * the place of bits 13 and 14 as the CGA and the Hercules card had it (CRT mode control register). */
static unsigned memory_address(const struct vga *vga, unsigned counter, unsigned row_scan)
{
	const uint8_t *cr = vga->cr;
	unsigned address;
	if (cr[CR_UNDERLINE] & 0x40)
		address = counter << 2 | (counter >> 14 & 3);
	else if (!(cr[CR_MODE] & 0x40))
		address = counter << 1 | (counter >> (cr[CR_MODE] & 0x20 ? 15 : 13) & 1);
	else
		address = counter;
	if (!(cr[CR_MODE] & 0x01))
		address = (address & ~0x2000u) | (row_scan & 1) << 13;
	if (!(cr[CR_MODE] & 0x02))
		address = (address & ~0x4000u) | (row_scan >> 1 & 1) << 14;
	return address & (VGA_PLANE_SIZE - 1);
}

/* --- one scan line: the attributes of its pixels, 8 for each character clock --- */

/* Four planes, a bit of each makes a pixel. */
static void shift_planar(const uint8_t *planes, uint8_t *pixel)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned bit = 7 - i;
		pixel[i] = (uint8_t)((planes[0] >> bit & 1) | (planes[1] >> bit & 1) << 1 | (planes[2] >> bit & 1) << 2 |
				     (planes[3] >> bit & 1) << 3);
	}
}

/* Two bits a pixel, planes 0 and 2 first, then 1 and 3: the CGA's format. */
static void shift_interleaved(const uint8_t *planes, uint8_t *pixel)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned low = planes[i / 4], high = planes[i / 4 + 2], shift = 6 - 2 * (i % 4);
		pixel[i] = (uint8_t)((low >> shift & 3) | (high >> shift & 3) << 2);
	}
}

/* Eight bits a pixel, each for two dot clocks. */
static void shift_256(const uint8_t *planes, uint8_t *pixel)
{
	for (unsigned i = 0; i < 8; i++)
		pixel[i] = planes[i / 2];
}

static void (*shifter(const struct vga *vga))(const uint8_t *planes, uint8_t *pixel)
{
	if (vga->gr[GR_MODE] & GR_MODE_256)
		return shift_256;
	return vga->gr[GR_MODE] & GR_MODE_SHIFT ? shift_interleaved : shift_planar;
}

struct palette {
	uint32_t color[256];
};

static void make_palette(const struct vga *vga, struct palette *palette)
{
	bool wide = vga->gr[GR_MODE] & GR_MODE_256;
	for (unsigned i = 0; i < 256; i++)
		palette->color[i] = wide ? vga_dac_color(vga, (uint8_t)i) : vga_attribute_color(vga, i & 15);
}

#define LINE_MAX_PIXELS (8 * 257)

static void draw_line(const struct vga *vga, const struct palette *palette, unsigned counter, unsigned row_scan, unsigned panning,
		      unsigned columns, uint32_t *out)
{
	uint8_t pixels[LINE_MAX_PIXELS];
	void (*shift)(const uint8_t *, uint8_t *) = shifter(vga);
	/* One more: panning shows a part of it. */
	for (unsigned i = 0; i <= columns; i++)
		shift(vga->memory + 4 * (size_t)memory_address(vga, counter + i, row_scan), pixels + 8 * i);
	for (unsigned x = 0; x < 8 * columns; x++)
		out[x] = palette->color[pixels[x + panning]];
}

static unsigned graphics_panning(const struct vga *vga)
{
	unsigned panning = vga->at[AT_PANNING] & 7;
	return panning;
}

static int draw_graphics(const struct vga *vga, struct surface *surface, struct error *err)
{
	struct vga_raster raster;
	struct palette palette;
	vga_raster(vga, &raster);
	if (surface_resize(surface, 8 * raster.columns, raster.lines, err) < 0)
		return -1;
	make_palette(vga, &palette);
	unsigned panning = graphics_panning(vga), row_scan = vga->cr[CR_PRESET_ROW] & 31;
	unsigned row = raster.start + (vga->cr[CR_PRESET_ROW] >> 5 & 3), repeat = 0;
	for (unsigned y = 0; y < raster.lines; y++) {
		draw_line(vga, &palette, row, row_scan, panning, raster.columns, surface->pixels + (size_t)y * surface->width);
		if (y == raster.split) {
			row = row_scan = repeat = 0;
			panning = vga->at[AT_MODE] & AT_MODE_PAN_SPLIT ? 0 : panning;
			continue;
		}
		if (++repeat < raster.doubled)
			continue;
		repeat = 0;
		if (++row_scan >= raster.row_height) {
			row_scan = 0;
			row += raster.pitch;
		}
	}
	return 0;
}

/* --- modes of the dispi registers --- */

static uint32_t expand(unsigned value, unsigned bits)
{
	return value << (8 - bits) | value >> (2 * bits - 8);
}

static uint32_t pixel_at(const struct palette *palette, const uint8_t *at, unsigned bpp)
{
	unsigned v = load_le16(at);
	switch (bpp) {
	case 8: return palette->color[*at];
	case 15: return expand(v >> 10 & 31, 5) << 16 | expand(v >> 5 & 31, 5) << 8 | expand(v & 31, 5);
	case 16: return expand(v >> 11, 5) << 16 | expand(v >> 5 & 63, 6) << 8 | expand(v & 31, 5);
	default: return (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
	}
}

static void dispi_line(const struct vga *vga, const struct palette *palette, size_t from, unsigned width, unsigned bpp, uint32_t *out)
{
	unsigned bytes = (bpp + 7) / 8;
	size_t limit = VGA_MEMORY_SIZE - 4;
	for (unsigned x = 0; x < width; x++, from += bytes)
		out[x] = from <= limit ? pixel_at(palette, vga->memory + from, bpp) : 0;
}

static void dispi_planar_line(const struct vga *vga, const struct palette *palette, size_t from, unsigned width, uint32_t *out)
{
	for (unsigned x = 0; x < width; x += 8, from += 4) {
		uint8_t pixels[8] = { 0 };
		if (from <= VGA_MEMORY_SIZE - 4)
			shift_planar(vga->memory + from, pixels);
		for (unsigned i = 0; i < 8 && x + i < width; i++)
			out[x + i] = palette->color[pixels[i]];
	}
}

static int draw_dispi(const struct vga *vga, struct surface *surface, struct error *err)
{
	unsigned width = vga->dispi[DISPI_XRES], height = vga->dispi[DISPI_YRES], bpp = vga->dispi[DISPI_BPP];
	unsigned x = vga->dispi[DISPI_X_OFFSET], pitch = vga_dispi_pitch(vga);
	struct palette palette;
	if (surface_resize(surface, width, height, err) < 0)
		return -1;
	for (unsigned i = 0; i < 256; i++)
		palette.color[i] = bpp == 4 ? vga_attribute_color(vga, i & 15) : vga_dac_color(vga, (uint8_t)i);
	for (unsigned y = 0; y < height; y++) {
		size_t from = (size_t)pitch * (y + vga->dispi[DISPI_Y_OFFSET]);
		uint32_t *out = surface->pixels + (size_t)y * width;
		if (bpp == 4)
			dispi_planar_line(vga, &palette, from + x / 8 * 4, width, out);
		else
			dispi_line(vga, &palette, from + (size_t)x * ((bpp + 7) / 8), width, bpp, out);
	}
	return 0;
}

/* --- what is shown now --- */

static int draw_blank(struct surface *surface, struct error *err)
{
	if (surface_resize(surface, 640, 480, err) < 0)
		return -1;
	memset(surface->pixels, 0, 640 * 480 * sizeof(*surface->pixels));
	return 0;
}

/* Screen off, the palette closed to display, or the CRT controller held in reset. */
static bool blank(const struct vga *vga)
{
	return vga->seq[SEQ_CLOCKING] & SEQ_CLOCKING_OFF || !(vga->at_index & 0x20) || !(vga->cr[CR_MODE] & 0x80);
}

int vga_draw(void *opaque, struct surface *surface, struct error *err)
{
	struct vga *vga = opaque;
	int rc;
	lock_take(vga->lock);
	if (vga_dispi_on(vga))
		rc = draw_dispi(vga, surface, err);
	else if (blank(vga))
		rc = draw_blank(surface, err);
	else if (vga->gr[GR_MISC] & GR_MISC_GRAPHICS)
		rc = draw_graphics(vga, surface, err);
	else
		rc = vga_draw_text(vga, surface, err);
	lock_release(vga->lock);
	return rc;
}
