/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD-ROM drive: the PACKET command (ATA/ATAPI-6, 9.10 and 9.11) and the
 * commands of SPC-2 and MMC-3 that a read-only drive has to know.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/ide/drive.h"

#define CD_SECTOR 2048u
#define RAW_SECTOR 2352u
#define PACKET_SIZE 12u

/* Sense keys and additional sense codes (SPC-2, 7.20; MMC-3, annex F). */
#define KEY_NOT_READY 2u
#define KEY_MEDIUM_ERROR 3u
#define KEY_ILLEGAL_REQUEST 5u
#define KEY_UNIT_ATTENTION 6u
#define ASC_INVALID_OPCODE 0x20u
#define ASC_LBA_RANGE 0x21u
#define ASC_INVALID_FIELD 0x24u
#define ASC_MEDIUM_CHANGED 0x28u
#define ASC_RESET 0x29u
#define ASC_NO_MEDIUM 0x3au
#define ASC_REMOVAL_PREVENTED 0x53u
#define ASC_WRONG_TRACK_MODE 0x64u

#define EVENT_NONE 0u
#define EVENT_NEW_MEDIA 2u
#define EVENT_REMOVED 3u

#define PROFILE_CDROM 0x0008u
#define PROFILE_DVDROM 0x0010u
#define CD_SECTORS_MAX (99u * 60 * 75) /* what is larger is a DVD */

static uint32_t sectors_of(const struct ide_drive *drive)
{
	uint64_t sectors = drive->block ? drive->block->size / CD_SECTOR : 0;
	return (uint32_t)MIN(sectors, 0xffffffffull);
}

static bool is_dvd(const struct ide_drive *drive)
{
	return sectors_of(drive) > CD_SECTORS_MAX;
}

static bool has_medium(const struct ide_drive *drive)
{
	return drive->block && !drive->tray_open;
}

void ide_packet_end(struct ide_drive *drive, uint8_t key, uint8_t asc)
{
	drive->sense_key = key;
	drive->asc = asc;
	drive->ascq = 0;
	drive->now.count = REASON_COMMAND | REASON_IN;
	ide_complete(drive, key ? (uint8_t)(key << 4 | (key == KEY_ILLEGAL_REQUEST || key == KEY_NOT_READY ? ERROR_ABRT : 0)) : 0);
}

static void good(struct ide_drive *drive)
{
	ide_packet_end(drive, 0, 0);
}

static void illegal(struct ide_drive *drive, uint8_t asc)
{
	ide_packet_end(drive, KEY_ILLEGAL_REQUEST, asc);
}

/* `size` bytes of the buffer, or as many as the host wants. */
static void reply(struct ide_drive *drive, uint32_t size, uint32_t allocation)
{
	uint32_t give = MIN(size, allocation);
	drive->sense_key = drive->asc = drive->ascq = 0;
	if (give)
		ide_reply(drive, give);
	else
		good(drive);
}

void ide_medium_changed(struct ide_drive *drive)
{
	drive->tray_open = false;
	drive->attention = drive->block ? ASC_MEDIUM_CHANGED : 0;
	drive->media_event = drive->block ? EVENT_NEW_MEDIA : EVENT_REMOVED;
}

/* --- the commands; each finds a buffer of zeros --- */

static void test_unit_ready(struct ide_drive *drive)
{
	good(drive);
}

static void request_sense(struct ide_drive *drive)
{
	uint8_t *b = drive->buffer;
	/* An attention that waits is told here, when nothing else is. */
	if (!drive->sense_key && drive->attention) {
		drive->sense_key = KEY_UNIT_ATTENTION;
		drive->asc = drive->attention;
		drive->attention = 0;
	}
	b[0] = 0x70;
	b[2] = drive->sense_key;
	b[7] = 10;
	b[12] = drive->asc;
	b[13] = drive->ascq;
	reply(drive, 18, drive->packet[4]);
}

