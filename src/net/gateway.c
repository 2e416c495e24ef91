/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What joins a switch to the host: a user network and a member of the switch, plugged into one another. In host-only
 * mode packets to addresses beyond the network itself end here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/backend.h"
#include "net/gateway.h"
#include "net/packet.h"

struct gateway {
	struct net *user, *member;
	bool host_only;
};

/* Destinations within 10.0.2.0/24 and fec0::/64, broadcast, multicast and link-local ones. */
static bool stays_here(const uint8_t *head, size_t size)
{
	static const uint8_t prefix[8] = { 0xfe, 0xc0 };
	struct packet_layers layers;
	packet_layers(head, size, &layers);
	const uint8_t *ip = head + layers.network;
	if (layers.ethertype == ETHERTYPE_IPV4) {
		const uint8_t *to = ip + 16;
		return layers.network + 20 <= size && ((to[0] == 10 && to[1] == 0 && to[2] == 2) || to[0] >= 224);
	}
	if (layers.ethertype == ETHERTYPE_IPV6) {
		const uint8_t *to = ip + 24;
		return layers.network + 40 <= size && (!memcmp(to, prefix, sizeof(prefix)) || to[0] == 0xff || (to[0] == 0xfe && (to[1] & 0xc0) == 0x80));
	}
	return true;
}

static bool from_switch(void *opaque, const struct net_frame *frame)
{
	struct gateway *g = opaque;
	uint8_t head[96];
	size_t size = packet_gather(frame->iov, frame->count, 0, head, sizeof(head));
	return (g->host_only && !stays_here(head, size)) || net_send(g->user, frame);
}

static bool from_user(void *opaque, const struct net_frame *frame)
{
	struct gateway *g = opaque;
	return net_send(g->member, frame);
}

static void user_writable(void *opaque)
{
	struct gateway *g = opaque;
	net_room(g->member);
}

static void member_writable(void *opaque)
{
	struct gateway *g = opaque;
	net_room(g->user);
}

struct gateway *gateway_open(const struct net_config *config, bool host_only, struct error *err)
{
	struct gateway *g = calloc(1, sizeof(*g));
	struct net_config part = *config;
	if (!g) {
		error_set(err, 0, "out of memory for a gateway");
		return NULL;
	}
	g->host_only = host_only;
	part.capture = NULL;
	part.jumbo = false;
	part.mode = NET_SWITCH_ISOLATED;
	part.kind = NET_USER;
	g->user = net_user_open(&part, err);
	part.kind = NET_SWITCH;
	g->member = g->user ? net_switch_open(&part, err) : NULL;
	if (!g->member) {
		gateway_close(g);
		return NULL;
	}
	net_attach(g->user, &(struct net_port){ from_user, member_writable, g });
	net_attach(g->member, &(struct net_port){ from_switch, user_writable, g });
	net_set_offloads(g->member, NET_OFFLOAD_ALL);
	net_set_offloads(g->user, NET_OFFLOAD_ALL);
	return g;
}

void gateway_close(struct gateway *g)
{
	if (!g)
		return;
	net_close(g->member);
	net_close(g->user);
	free(g);
}
