/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of the Bochs display interface, and BAR 2: the same registers and the
 * VGA ports in memory.
 */
#include <string.h>

#include "base/util.h"
#include "dev/vga/vga_parts.h"

#define ID_FIRST 0xb0c0u
#define ID_LAST 0xb0c5u
#define XRES_MAX 4096u
#define YRES_MAX 2400u
#define BPP_MAX 32u

/* BAR 2 */
#define PORTS_AT 0x400u
#define DISPI_AT 0x500u
#define DISPI_END (DISPI_AT + 2 * DISPI_COUNT)

static unsigned bytes_for(unsigned pixels, unsigned bpp)
{
	return bpp == 4 ? pixels / 8 * 4 : pixels * ((bpp + 7) / 8); /* four planes, side by side */
}

unsigned vga_dispi_pitch(const struct vga *vga)
{
	return bytes_for(vga->dispi[DISPI_VIRT_WIDTH], vga->dispi[DISPI_BPP]);
}

static bool known_depth(unsigned bpp)
{
	return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static bool mode_fits(const struct vga *vga)
{
	unsigned width = vga->dispi[DISPI_XRES], height = vga->dispi[DISPI_YRES], bpp = vga->dispi[DISPI_BPP];
	return width && height && width <= XRES_MAX && height <= YRES_MAX && known_depth(bpp) &&
	       (uint64_t)bytes_for(width, bpp) * height <= VGA_MEMORY_SIZE;
}

static void set_virtual_width(struct vga *vga, unsigned width)
{
	unsigned most = 0xfff8;
	width = MAX(width, (unsigned)vga->dispi[DISPI_XRES]);
	vga->dispi[DISPI_VIRT_WIDTH] = (uint16_t)MIN(width, most);
	unsigned pitch = vga_dispi_pitch(vga);
	vga->dispi[DISPI_VIRT_HEIGHT] = (uint16_t)MIN(VGA_MEMORY_SIZE / MAX(pitch, 1u), 0xffffu);
}

static void enable(struct vga *vga, uint16_t value)
{
	bool was = vga_dispi_on(vga);
	value &= DISPI_ENABLED | DISPI_GETCAPS | DISPI_8BIT_DAC | DISPI_LFB | DISPI_NOCLEARMEM;
	if (value & DISPI_ENABLED && !was && !mode_fits(vga))
		value &= (uint16_t)~DISPI_ENABLED;
	vga->dispi[DISPI_ENABLE] = value;
	vga_post_writes(vga);
	if (!(value & DISPI_ENABLED)) {
		vga->dispi[DISPI_BANK] = 0;
		return;
	}
	if (was)
		return;
	vga->dispi[DISPI_X_OFFSET] = vga->dispi[DISPI_Y_OFFSET] = vga->dispi[DISPI_BANK] = 0;
	set_virtual_width(vga, vga->dispi[DISPI_XRES]);
	if (value & DISPI_NOCLEARMEM)
		return;
	size_t size = (size_t)vga_dispi_pitch(vga) * vga->dispi[DISPI_YRES];
	memset(vga->memory, 0, size);
	memory_note_write_slow(vga->ram, memory_offset(vga->ram, vga->memory), size);
}

static void dispi_write(struct vga *vga, unsigned index, uint16_t value)
{
	bool on = vga_dispi_on(vga);
	switch (index) {
	case DISPI_ID:
		if (value >= ID_FIRST && value <= ID_LAST)
			vga->dispi[DISPI_ID] = value;
		break;
	case DISPI_XRES: case DISPI_YRES: case DISPI_BPP:
		/* A mode that is on does not change under way. */
		if (!on)
			vga->dispi[index] = index == DISPI_BPP && !value ? 8 : value;
		break;
	case DISPI_ENABLE:
		enable(vga, value);
		break;
	case DISPI_BANK: case DISPI_X_OFFSET: case DISPI_Y_OFFSET:
		vga->dispi[index] = value;
		break;
	case DISPI_VIRT_WIDTH:
		if (on)
			set_virtual_width(vga, value);
		break;
	}
}

static uint16_t dispi_read(const struct vga *vga, unsigned index)
{
	bool caps = vga->dispi[DISPI_ENABLE] & DISPI_GETCAPS;
	switch (index) {
	case DISPI_XRES: return caps ? XRES_MAX : vga->dispi[index];
	case DISPI_YRES: return caps ? YRES_MAX : vga->dispi[index];
	case DISPI_BPP: return caps ? BPP_MAX : vga->dispi[index];
	case DISPI_MEMORY_64K: return VGA_MEMORY_SIZE >> 16;
	default: return index < DISPI_COUNT ? vga->dispi[index] : 0;
	}
}

void vga_dispi_check(struct vga *vga)
{
	if (vga_dispi_on(vga) && !mode_fits(vga))
		vga->dispi[DISPI_ENABLE] &= (uint16_t)~DISPI_ENABLED;
	if (vga_dispi_on(vga))
		set_virtual_width(vga, vga->dispi[DISPI_VIRT_WIDTH]);
}

/* --- ports: index at 0x1ce, data at 0x1cf or, for programs that want it aligned, 0x1d0; all of 16 bits --- */

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint16_t value = offset == 0 ? vga->dispi_index : dispi_read(vga, vga->dispi_index);
	return size == 1 ? value & 0xff : value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;
	if (offset == 0)
		vga->dispi_index = (uint16_t)value;
	else
		dispi_write(vga, vga->dispi_index, (uint16_t)value);
}

const struct io_ops vga_dispi_port_ops = { port_read, port_write, 2 };

/* --- BAR 2 --- */

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	if (offset >= PORTS_AT && offset + size <= PORTS_AT + 32)
		return vga_color_ops.read(vga, offset - PORTS_AT, size);
	if (offset < DISPI_AT || offset >= DISPI_END)
		return UINT64_MAX;
	uint64_t value = dispi_read(vga, (unsigned)(offset - DISPI_AT) / 2);
	if (size == 4)
		value |= (uint64_t)dispi_read(vga, (unsigned)(offset - DISPI_AT) / 2 + 1) << 16;
	return value >> (offset & 1) * 8;
}

static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;
	if (offset >= PORTS_AT && offset + size <= PORTS_AT + 32) {
		vga_color_ops.write(vga, offset - PORTS_AT, value, size);
		return;
	}
	if (offset < DISPI_AT || offset >= DISPI_END || size == 1)
		return;
	dispi_write(vga, (unsigned)(offset - DISPI_AT) / 2, (uint16_t)value);
	if (size == 4)
		dispi_write(vga, (unsigned)(offset - DISPI_AT) / 2 + 1, (uint16_t)(value >> 16));
}

const struct io_ops vga_registers_ops = { registers_read, registers_write, 4 };
