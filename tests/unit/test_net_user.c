/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user network: the test is the guest at one end, which speaks just enough TCP, and a program on the host at the other. What the guest
 * opens goes through the relay, what comes to a forwarded port through libslirp.
 */
#include "net_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/time.h"

#define AMOUNT 200000u
#define PATIENCE_NS 20000000000ull
#define WINDOW 60000u
#define MTU 1500u
#define SEQUENCE 1000u
#define SHIFT 3u                /* of our windows, where the other side has such, too */

enum way { RELAY, LIBSLIRP };

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 }, gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };
static const uint8_t address4[4] = { 10, 0, 2, 15 }, address6[16] = { 0xfe, 0xc0, [15] = 15 };

struct guest {
	struct loop *loop;
	struct net *net;
	bool v6;
	uint16_t port, server_port;
	uint32_t sequence, next;        /* of ours, and of what comes */
	bool connected;
	unsigned answers;               /* acknowledgements that are due */
	bool finished, reset;           /* such a segment has come */
	unsigned connections, resets, keep_alives;
	uint32_t first[64];             /* of what comes, by the lowest bits of our port */
	bool scaled;
	unsigned closed;                /* the window is: this many bytes that came nevertheless */
	bool is_closed;
	unsigned lose, frames;          /* every so many of the frames with data */
	size_t got, acknowledged;       /* payload bytes, both ways */
	size_t largest;                 /* of frames that are not to be cut */
	unsigned to_cut;
	bool called;                    /* our SYN is due */
	int server;                     /* the connection, on the host */
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 31 + at / 251);
}

/* Ten times as fast, so that who waits in vain does not for long. */
static uint64_t test_time(void *opaque)
{
	return 10 * host_time_ns();
}

static bool check_segment(void *opaque, const uint8_t *segment, size_t size)
{
	const struct guest *g = opaque;
	check_tcp(segment, size, g->v6);
	assert_true(size <= atomic_load(&g->net->port_mtu) + 14);
	return true;
}

static void check_frame(struct guest *g, uint8_t *frame, size_t size, const struct net_offload *offload)
{
	static uint8_t room[NET_FRAME_MAX];
	if (offload->gso == NET_GSO_NONE) {
		assert_true(!offload->checksum || packet_finish_checksum(frame, size, offload));
		check_tcp(frame, size, g->v6);
		g->largest = MAX(g->largest, size);
	} else {
		assert_true(packet_segment(frame, size, offload, room, check_segment, g));
		g->to_cut++;
	}
}

static void take_options(struct guest *g, const uint8_t *tcp)
{
	for (const uint8_t *option = tcp + 20; option < tcp + (tcp[12] >> 4) * 4 && *option; option += *option == 1 ? 1 : option[1])
		g->scaled |= *option == 3;
}

static void take_tcp(struct guest *g, uint8_t *frame, size_t size, const struct net_offload *offload)
{
	const uint8_t *tcp = frame + TEST_TCP(g->v6);
	size_t headers = TEST_TCP(g->v6) + (tcp[12] >> 4) * 4u;
	size_t payload = 14 + (g->v6 ? 40u + load_be16(frame + 18) : load_be16(frame + 16)) - headers;
	uint32_t sequence = load_be32(tcp + 4);
	check_frame(g, frame, payload + headers, offload);
	g->reset |= (tcp[13] & RST) != 0;
	g->resets += g->reset && tcp[13] & RST;
	g->connections += (tcp[13] & (SYN | ACK)) == (SYN | ACK);
	uint32_t *first = &g->first[load_be16(tcp + 2) % 64];
	g->keep_alives += tcp[13] == ACK && sequence == *first;
	if (tcp[13] & SYN) {
		*first = sequence;
		take_options(g, tcp);
		g->next = sequence + 1;
		g->connected = true;
		g->answers++;
		if (!(tcp[13] & ACK))
			g->server_port = load_be16(tcp), g->called = true;
	}
	g->acknowledged = load_be32(tcp + 8) - SEQUENCE - 1;
	if (g->is_closed)
		g->closed += (unsigned)payload;
	if ((payload && g->lose && ++g->frames % g->lose == 0) || g->is_closed)
		return;
	g->answers += payload != 0;
	if (sequence != g->next)
		return;
	for (size_t i = 0; i < payload; i++)
		assert_int_equal(frame[headers + i], pattern(g->got + i));
	g->got += payload;
	g->next += (uint32_t)payload;
	if (tcp[13] & FIN) {
		g->finished = true;
		g->answers++;
		g->next++;
	}
}

