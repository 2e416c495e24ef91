/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/virtio.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define MAX_COMPLAINTS 3 /* of a device: a guest can provoke them without end */
#define COMMON_FEATURES (BIT64(VIRTIO_F_INDIRECT_DESC) | BIT64(VIRTIO_F_EVENT_IDX) | BIT64(VIRTIO_F_VERSION_1))

const struct field virtio_device_fields[] = {
	FIELD(struct virtio_device, features),
	FIELD(struct virtio_device, status),
	FIELD(struct virtio_device, config_generation),
	FIELD(struct virtio_device, notified),
	FIELD_STRUCT_ARRAY(struct virtio_device, queue, virtqueue_fields),
	FIELD_END
};

void virtio_device_init(struct virtio_device *device, const struct device_type *type,
			const struct virtio_device_config *config, uint16_t queue_size)
{
	lock_init(&device->lock);
	device_init(&device->device, type, config->name, &device->lock);
	device->worker = config->worker;
	device->offered |= COMMON_FEATURES;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		struct virtqueue *queue = &device->queue[i];
		queue->max_size = i < device->queue_count ? queue_size : 0;
		queue->dma = config->dma;
		virtqueue_reset(queue);
	}
}

void virtio_device_destroy(struct virtio_device *device)
{
	lock_destroy(&device->lock);
}

void virtio_set_transport(struct virtio_device *device, const struct virtio_transport *transport)
{
	lock_take(&device->lock);
	device->transport = *transport;
	lock_release(&device->lock);
}

bool virtio_ready(const struct virtio_device *device)
{
	const struct virtio_transport *transport = &device->transport;
	return virtio_driven(device) && (!transport->dma_allowed || transport->dma_allowed(transport->opaque));
}

/* One round; queues that were kicked meanwhile wait for the next one, so that other devices have their turn. */
static void serve_notified(void *opaque)
{
	struct virtio_device *device = opaque;
	atomic_store(&device->work_posted, false);
	lock_take(&device->lock);
	for (uint32_t round = atomic_load(&device->notified); round && virtio_ready(device); round &= round - 1) {
		unsigned queue = (unsigned)__builtin_ctz(round);
		atomic_fetch_and(&device->notified, ~BIT(queue));
		if (device->queue[queue].enabled)
			device->ops->serve(device, queue);
	}
	virtio_resume(device);
	lock_release(&device->lock);
}

static void post_work(struct virtio_device *device)
{
	if (!atomic_exchange(&device->work_posted, true))
		worker_post(&device->worker, serve_notified, device);
}

void virtio_resume(struct virtio_device *device)
{
	if (atomic_load(&device->notified) && virtio_ready(device))
		post_work(device);
}

/* Whether the device is ready is for the worker to see, which has the lock. */
void virtio_kick(struct virtio_device *device, unsigned queue)
{
	atomic_fetch_or(&device->notified, BIT(queue));
	post_work(device);
}

void virtio_serve_chains(struct virtio_device *device, unsigned queue, virtio_chain_fn *take)
{
	struct virtqueue_element element;
	unsigned budget = device->queue[queue].size;
	bool more = true;
	virtqueue_hush(&device->queue[queue]);
	do {
		while (more && budget && virtio_pop(device, queue, &element)) {
			more = take(device, queue, &element);
			budget--;
		}
	} while (more && budget && virtio_ask(device, queue));
	if (more && !budget)
		virtio_kick(device, queue);
}

void virtio_notify(struct virtio_device *device, unsigned queue)
{
	if (queue < device->queue_count)
		virtio_kick(device, queue);
}

static void virtio_notify_all(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->queue_count; i++)
		virtio_notify(device, i);
}

void virtio_fail(struct virtio_device *device, const char *reason)
{
	if (device->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (device->complaints < MAX_COMPLAINTS)
		log_warn("%s: the guest's driver broke the rules of virtio (%s); the device stops until it is reset%s",
			 device->device.name, reason, ++device->complaints < MAX_COMPLAINTS ? "" : " (more is not logged)");
	device->status |= VIRTIO_STATUS_NEEDS_RESET;
	virtio_config_changed(device);
}

bool virtio_pop(struct virtio_device *device, unsigned queue, struct virtqueue_element *element)
{
	if (!virtio_ready(device))
		return false;
	enum virtqueue_status status = virtqueue_pop(&device->queue[queue], element, device->iov);
	if (status == VIRTQUEUE_BROKEN)
		virtio_fail(device, device->queue[queue].reason ? device->queue[queue].reason : "broken queue");
	return status == VIRTQUEUE_ELEMENT;
}

bool virtio_up(const struct virtio_device *device, unsigned queue)
{
	return virtio_ready(device) && device->queue[queue].enabled;
}

bool virtio_ask(struct virtio_device *device, unsigned queue)
{
	bool more = virtqueue_ask(&device->queue[queue]);
	if (!more || virtio_ready(device))
		return more;
	atomic_fetch_or(&device->notified, BIT(queue)); /* the driver told us of those already, and need not do so again */
	return false;
}

void virtio_push(struct virtio_device *device, unsigned queue, const struct virtqueue_element *element,
		 uint32_t written)
{
	virtqueue_push(&device->queue[queue], element, written);
}

void virtio_signal(struct virtio_device *device, unsigned queue)
{
	if (virtqueue_should_interrupt(&device->queue[queue]) && device->transport.queue_interrupt)
		device->transport.queue_interrupt(device->transport.opaque, queue);
}

static void signal_now(struct virtio_device *device)
{
	for (; device->unsignalled; device->unsignalled &= device->unsignalled - 1)
		virtio_signal(device, (unsigned)__builtin_ctz(device->unsignalled));
}

static void signal_posted(void *opaque)
{
	struct virtio_device *device = opaque;
	lock_take(&device->lock);
	signal_now(device);
	lock_release(&device->lock);
}

void virtio_signal_soon(struct virtio_device *device, unsigned queue)
{
	if (!device->unsignalled)
		worker_post(&device->worker, signal_posted, device);
	device->unsignalled |= BIT(queue);
}

/* Buffers that the device still holds are waited for: after a reset it must not touch guest memory (2.4.1). */
static void reset_state(struct virtio_device *device)
{
	if (device->ops->cancel)
		device->ops->cancel(device);
	else if (device->ops->quiesce)
		device->ops->quiesce(device);
	fields_reset(virtio_device_fields, device);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		virtqueue_reset(&device->queue[i]);
	if (device->ops->reset)
		device->ops->reset(device);
}

static void apply_features(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->queue_count; i++) {
		device->queue[i].event_index = virtio_has_feature(device, VIRTIO_F_EVENT_IDX);
		device->queue[i].indirect = virtio_has_feature(device, VIRTIO_F_INDIRECT_DESC);
	}
}

