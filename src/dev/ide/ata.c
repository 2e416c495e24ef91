/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of ATA/ATAPI-6, chapter 8: one function each, in a table.
 */
#include <string.h>

#include "base/util.h"
#include "dev/ide/drive.h"

#define MULTIPLE_MAX 16u
#define SMART_MID 0x4fu
#define SMART_HIGH 0xc2u

static void abort_command(struct ide_drive *drive)
{
	ide_complete(drive, ERROR_ABRT);
}

static void succeed(struct ide_drive *drive)
{
	ide_complete(drive, 0);
}

void ide_set_signature(struct ide_drive *drive)
{
	bool packet = drive->kind == IDE_CDROM;
	drive->now = (struct ide_taskfile){ .count = 1, .low = 1, .mid = packet ? 0x14 : 0, .high = packet ? 0xeb : 0 };
	drive->previous = (struct ide_taskfile){ 0 };
	drive->error = 1;
	drive->status = packet ? 0 : STATUS_DRDY | STATUS_DSC;
}

/* --- addresses (6.2) --- */

static uint64_t lba_of(const struct ide_drive *drive)
{
	const struct ide_taskfile *now = &drive->now, *previous = &drive->previous;
	uint64_t low = now->low | (uint64_t)now->mid << 8 | (uint64_t)now->high << 16;
	uint8_t device = drive->channel->device;
	if (drive->lba48)
		return low | (uint64_t)previous->low << 24 | (uint64_t)previous->mid << 32 | (uint64_t)previous->high << 40;
	if (device & DEVICE_LBA)
		return low | (uint64_t)(device & 15) << 24;
	uint64_t cylinder = now->mid | now->high << 8;
	/* Sectors count from 1: there is no sector 0. */
	if (!now->low || now->low > drive->sectors || (device & 15) >= drive->heads)
		return UINT64_MAX;
	return (cylinder * drive->heads + (device & 15)) * drive->sectors + now->low - 1;
}

static void put_lba(struct ide_drive *drive, uint64_t lba)
{
	drive->now.low = (uint8_t)lba;
	drive->now.mid = (uint8_t)(lba >> 8);
	drive->now.high = (uint8_t)(lba >> 16);
	if (drive->lba48) {
		drive->previous.low = (uint8_t)(lba >> 24);
		drive->previous.mid = (uint8_t)(lba >> 32);
		drive->previous.high = (uint8_t)(lba >> 40);
	} else {
		drive->channel->device = (drive->channel->device & 0xf0) | (lba >> 24 & 15);
	}
}

/* The range that the registers name becomes offset and left; false (and the command has ended) when the disk has no such. */
static bool take_range(struct ide_drive *drive)
{
	uint64_t count = drive->now.count, most = 0x100, sectors = drive->block->size / BLOCK_SECTOR, lba = lba_of(drive);
	if (drive->lba48) {
		count |= (uint64_t)drive->previous.count << 8;
		most = 0x10000;
	}
	count = count ? count : most;
	if (lba >= sectors || count > sectors - lba) {
		ide_complete(drive, ERROR_IDNF | ERROR_ABRT);
		return false;
	}
	drive->offset = lba * BLOCK_SECTOR;
	drive->left = count * BLOCK_SECTOR;
	return true;
}

/* --- data --- */

static void read_sectors(struct ide_drive *drive)
{
	drive->block_bytes = BLOCK_SECTOR;
	if (take_range(drive))
		ide_start_read(drive, false);
}

static void read_multiple(struct ide_drive *drive)
{
	drive->block_bytes = drive->multiple * BLOCK_SECTOR;
	if (!drive->multiple)
		abort_command(drive);
	else if (take_range(drive))
		ide_start_read(drive, false);
}

static void read_dma(struct ide_drive *drive)
{
	if (take_range(drive))
		ide_start_read(drive, true);
}

static bool may_write(struct ide_drive *drive)
{
	drive->through = !drive->write_cache;
	if (!drive->block->read_only)
		return take_range(drive);
	abort_command(drive);
	return false;
}