static void inquiry(struct ide_drive *drive)
{
	uint8_t *b = drive->buffer;
	if (drive->packet[1] & 3) {
		illegal(drive, ASC_INVALID_FIELD); /* no vital product data pages */
		return;
	}
	b[0] = 0x05;
	b[1] = 0x80;
	b[3] = 0x21; /* ATAPI, response format 1 */
	b[4] = 31;
	memcpy(b + 8, "VISOR   ", 8);
	memcpy(b + 16, "DVD-ROM         ", 16);
	memcpy(b + 32, "1.0 ", 4);
	reply(drive, 36, load_be16(drive->packet + 3));
}

static void start_stop(struct ide_drive *drive)
{
	bool start = drive->packet[4] & 1, load_eject = drive->packet[4] & 2;
	if (load_eject && !start && drive->tray_locked) {
		ide_packet_end(drive, drive->block ? KEY_ILLEGAL_REQUEST : KEY_NOT_READY, ASC_REMOVAL_PREVENTED);
		return;
	}
	if (load_eject && drive->tray_open == start) {
		drive->tray_open = !start;
		if (drive->block)
			drive->media_event = start ? EVENT_NEW_MEDIA : EVENT_REMOVED;
	}
	good(drive);
}

static void prevent_removal(struct ide_drive *drive)
{
	drive->tray_locked = drive->packet[4] & 1;
	good(drive);
}

static void read_capacity(struct ide_drive *drive)
{
	store_be32(drive->buffer, sectors_of(drive) - 1);
	store_be32(drive->buffer + 4, CD_SECTOR);
	reply(drive, 8, 8);
}

static void read_blocks(struct ide_drive *drive, uint32_t lba, uint32_t count)
{
	uint32_t sectors = sectors_of(drive);
	if (lba > sectors || count > sectors - lba) {
		illegal(drive, ASC_LBA_RANGE);
		return;
	}
	if (!count) {
		good(drive);
		return;
	}
	drive->offset = (uint64_t)lba * CD_SECTOR;
	drive->left = (uint64_t)count * CD_SECTOR;
	ide_start_read(drive, drive->wants_dma);
}

static void read_10(struct ide_drive *drive)
{
	read_blocks(drive, load_be32(drive->packet + 2), load_be16(drive->packet + 7));
}

static void read_12(struct ide_drive *drive)
{
	read_blocks(drive, load_be32(drive->packet + 2), load_be32(drive->packet + 6));
}

/* User data of mode 1 sectors is all that an image has (MMC-3, 6.17). */
static void read_cd(struct ide_drive *drive)
{
	uint32_t count = (uint32_t)drive->packet[6] << 16 | load_be16(drive->packet + 7);
	unsigned type = drive->packet[1] >> 2 & 7, fields = drive->packet[9] & 0xf8;
	if (type == 1) /* CD-DA */
		illegal(drive, ASC_WRONG_TRACK_MODE);
	else if (!fields || !count)
		good(drive);
	else if (fields != 0x10 || drive->packet[10] & 7)
		illegal(drive, ASC_INVALID_FIELD);
	else
		read_blocks(drive, load_be32(drive->packet + 2), count);
}

static void seek(struct ide_drive *drive)
{
	if (load_be32(drive->packet + 2) >= sectors_of(drive))
		illegal(drive, ASC_LBA_RANGE);
	else
		good(drive);
}

static void put_address(uint8_t *at, uint32_t lba, bool msf)
{
	uint32_t frame = lba + 150;
	if (!msf) {
		store_be32(at, lba);
		return;
	}
	at[0] = 0;
	at[1] = (uint8_t)MIN(frame / (60 * 75), 255u);
	at[2] = (uint8_t)(frame / 75 % 60);
	at[3] = (uint8_t)(frame % 75);
}

