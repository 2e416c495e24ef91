/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The save file's reader under libFuzzer. Checksums would keep every mutation out, so the target mends them first: what
 * is tested is what a file made on purpose can do.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "cpu/cpu.h"
#include "state/stream.h"
#include "vm/snapshot.h"

#define HEADER 16u
#define SECTION_HEADER 18u
#define MEMORY_SIZE (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_checksums(uint8_t *data, size_t size)
{
	for (size_t at = HEADER; at + SECTION_HEADER <= size;) {
		uint64_t payload = load_le64(data + at + 8);
		uint16_t name = load_le16(data + at + 16);
		size_t left = size - at - SECTION_HEADER;
		if (name > left || payload > left - name)
			return;
		uLong crc = crc32_z(0, data + at, 4);
		crc = crc32_z(crc, data + at + 8, SECTION_HEADER - 8 + name + (size_t)payload);
		store_le32(data + at + 4, (uint32_t)crc);
		at += SECTION_HEADER + name + (size_t)payload;
	}
}

static void load_all(const uint8_t *data, size_t size)
{
	static struct cpu cpu;
	static uint8_t memory[MEMORY_SIZE];
	static struct stream_packer *packer;
	struct stream_reader reader;
	struct stream_section section;
	struct error err;
	if (!packer && !(packer = stream_packer_create(NULL)))
		abort();
	if (stream_read_header(&reader, data, size, &err) < 0)
		return;
	while (stream_read_section(&reader, &section, &err) > 0) {
		if (section.kind == STREAM_OBJECT)
			stream_get_object(&section, "x86-cpu", cpu_fields, &cpu, &err);
		else if (section.kind == STREAM_MEMORY)
			stream_get_memory(packer, &section, memory, sizeof(memory), &err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot snapshot;
	struct machine_config config = { 0 };
	bool has_port[MACHINE_PORTS];
	struct error err;
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, data, size);
	mend_checksums(copy, size);
	load_all(copy, size);
	if (snapshot_parse(&snapshot, copy, size, &err) == 0) {
		snapshot_config(&snapshot, &config, has_port, &err);
		snapshot_close(&snapshot);
	}
	free(copy);
	return 0;
}
