/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA adapter: registers and memory as a guest reaches them, and the pictures that come of it. */
#include "virtio_rig.h"

#include "again.h"

#include <stdlib.h>

#include "bus/clock.h"
#include "dev/vga/vga.h"

#define DEVFN PCI_DEVFN(30, 0)
#define WINDOW 0xa0000u
#define FRAME 0xe0000000u

static struct rig rig;
static struct vclock vclock;
static uint64_t now;
static struct vga *vga;
static struct surface picture;
static struct again again;
static struct display_source source;

static uint64_t get_now(void *opaque) { return now; }
static void out(unsigned port, uint8_t value) { io_write(&rig.io, port, value, 1); }
static uint8_t in(unsigned port) { return (uint8_t)io_read(&rig.io, port, 1); }
static void poke(uint32_t at, uint8_t value) { io_write(&rig.mmio, at, value, 1); }
static uint8_t peek(uint32_t at) { return (uint8_t)io_read(&rig.mmio, at, 1); }
static void pair(unsigned port, uint8_t index, uint8_t value) { io_write(&rig.io, port, index | value << 8, 2); }

/* Of the frame buffer in the memfd. */
static uint64_t vga_offset(void)
{
	return rig.memory.apertures[0].offset;
}

static int setup(void **state)
{
	struct error err = { 0 };
	const struct vclock_source time = { .now = get_now };
	now = 0;
	rig_init(&rig);
	vclock_init(&vclock, &time);
	vclock_start(&vclock);
	const struct vga_config config = {
		.bus = rig.bus, .devfn = DEVFN, .ports = &rig.io, .mmio = &rig.mmio, .memory = &rig.memory, .clock = &vclock,
	};
	vga = vga_create(&config, &err);
	assert_non_null(vga);
	device_reset((struct device *)vga);
	source = vga_display(vga);
	return 0;
}

static int teardown(void **state)
{
	((struct device *)vga)->type->destroy(vga);
	surface_destroy(&picture);
	surface_destroy(&again.surface);
	again = (struct again){ 0 };
	vclock_destroy(&vclock);
	rig_destroy(&rig);
	return 0;
}

static void draw(unsigned width, unsigned height)
{
	struct error err = { 0 };
	assert_int_equal(source.draw(source.opaque, &picture, &err), 0);
	assert_int_equal(picture.width, width);
	assert_int_equal(picture.height, height);
	again_check(&again, &rig.memory, &source, &picture);
}

static uint32_t pixel(unsigned x, unsigned y) { return picture.pixels[(size_t)y * picture.width + x]; }

struct mode {
	uint8_t misc, seq[5], gr[9], at_mode;
	uint8_t columns, max_scan, offset, cr_mode, underline;
	unsigned lines;
};

/* What a BIOS's tables have in them; timings that matter to nobody but the status register are of 640 x 400. */
static void set_mode(const struct mode *m)
{
	unsigned last = m->lines - 1;
	out(0x3c2, m->misc);
	for (unsigned i = 0; i < 5; i++)
		pair(0x3c4, (uint8_t)i, m->seq[i]);
	pair(0x3d4, 0x11, 0x0e); /* registers 0 to 7 can be written */
	pair(0x3d4, 0x00, 0x5f);
	pair(0x3d4, 0x01, m->columns - 1);
	pair(0x3d4, 0x06, 0xbf);
	pair(0x3d4, 0x07, (uint8_t)(0x1d | (last >> 8 & 1) << 1 | (last >> 9 & 1) << 6));
	pair(0x3d4, 0x09, m->max_scan | 0x40);
	pair(0x3d4, 0x0a, 0x20); /* no cursor */
	pair(0x3d4, 0x10, 0x9c);
	pair(0x3d4, 0x12, (uint8_t)last);
	pair(0x3d4, 0x13, m->offset);
	pair(0x3d4, 0x14, m->underline);
	pair(0x3d4, 0x17, m->cr_mode);
	pair(0x3d4, 0x18, 0xff);
	for (unsigned i = 0; i < 9; i++)
		pair(0x3ce, (uint8_t)i, m->gr[i]);
	in(0x3da);
	for (unsigned i = 0; i < 16; i++) {
		out(0x3c0, (uint8_t)i);
		out(0x3c0, (uint8_t)i);
	}
	static const uint8_t rest[][2] = { { 0x12, 15 }, { 0x13, 0 }, { 0x14, 0 } };
	out(0x3c0, 0x10);
	out(0x3c0, m->at_mode);
	for (unsigned i = 0; i < ARRAY_SIZE(rest); i++) {
		out(0x3c0, rest[i][0]);
		out(0x3c0, rest[i][1]);
	}
	out(0x3c0, 0x20);
	/* DAC register n: red n, green 63 - n, blue 2 n. */
	out(0x3c8, 0);
	for (unsigned i = 0; i < 256; i++) {
		out(0x3c9, (uint8_t)(i & 63));
		out(0x3c9, (uint8_t)(63 - (i & 63)));
		out(0x3c9, (uint8_t)(2 * i & 63));
	}
}

