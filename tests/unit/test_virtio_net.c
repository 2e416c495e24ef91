/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_rig.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "dev/virtio/net.h"
#include "net_rig.h"

#define HEADER 12u
#define TX_DATA 0x400000ull
#define RX_DATA 0x600000ull
#define CONTROL 0x300000ull
#define ACK 0x301000ull

#define F_CSUM (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_GUEST_OFFLOADS (1ull << 2)
#define F_MTU (1ull << 3)
#define F_MAC (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_HOST_TSO4 (1ull << 11)
#define F_HOST_TSO6 (1ull << 12)
#define F_MRG (1ull << 15)
#define F_STATUS (1ull << 16)
#define F_CTRL_VQ (1ull << 17)
#define F_CTRL_RX (1ull << 18)
#define F_CTRL_VLAN (1ull << 19)
#define F_MQ (1ull << 22)
#define F_USUAL (F_CSUM | F_MAC | F_MRG | F_CTRL_VQ | F_CTRL_RX | FEATURE_INDIRECT)

static const uint8_t mac[NET_MAC_SIZE] = { 0x52, 0x54, 0, 1, 2, 3 };

struct net_rig {
	struct rig rig;
	struct virtio_net *dev;
	struct virtio_pci *pci;
	struct test_net *net;
	struct driver driver;
	struct driver_queue queue[9];
};

static void make_device(struct net_rig *r, unsigned cpus, unsigned offloads)
{
	struct error err = { 0 };
	r->net = test_net_create(rig_worker(&r->rig), offloads);
	struct virtio_net_config config = {
		.device = { "net0", { &r->rig.memory }, rig_worker(&r->rig) }, .net = &r->net->net, .cpus = cpus,
	};
	memcpy(config.mac, mac, sizeof(mac));
	r->dev = virtio_net_create(&config, &err);
	assert_non_null(r->dev);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_net_device(r->dev) };
	r->pci = virtio_pci_create(&pci, &err);
	assert_non_null(r->pci);
	device_reset((struct device *)r->dev);
	device_reset((struct device *)r->pci);
}

static void net_rig_init(struct net_rig *r, unsigned cpus, unsigned offloads)
{
	rig_init(&r->rig);
	make_device(r, cpus, offloads);
	driver_find(&r->driver, &r->rig);
}

static void net_rig_start(struct net_rig *r, uint64_t features, unsigned queues)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | features));
	for (unsigned i = 0; i < queues; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 128);
	driver_ok(&r->driver);
	rig_run(&r->rig, false);
}

static void end_device(struct net_rig *r)
{
	rig_run(&r->rig, false);
	((struct device *)r->pci)->type->destroy(r->pci);
	((struct device *)r->dev)->type->destroy(r->dev);
	rig_run(&r->rig, false);
}

static void net_rig_destroy(struct net_rig *r)
{
	end_device(r);
	rig_destroy(&r->rig);
}

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} __attribute__((packed));

static void put_frame(struct net_rig *r, const struct header *header, const void *frame, size_t size)
{
	guest_write(&r->rig, TX_DATA, header, HEADER);
	guest_write(&r->rig, TX_DATA + HEADER, frame, size);
}

static void transmit_on(struct net_rig *r, unsigned queue, const struct header *header, const void *frame, size_t size)
{
	const struct buffer buffer = { TX_DATA, (uint32_t)(HEADER + size), false };
	put_frame(r, header, frame, size);
	queue_add(&r->queue[queue], &buffer, 1);
	queue_notify(&r->queue[queue]);
	rig_run(&r->rig, false);
}

static void transmit(struct net_rig *r, const struct header *header, const void *frame, size_t size)
{
	transmit_on(r, 1, header, frame, size);
}

static void offer_buffers(struct net_rig *r, unsigned queue, unsigned count, uint32_t size)
{
	for (unsigned i = 0; i < count; i++) {
		const struct buffer buffer = { RX_DATA + r->queue[queue].next_desc * 0x2000ull, size, true };
		queue_add(&r->queue[queue], &buffer, 1);
	}
	queue_notify(&r->queue[queue]);
	rig_run(&r->rig, false);
}

static unsigned waiting(struct driver_queue *queue)
{
	return (uint16_t)(queue_used(queue) - queue->used_seen);
}

