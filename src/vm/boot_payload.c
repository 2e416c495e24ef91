/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/boot_payload.h"

#include <errno.h>

#include "base/util.h"
#include "vm/boot_elf.h"
#include "vm/unpack.h"

#define HEAD_SIZE 4096 /* the ELF header and the program headers, which linkers put first */
#define UNPACKED_MAX (1ull << 30)

struct placement {
	struct elf_file elf;
	struct guest_memory *memory;
};

static void put_piece(void *opaque, uint64_t offset, const uint8_t *data, uint64_t size)
{
	const struct placement *p = opaque;
	elf_put(&p->elf, p->memory, offset, data, size);
}

/* All segments lie in the room, and are no more than fill it. */
static int check_segments(const struct elf_file *elf, uint64_t base, uint64_t room, struct error *err)
{
	uint64_t used = 0;
	bool entered = false;
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;
		if (elf_segment(elf, i, &s, err) < 0)
			return -1;
		if (s.type != ELF_PT_LOAD || !s.memsz)
			continue;
		if (s.paddr < base || !boot_within(s.paddr - base, s.memsz, room) || s.memsz > room - used)
			return error_set(err, ENOEXEC, "segment %u of its payload does not lie where its header wants the kernel", i);
		used += s.memsz;
		entered |= elf->entry >= s.paddr && elf->entry - s.paddr < s.filesz;
	}
	return entered ? 0 : error_set(err, ENOEXEC, "the entry of its payload is in none of its segments");
}

uint64_t boot_load_payload(const struct boot_image *payload, struct guest_memory *memory, uint64_t base, uint64_t room, struct error *err)
{
	struct placement p = { .memory = memory };
	uint8_t head[HEAD_SIZE];
	if (payload->size <= 4) {
		error_set(err, ENOEXEC, "it has no payload");
		return 0;
	}
	uint64_t total = load_le32(payload->data + payload->size - 4);
	/* gzip's own format ends with the length; to the others the kernel's build adds it. */
	struct boot_image packed = *payload;
	if (load_le16(payload->data) != 0x8b1f)
		packed.size -= 4;
	int64_t count = unpack_head(&packed, head, sizeof(head), err);
	if (count < 0)
		return 0;
	const struct boot_image image = { payload->name, head, (size_t)count };
	if (elf_open(&p.elf, &image, total, err) < 0 || check_segments(&p.elf, base, room, err) < 0)
		return 0;
	if (!p.elf.is_x86_64 || p.elf.type != ELF_ET_EXEC || total > UNPACKED_MAX) {
		error_set(err, ENOEXEC, "its payload is no program for x86-64");
		return 0;
	}
	boot_zero(memory, base, room);
	return unpack(&packed, total, put_piece, &p, err) < 0 ? 0 : p.elf.entry;
}
