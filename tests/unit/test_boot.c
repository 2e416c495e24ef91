/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "vm/boot.h"

/*
 * Small images of each protocol, made here: placement is checked against the
 * protocol's text, then every cut and every flipped bit must end in an error
 * or in an entry, never in a crash (run under the sanitizers).
 */
#define RAM_SIZE (16u << 20)
#define IMAGE_ROOM 8192

struct image {
	uint8_t bytes[IMAGE_ROOM];
	size_t size;
};

static struct guest_memory memory;
static const uint8_t initrd_bytes[5000] = { [0] = 0x11, [4999] = 0x99 };

static int make_memory(void **state)
{
	return memory_init(&memory, RAM_SIZE, NULL);
}

static int free_memory(void **state)
{
	memory_destroy(&memory);
	return 0;
}

static int load(const uint8_t *data, size_t size, bool with_initrd, struct boot_entry *entry, struct error *err)
{
	const struct boot_request request = {
		.memory = &memory, .kernel = { "test-kernel", data, size }, .cmdline = "console=ttyS0 test", .rsdp = 0xe0000,
		.initrd = { "test-initrd", with_initrd ? initrd_bytes : NULL, with_initrd ? sizeof(initrd_bytes) : 0 },
	};
	return boot_load(&request, entry, err);
}

static const uint8_t *guest(uint64_t gpa, uint64_t size)
{
	const uint8_t *p = memory_range(&memory, gpa, size, false);
	assert_non_null(p);
	return p;
}

/* --- Linux --- */

#define LINUX_PAYLOAD 1024
#define LINUX_LOAD 0x200000u

static void make_linux(struct image *image, uint16_t version, bool is64)
{
	uint8_t *b = image->bytes;
	memset(image, 0, sizeof(*image));
	image->size = LINUX_PAYLOAD + 2048;
	b[0x1f1] = 1;
	store_le16(b + 0x1fe, 0xaa55);
	b[0x200] = 0xeb;
	b[0x201] = 0x66;
	memcpy(b + 0x202, "HdrS", 4);
	store_le16(b + 0x206, version);
	b[0x211] = 1;
	store_le32(b + 0x22c, 0x7fffffff);
	store_le32(b + 0x230, 0x200000);
	b[0x234] = 1;
	store_le16(b + 0x236, is64 ? 1 : 0);
	store_le32(b + 0x238, 255);
	store_le64(b + 0x258, LINUX_LOAD);
	store_le32(b + 0x260, 0x100000);
	for (size_t i = LINUX_PAYLOAD; i < image->size; i++)
		b[i] = (uint8_t)(i * 7);
}

static void check_zero_page(const uint8_t *zp, const struct image *image)
{
	assert_memory_equal(zp + 0x202, "HdrS", 4);
	assert_int_equal(zp[0x210], 0xff);
	assert_int_equal(load_le32(zp + 0x214), LINUX_LOAD);
	assert_int_equal(load_le64(zp + 0x70), 0xe0000);
	assert_string_equal((const char *)guest(load_le32(zp + 0x228), 32), "console=ttyS0 test");
	uint32_t initrd = load_le32(zp + 0x218);
	assert_int_equal(load_le32(zp + 0x21c), sizeof(initrd_bytes));
	assert_int_equal(initrd, (RAM_SIZE - sizeof(initrd_bytes)) & ~0xfffu); /* as high as it goes */
	assert_memory_equal(guest(initrd, sizeof(initrd_bytes)), initrd_bytes, sizeof(initrd_bytes));
	assert_memory_equal(guest(LINUX_LOAD, 2048), image->bytes + LINUX_PAYLOAD, 2048);
	/* E820: usable low memory first, and RAM from 1 MiB to the end. */
	unsigned count = zp[0x1e8];
	assert_in_range(count, 3, 8);
	assert_int_equal(load_le64(zp + 0x2d0), 0);
	uint64_t usable = 0;
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *e = zp + 0x2d0 + i * 20;
		if (load_le32(e + 16) == 1)
			usable += load_le64(e + 8);
	}
	assert_int_equal(usable, RAM_SIZE - 0x100000 + BOOT_EBDA);
}

static void linux_64_bit_entry(void **state)
{
	struct image image;
	struct boot_entry entry;
	struct error err;
	make_linux(&image, 0x20f, true);
	assert_int_equal(load(image.bytes, image.size, true, &entry, &err), 0);
	assert_int_equal(entry.mode, BOOT_FLAT64);
	assert_int_equal(entry.rip, LINUX_LOAD + 0x200);
	check_zero_page(guest(entry.rsi, 4096), &image);
	/* The tables map the first 4 GiB one to one. */
	uint64_t pdpt = load_le64(guest(entry.cr3, 8)) & ~0xfffull;
	for (unsigned gib = 0; gib < 4; gib++) {
		uint64_t pd = load_le64(guest(pdpt, 4096) + gib * 8) & ~0xfffull;
		for (uint64_t i = 0; i < 512; i++)
			assert_int_equal(load_le64(guest(pd, 4096) + i * 8), ((uint64_t)gib << 30 | i << 21) | 0x83);
	}
	assert_int_equal(load_le64(guest(entry.gdt, 32) + 0x10) >> 53 & 1, 1); /* L of the code segment */
}

