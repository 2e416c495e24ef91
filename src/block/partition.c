/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/partition.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "block/format.h"

#define SECTOR 512u
#define MBR_TABLE 446u
#define MBR_ENTRIES 4u
#define FIRST_LOGICAL 5u
#define HEADER_SIZE 92u
#define ENTRY_MIN 128u
#define ENTRY_MAX 4096u
#define ENTRIES_MAX 1024u
#define NAME_UNITS 36u

const char *const partition_table_names[] = { "none", "mbr", "gpt" };

static int get(struct image *image, void *data, uint64_t offset, uint64_t length, struct error *err)
{
	if (offset > image_size(image) || length > image_size(image) - offset)
		return error_set(err, ERANGE, "%s: the disk ends before its partition table does", image_path(image));
	int error = image_read(image, data, offset, length);
	return error ? error_set(err, error, "%s: cannot read its partition table: %s", image_path(image), strerror(error)) : 0;
}

/* Of sectors first to first + count - 1; NULL: they are not on the disk, or there is no room for one more. */
static struct partition *add(struct partitions *p, const struct image *image, unsigned number, uint64_t first, uint64_t count, unsigned sector)
{
	uint64_t sectors = image_size(image) / sector;
	if (p->count == PARTITIONS_MAX || !count || !first || first >= sectors || count > sectors - first)
		return NULL;
	struct partition *new = &p->at[p->count++];
	*new = (struct partition){ .number = number, .offset = first * sector, .length = count * sector };
	return new;
}

/* --- MBR --- */

struct mbr_entry {
	uint8_t type;
	uint32_t first, count; /* sectors */
};

static struct mbr_entry mbr_entry(const uint8_t *mbr, unsigned i)
{
	const uint8_t *e = mbr + MBR_TABLE + 16 * i;
	return (struct mbr_entry){ e[4], load_le32(e + 8), load_le32(e + 12) };
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

static void add_mbr(struct partitions *p, const struct image *image, unsigned number, uint8_t type, uint64_t first, uint64_t count)
{
	struct partition *new = add(p, image, number, first, count, SECTOR);
	if (new)
		snprintf(new->type, sizeof(new->type), "0x%02x", type);
}

/* A chain of tables, each with a partition relative to itself and the place of the next table relative to the first. Tables that go
 * back, or are too many, end it. */
static int add_logical(struct partitions *p, struct image *image, uint64_t extended, struct error *err)
{
	uint8_t table[SECTOR];
	unsigned number = FIRST_LOGICAL;
	for (uint64_t at = extended, last = 0; at > last && at < image_size(image) / SECTOR && p->count < PARTITIONS_MAX;) {
		if (get(image, table, at * SECTOR, SECTOR, err) < 0)
			return -1;
		if (load_le16(table + 510) != 0xaa55)
			break;
		struct mbr_entry data = mbr_entry(table, 0), next = mbr_entry(table, 1);
		if (data.type)
			add_mbr(p, image, number++, data.type, at + data.first, data.count);
		last = at;
		at = is_extended(next.type) && next.first ? extended + next.first : 0;
	}
	return 0;
}

/* A file system may begin in the same sector, and looks like a table only by its last two bytes. */
static bool is_mbr(const uint8_t *mbr, uint64_t sectors)
{
	bool any = false;
	if (load_le16(mbr + 510) != 0xaa55)
		return false;
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		struct mbr_entry e = mbr_entry(mbr, i);
		if (mbr[MBR_TABLE + 16 * i] & 0x7f)
			return false;
		any |= e.type && e.first && e.count && e.first < sectors;
	}
	return any;
}

static int read_mbr(struct partitions *p, struct image *image, const uint8_t *mbr, struct error *err)
{
	p->table = PARTITION_TABLE_MBR;
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		struct mbr_entry e = mbr_entry(mbr, i);
		if (e.type && !is_extended(e.type))
			add_mbr(p, image, i + 1, e.type, e.first, e.count);
	}
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		struct mbr_entry e = mbr_entry(mbr, i);
		if (is_extended(e.type) && e.first)
			return add_logical(p, image, e.first, err);
	}
	return 0;
}

/* --- GPT --- */

/* UTF-16 without surrogates' pairs put together: names are for people. */
static void put_name(char to[NAME_UNITS * 3 + 1], const uint8_t *from)
{
	for (unsigned i = 0; i < NAME_UNITS && load_le16(from + 2 * i); i++) {
		unsigned c = load_le16(from + 2 * i);
		to = put_utf8(to, c < 0x20 || c == 0x7f || (c >= 0xd800 && c < 0xe000) ? '?' : c);
	}
	*to = 0;
}

static void add_gpt(struct partitions *p, const struct image *image, unsigned number, const uint8_t *e, unsigned sector)
{
	static const uint8_t unused[16];
	uint64_t first = load_le64(e + 32), last = load_le64(e + 40);
	if (!memcmp(e, unused, sizeof(unused)) || last < first || last == UINT64_MAX)
		return;
	struct partition *new = add(p, image, number, first, last - first + 1, sector);
	if (!new)
		return;
	char room[40];
	snprintf(new->type, sizeof(new->type), "%s", image_uuid_text(e, true, room));
	put_name(new->name, e + 56);
}

