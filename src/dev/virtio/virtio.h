/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_VIRTIO_H
#define VISOR_DEV_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/worker.h"
#include "bus/device.h"
#include "dev/virtio/virtqueue.h"

/*
 * A virtio device without its transport: identity, features, status, queues,
 * configuration space. The transport calls the functions below on a vCPU's
 * thread with the device's lock taken, virtio_notify without; a notification posts work, and queues are
 * served by the worker, with the lock taken. Interrupts leave through
 * `struct virtio_transport`.
 */
#define VIRTIO_MAX_QUEUES 9

/* Device types (virtio 1.2, 5). */
#define VIRTIO_TYPE_NETWORK 1
#define VIRTIO_TYPE_BLOCK 2
#define VIRTIO_TYPE_CONSOLE 3
#define VIRTIO_TYPE_ENTROPY 4
#define VIRTIO_TYPE_BALLOON 5
#define VIRTIO_TYPE_9P 9
#define VIRTIO_TYPE_GPU 16
#define VIRTIO_TYPE_INPUT 18
#define VIRTIO_TYPE_SOCKET 19
#define VIRTIO_TYPE_SOUND 25

/* Status bits (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER 2
#define VIRTIO_STATUS_DRIVER_OK 4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED 128

/* Feature bits of all devices (6). */
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

struct virtio_transport {
	void (*queue_interrupt)(void *opaque, unsigned queue);
	void (*config_interrupt)(void *opaque);
	/* False: the device must not touch guest memory now. */
	bool (*dma_allowed)(void *opaque);
	void *opaque;
};

struct virtio_device;

struct virtio_ops {
	/* Serves one queue: called on the worker after notifications, the driver being up. */
	void (*serve)(struct virtio_device *device, unsigned queue);
	/* The driver is up with the features that it wants: after DRIVER_OK, and after a load of such a state. May be NULL. */
	void (*started)(struct virtio_device *device);
	/* Returns when the device holds no buffer of the guest's: before a save. May be NULL. */
	void (*quiesce)(struct virtio_device *device);
	/* The same before a reset, where requests that were not begun may fail. NULL: quiesce. */
	void (*cancel)(struct virtio_device *device);
	/* The guest reset the device, or the machine did. May be NULL. */
	void (*reset)(struct virtio_device *device);
	/* The driver wrote `size` bytes at `offset` of the configuration space. NULL: nothing in it may be written. */
	void (*config_written)(struct virtio_device *device, unsigned offset, uint64_t value, unsigned size);
};

struct virtio_device {
	struct device device;
	struct lock lock;
	const struct virtio_ops *ops;
	uint16_t type;
	uint32_t class_code;      /* for a PCI transport */
	uint64_t offered;         /* feature bits */
	unsigned queue_count;
	const uint8_t *config;    /* configuration space, read-only to the driver */
	unsigned config_size;
	struct worker worker;
	struct virtio_transport transport;
	_Atomic bool work_posted;
	uint32_t unsignalled;     /* queues for virtio_signal_soon, by bit; their signal is posted */
	uint8_t complaints;       /* lines that the log has had about this device's driver */
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS]; /* of the element in the hand of `serve` */
	/* State. */
	uint64_t features;        /* accepted by the driver */
	uint8_t status;
	uint8_t config_generation;
	_Atomic uint32_t notified; /* queues with work to do, by bit */
	struct virtqueue queue[VIRTIO_MAX_QUEUES];
};

struct virtio_device_config {
	const char *name;
	struct dma dma;
	struct worker worker;
};

/* For a device's field list: FIELD_STRUCT(struct owner, virtio, virtio_device_fields), with virtio as first member. */
extern const struct field virtio_device_fields[];

/* For devices. The caller has set ops, type, class_code, offered, queue_count, config and config_size; VERSION_1,
 * INDIRECT_DESC and EVENT_IDX are offered for it. */
void virtio_device_init(struct virtio_device *device, const struct device_type *type,
			const struct virtio_device_config *config, uint16_t queue_size);
void virtio_device_destroy(struct virtio_device *device);

/* The device_type functions that every virtio device shares; the owner's struct begins with the virtio_device. */
void virtio_device_reset(void *device);
void virtio_device_saving(void *device);
int virtio_device_loaded(void *device, struct error *err);

static inline bool virtio_has_feature(const struct virtio_device *device, unsigned bit)
{
	return device->features >> bit & 1;
}

/* The driver is up and has kept the rules; it may have taken bus mastering away for a while. */
static inline bool virtio_driven(const struct virtio_device *device)
{
	return (device->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK;
}

/* The same, and it lets the device touch memory: else virtio_pop finds nothing. */
bool virtio_ready(const struct virtio_device *device);

/* The next chain of a queue in device->iov; false: none, or the queue is broken and the device now needs a reset. */
bool virtio_pop(struct virtio_device *device, unsigned queue, struct virtqueue_element *element);

/* The device is ready and the queue enabled. */
bool virtio_up(const struct virtio_device *device, unsigned queue);
/* Asks the driver to notify of the next chain; true: there is one already, so virtio_pop is to be called again. */
bool virtio_ask(struct virtio_device *device, unsigned queue);

/* Gives a chain back without, and then tells the driver with, an interrupt if it wants one. */
void virtio_push(struct virtio_device *device, unsigned queue, const struct virtqueue_element *element,
		 uint32_t written);
void virtio_signal(struct virtio_device *device, unsigned queue);
/* The same when what the worker has in hand is done: for devices that push in bursts to several queues, whose driver is to wake once. */
void virtio_signal_soon(struct virtio_device *device, unsigned queue);

/* The driver broke the rules: NEEDS_RESET, one line in the log, and nothing more is served. */
void virtio_fail(struct virtio_device *device, const char *reason);

/* Serves a queue until it is empty, has had one ring's worth (then it is kicked again), or `take` returns false: then
 * the driver is left hushed, and the device kicks the queue when it can go on. */
typedef bool virtio_chain_fn(struct virtio_device *device, unsigned queue, struct virtqueue_element *element);
void virtio_serve_chains(struct virtio_device *device, unsigned queue, virtio_chain_fn *take);

/* Posts work for a queue, as a notification does; any thread. */
void virtio_kick(struct virtio_device *device, unsigned queue);

/* The configuration space has changed: the driver is to read it again. */
void virtio_config_changed(struct virtio_device *device);

/* For transports. */
void virtio_set_transport(struct virtio_device *device, const struct virtio_transport *transport);
void virtio_write_status(struct virtio_device *device, uint8_t status);
void virtio_enable_queue(struct virtio_device *device, unsigned queue);
void virtio_notify(struct virtio_device *device, unsigned queue);
/* Notifications that came while DMA was not allowed are acted upon now. */
void virtio_resume(struct virtio_device *device);
/* Bytes beyond the configuration space read as zero. size: 1 to 8. */
void virtio_write_config(struct virtio_device *device, unsigned offset, uint64_t value, unsigned size);
uint64_t virtio_read_config(const struct virtio_device *device, unsigned offset, unsigned size);

#endif
