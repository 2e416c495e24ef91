/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"
#include "fuzz.h"
#include "vm/boot.h"

/* Kernel images of any bytes: an error, or an entry in guest memory; never a crash. */
#define RAM (8u << 20)

static struct guest_memory memory;

static uint32_t digest(const uint8_t *data, size_t size)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < size; i++)
		h = (h ^ data[i]) * 16777619u;
	return h ^ h >> 15;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t initrd[20000];
	static char cmdline[5000];
	if (!memory.host && memory_init(&memory, RAM, NULL) < 0)
		return 0;
	/* What comes with the kernel follows from its bytes, so that the input is the bare file. */
	uint32_t h = digest(data, size);
	size_t length = h % 8 == 0 ? sizeof(cmdline) - 1 : h % 64;
	memset(cmdline, 'x', length);
	cmdline[length] = 0;
	const struct boot_request request = {
		.memory = &memory, .kernel = { "fuzz", data, size }, .initrd = { "initrd", h & 64 ? initrd : NULL, h >> 8 & 0x3fff },
		.cmdline = h & 32 ? cmdline : NULL, .rsdp = h & 128 ? 0xe0000 : 0,
	};
	struct boot_entry entry = { 0 };
	struct error err = { 0 };
	if (boot_load(&request, &entry, &err) < 0)
		fuzz_require(err.text[0] && memchr(err.text, 0, sizeof(err.text)));
	else
		fuzz_require(entry.rip < 1ull << 32 && entry.gdt < RAM && entry.cr3 < RAM);
	return 0;
}

/* --- seeds --- */

static void put_elf(uint8_t *file, unsigned class64)
{
	uint8_t *header = file, *segments = file + (class64 ? 64 : 52);
	const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', (uint8_t)(1 + class64), 1, 1 };
	memcpy(header, ident, sizeof(ident));
	store_le16(header + 16, 2);
	store_le16(header + 18, class64 ? 62 : 3);
	store_le32(header + 20, 1);
	store_le(header + 24, 0x100000, class64 ? 8 : 4);                 /* entry */
	store_le(header + (class64 ? 32 : 28), (uint64_t)(segments - file), class64 ? 8 : 4);
	store_le16(header + (class64 ? 52 : 40), class64 ? 64 : 52);
	store_le16(header + (class64 ? 54 : 42), class64 ? 56 : 32);
	store_le16(header + (class64 ? 56 : 44), 2);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *s = segments + i * (class64 ? 56 : 32);
		const uint64_t offset = i ? 0x200 : 0, address = i ? 0 : 0x100000, size = i ? 20 : 0x300;
		store_le32(s, i ? 4 : 1);                                 /* note, load */
		store_le(s + (class64 ? 8 : 4), offset, class64 ? 8 : 4);
		store_le(s + (class64 ? 16 : 8), address, class64 ? 8 : 4);
		store_le(s + (class64 ? 24 : 12), address, class64 ? 8 : 4);
		store_le(s + (class64 ? 32 : 16), size, class64 ? 8 : 4);
		store_le(s + (class64 ? 40 : 20), size + (i ? 0 : 0x100), class64 ? 8 : 4);
		store_le(s + (class64 ? 48 : 28), 4, class64 ? 8 : 4);
	}
	const uint32_t note[] = { 4, 4, 18, 0x006e6558 /* "Xen" */, 0x100000 };
	memcpy(file + 0x200, note, sizeof(note));
}

static void put_multiboot(uint8_t *file, uint32_t flags)
{
	const uint32_t header[] = { 0x1badb002, flags, -(0x1badb002u + flags), 0x100000, 0x100000, 0x100200, 0x101000, 0x100040 };
	memcpy(file + 0x100 * !(flags & 0x10000), header, sizeof(header));
}

/* Linux boot protocol 2.15 (Documentation/arch/x86/boot.rst). */
static void put_linux(uint8_t *file, uint8_t load_flags)
{
	file[0x1f1] = 1;                           /* setup sectors */
	store_le32(file + 0x1f4, 0x40);            /* system size, paragraphs */
	store_le16(file + 0x1fe, 0xaa55);
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	memcpy(file + 0x202, "HdrS", 4);
	store_le16(file + 0x206, 0x020f);
	file[0x211] = load_flags;
	store_le32(file + 0x214, 0x100000);
	store_le32(file + 0x22c, 0x7fffffff);      /* highest initrd address */
	store_le32(file + 0x230, 0x200000);        /* alignment */
	file[0x234] = 1;                           /* relocatable */
	store_le16(file + 0x236, 3);               /* 64-bit entry */
	store_le32(file + 0x238, 2047);
	store_le64(file + 0x258, 0x100000);
	store_le32(file + 0x260, 0x10000);
}

/* The same with a payload, an ELF file in one block of LZ4 that packs nothing. */
static void put_packed_linux(uint8_t *file)
{
	uint8_t *payload = file + 0x610, *elf = payload + 12;
	const uint8_t literals[] = { 0xf0, 255, 255, 0x300 - 15 - 2 * 255 };
	put_linux(file, 1);
	store_le32(payload, 0x184c2102);
	store_le32(payload + 4, sizeof(literals) + 0x300);
	memcpy(payload + 8, literals, sizeof(literals));
	put_elf(elf, 1);
	store_le32(elf + 0x300, 0x300);
	store_le32(file + 0x248, 0x210);
	store_le32(file + 0x24c, 12 + 0x300 + 4);
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	uint8_t file[0x1000];
#define SEED(name, size, put) (memset(file, 0, sizeof(file)), put, emit(opaque, name, file, size))
	SEED("pvh64", 0x300, put_elf(file, 1));
	SEED("pvh32", 0x300, put_elf(file, 0));
	SEED("multiboot", 0x200, put_multiboot(file, 0x10000));
	SEED("multiboot-elf", 0x300, (put_elf(file, 0), file[0x20c] = 0, put_multiboot(file, 3)));
	SEED("linux", 0x800, put_linux(file, 1));
	SEED("linux-packed", 0x1000, put_packed_linux(file));
	SEED("linux-low", 0x600, put_linux(file, 0));
}
