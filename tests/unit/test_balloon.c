/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"
#include "virtio_rig.h"

#include "dev/virtio/balloon.h"

#define PAGE 4096ull
#define PFNS 0x200000ull
#define STATS 0x210000ull
#define F_STATS 2ull
#define F_REPORTING 32ull
enum { INFLATE, DEFLATE, THIRD };

struct balloon_rig {
	struct rig rig;
	struct board board; /* for its clock */
	struct virtio_balloon *balloon;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[5];
};

static void start(struct balloon_rig *r, uint64_t features)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | features));
	for (unsigned i = 0; i < 5; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 128);
	driver_ok(&r->driver);
}

static void make(struct balloon_rig *r)
{
	struct error err = { 0 };
	rig_init(&r->rig);
	board_init(&r->board);
	const struct virtio_balloon_config config = { { "balloon", { &r->rig.memory }, rig_worker(&r->rig) }, &r->board.clock };
	r->balloon = virtio_balloon_create(&config, &err);
	assert_non_null(r->balloon);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_balloon_device(r->balloon) };
	r->pci = virtio_pci_create(&pci, &err);
	assert_non_null(r->pci);
	device_reset((struct device *)r->balloon);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
	assert_int_equal(driver_offered(&r->driver) & 0xff, 0x26);
}

static void end(struct balloon_rig *r)
{
	rig_run(&r->rig, false);
	board_end(r->pci);
	board_end(r->balloon);
	board_destroy(&r->board);
	rig_destroy(&r->rig);
}

static void give(struct balloon_rig *r, unsigned queue, const uint32_t *pfns, unsigned count)
{
	const struct buffer buffer = { PFNS, count * 4, false };
	guest_write(&r->rig, PFNS, pfns, count * 4);
	queue_add(&r->queue[queue], &buffer, 1);
	queue_notify(&r->queue[queue]);
	queue_wait(&r->queue[queue], NULL);
}

static void inflating(void **state)
{
	struct balloon_rig r;
	make(&r);
	start(&r, 0);
	struct guest_memory *memory = &r.rig.memory;
	for (unsigned i = 0; i < 256; i++)
		guest_store(&r.rig, 0x800000 + i * PAGE + 8, 0x1122334455667788ull, 8);
	uint32_t generation = memory->code_generation[0x800];
	memory_mark_code(memory, 0x800000, 64);
	guest_store(&r.rig, PFNS, 0, 8);
	uint64_t before = memory_resident(memory);
	virtio_balloon_set(r.balloon, 256 * PAGE);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 256);
	/* Every other page first, in no order; then all, and some that are no RAM. */
	uint32_t pfns[300];
	for (unsigned i = 0; i < 128; i++)
		pfns[i] = 0x800 + (i * 85 % 128) * 2;
	give(&r, INFLATE, pfns, 128);
	assert_int_equal(before - memory_resident(memory), 128 * PAGE);
	assert_int_equal(guest_load(&r.rig, 0x800008, 8), 0);
	assert_int_equal(guest_load(&r.rig, 0x801008, 8), 0x1122334455667788ull);
	assert_true(memory->code_generation[0x800] != generation); /* what was decoded there is not any more */
	for (unsigned i = 0; i < 256; i++)
		pfns[i] = 0x8ff - i;
	for (unsigned i = 256; i < 300; i++)
		pfns[i] = 0xfffff000u + i;
	give(&r, INFLATE, pfns, 300);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(guest_load(&r.rig, 0x800008 + i * PAGE, 8), 0);
	io_write(&r.rig.mmio, r.driver.config + 4, 256, 4);
	struct virtio_balloon_state s;
	virtio_balloon_query(r.balloon, &s);
	assert_true(s.driver);
	assert_int_equal(s.wanted, 256 * PAGE);
	assert_int_equal(s.actual, 256 * PAGE);
	assert_int_equal(s.given_back, (128 + 256) * PAGE);
	/* A driver writes the number of pages in vain. */
	io_write(&r.rig.mmio, r.driver.config, 5, 4);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 256);
	give(&r, DEFLATE, pfns, 256);
	guest_store(&r.rig, 0x800008, 7, 8);
	assert_int_equal(guest_load(&r.rig, 0x800008, 8), 7);
	/* The target outlives a reset of the device. */
	start(&r, 0);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 256);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 4, 4), 0);
	end(&r);
}

