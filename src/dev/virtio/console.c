/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/console.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define QUEUE_SIZE 64
/* Bytes of one chain; a driver has a page or so to say, and buffers that overlap could make it 4 GiB for the back end to
 * keep. The rest is dropped. */
#define MOST_AT_ONCE (1u << 20)
enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUE_COUNT };

/* 5.3.4; only emerg_wr and size have meaning, and neither feature is offered. */
static const uint8_t config_space[12];

struct virtio_console {
	struct virtio_device virtio;
	struct char_backend backend;
	struct char_room room;
	bool refused;  /* input waits at the back end */
};

static struct virtio_console *console_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_console, virtio);
}

static bool transmit(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_console *console = console_of(virtio);
	size_t room = MOST_AT_ONCE;
	for (unsigned i = 0; i < element->out_count && room; i++) {
		size_t length = MIN(element->iov[i].iov_len, room);
		char_write(&console->backend, element->iov[i].iov_base, length);
		room -= length;
	}
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

size_t virtio_console_receive(struct virtio_console *console, const uint8_t *data, size_t length)
{
	struct virtio_device *virtio = &console->virtio;
	struct virtqueue_element element;
	size_t taken = 0;
	lock_take(&virtio->lock);
	while (taken < length && virtio_pop(virtio, QUEUE_RECEIVE, &element)) {
		const struct iovec *in = element.iov + element.out_count;
		uint64_t n = iov_write(in, element.in_count, 0, data + taken, length - taken);
		virtio_push(virtio, QUEUE_RECEIVE, &element, (uint32_t)n);
		taken += n;
	}
	if (taken)
		virtio_signal(virtio, QUEUE_RECEIVE);
	console->refused = taken < length;
	/* A buffer that came after the last look is found through the notification asked for here. */
	if (console->refused && virtio_ask(virtio, QUEUE_RECEIVE))
		virtio_kick(virtio, QUEUE_RECEIVE);
	lock_release(&virtio->lock);
	return taken;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_console *console = console_of(virtio);
	if (queue == QUEUE_TRANSMIT) {
		virtio_serve_chains(virtio, queue, transmit);
	} else if (console->refused) {
		console->refused = false;
		char_room_call(&console->room);
	}
}

static const struct virtio_ops console_ops = { .serve = serve };

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_console, virtio, virtio_device_fields),
	FIELD_END
};

static void destroy(void *device)
{
	struct virtio_console *console = device;
	virtio_device_destroy(&console->virtio);
	free(console);
}

static const struct device_type virtio_console_type = {
	.name = "virtio-console",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = virtio_device_loaded,
	.destroy = destroy,
};

struct virtio_console *virtio_console_create(const struct virtio_console_config *config, struct error *err)
{
	struct virtio_console *console = calloc(1, sizeof(*console));
	if (!console) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	console->backend = config->backend;
	console->room = config->room;
	console->virtio.ops = &console_ops;
	console->virtio.type = VIRTIO_TYPE_CONSOLE;
	console->virtio.class_code = 0x078000;
	console->virtio.queue_count = QUEUE_COUNT;
	console->virtio.config = config_space;
	console->virtio.config_size = sizeof(config_space);
	virtio_device_init(&console->virtio, &virtio_console_type, &config->device, QUEUE_SIZE);
	return console;
}
