/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/boot.h"

/*
 * bzImages with a kernel proper of our own, packed here by libarchive in each format that it writes (its LZ4 is another frame than
 * the legacy one, which is written by hand): placement, then damage of every kind, after which the kernel's own
 * unpacking code must be what is entered.
 */
#define RAM_SIZE (64u << 20)
#define SETUP 1024                 /* bytes before the protected-mode part */
#define LOADER 0x400               /* of that, before the payload */
#define LINKED 0x1000000ull        /* where the kernel proper is linked for */
#define ROOM (32u << 20)
#define ENTRY (LINKED + 0x40)
#define ELF_SIZE (9u << 20)        /* two blocks of LZ4 */
#define IMAGE_ROOM (ELF_SIZE + (1 << 20))

static struct guest_memory memory;
static uint8_t *elf, *image;
static size_t image_size;

/* --- what is packed --- */

struct piece {
	uint64_t offset, paddr, filesz, memsz;
};
/* The second one's bytes begin in the middle of a page and lie over the end of an LZ4 block; behind it is room that must be zero. */
static const struct piece pieces[] = {
	{ 0x1000, LINKED, 0x3000, 0x3000 },
	{ 0x7ff800, LINKED + 0x100800, 0x2345, 0x200000 },
	{ 0x810000, LINKED + 0x810000, 0xe0000, 0xe0000 }, /* zeroes, but for its ends */
};

static uint8_t *segment_header(unsigned i)
{
	return elf + 64 + 56 * i;
}

static void make_elf(void)
{
	memset(elf, 0, ELF_SIZE);
	memcpy(elf, "\177ELF\2\1\1", 7);
	store_le16(elf + 16, 2);
	store_le16(elf + 18, 62);
	store_le64(elf + 24, ENTRY);
	store_le64(elf + 32, 64);
	store_le16(elf + 54, 56);
	store_le16(elf + 56, ARRAY_SIZE(pieces));
	for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
		const struct piece *s = &pieces[i];
		uint8_t *p = segment_header(i);
		const uint64_t fields[] = { s->offset, 0xffffffff80000000 + s->paddr, s->paddr, s->filesz, s->memsz, 4096 };
		store_le32(p, 1);
		for (unsigned j = 0; j < ARRAY_SIZE(fields); j++)
			store_le64(p + 8 + 8 * j, fields[j]);
		for (uint64_t j = 0; i < 2 && j < s->filesz; j++)
			elf[s->offset + j] = (uint8_t)(j * 7 + j / 251 + i);
	}
	elf[pieces[2].offset] = elf[pieces[2].offset + pieces[2].filesz - 1] = 0x5a;
}

/* --- packing --- */

static size_t pack_by_libarchive(uint8_t *to, size_t room, const char *filter)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	size_t used = 0;
	assert_int_equal(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK);
	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	archive_write_set_bytes_per_block(a, 0);
	assert_int_equal(archive_write_open_memory(a, to, room, &used), ARCHIVE_OK);
	archive_entry_set_filetype(entry, AE_IFREG);
	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, elf, ELF_SIZE), ELF_SIZE);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_entry_free(entry);
	archive_write_free(a);
	return used;
}

/* One sequence of literals, with its length in bytes of 255, then, at the end of a block, none more: LZ4 that packs nothing. */
static size_t put_literals(uint8_t *to, const uint8_t *from, size_t size)
{
	size_t at = 0, rest = size - 15;
	to[at++] = 0xf0;
	for (; rest >= 255; rest -= 255)
		to[at++] = 255;
	to[at++] = (uint8_t)rest;
	memcpy(to + at, from, size);
	return at + size;
}

static size_t pack_lz4(uint8_t *to, size_t room, const char *unused)
{
	size_t at = 4;
	store_le32(to, 0x184c2102);
	for (size_t done = 0, size; done < ELF_SIZE; done += size) {
		size = MIN(ELF_SIZE - done, 8u << 20);
		size_t packed = put_literals(to + at + 4, elf + done, size);
		store_le32(to + at, (uint32_t)packed);
		at += 4 + packed;
	}
	return at;
}

static const struct packing {
	const char *name;
	size_t (*pack)(uint8_t *to, size_t room, const char *filter);
	bool has_length, checked; /* the length is a part of the format; damage to the data is seen by its checksum */
} packings[] = {
	{ "gzip", pack_by_libarchive, true, true },
	{ "bzip2", pack_by_libarchive, false, true },
	{ "lzma", pack_by_libarchive, false, false },
	{ "xz", pack_by_libarchive, false, true },
	{ "lzop", pack_by_libarchive, false, true },
	{ "zstd", pack_by_libarchive, false, false },
	{ "lz4", pack_lz4, false, false },
};

static uint8_t *payload(void)
{
	return image + SETUP + LOADER;
}

