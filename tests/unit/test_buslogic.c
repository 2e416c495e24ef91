/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SCSI host adapter by its ports and mailboxes, with disks behind it. */
#include "dev_board.h"
#include "disk_rig.h"

#include <errno.h>
#include <stdio.h>

#include "dev/scsi/buslogic_parts.h"

#define DISK_SIZE (4u << 20)
#define DEVFN PCI_DEVFN(5, 0)
#define PORT 0xc000
#define MMIO 0xe0000000u
#define MAILBOXES 4u
#define BOX 0x10000u
#define CCB 0x20000u
#define LIST 0x30000u
#define SENSE 0x31000u
#define DATA 0x100000u

#define CDROM 4 /* its ID */

static struct rig r;
static struct vclock virtual_clock;
static uint64_t now;
static struct buslogic *adapter;
static char path[3][DISK_PATH];
static uint8_t pattern[DISK_SIZE];
static unsigned next_out, next_in, boxes;

static uint64_t clock_now(void *opaque) { return now; }
static uint8_t in(unsigned reg) { return (uint8_t)io_read(&r.io, PORT + reg, 1); }
static void out(unsigned reg, uint8_t value) { io_write(&r.io, PORT + reg, value, 1); }
static int line(void) { return r.pirq[pci_intx_pirq(5, 0)]; }
static uint8_t *guest(uint32_t at) { return memory_range(&r.memory, at, 4096, true); }

