/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that move blocks. A request has a list of ranges of the disk, which
 * are handed to the back end piece by piece, one after another; the last completion ends the command.
 */
#include "dev/scsi/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define SCRATCH 65536u
#define FUA 0x08u

void scsi_release_buffers(struct scsi_request *request)
{
	free(request->scratch.iov_base);
	free(request->slice);
	request->scratch.iov_base = NULL;
	request->slice = NULL;
}

/* --- pieces --- */

static void piece_done(struct block_request *block, int error);

static void submit(struct scsi_request *request, uint64_t offset, uint64_t length)
{
	request->piece = length;
	request->block.offset = offset;
	request->block.length = length;
	request->block.done = piece_done;
	request->block.opaque = request;
	if (request->scratch.iov_base) {
		request->scratch.iov_len = length;
		request->block.iov = &request->scratch;
		request->block.iov_count = 1;
	}
	block_submit(request->disk->block, &request->block);
}

/* The next piece, or a flush after the last one; false: that was all. */
static bool next_piece(struct scsi_request *request)
{
	while (request->range_at < request->range_count && !request->range[request->range_at].length)
		request->range_at++;
	if (request->range_at < request->range_count) {
		struct scsi_range *range = &request->range[request->range_at];
		uint64_t offset = range->offset, length = MIN(range->length, request->piece_max);
		range->offset += length;
		range->length -= length;
		submit(request, offset, length);
		return true;
	}
	if (!request->flush_after)
		return false;
	request->flush_after = false;
	scsi_release_buffers(request);
	request->block = (struct block_request){ .op = BLOCK_FLUSH };
	submit(request, 0, 0);
	return true;
}

static void piece_done(struct block_request *block, int error)
{
	struct scsi_request *request = block->opaque;
	if (error == ECANCELED) {
		scsi_release_buffers(request);
		request->done(request, true);
		return;
	}
	if (error) {
		log_warn_once("%s: %s (reported to the guest as a medium error; further ones are not logged)",
			      request->disk->block->name, strerror(error));
		scsi_check_condition(request, KEY_MEDIUM_ERROR, block->op == BLOCK_READ ? ASC_READ_ERROR : ASC_WRITE_ERROR, 0);
		return;
	}
	if ((block->op == BLOCK_READ || block->op == BLOCK_WRITE) && !request->scratch.iov_base)
		request->moved += request->piece;
	if (!next_piece(request))
		scsi_good(request);
}

static void start(struct scsi_request *request, enum block_op op, uint64_t piece_max)
{
	request->block = (struct block_request){ .op = op, .may_unmap = request->block.may_unmap, .iov = request->block.iov,
						 .iov_count = request->block.iov_count };
	request->piece_max = piece_max;
	if (!next_piece(request))
		scsi_good(request);
}

static bool make_scratch(struct scsi_request *request)
{
	request->scratch.iov_base = calloc(1, SCRATCH);
	if (!request->scratch.iov_base)
		scsi_check_condition(request, KEY_MEDIUM_ERROR, ASC_READ_ERROR, 0);
	return request->scratch.iov_base;
}

/* --- the command's range --- */

/* First block and number of blocks of the command; false: the command has ended. */
static bool take_range(struct scsi_request *request, uint64_t *first, uint64_t *count)
{
	const uint8_t *cdb = request->cdb;
	switch (cdb[0] >> 5) {
	case 0:
		*first = load_be(cdb + 1, 3) & 0x1fffff;
		*count = cdb[4] ? cdb[4] : 256;
		break;
	case 1:
	case 2:
		*first = load_be(cdb + 2, 4);
		*count = load_be(cdb + 7, 2);
		break;
	case 4:
		*first = load_be64(cdb + 2);
		*count = load_be(cdb + 10, 4);
		break;
	default:
		*first = load_be(cdb + 2, 4);
		*count = load_be(cdb + 6, 4);
	}
	uint64_t blocks = scsi_blocks(request->disk);
	if (*first > blocks || *count > blocks - *first) {
		scsi_illegal(request, ASC_LBA_RANGE);
		return false;
	}
	if (*count > SCSI_MAX_BLOCKS) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return false;
	}
	request->range[0] = (struct scsi_range){ *first * BLOCK_SECTOR, *count * BLOCK_SECTOR };
	request->range_count = 1;
	return true;
}

/* The first `length` bytes of the initiator's buffer as the back end's. */
static bool take_buffer(struct scsi_request *request, uint64_t length)
{
	request->block.iov = request->iov;
	request->block.iov_count = request->iov_count;
	if (length == request->length)
		return true;
	request->slice = malloc(request->iov_count * sizeof(*request->slice) + 1);
	if (!request->slice)
		return false;
	unsigned count = 0;
	for (; length; count++) {
		request->slice[count] = request->iov[count];
		request->slice[count].iov_len = (size_t)MIN(length, (uint64_t)request->iov[count].iov_len);
		length -= request->slice[count].iov_len;
	}
	request->block.iov = request->slice;
	request->block.iov_count = count;
	return true;
}

