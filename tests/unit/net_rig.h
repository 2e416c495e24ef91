/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_NET_RIG_H
#define VISOR_TESTS_NET_RIG_H

/* A network whose far end is the test, and frames to send through it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "net/backend.h"
#include "net/packet.h"

#define TEST_NET_FRAMES 128

struct test_frame {
	size_t size;
	struct net_offload offload;
	uint8_t data[NET_FRAME_MAX];
};

struct test_net {
	struct net net;
	bool refuse;
	unsigned resumed;
	unsigned count;                 /* of frames that the guest has sent */
	struct test_frame *frames;
};

static bool test_net_send(struct net *net, const struct net_frame *frame)
{
	struct test_net *t = (struct test_net *)net;
	if (t->refuse)
		return false;
	struct test_frame *to = &t->frames[t->count++ % TEST_NET_FRAMES];
	to->size = frame->size;
	to->offload = frame->offload;
	assert_int_equal(packet_gather(frame->iov, frame->count, 0, to->data, frame->size), frame->size);
	return true;
}

static void test_net_resume(struct net *net)
{
	((struct test_net *)net)->resumed++;
}

static void test_net_close(struct net *net)
{
	free(((struct test_net *)net)->frames);
}

/* The device closes it. */
static inline struct test_net *test_net_create(struct worker worker, unsigned offloads)
{
	static const struct net_ops ops = { .send = test_net_send, .resume = test_net_resume, .close = test_net_close };
	const struct net_config config = { .kind = NET_USER, .owner = "net0", .worker = worker };
	struct test_net *t = net_alloc(sizeof(*t), &ops, &config, NULL);
	assert_non_null(t);
	t->frames = calloc(TEST_NET_FRAMES, sizeof(*t->frames));
	t->net.offloads = offloads;
	t->net.mtu = 9000;
	return t;
}

static inline bool test_net_deliver(struct test_net *t, const void *data, size_t size, const struct net_offload *offload)
{
	const struct iovec iov = { (void *)data, size };
	struct net_frame frame = { .iov = &iov, .count = 1, .size = size };
	if (offload)
		frame.offload = *offload;
	return net_deliver(&t->net, &frame);
}

/* The plain way of RFC 1071, to judge the other: 16 bits at a time in network order. */
static inline uint32_t slow_sum(const uint8_t *data, size_t size, uint32_t sum)
{
	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? data[i] : data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

#define TEST_IP(v6) 14u
#define TEST_TCP(v6) (14u + ((v6) ? 40u : 20u))
#define TEST_HEADERS(v6) (TEST_TCP(v6) + 32u) /* TCP with 12 bytes of options */

/* A TCP packet of `payload` bytes, its checksum left open as a guest with the offload leaves it: the field has the pseudo
 * header's sum. Returns its size. */
static inline size_t make_tcp(uint8_t *frame, bool v6, size_t payload, struct net_offload *offload)
{
	static const uint8_t macs[14] = { 0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6 };
	uint8_t *ip = frame + 14, *tcp = frame + TEST_TCP(v6);
	size_t size = TEST_HEADERS(v6) + payload, length = size - TEST_TCP(v6);
	memset(frame, 0, TEST_HEADERS(v6));
	memcpy(frame, macs, 14);
	store_be(frame + 12, v6 ? 0x86dd : 0x0800, 2);
	if (v6) {
		ip[0] = 0x60;
		store_be(ip + 4, length, 2);
		ip[6] = 6;
		ip[7] = 64;
		for (unsigned i = 8; i < 40; i++)
			ip[i] = (uint8_t)(i * 7);
	} else {
		ip[0] = 0x45;
		store_be(ip + 2, 20 + length, 2);
		store_be(ip + 4, 0xfffe, 2);
		ip[8] = 64;
		ip[9] = 6;
		store_be(ip + 12, 0x0a00020f, 4);
		store_be(ip + 16, 0xc0a80101, 4);
		store_be(ip + 10, ~slow_sum(ip, 20, 0), 2);
	}
	store_be(tcp, 40000, 2);
	store_be(tcp + 2, 80, 2);
	store_be(tcp + 4, 0xfffffe00, 4);
	tcp[12] = 8 << 4;
	tcp[13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR, ACK, PSH, FIN */
	for (size_t i = 0; i < payload; i++)
		tcp[32 + i] = (uint8_t)(i * 31 + i / 251);
	uint32_t pseudo = v6 ? slow_sum(ip + 8, 32, 0) : slow_sum(ip + 12, 8, 0);
	uint8_t tail[4] = { 0, 6, (uint8_t)(length >> 8), (uint8_t)length };
	store_be(tcp + 16, slow_sum(tail, 4, pseudo), 2);
	*offload = (struct net_offload){ .checksum = true, .checksum_start = (uint16_t)TEST_TCP(v6), .checksum_offset = 16 };
	return size;
}

/* Both checksums of a TCP packet are right, and its lengths are the frame's. */
static inline void check_tcp(const uint8_t *frame, size_t size, bool v6)
{
	const uint8_t *ip = frame + 14, *tcp = frame + TEST_TCP(v6);
	size_t length = size - TEST_TCP(v6);
	uint8_t tail[4] = { 0, 6, (uint8_t)(length >> 8), (uint8_t)length };
	uint32_t sum = v6 ? slow_sum(ip + 8, 32, 0) : slow_sum(ip + 12, 8, 0);
	assert_int_equal(load_be(v6 ? ip + 4 : ip + 2, 2), v6 ? length : length + 20);
	if (!v6)
		assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
	assert_int_equal(slow_sum(tcp, length, slow_sum(tail, 4, sum)), 0xffff);
}

#endif