static struct buslogic *make(struct block *first, struct block *second)
{
	struct error err = { 0 };
	const struct buslogic_config config = {
		.bus = r.bus, .devfn = DEVFN, .ports = &r.io, .dma = { &r.memory }, .clock = &virtual_clock, .disk = { first, second },
		.cdrom[CDROM] = true,
	};
	struct buslogic *made = buslogic_create(&config, &err);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static void command(uint8_t code, const void *parameters, unsigned count)
{
	const uint8_t *p = parameters;
	assert_int_equal(in(0) & 0x19, 0x10);
	out(1, code);
	for (unsigned i = 0; i < count; i++)
		out(1, p[i]);
}

static void complete(bool valid)
{
	assert_int_equal(in(2), 0x84);
	assert_int_equal(in(0) & 1, !valid);
	assert_int_equal(line(), 1);
	out(0, 0x20);
	assert_int_equal(in(2), 0);
	assert_int_equal(in(0) & 1, 0);
	assert_int_equal(line(), 0);
}

static unsigned reply(uint8_t *to, unsigned room)
{
	unsigned count = 0;
	while (in(0) & 0x04) {
		assert_int_equal(in(0) & 0x10, 0);
		assert_true(count < room);
		to[count++] = in(1);
	}
	complete(true);
	return count;
}

static void start_mailboxes(unsigned count, bool strict)
{
	uint8_t setup[5] = { (uint8_t)count };
	store_le32(setup + 1, BOX);
	memset(guest(BOX), 0, 4096);
	command(0x81, setup, 5);
	complete(true);
	command(0x8f, (const uint8_t[]){ strict }, 1);
	complete(true);
	command(0x96, (const uint8_t[]){ 1 }, 1);
	complete(true);
	next_out = next_in = 0;
	boxes = count;
}

static int setup(void **state)
{
	for (unsigned i = 0; i < DISK_SIZE; i++)
		pattern[i] = (uint8_t)(i * 11 + (i >> 9) * 3 + (i >> 16));
	rig_init(&r);
	const struct vclock_source source = { .now = clock_now };
	vclock_init(&virtual_clock, &source);
	vclock_start(&virtual_clock);
	adapter = make(make_image(&r, path[0], pattern, DISK_SIZE, false, true, "raw"), make_image(&r, path[1], pattern, DISK_SIZE, true, false, "raw"));
	cfg_write(&r, DEVFN, PCI_BAR(0), PORT, 4);
	cfg_write(&r, DEVFN, PCI_BAR(1), MMIO, 4);
	cfg_write(&r, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return 0;
}

static int teardown(void **state)
{
	rig_run(&r, false);
	((struct device *)adapter)->type->destroy(adapter);
	rig_run(&r, false);
	vclock_destroy(&virtual_clock);
	rig_destroy(&r);
	unlink(path[0]);
	unlink(path[1]);
	unlink(path[2]);
	return 0;
}

/* --- CCBs --- */

enum { ANY = 0, IN = 1, OUT = 2, NONE = 3 };

static void put_ccb(unsigned n, uint8_t opcode, uint8_t target, const void *cdb, uint8_t length, uint8_t direction, uint32_t data,
		    uint32_t size)
{
	uint8_t *c = guest(CCB) + 64 * n;
	memset(c, 0, 64);
	c[0] = opcode;
	c[1] = (uint8_t)(direction << 3);
	c[2] = length;
	c[3] = 18;
	store_le32(c + 4, size);
	store_le32(c + 8, data);
	c[16] = target;
	memcpy(c + 18, cdb, length);
	store_le32(c + 36, SENSE);
}

static void post(unsigned n, uint8_t action)
{
	uint8_t *box = guest(BOX) + 8 * next_out;
	assert_int_equal(box[7], 0);
	store_le32(box, CCB + 64 * n);
	box[7] = action;
	next_out = (next_out + 1) % boxes;
	out(1, 0x02);
}

/* Completion code, host and target status of the next incoming mailbox, which says that it is CCB n. */
static uint32_t wait_done(unsigned n)
{
	uint8_t *box = guest(BOX) + 8 * (boxes + next_in);
	while (!box[7])
		assert_true(rig_run(&r, true));
	assert_int_equal(in(2) & 0x81, 0x81);
	out(0, 0x20);
	assert_int_equal(load_le32(box), CCB + 64 * n);
	uint32_t result = (uint32_t)box[7] << 16 | (uint32_t)box[4] << 8 | box[5];
	const uint8_t *c = guest(CCB) + 64 * n;
	if (box[7] != 3)
		assert_int_equal(c[14] << 8 | c[15], result & 0xffff);
	box[7] = 0;
	next_in = (next_in + 1) % boxes;
	return result;
}

#define GOOD 0x10000u
#define CHECK 0x40002u

static uint32_t run(uint8_t target, const void *cdb, uint8_t length, uint8_t direction, uint32_t size)
{
	put_ccb(0, 0x03, target, cdb, length, direction, DATA, size);
	post(0, 1);
	return wait_done(0);
}

static uint32_t residual(void) { return load_le32(guest(CCB) + 4); }

static void expect_sense(uint8_t key, uint8_t asc)
{
	const uint8_t *s = guest(SENSE);
	assert_int_equal(s[0], 0x70);
	assert_int_equal(s[2], key);
	assert_int_equal(s[12], asc);
}

/* The first command after a reset learns of it. */
static void clear_attention(uint8_t target)
{
	assert_int_equal(run(target, (const uint8_t[6]){ 0 }, 6, NONE, 0), CHECK);
	expect_sense(6, 0x29);
	assert_int_equal(run(target, (const uint8_t[6]){ 0 }, 6, NONE, 0), GOOD);
}

static void expect_file(unsigned disk, uint32_t offset, const uint8_t *data, size_t size)
{
	uint8_t *got = malloc(size);
	FILE *f = fopen(path[disk], "rb");
	assert_non_null(f);
	fseek(f, offset, SEEK_SET);
	assert_int_equal(fread(got, 1, size, f), size);
	fclose(f);
	assert_memory_equal(got, data, size);
	free(got);
}

/* --- tests --- */

static void inquiries(void **state)
{
	uint8_t data[256];
	/* Hard reset: diagnostics, then ready without mailboxes. */
	out(0, 0x80);
	now += NS_PER_SEC;
	assert_int_equal(in(0), 0x80);
	assert_int_equal(in(0), 0x30);
	assert_int_equal(io_read(&r.mmio, MMIO, 1), 0x30); /* the memory window shows the same */
	command(0x04, NULL, 0);
	assert_int_equal(reply(data, 256), 4);
	assert_memory_equal(data, "AA50", 4);
	command(0x0b, NULL, 0);
	assert_int_equal(reply(data, 256), 3);
	assert_int_equal(data[2], 7);
	command(0x0d, (const uint8_t[]){ 34 }, 1);
	assert_int_equal(reply(data, 256), 34);
	assert_int_equal(data[4], 0);
	command(0x8b, (const uint8_t[]){ 5 }, 1);
	assert_int_equal(reply(data, 256), 5);
	assert_memory_equal(data, "958  ", 5);
	command(0x8d, (const uint8_t[]){ 14 }, 1);
	assert_int_equal(reply(data, 256), 14);
	assert_int_equal(data[0], 'E');
	assert_int_equal(data[9], 0x40);
	command(0x24, NULL, 0);
	assert_int_equal(reply(data, 256), 2);
	assert_int_equal(data[0], 1 << CDROM | 3);
	command(0x91, (const uint8_t[]){ 64, 64 }, 2);
	assert_int_equal(reply(data, 256), 64);
	assert_memory_equal(data + 3, "BT-958", 6);
	command(0x91, (const uint8_t[]){ 200, 64 }, 2);
	complete(false);
	command(0x90, (const uint8_t[]){ 10, 2, 0xaa, 0xbb }, 4);
	complete(true);
	command(0x91, (const uint8_t[]){ 10, 2 }, 2);
	assert_int_equal(reply(data, 256), 2);
	assert_int_equal(data[0] << 8 | data[1], 0xaabb);
	command(0xee, NULL, 0);
	complete(false);
	command(0x1f, (const uint8_t[]){ 0x5a }, 1);
	assert_int_equal(reply(data, 256), 1);
	assert_int_equal(data[0], 0x5a);
	/* The ISA compatible ports, when they are wanted. */
	assert_int_equal(io_read(&r.io, 0x330, 1), 0xff);
	command(0x95, (const uint8_t[]){ 0 }, 1);
	assert_int_equal(in(2), 0);
	assert_int_equal(io_read(&r.io, 0x330, 1), 0x30);
	command(0x95, (const uint8_t[]){ 6 }, 1);
	assert_int_equal(io_read(&r.io, 0x330, 1), 0xff);
	/* Interrupts that are not wanted. */
	command(0x25, (const uint8_t[]){ 0 }, 1);
	assert_int_equal(in(2), 0x84);
	assert_int_equal(line(), 0);
}

static void transfers(void **state)
{
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x25 }, 10, IN, 8), GOOD);
	assert_memory_equal(guest(DATA), "\x00\x00\x1f\xff\x00\x00\x02\x00", 8);
	assert_int_equal(run(0, (const uint8_t[6]){ 0x12, 0, 0, 0, 36 }, 6, IN, 64), GOOD);
	assert_int_equal(residual(), 64 - 36);
	assert_memory_equal(guest(DATA) + 8, "VISOR   SCSI DISK       ", 24);
	/* A list of odd pieces. */
	uint8_t *list = guest(LIST);
	const uint32_t pieces[][2] = { { 100, DATA + 1 }, { 4096, DATA + 0x1000 }, { 5 * 512 - 100, DATA + 0x8003 } };
	memcpy(list, pieces, sizeof(pieces));
	put_ccb(1, 0x02, 0, (const uint8_t[10]){ 0x28, 0, 0, 0, 1, 0, 0, 0, 13 }, 10, IN, LIST, sizeof(pieces));
	post(1, 1);
	assert_int_equal(wait_done(1), GOOD);
	assert_memory_equal(memory_range(&r.memory, DATA + 1, 100, false), pattern + 256 * 512, 100);
	assert_memory_equal(guest(DATA + 0x1000), pattern + 256 * 512 + 100, 4096);
	assert_memory_equal(memory_range(&r.memory, DATA + 0x8003, 2460, false), pattern + 256 * 512 + 4196, 2460);
	/* WRITE (6) from such a list, READ (12). */
	put_ccb(2, 0x04, 0, (const uint8_t[6]){ 0x0a, 0, 0, 50, 13 }, 6, OUT, LIST, sizeof(pieces));
	post(2, 1);
	assert_int_equal(wait_done(2), GOOD);
	expect_file(0, 50 * 512, pattern + 256 * 512, 13 * 512);
	expect_file(0, 63 * 512, pattern + 63 * 512, 512);
	assert_int_equal(run(0, (const uint8_t[12]){ 0xa8, 0, 0, 0, 0, 51, 0, 0, 0, 1 }, 12, ANY, 512), GOOD);
	assert_memory_equal(guest(DATA), pattern + 257 * 512, 512);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x35 }, 10, NONE, 0), GOOD);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x2f, 0, 0, 0, 0, 0, 0, 0x20 }, 10, NONE, 0), GOOD);
	/* The other disk is read only. */
	clear_attention(1);
	assert_int_equal(run(1, (const uint8_t[10]){ 0x2a, 0, 0, 0, 0, 0, 0, 0, 1 }, 10, OUT, 512), CHECK);
	expect_sense(7, 0x27);
	expect_file(1, 0, pattern, 512);
	assert_int_equal(run(1, (const uint8_t[6]){ 0x1a, 0, 0x3f, 0, 255 }, 6, IN, 255), GOOD);
	assert_int_equal(guest(DATA)[2] & 0x80, 0x80);
}