static bool take_frame(void *opaque, const struct net_frame *frame)
{
	static uint8_t data[NET_FRAME_MAX];
	const struct guest *g = opaque;
	size_t size = packet_gather(frame->iov, frame->count, 0, data, frame->size);
	if (load_be16(data + 12) == (g->v6 ? 0x86dd : 0x0800) && data[g->v6 ? 20 : 23] == 6)
		take_tcp(opaque, data, size, &frame->offload);
	return true;
}

static void send_bytes(struct guest *g, const uint8_t *data, size_t size, const struct net_offload *offload)
{
	const struct iovec iov = { (void *)data, size };
	assert_true(net_send(g->net, &(struct net_frame){ .iov = &iov, .count = 1, .size = size, .offload = *offload }));
}

/* Headers with the sum of the pseudo header in the checksum's place; returns the size of the frame. */
static size_t make_headers(struct guest *g, uint8_t *frame, uint8_t flags, size_t options, size_t payload)
{
	size_t length = 20 + options + payload;
	uint8_t *ip = frame + 14, *tcp = frame + TEST_TCP(g->v6), tail[4] = { 0, 6, (uint8_t)(length >> 8), (uint8_t)length };
	memset(frame, 0, TEST_TCP(g->v6) + 20);
	memcpy(frame, gateway_mac, 6);
	memcpy(frame + 6, mac, 6);
	store_be16(frame + 12, g->v6 ? 0x86dd : 0x0800);
	if (g->v6) {
		ip[0] = 0x60;
		store_be16(ip + 4, (uint16_t)length);
		ip[6] = 6;
		ip[7] = 64;
		memcpy(ip + 8, address6, 16);
		memcpy(ip + 24, address6, 15);
		ip[39] = 2;
	} else {
		ip[0] = 0x45;
		store_be16(ip + 2, (uint16_t)(20 + length));
		ip[8] = 64;
		ip[9] = 6;
		memcpy(ip + 12, address4, 4);
		memcpy(ip + 16, address4, 3);
		ip[19] = 2;
		store_be16(ip + 10, (uint16_t)~slow_sum(ip, 20, 0));
	}
	store_be16(tcp, g->port);
	store_be16(tcp + 2, g->server_port);
	store_be32(tcp + 4, g->sequence);
	store_be32(tcp + 8, g->connected ? g->next : 0);
	tcp[12] = (uint8_t)((20 + options) / 4 << 4);
	tcp[13] = flags;
	store_be16(tcp + 14, g->is_closed ? 0 : g->scaled ? WINDOW >> SHIFT : WINDOW);
	store_be16(tcp + 16, (uint16_t)slow_sum(tail, 4, slow_sum(ip + (g->v6 ? 8 : 12), g->v6 ? 32 : 8, 0)));
	return 14 + (g->v6 ? 40 : 20) + length;
}

/* The rest is the network's to finish. With more than fits into a packet, segments are. */
static void send_tcp(struct guest *g, uint8_t flags, size_t at, size_t payload)
{
	static uint8_t frame[NET_FRAME_MAX];
	static const uint8_t syn_options[8] = { 2, 4, 0x3f, 0xd8, 1, 3, 3, SHIFT }; /* segments of up to 16344 bytes */
	size_t options = flags & SYN ? sizeof(syn_options) : 0, size = make_headers(g, frame, flags, options, payload);
	struct net_offload offload = { .checksum = true, .checksum_start = (uint16_t)TEST_TCP(g->v6), .checksum_offset = 16 };
	uint8_t *text = frame + size - payload;
	memcpy(text - options, syn_options, options);
	for (size_t i = 0; i < payload; i++)
		text[i] = pattern(at + i);
	if (payload > MTU - 60)
		offload.gso = g->v6 ? NET_GSO_TCP6 : NET_GSO_TCP4, offload.gso_size = MTU - 60;
	send_bytes(g, frame, size, &offload);
	g->sequence += (uint32_t)payload + (flags & (SYN | FIN) ? 1 : 0);
}

