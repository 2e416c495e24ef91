/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"
#include "virtio_rig.h"

#include "dev/virtio/gpu.h"
#include "display/edid.h"

/* Requests, answers and backing in guest memory. */
#define REQUEST 0x200000ull
#define ANSWER 0x280000ull
#define ENTRIES (REQUEST + 32)
#define BACKING 0x400000ull
enum { CONTROL, CURSOR };
enum {
	GET_DISPLAY_INFO = 0x100, CREATE_2D, UNREF, SET_SCANOUT, FLUSH, TRANSFER, ATTACH, DETACH, GET_EDID = 0x10a, UPDATE_CURSOR = 0x300,
	MOVE_CURSOR,
};
enum {
	OK_NODATA = 0x1100, OK_DISPLAY_INFO, OK_EDID = 0x1104, ERR_UNSPEC = 0x1200, ERR_OUT_OF_MEMORY, ERR_SCANOUT, ERR_RESOURCE, ERR_CONTEXT,
	ERR_PARAMETER,
};
#define FEATURE_EDID (1ull << 1)

struct gpu_rig {
	struct rig rig;
	struct virtio_gpu *gpu;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[2];
	struct display_source display;
	struct surface surface;
};

static void start(struct gpu_rig *r)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1 | FEATURE_EDID));
	for (unsigned i = 0; i < 2; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 64);
	driver_ok(&r->driver);
}

static void make(struct gpu_rig *r)
{
	*r = (struct gpu_rig){ 0 };
	rig_init_for(&r->rig, VIRTIO_GPU_MEMORY);
	const struct virtio_gpu_config config = { { "gpu", { &r->rig.memory }, rig_worker(&r->rig) }, &r->rig.memory };
	r->gpu = virtio_gpu_create(&config, NULL);
	assert_non_null(r->gpu);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_gpu_device(r->gpu) };
	r->pci = virtio_pci_create(&pci, NULL);
	assert_non_null(r->pci);
	device_reset((struct device *)r->gpu);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
	r->display = virtio_gpu_display(r->gpu);
	start(r);
}

static void end(struct gpu_rig *r)
{
	rig_run(&r->rig, false);
	surface_destroy(&r->surface);
	board_end(r->pci);
	board_end(r->gpu);
	rig_destroy(&r->rig);
}

/* A command of `size` bytes, of which the words behind the header are given; the type of its answer. */
static uint32_t send_bytes(struct gpu_rig *r, unsigned queue, uint32_t type, const uint32_t *words, unsigned count, uint32_t size)
{
	const struct buffer buffers[] = { { REQUEST, size, false }, { ANSWER, 2048, true } };
	const uint32_t header[6] = { type };
	guest_write(&r->rig, REQUEST, header, sizeof(header));
	guest_write(&r->rig, REQUEST + sizeof(header), words, 4 * count);
	guest_store(&r->rig, ANSWER, 0, 8);
	queue_add(&r->queue[queue], buffers, 2);
	queue_notify(&r->queue[queue]);
	assert_true(queue_wait(&r->queue[queue], NULL) >= 24);
	return (uint32_t)guest_load(&r->rig, ANSWER, 4);
}

#define WORDS(...) (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4
#define control(r, type, ...) send_words(r, CONTROL, type, WORDS(__VA_ARGS__))
#define cursor(r, type, ...) send_words(r, CURSOR, type, WORDS(__VA_ARGS__))

static uint32_t send_words(struct gpu_rig *r, unsigned queue, uint32_t type, const uint32_t *words, unsigned count)
{
	return send_bytes(r, queue, type, words, count, 24 + 4 * count);
}

/* One page of backing after another, all of them `gap` apart. */
static uint32_t attach(struct gpu_rig *r, uint32_t id, uint32_t count, uint64_t at, uint32_t length, uint32_t gap)
{
	for (unsigned i = 0; i < count; i++) {
		guest_store(&r->rig, ENTRIES + 16 * i, at + (uint64_t)i * gap, 8);
		guest_store(&r->rig, ENTRIES + 16 * i + 8, length, 8);
	}
	return send_bytes(r, CONTROL, ATTACH, WORDS(id, count), 32 + 16 * count);
}

static uint32_t *draw(struct gpu_rig *r, unsigned width, unsigned height)
{
	assert_int_equal(r->display.draw(r->display.opaque, &r->surface, NULL), 0);
	assert_int_equal(r->surface.width, width);
	assert_int_equal(r->surface.height, height);
	return r->surface.pixels;
}

