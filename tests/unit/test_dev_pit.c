/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dev/pc/pit.h"

#define IRQ 0

static struct board b;
static struct pit *pit;
static struct audio *audio;

static struct pit *make(struct board *board)
{
	const struct pit_config config = {
		.lock = &board->lock, .ports = &board->ports, .clock = &board->clock, .irq = board_line(board, IRQ), .audio = audio,
	};
	struct pit *made = pit_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	pit = make(&b);
	return 0;
}

static int teardown(void **state)
{
	board_end(pit);
	board_destroy(&b);
	return 0;
}

/* To the first nanosecond of a clock tick. */
static void to_tick(uint64_t tick)
{
	board_step(&b, muldiv64_up(tick, NS_PER_SEC, PIT_HZ) - b.now);
}

static void write_count(unsigned channel, uint16_t count)
{
	outb(&b, (uint16_t)(0x40 + channel), (uint8_t)count);
	outb(&b, (uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static uint16_t read_count(unsigned channel)
{
	outb(&b, 0x43, (uint8_t)(channel << 6));
	uint16_t low = inb(&b, (uint16_t)(0x40 + channel));
	return (uint16_t)(inb(&b, (uint16_t)(0x40 + channel)) << 8 | low);
}

static int out2(void)
{
	return inb(&b, 0x61) >> 5 & 1;
}

static void mode_0_counts_to_an_interrupt(void **state)
{
	to_tick(100);
	outb(&b, 0x43, 0x30);
	assert_int_equal(b.level[IRQ], 0);
	write_count(0, 1000);
	to_tick(101);
	assert_int_equal(read_count(0), 1000);
	to_tick(101 + 400);
	assert_int_equal(read_count(0), 600);
	to_tick(101 + 999);
	assert_int_equal(b.level[IRQ], 0);
	to_tick(101 + 1000);
	assert_int_equal(b.level[IRQ], 1);
	to_tick(101 + 1003);
	assert_int_equal(read_count(0), 0xfffd); /* it goes on */
	outb(&b, 0x40, 1); /* the first byte lowers the output and stops it */
	assert_int_equal(b.level[IRQ], 0);
	to_tick(200000);
	assert_int_equal(b.level[IRQ], 0);
}

static void mode_0_pauses_by_gate(void **state)
{
	outb(&b, 0x61, 1);
	outb(&b, 0x43, 0xb0);
	write_count(2, 100);
	to_tick(41);
	assert_int_equal(read_count(2), 60);
	outb(&b, 0x61, 0);
	to_tick(500);
	assert_int_equal(read_count(2), 60);
	outb(&b, 0x61, 1);
	to_tick(559);
	assert_int_equal(out2(), 0);
	to_tick(560);
	assert_int_equal(out2(), 1);
}

static void mode_1_is_triggered_by_gate(void **state)
{
	outb(&b, 0x43, 0xb2);
	write_count(2, 50);
	assert_int_equal(out2(), 1);
	to_tick(100);
	assert_int_equal(out2(), 1);
	outb(&b, 0x61, 1);
	to_tick(101);
	assert_int_equal(out2(), 0);
	to_tick(121);
	outb(&b, 0x61, 0); /* the gate's fall does not matter */
	outb(&b, 0x61, 1); /* its rise triggers anew */
	to_tick(171);
	assert_int_equal(out2(), 0);
	to_tick(172);
	assert_int_equal(out2(), 1);
}

static void mode_2_divides(void **state)
{
	outb(&b, 0x43, 0x34);
	write_count(0, 1193);
	to_tick(1);
	assert_int_equal(read_count(0), 1193);
	to_tick(1 + 1192);
	assert_int_equal(read_count(0), 1);
	to_tick(1 + 1193);
	assert_int_equal(read_count(0), 1193);
	unsigned before = b.rises[IRQ];
	to_tick(1 + 11 * 1193 - 1);
	assert_int_equal(b.rises[IRQ] - before, 9);
	/* A new count waits for the end of the period. */
	write_count(0, 100);
	to_tick(1 + 11 * 1193);
	assert_int_equal(read_count(0), 100);
	before = b.rises[IRQ];
	to_tick(1 + 11 * 1193 + 1000);
	assert_int_equal(b.rises[IRQ] - before, 10);
}

static void mode_3_is_a_square_wave(void **state)
{
	outb(&b, 0x61, 1);
	outb(&b, 0x43, 0xb6);
	write_count(2, 101); /* odd: 51 high, 50 low */
	to_tick(1 + 50);
	assert_int_equal(out2(), 1);
	to_tick(1 + 51);
	assert_int_equal(out2(), 0);
	to_tick(1 + 100);
	assert_int_equal(out2(), 0);
	to_tick(1 + 101);
	assert_int_equal(out2(), 1);
	assert_int_equal(read_count(2), 100);
	to_tick(1 + 101 + 10);
	assert_int_equal(read_count(2), 80); /* by twos */
	write_count(2, 20); /* from the end of this half */
	to_tick(1 + 101 + 51);
	assert_int_equal(out2(), 0);
	to_tick(1 + 101 + 51 + 10);
	assert_int_equal(out2(), 1);
	outb(&b, 0x61, 0); /* the gate forces it high */
	to_tick(1 + 101 + 51 + 25);
	assert_int_equal(out2(), 1);
}

/* A longer count that takes over in the low half of the first cycles: its own cycle began before time 0. */
static void mode_3_right_after_power_on(void **state)
{
	outb(&b, 0x43, 0x36);
	write_count(0, 8);
	to_tick(3);
	write_count(0, 60000);
	to_tick(5 + 30000 + 10);
	unsigned rises = b.rises[IRQ];
	to_tick(5 + 30000 + 60000 * 3 + 10);
	assert_int_equal(b.rises[IRQ] - rises, 3);
}

static void modes_4_and_5_strobe(void **state)
{
	outb(&b, 0x61, 1);
	outb(&b, 0x43, 0xb8);
	write_count(2, 10);
	to_tick(10);
	assert_int_equal(out2(), 1);
	to_tick(11);
	assert_int_equal(out2(), 0);
	to_tick(12);
	assert_int_equal(out2(), 1);
	outb(&b, 0x61, 0);
	outb(&b, 0x43, 0xba);
	write_count(2, 10);
	to_tick(100);
	assert_int_equal(out2(), 1);
	outb(&b, 0x61, 1);
	to_tick(111);
	assert_int_equal(out2(), 0);
	to_tick(112);
	assert_int_equal(out2(), 1);
}

static void bcd_counts_decimal(void **state)
{
	outb(&b, 0x43, 0x31);
	write_count(0, 0x1000);
	to_tick(2);
	assert_int_equal(read_count(0), 0x0999);
	to_tick(1 + 1001);
	assert_int_equal(read_count(0), 0x9999);
	outb(&b, 0x43, 0x35);
	write_count(0, 0); /* 10000 */
	to_tick(2000);
	uint16_t first = read_count(0);
	to_tick(12000);
	assert_int_equal(read_count(0), first);
}

static void latch_and_read_back(void **state)
{
	outb(&b, 0x43, 0x34);
	outb(&b, 0x43, 0xe2); /* status of channel 0 */
	assert_int_equal(inb(&b, 0x40), 0xf4); /* output high, null count, both bytes, mode 2 */
	write_count(0, 5000);
	to_tick(10);
	outb(&b, 0x43, 0x00);
	to_tick(100);
	outb(&b, 0x43, 0x00); /* a second latch does nothing */
	uint8_t low = inb(&b, 0x40);
	assert_int_equal(inb(&b, 0x40) << 8 | low, 5000 - 9);
	low = inb(&b, 0x40);
	assert_int_equal(inb(&b, 0x40) << 8 | low, 5000 - 99);
	outb(&b, 0x43, 0xc2); /* both: status comes first */
	assert_int_equal(inb(&b, 0x40), 0xb4);
	low = inb(&b, 0x40);
	assert_int_equal(inb(&b, 0x40) << 8 | low, 5000 - 99);
	outb(&b, 0x43, 0x14); /* low byte only */
	outb(&b, 0x40, 200);
	to_tick(151);
	assert_int_equal(inb(&b, 0x40), 200 - 50);
}

static void port_61(void **state)
{
	outb(&b, 0x61, 0x0f);
	assert_int_equal(inb(&b, 0x61) & 0x0f, 0x0f);
	outb(&b, 0x61, 0);
	int refresh = inb(&b, 0x61) & 0x10;
	board_step(&b, 15085);
	assert_int_not_equal(inb(&b, 0x61) & 0x10, refresh);
}

static void writes_to_channel_2_do_not_delay_the_tick(void **state)
{
	outb(&b, 0x43, 0x34);
	write_count(0, 100);
	outb(&b, 0x43, 0xb6);
	unsigned before = b.rises[IRQ];
	for (unsigned i = 0; i < 1000; i++) {
		outb(&b, 0x42, (uint8_t)i);
		board_step(&b, 2000);
	}
	assert_in_range(b.rises[IRQ] - before, 23, 24); /* 2 ms */
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct pit *copy = make(&other);
	outb(&b, 0x43, 0x34);
	write_count(0, 1000);
	to_tick(501);
	other.now = b.now;
	assert_int_equal(board_restore(copy, pit), 0);
	board_step(&other, muldiv64_up(1000, NS_PER_SEC, PIT_HZ) - b.now);
	assert_int_equal(other.rises[IRQ], 0);
	other.level[IRQ] = 1; /* lines are not driven by a restore */
	board_step(&other, 1000);
	assert_int_equal(other.rises[IRQ], 1);
	board_end(copy);
	board_destroy(&other);
}

/* --- the loudspeaker --- */

static char path[64];

static int setup_loud(void **state)
{
	char spec[80];
	strcpy(path, "/tmp/visor-speaker-XXXXXX");
	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "wav:%s", path);
	board_init(&b);
	audio = audio_open(spec, NULL);
	assert_non_null(audio);
	pit = make(&b);
	return 0;
}

static int teardown_loud(void **state)
{
	teardown(state);
	audio_close(audio, NULL);
	audio = NULL;
	unlink(path);
	return 0;
}

/* What was heard, at the timer's clock / 24. */
static size_t heard(int16_t *frames, size_t most)
{
	uint8_t header[44];
	assert_int_equal(audio_close(audio, NULL), 0);
	audio = NULL;
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(header, 1, sizeof(header), f), sizeof(header));
	size_t count = fread(frames, 4, most, f);
	fclose(f);
	assert_true(!count || load_le32(header + 24) == 49716);
	return count;
}

static unsigned rises(const int16_t *frames, size_t count)
{
	unsigned n = 0;
	for (size_t i = 1; i < count; i++) {
		n += frames[2 * i - 2] < 0 && frames[2 * i] >= 0;
		assert_int_equal(frames[2 * i], frames[2 * i + 1]);
	}
	return n;
}

static int16_t sound[2 * 200000];

static void beep(void **state)
{
	outb(&b, 0x43, 0xb6);
	write_count(2, 1193);
	outb(&b, 0x61, 1); /* counts, and is not heard */
	board_step(&b, NS_PER_SEC);
	uint64_t idle = vclock_run(&b.clock);
	outb(&b, 0x61, 3);
	board_step(&b, NS_PER_SEC);
	outb(&b, 0x61, 0);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(vclock_run(&b.clock), idle); /* silence costs nothing */
	size_t count = heard(sound, 200000);
	assert_true(count > 49716 && count < 49716 + 4000);
	unsigned n = rises(sound, 49716);
	assert_true(n >= 999 && n <= 1001);
	int most = 0, least = 0;
	for (unsigned i = 5000; i < 49000; i++) {
		most = MAX(most, sound[2 * i]);
		least = MIN(least, sound[2 * i]);
	}
	assert_true(most > 7000 && most < 9500 && least < -7000 && least > -9500);
	assert_int_equal(sound[2 * count - 2], 0);
}

/* Programs move the bit themselves; the gate holds channel 2's output high. */
static void bits(void **state)
{
	outb(&b, 0x43, 0xb6);
	write_count(2, 100);
	for (unsigned i = 0; i < 400; i++) {
		outb(&b, 0x61, i & 1 ? 0 : 2);
		board_step(&b, NS_PER_SEC / 1000);
	}
	size_t count = heard(sound, 200000);
	assert_true(count > 19000 && count < 20000);
	unsigned n = rises(sound, count);
	assert_true(n >= 199 && n <= 200);
}

/* Samples as lengths of pulses: the mean of what is heard follows them. */
static void pulses(void **state)
{
	outb(&b, 0x43, 0x90); /* mode 0, low byte alone */
	outb(&b, 0x61, 3);
	for (unsigned i = 0; i < 1600; i++) {
		/* 200 Hz as 16 kHz of pulses of up to 74 ticks */
		outb(&b, 0x42, (uint8_t)(37 + (i % 80 < 40 ? 20 : -20)));
		board_step(&b, NS_PER_SEC / 16000);
	}
	size_t count = heard(sound, 200000);
	assert_true(count > 4900 && count < 5000);
	for (unsigned half = 10; half < 38; half++) {
		double mean = 0;
		for (unsigned i = 20; i < 100; i++)
			mean += sound[2 * (unsigned)((half * 40 / 16000.0) * 49716 + i)] / 80.0;
		/* A longer pulse is low for longer; by now the mean of all has passed. */
		assert_true(half & 1 ? mean > 2000 : mean < -2000);
	}
}

/* Another timer takes over in the middle of a tone. */
static void beep_saved(void **state)
{
	static int16_t alone[2 * 50000];
	size_t before = 0;
	for (unsigned pass = 0; pass < 2; pass++) {
		outb(&b, 0x43, 0xb6);
		write_count(2, 2345);
		outb(&b, 0x61, 3);
		board_step(&b, 123456789);
		if (pass) {
			struct pit *old = pit;
			struct device *device = (struct device *)old;
			void *copy = calloc(1, 4096);
			device->type->saving(old);
			fields_copy(device->type->fields, copy, old);
			device->type->destroy(old);
			pit = make(&b);
			device = (struct device *)pit;
			fields_copy(device->type->fields, pit, copy);
			free(copy);
			assert_int_equal(device->type->loaded(pit, NULL), 0);
		}
		board_step(&b, NS_PER_SEC / 4);
		size_t count = heard(pass ? sound : alone, 50000);
		assert_true(count > 18000 && count < 19000);
		if (pass)
			assert_memory_equal(alone, sound, MIN(count, before) * 4);
		before = count;
		if (!pass) {
			teardown_loud(state);
			setup_loud(state);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mode_0_counts_to_an_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(mode_0_pauses_by_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(mode_1_is_triggered_by_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(mode_2_divides, setup, teardown),
		cmocka_unit_test_setup_teardown(mode_3_is_a_square_wave, setup, teardown),
		cmocka_unit_test_setup_teardown(mode_3_right_after_power_on, setup, teardown),
		cmocka_unit_test_setup_teardown(modes_4_and_5_strobe, setup, teardown),
		cmocka_unit_test_setup_teardown(bcd_counts_decimal, setup, teardown),
		cmocka_unit_test_setup_teardown(latch_and_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(port_61, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_to_channel_2_do_not_delay_the_tick, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
		cmocka_unit_test_setup_teardown(beep, setup_loud, teardown_loud),
		cmocka_unit_test_setup_teardown(bits, setup_loud, teardown_loud),
		cmocka_unit_test_setup_teardown(pulses, setup_loud, teardown_loud),
		cmocka_unit_test_setup_teardown(beep_saved, setup_loud, teardown_loud),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
