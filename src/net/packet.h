/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_PACKET_H
#define VISOR_NET_PACKET_H

#include "net/net.h"

/* Frames in one piece: checksums (RFC 1071) and the cutting of large TCP packets. Frames may be anything. */

/* The ones' complement sum of 16-bit words in memory order, not folded; `sum` so far. */
uint64_t packet_sum(uint64_t sum, const uint8_t *data, size_t size);
/* Folded to 16 bits, not complemented; in memory order. */
uint16_t packet_fold(uint64_t sum);

/* Fills the open checksum in; false: it does not lie within the frame. */
bool packet_finish_checksum(uint8_t *frame, size_t size, const struct net_offload *offload);

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define PROTOCOL_TCP 6

/* Where the layers of a frame begin. */
struct packet_layers {
	uint16_t ethertype;       /* ETHERTYPE_*, or another, after VLAN tags */
	unsigned network, transport; /* offsets */
	uint8_t protocol;         /* of IP; only for a packet whose transport header is there */
	bool has_transport;
};
void packet_layers(const uint8_t *frame, size_t size, struct packet_layers *layers);

/*
 * Cuts a frame with gso into segments with all checksums filled in, and calls emit
 * with each in turn until it returns false. `segment`: room of NET_FRAME_MAX bytes. False: the frame is not what
 * its offload part says.
 */
bool packet_segment(const uint8_t *frame, size_t size, const struct net_offload *offload, uint8_t *segment,
		    bool (*emit)(void *opaque, const uint8_t *segment, size_t size), void *opaque);

/* Fills in all lengths and checksums of a frame with gso that is not to be cut: for who takes one IP packet of up to 64 KiB. False:
 * the frame is not what its offload part says. */
bool packet_finish_whole(uint8_t *frame, size_t size, const struct net_offload *offload);

/*
 * What is to be said of a finished TCP packet, so that its receiver, or packet_segment, cuts it into IP packets of at most `mtu` bytes: its
 * offload part, and in `sum` what then has to stand in place of its checksum. False: it is no such packet, or one that cannot be cut.
 */
bool packet_to_cut(const uint8_t *frame, size_t size, unsigned mtu, struct net_offload *offload, uint8_t sum[2]);

/* Fills in what depends on the size of a TCP packet, of which `headers` holds no more than the headers: lengths, the IP header's checksum and,
 * where the TCP checksum belongs, the sum of the pseudo header; the rest of that is open. */
void packet_open_tcp(uint8_t *headers, size_t size, const struct packet_layers *layers, uint16_t id);

/* The TCP checksum of a packet that ends at `size` is right. */
bool packet_tcp_good(const uint8_t *frame, size_t size, const struct packet_layers *layers);

/* Copies `size` bytes, beginning `skip` bytes in, of the pieces; the number copied. */
size_t packet_gather(const struct iovec *iov, unsigned count, size_t skip, void *buffer, size_t size);

#endif
