/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest for test_frame.py, built as those of tests/guest: it draws on a screen of 1024 x 768 by the frame buffer and by the window of 64 KiB, what
 * the serial line says, and answers with a dot.
 */
#include "pci.h"

#define WIDTH 1024u
#define HEIGHT 768u

static volatile uint32_t *frame;
static uint32_t seed = 1;

static uint32_t next(void)
{
	return seed = seed * 1664525 + 1013904223;
}

static void dispi(uint16_t index, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(index), "Nd"((uint16_t)0x1ce));
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"((uint16_t)0x1cf));
}

static bool set_mode(void)
{
	unsigned slot = 1;
	while (slot < 32 && pci_read(slot, 0) != 0x11111234)
		slot++;
	if (slot == 32)
		return false;
	if (!(pci_read(slot, 0x10) & ~15u))
		pci_write(slot, 0x10, 0xe0000000);
	pci_write(slot, 4, 3);
	frame = (volatile uint32_t *)(uint64_t)(pci_read(slot, 0x10) & ~15u);
	dispi(4, 0);
	dispi(1, WIDTH);
	dispi(2, HEIGHT);
	dispi(3, 32);
	dispi(4, 0x41);
	outb(0x3c2, 0x63); /* the window is open */
	outb(0x3ce, 6);
	outb(0x3cf, 5);
	return true;
}

static void dots(unsigned count)
{
	while (count--) {
		uint32_t at = (next() >> 8) % (WIDTH * HEIGHT);
		frame[at] = next() >> 8;
	}
}

static void line(void)
{
	uint32_t row = (next() >> 8) % HEIGHT, color = next() >> 8;
	for (unsigned x = 0; x < WIDTH; x++)
		frame[row * WIDTH + x] = color;
}

/* In a bank of the frame buffer, by the VGA's window. */
static void window(void)
{
	uint32_t bank = (next() >> 8) % 48;
	dispi(5, (uint16_t)bank);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t at = (next() >> 8) % 0x4000;
		((volatile uint32_t *)0xa0000)[at] = next() >> 8;
	}
}

/* Writes and reads by turns: each read must find the write before it. */
static void read_back(void)
{
	volatile uint32_t *at = (volatile uint32_t *)0xa0000;
	dispi(5, 50);
	for (uint32_t i = 0; i < 300; i++) {
		at[i] = i * 77777;
		at[i + 1] = ~i;
		check_equal(at[i], i * 77777);
		/* The same memory in another place, which is no register, after a read of one that is. */
		check_equal(frame[50 * 0x4000 + i + 1], ~i);
		dispi(5, 51);
		at[i] = i;
		dispi(5, 50);
		check_equal(at[i], i * 77777);
		check_equal(frame[51 * 0x4000 + i], i);
	}
}

static void scroll(void)
{
	static uint16_t offset;
	dispi(9, offset ^= 200);
}

int guest_main(void)
{
	if (!set_mode()) {
		print("no VGA\n");
		return 1;
	}
	print("ready\n");
	for (;;) {
		while (!(inb(0x3fd) & 1))
			__asm__ volatile("pause");
		switch (inb(0x3f8)) {
		case 'p': dots(64); break;
		case 'h': dots(20000); break;
		case 'l': line(); break;
		case 'w': window(); break;
		case 'c': read_back(); break;
		case 's': scroll(); break;
		case 'q': return failures;
		default: continue;
		}
		print(".");
	}
}