/* The kernel's file around what is packed. */
static void make_image(const struct packing *packing)
{
	memset(image, 0, SETUP + LOADER);
	image[0x1f1] = 1;
	store_le16(image + 0x1fe, 0xaa55);
	image[0x200] = 0xeb;
	image[0x201] = 0x6a;
	memcpy(image + 0x202, "HdrS", 4);
	store_le16(image + 0x206, 0x20f);
	image[0x211] = 1;
	store_le32(image + 0x22c, 0x7fffffff);
	store_le32(image + 0x230, 0x200000);
	image[0x234] = 1;
	store_le16(image + 0x236, 1);
	store_le32(image + 0x238, 255);
	store_le64(image + 0x258, LINKED);
	store_le32(image + 0x260, ROOM);
	size_t size = packing->pack(payload(), IMAGE_ROOM - SETUP - LOADER - 4, packing->name);
	if (!packing->has_length) {
		store_le32(payload() + size, ELF_SIZE);
		size += 4;
	}
	store_le32(image + 0x248, LOADER);
	store_le32(image + 0x24c, (uint32_t)size);
	image_size = SETUP + LOADER + size;
}

/* --- loading --- */

static uint64_t load(bool guest_unpacks)
{
	/* A copy of this size, so that a read past the end is seen. */
	uint8_t *copy = malloc(image_size);
	const struct boot_request request = {
		.memory = &memory, .kernel = { "test-kernel", copy, image_size }, .guest_unpacks = guest_unpacks,
	};
	struct boot_entry entry;
	assert_non_null(copy);
	memcpy(copy, image, image_size);
	assert_int_equal(boot_load(&request, &entry, NULL), 0);
	assert_int_equal(entry.mode, BOOT_FLAT64);
	free(copy);
	return entry.rip;
}

/* The kernel's own code is there and is entered. */
static void check_own(void)
{
	assert_int_equal(load(false), LINKED + 0x200);
	assert_memory_equal(memory.host + LINKED, image + SETUP, image_size - SETUP);
}

static void check_placed(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
		const struct piece *s = &pieces[i];
		assert_memory_equal(memory.host + s->paddr, elf + s->offset, s->filesz);
		assert_true(all_zero(memory.host + s->paddr + s->filesz, s->memsz - s->filesz));
	}
	assert_true(all_zero(memory.host + LINKED + 0x3000, 0xfd800)); /* between the first and the second */
}

static bool can_unpack(const struct packing *packing)
{
	/* Debian's libarchive has all; others may be built without some. */
	struct archive *a = archive_read_new();
	bool can = strcmp(packing->name, "lzop") || archive_read_support_filter_lzop(a) == ARCHIVE_OK;
	archive_read_free(a);
	return can;
}

static void each_format_is_placed(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(packings); i++) {
		if (!can_unpack(&packings[i]))
			continue;
		make_image(&packings[i]);
		memset(memory.host + LINKED, 0xee, ROOM); /* as a guest leaves it before a reset */
		assert_int_equal(load(false), ENTRY);
		check_placed();
		assert_int_equal(load(true), LINKED + 0x200);
	}
}

/* Pages of zeroes are not written: the host need not have them. */
static void zeroes_take_no_memory(void **state)
{
	make_image(&packings[0]);
	memory_clear(&memory);
	assert_int_equal(load(false), ENTRY);
	assert_in_range(memory_resident(&memory), 1, 1 << 20);
}

static void damaged_payloads_are_left_to_the_kernel(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(packings); i++) {
		if (!can_unpack(&packings[i]))
			continue;
		make_image(&packings[i]);
		size_t size = load_le32(image + 0x24c);
		/* Cut off behind any byte, with the length where the end is now. */
		for (size_t cut = 1; cut < size; cut = cut < 16 ? cut + 1 : cut * 3) {
			uint8_t last[4];
			memcpy(last, payload() + cut, 4);
			store_le32(payload() + cut, ELF_SIZE);
			store_le32(image + 0x24c, (uint32_t)(cut + 4));
			check_own();
			memcpy(payload() + cut, last, 4);
		}
		store_le32(image + 0x24c, (uint32_t)size);
		/* Other lengths than the true one. */
		const uint32_t lengths[] = { 0, 1, ELF_SIZE - 1, ELF_SIZE + 1, ELF_SIZE + (8 << 20), 0x7fffffff, 0xffffffff };
		for (unsigned j = 0; j < ARRAY_SIZE(lengths); j++) {
			store_le32(payload() + size - 4, lengths[j]);
			check_own();
		}
		store_le32(payload() + size - 4, ELF_SIZE);
		assert_int_equal(load(false), ENTRY);
		/* Flipped bits: seen where the format has a checksum, and never a crash. */
		for (size_t at = 0; at < size - 4; at = at < 32 ? at + 1 : at * 2) {
			payload()[at] ^= 0x10;
			assert_in_range(load(false), LINKED, LINKED + ROOM - 1);
			payload()[at] ^= 0x10;
		}
		payload()[300] ^= 1; /* in the middle of the first segment, not of zeroes that might as well be copied from elsewhere */
		if (packings[i].checked)
			check_own();
	}
}

