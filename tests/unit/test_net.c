/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "net_rig.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "host/loop.h"
#include "host/time.h"

static void sums_of_any_length_and_place(void **state)
{
	static uint8_t data[70000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 197 + i / 255);
	memset(data + 300, 0xff, 5000);
	for (size_t at = 0; at < 9; at++)
		for (size_t size = 0; size < 100; size++) {
			uint16_t sum = packet_fold(packet_sum(0, data + at, size));
			assert_int_equal(load_be((uint8_t *)&sum, 2), slow_sum(data + at, size, 0));
		}
	uint16_t sum = packet_fold(packet_sum(0, data, sizeof(data)));
	assert_int_equal(load_be((uint8_t *)&sum, 2), slow_sum(data, sizeof(data), 0));
}

static void open_checksums_are_filled_in(void **state)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (size_t payload = 0; payload < 1500; payload += 37) {
			size_t size = make_tcp(frame, v6, payload, &offload);
			assert_true(packet_finish_checksum(frame, size, &offload));
			check_tcp(frame, size, v6);
		}
	/* Fields outside of the frame. */
	const struct net_offload wrong[] = {
		{ .checksum_start = 100 }, { .checksum_start = 99, .checksum_offset = 0 }, { .checksum_start = 14, .checksum_offset = 85 },
		{ .checksum_start = 65535, .checksum_offset = 65535 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(packet_finish_checksum(frame, 100, &wrong[i]));
	/* A sum of 0 is written as ffff. */
	memset(frame, 0, 64);
	frame[20] = frame[21] = 0xff;
	assert_true(packet_finish_checksum(frame, 64, &(struct net_offload){ .checksum_start = 20, .checksum_offset = 10 }));
	assert_int_equal(load_le16(frame + 30), 0xffff);
}

struct segments {
	unsigned count, stop_after;
	bool v6;
	size_t payload;
	uint8_t *whole;
	size_t gso_size, total;
};

static bool take_segment(void *opaque, const uint8_t *segment, size_t size)
{
	struct segments *s = opaque;
	unsigned headers = TEST_HEADERS(s->v6);
	size_t part = size - headers;
	const uint8_t *tcp = segment + TEST_TCP(s->v6);
	bool first = !s->payload, last = s->payload + part == s->total;
	check_tcp(segment, size, s->v6);
	assert_true(part == s->gso_size || last);
	assert_memory_equal(segment + headers, s->whole + headers + s->payload, part);
	assert_int_equal(load_be(tcp + 4, 4), (uint32_t)(0xfffffe00 + s->payload));
	assert_int_equal(tcp[13], 0x10 | (first ? 0x80 : 0) | (last ? 0x09 : 0));
	if (!s->v6)
		assert_int_equal(load_be(segment + 14 + 4, 2), (uint16_t)(0xfffe + s->count));
	s->payload += part;
	return ++s->count != s->stop_after;
}

static void large_packets_are_cut(void **state)
{
	static uint8_t frame[NET_FRAME_MAX], room[NET_FRAME_MAX];
	static const size_t payloads[] = { 1, 1447, 1448, 1449, 14480, 64000 };
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(payloads); i++) {
		struct net_offload offload;
		struct segments s = { .v6 = i % 2, .whole = frame, .gso_size = 1448, .total = payloads[i / 2] };
		size_t size = make_tcp(frame, s.v6, s.total, &offload);
		offload.gso = s.v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		offload.gso_size = 1448;
		assert_true(packet_segment(frame, size, &offload, room, take_segment, &s));
		assert_int_equal(s.payload, s.total);
		assert_int_equal(s.count, (s.total + 1447) / 1448);
		s = (struct segments){ .v6 = i % 2, .whole = frame, .gso_size = 1448, .total = payloads[i / 2], .stop_after = 1 };
		assert_true(packet_segment(frame, size, &offload, room, take_segment, &s));
		assert_int_equal(s.count, 1);
	}
}

static void large_packets_are_finished_whole(void **state)
{
	static uint8_t frame[NET_FRAME_MAX];
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct net_offload offload;
		size_t size = make_tcp(frame, v6, 60000, &offload);
		offload.gso = v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		offload.gso_size = 1448;
		/* Without the length in the pseudo header's sum, and none in IP's header: some drivers do it so. */
		store_be(frame + TEST_TCP(v6) + 16, 0x1234, 2);
		store_be(frame + 14 + (v6 ? 4 : 2), 0, 2);
		assert_true(packet_finish_whole(frame, size, &offload));
		check_tcp(frame, size, v6);
		offload.gso = v6 ? NET_GSO_TCP4 : NET_GSO_TCP6;
		assert_false(packet_finish_whole(frame, size, &offload));
	}
}

