/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "card_rig.h"

#include <zlib.h>

#include "base/log.h"
#include "dev/net/pcnet.h"

#define BLOCK 0x180000ull
#define RING_RX 0x100000ull
#define RING_TX 0x110000ull
#define RX_DATA 0x200000ull
#define TX_DATA 0x300000ull
#define ENTRIES 8u
#define BUFFER 512u

#define OWN 0x80000000u
#define STP 0x02000000u
#define ENP 0x01000000u

static const uint8_t mac[NET_MAC_SIZE] = { 0x52, 0x54, 0, 0xcd, 2, 3 };

static void make_device(struct card *c)
{
	struct error err = { 0 };
	c->net = test_net_create(rig_worker(&c->rig), NET_OFFLOAD_ALL);
	struct nic_config config = {
		.name = "pcnet", .bus = c->rig.bus, .devfn = RIG_DEVFN, .dma = { &c->rig.memory }, .worker = rig_worker(&c->rig),
		.clock = &c->clock, .net = &c->net->net,
	};
	memcpy(config.mac, mac, sizeof(mac));
	c->dev = pcnet_create(&config, &err);
	assert_non_null(c->dev);
	device_reset(c->dev);
}

static void card_init(struct card *c)
{
	card_begin(c);
	c->io = cfg_read(&c->rig, RIG_DEVFN, 0x10, 4) & ~3u;
}

enum { RDP, RAP, RESET, BDP };

static uint16_t window(struct card *c, unsigned which)
{
	unsigned width = c->dword ? 4 : 2;
	return (uint16_t)io_read(&c->rig.io, c->io + 16 + width * which, width);
}

static void set_window(struct card *c, unsigned which, uint16_t value)
{
	unsigned width = c->dword ? 4 : 2;
	io_write(&c->rig.io, c->io + 16 + width * which, value, width);
}

static uint16_t csr(struct card *c, unsigned index)
{
	set_window(c, RAP, (uint16_t)index);
	return window(c, RDP);
}

static void set_csr(struct card *c, unsigned index, uint16_t value)
{
	set_window(c, RAP, (uint16_t)index);
	set_window(c, RDP, value);
}

static uint16_t bcr(struct card *c, unsigned index)
{
	set_window(c, RAP, (uint16_t)index);
	return window(c, BDP);
}

static void set_bcr(struct card *c, unsigned index, uint16_t value)
{
	set_window(c, RAP, (uint16_t)index);
	set_window(c, BDP, value);
}

static int line(struct card *c)
{
	return c->rig.pirq[pci_intx_pirq(RIG_DEVFN >> 3, 0)];
}

/* Descriptors in any style, seen as style 2. */
static uint64_t desc(struct card *c, uint64_t ring, unsigned index)
{
	return ring + (c->style ? 16 : 8) * index;
}

static void put_desc_at(struct card *c, uint64_t ring, unsigned index, uint64_t address, uint32_t status)
{
	uint64_t at = desc(c, ring, index);
	if (c->style) {
		guest_store(&c->rig, at + (c->style == 3 ? 8 : 0), address, 4);
		guest_store(&c->rig, at + (c->style == 3 ? 0 : 8), 0, 4);
		guest_store(&c->rig, at + 4, status, 4);
	} else {
		guest_store(&c->rig, at + 4, status & 0xffff, 2);
		guest_store(&c->rig, at + 6, 0, 2);
		guest_store(&c->rig, at, address | (status & 0xff000000), 4);
	}
}

static uint32_t desc_status(struct card *c, uint64_t ring, unsigned index)
{
	uint64_t at = desc(c, ring, index);
	return c->style ? (uint32_t)guest_load(&c->rig, at + 4, 4) : (uint32_t)guest_load(&c->rig, at + 3, 1) << 24;
}

static unsigned desc_length(struct card *c, unsigned index)
{
	uint64_t at = desc(c, RING_RX, index);
	return (unsigned)guest_load(&c->rig, at + (c->style == 0 ? 6 : c->style == 3 ? 0 : 8), 2) & 0xfff;
}

static void put_rx(struct card *c, unsigned index)
{
	put_desc_at(c, RING_RX, index, RX_DATA + BUFFER * index, OWN | 0xf000 | (-BUFFER & 0xfff));
}

