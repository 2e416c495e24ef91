/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command from its descriptor block to its status: which ones there are, what
 * comes before all of them (LUN, unit attention, readiness), and the small ones.
 */
#include "dev/scsi/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

const struct field scsi_disk_fields[] = {
	FIELD(struct scsi_disk, sense_key),
	FIELD(struct scsi_disk, asc),
	FIELD(struct scsi_disk, ascq),
	FIELD_RESET(struct scsi_disk, attention, ASC_RESET),
	FIELD_RESET(struct scsi_disk, write_cache, 1),
	FIELD(struct scsi_disk, stopped),
	FIELD(struct scsi_disk, reserved),
	FIELD_STRUCT(struct scsi_disk, mmc, mmc_fields),
	FIELD_END
};

/* --- ends --- */

static void end(struct scsi_request *request, uint8_t status)
{
	request->status = status;
	scsi_release_buffers(request);
	request->done(request, false);
}

void scsi_good(struct scsi_request *request)
{
	end(request, SCSI_GOOD);
}

/* Fixed format (SPC-2, 7.23.2). */
static void put_sense(uint8_t *sense, uint8_t key, uint8_t asc, uint8_t ascq)
{
	memset(sense, 0, SCSI_SENSE_SIZE);
	sense[0] = 0x70;
	sense[2] = key;
	sense[7] = SCSI_SENSE_SIZE - 8;
	sense[12] = asc;
	sense[13] = ascq;
}

void scsi_check_condition(struct scsi_request *request, uint8_t key, uint8_t asc, uint8_t ascq)
{
	struct scsi_disk *disk = request->disk;
	put_sense(request->sense, key, asc, ascq);
	if (disk && !request->autosense && disk->cdrom) {
		mmc_set_sense(&disk->mmc, key, asc);
	} else if (disk && !request->autosense) {
		disk->sense_key = key;
		disk->asc = asc;
		disk->ascq = ascq;
	}
	end(request, SCSI_CHECK_CONDITION);
}

/* --- small data --- */

void scsi_reply(struct scsi_request *request, const void *data, uint32_t size, uint64_t allocation)
{
	bool allowed = request->direction == SCSI_ANY || request->direction == SCSI_IN;
	const uint8_t *from = data;
	request->in = true;
	request->wanted = MIN((uint64_t)size, allocation);
	uint64_t left = allowed ? MIN(request->wanted, request->length) : 0;
	for (unsigned i = 0; i < request->iov_count && left; i++) {
		size_t take = (size_t)MIN(left, (uint64_t)request->iov[i].iov_len);
		memcpy(request->iov[i].iov_base, from, take);
		from += take;
		left -= take;
		request->moved += take;
	}
	scsi_good(request);
}

uint32_t scsi_parameters(struct scsi_request *request, void *to, uint32_t size)
{
	bool allowed = request->direction == SCSI_ANY || request->direction == SCSI_OUT;
	uint8_t *at = to;
	request->wanted = size;
	uint64_t left = allowed ? MIN((uint64_t)size, request->length) : 0;
	for (unsigned i = 0; i < request->iov_count && left; i++) {
		size_t take = (size_t)MIN(left, (uint64_t)request->iov[i].iov_len);
		memcpy(at, request->iov[i].iov_base, take);
		at += take;
		left -= take;
		request->moved += take;
	}
	return (uint32_t)request->moved;
}

/* --- small commands --- */

static void request_sense(struct scsi_request *request)
{
	struct scsi_disk *disk = request->disk;
	uint8_t sense[SCSI_SENSE_SIZE];
	bool attention = !disk->sense_key && disk->attention;
	if (request->lun)
		put_sense(sense, KEY_ILLEGAL_REQUEST, ASC_NO_LUN, 0);
	else if (attention)
		put_sense(sense, KEY_UNIT_ATTENTION, disk->attention, 0);
	else
		put_sense(sense, disk->sense_key, disk->asc, disk->ascq);
	if (!request->lun) {
		disk->attention = attention ? 0 : disk->attention;
		disk->sense_key = disk->asc = disk->ascq = 0;
	}
	scsi_reply(request, sense, sizeof(sense), request->cdb[4]);
}

static void start_stop(struct scsi_request *request)
{
	if (request->cdb[4] >> 4) {
		scsi_illegal(request, ASC_INVALID_FIELD); /* power conditions */
		return;
	}
	request->disk->stopped = !(request->cdb[4] & 1);
	scsi_good(request);
}

