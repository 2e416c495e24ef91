/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is shown: a rectangle of a resource, the cursor on top of it. */
#include <string.h>

#include "base/util.h"
#include "dev/virtio/gpu_parts.h"

/* VIRTIO_GPU_FORMAT_*: where colours are in a pixel that is read as a little-endian number; the formats' names have
 * the bytes' order. A cursor has alpha in the formats with X as well: Linux makes its buffers before it knows what
 * they will be used for. */
static const struct format {
	uint8_t number, red, green, blue, alpha;
} formats[] = {
	{ 1, 16, 8, 0, 24 },   /* B8G8R8A8 */
	{ 2, 16, 8, 0, 24 },   /* B8G8R8X8 */
	{ 3, 8, 16, 24, 0 },   /* A8R8G8B8 */
	{ 4, 8, 16, 24, 0 },   /* X8R8G8B8 */
	{ 67, 0, 8, 16, 24 },  /* R8G8B8A8 */
	{ 68, 24, 16, 8, 0 },  /* X8B8G8R8 */
	{ 121, 24, 16, 8, 0 }, /* A8B8G8R8 */
	{ 134, 0, 8, 16, 24 }, /* R8G8B8X8 */
};

static const struct format *find_format(uint32_t number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].number == number)
			return &formats[i];
	return NULL;
}

bool gpu_format_known(uint32_t format)
{
	return find_format(format);
}

static inline uint32_t convert(const struct format *f, const uint8_t *at)
{
	uint32_t v = load_le32(at);
	return (v >> f->alpha & 0xff) << 24 | (v >> f->red & 0xff) << 16 | (v >> f->green & 0xff) << 8 | (v >> f->blue & 0xff);
}

enum gpu_type gpu_set_scanout(struct virtio_gpu *gpu, const struct gpu_set_scanout *request)
{
	const struct gpu_resource *r = gpu_find(gpu, request->resource);
	if (request->scanout >= gpu->space.num_scanouts)
		return RESP_ERR_INVALID_SCANOUT_ID;
	if (request->resource && !r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (r && !gpu_contains(r, &request->rect))
		return RESP_ERR_INVALID_PARAMETER;
	gpu->scanout = request->resource;
	gpu->left = request->rect.x;
	gpu->top = request->rect.y;
	gpu->shown_width = request->rect.width;
	gpu->shown_height = request->rect.height;
	return RESP_OK_NODATA;
}

/* Nothing to do: the screen is drawn from the resource when somebody looks. */
enum gpu_type gpu_flush(struct virtio_gpu *gpu, const struct gpu_flush *request)
{
	const struct gpu_resource *r = gpu_find(gpu, request->resource);
	if (!r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	return gpu_contains(r, &request->rect) ? RESP_OK_NODATA : RESP_ERR_INVALID_PARAMETER;
}

enum gpu_type gpu_update_cursor(struct virtio_gpu *gpu, const struct gpu_update_cursor *request, bool move)
{
	const struct gpu_resource *r = gpu_find(gpu, request->resource);
	if (request->scanout >= gpu->space.num_scanouts)
		return RESP_ERR_INVALID_SCANOUT_ID;
	if (!move && request->resource && !r)
		return RESP_ERR_INVALID_RESOURCE_ID;
	if (!move && r && (r->width != GPU_CURSOR_SIZE || r->height != GPU_CURSOR_SIZE))
		return RESP_ERR_INVALID_PARAMETER;
	gpu->cursor_x = request->x;
	gpu->cursor_y = request->y;
	if (move)
		return RESP_OK_NODATA;
	gpu->cursor_on = r != NULL;
	const uint8_t *from = r ? gpu_pixels(gpu, r) : NULL;
	for (unsigned i = 0; r && i < ARRAY_SIZE(gpu->cursor); i++)
		gpu->cursor[i] = convert(find_format(r->format), from + i * GPU_PIXEL);
	return RESP_OK_NODATA;
}

static int draw_scanout(struct virtio_gpu *gpu, const struct gpu_resource *r, struct surface *surface, struct error *err)
{
	const struct format *format = find_format(r->format);
	const uint8_t *pixels = gpu_pixels(gpu, r);
	if (surface_resize(surface, gpu->shown_width, gpu->shown_height, err) < 0)
		return -1;
	for (unsigned y = 0; y < gpu->shown_height; y++) {
		const uint8_t *from = pixels + ((size_t)(gpu->top + y) * r->width + gpu->left) * GPU_PIXEL;
		uint32_t *to = surface->pixels + (size_t)y * gpu->shown_width;
		for (unsigned x = 0; x < gpu->shown_width; x++)
			to[x] = convert(format, from + (size_t)x * GPU_PIXEL) & 0xffffff;
	}
	if (gpu->cursor_on)
		surface_overlay(surface, (int32_t)gpu->cursor_x, (int32_t)gpu->cursor_y, gpu->cursor, GPU_CURSOR_SIZE, GPU_CURSOR_SIZE,
				GPU_CURSOR_SIZE);
	return 0;
}

static int draw_black(const struct virtio_gpu *gpu, struct surface *surface, struct error *err)
{
	if (surface_resize(surface, gpu->width, gpu->height, err) < 0)
		return -1;
	memset(surface->pixels, 0, (size_t)gpu->width * gpu->height * sizeof(*surface->pixels));
	return 0;
}

int gpu_draw(void *opaque, struct surface *surface, struct error *err)
{
	struct virtio_gpu *gpu = opaque;
	lock_take(&gpu->virtio.lock);
	const struct gpu_resource *shown = gpu_find(gpu, gpu->scanout);
	int rc;
	if (shown)
		rc = draw_scanout(gpu, shown, surface, err);
	else if (gpu->standby.draw)
		rc = gpu->standby.draw(gpu->standby.opaque, surface, err);
	else
		rc = draw_black(gpu, surface, err);
	lock_release(&gpu->virtio.lock);
	return rc;
}

char *gpu_text(void *opaque)
{
	struct virtio_gpu *gpu = opaque;
	lock_take(&gpu->virtio.lock);
	char *text = gpu->scanout || !gpu->standby.text ? NULL : gpu->standby.text(gpu->standby.opaque);
	lock_release(&gpu->virtio.lock);
	return text;
}