static void card_start(struct card *c, unsigned style, uint16_t mode, uint64_t filter)
{
	struct rig *rig = &c->rig;
	c->style = style;
	c->tx = c->rx = 0;
	window(c, RESET);
	set_bcr(c, 20, (uint16_t)style);
	memset(memory_range(&rig->memory, RING_RX, 0x20000, true), 0, 0x20000);
	for (unsigned i = 0; i < ENTRIES; i++)
		put_rx(c, i);
	guest_store(rig, BLOCK, mode, 2);
	uint64_t at = style ? BLOCK + 4 : BLOCK + 2;
	guest_write(rig, at, mac, 6);
	guest_store(rig, style ? BLOCK + 12 : BLOCK + 8, filter, 8);
	if (style) {
		guest_store(rig, BLOCK + 2, 3 << 4 | 3 << 12, 2);
		guest_store(rig, BLOCK + 20, RING_RX, 4);
		guest_store(rig, BLOCK + 24, RING_TX, 4);
	} else {
		guest_store(rig, BLOCK + 16, RING_RX | 3u << 29, 4);
		guest_store(rig, BLOCK + 20, RING_TX | 3u << 29, 4);
	}
	set_csr(c, 1, (uint16_t)BLOCK);
	set_csr(c, 2, BLOCK >> 16);
	set_csr(c, 0, 1);
	assert_int_equal(csr(c, 0) & 0x101, 0x101);
	set_csr(c, 0, 0x142);
	rig_run(rig, false);
}

static void send(struct card *c, uint64_t at, unsigned size, uint32_t flags)
{
	put_desc_at(c, RING_TX, c->tx, at, OWN | flags | 0xf000 | (-size & 0xfff));
	c->tx = (c->tx + 1) % ENTRIES;
}

static void demand(struct card *c)
{
	set_csr(c, 0, 0x48);
	rig_run(&c->rig, false);
}

/* The next received packet; 0: none. */
static size_t take(struct card *c, uint8_t *data, uint32_t *status)
{
	size_t size = 0;
	for (;;) {
		*status = desc_status(c, RING_RX, c->rx);
		if (*status & OWN)
			return 0;
		size_t length = *status & ENP ? desc_length(c, c->rx) - size : BUFFER;
		assert_true(memory_read(&c->rig.memory, RX_DATA + BUFFER * c->rx, data + size, length));
		size += length;
		put_rx(c, c->rx);
		c->rx = (c->rx + 1) % ENTRIES;
		if (*status & ENP)
			return size;
	}
}

static void identity(void **state)
{
	static struct card c;
	unsigned sum = 0;
	card_init(&c);
	assert_int_equal(cfg_read(&c.rig, RIG_DEVFN, 0, 4), 0x20001022);
	assert_int_equal(cfg_read(&c.rig, RIG_DEVFN, 8, 4) >> 8, 0x020000);
	for (unsigned i = 0; i < 16; i++) {
		unsigned byte = (unsigned)io_read(&c.rig.io, c.io + i, 1);
		sum += i == 12 || i == 13 ? 0 : byte;
		if (i < 6)
			assert_int_equal(byte, mac[i]);
	}
	assert_int_equal(io_read(&c.rig.io, c.io + 12, 2), sum);
	assert_int_equal(io_read(&c.rig.io, c.io + 14, 2), 0x5757);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(csr(&c, 0), 4);
		assert_int_equal(csr(&c, 88) | csr(&c, 89) << 16, 0x02621003);
		assert_int_equal(csr(&c, 4), 0x0115);
		assert_int_equal(bcr(&c, 4), 0x80c0);
		c.net->net.config.kind = NET_NONE; /* the cable is out */
		assert_int_equal(bcr(&c, 4), 0x00c0);
		c.net->net.config.kind = NET_USER;
		assert_int_equal(bcr(&c, 20), 0x0200);
		set_bcr(&c, 20, 2);
		assert_int_equal(bcr(&c, 20), 0x0302);
		assert_int_equal(csr(&c, 58), 0x0302);
		set_bcr(&c, 20, 0);
		/* Dwords from now on. */
		io_write(&c.rig.io, c.io + 16, 0, 4);
		c.dword = true;
	}
	assert_int_equal(io_read(&c.rig.io, c.io + 16, 2), 0xffff);
	assert_int_equal(window(&c, RESET), 0);
	card_destroy(&c);
}

