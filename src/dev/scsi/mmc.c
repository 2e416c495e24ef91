/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/scsi/mmc.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/scsi/sense.h"

#define CD_SECTOR 2048u

#define EVENT_NONE 0u
#define EVENT_NEW_MEDIA 2u
#define EVENT_REMOVED 3u

#define PROFILE_CDROM 0x0008u
#define PROFILE_DVDROM 0x0010u
#define CD_SECTORS_MAX (99u * 60 * 75) /* what is larger is a DVD */

const struct field mmc_fields[] = {
	FIELD(struct mmc_drive, sense_key),
	FIELD(struct mmc_drive, asc),
	FIELD(struct mmc_drive, ascq),
	FIELD(struct mmc_drive, tray_locked),
	FIELD_KEEP(struct mmc_drive, tray_open),
	FIELD_RESET(struct mmc_drive, attention, ASC_RESET),
	FIELD(struct mmc_drive, media_event),
	FIELD_END
};

/* A command that is carried out. */
struct mmc_run {
	struct mmc_drive *drive;
	const uint8_t *cdb;
	uint8_t *data; /* zeros at first */
	struct mmc_outcome *outcome;
};

static uint32_t sectors_of(const struct mmc_drive *drive)
{
	uint64_t sectors = drive->block ? drive->block->size / CD_SECTOR : 0;
	return (uint32_t)MIN(sectors, 0xffffffffull);
}

static bool is_dvd(const struct mmc_drive *drive)
{
	return sectors_of(drive) > CD_SECTORS_MAX;
}

static bool has_medium(const struct mmc_drive *drive)
{
	return drive->block && !drive->tray_open;
}

static void end(struct mmc_run *run, uint8_t key, uint8_t asc)
{
	*run->outcome = (struct mmc_outcome){ .step = MMC_DONE, .key = key, .asc = asc };
}

static void good(struct mmc_run *run)
{
	end(run, 0, 0);
}

static void illegal(struct mmc_run *run, uint8_t asc)
{
	end(run, KEY_ILLEGAL_REQUEST, asc);
}

/* `size` bytes, or as many as the host wants. */
static void reply(struct mmc_run *run, uint32_t size, uint32_t allocation)
{
	*run->outcome = (struct mmc_outcome){ .step = MMC_REPLY, .size = MIN(size, allocation) };
	if (!run->outcome->size)
		good(run);
}

void mmc_set_sense(struct mmc_drive *drive, uint8_t key, uint8_t asc)
{
	drive->sense_key = key;
	drive->asc = asc;
	drive->ascq = 0;
}

int mmc_may_change(const struct mmc_drive *drive, const char *name, bool force, struct error *err)
{
	if (!drive->tray_locked || !drive->block || force)
		return 0;
	return error_set(err, EBUSY, "%s: the guest has locked the tray; unmount the disc there, or force it", name);
}

void mmc_medium_changed(struct mmc_drive *drive, struct block *block)
{
	drive->block = block;
	drive->tray_open = false;
	drive->attention = block ? ASC_MEDIUM_CHANGED : 0;
	drive->media_event = block ? EVENT_NEW_MEDIA : EVENT_REMOVED;
}

/* --- the commands; each finds zeros to put its data into --- */

static void test_unit_ready(struct mmc_run *run)
{
	good(run);
}

static void request_sense(struct mmc_run *run)
{
	struct mmc_drive *drive = run->drive;
	uint8_t *b = run->data;
	/* An attention that waits is told here, when nothing else is. */
	if (!drive->sense_key && drive->attention) {
		mmc_set_sense(drive, KEY_UNIT_ATTENTION, drive->attention);
		drive->attention = 0;
	}
	b[0] = 0x70;
	b[2] = drive->sense_key;
	b[7] = 10;
	b[12] = drive->asc;
	b[13] = drive->ascq;
	mmc_set_sense(drive, 0, 0);
	reply(run, 18, run->cdb[4]);
}

static void inquiry(struct mmc_run *run)
{
	uint8_t *b = run->data;
	if (run->cdb[1] & 3) {
		illegal(run, ASC_INVALID_FIELD); /* no vital product data pages */
		return;
	}
	b[0] = 0x05;
	b[1] = 0x80;
	b[2] = run->drive->atapi ? 0 : 4;       /* SPC-2 */
	b[3] = run->drive->atapi ? 0x21 : 0x02; /* the format of this data */
	b[4] = 31;
	b[7] = run->drive->atapi ? 0 : 0x32;    /* as the disks beside it: 16 bits wide, synchronous, queueing */
	memcpy(b + 8, "VISOR   ", 8);
	memcpy(b + 16, "DVD-ROM         ", 16);
	memcpy(b + 32, "1.0 ", 4);
	reply(run, 36, load_be16(run->cdb + 3));
}

