/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues: receive and transmit of pair 0, of pair 1, and so on, then the control queue (virtio 1.2, 5.1.2).
 *
 * A frame from the guest stays in the guest's buffers while the network has it, which is inside net_send; a network
 * without room makes the chain go back onto the queue until `writable`. A frame for the guest is written when enough buffers are
 * there; else the network keeps it until the driver has added some.
 */
#include "dev/virtio/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/net_filter.h"

#define QUEUE_SIZE 256
#define CONTROL_MAX (8u + 2 * (4 + 256 * NET_MAC_SIZE)) /* bytes of a command that is looked at */
#define RX_MAX_BUFFERS 128u   /* of one frame: 64 KiB in buffers of half a kilobyte */
#define STEER_SLOTS 256u
#define MTU_WITHOUT 1500      /* of a driver that has not asked for another */

/* 5.1.3 */
#define F_CSUM 0
#define F_GUEST_CSUM 1
#define F_CTRL_GUEST_OFFLOADS 2
#define F_MTU 3
#define F_MAC 5
#define F_GUEST_TSO4 7
#define F_GUEST_TSO6 8
#define F_GUEST_ECN 9
#define F_HOST_TSO4 11
#define F_HOST_TSO6 12
#define F_HOST_ECN 13
#define F_MRG_RXBUF 15
#define F_STATUS 16
#define F_CTRL_VQ 17
#define F_CTRL_RX 18
#define F_CTRL_VLAN 19
#define F_CTRL_RX_EXTRA 20
#define F_MQ 22
#define F_CTRL_MAC_ADDR 23
#define GUEST_OFFLOADS (BIT64(F_GUEST_CSUM) | BIT64(F_GUEST_TSO4) | BIT64(F_GUEST_TSO6) | BIT64(F_GUEST_ECN))

#define S_LINK_UP 1

/* 5.1.6.5 */
enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_GUEST_OFFLOADS };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
#define ACK_OK 0
#define ACK_ERROR 1

struct net_config_space { /* 5.1.4 */
	uint8_t mac[NET_MAC_SIZE];
	uint16_t status, max_virtqueue_pairs, mtu;
} __attribute__((packed));

/* 5.1.6 */
#define HDR_NEEDS_CSUM 1
#define HDR_DATA_VALID 2
enum { HDR_GSO_NONE, HDR_GSO_TCPV4, HDR_GSO_TCPV6 = 4 };
#define HDR_GSO_ECN 0x80

struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} __attribute__((packed));

struct net_state {
	struct net_filter filter;
	uint16_t pairs;          /* in use */
	uint64_t guest_offloads; /* feature bits */
};

struct virtio_net {
	struct virtio_device virtio;
	struct net *net;
	struct net_config_space space;
	uint8_t mac[NET_MAC_SIZE]; /* of the hardware */
	unsigned max_pairs;
	struct net_state state;
	uint32_t full;           /* transmit queues that wait for the network, by bit */
	uint32_t starved;        /* receive queues that had no buffers for a frame */
	uint8_t steer[STEER_SLOTS]; /* pair on which a flow's frames were last sent */
	struct iovec tx[VIRTQUEUE_MAX_SEGMENTS];
	struct virtqueue_element rx[RX_MAX_BUFFERS];
	struct iovec rx_iov[2 * VIRTQUEUE_MAX_SEGMENTS];
};

static struct virtio_net *net_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_net, virtio);
}

static unsigned control_queue(const struct virtio_net *net)
{
	return virtio_has_feature(&net->virtio, F_MQ) ? 2 * net->max_pairs : 2;
}

/* Where a flow belongs: the same number for both directions. */
static unsigned steer_slot(const struct iovec *iov, unsigned count, size_t skip)
{
	uint8_t head[54];
	uint32_t hash = 0;
	size_t size = 0;
	for (unsigned i = 0; i < count && size < sizeof(head); i++) {
		size_t cut = MIN(skip, iov[i].iov_len), n = MIN(sizeof(head) - size, iov[i].iov_len - cut);
		skip -= cut;
		memcpy(head + size, (const char *)iov[i].iov_base + cut, n);
		size += n;
	}
	if (size < 38 || head[12] != 0x08)
		return 0;
	/* IPv4 without options: addresses and ports. Others share a pair; any choice is right. */
	hash = load_le32(head + 26) ^ load_le32(head + 30) ^ load_le16(head + 34) ^ load_le16(head + 36);
	hash *= 0x9e3779b1u;
	return hash >> 24;
}