/* Reads one received frame out of its buffers; returns its size, and how many buffers it took. */
static size_t take_frame(struct net_rig *r, unsigned queue, struct header *header, uint8_t *frame, unsigned *buffers)
{
	size_t size = 0;
	*buffers = 1;
	for (unsigned i = 0; i < *buffers; i++) {
		uint16_t head;
		assert_int_not_equal(waiting(&r->queue[queue]), 0);
		uint32_t used = queue_wait(&r->queue[queue], &head);
		uint64_t at = RX_DATA + head * 0x2000ull;
		unsigned skip = 0;
		if (i == 0) {
			assert_true(memory_read(&r->rig.memory, at, header, HEADER));
			*buffers = header->num_buffers;
			skip = HEADER;
		}
		assert_true(memory_read(&r->rig.memory, at + skip, frame + size, used - skip));
		size += used - skip;
	}
	return size;
}

static void configuration_space(void **state)
{
	static struct net_rig r;
	net_rig_init(&r, 6, NET_OFFLOAD_ALL);
	struct io_space *mmio = &r.rig.mmio;
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, 0, 4), 0x10411af4);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, 8, 4) >> 8, 0x020000);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(io_read(mmio, r.driver.config + i, 1), mac[i]);
	assert_int_equal(io_read(mmio, r.driver.config + 6, 2), 1);
	assert_int_equal(io_read(mmio, r.driver.config + 8, 2), 4);
	assert_int_equal(io_read(mmio, r.driver.config + 10, 2), 9000);
	assert_int_equal(io_read(mmio, REG(&r.driver, 0x12), 2), 9);
	uint64_t want = F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MRG | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_MQ;
	assert_int_equal(driver_offered(&r.driver) & want, want);
	net_rig_destroy(&r);
}

/* What the network is told of the driver's. */
static void agreed_mtu(void **state)
{
	static struct net_rig r;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL, 3);
	assert_int_equal(atomic_load(&r.net->net.port_mtu), 1500);
	device_reset((struct device *)r.dev);
	net_rig_start(&r, F_USUAL | F_MTU, 3);
	assert_int_equal(atomic_load(&r.net->net.port_mtu), 9000);
	device_reset((struct device *)r.dev);
	assert_int_equal(atomic_load(&r.net->net.port_mtu), 1500);
	net_rig_destroy(&r);
}

static void frames_are_sent(void **state)
{
	static struct net_rig r;
	static uint8_t frame[NET_FRAME_MAX + 1];
	const struct header none = { 0 };
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL, 3);
	for (unsigned i = 0; i < 40; i++) {
		size_t size = 14 + i * 41;
		memset(frame, (int)i, size);
		transmit(&r, &none, frame, size);
		assert_int_equal(queue_wait(&r.queue[1], NULL), 0);
		assert_int_equal(r.net->count, i + 1);
		assert_int_equal(r.net->frames[i].size, size);
		assert_memory_equal(r.net->frames[i].data, frame, size);
		assert_false(r.net->frames[i].offload.checksum);
	}
	/* Header and frame in odd pieces. */
	memset(frame, 0x77, 1000);
	put_frame(&r, &none, frame, 1000);
	const struct buffer pieces[] = {
		{ TX_DATA, 5, false }, { TX_DATA + 5, 9, false }, { TX_DATA + 14, 1, false }, { TX_DATA + 15, 997, false },
	};
	queue_add_indirect(&r.queue[1], 0x310000, pieces, 4);
	queue_notify(&r.queue[1]);
	queue_wait(&r.queue[1], NULL);
	assert_int_equal(r.net->frames[40].size, 1000);
	assert_memory_equal(r.net->frames[40].data, frame, 1000);
	/* Frames that cannot be: dropped, the chain comes back. */
	transmit(&r, &none, frame, 13);
	queue_wait(&r.queue[1], NULL);
	transmit(&r, &none, frame, NET_FRAME_MAX + 1);
	queue_wait(&r.queue[1], NULL);
	assert_int_equal(r.net->count, 41);
	assert_int_equal(driver_status(&r.driver), 15);
	net_rig_destroy(&r);
}

