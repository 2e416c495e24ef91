/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The controller: PCI function, registers of the two channels, interrupts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/ide/drive.h"
#include "dev/scsi/sense.h"

/* Command block (ATA/ATAPI-6, 7): offsets from 0x1f0 or 0x170. */
enum { REG_DATA, REG_ERROR_FEATURES, REG_COUNT, REG_LOW, REG_MID, REG_HIGH, REG_DEVICE, REG_STATUS_COMMAND };

#define CONTROL_NIEN 0x02u
#define CONTROL_SRST 0x04u
#define CONTROL_HOB 0x80u
#define BM_STATUS_INTERRUPT 0x04u

/* IDE timing registers (82371SB datasheet, 2.3.9): bit 15 decodes the channel. */
#define REG_IDETIM(channel) (0x40u + 2 * (channel))
#define REG_SIDETIM 0x44u
#define IDETIM_DECODE 0x80u

static const uint16_t command_base[2] = { 0x1f0, 0x170 };
static const uint16_t control_base[2] = { 0x3f6, 0x376 };

void ide_update_irq(struct ide_channel *channel)
{
	bool level = ide_selected(channel)->interrupt && !(channel->control & CONTROL_NIEN);
	if (level == channel->line)
		return;
	channel->line = level;
	if (level)
		channel->bm_status |= BM_STATUS_INTERRUPT;
	irq_set(&channel->irq, level);
}

/* --- command block --- */

/* Drive 0 answers for a drive 1 that is not there, with a status of 0 (9.16.1). */
static struct ide_drive *answering(struct ide_channel *channel)
{
	struct ide_drive *drive = ide_selected(channel);
	if (drive->kind == IDE_NONE && drive->number & 1)
		drive = &channel->drive[0];
	return drive->kind == IDE_NONE ? NULL : drive;
}

static uint8_t status_of(struct ide_channel *channel)
{
	const struct ide_drive *drive = answering(channel);
	if (!drive)
		return channel->drive[1].kind == IDE_NONE ? 0x7f : 0; /* bit 7 is pulled down */
	return drive == ide_selected(channel) ? drive->status : 0;
}

static uint8_t read_register(struct ide_channel *channel, unsigned reg)
{
	const struct ide_drive *drive = answering(channel);
	if (reg == REG_STATUS_COMMAND) {
		uint8_t status = status_of(channel);
		ide_selected(channel)->interrupt = false;
		ide_update_irq(channel);
		return status;
	}
	if (reg == REG_DEVICE)
		return channel->device | 0xa0;
	if (!drive)
		return 0x7f;
	const struct ide_taskfile *file = channel->control & CONTROL_HOB ? &drive->previous : &drive->now;
	switch (reg) {
	case REG_ERROR_FEATURES: return drive->error;
	case REG_COUNT: return file->count;
	case REG_LOW: return file->low;
	case REG_MID: return file->mid;
	case REG_HIGH: return file->high;
	default: return 0;
	}
}

static uint64_t command_block_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide_channel *channel = opaque;
	if (offset == REG_DATA && size >= 2)
		return ide_data_read(ide_selected(channel), size);
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_register(channel, (unsigned)offset + i) << (8 * i);
	return value;
}

static void write_taskfile(struct ide_drive *drive, unsigned reg, uint8_t value)
{
	struct ide_taskfile *now = &drive->now, *previous = &drive->previous;
	switch (reg) {
	case REG_ERROR_FEATURES: previous->features = now->features; now->features = value; break;
	case REG_COUNT: previous->count = now->count; now->count = value; break;
	case REG_LOW: previous->low = now->low; now->low = value; break;
	case REG_MID: previous->mid = now->mid; now->mid = value; break;
	case REG_HIGH: previous->high = now->high; now->high = value; break;
	}
}

static void write_command(struct ide_channel *channel, uint8_t value)
{
	struct ide_drive *drive = ide_selected(channel);
	if (value == 0x90) /* both drives, whichever is selected */
		drive = &channel->drive[channel->drive[0].kind == IDE_NONE];
	if (drive->kind == IDE_NONE)
		return;
	/* DEVICE RESET gets through to a busy packet device (8.7). */
	if (drive->status & STATUS_BSY && !(value == 0x08 && drive->kind == IDE_CDROM))
		return;
	if (drive->transfer != TRANSFER_NONE)
		ide_abandon(drive);
	ide_command(drive, value);
}

