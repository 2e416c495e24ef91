/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "cpu/access.h"
#include "system_machine.h"

/*
 * Random system instructions on random descriptors, in every mode: whatever a
 * guest does, the processor stays one that can exist, a fault leaves RIP at the
 * instruction, and nothing outside the guest is touched (run it with
 * sanitizers). VISOR_FUZZ_ROUNDS sets the number of rounds.
 */

static uint64_t seed = 0x243f6a8885a308d3ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

/* Opcodes of the system group: first bytes, then whether ModRM and an immediate follow. */
struct pattern {
	uint8_t bytes[4];
	uint8_t length;
	uint8_t tail; /* random bytes behind */
};

static const struct pattern patterns[] = {
	{ { 0x8e }, 1, 2 }, { { 0x8c }, 1, 2 }, { { 0x1e }, 1, 0 }, { { 0x1f }, 1, 0 }, { { 0x17 }, 1, 0 },
	{ { 0x0f, 0xa1 }, 2, 0 },
	{ { 0x0f, 0xa8 }, 2, 0 }, { { 0xc4 }, 1, 6 }, { { 0xc5 }, 1, 6 }, { { 0x0f, 0xb2 }, 2, 6 },
	{ { 0x0f, 0xb4 }, 2, 6 },
	{ { 0x9a }, 1, 6 }, { { 0xea }, 1, 6 }, { { 0xff }, 1, 6 }, { { 0xcb }, 1, 0 }, { { 0xca }, 1, 2 },
	{ { 0xcf }, 1, 0 },
	{ { 0x48, 0xcf }, 2, 0 }, { { 0xcd }, 1, 1 }, { { 0xcc }, 1, 0 }, { { 0xce }, 1, 0 }, { { 0xf1 }, 1, 0 },
	{ { 0xf4 }, 1, 0 },
	{ { 0xfa }, 1, 0 }, { { 0xfb }, 1, 0 }, { { 0x9c }, 1, 0 }, { { 0x9d }, 1, 0 }, { { 0xe4 }, 1, 1 },
	{ { 0xef }, 1, 0 },
	{ { 0x0f, 0x20 }, 2, 1 }, { { 0x0f, 0x21 }, 2, 1 }, { { 0x0f, 0x22 }, 2, 1 }, { { 0x0f, 0x23 }, 2, 1 },
	{ { 0x0f, 0x00 }, 2, 6 },
	{ { 0x0f, 0x01 }, 2, 6 }, { { 0x0f, 0x02 }, 2, 6 }, { { 0x0f, 0x03 }, 2, 6 }, { { 0x63 }, 1, 6 },
	{ { 0x0f, 0x30 }, 2, 0 },
	{ { 0x0f, 0x32 }, 2, 0 }, { { 0x0f, 0x31 }, 2, 0 }, { { 0x0f, 0x33 }, 2, 0 }, { { 0x0f, 0xa2 }, 2, 0 },
	{ { 0x0f, 0x05 }, 2, 0 },
	{ { 0x0f, 0x07 }, 2, 0 }, { { 0x48, 0x0f, 0x07 }, 3, 0 }, { { 0x0f, 0x34 }, 2, 0 }, { { 0x0f, 0x35 }, 2, 0 },
	{ { 0x66, 0x0f, 0x38, 0x82 }, 4, 6 }, { { 0xf3, 0x0f, 0xae }, 3, 1 }, { { 0x66, 0x8e }, 2, 2 },
	{ { 0x66, 0xcf }, 2, 0 },
	{ { 0x66, 0xcb }, 2, 0 }, { { 0x66, 0x9d }, 2, 0 },
};

static const uint32_t msrs[] = {
	0x10, 0x11, 0x12, 0x1b, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x179, 0x17a, 0x1a0, 0x1d9, 0x200, 0x20f, 0x250, 0x277, 0x2ff,
	0x400, 0x427, 0x428, 0x6e0, 0x830, 0xda0, 0x4b564d00, 0x4b564d01, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000100, 0xc0000102,
	0xc0010015, 0xc0011029,
};

