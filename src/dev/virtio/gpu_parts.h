/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_GPU_PARTS_H
#define VISOR_DEV_VIRTIO_GPU_PARTS_H

#include "dev/virtio/gpu.h"
#include "mem/dma.h"

/* Inside the device. Names are those of the specification (5.7.6). */
enum gpu_type {
	CMD_GET_DISPLAY_INFO = 0x0100, CMD_RESOURCE_CREATE_2D, CMD_RESOURCE_UNREF, CMD_SET_SCANOUT, CMD_RESOURCE_FLUSH,
	CMD_TRANSFER_TO_HOST_2D, CMD_RESOURCE_ATTACH_BACKING, CMD_RESOURCE_DETACH_BACKING, CMD_GET_EDID = 0x010a,
	CMD_UPDATE_CURSOR = 0x0300, CMD_MOVE_CURSOR,
	RESP_OK_NODATA = 0x1100, RESP_OK_DISPLAY_INFO, RESP_OK_EDID = 0x1104,
	RESP_ERR_UNSPEC = 0x1200, RESP_ERR_OUT_OF_MEMORY, RESP_ERR_INVALID_SCANOUT_ID, RESP_ERR_INVALID_RESOURCE_ID,
	RESP_ERR_INVALID_CONTEXT_ID, RESP_ERR_INVALID_PARAMETER,
};

#define GPU_FLAG_FENCE 1u
#define GPU_MAX_SCANOUTS 16
#define GPU_EDID_SIZE 1024

struct gpu_header {
	uint32_t type, flags;
	uint64_t fence;
	uint32_t context;
	uint8_t ring, padding[3];
} __attribute__((packed));

struct gpu_rect {
	uint32_t x, y, width, height;
} __attribute__((packed));

struct gpu_create_2d { uint32_t resource, format, width, height; } __attribute__((packed));
struct gpu_resource_id { uint32_t resource, padding; } __attribute__((packed));
struct gpu_set_scanout { struct gpu_rect rect; uint32_t scanout, resource; } __attribute__((packed));
struct gpu_flush { struct gpu_rect rect; uint32_t resource, padding; } __attribute__((packed));
struct gpu_transfer { struct gpu_rect rect; uint64_t offset; uint32_t resource, padding; } __attribute__((packed));
struct gpu_attach { uint32_t resource, count; } __attribute__((packed));
struct gpu_mem_entry { uint64_t address; uint32_t length, padding; } __attribute__((packed));
struct gpu_get_edid { uint32_t scanout, padding; } __attribute__((packed));
struct gpu_update_cursor { uint32_t scanout, x, y, padding, resource, hot_x, hot_y, padding2; } __attribute__((packed));

struct gpu_display_info {
	struct gpu_header header;
	struct { struct gpu_rect rect; uint32_t enabled, flags; } scanout[GPU_MAX_SCANOUTS];
} __attribute__((packed));

struct gpu_edid {
	struct gpu_header header;
	uint32_t size, padding;
	uint8_t edid[GPU_EDID_SIZE];
} __attribute__((packed));

#define GPU_CURSOR_SIZE 64u
#define GPU_MAX_RESOURCES 256u
#define GPU_MAX_DIMENSION 8192u
#define GPU_MAX_ENTRIES 16384u /* of a resource's backing */
#define GPU_PIXEL 4u           /* bytes, in all formats */

/* Whole pages of the device's memory. */
struct gpu_extent {
	uint32_t page, pages;
};

struct gpu_resource {
	uint32_t id;           /* 0: there is none */
	uint32_t format, width, height;
	struct gpu_extent pixels;
	struct gpu_extent backing; /* struct gpu_mem_entry, as the guest gave them; pages 0: not attached */
	uint32_t entries;
};

struct gpu_space {
	uint32_t events_read, events_clear, num_scanouts, num_capsets;
};

struct virtio_gpu {
	struct virtio_device virtio;
	struct dma dma;
	struct guest_memory *memory;
	struct memory_aperture *aperture;
	struct display_source standby;
	struct gpu_space space;
	/* State. */
	struct gpu_resource resource[GPU_MAX_RESOURCES];
	uint32_t width, height;          /* of the screen that the guest is told to have */
	uint32_t scanout;                /* id of the resource that is shown; 0: none */
	uint32_t left, top, shown_width, shown_height; /* of it */
	uint32_t cursor_on, cursor_x, cursor_y;
	uint32_t cursor[GPU_CURSOR_SIZE * GPU_CURSOR_SIZE]; /* as surface_overlay wants it */
};

/* --- gpu_resource.c: each gives the type of its answer --- */
enum gpu_type gpu_create_2d(struct virtio_gpu *gpu, const struct gpu_create_2d *request);
enum gpu_type gpu_unref(struct virtio_gpu *gpu, uint32_t id);
/* entries: in the element in hand, behind the request. */
enum gpu_type gpu_attach(struct virtio_gpu *gpu, const struct gpu_attach *request, const struct virtqueue_element *element);
enum gpu_type gpu_detach(struct virtio_gpu *gpu, uint32_t id);
enum gpu_type gpu_transfer(struct virtio_gpu *gpu, const struct gpu_transfer *request);
/* NULL: there is none. */
struct gpu_resource *gpu_find(struct virtio_gpu *gpu, uint32_t id);
bool gpu_contains(const struct gpu_resource *resource, const struct gpu_rect *rect);
const uint8_t *gpu_pixels(const struct virtio_gpu *gpu, const struct gpu_resource *resource);
/* After a load: the resources can be. */
bool gpu_resources_ok(const struct virtio_gpu *gpu);
void gpu_forget_resources(struct virtio_gpu *gpu);

/* --- gpu_draw.c --- */
bool gpu_format_known(uint32_t format);
enum gpu_type gpu_set_scanout(struct virtio_gpu *gpu, const struct gpu_set_scanout *request);
enum gpu_type gpu_flush(struct virtio_gpu *gpu, const struct gpu_flush *request);
enum gpu_type gpu_update_cursor(struct virtio_gpu *gpu, const struct gpu_update_cursor *request, bool move);
int gpu_draw(void *opaque, struct surface *surface, struct error *err);
char *gpu_text(void *opaque);

#endif
