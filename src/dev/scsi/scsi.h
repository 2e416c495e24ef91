/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_SCSI_H
#define VISOR_DEV_SCSI_SCSI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/block.h"
#include "dev/scsi/mmc.h"
#include "state/field.h"

/*
 * A SCSI disk apart from the adapter that it hangs on: commands of SPC-2 and
 * SBC-2 (with READ CAPACITY (16), UNMAP and WRITE SAME of SBC-3) on a disk of the block back end. Or a CD-ROM drive, with the commands of mmc.h.
 *
 * An adapter fills a request and submits it. `done` comes once, inside the call
 * or later on the disk's worker, both with the lock that the disk's owner has been given. Many
 * requests may be under way; they end in any order (the queue algorithm modifier of the control page says so).
 */
#define SCSI_CDB_SIZE 16
#define SCSI_SENSE_SIZE 18
#define SCSI_MAX_BLOCKS 65536u /* that one command moves, verifies or writes */
#define SCSI_RANGES 16

/* Status byte (SAM-2, 5.3). */
#define SCSI_GOOD 0x00
#define SCSI_CHECK_CONDITION 0x02
#define SCSI_RESERVATION_CONFLICT 0x18

/* Which way the initiator lets data go. */
enum scsi_direction { SCSI_ANY, SCSI_IN, SCSI_OUT, SCSI_NO_DATA };

struct scsi_disk {
	struct block *block;          /* NULL: there is no disk, or none in the drive */
	bool cdrom;
	struct mmc_drive mmc;         /* then this is saved instead of what follows; it has the same block */
	char serial[21];
	/* Saved: */
	uint8_t sense_key, asc, ascq; /* for REQUEST SENSE */
	uint8_t attention;            /* a unit attention to report: its ASC, 0: none */
	bool write_cache;             /* WCE of the caching page */
	bool stopped;
	bool reserved;                /* for us, of those who share the disk */
};

/* For the owner's list of fields. */
extern const struct field scsi_disk_fields[];

struct scsi_range {
	uint64_t offset, length; /* bytes */
};

struct scsi_request {
	/* The initiator's: */
	uint8_t cdb[SCSI_CDB_SIZE];   /* zeros after the bytes that were sent */
	uint8_t lun;
	bool autosense;               /* it takes the sense data from here */
	enum scsi_direction direction;
	const struct iovec *iov;      /* its buffer, until `done` */
	unsigned iov_count;
	uint64_t length;              /* of the buffer */
	void (*done)(struct scsi_request *request, bool cancelled);
	/* The result: */
	uint8_t status;
	uint8_t sense[SCSI_SENSE_SIZE]; /* fixed format; of meaning with CHECK CONDITION */
	uint64_t wanted;              /* bytes that the command would move, the buffer permitting */
	uint64_t moved;
	bool in;                      /* they went into the buffer */
	/* The disk's own: */
	struct scsi_disk *disk;
	struct block_request block;
	struct scsi_range range[SCSI_RANGES];
	unsigned range_count, range_at;
	uint64_t piece, piece_max;    /* bytes under way, and at most at once */
	bool flush_after;
	struct iovec scratch;         /* a buffer of our own; base NULL: none */
	struct iovec *slice;          /* a part of iov */
};

/* The block becomes the disk's own. serial: up to 20 characters. */
void scsi_disk_init(struct scsi_disk *disk, struct block *block, const char *serial);
/* The same for a CD-ROM drive; block may be NULL. */
void scsi_cdrom_init(struct scsi_disk *disk, struct block *block);
/* Another disc, or none; nothing is under way at the old one, which is closed. */
void scsi_change_medium(struct scsi_disk *disk, struct block *block);
static inline bool scsi_present(const struct scsi_disk *disk)
{
	return disk->block || disk->cdrom;
}
void scsi_disk_close(struct scsi_disk *disk);
/* Power on, bus reset, bus device reset: a unit attention waits, mode pages have their defaults. Nothing is under way. */
void scsi_disk_reset(struct scsi_disk *disk);
/* After a load: takes again what it had reserved, or says that it has been reset. */
void scsi_disk_loaded(struct scsi_disk *disk);

void scsi_disk_submit(struct scsi_disk *disk, struct scsi_request *request);

/* Ends a request for a target without a disk at this LUN; for the adapter's own use, too. */
void scsi_check_condition(struct scsi_request *request, uint8_t key, uint8_t asc, uint8_t ascq);

#endif
