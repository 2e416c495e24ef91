/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An input is the pages of a VHDX that matter, one after the other; the rest of the file is zeros. Checksums are made right.
 */
#include <stdlib.h>
#include <string.h>

#include "block/vhdx.h"
#include "image_exercise.h"

#define PAGE VHDX_PAGE
#define KIB 1024u
#define MIB (1024 * KIB)

enum { FILE_ID, HEADER1, HEADER2, REGIONS, LOG, LOG_END = LOG + 4, BAT = LOG_END, METADATA, ITEMS, BITMAP, DATA, PAGES };

static const uint32_t places[PAGES] = {
	[FILE_ID] = 0, [HEADER1] = 64 * KIB, [HEADER2] = 128 * KIB, [REGIONS] = 192 * KIB, [LOG] = MIB, MIB + PAGE, MIB + 2 * PAGE, MIB + 3 * PAGE,
	[BAT] = 2 * MIB, [METADATA] = 3 * MIB, [ITEMS] = 3 * MIB + 64 * KIB, [BITMAP] = 4 * MIB, [DATA] = 5 * MIB,
};

static void mend_log(uint8_t *log)
{
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *entry = log + i * PAGE;
		uint32_t length = load_le32(entry + 8);
		if (!memcmp(entry, "loge", 4) && length <= (4 - i) * PAGE)
			store_le32(entry + 4, vhdx_checksum(entry, length, 4));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[6 * MIB];
	memset(file, 0, sizeof(file));
	for (unsigned i = 0; i < PAGES && size > i * PAGE; i++)
		memcpy(file + places[i], data + i * PAGE, MIN(size - i * PAGE, (size_t)PAGE));
	for (unsigned i = HEADER1; i <= HEADER2; i++)
		store_le32(file + places[i] + 4, vhdx_checksum(file + places[i], PAGE, 4));
	store_le32(file + places[REGIONS] + 4, vhdx_checksum(file + places[REGIONS], 64 * KIB, 4));
	mend_log(file + places[LOG]);
	image_exercise(IMAGE_VHDX, file, sizeof(file));
	return 0;
}

static void put_header(uint8_t *h, uint64_t sequence, bool log)
{
	memcpy(h, "head", 4);
	store_le64(h + 8, sequence);
	h[48] = log; /* the log's GUID */
	store_le16(h + 66, 1);
	store_le32(h + 68, 4 * PAGE);
	store_le64(h + 72, MIB);
}

static void put_region(uint8_t *e, const char *guid, uint64_t at)
{
	memcpy(e, guid, 16);
	store_le64(e + 16, at);
	store_le32(e + 24, MIB);
	store_le32(e + 28, 1);
}

static void put_item(uint8_t *metadata, unsigned index, const char *guid, unsigned at, unsigned length)
{
	uint8_t *e = metadata + 32 * (index + 1);
	memcpy(e, guid, 16);
	store_le32(e + 16, 64 * KIB + at);
	store_le32(e + 20, length);
	store_le16(metadata + 10, (uint16_t)(index + 1));
}

/* One entry: a page of the table of blocks, and zeros. */
static void put_log(uint8_t *entry, uint8_t *sector)
{
	memcpy(entry, "loge", 4);
	store_le32(entry + 8, 2 * PAGE);
	store_le64(entry + 16, 9);
	store_le32(entry + 24, 2);
	entry[32] = 1;
	memcpy(entry + 64, "desc", 4);
	store_le64(entry + 64 + 8, 5 * MIB | 6);
	store_le64(entry + 64 + 16, 2 * MIB);
	store_le64(entry + 64 + 24, 9);
	memcpy(entry + 96, "zero", 4);
	store_le64(entry + 96 + 8, PAGE);
	store_le64(entry + 96 + 16, 5 * MIB + PAGE);
	store_le64(entry + 96 + 24, 9);
	memcpy(sector, "data", 4);
	store_le32(sector + PAGE - 4, 9);
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static uint8_t p[PAGES][PAGE];
	memcpy(p[FILE_ID], "vhdxfile", 8);
	put_header(p[HEADER1], 1, false);
	put_header(p[HEADER2], 2, false);
	memcpy(p[REGIONS], "regi", 4);
	store_le32(p[REGIONS] + 8, 2);
	put_region(p[REGIONS] + 16, "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08", 2 * MIB);
	put_region(p[REGIONS] + 48, "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e", 3 * MIB);
	memcpy(p[METADATA], "metadata", 8);
	put_item(p[METADATA], 0, "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 0, 8);
	put_item(p[METADATA], 1, "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 8, 8);
	put_item(p[METADATA], 2, "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f", 16, 4);
	store_le32(p[ITEMS], MIB);
	store_le64(p[ITEMS] + 8, 3 * MIB);
	store_le32(p[ITEMS] + 16, 512);
	store_le64(p[BAT], 5 * MIB | 6);
	store_le64(p[BAT] + 8, 2);
	emit(opaque, "plain", p, sizeof(p));
	put_header(p[HEADER2], 2, true);
	put_log(p[LOG], p[LOG + 1]);
	emit(opaque, "log", p, sizeof(p));
	/* One with an image behind it, of which a block is here in part; the bitmap has entry 4096 of the table, whose page is cut off here. */
	put_header(p[HEADER2], 2, false);
	put_item(p[METADATA], 3, "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c", 32, 100);
	store_le32(p[ITEMS], 256 * MIB);
	store_le32(p[ITEMS] + 4, 2);
	store_le16(p[ITEMS] + 32 + 18, 1);
	store_le32(p[ITEMS] + 52, 40);
	store_le32(p[ITEMS] + 56, 70);
	store_le16(p[ITEMS] + 60, 26);
	store_le16(p[ITEMS] + 62, 4);
	for (unsigned i = 0; i < 13; i++)
		p[ITEMS][32 + 40 + 2 * i] = (uint8_t)"relative_path"[i];
	p[ITEMS][32 + 70] = 'p';
	store_le64(p[BAT], 5 * MIB | 7);
	store_le64(p[BAT] + 16 * 8, 4 * MIB | 6);
	memset(p[BITMAP], 0x5a, 100);
	emit(opaque, "differencing", p, sizeof(p));
}
