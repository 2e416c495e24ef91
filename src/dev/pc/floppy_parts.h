/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_FLOPPY_PARTS_H
#define VISOR_DEV_PC_FLOPPY_PARTS_H

#include "dev/pc/floppy.h"

/* Inside the floppy controller. */

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR_DSR, REG_FIFO };

#define DOR_SELECT 0x03u
#define DOR_NOT_RESET 0x04u
#define DOR_DMA_GATE 0x08u
#define DOR_MOTOR(drive) (0x10u << (drive))
#define DSR_RESET 0x80u
#define MSR_BUSY 0x10u
#define MSR_NON_DMA 0x20u
#define MSR_TO_HOST 0x40u
#define MSR_READY 0x80u

#define ST0_SEEK_END 0x20u
#define ST0_ABNORMAL 0x40u
#define ST0_INVALID 0x80u
#define ST0_EQUIPMENT 0x10u
#define ST0_POLL 0xc0u
#define ST1_NO_ADDRESS 0x01u
#define ST1_WRITE_PROTECTED 0x02u
#define ST1_NO_DATA 0x04u
#define ST1_OVERRUN 0x10u
#define ST1_CRC 0x20u
#define ST1_END 0x80u
#define ST2_BAD_CYLINDER 0x02u
#define ST2_WRONG_CYLINDER 0x10u
#define ST3_TWO_SIDES 0x08u
#define ST3_TRACK_0 0x10u
#define ST3_READY 0x20u
#define ST3_WRITE_PROTECTED 0x40u

#define CHANNEL 2u
#define SECTOR 512u
#define MULTITRACK 0x80u
#define SEEK_NS 1000000u
#define SECTOR_NS 100000u /* quicker than the disk turns (11 ms); the order of events is what counts */
#define TRACK_LAST 83u

enum phase { PHASE_COMMAND, PHASE_EXECUTE, PHASE_RESULT, PHASES };

/* What goes on in the execution phase. */
enum stage { STAGE_NONE, STAGE_DISK, STAGE_TO_HOST, STAGE_FROM_HOST, STAGE_DELAY, STAGES };

struct floppy_drive {
	bool present;
	struct block *block;
	uint8_t track;
	bool changed;   /* DSKCHG: set until the head steps with a disk in the drive */
	uint8_t seek_to;
	bool seeking;
	struct timer timer;
	struct floppy *floppy;
	unsigned number;
};

struct floppy {
	struct device device;
	struct io_space *ports;
	struct irq_line irq;
	struct i8237 *dma;
	struct io_region region, region7;
	struct floppy_drive drive[FLOPPY_DRIVES];

	/* Saved: */
	uint8_t dor, dsr, ccr, tdr;
	uint8_t phase, stage;
	uint8_t command[9], command_length, command_have;
	uint8_t result[10], result_length, result_next;
	bool line, non_dma;
	uint8_t pending[4];      /* ST0 for SENSE INTERRUPT STATUS, by drive; 0xff: none */
	uint8_t specify[2], configure[3], perpendicular, lock_bit;
	uint8_t cylinder, head, sector, size_code, last_sector;
	uint8_t st1, st2;
	uint16_t position;       /* in the buffer */
	uint8_t formatted;       /* sectors of FORMAT TRACK done */
	bool terminal_count;
	uint8_t buffer[SECTOR];
	uint64_t delay_at, seek_at[FLOPPY_DRIVES];

	struct timer delay;
	struct block_request request;
	struct iovec iov;
	bool in_flight;
};

struct floppy_geometry {
	unsigned cylinders, heads, sectors;
};

/* The command's code without its flags (table 5-1). */
#define OP(f) ((f)->command[0] & 0x1f)
#define OP_READ_TRACK 0x02u
#define OP_WRITE 0x05u
#define OP_READ 0x06u
#define OP_WRITE_DELETED 0x09u
#define OP_READ_DELETED 0x0cu
#define OP_FORMAT 0x0du
#define OP_VERIFY 0x16u

/* --- floppy_transfer.c: disks, results, the commands that move data --- */
struct floppy_geometry floppy_geometry_of(const struct block *block);
struct floppy_drive *floppy_drive_of(struct floppy *f, unsigned number);      /* NULL: there is none */
struct floppy_drive *floppy_command_drive(struct floppy *f);                  /* the one that the command names */
bool floppy_disk_in(const struct floppy_drive *drive);
void floppy_set_irq(struct floppy *f, bool level);
void floppy_command_phase(struct floppy *f);
void floppy_result_phase(struct floppy *f, unsigned length);
/* Ends a command that moves data, with an error in ST1 and ST2. */
void floppy_fail(struct floppy *f, uint8_t st1, uint8_t st2);
void floppy_channel_ready(void *opaque);
void floppy_after_delay(void *opaque);
void floppy_cmd_transfer(struct floppy *f);
void floppy_cmd_read_track(struct floppy *f);
void floppy_cmd_verify(struct floppy *f);
void floppy_cmd_format(struct floppy *f);
void floppy_cmd_read_id(struct floppy *f);
/* The FIFO while data moves without DMA. */
uint8_t floppy_execute_read(struct floppy *f);
void floppy_execute_write(struct floppy *f, uint8_t value);

/* --- floppy_command.c: the other commands, and the FIFO --- */
void floppy_seek_done(void *opaque);
uint8_t floppy_fifo_read(struct floppy *f);
void floppy_fifo_write(struct floppy *f, uint8_t value);

#endif