/* Pixel n of what is in guest memory. */
static uint32_t pixel(uint32_t n)
{
	return n * 2654435761u;
}

static void fill(struct gpu_rig *r, uint64_t at, uint32_t first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		guest_store(&r->rig, at + 4 * i, pixel(first + i), 4);
}

/* --- what it is --- */

static void identity(void **state)
{
	struct gpu_rig r;
	make(&r);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, PCI_DEVICE_ID, 2), 0x1050);
	assert_int_equal(cfg_read(&r.rig, RIG_DEVFN, PCI_CLASS_PROG, 4) & 0xffffff, 0x038000);
	assert_true(driver_offered(&r.driver) & FEATURE_EDID);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config + 8, 4), 1);
	assert_int_equal(send_bytes(&r, CONTROL, GET_DISPLAY_INFO, NULL, 0, 24), OK_DISPLAY_INFO);
	static const uint32_t first[] = { 0, 0, 1024, 768, 1, 0, 0, 0, 0, 0, 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(first); i++)
		assert_int_equal(guest_load(&r.rig, ANSWER + 24 + 4 * i, 4), first[i]);
	/* Another size is told by an event, which the driver clears. */
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 0);
	assert_true(virtio_gpu_resize(r.gpu, 1366, 10000));
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 1);
	io_write(&r.rig.mmio, r.driver.config + 4, 1, 4);
	assert_int_equal(io_read(&r.rig.mmio, r.driver.config, 4), 0);
	assert_int_equal(send_bytes(&r, CONTROL, GET_DISPLAY_INFO, NULL, 0, 24), OK_DISPLAY_INFO);
	assert_int_equal(guest_load(&r.rig, ANSWER + 24 + 8, 4), 1366);
	assert_int_equal(guest_load(&r.rig, ANSWER + 24 + 12, 4), VIRTIO_GPU_MOST);
	draw(&r, 1366, VIRTIO_GPU_MOST);
	end(&r);
}

static void edid(void **state)
{
	struct gpu_rig r;
	uint8_t data[EDID_SIZE], sum = 0;
	make(&r);
	virtio_gpu_resize(r.gpu, 1920, 1080);
	assert_int_equal(control(&r, GET_EDID, 0, 0), OK_EDID);
	assert_int_equal(guest_load(&r.rig, ANSWER + 24, 4), EDID_SIZE);
	memory_read(&r.rig.memory, ANSWER + 32, data, sizeof(data));
	for (unsigned i = 0; i < EDID_SIZE; i++)
		sum = (uint8_t)(sum + data[i]);
	assert_int_equal(sum, 0);
	/* The first detailed timing. */
	assert_int_equal(data[56] | (data[58] & 0xf0) << 4, 1920);
	assert_int_equal(data[59] | (data[61] & 0xf0) << 4, 1080);
	unsigned clock = load_le16(data + 54), across = 1920 + (data[57] | (data[58] & 15) << 8), down = 1080 + (data[60] | (data[61] & 15) << 8);
	assert_in_range((uint64_t)clock * 100000 / across / down, 599, 600);
	assert_int_equal(control(&r, GET_EDID, 1, 0), ERR_PARAMETER);
	assert_true(driver_negotiate(&r.driver, FEATURE_VERSION_1));
	for (unsigned i = 0; i < 2; i++)
		driver_queue_init(&r.queue[i], &r.driver, i, 64);
	driver_ok(&r.driver);
	assert_int_equal(control(&r, GET_EDID, 0, 0), ERR_UNSPEC);
	end(&r);
}

/* --- pictures --- */

