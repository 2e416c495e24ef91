/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/rtc.h"

#define IRQ 8
#define EPOCH 1709164798 /* 2024-02-28 23:59:58 UTC, a Wednesday */

static struct board b;
static struct rtc *rtc;
static int masked = -1;

static void on_mask(void *opaque, bool value)
{
	masked = value;
}

static struct rtc *make(struct board *board)
{
	const struct rtc_config config = {
		.lock = &board->lock, .ports = &board->ports, .irq = board_line(board, IRQ), .clock = &board->clock,
		.epoch = EPOCH, .nmi_mask = on_mask,
	};
	struct rtc *made = rtc_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	rtc = make(&b);
	return 0;
}

static int teardown(void **state)
{
	board_end(rtc);
	board_destroy(&b);
	return 0;
}

static uint8_t rd(uint8_t index)
{
	outb(&b, 0x70, index);
	return inb(&b, 0x71);
}

static void wr(uint8_t index, uint8_t value)
{
	outb(&b, 0x70, index);
	outb(&b, 0x71, value);
}

static void shows(unsigned year, unsigned month, unsigned day, unsigned weekday, unsigned h, unsigned m, unsigned s)
{
	assert_int_equal(rd(0x32) << 8 | rd(9), year);
	assert_int_equal(rd(8), month);
	assert_int_equal(rd(7), day);
	assert_int_equal(rd(6), weekday);
	assert_int_equal(rd(4), h);
	assert_int_equal(rd(2), m);
	assert_int_equal(rd(0), s);
}

static void time_passes(void **state)
{
	shows(0x2024, 2, 0x28, 4, 0x23, 0x59, 0x58);
	board_step(&b, 2 * NS_PER_SEC);
	shows(0x2024, 2, 0x29, 5, 0, 0, 0);
	board_step(&b, 86400 * NS_PER_SEC);
	shows(0x2024, 3, 1, 6, 0, 0, 0);
	wr(0x0b, 0x06); /* binary */
	board_step(&b, (12 * 3600 + 34 * 60 + 56) * NS_PER_SEC);
	assert_int_equal(rd(0), 56);
	assert_int_equal(rd(2), 34);
	assert_int_equal(rd(4), 12);
	wr(0x0b, 0x00); /* BCD, 12 hours */
	assert_int_equal(rd(4), 0x92);
	board_step(&b, 12 * 3600 * NS_PER_SEC);
	assert_int_equal(rd(4), 0x12);
}

static void setting_the_time(void **state)
{
	wr(0x0b, 0x82);
	board_step(&b, 5 * NS_PER_SEC);
	assert_int_equal(rd(0), 0x58); /* it stands */
	wr(0x32, 0x19);
	wr(9, 0x99);
	wr(8, 0x12);
	wr(7, 0x31);
	wr(4, 0x23);
	wr(2, 0x59);
	wr(0, 0x59);
	wr(0x0b, 0x02);
	shows(0x1999, 0x12, 0x31, 6, 0x23, 0x59, 0x59);
	board_step(&b, NS_PER_SEC);
	shows(0x2000, 1, 1, 7, 0, 0, 0);
	wr(2, 0x30); /* without SET, while it runs */
	assert_int_equal(rd(2), 0x30);
	assert_int_equal(rd(0), 0);
	/* The divider's reset: the first update comes half a second after its end. */
	wr(0x0a, 0x76);
	board_step(&b, 3 * NS_PER_SEC);
	assert_int_equal(rd(0), 0);
	wr(0x0a, 0x26);
	board_step(&b, NS_PER_SEC / 2 - 1);
	assert_int_equal(rd(0), 0);
	board_step(&b, 1);
	assert_int_equal(rd(0), 1);
	wr(0x32, 0x99); /* beyond what 64 bits of nanoseconds hold: must not trip */
	rd(0);
}

static void update_in_progress(void **state)
{
	assert_int_equal(rd(0x0a), 0x26);
	board_step(&b, NS_PER_SEC - 244 * US);
	assert_int_equal(rd(0x0a), 0xa6);
	board_step(&b, 244 * US);
	assert_int_equal(rd(0x0a), 0x26);
}

static void update_interrupt(void **state)
{
	wr(0x0b, 0x12);
	board_step(&b, NS_PER_SEC - 1);
	assert_int_equal(b.level[IRQ], 0);
	board_step(&b, 1);
	assert_int_equal(b.level[IRQ], 1);
	assert_int_equal(rd(0x0c), 0xd0); /* the periodic flag is set without its interrupt */
	assert_int_equal(b.level[IRQ], 0);
	board_step(&b, 3 * NS_PER_SEC); /* unread, it stays up */
	assert_int_equal(b.rises[IRQ], 2);
	rd(0x0c);
	assert_int_equal(rd(0x0c), 0);
	wr(0x0b, 0x02);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(rd(0x0c) & 0x90, 0x10); /* the flag without the interrupt */
}