static void linux_32_bit_entry(void **state)
{
	struct image image;
	struct boot_entry entry;
	make_linux(&image, 0x20f, false);
	assert_int_equal(load(image.bytes, image.size, true, &entry, NULL), 0);
	assert_int_equal(entry.mode, BOOT_FLAT32);
	assert_int_equal(entry.rip, LINUX_LOAD);
	check_zero_page(guest(entry.rsi, 4096), &image);
}

static void linux_moves_when_its_place_is_not_there(void **state)
{
	struct image image;
	struct boot_entry entry;
	struct error err;
	make_linux(&image, 0x20f, true);
	store_le64(image.bytes + 0x258, 0x40000000); /* beyond RAM */
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), 0);
	assert_int_equal(entry.rip, 0x200000 + 0x200); /* the lowest that is aligned as it asks */
	image.bytes[0x234] = 0;
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "--memory"));
	make_linux(&image, 0x20f, true);
	store_le32(image.bytes + 0x260, RAM_SIZE); /* init_size */
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
}

static void linux_limits_are_told(void **state)
{
	struct image image;
	struct boot_entry entry;
	struct error err;
	make_linux(&image, 0x205, false);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "test-kernel"));
	make_linux(&image, 0x20f, true);
	store_le32(image.bytes + 0x238, 4);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "--append"));
	make_linux(&image, 0x20f, true);
	store_le32(image.bytes + 0x22c, 0x200fff); /* no room below for the initrd: the kernel's own place begins there */
	assert_int_equal(load(image.bytes, image.size, true, &entry, &err), 0);
	assert_int_equal(load_le32(guest(entry.rsi, 4096) + 0x218), 0x200000 - 0x2000);
	store_le32(image.bytes + 0x22c, 0x100fff);
	assert_int_equal(load(image.bytes, image.size, true, &entry, &err), -1);
	/* The header says how long the file is, in paragraphs; the last one need not be whole. */
	make_linux(&image, 0x20f, true);
	store_le32(image.bytes + 0x1f4, 2048 / 16);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), 0);
	assert_int_equal(load(image.bytes, image.size - 15, false, &entry, &err), 0);
	assert_int_equal(load(image.bytes, image.size - 16, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "cut off"));
}

/* --- ELF: PVH --- */

static void make_elf(struct image *image, bool is64, uint64_t entry, uint64_t paddr, unsigned filesz, unsigned memsz)
{
	uint8_t *b = image->bytes;
	memset(image, 0, sizeof(*image));
	memcpy(b, "\177ELF", 4);
	b[4] = is64 ? 2 : 1;
	b[5] = b[6] = 1;
	store_le16(b + 16, 2);
	store_le16(b + 18, is64 ? 62 : 3);
	unsigned ph = is64 ? 64 : 52, phsize = is64 ? 56 : 32, data = 512;
	store_le(b + 24, entry, is64 ? 8 : 4);
	store_le(b + (is64 ? 32 : 28), ph, is64 ? 8 : 4);
	store_le16(b + (is64 ? 54 : 42), (uint16_t)phsize);
	store_le16(b + (is64 ? 56 : 44), 1);
	uint8_t *p = b + ph;
	store_le32(p, 1);
	unsigned word = is64 ? 8 : 4, at = is64 ? 8 : 4;
	const uint64_t fields[] = { data, 0xc0000000u + paddr, paddr, filesz, memsz };
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		store_le(p + at + i * word, fields[i], word);
	for (unsigned i = 0; i < filesz; i++)
		b[data + i] = (uint8_t)(i * 3 + 1);
	image->size = data + filesz;
}

static void add_pvh_note(struct image *image, bool is64, uint32_t entry)
{
	uint8_t *b = image->bytes, *p = b + (is64 ? 64 + 56 : 52 + 32), *n = b + image->size;
	store_le16(b + (is64 ? 56 : 44), 2);
	store_le32(p, 4);
	unsigned word = is64 ? 8 : 4;
	store_le(p + word, image->size, word);
	store_le(p + word + 3 * word, 16 + 4 + 20, word);
	store_le(p + word + 4 * word, 40, word);
	/* Another owner's note first. */
	store_le32(n, 4);
	store_le32(n + 4, 4);
	store_le32(n + 8, 18);
	memcpy(n + 12, "GNU", 4);
	n += 20;
	store_le32(n, 4);
	store_le32(n + 4, 4);
	store_le32(n + 8, 18);
	memcpy(n + 12, "Xen", 4);
	store_le32(n + 16, entry);
	image->size += 40;
}

