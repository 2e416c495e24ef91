/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE controller by its ports: a disk at the primary channel, a CD-ROM drive at the secondary. */
#include "disk_rig.h"

#include <errno.h>
#include <stdio.h>

#include "dev/ide/ide.h"

#define DISK_SIZE (4u << 20)
#define DISC_SIZE (1u << 20)
#define DEVFN PCI_DEVFN(1, 1)
#define PRIMARY 0x1f0
#define SECONDARY 0x170
#define BUSMASTER 0xc000
#define PRD 0x10000u
#define DATA 0x100000u

#define BSY 0x80
#define DRDY 0x40
#define DRQ 0x08
#define ERR 0x01

struct ide_rig {
	struct rig rig;
	struct ide *ide;
	struct block *disk, *disc;
	char path[2][DISK_PATH];
	int irq[2];
	unsigned rises[2];
};

static struct ide_rig r;
static uint8_t pattern[DISK_SIZE];

static void on_irq(void *opaque, unsigned pin, int level)
{
	r.rises[pin] += level && !r.irq[pin];
	r.irq[pin] = level;
}

static uint8_t in(unsigned port) { return (uint8_t)io_read(&r.rig.io, port, 1); }
static void out(unsigned port, uint8_t value) { io_write(&r.rig.io, port, value, 1); }

static int setup(void **state)
{
	struct error err = { 0 };
	r = (struct ide_rig){ 0 };
	for (unsigned i = 0; i < DISK_SIZE; i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 9) * 13 + (i >> 17));
	rig_init(&r.rig);
	r.disk = make_image(&r.rig, r.path[0], pattern, DISK_SIZE, false, false, NULL);
	r.disc = make_image(&r.rig, r.path[1], pattern, DISC_SIZE, true, false, NULL);
	const struct ide_config config = {
		.bus = r.rig.bus, .devfn = DEVFN, .ports = &r.rig.io, .dma = { &r.rig.memory },
		.irq = { { on_irq, NULL, 0 }, { on_irq, NULL, 1 } }, .enabled_at_reset = true,
		.drive = { { IDE_DISK, r.disk, "serial-of-the-test" }, { 0 }, { IDE_CDROM, r.disc, NULL }, { 0 } },
	};
	r.ide = ide_create(&config, &err);
	assert_non_null(r.ide);
	device_reset((struct device *)r.ide);
	cfg_write(&r.rig, DEVFN, PCI_BAR(4), BUSMASTER, 4);
	cfg_write(&r.rig, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
	return 0;
}

static int teardown(void **state)
{
	rig_run(&r.rig, false);
	((struct device *)r.ide)->type->destroy(r.ide);
	rig_run(&r.rig, false);
	rig_destroy(&r.rig);
	unlink(r.path[0]);
	unlink(r.path[1]);
	return 0;
}

static uint8_t wait_ready(unsigned base)
{
	while (in(base == PRIMARY ? 0x3f6 : 0x376) & BSY)
		assert_true(rig_run(&r.rig, true));
	return in(base + 7);
}

static void command28(unsigned base, uint8_t code, uint32_t lba, uint8_t count)
{
	out(base + 6, 0xe0 | (lba >> 24 & 15));
	out(base + 2, count);
	out(base + 3, (uint8_t)lba);
	out(base + 4, (uint8_t)(lba >> 8));
	out(base + 5, (uint8_t)(lba >> 16));
	out(base + 7, code);
}

static void command48(unsigned base, uint8_t code, uint64_t lba, uint16_t count)
{
	out(base + 6, 0x40);
	out(base + 2, (uint8_t)(count >> 8));
	out(base + 2, (uint8_t)count);
	for (unsigned i = 0; i < 3; i++) {
		out(base + 3 + i, (uint8_t)(lba >> (24 + 8 * i)));
		out(base + 3 + i, (uint8_t)(lba >> (8 * i)));
	}
	out(base + 7, code);
}

static void read_block(unsigned base, uint8_t *to, unsigned size)
{
	assert_int_equal(wait_ready(base) & (DRQ | ERR), DRQ);
	for (unsigned i = 0; i < size; i += 2)
		store_le16(to + i, (uint16_t)io_read(&r.rig.io, base, 2));
}

