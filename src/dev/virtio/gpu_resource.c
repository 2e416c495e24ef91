/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resources: pixels of the device's, and lists of the guest memory that they are copied from. Both are in the
 * device's own memory, in whole pages, first fit; what is let go is zero again.
 */
#include <string.h>

#include "base/util.h"
#include "dev/virtio/gpu_parts.h"

#define STORE_PAGES (VIRTIO_GPU_MEMORY / GUEST_PAGE_SIZE)

static uint8_t *store_at(const struct virtio_gpu *gpu, const struct gpu_extent *extent)
{
	return gpu->memory->host + gpu->aperture->offset + (uint64_t)extent->page * GUEST_PAGE_SIZE;
}

/* The extent that covers one of the pages; NULL: all are free. */
static const struct gpu_extent *collision(const struct virtio_gpu *gpu, struct gpu_extent wanted)
{
	for (unsigned i = 0; i < GPU_MAX_RESOURCES; i++) {
		const struct gpu_resource *r = &gpu->resource[i];
		const struct gpu_extent *both[] = { &r->pixels, &r->backing };
		for (unsigned j = 0; j < ARRAY_SIZE(both); j++)
			if (wanted.page < both[j]->page + both[j]->pages && both[j]->page < wanted.page + wanted.pages)
				return both[j];
	}
	return NULL;
}

static bool take(const struct virtio_gpu *gpu, uint64_t size, struct gpu_extent *extent)
{
	const struct gpu_extent *taken;
	if (size > VIRTIO_GPU_MEMORY)
		return false;
	*extent = (struct gpu_extent){ 0, (uint32_t)(ALIGN_UP(size, (uint64_t)GUEST_PAGE_SIZE) / GUEST_PAGE_SIZE) };
	while (extent->page + extent->pages <= STORE_PAGES) {
		taken = collision(gpu, *extent);
		if (!taken)
			return true;
		extent->page = taken->page + taken->pages;
	}
	*extent = (struct gpu_extent){ 0 };
	return false;
}

static void let_go(struct virtio_gpu *gpu, struct gpu_extent *extent)
{
	if (extent->pages)
		memory_discard_aperture(gpu->memory, gpu->aperture, (uint64_t)extent->page * GUEST_PAGE_SIZE,
					(uint64_t)extent->pages * GUEST_PAGE_SIZE);
	*extent = (struct gpu_extent){ 0 };
}

struct gpu_resource *gpu_find(struct virtio_gpu *gpu, uint32_t id)
{
	for (unsigned i = 0; id && i < GPU_MAX_RESOURCES; i++)
		if (gpu->resource[i].id == id)
			return &gpu->resource[i];
	return NULL;
}

static struct gpu_resource *free_place(struct virtio_gpu *gpu)
{
	for (unsigned i = 0; i < GPU_MAX_RESOURCES; i++)
		if (!gpu->resource[i].id)
			return &gpu->resource[i];
	return NULL;
}

bool gpu_contains(const struct gpu_resource *r, const struct gpu_rect *rect)
{
	return rect->width && rect->height && rect->x <= r->width && rect->width <= r->width - rect->x && rect->y <= r->height &&
		rect->height <= r->height - rect->y;
}

const uint8_t *gpu_pixels(const struct virtio_gpu *gpu, const struct gpu_resource *resource)
{
	return store_at(gpu, &resource->pixels);
}

static bool shape_ok(const struct gpu_resource *r)
{
	return gpu_format_known(r->format) && r->width && r->width <= GPU_MAX_DIMENSION && r->height && r->height <= GPU_MAX_DIMENSION;
}

enum gpu_type gpu_create_2d(struct virtio_gpu *gpu, const struct gpu_create_2d *request)
{
	struct gpu_resource *r = free_place(gpu);
	struct gpu_resource made = {
		.id = request->resource, .format = request->format, .width = request->width, .height = request->height,
	};
	if (!made.id || gpu_find(gpu, made.id))
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (!shape_ok(&made))
		return RESP_ERR_INVALID_PARAMETER;
	if (!r || !take(gpu, (uint64_t)made.width * made.height * GPU_PIXEL, &made.pixels))
		return RESP_ERR_OUT_OF_MEMORY;
	*r = made;
	return RESP_OK_NODATA;
}

