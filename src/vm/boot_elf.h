/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_BOOT_ELF_H
#define VISOR_VM_BOOT_ELF_H

#include "vm/boot.h"

/* An ELF executable for x86, 32- or 64-bit, its headers checked (System V ABI, chapter 4 and 5). */
struct elf_file {
	const struct boot_image *image;
	uint64_t total;
	bool is64, is_x86_64;
	uint16_t type;
	uint64_t entry;
	uint64_t phoff;
	unsigned phnum, phentsize;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

enum { ELF_PT_LOAD = 1, ELF_PT_NOTE = 4 };
enum { ELF_ET_EXEC = 2 };

/* Whether the bytes begin as an ELF file does. */
bool elf_magic(const struct boot_image *image);
/* image: the file's bytes, or as many of its first ones as hold the program headers; total: how many the whole file has. */
int elf_open(struct elf_file *elf, const struct boot_image *image, uint64_t total, struct error *err);
/* Segment `index` < elf->phnum; its file bytes lie within the file. */
int elf_segment(const struct elf_file *elf, unsigned index, struct elf_segment *segment, struct error *err);
/* The next segment from *index on that takes memory, and where to go on: 1; 0: there is none left; below 0: err is set. */
int elf_next_load(const struct elf_file *elf, unsigned *index, struct elf_segment *s, struct error *err);
/* Puts what stands at `offset` of the file to where PT_LOAD segments want it: room that was taken before and reads as zero. */
void elf_put(const struct elf_file *elf, struct guest_memory *memory, uint64_t offset, const uint8_t *data, uint64_t size);
/* Lays all PT_LOAD segments of a file that is there as a whole to their physical addresses. */
int elf_load(const struct elf_file *elf, struct boot_layout *layout, struct error *err);
/* The physical address of the ELF entry: its virtual address taken through the segment that holds it. */
uint64_t elf_physical_entry(const struct elf_file *elf);

#endif
