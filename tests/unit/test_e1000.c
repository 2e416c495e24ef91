/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "card_rig.h"

#include <zlib.h>

#include "base/log.h"
#include "dev/net/e1000.h"

#define CTRL 0x0000
#define STATUS 0x0008
#define EECD 0x0010
#define EERD 0x0014
#define MDIC 0x0020
#define VET 0x0038
#define ICR 0x00c0
#define ITR 0x00c4
#define ICS 0x00c8
#define IMS 0x00d0
#define IMC 0x00d8
#define RCTL 0x0100
#define TCTL 0x0400
#define RD 0x2800
#define TD 0x3800
#define RXCSUM 0x5000
#define MTA 0x5200
#define VFTA 0x5600

#define RING_TX 0x100000ull
#define RING_RX 0x110000ull
#define TX_DATA 0x200000ull
#define RX_DATA 0x400000ull
#define DESCRIPTORS 64u

static const uint8_t mac[NET_MAC_SIZE] = { 0x52, 0x54, 0, 0xab, 2, 3 };

static void make_device(struct card *c)
{
	struct error err = { 0 };
	c->net = test_net_create(rig_worker(&c->rig), NET_OFFLOAD_ALL);
	struct nic_config config = {
		.name = "e1000", .bus = c->rig.bus, .devfn = RIG_DEVFN, .dma = { &c->rig.memory }, .worker = rig_worker(&c->rig),
		.clock = &c->clock, .net = &c->net->net,
	};
	memcpy(config.mac, mac, sizeof(mac));
	c->dev = e1000_create(&config, &err);
	assert_non_null(c->dev);
	device_reset(c->dev);
}

static void card_init(struct card *c)
{
	card_begin(c);
	c->bar = cfg_read(&c->rig, RIG_DEVFN, 0x10, 4) & ~15u;
	c->io = cfg_read(&c->rig, RIG_DEVFN, 0x18, 4) & ~3u;
}

static uint32_t reg(struct card *c, unsigned offset)
{
	return (uint32_t)io_read(&c->rig.mmio, c->bar + offset, 4);
}

static void set(struct card *c, unsigned offset, uint32_t value)
{
	io_write(&c->rig.mmio, c->bar + offset, value, 4);
}

static int line(struct card *c)
{
	return c->rig.pirq[pci_intx_pirq(RIG_DEVFN >> 3, 0)];
}

/* Rings, receiver and transmitter on, all interrupts wanted. */
static void card_start(struct card *c, uint32_t rctl)
{
	c->tx = c->rx = 0;
	memset(memory_range(&c->rig.memory, RING_TX, 0x20000, true), 0, 0x20000);
	set(c, CTRL, 0x04000000);
	set(c, VET, 0x8100);
	set(c, TD, (uint32_t)RING_TX);
	set(c, TD + 8, DESCRIPTORS * 16);
	set(c, RD, (uint32_t)RING_RX);
	set(c, RD + 8, DESCRIPTORS * 16);
	for (unsigned i = 0; i < DESCRIPTORS; i++)
		guest_store(&c->rig, RING_RX + 16 * i, RX_DATA + 0x4000 * i, 8);
	set(c, TCTL, 0x2);
	set(c, RCTL, 0x2 | rctl);
	set(c, RD + 0x18, DESCRIPTORS - 1);
	set(c, IMS, 0xffffffff);
}

static uint64_t put_tx(struct card *c, uint64_t address, uint32_t lower, uint32_t upper)
{
	uint64_t at = RING_TX + 16 * c->tx;
	guest_store(&c->rig, at, address, 8);
	guest_store(&c->rig, at + 8, lower, 4);
	guest_store(&c->rig, at + 12, upper, 4);
	c->tx = (c->tx + 1) % DESCRIPTORS;
	return at;
}

static void go(struct card *c)
{
	set(c, TD + 0x18, c->tx);
	rig_run(&c->rig, false);
}

static unsigned eeprom_bit(struct card *c, unsigned in)
{
	uint32_t value = 0x42 | (in ? 4 : 0);
	set(c, EECD, value);
	set(c, EECD, value | 1);
	unsigned out = reg(c, EECD) >> 3 & 1;
	set(c, EECD, value);
	return out;
}