static bool features_acceptable(const struct virtio_device *device)
{
	return !(device->features & ~device->offered) && virtio_has_feature(device, VIRTIO_F_VERSION_1);
}

static void started(struct virtio_device *device)
{
	if (device->ops->started)
		device->ops->started(device);
	virtio_notify_all(device);
}

void virtio_write_status(struct virtio_device *device, uint8_t status)
{
	if (!status) {
		reset_state(device);
		return;
	}
	uint8_t rising = status & (uint8_t)~device->status;
	status &= (uint8_t)~VIRTIO_STATUS_NEEDS_RESET; /* the device's alone */
	if (rising & VIRTIO_STATUS_FEATURES_OK) {
		if (features_acceptable(device))
			apply_features(device);
		else
			status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	}
	/* A driver without agreed features is none (3.1.1). */
	if (!((status | device->status) & VIRTIO_STATUS_FEATURES_OK))
		status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	/* Bits are never cleared but by a reset (2.1.1). */
	device->status |= status;
	if (rising & status & VIRTIO_STATUS_DRIVER_OK)
		started(device);
}

void virtio_enable_queue(struct virtio_device *device, unsigned queue)
{
	if (queue >= device->queue_count || device->queue[queue].enabled ||
	    !(device->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	if (!virtqueue_enable(&device->queue[queue]))
		virtio_fail(device, device->queue[queue].reason);
}

uint64_t virtio_read_config(const struct virtio_device *device, unsigned offset, unsigned size)
{
	uint8_t bytes[8] = { 0 };
	if (offset < device->config_size)
		memcpy(bytes, device->config + offset, MIN(size, device->config_size - offset));
	return load_le(bytes, size);
}

void virtio_write_config(struct virtio_device *device, unsigned offset, uint64_t value, unsigned size)
{
	if (device->ops->config_written)
		device->ops->config_written(device, offset, value, size);
}

void virtio_config_changed(struct virtio_device *device)
{
	device->config_generation++;
	if (device->status & VIRTIO_STATUS_DRIVER_OK && device->transport.config_interrupt)
		device->transport.config_interrupt(device->transport.opaque);
}

/* The machine's reset. The fields have their reset values already, but the device may still hold buffers: it lets
 * go of them on queues that are no longer enabled, which takes no effect on memory but that of the requests. */
void virtio_device_reset(void *opaque)
{
	reset_state(opaque);
}

void virtio_device_saving(void *opaque)
{
	struct virtio_device *device = opaque;
	if (device->ops->quiesce)
		device->ops->quiesce(device);
	signal_now(device);
}

int virtio_device_loaded(void *opaque, struct error *err)
{
	struct virtio_device *device = opaque;
	const char *name = device->device.name;
	bool agreed = device->status & VIRTIO_STATUS_FEATURES_OK;
	if (agreed && !features_acceptable(device))
		return error_set(err, 0, "%s: the saved guest uses features (0x%llx) that this device does not have", name,
				 (unsigned long long)(device->features & ~device->offered));
	device->notified &= BIT(device->queue_count) - 1;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		struct virtqueue *queue = &device->queue[i];
		if (i >= device->queue_count && queue->enabled)
			return error_set(err, 0, "%s: the saved guest uses queue %u, but the device has %u", name, i,
					 device->queue_count);
		/* Rings that cannot be used break the queue when it is served, as they would have done at the guest's request:
		 * a guest may set nonsense, and take the memory under its rings away. */
		if (queue->enabled && !queue->broken)
			virtqueue_enable(queue);
	}
	if (agreed)
		apply_features(device);
	/* What the guest made available while the old machine was stopping is found by looking at every queue. */
	if (device->status & VIRTIO_STATUS_DRIVER_OK)
		started(device);
	return 0;
}
