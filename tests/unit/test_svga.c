/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SVGA adapter by its ports, its frame buffer and its FIFO; what it shows. */
#include "virtio_rig.h"

#include "again.h"

#include <stdlib.h>

#include "dev/vga/svga.h"

#define DEVFN PCI_DEVFN(5, 0)
#define PORT 0xc000
#define FRAME 0xe0000000u
#define FIFO 0xe1000000u
#define FIFO_BEGIN 4096u
#define FIFO_END 65536u

enum {
	ID, ENABLE, WIDTH, HEIGHT, MAX_WIDTH, MAX_HEIGHT, DEPTH, BPP, BYTES_PER_LINE = 12, FB_OFFSET = 14, VRAM_SIZE, FB_SIZE, CAPABILITIES,
	MEM_SIZE = 19, CONFIG_DONE, SYNC, BUSY, CURSOR_X = 25, CURSOR_Y, CURSOR_ON, MEM_REGS = 30, PITCHLOCK = 32, IRQMASK, PALETTE = 1024,
	SCRATCH = 1792
};

static struct rig r;
static struct vclock virtual_clock;
static struct vga *vga;
static struct svga *svga;
static struct surface surface;
static struct again again;
static uint32_t next;

static uint64_t clock_now(void *opaque) { return 0; }

static uint32_t get(uint32_t index)
{
	io_write(&r.io, PORT, index, 4);
	return (uint32_t)io_read(&r.io, PORT + 1, 4);
}

static void set(uint32_t index, uint32_t value)
{
	io_write(&r.io, PORT, index, 4);
	io_write(&r.io, PORT + 1, value, 4);
}

static uint32_t fifo(unsigned word) { return (uint32_t)guest_load(&r, FIFO + 4 * word, 4); }
static void set_fifo(unsigned word, uint32_t value) { guest_store(&r, FIFO + 4 * word, value, 4); }

static int setup(void **state)
{
	struct error err = { 0 };
	rig_init(&r);
	const struct vclock_source source = { .now = clock_now };
	vclock_init(&virtual_clock, &source);
	const struct vga_config config = {
		.bus = r.bus, .devfn = DEVFN, .ports = &r.io, .mmio = &r.mmio, .memory = &r.memory, .clock = &virtual_clock,
	};
	svga = svga_create(&config, &vga, &err);
	assert_non_null(svga);
	device_reset((struct device *)vga);
	device_reset((struct device *)svga);
	cfg_write(&r, DEVFN, PCI_BAR(0), PORT, 4);
	cfg_write(&r, DEVFN, PCI_BAR(1), FRAME, 4);
	cfg_write(&r, DEVFN, PCI_BAR(2), FIFO, 4);
	cfg_write(&r, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
	return 0;
}

static int teardown(void **state)
{
	((struct device *)svga)->type->destroy(svga);
	((struct device *)vga)->type->destroy(vga);
	vclock_destroy(&virtual_clock);
	surface_destroy(&surface);
	surface_destroy(&again.surface);
	again = (struct again){ 0 };
	rig_destroy(&r);
	return 0;
}

static void mode(unsigned width, unsigned height, unsigned bits)
{
	set(WIDTH, width);
	set(HEIGHT, height);
	set(BPP, bits);
	set(ENABLE, 1);
}

static void start_fifo(void)
{
	set_fifo(0, FIFO_BEGIN);
	set_fifo(1, FIFO_END);
	set_fifo(2, FIFO_BEGIN);
	set_fifo(3, FIFO_BEGIN);
	next = FIFO_BEGIN;
	set(CONFIG_DONE, 1);
}

/* Words for the FIFO; the driver's pointer goes past them at once. */
static void put(const uint32_t *words, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		guest_store(&r, FIFO + next, words[i], 4);
		next = next + 4 == FIFO_END ? FIFO_BEGIN : next + 4;
	}
	set_fifo(2, next);
}
#define PUT(...) put((const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

static void run(void)
{
	set(SYNC, 1);
	while (get(BUSY))
		;
	assert_int_equal(fifo(3), next);
}

static uint32_t pixel(unsigned x, unsigned y)
{
	struct error err = { 0 };
	struct display_source source = svga_display(svga);
	assert_int_equal(source.draw(source.opaque, &surface, &err), 0);
	assert_true(x < surface.width && y < surface.height);
	again_check(&again, &r.memory, &source, &surface);
	return surface.pixels[y * surface.width + x];
}

