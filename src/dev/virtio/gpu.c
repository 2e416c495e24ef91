/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/gpu_parts.h"
#include "display/edid.h"

#define QUEUE_SIZE 256
enum { QUEUE_CONTROL, QUEUE_CURSOR, QUEUE_COUNT };

#define F_EDID 1
#define EVENT_DISPLAY 1u
#define SCANOUTS 1
#define WIDTH_AT_FIRST 1024
#define HEIGHT_AT_FIRST 768

static struct virtio_gpu *gpu_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_gpu, virtio);
}

/* --- commands --- */

union request {
	struct gpu_create_2d create_2d;
	struct gpu_resource_id resource_id;
	struct gpu_set_scanout set_scanout;
	struct gpu_flush flush;
	struct gpu_transfer transfer;
	struct gpu_attach attach;
	struct gpu_get_edid get_edid;
	struct gpu_update_cursor update_cursor;
};

union answer {
	struct gpu_header header;
	struct gpu_display_info display_info;
	struct gpu_edid edid;
};

static enum gpu_type get_display_info(const struct virtio_gpu *gpu, struct gpu_display_info *answer)
{
	answer->scanout[0].rect.width = gpu->width;
	answer->scanout[0].rect.height = gpu->height;
	answer->scanout[0].enabled = 1;
	return RESP_OK_DISPLAY_INFO;
}

static enum gpu_type get_edid(const struct virtio_gpu *gpu, const struct gpu_get_edid *request, struct gpu_edid *answer)
{
	if (!virtio_has_feature(&gpu->virtio, F_EDID))
		return RESP_ERR_UNSPEC;
	if (request->scanout >= SCANOUTS)
		return RESP_ERR_INVALID_PARAMETER;
	answer->size = EDID_SIZE;
	edid_make(answer->edid, gpu->width, gpu->height);
	return RESP_OK_EDID;
}

/* Bytes of the request behind its header; ~0: no such command of this queue. */
static size_t request_size(unsigned queue, uint32_t type)
{
	if (queue == QUEUE_CURSOR)
		return type == CMD_UPDATE_CURSOR || type == CMD_MOVE_CURSOR ? sizeof(struct gpu_update_cursor) : SIZE_MAX;
	switch (type) {
	case CMD_GET_DISPLAY_INFO: return 0;
	case CMD_RESOURCE_CREATE_2D: return sizeof(struct gpu_create_2d);
	case CMD_RESOURCE_UNREF:
	case CMD_RESOURCE_DETACH_BACKING: return sizeof(struct gpu_resource_id);
	case CMD_SET_SCANOUT: return sizeof(struct gpu_set_scanout);
	case CMD_RESOURCE_FLUSH: return sizeof(struct gpu_flush);
	case CMD_TRANSFER_TO_HOST_2D: return sizeof(struct gpu_transfer);
	case CMD_RESOURCE_ATTACH_BACKING: return sizeof(struct gpu_attach);
	case CMD_GET_EDID: return sizeof(struct gpu_get_edid);
	default: return SIZE_MAX;
	}
}

static enum gpu_type execute(struct virtio_gpu *gpu, unsigned queue, uint32_t type, const struct virtqueue_element *element,
			     union answer *answer)
{
	union request r;
	size_t size = request_size(queue, type);
	if (size == SIZE_MAX || iov_read(element->iov, element->out_count, sizeof(struct gpu_header), &r, size) < size)
		return RESP_ERR_UNSPEC;
	switch (type) {
	case CMD_GET_DISPLAY_INFO: return get_display_info(gpu, &answer->display_info);
	case CMD_RESOURCE_CREATE_2D: return gpu_create_2d(gpu, &r.create_2d);
	case CMD_RESOURCE_UNREF: return gpu_unref(gpu, r.resource_id.resource);
	case CMD_SET_SCANOUT: return gpu_set_scanout(gpu, &r.set_scanout);
	case CMD_RESOURCE_FLUSH: return gpu_flush(gpu, &r.flush);
	case CMD_TRANSFER_TO_HOST_2D: return gpu_transfer(gpu, &r.transfer);
	case CMD_RESOURCE_ATTACH_BACKING: return gpu_attach(gpu, &r.attach, element);
	case CMD_RESOURCE_DETACH_BACKING: return gpu_detach(gpu, r.resource_id.resource);
	case CMD_GET_EDID: return get_edid(gpu, &r.get_edid, &answer->edid);
	default: return gpu_update_cursor(gpu, &r.update_cursor, type == CMD_MOVE_CURSOR);
	}
}

/* Drivers give no room for the answer to cursor commands. */
static bool take(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct gpu_header request = { 0 };
	union answer answer;
	memset(&answer, 0, sizeof(answer));
	bool whole = iov_read(element->iov, element->out_count, 0, &request, sizeof(request)) == sizeof(request);
	enum gpu_type type = whole ? execute(gpu_of(virtio), queue, request.type, element, &answer) : RESP_ERR_UNSPEC;
	size_t size = type == RESP_OK_DISPLAY_INFO ? sizeof(answer.display_info) : type == RESP_OK_EDID ? sizeof(answer.edid) :
		      sizeof(answer.header);
	answer.header.type = type;
	if (request.flags & GPU_FLAG_FENCE) {
		answer.header.flags = GPU_FLAG_FENCE;
		answer.header.fence = request.fence;
		answer.header.context = request.context;
	}
	uint64_t written = iov_write(element->iov + element->out_count, element->in_count, 0, &answer, size);
	virtio_push(virtio, queue, element, (uint32_t)written);
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	virtio_serve_chains(virtio, queue, take);
	virtio_signal(virtio, queue);
}