static uint16_t eeprom_word(struct card *c, unsigned address)
{
	uint16_t word = 0;
	set(c, EECD, 0x40);
	assert_int_equal(reg(c, EECD) & 0x80, 0x80);
	for (int bit = 2; bit >= 0; bit--)
		eeprom_bit(c, 6 >> bit & 1);
	for (int bit = 5; bit >= 0; bit--)
		assert_int_equal(eeprom_bit(c, address >> bit & 1) && bit == 0, 0);
	for (unsigned bit = 0; bit < 16; bit++)
		word = (uint16_t)(word << 1 | eeprom_bit(c, 0));
	set(c, EECD, 0);
	return word;
}

static uint32_t phy(struct card *c, unsigned op, unsigned address, unsigned index, unsigned value)
{
	set(c, MDIC, op << 26 | address << 21 | index << 16 | value);
	assert_true(reg(c, MDIC) & 0x10000000);
	return reg(c, MDIC);
}

static void identity(void **state)
{
	static struct card c;
	uint16_t sum = 0;
	card_init(&c);
	assert_int_equal(cfg_read(&c.rig, RIG_DEVFN, 0, 4), 0x100e8086);
	assert_int_equal(cfg_read(&c.rig, RIG_DEVFN, 8, 4) >> 8, 0x020000);
	assert_int_equal(reg(&c, STATUS) & 0xc3, 0x83);
	for (unsigned i = 0; i < 64; i++) {
		uint16_t word = eeprom_word(&c, i);
		set(&c, EERD, i << 8 | 1);
		assert_int_equal(reg(&c, EERD), (uint32_t)word << 16 | i << 8 | 0x10);
		sum = (uint16_t)(sum + word);
		if (i < 3)
			assert_int_equal(word, load_le16(mac + 2 * i));
	}
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(reg(&c, 0x5400), load_le32(mac));
	assert_int_equal(reg(&c, 0x5404), 0x80000000 | load_le16(mac + 4));
	assert_int_equal(phy(&c, 2, 1, 2, 0) & 0xffff, 0x0141);
	assert_int_equal(phy(&c, 2, 1, 3, 0) & 0xfff0, 0x0c20);
	assert_int_equal(phy(&c, 2, 1, 1, 0) & 0x24, 0x24);
	assert_true(phy(&c, 2, 2, 1, 0) & 0x40000000);
	phy(&c, 1, 1, 4, 0x0101);
	assert_int_equal(phy(&c, 2, 1, 4, 0) & 0xffff, 0x0101);
	phy(&c, 1, 1, 0, 0x8000);
	assert_int_equal(phy(&c, 2, 1, 4, 0) & 0xffff, 0x01e1);
	/* The same registers through the I/O ports. */
	io_write(&c.rig.io, c.io, 0x5400, 4);
	assert_int_equal(io_read(&c.rig.io, c.io + 4, 4), load_le32(mac));
	io_write(&c.rig.io, c.io, MTA, 4);
	io_write(&c.rig.io, c.io + 4, 0x1234567, 4);
	assert_int_equal(reg(&c, MTA), 0x1234567);
	assert_int_equal(io_read(&c.rig.mmio, c.bar + MTA + 1, 1), 0x45);
	card_destroy(&c);
}

