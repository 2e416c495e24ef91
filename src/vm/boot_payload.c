/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/boot_payload.h"

#include <errno.h>

#include "base/util.h"
#include "vm/boot_elf.h"
#include "vm/unpack.h"

struct placement {
	struct guest_memory *memory;
	uint64_t base, room, total;
	struct elf_file elf;
	struct boot_image image; /* the file's first bytes, as far as the program headers go: linkers put them there */
	uint8_t head[4096];
};

/* All segments lie in the room, and are no more than fill it; the entry is in one of them. */
static int check_segments(const struct placement *p, struct error *err)
{
	const struct elf_file *elf = &p->elf;
	struct elf_segment s;
	uint64_t used = 0;
	bool entered = false;
	int more;
	for (unsigned i = 0; (more = elf_next_load(elf, &i, &s, err)) > 0;) {
		if (s.paddr < p->base || !boot_within(s.paddr - p->base, s.memsz, p->room) || s.memsz > p->room - used)
			return error_set(err, ENOEXEC, "segment %u of the kernel proper lies outside of the room that the header asks for", i - 1);
		used += s.memsz;
		entered |= elf->entry >= s.paddr && elf->entry - s.paddr < s.filesz;
	}
	if (more < 0)
		return -1;
	return entered ? 0 : error_set(err, ENOEXEC, "the entry of the kernel proper is in none of its segments");
}

static int put_piece(void *opaque, uint64_t offset, const uint8_t *data, size_t size, struct error *err)
{
	struct placement *p = opaque;
	if (!offset) {
		p->image.size = MIN(size, sizeof(p->head));
		memcpy(p->head, data, p->image.size);
		if (elf_open(&p->elf, &p->image, p->total, err) < 0)
			return -1;
		if (!p->elf.is_x86_64 || p->elf.type != ELF_ET_EXEC)
			return error_set(err, ENOEXEC, "the kernel proper is no program for x86-64");
		if (check_segments(p, err) < 0)
			return -1;
		boot_zero(p->memory, p->base, p->room);
	}
	elf_put(&p->elf, p->memory, offset, data, size);
	return 0;
}

uint64_t boot_load_payload(const struct boot_image *payload, struct guest_memory *memory, uint64_t base, uint64_t room, struct error *err)
{
	struct placement p = { .memory = memory, .base = base, .room = room, .image = { .name = payload->name, .data = p.head } };
	struct boot_image packed = *payload;
	if (payload->size <= 4) {
		error_set(err, ENOEXEC, "its payload is missing");
		return 0;
	}
	p.total = load_le32(payload->data + payload->size - 4);
	if (!p.total) {
		error_set(err, ENOEXEC, "its payload is empty");
		return 0;
	}
	/* gzip's own format ends with the length; to the others the kernel's build adds it. */
	if (load_le16(payload->data) != 0x8b1f)
		packed.size -= 4;
	return unpack(&packed, p.total, put_piece, &p, err) < 0 ? 0 : p.elf.entry;
}
