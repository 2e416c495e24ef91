/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay's end of a guest's connection: TCP (RFC 9293) with window scaling (RFC 7323) over a wire that loses nothing but
 * what a guest without room drops. So there is no control of congestion, what comes out of order is dropped and sent again, and
 * so is everything from the first gap on in the other direction.
 *
 * What a window promises fits into `in`, whether or not the host's socket takes it. Checksums of what goes to the guest are left
 * open, and segments as large as its window allows: the network cuts and finishes where the guest does not.
 */
#include "net/relay_parts.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/iovec.h"
#include "base/util.h"
#include "host/random.h"

#define TCP_HEADER 20u
#define IPV4_HEADER 20u
#define IPV6_HEADER 40u

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define SCALE_MAX 14 /* RFC 7323, 2.3 */
#define MSS_WITHOUT 536u

#define OUR_SHIFT 4u
#define WINDOW_MAX 65535u
#define PAYLOAD_MAX (65535u - IPV6_HEADER - TCP_HEADER)
#define PIECES 64

#define PATIENCE_NS 1000000000ull /* RFC 6298, 2.1 */
#define PATIENCE_MAX_NS 8000000000ull
#define ATTEMPTS 20u

/* --- rings --- */

unsigned ring_pieces(struct ring *ring, size_t skip, size_t length, struct iovec iov[2])
{
	if (length && !ring->data)
		ring->data = malloc(ring->size);
	if (!length || !ring->data)
		return 0;
	size_t at = (ring->start + skip) % ring->size, first = MIN(length, ring->size - at);
	iov[0] = (struct iovec){ ring->data + at, first };
	iov[1] = (struct iovec){ ring->data, length - first };
	return length > first ? 2 : 1;
}

void ring_drop(struct ring *ring, size_t length)
{
	ring->start = (ring->start + length) % ring->size;
	ring->count -= length;
	if (!ring->count)
		ring->start = 0; /* the same memory again, which is in the cache */
}

/* --- segments from the guest --- */

static void read_addresses(struct segment *s)
{
	const uint8_t *ip = s->head + s->layers.network, *tcp = s->head + s->layers.transport;
	memset(&s->key, 0, sizeof(s->key));
	bool v4 = s->layers.ethertype == ETHERTYPE_IPV4;
	memcpy(s->key.guest, ip + (v4 ? 12 : 8), v4 ? 4 : 16);
	memcpy(s->key.remote, ip + (v4 ? 16 : 24), v4 ? 4 : 16);
	s->key.ethertype = s->layers.ethertype;
	s->key.guest_port = load_be16(tcp);
	s->key.remote_port = load_be16(tcp + 2);
}

/* The size of the frame up to the end of the IP packet, 0 when it is longer than the frame. A packet to be cut is all of the frame,
 * whatever its length says. */
static size_t packet_end(const struct segment *s)
{
	const uint8_t *ip = s->head + s->layers.network;
	const struct net_frame *frame = s->frame;
	bool v4 = s->layers.ethertype == ETHERTYPE_IPV4;
	size_t end = s->layers.network + (v4 ? load_be16(ip + 2) : IPV6_HEADER + load_be16(ip + 4));
	if (frame->offload.gso != NET_GSO_NONE)
		return frame->size;
	return end <= frame->size ? end : 0;
}

/* Of its version, not at the end of its life, and of IPv6 no other headers, which say where else it is to go. */
static bool plain_ip(const struct segment *s)
{
	const uint8_t *ip = s->head + s->layers.network;
	if (s->layers.ethertype == ETHERTYPE_IPV4)
		return ip[0] >> 4 == 4 && ip[8];
	return ip[0] >> 4 == 6 && ip[7] && s->layers.transport == s->layers.network + IPV6_HEADER;
}

/* Checksums that are said to be open or verified are not looked at. */
static bool checksums_good(const struct segment *s, size_t end, uint8_t *room)
{
	const uint8_t *ip = s->head + s->layers.network;
	const struct net_offload *offload = &s->frame->offload;
	if (s->layers.ethertype == ETHERTYPE_IPV4 && offload->gso == NET_GSO_NONE &&
	    packet_fold(packet_sum(0, ip, s->layers.transport - s->layers.network)) != 0xffff)
		return false;
	if (offload->checksum || offload->valid)
		return true;
	return packet_gather(s->frame->iov, s->frame->count, 0, room, end) == end && packet_tcp_good(room, end, &s->layers);
}

