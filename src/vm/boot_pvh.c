/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/util.h"
#include "vm/boot_elf.h"

/*
 * PVH: an ELF kernel names its 32-bit entry in a note of the owner "Xen", and
 * is given a struct hvm_start_info (Xen: docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h).
 */
#define NOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578u

enum { START_INFO_SIZE = 56, MODULE_SIZE = 32, MAP_ENTRY_SIZE = 24 };

/* Walks the notes of one segment: namesz, descsz, type, name and descriptor, padded to 4 bytes, or to 8 where the
 * segment's alignment says so. */
static bool find_note(const uint8_t *notes, uint64_t size, uint64_t align, uint64_t *entry)
{
	uint64_t at = 0;
	align = align == 8 ? 8 : 4;
	while (boot_within(at, 12, size)) {
		uint64_t namesz = load_le32(notes + at), descsz = load_le32(notes + at + 4);
		uint32_t type = load_le32(notes + at + 8);
		uint64_t name = at + 12;
		uint64_t desc = ALIGN_UP(name + namesz, align);
		if (!boot_within(name, namesz, size) || !boot_within(desc, descsz, size))
			return false;
		if (type == NOTE_PHYS32_ENTRY && namesz == 4 && !memcmp(notes + name, "Xen", 4) && (descsz == 4 || descsz == 8)) {
			*entry = load_le(notes + desc, (unsigned)descsz);
			return true;
		}
		at = ALIGN_UP(desc + descsz, align);
	}
	return false;
}

static bool find_entry(const struct elf_file *elf, uint64_t *entry)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;
		if (elf_segment(elf, i, &s, NULL) == 0 && s.type == ELF_PT_NOTE &&
		    find_note(elf->image->data + s.offset, s.filesz, s.align, entry))
			return true;
	}
	return false;
}

bool boot_is_pvh(const struct boot_image *image)
{
	struct elf_file elf;
	uint64_t entry;
	return elf_magic(image) && elf_open(&elf, image, image->size, NULL) == 0 && find_entry(&elf, &entry);
}

/* The initrd, and the list of one module that names it. */
static int put_module(struct boot_layout *layout, const struct boot_image *initrd, uint8_t *info, struct error *err)
{
	if (!initrd->data || !initrd->size)
		return 0;
	uint64_t base = boot_alloc_high(layout, initrd->size, GUEST_PAGE_SIZE, 0x100000, 1ull << 32, initrd->name, err);
	if (!base)
		return -1;
	boot_fill(layout->memory, base, initrd->data, initrd->size, initrd->size);
	uint8_t module[MODULE_SIZE] = { 0 };
	store_le64(module, base);
	store_le64(module + 8, initrd->size);
	uint64_t list = boot_put_block(layout, module, sizeof(module), "the module list", err);
	store_le32(info + 12, 1);
	store_le64(info + 16, list);
	return list ? 0 : -1;
}

static int put_map(struct boot_layout *layout, uint8_t *info, struct error *err)
{
	struct boot_range ranges[BOOT_MAX_RANGES];
	uint8_t map[BOOT_MAX_RANGES * MAP_ENTRY_SIZE] = { 0 };
	unsigned count = boot_memory_map(layout->memory, ranges);
	for (unsigned i = 0; i < count; i++) {
		store_le64(map + i * MAP_ENTRY_SIZE, ranges[i].base);
		store_le64(map + i * MAP_ENTRY_SIZE + 8, ranges[i].size);
		store_le32(map + i * MAP_ENTRY_SIZE + 16, ranges[i].type);
	}
	uint64_t base = boot_put_block(layout, map, count * MAP_ENTRY_SIZE, "the memory map", err);
	store_le64(info + 40, base);
	store_le32(info + 48, count);
	return base ? 0 : -1;
}

int boot_load_pvh(const struct boot_request *request, struct boot_entry *entry, struct error *err)
{
	struct elf_file elf;
	struct boot_layout layout;
	uint64_t start;
	boot_layout_init(&layout, request->memory);
	if (elf_open(&elf, &request->kernel, request->kernel.size, err) < 0 || elf_load(&elf, &layout, err) < 0)
		return -1;
	if (!find_entry(&elf, &start) || start >= 1ull << 32)
		return error_set(err, ENOEXEC, "the PVH entry of kernel '%s' is not below 4 GiB; the file is damaged", request->kernel.name);
	uint8_t info[START_INFO_SIZE] = { 0 };
	store_le32(info, START_MAGIC);
	store_le32(info + 4, 1);
	uint64_t cmdline = boot_put_string(&layout, request->cmdline ? request->cmdline : "", "the command line", err);
	if (!cmdline || put_module(&layout, &request->initrd, info, err) < 0 || put_map(&layout, info, err) < 0)
		return -1;
	store_le64(info + 24, cmdline);
	store_le64(info + 32, request->rsdp);
	uint64_t base = boot_put_block(&layout, info, sizeof(info), "the start info", err);
	if (!base)
		return -1;
	entry->mode = BOOT_FLAT32;
	entry->rip = start;
	entry->rbx = base;
	return boot_put_gdt(&layout, entry, err);
}