static uint32_t dac(unsigned i)
{
	unsigned c[3] = { i & 63, 63 - (i & 63), 2 * i & 63 };
	uint32_t color = 0;
	for (unsigned n = 0; n < 3; n++)
		color = color << 8 | (c[n] << 2 | c[n] >> 4);
	return color;
}

static const struct mode mode_13h = {
	.misc = 0x63, .seq = { 3, 1, 15, 0, 0x0e }, .gr = { 0, 0, 0, 0, 0, 0x40, 5, 15, 0xff }, .at_mode = 0x41, .columns = 80, .max_scan = 1,
	.offset = 40, .cr_mode = 0xa3, .underline = 0x40, .lines = 400,
};
static const struct mode mode_12h = {
	.misc = 0xe3, .seq = { 3, 1, 15, 0, 6 }, .gr = { 0, 0, 0, 0, 0, 0, 5, 15, 0xff }, .at_mode = 0x01, .columns = 80, .max_scan = 0,
	.offset = 40, .cr_mode = 0xe3, .lines = 480,
};
static const struct mode mode_text = {
	.misc = 0x67, .seq = { 3, 0, 3, 0, 2 }, .gr = { 0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff }, .at_mode = 0x0c, .columns = 80, .max_scan = 15,
	.offset = 40, .cr_mode = 0xa3, .lines = 400,
};

static void chain_4(void **state)
{
	set_mode(&mode_13h);
	for (unsigned y = 0; y < 200; y++)
		for (unsigned x = 0; x < 320; x++)
			poke(WINDOW + 320 * y + x, (uint8_t)(x + 3 * y));
	draw(640, 400);
	for (unsigned y = 0; y < 400; y++)
		for (unsigned x = 0; x < 640; x++)
			assert_int_equal(pixel(x, y), dac((x / 2 + 3 * (y / 2)) & 255));
	assert_int_equal(peek(WINDOW + 321), 4);
	/* A dword at once; the start address scrolls by four pixels; the split line starts over. */
	io_write(&rig.mmio, WINDOW + 4, 0x0d0c0b0a, 4);
	assert_int_equal(io_read(&rig.mmio, WINDOW + 4, 4), 0x0d0c0b0a);
	pair(0x3d4, 0x0d, 1);
	pair(0x3d4, 0x09, 0x01);
	pair(0x3d4, 0x07, 0x0f);
	pair(0x3d4, 0x18, 99);
	draw(640, 400);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pixel(2 * i, 0), dac(0x0a + i));
	assert_int_equal(pixel(0, 100), dac(0));
	assert_int_equal(pixel(0, 99), dac((4 + 3 * 49) & 255));
	assert_null(source.text(source.opaque));
	/* The window elsewhere: nothing there. */
	pair(0x3ce, 6, 0x0d);
	assert_int_equal(peek(WINDOW), 0xff);
}