static void offloads_are_passed_on(void **state)
{
	static struct net_rig r;
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	size_t size = make_tcp(frame, false, 30000, &offload);
	const struct header tso = { 1, 1, 66, 1448, TEST_TCP(false), 16, 0 }, checksum = { 1, 0, 0, 0, TEST_TCP(false), 16, 0 };
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_HOST_TSO4, 3);
	transmit(&r, &tso, frame, size);
	assert_int_equal(r.net->count, 1);
	assert_int_equal(r.net->frames[0].size, size);
	assert_int_equal(r.net->frames[0].offload.gso, NET_GSO_TCP4);
	assert_int_equal(r.net->frames[0].offload.gso_size, 1448);
	assert_true(r.net->frames[0].offload.checksum);
	/* A network without: the same in software. */
	r.net->net.offloads = 0;
	transmit(&r, &checksum, frame, size);
	assert_int_equal(r.net->count, 2);
	check_tcp(r.net->frames[1].data, size, false);
	transmit(&r, &tso, frame, size);
	assert_int_equal(r.net->count, 2 + (30000 + 1447) / 1448);
	for (unsigned i = 2; i < r.net->count; i++)
		check_tcp(r.net->frames[i].data, r.net->frames[i].size, false);
	/* Headers that say nothing sensible, or what was not agreed upon. */
	const struct header wrong[] = {
		{ 1, 1, 66, 0, 34, 16, 0 }, { 0, 1, 66, 1448, 34, 16, 0 }, { 1, 4, 66, 1448, 34, 16, 0 }, { 1, 3, 66, 1448, 34, 16, 0 },
		{ 1, 0x80, 0, 0, 34, 16, 0 }, { 1, 0, 0, 0, 65535, 16, 0 }, { 1, 0, 0, 0, 34, 65535, 0 }, { 1, 0, 0, 0, (uint16_t)(size - 1), 0, 0 },
		{ 1, 0x81, 66, 1448, 34, 16, 0 }, { 1, 5, 66, 1448, 34, 16, 0 },
	};
	unsigned before = r.net->count;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		transmit(&r, &wrong[i], frame, size);
	assert_int_equal(r.net->count, before);
	assert_int_equal(queue_used(&r.queue[1]), 3 + ARRAY_SIZE(wrong));
	net_rig_destroy(&r);
}

static void frames_are_received(void **state)
{
	static struct net_rig r;
	static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
	struct header header;
	unsigned buffers;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL, 3);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 13 + i / 256);
	offer_buffers(&r, 0, 100, 1536);
	static const size_t sizes[] = { 60, 1500, 1524, 1525, 3060, 3061, 60000 };
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint16_t before = queue_used(&r.queue[0]);
		assert_true(test_net_deliver(r.net, frame, sizes[i], NULL));
		unsigned want = (unsigned)(HEADER + sizes[i] + 1535) / 1536;
		assert_int_equal((uint16_t)(queue_used(&r.queue[0]) - before), want);
		assert_int_equal(take_frame(&r, 0, &header, got, &buffers), sizes[i]);
		assert_int_equal(buffers, want);
		assert_int_equal(header.flags, 0);
		assert_memory_equal(got, frame, sizes[i]);
	}
	net_rig_destroy(&r);
}

static void receive_offloads(void **state)
{
	static struct net_rig r;
	static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
	struct net_offload offload;
	struct header header;
	unsigned buffers;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_OFFLOADS, 3);
	offer_buffers(&r, 0, 100, 4096);
	size_t size = make_tcp(frame, false, 10000, &offload);
	offload.gso = NET_GSO_TCP4;
	offload.gso_size = 1000;
	test_net_deliver(r.net, frame, size, &offload);
	assert_int_equal(take_frame(&r, 0, &header, got, &buffers), size);
	assert_int_equal(header.flags, 1);
	assert_int_equal(header.gso_type, 1);
	assert_int_equal(header.gso_size, 1000);
	assert_int_equal(header.csum_start, TEST_TCP(false));
	assert_int_equal(header.csum_offset, 16);
	test_net_deliver(r.net, frame, 60, &(struct net_offload){ .valid = true });
	take_frame(&r, 0, &header, got, &buffers);
	assert_int_equal(header.flags, 2);
	/* Switched off by command: cut in software from then on. */
	const uint8_t off[10] = { 5, 0, 2 };
	const struct buffer command[] = { { CONTROL, 10, false }, { ACK, 1, true } };
	guest_write(&r.rig, CONTROL, off, sizeof(off));
	queue_add(&r.queue[2], command, 2);
	queue_notify(&r.queue[2]);
	queue_wait(&r.queue[2], NULL);
	assert_int_equal(guest_load(&r.rig, ACK, 1), 0);
	test_net_deliver(r.net, frame, size, &offload);
	for (unsigned i = 0; i < 10; i++) {
		size_t part = take_frame(&r, 0, &header, got, &buffers);
		assert_int_equal(part, TEST_HEADERS(false) + 1000);
		assert_int_equal(header.gso_type, 0);
		check_tcp(got, part, false);
	}
	net_rig_destroy(&r);
}

