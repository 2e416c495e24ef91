/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/scsi/scsi.h"
#include "fuzz.h"

/*
 * Commands of any bytes to a SCSI disk, or, by the input's size, a CD-ROM drive: each ends exactly once, moves no more than its buffer holds, and never touches what is
 * beyond the disk or the buffer. An input is a row of commands: a byte of the CDB's length and direction, one of the
 * buffer's length in pieces of 64 bytes, the CDB, then the buffer's first bytes.
 */
#define DISK (256u << 10)
#define BUFFER (256u * 64)
#define GUARD 0xa5

static uint8_t disk_bytes[DISK];
static unsigned ended;

static int perform(struct block *block, const struct block_request *request)
{
	uint64_t at = request->offset, left = request->length;
	fuzz_require(at <= DISK && left <= DISK - at && at % BLOCK_SECTOR == 0 && left % BLOCK_SECTOR == 0);
	if (request->op == BLOCK_WRITE_ZEROES || request->op == BLOCK_DISCARD)
		memset(disk_bytes + at, 0, left);
	if (request->op != BLOCK_READ && request->op != BLOCK_WRITE)
		return 0;
	for (unsigned i = 0; left; i++) {
		fuzz_require(i < request->iov_count && request->iov[i].iov_len <= left);
		if (request->op == BLOCK_READ)
			memcpy(request->iov[i].iov_base, disk_bytes + at, request->iov[i].iov_len);
		else
			memcpy(disk_bytes + at, request->iov[i].iov_base, request->iov[i].iov_len);
		at += request->iov[i].iov_len;
		left -= request->iov[i].iov_len;
	}
	return 0;
}

static void close_nothing(struct block *block)
{
}

static const struct block_ops ops = { .perform = perform, .close = close_nothing };
static struct block block = { .ops = &ops, .name = "fuzz", .size = DISK, .physical_block = 4096 };

static void never(void *opaque, void (*fn)(void *), void *arg)
{
}

static void on_done(struct scsi_request *request, bool cancelled)
{
	fuzz_require(!cancelled);
	fuzz_require(request->status == SCSI_GOOD || request->status == SCSI_CHECK_CONDITION);
	fuzz_require(request->moved <= request->length && request->moved <= request->wanted);
	if (request->status == SCSI_CHECK_CONDITION)
		fuzz_require(request->sense[0] == 0x70 && request->sense[2]);
	ended++;
}

static void run(struct scsi_disk *disk, uint8_t first, const uint8_t *cdb, unsigned cdb_length, uint8_t pieces, const uint8_t *data,
		size_t size)
{
	static uint8_t buffer[BUFFER + 64];
	struct iovec iov[2];
	struct scsi_request request = {
		.lun = first >> 7, .autosense = first >> 6 & 1, .direction = (enum scsi_direction)(first >> 4 & 3), .iov = iov, .iov_count = 2,
		.length = pieces * 64u, .done = on_done,
	};
	size_t cut = request.length / 3;
	iov[0] = (struct iovec){ buffer, cut };
	iov[1] = (struct iovec){ buffer + cut, request.length - cut };
	memset(buffer, GUARD, sizeof(buffer));
	memcpy(buffer, data, MIN(size, (size_t)request.length));
	memcpy(request.cdb, cdb, cdb_length);
	ended = 0;
	scsi_disk_submit(disk, &request);
	block_drain(&block);
	fuzz_require(ended == 1);
	for (unsigned i = 0; i < 64; i++)
		fuzz_require(buffer[request.length + i] == GUARD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct scsi_disk targets[2];
	struct scsi_disk *target = &targets[size % 5 == 4];
	if (!block.queue) {
		const struct block_config config = { .path = "fuzz", .worker = { never, NULL } };
		struct error err;
		fuzz_require(block_start(&block, &config, &err) == 0);
		scsi_disk_init(&targets[0], &block, "fuzz");
		scsi_cdrom_init(&targets[1], &block);
	}
	block.read_only = size % 7 == 6;
	scsi_disk_reset(target);
	target->attention = target->mmc.attention = 0;
	target->mmc.tray_open = false; /* which a reset does not change */
	for (unsigned commands = 0; size >= 2 && commands < 32; commands++) {
		unsigned cdb_length = MIN(1u + (data[0] & 15), SCSI_CDB_SIZE);
		if (size < 2 + cdb_length)
			break;
		const uint8_t *rest = data + 2 + cdb_length;
		size_t left = size - 2 - cdb_length, used = MIN(left, MIN((size_t)data[1] * 64, (size_t)48));
		run(target, data[0], data + 2, cdb_length, data[1], rest, used);
		data = rest + used;
		size = left - used;
	}
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const uint8_t read_write[] = {
		15, 8, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0,
	};
	static const uint8_t inquiry[] = { 5, 2, 0x12, 1, 0xb0, 0, 64, 0 };
	static const uint8_t capacity[] = { 15, 1, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0 };
	static const uint8_t unmap[] = {
		9, 1, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0,
	};
	static const uint8_t write_same[] = { 9, 8, 0x41, 0, 0, 0, 0, 3, 0, 0, 9, 0, 1, 2, 3, 4 };
	static const uint8_t mode[] = { 5, 4, 0x1a, 0, 0x3f, 0, 255, 0 };
	static const uint8_t select[] = { 5, 1, 0x15, 0x10, 0, 0, 24, 0, 0, 0, 0, 0, 0x08, 18, 0, 0, 0, 0 };
	static const uint8_t drive[][2 + 12] = {
		{ 9, 4, 0x28, 0, 0, 0, 0, 4, 0, 0, 8, 0 }, { 9, 4, 0x43, 0, 0, 0, 0, 0, 0, 1, 0, 0 }, { 9, 4, 0x5a, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0 },
		{ 9, 4, 0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0 }, { 9, 4, 0x4a, 1, 0, 0, 0x10, 0, 0, 1, 0, 0 }, { 11, 4, 0xbe, 0, 0, 0, 0, 1, 0, 0, 2, 0x10, 0, 0 },
		{ 5, 4, 0x1b, 0, 0, 0, 2, 0 }, { 5, 4, 0x12, 0, 0, 0, 96, 0 }, { 11, 4, 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(drive); i++) {
		char name[16];
		uint8_t input[19] = { 0 }; /* of a size for the drive */
		memcpy(input, drive[i], sizeof(drive[i]));
		snprintf(name, sizeof(name), "drive%u", i);
		emit(opaque, name, input, sizeof(input));
	}
#define SEED(name) emit(opaque, #name, name, sizeof(name))
	SEED(read_write);
	SEED(inquiry);
	SEED(capacity);
	SEED(unmap);
	SEED(write_same);
	SEED(mode);
	SEED(select);
}
