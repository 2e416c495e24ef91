/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text modes: a character in plane 0, its attribute in plane 1, the dots in
 * plane 2, 32 bytes for each character of a font.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/vga/vga_parts.h"

#define BLINK_NS 533333333ull /* 16 frames of 60 a second on, as many off; the cursor is twice as fast */

struct text_mode {
	struct vga_raster raster;
	unsigned width;           /* dots of a character: 8 or 9 */
	unsigned font[2];         /* offsets in plane 2, by bit 3 of the attribute */
	bool blink, hidden;       /* blinking enabled; in the dark half now */
	unsigned cursor, cursor_from, cursor_to;
	bool cursor_shown;
	uint32_t color[16];
};

/* Character map select (sequencer register 3): bits of 16 KiB, and one of 8 KiB. */
static unsigned font_offset(unsigned low, unsigned high)
{
	return low * 0x4000 + high * 0x2000;
}

static void get_mode(const struct vga *vga, struct text_mode *mode)
{
	const uint8_t *cr = vga->cr;
	unsigned map = vga->seq[SEQ_CHARACTER_MAP];
	uint64_t now = vclock_now(vga->clock);
	vga_raster(vga, &mode->raster);
	mode->width = vga->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8DOT ? 8 : 9;
	mode->font[0] = font_offset(map & 3, map >> 4 & 1);
	mode->font[1] = font_offset(map >> 2 & 3, map >> 5 & 1);
	mode->blink = vga->at[AT_MODE] & AT_MODE_BLINK;
	mode->hidden = now / (BLINK_NS / 2) & 1;
	mode->cursor = cr[CR_CURSOR_LOW] | (unsigned)cr[CR_CURSOR_HIGH] << 8;
	mode->cursor_from = cr[CR_CURSOR_START] & 31;
	mode->cursor_to = cr[CR_CURSOR_END] & 31;
	mode->cursor_shown = !(cr[CR_CURSOR_START] & 0x20) && !(now / (BLINK_NS / 4) & 1);
	for (unsigned i = 0; i < 16; i++)
		mode->color[i] = vga_attribute_color(vga, i);
}

/* The four bytes of the planes at a text address. */
static const uint8_t *cell_at(const struct vga *vga, unsigned address)
{
	/* Characters are two apart for the processor, and for the display in word mode. */
	return vga->memory + 4 * (size_t)((vga->cr[CR_MODE] & 0x40 ? address : address << 1) & (VGA_PLANE_SIZE - 1));
}

static unsigned glyph_line(const struct vga *vga, const struct text_mode *mode, const uint8_t *cell, unsigned line)
{
	unsigned at = mode->font[cell[1] & 8 ? 0 : 1] + cell[0] * 32u + (line & 31);
	unsigned dots = vga->memory[4 * (size_t)(at & (VGA_PLANE_SIZE - 1)) + 2] << 1;
	/* The ninth dot of line graphics goes on with the eighth. */
	if (vga->at[AT_MODE] & AT_MODE_LINE_GRAPHICS && cell[0] >= 0xc0 && cell[0] <= 0xdf)
		dots |= dots >> 1 & 1;
	return dots;
}

static void draw_cell(const struct vga *vga, const struct text_mode *mode, const uint8_t *cell, unsigned address, unsigned line,
		      uint32_t *out)
{
	unsigned foreground = cell[1] & 15, background = cell[1] >> 4;
	unsigned dots = glyph_line(vga, mode, cell, line);
	if (mode->blink) {
		dots = background & 8 && mode->hidden ? 0 : dots;
		background &= 7;
	}
	/* The underline of the monochrome adapter (attribute controller, bit 1 of the mode, colour 1). */
	if (vga->at[AT_MODE] & 2 && (cell[1] & 0x77) == 1 && line == (vga->cr[CR_UNDERLINE] & 31u))
		dots = 0x1ff;
	if (mode->cursor_shown && address == mode->cursor && line >= mode->cursor_from && line <= mode->cursor_to)
		dots = 0x1ff;
	for (unsigned i = 0; i < mode->width; i++)
		out[i] = mode->color[dots >> (8 - i) & 1 ? foreground : background];
}