static void packets_in_every_style(void **state)
{
	static struct card c;
	static uint8_t frame[2000], got[5000];
	uint32_t status;
	for (unsigned style = 0; style < 4; style++) {
		card_init(&c);
		card_start(&c, style, 0, 0);
		assert_int_equal(csr(&c, 0) & 0x33, 0x33);
		assert_int_equal(csr(&c, 76), 0x10000 - ENTRIES);
		for (unsigned i = 0; i < sizeof(frame); i++)
			frame[i] = (uint8_t)(i * 3 + i / 256);
		guest_write(&c.rig, TX_DATA, frame, sizeof(frame));
		send(&c, TX_DATA, 1000, STP | ENP);
		demand(&c);
		assert_int_equal(c.net->count, 1);
		assert_int_equal(c.net->frames[0].size, 1000);
		assert_memory_equal(c.net->frames[0].data, frame, 1000);
		assert_int_equal(desc_status(&c, RING_TX, 0) & OWN, 0);
		assert_int_equal(csr(&c, 0) & 0x2c0, 0x2c0);
		assert_int_equal(line(&c), 1);
		set_csr(&c, 0, 0x7f40);
		assert_int_equal(line(&c), 0);
		/* In pieces, the last one later. */
		send(&c, TX_DATA, 100, STP);
		send(&c, TX_DATA + 100, 300, 0);
		demand(&c);
		assert_int_equal(c.net->count, 1);
		send(&c, TX_DATA + 400, 600, ENP);
		demand(&c);
		assert_int_equal(c.net->count, 2);
		assert_memory_equal(c.net->frames[1].data, frame, 1000);
		/* Without a demand the chip looks by itself. */
		send(&c, TX_DATA, 60, STP | ENP);
		rig_run(&c.rig, false);
		assert_int_equal(c.net->count, 2);
		for (unsigned i = 0; i < 60; i++) {
			c.now += 2000000;
			vclock_run(&c.clock);
		}
		rig_run(&c.rig, false);
		assert_int_equal(c.net->count, 3);
		/* Received, over three buffers; with the check sequence. */
		memcpy(frame, mac, 6);
		set_csr(&c, 0, 0x7f40);
		assert_true(test_net_deliver(c.net, frame, 1200, NULL));
		assert_int_equal(csr(&c, 0) & 0x4c0, 0x4c0);
		assert_int_equal(desc_status(&c, RING_RX, 0) & (STP | ENP | OWN), STP);
		assert_int_equal(take(&c, got, &status), 1204);
		assert_memory_equal(got, frame, 1200);
		assert_int_equal(load_le32(got + 1200), crc32(0, frame, 1200));
		assert_int_equal(status & 0x00700000, style ? 0x00400000 : 0);
		assert_int_equal(c.rx, 3);
		assert_true(test_net_deliver(c.net, frame, 30, NULL));
		assert_int_equal(take(&c, got, &status), 64);
		card_destroy(&c);
	}
}

static void no_descriptors(void **state)
{
	static struct card c;
	uint8_t frame[100] = { 0x52, 0x54, 0, 0xcd, 2, 3 }, got[200];
	uint32_t status;
	card_init(&c);
	card_start(&c, 2, 0, 0);
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_true(test_net_deliver(c.net, frame, 100, NULL));
	assert_false(test_net_deliver(c.net, frame, 100, NULL));
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(take(&c, got, &status), 104);
	assert_int_equal(take(&c, got, &status), 0);
	c.now += 1000000;
	vclock_run(&c.clock);
	rig_run(&c.rig, false);
	assert_int_equal(take(&c, got, &status), 104);
	/* Never given back: counted as missed. */
	for (unsigned i = 0; i < ENTRIES; i++)
		test_net_deliver(c.net, frame, 100, NULL);
	test_net_deliver(c.net, frame, 100, NULL);
	assert_int_equal(csr(&c, 0) & 0x1000, 0);
	for (unsigned i = 0; i < 100; i++) {
		c.now += 1000000;
		vclock_run(&c.clock);
		rig_run(&c.rig, false);
	}
	assert_int_equal(csr(&c, 0) & 0x9000, 0x9000);
	assert_int_equal(csr(&c, 112), 1);
	card_destroy(&c);
}

static bool passes(struct card *c, uint64_t address)
{
	uint8_t frame[60] = { 0 }, got[100];
	uint32_t status;
	store_be(frame, address, 6);
	test_net_deliver(c->net, frame, sizeof(frame), NULL);
	return take(c, got, &status) != 0;
}

static void filters(void **state)
{
	static struct card c;
	card_init(&c);
	unsigned found = 0;
	/* ~CRC-32 of 01:00:5e:00:00:01 is 0xd.......: the upper six bits */
	for (unsigned bit = 0; bit < 64; bit++) {
		card_start(&c, 2, 0, 1ull << bit);
		bool pass = passes(&c, 0x01005e000001);
		assert_int_equal(pass, bit == 54);
		found += pass;
		assert_true(passes(&c, 0x525400cd0203) && passes(&c, 0xffffffffffff));
		assert_false(passes(&c, 0x525400cd0204));
	}
	assert_int_equal(found, 1);
	card_start(&c, 2, 0x8000, 0);
	assert_true(passes(&c, 0x525400cd0204) && passes(&c, 0x01005e000001));
	card_start(&c, 2, 0x6000, ~0ull);
	assert_false(passes(&c, 0x525400cd0203) || passes(&c, 0xffffffffffff));
	assert_true(passes(&c, 0x01005e000001));
	card_destroy(&c);
}

