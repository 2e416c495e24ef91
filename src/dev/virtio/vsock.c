/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection is known by the guest's port and the host's. Packets for the
 * guest are not queued: a connection notes what it has to say (`pending`), its data waits in the
 * host's socket, and `pump` makes packets of that while the guest gives buffers, each connection in its turn. Data from the guest
 * goes to the host's socket, and what that does not take waits in the connection's ring, for which the guest has
 * credit. What connections that there are not are told waits in a list of its own; while that is full
 * nothing is taken from the guest.
 */
#include "dev/virtio/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define QUEUE_SIZE 256
enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUE_EVENT, QUEUE_COUNT }; /* as the driver sees them */

#define HOST_CID 2u
#define TYPE_STREAM 1u
#define EVENT_TRANSPORT_RESET 0u
#define SHUT_RECEIVE 1u
#define SHUT_SEND 2u
#define SHUT_BOTH 3u

#define MAX_CONNECTIONS 1024u
#define MAX_RESETS 128u
#define BUFFER (256u << 10)   /* bytes of a connection from the guest that the host's side has not taken */
#define CREDIT_LOW (BUFFER / 2)
#define MOST_AT_ONCE (64u << 10)
#define PIECES 32u
#define FIRST_PORT 0x40000000u /* of the host's side, for connections that programs of the host make */

enum op { OP_INVALID, OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };

struct vsock_header { /* 5.10.6; little-endian as the host */
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

struct connection {
	struct connection *next;
	struct stream *stream;        /* NULL: the host's side has gone */
	uint32_t guest_port, host_port;
	bool established;
	bool readable;                /* there may be something to read */
	bool ended;                   /* the host's side sends no more */
	bool broken;                  /* and takes no more */
	uint32_t pending;             /* BIT(enum op) to be sent */
	uint32_t shutdown;            /* what the guest will not do any more */
	uint32_t peer_alloc, peer_forwarded, sent; /* the guest's credit: its room, what it has taken out of it, what we sent */
	uint32_t received, forwarded, told;        /* ours: of the guest's bytes, of them taken by the host, and as last said */
	uint8_t *buffer;              /* of BUFFER bytes, when one was needed */
	uint32_t first, used;
};

/* For a connection that does not exist, or no more. */
struct refusal {
	uint32_t guest_port, host_port;
};

struct virtio_vsock {
	struct virtio_device virtio;
	struct streams *streams;
	uint64_t cid;
	struct connection *connections;
	unsigned count;
	struct refusal refusals[MAX_RESETS];
	unsigned refused;
	uint32_t next_port;
	bool waiting;                 /* the guest's packets, until it has heard of refusals */
	bool transport_reset;         /* the guest is to hear that its connections have gone */
};

static struct virtio_vsock *vsock_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_vsock, virtio);
}

/* --- connections --- */

static struct connection *find(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
	struct connection *c = vsock->connections;
	while (c && (c->guest_port != guest_port || c->host_port != host_port))
		c = c->next;
	return c;
}

static struct connection *add(struct virtio_vsock *vsock, struct stream *stream, uint32_t guest_port, uint32_t host_port)
{
	struct connection *c = vsock->count < MAX_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return NULL;
	*c = (struct connection){ .next = vsock->connections, .stream = stream, .guest_port = guest_port, .host_port = host_port };
	vsock->connections = c;
	vsock->count++;
	stream_set_owner(stream, c);
	return c;
}

static void leave_host(struct connection *c)
{
	if (c->stream)
		stream_close(c->stream);
	c->stream = NULL;
	c->readable = false;
}

static void drop(struct virtio_vsock *vsock, struct connection *c)
{
	struct connection **at = &vsock->connections;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	vsock->count--;
	leave_host(c);
	free(c->buffer);
	free(c);
}

static void refuse(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
	if (vsock->refused < MAX_RESETS) /* take_packet sees to it */
		vsock->refusals[vsock->refused++] = (struct refusal){ guest_port, host_port };
}

/* Bytes that the guest has room for. */
static uint32_t credit(const struct connection *c)
{
	uint32_t under_way = c->sent - c->peer_forwarded;
	return under_way < c->peer_alloc ? c->peer_alloc - under_way : 0;
}

static bool may_read(const struct connection *c)
{
	return c->stream && c->established && !c->ended && !(c->shutdown & SHUT_RECEIVE);
}