/* Of the whole unit (SPC-2, 7.21): other machines then get a conflict from most commands. */
static void reserve(struct scsi_request *request)
{
	struct scsi_disk *disk = request->disk;
	if (request->cdb[1] & 0x11) {
		scsi_illegal(request, ASC_INVALID_FIELD); /* for a third party, or an extent */
	} else if (block_reserve(disk->block, true)) {
		end(request, SCSI_RESERVATION_CONFLICT);
	} else {
		disk->reserved = true;
		scsi_good(request);
	}
}

static void let_go(struct scsi_disk *disk)
{
	block_reserve(disk->block, false); /* `reserved` may have been reset before */
	disk->reserved = false;
}

static void release(struct scsi_request *request)
{
	let_go(request->disk);
	scsi_good(request);
}

/* Self-tests without a page are allowed, and there is nothing to find (SPC-2, 7.24). */
static void send_diagnostic(struct scsi_request *request)
{
	if (request->cdb[1] & 4)
		scsi_good(request);
	else
		scsi_illegal(request, ASC_INVALID_FIELD);
}

static void read_capacity_10(struct scsi_request *request)
{
	uint8_t data[8];
	uint64_t last = scsi_blocks(request->disk) - 1;
	store_be(data, MIN(last, (uint64_t)UINT32_MAX), 4);
	store_be(data + 4, BLOCK_SECTOR, 4);
	scsi_reply(request, data, sizeof(data), sizeof(data));
}

static void read_capacity_16(struct scsi_request *request)
{
	const struct block *block = request->disk->block;
	unsigned physical = MAX(block->physical_block / BLOCK_SECTOR, 1u);
	uint8_t data[32] = { 0 };
	store_be(data, scsi_blocks(request->disk) - 1, 8);
	store_be(data + 8, BLOCK_SECTOR, 4);
	data[13] = (uint8_t)(31 - __builtin_clz(physical));
	data[14] = block->read_only ? 0 : 0x80; /* LBPME: UNMAP is there */
	scsi_reply(request, data, sizeof(data), load_be(request->cdb + 10, 4));
}

static void service_action_in(struct scsi_request *request)
{
	if ((request->cdb[1] & 31) == 0x10)
		read_capacity_16(request);
	else
		scsi_illegal(request, ASC_INVALID_FIELD);
}

/* --- all of them --- */

#define ANY_TIME 1u    /* with a unit attention waiting, or to a LUN that is not there (SPC-2, 5.3 and 5.6.5) */
#define NEEDS_MEDIUM 2u
#define WRITES 4u
#define ANY_INITIATOR 8u /* also while another one has reserved the disk (SPC-2, table 9; SBC-2, table 4) */

static const struct command {
	void (*fn)(struct scsi_request *request);
	uint8_t flags;
} commands[256] = {
	[0x00] = { scsi_good, NEEDS_MEDIUM },          /* TEST UNIT READY */
	[0x01] = { scsi_good, NEEDS_MEDIUM },          /* REZERO UNIT */
	[0x03] = { request_sense, ANY_TIME | ANY_INITIATOR },
	[0x08] = { scsi_read, NEEDS_MEDIUM },
	[0x0a] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0x0b] = { scsi_seek, NEEDS_MEDIUM },
	[0x12] = { scsi_inquiry, ANY_TIME | ANY_INITIATOR },
	[0x15] = { scsi_mode_select, 0 },
	[0x16] = { reserve, 0 },
	[0x17] = { release, ANY_INITIATOR },
	[0x1a] = { scsi_mode_sense, 0 },
	[0x1b] = { start_stop, 0 },
	[0x1d] = { send_diagnostic, 0 },
	[0x1e] = { scsi_good, 0 },                     /* PREVENT ALLOW MEDIUM REMOVAL */
	[0x25] = { read_capacity_10, NEEDS_MEDIUM | ANY_INITIATOR },
	[0x28] = { scsi_read, NEEDS_MEDIUM },
	[0x2a] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0x2b] = { scsi_seek, NEEDS_MEDIUM },
	[0x2e] = { scsi_write, NEEDS_MEDIUM | WRITES }, /* WRITE AND VERIFY */
	[0x2f] = { scsi_verify, NEEDS_MEDIUM },
	[0x35] = { scsi_synchronize, NEEDS_MEDIUM },
	[0x41] = { scsi_write_same, NEEDS_MEDIUM | WRITES },
	[0x42] = { scsi_unmap, NEEDS_MEDIUM | WRITES },
	[0x55] = { scsi_mode_select, 0 },
	[0x56] = { reserve, 0 },
	[0x57] = { release, ANY_INITIATOR },
	[0x5a] = { scsi_mode_sense, 0 },
	[0x88] = { scsi_read, NEEDS_MEDIUM },
	[0x8a] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0x8e] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0x8f] = { scsi_verify, NEEDS_MEDIUM },
	[0x91] = { scsi_synchronize, NEEDS_MEDIUM },
	[0x93] = { scsi_write_same, NEEDS_MEDIUM | WRITES },
	[0x9e] = { service_action_in, NEEDS_MEDIUM },
	[0xa0] = { scsi_report_luns, ANY_TIME | ANY_INITIATOR },
	[0xa8] = { scsi_read, NEEDS_MEDIUM },
	[0xaa] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0xae] = { scsi_write, NEEDS_MEDIUM | WRITES },
	[0xaf] = { scsi_verify, NEEDS_MEDIUM },
};

