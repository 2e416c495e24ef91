/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "image_exercise.h"

#define GPT_HEADER 512u
#define GPT_ENTRIES 1024u

/* Makes the checksums of a GPT right again, as far as it has its usual shape. */
static void mend_gpt(uint8_t *data, size_t size)
{
	uint8_t *h = data + GPT_HEADER;
	if (size < GPT_ENTRIES || memcmp(h, "EFI PART", 8))
		return;
	uint64_t bytes = (uint64_t)load_le32(h + 80) * load_le32(h + 84);
	uint32_t length = load_le32(h + 12);
	if (bytes <= size - GPT_ENTRIES)
		store_le32(h + 88, (uint32_t)crc32_z(0, data + GPT_ENTRIES, bytes));
	store_le32(h + 16, 0);
	if (length <= 512)
		store_le32(h + 16, (uint32_t)crc32(0, h, length));
}

/* Half of the inputs are said to be raw; the others may be of any format, by their content. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	memcpy(copy, data, size);
	mend_gpt(copy, size);
	image_exercise(size % 2 ? IMAGE_RAW : (enum image_format)IMAGE_BY_CONTENT, copy, size);
	free(copy);
	return 0;
}

static void put_entry(uint8_t *at, uint8_t type, uint32_t first, uint32_t count)
{
	at[4] = type;
	store_le32(at + 8, first);
	store_le32(at + 12, count);
}

static void partition_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static uint8_t disk[16384];
	uint8_t *mbr = disk + 446;
	put_entry(mbr, 0x83, 1, 4);
	put_entry(mbr + 16, 0x0f, 8, 24);
	store_le16(disk + 510, 0xaa55);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *table = disk + (8 + 8 * i) * 512;
		put_entry(table + 446, 0x83, 1, 4);
		if (i < 2)
			put_entry(table + 446 + 16, 0x05, 8 * (i + 1), 8);
		store_le16(table + 510, 0xaa55);
	}
	emit(opaque, "mbr", disk, sizeof(disk));
	memset(disk, 0, sizeof(disk));
	put_entry(mbr, 0xee, 1, 31);
	store_le16(disk + 510, 0xaa55);
	uint8_t *h = disk + GPT_HEADER, *e = disk + GPT_ENTRIES;
	memcpy(h, "EFI PART", 8);
	store_le32(h + 12, 92);
	store_le64(h + 24, 1);
	store_le64(h + 72, 2);
	store_le32(h + 80, 8);
	store_le32(h + 84, 128);
	for (unsigned i = 0; i < 3; i++, e += 128) {
		e[0] = 1;
		store_le64(e + 32, 6 + 4 * i);
		store_le64(e + 40, 9 + 4 * i);
		store_le16(e + 56, i ? 0x20ac : 'a');
	}
	store_le16(disk + 6 * 512 + 1024 + 56, 0xef53); /* in the second of them */
	memcpy(disk + 14 * 512, "LUKS\xba\xbe", 6);
	emit(opaque, "gpt", disk, sizeof(disk));
}

/* The beginnings of what formats are known by, of odd sizes too. */
void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const struct { const char *name, head[32]; size_t size; } heads[] = {
		{ "zeros", "", 8192 }, { "odd", "abc", 1001 }, { "qcow2", "QFI\xfb\0\0\0\3", 4096 }, { "vmdk", "KDMV\1\0\0\0", 4096 },
		{ "descriptor", "# Disk DescriptorFile\nversion=1", 512 }, { "vhdx", "vhdxfile", 4096 }, { "vhd", "conectix", 512 },
	};
	static uint8_t data[8192];
	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
		memset(data, 0, sizeof(data));
		memcpy(data, heads[i].head, sizeof(heads[i].head));
		emit(opaque, heads[i].name, data, heads[i].size);
	}
	partition_seeds(emit, opaque);
}