static void registers(void **state)
{
	assert_int_equal(cfg_read(&r, DEVFN, 0, 4), 0x040515ad);
	for (uint32_t v = 0; v < 3; v++) {
		set(ID, 0x90000000 | v);
		assert_int_equal(get(ID), 0x90000000 | v);
	}
	set(ID, 0x90000003);
	assert_int_equal(get(ID), 0x90000002);
	assert_int_equal(get(VRAM_SIZE), 16 << 20);
	assert_int_equal(get(CAPABILITIES) & 0x602e3, 0x602e3);
	set(SCRATCH + 3, 77);
	assert_int_equal(get(SCRATCH + 3), 77);
	mode(1024, 768, 32);
	assert_int_equal(get(DEPTH), 24);
	assert_int_equal(get(BYTES_PER_LINE), 4096);
	assert_int_equal(get(FB_SIZE), 4096 * 768);
	/* What cannot be is not taken. */
	set(WIDTH, 100000);
	set(HEIGHT, 0);
	set(BPP, 13);
	assert_int_equal(get(WIDTH) << 16 | get(HEIGHT), 1024 << 16 | 768);
	assert_int_equal(get(BPP), 32);
	set(PITCHLOCK, 8192);
	assert_int_equal(get(BYTES_PER_LINE), 8192);
	set(PITCHLOCK, 100);
	assert_int_equal(get(BYTES_PER_LINE), 4096);
	/* Disabled it is a VGA adapter. */
	set(ENABLE, 0);
	pixel(0, 0);
	assert_int_equal(surface.width, 640);
}

static void modes(void **state)
{
	mode(800, 600, 32);
	guest_store(&r, FRAME + (5 * 800 + 7) * 4, 0xff123456, 4);
	assert_int_equal(pixel(7, 5), 0x123456);
	assert_int_equal(surface.width, 800);
	assert_int_equal(surface.height, 600);
	set(PITCHLOCK, 4096);
	guest_store(&r, FRAME + 9 * 4096, 0x654321, 4);
	assert_int_equal(pixel(0, 9), 0x654321);
	set(PITCHLOCK, 0);
	mode(640, 480, 16);
	guest_store(&r, FRAME + 2 * 640 * 2, 0xf81f, 2);
	assert_int_equal(pixel(0, 2), 0xff00ff);
	mode(640, 480, 8);
	set(PALETTE + 3 * 9, 1);
	set(PALETTE + 3 * 9 + 1, 2);
	set(PALETTE + 3 * 9 + 2, 3);
	guest_store(&r, FRAME + 3 * 640 + 1, 9, 1);
	assert_int_equal(pixel(1, 3), 0x010203);
}

static void commands(void **state)
{
	mode(640, 480, 32);
	start_fifo();
	assert_int_equal(fifo(4) & 0x11, 0x11);
	PUT(2, 0xaabbcc, 10, 20, 30, 40); /* fill */
	run();
	assert_int_equal(pixel(10, 20), 0xaabbcc);
	assert_int_equal(pixel(39, 59), 0xaabbcc);
	assert_int_equal(pixel(40, 59), 0);
	assert_int_equal(pixel(39, 60), 0);
	PUT(3, 10, 20, 12, 22, 30, 40); /* copy over itself, later UPDATE */
	PUT(2, 0x111111, 12, 22, 1, 1);
	PUT(1, 0, 0, 640, 480);
	run();
	assert_int_equal(pixel(41, 61), 0xaabbcc);
	assert_int_equal(pixel(12, 22), 0x111111);
	PUT(3, 10, 20, 11, 21, 30, 40);
	run();
	assert_int_equal(pixel(13, 23), 0x111111);
	/* Rectangles outside of the screen touch nothing. */
	PUT(2, 0xffffff, 600, 0, 100, 10);
	PUT(2, 0xffffff, 0xfffffff0, 0, 32, 10);
	PUT(3, 0, 0, 630, 470, 20, 20);
	run();
	assert_int_equal(pixel(639, 0), 0);
	assert_int_equal(pixel(639, 479), 0);
	/* Fences and their interrupts. */
	set(IRQMASK, 5);
	set_fifo(289, 43);
	PUT(30, 42);
	run();
	assert_int_equal(fifo(6), 42);
	assert_int_equal(io_read(&r.io, PORT + 8, 4), 1);
	assert_int_equal(r.pirq[pci_intx_pirq(5, 0)], 1);
	io_write(&r.io, PORT + 8, 1, 4);
	assert_int_equal(r.pirq[pci_intx_pirq(5, 0)], 0);
	PUT(30, 43);
	run();
	assert_int_equal(io_read(&r.io, PORT + 8, 4), 5);
	/* A command in two halves; over the end of the FIFO. */
	for (unsigned i = 0; i < 3000; i++) {
		PUT(2, i, 5);
		set(SYNC, 1);
		assert_int_equal(get(BUSY), 0);
		PUT(6, 1, 1);
		PUT(33, 0, 5, 0, 0); /* an escape of five bytes */
	}
	run();
	assert_int_equal(pixel(5, 6), 2999);
	/* Nonsense is dropped, and what comes after is understood. */
	PUT(4711, 1, 2);
	run();
	PUT(2, 0x777777, 0, 0, 1, 1);
	run();
	assert_int_equal(pixel(0, 0), 0x777777);
}