static void unmapping(void **state)
{
	static const uint8_t zeros[16 * 512];
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	uint8_t *d = guest(DATA);
	memset(d, 0, 512);
	memcpy(d, "filled", 6);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x41, 0, 0, 0, 2, 0, 0, 1, 0x2c }, 10, OUT, 512), GOOD);
	for (unsigned i = 0; i < 300; i += 299)
		expect_file(0, (512 + i) * 512, d, 512);
	expect_file(0, (512 + 300) * 512, pattern + 812 * 512, 512);
	memset(d, 0, 512);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x41, 8, 0, 0, 2, 0, 0, 0, 16 }, 10, OUT, 512), GOOD);
	expect_file(0, 512 * 512, zeros, sizeof(zeros));
	assert_int_equal(run(0, (const uint8_t[10]){ 0x41, 0, 0, 0, 2 }, 10, OUT, 512), CHECK); /* no number of blocks */
	expect_sense(5, 0x24);
	/* UNMAP: blocks 1024 to 1031; what it does not name stays. */
	memset(d, 0, 24);
	d[1] = 22;
	d[3] = 16;
	d[14] = 4;
	d[19] = 8;
	assert_int_equal(run(0, (const uint8_t[10]){ 0x42, 0, 0, 0, 0, 0, 0, 0, 24 }, 10, OUT, 24), GOOD);
	expect_file(0, 1023 * 512, pattern + 1023 * 512, 512);
	expect_file(0, 1032 * 512, pattern + 1032 * 512, 512);
	d[8] = 1;
	assert_int_equal(run(0, (const uint8_t[10]){ 0x42, 0, 0, 0, 0, 0, 0, 0, 24 }, 10, OUT, 24), CHECK);
	expect_sense(5, 0x21);
}

