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
	return vga->gr[GR_MODE] & GR_MODE_SHIFT ? shift_interleaved : vga_shift_planar;
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

static int draw_dispi(struct vga *vga, struct surface *surface, struct error *err)
{
	const uint16_t *dispi = vga->dispi;
	unsigned bits = dispi[DISPI_BPP], x = dispi[DISPI_X_OFFSET];
	struct vga_picture picture = {
		.pitch = vga_dispi_pitch(vga), .width = dispi[DISPI_XRES], .height = dispi[DISPI_YRES], .bits = bits,
	};
	picture.from = (uint64_t)picture.pitch * dispi[DISPI_Y_OFFSET] + (bits == 4 ? x / 8 * 4 : (uint64_t)x * ((bits + 7) / 8));
	for (unsigned i = 0; i < 256 && bits <= 8; i++)
		picture.color[i] = bits == 4 ? vga_attribute_color(vga, i & 15) : vga_dac_color(vga, (uint8_t)i);
	return vga_draw_picture(vga, &picture, 0, 0, surface, err);
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