enum gpu_type gpu_unref(struct virtio_gpu *gpu, uint32_t id)
{
	struct gpu_resource *r = gpu_find(gpu, id);
	if (!r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (gpu->scanout == id)
		gpu->scanout = 0;
	let_go(gpu, &r->pixels);
	let_go(gpu, &r->backing);
	*r = (struct gpu_resource){ 0 };
	return RESP_OK_NODATA;
}

void gpu_forget_resources(struct virtio_gpu *gpu)
{
	for (unsigned i = 0; i < GPU_MAX_RESOURCES; i++)
		if (gpu->resource[i].id)
			gpu_unref(gpu, gpu->resource[i].id);
}

enum gpu_type gpu_attach(struct virtio_gpu *gpu, const struct gpu_attach *request, const struct virtqueue_element *element)
{
	struct gpu_resource *r = gpu_find(gpu, request->resource);
	struct gpu_extent extent;
	uint64_t size = (uint64_t)request->count * sizeof(struct gpu_mem_entry), skip = sizeof(struct gpu_header) + sizeof(*request);
	if (!r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (r->backing.pages)
		return RESP_ERR_UNSPEC;
	if (!request->count || request->count > GPU_MAX_ENTRIES || element->out_size < skip + size)
		return RESP_ERR_INVALID_PARAMETER;
	if (!take(gpu, size, &extent))
		return RESP_ERR_OUT_OF_MEMORY;
	r->backing = extent;
	r->entries = request->count;
	iov_read(element->iov, element->out_count, skip, store_at(gpu, &extent), size);
	return RESP_OK_NODATA;
}

enum gpu_type gpu_detach(struct virtio_gpu *gpu, uint32_t id)
{
	struct gpu_resource *r = gpu_find(gpu, id);
	if (!r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (!r->backing.pages)
		return RESP_ERR_UNSPEC;
	let_go(gpu, &r->backing);
	r->entries = 0;
	return RESP_OK_NODATA;
}

/* --- transfers --- */

/* A place in a backing, which only moves on: rows of a transfer follow each other. */
struct backing {
	const struct gpu_mem_entry *entry;
	uint32_t left;     /* entries, this one included */
	uint64_t first;    /* the offset at which it begins */
};

static bool seek(struct backing *b, uint64_t offset)
{
	while (b->left && offset - b->first >= b->entry->length) {
		b->first += b->entry->length;
		b->entry++;
		b->left--;
	}
	return b->left;
}

static enum gpu_type copy(const struct virtio_gpu *gpu, struct backing *b, uint64_t offset, uint8_t *to, uint64_t size)
{
	while (size) {
		if (!seek(b, offset))
			return RESP_ERR_INVALID_PARAMETER;
		uint64_t skip = offset - b->first, length = MIN(size, b->entry->length - skip);
		if (b->entry->address > UINT64_MAX - b->entry->length || !dma_read(&gpu->dma, b->entry->address + skip, to, length))
			return RESP_ERR_UNSPEC;
		offset += length;
		to += length;
		size -= length;
	}
	return RESP_OK_NODATA;
}

enum gpu_type gpu_transfer(struct virtio_gpu *gpu, const struct gpu_transfer *request)
{
	const struct gpu_rect *rect = &request->rect;
	struct gpu_resource *r = gpu_find(gpu, request->resource);
	if (!r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (!r->backing.pages)
		return RESP_ERR_UNSPEC;
	uint64_t pitch = (uint64_t)r->width * GPU_PIXEL, size = (uint64_t)r->height * pitch, offset = request->offset;
	if (!gpu_contains(r, rect) || offset > size)
		return RESP_ERR_INVALID_PARAMETER;
	struct backing b = { (const struct gpu_mem_entry *)store_at(gpu, &r->backing), r->entries, 0 };
	uint8_t *to = store_at(gpu, &r->pixels) + rect->y * pitch + (uint64_t)rect->x * GPU_PIXEL;
	if (rect->width == r->width)
		return copy(gpu, &b, offset, to, rect->height * pitch);
	enum gpu_type answer = RESP_OK_NODATA;
	for (unsigned i = 0; i < rect->height && answer == RESP_OK_NODATA; i++, to += pitch, offset += pitch)
		answer = copy(gpu, &b, offset, to, (uint64_t)rect->width * GPU_PIXEL);
	return answer;
}

/* --- after a load --- */

static bool extent_ok(const struct gpu_extent *extent, uint64_t size)
{
	return extent->pages == ALIGN_UP(size, (uint64_t)GUEST_PAGE_SIZE) / GUEST_PAGE_SIZE && extent->pages <= STORE_PAGES &&
		extent->page <= STORE_PAGES - extent->pages;
}

static bool resource_ok(const struct gpu_resource *r)
{
	if (!r->id)
		return !r->pixels.pages && !r->backing.pages;
	return shape_ok(r) && r->entries <= GPU_MAX_ENTRIES && extent_ok(&r->pixels, (uint64_t)r->width * r->height * GPU_PIXEL) &&
		extent_ok(&r->backing, (uint64_t)r->entries * sizeof(struct gpu_mem_entry));
}

/* Two that share pages would harm none but the guest. */
bool gpu_resources_ok(const struct virtio_gpu *gpu)
{
	for (unsigned i = 0; i < GPU_MAX_RESOURCES; i++) {
		if (!resource_ok(&gpu->resource[i]))
			return false;
		for (unsigned j = 0; gpu->resource[i].id && j < i; j++)
			if (gpu->resource[j].id == gpu->resource[i].id)
				return false;
	}
	return true;
}