/* The one range that the request has. */
static void transfer(struct scsi_request *request, enum block_op op)
{
	enum scsi_direction needed = op == BLOCK_READ ? SCSI_IN : SCSI_OUT;
	/* What the initiator has no room for is not moved; it sees to that by `wanted`. */
	bool allowed = request->direction == SCSI_ANY || request->direction == needed;
	uint64_t room = allowed ? ALIGN_DOWN(request->length, (uint64_t)BLOCK_SECTOR) : 0;
	request->wanted = request->range[0].length;
	request->in = op == BLOCK_READ;
	request->range[0].length = MIN(request->wanted, room);
	if (!take_buffer(request, request->range[0].length)) {
		scsi_check_condition(request, KEY_MEDIUM_ERROR, ASC_READ_ERROR, 0);
		return;
	}
	start(request, op, UINT64_MAX);
}

void scsi_read(struct scsi_request *request)
{
	uint64_t first, count;
	if (take_range(request, &first, &count))
		transfer(request, BLOCK_READ);
}

void scsi_read_range(struct scsi_request *request, uint64_t offset, uint64_t length)
{
	request->range[0] = (struct scsi_range){ offset, length };
	request->range_count = 1;
	transfer(request, BLOCK_READ);
}

void scsi_write(struct scsi_request *request)
{
	request->flush_after = !request->disk->write_cache || (request->cdb[0] >= 0x20 && request->cdb[1] & FUA);
	uint64_t first, count;
	if (take_range(request, &first, &count))
		transfer(request, BLOCK_WRITE);
}

void scsi_seek(struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;
	uint32_t block = cdb[0] < 0x20 ? load_be(cdb + 1, 3) & 0x1fffff : load_be(cdb + 2, 4);
	if (block >= scsi_blocks(request->disk))
		scsi_illegal(request, ASC_LBA_RANGE);
	else
		scsi_good(request);
}

/* Without a comparison with the initiator's data. */
void scsi_verify(struct scsi_request *request)
{
	uint64_t first, count;
	if (request->cdb[1] & 6)
		scsi_illegal(request, ASC_INVALID_FIELD);
	else if (take_range(request, &first, &count) && make_scratch(request))
		start(request, BLOCK_READ, SCRATCH);
}

void scsi_synchronize(struct scsi_request *request)
{
	request->flush_after = true;
	start(request, BLOCK_FLUSH, 0);
}

/* --- WRITE SAME and UNMAP --- */

static void fill(uint8_t *at, const uint8_t *block)
{
	for (unsigned i = 0; i < SCRATCH; i += BLOCK_SECTOR)
		memcpy(at + i, block, BLOCK_SECTOR);
}

void scsi_write_same(struct scsi_request *request)
{
	static const uint8_t zeros[BLOCK_SECTOR];
	uint8_t block[BLOCK_SECTOR] = { 0 };
	uint64_t first, count;
	uint8_t flags = request->cdb[1];
	bool no_data = request->cdb[0] == 0x93 && flags & 0x01;
	/* Protection, ANCHOR, and the obsolete ways to write addresses instead of data. */
	if (flags & 0xf6 || (flags & 0x01 && !no_data)) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	request->block.may_unmap = flags & 0x08;
	if (!take_range(request, &first, &count))
		return;
	if (!count || (!no_data && scsi_parameters(request, block, sizeof(block)) < sizeof(block))) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	request->flush_after = !request->disk->write_cache;
	if (!memcmp(block, zeros, sizeof(zeros))) {
		start(request, BLOCK_WRITE_ZEROES, UINT64_MAX);
	} else if (make_scratch(request)) {
		fill(request->scratch.iov_base, block);
		start(request, BLOCK_WRITE, SCRATCH);
	}
}

/* Descriptors of 16 bytes after a header of 8 (SBC-3, 5.28.2). */
static uint8_t take_ranges(struct scsi_request *request, const uint8_t *at, uint32_t length)
{
	uint64_t blocks = scsi_blocks(request->disk);
	for (; length >= 16; at += 16, length -= 16) {
		uint64_t first = load_be64(at), count = load_be(at + 8, 4);
		if (request->range_count == SCSI_RANGES || count > SCSI_MAX_BLOCKS)
			return ASC_INVALID_PARAMETER;
		if (first > blocks || count > blocks - first)
			return ASC_LBA_RANGE;
		request->range[request->range_count++] = (struct scsi_range){ first * BLOCK_SECTOR, count * BLOCK_SECTOR };
	}
	return 0;
}

void scsi_unmap(struct scsi_request *request)
{
	uint8_t data[8 + 16 * (SCSI_RANGES + 1)];
	uint32_t length = load_be(request->cdb + 7, 2);
	if (request->cdb[1] & 1 || length > sizeof(data)) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	length = scsi_parameters(request, data, length);
	if (!length) {
		scsi_good(request);
		return;
	}
	if (length < 8) {
		scsi_illegal(request, ASC_PARAMETER_LENGTH);
		return;
	}
	uint8_t wrong = take_ranges(request, data + 8, MIN(length - 8, load_be(data + 2, 2)));
	if (wrong)
		scsi_illegal(request, wrong);
	else
		start(request, BLOCK_DISCARD, UINT64_MAX);
}