static void check_pvh(bool is64)
{
	struct image image;
	struct boot_entry entry;
	make_elf(&image, is64, 0xc0200000, 0x200000, 1000, 3000);
	add_pvh_note(&image, is64, 0x200040);
	memset(memory.host + 0x200000, 0xee, 4096); /* the loader owes zeros behind the file's bytes */
	assert_int_equal(load(image.bytes, image.size, true, &entry, NULL), 0);
	assert_int_equal(entry.mode, BOOT_FLAT32);
	assert_int_equal(entry.rip, 0x200040);
	assert_memory_equal(guest(0x200000, 1000), image.bytes + 512, 1000);
	for (unsigned i = 1000; i < 3000; i++)
		assert_int_equal(guest(0x200000, 3000)[i], 0);
	assert_int_equal(guest(0x200000, 3001)[3000], 0xee);
	const uint8_t *info = guest(entry.rbx, 56);
	assert_int_equal(load_le32(info), 0x336ec578);
	assert_int_equal(load_le32(info + 4), 1);
	assert_int_equal(load_le32(info + 12), 1);
	const uint8_t *module = guest(load_le64(info + 16), 32);
	assert_memory_equal(guest(load_le64(module), sizeof(initrd_bytes)), initrd_bytes, sizeof(initrd_bytes));
	assert_int_equal(load_le64(module + 8), sizeof(initrd_bytes));
	assert_string_equal((const char *)guest(load_le64(info + 24), 32), "console=ttyS0 test");
	assert_int_equal(load_le64(info + 32), 0xe0000);
	assert_in_range(load_le32(info + 48), 3, 8);
	assert_int_equal(load_le64(guest(load_le64(info + 40), 24) + 8), BOOT_EBDA);
}

static void pvh_of_both_sizes(void **state)
{
	check_pvh(false);
	check_pvh(true);
}

static void elf_refusals_are_told(void **state)
{
	struct image image;
	struct boot_entry entry;
	struct error err;
	make_elf(&image, true, 0x200000, 0x200000, 1000, 1000);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "CONFIG_PVH"));
	make_elf(&image, true, 0, RAM_SIZE - 100, 1000, 1000);
	add_pvh_note(&image, true, RAM_SIZE - 100);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "--memory"));
	make_elf(&image, true, 0, ~0ull - 100, 1000, 1000); /* wraps */
	add_pvh_note(&image, true, 0x200000);
	assert_int_equal(load(image.bytes, image.size, false, &entry, &err), -1);
	assert_int_equal(load((const uint8_t *)"nonsense", 8, false, &entry, &err), -1);
	assert_non_null(strstr(err.text, "neither"));
}

/* --- Multiboot --- */

static void put_multiboot_header(struct image *image, unsigned at, uint32_t flags)
{
	store_le32(image->bytes + at, 0x1badb002);
	store_le32(image->bytes + at + 4, flags);
	store_le32(image->bytes + at + 8, -(0x1badb002 + flags));
}

static void check_multiboot_info(const struct boot_entry *entry)
{
	assert_int_equal(entry->mode, BOOT_FLAT32);
	assert_int_equal(entry->rax, 0x2badb002);
	const uint8_t *info = guest(entry->rbx, 116);
	assert_int_equal(load_le32(info), 0x24d); /* memory, command line, modules, map, loader name */
	assert_int_equal(load_le32(info + 4), 639);
	assert_int_equal(load_le32(info + 8), (RAM_SIZE >> 10) - 1024);
	assert_string_equal((const char *)guest(load_le32(info + 16), 32), "console=ttyS0 test");
	assert_int_equal(load_le32(info + 20), 1);
	const uint8_t *module = guest(load_le32(info + 24), 16);
	assert_int_equal(load_le32(module + 4) - load_le32(module), sizeof(initrd_bytes));
	assert_memory_equal(guest(load_le32(module), sizeof(initrd_bytes)), initrd_bytes, sizeof(initrd_bytes));
	assert_string_equal((const char *)guest(load_le32(module + 8), 16), "test-initrd");
	assert_int_equal(load_le32(info + 44) % 24, 0);
	assert_int_equal(load_le32(guest(load_le32(info + 48), 24)), 20);
	assert_string_equal((const char *)guest(load_le32(info + 64), 16), "visor");
}