static void write_block(unsigned base, const uint8_t *from, unsigned size)
{
	assert_int_equal(wait_ready(base) & (DRQ | ERR), DRQ);
	for (unsigned i = 0; i < size; i += 4)
		io_write(&r.rig.io, base, load_le32(from + i), 4);
}

static void expect_disk(uint32_t offset, const uint8_t *data, size_t size)
{
	uint8_t *got = malloc(size);
	FILE *f = fopen(r.path[0], "rb");
	assert_non_null(f);
	fseek(f, offset, SEEK_SET);
	assert_int_equal(fread(got, 1, size, f), size);
	fclose(f);
	assert_memory_equal(got, data, size);
	free(got);
}

static uint16_t word(const uint8_t *data, unsigned n) { return load_le16(data + 2 * n); }

static void identify(void **state)
{
	uint8_t data[512], sum = 0;
	command28(PRIMARY, 0xec, 0, 0);
	read_block(PRIMARY, data, 512);
	assert_int_equal(in(PRIMARY + 7) & (DRQ | BSY | ERR), 0);
	assert_int_equal(word(data, 0), 0x0040);
	assert_int_equal(data[21], 's');
	assert_int_equal(data[20], 'e');
	assert_int_equal(word(data, 60) | word(data, 61) << 16, DISK_SIZE / 512);
	assert_int_equal(word(data, 100), DISK_SIZE / 512);
	assert_int_equal(word(data, 83) & 0x0400, 0x0400);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + data[i]);
	assert_int_equal(sum, 0);
	/* A packet device refuses, with its signature. */
	command28(SECONDARY, 0xec, 0, 0);
	assert_int_equal(wait_ready(SECONDARY) & ERR, ERR);
	assert_int_equal(in(SECONDARY + 4), 0x14);
	assert_int_equal(in(SECONDARY + 5), 0xeb);
	out(SECONDARY + 6, 0xa0);
	out(SECONDARY + 7, 0xa1);
	read_block(SECONDARY, data, 512);
	assert_int_equal(word(data, 0), 0x8580);
}

/* The bus is what a system finds that looks for drives. */
static void absent_drives(void **state)
{
	out(PRIMARY + 6, 0xb0);
	assert_int_equal(in(PRIMARY + 7), 0);
	out(PRIMARY + 7, 0xec);
	assert_int_equal(in(PRIMARY + 7), 0);
	out(PRIMARY + 6, 0xa0);
	assert_int_equal(in(PRIMARY + 7) & DRDY, DRDY);
	/* Software reset: busy, then the signature. */
	out(0x3f6, 0x04);
	assert_int_equal(in(0x3f6) & BSY, BSY);
	out(0x3f6, 0x00);
	assert_int_equal(in(0x3f6) & BSY, 0);
	assert_int_equal(in(PRIMARY + 1), 1);
	assert_int_equal(in(PRIMARY + 2), 1);
	assert_int_equal(in(PRIMARY + 3), 1);
	assert_int_equal(in(PRIMARY + 4), 0);
	/* Channels that the timing register does not decode answer nothing. */
	cfg_write(&r.rig, DEVFN, 0x40, 0, 2);
	assert_int_equal(in(PRIMARY + 7), 0xff);
	cfg_write(&r.rig, DEVFN, 0x40, 0x8000, 2);
	assert_int_equal(in(PRIMARY + 7) & DRDY, DRDY);
}

