/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy controller, the DMA controllers and the printer port through their ports. */
#include "dev_board.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dev/pc/floppy.h"
#include "dev/pc/i8237.h"
#include "dev/pc/parallel.h"

#define DISK_SIZE (2880u * 512)
#define BUFFER 0x8000u
#define IRQ 6

static struct board b;
static struct guest_memory memory;
static struct i8237 *dma;
static struct floppy *floppy;
static char path[64];
static uint8_t pattern[DISK_SIZE];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct { void (*fn)(void *); void *arg; } jobs[64];
static unsigned job_count;

static void post(void *opaque, void (*fn)(void *), void *arg)
{
	pthread_mutex_lock(&mutex);
	assert_true(job_count < ARRAY_SIZE(jobs));
	jobs[job_count].fn = fn;
	jobs[job_count++].arg = arg;
	pthread_mutex_unlock(&mutex);
}

static void run_jobs(void)
{
	for (;;) {
		pthread_mutex_lock(&mutex);
		if (!job_count) {
			pthread_mutex_unlock(&mutex);
			return;
		}
		void (*fn)(void *) = jobs[0].fn;
		void *arg = jobs[0].arg;
		memmove(jobs, jobs + 1, --job_count * sizeof(jobs[0]));
		pthread_mutex_unlock(&mutex);
		fn(arg);
	}
}

static struct block *open_image(bool read_only)
{
	struct error err = { 0 };
	const struct block_config config = { .path = path, .read_only = read_only, .worker = { post, NULL } };
	struct block *block = block_open(&config, &err);
	assert_non_null(block);
	return block;
}