static void refusals(void **state)
{
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	const uint8_t read[10] = { 0x28, 0, 0, 0, 0, 0, 0, 0, 2 };
	assert_int_equal(run(0, (const uint8_t[10]){ 0x28, 0, 0, 0, 0x1f, 0xff, 0, 0, 2 }, 10, IN, 1024), CHECK);
	expect_sense(5, 0x21);
	assert_int_equal(run(0, (const uint8_t[6]){ 0xff }, 6, NONE, 0), CHECK);
	expect_sense(5, 0x20);
	assert_int_equal(run(3, read, 10, IN, 1024), 0x41100);  /* nobody has that ID */
	assert_int_equal(run(7, read, 10, IN, 1024), 0x41100);
	/* Too little room, and too much; the other direction. */
	memset(guest(DATA), 0xee, 1024);
	assert_int_equal(run(0, read, 10, IN, 512), 0x41200);
	assert_memory_equal(guest(DATA), pattern, 512);
	assert_int_equal(guest(DATA)[512], 0xee);
	put_ccb(0, 0x00, 0, read, 10, IN, DATA, 2048);
	post(0, 1);
	assert_int_equal(wait_done(0), 0x41200);
	assert_int_equal(run(0, read, 10, OUT, 1024), 0x41200);
	/* Data, lists, opcodes and lengths that lead nowhere. */
	put_ccb(0, 0x00, 0, read, 10, IN, 0xf0000000, 1024);
	post(0, 1);
	assert_int_equal(wait_done(0), 0x42000);
	put_ccb(0, 0x02, 0, read, 10, IN, 0xf0000000, 16);
	post(0, 1);
	assert_int_equal(wait_done(0), 0x42000);
	put_ccb(0, 0x07, 0, read, 10, IN, DATA, 1024);
	post(0, 1);
	assert_int_equal(wait_done(0), 0x41600);
	put_ccb(0, 0x00, 0, read, 10, IN, DATA, 1024);
	guest(CCB)[2] = 13;
	post(0, 1);
	assert_int_equal(wait_done(0), 0x41a00);
	put_ccb(0, 0x00, 0, read, 10, IN, DATA, 1024);
	guest(CCB)[17] = 1;
	post(0, 1);
	assert_int_equal(wait_done(0), CHECK);
	expect_sense(5, 0x25);
	/* An abort that comes too late, another action. */
	post(0, 2);
	assert_int_equal(wait_done(0), 0x30000);
	post(0, 9);
	const uint8_t *box = guest(BOX) + 8 * (boxes + next_in);
	assert_int_equal(box[7], 4);
	assert_int_equal(box[4], 0x15);
}