static void plain_packets(void **state)
{
	static struct card c;
	static uint8_t frame[4000];
	card_init(&c);
	card_start(&c, 0);
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 7);
	guest_write(&c.rig, TX_DATA, frame, sizeof(frame));
	reg(&c, ICR);
	uint64_t at = put_tx(&c, TX_DATA, 0x0b000000 | 1000, 0);
	go(&c);
	assert_int_equal(c.net->count, 1);
	assert_int_equal(c.net->frames[0].size, 1000);
	assert_memory_equal(c.net->frames[0].data, frame, 1000);
	assert_int_equal(guest_load(&c.rig, at + 12, 1), 1);
	assert_int_equal(line(&c), 1);
	assert_int_equal(reg(&c, ICR) & 3, 3);
	assert_int_equal(line(&c), 0);
	assert_int_equal(reg(&c, TD + 0x10), 1);
	/* In pieces, of which the last comes later; no status asked for. */
	put_tx(&c, TX_DATA, 14, 0);
	put_tx(&c, TX_DATA + 14, 500, 0);
	go(&c);
	assert_int_equal(c.net->count, 1);
	at = put_tx(&c, TX_DATA + 514, 0x01000000 | 486, 0);
	go(&c);
	assert_int_equal(c.net->count, 2);
	assert_memory_equal(c.net->frames[1].data, frame, 1000);
	assert_int_equal(guest_load(&c.rig, at + 12, 1), 0);
	/* Padding of short ones; a legacy checksum. */
	set(&c, TCTL, 0xa);
	put_tx(&c, TX_DATA, 0x03000000 | 20, 0);
	put_tx(&c, TX_DATA, 0x07000000 | 50 << 16 | 100, 34 << 8);
	go(&c);
	assert_int_equal(c.net->frames[2].size, 60);
	assert_int_equal(c.net->frames[3].size, 100);
	/* The field's old content is part of the sum: with it put back, all sum up to it. */
	uint8_t *sent = c.net->frames[3].data;
	uint32_t field = (uint32_t)load_be(sent + 50, 2);
	store_be(sent + 50, load_be(frame + 50, 2), 2);
	assert_int_equal(field, ~slow_sum(sent + 34, 66, 0) & 0xffff);
	/* A network without room: the packet stays, and goes out later. */
	c.net->refuse = true;
	put_tx(&c, TX_DATA, 0x0b000000 | 1000, 0);
	go(&c);
	assert_int_equal(c.net->count, 4);
	assert_int_not_equal(reg(&c, TD + 0x10), reg(&c, TD + 0x18));
	c.net->refuse = false;
	net_writable(&c.net->net);
	rig_run(&c.rig, false);
	assert_int_equal(c.net->count, 5);
	assert_int_equal(reg(&c, TD + 0x10), reg(&c, TD + 0x18));
	assert_int_equal(reg(&c, 0x4080), 5);
	assert_int_equal(reg(&c, 0x4080), 0);
	card_destroy(&c);
}

/* As the Linux driver prepares it: addresses and protocol in the sum, length not; IP's length and checksum 0. */
static size_t make_tso(uint8_t *frame, bool v6, size_t payload)
{
	struct net_offload offload;
	size_t size = make_tcp(frame, v6, payload, &offload);
	uint8_t *tcp = frame + TEST_TCP(v6), *ip = frame + 14;
	const uint8_t tail[2] = { 0, 6 };
	store_be(tcp + 16, slow_sum(tail, 2, v6 ? slow_sum(ip + 8, 32, 0) : slow_sum(ip + 12, 8, 0)), 2);
	store_be(v6 ? ip + 4 : ip + 2, 0, 2);
	if (!v6)
		store_be(ip + 10, 0, 2);
	return size;
}

static void segments(void **state)
{
	static struct card c;
	static uint8_t frame[NET_FRAME_MAX];
	card_init(&c);
	card_start(&c, 0);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const size_t payload = 20000;
		const unsigned tucss = TEST_TCP(v6), header = TEST_HEADERS(v6), mss = 1400, wanted = (20000 + 1399) / 1400;
		size_t size = make_tso(frame, v6, payload);
		unsigned first = c.net->count;
		guest_write(&c.rig, TX_DATA, frame, size);
		uint64_t context = 14 | 24 << 8 | (uint64_t)(tucss - 1) << 16 | (uint64_t)tucss << 32 | (uint64_t)(tucss + 16) << 40;
		put_tx(&c, context, (uint32_t)payload | (0x25u | (v6 ? 0 : 2)) << 24, header << 8 | mss << 16);
		put_tx(&c, TX_DATA, header | 1u << 20 | 0x24u << 24, (v6 ? 2 : 3) << 8);
		put_tx(&c, TX_DATA + header, 10000 | 1u << 20 | 0x24u << 24, 0);
		uint64_t last = put_tx(&c, TX_DATA + header + 10000, 10000 | 1u << 20 | 0x2du << 24, 0);
		go(&c);
		assert_int_equal(guest_load(&c.rig, last + 12, 1), 1);
		assert_int_equal(c.net->count - first, wanted);
		for (unsigned i = 0; i < wanted; i++) {
			const struct test_frame *f = &c.net->frames[first + i];
			size_t part = i + 1 == wanted ? payload - i * mss : mss;
			const uint8_t *tcp = f->data + tucss;
			assert_int_equal(f->size, header + part);
			check_tcp(f->data, f->size, v6);
			assert_memory_equal(f->data + header, frame + header + i * mss, part);
			assert_int_equal(load_be(tcp + 4, 4), (uint32_t)(0xfffffe00 + i * mss));
			assert_int_equal(tcp[13] & 9, i + 1 == wanted ? 9 : 0);
		}
	}
	/* Checksums alone, by the same context. */
	struct net_offload offload;
	size_t size = make_tcp(frame, true, 700, &offload);
	guest_write(&c.rig, TX_DATA, frame, size);
	put_tx(&c, TX_DATA, (uint32_t)size | 1u << 20 | 0x2bu << 24, 2 << 8);
	unsigned before = c.net->count;
	go(&c);
	assert_int_equal(c.net->count, before + 1);
	check_tcp(c.net->frames[before].data, size, true);
	card_destroy(&c);
}

