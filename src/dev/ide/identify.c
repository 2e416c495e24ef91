/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dev/ide/drive.h"

/* What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE return (ATA/ATAPI-6, 8.15 and 8.16; ATA8-ACS for word 105 on). */
#define CYLINDERS_MAX 16383u
#define LBA28_MAX 0x0fffffffull

void ide_put_text(uint8_t *at, const char *text, unsigned size)
{
	size_t length = strnlen(text, size);
	for (unsigned i = 0; i < size; i++)
		at[i ^ 1] = i < length ? (uint8_t)text[i] : ' ';
}

static void word(struct ide_drive *drive, unsigned n, unsigned value)
{
	store_le16(drive->buffer + 2 * n, (uint16_t)value);
}

static void put_modes(struct ide_drive *drive)
{
	unsigned multiword = (drive->dma_mode & 0xf8) == 0x20 ? 0x100u << (drive->dma_mode & 7) : 0;
	unsigned ultra = (drive->dma_mode & 0xf8) == 0x40 ? 0x100u << (drive->dma_mode & 7) : 0;
	word(drive, 53, 7);       /* words 54 to 58, 64 to 70 and 88 are valid */
	word(drive, 63, 7 | multiword);
	word(drive, 64, 3);       /* PIO modes 3 and 4 */
	for (unsigned n = 65; n <= 68; n++)
		word(drive, n, 120); /* ns of a cycle */
	word(drive, 88, 0x3f | ultra);
	word(drive, 93, drive->number & 1 ? 0x4b00 : 0x407b); /* a cable with 80 wires, diagnostics passed */
}

static void put_names(struct ide_drive *drive, const char *model)
{
	ide_put_text(drive->buffer + 2 * 10, drive->serial, 20);
	ide_put_text(drive->buffer + 2 * 23, VISOR_VERSION, 8);
	ide_put_text(drive->buffer + 2 * 27, model, 40);
}

static void put_geometry(struct ide_drive *drive, uint64_t sectors)
{
	uint64_t natural = sectors / (16 * 63);
	word(drive, 1, (unsigned)MIN(natural, (uint64_t)CYLINDERS_MAX));
	word(drive, 3, 16);
	word(drive, 6, 63);
	unsigned per_cylinder = drive->heads * drive->sectors;
	uint64_t cylinders = MIN(sectors / per_cylinder, 65535ull);
	uint64_t capacity = cylinders * per_cylinder;
	word(drive, 54, (unsigned)cylinders);
	word(drive, 55, drive->heads);
	word(drive, 56, drive->sectors);
	word(drive, 57, (unsigned)capacity);
	word(drive, 58, (unsigned)(capacity >> 16));
}

static void put_integrity(struct ide_drive *drive)
{
	uint8_t sum = 0xa5;
	drive->buffer[510] = 0xa5;
	for (unsigned i = 0; i < 510; i++)
		sum = (uint8_t)(sum + drive->buffer[i]);
	drive->buffer[511] = (uint8_t)-sum;
}

void ide_identify(struct ide_drive *drive)
{
	uint64_t sectors = drive->block->size / BLOCK_SECTOR, lba28 = MIN(sectors, LBA28_MAX);
	unsigned physical = drive->block->physical_block / BLOCK_SECTOR;
	memset(drive->buffer, 0, 512);
	word(drive, 0, 0x0040);
	put_geometry(drive, sectors);
	put_names(drive, "VISOR HARDDISK");
	word(drive, 47, 0x8000 | 16); /* sectors that READ MULTIPLE may take at once */
	word(drive, 49, 0x0f00);      /* DMA, LBA, IORDY */
	word(drive, 50, 0x4000);
	word(drive, 51, 0x0200);
	put_modes(drive);
	word(drive, 59, drive->multiple ? 0x100u | drive->multiple : 0);
	word(drive, 60, (unsigned)lba28);
	word(drive, 61, (unsigned)(lba28 >> 16));
	word(drive, 80, 0x01f0);      /* ATA/ATAPI-4 to ATA8-ACS */
	word(drive, 82, 0x4061);      /* SMART, write cache, look-ahead, NOP */
	word(drive, 83, 0x7400);      /* LBA48, FLUSH CACHE, FLUSH CACHE EXT */
	word(drive, 84, 0x4040);      /* WRITE DMA FUA EXT */
	word(drive, 85, 0x4000 | drive->smart | drive->write_cache << 5 | drive->look_ahead << 6);
	word(drive, 86, 0x3400);
	word(drive, 87, 0x4040);
	for (unsigned i = 0; i < 4; i++)
		word(drive, 100 + i, (unsigned)(sectors >> (16 * i)) & 0xffff);
	word(drive, 105, 1);          /* sectors of one DATA SET MANAGEMENT */
	if (physical > 1)
		word(drive, 106, 0x6000 | (unsigned)__builtin_ctz(physical));
	word(drive, 169, drive->block->read_only ? 0 : 1);
	put_integrity(drive);
}

void ide_identify_packet(struct ide_drive *drive)
{
	memset(drive->buffer, 0, 512);
	word(drive, 0, 0x8580);       /* ATAPI, CD-ROM, removable, packets of 12 bytes */
	put_names(drive, "VISOR DVD-ROM");
	word(drive, 49, 0x0f00);
	word(drive, 50, 0x4000);
	put_modes(drive);
	word(drive, 71, 30);
	word(drive, 72, 30);
	word(drive, 80, 0x01f0);
	word(drive, 82, 0x4210);      /* NOP, DEVICE RESET, PACKET */
	word(drive, 83, 0x4000);
	word(drive, 84, 0x4000);
	word(drive, 85, 0x4210);
	word(drive, 87, 0x4000);
	put_integrity(drive);
}
