/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/system.h"

/* Debug registers (SDM 3B, 17.2). */

enum { DR7_EXECUTE, DR7_WRITE, DR7_IO, DR7_READ_WRITE };

static bool breakpoint_enabled(const struct cpu *c, unsigned n)
{
	return c->dr[7] >> (2 * n) & 3;
}

static unsigned breakpoint_kind(const struct cpu *c, unsigned n)
{
	return c->dr[7] >> (16 + 4 * n) & 3;
}

static unsigned breakpoint_length(const struct cpu *c, unsigned n)
{
	static const uint8_t length[] = { 1, 2, 8, 4 };
	return length[c->dr[7] >> (18 + 4 * n) & 3];
}

/* DR6 bits of the breakpoints of the kinds in `kinds` (a mask) that [address, +size) touches. */
static uint64_t find_hits(const struct cpu *c, uint64_t address, unsigned size, unsigned kinds)
{
	uint64_t hits = 0;
	for (unsigned n = 0; n < 4; n++) {
		uint64_t length = breakpoint_length(c, n), first = c->dr[n] & ~(length - 1);
		if (!breakpoint_enabled(c, n) || !(kinds >> breakpoint_kind(c, n) & 1))
			continue;
		if (address < first + length && first < address + size)
			hits |= BIT64(n);
	}
	return hits;
}

static void note_hits(struct cpu *c, uint64_t hits)
{
	if (hits) {
		c->db_pending |= hits;
		cpu_attention(c, ATTN_STEP);
	}
}

void cpu_debug_data(struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	if (c->dr[7] & DR7_ENABLES)
		note_hits(c, find_hits(c, linear, size, BIT(DR7_READ_WRITE) | (access & ACCESS_W ? BIT(DR7_WRITE) : 0)));
}

bool cpu_debug_page(const struct cpu *c, uint64_t page)
{
	if (!(c->dr[7] & DR7_ENABLES))
		return false;
	return find_hits(c, page & ~(uint64_t)GUEST_PAGE_MASK, GUEST_PAGE_SIZE, BIT(DR7_READ_WRITE) | BIT(DR7_WRITE));
}

bool cpu_debug_code(struct cpu *c, uint64_t linear)
{
	uint64_t hits = 0;
	for (unsigned n = 0; n < 4; n++)
		if (breakpoint_enabled(c, n) && breakpoint_kind(c, n) == DR7_EXECUTE && c->dr[n] == linear)
			hits |= BIT64(n);
	c->db_pending |= hits;
	return hits;
}

void cpu_debug_io(struct cpu *c, uint16_t port, unsigned size)
{
	if ((c->dr[7] & DR7_ENABLES) && (c->cr4 & CR4_DE))
		note_hits(c, find_hits(c, port, size, BIT(DR7_IO)));
}

/* Bits 11, 12, 14 and 15 read as zero, bit 10 as one. */
#define DR7_WRITABLE 0xffff23ffull

void cpu_set_debug_register(struct cpu *c, unsigned n, uint64_t value)
{
	if (n >= 6 && value >> 32)
		cpu_gp(c, 0);
	if (n == 6)
		c->dr[6] = (value & 0xe00f) | DR6_RESET;
	else if (n == 7)
		c->dr[7] = (value & DR7_WRITABLE) | DR7_RESET;
	else if (n < 4)
		c->dr[n] = value;
	/* Pages with data breakpoints leave the fast path, others come back to it. */
	if (n != 6)
		tlb_flush_all(c);
	if (c->dr[7] & DR7_ENABLES)
		cpu_attention(c, ATTN_STEP);
}
