/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CD-ROM drive as a SCSI target. */
#include "dev/scsi/disk.h"

#include <stdlib.h>

#define INQUIRY 0x12
#define REPORT_LUNS 0xa0

static void carry_out(struct scsi_request *request, uint8_t *data)
{
	struct mmc_outcome outcome;
	mmc_command(&request->disk->mmc, request->cdb, data, &outcome);
	switch (outcome.step) {
	case MMC_DONE:
		if (outcome.key)
			scsi_check_condition(request, outcome.key, outcome.asc, 0);
		else
			scsi_good(request);
		break;
	case MMC_REPLY:
		if (request->lun && request->cdb[0] == INQUIRY)
			data[0] = 0x7f; /* nothing is there, and nothing can be */
		scsi_reply(request, data, outcome.size, outcome.size);
		break;
	case MMC_READ:
		scsi_read_range(request, outcome.offset, outcome.length);
		break;
	}
}

void scsi_cdrom_command(struct scsi_request *request)
{
	uint8_t operation = request->cdb[0], *data;
	if (operation == REPORT_LUNS)
		scsi_report_luns(request);
	else if (request->lun && operation != INQUIRY)
		scsi_illegal(request, ASC_NO_LUN);
	else if (!(data = malloc(MMC_REPLY_MAX)))
		scsi_check_condition(request, KEY_NOT_READY, 0x04, 0); /* for a reason that is not to be told */
	else {
		carry_out(request, data);
		free(data);
	}
}
