/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_DISK_H
#define VISOR_DEV_SCSI_DISK_H

#include "dev/scsi/scsi.h"

/* Inside the SCSI disk. Sense keys and additional sense codes are those of SPC-2, 8.2.14 and annex C. */
#define KEY_NOT_READY 0x02
#define KEY_MEDIUM_ERROR 0x03
#define KEY_ILLEGAL_REQUEST 0x05
#define KEY_UNIT_ATTENTION 0x06
#define KEY_DATA_PROTECT 0x07

#define ASC_WRITE_ERROR 0x0c
#define ASC_READ_ERROR 0x11
#define ASC_PARAMETER_LENGTH 0x1a
#define ASC_INVALID_OPCODE 0x20
#define ASC_LBA_RANGE 0x21
#define ASC_INVALID_FIELD 0x24
#define ASC_NO_LUN 0x25
#define ASC_INVALID_PARAMETER 0x26
#define ASC_WRITE_PROTECTED 0x27
#define ASC_RESET 0x29
#define ASC_PARAMETERS_CHANGED 0x2a

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

/* --- inquiry.c --- */
void scsi_inquiry(struct scsi_request *request);
void scsi_report_luns(struct scsi_request *request);

/* --- mode.c --- */
void scsi_mode_sense(struct scsi_request *request);
void scsi_mode_select(struct scsi_request *request);

/* --- medium.c: what moves blocks --- */
void scsi_read(struct scsi_request *request);
void scsi_write(struct scsi_request *request);
void scsi_verify(struct scsi_request *request);
void scsi_write_same(struct scsi_request *request);
void scsi_unmap(struct scsi_request *request);
void scsi_synchronize(struct scsi_request *request);
void scsi_seek(struct scsi_request *request);
void scsi_release_buffers(struct scsi_request *request);

#endif