static void start_stop(struct mmc_run *run)
{
	bool start = run->cdb[4] & 1, load_eject = run->cdb[4] & 2;
	if (load_eject && !start && run->drive->tray_locked) {
		end(run, run->drive->block ? KEY_ILLEGAL_REQUEST : KEY_NOT_READY, ASC_REMOVAL_PREVENTED);
		return;
	}
	if (load_eject && run->drive->tray_open == start) {
		run->drive->tray_open = !start;
		if (run->drive->block)
			run->drive->media_event = start ? EVENT_NEW_MEDIA : EVENT_REMOVED;
	}
	good(run);
}

/* SEND DIAGNOSTIC: tests without a page are allowed, and there is nothing to find (SPC-2, 7.24). */
static void self_test(struct mmc_run *run)
{
	if (run->cdb[1] & 4)
		good(run);
	else
		illegal(run, ASC_INVALID_FIELD);
}

static void prevent_removal(struct mmc_run *run)
{
	run->drive->tray_locked = run->cdb[4] & 1;
	good(run);
}

static void read_capacity(struct mmc_run *run)
{
	store_be32(run->data, sectors_of(run->drive) - 1);
	store_be32(run->data + 4, CD_SECTOR);
	reply(run, 8, 8);
}

static void read_blocks(struct mmc_run *run, uint32_t lba, uint32_t count)
{
	uint32_t sectors = sectors_of(run->drive);
	if (lba > sectors || count > sectors - lba) {
		illegal(run, ASC_LBA_RANGE);
		return;
	}
	if (!count) {
		good(run);
		return;
	}
	*run->outcome = (struct mmc_outcome){ .step = MMC_READ, .offset = (uint64_t)lba * CD_SECTOR, .length = (uint64_t)count * CD_SECTOR };
}

static void read_6(struct mmc_run *run)
{
	read_blocks(run, load_be32(run->cdb) & 0x1fffff, run->cdb[4] ? run->cdb[4] : 256);
}

static void read_10(struct mmc_run *run)
{
	read_blocks(run, load_be32(run->cdb + 2), load_be16(run->cdb + 7));
}

static void read_12(struct mmc_run *run)
{
	read_blocks(run, load_be32(run->cdb + 2), load_be32(run->cdb + 6));
}

/* User data of mode 1 sectors is all that an image has (MMC-3, 6.17). */
static void read_cd(struct mmc_run *run)
{
	uint32_t count = (uint32_t)run->cdb[6] << 16 | load_be16(run->cdb + 7);
	unsigned type = run->cdb[1] >> 2 & 7, fields = run->cdb[9] & 0xf8;
	if (type == 1) /* CD-DA */
		illegal(run, ASC_WRONG_TRACK_MODE);
	else if (!fields || !count)
		good(run);
	else if (fields != 0x10 || run->cdb[10] & 7)
		illegal(run, ASC_INVALID_FIELD);
	else
		read_blocks(run, load_be32(run->cdb + 2), count);
}

static void seek(struct mmc_run *run)
{
	if (load_be32(run->cdb + 2) >= sectors_of(run->drive))
		illegal(run, ASC_LBA_RANGE);
	else
		good(run);
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
static uint32_t toc_tracks(struct mmc_run *run, bool msf)
{
	uint8_t *b = run->data;
	unsigned start = run->cdb[6];
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
	put_address(b + at + 4, sectors_of(run->drive), msf);
	return at + 8;
}

static uint32_t toc_session(struct mmc_run *run, bool msf)
{
	uint8_t *b = run->data;
	b[2] = b[3] = 1;
	b[5] = 0x14;
	b[6] = 1;
	put_address(b + 8, 0, msf);
	return 12;
}

/* The raw table in minutes, seconds and frames: first track, last track, lead-out, track 1. */
static uint32_t toc_raw(struct mmc_run *run)
{
	static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 1 };
	uint8_t *b = run->data;
	b[2] = b[3] = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
		uint8_t *e = b + 4 + 11 * i;
		e[0] = 1;
		e[1] = 0x14;
		e[3] = points[i];
		if (points[i] < 0xa2 && points[i] > 1)
			e[8] = 1;
		else
			put_address(e + 7, points[i] == 1 ? 0 : sectors_of(run->drive), true);
	}
	return 4 + 11 * ARRAY_SIZE(points);
}

