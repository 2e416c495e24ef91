/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user network with libslirp behind it: the test is the guest at one end, which speaks just enough TCP, and a server on the host at the other. */
#include "net_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/time.h"

#define AMOUNT 200000u
#define PATIENCE_NS 20000000000ull
#define WINDOW 60000u
#define MTU 1500u
#define SEQUENCE 1000u

enum { SYN = 2, PSH = 8, ACK = 16 };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 }, gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };

struct guest {
	struct loop *loop;
	struct net *net;
	uint16_t server_port;
	uint32_t sequence, next;        /* of ours, and of what comes */
	bool connected, answer;         /* an acknowledgement is due */
	size_t got, acknowledged;       /* payload bytes, both ways */
	size_t largest;                 /* of frames that are not to be cut */
	unsigned to_cut;
	int server;                     /* the connection, on the host */
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 31 + at / 251);
}

static uint64_t test_time(void *opaque)
{
	return host_time_ns();
}

static bool check_segment(void *opaque, const uint8_t *segment, size_t size)
{
	check_tcp(segment, size, false);
	assert_true(size <= MTU + 14);
	return true;
}

static void take_tcp(struct guest *g, const uint8_t *frame, size_t size, const struct net_offload *offload)
{
	static uint8_t room[NET_FRAME_MAX];
	const uint8_t *tcp = frame + 34;
	size_t headers = 34 + (tcp[12] >> 4) * 4u, payload = 14 + load_be16(frame + 16) - headers;
	if (offload->gso == NET_GSO_NONE) {
		check_tcp(frame, payload + headers, false);
		g->largest = MAX(g->largest, size);
	} else {
		assert_true(packet_segment(frame, size, offload, room, check_segment, NULL));
		g->to_cut++;
	}
	if (tcp[13] & SYN) {
		g->next = load_be32(tcp + 4) + 1;
		g->connected = g->answer = true;
	}
	g->acknowledged = load_be32(tcp + 8) - SEQUENCE - 1;
	if (!payload || load_be32(tcp + 4) != g->next)
		return;
	for (size_t i = 0; i < payload; i++)
		assert_int_equal(frame[headers + i], pattern(g->got + i));
	g->got += payload;
	g->next += (uint32_t)payload;
	g->answer = true;
}

static bool take_frame(void *opaque, const struct net_frame *frame)
{
	static uint8_t data[NET_FRAME_MAX];
	size_t size = packet_gather(frame->iov, frame->count, 0, data, frame->size);
	if (load_be16(data + 12) == 0x0800 && data[23] == 6)
		take_tcp(opaque, data, size, &frame->offload);
	return true;
}

static void send_bytes(struct guest *g, const uint8_t *data, size_t size, const struct net_offload *offload)
{
	const struct iovec iov = { (void *)data, size };
	assert_true(net_send(g->net, &(struct net_frame){ .iov = &iov, .count = 1, .size = size, .offload = *offload }));
}

/* The rest is the network's to finish. With more than fits into a packet, segments are. */
static void send_tcp(struct guest *g, uint8_t flags, size_t at, size_t payload)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload = { .checksum = true, .checksum_start = 34, .checksum_offset = 16 };
	size_t length = 20 + payload, size = 34 + length;
	uint8_t *ip = frame + 14, *tcp = frame + 34;
	const uint8_t tail[4] = { 0, 6, (uint8_t)(length >> 8), (uint8_t)length };
	memset(frame, 0, 54);
	memcpy(frame, gateway_mac, 6);
	memcpy(frame + 6, mac, 6);
	store_be16(frame + 12, 0x0800);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(20 + length));
	ip[8] = 64;
	ip[9] = 6;
	store_be32(ip + 12, 0x0a00020f);
	store_be32(ip + 16, 0x0a000202);
	store_be16(ip + 10, (uint16_t)~slow_sum(ip, 20, 0));
	store_be16(tcp, 4000);
	store_be16(tcp + 2, g->server_port);
	store_be32(tcp + 4, g->sequence);
	store_be32(tcp + 8, g->connected ? g->next : 0);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	store_be16(tcp + 14, WINDOW);
	store_be16(tcp + 16, (uint16_t)slow_sum(tail, 4, slow_sum(ip + 12, 8, 0)));
	for (size_t i = 0; i < payload; i++)
		tcp[20 + i] = pattern(at + i);
	if (payload > MTU - 40)
		offload.gso = NET_GSO_TCP4, offload.gso_size = MTU - 40;
	send_bytes(g, frame, size, &offload);
	g->sequence += (uint32_t)payload + (flags & SYN ? 1 : 0);
}

