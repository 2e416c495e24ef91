/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_NET_H
#define VISOR_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/worker.h"
#include "host/loop.h"

/*
 * A network as one network interface of a guest's sees it: frames go in by
 * net_send, and come out through the port. Networks know nothing of devices.
 *
 * Threads. All of it happens on the worker, which is the loop's thread, except
 * where a comment says otherwise. `receive` and `writable` are called without locks, never
 * inside net_send.
 *
 * Frames are Ethernet frames without preamble and check sequence. One that
 * carries an unfinished checksum or is larger than the wire allows says so in
 * its offload part (as virtio 1.2, 5.1.6.2, has it); whatever the side that gets it does not
 * take that way is finished and cut here, in software.
 */

/* What the far side is to finish; `offloads` are sets of these. */
#define NET_OFFLOAD_CHECKSUM 1u /* takes frames whose TCP or UDP checksum is not filled in */
#define NET_OFFLOAD_TSO4 2u     /* takes TCP over IPv4 of up to 64 KiB, to be cut */
#define NET_OFFLOAD_TSO6 4u
#define NET_OFFLOAD_ECN 8u      /* the same with CWR set in the first segment */
#define NET_OFFLOAD_ALL 15u

enum net_gso { NET_GSO_NONE, NET_GSO_TCP4, NET_GSO_TCP6 };

struct net_offload {
	bool checksum;            /* the sum from checksum_start to the end belongs to checksum_start + checksum_offset */
	bool valid;               /* the checksum was verified, or made on this host */
	bool ecn;
	enum net_gso gso;         /* only with `checksum` */
	uint16_t checksum_start, checksum_offset;
	uint16_t gso_size;        /* payload of each segment; not 0 with gso */
	uint16_t header_size;     /* with gso: of all headers, at most the frame's size; a hint */
};

struct net_frame {
	const struct iovec *iov;
	unsigned count;
	size_t size;              /* of all pieces: NET_FRAME_MIN to NET_FRAME_MAX */
	struct net_offload offload;
};

#define NET_FRAME_MIN 14u
#define NET_FRAME_MAX (65535u + 14u + 8u) /* an IP packet, the header, two VLAN tags */
#define NET_MAC_SIZE 6

/* The device's side. */
struct net_port {
	/* A frame for the guest. False: there is no room now; it comes again after net_room. */
	bool (*receive)(void *opaque, const struct net_frame *frame);
	/* The network takes frames again after net_send has refused one. */
	void (*writable)(void *opaque);
	void *opaque;
};

struct net;

enum net_kind { NET_NONE, NET_USER, NET_SWITCH, NET_TAP, NET_BRIDGE };

/* What a switch leads to besides its members. With a gateway one of the members that ask for it, at any time, is it:
 * addresses by DHCP, the host's loopback at 10.0.2.2, and with NAT what the host reaches, as with NET_USER. */
enum net_switch_mode { NET_SWITCH_ISOLATED, NET_SWITCH_HOST, NET_SWITCH_NAT };

struct net_config {
	enum net_kind kind;
	enum net_switch_mode mode;
	const char *name;         /* of the switch, tap device or bridge */
	const char *tftp, *boot_file; /* of NET_USER: the folder that 10.0.2.2 serves by TFTP, and what DHCP says to boot; NULL: nothing */
	const char *owner;        /* for messages: "net0" */
	const char *capture;      /* file for a copy of all frames, or NULL */
	bool jumbo;               /* the device can be told of an MTU other than 1500 */
	uint8_t mac[NET_MAC_SIZE]; /* the guest's own */
	struct worker worker;
	struct loop *loop;
	uint64_t (*now)(void *opaque); /* the machine's time, ns */
	void *now_opaque;
};

/* Opens a network; NULL and err: an interface that is not there, no right to use it. */
struct net *net_open(const struct net_config *config, struct error *err);
/* On the worker or while it stands still; what is posted to it by then it may run afterwards, without effect. */
void net_close(struct net *net);

/* The largest IP packet that travels unsplit, 0: 1500, the usual. Any thread. */
unsigned net_mtu(const struct net *net);

void net_attach(struct net *net, const struct net_port *port);
/* What the port's `receive` takes, at first nothing; any thread. */
void net_set_offloads(struct net *net, unsigned offloads);
/* The largest IP packet that the guest is prepared for, 1500 at first; any thread. */
void net_set_mtu(struct net *net, unsigned mtu);

/* A frame from the guest; what is in the pieces may change under our hands. False: there is no room now, send it again after `writable`.
 * A frame that is malformed or that the network cannot carry is dropped (true). May be called with the device's lock taken. */
bool net_send(struct net *net, const struct net_frame *frame);
/* The port has room again after it has refused a frame. Calls `receive` from the worker, not from here. Any thread. */
void net_room(struct net *net);

/* --- port forwards of NET_USER; others fail --- */

struct net_forward {
	bool udp;
	char address[46];         /* the host's, numeric */
	uint16_t host_port, guest_port;
};

/* "[ADDRESS:]HOSTPORT:GUESTPORT[/tcp|/udp]"; an IPv6 address in brackets. Without an address: 127.0.0.1; with an empty one or "*": all. */
int net_forward_parse(const char *text, struct net_forward *forward, struct error *err);
/* The same form back; room: NET_FORWARD_TEXT. */
#define NET_FORWARD_TEXT 72
void net_forward_print(const struct net_forward *forward, char *text, size_t room);
#define NET_MAX_FORWARDS 64u
int net_add_forward(struct net *net, const struct net_forward *forward, struct error *err);
int net_remove_forward(struct net *net, const struct net_forward *forward, struct error *err);
/* The forwards there are, by index; false beyond the last. */
bool net_get_forward(const struct net *net, unsigned index, struct net_forward *forward);

/* There is something at the other end of the cable: not NET_NONE. Any thread. */
bool net_connected(const struct net *net);

/* --- counters since net_open --- */

struct net_stats {
	uint64_t sent, sent_bytes, received, received_bytes; /* from and to the guest */
	uint64_t dropped;         /* frames to the guest for which there was no room, or from it that made no sense */
};
void net_get_stats(const struct net *net, struct net_stats *stats);

/* --- addresses --- */

/* An address of its own for interface `index` of the machine of this name, always the same: unicast, locally administered. */
void net_mac_derive(const char *machine, unsigned index, uint8_t mac[NET_MAC_SIZE]);
/* "52:54:00:12:34:56"; multicast addresses and all zeros are refused. */
int net_mac_parse(const char *text, uint8_t mac[NET_MAC_SIZE], struct error *err);
#define NET_MAC_TEXT 18
void net_mac_print(const uint8_t mac[NET_MAC_SIZE], char text[NET_MAC_TEXT]);

#endif