static void pio_transfers(void **state)
{
	static uint8_t data[100 * 512];
	command28(PRIMARY, 0x20, 5, 3);
	for (unsigned i = 0; i < 3; i++)
		read_block(PRIMARY, data + 512 * i, 512);
	assert_int_equal(in(PRIMARY + 7) & (DRQ | ERR | BSY), 0);
	assert_memory_equal(data, pattern + 5 * 512, 3 * 512);
	assert_int_equal(r.rises[0], 3);
	/* More than the drive's buffer, in blocks of 16 sectors. */
	command48(PRIMARY, 0x29, 1000, 100);
	for (unsigned i = 0; i < 100; i += 16)
		read_block(PRIMARY, data + 512 * i, 512 * MIN(16u, 100 - i));
	assert_memory_equal(data, pattern + 1000 * 512, sizeof(data));
	/* CHS: cylinder 1, head 2, sector 3 of 16 heads and 63 sectors. */
	out(PRIMARY + 6, 0xa2);
	out(PRIMARY + 2, 1);
	out(PRIMARY + 3, 3);
	out(PRIMARY + 4, 1);
	out(PRIMARY + 5, 0);
	out(PRIMARY + 7, 0x20);
	read_block(PRIMARY, data, 512);
	assert_memory_equal(data, pattern + ((1 * 16 + 2) * 63 + 2) * 512, 512);
	/* Writes. */
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3 + 1);
	command28(PRIMARY, 0x30, 77, 2);
	write_block(PRIMARY, data, 512);
	write_block(PRIMARY, data + 512, 512);
	assert_int_equal(wait_ready(PRIMARY) & (DRQ | ERR), 0);
	command48(PRIMARY, 0x39, 200, 20);
	write_block(PRIMARY, data, 16 * 512);
	write_block(PRIMARY, data + 16 * 512, 4 * 512);
	assert_int_equal(wait_ready(PRIMARY) & (DRQ | ERR), 0);
	out(PRIMARY + 7, 0xe7);
	assert_int_equal(wait_ready(PRIMARY) & ERR, 0);
	expect_disk(77 * 512, data, 1024);
	expect_disk(200 * 512, data, 20 * 512);
	expect_disk(220 * 512, pattern + 220 * 512, 512);
}

static void refusals(void **state)
{
	command28(PRIMARY, 0x20, DISK_SIZE / 512 - 1, 2); /* one past the end */
	assert_int_equal(wait_ready(PRIMARY) & ERR, ERR);
	assert_int_equal(in(PRIMARY + 1) & 0x10, 0x10);
	command48(PRIMARY, 0x24, 1ull << 40, 1);
	assert_int_equal(wait_ready(PRIMARY) & ERR, ERR);
	command28(PRIMARY, 0xff, 0, 1);
	assert_int_equal(wait_ready(PRIMARY) & ERR, ERR);
	assert_int_equal(in(PRIMARY + 1), 4);
	command28(PRIMARY, 0xc6, 0, 3); /* SET MULTIPLE of no power of two */
	assert_int_equal(wait_ready(PRIMARY) & ERR, ERR);
	command28(PRIMARY, 0xf8, 0, 0);
	assert_int_equal(wait_ready(PRIMARY) & ERR, 0);
	assert_int_equal(in(PRIMARY + 3) | in(PRIMARY + 4) << 8 | in(PRIMARY + 5) << 16, DISK_SIZE / 512 - 1);
	command28(PRIMARY, 0x40, 0, 0); /* VERIFY of 256 sectors */
	assert_int_equal(wait_ready(PRIMARY) & ERR, 0);
	out(PRIMARY + 1, 0xda);
	out(PRIMARY + 4, 0x4f);
	out(PRIMARY + 5, 0xc2);
	out(PRIMARY + 7, 0xb0); /* SMART RETURN STATUS */
	assert_int_equal(wait_ready(PRIMARY) & ERR, 0);
	assert_int_equal(in(PRIMARY + 4), 0x4f);
}

static void prd(unsigned n, uint32_t address, uint16_t size, bool last)
{
	guest_store(&r.rig, PRD + 8 * n, address, 4);
	guest_store(&r.rig, PRD + 8 * n + 4, size | (last ? 0x80000000u : 0), 4);
}

static void start_dma(unsigned channel, bool to_memory)
{
	unsigned bm = BUSMASTER + 8 * channel;
	io_write(&r.rig.io, bm + 4, PRD, 4);
	out(bm + 2, 0x06);
	out(bm, to_memory ? 0x08 : 0);
	out(bm, to_memory ? 0x09 : 0x01);
}

static uint8_t end_dma(unsigned channel)
{
	while (!r.irq[channel])
		assert_true(rig_run(&r.rig, true));
	uint8_t status = in(BUSMASTER + 8 * channel + 2);
	out(BUSMASTER + 8 * channel, 0);
	return status;
}

