/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_VIRTIO_RIG_H
#define VISOR_TESTS_VIRTIO_RIG_H

/*
 * A board without processors for tests of PCI and virtio: memory, spaces, a bus, a
 * worker that the test runs by hand, a sink that notes messages. The driver model below
 * reaches a device only as a guest does: ports 0xcf8/0xcfc, BARs, rings in guest memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#include "dev/virtio/virtio_pci.h"
#include "mem/dma.h"

#define RIG_RAM (16u << 20)
#define RIG_DEVFN PCI_DEVFN(4, 0)
#define RIG_JOBS 256

struct rig {
	struct guest_memory memory;
	struct io_space io, mmio;
	struct pci_bus *bus;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	struct { void (*fn)(void *); void *arg; } jobs[RIG_JOBS];
	unsigned job_count;
	unsigned msi_count;
	uint64_t msi_address;
	uint32_t msi_data;
	int pirq[4];
};

static void rig_post(void *opaque, void (*fn)(void *), void *arg)
{
	struct rig *rig = opaque;
	pthread_mutex_lock(&rig->mutex);
	assert_true(rig->job_count < RIG_JOBS);
	rig->jobs[rig->job_count].fn = fn;
	rig->jobs[rig->job_count++].arg = arg;
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->mutex);
}

static inline struct worker rig_worker(struct rig *rig)
{
	return (struct worker){ rig_post, rig };
}

/* Runs what has been posted; with `wait`, waits for the first job up to five seconds. False: nothing was there. */
static inline bool rig_run(struct rig *rig, bool wait)
{
	struct timespec until;
	bool any = false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	pthread_mutex_lock(&rig->mutex);
	while (wait && !rig->job_count && pthread_cond_timedwait(&rig->cond, &rig->mutex, &until) == 0)
		;
	while (rig->job_count) {
		void (*fn)(void *) = rig->jobs[0].fn;
		void *arg = rig->jobs[0].arg;
		memmove(rig->jobs, rig->jobs + 1, --rig->job_count * sizeof(rig->jobs[0]));
		pthread_mutex_unlock(&rig->mutex);
		fn(arg);
		any = true;
		pthread_mutex_lock(&rig->mutex);
	}
	pthread_mutex_unlock(&rig->mutex);
	return any;
}

static void rig_msi(void *opaque, uint64_t address, uint32_t data)
{
	struct rig *rig = opaque;
	rig->msi_count++;
	rig->msi_address = address;
	rig->msi_data = data;
}

static void rig_pirq(void *opaque, unsigned pirq, int level)
{
	struct rig *rig = opaque;
	rig->pirq[pirq] = level;
}

static inline void rig_init_for(struct rig *rig, uint64_t device_memory)
{
	struct error err = { 0 };
	*rig = (struct rig){ 0 };
	pthread_mutex_init(&rig->mutex, NULL);
	pthread_cond_init(&rig->cond, NULL);
	assert_int_equal(memory_init_for(&rig->memory, RIG_RAM, device_memory, &err), 0);
	assert_int_equal(io_space_init(&rig->io, 0x10000, &err), 0);
	assert_int_equal(io_space_init(&rig->mmio, 1ull << 46, &err), 0);
	const struct pci_bus_config config = { &rig->io, &rig->mmio, { rig_msi, rig } };
	rig->bus = pci_bus_create(&config, &err);
	assert_non_null(rig->bus);
	rig->bus->router = (struct pirq_router){ rig_pirq, rig };
	device_reset(&rig->bus->device);
}

static inline void rig_init(struct rig *rig)
{
	rig_init_for(rig, 0);
}

static inline void rig_destroy(struct rig *rig)
{
	rig->bus->device.type->destroy(rig->bus);
	io_space_destroy(&rig->io);
	io_space_destroy(&rig->mmio);
	memory_destroy(&rig->memory);
	pthread_mutex_destroy(&rig->mutex);
	pthread_cond_destroy(&rig->cond);
}