static void turn(struct guest *g)
{
	assert_int_equal(loop_once(g->loop, 1000000, NULL), 0);
	if (g->called)
		send_tcp(g, SYN | ACK, 0, 0);
	for (; g->answers && !g->called; g->answers--)
		send_tcp(g, ACK, 0, 0);
	g->called = false;
}

/* Until `*what`, as long as patience lasts. */
static void wait_for(struct guest *g, const bool *what)
{
	for (uint64_t end = host_time_ns() + PATIENCE_NS; !*what && host_time_ns() < end;)
		turn(g);
	assert_true(*what);
}

/* Tells libslirp who has 10.0.2.15 (RFC 826). */
static void announce(struct guest *g)
{
	uint8_t arp[60] = { 255, 255, 255, 255, 255, 255 };
	const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
	memcpy(arp + 6, mac, 6);
	memcpy(arp + 12, head, sizeof(head));
	memcpy(arp + 22, mac, 6);
	memcpy(arp + 28, address4, 4);
	memcpy(arp + 38, address4, 4);
	send_bytes(g, arp, sizeof(arp), &(struct net_offload){ 0 });
}

static int listen_somewhere(struct guest *g)
{
	struct sockaddr_in6 address = { .sin6_family = g->v6 ? AF_INET6 : AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	socklen_t length = g->v6 ? sizeof(address) : sizeof(*v4);
	if (g->v6)
		address.sin6_addr = in6addr_loopback;
	else
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(g->v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&address, length) < 0) {
		assert_true(g->v6);
		close(fd);
		skip(); /* a host without IPv6 */
	}
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	g->server_port = ntohs(g->v6 ? address.sin6_port : v4->sin_port);
	return fd;
}

static void open_network(struct guest *g, bool v6, unsigned offloads)
{
	struct error err;
	*g = (struct guest){ .loop = loop_create(NULL), .sequence = SEQUENCE, .v6 = v6, .port = 4000, .server = -1 };
	struct net_config config = {
		.kind = NET_USER, .owner = "net0", .jumbo = true, .worker = { loop_post, g->loop }, .loop = g->loop, .now = test_time,
	};
	memcpy(config.mac, mac, sizeof(mac));
	g->net = net_open(&config, &err);
	assert_non_null(g->net);
	net_attach(g->net, &(struct net_port){ take_frame, NULL, g });
	net_set_offloads(g->net, offloads);
	announce(g);
}

static void end(struct guest *g)
{
	if (g->server >= 0)
		close(g->server);
	net_close(g->net);
	loop_destroy(g->loop);
}

/* By a forward of the port that was just free. */
static void call_guest(struct guest *g)
{
	struct net_forward forward = { .address = "127.0.0.1", .host_port = g->server_port, .guest_port = 4000 };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(g->server_port) };
	struct error err;
	assert_int_equal(net_add_forward(g->net, &forward, &err), 0);
	g->server = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(g->server, (struct sockaddr *)&address, sizeof(address)), 0);
	wait_for(g, &g->connected);
	for (unsigned i = 0; i < 20; i++)
		turn(g);
}

