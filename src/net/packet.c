/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/packet.h"

#include <string.h>

#include "base/util.h"

#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

/* RFC 9293, 3.1 */
#define TCP_HEADER 20u
#define TCP_SEQUENCE 4
#define TCP_DATA_OFFSET 12
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_URG 0x20
#define TCP_CWR 0x80

/* RFC 791, 3.1 and RFC 8200, 3 */
#define IPV4_HEADER 20u
#define IPV4_LENGTH 2
#define IPV4_ID 4
#define IPV4_FRAGMENT 6
#define IPV4_PROTOCOL 9
#define IPV4_CHECKSUM 10
#define IPV4_SOURCE 12
#define IPV6_HEADER 40u
#define IPV6_LENGTH 4
#define IPV6_NEXT 6
#define IPV6_SOURCE 8

/* 32 bits at a time: the carries collect in the upper half, enough for 16 GiB. */
uint64_t packet_sum(uint64_t sum, const uint8_t *data, size_t size)
{
	while (size >= 16) {
		sum += (uint64_t)load_le32(data) + load_le32(data + 4) + load_le32(data + 8) + load_le32(data + 12);
		data += 16;
		size -= 16;
	}
	for (; size >= 2; data += 2, size -= 2)
		sum += load_le16(data);
	return size ? sum + *data : sum;
}

uint16_t packet_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

bool packet_finish_checksum(uint8_t *frame, size_t size, const struct net_offload *offload)
{
	size_t start = offload->checksum_start, field = start + offload->checksum_offset;
	if (start >= size || field + 2 > size)
		return false;
	/* The field holds the sum of the pseudo header, which is part of the total (virtio 1.2, 5.1.6.2.1). */
	uint16_t sum = (uint16_t)~packet_fold(packet_sum(0, frame + start, size - start));
	/* UDP: 0 would mean that there is none (RFC 768); for TCP both are the same number. */
	store_le16(frame + field, sum ? sum : 0xffff);
	return true;
}

static void ipv6_layers(const uint8_t *frame, size_t size, struct packet_layers *layers)
{
	unsigned at = layers->network + IPV6_HEADER;
	uint8_t next = frame[layers->network + IPV6_NEXT];
	/* Hop-by-hop, routing and destination options (RFC 8200, 4): length in units of 8 bytes less one. */
	for (unsigned headers = 0; (next == 0 || next == 43 || next == 60) && headers < 8; headers++) {
		if (at + 8 > size)
			return;
		next = frame[at];
		at += 8u * (frame[at + 1] + 1u);
	}
	layers->transport = at;
	layers->protocol = next;
	layers->has_transport = at < size && next != 44;
}

void packet_layers(const uint8_t *frame, size_t size, struct packet_layers *layers)
{
	unsigned at = 12;
	*layers = (struct packet_layers){ 0 };
	if (size < NET_FRAME_MIN)
		return;
	uint16_t type = load_be16(frame + at);
	for (unsigned tags = 0; (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ) && tags < 2 && at + 6 <= size; tags++) {
		at += 4;
		type = load_be16(frame + at);
	}
	layers->ethertype = type;
	layers->network = at += 2;
	if (type == ETHERTYPE_IPV6 && at + IPV6_HEADER <= size) {
		ipv6_layers(frame, size, layers);
	} else if (type == ETHERTYPE_IPV4 && at + IPV4_HEADER <= size) {
		unsigned header = (frame[at] & 15u) * 4;
		layers->transport = at + header;
		layers->protocol = frame[at + IPV4_PROTOCOL];
		/* Of a fragmented packet only the first has the header, and none the whole payload. */
		layers->has_transport = header >= IPV4_HEADER && at + header < size && !(load_be16(frame + at + IPV4_FRAGMENT) & 0x3fff);
	}
}

/* What all segments have in common. */
struct cut {
	struct packet_layers layers;
	unsigned header;          /* bytes up to the payload */
	uint32_t sequence;
	uint16_t id;
};

static bool prepare(const uint8_t *frame, size_t size, const struct net_offload *offload, struct cut *cut)
{
	const uint16_t type = offload->gso == NET_GSO_TCP4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
	packet_layers(frame, size, &cut->layers);
	unsigned transport = cut->layers.transport;
	if (!cut->layers.has_transport || cut->layers.ethertype != type || cut->layers.protocol != PROTOCOL_TCP ||
	    transport + TCP_HEADER > size || !offload->gso_size)
		return false;
	cut->header = transport + (frame[transport + TCP_DATA_OFFSET] >> 4) * 4u;
	if (cut->header < transport + TCP_HEADER || cut->header > size || cut->header > 512)
		return false;
	cut->sequence = load_be32(frame + transport + TCP_SEQUENCE);
	cut->id = load_be16(frame + cut->layers.network + IPV4_ID);
	return true;
}

static uint64_t pseudo_header_sum(const uint8_t *segment, size_t size, const struct packet_layers *layers)
{
	bool v4 = layers->ethertype == ETHERTYPE_IPV4;
	const uint8_t *addresses = segment + layers->network + (v4 ? IPV4_SOURCE : IPV6_SOURCE);
	size_t length = size - layers->transport;
	uint8_t tail[4] = { 0, PROTOCOL_TCP, (uint8_t)(length >> 8), (uint8_t)length };
	return packet_sum(packet_sum(0, addresses, v4 ? 8 : 32), tail, 4);
}

