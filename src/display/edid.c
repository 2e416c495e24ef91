/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "display/edid.h"

#include <string.h>

#include "base/util.h"

#define FRAMES 60u       /* a second */
#define DPI 96u
/* Reduced blanking (VESA CVT): pixels beside the picture, lines above and below it. */
#define H_BLANK 160u
#define H_FRONT 48u
#define H_SYNC 32u
#define V_FRONT 3u
#define V_SYNC 5u
#define V_BLANK_US 460u

static uint8_t upper(unsigned a, unsigned b)
{
	return (uint8_t)((a >> 8 & 15) << 4 | (b >> 8 & 15));
}

static unsigned millimetres(unsigned pixels)
{
	return pixels * 254 / (DPI * 10);
}

/* Lines without a picture: as many as 460 us take. */
static unsigned vertical_blank(unsigned height)
{
	unsigned line_ns = (1000000000u / FRAMES - V_BLANK_US * 1000) / height;
	unsigned lines = V_BLANK_US * 1000 / line_ns + 1;
	return MAX(lines, V_FRONT + V_SYNC + 6);
}

/* 3.10.2: detailed timing */
static void timing(uint8_t *d, unsigned width, unsigned height)
{
	unsigned v_blank = vertical_blank(height);
	uint64_t clock = (uint64_t)(width + H_BLANK) * (height + v_blank) * FRAMES / 10000;
	store_le16(d, (uint16_t)MIN(clock, (uint64_t)UINT16_MAX));
	d[2] = (uint8_t)width;
	d[3] = H_BLANK;
	d[4] = upper(width, H_BLANK);
	d[5] = (uint8_t)height;
	d[6] = (uint8_t)v_blank;
	d[7] = upper(height, v_blank);
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = V_FRONT << 4 | V_SYNC;
	d[12] = (uint8_t)millimetres(width);
	d[13] = (uint8_t)millimetres(height);
	d[14] = upper(millimetres(width), millimetres(height));
	d[17] = 0x1a; /* separate digital syncs: horizontal positive, vertical negative */
}

/* 3.10.3: a descriptor that is text; it ends with a newline and is filled with blanks. */
static void text(uint8_t *d, uint8_t tag, const char *string)
{
	size_t length = strlen(string);
	d[3] = tag;
	memset(d + 5, ' ', 13);
	memcpy(d + 5, string, length);
	if (length < 13)
		d[5 + length] = '\n';
}

void edid_make(uint8_t edid[EDID_SIZE], unsigned width, unsigned height)
{
	static const uint8_t start[] = { 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00 };
	/* sRGB: chromaticities of red, green, blue and white (3.7) */
	static const uint8_t colors[] = { 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54 };
	uint8_t sum = 0;
	memset(edid, 0, EDID_SIZE);
	memcpy(edid, start, sizeof(start));
	store_be16(edid + 8, ('V' - '@') << 10 | ('S' - '@') << 5 | ('R' - '@'));
	store_le16(edid + 10, 1);
	edid[17] = 2024 - 1990;
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = 0xa5;              /* digital, 8 bits a colour, DisplayPort: as good as any */
	edid[21] = (uint8_t)MIN(millimetres(width) / 10, 255u);
	edid[22] = (uint8_t)MIN(millimetres(height) / 10, 255u);
	edid[23] = 120;               /* gamma 2.2 */
	edid[24] = 0x06;              /* sRGB; the first detailed timing is the native one */
	memcpy(edid + 25, colors, sizeof(colors));
	edid[35] = 0x21;              /* 640 x 480 and 800 x 600, both at 60 Hz */
	edid[36] = 0x08;              /* 1024 x 768 at 60 Hz */
	memset(edid + 38, 1, 16);     /* no standard timings */
	timing(edid + 54, width, height);
	text(edid + 72, 0xfc, "visor");
	edid[90 + 3] = edid[108 + 3] = 0x10; /* nothing */
	for (unsigned i = 0; i < EDID_SIZE - 1; i++)
		sum = (uint8_t)(sum + edid[i]);
	edid[127] = (uint8_t)-sum;
}
