/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window to the planar memory: address decoding, latches, read and write
 * modes (IBM VGA technical reference, "Graphics controller").
 */
#include "base/util.h"
#include "dev/vga/vga_parts.h"

#define BANK_SIZE 0x10000u

/* Where in the window the memory appears (graphics register 6, bits 3 and 2). */
static bool decode(const struct vga *vga, uint32_t *address)
{
	static const struct { uint32_t base, size; } maps[] = {
		{ 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 },
	};
	unsigned map = vga->gr[GR_MISC] >> 2 & 3;
	if (!(vga->misc & MISC_RAM) || *address < maps[map].base || *address - maps[map].base >= maps[map].size)
		return false;
	*address -= maps[map].base;
	return true;
}

/* A mode with a byte or more for each pixel is seen in banks of 64 KiB. */
static uint8_t *bank_byte(struct vga *vga, uint32_t address)
{
	uint64_t at = (uint64_t)vga->dispi[DISPI_BANK] * BANK_SIZE + address;
	return at < VGA_MEMORY_SIZE ? vga->memory + at : NULL;
}

static bool banked(const struct vga *vga)
{
	return vga_dispi_on(vga) && vga->dispi[DISPI_BPP] > 4;
}

/* Planar modes of the dispi registers have more than 64 KiB a plane: banks again. */
static uint32_t plane_offset(const struct vga *vga, uint32_t address)
{
	if (vga_dispi_on(vga))
		return (vga->dispi[DISPI_BANK] * BANK_SIZE + (address & 0xffff)) & (VGA_MEMORY_SIZE / 4 - 1);
	return address & (VGA_PLANE_SIZE - 1);
}

/* The planes that an address reaches, and the offset in them. */
static unsigned select_planes(const struct vga *vga, uint32_t *address)
{
	unsigned mode = vga->seq[SEQ_MEMORY_MODE], planes = 15;
	if (mode & SEQ_MEMORY_CHAIN4) {
		planes = 1u << (*address & 3);
		*address &= ~3u;
	} else if (!(mode & SEQ_MEMORY_NO_ODD_EVEN)) {
		planes = *address & 1 ? 10 : 5;
		*address &= ~1u;
	}
	*address = plane_offset(vga, *address);
	return planes;
}

static uint8_t read_byte(struct vga *vga, uint32_t address)
{
	if (!decode(vga, &address))
		return 0xff;
	if (banked(vga)) {
		const uint8_t *at = bank_byte(vga, address);
		return at ? *at : 0xff;
	}
	bool chained = vga->seq[SEQ_MEMORY_MODE] & SEQ_MEMORY_CHAIN4;
	unsigned plane = vga->gr[GR_READ_MAP];
	if (chained)
		plane = address & 3;
	else if (vga->gr[GR_MODE] & GR_MODE_ODD_EVEN)
		plane = (plane & 2) | (address & 1);
	if (chained)
		address &= ~3u;
	else if (vga->gr[GR_MODE] & GR_MODE_ODD_EVEN)
		address &= ~1u;
	const uint8_t *from = vga->memory + 4 * (size_t)plane_offset(vga, address);
	memcpy(vga->latch, from, 4);
	if (!(vga->gr[GR_MODE] & GR_MODE_READ1))
		return vga->latch[plane];
	/* Read mode 1: which pixels have the colour, in the planes that matter. */
	uint8_t differ = 0;
	for (unsigned p = 0; p < 4; p++)
		if (vga->gr[GR_DONT_CARE] >> p & 1)
			differ |= vga->latch[p] ^ (vga->gr[GR_COLOR_COMPARE] >> p & 1 ? 0xff : 0);
	return (uint8_t)~differ;
}

static uint8_t rotate(uint8_t value, unsigned count)
{
	return (uint8_t)(value >> count | value << (8 - count));
}

/* What goes to the ALU of a plane, and the mask of the bits that change. */
static uint8_t plane_value(const struct vga *vga, unsigned plane, uint8_t value, uint8_t *mask)
{
	const uint8_t *gr = vga->gr;
	unsigned mode = gr[GR_MODE] & 3;
	uint8_t rotated = rotate(value, gr[GR_ROTATE] & 7);
	uint8_t set = gr[GR_SET_RESET] >> plane & 1 ? 0xff : 0;
	*mask = gr[GR_BIT_MASK];
	switch (mode) {
	case 0: return gr[GR_ENABLE_SET_RESET] >> plane & 1 ? set : rotated;
	case 2: return value >> plane & 1 ? 0xff : 0;
	default: *mask &= rotated; return set; /* mode 3 */
	}
}

static uint8_t combine(unsigned function, uint8_t value, uint8_t latch)
{
	switch (function) {
	case 1: return value & latch;
	case 2: return value | latch;
	case 3: return value ^ latch;
	default: return value;
	}
}

/* Code may lie in the frame buffer as anywhere, and this window shows the same memory. */
static void wrote(struct vga *vga, const uint8_t *at, unsigned size)
{
	memory_note_write_slow(vga->ram, memory_offset(vga->ram, at), size);
}

static void write_byte(struct vga *vga, uint32_t address, uint8_t value)
{
	if (!decode(vga, &address))
		return;
	if (banked(vga)) {
		uint8_t *at = bank_byte(vga, address);
		if (at) {
			*at = value;
			wrote(vga, at, 1);
		}
		return;
	}
	unsigned planes = select_planes(vga, &address) & vga->seq[SEQ_MAP_MASK];
	uint8_t *to = vga->memory + 4 * (size_t)address;
	for (unsigned p = 0; p < 4; p++) {
		if (!(planes >> p & 1))
			continue;
		uint8_t mask;
		if ((vga->gr[GR_MODE] & 3) == 1) {
			to[p] = vga->latch[p];
			continue;
		}
		uint8_t v = combine(vga->gr[GR_ROTATE] >> 3 & 3, plane_value(vga, p, value, &mask), vga->latch[p]);
		to[p] = (uint8_t)((v & mask) | (vga->latch[p] & ~mask));
	}
	wrote(vga, to, 4);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(vga, (uint32_t)offset + i) << (8 * i);
	return value;
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;
	for (unsigned i = 0; i < size; i++)
		write_byte(vga, (uint32_t)offset + i, (uint8_t)(value >> (8 * i)));
}

const struct io_ops vga_window_ops = { window_read, window_write, 8 };
