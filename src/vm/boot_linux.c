/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/boot_payload.h"

/*
 * The Linux boot protocol (Documentation/arch/x86/boot.rst of the kernel). The
 * real-mode part of the file is not run: its header is copied into the zero page. A 64-bit kernel
 * is unpacked here and entered as its own unpacking code enters it (arch/x86/kernel/head_64.S: paging by an identity map, the zero page
 * in RSI); else the protected-mode part is, at +0x200 in 64-bit mode when the kernel allows.
 */

/* Offsets of the setup header, the same in the file and in the zero page. */
enum {
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x200, /* second byte: where the header ends, from 0x202 */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_HEAP_END = 0x224,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PAYLOAD_OFFSET = 0x248,
	HDR_PAYLOAD_LENGTH = 0x24c,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_LIMIT = 0x290, /* the zero page has other things from here on */
};

/* The zero page alone. */
enum {
	ZP_ACPI_RSDP = 0x70,
	ZP_E820_ENTRIES = 0x1e8,
	ZP_E820_TABLE = 0x2d0,
	ZP_SIZE = 0x1000,
};

#define MAGIC_HDRS 0x53726448u
#define LOADED_HIGH 0x01
#define KASLR_FLAG 0x02 /* from the kernel's unpacking code to the kernel */
#define CAN_USE_HEAP 0x80
#define XLF_KERNEL_64 0x0001
#define KERNEL_BASE 0x100000ull
#define IDENTITY_GIB 4 /* mapped one to one at the entry */

struct linux_kernel {
	const struct boot_image *image;
	uint16_t version;
	uint64_t code, code_size; /* the protected-mode part in the file */
	uint64_t load, room;      /* where it goes, and the bytes it uses from there before it knows of memory */
	bool entry64;
	struct boot_layout layout;
	uint8_t zero_page[ZP_SIZE];
};

bool boot_is_linux(const struct boot_image *image)
{
	return image->size >= HDR_LIMIT && load_le16(image->data + HDR_BOOT_FLAG) == 0xaa55 &&
	       load_le32(image->data + HDR_MAGIC) == MAGIC_HDRS;
}

static int parse(struct linux_kernel *k, struct error *err)
{
	const uint8_t *d = k->image->data;
	k->version = load_le16(d + HDR_VERSION);
	if (k->version < 0x206)
		return error_set(err, ENOEXEC, "kernel '%s' speaks boot protocol %u.%02u; visor needs 2.06 (Linux 2.6.22) or later",
				 k->image->name, k->version >> 8, k->version & 0xff);
	if (!(d[HDR_LOADFLAGS] & LOADED_HIGH))
		return error_set(err, ENOEXEC, "kernel '%s' is a zImage, which loads below 640 KiB; give a bzImage", k->image->name);
	unsigned sectors = d[HDR_SETUP_SECTS] ? d[HDR_SETUP_SECTS] : 4;
	k->code = (sectors + 1) * 512;
	if (k->code >= k->image->size)
		return error_set(err, ENOEXEC, "kernel '%s' is cut off: %zu bytes, its setup part alone has %llu; copy it again",
				 k->image->name, k->image->size, (unsigned long long)k->code);
	k->code_size = k->image->size - k->code;
	/* In paragraphs, the last of which need not be whole; a signature may follow. */
	uint64_t wanted = 16ull * load_le32(d + HDR_SYSSIZE);
	if (k->code_size + 15 < wanted)
		return error_set(err, ENOEXEC, "kernel '%s' is cut off: %zu bytes of %llu; copy it again", k->image->name, k->image->size,
				 (unsigned long long)(k->code + wanted));
	k->entry64 = k->version >= 0x20c && load_le16(d + HDR_XLOADFLAGS) & XLF_KERNEL_64;
	if (k->entry64 && k->code_size <= 0x200)
		return error_set(err, ENOEXEC, "kernel '%s' is cut off before its 64-bit entry; copy it again", k->image->name);
	return 0;
}

