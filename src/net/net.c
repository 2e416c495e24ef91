/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all kinds of networks share: software in place of missing offloads, the
 * queue of frames for which the guest has no room, capture, counters.
 *
 * A device's `receive` must not be called inside net_send, where the device has a chain of its queue in hand: such a frame
 * is queued, and so is what comes while others wait. The queue is emptied by a flush that is posted to the worker.
 */
#include "net/backend.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/capture.h"
#include "net/packet.h"

#define MTU_USUAL 1500u /* RFC 894 */

struct net_queued {
	struct net_queued *next;
	struct net_offload offload;
	size_t size;
	uint8_t data[];
};

/* --- frames --- */

static unsigned needs(const struct net_offload *offload)
{
	unsigned bits = offload->checksum ? NET_OFFLOAD_CHECKSUM : 0;
	if (offload->gso == NET_GSO_NONE)
		return bits;
	return bits | (offload->gso == NET_GSO_TCP4 ? NET_OFFLOAD_TSO4 : NET_OFFLOAD_TSO6) | (offload->ecn ? NET_OFFLOAD_ECN : 0);
}

static bool size_ok(const struct net_frame *frame)
{
	return frame->size >= NET_FRAME_MIN && frame->size <= NET_FRAME_MAX;
}

uint8_t *net_flatten(const struct net_frame *frame, uint8_t *room)
{
	if (!size_ok(frame) || packet_gather(frame->iov, frame->count, 0, room, frame->size) != frame->size)
		return NULL;
	if (frame->offload.checksum && frame->offload.gso == NET_GSO_NONE && !packet_finish_checksum(room, frame->size, &frame->offload))
		return NULL;
	return room;
}

/* Two frames' room: the frame in one piece, and a segment of it. */
static uint8_t *flat_room(struct net *net)
{
	if (!net->flat)
		net->flat = malloc(2 * NET_FRAME_MAX);
	return net->flat;
}

/* Finishes a frame in software and gives `emit` what comes of it; false: it makes no sense. */
static bool soften(struct net *net, const struct net_frame *frame, bool (*emit)(void *opaque, const uint8_t *data, size_t size),
		   void *opaque)
{
	uint8_t *room = flat_room(net);
	if (!room || !net_flatten(frame, room))
		return false;
	if (frame->offload.gso != NET_GSO_NONE)
		return packet_segment(room, frame->size, &frame->offload, room + NET_FRAME_MAX, emit, opaque);
	emit(opaque, room, frame->size);
	return true;
}

/* What goes over a wire: nobody finishes a checksum for who reads a capture. */
static void capture(struct net *net, const struct net_frame *frame)
{
	uint8_t *room = needs(&frame->offload) ? flat_room(net) : NULL;
	const struct iovec whole = { room, frame->size };
	const struct net_frame finished = { .iov = &whole, .count = 1, .size = frame->size };
	bool good = room && net_flatten(frame, room);
	if (good && frame->offload.gso != NET_GSO_NONE)
		good = packet_finish_whole(room, frame->size, &frame->offload);
	capture_frame(net->capture, good ? &finished : frame);
}

/* --- from the guest --- */

struct softened {
	struct net *net;
	bool any, refused;
};

static bool emit_to_network(void *opaque, const uint8_t *data, size_t size)
{
	struct softened *s = opaque;
	const struct iovec iov = { (void *)data, size };
	const struct net_frame frame = { .iov = &iov, .count = 1, .size = size, .offload.valid = true };
	s->refused = !s->net->ops->send(s->net, &frame);
	s->any |= !s->refused;
	return !s->refused;
}

/* Once the first segment is out, the rest follows or is lost, as on a wire. */
static bool send_softened(struct net *net, const struct net_frame *frame)
{
	struct softened s = { .net = net };
	if (!soften(net, frame, emit_to_network, &s) || (s.refused && s.any))
		net->stats.dropped++;
	return !s.refused || s.any;
}

bool net_send(struct net *net, const struct net_frame *frame)
{
	if (!size_ok(frame)) {
		net->stats.dropped++;
		return true;
	}
	net->sending = true;
	bool soft = needs(&frame->offload) & ~net->offloads;
	bool sent = soft ? send_softened(net, frame) : net->ops->send(net, frame);
	net->sending = false;
	if (!sent)
		return false;
	net->stats.sent++;
	net->stats.sent_bytes += frame->size;
	if (net->capture)
		capture(net, frame);
	return true;
}