static void config_interrupt(void **state)
{
	struct balloon_rig r;
	make(&r);
	start(&r, 0);
	driver_enable_msix(&r.driver, 6);
	io_write(&r.rig.mmio, REG(&r.driver, 0x10), 2, 2);
	unsigned generation = (unsigned)io_read(&r.rig.mmio, REG(&r.driver, 0x15), 1);
	virtio_balloon_set(r.balloon, 1 << 20);
	assert_int_equal(r.rig.msi_count, 1);
	assert_int_equal(r.rig.msi_data, 0x42);
	assert_int_not_equal(io_read(&r.rig.mmio, REG(&r.driver, 0x15), 1), generation);
	virtio_balloon_set(r.balloon, 1 << 20);
	assert_int_equal(r.rig.msi_count, 1);
	end(&r);
}

/* The number of the queue is the specification's, or Linux's, which counts those that are there. */
static void reporting(void **state)
{
	static const struct { uint64_t features; unsigned queue; } cases[] = {
		{ F_REPORTING, 2 }, { F_REPORTING | F_STATS, 3 }, { F_REPORTING | F_STATS, 4 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct balloon_rig r;
		struct virtio_balloon_state s;
		make(&r);
		start(&r, cases[i].features);
		struct driver_queue *queue = &r.queue[cases[i].queue];
		for (unsigned p = 0; p < 64; p++)
			guest_store(&r.rig, 0x800000 + p * PAGE, 7, 8);
		uint64_t before = memory_resident(&r.rig.memory);
		/* Whole pages inside go, the rest stays. */
		const struct buffer buffers[] = { { 0x800000, 16 * PAGE, true }, { 0x810008, 2 * PAGE, true } };
		queue_add(queue, buffers, 2);
		queue_notify(queue);
		queue_wait(queue, NULL);
		assert_int_equal(before - memory_resident(&r.rig.memory), 17 * PAGE);
		assert_int_equal(guest_load(&r.rig, 0x800000, 8), 0);
		assert_int_equal(guest_load(&r.rig, 0x810000, 8), 7);
		assert_int_equal(guest_load(&r.rig, 0x811000, 8), 0);
		assert_int_equal(guest_load(&r.rig, 0x812000, 8), 7);
		virtio_balloon_query(r.balloon, &s);
		assert_int_equal(s.reported, 17 * PAGE);
		end(&r);
	}
}

static void put_stat(struct balloon_rig *r, unsigned n, unsigned tag, uint64_t value)
{
	guest_store(&r->rig, STATS + 10 * n, tag, 2);
	guest_store(&r->rig, STATS + 10 * n + 2, value, 8);
}

static void statistics(void **state)
{
	struct balloon_rig r;
	struct virtio_balloon_state s;
	make(&r);
	start(&r, F_STATS);
	struct driver_queue *queue = &r.queue[THIRD];
	virtio_balloon_query(r.balloon, &s);
	assert_int_equal(s.stats[BALLOON_FREE], UINT64_MAX);
	put_stat(&r, 0, BALLOON_FREE, 1000);
	put_stat(&r, 1, BALLOON_TOTAL, 2000);
	put_stat(&r, 2, 999, 3000);
	const struct buffer buffer = { STATS, 30, false };
	queue_add(queue, &buffer, 1);
	queue_notify(queue);
	rig_run(&r.rig, true);
	assert_int_equal(queue_used(queue), 0); /* the buffer waits for the next question */
	virtio_balloon_query(r.balloon, &s);
	assert_int_equal(s.stats[BALLOON_FREE], 1000);
	assert_int_equal(s.stats[BALLOON_TOTAL], 2000);
	assert_int_equal(s.stats[BALLOON_CACHES], UINT64_MAX);
	assert_int_equal(queue_used(queue), 1);
	queue_wait(queue, NULL);
	/* Asked again in its time, also by the machine that was restored from this one. */
	put_stat(&r, 0, BALLOON_FREE, 500);
	queue_add(queue, &buffer, 1);
	queue_notify(queue);
	rig_run(&r.rig, true);
	assert_int_equal(queue_used(queue), 1);
	const struct virtio_balloon_config config = { { "balloon", { &r.rig.memory }, rig_worker(&r.rig) }, &r.board.clock };
	struct virtio_balloon *other = virtio_balloon_create(&config, NULL);
	device_reset((struct device *)other);
	assert_int_equal(board_restore(other, r.balloon), 0);
	board_step(&r.board, 4000 * MS);
	assert_int_equal(queue_used(queue), 1);
	((struct virtio_device *)r.balloon)->status = 0; /* the old one does no more */
	board_step(&r.board, 2000 * MS);
	assert_int_equal(queue_used(queue), 2);
	rig_run(&r.rig, false); /* what the load has posted */
	board_end(other);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inflating),
		cmocka_unit_test(config_interrupt),
		cmocka_unit_test(reporting),
		cmocka_unit_test(statistics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