bool segment_parse(struct segment *s, const struct net_frame *frame, uint8_t *room)
{
	s->frame = frame;
	size_t got = packet_gather(frame->iov, frame->count, 0, s->head, MIN(sizeof(s->head), frame->size));
	packet_layers(s->head, got, &s->layers);
	const uint8_t *tcp = s->head + s->layers.transport;
	if (!s->layers.has_transport || s->layers.protocol != PROTOCOL_TCP || s->layers.network != 14 || s->layers.transport + TCP_HEADER > got ||
	    !plain_ip(s))
		return false;
	size_t header = (tcp[12] >> 4) * 4u, end = packet_end(s);
	s->payload_at = s->layers.transport + header;
	if (header < TCP_HEADER || s->payload_at > got || s->payload_at > end || !checksums_good(s, end, room))
		return false;
	s->payload = end - s->payload_at;
	s->sequence = load_be32(tcp + 4);
	s->acknowledgement = load_be32(tcp + 8);
	s->flags = tcp[13];
	s->window = load_be16(tcp + 14);
	read_addresses(s);
	return true;
}

/* --- segments to the guest --- */

static unsigned window_field(const struct flow *flow, bool syn)
{
	size_t room = ring_room(&flow->in);
	return (unsigned)MIN(syn ? room : room >> flow->shift, (size_t)WINDOW_MAX);
}

static unsigned headers(const struct flow *flow)
{
	return flow->layers.transport - flow->layers.network + TCP_HEADER;
}

static unsigned segment_size(const struct flow *flow)
{
	unsigned mtu = atomic_load(&flow->net->port_mtu);
	return MIN(flow->guest_mss, mtu > 2 * headers(flow) ? mtu - headers(flow) : headers(flow));
}

/* `payload` bytes of `out` behind the first `skip`; `options`: bytes of them, which stand in the header already. */
static void emit(struct flow *flow, unsigned flags, uint32_t sequence, size_t skip, size_t payload, unsigned options)
{
	struct iovec iov[3];
	uint8_t *tcp = flow->header + flow->layers.transport;
	unsigned size = flow->layers.transport + TCP_HEADER + options, mss = segment_size(flow);
	struct net_frame frame = {
		.iov = iov, .count = 1 + ring_pieces(&flow->out, skip, payload, iov + 1), .size = size + payload,
		.offload = { .checksum = true, .checksum_start = (uint16_t)flow->layers.transport, .checksum_offset = 16 },
	};
	iov[0] = (struct iovec){ flow->header, size };
	store_be32(tcp + 4, sequence);
	store_be32(tcp + 8, flow->receive_nxt);
	tcp[12] = (uint8_t)((TCP_HEADER + options) / 4 << 4);
	tcp[13] = (uint8_t)flags;
	store_be16(tcp + 14, (uint16_t)window_field(flow, flags & TCP_SYN));
	packet_open_tcp(flow->header, frame.size, &flow->layers, flow->id);
	flow->id = (uint16_t)(flow->id + payload / mss + 1);
	if (payload > mss) {
		frame.offload.gso = flow->layers.ethertype == ETHERTYPE_IPV4 ? NET_GSO_TCP4 : NET_GSO_TCP6;
		frame.offload.gso_size = (uint16_t)mss;
		frame.offload.header_size = (uint16_t)size;
	}
	if (flags & TCP_ACK)
		flow->ack_due = false;
	net_deliver(flow->net, &frame);
}

static uint32_t in_flight(const struct flow *flow)
{
	return flow->send_nxt - flow->send_una;
}

/* What may go now: true and `part`, when there is a reason to send. Small parts of more wait for others to be acknowledged
 * (3.8.6.2.1). */
static bool next_part(const struct flow *flow, size_t *part)
{
	uint32_t flight = in_flight(flow);
	size_t sent = MIN((size_t)flight, flow->out.count), left = flow->out.count - sent, mss = segment_size(flow);
	size_t usable = flow->send_window > flight ? flow->send_window - flight : 0;
	*part = MIN(left, usable);
	bool last = *part == left;
	if (*part > mss)
		*part = MIN(*part, PAYLOAD_MAX) / mss * mss + (last && *part <= PAYLOAD_MAX ? *part % mss : 0);
	if (*part && *part < mss && !last && flight)
		return false;
	return *part || (last && flow->ended && flight <= flow->out.count && !flow->fin_acked);
}

