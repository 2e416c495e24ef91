/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_VIRTQUEUE_H
#define VISOR_DEV_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "mem/dma.h"
#include "state/field.h"

/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7), with indirect
 * descriptors and event index. Every value of the guest's is copied once and the
 * copy checked; a ring that breaks a rule yields VIRTQUEUE_BROKEN with a reason,
 * and the queue does nothing more until it is reset. The caller's lock covers
 * all calls.
 */
#define VIRTQUEUE_MAX_SIZE 1024
#define VIRTQUEUE_MAX_SEGMENTS 1024 /* of one chain */

struct virtqueue {
	/* What the driver set (4.1.4.3). */
	uint16_t size;
	uint8_t enabled;
	uint64_t desc, avail, used; /* guest-physical addresses */
	/* Where we are. */
	uint16_t next_avail;        /* free-running indices */
	uint16_t next_used;
	uint16_t signalled;         /* next_used at the last look at the event index */
	uint8_t signalled_valid;
	uint8_t broken;
	/* Not saved. */
	uint16_t max_size;
	bool event_index, indirect; /* negotiated */
	unsigned outstanding;       /* chains popped and not yet pushed; none while saved */
	struct dma dma;
	uint8_t *desc_host, *avail_host, *used_host;
	const char *reason;         /* why it is broken */
};

extern const struct field virtqueue_fields[];

/* A chain of buffers: readable pieces (for the device) first, then writable ones, as host addresses. */
struct virtqueue_element {
	uint16_t head;
	unsigned out_count, in_count;
	uint64_t out_size, in_size; /* bytes; their sum is below 4 GiB */
	struct iovec *iov;          /* out_count readable ones, then in_count writable ones */
};

enum virtqueue_status { VIRTQUEUE_EMPTY, VIRTQUEUE_ELEMENT, VIRTQUEUE_BROKEN };

void virtqueue_reset(struct virtqueue *queue);

/* Checks and maps the rings at the addresses that the driver set; false: broken. */
bool virtqueue_enable(struct virtqueue *queue);

/* Takes the next chain; `iov` has room for VIRTQUEUE_MAX_SEGMENTS pieces and backs the element. */
enum virtqueue_status virtqueue_pop(struct virtqueue *queue, struct virtqueue_element *element, struct iovec *iov);

/* Puts the element that was last popped back: the next pop finds it again. */
void virtqueue_unpop(struct virtqueue *queue);

/* Gives a chain back; the device wrote the first `written` bytes of its writable part. */
void virtqueue_push(struct virtqueue *queue, const struct virtqueue_element *element, uint32_t written);

/* The same in two steps, for chains that the driver must see together: puts a chain `ahead` entries behind the last visible one, then
 * makes `count` entries visible. */
void virtqueue_put(struct virtqueue *queue, const struct virtqueue_element *element, uint32_t written, unsigned ahead);
void virtqueue_publish(struct virtqueue *queue, unsigned count);

/* After pushes: true when the driver wants an interrupt for them (2.7.7.2, 2.7.10). */
bool virtqueue_should_interrupt(struct virtqueue *queue);

/* Before a queue is served, asks the driver for no notifications; when it has been found empty, asks for one
 * again. virtqueue_ask returns true when a chain came in between: serve on. */
void virtqueue_hush(struct virtqueue *queue);
bool virtqueue_ask(struct virtqueue *queue);

/* Copies between a buffer and the pieces, beginning `skip` bytes in; returns the bytes copied. */
uint64_t iov_read(const struct iovec *iov, unsigned count, uint64_t skip, void *buffer, uint64_t size);
uint64_t iov_write(const struct iovec *iov, unsigned count, uint64_t skip, const void *buffer, uint64_t size);

#endif