/* One data track, then the lead-out (MMC-3, 6.25). */
static uint32_t toc_tracks(struct ide_drive *drive, bool msf)
{
	uint8_t *b = drive->buffer;
	unsigned start = drive->packet[6];
	uint32_t at = 4;
	b[2] = b[3] = 1;
	if (start <= 1) {
		b[at + 1] = 0x14; /* ADR 1, data track */
		b[at + 2] = 1;
		put_address(b + at + 4, 0, msf);
		at += 8;
	}
	b[at + 1] = 0x14;
	b[at + 2] = 0xaa;
	put_address(b + at + 4, sectors_of(drive), msf);
	return at + 8;
}

static uint32_t toc_session(struct ide_drive *drive, bool msf)
{
	uint8_t *b = drive->buffer;
	b[2] = b[3] = 1;
	b[5] = 0x14;
	b[6] = 1;
	put_address(b + 8, 0, msf);
	return 12;
}

/* The raw table in minutes, seconds and frames: first track, last track, lead-out, track 1. */
static uint32_t toc_raw(struct ide_drive *drive)
{
	static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 1 };
	uint8_t *b = drive->buffer;
	b[2] = b[3] = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
		uint8_t *e = b + 4 + 11 * i;
		e[0] = 1;
		e[1] = 0x14;
		e[3] = points[i];
		if (points[i] < 0xa2 && points[i] > 1)
			e[8] = 1;
		else
			put_address(e + 7, points[i] == 1 ? 0 : sectors_of(drive), true);
	}
	return 4 + 11 * ARRAY_SIZE(points);
}

static void read_toc(struct ide_drive *drive)
{
	unsigned start = drive->packet[6], format = drive->packet[2] & 15;
	bool msf = drive->packet[1] & 2;
	uint32_t size;
	/* Before MMC the format stood in the last byte. */
	if (!format)
		format = drive->packet[9] >> 6;
	if (format == 0 && start > 1 && start != 0xaa)
		format = 15;
	switch (format) {
	case 0: size = toc_tracks(drive, msf); break;
	case 1: size = toc_session(drive, msf); break;
	case 2: size = toc_raw(drive); break;
	default:
		illegal(drive, ASC_INVALID_FIELD);
		return;
	}
	store_be16(drive->buffer, size - 2);
	reply(drive, size, load_be16(drive->packet + 7));
}

static void read_subchannel(struct ide_drive *drive)
{
	drive->buffer[1] = 0x15; /* no audio status */
	reply(drive, 4, load_be16(drive->packet + 7));
}

/* Mode pages (MMC-3, 5.3): error recovery, and what the drive can do. */
static uint32_t put_page(struct ide_drive *drive, uint32_t at, unsigned page)
{
	uint8_t *b = drive->buffer + at;
	switch (page) {
	case 0x01:
		b[0] = 0x01;
		b[1] = 6;
		b[3] = 5; /* retries */
		return at + 8;
	case 0x2a:
		b[0] = 0x2a;
		b[1] = 18;
		b[2] = 0x38; /* reads DVD-ROM, DVD-R, CD-RW and its kin */
		b[6] = (uint8_t)(0x29 | (drive->tray_locked ? 2 : 0)); /* tray; lockable, ejects */
		store_be16(b + 8, 5540); /* kB/s */
		store_be16(b + 12, 512);
		store_be16(b + 14, 5540);
		return at + 20;
	default:
		return at;
	}
}

static void mode_sense(struct ide_drive *drive)
{
	unsigned page = drive->packet[2] & 0x3f, control = drive->packet[2] >> 6;
	uint32_t size = 8;
	if (control == 3) {
		ide_packet_end(drive, KEY_ILLEGAL_REQUEST, 0x39); /* saving parameters not supported */
		return;
	}
	drive->buffer[2] = drive->block ? (is_dvd(drive) ? 0x41 : 0x01) : 0x70;
	if (page == 0x3f)
		size = put_page(drive, put_page(drive, size, 0x01), 0x2a);
	else
		size = put_page(drive, size, page);
	if (size == 8) {
		illegal(drive, ASC_INVALID_FIELD);
		return;
	}
	store_be16(drive->buffer, size - 2);
	reply(drive, size, load_be16(drive->packet + 7));
}

