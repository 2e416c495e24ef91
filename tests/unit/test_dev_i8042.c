/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/i8042.h"

#define KBD 1
#define AUX 12

static struct board b;
static struct i8042 *dev;
static unsigned resets, lights;
static int a20 = -1;

static void on_reset(void *opaque) { resets++; }
static void on_a20(void *opaque, bool on) { a20 = on; }
static void on_leds(void *opaque, unsigned leds) { lights = leds; }

static struct i8042 *make(struct board *board)
{
	const struct i8042_config config = {
		.lock = &board->lock, .ports = &board->ports, .clock = &board->clock, .keyboard_irq = board_line(board, KBD),
		.mouse_irq = board_line(board, AUX), .reset = on_reset, .a20 = on_a20, .leds = on_leds,
	};
	struct i8042 *made = i8042_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static int setup(void **state)
{
	board_init(&b);
	dev = make(&b);
	resets = 0;
	return 0;
}

static int teardown(void **state)
{
	board_end(dev);
	board_destroy(&b);
	return 0;
}

static void command(uint8_t value) { outb(&b, 0x64, value); }
static void data(uint8_t value) { outb(&b, 0x60, value); }

/* The next byte; `aux`: it must come from the mouse. -1: there is none. */
static int next(bool aux)
{
	uint8_t status = inb(&b, 0x64);
	if (!(status & 1))
		return -1;
	assert_int_equal(!!(status & 0x20), aux);
	return inb(&b, 0x60);
}

static void expect(bool aux, const char *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(next(aux), (uint8_t)bytes[i]);
	assert_int_equal(next(aux), -1);
}

static void mouse(uint8_t value)
{
	command(0xd4);
	data(value);
}

static void mouse_on(void)
{
	mouse(0xf4);
	expect(true, "\xfa", 1);
}

static void controller_commands(void **state)
{
	command(0xaa);
	expect(false, "\x55", 1);
	assert_int_equal(inb(&b, 0x64) & 0x0c, 0x0c);
	command(0xab);
	expect(false, "\0", 1);
	command(0x60);
	data(0x30);
	command(0x20);
	expect(false, "\x30", 1);
	command(0xa8);
	command(0xae);
	command(0x20);
	expect(false, "\0", 1);
	command(0xd3); /* loopback of the mouse port */
	data(0xa5);
	expect(true, "\xa5", 1);
	assert_int_equal(b.rises[AUX], 0);
	command(0x60);
	data(0x03);
	command(0xd3);
	data(0x5a);
	assert_int_equal(b.level[AUX], 1);
	expect(true, "\x5a", 1);
	assert_int_equal(b.level[AUX], 0);
	command(0x61);
	data(0x99);
	command(0x21);
	expect(false, "\x99", 1);
}

static void reset_and_a20(void **state)
{
	command(0xd1);
	data(0xdd);
	assert_int_equal(a20, 0);
	command(0xd0);
	assert_int_equal(next(false) & 3, 1);
	outb(&b, 0x92, 2);
	assert_int_equal(a20, 1);
	assert_int_equal(inb(&b, 0x92) & 2, 2);
	assert_int_equal(resets, 0);
	command(0xfe);
	assert_int_equal(resets, 1);
	command(0xff); /* pulses nothing */
	assert_int_equal(resets, 1);
	outb(&b, 0x92, 3);
	assert_int_equal(resets, 2);
	command(0xd1);
	data(0xde);
	assert_int_equal(resets, 3);
}

static void keys_in_all_sets(void **state)
{
	i8042_key(dev, 30, true); /* A, translated to set 1 */
	assert_int_equal(b.level[KBD], 1);
	i8042_key(dev, 30, false);
	i8042_key(dev, 103, true); /* up */
	i8042_key(dev, 103, false);
	expect(false, "\x1e\x9e\xe0\x48\xe0\xc8", 6);
	assert_int_equal(b.level[KBD], 0);
	assert_int_equal(b.rises[KBD], 6);
	command(0x60);
	data(0x05); /* no translation: set 2 */
	i8042_key(dev, 30, true);
	i8042_key(dev, 30, false);
	i8042_key(dev, 103, true);
	i8042_key(dev, 103, false);
	expect(false, "\x1c\xf0\x1c\xe0\x75\xe0\xf0\x75", 8);
	i8042_key(dev, 119, true); /* pause */
	i8042_key(dev, 119, false);
	expect(false, "\xe1\x14\x77\xe1\xf0\x14\xf0\x77", 8);
	data(0xf0);
	data(3);
	expect(false, "\xfa\xfa", 2);
	data(0xf0);
	data(0);
	expect(false, "\xfa\xfa\x03", 3);
	i8042_key(dev, 29, true); /* left control tells of its release, escape does not */
	i8042_key(dev, 29, false);
	i8042_key(dev, 1, true);
	i8042_key(dev, 1, false);
	expect(false, "\x11\xf0\x11\x08", 4);
	data(0xf8); /* all keys make and break */
	expect(false, "\xfa", 1);
	i8042_key(dev, 1, true);
	i8042_key(dev, 1, false);
	expect(false, "\x08\xf0\x08", 3);
	data(0xfd); /* but F1 */
	data(0x07);
	data(0xf4);
	expect(false, "\xfa\xfa", 2); /* the command emptied the keyboard of the second acknowledge */
	i8042_key(dev, 59, true);
	i8042_key(dev, 59, false);
	expect(false, "\x07", 1);
}

static void every_linux_code_translates_to_itself(void **state)
{
	for (unsigned code = 1; code <= 88; code++) {
		if (code == 84 || code == 85)
			continue;
		i8042_key(dev, code, true);
		assert_int_equal(next(false), code);
		i8042_key(dev, code, false);
		assert_int_equal(next(false), code | 0x80);
		assert_int_equal(next(false), -1);
	}
}

static void keyboard_commands(void **state)
{
	data(0xff);
	expect(false, "\xfa\xaa", 2);
	data(0xf2);
	expect(false, "\xfa\xab\x41", 3); /* translated */
	data(0xed);
	expect(false, "\xfa", 1);
	data(0x07);
	expect(false, "\xfa", 1);
	assert_int_equal(lights, 7);
	data(0xee);
	expect(false, "\xee", 1);
	data(0x12); /* no such command */
	expect(false, "\xfe", 1);
	data(0xf5);
	expect(false, "\xfa", 1);
	i8042_key(dev, 30, true);
	assert_int_equal(next(false), -1);
	data(0xf4);
	expect(false, "\xfa", 1);
	data(0xfe); /* again */
	expect(false, "\xfa", 1);
	command(0xad); /* the interface is off: the keyboard waits */
	i8042_key(dev, 30, true);
	assert_int_equal(next(false), -1);
	command(0xae);
	assert_int_equal(next(false), 0x1e);
}

static void typematic(void **state)
{
	i8042_key(dev, 30, true);
	assert_int_equal(next(false), 0x1e);
	board_step(&b, 499 * MS);
	assert_int_equal(next(false), -1);
	board_step(&b, 2 * MS);
	assert_int_equal(next(false), 0x1e);
	board_step(&b, 90 * MS);
	assert_int_equal(next(false), -1);
	board_step(&b, 2 * MS); /* 10.9 a second */
	assert_int_equal(next(false), 0x1e);
	i8042_key(dev, 30, false);
	assert_int_equal(next(false), 0x9e);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(next(false), -1);
	data(0xf3);
	data(0x00); /* 250 ms, 30 a second */
	expect(false, "\xfa\xfa", 2);
	i8042_key(dev, 31, true);
	board_step(&b, 250 * MS + 34 * MS);
	expect(false, "\x1f\x1f\x1f", 3);
	board_step(&b, 100 * NS_PER_SEC); /* nobody reads: the buffer ends it */
	for (unsigned i = 0; i < 40; i++)
		if (next(false) < 0)
			return;
	fail();
}

static void mouse_packets(void **state)
{
	mouse(0xff);
	expect(true, "\xfa\xaa\x00", 3);
	i8042_mouse(dev, 5, 5, 0, 0); /* not reporting yet */
	assert_int_equal(next(true), -1);
	mouse_on();
	i8042_mouse(dev, 5, -3, 0, MOUSE_LEFT);
	assert_int_equal(b.level[AUX], 1);
	expect(true, "\x09\x05\x03", 3);
	i8042_mouse(dev, -1, 1, 0, 0);
	expect(true, "\x38\xff\xff", 3);
	i8042_mouse(dev, 300, 0, 0, 0); /* more than a packet holds */
	expect(true, "\x08\xff\x00\x08\x2d\x00", 6);
	mouse(0xe9);
	expect(true, "\xfa\x20\x02\x64", 4);
	mouse(0xf5);
	expect(true, "\xfa", 1);
	mouse(0xf0); /* remote */
	expect(true, "\xfa", 1);
	i8042_mouse(dev, 7, 0, 0, MOUSE_RIGHT);
	assert_int_equal(next(true), -1);
	mouse(0xeb);
	expect(true, "\xfa\x0a\x07\x00", 4);
	mouse(0xee); /* wrap */
	expect(true, "\xfa", 1);
	mouse(0x42);
	expect(true, "\x42", 1);
	mouse(0xec);
	expect(true, "\xfa", 1);
}

static void rate(uint8_t value)
{
	mouse(0xf3);
	expect(true, "\xfa", 1);
	mouse(value);
	expect(true, "\xfa", 1);
}

static void intellimouse(void **state)
{
	rate(200);
	rate(100);
	rate(80);
	mouse(0xf2);
	expect(true, "\xfa\x03", 2);
	mouse_on();
	i8042_mouse(dev, 0, 0, -1, MOUSE_MIDDLE);
	expect(true, "\x0c\x00\x00\xff", 4);
	rate(200);
	rate(200);
	rate(80);
	mouse(0xf2);
	expect(true, "\xfa\x04", 2);
	i8042_mouse(dev, 0, 0, 1, MOUSE_SIDE | MOUSE_EXTRA);
	expect(true, "\x08\x00\x00\x31", 4);
	mouse(0xf6);
	expect(true, "\xfa", 1);
	mouse(0xff);
	expect(true, "\xfa\xaa\x00", 3);
	mouse(0xf2);
	expect(true, "\xfa\x00", 2);
}

static void mouse_movement_piles_up(void **state)
{
	mouse_on();
	int sum = 0, x;
	for (unsigned i = 0; i < 1000; i++)
		i8042_mouse(dev, 10, 0, 0, 0);
	while ((x = next(true)) >= 0) {
		sum += next(true);
		next(true);
	}
	assert_int_equal(sum, 10000);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct i8042 *copy = make(&other);
	i8042_key(dev, 30, true);
	i8042_key(dev, 31, true);
	assert_int_equal(next(false), 0x1e);
	board_step(&b, 100 * MS);
	other.now = b.now;
	assert_int_equal(board_restore(copy, dev), 0);
	assert_int_equal(inb(&other, 0x60), 0x1f);
	board_step(&other, 401 * MS);
	assert_int_equal(inb(&other, 0x64) & 1, 1);
	assert_int_equal(inb(&other, 0x60), 0x1f);
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(controller_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_and_a20, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_in_all_sets, setup, teardown),
		cmocka_unit_test_setup_teardown(every_linux_code_translates_to_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(keyboard_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(typematic, setup, teardown),
		cmocka_unit_test_setup_teardown(mouse_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(intellimouse, setup, teardown),
		cmocka_unit_test_setup_teardown(mouse_movement_piles_up, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