static bool count_segment(void *opaque, const uint8_t *segment, size_t size)
{
	assert_true(size <= NET_FRAME_MAX);
	++*(unsigned *)opaque;
	return true;
}

static void finished_packets_are_offered_for_cutting(void **state)
{
	static uint8_t frame[NET_FRAME_MAX], room[NET_FRAME_MAX];
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const unsigned headers = TEST_HEADERS(v6), tcp = TEST_TCP(v6), flags = tcp + 13;
		struct net_offload open, offload;
		uint8_t sum[2], pseudo[2];
		size_t size = make_tcp(frame, v6, 16000, &open);
		memcpy(pseudo, frame + tcp + 16, 2);
		assert_true(packet_finish_checksum(frame, size, &open));
		assert_true(packet_to_cut(frame, size, 1500, &offload, sum));
		assert_true(offload.checksum && !offload.valid && offload.ecn);
		assert_int_equal(offload.gso, v6 ? NET_GSO_TCP6 : NET_GSO_TCP4);
		assert_int_equal(offload.gso_size, 1500 - (headers - 14));
		assert_int_equal(offload.header_size, headers);
		assert_int_equal(offload.checksum_start, tcp);
		assert_int_equal(offload.checksum_offset, 16);
		assert_int_equal(packet_fold(load_le16(sum)), packet_fold(load_le16(pseudo)));
		struct segments s = { .v6 = v6, .whole = frame, .gso_size = offload.gso_size, .total = 16000 };
		assert_true(packet_segment(frame, size, &offload, room, take_segment, &s));
		assert_int_equal(s.payload, 16000);
		/* Those that fit, down to the byte. */
		assert_false(packet_to_cut(frame, size, (unsigned)size - 14, &offload, sum));
		assert_true(packet_to_cut(frame, size, (unsigned)size - 15, &offload, sum));
		assert_false(packet_to_cut(frame, size, headers - 14, &offload, sum));
		/* SYN, RST, URG; without CWR. */
		for (unsigned bit = 0; bit < 8; bit++) {
			frame[flags] = (uint8_t)(0x10 | 1u << bit);
			bool cut = packet_to_cut(frame, size, 1500, &offload, sum);
			assert_int_equal(cut, bit != 1 && bit != 2 && bit != 5);
			assert_true(!cut || offload.ecn == (bit == 7));
		}
		frame[flags] = 0x18;
		/* Padding behind the packet, or a part of it missing; another protocol; a fragment. */
		assert_false(packet_to_cut(frame, size + 1, 1500, &offload, sum));
		assert_false(packet_to_cut(frame, size - 1, 1500, &offload, sum));
		for (size_t i = 0; i < headers; i++)
			assert_false(packet_to_cut(frame, i, 1, &offload, sum));
		frame[14 + (v6 ? 6 : 9)] = 17;
		assert_false(packet_to_cut(frame, size, 1500, &offload, sum));
		frame[14 + (v6 ? 6 : 9)] = v6 ? 44 : 6;
		frame[14 + 6] |= 0x20;
		assert_false(packet_to_cut(frame, size, 1500, &offload, sum));
	}
}

/* Whatever the bytes: no access outside of them (the sanitizers look), and what is no TCP packet is refused. */
static void damaged_packets(void **state)
{
	static uint8_t room[NET_FRAME_MAX];
	struct net_offload offload;
	unsigned count = 0;
	uint8_t whole[1600];
	size_t full = make_tcp(whole, false, 1000, &offload);
	offload.gso = NET_GSO_TCP6;
	offload.gso_size = 100;
	assert_false(packet_segment(whole, full, &offload, room, count_segment, &count));
	offload.gso = NET_GSO_TCP4;
	offload.gso_size = 0;
	assert_false(packet_segment(whole, full, &offload, room, count_segment, &count));
	offload.gso_size = 100;
	for (size_t size = 0; size < full; size++) {
		uint8_t *frame = malloc(size ? size : 1);
		memcpy(frame, whole, size);
		bool good = packet_segment(frame, size, &offload, room, count_segment, &count);
		assert_int_equal(good, size >= TEST_HEADERS(false));
		free(frame);
	}
	srandom(5);
	for (unsigned i = 0; i < 50000; i++) {
		size_t size = (size_t)random() % 200;
		uint8_t *frame = malloc(size ? size : 1);
		size_t made = make_tcp(whole, i % 2, 100, &offload);
		memcpy(frame, whole, MIN(size, made));
		for (unsigned n = (unsigned)random() % 4; n && size; n--)
			frame[(size_t)random() % size] = (uint8_t)random();
		offload.gso = i % 2 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		offload.gso_size = (uint16_t)(random() % 50);
		packet_segment(frame, size, &offload, room, count_segment, &count);
		free(frame);
	}
}