int vga_draw_text(struct vga *vga, struct surface *surface, struct error *err)
{
	struct text_mode mode;
	get_mode(vga, &mode);
	const struct vga_raster *r = &mode.raster;
	if (surface_resize(surface, mode.width * r->columns, r->lines, err) < 0)
		return -1;
	unsigned row = r->start + (vga->cr[CR_PRESET_ROW] >> 5 & 3), line = vga->cr[CR_PRESET_ROW] & 31, repeat = 0;
	for (unsigned y = 0; y < r->lines; y++) {
		uint32_t *out = surface->pixels + (size_t)y * surface->width;
		for (unsigned x = 0; x < r->columns; x++)
			draw_cell(vga, &mode, cell_at(vga, row + x), row + x, line, out + x * mode.width);
		if (y == r->split) {
			row = line = repeat = 0;
			continue;
		}
		if (++repeat < r->doubled)
			continue;
		repeat = 0;
		if (++line >= r->row_height) {
			line = 0;
			row += r->pitch;
		}
	}
	return 0;
}

/* Code page 437 above 0x7f, and the drawings below 0x20. */
static const uint16_t upper[128] = {
	0xc7, 0xfc, 0xe9, 0xe2, 0xe4, 0xe0, 0xe5, 0xe7, 0xea, 0xeb, 0xe8, 0xef, 0xee, 0xec, 0xc4, 0xc5,
	0xc9, 0xe6, 0xc6, 0xf4, 0xf6, 0xf2, 0xfb, 0xf9, 0xff, 0xd6, 0xdc, 0xa2, 0xa3, 0xa5, 0x20a7, 0x192,
	0xe1, 0xed, 0xf3, 0xfa, 0xf1, 0xd1, 0xaa, 0xba, 0xbf, 0x2310, 0xac, 0xbd, 0xbc, 0xa1, 0xab, 0xbb,
	0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
	0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567,
	0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
	0x3b1, 0xdf, 0x393, 0x3c0, 0x3a3, 0x3c3, 0xb5, 0x3c4, 0x3a6, 0x398, 0x3a9, 0x3b4, 0x221e, 0x3c6, 0x3b5, 0x2229,
	0x2261, 0xb1, 0x2265, 0x2264, 0x2320, 0x2321, 0xf7, 0x2248, 0xb0, 0x2219, 0xb7, 0x221a, 0x207f, 0xb2, 0x25a0, 0xa0,
};

static const uint16_t lower[32] = {
	' ', 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9, 0x2642, 0x2640, 0x266a, 0x266b, 0x263c,
	0x25ba, 0x25c4, 0x2195, 0x203c, 0xb6, 0xa7, 0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};

static unsigned code_of(uint8_t character)
{
	return character < 32 ? lower[character] : character < 127 ? character : character == 127 ? 0x2302 : upper[character - 128];
}

static char *text_of(struct vga *vga)
{
	struct text_mode mode;
	get_mode(vga, &mode);
	const struct vga_raster *r = &mode.raster;
	unsigned rows = r->lines / (r->row_height * r->doubled);
	char *text = malloc((size_t)rows * (3 * r->columns + 1) + 1), *to = text;
	for (unsigned row = 0; text && row < rows; row++) {
		char *end = to;
		for (unsigned x = 0; x < r->columns; x++) {
			uint8_t character = *cell_at(vga, r->start + row * r->pitch + x);
			to = put_utf8(to, code_of(character));
			if (character != ' ' && character != 0)
				end = to;
		}
		to = end; /* without the blanks at the end of a line */
		*to++ = '\n';
	}
	if (text)
		*to = 0;
	return text;
}

char *vga_text(void *opaque)
{
	struct vga *vga = opaque;
	lock_take(vga->lock);
	bool text = !vga_dispi_on(vga) && !(vga->gr[GR_MISC] & GR_MISC_GRAPHICS);
	char *result = text ? text_of(vga) : NULL;
	lock_release(vga->lock);
	return result;
}