/* What of the host's socket is of interest now. */
static void watch(struct connection *c)
{
	if (c->stream)
		stream_watch(c->stream, may_read(c) && !c->readable && credit(c), c->used && !c->broken);
}

/* The guest's end of the stream, when all before it has been passed on; the whole connection's when it wants no more either. */
static void finish(struct virtio_vsock *vsock, struct connection *c)
{
	if (c->used && !c->broken && c->stream)
		return;
	if ((c->shutdown & SHUT_BOTH) == SHUT_BOTH) {
		leave_host(c);
		c->pending = BIT(OP_RST);
	} else if (c->shutdown & SHUT_SEND && c->stream) {
		stream_shut(c->stream);
	}
}

/* Pieces of a list: `length` bytes after the first `skip`, as far as there is room for pieces. */
static unsigned pieces_of(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t length, struct iovec to[PIECES])
{
	unsigned made = 0;
	for (unsigned i = 0; i < count && length && made < PIECES; i++) {
		uint64_t cut = MIN(skip, (uint64_t)iov[i].iov_len), n = MIN(length, iov[i].iov_len - cut);
		skip -= cut;
		length -= n;
		if (n)
			to[made++] = (struct iovec){ (char *)iov[i].iov_base + cut, n };
	}
	return made;
}

/* --- to the host --- */

static void host_takes_no_more(struct connection *c)
{
	c->broken = true;
	c->used = 0;
	c->pending |= BIT(OP_SHUTDOWN);
}

static void forward(struct connection *c, uint32_t bytes)
{
	c->forwarded += bytes;
	if (c->told != c->forwarded && BUFFER - (c->received - c->told) < CREDIT_LOW)
		c->pending |= BIT(OP_CREDIT_UPDATE);
}

static void flush(struct connection *c)
{
	while (c->used && !c->broken) {
		uint32_t run = MIN(c->used, BUFFER - c->first);
		const struct iovec iov[] = { { c->buffer + c->first, run }, { c->buffer, c->used - run } };
		ssize_t n = stream_write(c->stream, iov, c->used > run ? 2 : 1);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			host_takes_no_more(c);
			return;
		}
		c->first = (c->first + (uint32_t)n) % BUFFER;
		c->used -= (uint32_t)n;
		forward(c, (uint32_t)n);
	}
}

static bool keep(struct connection *c, const struct virtqueue_element *element, uint64_t skip, uint32_t length)
{
	if (!c->buffer && !(c->buffer = malloc(BUFFER)))
		return false;
	while (length) {
		uint32_t at = (c->first + c->used) % BUFFER, n = MIN(length, BUFFER - at);
		iov_read(element->iov, element->out_count, skip, c->buffer + at, n);
		c->used += n;
		skip += n;
		length -= n;
	}
	return true;
}

/* The guest's data; false: it sent more than it had credit for. */
static bool take_data(struct connection *c, struct virtqueue_element *element, uint32_t length)
{
	uint64_t skip = sizeof(struct vsock_header);
	if (length > BUFFER - (c->received - c->forwarded))
		return false;
	c->received += length;
	if (!c->stream || c->broken) {
		forward(c, length);
		return true;
	}
	if (!c->used && length) {
		struct iovec pieces[PIECES];
		unsigned count = pieces_of(element->iov, element->out_count, skip, length, pieces);
		ssize_t n = stream_write(c->stream, pieces, count);
		if (n < 0 && n != -EAGAIN)
			host_takes_no_more(c);
		uint32_t done = n > 0 ? (uint32_t)n : 0;
		skip += done;
		length -= done;
		forward(c, done);
	}
	if (c->broken) {
		forward(c, length);
		return true;
	}
	return !length || keep(c, element, skip, length);
}

/* --- to the guest --- */

static struct vsock_header header_for(const struct virtio_vsock *vsock, const struct connection *c, enum op op)
{
	return (struct vsock_header){
		.src_cid = HOST_CID, .dst_cid = vsock->cid, .src_port = c->host_port, .dst_port = c->guest_port, .type = TYPE_STREAM,
		.op = (uint16_t)op, .buf_alloc = BUFFER, .fwd_cnt = c->forwarded,
	};
}

/* Gives the packet that was made in the element's buffers. */
static void send(struct virtio_vsock *vsock, const struct virtqueue_element *element, const struct vsock_header *header)
{
	iov_write(element->iov + element->out_count, element->in_count, 0, header, sizeof(*header));
	virtio_push(&vsock->virtio, QUEUE_RECEIVE, element, (uint32_t)sizeof(*header) + header->len);
}

