/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/pic.h"

#define INTR 0

static struct board b;
static struct pic *pic;

static void program(uint8_t icw4)
{
	outb(&b, 0x20, 0x11);
	outb(&b, 0x21, 0x20);
	outb(&b, 0x21, 0x04);
	outb(&b, 0x21, icw4);
	outb(&b, 0xa0, 0x11);
	outb(&b, 0xa1, 0x28);
	outb(&b, 0xa1, 0x02);
	outb(&b, 0xa1, icw4);
	outb(&b, 0x21, 0);
	outb(&b, 0xa1, 0);
}

static struct pic *make(struct board *board)
{
	const struct pic_config config = { .lock = &board->lock, .ports = &board->ports, .intr = board_line(board, INTR) };
	struct pic *made = pic_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	pic = make(&b);
	program(0x01);
	return 0;
}

static int teardown(void **state)
{
	board_end(pic);
	board_destroy(&b);
	return 0;
}

static void set(unsigned irq, int level)
{
	struct irq_line line = pic_line(pic, irq);
	irq_set(&line, level);
}

static void priorities_and_eoi(void **state)
{
	set(4, 1);
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x24);
	assert_int_equal(b.level[INTR], 0);
	set(6, 1); /* lower: waits */
	assert_int_equal(b.level[INTR], 0);
	set(1, 1); /* higher: nests */
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x21);
	outb(&b, 0x20, 0x0b);
	assert_int_equal(inb(&b, 0x20), 0x12);
	outb(&b, 0x20, 0x20); /* ends 1, the highest */
	assert_int_equal(inb(&b, 0x20), 0x10);
	outb(&b, 0x20, 0x64); /* specific: ends 4 */
	assert_int_equal(pic_acknowledge(pic), 0x26);
	outb(&b, 0x20, 0x0a);
	assert_int_equal(inb(&b, 0x20), 0); /* the lines are still up, but edges count */
}

static void slave_goes_through_cascade(void **state)
{
	set(14, 1);
	set(8, 1);
	assert_int_equal(pic_acknowledge(pic), 0x28);
	assert_int_equal(b.level[INTR], 0);
	outb(&b, 0xa0, 0x20);
	assert_int_equal(b.level[INTR], 0); /* the master's input 2 is in service yet */
	outb(&b, 0x20, 0x20);
	assert_int_equal(pic_acknowledge(pic), 0x2e);
	outb(&b, 0x20, 0x0b);
	assert_int_equal(inb(&b, 0x20), 0x04);
}

static void special_fully_nested_lets_the_slave_nest(void **state)
{
	program(0x11);
	set(14, 1);
	assert_int_equal(pic_acknowledge(pic), 0x2e);
	set(9, 1);
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x29);
}

static void spurious_vectors(void **state)
{
	set(3, 1);
	set(3, 0);
	assert_int_equal(b.level[INTR], 0);
	assert_int_equal(pic_acknowledge(pic), 0x27);
	outb(&b, 0x20, 0x0b);
	assert_int_equal(inb(&b, 0x20), 0); /* nothing in service */
	/* A masked input keeps its request. */
	set(10, 1);
	outb(&b, 0xa1, 0xff);
	assert_int_equal(b.level[INTR], 0);
	outb(&b, 0xa1, 0);
	assert_int_equal(pic_acknowledge(pic), 0x2a);
}

static void level_inputs_ask_again(void **state)
{
	outb(&b, 0x4d1, 0xff);
	assert_int_equal(inb(&b, 0x4d1), 0xde);
	outb(&b, 0x4d0, 0xff);
	assert_int_equal(inb(&b, 0x4d0), 0xf8);
	set(11, 1);
	assert_int_equal(pic_acknowledge(pic), 0x2b);
	outb(&b, 0xa0, 0x20);
	outb(&b, 0x20, 0x20);
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x2b);
	set(11, 0);
	outb(&b, 0xa0, 0x20);
	outb(&b, 0x20, 0x20);
	assert_int_equal(b.level[INTR], 0);
}

static void automatic_eoi_and_rotation(void **state)
{
	program(0x03);
	outb(&b, 0x20, 0x80); /* rotate in automatic EOI */
	set(0, 1);
	set(1, 1);
	assert_int_equal(pic_acknowledge(pic), 0x20);
	set(0, 0);
	set(0, 1);
	assert_int_equal(pic_acknowledge(pic), 0x21); /* 0 is now the lowest */
	assert_int_equal(pic_acknowledge(pic), 0x20);
}

static void slave_with_automatic_eoi_makes_a_new_edge(void **state)
{
	program(0x03);
	set(8, 1);
	set(12, 1);
	assert_int_equal(pic_acknowledge(pic), 0x28);
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x2c);
}

static void rotation_by_command(void **state)
{
	outb(&b, 0x20, 0xc4); /* lowest priority: 4 */
	set(0, 1);
	set(5, 1);
	assert_int_equal(pic_acknowledge(pic), 0x25);
	outb(&b, 0x20, 0xa0); /* rotate on non-specific EOI */
	set(5, 0);
	set(5, 1);
	assert_int_equal(pic_acknowledge(pic), 0x20);
}

static void special_mask_mode(void **state)
{
	set(2 + 1, 1);
	assert_int_equal(pic_acknowledge(pic), 0x23);
	set(6, 1);
	assert_int_equal(b.level[INTR], 0);
	outb(&b, 0x21, 0x08);
	assert_int_equal(b.level[INTR], 0);
	outb(&b, 0x20, 0x68);
	assert_int_equal(b.level[INTR], 1);
	assert_int_equal(pic_acknowledge(pic), 0x26);
}

static void poll_acknowledges(void **state)
{
	outb(&b, 0x20, 0x0c);
	assert_int_equal(inb(&b, 0x20), 0);
	set(5, 1);
	outb(&b, 0x20, 0x0c);
	assert_int_equal(inb(&b, 0x20), 0x85);
	assert_int_equal(b.level[INTR], 0);
	outb(&b, 0x20, 0x0b);
	assert_int_equal(inb(&b, 0x20), 0x20);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct pic *copy = make(&other);
	set(4, 1);
	pic_acknowledge(pic);
	set(1, 1);
	assert_int_equal(board_restore(copy, pic), 0);
	assert_int_equal(pic_acknowledge(copy), 0x21);
	outb(&other, 0x20, 0x0b);
	assert_int_equal(inb(&other, 0x20), 0x12);
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(priorities_and_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(slave_goes_through_cascade, setup, teardown),
		cmocka_unit_test_setup_teardown(special_fully_nested_lets_the_slave_nest, setup, teardown),
		cmocka_unit_test_setup_teardown(spurious_vectors, setup, teardown),
		cmocka_unit_test_setup_teardown(level_inputs_ask_again, setup, teardown),
		cmocka_unit_test_setup_teardown(automatic_eoi_and_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(slave_with_automatic_eoi_makes_a_new_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(rotation_by_command, setup, teardown),
		cmocka_unit_test_setup_teardown(special_mask_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(poll_acknowledges, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