static void write_register(struct ide_channel *channel, unsigned reg, uint8_t value)
{
	if (channel->control & CONTROL_SRST)
		return;
	channel->control &= (uint8_t)~CONTROL_HOB;
	switch (reg) {
	case REG_STATUS_COMMAND:
		write_command(channel, value);
		break;
	case REG_DEVICE:
		if (ide_selected(channel)->status & STATUS_BSY && ide_selected(channel)->kind != IDE_NONE)
			break;
		channel->device = value;
		ide_update_irq(channel);
		break;
	default:
		for (unsigned i = 0; i < 2; i++)
			if (!(channel->drive[i].status & STATUS_BSY))
				write_taskfile(&channel->drive[i], reg, value);
	}
}

static void command_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide_channel *channel = opaque;
	if (offset == REG_DATA && size >= 2) {
		ide_data_write(ide_selected(channel), (uint32_t)value, size);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		if (offset + i != REG_DATA)
			write_register(channel, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct io_ops command_block_ops = { command_block_read, command_block_write, 4 };

/* --- control block --- */

static void software_reset(struct ide_channel *channel, bool begins)
{
	for (unsigned i = 0; i < 2; i++) {
		struct ide_drive *drive = &channel->drive[i];
		if (drive->kind == IDE_NONE)
			continue;
		ide_abandon(drive);
		ide_set_signature(drive);
		if (begins)
			drive->status = STATUS_BSY;
	}
	channel->device = 0;
	ide_update_irq(channel);
}

static uint64_t control_block_read(void *opaque, uint64_t offset, unsigned size)
{
	return status_of(opaque);
}

static void control_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint8_t changed = channel->control ^ (uint8_t)value;
	channel->control = (uint8_t)value & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB);
	if (changed & CONTROL_SRST)
		software_reset(channel, value & CONTROL_SRST);
	ide_update_irq(channel);
}

static const struct io_ops control_block_ops = { control_block_read, control_block_write, 1 };

/* --- PCI --- */

/* With the device's lock taken. */
static void map_channels(struct ide *ide)
{
	bool io = pci_function_command(&ide->function) & PCI_COMMAND_IO;
	struct error err;
	for (unsigned i = 0; i < 2; i++) {
		struct ide_channel *channel = &ide->channel[i];
		if (!io || !(ide->function.config[REG_IDETIM(i) + 1] & IDETIM_DECODE)) {
			io_space_unmap(ide->ports, &channel->command_block);
			io_space_unmap(ide->ports, &channel->control_block);
		} else if (io_space_map(ide->ports, &channel->command_block, &err) < 0 ||
			   io_space_map(ide->ports, &channel->control_block, &err) < 0) {
			log_warn_once("IDE channel %u: %s", i, err.text);
		}
	}
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct ide *ide = opaque;
	map_channels(ide);
	if (offset <= PCI_COMMAND && pci_function_command(&ide->function) & PCI_COMMAND_MASTER)
		for (unsigned i = 0; i < 2; i++)
			ide_run_dma(&ide->channel[i]);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

/* --- state --- */

static const struct field taskfile_fields[] = {
	FIELD(struct ide_taskfile, features),
	FIELD(struct ide_taskfile, count),
	FIELD(struct ide_taskfile, low),
	FIELD(struct ide_taskfile, mid),
	FIELD(struct ide_taskfile, high),
	FIELD_END
};

static const struct field drive_fields[] = {
	FIELD_STRUCT(struct ide_drive, now, taskfile_fields),
	FIELD_STRUCT(struct ide_drive, previous, taskfile_fields),
	FIELD(struct ide_drive, error),
	FIELD(struct ide_drive, status),
	FIELD(struct ide_drive, command),
	FIELD(struct ide_drive, interrupt),
	FIELD(struct ide_drive, transfer),
	FIELD(struct ide_drive, purpose),
	FIELD(struct ide_drive, position),
	FIELD(struct ide_drive, limit),
	FIELD(struct ide_drive, filled),
	FIELD(struct ide_drive, offset),
	FIELD(struct ide_drive, left),
	FIELD(struct ide_drive, extent),
	FIELD_RESET(struct ide_drive, block_bytes, BLOCK_SECTOR),
	FIELD_RESET(struct ide_drive, multiple, 16),
	FIELD_RESET(struct ide_drive, heads, 16),
	FIELD_RESET(struct ide_drive, sectors, 63),
	FIELD(struct ide_drive, dma_mode),
	FIELD_RESET(struct ide_drive, write_cache, 1),
	FIELD_RESET(struct ide_drive, look_ahead, 1),
	FIELD_RESET(struct ide_drive, smart, 1),
	FIELD(struct ide_drive, lba48),
	FIELD(struct ide_drive, wants_dma),
	FIELD(struct ide_drive, through),
	FIELD_BYTES(struct ide_drive, packet),
	FIELD_INSIDE(struct ide_drive, mmc, sense_key),
	FIELD_INSIDE(struct ide_drive, mmc, asc),
	FIELD_INSIDE(struct ide_drive, mmc, ascq),
	FIELD_INSIDE(struct ide_drive, mmc, tray_locked),
	FIELD_INSIDE_KEEP(struct ide_drive, mmc, tray_open),
	FIELD_INSIDE(struct ide_drive, mmc, attention),
	FIELD_INSIDE(struct ide_drive, mmc, media_event),
	FIELD_BYTES(struct ide_drive, buffer),
	FIELD_END
};

static const struct field channel_fields[] = {
	FIELD_STRUCT_ARRAY(struct ide_channel, drive, drive_fields),
	FIELD(struct ide_channel, device),
	FIELD(struct ide_channel, control),
	FIELD(struct ide_channel, bm_command),
	FIELD(struct ide_channel, bm_status),
	FIELD(struct ide_channel, bm_table),
	FIELD(struct ide_channel, bm_next),
	FIELD(struct ide_channel, bm_address),
	FIELD(struct ide_channel, bm_count),
	FIELD(struct ide_channel, bm_last),
	FIELD(struct ide_channel, line),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct ide, function, pci_function_fields),
	FIELD_STRUCT_ARRAY(struct ide, channel, channel_fields),
	FIELD_END
};