/* Configuration mechanism #1. */
static inline uint32_t cfg_read(struct rig *rig, uint8_t devfn, unsigned offset, unsigned size)
{
	io_write(&rig->io, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfc), 4);
	return (uint32_t)io_read(&rig->io, 0xcfc + (offset & 3), size);
}

static inline void cfg_write(struct rig *rig, uint8_t devfn, unsigned offset, uint32_t value, unsigned size)
{
	io_write(&rig->io, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfc), 4);
	io_write(&rig->io, 0xcfc + (offset & 3), value, size);
}

static inline unsigned cfg_find_capability(struct rig *rig, uint8_t devfn, uint8_t id, int virtio_type)
{
	unsigned at = cfg_read(rig, devfn, PCI_CAPABILITY_POINTER, 1);
	for (int limit = 0; at && limit < 48; limit++) {
		bool match = cfg_read(rig, devfn, at, 1) == id;
		if (match && (virtio_type < 0 || cfg_read(rig, devfn, at + 3, 1) == (unsigned)virtio_type))
			return at;
		at = cfg_read(rig, devfn, at + 1, 1);
	}
	return 0;
}

struct driver {
	struct rig *rig;
	uint64_t common, notify, isr, config, msix;
	uint32_t multiplier;
	unsigned access;
};

#define DRIVER_QUEUE_MAX 256

/* A queue of the driver's: rings at fixed places, descriptors handed out in a circle. */
struct driver_queue {
	struct driver *driver;
	unsigned index, size;
	uint64_t desc, avail, used;
	uint16_t avail_index, used_seen, next_desc;
	bool event_index;
};

#define REG(driver, offset) ((driver)->common + (offset))

static inline uint64_t driver_bar_address(struct rig *rig, unsigned cap)
{
	unsigned bar = cfg_read(rig, RIG_DEVFN, cap + 4, 1);
	uint32_t low = cfg_read(rig, RIG_DEVFN, PCI_BAR(bar), 4);
	uint64_t base = low & ~15u;
	if ((low & 6) == 4)
		base |= (uint64_t)cfg_read(rig, RIG_DEVFN, PCI_BAR(bar + 1), 4) << 32;
	return base + cfg_read(rig, RIG_DEVFN, cap + 8, 4);
}

static inline void driver_find(struct driver *driver, struct rig *rig)
{
	const struct pci_windows windows = { 0xc000, 0xd000, 0xe0000000, 0xf0000000, { 10, 10, 11, 11 } };
	struct error err = { 0 };
	*driver = (struct driver){ .rig = rig };
	assert_int_equal(pci_bus_assign(rig->bus, &windows, &err), 0);
	uint16_t command = (uint16_t)cfg_read(rig, RIG_DEVFN, PCI_COMMAND, 2);
	assert_int_equal(command & 7, PCI_COMMAND_MEMORY);
	cfg_write(rig, RIG_DEVFN, PCI_COMMAND, command | PCI_COMMAND_MASTER, 2);
	unsigned cap = cfg_find_capability(rig, RIG_DEVFN, 9, 1);
	assert_int_not_equal(cap, 0);
	driver->common = driver_bar_address(rig, cap);
	cap = cfg_find_capability(rig, RIG_DEVFN, 9, 2);
	driver->notify = driver_bar_address(rig, cap);
	driver->multiplier = cfg_read(rig, RIG_DEVFN, cap + 16, 4);
	driver->isr = driver_bar_address(rig, cfg_find_capability(rig, RIG_DEVFN, 9, 3));
	cap = cfg_find_capability(rig, RIG_DEVFN, 9, 4);
	driver->config = cap ? driver_bar_address(rig, cap) : 0;
	driver->access = cfg_find_capability(rig, RIG_DEVFN, 9, 5);
	assert_int_not_equal(driver->access, 0);
	cap = cfg_find_capability(rig, RIG_DEVFN, 0x11, -1);
	assert_int_not_equal(cap, 0);
	driver->msix = (cfg_read(rig, RIG_DEVFN, PCI_BAR(cfg_read(rig, RIG_DEVFN, cap + 4, 4) & 7), 4) & ~15u) +
		(cfg_read(rig, RIG_DEVFN, cap + 4, 4) & ~7u);
}