static void mac_addresses(void **state)
{
	uint8_t a[NET_MAC_SIZE], b[NET_MAC_SIZE];
	char text[NET_MAC_TEXT];
	struct error err;
	static const char *const wrong[] = { "", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "52-54-00-12-34-56", "52:54:00:12:34:5g",
		"53:54:00:12:34:56", "00:00:00:00:00:00", " 2:54:00:12:34:56", "+2:54:00:12:34:56", "ff:ff:ff:ff:ff:ff" };
	assert_int_equal(net_mac_parse("52:54:00:Ab:cD:ef", a, &err), 0);
	net_mac_print(a, text);
	assert_string_equal(text, "52:54:00:ab:cd:ef");
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(net_mac_parse(wrong[i], a, &err), -1);
	net_mac_derive("web", 0, a);
	net_mac_derive("web", 0, b);
	assert_memory_equal(a, b, NET_MAC_SIZE);
	assert_int_equal(a[0] & 3, 2);
	net_mac_derive("web", 1, b);
	assert_memory_not_equal(a, b, NET_MAC_SIZE);
	net_mac_derive("wec", 0, b);
	assert_memory_not_equal(a, b, NET_MAC_SIZE);
}

static void forwards_as_text(void **state)
{
	static const struct { const char *text, *printed; } good[] = {
		{ "8080:80", "127.0.0.1:8080:80/tcp" }, { "1:65535/udp", "127.0.0.1:1:65535/udp" }, { "0.0.0.0:53:53/tcp", "0.0.0.0:53:53/tcp" },
		{ ":22:22", "0.0.0.0:22:22/tcp" }, { "*:22:22", "0.0.0.0:22:22/tcp" }, { "[::1]:22:22", "[::1]:22:22/tcp" },
		{ "[fe80::1:2]:22:23/udp", "[fe80::1:2]:22:23/udp" },
	};
	static const char *const wrong[] = { "", ":", "80", "80:", ":80", "0:80", "80:0", "65536:1", "1:65536", "1:2/sctp", "1:2/", "1:2/udpx", "a:1:2",
		"1.2.3:1:2", "[::1:1:2", "::1:1:2", "[1.2.3.4]:1:2", "-1:2", "1: 2", "1:2:3:4", "[]:1:2", "000001:2", "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7:1:2" };
	struct net_forward forward;
	struct error err;
	char text[NET_FORWARD_TEXT];
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(net_forward_parse(good[i].text, &forward, &err), 0);
		net_forward_print(&forward, text, sizeof(text));
		assert_string_equal(text, good[i].printed);
		assert_int_equal(net_forward_parse(text, &forward, &err), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		if (net_forward_parse(wrong[i], &forward, &err) == 0)
			fail_msg("'%s' was taken", wrong[i]);
}

/* --- the queue to the port --- */

struct end {
	struct loop *loop;
	struct net *net;
	bool refuse;
	unsigned received, writable;
	size_t size;
	struct net_offload offload;
	uint8_t data[NET_FRAME_MAX];
};

static bool end_receive(void *opaque, const struct net_frame *frame)
{
	struct end *e = opaque;
	if (e->refuse)
		return false;
	e->received++;
	e->size = packet_gather(frame->iov, frame->count, 0, e->data, frame->size);
	e->offload = frame->offload;
	return true;
}

static void end_writable(void *opaque)
{
	((struct end *)opaque)->writable++;
}

static void end_attach(struct end *e, struct net *net)
{
	e->net = net;
	net_attach(net, &(struct net_port){ end_receive, end_writable, e });
}

static uint64_t test_time(void *opaque)
{
	return host_time_ns();
}

static void frames_wait_for_the_port(void **state)
{
	struct loop *loop = loop_create(NULL);
	struct test_net *t = test_net_create((struct worker){ loop_post, loop }, NET_OFFLOAD_ALL);
	static struct end e;
	uint8_t frame[60] = { 0 };
	e = (struct end){ .refuse = true };
	end_attach(&e, &t->net);
	for (unsigned i = 0; i < 10; i++) {
		frame[20] = (uint8_t)i;
		assert_false(test_net_deliver(t, frame, sizeof(frame), NULL));
	}
	loop_drain(loop);
	assert_int_equal(e.received, 0);
	assert_int_equal(t->resumed, 0);
	e.refuse = false;
	net_room(&t->net);
	loop_drain(loop);
	assert_int_equal(e.received, 10);
	assert_int_equal(e.data[20], 9);
	assert_int_equal(t->resumed, 1);
	assert_true(test_net_deliver(t, frame, sizeof(frame), NULL));
	assert_int_equal(e.received, 11);
	/* Not without end. */
	e.refuse = true;
	static uint8_t large[60000];
	for (unsigned i = 0; i < 200; i++)
		test_net_deliver(t, large, sizeof(large), NULL);
	struct net_stats stats;
	net_get_stats(&t->net, &stats);
	assert_int_equal(stats.received, 11);
	assert_int_equal(stats.dropped, 200 - NET_QUEUE_MAX / sizeof(large));
	/* Too short and too long. */
	assert_true(test_net_deliver(t, frame, 13, NULL));
	net_get_stats(&t->net, &stats);
	assert_int_equal(stats.dropped, 201 - NET_QUEUE_MAX / sizeof(large));
	net_room(&t->net);
	net_close(&t->net); /* with work under way */
	loop_destroy(loop);
}

static void the_port_gets_what_it_takes(void **state)
{
	struct loop *loop = loop_create(NULL);
	struct test_net *t = test_net_create((struct worker){ loop_post, loop }, 0);
	static struct end e;
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	e = (struct end){ 0 };
	end_attach(&e, &t->net);
	size_t size = make_tcp(frame, false, 14480, &offload);
	offload.gso = NET_GSO_TCP4;
	offload.gso_size = 1448;
	test_net_deliver(t, frame, size, &offload);
	assert_int_equal(e.received, 10);
	assert_true(e.offload.valid && !e.offload.checksum && e.offload.gso == NET_GSO_NONE);
	check_tcp(e.data, e.size, false);
	net_set_offloads(&t->net, NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4);
	test_net_deliver(t, frame, size, &offload);
	assert_int_equal(e.received, 11);
	assert_int_equal(e.size, size);
	assert_int_equal(e.offload.gso_size, 1448);
	/* The other way: this network takes nothing unfinished. */
	const struct iovec iov[] = { { frame, 10 }, { frame + 10, size - 10 } };
	struct net_frame large = { iov, 2, size, offload };
	assert_true(net_send(&t->net, &large));
	assert_int_equal(t->count, 10);
	check_tcp(t->frames[9].data, t->frames[9].size, false);
	t->refuse = true;
	assert_false(net_send(&t->net, &large));
	net_writable(&t->net);
	assert_int_equal(e.writable, 1);
	net_close(&t->net);
	loop_destroy(loop);
}

static void capture_has_all_frames(void **state)
{
	char path[] = "/tmp/visor-capture-XXXXXX";
	int fd = mkstemp(path);
	struct loop *loop = loop_create(NULL);
	struct error err;
	const struct net_config config = { .kind = NET_NONE, .owner = "net0", .capture = path, .worker = { loop_post, loop }, .loop = loop };
	struct net *net = net_open(&config, &err);
	static struct end e;
	uint8_t data[100];
	const struct iovec iov[] = { { data, 30 }, { data + 30, 70 } };
	const struct net_frame frame = { .iov = iov, .count = 2, .size = sizeof(data) };
	assert_non_null(net);
	e = (struct end){ 0 };
	end_attach(&e, net);
	memset(data, 0xa5, sizeof(data));
	assert_true(net_send(net, &frame));
	assert_true(net_deliver(net, &frame));
	uint8_t file[512];
	assert_int_equal(read(fd, file, sizeof(file)), 24 + 2 * (16 + 100));
	assert_int_equal(load_le32(file), 0xa1b23c4d);
	assert_int_equal(load_le32(file + 20), 1);
	assert_int_equal(load_le32(file + 24 + 8), 100);
	assert_int_equal(load_le32(file + 24 + 12), 100);
	assert_memory_equal(file + 24 + 16, data, 100);
	assert_memory_equal(file + 24 + 116 + 16, data, 100);
	/* What a guest leaves open is finished. */
	static uint8_t packet[NET_FRAME_MAX], seen[NET_FRAME_MAX];
	for (unsigned i = 0; i < 4; i++) {
		struct net_offload offload;
		size_t size = make_tcp(packet, i % 2, i < 2 ? 100 : 50000, &offload);
		const struct iovec whole = { packet, size };
		offload.gso = i < 2 ? NET_GSO_NONE : i % 2 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		offload.gso_size = 1448;
		assert_true(net_send(net, &(struct net_frame){ .iov = &whole, .count = 1, .size = size, .offload = offload }));
		assert_int_equal(read(fd, seen, sizeof(seen)), 16 + size);
		check_tcp(seen + 16, size, i % 2);
		assert_memory_equal(seen + 16 + TEST_HEADERS(i % 2), packet + TEST_HEADERS(i % 2), size - TEST_HEADERS(i % 2));
	}
	net_close(net);
	close(fd);
	unlink(path);
	struct net_config nowhere = config;
	nowhere.capture = "/nowhere/at/all";
	assert_null(net_open(&nowhere, &err));
	assert_non_null(strstr(err.text, "/nowhere/at/all"));
	loop_destroy(loop);
}

/* --- the switch --- */

static char run_directory[] = "/tmp/visor-net-XXXXXX";

static int make_run_directory(void **state)
{
	return mkdtemp(run_directory) && setenv("XDG_RUNTIME_DIR", run_directory, 1) == 0 ? 0 : -1;
}

static int remove_run_directory(void **state)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/visor", run_directory);
	return rmdir(path) | rmdir(run_directory);
}