static void modes(void **state)
{
	static struct card c;
	static uint8_t frame[200], got[300];
	uint32_t status;
	card_init(&c);
	card_start(&c, 2, 0x0004, 0); /* loopback */
	memcpy(frame, mac, 6);
	guest_write(&c.rig, TX_DATA, frame, sizeof(frame));
	send(&c, TX_DATA, 200, STP | ENP);
	demand(&c);
	assert_int_equal(c.net->count, 0);
	assert_int_equal(take(&c, got, &status), 204);
	card_start(&c, 2, 0x0002, 0); /* no transmitter */
	assert_int_equal(csr(&c, 0) & 0x30, 0x20);
	card_start(&c, 2, 0x0009, 0); /* no receiver; the driver's own check sequence */
	assert_int_equal(csr(&c, 0) & 0x30, 0x10);
	assert_true(test_net_deliver(c.net, frame, 100, NULL));
	assert_int_equal(take(&c, got, &status), 0);
	send(&c, TX_DATA, 104, STP | ENP);
	set_csr(&c, 4, 0x0915); /* padding */
	send(&c, TX_DATA, 24, STP | ENP | 0x20000000);
	demand(&c);
	assert_int_equal(c.net->frames[0].size, 100);
	assert_int_equal(c.net->frames[1].size, 60);
	/* Suspended: nothing goes, until it is taken back. */
	set_csr(&c, 5, 1);
	assert_int_equal(csr(&c, 5), 1);
	send(&c, TX_DATA, 104, STP | ENP);
	demand(&c);
	assert_int_equal(c.net->count, 2);
	set_csr(&c, 5, 0);
	rig_run(&c.rig, false);
	assert_int_equal(c.net->count, 3);
	set_csr(&c, 0, 4);
	assert_int_equal(csr(&c, 0), 4);
	card_destroy(&c);
}

static void save_and_load(void **state)
{
	static struct card c;
	static uint8_t saved[1 << 17], frame[100] = { 0x52, 0x54, 0, 0xcd, 2, 3 }, got[200];
	uint32_t status;
	card_init(&c);
	card_start(&c, 3, 0, 0);
	assert_true(test_net_deliver(c.net, frame, 100, NULL));
	send(&c, TX_DATA, 100, STP | ENP);
	const struct device_type *type = ((struct device *)c.dev)->type;
	fields_copy(type->fields, saved, c.dev);
	end_device(&c);
	make_device(&c);
	fields_copy(type->fields, c.dev, saved);
	assert_int_equal(type->loaded(c.dev, NULL), 0);
	rig_run(&c.rig, false);
	assert_int_equal(c.net->count, 1);
	assert_true(test_net_deliver(c.net, frame, 100, NULL));
	assert_int_equal(take(&c, got, &status), 104);
	assert_int_equal(take(&c, got, &status), 104);
	assert_int_equal(take(&c, got, &status), 0);
	card_destroy(&c);
}

static void random_drivers(void **state)
{
	static struct card c;
	static uint8_t frame[9000];
	card_init(&c);
	srandom(9);
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 200 == 0)
			card_start(&c, i / 200 % 4, i / 200 % 3 ? 0x8000 : 0x8004, 0);
		if (random() % 8 == 0)
			set_csr(&c, (unsigned)random() % 128, (uint16_t)(random() % 3 ? random() % 64 : random()));
		if (random() % 16 == 0)
			set_bcr(&c, (unsigned)random() % 32, (uint16_t)random());
		put_desc_at(&c, RING_TX, (unsigned)random() % ENTRIES, TX_DATA + (uint64_t)(random() % 5000), (uint32_t)random() << 1);
		put_desc_at(&c, RING_RX, (unsigned)random() % ENTRIES, RX_DATA + (uint64_t)(random() % 5000), (uint32_t)random() << 1);
		demand(&c);
		test_net_deliver(c.net, frame, 14 + (size_t)random() % (i % 5 ? 1500 : 8000), NULL);
		c.now += (uint64_t)(random() % 3000000);
		vclock_run(&c.clock);
		rig_run(&c.rig, false);
	}
	card_start(&c, 2, 0, 0);
	unsigned before = c.net->count;
	send(&c, TX_DATA, 100, STP | ENP);
	demand(&c);
	assert_int_equal(c.net->count, before + 1);
	card_destroy(&c);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),
		cmocka_unit_test(packets_in_every_style),
		cmocka_unit_test(no_descriptors),
		cmocka_unit_test(filters),
		cmocka_unit_test(modes),
		cmocka_unit_test(save_and_load),
		cmocka_unit_test(random_drivers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
