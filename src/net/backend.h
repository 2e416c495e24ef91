/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_BACKEND_H
#define VISOR_NET_BACKEND_H

#include "net/net.h"

/* What a kind of network is made of; for the files of net/ alone. */

struct capture;
struct net_queued;

struct net_ops {
	/* A frame within `offloads`; false: no room, net_writable follows. */
	bool (*send)(struct net *net, const struct net_frame *frame);
	/* After net_post: on the worker, once, also for several. May be NULL. */
	void (*work)(struct net *net);
	/* net_deliver has said that there is no room, and now there is. May be NULL. */
	void (*resume)(struct net *net);
	int (*add_forward)(struct net *net, const struct net_forward *forward, struct error *err);
	int (*remove_forward)(struct net *net, const struct net_forward *forward, struct error *err);
	void (*close)(struct net *net); /* all but the structure itself */
};


/* Back ends put this first into their own struct. */
struct net {
	const struct net_ops *ops;
	struct net_config config;
	char name[64];            /* for messages: "net0 (switch lab)" */
	unsigned mtu;
	unsigned offloads;        /* that `send` takes */
	_Atomic unsigned port_offloads, port_mtu;
	struct net_port port;
	struct capture *capture;
	struct net_forward forwards[NET_MAX_FORWARDS];
	unsigned forward_count;
	struct net_stats stats;
	/* Frames on their way to the port. */
	struct net_queued *first, **last;
	size_t queued_bytes;
	bool sending, blocked, held; /* inside net_send; the port refused; the back end was told to wait */
	_Atomic bool posted;      /* work is on its way to the worker */
	uint8_t *flat;            /* NET_FRAME_MAX bytes for a frame in one piece, NULL until needed */
};

/* Room of `size` bytes that begins with a struct net, filled in for that kind; the caller sets mtu and offloads. Until it is returned
 * from the kind's open function, plain free() is its end. */
void *net_alloc(size_t size, const struct net_ops *ops, const struct net_config *config, struct error *err);

struct net *net_user_open(const struct net_config *config, struct error *err);
struct net *net_switch_open(const struct net_config *config, struct error *err);
struct net *net_tap_open(const struct net_config *config, struct error *err);

/* A frame for the guest, from anywhere on the worker. True: go on. False: it was taken, but wait for `resume` with the next one if you
 * can; what comes nevertheless is kept up to NET_QUEUE_MAX bytes and then dropped. */
bool net_deliver(struct net *net, const struct net_frame *frame);
#define NET_QUEUE_MAX (4u << 20)

/* Has ops->work called; any thread. */
void net_post(struct net *net);

/* After `send` returned false: there is room. */
void net_writable(struct net *net);

/* All of the frame in one piece, which nobody changes any more: in `room` of NET_FRAME_MAX bytes, with checksum finished if it was open
 * and no segments are to be made of it. NULL: the frame makes no sense. */
uint8_t *net_flatten(const struct net_frame *frame, uint8_t *room);

#endif