static void picture(void **state)
{
	struct gpu_rig r;
	make(&r);
	draw(&r, 1024, 768);
	/* 100 x 50 pixels, their memory in pieces of 300 bytes. */
	assert_int_equal(control(&r, CREATE_2D, 7, 2, 100, 50), OK_NODATA);
	assert_int_equal(attach(&r, 7, 67, BACKING, 300, 512), OK_NODATA);
	for (unsigned i = 0; i < 67; i++)
		fill(&r, BACKING + 512 * i, 75 * i, 75);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 100, 50, 0, 0, 7, 0), OK_NODATA);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 100, 50, 0, 7), OK_NODATA);
	assert_int_equal(control(&r, FLUSH, 0, 0, 100, 50, 7, 0), OK_NODATA);
	uint32_t *shown = draw(&r, 100, 50);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(shown[i], pixel(i) & 0xffffff);
	/* A part: what is in guest memory begins at the offset, in lines as long as the resource's. */
	for (unsigned i = 0; i < 67; i++)
		fill(&r, BACKING + 512 * i, 75 * i + 10000, 75);
	assert_int_equal(control(&r, TRANSFER, 20, 10, 30, 5, 4 * (100 * 10 + 20), 0, 7, 0), OK_NODATA);
	shown = draw(&r, 100, 50);
	for (unsigned i = 0; i < 5000; i++) {
		bool inside = i % 100 >= 20 && i % 100 < 50 && i / 100 >= 10 && i / 100 < 15;
		assert_int_equal(shown[i], pixel(i + (inside ? 10000 : 0)) & 0xffffff);
	}
	/* A part is shown; then none, and the memory is gone: the pixels stay. */
	assert_int_equal(control(&r, SET_SCANOUT, 10, 20, 80, 30, 0, 7), OK_NODATA);
	assert_int_equal(draw(&r, 80, 30)[0], pixel(2010) & 0xffffff);
	assert_int_equal(control(&r, DETACH, 7, 0), OK_NODATA);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 100, 50, 0, 0, 7, 0), ERR_UNSPEC);
	assert_int_equal(control(&r, DETACH, 7, 0), ERR_UNSPEC);
	assert_int_equal(draw(&r, 80, 30)[0], pixel(2010) & 0xffffff);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 0, 0, 0, 0), OK_NODATA);
	assert_int_equal(draw(&r, 1024, 768)[0], 0);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 100, 50, 0, 7), OK_NODATA);
	assert_int_equal(control(&r, UNREF, 7, 0), OK_NODATA);
	draw(&r, 1024, 768);
	/* Its place in the device is zero again for the next one. */
	assert_int_equal(control(&r, CREATE_2D, 8, 2, 100, 50), OK_NODATA);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 100, 50, 0, 8), OK_NODATA);
	shown = draw(&r, 100, 50);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(shown[i], 0);
	end(&r);
}

static void formats(void **state)
{
	/* Where red, green and blue are among the bytes 0x10, 0x20, 0x30, 0x40. */
	static const struct { uint32_t format, color; } known[] = {
		{ 1, 0x302010 }, { 2, 0x302010 }, { 3, 0x203040 }, { 4, 0x203040 }, { 67, 0x102030 }, { 68, 0x403020 }, { 121, 0x403020 },
		{ 134, 0x102030 },
	};
	struct gpu_rig r;
	make(&r);
	guest_store(&r.rig, BACKING, 0x40302010, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		assert_int_equal(control(&r, CREATE_2D, i + 1, known[i].format, 1, 1), OK_NODATA);
		assert_int_equal(attach(&r, i + 1, 1, BACKING, 4, 0), OK_NODATA);
		assert_int_equal(control(&r, TRANSFER, 0, 0, 1, 1, 0, 0, i + 1, 0), OK_NODATA);
		assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 1, 1, 0, i + 1), OK_NODATA);
		assert_int_equal(*draw(&r, 1, 1), known[i].color);
	}
	assert_int_equal(control(&r, CREATE_2D, 100, 5, 1, 1), ERR_PARAMETER);
	assert_int_equal(control(&r, CREATE_2D, 100, 0, 1, 1), ERR_PARAMETER);
	end(&r);
}

