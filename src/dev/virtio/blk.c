/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request of the guest's becomes a struct blk_request: header and ranges
 * are copied once, its buffers are the guest's pages. It makes one or more
 * requests to the disk, one after another: one range after the other for discard
 * and write-zeroes, a flush after a write for a driver that cannot flush. The last
 * completion, or the first that fails, writes the status byte and gives the
 * chain back.
 */
#include "dev/virtio/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iovec.h"
#include "base/log.h"
#include "base/util.h"

#define QUEUE_SIZE 256

/* 5.2.3 */
#define F_SIZE_MAX 1
#define F_SEG_MAX 2
#define F_READ_ONLY 5
#define F_BLK_SIZE 6
#define F_FLUSH 9
#define F_TOPOLOGY 10
#define F_MULTI_QUEUE 12
#define F_DISCARD 13
#define F_WRITE_ZEROES 14

/* 5.2.6 */
#define T_IN 0
#define T_OUT 1
#define T_FLUSH 4
#define T_GET_ID 8
#define T_DISCARD 11
#define T_WRITE_ZEROES 13
#define STATUS_OK 0
#define STATUS_IO_ERROR 1
#define STATUS_UNSUPPORTED 2
#define ID_LENGTH 20
#define RANGE_F_UNMAP 1

/* Limits, so that what is under way ends soon enough for a reset to wait for it. */
#define MAX_SEGMENT 65536u
#define MAX_TRANSFER (QUEUE_SIZE * MAX_SEGMENT)
#define MAX_RANGES 16
#define MAX_RANGE_SECTORS (1u << 18) /* 128 MiB: some file systems have to be given the zeros one by one */

struct blk_config_space { /* 5.2.4; little-endian as the host */
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

struct virtio_blk {
	struct virtio_device virtio;
	struct block *block;
	struct blk_config_space space;
	char serial[ID_LENGTH];
	unsigned in_flight;  /* requests that the disk has */
};

struct blk_request {
	struct block_request disk;
	struct virtio_blk *blk;
	unsigned queue;
	struct virtqueue_element element;
	uint32_t type;
	uint32_t data_in;    /* bytes that a successful read gives the guest */
	unsigned range, range_count;
	struct blk_range ranges[MAX_RANGES];
	struct iovec *data;  /* the pieces of the guest's data, inside iov */
	struct iovec iov[];  /* element's pieces, then room for as many pieces of data */
};

static struct virtio_blk *blk_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_blk, virtio);
}

/* The status byte is the last one that the guest gave us to write (5.2.6). */
static void complete(struct virtio_blk *blk, unsigned queue, const struct virtqueue_element *element, uint8_t status,
		     uint32_t data_in)
{
	const struct iovec *in = element->iov + element->out_count;
	if (!element->in_size) {
		virtio_fail(&blk->virtio, "block request without a status byte");
		return;
	}
	iov_write(in, element->in_count, element->in_size - 1, &status, 1);
	/* The length says how much is good from the first writable byte on (2.7.8.2); the status byte comes last. */
	bool all = data_in + 1 == element->in_size;
	virtio_push(&blk->virtio, queue, element, all ? data_in + 1 : data_in);
	virtio_signal(&blk->virtio, queue);
}

static void disk_done(struct block_request *disk, int error);

static void submit(struct blk_request *request, enum block_op op, uint64_t offset, uint64_t length)
{
	request->disk = (struct block_request){
		.op = op, .offset = offset, .length = length, .iov = request->data, .iov_count = request->disk.iov_count,
		.may_unmap = request->ranges[request->range].flags & RANGE_F_UNMAP,
		.done = disk_done, .opaque = request,
	};
	block_submit(request->blk->block, &request->disk);
}

static void submit_range(struct blk_request *request)
{
	const struct blk_range *range = &request->ranges[request->range];
	submit(request, request->type == T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES,
	       range->sector * BLOCK_SECTOR, (uint64_t)range->sectors * BLOCK_SECTOR);
}

/* True when another request to the disk was made for it. */
static bool go_on(struct blk_request *request)
{
	if (request->range + 1 < request->range_count) {
		request->range++;
		submit_range(request);
		return true;
	}
	bool write = request->disk.op != BLOCK_READ && request->disk.op != BLOCK_FLUSH;
	if (!write || virtio_has_feature(&request->blk->virtio, F_FLUSH))
		return false;
	submit(request, BLOCK_FLUSH, 0, 0);
	return true;
}