/* The transport checksum over pseudo header, header and payload. */
static void finish_tcp(uint8_t *segment, size_t size, const struct packet_layers *layers)
{
	uint8_t *field = segment + layers->transport + TCP_CHECKSUM;
	store_le16(field, 0);
	uint64_t sum = packet_sum(pseudo_header_sum(segment, size, layers), segment + layers->transport, size - layers->transport);
	store_le16(field, (uint16_t)~packet_fold(sum));
}

static void finish_ip(uint8_t *segment, size_t size, const struct packet_layers *layers, uint16_t id)
{
	uint8_t *ip = segment + layers->network;
	if (layers->ethertype == ETHERTYPE_IPV6) {
		store_be16(ip + IPV6_LENGTH, (unsigned)(size - layers->network - IPV6_HEADER));
		return;
	}
	store_be16(ip + IPV4_LENGTH, (unsigned)(size - layers->network));
	store_be16(ip + IPV4_ID, id);
	store_le16(ip + IPV4_CHECKSUM, 0);
	store_le16(ip + IPV4_CHECKSUM, (uint16_t)~packet_fold(packet_sum(0, ip, layers->transport - layers->network)));
}

/* The sum that stands in the checksum's place is not relied upon: for large packets drivers leave the length out, or not. */
bool packet_finish_whole(uint8_t *frame, size_t size, const struct net_offload *offload)
{
	struct cut cut;
	if (!prepare(frame, size, offload, &cut))
		return false;
	finish_ip(frame, size, &cut.layers, cut.id);
	finish_tcp(frame, size, &cut.layers);
	return true;
}

bool packet_segment(const uint8_t *frame, size_t size, const struct net_offload *offload, uint8_t *segment,
		    bool (*emit)(void *opaque, const uint8_t *segment, size_t size), void *opaque)
{
	struct cut cut;
	if (!prepare(frame, size, offload, &cut))
		return false;
	size_t payload = size - cut.header, done = 0;
	do {
		size_t part = MIN(payload - done, (size_t)offload->gso_size);
		bool first = done == 0, last = done + part == payload;
		uint8_t *tcp = segment + cut.layers.transport;
		memcpy(segment, frame, cut.header);
		memcpy(segment + cut.header, frame + cut.header + done, part);
		store_be32(tcp + TCP_SEQUENCE, cut.sequence + (uint32_t)done);
		if (!last)
			tcp[TCP_FLAGS] &= (uint8_t)~(TCP_FIN | TCP_PSH);
		if (!first)
			tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR; /* RFC 3168, 6.1.2: once */
		finish_ip(segment, cut.header + part, &cut.layers, cut.id++);
		finish_tcp(segment, cut.header + part, &cut.layers);
		if (!emit(opaque, segment, cut.header + part))
			break;
		done += part;
	} while (done < payload);
	return true;
}

bool packet_to_cut(const uint8_t *frame, size_t size, unsigned mtu, struct net_offload *offload, uint8_t sum[2])
{
	bool v4 = size > NET_FRAME_MIN && load_be16(frame + 12) == ETHERTYPE_IPV4;
	struct net_offload cuts = { .gso = v4 ? NET_GSO_TCP4 : NET_GSO_TCP6, .gso_size = 1, .checksum = true, .checksum_offset = TCP_CHECKSUM };
	struct cut cut;
	if (!prepare(frame, size, &cuts, &cut))
		return false;
	unsigned network = cut.layers.network, headers = cut.header - network;
	uint8_t flags = frame[cut.layers.transport + TCP_FLAGS];
	size_t length = v4 ? load_be16(frame + network + IPV4_LENGTH) : IPV6_HEADER + load_be16(frame + network + IPV6_LENGTH);
	/* Padding would become payload, and the urgent pointer counts from the first segment alone. */
	if (length != size - network || length <= mtu || headers >= mtu || flags & (TCP_SYN | TCP_RST | TCP_URG))
		return false;
	cuts.ecn = flags & TCP_CWR;
	cuts.gso_size = (uint16_t)MIN(mtu - headers, 65535u);
	cuts.header_size = (uint16_t)cut.header;
	cuts.checksum_start = (uint16_t)cut.layers.transport;
	store_le16(sum, packet_fold(pseudo_header_sum(frame, size, &cut.layers)));
	*offload = cuts;
	return true;
}

void packet_open_tcp(uint8_t *headers, size_t size, const struct packet_layers *layers, uint16_t id)
{
	finish_ip(headers, size, layers, id);
	store_le16(headers + layers->transport + TCP_CHECKSUM, packet_fold(pseudo_header_sum(headers, size, layers)));
}

bool packet_tcp_good(const uint8_t *frame, size_t size, const struct packet_layers *layers)
{
	uint64_t sum = pseudo_header_sum(frame, size, layers);
	return packet_fold(packet_sum(sum, frame + layers->transport, size - layers->transport)) == 0xffff;
}

size_t packet_gather(const struct iovec *iov, unsigned count, size_t skip, void *buffer, size_t size)
{
	size_t done = 0;
	for (unsigned i = 0; i < count && done < size; i++) {
		size_t cut = MIN(skip, iov[i].iov_len), length = MIN(size - done, iov[i].iov_len - cut);
		skip -= cut;
		memcpy((uint8_t *)buffer + done, (const uint8_t *)iov[i].iov_base + cut, length);
		done += length;
	}
	return done;
}