static void write_sectors(struct ide_drive *drive)
{
	drive->block_bytes = BLOCK_SECTOR;
	if (may_write(drive))
		ide_start_write(drive, false);
}

static void write_multiple(struct ide_drive *drive)
{
	drive->block_bytes = drive->multiple * BLOCK_SECTOR;
	if (!drive->multiple)
		abort_command(drive);
	else if (may_write(drive))
		ide_start_write(drive, false);
}

static void write_multiple_fua(struct ide_drive *drive)
{
	drive->block_bytes = drive->multiple * BLOCK_SECTOR;
	if (!drive->multiple) {
		abort_command(drive);
	} else if (may_write(drive)) {
		drive->through = true;
		ide_start_write(drive, false);
	}
}

static void write_dma(struct ide_drive *drive)
{
	if (may_write(drive))
		ide_start_write(drive, true);
}

static void write_dma_fua(struct ide_drive *drive)
{
	if (!may_write(drive))
		return;
	drive->through = true;
	ide_start_write(drive, true);
}

static void verify(struct ide_drive *drive)
{
	if (take_range(drive))
		ide_start_verify(drive);
}

static void flush(struct ide_drive *drive)
{
	ide_submit_plain(drive, BLOCK_FLUSH, 0, 0, FOR_FLUSH);
}

/* DATA SET MANAGEMENT with TRIM (ATA8-ACS, 7.10): a sector of ranges, of 48 bits of LBA and 16 of count each. */
static void data_set_management(struct ide_drive *drive)
{
	if (drive->now.features != 1 || drive->now.count != 1 || drive->previous.count || drive->block->read_only)
		abort_command(drive);
	else
		ide_receive(drive, BLOCK_SECTOR, FOR_TRIM, true);
}

static void next_trim(struct ide_drive *drive)
{
	uint64_t sectors = drive->block->size / BLOCK_SECTOR;
	for (; drive->position < BLOCK_SECTOR; drive->position += 8) {
		uint64_t entry = load_le64(drive->buffer + drive->position);
		uint64_t lba = entry & 0xffffffffffffull, count = entry >> 48;
		if (!count)
			continue;
		if (lba >= sectors || count > sectors - lba) {
			ide_complete(drive, ERROR_IDNF | ERROR_ABRT);
			return;
		}
		drive->position += 8;
		ide_submit_plain(drive, BLOCK_DISCARD, lba * BLOCK_SECTOR, count * BLOCK_SECTOR, FOR_TRIM);
		return;
	}
	succeed(drive);
}

void ide_received(struct ide_drive *drive)
{
	if (drive->purpose == FOR_TRIM) {
		drive->position = 0;
		next_trim(drive);
	} else if (drive->purpose == FOR_PACKET) {
		memcpy(drive->packet, drive->buffer, sizeof(drive->packet));
		ide_packet_run(drive);
	}
}

void ide_plain_done(struct ide_drive *drive, enum purpose purpose, int error)
{
	if (error) {
		/* A device fault: the data that the drive had taken is not safe. */
		ide_complete(drive, ERROR_ABRT);
		drive->status |= purpose == FOR_FLUSH ? STATUS_DF : 0;
	} else if (purpose == FOR_TRIM) {
		next_trim(drive);
	} else {
		succeed(drive);
	}
}

/* --- the rest --- */

static void identify(struct ide_drive *drive)
{
	ide_identify(drive);
	drive->block_bytes = BLOCK_SECTOR;
	drive->wants_dma = false;
	ide_reply(drive, 512);
}

static void identify_packet(struct ide_drive *drive)
{
	ide_identify_packet(drive);
	drive->block_bytes = BLOCK_SECTOR;
	drive->wants_dma = false;
	ide_reply(drive, 512);
}

/* A packet device refuses these, and shows its signature (8.15.5.2, 8.34.5). */
static void refuse_with_signature(struct ide_drive *drive)
{
	ide_set_signature(drive);
	abort_command(drive);
}

static void set_multiple(struct ide_drive *drive)
{
	unsigned count = drive->now.count;
	if (count > MULTIPLE_MAX || (count & (count - 1))) {
		drive->multiple = 0;
		abort_command(drive);
		return;
	}
	drive->multiple = (uint8_t)count;
	succeed(drive);
}

