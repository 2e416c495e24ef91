/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of test_kill: writes pieces of its disk, two at once, and flushes, again and again; says after each flush up to which
 * write all is flushed. Write number n goes to piece n * MULTIPLIER % PIECES, and has its number and piece in each sector.
 */
#include "code.h"
#include "pci.h"

enum { PIECES = 2039, PIECE = 4096, MULTIPLIER = 1009, F_FLUSH = 1u << 9 };
enum { READ, WRITE, FLUSH = 4 };

static struct virtio disk;
static struct { volatile uint32_t type, zero; volatile uint64_t sector; } header[2];
static volatile uint8_t status[2];
static uint64_t *data[2];

static void put(unsigned i, uint32_t type, uint64_t piece)
{
	header[i].type = type;
	header[i].sector = piece * (PIECE / 512);
	status[i] = 0xff;
	virtio_descriptor(&disk, 3 * i, &header[i], 16, 1);
	if (type != FLUSH)
		virtio_descriptor(&disk, 3 * i + 1, data[i], PIECE, type == READ ? 3 : 1);
	virtio_descriptor(&disk, 3 * i + (type == FLUSH ? 1 : 2), &status[i], 1, 2);
	virtio_put(&disk, (uint16_t)(3 * i));
}

static void fill(unsigned i, uint64_t number)
{
	for (unsigned at = 0; at < PIECE / 8; at++)
		data[i][at] = at % 64 == 0 ? number : at % 64 == 1 ? number * MULTIPLIER % PIECES : number * 0x9e3779b97f4a7c15ull + at;
}

/* The largest number that an earlier run has written. */
static uint64_t largest(void)
{
	uint64_t number = 0;
	for (uint64_t piece = 0; piece < PIECES; piece++) {
		put(0, READ, piece);
		virtio_wait(&disk);
		check_equal(status[0], 0);
		for (unsigned at = 0; at < PIECE / 8; at += 64)
			number = data[0][at] > number ? data[0][at] : number;
	}
	return number;
}

int guest_main(void)
{
	unsigned slot = virtio_find(2, 0x1001);
	data[0] = alloc_page();
	data[1] = alloc_page();
	if (!slot || !virtio_start_with(&disk, slot, F_FLUSH))
		return 1;
	uint64_t number = largest();
	while (!failures) {
		for (unsigned i = 0; i < 2; i++) {
			fill(i, ++number);
			put(i, WRITE, number * MULTIPLIER % PIECES);
		}
		virtio_wait(&disk);
		check_equal(status[0] | status[1], 0);
		put(0, FLUSH, 0);
		virtio_wait(&disk);
		check_equal(status[0], 0);
		print_hex(number);
		print("\n");
	}
	return failures;
}
