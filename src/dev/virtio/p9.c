/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/p9.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define QUEUE_SIZE 128
#define F_MOUNT_TAG 0

struct p9_config_space {
	uint16_t tag_length;
	uint8_t tag[VIRTIO_9P_TAG_MAX];
} __attribute__((packed));

struct virtio_9p {
	struct virtio_device virtio;
	struct p9 *server;
	struct p9_config_space space;
};

struct job {
	struct p9_request request;
	struct virtio_9p *p9;
	struct virtqueue_element element;
	struct iovec iov[];
};

static struct virtio_9p *p9_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_9p, virtio);
}

/* With the device's lock taken. */
static void done(struct p9_request *request)
{
	struct job *job = container_of(request, struct job, request);
	struct virtio_device *virtio = &job->p9->virtio;
	virtio_push(virtio, 0, &job->element, request->replied);
	virtio_signal(virtio, 0);
	free(job);
}

static bool take_request(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_9p *p9 = p9_of(virtio);
	unsigned count = element->out_count + element->in_count;
	struct job *job = malloc(sizeof(*job) + count * sizeof(struct iovec));
	if (!job) { /* the guest waits for a reply in vain, and can be told nothing better */
		virtio_push(virtio, queue, element, 0);
		virtio_signal(virtio, queue);
		return true;
	}
	memcpy(job->iov, element->iov, count * sizeof(struct iovec));
	job->p9 = p9;
	job->element = *element;
	job->element.iov = job->iov;
	job->request = (struct p9_request){
		.out = job->iov, .out_count = element->out_count, .out_size = element->out_size,
		.in = job->iov + element->out_count, .in_count = element->in_count, .in_size = element->in_size, .done = done,
	};
	p9_submit(p9->server, &job->request);
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	virtio_serve_chains(virtio, queue, take_request);
}

static void quiesce(struct virtio_device *virtio)
{
	p9_drain(p9_of(virtio)->server);
}

static void end_session(struct virtio_device *virtio)
{
	p9_forget(p9_of(virtio)->server);
}

static const struct virtio_ops p9_ops = { .serve = serve, .quiesce = quiesce, .reset = end_session };

bool virtio_9p_mounted(struct virtio_9p *p9)
{
	lock_take(&p9->virtio.lock);
	quiesce(&p9->virtio);
	bool mounted = p9_held(p9->server) > 0;
	lock_release(&p9->virtio.lock);
	return mounted;
}

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_9p, virtio, virtio_device_fields),
	FIELD_END
};

static void destroy(void *device)
{
	struct virtio_9p *p9 = device;
	lock_take(&p9->virtio.lock);
	quiesce(&p9->virtio);
	lock_release(&p9->virtio.lock);
	p9_destroy(p9->server);
	virtio_device_destroy(&p9->virtio);
	free(p9);
}

static const struct device_type virtio_9p_type = {
	.name = "virtio-9p",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = virtio_device_loaded,
	.destroy = destroy,
};

struct virtio_9p *virtio_9p_create(const struct virtio_9p_config *config, struct error *err)
{
	size_t length = strlen(config->tag);
	struct virtio_9p *p9 = length && length <= VIRTIO_9P_TAG_MAX ? calloc(1, sizeof(*p9)) : NULL;
	if (!p9) {
		if (!length || length > VIRTIO_9P_TAG_MAX)
			error_set(err, EINVAL, "'%s' cannot be a folder's tag; use 1 to %u bytes", config->tag, VIRTIO_9P_TAG_MAX);
		else
			error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	p9->server = config->server;
	p9->space.tag_length = (uint16_t)length;
	memcpy(p9->space.tag, config->tag, length);
	p9->virtio.ops = &p9_ops;
	p9->virtio.type = VIRTIO_TYPE_9P;
	p9->virtio.class_code = 0x000200;
	p9->virtio.queue_count = 1;
	p9->virtio.config = (const uint8_t *)&p9->space;
	p9->virtio.config_size = (unsigned)(sizeof(p9->space.tag_length) + length);
	p9->virtio.offered = BIT64(F_MOUNT_TAG);
	virtio_device_init(&p9->virtio, &virtio_9p_type, &config->device, QUEUE_SIZE);
	p9_set_owner(p9->server, &p9->virtio.lock);
	return p9;
}