static void initialize_parameters(struct ide_drive *drive)
{
	unsigned sectors = drive->now.count, heads = (drive->channel->device & 15) + 1u;
	if (!sectors || sectors > 63) {
		abort_command(drive);
		return;
	}
	drive->heads = (uint8_t)heads;
	drive->sectors = (uint8_t)sectors;
	succeed(drive);
}

static void read_native_max(struct ide_drive *drive)
{
	uint64_t last = drive->block->size / BLOCK_SECTOR - 1;
	put_lba(drive, drive->lba48 ? last : MIN(last, 0x0ffffffeull));
	succeed(drive);
}

static void check_power(struct ide_drive *drive)
{
	drive->now.count = 0xff; /* active or idle */
	succeed(drive);
}

static bool transfer_mode_ok(uint8_t mode)
{
	unsigned n = mode & 7;
	switch (mode >> 3) {
	case 0: return n <= 1;      /* PIO by default */
	case 1: return n <= 4;      /* PIO with flow control */
	case 4: return n <= 2;      /* multiword DMA */
	case 8: return n <= 5;      /* Ultra DMA */
	default: return false;
	}
}

static void set_transfer_mode(struct ide_drive *drive)
{
	uint8_t mode = drive->now.count;
	if (!transfer_mode_ok(mode)) {
		abort_command(drive);
		return;
	}
	if (mode >= 0x20)
		drive->dma_mode = mode;
	succeed(drive);
}

static void set_features(struct ide_drive *drive)
{
	bool disk = drive->kind == IDE_DISK;
	switch (drive->now.features) {
	case 0x03:
		set_transfer_mode(drive);
		return;
	case 0x02: case 0x82:
		if (disk) {
			drive->write_cache = drive->now.features == 0x02;
			flush(drive); /* when it goes off, what is in it has to be written */
			return;
		}
		break;
	case 0x55: case 0xaa:
		if (disk) {
			drive->look_ahead = drive->now.features == 0xaa;
			succeed(drive);
			return;
		}
		break;
	case 0x66: case 0xcc: /* settings are kept at, or go to defaults by, a software reset; none depends on it */
		succeed(drive);
		return;
	}
	abort_command(drive);
}

/* --- SMART (8.54) --- */

static void smart_reply(struct ide_drive *drive)
{
	uint8_t sum = 0;
	for (unsigned i = 0; i < 511; i++)
		sum = (uint8_t)(sum + drive->buffer[i]);
	drive->buffer[511] = (uint8_t)-sum;
	drive->block_bytes = BLOCK_SECTOR;
	drive->wants_dma = false;
	ide_reply(drive, 512);
}

static void smart_enabled(struct ide_drive *drive)
{
	memset(drive->buffer, 0, 512);
	switch (drive->now.features) {
	case 0xd0: /* READ DATA: no attributes; offline collection never started, no self-tests */
		drive->buffer[0] = 0x10;
		smart_reply(drive);
		break;
	case 0xd1: /* READ ATTRIBUTE THRESHOLDS */
		drive->buffer[0] = 0x10;
		smart_reply(drive);
		break;
	case 0xd2: /* attribute autosave */
	case 0xda: /* RETURN STATUS: the registers stay as they are, all is well */
		succeed(drive);
		break;
	case 0xd9:
		drive->smart = false;
		succeed(drive);
		break;
	default:
		abort_command(drive);
	}
}

static void smart(struct ide_drive *drive)
{
	if (drive->now.mid != SMART_MID || drive->now.high != SMART_HIGH) {
		abort_command(drive);
	} else if (drive->now.features == 0xd8) {
		drive->smart = true;
		succeed(drive);
	} else if (!drive->smart) {
		abort_command(drive);
	} else {
		smart_enabled(drive);
	}
}

/* EXECUTE DEVICE DIAGNOSTIC (8.11): both drives do it, drive 0 tells. */
static void diagnose(struct ide_drive *drive)
{
	struct ide_channel *channel = drive->channel;
	for (unsigned i = 0; i < 2; i++)
		if (channel->drive[i].kind != IDE_NONE)
			ide_set_signature(&channel->drive[i]);
	channel->device = 0;
	struct ide_drive *teller = &channel->drive[channel->drive[0].kind == IDE_NONE];
	teller->interrupt = true;
	ide_update_irq(channel);
}