static void join(struct end *e, const char *name)
{
	struct error err;
	*e = (struct end){ .loop = loop_create(NULL) };
	const struct net_config config = { .kind = NET_SWITCH, .name = name, .owner = "net0", .worker = { loop_post, e->loop }, .loop = e->loop,
					   .now = test_time };
	struct net *net = net_open(&config, &err);
	if (!net)
		fail_msg("%s", err.text);
	end_attach(e, net);
}

static void leave(struct end *e)
{
	net_close(e->net);
	loop_destroy(e->loop);
}

static void serve(struct end *ends, unsigned count)
{
	for (unsigned round = 0; round < 20; round++)
		for (unsigned i = 0; i < count; i++)
			loop_once(ends[i].loop, 100000, NULL);
}

static void send_frame(struct end *from, uint8_t to, uint8_t source, size_t size)
{
	static uint8_t data[NET_FRAME_MAX];
	const struct iovec iov = { data, size };
	const struct net_frame frame = { .iov = &iov, .count = 1, .size = size };
	memset(data, 0x5a, size);
	memset(data, to, 6);
	memset(data + 6, source, 6);
	data[size - 1] = source;
	assert_true(net_send(from->net, &frame));
}

static void switch_learns_and_floods(void **state)
{
	static struct end e[4];
	for (unsigned i = 0; i < 3; i++)
		join(&e[i], "lab");
	join(&e[3], "lab2");
	serve(e, 4);
	send_frame(&e[0], 0xff, 0x10, 60); /* to all of the same switch */
	serve(e, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(e[i].received, i == 1 || i == 2);
	send_frame(&e[1], 0x10, 0x12, 1500); /* known since then */
	serve(e, 4);
	assert_int_equal(e[0].received, 1);
	assert_int_equal(e[0].size, 1500);
	assert_int_equal(e[2].received, 1);
	send_frame(&e[0], 0x12, 0x10, NET_FRAME_MAX);
	send_frame(&e[0], 0x14, 0x10, 60); /* unknown: to all */
	serve(e, 4);
	assert_int_equal(e[1].received, 3);
	assert_int_equal(e[2].received, 2);
	/* The address moves. */
	send_frame(&e[2], 0x10, 0x12, 60);
	send_frame(&e[0], 0x12, 0x10, 60);
	serve(e, 4);
	send_frame(&e[0], 0x12, 0x10, 60);
	serve(e, 4);
	assert_int_equal(e[1].received, 4); /* of the two the one before the news came */
	assert_int_equal(e[2].received, 3);
	for (unsigned i = 0; i < 4; i++)
		leave(&e[i]);
}

static void switch_keeps_offloads(void **state)
{
	static struct end e[2];
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	join(&e[0], "lab");
	join(&e[1], "lab");
	serve(e, 2);
	size_t size = make_tcp(frame, true, 60000, &offload);
	offload.gso = NET_GSO_TCP6;
	offload.gso_size = 1400;
	const struct iovec iov = { frame, size };
	const struct net_frame large = { &iov, 1, size, offload };
	net_set_offloads(e[1].net, NET_OFFLOAD_ALL);
	net_send(e[0].net, &large);
	serve(e, 2);
	assert_int_equal(e[1].received, 1);
	assert_int_equal(e[1].size, size);
	assert_memory_equal(e[1].data, frame, size);
	assert_int_equal(e[1].offload.gso, NET_GSO_TCP6);
	assert_int_equal(e[1].offload.gso_size, 1400);
	net_set_offloads(e[1].net, 0);
	net_send(e[0].net, &large);
	serve(e, 2);
	assert_int_equal(e[1].received, 1 + (60000 + 1399) / 1400);
	check_tcp(e[1].data, e[1].size, true);
	leave(&e[0]);
	leave(&e[1]);
}

/* Who does not read gets what fits the queues, and holds up nobody. */
static void switch_with_a_slow_member(void **state)
{
	static struct end e[3];
	for (unsigned i = 0; i < 3; i++)
		join(&e[i], "lab");
	serve(e, 3);
	send_frame(&e[1], 0xff, 0x12, 60);
	send_frame(&e[2], 0xff, 0x14, 60);
	serve(e, 3);
	for (unsigned i = 0; i < 400; i++)
		send_frame(&e[0], 0x12, 0x10, 60000);
	send_frame(&e[0], 0x14, 0x10, 60);
	loop_once(e[2].loop, 1000000, NULL);
	assert_int_equal(e[2].received, 2);
	unsigned before = e[1].received;
	serve(e, 3);
	serve(e, 3);
	assert_true(e[1].received - before > 60);
	struct net_stats stats;
	net_get_stats(e[0].net, &stats);
	assert_int_equal(stats.dropped + e[1].received - before, 400);
	for (unsigned i = 0; i < 3; i++)
		leave(&e[i]);
}

/* Bytes that no member sent. */
static void switch_gets_nonsense(void **state)
{
	static struct end e[2];
	join(&e[0], "lab");
	join(&e[1], "lab");
	char path[128], name[400];
	snprintf(path, sizeof(path), "%s/visor/switch-lab", run_directory);
	DIR *directory = opendir(path);
	struct dirent *entry;
	srandom(7);
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
		struct sockaddr_un address = { .sun_family = AF_UNIX };
		memcpy(address.sun_path, name, strnlen(name, sizeof(address.sun_path) - 1));
		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		for (unsigned i = 0; i < 500; i++) {
			uint8_t data[256];
			for (unsigned b = 0; b < sizeof(data); b++)
				data[b] = (uint8_t)random();
			if (i % 2)
				store_le32(data, 0x31775376);
			if (i % 4 == 3)
				memset(data + 4, 0, 4);
			send(fd, data, (size_t)random() % sizeof(data), MSG_DONTWAIT);
			loop_once(e[0].loop, 0, NULL);
			loop_once(e[1].loop, 0, NULL);
		}
		close(fd);
	}
	closedir(directory);
	unsigned before = e[1].received;
	send_frame(&e[0], 0xff, 0x10, 60);
	serve(e, 2);
	assert_int_equal(e[1].received, before + 1);
	leave(&e[0]);
	leave(&e[1]);
}

int main(void)
{
	log_threshold = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_of_any_length_and_place),
		cmocka_unit_test(open_checksums_are_filled_in),
		cmocka_unit_test(large_packets_are_cut),
		cmocka_unit_test(large_packets_are_finished_whole),
		cmocka_unit_test(finished_packets_are_offered_for_cutting),
		cmocka_unit_test(damaged_packets),
		cmocka_unit_test(mac_addresses),
		cmocka_unit_test(forwards_as_text),
		cmocka_unit_test(frames_wait_for_the_port),
		cmocka_unit_test(the_port_gets_what_it_takes),
		cmocka_unit_test(capture_has_all_frames),
		cmocka_unit_test(switch_learns_and_floods),
		cmocka_unit_test(switch_keeps_offloads),
		cmocka_unit_test(switch_with_a_slow_member),
		cmocka_unit_test(switch_gets_nonsense),
	};
	return cmocka_run_group_tests(tests, make_run_directory, remove_run_directory);
}