static void pointer(void **state)
{
	struct gpu_rig r;
	make(&r);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 100, 100), OK_NODATA);
	assert_int_equal(attach(&r, 1, 1, BACKING, 40000, 0), OK_NODATA);
	for (unsigned i = 0; i < 10000; i++)
		guest_store(&r.rig, BACKING + 4 * i, 0x646464, 4);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 100, 100, 0, 0, 1, 0), OK_NODATA);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 100, 100, 0, 1), OK_NODATA);
	assert_int_equal(control(&r, CREATE_2D, 2, 1, 64, 64), OK_NODATA);
	assert_int_equal(attach(&r, 2, 1, BACKING, 16384, 0), OK_NODATA);
	for (unsigned i = 0; i < 4096; i++)
		guest_store(&r.rig, BACKING + 4 * i, i % 64 < 32 ? 0 : i % 64 < 63 ? 0xff112233 : 0x80400000, 4);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 64, 64, 0, 0, 2, 0), OK_NODATA);
	/* Not on this queue, not of this size, not without a scanout. */
	assert_int_equal(control(&r, UPDATE_CURSOR, 0, 0, 0, 0, 2, 0, 0, 0), ERR_UNSPEC);
	assert_int_equal(cursor(&r, CREATE_2D, 3, 1, 64, 64), ERR_UNSPEC);
	assert_int_equal(cursor(&r, UPDATE_CURSOR, 0, 0, 0, 0, 1, 0, 0, 0), ERR_PARAMETER);
	assert_int_equal(cursor(&r, UPDATE_CURSOR, 1, 0, 0, 0, 2, 0, 0, 0), ERR_SCANOUT);
	assert_int_equal(cursor(&r, UPDATE_CURSOR, 0, 0, 0, 0, 9, 0, 0, 0), ERR_RESOURCE);
	assert_int_equal(draw(&r, 100, 100)[50], 0x646464);
	assert_int_equal(cursor(&r, UPDATE_CURSOR, 0, 10, 20, 0, 2, 0, 0, 0), OK_NODATA);
	assert_int_equal(control(&r, UNREF, 2, 0), OK_NODATA);
	uint32_t *shown = draw(&r, 100, 100);
	assert_int_equal(shown[20 * 100 + 41], 0x646464);
	assert_int_equal(shown[20 * 100 + 42], 0x112233);
	assert_int_equal(shown[19 * 100 + 42], 0x646464);
	assert_int_equal(shown[83 * 100 + 73], (0x40 + 100 * 127 / 255) << 16 | 100 * 127 / 255 * 0x101);
	assert_int_equal(cursor(&r, MOVE_CURSOR, 0, -40, 90, 0, 0, 0, 0, 0), OK_NODATA);
	shown = draw(&r, 100, 100);
	assert_int_equal(shown[20 * 100 + 42], 0x646464);
	assert_int_equal(shown[90 * 100], 0x112233);
	assert_int_equal(cursor(&r, UPDATE_CURSOR, 0, 0, 0, 0, 0, 0, 0, 0), OK_NODATA);
	assert_int_equal(draw(&r, 100, 100)[90 * 100], 0x646464);
	end(&r);
}

/* --- what a guest may not do --- */