static void disk_states(void **state)
{
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	assert_int_equal(run(0, (const uint8_t[6]){ 0x1b }, 6, NONE, 0), GOOD);
	assert_int_equal(run(0, (const uint8_t[6]){ 0 }, 6, NONE, 0), CHECK);
	expect_sense(2, 4);
	assert_int_equal(run(0, (const uint8_t[6]){ 0x1b, 0, 0, 0, 1 }, 6, NONE, 0), GOOD);
	assert_int_equal(run(0, (const uint8_t[6]){ 0 }, 6, NONE, 0), GOOD);
	/* The write cache goes off by the caching page, and nothing else changes. */
	assert_int_equal(run(0, (const uint8_t[6]){ 0x1a, 8, 8, 0, 64 }, 6, IN, 64), GOOD);
	uint8_t page[24];
	memcpy(page, guest(DATA), sizeof(page));
	assert_int_equal(page[6], 4);
	memset(page, 0, 4);
	page[6] = 0;
	memcpy(guest(DATA), page, sizeof(page));
	assert_int_equal(run(0, (const uint8_t[6]){ 0x15, 0x10, 0, 0, 24 }, 6, OUT, 24), GOOD);
	assert_int_equal(run(0, (const uint8_t[6]){ 0x1a, 8, 8, 0, 64 }, 6, IN, 64), GOOD);
	assert_int_equal(guest(DATA)[6], 0);
	page[7] = 1;
	memcpy(guest(DATA), page, sizeof(page));
	assert_int_equal(run(0, (const uint8_t[6]){ 0x15, 0x10, 0, 0, 24 }, 6, OUT, 24), CHECK);
	expect_sense(5, 0x26);
	/* Sense data that the adapter was told not to fetch stay at the disk. */
	put_ccb(0, 0x00, 0, (const uint8_t[6]){ 0xff }, 6, NONE, 0, 0);
	guest(CCB)[3] = 1;
	memset(guest(SENSE), 0, 32);
	post(0, 1);
	assert_int_equal(wait_done(0), CHECK);
	assert_int_equal(guest(SENSE)[0], 0);
	assert_int_equal(run(0, (const uint8_t[6]){ 3, 0, 0, 0, 18 }, 6, IN, 18), GOOD);
	assert_int_equal(guest(DATA)[2] << 8 | guest(DATA)[12], 0x0520);
	/* A bus device reset. */
	put_ccb(0, 0x81, 0, "", 0, NONE, 0, 0);
	post(0, 1);
	assert_int_equal(wait_done(0), GOOD);
	clear_attention(0);
	assert_int_equal(run(0, (const uint8_t[6]){ 0x1a, 8, 8, 0, 64 }, 6, IN, 64), GOOD);
	assert_int_equal(guest(DATA)[6], 4);
}

/* More than the incoming mailboxes hold, without order, and a save in the middle. */
static void many(void **state)
{
	start_mailboxes(MAILBOXES, false);
	clear_attention(0);
	next_out = next_in = 0;
	start_mailboxes(MAILBOXES, false);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MAILBOXES; i++) {
			const uint8_t read[10] = { 0x28, 0, 0, 0, 0, (uint8_t)(8 * (4 * round + i)), 0, 0, 8 };
			put_ccb(4 * round + i, 0x00, 0, read, 10, IN, DATA + 4096 * (4 * round + i), 4096);
			post(4 * round + i, 1);
		}
	}
	buslogic_drain(adapter);
	rig_run(&r, false);
	/* Four are in mailboxes; the others wait, also in a file. */
	struct buslogic *saved = calloc(1, sizeof(*saved));
	const struct device_type *type = ((struct device *)adapter)->type;
	fields_copy(type->fields, saved, adapter);
	device_reset((struct device *)adapter);
	fields_copy(type->fields, adapter, saved);
	assert_int_equal(type->loaded(adapter, NULL), 0);
	saved->ended_count = 193;
	fields_copy(type->fields, adapter, saved);
	assert_int_equal(type->loaded(adapter, NULL), -1);
	saved->ended_count = MAILBOXES;
	fields_copy(type->fields, adapter, saved);
	assert_int_equal(type->loaded(adapter, NULL), 0);
	free(saved);
	unsigned seen = 0;
	for (unsigned i = 0; i < 2 * MAILBOXES; i++) {
		uint8_t *box = guest(BOX) + 8 * (boxes + next_in);
		if (!box[7]) {
			now += 2 * NS_PER_SEC / 1000;
			vclock_run(&virtual_clock);
		}
		assert_int_equal(box[7], 1);
		unsigned n = (load_le32(box) - CCB) / 64;
		assert_int_equal(seen & BIT(n), 0);
		seen |= BIT(n);
		assert_memory_equal(guest(DATA + 4096 * n), pattern + 4096 * n, 4096);
		box[7] = 0;
		next_in = (next_in + 1) % boxes;
	}
	assert_int_equal(seen, 0xff);
	assert_int_equal(in(2), 0x81);
	out(0, 0x20);
	out(0, 0x20);
	assert_int_equal(line(), 0);
}