static void send_part(struct flow *flow, size_t part)
{
	size_t sent = in_flight(flow);
	bool last = sent + part == flow->out.count, fin = last && flow->ended;
	emit(flow, TCP_ACK | (last ? TCP_PSH : 0) | (fin ? TCP_FIN : 0), flow->send_nxt, sent, part, 0);
	flow->send_nxt += (uint32_t)part + fin;
	if ((int32_t)(flow->send_nxt - flow->send_max) > 0)
		flow->send_max = flow->send_nxt;
}

/* --- time --- */

static void set_deadline(struct flow *flow)
{
	bool waits = flow->state == FLOW_ANSWERED || in_flight(flow) || flow->out.count;
	if (!waits) {
		flow->deadline = 0;
	} else if (!flow->deadline) {
		flow->deadline = relay_now(flow->relay) + flow->patience;
		relay_tick_soon(flow->relay);
	}
}

static void be_patient(struct flow *flow)
{
	flow->deadline = 0;
	flow->patience = PATIENCE_NS;
	flow->attempts = 0;
}

void flow_tick(struct flow *flow, uint64_t now)
{
	if (now < flow->deadline) {
		relay_tick_soon(flow->relay);
		return;
	}
	if (flow->net->held) { /* the guest has no room for any frame; relay_resume follows */
		flow->deadline = 0;
		return;
	}
	if (++flow->attempts > ATTEMPTS) {
		flow_abort(flow);
		return;
	}
	flow->deadline = 0;
	flow->patience = MIN(2 * flow->patience, PATIENCE_MAX_NS);
	if (flow->state == FLOW_ANSWERED) {
		flow_answer(flow);
		return;
	}
	/* From the first byte that is not acknowledged, and one byte into a window that is closed. */
	flow->send_nxt = flow->send_una;
	size_t part = MIN(MIN(flow->out.count, (size_t)segment_size(flow)), (size_t)MAX(flow->send_window, 1u));
	if (part || (flow->ended && !flow->fin_acked))
		send_part(flow, part);
	set_deadline(flow);
	relay_mark(flow);
}

/* --- the host's socket --- */

static bool worth_waiting(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* From the socket to `out`. Fewer bytes than there was room for were all, unless the end is behind them. */
static void fill(struct flow *flow)
{
	while (flow->state == FLOW_OPEN && flow->readable && !flow->ended && ring_room(&flow->out)) {
		struct iovec iov[2];
		size_t room = ring_room(&flow->out);
		unsigned pieces = ring_pieces(&flow->out, flow->out.count, room, iov);
		struct msghdr message = { .msg_iov = iov, .msg_iovlen = pieces };
		ssize_t got = pieces ? recvmsg(flow->fd, &message, MSG_DONTWAIT) : -1;
		if (got < 0) {
			if (!pieces || !worth_waiting())
				flow_abort(flow);
			else
				flow->readable = errno == EINTR;
			return;
		}
		flow->ended = got == 0;
		flow->out.count += (size_t)got;
		if ((size_t)got < room && !flow->hung_up)
			flow->readable = false;
	}
}

static size_t to_socket(struct flow *flow, struct iovec *iov, unsigned pieces)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = pieces };
	ssize_t done = sendmsg(flow->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done < 0) {
		if (!worth_waiting())
			flow_abort(flow);
		else if (errno != EINTR)
			flow->writable = false;
		return 0;
	}
	return (size_t)done;
}

/* From `in` to the socket. A window that was small is told to be open again. */
static void drain(struct flow *flow)
{
	size_t before = ring_room(&flow->in);
	while (flow->in.count && flow->writable && flow->state == FLOW_OPEN) {
		struct iovec iov[2];
		unsigned pieces = ring_pieces(&flow->in, 0, flow->in.count, iov);
		ring_drop(&flow->in, to_socket(flow, iov, pieces));
	}
	if (before < flow->in.size / 2 && ring_room(&flow->in) >= flow->in.size / 2)
		flow->ack_due = true;
	if (flow->guest_fin && !flow->in.count && !flow->shut && flow->state == FLOW_OPEN) {
		shutdown(flow->fd, SHUT_WR);
		flow->shut = true;
	}
}

