/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command comes in three phases (82077AA data sheet, 5.0): the host writes
 * the command and its parameters to the FIFO, the controller executes it, the host
 * reads the result. Between the sectors of a transfer the disk has a request, and
 * the channel may keep the controller waiting.
 */
#include "dev/pc/floppy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

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

struct drive {
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
	struct drive drive[FLOPPY_DRIVES];

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

struct geometry {
	unsigned cylinders, heads, sectors;
};

/* --- disks --- */

/* The format of which an image is the whole, or the beginning. */
static struct geometry geometry_of(const struct block *block)
{
	static const struct geometry known[] = {
		{ 40, 1, 8 }, { 40, 1, 9 }, { 40, 2, 8 }, { 40, 2, 9 }, { 80, 2, 9 }, { 80, 2, 15 }, { 80, 2, 18 }, { 80, 2, 21 },
		{ 80, 2, 36 },
	};
	uint64_t sectors = block->size / SECTOR;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (sectors == known[i].cylinders * known[i].heads * known[i].sectors)
			return known[i];
	return sectors > 2880 ? known[8] : known[6];
}

static struct drive *drive_of(struct floppy *f, unsigned number)
{
	return number < FLOPPY_DRIVES && f->drive[number].present ? &f->drive[number] : NULL;
}

static struct drive *command_drive(struct floppy *f)
{
	return drive_of(f, f->command[1] & 3);
}

static bool disk_in(const struct drive *drive)
{
	return drive && drive->block;
}

/* --- interrupts and results --- */

static void set_irq(struct floppy *f, bool level)
{
	f->line = level;
	irq_set(&f->irq, level && f->dor & DOR_DMA_GATE);
}

static void command_phase(struct floppy *f)
{
	f->phase = PHASE_COMMAND;
	f->stage = STAGE_NONE;
	f->command_have = f->command_length = 0;
}

static void result_phase(struct floppy *f, unsigned length)
{
	f->phase = PHASE_RESULT;
	f->stage = STAGE_NONE;
	f->result_length = (uint8_t)length;
	f->result_next = 0;
}

/* The seven result bytes of the commands that move data. */
static void finish(struct floppy *f, uint8_t st0)
{
	uint8_t *r = f->result;
	r[0] = (uint8_t)(st0 | (f->command[1] & 7));
	r[1] = f->st1;
	r[2] = f->st2;
	r[3] = f->cylinder;
	r[4] = f->head;
	r[5] = f->sector;
	r[6] = f->size_code;
	result_phase(f, 7);
	set_irq(f, true);
}

static void fail(struct floppy *f, uint8_t st1, uint8_t st2)
{
	f->st1 |= st1;
	f->st2 |= st2;
	finish(f, ST0_ABNORMAL);
}

/* --- read, write, verify, format --- */

#define OP(f) ((f)->command[0] & 0x1f)
#define OP_READ_TRACK 0x02u
#define OP_WRITE 0x05u
#define OP_READ 0x06u
#define OP_WRITE_DELETED 0x09u
#define OP_READ_DELETED 0x0cu
#define OP_FORMAT 0x0du
#define OP_VERIFY 0x16u

static bool op_writes(const struct floppy *f)
{
	return OP(f) == OP_WRITE || OP(f) == OP_WRITE_DELETED || OP(f) == OP_FORMAT;
}

static void begin_sector(struct floppy *f);
static void take_format(struct floppy *f);
static void request_done(struct block_request *request, int error);

static uint64_t sector_offset(const struct floppy *f, const struct geometry *g)
{
	return ((uint64_t)(f->cylinder * g->heads + f->head) * g->sectors + f->sector - 1) * SECTOR;
}

static void submit(struct floppy *f, enum block_op op)
{
	struct drive *drive = command_drive(f);
	const struct geometry g = geometry_of(drive->block);
	f->iov = (struct iovec){ f->buffer, SECTOR };
	f->request = (struct block_request){
		.op = op, .offset = sector_offset(f, &g), .length = SECTOR, .iov = &f->iov, .iov_count = 1, .done = request_done, .opaque = f,
	};
	f->stage = STAGE_DISK;
	/* An image may end before its last track; what is missing reads as zeros and cannot be written. */
	if (f->request.offset + SECTOR > drive->block->size) {
		memset(f->buffer, 0, op == BLOCK_READ ? SECTOR : 0);
		request_done(&f->request, op == BLOCK_READ ? 0 : EIO);
		return;
	}
	f->in_flight = true;
	block_submit(drive->block, &f->request);
}

/* A disk of another density has no marks that this data rate could read (0: 500, 1: 300, 2: 250 kbit/s, 3: 1 Mbit/s). */
static bool rate_fits(const struct floppy *f, const struct geometry *g)
{
	unsigned wanted = g->sectors > 21 ? 3 : g->sectors > 9 ? 0 : 2;
	return (f->ccr & 3) == wanted;
}

/* Where the head has to be for the sector, or the command has ended. */
static bool find_sector(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	if (!disk_in(drive) || !(f->dor & DOR_MOTOR(drive->number))) {
		fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	const struct geometry g = geometry_of(drive->block);
	if (!rate_fits(f, &g)) {
		fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	if (f->cylinder != drive->track) {
		fail(f, ST1_NO_DATA, f->cylinder == 0xff ? ST2_BAD_CYLINDER : ST2_WRONG_CYLINDER);
		return false;
	}
	if (f->cylinder >= g.cylinders || f->head >= g.heads) {
		fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	if (f->sector < 1 || f->sector > g.sectors || f->size_code != 2) {
		fail(f, ST1_NO_DATA, 0);
		return false;
	}
	if (op_writes(f) && drive->block->read_only) {
		fail(f, ST1_WRITE_PROTECTED, 0);
		return false;
	}
	return true;
}

/* The address after this sector (5.1.1, table 5-7); false: the command ends with it. */
static bool next_sector(struct floppy *f)
{
	if (f->sector != f->last_sector) {
		f->sector++;
		return true;
	}
	f->sector = 1;
	if (f->command[0] & MULTITRACK && !f->head) {
		f->head = 1;
		f->command[1] |= 4;
		return true;
	}
	f->head = f->command[0] & MULTITRACK ? 0 : f->head;
	f->cylinder++;
	return false;
}

static void sector_done(struct floppy *f)
{
	bool more = next_sector(f);
	if (f->terminal_count)
		finish(f, 0);
	else if (more)
		begin_sector(f);
	else if (OP(f) == OP_VERIFY)
		finish(f, 0);
	else
		fail(f, ST1_END, 0); /* the host wanted more: no terminal count came */
}

/* Moves the buffer by the channel, as far as that goes now. */
static void run_dma(struct floppy *f)
{
	bool out = f->stage == STAGE_TO_HOST;
	unsigned size = OP(f) == OP_FORMAT ? 4 : SECTOR;
	while (f->position < size && !f->terminal_count) {
		bool terminal;
		size_t n = i8237_transfer(f->dma, CHANNEL, out ? I8237_TO_MEMORY : I8237_FROM_MEMORY, f->buffer + f->position,
					  size - f->position, &terminal);
		if (!n)
			return; /* the channel calls again */
		f->position = (uint16_t)(f->position + n);
		f->terminal_count = terminal;
	}
	if (out) {
		sector_done(f);
		return;
	}
	if (OP(f) == OP_FORMAT) {
		take_format(f);
		return;
	}
	/* A sector that the host cut short ends with zeros. */
	memset(f->buffer + f->position, 0, SECTOR - f->position);
	submit(f, BLOCK_WRITE);
}

static void channel_ready(void *opaque)
{
	struct floppy *f = opaque;
	if (f->phase == PHASE_EXECUTE && !f->non_dma && (f->stage == STAGE_TO_HOST || f->stage == STAGE_FROM_HOST) &&
	    f->dor & DOR_DMA_GATE)
		run_dma(f);
}

static void offer(struct floppy *f, enum stage stage)
{
	f->stage = (uint8_t)stage;
	f->position = 0;
	if (f->non_dma)
		set_irq(f, true);
	else
		channel_ready(f);
}

static void format_sector(struct floppy *f);

static void request_done(struct block_request *request, int error)
{
	struct floppy *f = request->opaque;
	f->in_flight = false;
	if (error == ECANCELED || f->phase != PHASE_EXECUTE || f->stage != STAGE_DISK)
		return;
	if (error) {
		fail(f, request->op == BLOCK_READ ? ST1_CRC : ST1_WRITE_PROTECTED, 0);
	} else if (OP(f) == OP_FORMAT) {
		format_sector(f);
	} else if (request->op == BLOCK_READ && OP(f) != OP_VERIFY) {
		offer(f, STAGE_TO_HOST);
	} else {
		sector_done(f);
	}
}

static void begin_sector(struct floppy *f)
{
	if (!find_sector(f))
		return;
	if (op_writes(f))
		offer(f, STAGE_FROM_HOST);
	else
		submit(f, BLOCK_READ);
}

/* Four bytes for each sector come from the host: cylinder, head, sector, size. */
static void format_sector(struct floppy *f)
{
	if (f->formatted == f->last_sector || f->terminal_count) {
		finish(f, 0);
		return;
	}
	offer(f, STAGE_FROM_HOST);
}

static void take_format(struct floppy *f)
{
	uint8_t address[4];
	memcpy(address, f->buffer, 4);
	f->formatted++;
	f->cylinder = address[0];
	f->head = address[1];
	f->sector = address[2];
	f->size_code = address[3];
	if (!find_sector(f))
		return;
	memset(f->buffer, f->command[5], SECTOR);
	submit(f, BLOCK_WRITE);
}

static void after_delay(void *opaque)
{
	struct floppy *f = opaque;
	if (f->phase != PHASE_EXECUTE || f->stage != STAGE_DELAY)
		return;
	if (OP(f) == OP_FORMAT)
		format_sector(f);
	else
		begin_sector(f);
}

/* Not at once: drivers set up what they wait with after the last byte of the command. */
static void begin_transfer(struct floppy *f)
{
	f->phase = PHASE_EXECUTE;
	f->stage = STAGE_DELAY;
	f->st1 = f->st2 = 0;
	f->terminal_count = false;
	f->non_dma = f->specify[1] & 1;
	timer_arm(&f->delay, vclock_now(f->delay.clock) + SECTOR_NS);
}

static void cmd_transfer(struct floppy *f)
{
	f->cylinder = f->command[2];
	f->head = f->command[3] & 1;
	f->sector = f->command[4];
	f->size_code = f->command[5];
	f->last_sector = f->command[6];
	begin_transfer(f);
}

static void cmd_read_track(struct floppy *f)
{
	cmd_transfer(f);
	f->sector = 1;
}

static void cmd_verify(struct floppy *f)
{
	cmd_transfer(f);
	if (f->command[1] & 0x80) /* EC: the count of sectors stands in the last byte */
		f->last_sector = f->command[8] ? (uint8_t)(f->sector + f->command[8] - 1) : f->last_sector;
}

static void cmd_format(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	f->size_code = f->command[2];
	f->last_sector = f->command[3];
	f->head = f->command[1] >> 2 & 1;
	f->cylinder = drive ? drive->track : 0;
	f->sector = 1;
	f->formatted = 0;
	begin_transfer(f);
}

static void cmd_read_id(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	f->st1 = f->st2 = 0;
	f->head = f->command[1] >> 2 & 1;
	f->cylinder = drive ? drive->track : 0;
	f->sector = 1;
	f->size_code = 2;
	if (!disk_in(drive) || !(f->dor & DOR_MOTOR(drive->number))) {
		fail(f, ST1_NO_ADDRESS, 0);
		return;
	}
	const struct geometry g = geometry_of(drive->block);
	if (!rate_fits(f, &g) || f->cylinder >= g.cylinders || f->head >= g.heads)
		fail(f, ST1_NO_ADDRESS, 0);
	else
		finish(f, 0);
}

/* --- seeks --- */

static void seek_done(void *opaque)
{
	struct drive *drive = opaque;
	struct floppy *f = drive->floppy;
	drive->seeking = false;
	if (drive->track != drive->seek_to && drive->block)
		drive->changed = false;
	drive->track = drive->seek_to;
	f->pending[drive->number] = (uint8_t)(ST0_SEEK_END | drive->number);
	set_irq(f, true);
}

static void begin_seek(struct floppy *f, unsigned number, unsigned track)
{
	struct drive *drive = drive_of(f, number);
	command_phase(f);
	if (!drive) {
		/* Track 0 never comes: equipment check, after as many steps as there can be. */
		f->pending[number] = (uint8_t)(ST0_SEEK_END | ST0_ABNORMAL | ST0_EQUIPMENT | number);
		set_irq(f, true);
		return;
	}
	drive->seek_to = (uint8_t)MIN(track, TRACK_LAST);
	drive->seeking = true;
	timer_arm(&drive->timer, vclock_now(drive->timer.clock) + SEEK_NS);
}

static void cmd_recalibrate(struct floppy *f)
{
	struct drive *drive = drive_of(f, f->command[1] & 3);
	/* The head steps out first, so that the change line drops even at track 0. */
	if (drive && drive->block)
		drive->changed = false;
	begin_seek(f, f->command[1] & 3, 0);
}

static void cmd_seek(struct floppy *f)
{
	begin_seek(f, f->command[1] & 3, f->command[2]);
}

static void cmd_relative_seek(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	int by = f->command[0] & 0x40 ? f->command[2] : -f->command[2], at = drive ? drive->track + by : 0;
	begin_seek(f, f->command[1] & 3, (unsigned)MAX(at, 0));
}

/* --- the others --- */

static void cmd_sense_interrupt(struct floppy *f)
{
	for (unsigned i = 0; i < 4; i++) {
		if (f->pending[i] == 0xff)
			continue;
		f->result[0] = f->pending[i];
		f->result[1] = drive_of(f, i) ? f->drive[i].track : 0;
		f->pending[i] = 0xff;
		set_irq(f, false);
		result_phase(f, 2);
		return;
	}
	f->result[0] = ST0_INVALID;
	result_phase(f, 1);
}

static void cmd_sense_drive(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	uint8_t st3 = (uint8_t)((f->command[1] & 7) | ST3_READY | ST3_TWO_SIDES);
	if (drive && !drive->track)
		st3 |= ST3_TRACK_0;
	if (disk_in(drive) && drive->block->read_only)
		st3 |= ST3_WRITE_PROTECTED;
	f->result[0] = st3;
	result_phase(f, 1);
}

static void cmd_specify(struct floppy *f)
{
	memcpy(f->specify, f->command + 1, 2);
	command_phase(f);
}

static void cmd_configure(struct floppy *f)
{
	memcpy(f->configure, f->command + 1, 3);
	command_phase(f);
}

static void cmd_perpendicular(struct floppy *f)
{
	if (f->command[1] & 0x80)
		f->perpendicular = f->command[1] & 0x7f;
	else
		f->perpendicular = (f->perpendicular & 0x7c) | (f->command[1] & 3);
	command_phase(f);
}

static void cmd_lock(struct floppy *f)
{
	f->lock_bit = f->command[0] >> 7;
	f->result[0] = (uint8_t)(f->lock_bit << 4);
	result_phase(f, 1);
}

static void cmd_version(struct floppy *f)
{
	f->result[0] = 0x90;
	result_phase(f, 1);
}

static void cmd_dumpreg(struct floppy *f)
{
	uint8_t *r = f->result;
	for (unsigned i = 0; i < 4; i++)
		r[i] = i < FLOPPY_DRIVES ? f->drive[i].track : 0;
	memcpy(r + 4, f->specify, 2);
	r[6] = f->last_sector;
	r[7] = (uint8_t)(f->lock_bit << 7 | (f->perpendicular & 0x7f));
	r[8] = f->configure[1];
	r[9] = f->configure[2];
	result_phase(f, 10);
}

static void cmd_part_id(struct floppy *f)
{
	f->result[0] = 0x01;
	result_phase(f, 1);
}

static void cmd_invalid(struct floppy *f)
{
	f->result[0] = ST0_INVALID;
	result_phase(f, 1);
}

struct command {
	uint8_t code, mask, length;
	void (*fn)(struct floppy *f);
};

/* Table 5-1: the bits of the first byte that count, and how many bytes in all. */
static const struct command commands[] = {
	{ OP_READ, 0x1f, 9, cmd_transfer }, { OP_READ_DELETED, 0x1f, 9, cmd_transfer }, { OP_WRITE, 0x3f, 9, cmd_transfer },
	{ OP_WRITE_DELETED, 0x3f, 9, cmd_transfer }, { OP_READ_TRACK, 0x9f, 9, cmd_read_track }, { OP_VERIFY, 0x1f, 9, cmd_verify },
	{ OP_FORMAT, 0xbf, 6, cmd_format }, { 0x0a, 0xbf, 2, cmd_read_id }, { 0x07, 0xff, 2, cmd_recalibrate },
	{ 0x08, 0xff, 1, cmd_sense_interrupt }, { 0x03, 0xff, 3, cmd_specify }, { 0x04, 0xff, 2, cmd_sense_drive },
	{ 0x0f, 0xff, 3, cmd_seek }, { 0x8f, 0xbf, 3, cmd_relative_seek }, { 0x10, 0xff, 1, cmd_version }, { 0x0e, 0xff, 1, cmd_dumpreg },
	{ 0x13, 0xff, 4, cmd_configure }, { 0x12, 0xff, 2, cmd_perpendicular }, { 0x14, 0x7f, 1, cmd_lock }, { 0x18, 0xff, 1, cmd_part_id },
};

static const struct command *find_command(uint8_t byte)
{
	static const struct command invalid = { 0, 0, 1, cmd_invalid };
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if ((byte & commands[i].mask) == commands[i].code)
			return &commands[i];
	return &invalid;
}

/* --- FIFO --- */

static uint8_t execute_read(struct floppy *f)
{
	if (f->stage != STAGE_TO_HOST || !f->non_dma)
		return 0xff;
	uint8_t value = f->buffer[f->position % SECTOR];
	if (++f->position == SECTOR) {
		set_irq(f, false);
		sector_done(f);
	}
	return value;
}

static void execute_write(struct floppy *f, uint8_t value)
{
	if (f->stage != STAGE_FROM_HOST || !f->non_dma)
		return;
	f->buffer[f->position++ % SECTOR] = value;
	if (f->position < (OP(f) == OP_FORMAT ? 4 : SECTOR))
		return;
	set_irq(f, false);
	if (OP(f) == OP_FORMAT)
		take_format(f);
	else
		submit(f, BLOCK_WRITE);
}

static uint8_t fifo_read(struct floppy *f)
{
	if (f->phase == PHASE_EXECUTE)
		return execute_read(f);
	if (f->phase != PHASE_RESULT)
		return 0xff;
	if (!f->result_next && f->result_length == 7)
		set_irq(f, false);
	uint8_t value = f->result[f->result_next++];
	if (f->result_next == f->result_length)
		command_phase(f);
	return value;
}

static void fifo_write(struct floppy *f, uint8_t value)
{
	if (f->phase == PHASE_EXECUTE) {
		execute_write(f, value);
		return;
	}
	if (f->phase != PHASE_COMMAND)
		return;
	if (!f->command_have)
		f->command_length = find_command(value)->length;
	f->command[f->command_have++] = value;
	if (f->command_have == f->command_length)
		find_command(f->command[0])->fn(f);
}

static uint8_t main_status(const struct floppy *f)
{
	uint8_t status = 0;
	if (!(f->dor & DOR_NOT_RESET))
		return 0;
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		status |= (uint8_t)(f->drive[i].seeking << i);
	switch (f->phase) {
	case PHASE_COMMAND: return status | MSR_READY | (f->command_have ? MSR_BUSY : 0);
	case PHASE_RESULT: return status | MSR_READY | MSR_TO_HOST | MSR_BUSY;
	default: break;
	}
	status |= MSR_BUSY;
	if (f->non_dma)
		status |= MSR_NON_DMA;
	if (f->non_dma && f->stage == STAGE_TO_HOST)
		status |= MSR_READY | MSR_TO_HOST;
	if (f->non_dma && f->stage == STAGE_FROM_HOST)
		status |= MSR_READY;
	return status;
}

/* --- reset --- */

static void abandon(struct floppy *f)
{
	struct drive *drive = command_drive(f);
	f->stage = STAGE_NONE;
	if (f->in_flight && disk_in(drive))
		block_cancel(drive->block);
	f->in_flight = false;
	timer_cancel(&f->delay);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
		timer_cancel(&f->drive[i].timer);
		f->drive[i].seeking = false;
	}
	command_phase(f);
}

static void controller_reset(struct floppy *f)
{
	abandon(f);
	memset(f->pending, 0xff, sizeof(f->pending));
	if (!f->lock_bit) {
		f->configure[1] = 0;
		f->configure[2] = 0;
	}
	f->perpendicular &= 0x7c;
	set_irq(f, false);
}

/* Out of reset: in polling mode each drive has news to tell (5.3). */
static void reset_ends(struct floppy *f)
{
	for (unsigned i = 0; i < 4; i++)
		f->pending[i] = (uint8_t)(ST0_POLL | i);
	set_irq(f, true);
}

static void dor_write(struct floppy *f, uint8_t value)
{
	uint8_t changed = f->dor ^ value;
	f->dor = value;
	if (changed & DOR_NOT_RESET) {
		if (value & DOR_NOT_RESET)
			reset_ends(f);
		else
			controller_reset(f);
	}
	set_irq(f, f->line);
	if (changed & DOR_DMA_GATE)
		channel_ready(f);
}

/* --- registers --- */

static uint8_t change_line(const struct floppy *f)
{
	unsigned number = f->dor & DOR_SELECT;
	if (number >= FLOPPY_DRIVES || !f->drive[number].present || !(f->dor & DOR_MOTOR(number)))
		return 0;
	return f->drive[number].changed || !f->drive[number].block ? 0x80 : 0;
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct floppy *f = opaque;
	switch (offset) {
	case REG_SRA: return (uint64_t)(f->line ? 0x80 : 0) | (f->drive[1].present ? 0 : 0x40);
	case REG_SRB: return 0xc0 | (f->dor >> 4 & 3) | (f->dor & 1) << 5;
	case REG_DOR: return f->dor;
	case REG_TDR: return 0xfc | f->tdr;
	case REG_MSR_DSR: return main_status(f);
	case REG_FIFO: return fifo_read(f);
	default: return 0xff;
	}
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct floppy *f = opaque;
	switch (offset) {
	case REG_DOR:
		dor_write(f, (uint8_t)value);
		break;
	case REG_TDR:
		f->tdr = value & 3;
		break;
	case REG_MSR_DSR:
		f->dsr = value & 0x7f;
		f->ccr = value & 3;
		if (value & DSR_RESET) {
			controller_reset(f);
			reset_ends(f);
		}
		break;
	case REG_FIFO:
		if (f->dor & DOR_NOT_RESET)
			fifo_write(f, (uint8_t)value);
		break;
	}
}

static uint64_t dir_read(void *opaque, uint64_t offset, unsigned size)
{
	return change_line(opaque);
}

static void ccr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	((struct floppy *)opaque)->ccr = value & 3;
}

static const struct io_ops region_ops = { region_read, region_write, 1 };
static const struct io_ops region7_ops = { dir_read, ccr_write, 1 };

/* --- state --- */

static const struct field drive_fields[] = {
	FIELD(struct drive, track),
	FIELD_RESET(struct drive, changed, 1),
	FIELD(struct drive, seek_to),
	FIELD(struct drive, seeking),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT_ARRAY(struct floppy, drive, drive_fields),
	FIELD_RESET(struct floppy, dor, DOR_NOT_RESET | DOR_DMA_GATE),
	FIELD(struct floppy, dsr),
	FIELD(struct floppy, ccr),
	FIELD(struct floppy, tdr),
	FIELD(struct floppy, phase),
	FIELD(struct floppy, stage),
	FIELD_BYTES(struct floppy, command),
	FIELD(struct floppy, command_length),
	FIELD(struct floppy, command_have),
	FIELD_BYTES(struct floppy, result),
	FIELD(struct floppy, result_length),
	FIELD(struct floppy, result_next),
	FIELD(struct floppy, line),
	FIELD(struct floppy, non_dma),
	FIELD_ARRAY_RESET(struct floppy, pending, 0xff),
	FIELD_BYTES(struct floppy, specify),
	FIELD_BYTES(struct floppy, configure),
	FIELD(struct floppy, perpendicular),
	FIELD(struct floppy, lock_bit),
	FIELD(struct floppy, cylinder),
	FIELD(struct floppy, head),
	FIELD(struct floppy, sector),
	FIELD(struct floppy, size_code),
	FIELD(struct floppy, last_sector),
	FIELD(struct floppy, st1),
	FIELD(struct floppy, st2),
	FIELD(struct floppy, position),
	FIELD(struct floppy, formatted),
	FIELD(struct floppy, terminal_count),
	FIELD_BYTES(struct floppy, buffer),
	FIELD(struct floppy, delay_at),
	FIELD_ARRAY(struct floppy, seek_at),
	FIELD_END
};

static void reset(void *device)
{
	struct floppy *f = device;
	abandon(f);
	irq_set(&f->irq, 0);
}

static void saving(void *device)
{
	struct floppy *f = device;
	f->delay_at = timer_armed(&f->delay) ? f->delay.deadline : 0;
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		f->seek_at[i] = timer_armed(&f->drive[i].timer) ? f->drive[i].timer.deadline : 0;
}

static int loaded(void *device, struct error *err)
{
	struct floppy *f = device;
	bool busy = f->phase == PHASE_EXECUTE;
	if (f->phase >= PHASES || f->stage >= STAGES || f->stage == STAGE_DISK || (busy && !disk_in(command_drive(f)) && f->stage != STAGE_DELAY) ||
	    f->command_have > sizeof(f->command) || f->command_length > sizeof(f->command) || f->result_length > sizeof(f->result) ||
	    (f->phase == PHASE_RESULT && f->result_next >= f->result_length) || f->position > SECTOR ||
	    (f->phase == PHASE_COMMAND && f->command_have && f->command_have >= f->command_length))
		return error_set(err, EINVAL, "the floppy controller's state cannot be; the file is damaged");
	if (f->delay_at)
		timer_arm(&f->delay, f->delay_at);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		if (f->drive[i].seeking && f->drive[i].present)
			timer_arm(&f->drive[i].timer, f->seek_at[i]);
	return 0;
}

void floppy_drain(struct floppy *f)
{
	lock_take(f->device.lock);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		if (f->drive[i].block)
			block_drain(f->drive[i].block);
	lock_release(f->device.lock);
}

int floppy_change_medium(struct floppy *f, unsigned number, struct block *block, struct error *err)
{
	struct drive *drive = drive_of(f, number);
	if (!drive)
		return error_set(err, EINVAL, "there is no floppy drive %u", number);
	lock_take(f->device.lock);
	if (drive->block)
		block_drain(drive->block);
	if (f->phase == PHASE_EXECUTE && command_drive(f) == drive && f->stage != STAGE_DELAY)
		fail(f, ST1_NO_ADDRESS, 0);
	block_close(drive->block);
	drive->block = block;
	drive->changed = true;
	if (block)
		block_set_owner(block, f->device.lock);
	lock_release(f->device.lock);
	return 0;
}

static void destroy(void *device)
{
	struct floppy *f = device;
	abandon(f);
	io_space_unmap(f->ports, &f->region);
	io_space_unmap(f->ports, &f->region7);
	i8237_attach(f->dma, CHANNEL, NULL, NULL);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		block_close(f->drive[i].block);
	free(f);
}

static const struct device_type floppy_type = {
	.name = "floppy",
	.fields = fields,
	.reset = reset,
	.saving = saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct floppy *floppy_create(const struct floppy_config *config, struct error *err)
{
	struct floppy *f = calloc(1, sizeof(*f));
	if (!f) {
		error_set(err, ENOMEM, "out of memory for the floppy controller");
		return NULL;
	}
	device_init(&f->device, &floppy_type, "floppy", config->lock);
	f->ports = config->ports;
	f->irq = config->irq;
	f->dma = config->dma;
	f->region = (struct io_region){ .name = "floppy", .ops = &region_ops, .opaque = f, .lock = config->lock, .base = 0x3f0, .size = 6 };
	f->region7 = (struct io_region){ .name = "floppy", .ops = &region7_ops, .opaque = f, .lock = config->lock, .base = 0x3f7, .size = 1 };
	if (io_space_map(f->ports, &f->region, err) < 0 || io_space_map(f->ports, &f->region7, err) < 0) {
		io_space_unmap(f->ports, &f->region);
		free(f);
		return NULL;
	}
	timer_init(&f->delay, config->clock, config->lock, after_delay, f);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
		struct drive *drive = &f->drive[i];
		*drive = (struct drive){ .present = config->drive[i].present, .block = config->drive[i].block, .floppy = f, .number = i };
		timer_init(&drive->timer, config->clock, config->lock, seek_done, drive);
		if (drive->block)
			block_set_owner(drive->block, config->lock);
	}
	i8237_attach(f->dma, CHANNEL, channel_ready, f);
	return f;
}