/* The 24-bit interface of old drivers. */
static void narrow(void **state)
{
	memset(guest(BOX), 0, 4096);
	command(0x01, (const uint8_t[]){ 1, BOX >> 16, BOX >> 8 & 0xff, 0 }, 4);
	complete(true);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *c = guest(CCB), *box = guest(BOX);
		const uint8_t ccb[] = { 0, 0x08, 6, 18, 0, 2, 0, DATA >> 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0, 0, 9, 1, 0 };
		memcpy(c, ccb, sizeof(ccb));
		memcpy(box, (const uint8_t[]){ 1, CCB >> 16, CCB >> 8 & 0xff, 0, 0, 0, 0, 0 }, 8);
		out(1, 0x02);
		while (!box[4])
			assert_true(rig_run(&r, true));
		assert_int_equal(box[0], 0);
		assert_memory_equal(box + 5, ((const uint8_t[]){ CCB >> 16, CCB >> 8 & 0xff, 0 }), 3);
		assert_int_equal(in(2), 0x81);
		out(0, 0x20);
		/* First the unit attention, its sense data after the CDB. */
		assert_int_equal(c[15], i ? 0 : 2);
		assert_int_equal(box[4], i ? 1 : 4);
		if (!i)
			assert_int_equal(c[24 + 2] << 8 | c[24 + 12], 0x0629);
	}
	assert_memory_equal(guest(DATA), pattern + 9 * 512, 512);
}

static void random_accesses(void **state)
{
	static const uint8_t commands[] = { 0x02, 0x02, 0x02, 0x81, 0x91, 0x8d, 0x01, 0x1b };
	uint32_t x = 7;
	for (unsigned i = 0; i < 60000; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned reg = x >> 30;
		uint8_t value = x >> 29 & 1 ? commands[x >> 20 & 7] : (uint8_t)(x >> 12);
		if (reg == 0 && (value & 0xc0) && x & 0xf00)
			value = 0x20;
		if (x >> 27 & 3)
			out(reg, value);
		else
			in(reg);
		/* Mailboxes and CCBs of anything that looks a little like them. */
		uint32_t at = (x >> 8) % 4096 & ~3u;
		guest_store(&r, BOX + at, x & 0x10 ? (x & 1 ? 0x01000000u : CCB + (x >> 6 & 0x3c0)) : x, 4);
		guest_store(&r, CCB + at, x & 0x20 ? x & 0x4 ? DATA : 0x28000800 : x * 31, 4);
		if (i % 64 == 0) {
			now += NS_PER_SEC / 1000;
			vclock_run(&virtual_clock);
			rig_run(&r, false);
		}
	}
	out(0, 0x80);
	now += NS_PER_SEC;
	in(0);
	rig_run(&r, false);
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	assert_int_equal(run(0, (const uint8_t[10]){ 0x25 }, 10, IN, 8), GOOD);
}

/* One command of 6 bytes without data to the CD-ROM drive. */
static uint32_t drive(uint8_t operation, uint8_t byte4)
{
	return run(CDROM, (const uint8_t[6]){ operation, 0, 0, 0, byte4 }, 6, NONE, 0);
}

static void expect_drive(uint8_t key, uint8_t asc)
{
	assert_int_equal(drive(0, 0), CHECK);
	expect_sense(key, asc);
}