/* The next received packet; 0: none. */
static size_t take(struct card *c, uint8_t *data, unsigned *status, unsigned *errors, unsigned *tag)
{
	size_t size = 0;
	for (;;) {
		uint64_t at = RING_RX + 16 * c->rx;
		*status = (unsigned)guest_load(&c->rig, at + 12, 1);
		if (!(*status & 1))
			return 0;
		unsigned length = (unsigned)guest_load(&c->rig, at + 8, 2);
		assert_true(memory_read(&c->rig.memory, RX_DATA + 0x4000 * c->rx, data + size, length));
		*errors = *status & 2 ? (unsigned)guest_load(&c->rig, at + 13, 1) : 0;
		*tag = (unsigned)guest_load(&c->rig, at + 14, 2);
		guest_store(&c->rig, at + 8, 0, 8);
		size += length;
		set(c, RD + 0x18, c->rx);
		c->rx = (c->rx + 1) % DESCRIPTORS;
		if (*status & 2)
			return size;
	}
}

#define UPE 8u
#define SECRC 0x4000000u

static void received_packets(void **state)
{
	static struct card c;
	static uint8_t frame[20000], got[20000];
	unsigned status, errors, tag;
	card_init(&c);
	card_start(&c, UPE | 3u << 16); /* buffers of 256 bytes */
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 5 + i / 256);
	frame[0] = 0x52;
	reg(&c, ICR);
	assert_true(test_net_deliver(c.net, frame, 1000, NULL));
	assert_int_equal(line(&c), 1);
	assert_int_equal(reg(&c, ICR) & 0x80, 0x80);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 1004);
	assert_memory_equal(got, frame, 1000);
	assert_int_equal(load_le32(got + 1000), crc32(0, frame, 1000));
	assert_int_equal(c.rx, 4);
	/* Padded; without check sequence; large ones only when wanted. */
	set(&c, RCTL, 2 | UPE | SECRC);
	assert_true(test_net_deliver(c.net, frame, 20, NULL));
	assert_int_equal(take(&c, got, &status, &errors, &tag), 60);
	assert_true(test_net_deliver(c.net, frame, 1514, NULL) && test_net_deliver(c.net, frame, 1515, NULL));
	assert_int_equal(take(&c, got, &status, &errors, &tag), 1514);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 0);
	set(&c, RCTL, 2 | UPE | SECRC | 0x20);
	assert_true(test_net_deliver(c.net, frame, 9000, NULL));
	assert_int_equal(take(&c, got, &status, &errors, &tag), 9000);
	assert_memory_equal(got, frame, 9000);
	/* No descriptors: the frame waits. */
	set(&c, RD + 0x18, reg(&c, RD + 0x10));
	assert_false(test_net_deliver(c.net, frame, 100, NULL));
	rig_run(&c.rig, false);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 0);
	set(&c, RD + 0x18, (c.rx + 8) % DESCRIPTORS);
	rig_run(&c.rig, false);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 100);
	set(&c, RCTL, 0);
	assert_true(test_net_deliver(c.net, frame, 100, NULL)); /* off: lost */
	assert_int_equal(take(&c, got, &status, &errors, &tag), 0);
	card_destroy(&c);
}