static void multiboot_elf(void **state)
{
	struct image image;
	struct boot_entry entry;
	make_elf(&image, false, 0xc0100010, 0x100000, 1000, 2000); /* the entry is virtual */
	put_multiboot_header(&image, 512 + 16, 3);
	assert_int_equal(load(image.bytes, image.size, true, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x100010);
	assert_memory_equal(guest(0x100000, 1000), image.bytes + 512, 1000);
	check_multiboot_info(&entry);
}

static void make_multiboot_addresses(struct image *image)
{
	memset(image, 0, sizeof(*image));
	for (unsigned i = 0; i < 1024; i++)
		image->bytes[i] = (uint8_t)(i + 1);
	image->size = 1024;
	put_multiboot_header(image, 64, 0x10003);
	const uint32_t addresses[] = { 0x100000 + 64 - 32, 0x100000, 0x100000 + 800, 0x101000, 0x100004 };
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		store_le32(image->bytes + 64 + 12 + 4 * i, addresses[i]);
}

static void multiboot_addresses(void **state)
{
	struct image image;
	struct boot_entry entry;
	struct error err;
	make_multiboot_addresses(&image);
	assert_int_equal(load(image.bytes, image.size, true, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x100004);
	assert_memory_equal(guest(0x100000, 800), image.bytes + 32, 800);
	assert_int_equal(guest(0x100000, 801)[800], 0);
	check_multiboot_info(&entry);
	store_le32(image.bytes + 64 + 16, 0x90000000); /* load above header */
	assert_int_equal(load(image.bytes, image.size, true, &entry, &err), -1);
	make_multiboot_addresses(&image);
	put_multiboot_header(&image, 64, 0x10103);
	assert_int_equal(load(image.bytes, image.size, true, &entry, &err), -1);
	assert_non_null(strstr(err.text, "requires"));
}

/* --- damage --- */

/* A copy of exactly this size, so that a read past the end is seen. */
static void load_copy(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct boot_entry entry;
	struct error err = { 0 };
	assert_non_null(copy);
	memcpy(copy, bytes, size);
	int rc = load(copy, size, true, &entry, &err);
	if (rc < 0)
		assert_true(err.text[0]);
	else
		assert_true(entry.rip < 1ull << 32);
	free(copy);
}

static void damage(struct image *image)
{
	for (size_t size = 0; size < image->size; size++)
		load_copy(image->bytes, size);
	for (size_t bit = 0; bit < image->size * 8; bit++) {
		image->bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		load_copy(image->bytes, image->size);
		image->bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
}

static void damaged_images_never_crash(void **state)
{
	struct image image;
	make_linux(&image, 0x20f, true);
	image.size = LINUX_PAYLOAD + 0x240;
	damage(&image);
	make_elf(&image, true, 0x200000, 0x200000, 100, 200);
	add_pvh_note(&image, true, 0x200040);
	damage(&image);
	make_elf(&image, false, 0x200000, 0x200000, 100, 200);
	put_multiboot_header(&image, 512 + 16, 3);
	damage(&image);
	make_multiboot_addresses(&image);
	image.size = 900;
	damage(&image);
}

/* --- layout --- */

static void layout_gives_nothing_twice(void **state)
{
	struct boot_layout layout;
	boot_layout_init(&layout, &memory);
	assert_int_equal(boot_place(&layout, 0x200000, 0x1000, "a", NULL), 0);
	assert_int_equal(boot_place(&layout, 0x200fff, 1, "b", NULL), -1);
	assert_int_equal(boot_place(&layout, 0x1fffff, 2, "b", NULL), -1);
	assert_int_equal(boot_place(&layout, 0x9f000, 0x2000, "hole", NULL), -1);
	assert_int_equal(boot_place(&layout, 0xa0000, 16, "hole", NULL), -1);
	assert_int_equal(boot_place(&layout, 0, 16, "vectors", NULL), -1);
	assert_int_equal(boot_alloc_high(&layout, 0x1000, 0x1000, 0x100000, 0x201000, "c", NULL), 0x1ff000);
	assert_int_equal(boot_alloc_low(&layout, 0x1000, 0x1000, 0x1ff000, 1ull << 32, "d", NULL), 0x201000);
	assert_int_equal(boot_alloc_high(&layout, RAM_SIZE, 1, 0, ~0ull, "too large", NULL), 0);
	assert_int_equal(boot_alloc_high(&layout, ~0ull, 0x1000, 0, ~0ull, "far too large", NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux_64_bit_entry),
		cmocka_unit_test(linux_32_bit_entry),
		cmocka_unit_test(linux_moves_when_its_place_is_not_there),
		cmocka_unit_test(linux_limits_are_told),
		cmocka_unit_test(pvh_of_both_sizes),
		cmocka_unit_test(elf_refusals_are_told),
		cmocka_unit_test(multiboot_elf),
		cmocka_unit_test(multiboot_addresses),
		cmocka_unit_test(damaged_images_never_crash),
		cmocka_unit_test(layout_gives_nothing_twice),
	};
	return cmocka_run_group_tests(tests, make_memory, free_memory);
}
