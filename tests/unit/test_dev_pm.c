/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/pm.h"

#define SCI 9

static struct board b;
static struct pm *pm;
static unsigned offs;

static void on_off(void *opaque)
{
	offs++;
}

static struct pm *make(struct board *board)
{
	const struct pm_config config = {
		.lock = &board->lock, .ports = &board->ports, .sci = board_line(board, SCI), .clock = &board->clock,
		.power_off = on_off,
	};
	struct pm *made = pm_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	pm = make(&b);
	offs = 0;
	return 0;
}

static int teardown(void **state)
{
	board_end(pm);
	board_destroy(&b);
	return 0;
}

static uint32_t rd(unsigned reg, unsigned size) { return (uint32_t)io_read(&b.ports, PM_BASE + reg, size); }
static void wr(unsigned reg, uint32_t value, unsigned size) { io_write(&b.ports, PM_BASE + reg, value, size); }

static void timer_counts_and_overflows(void **state)
{
	outb(&b, 0xb2, PM_ACPI_ENABLE);
	assert_int_equal(rd(4, 2) & 1, 1);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(rd(8, 4), 3579545);
	board_step(&b, 2 * NS_PER_SEC); /* the top bit changes at 2^23 ticks: 2.34 s */
	assert_int_equal(rd(8, 4), 3 * 3579545);
	assert_int_equal(rd(0, 2), 1);
	assert_int_equal(b.level[SCI], 0);
	wr(2, 1, 2);
	assert_int_equal(b.level[SCI], 1);
	wr(0, 1, 2);
	assert_int_equal(b.level[SCI], 0);
	board_step(&b, 1686 * MS); /* 2^24 at 4.687 s */
	assert_int_equal(b.level[SCI], 0);
	board_step(&b, 2 * MS);
	assert_int_equal(b.level[SCI], 1);
	assert_true(rd(8, 4) < 10000); /* 24 bits */
}

static void power_button_and_sci(void **state)
{
	wr(2, 0x100, 2);
	pm_power_button(pm);
	assert_int_equal(rd(0, 2), 0x100);
	assert_int_equal(b.level[SCI], 0); /* not in ACPI mode yet */
	outb(&b, 0xb2, PM_ACPI_ENABLE);
	assert_int_equal(b.level[SCI], 1);
	wr(0, 0x00, 1); /* a byte beside it */
	assert_int_equal(b.level[SCI], 1);
	wr(1, 0x01, 1);
	assert_int_equal(b.level[SCI], 0);
	assert_int_equal(rd(0, 2), 0);
	assert_int_equal(rd(0, 4), 0x01000000);
	outb(&b, 0xb2, PM_ACPI_DISABLE);
	assert_int_equal(rd(4, 2) & 1, 0);
	outb(&b, 0xb3, 0x42);
	assert_int_equal(inb(&b, 0xb3), 0x42);
}

static void general_purpose_events(void **state)
{
	outb(&b, 0xb2, PM_ACPI_ENABLE);
	pm_gpe(pm, 3);
	assert_int_equal(b.level[SCI], 0);
	wr(0x0e, 0x08, 2);
	assert_int_equal(b.level[SCI], 1);
	assert_int_equal(rd(0x0c, 4), 0x00080008);
	wr(0x0c, 0x00080008, 4);
	assert_int_equal(b.level[SCI], 0);
}

static void soft_off(void **state)
{
	wr(4, 0x0001 | 5 << 10, 2);
	assert_int_equal(offs, 0);
	wr(4, 0x2001 | 5 << 10, 2); /* another sleep state */
	assert_int_equal(offs, 0);
	wr(4, 0x2001 | PM_SLP_TYP_S5 << 10, 2);
	assert_int_equal(offs, 1);
	assert_int_equal(rd(4, 2) & 0x2000, 0); /* write-only */
}

static void the_block_moves(void **state)
{
	assert_int_equal(pm_map(pm, 0xb000, NULL), 0);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(io_read(&b.ports, 0xb008, 4), 3579545);
	assert_int_equal(rd(8, 4), 0xffffffff);
	assert_int_equal(pm_map(pm, 0, NULL), 0);
	assert_int_equal(io_read(&b.ports, 0xb008, 4), 0xffffffff);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct pm *copy = make(&other);
	outb(&b, 0xb2, PM_ACPI_ENABLE);
	wr(2, 1, 2);
	pm_map(pm, 0x4000, NULL);
	board_step(&b, 2 * NS_PER_SEC);
	other.now = b.now;
	assert_int_equal(board_restore(copy, pm), 0);
	board_step(&other, 343 * MS);
	assert_int_equal(other.level[SCI], 0);
	board_step(&other, 1 * MS);
	assert_int_equal(other.level[SCI], 1);
	assert_int_equal(io_read(&other.ports, 0x4000, 2), 1);
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timer_counts_and_overflows, setup, teardown),
		cmocka_unit_test_setup_teardown(power_button_and_sci, setup, teardown),
		cmocka_unit_test_setup_teardown(general_purpose_events, setup, teardown),
		cmocka_unit_test_setup_teardown(soft_off, setup, teardown),
		cmocka_unit_test_setup_teardown(the_block_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
