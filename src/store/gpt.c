/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/gpt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "host/file.h"
#include "host/random.h"

#define SECTOR 512u
#define ENTRIES 128u
#define ENTRY_SIZE 128u
#define ARRAY_SECTORS (ENTRIES * ENTRY_SIZE / SECTOR)

/* As text; the first three fields of a GUID are little-endian on the disk. */
static const uint8_t types[][16] = {
	[GPT_LINUX] = { 0x0f, 0xc6, 0x3d, 0xaf, 0x84, 0x83, 0x47, 0x72, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4 },
	[GPT_EFI_SYSTEM] = { 0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b },
	[GPT_BIOS_BOOT] = { 0x21, 0x68, 0x61, 0x48, 0x64, 0x49, 0x6e, 0x6f, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49 },
};

int gpt_uuid(uint8_t uuid[16], struct error *err)
{
	if (host_random(uuid, 16) != 16)
		return error_set(err, EAGAIN, "the host has no random numbers yet; try again");
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

void gpt_uuid_text(const uint8_t u[16], char text[37])
{
	for (unsigned i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		at += (unsigned)snprintf(text + at, 3, "%02x", u[i]);
	}
}

static void store_guid(uint8_t *to, const uint8_t uuid[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	for (unsigned i = 0; i < 16; i++)
		to[i] = uuid[order[i]];
}

static int fill_entries(uint8_t *entries, const struct gpt_partition *partitions, unsigned count, struct error *err)
{
	uint8_t uuid[16];
	for (unsigned i = 0; i < count; i++) {
		const struct gpt_partition *p = &partitions[i];
		uint8_t *e = entries + (p->number - 1) * ENTRY_SIZE;
		if (gpt_uuid(uuid, err) < 0)
			return -1;
		store_guid(e, types[p->type]);
		store_guid(e + 16, uuid);
		store_le64(e + 32, p->first);
		store_le64(e + 40, p->last);
		for (unsigned c = 0; p->name[c] && c < 36; c++)
			store_le16(e + 56 + 2 * c, (uint8_t)p->name[c]);
	}
	return 0;
}

static void fill_header(uint8_t h[SECTOR], const uint8_t *entries, const uint8_t disk[16], uint64_t sectors, bool backup)
{
	memset(h, 0, SECTOR);
	memcpy(h, "EFI PART", 8);
	store_le32(h + 8, 0x10000);
	store_le32(h + 12, 92);
	store_le64(h + 24, backup ? sectors - 1 : 1);
	store_le64(h + 32, backup ? 1 : sectors - 1);
	store_le64(h + 40, GPT_FIRST);
	store_le64(h + 48, sectors - GPT_BEHIND - 1);
	store_guid(h + 56, disk);
	store_le64(h + 72, backup ? sectors - GPT_BEHIND : 2);
	store_le32(h + 80, ENTRIES);
	store_le32(h + 84, ENTRY_SIZE);
	store_le32(h + 88, (uint32_t)crc32(0, entries, ENTRIES * ENTRY_SIZE));
	store_le32(h + 16, (uint32_t)crc32(0, h, 92));
}

/* One partition over the whole disk, of a type that old programs leave alone. */
static void fill_mbr(uint8_t table[66], uint64_t sectors)
{
	static const uint8_t entry[] = { 0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff };
	memset(table, 0, 66);
	memcpy(table, entry, sizeof(entry));
	store_le32(table + 8, 1);
	store_le32(table + 12, (uint32_t)MIN(sectors - 1, 0xffffffffull));
	store_le16(table + 64, 0xaa55);
}

int gpt_write(int fd, uint64_t sectors, const struct gpt_partition *partitions, unsigned count, struct error *err)
{
	uint8_t header[SECTOR], table[66], disk[16];
	cleanup_free uint8_t *entries = calloc(ENTRIES, ENTRY_SIZE);
	if (!entries)
		return error_set(err, ENOMEM, "out of memory");
	if (gpt_uuid(disk, err) < 0 || fill_entries(entries, partitions, count, err) < 0)
		return -1;
	fill_mbr(table, sectors);
	if (file_write_at(fd, 446, table, sizeof(table), err) < 0)
		return -1;
	for (unsigned backup = 0; backup < 2; backup++) {
		fill_header(header, entries, disk, sectors, backup);
		if (file_write_at(fd, (backup ? sectors - 1 : 1) * SECTOR, header, sizeof(header), err) < 0 ||
		    file_write_at(fd, (backup ? sectors - GPT_BEHIND : 2) * SECTOR, entries, ARRAY_SECTORS * SECTOR, err) < 0)
			return -1;
	}
	return 0;
}