/* --- from the guest --- */

/* False: a header that says nothing sensible (5.1.6.2.2: the device must not use it). */
static bool read_offload(const struct virtio_net *net, const struct net_header *header, size_t size, struct net_offload *offload)
{
	const struct virtio_device *virtio = &net->virtio;
	*offload = (struct net_offload){
		.checksum = header->flags & HDR_NEEDS_CSUM && virtio_has_feature(virtio, F_CSUM),
		.checksum_start = header->csum_start,
		.checksum_offset = header->csum_offset,
	};
	if (offload->checksum && (header->csum_start >= size || header->csum_offset + 2u > size - header->csum_start))
		return false;
	unsigned feature;
	switch (header->gso_type & ~HDR_GSO_ECN) {
	case HDR_GSO_NONE:
		return header->gso_type == HDR_GSO_NONE;
	case HDR_GSO_TCPV4:
		offload->gso = NET_GSO_TCP4;
		feature = F_HOST_TSO4;
		break;
	case HDR_GSO_TCPV6:
		offload->gso = NET_GSO_TCP6;
		feature = F_HOST_TSO6;
		break;
	default:
		return false;
	}
	offload->ecn = header->gso_type & HDR_GSO_ECN;
	offload->gso_size = header->gso_size;
	offload->header_size = (uint16_t)MIN((size_t)header->hdr_len, size);
	return virtio_has_feature(virtio, feature) && (!offload->ecn || virtio_has_feature(virtio, F_HOST_ECN)) && header->gso_size &&
		offload->checksum;
}

/* The pieces after the header. */
static unsigned payload(const struct virtqueue_element *element, struct iovec *to)
{
	size_t skip = sizeof(struct net_header);
	unsigned made = 0;
	for (unsigned i = 0; i < element->out_count; i++) {
		size_t cut = MIN(skip, element->iov[i].iov_len);
		skip -= cut;
		if (element->iov[i].iov_len > cut)
			to[made++] = (struct iovec){ (char *)element->iov[i].iov_base + cut, element->iov[i].iov_len - cut };
	}
	return made;
}

static bool transmit(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_net *net = net_of(virtio);
	struct net_header header;
	struct net_frame frame = { .iov = net->tx };
	if (iov_read(element->iov, element->out_count, 0, &header, sizeof(header)) < sizeof(header)) {
		virtio_fail(virtio, "frame without a header");
		return false;
	}
	frame.size = element->out_size - sizeof(header);
	if (frame.size <= NET_FRAME_MAX && read_offload(net, &header, frame.size, &frame.offload)) {
		frame.count = payload(element, net->tx);
		if (net->state.pairs > 1)
			net->steer[steer_slot(net->tx, frame.count, 0)] = (uint8_t)(queue / 2);
		if (!net_send(net->net, &frame)) {
			virtqueue_unpop(&virtio->queue[queue]);
			net->full |= BIT(queue);
			return false;
		}
	}
	virtio_push(virtio, queue, element, 0);
	return true;
}

static void writable(void *opaque)
{
	struct virtio_net *net = opaque;
	lock_take(&net->virtio.lock);
	for (; net->full; net->full &= net->full - 1)
		virtio_kick(&net->virtio, (unsigned)__builtin_ctz(net->full));
	lock_release(&net->virtio.lock);
}

/* --- to the guest --- */

static void write_offload(const struct virtio_net *net, const struct net_offload *offload, struct net_header *header)
{
	*header = (struct net_header){ 0 };
	if (offload->checksum) {
		header->flags = HDR_NEEDS_CSUM;
		header->csum_start = offload->checksum_start;
		header->csum_offset = offload->checksum_offset;
	} else if (offload->valid && virtio_has_feature(&net->virtio, F_GUEST_CSUM)) {
		header->flags = HDR_DATA_VALID;
	}
	if (offload->gso == NET_GSO_NONE)
		return;
	header->gso_type = (uint8_t)((offload->gso == NET_GSO_TCP4 ? HDR_GSO_TCPV4 : HDR_GSO_TCPV6) | (offload->ecn ? HDR_GSO_ECN : 0));
	header->gso_size = offload->gso_size;
	header->hdr_len = offload->header_size;
}