static void read_toc(struct mmc_run *run)
{
	unsigned start = run->cdb[6], format = run->cdb[2] & 15;
	bool msf = run->cdb[1] & 2;
	uint32_t size;
	/* Before MMC the format stood in the last byte. */
	if (!format)
		format = run->cdb[9] >> 6;
	if (format == 0 && start > 1 && start != 0xaa)
		format = 15;
	switch (format) {
	case 0: size = toc_tracks(run, msf); break;
	case 1: size = toc_session(run, msf); break;
	case 2: size = toc_raw(run); break;
	default:
		illegal(run, ASC_INVALID_FIELD);
		return;
	}
	store_be16(run->data, size - 2);
	reply(run, size, load_be16(run->cdb + 7));
}

static void read_subchannel(struct mmc_run *run)
{
	run->data[1] = 0x15; /* no audio status */
	reply(run, 4, load_be16(run->cdb + 7));
}

/* Mode pages (MMC-3, 5.3): error recovery, and what the drive can do. */
static uint32_t put_page(struct mmc_run *run, uint32_t at, unsigned page)
{
	uint8_t *b = run->data + at;
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
		b[6] = (uint8_t)(0x29 | (run->drive->tray_locked ? 2 : 0)); /* tray; lockable, ejects */
		store_be16(b + 8, 5540); /* kB/s */
		store_be16(b + 12, 512);
		store_be16(b + 14, 5540);
		return at + 20;
	default:
		return at;
	}
}

static void mode_sense(struct mmc_run *run)
{
	unsigned page = run->cdb[2] & 0x3f, control = run->cdb[2] >> 6;
	bool long_form = run->cdb[0] == 0x5a;
	uint32_t header = long_form ? 8 : 4, size = header;
	uint8_t medium = run->drive->block ? (is_dvd(run->drive) ? 0x41 : 0x01) : 0x70;
	if (control == 3) {
		illegal(run, ASC_SAVING_PARAMETERS);
		return;
	}
	if (page == 0x3f)
		size = put_page(run, put_page(run, size, 0x01), 0x2a);
	else
		size = put_page(run, size, page);
	if (size == header) {
		illegal(run, ASC_INVALID_FIELD);
		return;
	}
	if (long_form) {
		store_be16(run->data, (uint16_t)(size - 2));
		run->data[2] = medium;
	} else {
		run->data[0] = (uint8_t)(size - 1);
		run->data[1] = medium;
	}
	reply(run, size, long_form ? load_be16(run->cdb + 7) : run->cdb[4]);
}

/* Features (MMC-3, 5.2): code, version and flags, length, body. */
static uint32_t put_feature(struct mmc_run *run, uint32_t at, unsigned code, uint8_t flags, const uint8_t *body, uint8_t length)
{
	unsigned type = run->cdb[1] & 3, from = load_be16(run->cdb + 2);
	bool current = flags & 1;
	if (type == 2 ? code != from : code < from || (type == 1 && !current))
		return at;
	store_be16(run->data + at, code);
	run->data[at + 2] = flags;
	run->data[at + 3] = length;
	memcpy(run->data + at + 4, body, length);
	return at + 4 + length;
}

static void get_configuration(struct mmc_run *run)
{
	bool medium = has_medium(run->drive), dvd = medium && is_dvd(run->drive), cd = medium && !dvd;
	unsigned profile = dvd ? PROFILE_DVDROM : cd ? PROFILE_CDROM : 0;
	const uint8_t profiles[8] = { 0, PROFILE_DVDROM, dvd, 0, 0, PROFILE_CDROM, cd, 0 };
	const uint8_t core[4] = { 0, 0, 0, run->drive->atapi ? 2 : 1 };
	static const uint8_t removable[4] = { 0x29, 0, 0, 0 };
	static const uint8_t readable[8] = { 0, 0, 8, 0, 0, 16, 0, 0 };
	static const uint8_t none[4];
	if ((run->cdb[1] & 3) == 3) {
		illegal(run, ASC_INVALID_FIELD);
		return;
	}
	uint32_t at = 8;
	at = put_feature(run, at, 0x0000, 0x03, profiles, 8);
	at = put_feature(run, at, 0x0001, 0x03, core, 4);
	at = put_feature(run, at, 0x0003, 0x03, removable, 4);
	at = put_feature(run, at, 0x0010, medium, readable, 8);
	at = put_feature(run, at, 0x001e, cd, none, 0);
	at = put_feature(run, at, 0x001f, dvd, none, 0);
	store_be32(run->data, at - 4);
	store_be16(run->data + 6, profile);
	reply(run, at, load_be16(run->cdb + 7));
}

