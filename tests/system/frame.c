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

static bool set_mode(void)
{
	frame = (volatile uint32_t *)vga_open();
	if (!frame)
		return false;
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

/* 640 x 480 in 16 colours, by the registers of the VGA. */
static void set_planar_mode(void)
{
	static const uint8_t crt[] = {
		0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x0c, 0xdf, 0x28, 0, 0xe7, 0x04, 0xe3, 0xff,
	};
	static const uint8_t sequencer[] = { 3, 1, 15, 0, 6 }, graphics[] = { 0, 0, 0, 0, 0, 0, 5, 15, 0xff };
	dispi(4, 0);
	outb(0x3c2, 0xe3);
	outw(0x3d4, 0x0e11);
	for (unsigned i = 0; i < sizeof(crt); i++)
		outw(0x3d4, (uint16_t)(i | crt[i] << 8));
	for (unsigned i = 0; i < sizeof(sequencer); i++)
		outw(0x3c4, (uint16_t)(i | sequencer[i] << 8));
	for (unsigned i = 0; i < sizeof(graphics); i++)
		outw(0x3ce, (uint16_t)(i | graphics[i] << 8));
	inb(0x3da);
	for (unsigned i = 0; i < 21; i++) {
		outb(0x3c0, (uint8_t)i);
		outb(0x3c0, i < 16 ? (uint8_t)i : i == 16 ? 1 : i == 18 ? 15 : 0);
	}
	outb(0x3c0, 0x20);
	outb(0x3c8, 0);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned n = 0; n < 3; n++)
			outb(0x3c9, (uint8_t)(i * 4));
	for (unsigned i = 0; i < 0x10000; i++)
		((volatile uint8_t *)0xa0000)[i] = 0;
}

/* Every row a colour, and after the last byte of it no register is touched any more. */
static void planes(void)
{
	static bool set;
	if (!set)
		set_planar_mode();
	set = true;
	for (unsigned i = 0; i < 100; i++) {
		uint32_t row = (next() >> 8) % 480, color = next() >> 28;
		outw(0x3ce, (uint16_t)color << 8);
		outw(0x3ce, 0x0f01);
		((volatile uint8_t *)0xa0000)[row * 80 + row % 80] = 0;
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
		case 'v': planes(); break;
		case 's': scroll(); break;
		case 'q': return failures;
		default: continue;
		}
		print(".");
	}
}