/* What a connection has to say besides data, the most urgent first. */
static bool next_op(const struct connection *c, enum op *op)
{
	static const enum op order[] = { OP_RST, OP_RESPONSE, OP_REQUEST, OP_CREDIT_UPDATE, OP_SHUTDOWN };
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		if (c->pending & BIT(order[i])) {
			*op = order[i];
			return true;
		}
	return false;
}

static void send_op(struct virtio_vsock *vsock, struct connection *c, enum op op, const struct virtqueue_element *element)
{
	struct vsock_header header = header_for(vsock, c, op);
	if (op == OP_SHUTDOWN)
		header.flags = (c->ended ? SHUT_SEND : 0) | (c->broken ? SHUT_RECEIVE : 0);
	c->pending &= ~BIT(op);
	c->told = c->forwarded;
	send(vsock, element, &header);
	if (op == OP_RST)
		drop(vsock, c);
}

/* A piece of what the host sends; false: there is none now, and the element was not used. */
static bool send_data(struct virtio_vsock *vsock, struct connection *c, const struct virtqueue_element *element)
{
	struct iovec pieces[PIECES];
	uint64_t skip = sizeof(struct vsock_header), room = MIN(MIN((uint64_t)credit(c), element->in_size - skip), (uint64_t)MOST_AT_ONCE);
	unsigned made = pieces_of(element->iov + element->out_count, element->in_count, skip, room, pieces);
	ssize_t n = made ? stream_read(c->stream, pieces, made) : -EAGAIN;
	if (n == -EAGAIN) {
		c->readable = false;
		return false;
	}
	if (n <= 0) { /* the end, or as good as that */
		c->readable = false;
		c->ended = true;
		c->broken |= n < 0;
		c->pending |= BIT(OP_SHUTDOWN);
		return false;
	}
	struct vsock_header header = header_for(vsock, c, OP_RW);
	header.len = (uint32_t)n;
	c->sent += (uint32_t)n;
	c->told = c->forwarded;
	c->pending &= ~BIT(OP_CREDIT_UPDATE);
	send(vsock, element, &header);
	return true;
}

/* With nothing else to say: data, if there is some and room for it. */
static bool wants_data(struct connection *c)
{
	if (!may_read(c) || !c->readable)
		return false;
	if (credit(c))
		return true;
	c->readable = false; /* watched again when the guest has told of room */
	return false;
}

/* One packet of this connection; false: nothing to send, or no buffer (*starved). */
static bool send_one(struct virtio_vsock *vsock, struct connection *c, bool *starved)
{
	struct virtqueue_element element;
	enum op op;
	bool has_op = next_op(c, &op);
	if (!has_op && !wants_data(c))
		return false;
	if (!virtio_pop(&vsock->virtio, QUEUE_RECEIVE, &element)) {
		*starved = true;
		return false;
	}
	if (element.in_size <= sizeof(struct vsock_header)) {
		virtio_push(&vsock->virtio, QUEUE_RECEIVE, &element, 0);
		return true;
	}
	if (has_op) {
		send_op(vsock, c, op, &element);
		return true;
	}
	if (!send_data(vsock, c, &element)) {
		virtqueue_unpop(&vsock->virtio.queue[QUEUE_RECEIVE]);
		return c->pending != 0;
	}
	return true;
}

static bool send_refusal(struct virtio_vsock *vsock)
{
	struct virtqueue_element element;
	if (!virtio_pop(&vsock->virtio, QUEUE_RECEIVE, &element))
		return false;
	if (element.in_size < sizeof(struct vsock_header)) {
		virtio_push(&vsock->virtio, QUEUE_RECEIVE, &element, 0);
		return true;
	}
	const struct refusal *r = &vsock->refusals[--vsock->refused];
	const struct connection gone = { .guest_port = r->guest_port, .host_port = r->host_port };
	struct vsock_header header = header_for(vsock, &gone, OP_RST);
	send(vsock, &element, &header);
	return true;
}

static bool pump_round(struct virtio_vsock *vsock, bool *starved)
{
	bool any = false;
	for (struct connection *c = vsock->connections, *next; c && !*starved; c = next) {
		next = c->next;
		any |= send_one(vsock, c, starved);
	}
	return any;
}