/* GET EVENT STATUS NOTIFICATION (MMC-3, 6.6): media events alone, by asking. */
static void get_event(struct mmc_run *run)
{
	uint8_t *b = run->data;
	if (!(run->cdb[1] & 1)) {
		illegal(run, ASC_INVALID_FIELD);
		return;
	}
	b[3] = 0x10; /* supported classes */
	if (!(run->cdb[4] & 0x10)) {
		b[2] = 0x80; /* none of those that were asked for */
		store_be16(b, 2);
		reply(run, 4, load_be16(run->cdb + 7));
		return;
	}
	b[2] = 4;
	store_be16(b, 6);
	b[4] = run->drive->media_event;
	b[5] = (uint8_t)((run->drive->tray_open ? 1 : 0) | (has_medium(run->drive) ? 2 : 0));
	run->drive->media_event = EVENT_NONE;
	reply(run, 8, load_be16(run->cdb + 7));
}

static void mechanism_status(struct mmc_run *run)
{
	run->data[1] = run->drive->tray_open ? 0x10 : 0;
	reply(run, 8, load_be16(run->cdb + 8));
}

static void read_disc_information(struct mmc_run *run)
{
	uint8_t *b = run->data;
	store_be16(b, 32);
	b[2] = 0x0e; /* complete, last session complete */
	b[3] = b[4] = b[5] = b[6] = 1;
	b[7] = 0x20; /* unrestricted use */
	reply(run, 34, load_be16(run->cdb + 7));
}

/* READ DVD STRUCTURE (MMC-3, 6.22): physical format and copyright of layer 0. */
static void read_dvd_structure(struct mmc_run *run)
{
	uint8_t *b = run->data;
	uint32_t size;
	if (!is_dvd(run->drive)) {
		end(run, KEY_ILLEGAL_REQUEST, ASC_INCOMPATIBLE_MEDIUM);
		return;
	}
	switch (run->cdb[7]) {
	case 0x00:
		b[4] = 0x01;
		b[5] = 0x0f; /* 120 mm, rate not specified */
		b[6] = 0x01; /* one layer, embossed */
		store_be32(b + 8, 0x30000);
		store_be32(b + 12, 0x30000 + sectors_of(run->drive) - 1);
		size = 4 + 2048;
		break;
	case 0x01:
		size = 8;
		break;
	default:
		illegal(run, ASC_INVALID_FIELD);
		return;
	}
	store_be16(b, size - 2);
	reply(run, size, load_be16(run->cdb + 8));
}

#define NEEDS_MEDIUM 1u
#define SCSI_ONLY 4u    /* ATAPI drives have nothing of the kind */
#define NO_ATTENTION 2u /* executed although an attention waits (SPC-2, 5.6.5) */

static const struct command {
	void (*fn)(struct mmc_run *run);
	uint8_t flags;
} commands[256] = {
	[0x00] = { test_unit_ready, NEEDS_MEDIUM },
	[0x03] = { request_sense, NO_ATTENTION },
	[0x08] = { read_6, NEEDS_MEDIUM | SCSI_ONLY },
	[0x12] = { inquiry, NO_ATTENTION },
	[0x16] = { good, SCSI_ONLY },      /* RESERVE: a disc is one machine's */
	[0x17] = { good, SCSI_ONLY },      /* RELEASE */
	[0x1a] = { mode_sense, SCSI_ONLY },
	[0x1b] = { start_stop, 0 },
	[0x1d] = { self_test, SCSI_ONLY },
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

void mmc_command(struct mmc_drive *drive, const uint8_t cdb[MMC_CDB_SIZE], uint8_t data[MMC_REPLY_MAX], struct mmc_outcome *outcome)
{
	const struct command *command = &commands[cdb[0]];
	struct mmc_run run = { drive, cdb, data, outcome };
	memset(data, 0, MMC_REPLY_MAX);
	if (cdb[0] != 0x03)
		mmc_set_sense(drive, 0, 0);
	if (!command->fn || (drive->atapi && command->flags & SCSI_ONLY)) {
		illegal(&run, ASC_INVALID_OPCODE);
	} else if (drive->attention && !(command->flags & NO_ATTENTION)) {
		end(&run, KEY_UNIT_ATTENTION, drive->attention);
		drive->attention = 0;
	} else if (command->flags & NEEDS_MEDIUM && !has_medium(drive)) {
		end(&run, KEY_NOT_READY, ASC_NO_MEDIUM);
	} else {
		command->fn(&run);
	}
}