/* At its preferred address, where it need not move itself; else, when it can run anywhere, as low as it fits. */
static int place(struct linux_kernel *k, struct error *err)
{
	const uint8_t *d = k->image->data;
	bool relocatable = d[HDR_RELOCATABLE];
	uint64_t preferred = k->version >= 0x20a ? load_le64(d + HDR_PREF_ADDRESS) : KERNEL_BASE;
	uint64_t align = load_le32(d + HDR_KERNEL_ALIGNMENT);
	k->room = k->code_size;
	if (k->version >= 0x20a)
		k->room = MAX(k->room, load_le32(d + HDR_INIT_SIZE));
	k->load = preferred;
	if (preferred >= KERNEL_BASE && preferred < 1ull << 32 &&
	    boot_place(&k->layout, preferred, k->room, k->image->name, relocatable ? NULL : err) == 0)
		return 0;
	if (!relocatable && (preferred < KERNEL_BASE || preferred >= 1ull << 32))
		return error_set(err, ENOEXEC, "kernel '%s' wants to be at 0x%llx, which is not between 1 MiB and 4 GiB; the file is damaged",
				 k->image->name, (unsigned long long)preferred);
	if (!relocatable)
		return -1;
	if (align & (align - 1) || align > 1u << 30)
		return error_set(err, ENOEXEC, "kernel '%s' wants an alignment of 0x%llx, which is no power of two; the file is damaged",
				 k->image->name, (unsigned long long)align);
	k->load = boot_alloc_low(&k->layout, k->room, MAX(align, GUEST_PAGE_SIZE), KERNEL_BASE, 1ull << 32, k->image->name, err);
	return k->load ? 0 : -1;
}

static int put_initrd(struct linux_kernel *k, const struct boot_image *initrd, struct error *err)
{
	if (!initrd->data || !initrd->size)
		return 0;
	uint64_t max = (uint64_t)load_le32(k->image->data + HDR_INITRD_ADDR_MAX) + 1;
	uint64_t base = initrd->size > UINT32_MAX ? 0 :
		boot_alloc_high(&k->layout, initrd->size, GUEST_PAGE_SIZE, KERNEL_BASE, max, initrd->name, err);
	if (!base)
		return initrd->size > UINT32_MAX ? error_set(err, EFBIG, "initrd '%s' is larger than 4 GiB", initrd->name) : -1;
	boot_fill(k->layout.memory, base, initrd->data, initrd->size, initrd->size);
	store_le32(k->zero_page + HDR_RAMDISK_IMAGE, (uint32_t)base);
	store_le32(k->zero_page + HDR_RAMDISK_SIZE, (uint32_t)initrd->size);
	return 0;
}

static int put_cmdline(struct linux_kernel *k, const char *cmdline, struct error *err)
{
	uint32_t limit = load_le32(k->image->data + HDR_CMDLINE_SIZE);
	if (strlen(cmdline) > limit)
		return error_set(err, E2BIG, "the command line has %zu characters, kernel '%s' takes %u; shorten --append",
				 strlen(cmdline), k->image->name, limit);
	uint64_t base = boot_put_string(&k->layout, cmdline, "the command line", err);
	store_le32(k->zero_page + HDR_CMD_LINE_PTR, (uint32_t)base);
	return base ? 0 : -1;
}

static void put_memory_map(struct linux_kernel *k)
{
	struct boot_range ranges[BOOT_MAX_RANGES];
	unsigned count = boot_memory_map(k->layout.memory, ranges);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *e = k->zero_page + ZP_E820_TABLE + i * 20;
		store_le64(e, ranges[i].base);
		store_le64(e + 8, ranges[i].size);
		store_le32(e + 16, ranges[i].type);
	}
	k->zero_page[ZP_E820_ENTRIES] = (uint8_t)count;
}

/* The header as the file has it, then what the loader owes the kernel. */
static void fill_header(struct linux_kernel *k, uint64_t rsdp)
{
	const uint8_t *d = k->image->data;
	uint8_t *z = k->zero_page;
	int end = MIN(HDR_MAGIC + d[HDR_JUMP + 1], HDR_LIMIT);
	memcpy(z + HDR_SETUP_SECTS, d + HDR_SETUP_SECTS, (size_t)(end - HDR_SETUP_SECTS));
	z[HDR_TYPE_OF_LOADER] = 0xff; /* no number assigned */
	z[HDR_LOADFLAGS] = (uint8_t)((z[HDR_LOADFLAGS] & ~KASLR_FLAG) | CAN_USE_HEAP);
	store_le16(z + HDR_HEAP_END, 0xfe00);
	store_le32(z + HDR_CODE32_START, (uint32_t)k->load);
	if (k->version >= 0x20e)
		store_le64(z + ZP_ACPI_RSDP, rsdp);
	put_memory_map(k);
}

