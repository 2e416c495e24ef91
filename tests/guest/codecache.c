/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More code than a cache of translations holds: megabytes of distinct functions, run in several orders, some of them hot, part of them
 * made anew between the passes. Options: size=MIB of code (4), passes=N (3), seed=N. */
#include "code.h"

enum { GROUP = 1024 }; /* bytes: a chain of blocks that a call runs through */
static uint8_t *area;
static uint64_t *wanted;

static uint64_t rotate(uint64_t v, unsigned n) { return n ? v << n | v >> (64 - n) : v; }

/* Blocks of some instructions, each ended by a jump, a branch that is or is not taken, or a call and a return. */
static uint64_t make_group(uint8_t *start)
{
	uint8_t *p = start, *end = start + GROUP;
	uint64_t v = (uint64_t)start;
	PUT(p, 0x48, 0x89, 0xf8); /* mov rax, rdi */
	while (p < end - 64) {
		uint32_t a = (uint32_t)rnd() & 0x7fffffff, b = (uint32_t)rnd() & 0x7fffffff;
		unsigned n = below(64);
		PUT(p, 0x48, 0x05); /* add rax, a */
		p = put32(p, a);
		PUT(p, 0x48, 0xc1, 0xc0); /* rol rax, n */
		*p++ = (uint8_t)n;
		PUT(p, 0x48, 0x35); /* xor rax, b */
		p = put32(p, b);
		v = rotate(v + a, n) ^ b;
		switch (below(4)) {
		case 0: PUT(p, 0xeb, 0x00); break;
		case 1: PUT(p, 0xa8, 0x01, 0x75, 0x04, 0x48, 0x83, 0xf0, 0x11); v ^= v & 1 ? 0 : 0x11; break; /* test al, 1; jnz +4; xor rax, 0x11 */
		case 2: PUT(p, 0xe8, 0x02, 0, 0, 0, 0xeb, 0x05, 0x48, 0x83, 0xc0, 0x07, 0xc3); v += 7; break; /* call +2; jmp +5; add rax, 7; ret */
		default: PUT(p, 0xe9, 1, 0, 0, 0, 0xcc);
		}
	}
	*p = 0xc3;
	return v;
}

int guest_main(void)
{
	unsigned groups = (unsigned)(guest_option("size", 4) << 20) / GROUP, passes = (unsigned)guest_option("passes", 3);
	random_state ^= guest_option("seed", 1) * 0x123456789abcdef1;
	area = alloc_page();
	for (unsigned i = 1; i < groups * (GROUP + 8) / 4096 + 2; i++)
		alloc_page();
	wanted = (uint64_t *)(area + groups * GROUP);
	for (unsigned i = 0; i < groups; i++)
		wanted[i] = make_group(area + i * GROUP);
	uint64_t wrong = 0;
	for (unsigned pass = 0; pass < passes; pass++) {
		/* In order, by steps that a hash may not like, at random. */
		static const unsigned steps[] = { 1, 4, 257, 0 };
		unsigned at = 0, step = steps[pass & 3];
		for (unsigned i = 0; i < groups; i++) {
			at = step ? (at + step) % groups : below(groups);
			uint8_t *code = area + at * GROUP;
			for (unsigned n = i % 512 ? 2 : 300; n; n--)
				wrong += call(code, (uint64_t)code) != wanted[at];
		}
		/* A few that have been hot all the time, once more; a third of the others made anew. */
		for (unsigned i = 0; i < 8; i++)
			for (unsigned n = 0; n < 1000; n++)
				wrong += call(area + i * GROUP, (uint64_t)(area + i * GROUP)) != wanted[i];
		for (unsigned i = 8 + pass % 3; i < groups; i += 3)
			wanted[i] = make_group(area + i * GROUP);
	}
	check_equal(wrong, 0);
	return failures;
}
