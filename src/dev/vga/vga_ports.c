/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Register ports of the VGA (IBM VGA technical reference, "Registers").
 */
#include "base/util.h"
#include "dev/vga/vga_parts.h"

#define STATUS1_BLANK 0x01u
#define STATUS1_RETRACE 0x08u
#define CR_PROTECT 0x80u

static const uint8_t seq_bits[SEQ_COUNT] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t gr_bits[GR_COUNT] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };
static const uint8_t at_bits[AT_COUNT] = {
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
	[AT_MODE] = 0xef, [AT_OVERSCAN] = 0xff, [AT_PLANES] = 0x3f, [AT_PANNING] = 0x0f, [AT_COLOR_SELECT] = 0x0f,
};

/* --- where the beam is --- */

struct timing {
	uint64_t char_ps;              /* of one character clock */
	unsigned htotal, hdisplay;     /* in characters */
	unsigned vtotal, vdisplay, retrace_start, retrace_end; /* in lines */
};

static void get_timing(const struct vga *vga, struct timing *t)
{
	const uint8_t *cr = vga->cr;
	unsigned over = cr[CR_OVERFLOW];
	uint64_t dots = vga->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8DOT ? 8 : 9;
	uint64_t dot_ps = (vga->misc & 0x0c) == 0x04 ? 35308 : 39722; /* 28.322 and 25.175 MHz */
	if (vga->seq[SEQ_CLOCKING] & SEQ_CLOCKING_HALF)
		dot_ps *= 2;
	t->char_ps = dots * dot_ps;
	t->htotal = cr[CR_HTOTAL] + 5u;
	t->hdisplay = cr[CR_HDISPLAY_END] + 1u;
	t->vtotal = (cr[CR_VTOTAL] | (over & 0x01) << 8 | (over & 0x20) << 4) + 2u;
	t->vdisplay = (cr[CR_VDISPLAY_END] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1u;
	t->retrace_start = cr[CR_VRETRACE_START] | (over & 0x04) << 6 | (over & 0x80) << 2;
	/* The end has four bits: the count of lines matches them when retrace ends. */
	unsigned lines = (cr[CR_VRETRACE_END] - t->retrace_start) & 15;
	t->retrace_end = t->retrace_start + (lines ? lines : 16);
}

static uint8_t input_status_1(struct vga *vga)
{
	struct timing t;
	get_timing(vga, &t);
	uint64_t at = vclock_now(vga->clock) % 1000000000000ull * 1000 / t.char_ps; /* characters since some frame began */
	unsigned in_line = (unsigned)(at % t.htotal), line = (unsigned)(at / t.htotal % t.vtotal);
	uint8_t status = 0;
	if (line >= t.vdisplay || in_line >= t.hdisplay)
		status |= STATUS1_BLANK;
	if (line >= t.retrace_start && line < t.retrace_end)
		status |= STATUS1_RETRACE | STATUS1_BLANK;
	return status;
}

/* --- CRT controller --- */

static void cr_write(struct vga *vga, uint8_t value)
{
	unsigned index = vga->cr_index;
	bool protected = vga->cr[CR_VRETRACE_END] & CR_PROTECT;
	if (index >= CR_COUNT)
		return;
	if (protected && index == CR_OVERFLOW)
		vga->cr[index] = (vga->cr[index] & ~0x10u) | (value & 0x10); /* line compare stays writable */
	else if (!protected || index > CR_OVERFLOW)
		vga->cr[index] = value;
}

static uint8_t crtc_read(struct vga *vga, unsigned port)
{
	switch (port & 15) {
	case 4: return vga->cr_index;
	case 5: return vga->cr_index < CR_COUNT ? vga->cr[vga->cr_index] : 0;
	case 10: vga->at_data = false; return input_status_1(vga);
	default: return 0xff;
	}
}

static void crtc_write(struct vga *vga, unsigned port, uint8_t value)
{
	switch (port & 15) {
	case 4: vga->cr_index = value & 0x3f; break;
	case 5: cr_write(vga, value); break;
	case 10: vga->feature = value & 0x0b; break;
	}
}

/* --- attribute controller --- */

static void at_write(struct vga *vga, uint8_t value)
{
	if (!vga->at_data) {
		vga->at_index = value & 0x3f;
	} else {
		unsigned index = vga->at_index & 0x1f;
		/* The palette cannot be written while it is in use (address bit 5). */
		if (index < AT_COUNT && (index >= AT_MODE || !(vga->at_index & 0x20)))
			vga->at[index] = value & at_bits[index];
	}
	vga->at_data = !vga->at_data;
}

/* --- colours --- */

static uint8_t dac_read(struct vga *vga)
{
	uint8_t value = vga->dac[vga->dac_read][vga->dac_step];
	if (++vga->dac_step == 3) {
		vga->dac_step = 0;
		vga->dac_read++;
	}
	return value;
}

static void dac_write(struct vga *vga, uint8_t value)
{
	bool wide = vga->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC;
	vga->dac_latch[vga->dac_step] = wide ? value : value & 0x3f;
	if (++vga->dac_step < 3)
		return;
	for (unsigned i = 0; i < 3; i++)
		vga->dac[vga->dac_write][i] = vga->dac_latch[i];
	vga->dac_step = 0;
	vga->dac_write++;
}

/* --- 0x3c0..0x3cf --- */

static uint8_t port_read(struct vga *vga, unsigned port)
{
	switch (port) {
	case 0x3c0: return vga->at_index;
	case 0x3c1: return (vga->at_index & 0x1f) < AT_COUNT ? vga->at[vga->at_index & 0x1f] : 0;
	case 0x3c2: return 0x10; /* a colour monitor answers */
	case 0x3c4: return vga->seq_index;
	case 0x3c5: return vga->seq_index < SEQ_COUNT ? vga->seq[vga->seq_index] : 0;
	case 0x3c6: return vga->dac_mask;
	case 0x3c7: return vga->dac_state;
	case 0x3c8: return vga->dac_write;
	case 0x3c9: return dac_read(vga);
	case 0x3ca: return vga->feature;
	case 0x3cc: return vga->misc;
	case 0x3ce: return vga->gr_index;
	case 0x3cf: return vga->gr_index < GR_COUNT ? vga->gr[vga->gr_index] : 0;
	default: return 0xff;
	}
}

static void port_write(struct vga *vga, unsigned port, uint8_t value)
{
	switch (port) {
	case 0x3c0: at_write(vga, value); break;
	case 0x3c2: vga->misc = value & 0xef; break;
	case 0x3c4: vga->seq_index = value & 7; break;
	case 0x3c5:
		if (vga->seq_index < SEQ_COUNT)
			vga->seq[vga->seq_index] = value & seq_bits[vga->seq_index];
		break;
	case 0x3c6: vga->dac_mask = value; break;
	case 0x3c7: vga->dac_read = value; vga->dac_step = 0; vga->dac_state = 3; break;
	case 0x3c8: vga->dac_write = value; vga->dac_step = 0; vga->dac_state = 0; break;
	case 0x3c9: dac_write(vga, value); break;
	case 0x3ce: vga->gr_index = value & 15; break;
	case 0x3cf:
		if (vga->gr_index < GR_COUNT)
			vga->gr[vga->gr_index] = value & gr_bits[vga->gr_index];
		break;
	}
}

/* The CRT controller answers at one of two places. */
static uint8_t any_read(struct vga *vga, unsigned port)
{
	bool color = vga->misc & MISC_COLOR;
	if (port < 0x3c0)
		return color ? 0xff : crtc_read(vga, port);
	if (port >= 0x3d0)
		return color ? crtc_read(vga, port) : 0xff;
	return port_read(vga, port);
}

static void any_write(struct vga *vga, unsigned port, uint8_t value)
{
	bool color = vga->misc & MISC_COLOR;
	if (port >= 0x3c0 && port < 0x3d0)
		port_write(vga, port, value);
	else if (color == (port >= 0x3d0))
		crtc_write(vga, port, value);
}

/* A wider access is one of each byte, the low one first: an index and its data. */
static uint64_t read_bytes(struct vga *vga, unsigned port, unsigned size)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)any_read(vga, port + i) << (8 * i);
	return value;
}

static void write_bytes(struct vga *vga, unsigned port, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		any_write(vga, port + i, (uint8_t)(value >> (8 * i)));
}

static uint64_t mono_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_bytes(opaque, 0x3b0 + (unsigned)offset, size);
}

static void mono_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	write_bytes(opaque, 0x3b0 + (unsigned)offset, value, size);
}

static uint64_t color_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_bytes(opaque, 0x3c0 + (unsigned)offset, size);
}

static void color_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	write_bytes(opaque, 0x3c0 + (unsigned)offset, value, size);
}

const struct io_ops vga_mono_ops = { mono_read, mono_write, 4 };
const struct io_ops vga_color_ops = { color_read, color_write, 4 };