static bool passes(struct card *c, uint64_t address, uint32_t rctl)
{
	uint8_t frame[60] = { 0 }, got[100];
	unsigned status, errors, tag;
	store_be(frame, address, 6);
	set(c, RCTL, 2 | rctl);
	test_net_deliver(c->net, frame, sizeof(frame), NULL);
	return take(c, got, &status, &errors, &tag) != 0;
}

static void filters(void **state)
{
	static struct card c;
	static uint8_t frame[200], got[200];
	unsigned status, errors, tag;
	card_init(&c);
	card_start(&c, 0);
	assert_true(passes(&c, 0x525400ab0203, 0));
	assert_false(passes(&c, 0x525400ab0204, 0) || passes(&c, 0xffffffffffff, 0) || passes(&c, 0x01005e000001, 0));
	assert_true(passes(&c, 0x525400ab0204, 8) && passes(&c, 0xffffffffffff, 0x8000) && passes(&c, 0x01005e000001, 0x10));
	for (unsigned mo = 0; mo < 4; mo++) {
		static const unsigned shifts[] = { 4, 3, 2, 0 };
		unsigned hash = (0x34u | 0x12u << 8) >> shifts[mo] & 0xfff; /* bytes 4 and 5 of the address */
		set(&c, MTA + hash / 32 * 4, 1u << hash % 32);
		assert_true(passes(&c, 0x01005e003412, mo << 12));
		assert_false(passes(&c, 0x01005e003522, mo << 12));
		set(&c, MTA + hash / 32 * 4, 0);
	}
	/* VLANs: stripped, and filtered. */
	memcpy(frame, mac, 6);
	for (unsigned i = 12; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	store_be(frame + 12, 0x81006005, 4);
	set(&c, RCTL, 2 | SECRC);
	test_net_deliver(c.net, frame, 200, NULL);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 200);
	assert_int_equal(status & 8, 0);
	set(&c, CTRL, 0x40000041);
	test_net_deliver(c.net, frame, 200, NULL);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 196);
	assert_int_equal(status & 8, 8);
	assert_int_equal(tag, 0x6005);
	assert_memory_equal(got + 12, frame + 16, 184);
	set(&c, RCTL, 2 | SECRC | 0x40000);
	test_net_deliver(c.net, frame, 200, NULL);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 0);
	set(&c, VFTA, 1 << 5);
	test_net_deliver(c.net, frame, 200, NULL);
	assert_int_equal(take(&c, got, &status, &errors, &tag), 196);
	/* And inserted. */
	guest_write(&c.rig, TX_DATA, frame + 100, 100);
	put_tx(&c, TX_DATA, 0x4b000000 | 100, 0x60050000);
	go(&c);
	assert_int_equal(c.net->frames[0].size, 104);
	assert_int_equal(load_be(c.net->frames[0].data + 12, 4), 0x81006005);
	assert_memory_equal(c.net->frames[0].data + 16, frame + 112, 88);
	card_destroy(&c);
}

static void verified_checksums(void **state)
{
	static struct card c;
	static uint8_t frame[2000], got[2000];
	struct net_offload offload;
	unsigned status, errors, tag;
	card_init(&c);
	card_start(&c, UPE);
	size_t size = make_tcp(frame, false, 500, &offload);
	packet_finish_checksum(frame, size, &offload);
	test_net_deliver(c.net, frame, size, NULL);
	take(&c, got, &status, &errors, &tag);
	assert_int_equal(status & 0x64, 4);
	set(&c, RXCSUM, 0x300);
	for (unsigned damaged = 0; damaged < 3; damaged++) {
		make_tcp(frame, false, 500, &offload);
		packet_finish_checksum(frame, size, &offload);
		frame[damaged == 1 ? 14 + 8 : 200] ^= damaged ? 1 : 0;
		test_net_deliver(c.net, frame, size, NULL);
		take(&c, got, &status, &errors, &tag);
		assert_int_equal(status & 0x64, 0x60);
		assert_int_equal(errors, damaged == 0 ? 0 : damaged == 1 ? 0x40 : 0x20);
	}
	card_destroy(&c);
}