static void disk_done(struct block_request *disk, int error)
{
	struct blk_request *request = disk->opaque;
	struct virtio_blk *blk = request->blk;
	if (!error && go_on(request))
		return;
	if (error == ECANCELED) { /* before a reset: as if the driver had never asked */
		blk->in_flight--;
		free(request);
		return;
	}
	if (error)
		log_warn_once("%s: %s: %s (reported to the guest as an I/O error; further ones are not logged)",
			      blk->virtio.device.name, blk->block->name, strerror(error));
	blk->in_flight--;
	complete(blk, request->queue, &request->element, error ? STATUS_IO_ERROR : STATUS_OK,
		 error ? 0 : request->data_in);
	free(request);
}

static struct blk_request *make_request(struct virtio_blk *blk, unsigned queue, const struct virtqueue_element *element,
					uint32_t type)
{
	unsigned count = element->out_count + element->in_count;
	struct blk_request *request = calloc(1, sizeof(*request) + 2 * count * sizeof(struct iovec));
	if (!request)
		return NULL;
	request->blk = blk;
	request->queue = queue;
	request->element = *element;
	request->element.iov = request->iov;
	request->type = type;
	request->data = request->iov + count;
	memcpy(request->iov, element->iov, count * sizeof(struct iovec));
	return request;
}

/* The rules for a request, with a negative number for "not ours to judge", else the status that it ends with. */
static int check_transfer(const struct virtio_blk *blk, const struct blk_header *header, uint64_t length)
{
	uint64_t sectors = length / BLOCK_SECTOR, capacity = blk->space.capacity;
	if (length % BLOCK_SECTOR || !length || length > MAX_TRANSFER || header->sector > capacity || sectors > capacity - header->sector)
		return STATUS_IO_ERROR;
	return header->type == T_OUT && blk->block->read_only ? STATUS_IO_ERROR : -1;
}

/* 5.2.6.2 */
static int check_ranges(const struct virtio_blk *blk, const struct blk_request *request)
{
	for (unsigned i = 0; i < request->range_count; i++) {
		const struct blk_range *range = &request->ranges[i];
		uint32_t allowed = request->type == T_WRITE_ZEROES ? RANGE_F_UNMAP : 0;
		if (range->flags & ~allowed)
			return STATUS_UNSUPPORTED;
		if (range->sectors > MAX_RANGE_SECTORS || range->sector > blk->space.capacity ||
		    range->sectors > blk->space.capacity - range->sector)
			return STATUS_IO_ERROR;
	}
	return blk->block->read_only ? STATUS_IO_ERROR : -1;
}

static int start_transfer(struct blk_request *request, const struct blk_header *header)
{
	const struct virtqueue_element *element = &request->element;
	bool in = header->type == T_IN;
	uint64_t length = in ? element->in_size - 1 : element->out_size - sizeof(*header);
	int status = check_transfer(request->blk, header, length);
	if (status >= 0)
		return status;
	if (in)
		request->disk.iov_count = iovec_slice(element->iov + element->out_count, element->in_count, 0, length,
						      request->data, element->in_count);
	else
		request->disk.iov_count = iovec_slice(element->iov, element->out_count, sizeof(*header), length,
						      request->data, element->out_count);
	request->data_in = in ? (uint32_t)length : 0;
	submit(request, in ? BLOCK_READ : BLOCK_WRITE, header->sector * BLOCK_SECTOR, length);
	return -1;
}

static int start_ranges(struct blk_request *request)
{
	const struct virtqueue_element *element = &request->element;
	uint64_t length = element->out_size - sizeof(struct blk_header);
	if (!length || length % sizeof(struct blk_range) || length > sizeof(request->ranges))
		return STATUS_IO_ERROR;
	request->range_count = (unsigned)(length / sizeof(struct blk_range));
	iov_read(element->iov, element->out_count, sizeof(struct blk_header), request->ranges, length);
	int status = check_ranges(request->blk, request);
	if (status < 0)
		submit_range(request);
	return status;
}

/* Gives the request to the disk, or the status that it ends with at once. */
static int start(struct blk_request *request, const struct blk_header *header)
{
	struct virtio_device *virtio = &request->blk->virtio;
	switch (header->type) {
	case T_IN:
	case T_OUT:
		return start_transfer(request, header);
	case T_FLUSH:
		submit(request, BLOCK_FLUSH, 0, 0);
		return -1;
	case T_DISCARD:
		return virtio_has_feature(virtio, F_DISCARD) ? start_ranges(request) : STATUS_UNSUPPORTED;
	case T_WRITE_ZEROES:
		return virtio_has_feature(virtio, F_WRITE_ZEROES) ? start_ranges(request) : STATUS_UNSUPPORTED;
	default:
		return STATUS_UNSUPPORTED;
	}
}