/* Features (MMC-3, 5.2): code, version and flags, length, body. */
static uint32_t put_feature(struct ide_drive *drive, uint32_t at, unsigned code, uint8_t flags, const uint8_t *body, uint8_t length)
{
	unsigned type = drive->packet[1] & 3, from = load_be16(drive->packet + 2);
	bool current = flags & 1;
	if (type == 2 ? code != from : code < from || (type == 1 && !current))
		return at;
	store_be16(drive->buffer + at, code);
	drive->buffer[at + 2] = flags;
	drive->buffer[at + 3] = length;
	memcpy(drive->buffer + at + 4, body, length);
	return at + 4 + length;
}

static void get_configuration(struct ide_drive *drive)
{
	bool medium = has_medium(drive), dvd = medium && is_dvd(drive), cd = medium && !dvd;
	unsigned profile = dvd ? PROFILE_DVDROM : cd ? PROFILE_CDROM : 0;
	const uint8_t profiles[8] = { 0, PROFILE_DVDROM, dvd, 0, 0, PROFILE_CDROM, cd, 0 };
	static const uint8_t core[4] = { 0, 0, 0, 2 };        /* ATAPI */
	static const uint8_t removable[4] = { 0x29, 0, 0, 0 };
	static const uint8_t readable[8] = { 0, 0, 8, 0, 0, 16, 0, 0 };
	static const uint8_t none[4];
	if ((drive->packet[1] & 3) == 3) {
		illegal(drive, ASC_INVALID_FIELD);
		return;
	}
	uint32_t at = 8;
	at = put_feature(drive, at, 0x0000, 0x03, profiles, 8);
	at = put_feature(drive, at, 0x0001, 0x03, core, 4);
	at = put_feature(drive, at, 0x0003, 0x03, removable, 4);
	at = put_feature(drive, at, 0x0010, medium, readable, 8);
	at = put_feature(drive, at, 0x001e, cd, none, 0);
	at = put_feature(drive, at, 0x001f, dvd, none, 0);
	store_be32(drive->buffer, at - 4);
	store_be16(drive->buffer + 6, profile);
	reply(drive, at, load_be16(drive->packet + 7));
}

/* GET EVENT STATUS NOTIFICATION (MMC-3, 6.6): media events alone, by asking. */
static void get_event(struct ide_drive *drive)
{
	uint8_t *b = drive->buffer;
	if (!(drive->packet[1] & 1)) {
		illegal(drive, ASC_INVALID_FIELD);
		return;
	}
	b[3] = 0x10; /* supported classes */
	if (!(drive->packet[4] & 0x10)) {
		b[2] = 0x80; /* none of those that were asked for */
		store_be16(b, 2);
		reply(drive, 4, load_be16(drive->packet + 7));
		return;
	}
	b[2] = 4;
	store_be16(b, 6);
	b[4] = drive->media_event;
	b[5] = (uint8_t)((drive->tray_open ? 1 : 0) | (has_medium(drive) ? 2 : 0));
	drive->media_event = EVENT_NONE;
	reply(drive, 8, load_be16(drive->packet + 7));
}

static void mechanism_status(struct ide_drive *drive)
{
	drive->buffer[1] = drive->tray_open ? 0x10 : 0;
	reply(drive, 8, load_be16(drive->packet + 8));
}

static void read_disc_information(struct ide_drive *drive)
{
	uint8_t *b = drive->buffer;
	store_be16(b, 32);
	b[2] = 0x0e; /* complete, last session complete */
	b[3] = b[4] = b[5] = b[6] = 1;
	b[7] = 0x20; /* unrestricted use */
	reply(drive, 34, load_be16(drive->packet + 7));
}