/* The fields were reset before, but `line` says what the controller was told last: requests that end now may have raised it. */
static void reset(void *device)
{
	struct ide *ide = device;
	pci_function_reset(&ide->function);
	lock_take(&ide->lock);
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		struct ide_drive *drive = &ide->channel[i / 2].drive[i % 2];
		ide_abandon(drive);
		ide_set_signature(drive);
		if (drive->kind == IDE_NONE)
			drive->status = 0;
	}
	for (unsigned i = 0; i < 2; i++) {
		ide->channel[i].line = false;
		irq_set(&ide->channel[i].irq, 0);
	}
	map_channels(ide);
	lock_release(&ide->lock);
}

static int check_drive(const struct ide_drive *drive, struct error *err)
{
	bool in_buffer = drive->position <= drive->limit && drive->limit <= drive->filled && drive->filled <= IDE_BUFFER;
	if (drive->transfer == TRANSFER_DMA_IN || drive->transfer == TRANSFER_DMA_OUT)
		in_buffer = drive->position <= drive->filled && drive->filled <= IDE_BUFFER;
	uint64_t size = drive->block ? drive->block->size : 0;
	bool on_disk = drive->offset <= size && drive->left <= size - drive->offset && drive->left % BLOCK_SECTOR == 0 &&
		       drive->offset % BLOCK_SECTOR == 0;
	bool known = drive->transfer < TRANSFER_KINDS && drive->transfer != TRANSFER_BUSY && drive->purpose < PURPOSES;
	bool idle = drive->transfer == TRANSFER_NONE;
	if (!known || (drive->kind == IDE_NONE && !idle) || (!idle && (!in_buffer || !drive->block_bytes)) ||
	    (drive->left && !on_disk) || drive->multiple > 16 || !drive->heads || !drive->sectors || drive->heads > 16)
		return error_set(err, EINVAL, "ide%u: its state cannot be; the file is damaged or its disk has another size",
				 drive->number);
	return 0;
}

static int loaded(void *device, struct error *err)
{
	struct ide *ide = device;
	pci_function_loaded(&ide->function);
	lock_take(&ide->lock);
	int rc = 0;
	for (unsigned i = 0; i < IDE_DRIVES && rc == 0; i++)
		rc = check_drive(&ide->channel[i / 2].drive[i % 2], err);
	for (unsigned i = 0; i < 2; i++)
		ide->channel[i].bm_table &= ~3u;
	map_channels(ide);
	lock_release(&ide->lock);
	return rc;
}

void ide_drain(struct ide *ide)
{
	lock_take(&ide->lock);
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		struct ide_drive *drive = &ide->channel[i / 2].drive[i % 2];
		if (drive->block) {
			block_drain(drive->block);
			block_settle(drive->block);
		}
	}
	lock_release(&ide->lock);
}