/* What the driver takes of offloads, for the network to know (5.1.6.5.6.1). */
static void apply_offloads(struct virtio_net *net)
{
	uint64_t on = net->state.guest_offloads;
	net_set_offloads(net->net, (on & BIT64(F_GUEST_CSUM) ? NET_OFFLOAD_CHECKSUM : 0) | (on & BIT64(F_GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0) |
				   (on & BIT64(F_GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0) | (on & BIT64(F_GUEST_ECN) ? NET_OFFLOAD_ECN : 0));
}

/* A frame that waited while the driver changed its mind. */
static bool takes(const struct virtio_net *net, const struct net_offload *offload)
{
	uint64_t on = net->state.guest_offloads;
	return (!offload->checksum || on & BIT64(F_GUEST_CSUM)) && (offload->gso != NET_GSO_TCP4 || on & BIT64(F_GUEST_TSO4)) &&
		(offload->gso != NET_GSO_TCP6 || on & BIT64(F_GUEST_TSO6));
}

static bool up(const struct virtio_device *virtio, unsigned queue)
{
	const struct virtio_transport *transport = &virtio->transport;
	return virtio->status & VIRTIO_STATUS_DRIVER_OK && !(virtio->status & VIRTIO_STATUS_NEEDS_RESET) && virtio->queue[queue].enabled &&
		(!transport->dma_allowed || transport->dma_allowed(transport->opaque));
}

enum collected { COLLECT_READY, COLLECT_EMPTY, COLLECT_IMPOSSIBLE };

/* Takes as many chains from the queue as the frame needs. */
static enum collected collect(struct virtio_net *net, unsigned queue, size_t wanted, unsigned *count)
{
	struct virtqueue *q = &net->virtio.queue[queue];
	unsigned most = virtio_has_feature(&net->virtio, F_MRG_RXBUF) ? RX_MAX_BUFFERS : 1, pieces = 0;
	uint64_t room = 0;
	for (*count = 0; room < wanted; ++*count) {
		if (*count == most || pieces > VIRTQUEUE_MAX_SEGMENTS)
			return COLLECT_IMPOSSIBLE;
		struct virtqueue_element *element = &net->rx[*count];
		enum virtqueue_status status = virtqueue_pop(q, element, net->rx_iov + pieces);
		if (status == VIRTQUEUE_BROKEN)
			virtio_fail(&net->virtio, q->reason ? q->reason : "broken queue");
		if (status != VIRTQUEUE_ELEMENT)
			return COLLECT_EMPTY;
		room += element->in_size;
		pieces += element->out_count + element->in_count;
	}
	return COLLECT_READY;
}

static void put_back(struct virtio_net *net, unsigned queue, unsigned count)
{
	while (count--)
		virtqueue_unpop(&net->virtio.queue[queue]);
}

/* Header and frame over the collected chains, which the driver gets to see together. */
static void fill(struct virtio_net *net, unsigned queue, unsigned count, const struct net_frame *frame)
{
	struct virtqueue *q = &net->virtio.queue[queue];
	struct net_header header;
	write_offload(net, &frame->offload, &header);
	header.num_buffers = (uint16_t)count;
	const struct iovec head = { &header, sizeof(header) };
	const struct iovec *from = &head;
	unsigned from_left = 1 + frame->count;
	size_t from_at = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct virtqueue_element *element = &net->rx[i];
		const struct iovec *in = element->iov + element->out_count;
		uint64_t written = 0;
		while (written < element->in_size && from_left) {
			size_t n = MIN((size_t)(element->in_size - written), from->iov_len - from_at);
			iov_write(in, element->in_count, written, (const char *)from->iov_base + from_at, n);
			written += n;
			from_at += n;
			if (from_at == from->iov_len) {
				from = from == &head ? frame->iov : from + 1;
				from_left--;
				from_at = 0;
			}
		}
		virtqueue_put(q, element, (uint32_t)written, i);
	}
	virtqueue_publish(q, count);
	virtio_signal_soon(&net->virtio, queue);
}

static unsigned choose_queue(const struct virtio_net *net, const struct net_frame *frame)
{
	if (net->state.pairs < 2)
		return 0;
	unsigned pair = net->steer[steer_slot(frame->iov, frame->count, 0)];
	return 2 * (pair < net->state.pairs ? pair : 0);
}

static bool receive_locked(struct virtio_net *net, const struct net_frame *frame)
{
	uint8_t head[18];
	unsigned queue = choose_queue(net, frame), count;
	if (!up(&net->virtio, queue) || !takes(net, &frame->offload))
		return true;
	size_t n = iov_read(frame->iov, frame->count, 0, head, sizeof(head));
	if (!net_filter_pass(&net->state.filter, head, n))
		return true;
	for (bool more = true; more;) {
		enum collected collected = collect(net, queue, sizeof(struct net_header) + frame->size, &count);
		if (collected == COLLECT_READY) {
			fill(net, queue, count, frame);
			return true;
		}
		/* Asked before the chains go back: the event is to be the first that is not there yet. */
		more = collected == COLLECT_EMPTY && virtqueue_ask(&net->virtio.queue[queue]);
		put_back(net, queue, count);
		if (collected == COLLECT_IMPOSSIBLE)
			return true;
	}
	net->starved |= BIT(queue);
	return false;
}

static bool receive(void *opaque, const struct net_frame *frame)
{
	struct virtio_net *net = opaque;
	lock_take(&net->virtio.lock);
	bool taken = receive_locked(net, frame);
	lock_release(&net->virtio.lock);
	return taken;
}

/* --- the control queue --- */

static bool set_mac(struct virtio_net *net, uint8_t command, const uint8_t *data, size_t size)
{
	if (command == MAC_TABLE_SET)
		return net_filter_mac_table(&net->state.filter, data, size);
	if (command != MAC_ADDR_SET || size != NET_MAC_SIZE)
		return false;
	memcpy(net->state.filter.mac, data, NET_MAC_SIZE);
	memcpy(net->space.mac, data, NET_MAC_SIZE);
	return true;
}

static bool set_pairs(struct virtio_net *net, uint8_t command, uint16_t pairs)
{
	if (command || !pairs || pairs > net->max_pairs || !virtio_has_feature(&net->virtio, F_MQ))
		return false;
	net->state.pairs = pairs;
	return true;
}

static bool set_guest_offloads(struct virtio_net *net, uint8_t command, uint64_t offloads)
{
	/* Those that the driver has negotiated may be switched (5.1.6.5.6.2). */
	if (command || offloads & ~(net->virtio.features & GUEST_OFFLOADS) || !virtio_has_feature(&net->virtio, F_CTRL_GUEST_OFFLOADS))
		return false;
	net->state.guest_offloads = offloads;
	apply_offloads(net);
	return true;
}

static bool obey(struct virtio_net *net, uint8_t class, uint8_t command, const uint8_t *data, size_t size)
{
	struct net_filter *filter = &net->state.filter;
	switch (class) {
	case CLASS_RX:
		return size == 1 && net_filter_rx(filter, command, data[0]);
	case CLASS_MAC:
		return set_mac(net, command, data, size);
	case CLASS_VLAN:
		return size == 2 && net_filter_vlan(filter, command, load_le16(data));
	case CLASS_MQ:
		return size == 2 && set_pairs(net, command, load_le16(data));
	case CLASS_GUEST_OFFLOADS:
		return size == 8 && set_guest_offloads(net, command, load_le64(data));
	default:
		return false;
	}
}

static bool control(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_net *net = net_of(virtio);
	uint8_t command[CONTROL_MAX];
	size_t size = iov_read(element->iov, element->out_count, 0, command, sizeof(command));
	if (size < 2 || !element->in_size) {
		virtio_fail(virtio, "control command without class, command or room for the answer");
		return false;
	}
	bool whole = size == element->out_size;
	uint8_t ack = whole && obey(net, command[0], command[1], command + 2, size - 2) ? ACK_OK : ACK_ERROR;
	iov_write(element->iov + element->out_count, element->in_count, 0, &ack, 1);
	virtio_push(virtio, queue, element, 1);
	return true;
}

/* --- the device --- */

static void serve(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_net *net = net_of(virtio);
	if (queue == control_queue(net)) {
		virtio_serve_chains(virtio, queue, control);
	} else if (queue % 2) {
		virtio_serve_chains(virtio, queue, transmit);
	} else {
		virtqueue_hush(&virtio->queue[queue]);
		if (net->starved & BIT(queue))
			net_room(net->net);
		net->starved &= ~BIT(queue);
		return;
	}
	virtio_signal_soon(virtio, queue);
}

static void started(struct virtio_device *virtio)
{
	struct virtio_net *net = net_of(virtio);
	net->state.guest_offloads = virtio->features & GUEST_OFFLOADS;
	net->state.filter.vlan_filter = virtio_has_feature(virtio, F_CTRL_VLAN);
	apply_offloads(net);
	if (virtio_has_feature(virtio, F_MTU))
		net_set_mtu(net->net, net_mtu(net->net));
	net_room(net->net);
}

static void reset(struct virtio_device *virtio)
{
	struct virtio_net *net = net_of(virtio);
	net->state = (struct net_state){ .pairs = 1 };
	net_filter_reset(&net->state.filter, net->mac);
	memcpy(net->space.mac, net->mac, NET_MAC_SIZE);
	memset(net->steer, 0, sizeof(net->steer));
	net->full = net->starved = 0;
	apply_offloads(net);
	net_set_mtu(net->net, MTU_WITHOUT);
	net_room(net->net); /* what waited for buffers goes nowhere now */
}

static const struct virtio_ops net_ops = { .serve = serve, .started = started, .reset = reset };

static const struct field state_fields[] = {
	FIELD_STRUCT(struct net_state, filter, net_filter_fields),
	FIELD_RESET(struct net_state, pairs, 1),
	FIELD(struct net_state, guest_offloads),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_net, virtio, virtio_device_fields),
	FIELD_STRUCT(struct virtio_net, state, state_fields),
	FIELD_END
};

