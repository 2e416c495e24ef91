/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's planar memory: what was written through the window, under registers that change all the time, is seen by every read after it: by the same
 * processor and by another, through the window and in the frame buffer's own place, and over a change of the mode. stream=N: how many writes more.
 */
#include "pci.h"
#include "processors.h"

#define WINDOW ((volatile uint8_t *)0xa0000)
#define SIZE 0x10000u

static volatile uint8_t *frame; /* byte p of plane o is at 4 * o + p */
static volatile uint32_t given, taken, wrong;

static void sequencer(unsigned index, unsigned value) { outw(0x3c4, (uint16_t)(index | value << 8)); }
static void graphics(unsigned index, unsigned value) { outw(0x3ce, (uint16_t)(index | value << 8)); }

static void set_mode(void)
{
	dispi(4, 0);
	outb(0x3c2, 0x63); /* the window is open */
	sequencer(4, 6);   /* planes, each by all addresses */
	graphics(0, 0);
	graphics(1, 0);
	graphics(3, 0);
	graphics(5, 0);
	graphics(6, 5);
	graphics(8, 0xff);
}

static uint8_t value_at(uint32_t offset, unsigned plane, uint32_t seed)
{
	return (uint8_t)(offset * 5 + plane * 77 + seed);
}

static void put(uint32_t offset, unsigned plane, uint32_t seed)
{
	sequencer(2, 1u << plane);
	WINDOW[offset] = value_at(offset, plane, seed);
}

static uint8_t get(uint32_t offset, unsigned plane)
{
	graphics(4, plane);
	return WINDOW[offset];
}

/* More than fits into anything that lets them wait. */
static void streams(void)
{
	for (uint32_t seed = 0; seed < 3; seed++) {
		for (uint32_t i = 0; i < 600; i++)
			put(i * 3, i & 3, seed);
		uint64_t differ = 0;
		for (uint32_t i = 0; i < 600; i++)
			differ += get(i * 3, i & 3) != value_at(i * 3, i & 3, seed);
		check_equal(differ, 0);
	}
}

static void seen_at_once(void)
{
	uint64_t differ = 0;
	for (uint32_t i = 0; i < 100; i++) {
		put(i, i & 3, 9);
		differ += get(i, i & 3) != value_at(i, i & 3, 9);
		put(i, (i + 1) & 3, 10);
		differ += frame[4 * i + ((i + 1) & 3)] != value_at(i, (i + 1) & 3, 10);
		frame[4 * i + (i & 3)] = (uint8_t)i;
		differ += get(i, i & 3) != (uint8_t)i;
	}
	check_equal(differ, 0);
	/* The latches, and a mask of bits: write mode 0 with AND. */
	WINDOW[0x500] = 0xff;
	sequencer(2, 15);
	WINDOW[0x500] = 0xf0;
	graphics(3, 8);
	graphics(8, 0xcc);
	check_equal(WINDOW[0x500], 0xf0);
	WINDOW[0x501] = 0x55;
	graphics(3, 0);
	graphics(8, 0xff);
	check_equal(get(0x501, 2), 0x70);
}

static void over_modes(void)
{
	for (uint32_t seed = 20; seed < 25; seed++) {
		for (uint32_t i = 0; i < 50; i++)
			put(0x1000 + i, i & 3, seed);
		dispi(1, 640);
		dispi(2, 480);
		dispi(3, 32);
		dispi(4, 0xc1); /* memory is not cleared */
		uint64_t differ = 0;
		for (uint32_t i = 0; i < 50; i++)
			differ += frame[4 * (0x1000 + i) + (i & 3)] != value_at(0x1000 + i, i & 3, seed);
		check_equal(differ, 0);
		frame[0] = (uint8_t)seed;
		dispi(4, 0);
		check_equal(get(0, 0), seed);
	}
}

/* The other processor looks when it has been told. */
static void processor_main(unsigned index)
{
	if (index != 1)
		return;
	for (uint32_t i = 1; i <= 100; i++) {
		wait_for(&given, i);
		if (i & 1)
			wrong += frame[4 * i + 2] != value_at(i, 2, i);
		else
			wrong += WINDOW[i] != value_at(i, 2, i); /* the read map is plane 2 */
		taken = i;
	}
}

static void to_another(void)
{
	sequencer(2, 4);
	graphics(4, 2);
	start_processors();
	if (cpus < 2)
		return;
	for (uint32_t i = 1; i <= 100; i++) {
		WINDOW[i] = value_at(i, 2, i);
		__asm__ volatile("" ::: "memory");
		given = i;
		wait_for(&taken, i);
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	frame = vga_open();
	if (!frame) {
		print("no VGA\n");
		return 1;
	}
	set_mode();
	streams();
	seen_at_once();
	over_modes();
	to_another();
	for (uint64_t i = guest_option("stream", 0); i > 0; i--)
		WINDOW[i % SIZE] = (uint8_t)i;
	return failures;
}
