/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/floppy_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

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
	struct floppy_drive *drive = floppy_command_drive(f);
	f->stage = STAGE_NONE;
	if (f->in_flight && floppy_disk_in(drive))
		block_cancel(drive->block);
	f->in_flight = false;
	timer_cancel(&f->delay);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
		timer_cancel(&f->drive[i].timer);
		f->drive[i].seeking = false;
	}
	floppy_command_phase(f);
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
	floppy_set_irq(f, false);
}

/* Out of reset: in polling mode each drive has news to tell (5.3). */
static void reset_ends(struct floppy *f)
{
	for (unsigned i = 0; i < 4; i++)
		f->pending[i] = (uint8_t)(ST0_POLL | i);
	floppy_set_irq(f, true);
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
	floppy_set_irq(f, f->line);
	if (changed & DOR_DMA_GATE)
		floppy_channel_ready(f);
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
	case REG_FIFO: return floppy_fifo_read(f);
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
			floppy_fifo_write(f, (uint8_t)value);
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
	FIELD(struct floppy_drive, track),
	FIELD_RESET(struct floppy_drive, changed, 1),
	FIELD(struct floppy_drive, seek_to),
	FIELD(struct floppy_drive, seeking),
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
	if (f->phase >= PHASES || f->stage >= STAGES || f->stage == STAGE_DISK || (busy && !floppy_disk_in(floppy_command_drive(f)) && f->stage != STAGE_DELAY) ||
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
		if (f->drive[i].block) {
			block_drain(f->drive[i].block);
			block_settle(f->drive[i].block);
		}
	lock_release(f->device.lock);
}

int floppy_change_medium(struct floppy *f, unsigned number, struct block *block, struct error *err)
{
	struct floppy_drive *drive = floppy_drive_of(f, number);
	if (!drive)
		return error_set(err, EINVAL, "there is no floppy drive %u", number);
	lock_take(f->device.lock);
	if (drive->block)
		block_drain(drive->block);
	if (f->phase == PHASE_EXECUTE && floppy_command_drive(f) == drive && f->stage != STAGE_DELAY)
		floppy_fail(f, ST1_NO_ADDRESS, 0);
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
	timer_init(&f->delay, config->clock, config->lock, floppy_after_delay, f);
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
		struct floppy_drive *drive = &f->drive[i];
		*drive = (struct floppy_drive){ .present = config->drive[i].present, .block = config->drive[i].block, .floppy = f, .number = i };
		timer_init(&drive->timer, config->clock, config->lock, floppy_seek_done, drive);
		if (drive->block)
			block_set_owner(drive->block, config->lock);
	}
	i8237_attach(f->dma, CHANNEL, floppy_channel_ready, f);
	return f;
}