static void destroy(void *device)
{
	struct ide *ide = device;
	lock_take(&ide->lock);
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		struct ide_drive *drive = &ide->channel[i / 2].drive[i % 2];
		ide_abandon(drive);
		block_close(drive->block);
	}
	for (unsigned i = 0; i < 2; i++) {
		io_space_unmap(ide->ports, &ide->channel[i].command_block);
		io_space_unmap(ide->ports, &ide->channel[i].control_block);
	}
	lock_release(&ide->lock);
	pci_function_destroy(&ide->function);
	lock_destroy(&ide->lock);
	free(ide);
}

static const struct device_type ide_type = {
	.name = "ide",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

int ide_change_medium(struct ide *ide, unsigned number, struct block *block, bool force, struct error *err)
{
	struct ide_drive *drive = &ide->channel[number / 2 % 2].drive[number % 2];
	if (number >= IDE_DRIVES || drive->kind != IDE_CDROM)
		return error_set(err, EINVAL, "ide%u is no CD-ROM drive", number);
	char name[8];
	snprintf(name, sizeof(name), "ide%u", number);
	lock_take(&ide->lock);
	int rc = mmc_may_change(&drive->mmc, name, force, err);
	if (rc == 0) {
		if (drive->block)
			block_drain(drive->block);
		/* What the guest was reading ends without a disc. */
		if (drive->transfer != TRANSFER_NONE && drive->left) {
			drive->left = 0;
			ide_packet_end(drive, KEY_NOT_READY, ASC_NO_MEDIUM);
		}
		block_close(drive->block);
		drive->block = block;
		if (block)
			block_set_owner(block, &ide->lock);
		mmc_medium_changed(&drive->mmc, block);
	}
	lock_release(&ide->lock);
	return rc;
}

static void init_channel(struct ide *ide, unsigned number, const struct ide_config *config)
{
	struct ide_channel *channel = &ide->channel[number];
	channel->ide = ide;
	channel->number = number;
	channel->irq = config->irq[number];
	channel->command_block = (struct io_region){
		.name = number ? "ide1" : "ide0", .ops = &command_block_ops, .opaque = channel, .lock = &ide->lock,
		.base = command_base[number], .size = 8,
	};
	channel->control_block = (struct io_region){
		.name = number ? "ide1-control" : "ide0-control", .ops = &control_block_ops, .opaque = channel, .lock = &ide->lock,
		.base = control_base[number], .size = 1,
	};
	for (unsigned i = 0; i < 2; i++) {
		struct ide_drive *drive = &channel->drive[i];
		const struct ide_drive_config *from = &config->drive[2 * number + i];
		drive->channel = channel;
		drive->number = 2 * number + i;
		drive->kind = from->kind;
		drive->block = drive->mmc.block = from->block;
		drive->mmc.atapi = true;
		if (from->serial)
			snprintf(drive->serial, sizeof(drive->serial), "%s", from->serial);
		else
			snprintf(drive->serial, sizeof(drive->serial), "VI%05u", drive->number + 1);
		if (drive->block)
			block_set_owner(drive->block, &ide->lock);
	}
}

static int init_function(struct ide *ide, const struct ide_config *config, struct error *err)
{
	const struct pci_function_config function = {
		.bus = config->bus, .name = "ide", .devfn = config->devfn, .vendor = 0x8086, .device = 0x7010,
		.class_code = 0x010180, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .lock = &ide->lock,
		.ops = &function_ops, .opaque = ide,
	};
	if (pci_function_init(&ide->function, &function, err) < 0)
		return -1;
	uint16_t timing = config->enabled_at_reset ? 0x8000 : 0;
	for (unsigned i = 0; i < 2; i++)
		pci_function_set_register(&ide->function, REG_IDETIM(i), timing, 0xffff, 2);
	pci_function_set_register(&ide->function, REG_SIDETIM, 0, 0xff, 1);
	if (pci_function_add_bar(&ide->function, 4, PCI_BAR_IO, 16, &ide_busmaster_ops, ide, err) == 0)
		return 0;
	pci_function_destroy(&ide->function);
	return -1;
}

struct ide *ide_create(const struct ide_config *config, struct error *err)
{
	struct ide *ide = calloc(1, sizeof(*ide));
	if (!ide) {
		error_set(err, ENOMEM, "out of memory for the IDE controller");
		return NULL;
	}
	lock_init(&ide->lock);
	device_init(&ide->device, &ide_type, "ide", &config->bus->lock);
	ide->dma = config->dma;
	ide->ports = config->ports;
	for (unsigned i = 0; i < 2; i++)
		init_channel(ide, i, config);
	if (init_function(ide, config, err) < 0) {
		lock_destroy(&ide->lock);
		free(ide);
		return NULL;
	}
	return ide;
}
