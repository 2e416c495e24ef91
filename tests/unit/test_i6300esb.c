/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/pvpanic.h"
#include "dev/pci/i6300esb.h"

#define BASE 0xe0000000ull
#define DEVFN PCI_DEVFN(5, 0)
#define TICK_NS 993000ull /* a little less than 2^15 clocks of 33 MHz */

struct fixture {
	struct board board;
	struct pci_bus *bus;
	struct i6300esb *watchdog;
	unsigned expired;
};

static void expired(void *opaque)
{
	((struct fixture *)opaque)->expired++;
}

static struct i6300esb *add(struct fixture *f, uint8_t devfn)
{
	const struct i6300esb_config config = { .bus = f->bus, .devfn = devfn, .clock = &f->board.clock, .expired = expired, .opaque = f };
	struct i6300esb *w = i6300esb_create(&config, NULL);
	assert_non_null(w);
	device_reset((struct device *)w);
	pci_config_write(f->bus, devfn, PCI_BAR(0), (uint32_t)BASE + (uint32_t)(devfn - DEVFN) * 0x1000, 4);
	pci_config_write(f->bus, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	return w;
}

static void make(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	board_init(&f->board);
	const struct pci_bus_config bus = { &f->board.ports, &f->board.mmio, { 0 } };
	f->bus = pci_bus_create(&bus, NULL);
	assert_non_null(f->bus);
	device_reset(&f->bus->device);
	f->watchdog = add(f, DEVFN);
	assert_int_equal(pci_config_read(f->bus, DEVFN, 0, 4), 0x25ab8086);
}

static void end(struct fixture *f)
{
	board_end(f->watchdog);
	board_end(f->bus);
	board_destroy(&f->board);
}

static void put(struct fixture *f, unsigned offset, uint32_t value, unsigned size)
{
	io_write(&f->board.mmio, BASE + 0xc, 0x80, 2);
	io_write(&f->board.mmio, BASE + 0xc, 0x86, 2);
	io_write(&f->board.mmio, BASE + offset, value, size);
}

/* As Linux's driver does it: both stages of so many ticks. */
static void start(struct fixture *f, uint32_t ticks)
{
	pci_config_write(f->bus, DEVFN, 0x60, 3, 2);
	put(f, 0, ticks, 4);
	put(f, 4, ticks, 4);
	put(f, 0xc, 0x100, 2);
	pci_config_write(f->bus, DEVFN, 0x68, 2, 1);
}

static void two_stages(void **state)
{
	struct fixture f;
	make(&f);
	start(&f, 1000);
	board_step(&f.board, 1000 * TICK_NS - 10 * MS);
	assert_int_equal(io_read(&f.board.mmio, BASE + 8, 2), 0);
	board_step(&f.board, 20 * MS);
	assert_int_equal(io_read(&f.board.mmio, BASE + 8, 2), 1);
	put(&f, 0xc, 0x100, 2);
	io_write(&f.board.mmio, BASE + 8, 1, 2);
	assert_int_equal(io_read(&f.board.mmio, BASE + 8, 2), 0);
	for (unsigned i = 0; i < 10; i++) {
		board_step(&f.board, 1500 * TICK_NS);
		put(&f, 0xc, 0x100, 2);
	}
	assert_int_equal(f.expired, 0);
	board_step(&f.board, 2000 * TICK_NS - 10 * MS);
	assert_int_equal(f.expired, 0);
	assert_int_equal(io_read(&f.board.mmio, BASE + 0xc, 2), 0);
	board_step(&f.board, 20 * MS);
	assert_int_equal(f.expired, 1);
	/* What was outlives the reset, until it is cleared. */
	assert_int_equal(io_read(&f.board.mmio, BASE + 0xc, 2), 0x200);
	device_reset((struct device *)f.watchdog);
	pci_config_write(f.bus, DEVFN, PCI_BAR(0), (uint32_t)BASE, 4);
	pci_config_write(f.bus, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(io_read(&f.board.mmio, BASE + 0xc, 2), 0x200);
	put(&f, 0xc, 0x200, 2);
	assert_int_equal(io_read(&f.board.mmio, BASE + 0xc, 2), 0);
	board_step(&f.board, 100000 * MS);
	assert_int_equal(f.expired, 1);
	end(&f);
}

static void unlocking(void **state)
{
	struct fixture f;
	make(&f);
	io_write(&f.board.mmio, BASE, 5, 4);
	assert_int_equal(io_read(&f.board.mmio, BASE, 4), 0xfffff);
	io_write(&f.board.mmio, BASE + 0xc, 0x86, 2);
	io_write(&f.board.mmio, BASE + 0xc, 0x80, 2);
	io_write(&f.board.mmio, BASE, 5, 4);
	assert_int_equal(io_read(&f.board.mmio, BASE, 4), 0xfffff);
	put(&f, 0, 0xfff12345, 4);
	assert_int_equal(io_read(&f.board.mmio, BASE, 4), 0x12345);
	io_write(&f.board.mmio, BASE, 5, 4); /* each write wants its own */
	assert_int_equal(io_read(&f.board.mmio, BASE, 4), 0x12345);
	assert_int_equal(io_read(&f.board.mmio, BASE + 2, 2), 1);
	end(&f);
}

static void modes(void **state)
{
	struct fixture f;
	make(&f);
	start(&f, 10);
	pci_config_write(f.bus, DEVFN, 0x68, 0, 1);
	board_step(&f.board, 1000 * MS);
	assert_int_equal(f.expired, 0);
	/* The output is off. */
	start(&f, 10);
	pci_config_write(f.bus, DEVFN, 0x60, 0x23, 2);
	board_step(&f.board, 1000 * MS);
	assert_int_equal(f.expired, 0);
	assert_int_equal(io_read(&f.board.mmio, BASE + 0xc, 2), 0x200);
	/* The fast clock; locked, nothing stops it. */
	pci_config_write(f.bus, DEVFN, 0x68, 0, 1);
	pci_config_write(f.bus, DEVFN, 0x60, 4, 2);
	put(&f, 0, 0xfffff, 4);
	put(&f, 4, 0xfffff, 4);
	pci_config_write(f.bus, DEVFN, 0x68, 3, 1);
	pci_config_write(f.bus, DEVFN, 0x68, 0, 1);
	assert_int_equal(pci_config_read(f.bus, DEVFN, 0x68, 1), 3);
	board_step(&f.board, 2000 * MS);
	assert_int_equal(f.expired, 0);
	board_step(&f.board, 40 * MS);
	assert_int_equal(f.expired, 1);
	/* Free-running: never an end. */
	device_reset((struct device *)f.watchdog);
	pci_config_write(f.bus, DEVFN, PCI_BAR(0), (uint32_t)BASE, 4);
	pci_config_write(f.bus, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	put(&f, 0, 5, 4);
	put(&f, 4, 5, 4);
	pci_config_write(f.bus, DEVFN, 0x68, 6, 1);
	board_step(&f.board, 1000 * MS);
	assert_int_equal(f.expired, 1);
	assert_int_equal(io_read(&f.board.mmio, BASE + 8, 2), 1);
	end(&f);
}

static void saved(void **state)
{
	struct fixture f;
	make(&f);
	start(&f, 1000);
	board_step(&f.board, 1500 * TICK_NS);
	struct i6300esb *other = add(&f, PCI_DEVFN(6, 0));
	fields_copy(((struct device *)other)->type->fields, other, other);
	((struct device *)f.watchdog)->type->saving(f.watchdog);
	/* All but the place on the bus. */
	uint32_t bar = pci_config_read(f.bus, PCI_DEVFN(6, 0), PCI_BAR(0), 4);
	fields_copy(((struct device *)other)->type->fields, other, f.watchdog);
	pci_config_write(f.bus, PCI_DEVFN(6, 0), PCI_BAR(0), bar, 4);
	assert_int_equal(((struct device *)other)->type->loaded(other, NULL), 0);
	device_reset((struct device *)f.watchdog);
	board_step(&f.board, 490 * TICK_NS);
	assert_int_equal(f.expired, 0);
	board_step(&f.board, 30 * TICK_NS);
	assert_int_equal(f.expired, 1);
	board_end(other);
	end(&f);
}

static unsigned events;

static void on_event(void *opaque, unsigned bits)
{
	events = events << 4 | bits;
}

static void panics(void **state)
{
	struct board board;
	board_init(&board);
	const struct pvpanic_config config = { .lock = &board.lock, .ports = &board.ports, .event = on_event };
	struct pvpanic *p = pvpanic_create(&config, NULL);
	assert_non_null(p);
	assert_int_equal(inb(&board, 0x505), 3);
	outb(&board, 0x505, 0);
	outb(&board, 0x505, 0xf0);
	assert_int_equal(events, 0);
	outb(&board, 0x505, 1);
	outb(&board, 0x505, 2);
	assert_int_equal(events, 0x12);
	board_end(p);
	board_destroy(&board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_stages),
		cmocka_unit_test(unlocking),
		cmocka_unit_test(modes),
		cmocka_unit_test(saved),
		cmocka_unit_test(panics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
