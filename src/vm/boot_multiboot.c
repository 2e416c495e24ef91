/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/boot_elf.h"

/* The Multiboot specification, version 0.6.96. */
#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define HEADER_SEARCH 8192
#define FLAG_PAGE_ALIGN 0x1u
#define FLAG_MEMORY 0x2u
#define FLAG_VIDEO 0x4u
#define FLAG_REQUIRED 0xffffu
#define FLAG_ADDRESSES 0x10000u

enum { INFO_SIZE = 116, MODULE_SIZE = 16, MAP_ENTRY_SIZE = 24 };
enum { INFO_MEM = 1, INFO_CMDLINE = 4, INFO_MODS = 8, INFO_MMAP = 0x40, INFO_LOADER_NAME = 0x200 };

/* The offset of the header: 4-byte aligned and wholly within the first 8 KiB; -1: none. */
static int64_t find_header(const struct boot_image *image)
{
	uint64_t limit = MIN(image->size, HEADER_SEARCH);
	for (uint64_t at = 0; at + 12 <= limit; at += 4) {
		const uint8_t *h = image->data + at;
		if (load_le32(h) != HEADER_MAGIC || (uint32_t)(load_le32(h) + load_le32(h + 4) + load_le32(h + 8)) != 0)
			continue;
		if (load_le32(h + 4) & FLAG_ADDRESSES && at + 32 > limit)
			continue;
		return (int64_t)at;
	}
	return -1;
}

bool boot_is_multiboot(const struct boot_image *image)
{
	return find_header(image) >= 0;
}

/* The header's own addresses, for kernels that are not ELF (the "a.out kludge"). */
static int load_by_addresses(const struct boot_image *image, uint64_t header, struct boot_layout *layout, uint64_t *entry,
			     struct error *err)
{
	const uint8_t *h = image->data + header;
	uint32_t header_addr = load_le32(h + 12), load = load_le32(h + 16), load_end = load_le32(h + 20);
	uint32_t bss_end = load_le32(h + 24);
	*entry = load_le32(h + 28);
	if (load > header_addr || header_addr - load > header || (load_end && load_end < load))
		return error_set(err, ENOEXEC, "the load addresses in the Multiboot header of '%s' contradict each other; "
				 "the file is damaged", image->name);
	uint64_t offset = header - (header_addr - load);
	uint64_t size = load_end ? load_end - load : image->size - offset;
	if (!boot_within(offset, size, image->size))
		return error_set(err, ENOEXEC, "Multiboot kernel '%s' is cut off: its header wants %llu bytes; copy it again",
				 image->name, (unsigned long long)(offset + size));
	uint64_t room = bss_end > load + size ? bss_end - load : size;
	if (boot_place(layout, load, room, image->name, err) < 0)
		return -1;
	boot_fill(layout->memory, load, image->data + offset, size, room);
	return 0;
}

static int load_image(const struct boot_image *image, uint64_t header, struct boot_layout *layout, uint64_t *entry,
		      struct error *err)
{
	uint32_t flags = load_le32(image->data + header + 4);
	if (flags & FLAG_REQUIRED & ~(FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO))
		return error_set(err, ENOTSUP, "Multiboot kernel '%s' requires features (flags 0x%x) that Multiboot 1 does not define",
				 image->name, flags & FLAG_REQUIRED);
	if (flags & FLAG_VIDEO)
		log_info("'%s' asks for a video mode; it gets none", image->name);
	if (flags & FLAG_ADDRESSES)
		return load_by_addresses(image, header, layout, entry, err);
	struct elf_file elf;
	if (elf_open(&elf, image, image->size, err) < 0 || elf_load(&elf, layout, err) < 0)
		return -1;
	*entry = elf_physical_entry(&elf);
	if (*entry >= 1ull << 32)
		return error_set(err, ENOEXEC, "the entry of Multiboot kernel '%s' is not below 4 GiB; the file is damaged", image->name);
	return 0;
}

static int put_module(struct boot_layout *layout, const struct boot_image *initrd, uint8_t *info, struct error *err)
{
	if (!initrd->data || !initrd->size)
		return 0;
	/* Low, behind the kernel: many kernels map no more than their first megabytes before they look at modules. */
	uint64_t base = boot_alloc_low(layout, initrd->size, GUEST_PAGE_SIZE, 0x100000, 1ull << 32, initrd->name, err);
	uint64_t name = base ? boot_put_string(layout, initrd->name, "the module's name", err) : 0;
	if (!name)
		return -1;
	boot_fill(layout->memory, base, initrd->data, initrd->size, initrd->size);
	uint8_t module[MODULE_SIZE] = { 0 };
	store_le32(module, (uint32_t)base);
	store_le32(module + 4, (uint32_t)(base + initrd->size));
	store_le32(module + 8, (uint32_t)name);
	uint64_t list = boot_put_block(layout, module, sizeof(module), "the module list", err);
	store_le32(info + 20, 1);
	store_le32(info + 24, (uint32_t)list);
	return list ? 0 : -1;
}

static int put_map(struct boot_layout *layout, uint8_t *info, struct error *err)
{
	struct boot_range ranges[BOOT_MAX_RANGES];
	uint8_t map[BOOT_MAX_RANGES * MAP_ENTRY_SIZE];
	unsigned count = boot_memory_map(layout->memory, ranges);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *e = map + i * MAP_ENTRY_SIZE;
		store_le32(e, MAP_ENTRY_SIZE - 4); /* the size field does not count itself */
		store_le64(e + 4, ranges[i].base);
		store_le64(e + 12, ranges[i].size);
		store_le32(e + 20, ranges[i].type);
	}
	uint64_t base = boot_put_block(layout, map, count * MAP_ENTRY_SIZE, "the memory map", err);
	store_le32(info + 44, count * MAP_ENTRY_SIZE);
	store_le32(info + 48, (uint32_t)base);
	return base ? 0 : -1;
}

int boot_load_multiboot(const struct boot_request *request, struct boot_entry *entry, struct error *err)
{
	struct boot_layout layout;
	int64_t header = find_header(&request->kernel);
	if (header < 0)
		return error_set(err, ENOEXEC, "'%s' has no Multiboot header", request->kernel.name);
	boot_layout_init(&layout, request->memory);
	if (load_image(&request->kernel, (uint64_t)header, &layout, &entry->rip, err) < 0)
		return -1;
	uint8_t info[INFO_SIZE] = { 0 };
	uint64_t low = MIN(request->memory->ram_size, MEMORY_LOW_MAX);
	store_le32(info, INFO_MEM | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_LOADER_NAME);
	store_le32(info + 4, (uint32_t)(BOOT_EBDA >> 10));
	store_le32(info + 8, (uint32_t)((low - 0x100000) >> 10));
	uint64_t cmdline = boot_put_string(&layout, request->cmdline ? request->cmdline : "", "the command line", err);
	uint64_t name = cmdline ? boot_put_string(&layout, "visor", "the loader's name", err) : 0;
	if (!name || put_module(&layout, &request->initrd, info, err) < 0 || put_map(&layout, info, err) < 0)
		return -1;
	store_le32(info + 16, (uint32_t)cmdline);
	store_le32(info + 64, (uint32_t)name);
	uint64_t base = boot_put_block(&layout, info, sizeof(info), "the Multiboot information", err);
	if (!base)
		return -1;
	entry->mode = BOOT_FLAT32;
	entry->rax = LOADER_MAGIC;
	entry->rbx = base;
	return boot_put_gdt(&layout, entry, err);
}
