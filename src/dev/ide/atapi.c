/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD-ROM drive: the PACKET command (ATA/ATAPI-6, 9.10 and 9.11) with commands of the drive's own (dev/scsi/mmc.h).
 */
#include "base/util.h"
#include "dev/ide/drive.h"
#include "dev/scsi/sense.h"

#define PACKET_SIZE 12u

void ide_packet_end(struct ide_drive *drive, uint8_t key, uint8_t asc)
{
	mmc_set_sense(&drive->mmc, key, asc);
	drive->now.count = REASON_COMMAND | REASON_IN;
	ide_complete(drive, key ? (uint8_t)(key << 4 | (key == KEY_ILLEGAL_REQUEST || key == KEY_NOT_READY ? ERROR_ABRT : 0)) : 0);
}

void ide_packet_begin(struct ide_drive *drive)
{
	drive->wants_dma = drive->now.features & 1;
	uint32_t limit = drive->now.mid | (uint32_t)drive->now.high << 8;
	/* Even, but for one that is larger than the transfer; 0 is of no use and taken for the most (9.10). */
	limit = limit && limit != 0xffff ? limit & ~1u : 0xfffe;
	drive->block_bytes = MAX(limit, 2u);
	if (drive->now.features & 2) { /* overlapped */
		ide_complete(drive, ERROR_ABRT);
		return;
	}
	ide_receive(drive, PACKET_SIZE, FOR_PACKET, false);
	drive->now.count = REASON_COMMAND;
}

void ide_packet_run(struct ide_drive *drive)
{
	struct mmc_outcome outcome;
	drive->position = drive->limit = drive->filled = 0;
	drive->transfer = TRANSFER_NONE;
	mmc_command(&drive->mmc, drive->packet, drive->buffer, &outcome);
	switch (outcome.step) {
	case MMC_DONE:
		ide_packet_end(drive, outcome.key, outcome.asc);
		break;
	case MMC_REPLY:
		ide_reply(drive, outcome.size);
		break;
	case MMC_READ:
		drive->offset = outcome.offset;
		drive->left = outcome.length;
		ide_start_read(drive, drive->wants_dma);
		break;
	}
}