void net_writable(struct net *net)
{
	if (net->port.writable)
		net->port.writable(net->port.opaque);
}

/* --- to the guest --- */

static bool receive(struct net *net, const struct net_frame *frame)
{
	if (!net->port.receive(net->port.opaque, frame))
		return false;
	net->stats.received++;
	net->stats.received_bytes += frame->size;
	return true;
}

static void free_net(struct net *net)
{
	while (net->first) {
		struct net_queued *frame = net->first;
		net->first = frame->next;
		free(frame);
	}
	free(net->flat);
	free(net);
}

static void flush(struct net *net)
{
	net->blocked = false;
	while (net->first && !net->blocked) {
		struct net_queued *queued = net->first;
		const struct iovec iov = { queued->data, queued->size };
		const struct net_frame frame = { &iov, 1, queued->size, queued->offload };
		net->blocked = !receive(net, &frame);
		if (net->blocked)
			break;
		net->queued_bytes -= queued->size;
		net->first = queued->next;
		if (!net->first)
			net->last = &net->first;
		free(queued);
	}
	if (net->held && !net->first) {
		net->held = false;
		if (net->ops->resume)
			net->ops->resume(net);
	}
}

static void work(void *opaque)
{
	struct net *net = opaque;
	atomic_store(&net->posted, false);
	if (!net->ops) { /* closed meanwhile */
		free_net(net);
		return;
	}
	flush(net);
	if (net->ops->work)
		net->ops->work(net);
}

void net_post(struct net *net)
{
	if (!atomic_exchange(&net->posted, true))
		worker_post(&net->config.worker, work, net);
}

void net_room(struct net *net)
{
	net_post(net);
}

static void enqueue(struct net *net, const struct net_frame *frame)
{
	bool room = net->queued_bytes + frame->size <= NET_QUEUE_MAX;
	struct net_queued *queued = room ? malloc(sizeof(*queued) + frame->size) : NULL;
	if (!queued) {
		net->stats.dropped++;
		return;
	}
	*queued = (struct net_queued){ .offload = frame->offload, .size = frame->size };
	packet_gather(frame->iov, frame->count, 0, queued->data, frame->size);
	*net->last = queued;
	net->last = &queued->next;
	net->queued_bytes += frame->size;
	if (!net->blocked)
		net_post(net);
}

static void pass_on(struct net *net, const struct net_frame *frame)
{
	if (net->sending || net->first) {
		enqueue(net, frame);
	} else if (!receive(net, frame)) {
		net->blocked = true;
		enqueue(net, frame);
	}
}

static bool emit_to_port(void *opaque, const uint8_t *data, size_t size)
{
	const struct iovec iov = { (void *)data, size };
	const struct net_frame frame = { .iov = &iov, .count = 1, .size = size, .offload.valid = true };
	pass_on(opaque, &frame);
	return true;
}

bool net_deliver(struct net *net, const struct net_frame *frame)
{
	if (!net->port.receive || !size_ok(frame)) {
		net->stats.dropped++;
		return true;
	}
	if (net->capture)
		capture(net, frame);
	if (!(needs(&frame->offload) & ~atomic_load(&net->port_offloads)))
		pass_on(net, frame);
	else if (!soften(net, frame, emit_to_port, net))
		net->stats.dropped++;
	net->held |= net->blocked || net->queued_bytes > NET_QUEUE_MAX / 4;
	return !net->held;
}

/* --- life --- */

static const char *const kind_names[] = {
	[NET_NONE] = "none", [NET_USER] = "user", [NET_SWITCH] = "switch", [NET_TAP] = "tap", [NET_BRIDGE] = "bridge",
};

void *net_alloc(size_t size, const struct net_ops *ops, const struct net_config *config, struct error *err)
{
	struct net *net = calloc(1, size);
	if (!net) {
		error_set(err, ENOMEM, "out of memory for %s", config->owner);
		return NULL;
	}
	net->ops = ops;
	net->config = *config;
	net->config.name = net->config.owner = net->config.capture = NULL; /* they are the caller's */
	net->last = &net->first;
	atomic_init(&net->port_mtu, MTU_USUAL);
	snprintf(net->name, sizeof(net->name), "%s (%s%s%s)", config->owner, kind_names[config->kind], config->name ? " " : "",
		 config->name ? config->name : "");
	return net;
}

