/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_RELAY_PARTS_H
#define VISOR_NET_RELAY_PARTS_H

#include "net/backend.h"
#include "net/packet.h"
#include "net/relay.h"

/* For the files of the relay alone. Numbers of RFCs without more: 9293, TCP. */

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

/* --- bytes on their way --- */

struct ring {
	uint8_t *data;            /* NULL until there is anything */
	size_t size, start, count;
};

static inline size_t ring_room(const struct ring *ring) { return ring->size - ring->count; }
/* The pieces of `length` bytes from `skip` on, of what is there or behind it; how many: at most 2, none without memory. */
unsigned ring_pieces(struct ring *ring, size_t skip, size_t length, struct iovec iov[2]);
void ring_drop(struct ring *ring, size_t length);

/* --- connections --- */

struct flow_key {
	uint8_t guest[16], remote[16]; /* IPv4: the first 4 bytes */
	uint16_t ethertype, guest_port, remote_port;
};

enum flow_state {
	FLOW_CONNECTING,          /* the host's socket is */
	FLOW_ANSWERED,            /* the guest has got our SYN */
	FLOW_OPEN,
	FLOW_DEAD,                /* relay_work frees it */
};

/* Named as in 3.3.1: "send" is to the guest. */
struct flow {
	struct relay *relay;
	struct net *net;
	struct flow *next_hashed, *next_due;
	bool due;
	struct flow_key key;
	enum flow_state state;
	/* The host's side. Events are edges: what they said holds until a call finds otherwise. */
	int fd;
	bool readable, writable, hung_up;
	bool ended;               /* nothing comes any more */
	bool shut;                /* and nothing goes any more */
	struct ring out, in;      /* to the guest: what it has not acknowledged; from it: what the socket has not taken */
	/* The guest's side. */
	uint32_t send_una, send_nxt, send_max, send_window;
	uint32_t receive_nxt;
	unsigned guest_shift, shift; /* of windows (RFC 7323, 2) */
	unsigned guest_mss;
	bool scaled;              /* both sides said so */
	bool guest_fin, fin_acked, ack_due;
	unsigned duplicates;      /* acknowledgements that said nothing new */
	uint64_t deadline, patience; /* ns of the machine's time: when to send again, 0: never; and how long to wait then */
	unsigned attempts;
	/* Of the frames to the guest. */
	struct packet_layers layers;
	uint16_t id;
	uint8_t header[14 + 40 + 20 + 8];
};

/* A guest's, with its headers in one piece; its payload is what is behind them in the frame. */
struct segment {
	const struct net_frame *frame;
	struct packet_layers layers;
	struct flow_key key;
	uint8_t head[14 + 60 + 60];
	size_t payload_at, payload;
	uint32_t sequence, acknowledgement, window;
	uint8_t flags;
};

/* False: not a TCP segment in whole. `room`: NET_FRAME_MAX bytes, for one whose checksum has to be verified. */
bool segment_parse(struct segment *segment, const struct net_frame *frame, uint8_t *room);

uint64_t relay_now(const struct relay *relay);
/* Has flow_work called for it. */
void relay_mark(struct flow *flow);
/* A deadline was set. */
void relay_tick_soon(struct relay *relay);
/* With a reset for the host's side, if `reset`. */
void relay_kill(struct flow *flow, bool reset);

/* The guest's SYN: sets the protocol's part of a new connection. */
void flow_begin(struct flow *flow, const struct segment *syn);
/* The host's socket is connected. */
void flow_answer(struct flow *flow);
void flow_segment(struct flow *flow, const struct segment *segment);
/* Moves what can be moved. */
void flow_work(struct flow *flow);
void flow_tick(struct flow *flow, uint64_t now);
/* The guest is to say whether it still knows the connection. */
void flow_ask(struct flow *flow);
/* Tells the guest that the connection is no more, and ends it. */
void flow_abort(struct flow *flow);

#endif