/* Write modes, read modes and latches. */
static void planes(void **state)
{
	set_mode(&mode_12h);
	for (unsigned p = 0; p < 4; p++) {
		pair(0x3c4, 2, (uint8_t)(1 << p));
		poke(WINDOW + 5, (uint8_t)(0x11 << p));
	}
	pair(0x3c4, 2, 15);
	for (unsigned p = 0; p < 4; p++) {
		pair(0x3ce, 4, (uint8_t)p);
		assert_int_equal(peek(WINDOW + 5), 0x11 << p);
	}
	draw(640, 480);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pixel(40 + i, 0), dac(8 >> (i & 3)));
	/* Read mode 1: pixels of colour 4, all planes, then plane 2 alone. */
	pair(0x3ce, 5, 0x08);
	pair(0x3ce, 2, 4);
	assert_int_equal(peek(WINDOW + 5), 0x44);
	pair(0x3ce, 7, 0);
	assert_int_equal(peek(WINDOW + 5), 0xff);
	pair(0x3ce, 7, 15);
	/* Write mode 1 copies the latches. */
	pair(0x3ce, 5, 1);
	peek(WINDOW + 5);
	poke(WINDOW + 6, 0);
	pair(0x3ce, 5, 0);
	pair(0x3ce, 4, 3);
	assert_int_equal(peek(WINDOW + 6), 0x88);
	/* Write mode 2: a colour through the bit mask, the rest from the latches. */
	pair(0x3ce, 5, 2);
	pair(0x3ce, 8, 0xf0);
	peek(WINDOW + 5);
	poke(WINDOW + 7, 9);
	pair(0x3ce, 4, 0);
	assert_int_equal(peek(WINDOW + 7), 0xf1);
	pair(0x3ce, 4, 1);
	assert_int_equal(peek(WINDOW + 7), 0x02);
	/* Write mode 3: set/reset where rotated data and mask are set. */
	pair(0x3ce, 5, 3);
	pair(0x3ce, 8, 0x3c);
	pair(0x3ce, 0, 2);
	pair(0x3ce, 3, 4);
	peek(WINDOW + 100);
	poke(WINDOW + 8, 0xf3);
	pair(0x3ce, 4, 1);
	assert_int_equal(peek(WINDOW + 8), 0x3c & 0x3f);
	/* Mode 0: set/reset in some planes, XOR with the latches. */
	pair(0x3ce, 5, 0);
	pair(0x3ce, 8, 0xff);
	pair(0x3ce, 3, 0x18);
	pair(0x3ce, 1, 1);
	pair(0x3ce, 0, 1);
	peek(WINDOW + 5);
	poke(WINDOW + 9, 0x0f);
	pair(0x3ce, 4, 0);
	assert_int_equal(peek(WINDOW + 9), 0xee);
	pair(0x3ce, 4, 2);
	assert_int_equal(peek(WINDOW + 9), 0x4b);
}

static void text(void **state)
{
	set_mode(&mode_text);
	/* The font goes through plane 2, as BIOSes do it. */
	pair(0x3c4, 2, 4);
	pair(0x3c4, 4, 6);
	pair(0x3ce, 5, 0);
	pair(0x3ce, 6, 4);
	for (unsigned i = 0; i < 16; i++) {
		poke(WINDOW + 'A' * 32 + i, (uint8_t)(0x80 >> (i & 7)));
		poke(WINDOW + 0xc4 * 32 + i, 0x01);
	}
	pair(0x3c4, 2, 3);
	pair(0x3c4, 4, 2);
	pair(0x3ce, 5, 0x10);
	pair(0x3ce, 6, 0x0e);
	for (unsigned i = 0; i < 80 * 25; i++)
		io_write(&rig.mmio, 0xb8000 + 2 * i, 0x0720, 2);
	io_write(&rig.mmio, 0xb8000, 0x1e41, 2);
	io_write(&rig.mmio, 0xb8000 + 2 * (80 * 24 + 79), 0x4fc4, 2);
	assert_int_equal(io_read(&rig.mmio, 0xb8000, 2), 0x1e41);
	draw(720, 400);
	for (unsigned y = 0; y < 16; y++)
		for (unsigned x = 0; x < 9; x++)
			assert_int_equal(pixel(x, y), dac(x == (y & 7) ? 14 : 1));
	/* Line graphics go on into the ninth column. */
	assert_int_equal(pixel(719, 399), dac(15));
	assert_int_equal(pixel(718, 399), dac(15));
	assert_int_equal(pixel(717, 399), dac(4));
	char *shown = source.text(source.opaque);
	assert_non_null(shown);
	assert_int_equal(strncmp(shown, "A\n\n", 3), 0);
	assert_non_null(strstr(shown, "\n                                                                               \u2500\n"));
	free(shown);
	/* A cursor of two lines in the second cell; it blinks. */
	pair(0x3d4, 0x0a, 13);
	pair(0x3d4, 0x0b, 14);
	pair(0x3d4, 0x0f, 1);
	draw(720, 400);
	assert_int_equal(pixel(9, 13), dac(7));
	assert_int_equal(pixel(9, 14), dac(7));
	assert_int_equal(pixel(9, 15), dac(0));
	now += 140000000;
	draw(720, 400);
	assert_int_equal(pixel(9, 13), dac(0));
	/* Screen off. */
	pair(0x3c4, 1, 0x20);
	draw(640, 480);
	assert_int_equal(pixel(9, 15), 0);
}

