/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest for test_clocks.py, built as those of tests/guest: it reads the KVM clock between two readings of the HPET all the time, and the time-stamp counter.
 * What it is asked for by the serial line: 'c', to wait for some more readings and say so; 'q', the verdict.
 */
#include "guest.h"

#define HPET(at) (*(volatile uint64_t *)(0xfed00000ull + (at)))
#define TOLERANCE_NS 50000000ull /* the two clocks' rates are known to some ppm; a jump would be of hours, or of a pause */

static volatile struct {
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
} __attribute__((aligned(32))) page;

static uint64_t femtoseconds;
static int64_t first; /* KVM clock less HPET */
static uint64_t last_ns, last_tsc, readings;

static uint64_t tsc(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t hpet_ns(void)
{
	uint64_t ticks = HPET(0xf0);
	return ticks / 1000000 * femtoseconds + ticks % 1000000 * femtoseconds / 1000000;
}

/* As Linux reads it (Documentation/virt/kvm/x86/msr.rst). */
static uint64_t kvm_ns(void)
{
	uint64_t ns;
	uint32_t version;
	do {
		version = page.version;
		__asm__ volatile("" ::: "memory");
		uint64_t delta = tsc() - page.tsc;
		delta = page.shift < 0 ? delta >> -page.shift : delta << page.shift;
		ns = page.ns + (uint64_t)((unsigned __int128)delta * page.mul >> 32);
		__asm__ volatile("" ::: "memory");
	} while ((version & 1) || version != page.version);
	return ns;
}

static void look(void)
{
	uint64_t before = hpet_ns(), now = kvm_ns(), after = hpet_ns(), counter = tsc();
	if (!readings++)
		first = (int64_t)(now - before);
	bool early = (int64_t)(now - before) < first - (int64_t)TOLERANCE_NS, late = (int64_t)(now - after) > first + (int64_t)TOLERANCE_NS;
	if (early || late || now < last_ns || counter < last_tsc) {
		failures++;
		print(early ? "the KVM clock is behind " : late ? "the KVM clock is ahead " : now < last_ns ? "the KVM clock went back " :
		      "the TSC went back ");
		print_hex(now - before);
		print("\n");
		first = (int64_t)(now - before);
	}
	last_ns = now;
	last_tsc = counter;
}

int guest_main(void)
{
	femtoseconds = HPET(0) >> 32;
	HPET(0x10) = 1;
	wrmsr(0x4b564d01, (uint64_t)&page | 1);
	print("ready\n");
	for (;;) {
		look();
		if (!(inb(0x3fd) & 1))
			continue;
		if (inb(0x3f8) == 'q')
			return failures;
		for (unsigned i = 0; i < 200; i++)
			look();
		print("looked\n");
	}
}
