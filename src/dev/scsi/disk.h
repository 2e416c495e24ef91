/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_DISK_H
#define VISOR_DEV_SCSI_DISK_H

#include "dev/scsi/scsi.h"
#include "dev/scsi/sense.h"

/* Inside the SCSI disk. */
static inline uint64_t scsi_blocks(const struct scsi_disk *disk)
{
	return disk->block->size / BLOCK_SECTOR;
}

/* --- disk.c --- */
void scsi_good(struct scsi_request *request);
static inline void scsi_illegal(struct scsi_request *request, uint8_t asc)
{
	scsi_check_condition(request, KEY_ILLEGAL_REQUEST, asc, 0);
}
/* Gives the initiator as much of `size` bytes as it allows, and ends the command. */
void scsi_reply(struct scsi_request *request, const void *data, uint32_t size, uint64_t allocation);
/* Copies the initiator's parameters, at most `size` bytes; how many there were. */
uint32_t scsi_parameters(struct scsi_request *request, void *to, uint32_t size);

/* --- cdrom.c --- */
void scsi_cdrom_command(struct scsi_request *request);

/* --- inquiry.c --- */
void scsi_inquiry(struct scsi_request *request);
void scsi_report_luns(struct scsi_request *request);

/* --- mode.c --- */
void scsi_mode_sense(struct scsi_request *request);
void scsi_mode_select(struct scsi_request *request);

/* --- medium.c: what moves blocks --- */
void scsi_read(struct scsi_request *request);
/* Bytes of the disc, which are on it. */
void scsi_read_range(struct scsi_request *request, uint64_t offset, uint64_t length);
void scsi_write(struct scsi_request *request);
void scsi_verify(struct scsi_request *request);
void scsi_write_same(struct scsi_request *request);
void scsi_unmap(struct scsi_request *request);
void scsi_synchronize(struct scsi_request *request);
void scsi_seek(struct scsi_request *request);
void scsi_release_buffers(struct scsi_request *request);

#endif