void flow_work(struct flow *flow)
{
	size_t part;
	if (flow->state == FLOW_ANSWERED)
		set_deadline(flow); /* it may have passed while the guest had no room */
	if (flow->state != FLOW_OPEN)
		return;
	drain(flow);
	fill(flow);
	while (flow->state == FLOW_OPEN && !flow->net->held && next_part(flow, &part)) {
		send_part(flow, part);
		fill(flow);
	}
	if (flow->state != FLOW_OPEN)
		return;
	if (flow->ack_due)
		emit(flow, TCP_ACK, flow->send_nxt, 0, 0, 0);
	set_deadline(flow);
	if (flow->shut && flow->fin_acked)
		relay_kill(flow, false);
}

/* --- what the guest says --- */

static void acknowledge(struct flow *flow, const struct segment *s)
{
	uint32_t news = s->acknowledgement - flow->send_una;
	if (news > flow->send_max - flow->send_una) {
		/* Of the past, or of what was never sent (3.10.7.4). */
		flow->ack_due |= (int32_t)(s->acknowledgement - flow->send_max) > 0;
		return;
	}
	uint32_t window = s->window << (flow->scaled ? flow->guest_shift : 0);
	if (news) {
		size_t data = MIN((size_t)news, flow->out.count);
		ring_drop(&flow->out, data);
		flow->fin_acked |= news > data;
		flow->send_una = s->acknowledgement;
		if ((int32_t)(flow->send_nxt - flow->send_una) < 0)
			flow->send_nxt = flow->send_una;
		flow->duplicates = 0;
		be_patient(flow);
	} else if (in_flight(flow) && !s->payload && window == flow->send_window && ++flow->duplicates == 3) {
		flow->send_nxt = flow->send_una; /* RFC 5681, 3.2; all from there on */
	}
	flow->attempts = 0;
	flow->send_window = window;
}

/* What of it the socket does not take at once goes into `in`. */
static void take_payload(struct flow *flow, const struct segment *s, size_t skip)
{
	struct iovec iov[PIECES];
	size_t length = MIN(s->payload - skip, ring_room(&flow->in)), done = 0, at = s->payload_at + skip;
	if (!flow->in.count && flow->writable && length)
		done = to_socket(flow, iov, iovec_slice(s->frame->iov, s->frame->count, at, length, iov, PIECES));
	if (flow->state != FLOW_OPEN)
		return;
	unsigned pieces = ring_pieces(&flow->in, flow->in.count, length - done, iov);
	for (unsigned i = 0; i < pieces; i++) {
		size_t got = packet_gather(s->frame->iov, s->frame->count, at + done, iov[i].iov_base, iov[i].iov_len);
		flow->in.count += got;
		done += got;
	}
	flow->receive_nxt += (uint32_t)done;
}

static void take_text(struct flow *flow, const struct segment *s)
{
	uint32_t old = flow->receive_nxt - s->sequence; /* what of it we have */
	bool fin = s->flags & TCP_FIN;
	if (s->payload || fin || old)
		flow->ack_due = true;
	if (old > s->payload || flow->guest_fin) /* a gap is beyond 2^31 */
		return;
	if (old < s->payload)
		take_payload(flow, s, old);
	if (fin && flow->state == FLOW_OPEN && flow->receive_nxt == s->sequence + (uint32_t)s->payload) {
		flow->guest_fin = true;
		flow->receive_nxt++;
	}
}

void flow_segment(struct flow *flow, const struct segment *s)
{
	relay_mark(flow);
	if (s->flags & TCP_RST) {
		/* RFC 5961, 3.2, where a wire has others on it; here a number within the window will do. */
		if (flow->state == FLOW_CONNECTING || s->sequence - flow->receive_nxt < flow->in.size)
			relay_kill(flow, true);
		return;
	}
	if (flow->state == FLOW_CONNECTING)
		return;
	if (s->flags & TCP_SYN) {
		if (flow->state == FLOW_ANSWERED && s->sequence == flow->receive_nxt - 1)
			flow_answer(flow);
		else
			flow->ack_due = true; /* RFC 5961, 4: a guest that has begun anew answers with a reset */
		return;
	}
	if (!(s->flags & TCP_ACK))
		return;
	if (flow->state == FLOW_ANSWERED) {
		if (s->acknowledgement != flow->send_max)
			return;
		flow->send_una = flow->send_nxt = s->acknowledgement;
		flow->state = FLOW_OPEN;
		be_patient(flow);
	}
	acknowledge(flow, s);
	take_text(flow, s);
}