static void throttled_interrupts(void **state)
{
	static struct card c;
	uint8_t frame[60] = { 0x52 };
	card_init(&c);
	card_start(&c, UPE);
	reg(&c, ICR);
	set(&c, ITR, 1000); /* 256 us */
	c.now += 1000000;
	test_net_deliver(c.net, frame, sizeof(frame), NULL);
	assert_int_equal(line(&c), 1);
	reg(&c, ICR);
	c.now += 100000;
	test_net_deliver(c.net, frame, sizeof(frame), NULL);
	vclock_run(&c.clock);
	assert_int_equal(line(&c), 0);
	c.now += 156000;
	vclock_run(&c.clock);
	assert_int_equal(line(&c), 1);
	set(&c, IMC, 0xffffffff);
	assert_int_equal(line(&c), 0);
	assert_int_equal(reg(&c, ICR) & 0x80, 0x80);
	card_destroy(&c);
}

static void save_and_load(void **state)
{
	static struct card c;
	static uint8_t saved[1 << 20], frame[100] = { 0x52, 0x54, 0, 0xab, 2, 3 }, got[200];
	unsigned status, errors, tag;
	card_init(&c);
	card_start(&c, SECRC);
	put_tx(&c, TX_DATA, 0x01000000 | 100, 0);
	go(&c);
	put_tx(&c, TX_DATA, 0x01000000 | 100, 0);
	set(&c, TD + 0x18, c.tx); /* not yet sent */
	assert_true(sizeof(saved) > 0);
	const struct device_type *type = ((struct device *)c.dev)->type;
	fields_copy(type->fields, saved, c.dev);
	end_device(&c);
	make_device(&c);
	fields_copy(type->fields, c.dev, saved);
	assert_int_equal(type->loaded(c.dev, NULL), 0);
	rig_run(&c.rig, false);
	assert_int_equal(c.net->count, 1);
	assert_true(test_net_deliver(c.net, frame, sizeof(frame), NULL));
	assert_int_equal(take(&c, got, &status, &errors, &tag), 100);
	card_destroy(&c);
}

/* Any registers and rings; afterwards a reset makes it work. */
static void random_drivers(void **state)
{
	static struct card c;
	static uint8_t frame[NET_FRAME_MAX];
	static const uint16_t offsets[] = { CTRL, EECD, EERD, MDIC, ICR, ITR, ICS, IMS, IMC, RCTL, TCTL, RD, RD + 4, RD + 8, RD + 0x10, RD + 0x18,
		TD, TD + 4, TD + 8, TD + 0x10, TD + 0x18, RXCSUM, MTA, VFTA, VET, 0x5400, 0x5404, 0x4074 };
	card_init(&c);
	srandom(3);
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 256 == 0)
			card_start(&c, UPE | 0x20);
		uint32_t value = (uint32_t)random() << 1;
		if (random() % 3)
			value &= 0xff;
		unsigned offset = offsets[(size_t)random() % ARRAY_SIZE(offsets)];
		if (random() % 16 == 0)
			set(&c, offset, value);
		else if (random() % 16 == 0)
			reg(&c, offset);
		uint64_t at = RING_TX + 16 * ((unsigned)random() % DESCRIPTORS);
		guest_store(&c.rig, at, TX_DATA + (uint64_t)(random() % 10000), 8);
		guest_store(&c.rig, at + 8, (uint32_t)(random() % (i % 7 ? 3000 : 70000)) | (uint32_t)(random() % 128) << 24 | (uint32_t)(random() % 2) << 20, 4);
		guest_store(&c.rig, at + 12, (uint32_t)random() << 1, 4);
		set(&c, TD + 0x18, (uint32_t)random() % DESCRIPTORS);
		rig_run(&c.rig, false);
		test_net_deliver(c.net, frame, 14 + (size_t)random() % (i % 5 ? 1500 : 20000), NULL);
		c.now += (uint64_t)(random() % 300000);
		vclock_run(&c.clock);
	}
	card_start(&c, 0);
	rig_run(&c.rig, false);
	unsigned before = c.net->count;
	put_tx(&c, TX_DATA, 0x01000000 | 100, 0);
	go(&c);
	assert_int_equal(c.net->count, before + 1);
	card_destroy(&c);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),
		cmocka_unit_test(plain_packets),
		cmocka_unit_test(segments),
		cmocka_unit_test(received_packets),
		cmocka_unit_test(filters),
		cmocka_unit_test(verified_checksums),
		cmocka_unit_test(throttled_interrupts),
		cmocka_unit_test(save_and_load),
		cmocka_unit_test(random_drivers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
