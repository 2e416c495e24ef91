/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/gsi.h"
#include "dev/pc/hpet.h"

#define IRQ0 40
#define IRQ8 41
#define TICK 10ull /* ns */

static struct board b;
static struct hpet *hpet;

static struct hpet *make(struct board *board)
{
	struct hpet_config config = {
		.lock = &board->lock, .mmio = &board->mmio, .clock = &board->clock,
		.irq0 = board_line(board, IRQ0), .irq8 = board_line(board, IRQ8),
	};
	for (unsigned i = 0; i < 24; i++)
		config.pins[i] = board_line(board, i);
	struct hpet *made = hpet_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	hpet = make(&b);
	return 0;
}

static int teardown(void **state)
{
	board_end(hpet);
	board_destroy(&b);
	return 0;
}

static uint64_t rd(unsigned reg) { return io_read(&b.mmio, HPET_BASE + reg, 8); }
static void wr(unsigned reg, uint64_t value) { io_write(&b.mmio, HPET_BASE + reg, value, 8); }
static void wr4(unsigned reg, uint32_t value) { io_write(&b.mmio, HPET_BASE + reg, value, 4); }

static void counter(void **state)
{
	assert_int_equal(rd(0), 10000000ull << 32 | 0x8086a201);
	board_step(&b, 1000);
	assert_int_equal(rd(0xf0), 0);
	wr(0x10, 1);
	board_step(&b, 1000 * TICK);
	assert_int_equal(rd(0xf0), 1000);
	wr(0x10, 0);
	board_step(&b, 1000 * TICK);
	assert_int_equal(rd(0xf0), 1000);
	wr4(0xf4, 1); /* the upper half alone */
	assert_int_equal(rd(0xf0), 1ull << 32 | 1000);
	assert_int_equal(io_read(&b.mmio, HPET_BASE + 0xf4, 4), 1);
	wr(0x10, 1);
	board_step(&b, 10 * TICK);
	assert_int_equal(rd(0xf0), 1ull << 32 | 1010);
}

static void one_shot_edge(void **state)
{
	assert_int_equal(rd(0x100) >> 32, 0x00f00000);
	wr(0x120, 0x4 | 21 << 9); /* timer 1 to pin 21 */
	wr(0x128, 500);
	wr(0x10, 1);
	board_step(&b, 500 * TICK - 1);
	assert_int_equal(b.level[21], 0);
	board_step(&b, 1);
	assert_int_equal(b.level[21], 1);
	wr(0x128, 800);
	board_step(&b, 300 * TICK);
	assert_int_equal(b.rises[21], 2); /* a new edge */
	wr(0x120, 0x4 | 5 << 9); /* not offered: the route stays */
	assert_int_equal(rd(0x120) >> 9 & 31, 21);
	wr(0x128, 900);
	wr(0x120, 21 << 9); /* disabled */
	assert_int_equal(b.level[21], 0);
	board_step(&b, 1000 * TICK);
	assert_int_equal(b.rises[21], 2);
	wr(0x120, 0x4 | 21 << 9);
	wr(0x128, rd(0xf0)); /* at the counter: not before it wraps */
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.rises[21], 2);
}

static void level_and_status(void **state)
{
	wr(0x140, 0x6 | 22 << 9);
	wr(0x148, 100);
	wr(0x10, 1);
	board_step(&b, 100 * TICK);
	assert_int_equal(b.level[22], 1);
	assert_int_equal(rd(0x20), 4);
	wr(0x20, 3);
	assert_int_equal(b.level[22], 1);
	wr(0x20, 4);
	assert_int_equal(b.level[22], 0);
	assert_int_equal(rd(0x20), 0);
}

static void periodic_with_accumulator(void **state)
{
	wr(0x10, 1);
	board_step(&b, 50 * TICK);
	wr(0x100, 0x4c | 20 << 9); /* periodic, VAL_SET */
	wr(0x108, 3050);
	wr(0x108, 2000);
	board_step(&b, 2999 * TICK);
	assert_int_equal(b.rises[20], 0);
	board_step(&b, TICK);
	assert_int_equal(b.rises[20], 1);
	assert_int_equal(rd(0x108), 5050);
	for (unsigned i = 0; i < 10; i++) {
		board_step(&b, 2000 * TICK - 1);
		assert_int_equal(b.rises[20], 1 + i);
		board_step(&b, 1);
		assert_int_equal(b.rises[20], 2 + i);
	}
	/* The same by 32-bit writes in 32-bit mode, as kernels do. */
	wr4(0x100, 0x14c | 20 << 9);
	wr4(0x108, (uint32_t)rd(0xf0) + 5000);
	wr4(0x108, 5000);
	unsigned before = b.rises[20];
	board_step(&b, 25001 * TICK);
	assert_int_equal(b.rises[20] - before, 5);
}

