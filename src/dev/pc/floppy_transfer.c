/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command comes in three phases (82077AA data sheet, 5.0): the host writes
 * the command and its parameters to the FIFO, the controller executes it, the host
 * reads the result. Between the sectors of a transfer the disk has a request, and
 * the channel may keep the controller waiting.
 */
#include "dev/pc/floppy_parts.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

/* --- disks --- */

/* The format of which an image is the whole, or the beginning. */
struct floppy_geometry floppy_geometry_of(const struct block *block)
{
	static const struct floppy_geometry known[] = {
		{ 40, 1, 8 }, { 40, 1, 9 }, { 40, 2, 8 }, { 40, 2, 9 }, { 80, 2, 9 }, { 80, 2, 15 }, { 80, 2, 18 }, { 80, 2, 21 },
		{ 80, 2, 36 },
	};
	uint64_t sectors = block->size / SECTOR;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (sectors == known[i].cylinders * known[i].heads * known[i].sectors)
			return known[i];
	return sectors > 2880 ? known[8] : known[6];
}

struct floppy_drive *floppy_drive_of(struct floppy *f, unsigned number)
{
	return number < FLOPPY_DRIVES && f->drive[number].present ? &f->drive[number] : NULL;
}

struct floppy_drive *floppy_command_drive(struct floppy *f)
{
	return floppy_drive_of(f, f->command[1] & 3);
}

bool floppy_disk_in(const struct floppy_drive *drive)
{
	return drive && drive->block;
}

/* --- interrupts and results --- */

void floppy_set_irq(struct floppy *f, bool level)
{
	f->line = level;
	irq_set(&f->irq, level && f->dor & DOR_DMA_GATE);
}

void floppy_command_phase(struct floppy *f)
{
	f->phase = PHASE_COMMAND;
	f->stage = STAGE_NONE;
	f->command_have = f->command_length = 0;
}

void floppy_result_phase(struct floppy *f, unsigned length)
{
	f->phase = PHASE_RESULT;
	f->stage = STAGE_NONE;
	f->result_length = (uint8_t)length;
	f->result_next = 0;
}

/* The seven result bytes of the commands that move data. */
static void floppy_finish(struct floppy *f, uint8_t st0)
{
	uint8_t *r = f->result;
	r[0] = (uint8_t)(st0 | (f->command[1] & 7));
	r[1] = f->st1;
	r[2] = f->st2;
	r[3] = f->cylinder;
	r[4] = f->head;
	r[5] = f->sector;
	r[6] = f->size_code;
	floppy_result_phase(f, 7);
	floppy_set_irq(f, true);
}

void floppy_fail(struct floppy *f, uint8_t st1, uint8_t st2)
{
	f->st1 |= st1;
	f->st2 |= st2;
	floppy_finish(f, ST0_ABNORMAL);
}

/* --- read, write, verify, format --- */

static bool op_writes(const struct floppy *f)
{
	return OP(f) == OP_WRITE || OP(f) == OP_WRITE_DELETED || OP(f) == OP_FORMAT;
}

static void begin_sector(struct floppy *f);
static void take_format(struct floppy *f);
static void request_done(struct block_request *request, int error);

static uint64_t sector_offset(const struct floppy *f, const struct floppy_geometry *g)
{
	return ((uint64_t)(f->cylinder * g->heads + f->head) * g->sectors + f->sector - 1) * SECTOR;
}