static void device_reset_command(struct ide_drive *drive)
{
	ide_abandon(drive);
	ide_set_signature(drive);
	ide_update_irq(drive->channel);
}

#define FOR_DISK 1u
#define FOR_CDROM 2u
#define FOR_BOTH 3u
#define EXT 4u /* 48-bit registers */

struct command {
	void (*fn)(struct ide_drive *drive);
	uint8_t flags;
};

static const struct command commands[256] = {
	[0x00] = { abort_command, FOR_BOTH },
	[0x06] = { data_set_management, FOR_DISK | EXT },
	[0x08] = { device_reset_command, FOR_CDROM },
	[0x10 ... 0x1f] = { succeed, FOR_DISK }, /* RECALIBRATE of old */
	[0x20 ... 0x21] = { read_sectors, FOR_DISK },
	[0x24] = { read_sectors, FOR_DISK | EXT },
	[0x25] = { read_dma, FOR_DISK | EXT },
	[0x27] = { read_native_max, FOR_DISK | EXT },
	[0x29] = { read_multiple, FOR_DISK | EXT },
	[0x30 ... 0x31] = { write_sectors, FOR_DISK },
	[0x34] = { write_sectors, FOR_DISK | EXT },
	[0x35] = { write_dma, FOR_DISK | EXT },
	[0x39] = { write_multiple, FOR_DISK | EXT },
	[0x3d] = { write_dma_fua, FOR_DISK | EXT },
	[0x40 ... 0x41] = { verify, FOR_DISK },
	[0x42] = { verify, FOR_DISK | EXT },
	[0x70 ... 0x7f] = { succeed, FOR_DISK }, /* SEEK of old */
	[0x90] = { diagnose, FOR_BOTH },
	[0x91] = { initialize_parameters, FOR_DISK },
	[0x94 ... 0x97] = { succeed, FOR_BOTH },
	[0x98] = { check_power, FOR_BOTH },
	[0x99] = { succeed, FOR_BOTH },
	[0xa0] = { ide_packet_begin, FOR_CDROM },
	[0xa1] = { identify_packet, FOR_CDROM },
	[0xb0] = { smart, FOR_DISK },
	[0xc4] = { read_multiple, FOR_DISK },
	[0xc5] = { write_multiple, FOR_DISK },
	[0xc6] = { set_multiple, FOR_DISK },
	[0xc8 ... 0xc9] = { read_dma, FOR_DISK },
	[0xca ... 0xcb] = { write_dma, FOR_DISK },
	[0xce] = { write_multiple_fua, FOR_DISK | EXT },
	[0xe0 ... 0xe3] = { succeed, FOR_BOTH },
	[0xe5] = { check_power, FOR_BOTH },
	[0xe6] = { succeed, FOR_BOTH },
	[0xe7] = { flush, FOR_DISK },
	[0xea] = { flush, FOR_DISK | EXT },
	[0xec] = { identify, FOR_DISK },
	[0xef] = { set_features, FOR_BOTH },
	[0xf8] = { read_native_max, FOR_DISK },
};

static bool shows_signature(uint8_t command)
{
	return command == 0x20 || command == 0x21 || command == 0xec;
}

void ide_command(struct ide_drive *drive, uint8_t code)
{
	const struct command *command = &commands[code];
	unsigned mine = drive->kind == IDE_DISK ? FOR_DISK : FOR_CDROM;
	drive->interrupt = false;
	ide_update_irq(drive->channel);
	drive->command = code;
	drive->lba48 = command->flags & EXT;
	drive->through = false;
	drive->wants_dma = false;
	drive->error = 0;
	drive->left = 0;
	drive->position = drive->limit = drive->filled = 0;
	if (command->flags & mine)
		command->fn(drive);
	else if (mine == FOR_CDROM && shows_signature(code))
		refuse_with_signature(drive);
	else
		abort_command(drive);
}
