/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/floppy_parts.h"

#include <string.h>

#include "base/util.h"

/* --- seeks --- */

void floppy_seek_done(void *opaque)
{
	struct floppy_drive *drive = opaque;
	struct floppy *f = drive->floppy;
	drive->seeking = false;
	if (drive->track != drive->seek_to && drive->block)
		drive->changed = false;
	drive->track = drive->seek_to;
	f->pending[drive->number] = (uint8_t)(ST0_SEEK_END | drive->number);
	floppy_set_irq(f, true);
}

static void begin_seek(struct floppy *f, unsigned number, unsigned track)
{
	struct floppy_drive *drive = floppy_drive_of(f, number);
	floppy_command_phase(f);
	if (!drive) {
		/* Track 0 never comes: equipment check, after as many steps as there can be. */
		f->pending[number] = (uint8_t)(ST0_SEEK_END | ST0_ABNORMAL | ST0_EQUIPMENT | number);
		floppy_set_irq(f, true);
		return;
	}
	drive->seek_to = (uint8_t)MIN(track, TRACK_LAST);
	drive->seeking = true;
	timer_arm(&drive->timer, vclock_now(drive->timer.clock) + SEEK_NS);
}

static void cmd_recalibrate(struct floppy *f)
{
	struct floppy_drive *drive = floppy_drive_of(f, f->command[1] & 3);
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
	struct floppy_drive *drive = floppy_command_drive(f);
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
		f->result[1] = floppy_drive_of(f, i) ? f->drive[i].track : 0;
		f->pending[i] = 0xff;
		floppy_set_irq(f, false);
		floppy_result_phase(f, 2);
		return;
	}
	f->result[0] = ST0_INVALID;
	floppy_result_phase(f, 1);
}

static void cmd_sense_drive(struct floppy *f)
{
	struct floppy_drive *drive = floppy_command_drive(f);
	uint8_t st3 = (uint8_t)((f->command[1] & 7) | ST3_READY | ST3_TWO_SIDES);
	if (drive && !drive->track)
		st3 |= ST3_TRACK_0;
	if (floppy_disk_in(drive) && drive->block->read_only)
		st3 |= ST3_WRITE_PROTECTED;
	f->result[0] = st3;
	floppy_result_phase(f, 1);
}

static void cmd_specify(struct floppy *f)
{
	memcpy(f->specify, f->command + 1, 2);
	floppy_command_phase(f);
}

static void cmd_configure(struct floppy *f)
{
	memcpy(f->configure, f->command + 1, 3);
	floppy_command_phase(f);
}

static void cmd_perpendicular(struct floppy *f)
{
	if (f->command[1] & 0x80)
		f->perpendicular = f->command[1] & 0x7f;
	else
		f->perpendicular = (f->perpendicular & 0x7c) | (f->command[1] & 3);
	floppy_command_phase(f);
}

static void cmd_lock(struct floppy *f)
{
	f->lock_bit = f->command[0] >> 7;
	f->result[0] = (uint8_t)(f->lock_bit << 4);
	floppy_result_phase(f, 1);
}

static void cmd_version(struct floppy *f)
{
	f->result[0] = 0x90;
	floppy_result_phase(f, 1);
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
	floppy_result_phase(f, 10);
}

static void cmd_part_id(struct floppy *f)
{
	f->result[0] = 0x01;
	floppy_result_phase(f, 1);
}

static void cmd_invalid(struct floppy *f)
{
	f->result[0] = ST0_INVALID;
	floppy_result_phase(f, 1);
}

struct command {
	uint8_t code, mask, length;
	void (*fn)(struct floppy *f);
};

/* Table 5-1: the bits of the first byte that count, and how many bytes in all. */
static const struct command commands[] = {
	{ OP_READ, 0x1f, 9, floppy_cmd_transfer }, { OP_READ_DELETED, 0x1f, 9, floppy_cmd_transfer }, { OP_WRITE, 0x3f, 9, floppy_cmd_transfer },
	{ OP_WRITE_DELETED, 0x3f, 9, floppy_cmd_transfer }, { OP_READ_TRACK, 0x9f, 9, floppy_cmd_read_track }, { OP_VERIFY, 0x1f, 9, floppy_cmd_verify },
	{ OP_FORMAT, 0xbf, 6, floppy_cmd_format }, { 0x0a, 0xbf, 2, floppy_cmd_read_id }, { 0x07, 0xff, 2, cmd_recalibrate },
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

uint8_t floppy_fifo_read(struct floppy *f)
{
	if (f->phase == PHASE_EXECUTE)
		return floppy_execute_read(f);
	if (f->phase != PHASE_RESULT)
		return 0xff;
	if (!f->result_next && f->result_length == 7)
		floppy_set_irq(f, false);
	uint8_t value = f->result[f->result_next++];
	if (f->result_next == f->result_length)
		floppy_command_phase(f);
	return value;
}

void floppy_fifo_write(struct floppy *f, uint8_t value)
{
	if (f->phase == PHASE_EXECUTE) {
		floppy_execute_write(f, value);
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