static bool nowhere(struct net *net, const struct net_frame *frame)
{
	return true;
}

static void close_nothing(struct net *net)
{
}

/* A cable that is not plugged in anywhere. */
static struct net *open_none(const struct net_config *config, struct error *err)
{
	static const struct net_ops ops = { .send = nowhere, .close = close_nothing };
	struct net *net = net_alloc(sizeof(*net), &ops, config, err);
	if (net)
		net->offloads = NET_OFFLOAD_ALL;
	return net;
}

bool net_connected(const struct net *net)
{
	return net->config.kind != NET_NONE;
}

struct net *net_open(const struct net_config *config, struct error *err)
{
	static struct net *(*const open[])(const struct net_config *config, struct error *err) = {
		[NET_NONE] = open_none, [NET_USER] = net_user_open, [NET_SWITCH] = net_switch_open, [NET_TAP] = net_tap_open,
		[NET_BRIDGE] = net_tap_open,
	};
	struct net *net = open[config->kind](config, err);
	if (net && config->capture && !(net->capture = capture_open(config->capture, err))) {
		net_close(net);
		return NULL;
	}
	return net;
}

void net_close(struct net *net)
{
	if (!net)
		return;
	net->ops->close(net);
	net->ops = NULL;
	capture_close(net->capture);
	if (!atomic_load(&net->posted))
		free_net(net);
}

unsigned net_mtu(const struct net *net)
{
	return net->mtu;
}

void net_attach(struct net *net, const struct net_port *port)
{
	net->port = *port;
}

void net_set_offloads(struct net *net, unsigned offloads)
{
	atomic_store(&net->port_offloads, offloads);
}

void net_set_mtu(struct net *net, unsigned mtu)
{
	atomic_store(&net->port_mtu, mtu);
}

void net_get_stats(const struct net *net, struct net_stats *stats)
{
	*stats = net->stats;
}

/* --- forwards --- */

static bool same_port(const struct net_forward *a, const struct net_forward *b)
{
	return a->udp == b->udp && a->host_port == b->host_port && !strcmp(a->address, b->address);
}

int net_add_forward(struct net *net, const struct net_forward *forward, struct error *err)
{
	char text[NET_FORWARD_TEXT];
	net_forward_print(forward, text, sizeof(text));
	if (!net->ops->add_forward)
		return error_set(err, EINVAL, "%s: cannot forward %s: this network has no forwards; use --net user", net->name, text);
	if (net->forward_count == NET_MAX_FORWARDS)
		return error_set(err, ENOSPC, "%s: cannot forward %s: there are %u already; remove one", net->name, text, NET_MAX_FORWARDS);
	for (unsigned i = 0; i < net->forward_count; i++)
		if (same_port(&net->forwards[i], forward))
			return error_set(err, EEXIST, "%s: cannot forward %s: the host's port is forwarded already; remove that first", net->name,
					 text);
	if (net->ops->add_forward(net, forward, err) < 0)
		return error_prefix(err, "%s", net->name);
	net->forwards[net->forward_count++] = *forward;
	return 0;
}

int net_remove_forward(struct net *net, const struct net_forward *forward, struct error *err)
{
	for (unsigned i = 0; i < net->forward_count; i++) {
		if (!same_port(&net->forwards[i], forward))
			continue;
		if (net->ops->remove_forward(net, &net->forwards[i], err) < 0)
			return error_prefix(err, "%s", net->name);
		net->forwards[i] = net->forwards[--net->forward_count];
		return 0;
	}
	char text[NET_FORWARD_TEXT];
	net_forward_print(forward, text, sizeof(text));
	return error_set(err, ENOENT, "%s: there is no forward %s", net->name, text);
}

bool net_get_forward(const struct net *net, unsigned index, struct net_forward *forward)
{
	if (index >= net->forward_count)
		return false;
	*forward = net->forwards[index];
	return true;
}
