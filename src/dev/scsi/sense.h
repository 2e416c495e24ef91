/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_SENSE_H
#define VISOR_DEV_SCSI_SENSE_H

/* Sense keys and additional sense codes (SPC-2, 8.2.14 and annex C; MMC-3, annex F). */
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
#define ASC_MEDIUM_CHANGED 0x28
#define ASC_RESET 0x29
#define ASC_PARAMETERS_CHANGED 0x2a
#define ASC_INCOMPATIBLE_MEDIUM 0x30
#define ASC_SAVING_PARAMETERS 0x39 /* is not supported */
#define ASC_NO_MEDIUM 0x3a
#define ASC_REMOVAL_PREVENTED 0x53
#define ASC_WRONG_TRACK_MODE 0x64

#endif