static void submit(struct floppy *f, enum block_op op)
{
	struct floppy_drive *drive = floppy_command_drive(f);
	const struct floppy_geometry g = floppy_geometry_of(drive->block);
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
static bool floppy_rate_fits(const struct floppy *f, const struct floppy_geometry *g)
{
	unsigned wanted = g->sectors > 21 ? 3 : g->sectors > 9 ? 0 : 2;
	return (f->ccr & 3) == wanted;
}

/* Where the head has to be for the sector, or the command has ended. */
static bool find_sector(struct floppy *f)
{
	struct floppy_drive *drive = floppy_command_drive(f);
	if (!floppy_disk_in(drive) || !(f->dor & DOR_MOTOR(drive->number))) {
		floppy_fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	const struct floppy_geometry g = floppy_geometry_of(drive->block);
	if (!floppy_rate_fits(f, &g)) {
		floppy_fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	if (f->cylinder != drive->track) {
		floppy_fail(f, ST1_NO_DATA, f->cylinder == 0xff ? ST2_BAD_CYLINDER : ST2_WRONG_CYLINDER);
		return false;
	}
	if (f->cylinder >= g.cylinders || f->head >= g.heads) {
		floppy_fail(f, ST1_NO_ADDRESS, 0);
		return false;
	}
	if (f->sector < 1 || f->sector > g.sectors || f->size_code != 2) {
		floppy_fail(f, ST1_NO_DATA, 0);
		return false;
	}
	if (op_writes(f) && drive->block->read_only) {
		floppy_fail(f, ST1_WRITE_PROTECTED, 0);
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
		floppy_finish(f, 0);
	else if (more)
		begin_sector(f);
	else if (OP(f) == OP_VERIFY)
		floppy_finish(f, 0);
	else
		floppy_fail(f, ST1_END, 0); /* the host wanted more: no terminal count came */
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

void floppy_channel_ready(void *opaque)
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
		floppy_set_irq(f, true);
	else
		floppy_channel_ready(f);
}

static void format_sector(struct floppy *f);

static void request_done(struct block_request *request, int error)
{
	struct floppy *f = request->opaque;
	f->in_flight = false;
	if (error == ECANCELED || f->phase != PHASE_EXECUTE || f->stage != STAGE_DISK)
		return;
	if (error) {
		floppy_fail(f, request->op == BLOCK_READ ? ST1_CRC : ST1_WRITE_PROTECTED, 0);
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
		floppy_finish(f, 0);
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

void floppy_after_delay(void *opaque)
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

void floppy_cmd_transfer(struct floppy *f)
{
	f->cylinder = f->command[2];
	f->head = f->command[3] & 1;
	f->sector = f->command[4];
	f->size_code = f->command[5];
	f->last_sector = f->command[6];
	begin_transfer(f);
}

void floppy_cmd_read_track(struct floppy *f)
{
	floppy_cmd_transfer(f);
	f->sector = 1;
}

void floppy_cmd_verify(struct floppy *f)
{
	floppy_cmd_transfer(f);
	if (f->command[1] & 0x80) /* EC: the count of sectors stands in the last byte */
		f->last_sector = f->command[8] ? (uint8_t)(f->sector + f->command[8] - 1) : f->last_sector;
}

void floppy_cmd_format(struct floppy *f)
{
	struct floppy_drive *drive = floppy_command_drive(f);
	f->size_code = f->command[2];
	f->last_sector = f->command[3];
	f->head = f->command[1] >> 2 & 1;
	f->cylinder = drive ? drive->track : 0;
	f->sector = 1;
	f->formatted = 0;
	begin_transfer(f);
}

void floppy_cmd_read_id(struct floppy *f)
{
	struct floppy_drive *drive = floppy_command_drive(f);
	f->st1 = f->st2 = 0;
	f->head = f->command[1] >> 2 & 1;
	f->cylinder = drive ? drive->track : 0;
	f->sector = 1;
	f->size_code = 2;
	if (!floppy_disk_in(drive) || !(f->dor & DOR_MOTOR(drive->number))) {
		floppy_fail(f, ST1_NO_ADDRESS, 0);
		return;
	}
	const struct floppy_geometry g = floppy_geometry_of(drive->block);
	if (!floppy_rate_fits(f, &g) || f->cylinder >= g.cylinders || f->head >= g.heads)
		floppy_fail(f, ST1_NO_ADDRESS, 0);
	else
		floppy_finish(f, 0);
}

uint8_t floppy_execute_read(struct floppy *f)
{
	if (f->stage != STAGE_TO_HOST || !f->non_dma)
		return 0xff;
	uint8_t value = f->buffer[f->position % SECTOR];
	if (++f->position == SECTOR) {
		floppy_set_irq(f, false);
		sector_done(f);
	}
	return value;
}

void floppy_execute_write(struct floppy *f, uint8_t value)
{
	if (f->stage != STAGE_FROM_HOST || !f->non_dma)
		return;
	f->buffer[f->position++ % SECTOR] = value;
	if (f->position < (OP(f) == OP_FORMAT ? 4 : SECTOR))
		return;
	floppy_set_irq(f, false);
	if (OP(f) == OP_FORMAT)
		take_format(f);
	else
		submit(f, BLOCK_WRITE);
}
