/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/rng.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define QUEUE_SIZE 8
#define MOST_AT_ONCE 65536u /* bytes for one request; the device may give less than asked for (5.4.6.2) */

struct virtio_rng {
	struct virtio_device virtio;
	struct virtio_rng_config config;
};

/* At least one byte must be given (5.4.6.2): without entropy the request waits for the next notification. */
static bool take_request(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_rng *rng = container_of(virtio, struct virtio_rng, virtio);
	const struct iovec *in = element->iov + element->out_count;
	uint32_t given = 0;
	for (unsigned i = 0; i < element->in_count && given < MOST_AT_ONCE; i++) {
		size_t want = MIN(in[i].iov_len, (size_t)(MOST_AT_ONCE - given));
		size_t got = rng->config.entropy(rng->config.opaque, in[i].iov_base, want);
		given += (uint32_t)MIN(got, want);
		if (got < want)
			break;
	}
	if (element->in_count && !given) {
		virtqueue_unpop(&virtio->queue[queue]);
		virtio_ask(virtio, queue);
		return false;
	}
	virtio_push(virtio, queue, element, given);
	virtio_signal(virtio, queue);
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	virtio_serve_chains(virtio, queue, take_request);
}

static const struct virtio_ops rng_ops = { .serve = serve };

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_rng, virtio, virtio_device_fields),
	FIELD_END
};

static void destroy(void *device)
{
	struct virtio_rng *rng = device;
	virtio_device_destroy(&rng->virtio);
	free(rng);
}

static const struct device_type virtio_rng_type = {
	.name = "virtio-rng",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = virtio_device_loaded,
	.destroy = destroy,
};

struct virtio_rng *virtio_rng_create(const struct virtio_rng_config *config, struct error *err)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	if (!rng) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	rng->config = *config;
	rng->virtio.ops = &rng_ops;
	rng->virtio.type = VIRTIO_TYPE_ENTROPY;
	rng->virtio.class_code = 0x00ff00;
	rng->virtio.queue_count = 1;
	virtio_device_init(&rng->virtio, &virtio_rng_type, &config->device, QUEUE_SIZE);
	return rng;
}