static void payloads_beyond_the_file_are_left_to_the_kernel(void **state)
{
	static const struct { uint32_t offset, length; } places[] = {
		{ 0xffffffff, 100 }, { LOADER, 0xffffffff }, { 0xfffffff0, 0x20 }, { LOADER, 3 }, { LOADER, 4 }, { LOADER, 0 }, { 0, 100 },
	};
	make_image(&packings[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		store_le32(image + 0x248, places[i].offset);
		store_le32(image + 0x24c, places[i].length);
		check_own();
	}
}

/* A kernel proper whose headers say other things than it can be loaded by. */
static void hostile_headers_are_left_to_the_kernel(void **state)
{
	static const struct { uint64_t at, value; unsigned size; } changes[] = {
		{ 0, 0, 4 }, { 4, 1, 1 }, { 16, 3, 2 }, { 18, 3, 2 }, { 18, 183, 2 }, /* no ELF; 32 bits; a shared object; i386; AArch64 */
		{ 24, LINKED - 1, 8 }, { 24, LINKED + 0x3000, 8 }, { 24, ~0ull, 8 },   /* entry */
		{ 32, ~0ull, 8 }, { 32, ELF_SIZE - 56, 8 }, { 32, 8192, 8 }, { 54, 8, 2 }, { 56, 0, 2 }, { 56, 0xffff, 2 }, /* program headers */
		{ 64 + 8, ELF_SIZE, 8 }, { 64 + 8, ~0ull, 8 },                          /* of the first segment: offset */
		{ 64 + 24, LINKED - 1, 8 }, { 64 + 24, 0, 8 }, { 64 + 24, LINKED + ROOM, 8 }, { 64 + 24, ~0ull - 100, 8 }, /* address */
		{ 64 + 32, ~0ull, 8 }, { 64 + 32, 0x3001, 8 },                          /* bytes in the file */
		{ 64 + 40, ~0ull, 8 }, { 64 + 40, ROOM + 1, 8 }, { 64 + 40, ROOM - 0x100000, 8 }, /* and in memory: too many with the others */
	};
	for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t old[8];
		memcpy(old, elf + changes[i].at, 8);
		store_le(elf + changes[i].at, changes[i].value, changes[i].size);
		make_image(&packings[ARRAY_SIZE(packings) - 1]);
		check_own();
		memcpy(elf + changes[i].at, old, 8);
	}
	make_image(&packings[ARRAY_SIZE(packings) - 1]);
	assert_int_equal(load(false), ENTRY);
}

/* Where the header does not say that the kernel proper can be entered at its place. */
static void other_kernels_unpack_themselves(void **state)
{
	struct boot_entry entry;
	const struct boot_request request = { .memory = &memory, .kernel = { "test-kernel", image, 0 } };
	struct boot_request sized = request;
	make_image(&packings[0]);
	sized.kernel.size = image_size;
	store_le16(image + 0x236, 0); /* no 64-bit entry */
	assert_int_equal(boot_load(&sized, &entry, NULL), 0);
	assert_int_equal(entry.mode, BOOT_FLAT32);
	assert_int_equal(entry.rip, LINKED);
	make_image(&packings[0]);
	store_le64(image + 0x258, 0x40000000); /* beyond RAM: it is moved */
	assert_int_equal(boot_load(&sized, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x200000 + 0x200);
	make_image(&packings[0]);
	store_le16(image + 0x206, 0x207); /* no payload in the header yet */
	assert_int_equal(boot_load(&sized, &entry, NULL), 0);
	assert_int_equal(entry.mode, BOOT_FLAT32);
}

static int make(void **state)
{
	elf = malloc(ELF_SIZE);
	image = malloc(IMAGE_ROOM);
	if (!elf || !image)
		return -1;
	make_elf();
	return memory_init(&memory, RAM_SIZE, NULL);
}

static int unmake(void **state)
{
	memory_destroy(&memory);
	free(image);
	free(elf);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_format_is_placed),
		cmocka_unit_test(zeroes_take_no_memory),
		cmocka_unit_test(damaged_payloads_are_left_to_the_kernel),
		cmocka_unit_test(payloads_beyond_the_file_are_left_to_the_kernel),
		cmocka_unit_test(hostile_headers_are_left_to_the_kernel),
		cmocka_unit_test(other_kernels_unpack_themselves),
	};
	log_threshold = LOG_ERROR; /* each refusal is a warning */
	return cmocka_run_group_tests(tests, make, unmake);
}