static void start(struct guest *g, enum way way, bool v6, unsigned offloads)
{
	open_network(g, v6, offloads);
	int listening = listen_somewhere(g);
	if (way == LIBSLIRP) {
		close(listening);
		call_guest(g);
		return;
	}
	send_tcp(g, SYN, 0, 0);
	wait_for(g, &g->connected);
	g->server = accept(listening, NULL, NULL);
	assert_true(g->server >= 0);
	close(listening);
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

static void fit_the_mtu(enum way way, bool v6)
{
	struct guest g;
	/* A driver that knows nothing: packets as on any Ethernet. */
	start(&g, way, v6, 0);
	receive_all(&g);
	assert_int_equal(g.to_cut, 0);
	assert_in_range(g.largest, 1000, MTU + 14);
	end(&g);
	/* One that takes large packets: they are to be cut into such. */
	start(&g, way, v6, NET_OFFLOAD_ALL);
	receive_all(&g);
	assert_true(g.to_cut > 0);
	assert_in_range(g.largest, 54, MTU + 14);
	end(&g);
	/* One that has agreed to the network's own MTU. */
	start(&g, way, v6, NET_OFFLOAD_CHECKSUM);
	net_set_mtu(g.net, net_mtu(g.net));
	receive_all(&g);
	assert_int_equal(g.to_cut, 0);
	assert_in_range(g.largest, 2 * MTU, net_mtu(g.net) + 14);
	end(&g);
}

static void segments_fit_the_agreed_mtu(void **state)
{
	fit_the_mtu(LIBSLIRP, false);
	fit_the_mtu(RELAY, false);
	fit_the_mtu(RELAY, true);
}

/* Up to AMOUNT bytes from `*came` on that the server has got. */
static void read_at_server(struct guest *g, size_t *came)
{
	static uint8_t data[65536];
	ssize_t n = recv(g->server, data, sizeof(data), MSG_DONTWAIT);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(data[i], pattern(*came + (size_t)i));
	*came += n > 0 ? (size_t)n : 0;
}

static void reach_the_host(enum way way, bool v6)
{
	struct guest g;
	size_t sent = 0, came = 0;
	start(&g, way, v6, NET_OFFLOAD_ALL);
	for (uint64_t until = host_time_ns() + PATIENCE_NS; came < AMOUNT && host_time_ns() < until; turn(&g)) {
		size_t part = MIN(AMOUNT - sent, 30000u);
		if (part && sent - g.acknowledged + part <= 60000) {
			send_tcp(&g, ACK | PSH, sent, part);
			sent += part;
		}
		read_at_server(&g, &came);
	}
	assert_int_equal(came, AMOUNT);
	end(&g);
}

static void large_segments_reach_the_host(void **state)
{
	reach_the_host(LIBSLIRP, false);
	reach_the_host(RELAY, false);
	reach_the_host(RELAY, true);
}

/* --- the relay alone --- */

static void lost_frames_come_again(void **state)
{
	struct guest g;
	start(&g, RELAY, false, 0);
	g.lose = 7;
	receive_all(&g);
	end(&g);
	/* Large ones, of which nothing follows that would tell of the loss. */
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	g.lose = 3;
	receive_all(&g);
	end(&g);
}

static void lost_segments_of_the_guest_are_asked_for(void **state)
{
	struct guest g;
	size_t came = 0;
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	uint32_t first = g.sequence;
	g.sequence += 1000;
	send_tcp(&g, ACK, 1000, 1000);
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	assert_int_equal(g.acknowledged, 0);
	/* Some of it twice, in other pieces. */
	g.sequence = first;
	send_tcp(&g, ACK, 0, 600);
	g.sequence = first + 300;
	send_tcp(&g, ACK | PSH, 300, 1700);
	for (uint64_t until = host_time_ns() + PATIENCE_NS; (came < 2000 || g.acknowledged < 2000) && host_time_ns() < until; turn(&g))
		read_at_server(&g, &came);
	assert_int_equal(came, 2000);
	assert_int_equal(g.acknowledged, 2000);
	end(&g);
}

static void wrong_checksums_are_dropped(void **state)
{
	struct guest g;
	uint8_t frame[200];
	size_t came = 0;
	start(&g, RELAY, false, 0);
	const struct net_offload open = { .checksum = true, .checksum_start = TEST_TCP(false), .checksum_offset = 16 };
	for (unsigned good = 0; good < 2; good++) {
		size_t size = make_headers(&g, frame, ACK | PSH, 0, 100);
		for (size_t i = 0; i < 100; i++)
			frame[size - 100 + i] = pattern(i);
		assert_true(packet_finish_checksum(frame, size, &open));
		frame[size - 1] ^= !good;
		send_bytes(&g, frame, size, &(struct net_offload){ 0 });
		for (unsigned i = 0; i < 20; i++)
			turn(&g);
		assert_int_equal(g.acknowledged, good ? 100 : 0);
	}
	read_at_server(&g, &came);
	assert_int_equal(came, 100);
	end(&g);
}

static void a_closed_window_is_looked_into(void **state)
{
	struct guest g;
	uint8_t data[3000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	g.is_closed = true;
	send_tcp(&g, ACK, 0, 0);
	assert_int_equal(send(g.server, data, sizeof(data), 0), sizeof(data));
	for (uint64_t until = host_time_ns() + PATIENCE_NS; !g.closed && host_time_ns() < until;)
		turn(&g);
	assert_int_equal(g.closed, 1);
	g.is_closed = false;
	g.answers = 1;
	for (uint64_t until = host_time_ns() + PATIENCE_NS; g.got < sizeof(data) && host_time_ns() < until;)
		turn(&g);
	assert_int_equal(g.got, sizeof(data));
	end(&g);
}

/* A server that does not read: the guest is told to wait, and nothing of what it was promised room for is lost. */
static void a_server_that_does_not_read_holds_the_guest_up(void **state)
{
	struct guest g;
	size_t sent = 0, came = 0;
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	for (unsigned stuck = 0; stuck < 100; turn(&g)) {
		if (sent > g.acknowledged) {
			stuck++;
			continue;
		}
		send_tcp(&g, ACK | PSH, sent, 60000);
		sent += 60000;
		stuck = 0;
		assert_true(sent < 64u << 20);
	}
	size_t promised = g.acknowledged;
	for (uint64_t until = host_time_ns() + PATIENCE_NS; came < promised && host_time_ns() < until; turn(&g))
		read_at_server(&g, &came);
	assert_true(came >= promised);
	end(&g);
}

static void each_side_ends_alone(void **state)
{
	struct guest g;
	char byte;
	uint8_t pieces[2] = { pattern(0), pattern(1) };
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	send_tcp(&g, ACK | FIN, 0, 0);
	for (uint64_t until = host_time_ns() + PATIENCE_NS; !g.acknowledged && host_time_ns() < until;)
		turn(&g);
	assert_int_equal(recv(g.server, &byte, 1, 0), 0);
	assert_int_equal(send(g.server, pieces, 2, 0), 2);
	close(g.server);
	g.server = -1;
	wait_for(&g, &g.finished);
	assert_int_equal(g.got, 2);
	/* The guest's last acknowledgement goes with this; then the connection is not known any more. */
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	assert_false(g.reset);
	send_tcp(&g, ACK, 0, 10);
	wait_for(&g, &g.reset);
	end(&g);
}

static void resets_go_through(void **state)
{
	struct guest g;
	const struct linger now = { .l_onoff = 1 };
	char byte;
	/* Nobody listens. */
	open_network(&g, false, NET_OFFLOAD_ALL);
	close(listen_somewhere(&g));
	send_tcp(&g, SYN, 0, 0);
	wait_for(&g, &g.reset);
	assert_false(g.connected);
	end(&g);
	/* From the server. */
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	setsockopt(g.server, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(g.server);
	g.server = -1;
	wait_for(&g, &g.reset);
	end(&g);
	/* From the guest. */
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	send_tcp(&g, RST, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	assert_int_equal(recv(g.server, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	end(&g);
}

/* Also when bytes of the guest wait for the server. */
static void a_broken_connection_is_told_of_once(void **state)
{
	struct guest g;
	const struct linger now = { .l_onoff = 1 };
	start(&g, RELAY, false, NET_OFFLOAD_ALL);
	for (size_t sent = 0, stuck = 0; stuck < 100; turn(&g)) {
		stuck = sent > g.acknowledged ? stuck + 1 : 0;
		if (stuck)
			continue;
		send_tcp(&g, ACK | PSH, sent, 60000);
		sent += 60000;
	}
	setsockopt(g.server, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(g.server);
	g.server = -1;
	wait_for(&g, &g.reset);
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	assert_int_equal(g.resets, 1);
	end(&g);
}

static void call_from(struct guest *g, uint16_t port)
{
	g->port = port;
	g->sequence = SEQUENCE;
	g->connected = g->reset = false;
	send_tcp(g, SYN, 0, 0);
	for (unsigned i = 0; i < 1000 && !g->connected && !g->reset; i++)
		turn(g);
}

/* Half of the descriptors are for other things. When there are too many the guest is asked which of them it knows. */
static void connections_are_limited(void **state)
{
	struct guest g;
	struct rlimit files;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, files.rlim_max }), 0);
	open_network(&g, false, NET_OFFLOAD_ALL);
	int listening = listen_somewhere(&g);
	assert_int_equal(listen(listening, 64), 0);
	for (uint16_t i = 0; i < 40; i++)
		call_from(&g, 4000 + i);
	const unsigned connections = g.connections, resets = g.resets;
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	const bool asked = g.keep_alives == 32;
	/* It was started anew, and knows none. */
	for (uint16_t i = 0; i < 32; i++) {
		g.port = 4000 + i;
		g.sequence = SEQUENCE + 1;
		send_tcp(&g, RST, 0, 0);
	}
	for (unsigned i = 0; i < 20; i++)
		turn(&g);
	call_from(&g, 5000);
	const bool connected = g.connected;
	close(listening);
	end(&g);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(connections, 32);
	assert_int_equal(resets, 8);
	assert_true(asked && connected);
}

/* As libslirp has it: packets that are no IP, at the end of their life, with headers that lead elsewhere, or that begin and end. */
static void odd_packets_connect_nowhere(void **state)
{
	struct guest g;
	uint8_t frame[200];
	for (unsigned i = 0; i < 6; i++) {
		open_network(&g, i > 1, NET_OFFLOAD_ALL);
		int listening = listen_somewhere(&g);
		unsigned start = TEST_TCP(g.v6) + (i == 4 ? 8 : 0);
		size_t size = make_headers(&g, frame, i == 5 ? SYN | FIN : SYN, 0, 0);
		uint8_t *ip = frame + 14;
		if (i == 1 || i == 2)
			ip[g.v6 ? 7 : 8] = 0;
		else if (i == 0 || i == 3)
			ip[0] ^= 0x10;
		if (i == 4) { /* a routing header with nothing in it (RFC 8200, 4.4) */
			const uint8_t routing[8] = { 6, 0, 0, 0, 0, 0, 0, 0 };
			memmove(ip + 48, ip + 40, size - 54);
			memcpy(ip + 40, routing, sizeof(routing));
			ip[6] = 43;
			ip[5] += 8;
			size += 8;
		}
		if (!g.v6) {
			store_be16(ip + 10, 0);
			store_be16(ip + 10, (uint16_t)~slow_sum(ip, 20, 0));
		}
		send_bytes(&g, frame, size, &(struct net_offload){ .checksum = true, .checksum_start = (uint16_t)start, .checksum_offset = 16 });
		for (unsigned k = 0; k < 20; k++)
			turn(&g);
		assert_int_equal(g.connections, 0);
		close(listening);
		end(&g);
	}
}

/* Segments of the connection that say anything; it may end by them, and the network goes on. */
static void nonsense_is_survived(void **state)
{
	struct guest g;
	uint32_t seed = 1;
	for (unsigned round = 0; round < 20; round++) {
		start(&g, RELAY, round % 2, round & 2 ? NET_OFFLOAD_ALL : 0);
		g.is_closed = true; /* what comes is not looked into */
		for (unsigned i = 0; i < 300; i++) {
			uint8_t frame[700];
			seed = seed * 1664525 + 1013904223;
			size_t size = make_headers(&g, frame, (uint8_t)(seed >> 24), seed >> 8 & 1 ? 8 : 0, seed >> 9 & 511);
			uint8_t *tcp = frame + TEST_TCP(g.v6);
			memset(tcp + 20, (int)(seed >> 16), size - TEST_TCP(g.v6) - 20);
			store_be32(tcp + 4, g.sequence + (seed >> 20 & 1 ? seed >> 21 : 0) - (seed >> 3 & 1));
			store_be32(tcp + 8, g.next + (seed >> 19 & 1 ? seed : 0));
			if (seed >> 18 & 1)
				tcp[12] = (uint8_t)(seed >> 4);
			send_bytes(&g, frame, seed >> 5 & 7 ? size : size - MIN(size / 2, seed >> 22), &(struct net_offload){ .valid = true });
			if (i % 10 == 0)
				turn(&g);
		}
		end(&g);
	}
	start(&g, RELAY, false, 0);
	receive_all(&g);
	end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_fit_the_agreed_mtu),
		cmocka_unit_test(large_segments_reach_the_host),
		cmocka_unit_test(lost_frames_come_again),
		cmocka_unit_test(lost_segments_of_the_guest_are_asked_for),
		cmocka_unit_test(wrong_checksums_are_dropped),
		cmocka_unit_test(a_closed_window_is_looked_into),
		cmocka_unit_test(a_server_that_does_not_read_holds_the_guest_up),
		cmocka_unit_test(each_side_ends_alone),
		cmocka_unit_test(resets_go_through),
		cmocka_unit_test(a_broken_connection_is_told_of_once),
		cmocka_unit_test(connections_are_limited),
		cmocka_unit_test(odd_packets_connect_nowhere),
		cmocka_unit_test(nonsense_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