static void make(bool read_only)
{
	struct error err = { 0 };
	for (unsigned i = 0; i < DISK_SIZE; i++)
		pattern[i] = (uint8_t)(i * 5 + (i >> 9) * 3);
	strcpy(path, "/tmp/visor-floppy-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, pattern, DISK_SIZE), DISK_SIZE);
	close(fd);
	board_init(&b);
	assert_int_equal(memory_init(&memory, 2 << 20, &err), 0);
	const struct i8237_config dma_config = { &b.lock, &b.ports, { &memory } };
	dma = i8237_create(&dma_config, &err);
	assert_non_null(dma);
	const struct floppy_config config = {
		.lock = &b.lock, .ports = &b.ports, .irq = board_line(&b, IRQ), .dma = dma, .clock = &b.clock,
		.drive = { { true, open_image(read_only) }, { true, NULL } },
	};
	floppy = floppy_create(&config, &err);
	assert_non_null(floppy);
	device_reset((struct device *)dma);
	device_reset((struct device *)floppy);
	outb(&b, 0xd6, 0xc0);
	outb(&b, 0xd4, 0);
}

static int setup(void **state) { make(false); return 0; }
static int setup_read_only(void **state) { make(true); return 0; }

static int teardown(void **state)
{
	run_jobs();
	((struct device *)floppy)->type->destroy(floppy);
	run_jobs();
	((struct device *)dma)->type->destroy(dma);
	memory_destroy(&memory);
	board_destroy(&b);
	unlink(path);
	return 0;
}

static void put(uint8_t value)
{
	assert_int_equal(inb(&b, 0x3f4) & 0xc0, 0x80);
	outb(&b, 0x3f5, value);
}

static uint8_t get(void)
{
	assert_int_equal(inb(&b, 0x3f4) & 0xc0, 0xc0);
	return inb(&b, 0x3f5);
}

/* Lets the disk and the clock work until the interrupt comes. */
static void wait_irq(void)
{
	for (unsigned i = 0; !b.level[IRQ]; i++) {
		assert_true(i < 5000);
		board_step(&b, 100 * US);
		run_jobs();
		usleep(200);
	}
}

static void sense(uint8_t st0, uint8_t track)
{
	wait_irq();
	put(0x08);
	assert_int_equal(get(), st0);
	assert_int_equal(get(), track);
	assert_int_equal(b.level[IRQ], 0);
}

static void start_up(void)
{
	outb(&b, 0x3f2, 0);
	outb(&b, 0x3f2, 0x1c); /* out of reset, DMA, motor and selection of drive 0 */
	for (unsigned i = 0; i < 4; i++) {
		wait_irq();
		put(0x08);
		assert_int_equal(get(), 0xc0 | i);
		get();
		if (i < 3)
			b.level[IRQ] = 1; /* told with the others by one interrupt */
	}
	put(0x03);
	put(0xdf);
	put(0x02);
	outb(&b, 0x3f7, 0);
}

static void seek(uint8_t track)
{
	put(0x0f);
	put(0);
	put(track);
	sense(0x20, track);
}

/* Channel 2: `size` bytes at BUFFER; mode 0x46 from memory's point of view a write, 0x4a a read. */
static void set_dma(uint8_t mode, unsigned size)
{
	outb(&b, 0x0a, 6);
	outb(&b, 0x0c, 0);
	outb(&b, 0x0b, mode);
	outb(&b, 0x04, BUFFER & 0xff);
	outb(&b, 0x04, BUFFER >> 8);
	outb(&b, 0x81, 0);
	outb(&b, 0x05, (uint8_t)(size - 1));
	outb(&b, 0x05, (uint8_t)((size - 1) >> 8));
	outb(&b, 0x0a, 2);
}

static void transfer(uint8_t command, uint8_t track, uint8_t head, uint8_t sector)
{
	const uint8_t bytes[] = { command, (uint8_t)(head << 2), track, head, sector, 2, 18, 0x1b, 0xff };
	for (unsigned i = 0; i < sizeof(bytes); i++)
		put(bytes[i]);
}

static void results(uint8_t st0, uint8_t st1, uint8_t st2)
{
	uint8_t r[7];
	wait_irq();
	for (unsigned i = 0; i < 7; i++)
		r[i] = get();
	assert_int_equal(r[0], st0);
	assert_int_equal(r[1], st1);
	assert_int_equal(r[2], st2);
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(inb(&b, 0x3f4), 0x80);
}

static uint8_t *guest(void) { return memory_range(&memory, BUFFER, 0x10000, true); }

static unsigned at(unsigned track, unsigned head, unsigned sector) { return ((track * 2 + head) * 18 + sector - 1) * 512; }

static void reads(void **state)
{
	start_up();
	seek(3);
	/* From sector 17 over the end of the track to the other side. */
	set_dma(0x46, 4 * 512);
	transfer(0xe6, 3, 0, 17);
	results(0x04, 0, 0);
	assert_memory_equal(guest(), pattern + at(3, 0, 17), 4 * 512);
	assert_int_equal(inb(&b, 0x08) & 4, 4); /* terminal count */
	/* A part of a sector. */
	set_dma(0x46, 100);
	memset(guest(), 0xee, 512);
	transfer(0xe6, 3, 1, 5);
	results(0x04, 0, 0);
	assert_memory_equal(guest(), pattern + at(3, 1, 5), 100);
	assert_int_equal(guest()[100], 0xee);
	/* More than the cylinder has. */
	set_dma(0x46, 0x8000);
	transfer(0xe6, 3, 1, 17);
	results(0x44, 0x80, 0);
	/* The head is elsewhere; no such sector. */
	set_dma(0x46, 512);
	transfer(0xe6, 4, 0, 1);
	results(0x40, 0x04, 0x10);
	transfer(0xe6, 3, 0, 19);
	results(0x40, 0x04, 0);
	/* The channel comes late: the controller waits for it. */
	outb(&b, 0x0a, 6);
	transfer(0xe6, 3, 0, 1);
	board_step(&b, 10 * MS);
	usleep(20000);
	run_jobs();
	assert_int_equal(b.level[IRQ], 0);
	set_dma(0x46, 512);
	results(0x00, 0, 0);
	assert_memory_equal(guest(), pattern + at(3, 0, 1), 512);
}

static void writes(void **state)
{
	uint8_t data[3 * 512], got[3 * 512];
	start_up();
	seek(10);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = guest()[i] = (uint8_t)(i ^ 0x5a);
	set_dma(0x4a, sizeof(data));
	transfer(0xc5, 10, 1, 4);
	results(0x04, 0, 0);
	/* FORMAT: four bytes for each sector, filled with one byte. */
	for (unsigned i = 0; i < 18; i++)
		memcpy(guest() + 4 * i, (const uint8_t[]){ 10, 0, (uint8_t)(i + 1), 2 }, 4);
	set_dma(0x4a, 72);
	static const uint8_t format[] = { 0x4d, 0, 2, 18, 0x54, 0xf6 };
	for (unsigned i = 0; i < sizeof(format); i++)
		put(format[i]);
	results(0, 0, 0);
	FILE *f = fopen(path, "rb");
	fseek(f, at(10, 1, 4), SEEK_SET);
	assert_int_equal(fread(got, 1, sizeof(got), f), sizeof(got));
	assert_memory_equal(got, data, sizeof(data));
	fseek(f, at(10, 0, 18), SEEK_SET);
	assert_int_equal(fread(got, 1, 1024, f), 1024);
	fclose(f);
	memset(data, 0xf6, 512);
	assert_memory_equal(got, data, 512);
	assert_memory_equal(got + 512, pattern + at(10, 1, 1), 512);
}

static void write_protection(void **state)
{
	start_up();
	seek(1);
	set_dma(0x4a, 512);
	transfer(0xc5, 1, 0, 1);
	results(0x40, 0x02, 0);
	put(0x04);
	put(0);
	assert_int_equal(get() & 0x40, 0x40);
}

/* Without DMA each byte goes through the FIFO. */
static void by_fifo(void **state)
{
	start_up();
	put(0x03);
	put(0xdf);
	put(0x03);
	seek(0);
	static const uint8_t command[] = { 0x46, 0, 0, 0, 3, 2, 3, 0x1b, 0xff };
	for (unsigned i = 0; i < sizeof(command); i++)
		put(command[i]);
	wait_irq();
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(inb(&b, 0x3f4) & 0xf0, 0xf0);
		assert_int_equal(inb(&b, 0x3f5), pattern[at(0, 0, 3) + i]);
	}
	results(0x40, 0x80, 0); /* nobody said that it was enough */
}