static void frames_wait_for_buffers(void **state)
{
	static struct net_rig r;
	static uint8_t frame[4000], got[NET_FRAME_MAX];
	struct header header;
	unsigned buffers;
	for (unsigned event_index = 0; event_index < 2; event_index++) {
		net_rig_init(&r, 1, NET_OFFLOAD_ALL);
		test_net_deliver(r.net, frame, 60, NULL); /* nobody there yet: lost */
		net_rig_start(&r, F_USUAL | (event_index ? FEATURE_EVENT_INDEX : 0), 3);
		offer_buffers(&r, 0, 2, 1536);
		for (unsigned i = 0; i < 3; i++) {
			frame[0] = (uint8_t)(i * 2);
			assert_int_equal(test_net_deliver(r.net, frame, 4000, NULL), false);
		}
		rig_run(&r.rig, false);
		assert_int_equal(waiting(&r.queue[0]), 0);
		/* The driver was asked for a notification of the next buffer, not of those that are there. */
		if (event_index)
			assert_int_equal(guest_load(&r.rig, r.queue[0].used + 4 + 8 * 128, 2), 2);
		else
			assert_int_equal(guest_load(&r.rig, r.queue[0].used, 2), 0);
		offer_buffers(&r, 0, 3, 1536);
		assert_int_equal(waiting(&r.queue[0]), 3);
		offer_buffers(&r, 0, 5, 1536);
		assert_int_equal(waiting(&r.queue[0]), 9);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(take_frame(&r, 0, &header, got, &buffers), 4000);
			assert_int_equal(got[0], i * 2);
		}
		assert_int_equal(r.net->resumed, 1);
		net_rig_destroy(&r);
	}
}

static void without_mergeable_buffers(void **state)
{
	static struct net_rig r;
	static uint8_t frame[4000], got[NET_FRAME_MAX];
	struct header header;
	unsigned buffers;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_MAC, 2);
	offer_buffers(&r, 0, 4, 1536);
	assert_true(test_net_deliver(r.net, frame, 4000, NULL)); /* does not fit, is lost, and costs no buffer */
	assert_int_equal(waiting(&r.queue[0]), 0);
	assert_true(test_net_deliver(r.net, frame, 1500, NULL));
	assert_int_equal(take_frame(&r, 0, &header, got, &buffers), 1500);
	assert_int_equal(buffers, 1);
	assert_int_equal(guest_load(&r.rig, r.queue[0].used + 4, 4), 0);
	net_rig_destroy(&r);
}

static void network_without_room(void **state)
{
	static struct net_rig r;
	const struct header none = { 0 };
	uint8_t frame[100] = { 0 };
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL, 3);
	r.net->refuse = true;
	for (unsigned i = 0; i < 5; i++) {
		const struct buffer buffer = { TX_DATA + 0x100 * i, HEADER + sizeof(frame), false };
		frame[0] = (uint8_t)(2 * i);
		guest_write(&r.rig, TX_DATA + 0x100 * i, &none, HEADER);
		guest_write(&r.rig, TX_DATA + 0x100 * i + HEADER, frame, sizeof(frame));
		queue_add(&r.queue[1], &buffer, 1);
		queue_notify(&r.queue[1]);
		rig_run(&r.rig, false);
	}
	assert_int_equal(queue_used(&r.queue[1]), 0);
	r.net->refuse = false;
	net_writable(&r.net->net);
	rig_run(&r.rig, false);
	assert_int_equal(queue_used(&r.queue[1]), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(r.net->frames[i].data[0], 2 * i);
	net_rig_destroy(&r);
}

/* One command; the device's answer, 0xee when it gave none. */
static unsigned command(struct net_rig *r, const uint8_t *bytes, uint32_t size)
{
	const struct buffer buffers[] = { { CONTROL, 2, false }, { CONTROL + 2, size - 2, false }, { ACK, 1, true } };
	guest_write(&r->rig, CONTROL, bytes, size);
	guest_store(&r->rig, ACK, 0xee, 1);
	queue_add(&r->queue[2], buffers, 3);
	queue_notify(&r->queue[2]);
	rig_run(&r->rig, false);
	return (unsigned)guest_load(&r->rig, ACK, 1);
}