static void alarm_interrupt(void **state)
{
	wr(1, 0x05);
	wr(3, 0x00);
	wr(5, 0x00);
	rd(0x0c);
	wr(0x0b, 0x22);
	board_step(&b, 7 * NS_PER_SEC - 1);
	assert_int_equal(b.level[IRQ], 0);
	board_step(&b, 1); /* 00:00:05 */
	assert_int_equal(b.level[IRQ], 1);
	assert_int_equal(rd(0x0c) & 0xa0, 0xa0);
	board_step(&b, 86399 * NS_PER_SEC);
	assert_int_equal(b.level[IRQ], 0);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.level[IRQ], 1);
	rd(0x0c);
	wr(5, 0xff); /* every hour, every minute */
	wr(3, 0xc0);
	for (unsigned i = 0; i < 3; i++) {
		board_step(&b, 60 * NS_PER_SEC - 1);
		assert_int_equal(b.level[IRQ], 0);
		board_step(&b, 1);
		assert_int_equal(rd(0x0c) & 0xa0, 0xa0);
	}
	wr(1, 0x77); /* never */
	board_step(&b, 2 * 86400 * NS_PER_SEC);
	assert_int_equal(b.level[IRQ], 0);
}

static void periodic_interrupt(void **state)
{
	wr(0x0b, 0x42);
	rd(0x0c);
	unsigned before = b.rises[IRQ];
	for (unsigned i = 0; i < 1000; i++) {
		board_step(&b, 1 * MS);
		if (b.level[IRQ])
			assert_int_equal(rd(0x0c) & 0xc0, 0xc0);
	}
	assert_in_range(b.rises[IRQ] - before, 975, 1000); /* 1024 Hz, looked at 1000 times */
	wr(0x0a, 0x2f); /* 2 Hz */
	rd(0x0c);
	before = b.rises[IRQ];
	for (unsigned i = 0; i < 100; i++) {
		board_step(&b, 100 * MS);
		rd(0x0c);
	}
	assert_int_equal(b.rises[IRQ] - before, 20);
	wr(0x0a, 0x20); /* none */
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.level[IRQ], 0);
}

static void memory_outlives_a_reset(void **state)
{
	const struct rtc_shape shape = {
		.ram_below_4g = 3ull << 30, .ram_above_4g = 5ull << 30, .cpus = 4, .boot_order = { 3, 2, 4 },
	};
	rtc_describe(rtc, &shape);
	wr(0x0f, 0x0a);
	wr(0x0b, 0x52);
	outb(&b, 0x72, 0x10);
	outb(&b, 0x73, 0xab);
	board_step(&b, 4 * NS_PER_SEC);
	device_reset((struct device *)rtc);
	assert_int_equal(rd(0x0f), 0x0a);
	assert_int_equal(rd(0x0b), 0x02); /* the enables are gone */
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(rd(0), 0x02);
	outb(&b, 0x72, 0x10);
	assert_int_equal(inb(&b, 0x73), 0xab);
	assert_int_equal(rd(0x16) << 8 | rd(0x15), 640);
	assert_int_equal(rd(0x18) << 8 | rd(0x17), 0xffff);
	assert_int_equal(rd(0x31) << 8 | rd(0x30), 0xffff);
	assert_int_equal(rd(0x35) << 8 | rd(0x34), (3 << 14) - 256);
	assert_int_equal(rd(0x5d) << 16 | rd(0x5c) << 8 | rd(0x5b), 5 << 14);
	assert_int_equal(rd(0x5f), 3);
	assert_int_equal(rd(0x3d), 0x23);
	assert_int_equal(rd(0x38) >> 4, 4);
	assert_int_equal(rd(0x0d), 0x80);
	rd(0x8d);
	assert_int_equal(masked, 1);
	assert_int_equal(rd(0x0d), 0x80);
	assert_int_equal(masked, 0);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct rtc *copy = make(&other);
	wr(0x0b, 0x82);
	wr(0, 0x30);
	wr(0x0b, 0x12);
	board_step(&b, NS_PER_SEC / 4);
	other.now = b.now;
	assert_int_equal(board_restore(copy, rtc), 0);
	board_step(&other, NS_PER_SEC * 3 / 4 - 1);
	assert_int_equal(other.level[IRQ], 0);
	board_step(&other, 1);
	assert_int_equal(other.level[IRQ], 1);
	outb(&other, 0x70, 0);
	assert_int_equal(inb(&other, 0x71), 0x31);
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(time_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(setting_the_time, setup, teardown),
		cmocka_unit_test_setup_teardown(update_in_progress, setup, teardown),
		cmocka_unit_test_setup_teardown(update_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(alarm_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(periodic_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_outlives_a_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