static void cursors(void **state)
{
	mode(640, 480, 32);
	start_fifo();
	PUT(2, 0x204060, 0, 0, 640, 480);
	/* 2 x 1, one bit: the first pixel is drawn, the second turns the screen over. */
	PUT(19, 0, 0, 0, 2, 1, 1, 1, 0x40, 0x40);
	set(CURSOR_X, 100);
	set(CURSOR_Y, 50);
	set(CURSOR_ON, 1);
	run();
	assert_int_equal(pixel(100, 50), 0);
	assert_int_equal(pixel(101, 50), 0xdfbf9f);
	assert_int_equal(pixel(102, 50), 0x204060);
	set(CURSOR_ON, 0);
	assert_int_equal(pixel(100, 50), 0x204060);
	/* Half transparent red, by the place in the FIFO, with a hot spot. */
	PUT(22, 0, 1, 2, 1, 1, 0x80800000);
	run();
	set_fifo(9, 1);
	set_fifo(10, 11);
	set_fifo(11, 12);
	set_fifo(12, 1);
	assert_int_equal(pixel(10, 10), 0x8f1f2f);
	/* It hangs over the edge. */
	set_fifo(10, 0);
	set_fifo(11, 0);
	pixel(0, 0);
	/* Another adapter that takes over the state shows the same. */
	set_fifo(10, 11);
	set_fifo(11, 12);
	struct device *device = (struct device *)svga;
	assert_int_equal(device->type->loaded(device, NULL), 0);
	assert_int_equal(pixel(10, 10), 0x8f1f2f);
}

static void random_commands(void **state)
{
	static const uint32_t codes[] = { 1, 2, 3, 14, 19, 22, 30, 33, 29, 13 };
	uint32_t x = 5;
	mode(640, 480, 32);
	start_fifo();
	for (unsigned i = 0; i < 20000; i++) {
		x = x * 1664525u + 1013904223u;
		uint32_t value = x >> 30 ? x >> 20 & 0x3ff : x;
		PUT(x >> 29 & 1 ? codes[(x >> 8) % 10] : value, value, x >> 16 & 255, x >> 8 & 63, x >> 4 & 63, x >> 12 & 63);
		if (i % 7 == 0)
			set(SYNC, 1);
		if (i % 500 == 0)
			pixel(0, 0);
		if (i % 97 == 0)
			set_fifo(x % 16, x >> 31 ? x : x & 0xffff);
		if (i % 1000 == 999) {
			set(BPP, x >> 20 & 1 ? 32 : x >> 21 & 1 ? 16 : 8);
			start_fifo();
		}
	}
	start_fifo();
	mode(640, 480, 32);
	set(PITCHLOCK, 0);
	set_fifo(8, 0);
	set_fifo(9, 0);
	PUT(2, 0x777777, 0, 0, 1, 1);
	run();
	set(CURSOR_ON, 0);
	set_fifo(12, 0);
	assert_int_equal(pixel(0, 0), 0x777777);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { TEST(registers), TEST(modes), TEST(commands), TEST(cursors), TEST(random_commands) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