static void turn(struct guest *g)
{
	assert_int_equal(loop_once(g->loop, 1000000, NULL), 0);
	if (g->answer)
		send_tcp(g, ACK, 0, 0);
	g->answer = false;
}

/* Tells libslirp who has 10.0.2.15 (RFC 826), and connects. */
static void connect_guest(struct guest *g, int listening)
{
	uint8_t arp[60] = { 255, 255, 255, 255, 255, 255 };
	const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 }, address[4] = { 10, 0, 2, 15 };
	memcpy(arp + 6, mac, 6);
	memcpy(arp + 12, head, sizeof(head));
	memcpy(arp + 22, mac, 6);
	memcpy(arp + 28, address, 4);
	memcpy(arp + 38, address, 4);
	send_bytes(g, arp, sizeof(arp), &(struct net_offload){ 0 });
	send_tcp(g, SYN, 0, 0);
	for (uint64_t end = host_time_ns() + PATIENCE_NS; !g->connected && host_time_ns() < end;)
		turn(g);
	assert_true(g->connected);
	g->server = accept(listening, NULL, NULL);
	assert_true(g->server >= 0);
}

static void start(struct guest *g, unsigned offloads)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	struct error err;
	*g = (struct guest){ .loop = loop_create(NULL), .sequence = SEQUENCE };
	struct net_config config = {
		.kind = NET_USER, .owner = "net0", .jumbo = true, .worker = { loop_post, g->loop }, .loop = g->loop, .now = test_time,
	};
	memcpy(config.mac, mac, sizeof(mac));
	g->net = net_open(&config, &err);
	assert_non_null(g->net);
	net_attach(g->net, &(struct net_port){ take_frame, NULL, g });
	net_set_offloads(g->net, offloads);
	int listening = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof(address)) | listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	g->server_port = ntohs(address.sin_port);
	connect_guest(g, listening);
	close(listening);
}

static void end(struct guest *g)
{
	close(g->server);
	net_close(g->net);
	loop_destroy(g->loop);
}

/* All that the host's server sends comes, in order. */
static void receive_all(struct guest *g)
{
	static uint8_t data[AMOUNT];
	size_t sent = 0;
	for (size_t i = 0; i < AMOUNT; i++)
		data[i] = pattern(i);
	for (uint64_t until = host_time_ns() + PATIENCE_NS; g->got < AMOUNT && host_time_ns() < until;) {
		ssize_t n = send(g->server, data + sent, AMOUNT - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		turn(g);
	}
	assert_int_equal(g->got, AMOUNT);
}

static void segments_fit_the_agreed_mtu(void **state)
{
	struct guest g;
	/* A driver that knows nothing: packets as on any Ethernet. */
	start(&g, 0);
	receive_all(&g);
	assert_int_equal(g.to_cut, 0);
	assert_in_range(g.largest, 1000, MTU + 14);
	end(&g);
	/* One that takes large packets: they are to be cut into such. */
	start(&g, NET_OFFLOAD_ALL);
	receive_all(&g);
	assert_true(g.to_cut > 0);
	assert_in_range(g.largest, 54, MTU + 14);
	end(&g);
	/* One that has agreed to the network's own MTU. */
	start(&g, NET_OFFLOAD_ALL);
	net_set_mtu(g.net, net_mtu(g.net));
	receive_all(&g);
	assert_int_equal(g.to_cut, 0);
	assert_in_range(g.largest, 2 * MTU, net_mtu(g.net) + 14);
	end(&g);
}

static void large_segments_reach_the_host(void **state)
{
	struct guest g;
	static uint8_t data[65536];
	size_t sent = 0, came = 0;
	start(&g, NET_OFFLOAD_ALL);
	for (uint64_t until = host_time_ns() + PATIENCE_NS; came < AMOUNT && host_time_ns() < until; turn(&g)) {
		size_t part = MIN(AMOUNT - sent, 30000u);
		if (part && sent - g.acknowledged + part <= 60000) {
			send_tcp(&g, ACK | PSH, sent, part);
			sent += part;
		}
		ssize_t n = recv(g.server, data, sizeof(data), MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(came + (size_t)i));
		came += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(came, AMOUNT);
	end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_fit_the_agreed_mtu),
		cmocka_unit_test(large_segments_reach_the_host),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