/* Sends what there is to send, as far as the guest has given buffers; a ring's worth, then others have their turn. */
static void pump(struct virtio_vsock *vsock)
{
	struct virtio_device *virtio = &vsock->virtio;
	struct virtqueue *queue = &virtio->queue[QUEUE_RECEIVE];
	if (!virtio_up(virtio, QUEUE_RECEIVE))
		return;
	uint16_t before = queue->next_used;
	bool more = true, starved = false;
	while (more && (uint16_t)(queue->next_used - before) < queue->size) {
		while (vsock->refused && !starved)
			starved = !send_refusal(vsock);
		more = !starved && pump_round(vsock, &starved);
		/* A buffer that came after the last look would else wait for its successor. */
		if (starved && virtio_ask(virtio, QUEUE_RECEIVE)) {
			starved = false;
			more = true;
		}
	}
	if (more)
		virtio_kick(virtio, QUEUE_RECEIVE);
	if (queue->next_used != before)
		virtio_signal(virtio, QUEUE_RECEIVE);
	if (vsock->waiting && vsock->refused < MAX_RESETS) {
		vsock->waiting = false;
		virtio_kick(virtio, QUEUE_TRANSMIT);
	}
	for (struct connection *c = vsock->connections; c; c = c->next)
		watch(c);
}

static void send_event(struct virtio_vsock *vsock)
{
	struct virtqueue_element element;
	const uint32_t event = EVENT_TRANSPORT_RESET;
	if (!vsock->transport_reset || !virtio_up(&vsock->virtio, QUEUE_EVENT) || !virtio_pop(&vsock->virtio, QUEUE_EVENT, &element))
		return;
	uint64_t n = iov_write(element.iov + element.out_count, element.in_count, 0, &event, sizeof(event));
	virtio_push(&vsock->virtio, QUEUE_EVENT, &element, (uint32_t)n);
	virtio_signal(&vsock->virtio, QUEUE_EVENT);
	vsock->transport_reset = n < sizeof(event);
}

/* --- from the guest --- */

static void take_request(struct virtio_vsock *vsock, const struct vsock_header *h)
{
	struct stream *stream = stream_connect(vsock->streams, h->dst_port);
	struct connection *c = stream ? add(vsock, stream, h->src_port, h->dst_port) : NULL;
	if (!c) {
		if (stream)
			stream_close(stream);
		refuse(vsock, h->src_port, h->dst_port);
		return;
	}
	c->peer_alloc = h->buf_alloc;
	c->peer_forwarded = h->fwd_cnt;
	c->established = c->readable = true;
	c->pending = BIT(OP_RESPONSE);
}

static void take_response(struct connection *c)
{
	if (c->established || c->pending & BIT(OP_REQUEST)) {
		c->pending = BIT(OP_RST);
		return;
	}
	c->established = c->readable = true;
	if (c->stream)
		stream_greet(c->stream, c->host_port);
}

/* For a connection that there is. */
static void take_op(struct virtio_vsock *vsock, struct connection *c, const struct vsock_header *h, struct virtqueue_element *element)
{
	c->peer_alloc = h->buf_alloc;
	c->peer_forwarded = h->fwd_cnt;
	c->readable |= may_read(c);
	switch (h->op) {
	case OP_RESPONSE:
		take_response(c);
		break;
	case OP_RST:
		drop(vsock, c);
		return;
	case OP_SHUTDOWN:
		c->shutdown |= h->flags & SHUT_BOTH;
		finish(vsock, c);
		break;
	case OP_RW:
		if (!c->established || c->shutdown & SHUT_SEND || !take_data(c, element, h->len)) {
			leave_host(c);
			c->pending = BIT(OP_RST);
		}
		break;
	case OP_CREDIT_UPDATE:
		break;
	case OP_CREDIT_REQUEST:
		c->pending |= BIT(OP_CREDIT_UPDATE);
		break;
	default: /* a second OP_REQUEST, and what is no operation */
		leave_host(c);
		c->pending = BIT(OP_RST);
	}
}