static void get_id(struct virtio_blk *blk, unsigned queue, const struct virtqueue_element *element)
{
	uint32_t length = (uint32_t)MIN(element->in_size - 1, (uint64_t)ID_LENGTH);
	iov_write(element->iov + element->out_count, element->in_count, 0, blk->serial, length);
	complete(blk, queue, element, STATUS_OK, length);
}

static bool take_request(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_blk *blk = blk_of(virtio);
	struct blk_header header;
	if (!element->in_size || iov_read(element->iov, element->out_count, 0, &header, sizeof(header)) < sizeof(header)) {
		virtio_fail(virtio, "block request without header or status byte");
		return false;
	}
	if (header.type == T_GET_ID) {
		get_id(blk, queue, element);
		return true;
	}
	struct blk_request *request = make_request(blk, queue, element, header.type);
	if (!request) {
		complete(blk, queue, element, STATUS_IO_ERROR, 0);
		return true;
	}
	/* Counted first: a worker that calls at once may complete it inside `start`. */
	blk->in_flight++;
	int status = start(request, &header);
	if (status >= 0) {
		blk->in_flight--;
		complete(blk, queue, element, (uint8_t)status, 0);
		free(request);
	}
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	virtio_serve_chains(virtio, queue, take_request);
}

static void quiesce(struct virtio_device *virtio)
{
	struct virtio_blk *blk = blk_of(virtio);
	if (blk->in_flight)
		block_drain(blk->block);
}

static void cancel(struct virtio_device *virtio)
{
	struct virtio_blk *blk = blk_of(virtio);
	if (blk->in_flight)
		block_cancel(blk->block);
}

static const struct virtio_ops blk_ops = { .serve = serve, .quiesce = quiesce, .cancel = cancel };

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_blk, virtio, virtio_device_fields),
	FIELD_END
};

static void destroy(void *device)
{
	struct virtio_blk *blk = device;
	lock_take(&blk->virtio.lock);
	quiesce(&blk->virtio);
	lock_release(&blk->virtio.lock);
	block_close(blk->block);
	virtio_device_destroy(&blk->virtio);
	free(blk);
}

static const struct device_type virtio_blk_type = {
	.name = "virtio-blk",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = virtio_device_loaded,
	.destroy = destroy,
};

static void fill_config_space(struct virtio_blk *blk, unsigned queues)
{
	const struct block *block = blk->block;
	unsigned physical = block->physical_block >= BLOCK_SECTOR ? block->physical_block / BLOCK_SECTOR : 1;
	blk->space = (struct blk_config_space){
		.capacity = block->size / BLOCK_SECTOR,
		.size_max = MAX_SEGMENT,
		.seg_max = QUEUE_SIZE - 2, /* header and status take a descriptor each */
		.blk_size = BLOCK_SECTOR,
		.physical_block_exp = (uint8_t)(31 - __builtin_clz(physical)),
		.min_io_size = (uint16_t)MIN(physical, 0x8000u),
		.writeback = 1,
		.num_queues = (uint16_t)queues,
		.max_discard_sectors = MAX_RANGE_SECTORS,
		.max_discard_seg = MAX_RANGES,
		.discard_sector_alignment = physical,
		.max_write_zeroes_sectors = MAX_RANGE_SECTORS,
		.max_write_zeroes_seg = MAX_RANGES,
		.write_zeroes_may_unmap = 1,
	};
}

struct virtio_blk *virtio_blk_create(const struct virtio_blk_config *config, struct error *err)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	if (!blk) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	struct virtio_device *virtio = &blk->virtio;
	unsigned queues = MAX(1u, MIN(config->cpus, (unsigned)VIRTIO_BLK_MAX_QUEUES));
	blk->block = config->block;
	fill_config_space(blk, queues);
	const char *serial = config->serial ? config->serial : config->device.name;
	memcpy(blk->serial, serial, strnlen(serial, ID_LENGTH));
	virtio->ops = &blk_ops;
	virtio->type = VIRTIO_TYPE_BLOCK;
	virtio->class_code = 0x010000;
	virtio->queue_count = queues;
	virtio->config = (const uint8_t *)&blk->space;
	virtio->config_size = sizeof(blk->space);
	virtio->offered = BIT64(F_SIZE_MAX) | BIT64(F_SEG_MAX) | BIT64(F_BLK_SIZE) | BIT64(F_FLUSH) | BIT64(F_TOPOLOGY) | BIT64(F_MULTI_QUEUE);
	virtio->offered |= blk->block->read_only ? BIT64(F_READ_ONLY) : BIT64(F_DISCARD) | BIT64(F_WRITE_ZEROES);
	virtio_device_init(virtio, &virtio_blk_type, &config->device, QUEUE_SIZE);
	block_set_owner(blk->block, &virtio->lock);
	return blk;
}