static int loaded(void *device, struct error *err)
{
	struct virtio_net *net = device;
	if (!net->state.pairs || net->state.pairs > net->max_pairs)
		return error_set(err, 0, "%s: the saved guest uses %u pairs of queues, but the device has %u", net->virtio.device.name,
				 net->state.pairs, net->max_pairs);
	uint64_t offloads = net->state.guest_offloads;
	memcpy(net->space.mac, net->state.filter.mac, NET_MAC_SIZE);
	if (virtio_device_loaded(device, err) < 0)
		return -1;
	net->state.guest_offloads = offloads & net->virtio.features & GUEST_OFFLOADS;
	apply_offloads(net);
	return 0;
}

static void destroy(void *device)
{
	struct virtio_net *net = device;
	net_close(net->net);
	virtio_device_destroy(&net->virtio);
	free(net);
}

static const struct device_type virtio_net_type = {
	.name = "virtio-net",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

static uint64_t offered(const struct virtio_net *net)
{
	uint64_t bits = BIT64(F_CSUM) | BIT64(F_GUEST_CSUM) | BIT64(F_CTRL_GUEST_OFFLOADS) | BIT64(F_MAC) | BIT64(F_GUEST_TSO4) |
		BIT64(F_GUEST_TSO6) | BIT64(F_GUEST_ECN) | BIT64(F_HOST_TSO4) | BIT64(F_HOST_TSO6) | BIT64(F_HOST_ECN) |
		BIT64(F_MRG_RXBUF) | BIT64(F_STATUS) | BIT64(F_CTRL_VQ) | BIT64(F_CTRL_RX) | BIT64(F_CTRL_VLAN) | BIT64(F_CTRL_RX_EXTRA) |
		BIT64(F_CTRL_MAC_ADDR);
	return bits | (net->max_pairs > 1 ? BIT64(F_MQ) : 0) | (net_mtu(net->net) ? BIT64(F_MTU) : 0);
}

struct virtio_net *virtio_net_create(const struct virtio_net_config *config, struct error *err)
{
	struct virtio_net *net = calloc(1, sizeof(*net));
	if (!net) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	struct virtio_device *virtio = &net->virtio;
	net->net = config->net;
	net->max_pairs = MAX(1u, MIN(config->cpus, (unsigned)VIRTIO_NET_MAX_PAIRS));
	memcpy(net->mac, config->mac, NET_MAC_SIZE);
	net->space = (struct net_config_space){
		.status = S_LINK_UP, .max_virtqueue_pairs = (uint16_t)net->max_pairs, .mtu = (uint16_t)net_mtu(net->net),
	};
	virtio->ops = &net_ops;
	virtio->type = VIRTIO_TYPE_NETWORK;
	virtio->class_code = 0x020000;
	virtio->queue_count = 2 * net->max_pairs + 1;
	virtio->config = (const uint8_t *)&net->space;
	virtio->config_size = sizeof(net->space);
	virtio->offered = offered(net);
	virtio_device_init(virtio, &virtio_net_type, &config->device, QUEUE_SIZE);
	net_attach(net->net, &(struct net_port){ receive, writable, net });
	return net;
}
