/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest for test_engine.py, built as those of tests/guest: it prints the words of CPUID that have features. */
#include "guest.h"

int guest_main(void)
{
	const struct cpuid list[] = { cpuid(1, 0), cpuid(7, 0), cpuid(7, 1), cpuid(0xd, 1), cpuid(0x80000001, 0) };
	const uint32_t words[] = { list[0].c, list[0].d, list[1].b, list[1].c, list[1].d, list[2].a, list[3].a, list[4].c, list[4].d };
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		print("word ");
		print_hex(words[i]);
		print("\n");
	}
	return failures;
}