static bool take_packet(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_vsock *vsock = vsock_of(virtio);
	struct vsock_header h;
	if (vsock->refused == MAX_RESETS) {
		vsock->waiting = true;
		virtqueue_unpop(&virtio->queue[queue]);
		return false;
	}
	if (iov_read(element->iov, element->out_count, 0, &h, sizeof(h)) < sizeof(h) || h.len > element->out_size - sizeof(h)) {
		virtio_fail(virtio, "vsock packet shorter than it says");
		return false;
	}
	/* A packet from somebody else's address is dropped (5.10.6.4.1). */
	if (h.src_cid == vsock->cid) {
		bool ours = h.dst_cid == HOST_CID && h.type == TYPE_STREAM;
		struct connection *c = ours ? find(vsock, h.src_port, h.dst_port) : NULL;
		if (c)
			take_op(vsock, c, &h, element);
		else if (ours && h.op == OP_REQUEST)
			take_request(vsock, &h);
		else if (ours && h.op != OP_RST)
			refuse(vsock, h.src_port, h.dst_port);
	}
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_vsock *vsock = vsock_of(virtio);
	if (queue == QUEUE_TRANSMIT)
		virtio_serve_chains(virtio, queue, take_packet);
	if (queue == QUEUE_EVENT)
		send_event(vsock);
	else
		pump(vsock);
}

/* --- from the host --- */

static void accepted(void *opaque, struct stream *stream, uint32_t port)
{
	struct virtio_vsock *vsock = opaque;
	lock_take(&vsock->virtio.lock);
	do
		vsock->next_port = vsock->next_port == UINT32_MAX ? FIRST_PORT : vsock->next_port + 1;
	while (find(vsock, port, vsock->next_port));
	struct connection *c = virtio_up(&vsock->virtio, QUEUE_RECEIVE) ? add(vsock, stream, port, vsock->next_port) : NULL;
	if (c) {
		c->pending = BIT(OP_REQUEST);
		pump(vsock);
	}
	lock_release(&vsock->virtio.lock);
}

static void ready(void *opaque, struct stream *stream)
{
	struct virtio_vsock *vsock = opaque;
	lock_take(&vsock->virtio.lock);
	struct connection *c = stream_owner(stream); /* not since a reset on another thread */
	if (c) {
		flush(c);
		if (c->shutdown)
			finish(vsock, c);
		c->readable |= may_read(c);
		pump(vsock);
	}
	lock_release(&vsock->virtio.lock);
}

/* --- the device --- */

static void reset_vsock(struct virtio_device *virtio)
{
	struct virtio_vsock *vsock = vsock_of(virtio);
	while (vsock->connections)
		drop(vsock, vsock->connections);
	vsock->refused = 0;
	vsock->waiting = vsock->transport_reset = false;
}

static const struct virtio_ops vsock_ops = { .serve = serve, .reset = reset_vsock };

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_vsock, virtio, virtio_device_fields),
	FIELD_KEEP(struct virtio_vsock, next_port),
	FIELD_END
};

/* What was connected is with the machine that was saved. */
static int loaded(void *device, struct error *err)
{
	struct virtio_vsock *vsock = device;
	while (vsock->connections)
		drop(vsock, vsock->connections);
	if (vsock->next_port < FIRST_PORT)
		vsock->next_port = FIRST_PORT;
	vsock->refused = 0;
	vsock->transport_reset = true;
	return virtio_device_loaded(device, err);
}

static void destroy(void *device)
{
	struct virtio_vsock *vsock = device;
	reset_vsock(&vsock->virtio);
	streams_destroy(vsock->streams);
	virtio_device_destroy(&vsock->virtio);
	free(vsock);
}

static const struct device_type virtio_vsock_type = {
	.name = "virtio-vsock",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_vsock *virtio_vsock_create(const struct virtio_vsock_config *config, struct error *err)
{
	struct virtio_vsock *vsock = calloc(1, sizeof(*vsock));
	if (!vsock) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	vsock->streams = config->streams;
	vsock->cid = config->cid;
	vsock->next_port = FIRST_PORT;
	vsock->virtio.ops = &vsock_ops;
	vsock->virtio.type = VIRTIO_TYPE_SOCKET;
	vsock->virtio.class_code = 0x028000;
	vsock->virtio.queue_count = QUEUE_COUNT;
	vsock->virtio.config = (const uint8_t *)&vsock->cid;
	vsock->virtio.config_size = sizeof(vsock->cid);
	virtio_device_init(&vsock->virtio, &virtio_vsock_type, &config->device, QUEUE_SIZE);
	const struct streams_ops ops = { accepted, ready, vsock };
	streams_set_ops(vsock->streams, &ops);
	return vsock;
}