static void discs(void **state)
{
	struct error err = { 0 };
	const uint8_t read[10] = { 0x28, 0, 0, 0, 0, 3, 0, 0, 2 }, event[10] = { 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8 };
	start_mailboxes(MAILBOXES, true);
	expect_drive(6, 0x29);
	expect_drive(2, 0x3a);
	assert_int_equal(buslogic_change_medium(adapter, 0, NULL, false, &err), -1);
	assert_int_equal(err.code, EINVAL);
	assert_int_equal(buslogic_change_medium(adapter, CDROM, make_image(&r, path[2], pattern, DISK_SIZE, true, false, "raw"), false, &err), 0);
	expect_drive(6, 0x28);
	assert_int_equal(drive(0, 0), GOOD);
	assert_int_equal(run(CDROM, event, 10, IN, 8), GOOD);
	assert_int_equal(guest(DATA)[4], 2); /* new media */
	assert_int_equal(guest(DATA)[5], 2); /* present, tray closed */
	assert_int_equal(run(CDROM, read, 10, IN, 4096), GOOD);
	assert_int_equal(residual(), 0);
	assert_memory_equal(guest(DATA), pattern + 3 * 2048, 4096);
	assert_int_equal(run(CDROM, (const uint8_t[6]){ 8, 0, 0, 1, 1 }, 6, IN, 2048), GOOD);
	assert_memory_equal(guest(DATA), pattern + 2048, 2048);
	assert_int_equal(run(CDROM, (const uint8_t[6]){ 0x12, 0, 0, 0, 36 }, 6, IN, 36), GOOD);
	assert_int_equal(guest(DATA)[0], 5);
	put_ccb(0, 0x03, CDROM, (const uint8_t[6]){ 0x12, 0, 0, 0, 36 }, 6, IN, DATA, 36);
	guest(CCB)[17] = 1; /* LUN 1 */
	post(0, 1);
	assert_int_equal(wait_done(0), GOOD);
	assert_int_equal(guest(DATA)[0], 0x7f);
	/* A locked tray; the guest opens and closes it otherwise. */
	assert_int_equal(drive(0x1e, 1), GOOD);
	assert_int_equal(buslogic_change_medium(adapter, CDROM, NULL, false, &err), -1);
	assert_int_equal(err.code, EBUSY);
	assert_int_equal(drive(0x1b, 2), CHECK);
	expect_sense(5, 0x53);
	assert_int_equal(drive(0x1e, 0), GOOD);
	assert_int_equal(drive(0x1b, 2), GOOD);
	expect_drive(2, 0x3a);
	assert_int_equal(drive(0x1b, 3), GOOD);
	assert_int_equal(drive(0, 0), GOOD);
	assert_int_equal(buslogic_change_medium(adapter, CDROM, NULL, true, &err), 0);
	expect_drive(2, 0x3a);
}

#define CONFLICT 0x40018u

static void reservations(void **state)
{
	const uint8_t reserve[6] = { 0x16 }, release[6] = { 0x17 }, ready[6] = { 0 }, inquiry[6] = { 0x12, 0, 0, 0, 36 };
	const struct block_config shared = { .path = path[0], .format = "raw", .shared = true, .worker = rig_worker(&r) };
	struct block_config alone = shared;
	struct error err = { 0 };
	alone.shared = false;
	assert_null(block_open(&alone, &err));
	alone.read_only = true;
	assert_null(block_open(&alone, &err));
	struct block *other = block_open(&shared, &err);
	assert_non_null(other);
	start_mailboxes(MAILBOXES, true);
	clear_attention(0);
	assert_int_equal(run(0, reserve, 6, NONE, 0), GOOD);
	assert_int_equal(block_reserve(other, true), EBUSY);
	assert_true(block_reserved(other));
	assert_int_equal(run(0, release, 6, NONE, 0), GOOD);
	assert_int_equal(block_reserve(other, true), 0);
	assert_int_equal(run(0, ready, 6, NONE, 0), CONFLICT);
	assert_int_equal(run(0, reserve, 6, NONE, 0), CONFLICT);
	assert_int_equal(run(0, inquiry, 6, IN, 36), GOOD);
	assert_int_equal(block_reserve(other, false), 0);
	/* A reset ends what was reserved. */
	assert_int_equal(run(0, reserve, 6, NONE, 0), GOOD);
	device_reset((struct device *)adapter);
	assert_int_equal(block_reserve(other, true), 0);
	block_close(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(inquiries), TEST(transfers), TEST(unmapping), TEST(refusals), TEST(disk_states), TEST(many), TEST(narrow),
		TEST(random_accesses), TEST(discs), TEST(reservations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