static inline uint8_t driver_status(struct driver *driver)
{
	return (uint8_t)io_read(&driver->rig->mmio, REG(driver, 0x14), 1);
}

static inline uint64_t driver_offered(struct driver *driver)
{
	struct io_space *mmio = &driver->rig->mmio;
	io_write(mmio, REG(driver, 0), 0, 4);
	uint64_t features = io_read(mmio, REG(driver, 4), 4);
	io_write(mmio, REG(driver, 0), 1, 4);
	return features | io_read(mmio, REG(driver, 4), 4) << 32;
}

/* Reset, acknowledge, accept `features` (3.1.1); true when the device agrees. */
static inline bool driver_negotiate(struct driver *driver, uint64_t features)
{
	struct io_space *mmio = &driver->rig->mmio;
	io_write(mmio, REG(driver, 0x14), 0, 1);
	assert_int_equal(driver_status(driver), 0);
	io_write(mmio, REG(driver, 0x14), 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		io_write(mmio, REG(driver, 8), i, 4);
		io_write(mmio, REG(driver, 0xc), features >> (32 * i), 4);
	}
	io_write(mmio, REG(driver, 0x14), 3 | 8, 1);
	return driver_status(driver) & 8;
}

static inline void driver_ok(struct driver *driver)
{
	io_write(&driver->rig->mmio, REG(driver, 0x14), 3 | 8 | 4, 1);
}

/* Rings of queue n lie at 1 MiB + n * 64 KiB. */
static inline void driver_queue_init(struct driver_queue *queue, struct driver *driver, unsigned index, unsigned size)
{
	struct io_space *mmio = &driver->rig->mmio;
	uint64_t base = 0x100000 + index * 0x10000ull;
	*queue = (struct driver_queue){
		.driver = driver, .index = index, .size = size,
		.desc = base, .avail = base + 0x4000, .used = base + 0x8000,
	};
	memset(memory_range(&driver->rig->memory, base, 0x10000, true), 0, 0x10000);
	io_write(mmio, REG(driver, 0x16), index, 2);
	io_write(mmio, REG(driver, 0x18), size, 2);
	io_write(mmio, REG(driver, 0x20), queue->desc, 8);
	io_write(mmio, REG(driver, 0x28), queue->avail, 4);
	io_write(mmio, REG(driver, 0x2c), queue->avail >> 32, 4);
	io_write(mmio, REG(driver, 0x30), queue->used, 8);
	io_write(mmio, REG(driver, 0x1c), 1, 2);
	assert_int_equal(io_read(mmio, REG(driver, 0x1c), 2), 1);
}

static inline void guest_write(struct rig *rig, uint64_t gpa, const void *data, size_t size)
{
	assert_true(memory_write(&rig->memory, gpa, data, size));
}

static inline uint64_t guest_load(struct rig *rig, uint64_t gpa, unsigned size)
{
	uint8_t bytes[8] = { 0 };
	assert_true(memory_read(&rig->memory, gpa, bytes, size));
	return load_le(bytes, size);
}

static inline void guest_store(struct rig *rig, uint64_t gpa, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	guest_write(rig, gpa, bytes, size);
}

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4

struct buffer {
	uint64_t gpa;
	uint32_t length;
	bool write;
};

static inline void put_desc(struct rig *rig, uint64_t table, unsigned at, uint64_t gpa, uint32_t length, uint16_t flags,
			    uint16_t next)
{
	guest_store(rig, table + 16 * at, gpa, 8);
	guest_store(rig, table + 16 * at + 8, length, 4);
	guest_store(rig, table + 16 * at + 12, flags, 2);
	guest_store(rig, table + 16 * at + 14, next, 2);
}