static void guest_is(uint32_t at, const uint8_t *data, size_t size)
{
	assert_memory_equal(memory_range(&r.rig.memory, at, size, false), data, size);
}

static void dma_transfers(void **state)
{
	/* Command first, then the bus master; pieces of odd sizes. */
	prd(0, DATA, 1024, false);
	prd(1, DATA + 0x10000, 512 * 5, true);
	command48(PRIMARY, 0x25, 10, 7);
	start_dma(0, true);
	assert_int_equal(end_dma(0) & 7, 4);
	assert_int_equal(in(PRIMARY + 7) & (BSY | DRQ | ERR), 0);
	guest_is(DATA, pattern + 10 * 512, 1024);
	guest_is(DATA + 0x10000, pattern + 12 * 512, 5 * 512);
	/* A piece that ends inside a sector, and 64 KiB said as 0. */
	prd(0, DATA + 2, 100, false);
	prd(1, DATA + 0x200, 0, false);
	prd(2, DATA + 0x20000, 2 * 512 - 100, true);
	start_dma(0, true);
	command28(PRIMARY, 0xc8, 300, 130);
	assert_int_equal(end_dma(0) & 7, 4);
	in(PRIMARY + 7);
	guest_is(DATA + 2, pattern + 300 * 512, 100);
	guest_is(DATA + 0x200, pattern + 300 * 512 + 100, 65536);
	guest_is(DATA + 0x20000, pattern + 300 * 512 + 100 + 65536, 2 * 512 - 100);
	/* Write, from what was read. */
	prd(0, DATA + 0x200, 512, false);
	prd(1, DATA + 0x300, 510, false);
	prd(2, DATA + 0x40001 - 1, 2, true);
	guest_store(&r.rig, DATA + 0x40000, 0x5aa5, 2);
	command28(PRIMARY, 0xca, 50, 2);
	start_dma(0, false);
	assert_int_equal(end_dma(0) & 7, 4);
	assert_int_equal(in(PRIMARY + 7) & ERR, 0);
	expect_disk(50 * 512, memory_range(&r.rig.memory, DATA + 0x200, 512, false), 512);
	expect_disk(51 * 512, memory_range(&r.rig.memory, DATA + 0x300, 510, false), 510);
	expect_disk(51 * 512 + 510, (const uint8_t *)"\xa5\x5a", 2);
	/* TRIM: what it covers is allowed to be zero, what it does not is not touched. */
	memset(memory_range(&r.rig.memory, DATA, 512, true), 0, 512);
	guest_store(&r.rig, DATA, 1024 | 8ull << 48, 8);
	prd(0, DATA, 512, true);
	out(PRIMARY + 1, 1);
	command48(PRIMARY, 0x06, 0, 1);
	start_dma(0, false);
	end_dma(0);
	assert_int_equal(wait_ready(PRIMARY) & ERR, 0);
	expect_disk(1032 * 512, pattern + 1032 * 512, 512);
}