/* --- beginning and end --- */

static void read_options(struct flow *flow, const struct segment *syn)
{
	const uint8_t *option = syn->head + syn->layers.transport + TCP_HEADER, *end = syn->head + syn->payload_at;
	flow->guest_mss = MSS_WITHOUT;
	while (option < end && *option != OPTION_END) {
		size_t left = (size_t)(end - option), size = *option == OPTION_NOP ? 1 : left > 1 ? option[1] : 0;
		if (!size || size > left || (size < 2 && *option != OPTION_NOP))
			return;
		if (*option == OPTION_MSS && size == 4)
			flow->guest_mss = MAX(load_be16(option + 2), (uint16_t)64);
		if (*option == OPTION_SCALE && size == 3) {
			flow->scaled = true;
			flow->guest_shift = MIN(option[2], SCALE_MAX);
			flow->shift = OUR_SHIFT;
		}
		option += size;
	}
}

/* All of a frame to the guest that stays the same. */
static void make_header(struct flow *flow, const struct segment *syn)
{
	bool v4 = syn->layers.ethertype == ETHERTYPE_IPV4;
	uint8_t *ip = flow->header + 14;
	flow->layers = (struct packet_layers){
		.ethertype = syn->layers.ethertype, .network = 14, .transport = 14 + (v4 ? IPV4_HEADER : IPV6_HEADER), .protocol = PROTOCOL_TCP,
		.has_transport = true,
	};
	memcpy(flow->header, syn->head + 6, NET_MAC_SIZE);
	memcpy(flow->header + 6, syn->head, NET_MAC_SIZE);
	store_be16(flow->header + 12, syn->layers.ethertype);
	if (v4) {
		ip[0] = 0x45;
		ip[6] = 0x40; /* not to be fragmented */
		ip[8] = 64;
		ip[9] = PROTOCOL_TCP;
		memcpy(ip + 12, flow->key.remote, 4);
		memcpy(ip + 16, flow->key.guest, 4);
	} else {
		ip[0] = 0x60;
		ip[6] = PROTOCOL_TCP;
		ip[7] = 64;
		memcpy(ip + 8, flow->key.remote, 16);
		memcpy(ip + 24, flow->key.guest, 16);
	}
	store_be16(flow->header + flow->layers.transport, flow->key.remote_port);
	store_be16(flow->header + flow->layers.transport + 2, flow->key.guest_port);
}

void flow_begin(struct flow *flow, const struct segment *syn)
{
	uint32_t first = 0;
	/* Nobody but the guest sees it; nevertheless not to be guessed (RFC 6528). */
	if (host_random(&first, sizeof(first)) < sizeof(first))
		first = (uint32_t)relay_now(flow->relay);
	flow->send_una = flow->send_nxt = flow->send_max = first;
	flow->receive_nxt = syn->sequence + 1;
	flow->send_window = syn->window;
	read_options(flow, syn);
	make_header(flow, syn);
	be_patient(flow);
}

void flow_answer(struct flow *flow)
{
	uint8_t *option = flow->header + flow->layers.transport + TCP_HEADER;
	unsigned mtu = flow->net->mtu ? flow->net->mtu : 1500;
	option[0] = OPTION_MSS;
	option[1] = 4;
	store_be16(option + 2, (uint16_t)(mtu - headers(flow)));
	option[4] = OPTION_NOP;
	option[5] = OPTION_SCALE;
	option[6] = 3;
	option[7] = (uint8_t)flow->shift;
	flow->state = FLOW_ANSWERED;
	emit(flow, TCP_SYN | TCP_ACK, flow->send_una, 0, 0, flow->scaled ? 8 : 4);
	flow->send_max = flow->send_una + 1;
	set_deadline(flow);
}

/* 3.8.4: nothing new, which a guest that knows of it acknowledges, and another one resets. */
void flow_ask(struct flow *flow)
{
	if (flow->state == FLOW_OPEN)
		emit(flow, TCP_ACK, flow->send_una - 1, 0, 0, 0);
}

void flow_abort(struct flow *flow)
{
	emit(flow, TCP_RST | TCP_ACK, flow->send_nxt, 0, 0, 0);
	relay_kill(flow, true);
}