/* 2 MiB pages for the first 4 GiB: PML4, PDPT, one page directory per GiB. */
static int put_page_tables(struct linux_kernel *k, struct boot_entry *entry, struct error *err)
{
	uint64_t tables[512];
	uint64_t size = (2 + IDENTITY_GIB) * sizeof(tables);
	uint64_t base = boot_alloc_high(&k->layout, size, GUEST_PAGE_SIZE, BOOT_LOW_MIN, BOOT_LOW_MAX, "the page tables", err);
	if (!base)
		return -1;
	memset(tables, 0, sizeof(tables));
	tables[0] = (base + 0x1000) | 3;
	boot_fill(k->layout.memory, base, tables, sizeof(tables), sizeof(tables));
	for (unsigned i = 0; i < IDENTITY_GIB; i++)
		tables[i] = (base + 0x2000 + i * 0x1000) | 3;
	boot_fill(k->layout.memory, base + 0x1000, tables, sizeof(tables), sizeof(tables));
	for (unsigned i = 0; i < IDENTITY_GIB; i++) {
		for (uint64_t j = 0; j < 512; j++)
			tables[j] = ((i * 512 + j) << 21) | 0x83; /* present, writable, page size */
		boot_fill(k->layout.memory, base + 0x2000 + i * 0x1000, tables, sizeof(tables), sizeof(tables));
	}
	entry->cr3 = base;
	return 0;
}

/* The kernel proper to its place; where it is to be entered, or 0 when the kernel has to do that itself. */
static uint64_t unpack_kernel(struct linux_kernel *k)
{
	const uint8_t *d = k->image->data;
	struct error err;
	/* A kernel that is moved must be adapted to that: it knows how. */
	if (!k->entry64 || k->load != load_le64(d + HDR_PREF_ADDRESS) || !load_le32(d + HDR_PAYLOAD_LENGTH))
		return 0;
	uint64_t offset = load_le32(d + HDR_PAYLOAD_OFFSET), size = load_le32(d + HDR_PAYLOAD_LENGTH), entry = 0;
	if (boot_within(offset, size, k->code_size)) {
		const struct boot_image payload = { k->image->name, d + k->code + offset, size };
		entry = boot_load_payload(&payload, k->layout.memory, k->load, k->room, &err);
	} else {
		error_set(&err, ENOEXEC, "its payload lies beyond its end");
	}
	if (!entry)
		log_warn("kernel '%s' has to unpack itself, which takes longer: %s", k->image->name, err.text);
	return entry;
}

int boot_load_linux(const struct boot_request *request, struct boot_entry *entry, struct error *err)
{
	struct linux_kernel k = { .image = &request->kernel };
	boot_layout_init(&k.layout, request->memory);
	if (parse(&k, err) < 0 || place(&k, err) < 0)
		return -1;
	entry->rip = request->guest_unpacks ? 0 : unpack_kernel(&k);
	if (!entry->rip) {
		boot_fill(request->memory, k.load, k.image->data + k.code, k.code_size, k.code_size);
		entry->rip = k.entry64 ? k.load + 0x200 : k.load;
	}
	fill_header(&k, request->rsdp);
	if (put_initrd(&k, &request->initrd, err) < 0 || put_cmdline(&k, request->cmdline ? request->cmdline : "", err) < 0)
		return -1;
	entry->mode = k.entry64 ? BOOT_FLAT64 : BOOT_FLAT32;
	if (boot_put_gdt(&k.layout, entry, err) < 0 || (k.entry64 && put_page_tables(&k, entry, err) < 0))
		return -1;
	uint64_t base = boot_alloc_high(&k.layout, ZP_SIZE, GUEST_PAGE_SIZE, BOOT_LOW_MIN, BOOT_LOW_MAX, "the zero page", err);
	if (!base)
		return -1;
	boot_fill(request->memory, base, k.zero_page, ZP_SIZE, ZP_SIZE);
	entry->rsi = base;
	return 0;
}