/* The table is longer than the data, shorter, or leads nowhere (programming interface of bus masters, 1.3). */
static void dma_tables(void **state)
{
	prd(0, DATA, 4096, true);
	command28(PRIMARY, 0xc8, 1, 1);
	start_dma(0, true);
	assert_int_equal(end_dma(0) & 7, 5);
	guest_is(DATA, pattern + 512, 512);
	in(PRIMARY + 7);
	prd(0, DATA, 512, true);
	command28(PRIMARY, 0xc8, 8, 2);
	start_dma(0, true);
	while (in(BUSMASTER + 2) & 1)
		assert_true(rig_run(&r.rig, true));
	assert_int_equal(in(BUSMASTER + 2) & 7, 0);
	assert_int_equal(r.irq[0], 0);
	guest_is(DATA, pattern + 8 * 512, 512);
	out(BUSMASTER, 0);
	out(0x3f6, 4);
	out(0x3f6, 0);
	prd(0, 0xf0000000, 512, true);
	command28(PRIMARY, 0xc8, 8, 1);
	start_dma(0, true);
	assert_int_equal(in(BUSMASTER + 2) & 3, 2);
	out(0x3f6, 4);
	out(0x3f6, 0);
	/* Without bus mastering nothing moves, until it comes. */
	prd(0, DATA, 512, true);
	out(BUSMASTER, 0);
	cfg_write(&r.rig, DEVFN, PCI_COMMAND, PCI_COMMAND_IO, 2);
	command28(PRIMARY, 0xc8, 20, 1);
	start_dma(0, true);
	assert_int_equal(r.irq[0], 0);
	cfg_write(&r.rig, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
	assert_int_equal(end_dma(0) & 7, 4);
	guest_is(DATA, pattern + 20 * 512, 512);
}

static void packet(const uint8_t command[12], uint16_t limit, bool dma)
{
	out(SECONDARY + 6, 0xa0);
	out(SECONDARY + 1, dma);
	out(SECONDARY + 4, (uint8_t)limit);
	out(SECONDARY + 5, (uint8_t)(limit >> 8));
	out(SECONDARY + 7, 0xa0);
	assert_int_equal(in(0x376) & (BSY | DRQ), DRQ);
	assert_int_equal(in(SECONDARY + 2) & 3, 1);
	for (unsigned i = 0; i < 12; i += 2)
		io_write(&r.rig.io, SECONDARY, load_le16(command + i), 2);
}

/* All data of a packet command by PIO; returns its length. */
static unsigned packet_data(uint8_t *to)
{
	unsigned total = 0;
	for (;;) {
		uint8_t status = wait_ready(SECONDARY);
		if (!(status & DRQ))
			return total;
		assert_int_equal(in(SECONDARY + 2) & 3, 2);
		unsigned size = in(SECONDARY + 4) | in(SECONDARY + 5) << 8;
		for (unsigned i = 0; i < size; i += 2)
			store_le16(to + total + i, (uint16_t)io_read(&r.rig.io, SECONDARY, 2));
		total += size;
	}
}

static uint8_t sense(uint8_t *asc)
{
	uint8_t data[18];
	packet((const uint8_t[12]){ 0x03, 0, 0, 0, 18 }, 18, false);
	assert_int_equal(packet_data(data), 18);
	*asc = data[12];
	return data[2];
}

static void cdrom_reads(void **state)
{
	static uint8_t data[64 * 2048];
	uint8_t asc;
	packet((const uint8_t[12]){ 0x12, 0, 0, 0, 36 }, 36, false);
	assert_int_equal(packet_data(data), 36);
	assert_int_equal(data[0], 5);
	packet((const uint8_t[12]){ 0x25 }, 8, false);
	assert_int_equal(packet_data(data), 8);
	assert_int_equal(data[2] << 8 | data[3], DISC_SIZE / 2048 - 1);
	/* READ(10) of 40 blocks at 3, at most 2048 bytes at a time; the drive's buffer is smaller than that. */
	packet((const uint8_t[12]){ 0x28, 0, 0, 0, 0, 3, 0, 0, 40 }, 2048, false);
	assert_int_equal(packet_data(data), 40 * 2048);
	assert_memory_equal(data, pattern + 3 * 2048, 40 * 2048);
	assert_int_equal(in(SECONDARY + 2) & 3, 3);
	/* READ(12) by DMA. */
	prd(0, DATA, 8192, true);
	packet((const uint8_t[12]){ 0xa8, 0, 0, 0, 0, 100, 0, 0, 0, 4 }, 0, true);
	start_dma(1, true);
	assert_int_equal(end_dma(1) & 7, 4);
	in(SECONDARY + 7);
	guest_is(DATA, pattern + 100 * 2048, 8192);
	/* A reply by DMA. */
	prd(0, DATA, 36, true);
	packet((const uint8_t[12]){ 0x12, 0, 0, 0, 36 }, 0, true);
	start_dma(1, true);
	assert_int_equal(end_dma(1) & 7, 4);
	in(SECONDARY + 7);
	guest_is(DATA + 8, (const uint8_t *)"VISOR   ", 8);
	/* Past the end; unknown. */
	packet((const uint8_t[12]){ 0x28, 0, 0, 0, 2, 0, 0, 0, 1 }, 2048, false);
	assert_int_equal(wait_ready(SECONDARY) & ERR, ERR);
	assert_int_equal(sense(&asc), 5);
	assert_int_equal(asc, 0x21);
	packet((const uint8_t[12]){ 0xfe }, 2048, false);
	assert_int_equal(wait_ready(SECONDARY) & ERR, ERR);
	assert_int_equal(sense(&asc), 5);
	assert_int_equal(asc, 0x20);
	/* READ TOC: one track, lead-out at the end. */
	packet((const uint8_t[12]){ 0x43, 0, 0, 0, 0, 0, 0, 0, 255 }, 255, false);
	assert_int_equal(packet_data(data), 20);
	assert_int_equal(data[18] << 8 | data[19], DISC_SIZE / 2048);
}

static void cdrom_medium_changes(void **state)
{
	struct error err = { 0 };
	uint8_t asc, data[64];
	packet((const uint8_t[12]){ 0x1e, 0, 0, 0, 1 }, 0, false); /* lock the tray */
	wait_ready(SECONDARY);
	assert_int_equal(ide_change_medium(r.ide, 2, NULL, false, &err), -1);
	assert_int_equal(err.code, EBUSY);
	assert_int_equal(ide_change_medium(r.ide, 0, NULL, false, &err), -1);
	packet((const uint8_t[12]){ 0x1e }, 0, false);
	wait_ready(SECONDARY);
	assert_int_equal(ide_change_medium(r.ide, 2, NULL, false, &err), 0);
	packet((const uint8_t[12]){ 0x00 }, 0, false);
	assert_int_equal(wait_ready(SECONDARY) & ERR, ERR);
	assert_int_equal(sense(&asc), 2);
	assert_int_equal(asc, 0x3a);
	unlink(r.path[1]);
	assert_int_equal(ide_change_medium(r.ide, 2, make_image(&r.rig, r.path[1], pattern, 64 * 2048, true, false, NULL), false, &err), 0);
	packet((const uint8_t[12]){ 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8 }, 8, false);
	assert_int_equal(packet_data(data), 8);
	assert_int_equal(data[4], 2); /* new media */
	packet((const uint8_t[12]){ 0x00 }, 0, false);
	assert_int_equal(wait_ready(SECONDARY) & ERR, ERR);
	assert_int_equal(sense(&asc), 6);
	assert_int_equal(asc, 0x28);
	packet((const uint8_t[12]){ 0x25 }, 8, false);
	assert_int_equal(packet_data(data), 8);
	assert_int_equal(data[3], 63);
}

/* Random accesses to all registers, with the worker in between: whatever comes, nothing breaks. */
static void random_accesses(void **state)
{
	uint32_t x = 1;
	for (unsigned i = 0; i < 200000; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned base = x >> 31 ? PRIMARY : SECONDARY, reg = x >> 28 & 7, size = 1u << (x >> 26 & 3) % 3;
		unsigned port = x >> 23 & 7 ? base + reg : x >> 22 & 1 ? base + 0x206 : BUSMASTER + (x >> 18 & 15);
		uint32_t value = x >> 4;
		if (reg == 7 && x >> 20 & 1)
			value = (const uint8_t[]){ 0x20, 0x30, 0xc8, 0xca, 0xa0, 0xa0, 0xec, 0xc4 }[x >> 17 & 7];
		if (x >> 16 & 1)
			io_write(&r.rig.io, port, value, size);
		else
			io_read(&r.rig.io, port, size);
		if (i % 64 == 0)
			rig_run(&r.rig, false);
	}
	device_reset((struct device *)r.ide);
	rig_run(&r.rig, false);
	cfg_write(&r.rig, DEVFN, PCI_COMMAND, PCI_COMMAND_IO, 2);
	command28(PRIMARY, 0xec, 0, 0);
	uint8_t data[512];
	read_block(PRIMARY, data, 512);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(identify), TEST(absent_drives), TEST(pio_transfers), TEST(refusals), TEST(dma_transfers), TEST(dma_tables),
		TEST(cdrom_reads), TEST(cdrom_medium_changes), TEST(random_accesses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