/* Whether a frame to this address (and VLAN, unless 0) passes. */
static bool passes(struct net_rig *r, uint64_t address, unsigned vlan)
{
	uint8_t frame[60] = { 0 };
	store_be(frame, address, 6);
	if (vlan)
		store_be(frame + 12, 0x81000000 | vlan, 4);
	uint16_t before = queue_used(&r->queue[0]);
	offer_buffers(r, 0, 1, 1536);
	test_net_deliver(r->net, frame, sizeof(frame), NULL);
	return queue_used(&r->queue[0]) != before;
}

#define COMMAND(...) command(&r, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define MINE 0x525400010203ull
#define OTHER 0x5254000a0b0cull
#define GROUP 0x01005e000001ull
#define ALL 0xffffffffffffull

static void receive_filters(void **state)
{
	static struct net_rig r;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_CTRL_VLAN | 1ull << 20 | 1ull << 23, 3);
	assert_true(passes(&r, OTHER, 0)); /* promiscuous until told otherwise */
	assert_int_equal(COMMAND(0, 0, 0), 0);
	assert_true(passes(&r, MINE, 0) && passes(&r, ALL, 0));
	assert_false(passes(&r, OTHER, 0) || passes(&r, GROUP, 0));
	assert_int_equal(COMMAND(0, 1, 1), 0);
	assert_true(passes(&r, GROUP, 0));
	assert_int_equal(COMMAND(0, 3, 1), 0);
	assert_false(passes(&r, GROUP, 0));
	assert_int_equal(COMMAND(0, 3, 0) | COMMAND(0, 1, 0) | COMMAND(0, 2, 1), 0);
	assert_true(passes(&r, OTHER, 0));
	assert_int_equal(COMMAND(0, 4, 1) | COMMAND(0, 5, 1), 0);
	assert_false(passes(&r, OTHER, 0) || passes(&r, MINE, 0) || passes(&r, ALL, 0));
	assert_int_equal(COMMAND(0, 4, 0) | COMMAND(0, 5, 0) | COMMAND(0, 2, 0), 0);
	/* Address tables: one other of mine, one group. */
	assert_int_equal(COMMAND(1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 0xa, 0xb, 0xc, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1), 0);
	assert_true(passes(&r, OTHER, 0) && passes(&r, GROUP, 0) && passes(&r, MINE, 0));
	assert_false(passes(&r, OTHER + 1, 0) || passes(&r, GROUP + 1, 0));
	assert_int_equal(COMMAND(1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_false(passes(&r, OTHER, 0) || passes(&r, GROUP, 0));
	/* Another address of its own, which the configuration shows. */
	assert_int_equal(COMMAND(1, 1, 0x52, 0x54, 0, 0xa, 0xb, 0xc), 0);
	assert_true(passes(&r, OTHER, 0));
	assert_false(passes(&r, MINE, 0));
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 5, 1), 0xc);
	/* VLANs. */
	assert_false(passes(&r, OTHER, 5));
	assert_int_equal(COMMAND(2, 0, 5, 0), 0);
	assert_true(passes(&r, OTHER, 5));
	assert_false(passes(&r, OTHER, 6));
	assert_int_equal(COMMAND(2, 1, 5, 0), 0);
	assert_false(passes(&r, OTHER, 5));
	/* After a reset all is as at first. */
	net_rig_start(&r, F_USUAL, 3);
	assert_true(passes(&r, OTHER, 5) && passes(&r, MINE, 0));
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 5, 1), 3);
	net_rig_destroy(&r);
}

