/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/util.h"
#include "exercise.h"
#include "host/file.h"
#include "small_machine.h"
#include "state/stream.h"
#include "vm/snapshot.h"

/* In memory, where there is such a place. */
static char path[64];

static void remove_file(void)
{
	unlink(path);
}

static void make_path(void)
{
	static const char *const folders[] = { "/dev/shm", "/tmp" };
	int fd = *path ? -2 : -1;
	for (unsigned i = 0; i < 2 && fd == -1; i++) {
		snprintf(path, sizeof(path), "%s/visor-fuzz-save-XXXXXX", folders[i]);
		fd = mkstemp(path);
	}
	if (fd == -2)
		return;
	fuzz_require(fd >= 0);
	close(fd);
	atexit(remove_file);
}

static struct machine *make_machine(void)
{
	return small_machine_create_with(2, &(struct machine_services){ .gpu = true, .sound = true });
}

uint8_t *save_file(bool busy, size_t *size)
{
	struct error err;
	make_path();
	struct machine *m = make_machine();
	fuzz_require(m);
	if (busy) {
		small_machine_busy(m);
		small_machine_step(m, 40);
		small_machine_advance(m, 1234567);
	}
	/* What is not for the targets would only make the file long. */
	memset(m->memory.host + SMALL_FREE + 0x4000, 0, 0x1000);
	fuzz_require(snapshot_save(m, path, &err) == 0);
	small_machine_destroy(m);
	uint8_t *data = file_read(path, 1 << 24, size, &err);
	fuzz_require(data);
	return data;
}

/* The layout is that of state/stream.c: header of 16 bytes; sections of kind, CRC, size, length of name, name, payload. */
void save_file_mend(uint8_t *data, size_t size)
{
	uint64_t sections = 0;
	for (size_t at = 16; at <= size && size - at >= 18;) {
		uint8_t *h = data + at;
		uint64_t payload = load_le64(h + 8);
		size_t name = load_le16(h + 16), left = size - at - 18;
		if (left < name || left - name < payload)
			return;
		if (load_le32(h) == STREAM_END && payload == 8)
			store_le64(h + 18 + name, sections);
		uLong crc = crc32_z(0, h, 4);
		crc = crc32_z(crc, h + 8, 10 + name + payload);
		store_le32(h + 4, (uint32_t)crc);
		sections++;
		at += 18 + name + payload;
	}
}

static uint64_t digest(const uint8_t *data, size_t size)
{
	return crc32_z(1, data, size) * 0x9e3779b97f4a7c15ull | 1;
}

static void touch(struct machine *m, uint64_t random)
{
	for (unsigned i = 0; i < 100 && !m->ended; i++) {
		static const uint16_t ports[] = { 0x20, 0x40, 0x60, 0x70, 0x2f8, 0x3f8, 0x510, 0x600, 0xcf8 };
		static const uint64_t places[] = { 0xfec00000, 0xfed00000, 0xfed00100, 0xe0000000, 0xe0001000, 0xe0004000 };
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		unsigned n = (unsigned)(random >> 33);
		struct intc *apic = &m->cpus[n & 1]->intc;
		switch (n >> 1 & 3) {
		case 0: io_read(&m->ports, ports[(n >> 3) % ARRAY_SIZE(ports)] + (n >> 8 & 7), 1); break;
		case 1: io_read(&m->mmio, places[(n >> 3) % ARRAY_SIZE(places)] + (n >> 8 & 0x1ff), 4); break;
		case 2: apic->ops->mmio_read(apic->opaque, n >> 4 & 0xff0, 4); break;
		default: io_write(&m->ports, ports[(n >> 3) % ARRAY_SIZE(ports)] + (n >> 8 & 3), n >> 16, 1);
		}
		if (apic->ops->pending(apic->opaque))
			apic->ops->acknowledge(apic->opaque);
	}
}

static void run_on(struct machine *m, uint64_t random)
{
	struct error err;
	struct snapshot again;
	for (unsigned i = 0; i < SMALL_VIRTIO_SLOTS; i++)
		small_virtio_notify(m, FIRST_VIRTIO_SLOT + i, random & 1);
	small_machine_advance(m, 1000);
	small_machine_step(m, 30);
	touch(m, random);
	machine_console_input(m, MACHINE_SERIAL0, (const uint8_t *)"input", 5);
	machine_console_input(m, MACHINE_HVC0, (const uint8_t *)"input", 5);
	small_machine_advance(m, 20000000);
	static struct surface surface;
	struct display_source source;
	fuzz_require(machine_display(m, &source, &err) == 0);
	source.draw(source.opaque, &surface, &err);
	free(source.text(source.opaque));
	/* What was taken can be saved, and what is saved is in order. */
	if (random >> 60 == 0) {
		fuzz_require(snapshot_save(m, path, &err) == 0);
		fuzz_require(snapshot_open(&again, path, &err) == 0);
		snapshot_close(&again);
	}
	machine_request_reset(m);
	small_machine_advance(m, 1000);
}

void save_file_exercise(const uint8_t *data, size_t size)
{
	struct snapshot snapshot = { 0 };
	struct machine_config config = { 0 };
	bool has_port[MACHINE_PORTS];
	struct error err = { 0 };
	static struct machine *m;
	make_path();
	if (snapshot_parse(&snapshot, data, size, &err) == 0) {
		if (snapshot_config(&snapshot, &config, has_port, &err) < 0)
			fuzz_require(err.text[0]);
		if (!m)
			m = make_machine();
		fuzz_require(m);
		uint64_t resets = m->cpus[0]->stats.tlb_flushes;
		bool loaded = snapshot_load(&snapshot, m, &err) == 0;
		if (loaded)
			run_on(m, digest(data, size));
		/* One that was not touched can be used again. */
		if (loaded || m->cpus[0]->stats.tlb_flushes != resets || memory_next_used(&m->memory, 0) != 0) {
			small_machine_destroy(m);
			m = NULL;
		}
	}
	snapshot_close(&snapshot);
}