static uint64_t value(void)
{
	switch (below(8)) {
	case 0: return DATA + below(0x1000);
	case 1: return below(GDT_SIZE + 16);
	case 2: return msrs[below(ARRAY_SIZE(msrs))];
	case 3: return 1ull << below(64);
	case 4: return m.cr0 ^ 1u << below(32);
	case 5: return m.cr4 ^ 1u << below(32);
	default: return rnd() >> below(64);
	}
}

static void random_machine(void)
{
	static const uint8_t levels[] = { 0, 0, 3, 1 };
	unsigned cpl = levels[below(4)];
	switch (below(6)) {
	case 0: machine_real(); break;
	case 1: machine_protected(cpl); break;
	case 2: machine_long(cpl == 1 ? 0 : cpl); break;
	case 3: machine_compat(cpl == 1 ? 0 : cpl); break;
	case 4: machine_v86(below(4)); break;
	default:
		machine_protected(cpl);
		machine_paging32();
	}
}

/* Tables with something wrong in them. */
static void disturb(void)
{
	static const uint32_t places[] = { GDT, IDT, TSS, TSS2, LDT, STACK0 - 0x140, STACK3 - 0x40, DATA };
	for (unsigned n = below(12); n; n--)
		poke32(places[below(ARRAY_SIZE(places))] + below(0x100), (uint32_t)value());
	m.star = rnd();
	m.sysenter_cs = value();
	m.amd = below(2);
	if (below(4) == 0)
		m.rflags |= FLAG_NT;
	if (below(4) == 0)
		m.rflags |= FLAG_TF;
	for (unsigned r = 0; r < 16; r++)
		if (r != REG_RSP || below(8) == 0)
			m.gpr[r] = value();
}

static unsigned make(uint8_t *bytes)
{
	const struct pattern *p = &patterns[below(ARRAY_SIZE(patterns))];
	memcpy(bytes, p->bytes, p->length);
	for (unsigned n = 0; n < 8; n++)
		bytes[p->length + n] = below(3) ? (uint8_t)rnd() : 0;
	return p->length + 8u;
}

static void check(void)
{
	assert_true(m.cpl <= 3);
	assert_int_equal(m.gpr[REG_NONE], 0);
	assert_int_equal(m.borrowed_cpl, 0);
	assert_int_equal(m.event_ext, 0);
	assert_true((m.cr0 & CR0_PE) || !(m.cr0 & CR0_PG));
	assert_true(!(m.efer & EFER_LMA) || ((m.cr0 & CR0_PG) && (m.cr4 & CR4_PAE)));
	if (cpu_v86(&m))
		assert_int_equal(m.cpl, 3);
	/* What is derived agrees with what it derives from. */
	struct tlb_entry *tlb = m.tlb;
	uint8_t mode = m.code_mode, checks[8];
	uint64_t mask = m.stack_mask, bases[8];
	memcpy(checks, m.segment_check, sizeof(checks));
	memcpy(bases, m.segment_base, sizeof(bases));
	cpu_update_mode(&m);
	assert_ptr_equal(tlb, m.tlb);
	assert_int_equal(mode, m.code_mode);
	assert_true(mask == m.stack_mask);
	assert_memory_equal(checks, m.segment_check, 6);
	assert_memory_equal(bases, m.segment_base, sizeof(uint64_t) * 6);
}

static void random_instructions(void **state)
{
	const char *setting = getenv("VISOR_FUZZ_ROUNDS");
	unsigned rounds = setting ? (unsigned)strtoul(setting, NULL, 0) : 3000, done = 0, faults = 0;
	for (unsigned n = 0; n < rounds; n++) {
		random_machine();
		disturb();
		for (unsigned k = 0; k < 4; k++) {
			uint8_t bytes[16];
			uint64_t rip = m.gpr[REG_RIP], linear = m.segment_base[SEG_CS] + rip;
			uint16_t task = m.seg[SEG_TR].selector;
			if (linear >= (4 << 20) - 64)
				break;
			int got = run_bytes(bytes, make(bytes));
			done++;
			if (got != OK) {
				faults++;
				assert_true(m.gpr[REG_RIP] == rip || m.seg[SEG_TR].selector != task);
			}
			check();
		}
		step();
		check();
	}
	print_message("%u instructions, %u faults\n", done, faults);
	assert_true(done > rounds && faults > done / 10 && faults < done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_instructions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