static void wrong_commands(void **state)
{
	static struct net_rig r;
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_CTRL_VLAN, 3);
	assert_int_equal(COMMAND(9, 0, 0), 1);
	assert_int_equal(COMMAND(0, 6, 1), 1);
	assert_int_equal(COMMAND(0, 0, 1, 1), 1);
	assert_int_equal(COMMAND(1, 0, 1, 0, 0, 0), 1);
	assert_int_equal(COMMAND(1, 0, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6), 1);
	assert_int_equal(COMMAND(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(COMMAND(1, 1, 1, 2, 3), 1);
	assert_int_equal(COMMAND(2, 0, 0, 16), 1);
	assert_int_equal(COMMAND(4, 0, 1, 0), 1); /* MQ was not agreed upon */
	assert_int_equal(COMMAND(5, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(driver_status(&r.driver), 15);
	/* No room for the answer. */
	const struct buffer bare = { CONTROL, 3, false };
	queue_add(&r.queue[2], &bare, 1);
	queue_notify(&r.queue[2]);
	rig_run(&r.rig, false);
	assert_int_equal(driver_status(&r.driver), 15 | 64);
	net_rig_destroy(&r);
}

/* Frames of a flow come on the pair on which the driver sent it last. */
static void several_pairs(void **state)
{
	static struct net_rig r;
	static uint8_t frame[1600], answer[1600];
	struct net_offload offload;
	const struct header none = { 0 };
	net_rig_init(&r, 4, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_MQ, 9);
	size_t size = make_tcp(frame, false, 100, &offload);
	memcpy(answer, frame, size);
	memcpy(answer + 26, frame + 30, 4);
	memcpy(answer + 30, frame + 26, 4);
	memcpy(answer + 34, frame + 36, 2);
	memcpy(answer + 36, frame + 34, 2);
	for (unsigned i = 0; i < 4; i++)
		offer_buffers(&r, 2 * i, 8, 2048);
	const uint8_t four[] = { 4, 0, 4, 0 }, five[] = { 4, 0, 5, 0 };
	struct driver_queue data = r.queue[2];
	r.queue[2] = r.queue[8];
	assert_int_equal(command(&r, five, 4), 1);
	assert_int_equal(command(&r, four, 4), 0);
	r.queue[2] = data;
	r.queue[2].index = 2;
	for (unsigned i = 0; i < 4; i++) {
		transmit_on(&r, 2 * i + 1, &none, frame, size);
		assert_int_equal(queue_used(&r.queue[2 * i + 1]), 1);
		uint16_t before = queue_used(&r.queue[2 * i]);
		test_net_deliver(r.net, answer, size, NULL);
		assert_int_equal((uint16_t)(queue_used(&r.queue[2 * i]) - before), 1);
	}
	net_rig_destroy(&r);
}

static void interrupts(void **state)
{
	static struct net_rig r;
	uint8_t frame[60] = { 0 };
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	driver_enable_msix(&r.driver, 4);
	net_rig_start(&r, F_USUAL, 3);
	driver_set_vector(&r.driver, 0, 1);
	driver_set_vector(&r.driver, 1, 2);
	offer_buffers(&r, 0, 8, 2048);
	/* One for a burst, when it is over; and before a save, which keeps nothing of it. */
	unsigned before = r.rig.msi_count;
	test_net_deliver(r.net, frame, sizeof(frame), NULL);
	test_net_deliver(r.net, frame, sizeof(frame), NULL);
	assert_int_equal(r.rig.msi_count, before);
	rig_run(&r.rig, false);
	assert_int_equal(r.rig.msi_count, before + 1);
	assert_int_equal(r.rig.msi_data, 0x41);
	test_net_deliver(r.net, frame, sizeof(frame), NULL);
	struct device *device = (struct device *)r.dev;
	device->type->saving(device);
	assert_int_equal(r.rig.msi_count, before + 2);
	rig_run(&r.rig, false);
	assert_int_equal(r.rig.msi_count, before + 2);
	transmit(&r, &(struct header){ 0 }, frame, sizeof(frame));
	assert_int_equal(r.rig.msi_data, 0x42);
	guest_store(&r.rig, r.queue[0].avail, 1, 2);
	before = r.rig.msi_count;
	test_net_deliver(r.net, frame, sizeof(frame), NULL);
	rig_run(&r.rig, false);
	assert_int_equal(r.rig.msi_count, before);
	net_rig_destroy(&r);
}

/* As a save and a load do it. */
static void copy_fields(const struct field *fields, void *to, const void *from)
{
	for (const struct field *f = fields; f->kind != FIELD_KIND_END; f++)
		for (uint32_t i = 0; i < f->count; i++) {
			uint32_t at = f->offset + i * f->width;
			if (f->kind == FIELD_KIND_STRUCT)
				copy_fields(f->sub, (char *)to + at, (const char *)from + at);
			else
				memcpy((char *)to + at, (const char *)from + at, f->width);
		}
}

static void save_and_load(void **state)
{
	static struct net_rig r;
	static uint8_t saved_dev[1 << 20], saved_pci[1 << 16];
	net_rig_init(&r, 1, NET_OFFLOAD_ALL);
	net_rig_start(&r, F_USUAL | F_CTRL_VLAN | F_GUEST_CSUM | 1ull << 23, 3);
	assert_int_equal(COMMAND(0, 0, 0) | COMMAND(1, 1, 0x52, 0x54, 0, 0xa, 0xb, 0xc) | COMMAND(2, 0, 5, 0), 0);
	offer_buffers(&r, 0, 20, 1536);
	const struct device_type *type = ((struct device *)r.dev)->type, *pci_type = ((struct device *)r.pci)->type;
	copy_fields(type->fields, saved_dev, r.dev);
	copy_fields(pci_type->fields, saved_pci, r.pci);
	end_device(&r);
	make_device(&r, 1, NET_OFFLOAD_ALL);
	copy_fields(type->fields, r.dev, saved_dev);
	copy_fields(pci_type->fields, r.pci, saved_pci);
	assert_int_equal(type->loaded(r.dev, NULL), 0);
	assert_int_equal(pci_type->loaded(r.pci, NULL), 0);
	rig_run(&r.rig, false);
	assert_true(passes(&r, OTHER, 5));
	assert_false(passes(&r, MINE, 0) || passes(&r, OTHER, 6));
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 5, 1), 0xc);
	assert_int_equal(atomic_load(&r.net->net.port_offloads), NET_OFFLOAD_CHECKSUM);
	net_rig_destroy(&r);
}

/* Any rings and headers: the device answers or stops, and works again after a reset. */
static void random_drivers(void **state)
{
	static struct net_rig r;
	static uint8_t frame[NET_FRAME_MAX];
	net_rig_init(&r, 2, 0);
	srandom(11);
	for (unsigned i = 0; i < 6000; i++) {
		if (i % 64 == 0 || driver_status(&r.driver) & 64)
			net_rig_start(&r, F_USUAL | F_HOST_TSO4 | F_HOST_TSO6 | F_GUEST_CSUM | F_CTRL_VLAN | F_GUEST_OFFLOADS, 3);
		struct buffer buffers[4];
		unsigned count = 1 + (unsigned)random() % 4, out = (unsigned)random() % (count + 1);
		for (unsigned b = 0; b < count; b++)
			buffers[b] = (struct buffer){ TX_DATA + (uint64_t)(random() % 3000), (uint32_t)(random() % (i % 3 ? 2000 : 40)), b >= out };
		uint8_t header[64];
		for (unsigned b = 0; b < sizeof(header); b++)
			header[b] = (uint8_t)(random() % (b % 2 ? 256 : 4));
		guest_write(&r.rig, TX_DATA + (uint64_t)(random() % 100), header, sizeof(header));
		unsigned queue = (unsigned)random() % 3;
		if (random() % 50 == 0)
			guest_store(&r.rig, r.queue[queue].desc + (uint64_t)(random() % 2048), (uint64_t)random(), 8);
		queue_add(&r.queue[queue], buffers, count);
		queue_notify(&r.queue[queue]);
		rig_run(&r.rig, false);
		if (random() % 3 == 0)
			test_net_deliver(r.net, frame, 14 + (size_t)random() % (i % 5 ? 1500 : 60000), NULL);
	}
	net_rig_start(&r, F_USUAL, 3);
	unsigned before = r.net->count;
	transmit(&r, &(struct header){ 0 }, frame, 100);
	assert_int_equal(r.net->count, before + 1);
	net_rig_destroy(&r);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_space),
		cmocka_unit_test(agreed_mtu),
		cmocka_unit_test(frames_are_sent),
		cmocka_unit_test(offloads_are_passed_on),
		cmocka_unit_test(frames_are_received),
		cmocka_unit_test(receive_offloads),
		cmocka_unit_test(frames_wait_for_buffers),
		cmocka_unit_test(without_mergeable_buffers),
		cmocka_unit_test(network_without_room),
		cmocka_unit_test(receive_filters),
		cmocka_unit_test(wrong_commands),
		cmocka_unit_test(several_pairs),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(save_and_load),
		cmocka_unit_test(random_drivers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
