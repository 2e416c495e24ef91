/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications of virtio queues by every way: registers that move, other sizes of writes, bus mastering off and on, a reset. A disk's
 * sectors are written and read; with a notification lost the guest waits forever. rounds=N: how many sectors first; reads=N: how many more times one is read; empty=N:
 * and how many notifications of nothing.
 */
#include "pci.h"

static struct virtio v;
static unsigned slot;
static struct { uint32_t type, zero; uint64_t sector; } request;
static volatile uint8_t status;
static uint32_t *data;

static void prepare(unsigned type, uint64_t sector)
{
	request.type = type;
	request.sector = sector;
	status = 0xff;
	virtio_descriptor(&v, 0, &request, 16, 1);
	virtio_descriptor(&v, 1, data, 512, type ? 1 : 3);
	virtio_descriptor(&v, 2, &status, 1, 2);
	virtio_put(&v, 0);
	__asm__ volatile("mfence" ::: "memory");
}

static bool done(void)
{
	return REG16(v.ring + 0x802) == v.used;
}

static void await(void)
{
	while (!done())
		__asm__ volatile("pause");
	check_equal(status, 0);
}

static void transfer(unsigned type, uint64_t sector)
{
	prepare(type, sector);
	REG16(v.notify) = 0;
	await();
}

static void fill(uint32_t seed)
{
	for (unsigned i = 0; i < 128; i++)
		data[i] = seed = seed * 1664525 + 1013904223;
}

static uint64_t differs(uint32_t seed)
{
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 128; i++)
		wrong += data[i] != (seed = seed * 1664525 + 1013904223);
	return wrong;
}

/* Writes a sector, and reads it into what is zero. */
static void round(uint32_t seed)
{
	fill(seed);
	transfer(1, seed % 64);
	for (unsigned i = 0; i < 128; i++)
		data[i] = 0;
	transfer(0, seed % 64);
	check_equal(differs(seed), 0);
}

static bool start(void)
{
	v = (struct virtio){ 0 };
	return virtio_start(&v, slot);
}

static void move_to(uint32_t base)
{
	uint32_t old = pci_read(slot, 0x10 + 4 * v.bar) & ~15u;
	pci_write(slot, 0x10 + 4 * v.bar, base);
	v.common += (uint64_t)base - old;
	v.notify += (uint64_t)base - old;
}

static void at_other_places(void)
{
	uint64_t before = v.notify;
	uint32_t home = pci_read(slot, 0x10 + 4 * v.bar) & ~15u;
	for (unsigned i = 1; i <= 4; i++) {
		move_to(0xd8000000 + i * 0x10000);
		round(100 + i);
	}
	/* Nobody is at the old place; nor anywhere, with the registers off. */
	prepare(0, 1);
	REG16(before) = 0;
	for (unsigned i = 0; i < 2000; i++)
		__asm__ volatile("pause");
	check(!done());
	pci_write(slot, 4, 4);
	REG16(v.notify) = 0;
	pci_write(slot, 4, 6);
	REG16(v.notify) = 0;
	await();
	move_to(home);
	round(200);
}

static void of_other_sizes(void)
{
	prepare(0, 1);
	REG8(v.notify) = 0;
	await();
	prepare(0, 2);
	REG32(v.notify) = 0;
	await();
	prepare(0, 3);
	*(volatile uint64_t *)v.notify = 0;
	await();
	/* Of the register's value nothing counts, as the queue has the register to itself. */
	prepare(0, 3);
	REG16(v.notify) = 0xffff;
	await();
}

/* The device waits until it may read memory again, and then does what it was told of. */
static void without_mastery(void)
{
	pci_write(slot, 4, 2);
	prepare(0, 4);
	REG16(v.notify) = 0;
	for (unsigned i = 0; i < 2000; i++)
		__asm__ volatile("pause");
	check(!done());
	pci_write(slot, 4, 6);
	await();
}

static void over_resets(void)
{
	for (uint32_t i = 0; i < 3; i++) {
		prepare(0, 5);
		REG16(v.notify) = 0;
		REG8(v.common + 0x14) = 0; /* what was under way is the device's no more */
		REG16(v.notify) = 0;
		check(start());
		round(300 + i);
	}
}

int guest_main(void)
{
	data = alloc_page();
	slot = virtio_find(2, 0x1001);
	if (!slot || !start()) {
		print("no virtio-blk\n");
		return 1;
	}
	for (uint32_t i = 0, rounds = (uint32_t)guest_option("rounds", 50); i < rounds; i++)
		round(i);
	for (uint64_t i = guest_option("reads", 0); i > 0; i--)
		transfer(0, i % 64);
	for (uint64_t i = guest_option("empty", 0); i > 0; i--)
		REG16(v.notify) = 0;
	at_other_places();
	of_other_sizes();
	without_mastery();
	over_resets();
	return failures;
}
