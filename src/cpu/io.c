/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

/* Ports: permission (SDM 1, 18.5), I/O breakpoints, the machine's port space. */

#define TSS32_IO_MAP 0x66

static bool bitmap_allows(struct cpu *c, uint16_t port, unsigned size)
{
	const struct segment *tr = &c->seg[SEG_TR];
	if (!(tr->attributes & SEGATTR_P) || (tr->attributes & SEGATTR_TYPE) != SYS_TSS32_BUSY || tr->limit < TSS32_IO_MAP + 1)
		return false;
	uint64_t base = cpu_long_mode(c) ? tr->base : (uint32_t)tr->base;
	unsigned offset = (unsigned)access_read_system(c, base + TSS32_IO_MAP, 2) + port / 8u;
	if (offset + 1 > tr->limit)
		return false;
	unsigned bits = (unsigned)access_read_system(c, base + offset, 2) >> (port & 7);
	return !(bits & (BIT(size) - 1));
}

void cpu_check_io(struct cpu *c, uint16_t port, unsigned size)
{
	if (!cpu_protected(c) || (!cpu_v86(c) && c->cpl <= cpu_iopl(c)))
		return;
	if (!bitmap_allows(c, port, size))
		cpu_gp(c, 0);
}

uint64_t cpu_io_read(struct cpu *c, uint16_t port, unsigned size)
{
	c->stats.io_reads++;
	cpu_debug_io(c, port, size);
	return c->pio ? io_read(c->pio, port, size) : size_mask(size);
}

void cpu_io_write(struct cpu *c, uint16_t port, uint64_t value, unsigned size)
{
	c->stats.io_writes++;
	cpu_debug_io(c, port, size);
	if (c->pio)
		io_write(c->pio, port, value & size_mask(size), size);
}
