/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot code changed by devices: fw_cfg's DMA, virtio-rng and, when there is a disk, virtio-blk (its first sector is written and read). */
#include "code.h"
#include "pci.h"

static uint8_t *page;

/* The DMA interface of fw_cfg: one big-endian command block (QEMU's docs/specs/fw_cfg). */
static void firmware_read(unsigned item, void *to, uint32_t size)
{
	static volatile struct { uint32_t control, length; uint64_t address; } command;
	command.control = __builtin_bswap32(item << 16 | 8 | 2);
	command.length = __builtin_bswap32(size);
	command.address = __builtin_bswap64((uint64_t)to);
	outl(0x514, 0);
	outl(0x518, __builtin_bswap32((uint32_t)(uint64_t)&command));
	while (command.control)
		;
}

static void by_firmware(void)
{
	uint64_t wrong = 0;
	uint8_t *code = page + 0x100;
	for (uint32_t i = 0; i < 50; i++) {
		put_return(code, i);
		wrong += wrong_calls(code, i ? 500 : HOT, i);
		firmware_read(0, code + 1, 4);
		wrong += wrong_calls(code, i ? 500 : HOT, 0x554d4551); /* "QEMU" */
		put_return(code, 0x11111111);
		wrong += wrong_calls(code, 100, 0x11111111);
		firmware_read(0, code + 2, 2);
		wrong += wrong_calls(code, 100, 0x11000011 | 'Q' << 8 | 'E' << 16);
	}
	check_equal(wrong, 0);
}

/* A device that writes code again and again: whatever it has written is what runs. */
static void by_entropy(void)
{
	struct virtio v = { 0 };
	unsigned slot = virtio_find(4, 0x1005);
	if (!slot || !virtio_start(&v, slot)) {
		print("no virtio-rng\n");
		return;
	}
	uint8_t *code = page + 0x400;
	uint64_t wrong = 0, same = 0;
	put_return(code, 0);
	wrong += wrong_calls(code, HOT, 0);
	for (unsigned i = 0; i < 200; i++) {
		uint32_t before = *(volatile uint32_t *)(code + 1);
		virtio_descriptor(&v, 0, code + 1, 4, 2);
		virtio_go(&v);
		uint32_t now = *(volatile uint32_t *)(code + 1);
		same += before == now;
		wrong += wrong_calls(code, i % 50 ? 20 : HOT, now);
	}
	check_equal(wrong, 0);
	check(same < 3);
	/* Over a page border, from the middle of one page to that of the next, in which there is code behind. */
	uint8_t *two = page + 8192 - 3;
	put_return(two, 0);
	wrong += wrong_calls(two, 1000, 0);
	put_return(two + 64, 99);
	wrong += wrong_calls(two + 64, 1000, 99);
	virtio_descriptor(&v, 0, two - 60, 64, 2);
	virtio_go(&v);
	two[0] = 0xb8;
	wrong += wrong_calls(two, 1000, *(volatile uint32_t *)(two + 1)) + wrong_calls(two + 64, 1000, 99);
	check_equal(wrong, 0);
}

static void by_disk(void)
{
	struct virtio v = { 0 };
	unsigned slot = virtio_find(2, 0x1001);
	if (!slot || !virtio_start(&v, slot)) {
		print("no virtio-blk\n");
		return;
	}
	static volatile struct { uint32_t type, zero; uint64_t sector; } request;
	static volatile uint8_t status;
	uint8_t *code = page + 0x800, *image = page + 0xa00;
	uint64_t wrong = 0;
	for (uint32_t i = 1; i <= 60; i++) {
		/* A sector full of functions. */
		for (unsigned n = 0; n < 32; n++)
			put_return(image + 16 * n, i * 1000 + n);
		for (request.type = 2; request.type-- > 0;) { /* write it, then read it to where code runs */
			status = 0xff;
			virtio_descriptor(&v, 0, &request, 16, 1);
			virtio_descriptor(&v, 1, request.type ? image : code, 512, request.type ? 1 : 3);
			virtio_descriptor(&v, 2, &status, 1, 2);
			virtio_go(&v);
			check_equal(status, 0);
		}
		for (unsigned n = 0; n < 32; n++)
			wrong += wrong_calls(code + 16 * n, i % 20 == 1 ? HOT / 8 : 20, i * 1000 + n);
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	page = alloc_page();
	alloc_page();
	alloc_page();
	by_firmware();
	by_entropy();
	by_disk();
	return failures;
}