static void drives(void **state)
{
	struct error err = { 0 };
	start_up();
	put(0x10);
	assert_int_equal(get(), 0x90);
	put(0x1f); /* no such command */
	assert_int_equal(get(), 0x80);
	/* The change line is up until the head has moved. */
	assert_int_equal(inb(&b, 0x3f7) & 0x80, 0x80);
	seek(1);
	assert_int_equal(inb(&b, 0x3f7) & 0x80, 0);
	put(0x4a);
	put(0);
	results(0, 0, 0);
	assert_int_equal(floppy_change_medium(floppy, 0, NULL, &err), 0);
	assert_int_equal(inb(&b, 0x3f7) & 0x80, 0x80);
	put(0x4a);
	put(0);
	results(0x40, 0x01, 0);
	assert_int_equal(floppy_change_medium(floppy, 0, open_image(false), &err), 0);
	assert_int_equal(inb(&b, 0x3f7) & 0x80, 0x80);
	put(0x07);
	put(0);
	sense(0x20, 0);
	assert_int_equal(inb(&b, 0x3f7) & 0x80, 0);
	/* The other density has other marks. */
	outb(&b, 0x3f7, 2);
	put(0x4a);
	put(0);
	results(0x40, 0x01, 0);
	/* Drives that are not there never reach track 0. */
	put(0x07);
	put(2);
	sense(0x72, 0);
	assert_int_equal(floppy_change_medium(floppy, 2, NULL, &err), -1);
}

static void random_accesses(void **state)
{
	static const uint8_t ports[] = { 0xf2, 0xf4, 0xf5, 0xf5, 0xf5, 0xf5, 0xf7, 0xf0 };
	static const uint8_t codes[] = { 0xe6, 0xc5, 0x4d, 0x08, 0x0f, 0x07, 0x03, 0x16 };
	uint32_t x = 3;
	for (unsigned i = 0; i < 100000; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned port = x >> 31 ? 0x300u + ports[x >> 27 & 7] : x >> 27 & 15;
		uint8_t value = x >> 26 & 1 ? codes[x >> 20 & 7] : x >> 25 & 1 ? 0x1c : (uint8_t)(x >> 12);
		if (x >> 24 & 3)
			outb(&b, (uint16_t)port, value);
		else
			inb(&b, (uint16_t)port);
		if (i % 16 == 0) {
			board_step(&b, 200 * US);
			run_jobs();
		}
	}
	device_reset((struct device *)floppy);
	device_reset((struct device *)dma);
	run_jobs();
	outb(&b, 0xd6, 0xc0);
	outb(&b, 0xd4, 0);
	start_up();
	put(0x07);
	put(0);
	sense(0x20, 0);
}