static void dispi(unsigned index, uint16_t value)
{
	io_write(&rig.io, 0x1ce, index, 2);
	io_write(&rig.io, 0x1cf, value, 2);
}

static uint16_t dispi_get(unsigned index)
{
	io_write(&rig.io, 0x1ce, index, 2);
	return (uint16_t)io_read(&rig.io, 0x1cf, 2);
}

static void frame_buffer(void **state)
{
	bool writable = false;
	assert_int_equal(dispi_get(0), 0xb0c5);
	assert_int_equal(io_read(&rig.io, 0x1d0, 2), 0xb0c5); /* OVMF's way */
	assert_int_equal(dispi_get(10), 256);
	assert_null(memory_page(&rig.memory, FRAME, &writable));
	assert_null(memory_page(&rig.memory, WINDOW, &writable)); /* shown nowhere is not shown at 0 */
	cfg_write(&rig, DEVFN, PCI_BAR(0), FRAME, 4);
	cfg_write(&rig, DEVFN, PCI_BAR(2), 0xf0000000, 4);
	assert_null(memory_page(&rig.memory, FRAME, &writable));
	cfg_write(&rig, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_non_null(memory_page(&rig.memory, FRAME, &writable));
	assert_true(writable);
	assert_null(memory_page(&rig.memory, FRAME + VGA_MEMORY_SIZE, &writable));
	dispi(1, 800);
	dispi(2, 600);
	dispi(3, 32);
	dispi(4, 0x41);
	for (unsigned y = 0; y < 600; y++)
		for (unsigned x = 0; x < 800; x++)
			guest_store(&rig, FRAME + 4 * (800 * y + x), x << 12 | y, 4);
	draw(800, 600);
	for (unsigned y = 0; y < 600; y++)
		for (unsigned x = 0; x < 800; x++)
			assert_int_equal(pixel(x, y), x << 12 | y);
	/* A wider virtual screen, seen from another place; the same memory by banks. */
	dispi(6, 1024);
	dispi(8, 10);
	dispi(9, 20);
	assert_int_equal(dispi_get(7), VGA_MEMORY_SIZE / 4096);
	guest_store(&rig, FRAME + 4 * (1024 * 20 + 10), 0x123456, 4);
	draw(800, 600);
	assert_int_equal(pixel(0, 0), 0x123456);
	out(0x3c2, 3);
	dispi(5, 4 * (1024 * 20 + 10) >> 16);
	assert_int_equal(io_read(&rig.mmio, WINDOW + (4 * (1024 * 20 + 10) & 0xffff), 4) & 0xffffff, 0x123456);
	/* 16 bits, set through BAR 2; memory is cleared. */
	io_write(&rig.mmio, 0xf0000508, 0, 2);
	io_write(&rig.mmio, 0xf0000506, 16, 2);
	io_write(&rig.mmio, 0xf0000508, 0x41, 2);
	assert_int_equal(guest_load(&rig, FRAME + 4 * (1024 * 20 + 10), 4), 0);
	guest_store(&rig, FRAME, 0xf81f, 2);
	guest_store(&rig, FRAME + 2, 0x07e0, 2);
	draw(800, 600);
	assert_int_equal(pixel(0, 0), 0xff00ff);
	assert_int_equal(pixel(1, 0), 0x00ff00);
	/* What does not fit is not switched on; the aperture goes with its BAR. */
	dispi(4, 0);
	dispi(1, 4096);
	dispi(2, 2400);
	dispi(3, 32);
	dispi(4, 0x41);
	assert_int_equal(dispi_get(4) & 1, 0);
	cfg_write(&rig, DEVFN, PCI_BAR(0), FRAME + 0x1000000, 4);
	assert_null(memory_page(&rig.memory, FRAME, &writable));
	assert_int_equal(guest_load(&rig, FRAME + 0x1000000, 2), 0xf81f);
	cfg_write(&rig, DEVFN, PCI_COMMAND, 0, 2);
	assert_null(memory_page(&rig.memory, FRAME + 0x1000000, &writable));
}

/* Programs wait for the display's blank times to come and go. */
static void retrace(void **state)
{
	unsigned blank = 0, retraces = 0, edges = 0, before = 0;
	set_mode(&mode_text);
	for (unsigned i = 0; i < 100000; i++, now += 1000) { /* 0.1 s */
		uint8_t status = in(0x3da);
		blank += status & 1;
		retraces += status >> 3 & 1;
		edges += (status & 8) && !before;
		before = status & 8;
	}
	assert_in_range(edges, 6, 8); /* 70 pictures a second */
	assert_in_range(blank, 15000, 45000);
	assert_in_range(retraces, 100, 5000);
	assert_int_equal(in(0x3ba), 0xff);
	out(0x3c2, 0x66);
	assert_int_equal(in(0x3da), 0xff);
	assert_int_not_equal(in(0x3ba), 0xff);
}

static void random_accesses(void **state)
{
	uint32_t x = 7;
	struct error err = { 0 };
	cfg_write(&rig, DEVFN, PCI_BAR(2), 0xf0000000, 4);
	cfg_write(&rig, DEVFN, PCI_COMMAND, 3, 2);
	for (unsigned i = 0; i < 300000; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned size = 1u << (x >> 30) % 3;
		uint32_t value = x >> 7;
		switch (x >> 26 & 7) {
		case 0: io_write(&rig.mmio, WINDOW + (x >> 4 & 0x1ffff), value, size); break;
		case 1: io_read(&rig.mmio, WINDOW + (x >> 4 & 0x1ffff), size); break;
		case 2: dispi(x >> 20 & 15, (uint16_t)(x & 0x800 ? value & 0xff : value & 0x3ff)); break;
		case 3: io_write(&rig.mmio, 0xf0000400 + (x >> 12 & 0x1ff), value, size); break;
		case 4: io_read(&rig.io, 0x3b0 + (x >> 12 & 63), size); break;
		default: io_write(&rig.io, 0x3b0 + (x >> 12 & 63), value, size);
		}
		if (i % 512 == 0) {
			source.draw(source.opaque, &picture, &err);
			free(source.text(source.opaque));
		}
	}
	device_reset((struct device *)vga);
	set_mode(&mode_text);
	draw(720, 400);
}

/* What has changed is drawn, and nothing else. */
static void drawn_again(void **state)
{
	const unsigned depths[] = { 4, 8, 15, 16, 24, 32 };
	cfg_write(&rig, DEVFN, PCI_BAR(0), FRAME, 4);
	cfg_write(&rig, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	srand(7);
	for (unsigned i = 0; i < ARRAY_SIZE(depths); i++) {
		dispi(4, 0);
		dispi(1, 648);
		dispi(2, 480);
		dispi(3, (uint16_t)depths[i]);
		dispi(4, 0x41);
		draw(648, 480);
		unsigned before = again.partial;
		for (unsigned n = 0; n < 60; n++) {
			guest_store(&rig, FRAME + (uint32_t)rand() % (648 * 480 * 4), (uint32_t)rand(), 4);
			if (n % 8 == 3)
				io_write(&rig.mmio, WINDOW + (uint32_t)rand() % 0xfffc, (uint32_t)rand(), 4);
			if (n % 8 == 5) /* by nobody's way but the processor's: it must be compared, unless it was said */
				again.draws &= ~1u, rig.memory.host[vga_offset() + (uint32_t)rand() % (648 * 480)] ^= 0x55;
			draw(648, 480);
			draw(648, 480);
		}
		assert_true(again.partial >= before + 110);
		assert_false(surface_marked(&again.surface, 0, 480)); /* nothing has happened since */
		dispi(9, 3);
		draw(648, 480);
		dispi(6, 700);
		draw(648, 480);
		out(0x3c8, 1);
		out(0x3c9, (uint8_t)i);
		draw(648, 480);
	}
	cfg_write(&rig, DEVFN, PCI_COMMAND, 0, 2);
	device_reset((struct device *)vga);
	set_mode(&mode_text);
	draw(720, 400);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(chain_4), TEST(planes), TEST(text), TEST(frame_buffer), TEST(retrace), TEST(random_accesses),
		TEST(drawn_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