/* The copy whose header is in this sector. 1: it is right, 0: it is not. */
static int read_gpt(struct partitions *p, struct image *image, uint64_t at, unsigned sector, struct error *err)
{
	uint8_t h[SECTOR], check[SECTOR];
	if (at >= image_size(image) / sector)
		return 0;
	if (get(image, h, at * sector, SECTOR, err) < 0)
		return -1;
	uint32_t size = load_le32(h + 12), count = load_le32(h + 80), entry = load_le32(h + 84);
	if (memcmp(h, "EFI PART", 8) || size < HEADER_SIZE || size > SECTOR || load_le64(h + 24) != at || entry < ENTRY_MIN ||
	    entry > ENTRY_MAX || entry % 8 || count > ENTRIES_MAX)
		return 0;
	memcpy(check, h, sizeof(check));
	store_le32(check + 16, 0);
	uint64_t table = load_le64(h + 72), bytes = (uint64_t)count * entry, room = ALIGN_UP(bytes, (uint64_t)SECTOR);
	if (crc32(0, check, size) != load_le32(h + 16) || table > image_size(image) / sector || room > image_size(image) - table * sector)
		return 0;
	cleanup_free uint8_t *entries = malloc(room + 1);
	if (!entries)
		return error_set(err, ENOMEM, "out of memory");
	if (room && get(image, entries, table * sector, room, err) < 0)
		return -1;
	if (crc32(0, entries, (unsigned)bytes) != load_le32(h + 88))
		return 0;
	for (unsigned i = 0; i < count; i++)
		add_gpt(p, image, i + 1, entries + (uint64_t)i * entry, sector);
	return 1;
}

static int read_gpt_copies(struct partitions *p, struct image *image, struct error *err)
{
	static const unsigned sectors[] = { 512, 4096 };
	p->table = PARTITION_TABLE_GPT;
	for (unsigned backup = 0; backup < 2; backup++)
		for (unsigned i = 0; i < ARRAY_SIZE(sectors); i++) {
			uint64_t last = image_size(image) / sectors[i];
			int found = read_gpt(p, image, backup && last ? last - 1 : 1, sectors[i], err);
			if (found)
				return found < 0 ? -1 : 0;
		}
	p->damaged = true;
	return 0;
}

int partitions_read(struct image *image, struct partitions *p, struct error *err)
{
	uint8_t mbr[SECTOR];
	memset(p, 0, sizeof(*p));
	if (image_size(image) < 2 * SECTOR)
		return 0;
	if (get(image, mbr, 0, SECTOR, err) < 0)
		return -1;
	if (!is_mbr(mbr, image_size(image) / SECTOR))
		return 0;
	for (unsigned i = 0; i < MBR_ENTRIES; i++)
		if (mbr_entry(mbr, i).type == 0xee)
			return read_gpt_copies(p, image, err);
	return read_mbr(p, image, mbr, err);
}

/* --- what is in one --- */

/* By the kinds of blocks that it needs to understand, as Linux's drivers tell them apart. */
static const char *ext_kind(const uint8_t *super)
{
	bool journal = load_le32(super + 92) & 0x4;
	if (load_le32(super + 96) & ~0x16u || load_le32(super + 100) & ~0x7u)
		return "ext4";
	return journal ? "ext3" : "ext2";
}

static const char *fat_kind(const uint8_t *boot)
{
	return load_le16(boot + 510) == 0xaa55 && (!memcmp(boot + 54, "FAT", 3) || !memcmp(boot + 82, "FAT32", 5)) ? "vfat" : NULL;
}

static const struct magic {
	const char *name;
	uint32_t at;
	const char *bytes;
	unsigned size;
} magics[] = {
	{ "ntfs", 3, "NTFS    ", 8 }, { "exfat", 3, "EXFAT   ", 8 }, { "squashfs", 0, "hsqs", 4 }, { "xfs", 0, "XFSB", 4 },
	{ "btrfs", 0x10040, "_BHRfS_M", 8 }, { "iso9660", 0x8001, "CD001", 5 }, { "f2fs", 1024, "\x10\x20\xf5\xf2", 4 },
	{ "erofs", 1024, "\xe2\xe1\xf5\xe0", 4 }, { "swap", 4086, "SWAPSPACE2", 10 }, { "lvm", 536, "LVM2 001", 8 },
	{ "luks", 0, "LUKS\xba\xbe", 6 },
};

/* Bytes from where they begin to be read, which is a multiple of 512; false: they are not there. */
static bool look(struct image *image, uint64_t offset, uint64_t length, uint64_t at, uint8_t data[2 * SECTOR])
{
	return at + 2 * SECTOR <= length && image_read(image, data, offset + at, 2 * SECTOR) == 0;
}

const char *partition_content(struct image *image, uint64_t offset, uint64_t length)
{
	uint8_t data[2 * SECTOR];
	for (unsigned i = 0; i < ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];
		if (look(image, offset, length, ALIGN_DOWN(m->at, SECTOR), data) && !memcmp(data + m->at % SECTOR, m->bytes, m->size))
			return m->name;
	}
	if (look(image, offset, length, 1024, data) && load_le16(data + 56) == 0xef53)
		return ext_kind(data);
	return look(image, offset, length, 0, data) ? fat_kind(data) : NULL;
}