static inline void queue_publish(struct driver_queue *queue, uint16_t head)
{
	struct rig *rig = queue->driver->rig;
	guest_store(rig, queue->avail + 4 + 2 * (queue->avail_index % queue->size), head, 2);
	guest_store(rig, queue->avail + 2, ++queue->avail_index, 2);
}

/* Makes a chain of buffers available; returns its head. */
static inline uint16_t queue_add(struct driver_queue *queue, const struct buffer *buffers, unsigned count)
{
	uint16_t head = queue->next_desc;
	for (unsigned i = 0; i < count; i++) {
		uint16_t at = queue->next_desc, next = (uint16_t)((at + 1) % queue->size);
		bool last = i + 1 == count;
		put_desc(queue->driver->rig, queue->desc, at, buffers[i].gpa, buffers[i].length,
			 (uint16_t)((last ? 0 : DESC_NEXT) | (buffers[i].write ? DESC_WRITE : 0)), next);
		queue->next_desc = next;
	}
	queue_publish(queue, head);
	return head;
}

/* The same through an indirect table at `table`. */
static inline uint16_t queue_add_indirect(struct driver_queue *queue, uint64_t table, const struct buffer *buffers,
					  unsigned count)
{
	uint16_t head = queue->next_desc;
	for (unsigned i = 0; i < count; i++)
		put_desc(queue->driver->rig, table, i, buffers[i].gpa, buffers[i].length,
			 (uint16_t)((i + 1 == count ? 0 : DESC_NEXT) | (buffers[i].write ? DESC_WRITE : 0)),
			 (uint16_t)(i + 1));
	put_desc(queue->driver->rig, queue->desc, head, table, 16 * count, DESC_INDIRECT, 0);
	queue->next_desc = (uint16_t)((head + 1) % queue->size);
	queue_publish(queue, head);
	return head;
}

static inline void queue_notify(struct driver_queue *queue)
{
	struct driver *driver = queue->driver;
	io_write(&driver->rig->mmio, driver->notify + queue->index * driver->multiplier, queue->index, 2);
}

static inline uint16_t queue_used(struct driver_queue *queue)
{
	return (uint16_t)guest_load(queue->driver->rig, queue->used + 2, 2);
}

/* Runs the worker until one more chain is used; its head and length. */
static inline uint32_t queue_wait(struct driver_queue *queue, uint16_t *head)
{
	struct rig *rig = queue->driver->rig;
	while (queue_used(queue) == queue->used_seen)
		assert_true(rig_run(rig, true));
	uint64_t entry = queue->used + 4 + 8 * (queue->used_seen++ % queue->size);
	if (head)
		*head = (uint16_t)guest_load(rig, entry, 4);
	return (uint32_t)guest_load(rig, entry + 4, 4);
}

/* MSI-X on, with vector n sending data 0x40 + n. */
static inline void driver_enable_msix(struct driver *driver, unsigned vectors)
{
	struct rig *rig = driver->rig;
	unsigned cap = cfg_find_capability(rig, RIG_DEVFN, 0x11, -1);
	cfg_write(rig, RIG_DEVFN, cap + 2, 0x8000, 2);
	for (unsigned i = 0; i < vectors; i++) {
		io_write(&rig->mmio, driver->msix + 16 * i, 0xfee00000, 4);
		io_write(&rig->mmio, driver->msix + 16 * i + 4, 0, 4);
		io_write(&rig->mmio, driver->msix + 16 * i + 8, 0x40 + i, 4);
		io_write(&rig->mmio, driver->msix + 16 * i + 12, 0, 4);
	}
}

static inline void driver_set_vector(struct driver *driver, unsigned queue, uint16_t vector)
{
	io_write(&driver->rig->mmio, REG(driver, 0x16), queue, 2);
	io_write(&driver->rig->mmio, REG(driver, 0x1a), vector, 2);
	assert_int_equal(io_read(&driver->rig->mmio, REG(driver, 0x1a), 2), vector);
}

#define FEATURE_VERSION_1 (1ull << 32)
#define FEATURE_INDIRECT (1ull << 28)
#define FEATURE_EVENT_INDEX (1ull << 29)

#endif
