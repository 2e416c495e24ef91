/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/uart.h"

#define IRQ 4
#define BASE 0x3f8
enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct board b;
static struct uart *uart;
static uint8_t out[64];
static size_t out_length;
static unsigned rooms;

static void on_write(void *opaque, const uint8_t *data, size_t length)
{
	memcpy(out + out_length, data, length);
	out_length += length;
}

static void on_room(void *opaque)
{
	rooms++;
}

static struct uart *make(struct board *board)
{
	const struct uart_config config = {
		.name = "uart0", .lock = &board->lock, .ports = &board->ports, .base = BASE, .irq = board_line(board, IRQ),
		.clock = &board->clock, .output = { on_write, NULL }, .room = { on_room, NULL },
	};
	struct uart *made = uart_create(&config, NULL);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static uint8_t rd(unsigned reg) { return inb(&b, (uint16_t)(BASE + reg)); }
static void wr(unsigned reg, uint8_t value) { outb(&b, (uint16_t)(BASE + reg), value); }

static int setup(void **state)
{
	board_init(&b);
	uart = make(&b);
	out_length = rooms = 0;
	wr(LCR, 0x83);
	wr(RBR, 1); /* 115200 */
	wr(IER, 0);
	wr(LCR, 0x03);
	wr(MCR, 0x0b);
	return 0;
}

static int teardown(void **state)
{
	board_end(uart);
	board_destroy(&b);
	return 0;
}

static void receive(const char *text)
{
	assert_int_equal(uart_receive(uart, (const uint8_t *)text, strlen(text)), strlen(text));
}

static void transmit_leaves_at_once(void **state)
{
	assert_int_equal(rd(LSR), 0x60);
	wr(RBR, 'h');
	wr(RBR, 'i');
	assert_memory_equal(out, "hi", 2);
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(rd(IIR), 0x01);
	wr(IER, 0x02); /* the empty register is told when enabled */
	assert_int_equal(b.level[IRQ], 1);
	assert_int_equal(rd(IIR), 0x02); /* and reading acknowledges */
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(rd(IIR), 0x01);
	unsigned before = b.rises[IRQ];
	wr(RBR, 'x');
	wr(RBR, 'y'); /* an edge for each */
	assert_int_equal(b.rises[IRQ] - before, 2);
	wr(MCR, 0x03); /* without OUT2 no line */
	assert_int_equal(b.level[IRQ], 0);
}

static void fifo_trigger_and_timeout(void **state)
{
	wr(FCR, 0x81); /* trigger at 8 */
	wr(IER, 0x01);
	receive("1234567");
	assert_int_equal(b.level[IRQ], 0);
	assert_int_equal(rd(LSR), 0x61);
	receive("8");
	assert_int_equal(rd(IIR), 0xc4);
	assert_int_equal(rd(RBR), '1');
	assert_int_equal(rd(IIR), 0xc1);
	board_step(&b, 340 * US); /* four characters of ten bits: 347 us */
	assert_int_equal(b.level[IRQ], 0);
	board_step(&b, 10 * US);
	assert_int_equal(b.level[IRQ], 1);
	assert_int_equal(rd(IIR), 0xcc);
	assert_int_equal(rd(RBR), '2'); /* a read ends it and starts the time anew */
	assert_int_equal(rd(IIR), 0xc1);
	board_step(&b, 400 * US);
	assert_int_equal(rd(IIR), 0xcc);
	for (char c = '3'; c <= '8'; c++)
		assert_int_equal(rd(RBR), c);
	assert_int_equal(rd(IIR), 0xc1);
	board_step(&b, 1 * MS);
	assert_int_equal(b.level[IRQ], 0);
}

static void nothing_is_lost(void **state)
{
	wr(FCR, 0x01);
	uint8_t data[100];
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	size_t sent = uart_receive(uart, data, sizeof(data));
	assert_int_equal(sent, 16);
	assert_int_equal(rooms, 0);
	for (unsigned i = 0; i < sizeof(data); i++) {
		unsigned before = rooms;
		assert_int_equal(rd(LSR) & 0x03, 0x01); /* ready, no overrun */
		assert_int_equal(rd(RBR), i);
		if (sent < sizeof(data)) {
			assert_int_equal(rooms, before + 1);
			sent += uart_receive(uart, data + sent, sizeof(data) - sent);
		}
	}
	assert_int_equal(rd(LSR) & 1, 0);
	/* Without FIFOs one character at a time. */
	wr(FCR, 0);
	assert_int_equal(uart_receive(uart, data, 2), 1);
	/* A cleared FIFO is room too. */
	wr(FCR, 0x01);
	unsigned before = rooms;
	assert_int_equal(uart_receive(uart, data, 20), 16);
	wr(FCR, 0x03);
	assert_int_equal(rooms, before + 1);
	assert_int_equal(rd(LSR) & 1, 0);
}

static void priorities(void **state)
{
	wr(FCR, 0x01);
	rd(MSR);
	wr(IER, 0x0f);
	wr(MCR, 0x10); /* loopback: the modem inputs change */
	wr(MCR, 0x0b);
	receive("a");
	uart_break(uart);
	assert_int_equal(rd(IIR), 0xc4); /* the break is behind "a" */
	rd(RBR);
	assert_int_equal(rd(IIR), 0xc6);
	assert_int_equal(rd(LSR), 0xf1); /* break, error in FIFO */
	assert_int_equal(rd(IIR), 0xc4);
	assert_int_equal(rd(RBR), 0);
	assert_int_equal(rd(IIR), 0xc2);
	assert_int_equal(rd(IIR), 0xc0);
	assert_int_equal(rd(MSR) & 0xf0, 0xb0);
	assert_int_equal(rd(IIR), 0xc1);
}

static void loopback(void **state)
{
	wr(MCR, 0x10);
	assert_int_equal(rd(MSR) & 0xf0, 0x00);
	wr(MCR, 0x1a); /* RTS, OUT2 */
	assert_int_equal(rd(MSR), 0x99); /* CTS and DCD, and their changes */
	assert_int_equal(rd(MSR), 0x90);
	wr(RBR, 'q');
	assert_int_equal(out_length, 0);
	assert_int_equal(rd(RBR), 'q');
	wr(RBR, '1');
	wr(RBR, '2'); /* nobody read the first: overrun */
	assert_int_equal(rd(LSR), 0x63);
	assert_int_equal(rd(LSR), 0x61);
	assert_int_equal(uart_receive(uart, (const uint8_t *)"x", 1), 0); /* the line is cut off */
	wr(MCR, 0x0b);
	rd(RBR);
	assert_true(rooms >= 1);
}

static void registers(void **state)
{
	wr(SCR, 0x5a);
	assert_int_equal(rd(SCR), 0x5a);
	wr(IER, 0xff);
	assert_int_equal(rd(IER), 0x0f);
	wr(LCR, 0x80);
	assert_int_equal(rd(RBR), 1);
	assert_int_equal(rd(IER), 0);
	wr(LCR, 0x03);
	wr(FCR, 0xc0); /* no FIFO without its enable bit */
	assert_int_equal(rd(IIR) & 0xc0, 0);
	assert_int_equal(rd(MSR) & 0xf0, 0xb0);
}

static void state_survives_a_restore(void **state)
{
	struct board other;
	board_init(&other);
	struct uart *copy = make(&other);
	wr(FCR, 0xc1);
	wr(IER, 0x01);
	receive("abc");
	board_step(&b, 100 * US);
	other.now = b.now;
	assert_int_equal(board_restore(copy, uart), 0);
	board_step(&other, 250 * US);
	assert_int_equal(inb(&other, BASE + IIR), 0xcc);
	assert_int_equal(inb(&other, BASE), 'a');
	board_end(copy);
	board_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(transmit_leaves_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(fifo_trigger_and_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(registers, setup, teardown),
		cmocka_unit_test_setup_teardown(state_survives_a_restore, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