/* READ DVD STRUCTURE (MMC-3, 6.22): physical format and copyright of layer 0. */
static void read_dvd_structure(struct ide_drive *drive)
{
	uint8_t *b = drive->buffer;
	uint32_t size;
	if (!is_dvd(drive)) {
		ide_packet_end(drive, KEY_ILLEGAL_REQUEST, 0x30); /* incompatible medium */
		return;
	}
	switch (drive->packet[7]) {
	case 0x00:
		b[4] = 0x01;
		b[5] = 0x0f; /* 120 mm, rate not specified */
		b[6] = 0x01; /* one layer, embossed */
		store_be32(b + 8, 0x30000);
		store_be32(b + 12, 0x30000 + sectors_of(drive) - 1);
		size = 4 + 2048;
		break;
	case 0x01:
		size = 8;
		break;
	default:
		illegal(drive, ASC_INVALID_FIELD);
		return;
	}
	store_be16(b, size - 2);
	reply(drive, size, load_be16(drive->packet + 8));
}

#define NEEDS_MEDIUM 1u
#define NO_ATTENTION 2u /* executed although an attention waits (SPC-2, 5.6.5) */

static const struct packet_command {
	void (*fn)(struct ide_drive *drive);
	uint8_t flags;
} packet_commands[256] = {
	[0x00] = { test_unit_ready, NEEDS_MEDIUM },
	[0x03] = { request_sense, NO_ATTENTION },
	[0x12] = { inquiry, NO_ATTENTION },
	[0x1b] = { start_stop, 0 },
	[0x1e] = { prevent_removal, 0 },
	[0x25] = { read_capacity, NEEDS_MEDIUM },
	[0x28] = { read_10, NEEDS_MEDIUM },
	[0x2b] = { seek, NEEDS_MEDIUM },
	[0x42] = { read_subchannel, NEEDS_MEDIUM },
	[0x43] = { read_toc, NEEDS_MEDIUM },
	[0x46] = { get_configuration, NO_ATTENTION },
	[0x4a] = { get_event, NO_ATTENTION },
	[0x51] = { read_disc_information, NEEDS_MEDIUM },
	[0x5a] = { mode_sense, 0 },
	[0xa8] = { read_12, NEEDS_MEDIUM },
	[0xad] = { read_dvd_structure, NEEDS_MEDIUM },
	[0xbb] = { good, 0 }, /* SET CD SPEED */
	[0xbd] = { mechanism_status, 0 },
	[0xbe] = { read_cd, NEEDS_MEDIUM },
};

void ide_packet_begin(struct ide_drive *drive)
{
	drive->wants_dma = drive->now.features & 1;
	uint32_t limit = drive->now.mid | (uint32_t)drive->now.high << 8;
	/* Even, but for one that is larger than the transfer; 0 is of no use and taken for the most (9.10). */
	limit = limit && limit != 0xffff ? limit & ~1u : 0xfffe;
	drive->block_bytes = MAX(limit, 2u);
	if (drive->now.features & 2) { /* overlapped */
		ide_complete(drive, ERROR_ABRT);
		return;
	}
	ide_receive(drive, PACKET_SIZE, FOR_PACKET, false);
	drive->now.count = REASON_COMMAND;
}

void ide_packet_run(struct ide_drive *drive)
{
	const struct packet_command *command = &packet_commands[drive->packet[0]];
	memset(drive->buffer, 0, 4096); /* what the longest reply takes */
	drive->position = drive->limit = drive->filled = 0;
	drive->transfer = TRANSFER_NONE;
	if (!command->fn) {
		illegal(drive, ASC_INVALID_OPCODE);
	} else if (drive->attention && !(command->flags & NO_ATTENTION)) {
		uint8_t asc = drive->attention;
		drive->attention = 0;
		ide_packet_end(drive, KEY_UNIT_ATTENTION, asc);
	} else if (command->flags & NEEDS_MEDIUM && !has_medium(drive)) {
		ide_packet_end(drive, KEY_NOT_READY, ASC_NO_MEDIUM);
	} else {
		command->fn(drive);
	}
}