static void thirty_two_bits_wrap(void **state)
{
	wr(0xf0, 0xffffff00);
	wr(0x120, 0x104 | 21 << 9);
	wr(0x128, 0x100);
	wr(0x10, 1);
	board_step(&b, 0x1ff * TICK);
	assert_int_equal(b.rises[21], 0);
	board_step(&b, TICK);
	assert_int_equal(b.rises[21], 1);
	wr(0x120, 0x004 | 21 << 9); /* 64 bits: behind the counter, not again */
	board_step(&b, 100 * NS_PER_SEC);
	assert_int_equal(b.rises[21], 1);
}

static void legacy_replacement(void **state)
{
	struct irq_line pit = hpet_legacy_input(hpet, HPET_LEGACY_PIT), rtc = hpet_legacy_input(hpet, HPET_LEGACY_RTC);
	irq_set(&pit, 1);
	irq_set(&rtc, 1);
	assert_true(b.level[IRQ0] && b.level[IRQ8]);
	wr(0x100, 0x4c | 20 << 9);
	wr(0x108, 1000);
	wr(0x10, 3);
	assert_true(!b.level[IRQ0] && !b.level[IRQ8]);
	irq_set(&pit, 0);
	irq_set(&pit, 1);
	assert_int_equal(b.level[IRQ0], 0);
	board_step(&b, 3000 * TICK);
	assert_int_equal(b.rises[IRQ0], 4); /* one of the 8254 before */
	assert_int_equal(b.rises[20], 0);
	wr(0x10, 1);
	assert_true(b.level[IRQ0] && b.level[IRQ8]);
	board_step(&b, 1000 * TICK);
	assert_int_equal(b.rises[20], 1);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct hpet *copy = make(&other);
	wr(0x10, 1);
	wr(0x100, 0x4c | 20 << 9);
	wr(0x108, 3000);
	board_step(&b, 5000 * TICK);
	other.now = b.now;
	assert_int_equal(board_restore(copy, hpet), 0);
	board_step(&other, 1000 * TICK - 1);
	assert_int_equal(other.rises[20], 0);
	board_step(&other, 1);
	assert_int_equal(other.rises[20], 1);
	assert_int_equal(io_read(&other.mmio, HPET_BASE + 0xf0, 8), 6000);
	board_end(copy);
	board_destroy(&other);
}

static void wires_are_a_wired_or(void **state)
{
	struct gsi_config config = { .lock = &b.lock };
	for (unsigned i = 0; i < 16; i++)
		config.pic[i] = board_line(&b, i);
	for (unsigned i = 0; i < GSI_COUNT; i++)
		config.ioapic[i] = board_line(&b, 30 + i);
	struct gsi *gsi = gsi_create(&config, NULL);
	assert_non_null(gsi);
	struct irq_line a = gsi_line(gsi, 9), c = gsi_line(gsi, 9), timer = gsi_line(gsi, 0), high = gsi_line(gsi, 20);
	irq_set(&a, 1);
	irq_set(&c, 1);
	irq_set(&a, 0);
	assert_true(b.level[9] && b.level[39]);
	irq_set(&c, 0);
	assert_true(!b.level[9] && !b.level[39]);
	irq_set(&timer, 1);
	assert_true(b.level[0] && b.level[32] && !b.level[30]);
	irq_set(&high, 1);
	assert_true(b.level[50] && !b.level[20]);
	assert_null(gsi_line(gsi, 24).set);
	board_end(gsi);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(counter, setup, teardown),
		cmocka_unit_test_setup_teardown(one_shot_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(level_and_status, setup, teardown),
		cmocka_unit_test_setup_teardown(periodic_with_accumulator, setup, teardown),
		cmocka_unit_test_setup_teardown(thirty_two_bits_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(legacy_replacement, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
		cmocka_unit_test_setup_teardown(wires_are_a_wired_or, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
