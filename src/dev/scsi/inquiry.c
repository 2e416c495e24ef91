/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk says of itself: INQUIRY and its pages (SPC-2, 7.3 and 8.4; SBC-3, 6.5), REPORT LUNS. */
#include "dev/scsi/disk.h"

#include <string.h>

#include "base/util.h"

#define REPLY 96u

static void put_text(uint8_t *at, const char *text, unsigned size)
{
	memset(at, ' ', size);
	memcpy(at, text, strnlen(text, size));
}

static unsigned standard(uint8_t *data)
{
	data[2] = 4;          /* SPC-2 */
	data[3] = 2;          /* the format of this data */
	data[4] = 36 - 5;
	data[7] = 0x32;       /* 16 bits wide, synchronous, command queueing */
	put_text(data + 8, "VISOR", 8);
	put_text(data + 16, "SCSI DISK", 16);
	put_text(data + 32, "1.0", 4);
	return 36;
}

static unsigned identification(const struct scsi_disk *disk, uint8_t *data)
{
	unsigned length = 8 + (unsigned)strlen(disk->serial);
	data[4] = 2;          /* ASCII */
	data[5] = 1;          /* vendor identification and what the vendor likes */
	data[7] = (uint8_t)length;
	put_text(data + 8, "VISOR", 8);
	memcpy(data + 16, disk->serial, length - 8);
	return 8 + length;
}

static unsigned block_limits(const struct scsi_disk *disk, uint8_t *data)
{
	data[4] = 1;          /* WRITE SAME needs a number of blocks */
	store_be(data + 6, MAX(disk->block->physical_block / BLOCK_SECTOR, 1u), 2);
	store_be(data + 8, SCSI_MAX_BLOCKS, 4);
	store_be(data + 20, disk->block->read_only ? 0 : SCSI_MAX_BLOCKS, 4);
	store_be(data + 24, disk->block->read_only ? 0 : SCSI_RANGES, 4);
	store_be(data + 36, SCSI_MAX_BLOCKS, 8);
	return 64;
}

/* The length of a page of vital product data, 0: there is none. */
static unsigned page(const struct scsi_disk *disk, unsigned code, uint8_t *data)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
	unsigned size = 0;
	switch (code) {
	case 0x00:
		memcpy(data + 4, pages, sizeof(pages));
		size = 4 + sizeof(pages);
		break;
	case 0x80:
		size = 4 + (unsigned)strlen(disk->serial);
		memcpy(data + 4, disk->serial, size - 4);
		break;
	case 0x83: size = identification(disk, data); break;
	case 0xb0: size = block_limits(disk, data); break;
	case 0xb1:
		data[5] = 1;  /* does not rotate */
		size = 64;
		break;
	case 0xb2:
		data[5] = disk->block->read_only ? 0 : 0xe0; /* UNMAP, WRITE SAME with UNMAP */
		size = 8;
		break;
	}
	data[1] = (uint8_t)code;
	store_be(data + 2, size - 4, 2);
	return size;
}

void scsi_inquiry(struct scsi_request *request)
{
	uint8_t data[REPLY] = { 0 };
	bool vital = request->cdb[1] & 1;
	if (request->cdb[1] & 2 || (!vital && request->cdb[2])) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	unsigned size = vital ? page(request->disk, request->cdb[2], data) : standard(data);
	if (!size) {
		scsi_illegal(request, ASC_INVALID_FIELD);
		return;
	}
	if (request->lun)
		data[0] = 0x7f; /* nothing is there, and nothing can be */
	scsi_reply(request, data, size, load_be(request->cdb + 3, 2));
}

void scsi_report_luns(struct scsi_request *request)
{
	uint8_t data[16] = { 0, 0, 0, 8 };
	uint32_t allocation = load_be(request->cdb + 6, 4);
	if (allocation < 16)
		scsi_illegal(request, ASC_INVALID_FIELD);
	else
		scsi_reply(request, data, sizeof(data), allocation);
}