static void refused(void **state)
{
	struct gpu_rig r;
	make(&r);
	assert_int_equal(control(&r, CREATE_2D, 0, 2, 10, 10), ERR_RESOURCE);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 0, 10), ERR_PARAMETER);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 10, 0x80000000), ERR_PARAMETER);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 8192, 8192), ERR_OUT_OF_MEMORY);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 10, 10), OK_NODATA);
	assert_int_equal(control(&r, CREATE_2D, 1, 2, 10, 10), ERR_RESOURCE);
	assert_int_equal(control(&r, UNREF, 2, 0), ERR_RESOURCE);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 10, 10, 1, 1), ERR_SCANOUT);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 10, 10, 0, 2), ERR_RESOURCE);
	static const uint32_t outside[][4] = {
		{ 0, 0, 11, 10 }, { 0, 0, 10, 11 }, { 1, 0, 10, 10 }, { 0, 10, 1, 1 }, { 0, 0, 0, 0 }, { 0xffffffff, 0, 2, 1 }, { 1, 1, 0xffffffff, 1 },
		{ 0, 0xfffffff8, 1, 10 },
	};
	assert_int_equal(attach(&r, 1, 1, BACKING, 400, 0), OK_NODATA);
	for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
		const uint32_t *o = outside[i];
		assert_int_equal(control(&r, SET_SCANOUT, o[0], o[1], o[2], o[3], 0, 1), ERR_PARAMETER);
		assert_int_equal(control(&r, FLUSH, o[0], o[1], o[2], o[3], 1, 0), ERR_PARAMETER);
		assert_int_equal(control(&r, TRANSFER, o[0], o[1], o[2], o[3], 0, 0, 1, 0), ERR_PARAMETER);
	}
	assert_int_equal(control(&r, FLUSH, 0, 0, 10, 10, 2, 0), ERR_RESOURCE);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 10, 10, 0, 0, 2, 0), ERR_RESOURCE);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 10, 10, 4, 0, 1, 0), ERR_PARAMETER);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 10, 10, 0xfffffff0, 0xffffffff, 1, 0), ERR_PARAMETER);
	assert_int_equal(control(&r, TRANSFER, 0, 9, 10, 1, 360, 0, 1, 0), OK_NODATA);
	/* Backing twice, none, more than was sent, beyond memory, round the end of all addresses. */
	assert_int_equal(attach(&r, 1, 1, BACKING, 400, 0), ERR_UNSPEC);
	assert_int_equal(control(&r, DETACH, 1, 0), OK_NODATA);
	assert_int_equal(attach(&r, 3, 1, BACKING, 400, 0), ERR_RESOURCE);
	assert_int_equal(control(&r, ATTACH, 1, 0), ERR_PARAMETER);
	assert_int_equal(control(&r, ATTACH, 1, 2, 0, 0, 400, 0), ERR_PARAMETER);
	assert_int_equal(control(&r, ATTACH, 1, 0xffffffff), ERR_PARAMETER);
	static const struct { uint64_t at; uint32_t length; } nowhere[] = {
		{ 0x100000000000, 400 }, { UINT64_MAX - 100, 400 }, { RIG_RAM - 100, 400 }, { UINT64_MAX, 0xffffffff },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		assert_int_equal(attach(&r, 1, 1, nowhere[i].at, nowhere[i].length, 0), OK_NODATA);
		assert_int_equal(control(&r, TRANSFER, 0, 0, 10, 10, 0, 0, 1, 0), ERR_UNSPEC);
		assert_int_equal(control(&r, DETACH, 1, 0), OK_NODATA);
	}
	/* The device's own memory is nowhere. */
	bool writable;
	for (uint64_t at = RIG_RAM; at < 2ull * VIRTIO_GPU_MEMORY; at += GUEST_PAGE_SIZE)
		assert_null(memory_page(&r.rig.memory, at, &writable));
	assert_null(memory_page(&r.rig.memory, 0xa0000, &writable));
	/* Pieces of no length. */
	assert_int_equal(attach(&r, 1, 16, BACKING, 0, 0), OK_NODATA);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 10, 10, 0, 0, 1, 0), ERR_PARAMETER);
	/* Short requests and unknown ones. */
	assert_int_equal(send_bytes(&r, CONTROL, TRANSFER, WORDS(0, 0, 10, 10), 40), ERR_UNSPEC);
	assert_int_equal(send_bytes(&r, CONTROL, GET_DISPLAY_INFO, NULL, 0, 23), ERR_UNSPEC);
	assert_int_equal(control(&r, 0x108, 0, 0), ERR_UNSPEC);
	assert_int_equal(control(&r, 0xffffffff, 0, 0), ERR_UNSPEC);
	end(&r);
}

/* As many as there is room for, and all over again. */
static void limits(void **state)
{
	struct gpu_rig r;
	make(&r);
	for (unsigned round = 0; round < 2; round++) {
		unsigned many = 0, large = 0;
		while (control(&r, CREATE_2D, many + 1, 2, 1, 1) == OK_NODATA)
			many++;
		assert_int_equal(many, 256);
		for (unsigned i = 0; i < many; i++)
			assert_int_equal(control(&r, UNREF, i + 1, 0), OK_NODATA);
		while (control(&r, CREATE_2D, large + 1, 2, 2048, 2048) == OK_NODATA)
			large++;
		assert_int_equal(large, VIRTIO_GPU_MEMORY / (2048 * 2048 * 4));
		assert_int_equal(attach(&r, 1, 1, BACKING, 400, 0), ERR_OUT_OF_MEMORY);
		assert_int_equal(control(&r, UNREF, 3, 0), OK_NODATA);
		assert_int_equal(attach(&r, 1, 1, BACKING, 400, 0), OK_NODATA);
		assert_int_equal(control(&r, CREATE_2D, 3, 2, 2048, 2048), ERR_OUT_OF_MEMORY);
		start(&r); /* a reset lets everything go */
	}
	end(&r);
}