/* --- configuration space --- */

static void config_written(struct virtio_device *virtio, unsigned offset, uint64_t value, unsigned size)
{
	struct virtio_gpu *gpu = gpu_of(virtio);
	if (offset == offsetof(struct gpu_space, events_clear) && size == 4)
		gpu->space.events_read &= ~(uint32_t)value;
}

bool virtio_gpu_resize(struct virtio_gpu *gpu, unsigned width, unsigned height)
{
	struct virtio_device *virtio = &gpu->virtio;
	lock_take(&virtio->lock);
	bool driven = virtio_driven(virtio);
	gpu->width = MIN(MAX(width, VIRTIO_GPU_LEAST), VIRTIO_GPU_MOST);
	gpu->height = MIN(MAX(height, VIRTIO_GPU_LEAST), VIRTIO_GPU_MOST);
	gpu->space.events_read |= EVENT_DISPLAY;
	virtio_config_changed(virtio);
	lock_release(&virtio->lock);
	return driven;
}

/* --- life and state --- */

static void reset_gpu(struct virtio_device *virtio)
{
	struct virtio_gpu *gpu = gpu_of(virtio);
	gpu_forget_resources(gpu);
	gpu->scanout = gpu->cursor_on = 0;
	gpu->space.events_read = 0;
}

static const struct virtio_ops gpu_ops = { .serve = serve, .reset = reset_gpu, .config_written = config_written };

static const struct field extent_fields[] = {
	FIELD_KEEP(struct gpu_extent, page),
	FIELD_KEEP(struct gpu_extent, pages),
	FIELD_END
};

/* A reset lets resources go by itself: their memory has to be given back. */
static const struct field resource_fields[] = {
	FIELD_KEEP(struct gpu_resource, id),
	FIELD_KEEP(struct gpu_resource, format),
	FIELD_KEEP(struct gpu_resource, width),
	FIELD_KEEP(struct gpu_resource, height),
	FIELD_STRUCT(struct gpu_resource, pixels, extent_fields),
	FIELD_STRUCT(struct gpu_resource, backing, extent_fields),
	FIELD_KEEP(struct gpu_resource, entries),
	FIELD_END
};

static const struct field space_fields[] = {
	FIELD(struct gpu_space, events_read),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_gpu, virtio, virtio_device_fields),
	FIELD_STRUCT(struct virtio_gpu, space, space_fields),
	FIELD_STRUCT_ARRAY(struct virtio_gpu, resource, resource_fields),
	FIELD_KEEP(struct virtio_gpu, width),
	FIELD_KEEP(struct virtio_gpu, height),
	FIELD(struct virtio_gpu, scanout),
	FIELD(struct virtio_gpu, left),
	FIELD(struct virtio_gpu, top),
	FIELD(struct virtio_gpu, shown_width),
	FIELD(struct virtio_gpu, shown_height),
	FIELD(struct virtio_gpu, cursor_on),
	FIELD(struct virtio_gpu, cursor_x),
	FIELD(struct virtio_gpu, cursor_y),
	FIELD_BYTES(struct virtio_gpu, cursor),
	FIELD_END
};

static bool size_ok(uint32_t size)
{
	return size >= VIRTIO_GPU_LEAST && size <= VIRTIO_GPU_MOST;
}

static int loaded(void *device, struct error *err)
{
	struct virtio_gpu *gpu = device;
	const struct gpu_rect shown = { gpu->left, gpu->top, gpu->shown_width, gpu->shown_height };
	const struct gpu_resource *r = gpu_find(gpu, gpu->scanout);
	if (!gpu_resources_ok(gpu) || (gpu->scanout && (!r || !gpu_contains(r, &shown))) || !size_ok(gpu->width) || !size_ok(gpu->height))
		return error_set(err, EINVAL, "%s: its resources cannot be; the file is damaged", gpu->virtio.device.name);
	return virtio_device_loaded(device, err);
}

static void destroy(void *device)
{
	struct virtio_gpu *gpu = device;
	virtio_device_destroy(&gpu->virtio);
	free(gpu);
}

static const struct device_type virtio_gpu_type = {
	.name = "virtio-gpu",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_gpu *virtio_gpu_create(const struct virtio_gpu_config *config, struct error *err)
{
	struct virtio_gpu *gpu = calloc(1, sizeof(*gpu));
	if (!gpu) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	gpu->memory = config->memory;
	gpu->dma = config->device.dma;
	gpu->aperture = memory_add_aperture(config->memory, VIRTIO_GPU_MEMORY, err);
	if (!gpu->aperture) {
		free(gpu);
		return NULL;
	}
	gpu->width = WIDTH_AT_FIRST;
	gpu->height = HEIGHT_AT_FIRST;
	gpu->space.num_scanouts = SCANOUTS;
	gpu->virtio.ops = &gpu_ops;
	gpu->virtio.type = VIRTIO_TYPE_GPU;
	gpu->virtio.class_code = 0x038000; /* a display controller that is no VGA */
	gpu->virtio.queue_count = QUEUE_COUNT;
	gpu->virtio.config = (const uint8_t *)&gpu->space;
	gpu->virtio.config_size = sizeof(gpu->space);
	gpu->virtio.offered = BIT64(F_EDID);
	virtio_device_init(&gpu->virtio, &virtio_gpu_type, &config->device, QUEUE_SIZE);
	return gpu;
}

void virtio_gpu_stand_by(struct virtio_gpu *gpu, const struct display_source *source)
{
	gpu->standby = *source;
}

struct display_source virtio_gpu_display(struct virtio_gpu *gpu)
{
	return (struct display_source){ gpu_draw, gpu_text, gpu };
}