static void carry_out(struct scsi_request *request)
{
	struct scsi_disk *disk = request->disk;
	const struct command *command = &commands[request->cdb[0]];
	uint8_t attention = disk->attention;
	bool any_time = command->flags & ANY_TIME;
	if (request->lun && !any_time) {
		scsi_illegal(request, ASC_NO_LUN);
		return;
	}
	if (attention && !any_time) {
		disk->attention = 0;
		scsi_check_condition(request, KEY_UNIT_ATTENTION, attention, 0);
		return;
	}
	if (!(command->flags & ANY_INITIATOR) && block_reserved(disk->block)) {
		end(request, SCSI_RESERVATION_CONFLICT);
		return;
	}
	if (request->cdb[0] != 0x03)
		disk->sense_key = disk->asc = disk->ascq = 0;
	if (!command->fn)
		scsi_illegal(request, ASC_INVALID_OPCODE);
	else if (command->flags & NEEDS_MEDIUM && disk->stopped)
		scsi_check_condition(request, KEY_NOT_READY, 0x04, 0x02); /* START UNIT is needed */
	else if (command->flags & WRITES && disk->block->read_only)
		scsi_check_condition(request, KEY_DATA_PROTECT, ASC_WRITE_PROTECTED, 0);
	else
		command->fn(request);
}

void scsi_disk_submit(struct scsi_disk *disk, struct scsi_request *request)
{
	request->disk = disk;
	request->block = (struct block_request){ 0 };
	request->wanted = request->moved = 0;
	request->in = request->flush_after = false;
	request->range_count = request->range_at = 0;
	request->scratch = (struct iovec){ 0 };
	request->slice = NULL;
	if (disk->cdrom)
		scsi_cdrom_command(request);
	else
		carry_out(request);
}

void scsi_disk_init(struct scsi_disk *disk, struct block *block, const char *serial)
{
	*disk = (struct scsi_disk){ .block = block };
	snprintf(disk->serial, sizeof(disk->serial), "%s", serial);
	fields_reset(scsi_disk_fields, disk);
}

void scsi_cdrom_init(struct scsi_disk *disk, struct block *block)
{
	*disk = (struct scsi_disk){ .block = block, .cdrom = true, .mmc.block = block };
	fields_reset(scsi_disk_fields, disk);
}

void scsi_change_medium(struct scsi_disk *disk, struct block *block)
{
	block_close(disk->block);
	disk->block = block;
	mmc_medium_changed(&disk->mmc, block);
}

void scsi_disk_reset(struct scsi_disk *disk)
{
	if (!disk->cdrom)
		let_go(disk);
	fields_reset(scsi_disk_fields, disk);
}

void scsi_disk_loaded(struct scsi_disk *disk)
{
	if (!disk->reserved || block_reserve(disk->block, true) == 0)
		return;
	disk->reserved = false;
	disk->attention = ASC_RESET;
}

void scsi_disk_close(struct scsi_disk *disk)
{
	block_close(disk->block);
	disk->block = NULL;
	disk->cdrom = false;
}
