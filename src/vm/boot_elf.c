/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/boot_elf.h"

#include <errno.h>

#include "base/util.h"

enum { EM_386 = 3, EM_X86_64 = 62 };

bool elf_magic(const struct boot_image *image)
{
	return image->size >= 4 && load_le32(image->data) == 0x464c457f;
}

int elf_open(struct elf_file *elf, const struct boot_image *image, uint64_t total, struct error *err)
{
	const uint8_t *d = image->data;
	if (!elf_magic(image) || image->size < 52 || (d[4] != 1 && d[4] != 2) || (d[4] == 2 && image->size < 64))
		return error_set(err, ENOEXEC, "'%s' is no ELF file, or cut off in its header; copy it again", image->name);
	*elf = (struct elf_file){ .image = image, .total = total, .is64 = d[4] == 2 };
	uint16_t machine = load_le16(d + 18);
	elf->is_x86_64 = elf->is64 && machine == EM_X86_64;
	elf->type = load_le16(d + 16);
	if (d[5] != 1 || (machine != EM_386 && machine != EM_X86_64))
		return error_set(err, ENOEXEC, "ELF file '%s' is for another processor (machine %u); visor runs x86 guests",
				 image->name, machine);
	elf->entry = elf->is64 ? load_le64(d + 24) : load_le32(d + 24);
	elf->phoff = elf->is64 ? load_le64(d + 32) : load_le32(d + 28);
	elf->phentsize = load_le16(d + (elf->is64 ? 54 : 42));
	elf->phnum = load_le16(d + (elf->is64 ? 56 : 44));
	if (elf->phentsize < (elf->is64 ? 56u : 32u) ||
	    !boot_within(elf->phoff, (uint64_t)elf->phnum * elf->phentsize, image->size))
		return error_set(err, ENOEXEC, "the program headers of ELF file '%s' lie beyond its end; it is cut off or damaged",
				 image->name);
	return 0;
}

int elf_segment(const struct elf_file *elf, unsigned index, struct elf_segment *segment, struct error *err)
{
	const uint8_t *p = elf->image->data + elf->phoff + (uint64_t)index * elf->phentsize;
	if (elf->is64)
		*segment = (struct elf_segment){ .type = load_le32(p), .offset = load_le64(p + 8), .vaddr = load_le64(p + 16),
			.paddr = load_le64(p + 24), .filesz = load_le64(p + 32), .memsz = load_le64(p + 40), .align = load_le64(p + 48) };
	else
		*segment = (struct elf_segment){ .type = load_le32(p), .offset = load_le32(p + 4), .vaddr = load_le32(p + 8),
			.paddr = load_le32(p + 12), .filesz = load_le32(p + 16), .memsz = load_le32(p + 20), .align = load_le32(p + 28) };
	if (segment->type == ELF_PT_LOAD && segment->filesz > segment->memsz)
		return error_set(err, ENOEXEC, "segment %u of ELF file '%s' has more bytes in the file than in memory; it is damaged",
				 index, elf->image->name);
	if ((segment->type == ELF_PT_LOAD || segment->type == ELF_PT_NOTE) &&
	    !boot_within(segment->offset, segment->filesz, elf->total))
		return error_set(err, ENOEXEC, "segment %u of ELF file '%s' lies beyond the file's end; it is cut off or damaged",
				 index, elf->image->name);
	return 0;
}

void elf_put(const struct elf_file *elf, struct guest_memory *memory, uint64_t offset, const uint8_t *data, uint64_t size)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;
		if (elf_segment(elf, i, &s, NULL) < 0 || s.type != ELF_PT_LOAD)
			continue;
		uint64_t from = MAX(offset, s.offset), end = MIN(offset + size, s.offset + s.filesz);
		if (from < end)
			boot_fill_zeroed(memory, s.paddr + (from - s.offset), data + (from - offset), end - from);
	}
}

int elf_next_load(const struct elf_file *elf, unsigned *index, struct elf_segment *s, struct error *err)
{
	while (*index < elf->phnum) {
		if (elf_segment(elf, (*index)++, s, err) < 0)
			return -1;
		if (s->type == ELF_PT_LOAD && s->memsz)
			return 1;
	}
	return 0;
}

int elf_load(const struct elf_file *elf, struct boot_layout *layout, struct error *err)
{
	struct elf_segment s;
	bool any = false;
	int more;
	for (unsigned i = 0; (more = elf_next_load(elf, &i, &s, err)) > 0;) {
		if (boot_place(layout, s.paddr, s.memsz, elf->image->name, err) < 0)
			return -1;
		boot_zero(layout->memory, s.paddr, s.memsz);
		any = true;
	}
	if (more < 0)
		return -1;
	if (!any)
		return error_set(err, ENOEXEC, "ELF file '%s' has nothing to load; is it an object file or a debug file?", elf->image->name);
	elf_put(elf, layout->memory, 0, elf->image->data, elf->image->size);
	return 0;
}

uint64_t elf_physical_entry(const struct elf_file *elf)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;
		if (elf_segment(elf, i, &s, NULL) == 0 && s.type == ELF_PT_LOAD && elf->entry - s.vaddr < s.memsz)
			return elf->entry - s.vaddr + s.paddr;
	}
	return elf->entry;
}
