/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"
#include "virtio_rig.h"

#include "dev/virtio/input.h"

#define EVENTS 0x200000ull
enum { EVENT_QUEUE, STATUS_QUEUE };

struct input_rig {
	struct rig rig;
	struct virtio_input *input;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[2];
	unsigned given, seen;
};

static void make(struct input_rig *r, enum virtio_input_kind kind)
{
	*r = (struct input_rig){ 0 };
	rig_init(&r->rig);
	const struct virtio_input_config config = { { "input", { &r->rig.memory }, rig_worker(&r->rig) }, kind };
	r->input = virtio_input_create(&config, NULL);
	assert_non_null(r->input);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_input_device(r->input) };
	r->pci = virtio_pci_create(&pci, NULL);
	assert_non_null(r->pci);
	device_reset((struct device *)r->input);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
	assert_false(virtio_input_driven(r->input));
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1));
	for (unsigned i = 0; i < 2; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 64);
	driver_ok(&r->driver);
	assert_true(virtio_input_driven(r->input));
}

static void end(struct input_rig *r)
{
	rig_run(&r->rig, false);
	board_end(r->pci);
	board_end(r->input);
	rig_destroy(&r->rig);
}

static unsigned select_config(struct input_rig *r, unsigned select, unsigned subsel)
{
	io_write(&r->rig.mmio, r->driver.config, select, 1);
	io_write(&r->rig.mmio, r->driver.config + 1, subsel, 1);
	return (unsigned)io_read(&r->rig.mmio, r->driver.config + 2, 1);
}

static uint64_t data(struct input_rig *r, unsigned at, unsigned size)
{
	return io_read(&r->rig.mmio, r->driver.config + 8 + at, size);
}

static void give(struct input_rig *r, unsigned count)
{
	for (; count--; r->given++) {
		const struct buffer buffer = { EVENTS + r->given * 8, 8, true };
		queue_add(&r->queue[EVENT_QUEUE], &buffer, 1);
	}
	queue_notify(&r->queue[EVENT_QUEUE]);
	rig_run(&r->rig, false);
}

static void expect(struct input_rig *r, unsigned type, unsigned code, uint32_t value)
{
	assert_int_equal(queue_wait(&r->queue[EVENT_QUEUE], NULL), 8);
	uint64_t at = EVENTS + 8 * r->seen++;
	assert_int_equal(guest_load(&r->rig, at, 2), type);
	assert_int_equal(guest_load(&r->rig, at + 2, 2), code);
	assert_int_equal(guest_load(&r->rig, at + 4, 4), value);
}

static void expect_nothing(struct input_rig *r)
{
	assert_int_equal(queue_used(&r->queue[EVENT_QUEUE]), r->queue[EVENT_QUEUE].used_seen);
}

static void keyboard(void **state)
{
	struct input_rig r;
	make(&r, VIRTIO_INPUT_KEYBOARD);
	assert_int_equal(select_config(&r, 1, 0), 14);
	assert_int_equal(data(&r, 0, 1), 'v');
	assert_int_equal(select_config(&r, 3, 0), 8);
	assert_int_equal(select_config(&r, 0x11, 1), 16);
	assert_int_equal(data(&r, 0, 8), ~1ull);
	assert_int_equal(select_config(&r, 0x11, 3), 0);
	assert_int_equal(select_config(&r, 0x12, 0), 0);
	assert_int_equal(select_config(&r, 0xff, 0xff), 0);
	assert_int_equal(data(&r, 0, 8), 0);
	give(&r, 8);
	virtio_input_key(r.input, 30, true);
	expect(&r, 1, 30, 1);
	expect(&r, 0, 0, 0);
	virtio_input_key(r.input, 0, true);
	virtio_input_key(r.input, 128, true);
	expect_nothing(&r);
	/* What the guest has no buffers for comes later, in order; what is too much is lost in whole reports. */
	for (unsigned i = 0; i < 400; i++)
		virtio_input_key(r.input, 1 + i % 100, true);
	for (unsigned i = 0; i < 3; i++) {
		expect(&r, 1, 1 + i, 1);
		expect(&r, 0, 0, 0);
	}
	expect_nothing(&r);
	for (unsigned i = 3; i < 131; i++) {
		give(&r, 2);
		expect(&r, 1, 1 + i % 100, 1);
		expect(&r, 0, 0, 0);
	}
	give(&r, 2);
	expect_nothing(&r);
	/* Lamps. */
	const struct buffer lamp = { 0x300000, 8, false };
	queue_add(&r.queue[STATUS_QUEUE], &lamp, 1);
	queue_notify(&r.queue[STATUS_QUEUE]);
	queue_wait(&r.queue[STATUS_QUEUE], NULL);
	end(&r);
}

/* A guest that forbids access to its memory hears nothing, and holds nobody up. */
static void without_memory(void **state)
{
	struct input_rig r;
	make(&r, VIRTIO_INPUT_KEYBOARD);
	give(&r, 8);
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	virtio_input_key(r.input, 30, true);
	expect_nothing(&r);
	cfg_write(&r.rig, RIG_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	virtio_input_key(r.input, 30, false);
	for (unsigned i = 0; i < 2; i++) {
		expect(&r, 1, 30, !i);
		expect(&r, 0, 0, 0);
	}
	end(&r);
}

static void tablet(void **state)
{
	struct input_rig r;
	make(&r, VIRTIO_INPUT_TABLET);
	assert_int_equal(select_config(&r, 0x12, 1), 20);
	assert_int_equal(data(&r, 0, 8), (uint64_t)VIRTIO_INPUT_RANGE << 32);
	assert_int_equal(select_config(&r, 0x11, 3), 1);
	assert_int_equal(data(&r, 0, 1), 3);
	assert_int_equal(select_config(&r, 0x11, 1), 35);
	assert_int_equal(data(&r, 34, 1), 7);
	give(&r, 20);
	virtio_input_pointer(r.input, 100, 200, 0, 0);
	expect(&r, 3, 0, 100);
	expect(&r, 3, 1, 200);
	expect(&r, 0, 0, 0);
	virtio_input_pointer(r.input, 50000, 0, -1, 5);
	expect(&r, 3, 0, VIRTIO_INPUT_RANGE);
	expect(&r, 3, 1, 0);
	expect(&r, 1, 0x110, 1);
	expect(&r, 1, 0x112, 1);
	expect(&r, 2, 8, 1);
	expect(&r, 0, 0, 0);
	virtio_input_pointer(r.input, 1, 1, 0, 4);
	expect(&r, 3, 0, 1);
	expect(&r, 3, 1, 1);
	expect(&r, 1, 0x110, 0);
	expect(&r, 0, 0, 0);
	/* A copy that was loaded shows the same page of its configuration. */
	select_config(&r, 0x12, 0);
	const struct virtio_input_config config = { { "input", { &r.rig.memory }, rig_worker(&r.rig) }, VIRTIO_INPUT_TABLET };
	struct virtio_input *other = virtio_input_create(&config, NULL);
	device_reset((struct device *)other);
	assert_int_equal(board_restore(other, r.input), 0);
	assert_int_equal(virtio_read_config(virtio_input_device(other), 2, 1), 20);
	rig_run(&r.rig, false);
	board_end(other);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(keyboard), cmocka_unit_test(without_memory), cmocka_unit_test(tablet) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
