/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that compiles: functions are made at the same place over and over, run many times, and made again. Options:
 * generations=N, runs=N. */
#include "code.h"

static uint8_t *area;

/* One step of a random function, as code and as what it does. */
struct made {
	uint8_t *end;
	uint64_t value; /* of RAX afterwards, from the same argument */
};

static struct made make(uint8_t *p, unsigned steps, uint64_t argument, uint8_t *helper, uint64_t added)
{
	uint64_t v = argument;
	PUT(p, 0x48, 0x89, 0xf8); /* mov rax, rdi */
	while (steps--) {
		uint32_t n = (uint32_t)rnd() & 0x7fffffff;
		switch (below(8)) {
		case 0: PUT(p, 0x48, 0x05); p = put32(p, n); v += n; break;
		case 1: PUT(p, 0x48, 0x35); p = put32(p, n); v ^= n; break;
		case 2: PUT(p, 0x48, 0x69, 0xc0); p = put32(p, n); v *= n; break;
		case 3: PUT(p, 0x48, 0xc1, 0xc0); *p++ = n & 63; v = (n & 63) ? v << (n & 63) | v >> (64 - (n & 63)) : v; break;
		case 4: PUT(p, 0x48, 0xf7, 0xd0); v = ~v; break;
		case 5: /* test al, imm8; jz over; add rax, 1 */
			PUT(p, 0xa8); *p++ = (uint8_t)n; PUT(p, 0x74, 0x04, 0x48, 0x83, 0xc0, 0x01);
			if (v & n & 0xff)
				v++;
			break;
		case 6: /* a loop of 3: sub rax, imm8 */
			PUT(p, 0xb9, 3, 0, 0, 0, 0x48, 0x83, 0xe8); *p++ = n & 0x7f; PUT(p, 0xff, 0xc9, 0x75, 0xf8);
			v -= 3 * (n & 0x7f);
			break;
		default: /* a call of what is made again, too */
			p = put_near(p, 0xe8, helper);
			v += added;
		}
	}
	*p++ = 0xc3;
	return (struct made){ p, v };
}

int guest_main(void)
{
	unsigned generations = (unsigned)guest_option("generations", 5000), runs = (unsigned)guest_option("runs", 1000);
	area = alloc_page();
	for (unsigned i = 0; i < 15; i++)
		alloc_page();
	uint8_t *helper = area + 8192 + 100;
	uint64_t wrong = 0, added = 0;
	for (unsigned g = 0; g < generations; g++) {
		if (g % 3 == 0) { /* add rax, imm32; ret */
			uint8_t *p = helper;
			added = rnd() & 0x7fffffff;
			PUT(p, 0x48, 0x05);
			p = put32(p, added);
			PUT(p, 0xc3);
		}
		/* Sometimes elsewhere, over the border of two pages, or two functions in one place after another. */
		uint8_t *at = area + (g % 7 == 6 ? 4096 - 17 : g % 11 == 10 ? 64 * (g % 13) : 0);
		uint64_t argument = rnd();
		struct made m = make(at, 1 + below(6), argument, helper, added);
		unsigned n = g % 50 == 49 ? runs * 10 : runs;
		for (unsigned i = 0; i < n; i++)
			wrong += call(at, argument) != m.value;
		if (wrong) {
			print_hex(g);
			break;
		}
	}
	check_equal(wrong, 0);
	return failures;
}