/* --- the DMA controllers by themselves --- */

/* A register of two bytes, the low one first. */
static unsigned word(uint16_t port)
{
	unsigned low = (unsigned)inb(&b, port);
	return low | (unsigned)inb(&b, port) << 8;
}

static void dma_modes(void **state)
{
	uint8_t data[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	bool terminal;
	set_dma(0x46, 4);
	assert_int_equal(i8237_transfer(dma, 2, I8237_FROM_MEMORY, data, 4, &terminal), 0); /* programmed the other way */
	assert_int_equal(i8237_transfer(dma, 2, I8237_TO_MEMORY, data, 3, &terminal), 3);
	assert_false(terminal);
	outb(&b, 0x0c, 0);
	assert_int_equal(word(0x04), BUFFER + 3);
	assert_int_equal(word(0x05), 0);
	assert_int_equal(i8237_transfer(dma, 2, I8237_TO_MEMORY, data + 3, 5, &terminal), 1);
	assert_true(terminal);
	assert_memory_equal(guest(), data, 4);
	assert_int_equal(i8237_transfer(dma, 2, I8237_TO_MEMORY, data, 1, &terminal), 0); /* masked by the terminal count */
	/* Autoinitialize, downwards. */
	set_dma(0x7a, 2);
	assert_int_equal(i8237_transfer(dma, 2, I8237_FROM_MEMORY, data, 2, &terminal), 2);
	assert_true(terminal);
	assert_int_equal(data[0], 1);
	assert_int_equal(i8237_transfer(dma, 2, I8237_FROM_MEMORY, data, 1, &terminal), 1);
	assert_int_equal(data[0], 1);
	/* Words: channel 5, page 1, word address 0x100. */
	outb(&b, 0xd6, 0x45);
	outb(&b, 0xd8, 0);
	outb(&b, 0xc4, 0x00);
	outb(&b, 0xc4, 0x01);
	outb(&b, 0xc6, 1);
	outb(&b, 0xc6, 0);
	outb(&b, 0x8b, 0x04);
	outb(&b, 0xd4, 1);
	uint8_t words[4] = { 9, 8, 7, 6 };
	assert_int_equal(i8237_transfer(dma, 5, I8237_TO_MEMORY, words, 4, &terminal), 4);
	assert_true(terminal);
	assert_memory_equal(memory_range(&memory, 0x40200, 4, false), words, 4);
	/* The first controller is reached by way of channel 4. */
	set_dma(0x46, 4);
	outb(&b, 0xd4, 4);
	assert_int_equal(i8237_transfer(dma, 2, I8237_TO_MEMORY, data, 1, &terminal), 0);
}

static uint8_t printed[8];
static unsigned printed_count;

static void on_print(void *opaque, const uint8_t *data, size_t length)
{
	memcpy(printed + printed_count, data, length);
	printed_count += (unsigned)length;
}

static void printer(void **state)
{
	struct error err = { 0 };
	const struct parallel_config config = {
		.lock = &b.lock, .ports = &b.ports, .base = 0x378, .irq = board_line(&b, 7), .output = { on_print, NULL },
	};
	struct parallel *port = parallel_create(&config, &err);
	assert_non_null(port);
	device_reset((struct device *)port);
	assert_int_equal(inb(&b, 0x379) & 0xf8, 0xd8);
	outb(&b, 0x378, 'h');
	assert_int_equal(inb(&b, 0x378), 'h');
	outb(&b, 0x37a, 0x0d);
	outb(&b, 0x37a, 0x0c);
	outb(&b, 0x378, 'i');
	outb(&b, 0x37a, 0x1d);
	outb(&b, 0x37a, 0x1d);
	outb(&b, 0x37a, 0x1c);
	assert_int_equal(printed_count, 2);
	assert_memory_equal(printed, "hi", 2);
	assert_int_equal(b.rises[7], 1);
	((struct device *)port)->type->destroy(port);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(reads), TEST(writes), cmocka_unit_test_setup_teardown(write_protection, setup_read_only, teardown), TEST(by_fifo),
		TEST(drives), TEST(random_accesses), TEST(dma_modes), TEST(printer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
