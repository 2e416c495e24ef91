/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_MMC_H
#define VISOR_DEV_SCSI_MMC_H

#include "block/block.h"
#include "state/field.h"

/*
 * A CD-ROM drive apart from what it hangs on: the commands of SPC-2 and MMC-3 that a read-only drive has to know. Its owner moves the data, by
 * ATAPI packets or as a SCSI target, under a lock of its own.
 */
#define MMC_CDB_SIZE 12
#define MMC_REPLY_MAX 4096u

struct mmc_drive {
	struct block *block;       /* NULL: there is no disc */
	bool atapi;                /* which of the two it says that it is */
	/* Saved: */
	uint8_t sense_key, asc, ascq;
	bool tray_locked, tray_open;
	uint8_t attention;         /* a unit attention to report: its ASC, 0: none */
	uint8_t media_event;       /* for GET EVENT STATUS NOTIFICATION */
};

extern const struct field mmc_fields[];

enum mmc_step {
	MMC_DONE,  /* it ends with this sense; key 0: good */
	MMC_REPLY, /* the first `size` bytes of the reply are for the host, then it ends well; never 0 */
	MMC_READ,  /* so are `length` bytes at `offset` of the disc; never 0 */
};

struct mmc_outcome {
	enum mmc_step step;
	uint8_t key, asc;
	uint32_t size;
	uint64_t offset, length;
};

/* Carries a command out, or says what is to be done for it. `data` takes the reply. */
void mmc_command(struct mmc_drive *drive, const uint8_t cdb[MMC_CDB_SIZE], uint8_t data[MMC_REPLY_MAX], struct mmc_outcome *outcome);
/* What REQUEST SENSE is going to say: of a command that ended. */
void mmc_set_sense(struct mmc_drive *drive, uint8_t key, uint8_t asc);

/* Whether the disc may be taken out: not while the guest has locked the tray, unless forced. EBUSY. */
int mmc_may_change(const struct mmc_drive *drive, const char *name, bool force, struct error *err);
/* `block` is another one now; the guest is going to be told. */
void mmc_medium_changed(struct mmc_drive *drive, struct block *block);

#endif