static void fences(void **state)
{
	struct gpu_rig r;
	make(&r);
	const struct buffer buffers[] = { { REQUEST, 24, false }, { ANSWER, 408, true } };
	const uint32_t header[6] = { GET_DISPLAY_INFO, 1, 0x89abcdef, 0x01234567, 42 };
	guest_write(&r.rig, REQUEST, header, sizeof(header));
	queue_add(&r.queue[CONTROL], buffers, 2);
	queue_notify(&r.queue[CONTROL]);
	assert_int_equal(queue_wait(&r.queue[CONTROL], NULL), 408);
	assert_int_equal(guest_load(&r.rig, ANSWER + 4, 4), 1);
	assert_int_equal(guest_load(&r.rig, ANSWER + 8, 8), 0x0123456789abcdef);
	assert_int_equal(guest_load(&r.rig, ANSWER + 16, 4), 42);
	/* Without room for an answer, as the cursor's commands come. */
	const uint32_t move[14] = { MOVE_CURSOR };
	guest_write(&r.rig, REQUEST, move, sizeof(move));
	queue_add(&r.queue[CURSOR], (const struct buffer[]){ { REQUEST, sizeof(move), false } }, 1);
	queue_notify(&r.queue[CURSOR]);
	assert_int_equal(queue_wait(&r.queue[CURSOR], NULL), 0);
	end(&r);
}

/* --- state --- */

static void saved(void **state)
{
	struct gpu_rig r;
	make(&r);
	assert_int_equal(control(&r, CREATE_2D, 5, 2, 20, 10), OK_NODATA);
	assert_int_equal(attach(&r, 5, 1, BACKING, 800, 0), OK_NODATA);
	fill(&r, BACKING, 0, 200);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 20, 10, 0, 0, 5, 0), OK_NODATA);
	assert_int_equal(control(&r, SET_SCANOUT, 0, 0, 20, 10, 0, 5), OK_NODATA);
	virtio_gpu_resize(r.gpu, 800, 600);
	/* The fields, and the device's memory, which a save file has as a part of the guest's. */
	static union { struct device device; uint8_t bytes[64 << 10]; } fields, transport;
	static uint8_t pages[1 << 20];
	struct device *gpu = (struct device *)r.gpu, *pci = (struct device *)r.pci;
	fields_copy(gpu->type->fields, fields.bytes, gpu);
	fields_copy(pci->type->fields, transport.bytes, pci);
	memcpy(pages, r.rig.memory.host + RIG_RAM, sizeof(pages));
	device_reset(gpu);
	device_reset(pci);
	draw(&r, 800, 600);
	memcpy(r.rig.memory.host + RIG_RAM, pages, sizeof(pages));
	fields_copy(gpu->type->fields, gpu, fields.bytes);
	fields_copy(pci->type->fields, pci, transport.bytes);
	assert_int_equal(gpu->type->loaded(gpu, NULL), 0);
	assert_int_equal(pci->type->loaded(pci, NULL), 0);
	uint32_t *shown = draw(&r, 20, 10);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(shown[i], pixel(i) & 0xffffff);
	fill(&r, BACKING, 300, 200);
	assert_int_equal(control(&r, TRANSFER, 0, 0, 20, 10, 0, 0, 5, 0), OK_NODATA);
	assert_int_equal(draw(&r, 20, 10)[199], pixel(499) & 0xffffff);
	assert_int_equal(send_bytes(&r, CONTROL, GET_DISPLAY_INFO, NULL, 0, 24), OK_DISPLAY_INFO);
	assert_int_equal(guest_load(&r.rig, ANSWER + 24 + 8, 4), 800);
	/* A file may say anything: a scanout that is larger than its resource, one without a resource. */
	assert_int_equal(control(&r, SET_SCANOUT, 1, 1, 19, 9, 0, 5), OK_NODATA);
	fields_copy(gpu->type->fields, fields.bytes, gpu);
	assert_int_equal(control(&r, UNREF, 5, 0), OK_NODATA);
	assert_int_equal(control(&r, CREATE_2D, 5, 2, 10, 10), OK_NODATA);
	const struct field *f = gpu->type->fields;
	for (; strcmp(f->name, "scanout"); f++)
		;
	fields_copy(f, gpu, fields.bytes);
	assert_int_equal(gpu->type->loaded(gpu, &(struct error){ 0 }), -1);
	assert_int_equal(control(&r, UNREF, 5, 0), OK_NODATA);
	fields_copy(f, gpu, fields.bytes);
	assert_int_equal(gpu->type->loaded(gpu, &(struct error){ 0 }), -1);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity), cmocka_unit_test(edid), cmocka_unit_test(picture), cmocka_unit_test(formats),
		cmocka_unit_test(pointer), cmocka_unit_test(refused), cmocka_unit_test(limits), cmocka_unit_test(fences), cmocka_unit_test(saved),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
