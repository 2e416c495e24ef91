/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/pci.h"
#include "fuzz.h"
#include "small_machine.h"

/*
 * Drivers of the virtio GPU and the sound card that do anything, while somebody looks at the screen. The input is a list of steps of 12
 * bytes: what, where, two numbers; a command is a step with the bytes behind it as its words. Devices are brought up first, so that steps reach their rings.
 */
#define STEP_SIZE 12
#define MAX_STEPS 300
#define MEMORY SMALL_FREE /* rings, and buffers behind them */
#define MEMORY_SIZE 0x180000u
#define REQUEST (MEMORY + 0x100000)
#define ANSWER (MEMORY + 0x110000)
#define DATA (MEMORY + 0x120000)
#define MOST_WORDS 20u

enum { SLOT_GPU = VGA_SLOT, SLOT_SOUND = SMALL_SLOT_SERVICES };
enum { REGISTER_WRITE, REGISTER_READ, MEMORY_WRITE, NOTIFY, ADVANCE, LOOK, START, COMMAND, CONFIG_WRITE, STEPS };

struct step {
	uint8_t what, device;
	uint16_t where;
	uint32_t a, b;
} __attribute__((packed));

static struct machine *m;
static struct surface surface;

static unsigned slot_of(const struct step *s)
{
	return s->device & 1 ? SLOT_SOUND : SLOT_GPU;
}

static void clean_up(void)
{
	small_machine_destroy(m);
	surface_destroy(&surface);
}

static void make_machine(void)
{
	const struct machine_services services = { .gpu = true, .sound = true };
	if (!m)
		atexit(clean_up);
	small_machine_destroy(m);
	m = small_machine_create_as(MACHINE_MICRO, 1, &services);
	fuzz_require(m && m->gpu);
}

static void poke(uint64_t at, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	memory_write(&m->memory, at, bytes, size);
}

static void look(const struct step *s)
{
	struct display_source source;
	struct error err;
	fuzz_require(machine_display(m, &source, &err) == 0);
	if (s->a & 1)
		virtio_gpu_resize(m->gpu, s->where, s->b);
	fuzz_require(source.draw(source.opaque, &surface, &err) == 0);
	fuzz_require(surface.width && surface.width <= SURFACE_MAX && surface.height && surface.height <= SURFACE_MAX);
	free(source.text(source.opaque));
}

/* A chain of what the driver says, some data, and room for the answer; each may be missing. */
static void command(const struct step *s, const uint8_t *words, unsigned count)
{
	unsigned slot = slot_of(s), queue = s->device >> 1 & 3, pieces = 0;
	struct small_ring ring = small_ring(slot, queue);
	uint16_t index = (uint16_t)load_le16(m->memory.host + ring.avail + 2);
	const struct { uint64_t at; uint32_t size; bool write; } all[] = {
		{ REQUEST, s->a & 0xffff, false }, { DATA, s->a >> 16, s->device & 0x80 }, { ANSWER, s->b & 0xffff, true },
	};
	memory_write(&m->memory, REQUEST, words, 4 * count);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (!all[i].size)
			continue;
		uint64_t d = ring.desc + 16 * pieces++;
		poke(d, all[i].at, 8);
		poke(d + 8, all[i].size, 4);
		poke(d + 12, 1 | (all[i].write ? 2 : 0), 2);
		poke(d + 14, pieces, 2);
	}
	if (!pieces)
		return;
	poke(ring.desc + 16 * (pieces - 1) + 12, load_le16(m->memory.host + ring.desc + 16 * (pieces - 1) + 12) & ~1u, 2);
	poke(ring.avail + 4 + 2 * (index % SMALL_RING), 0, 2);
	poke(ring.avail + 2, (uint16_t)(index + 1), 2);
	small_virtio_notify(m, slot, queue);
	small_machine_advance(m, 1000);
}

static void take_step(const struct step *s, const uint8_t *words, unsigned count)
{
	unsigned slot = slot_of(s);
	switch (s->what % STEPS) {
	case REGISTER_WRITE:
		io_write(&m->mmio, small_bar(m, slot, 0) + s->where, s->a, 1u << (s->b & 3));
		break;
	case REGISTER_READ:
		io_read(&m->mmio, small_bar(m, slot, 0) + s->where, 1u << (s->b & 3));
		break;
	case MEMORY_WRITE:
		poke(MEMORY + ((uint32_t)s->where * 8) % (MEMORY_SIZE - 8), (uint64_t)s->b << 32 | s->a, s->device & 0x80 ? 8 : 4);
		break;
	case NOTIFY:
		small_virtio_notify(m, slot, s->where % 8);
		small_machine_advance(m, 1000);
		break;
	case ADVANCE:
		small_machine_advance(m, s->a % 2000000000u);
		break;
	case LOOK:
		look(s);
		break;
	case START:
		small_virtio_start(m, slot, SMALL_INDIRECT);
		break;
	case CONFIG_WRITE:
		small_config_write(m, slot, PCI_COMMAND, s->a & 7, 2);
		break;
	case COMMAND:
		command(s, words, count);
		break;
	}
}

/* After all that drivers that begin anew are served. */
static void check_alive(void)
{
	static const uint32_t info[6] = { 0x100 }, params[6] = { 0x101, 0, 1000, 500, 0, 1 | 5 << 8 | 1 << 16 };
	memset(m->memory.host + MEMORY, 0, MEMORY_SIZE);
	fuzz_require(small_virtio_start(m, SLOT_GPU, SMALL_INDIRECT) && small_virtio_start(m, SLOT_SOUND, SMALL_INDIRECT));
	command(&(struct step){ COMMAND, 0, 0, 24, 408 }, (const uint8_t *)info, 6);
	fuzz_require(load_le32(m->memory.host + ANSWER) == 0x1101);
	command(&(struct step){ COMMAND, 1, 0, 24, 4 }, (const uint8_t *)params, 6);
	fuzz_require(load_le32(m->memory.host + ANSWER) == 0x8000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!m || m->ended)
		make_machine();
	memset(m->memory.host + MEMORY, 0, MEMORY_SIZE);
	small_virtio_start(m, SLOT_GPU, SMALL_INDIRECT);
	small_virtio_start(m, SLOT_SOUND, SMALL_INDIRECT);
	for (unsigned n = 0; n < MAX_STEPS && size >= STEP_SIZE; n++) {
		struct step step;
		memcpy(&step, data, sizeof(step));
		data += STEP_SIZE;
		size -= STEP_SIZE;
		unsigned count = step.what % STEPS == COMMAND ? (unsigned)MIN(size / 4, (size_t)(step.b >> 16) % (MOST_WORDS + 1)) : 0;
		take_step(&step, data, count);
		data += 4 * count;
		size -= 4 * count;
	}
	small_machine_advance(m, 1000000);
	if (!m->ended)
		check_alive();
	return 0;
}

/* --- seeds --- */

static uint8_t seed[8192];
static size_t seed_size;

static void add(unsigned what, unsigned device, unsigned where, uint32_t a, uint32_t b)
{
	const struct step step = { (uint8_t)what, (uint8_t)device, (uint16_t)where, a, b };
	memcpy(seed + seed_size, &step, sizeof(step));
	seed_size += sizeof(step);
}

/* device: which, its queue; data: bytes between request and answer, which the device may write with `device` & 0x80. */
static void say(unsigned device, unsigned data, const uint32_t *words, unsigned count)
{
	add(COMMAND, device, 0, 4 * count | data << 16, count << 16 | 1100);
	memcpy(seed + seed_size, words, 4 * count);
	seed_size += 4 * count;
}

#define SAY(device, data, ...) \
	say(device, data, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)
#define GPU(type, ...) SAY(0, 0, type, 0, 0, 0, 0, 0, __VA_ARGS__)
#define POINTER(type, ...) SAY(2, 0, type, 0, 0, 0, 0, 0, __VA_ARGS__)

static void done(fuzz_seed_fn *emit, void *opaque, const char *name)
{
	emit(opaque, name, seed, seed_size);
	seed_size = 0;
}

static void gpu_seeds(fuzz_seed_fn *emit, void *opaque)
{
	GPU(0x100);
	GPU(0x10a, 0, 0);
	GPU(0x101, 1, 2, 64, 64);
	GPU(0x106, 1, 2, DATA, 0, 10000, 0, DATA + 10000, 0, 10000, 0);
	GPU(0x105, 0, 0, 64, 64, 0, 0, 1, 0);
	GPU(0x103, 0, 0, 64, 64, 0, 1);
	GPU(0x104, 0, 0, 64, 64, 1, 0);
	add(LOOK, 0, 0, 0, 0);
	POINTER(0x300, 0, 10, 10, 0, 1, 0, 0, 0);
	POINTER(0x301, 0, -10, 60, 0, 1, 0, 0, 0);
	add(LOOK, 0, 640, 1, 480);
	GPU(0x105, 10, 10, 20, 20, 2600, 0, 1, 0);
	GPU(0x107, 1, 0);
	GPU(0x102, 1, 0);
	add(LOOK, 0, 0, 0, 0);
	done(emit, opaque, "gpu");
	for (unsigned i = 1; i < 8; i++) {
		GPU(0x101, i, 67, 2048, 1024);
		GPU(0x106, i, 1, DATA, 0, 0x2000, 0);
		GPU(0x103, 0, 0, 2048, 16, 0, i);
	}
	GPU(0x102, 3, 0);
	GPU(0x101, 9, 1, 1500, 1500);
	add(LOOK, 0, 0, 0, 0);
	add(START, 0, 0, 0, 0);
	done(emit, opaque, "gpu-many");
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	gpu_seeds(emit, opaque);
	SAY(1, 0, 0x100, 0, 2, 32);
	SAY(1, 0, 0x200, 0, 2, 24);
	SAY(1, 0, 0x101, 0, 4000, 2000, 0, 2 | 5 << 8 | 7 << 16);
	SAY(1, 0, 0x102, 0);
	SAY(5, 2000, 0);
	SAY(5, 2000, 0);
	SAY(1, 0, 0x104, 0);
	add(ADVANCE, 1, 0, 30000000, 0);
	SAY(5, 1999, 0);
	add(ADVANCE, 1, 0, 600000000, 0);
	SAY(1, 0, 0x105, 0);
	SAY(5, 16, 0);
	SAY(1, 0, 0x103, 0);
	done(emit, opaque, "play");
	SAY(1, 0, 0x101, 1, 4000, 2000, 0, 1 | 4 << 8 | 1 << 16);
	SAY(1, 0, 0x102, 1);
	SAY(1, 0, 0x104, 1);
	SAY(0x87, 1000, 1);
	SAY(0x87, 3000, 1);
	add(ADVANCE, 1, 0, 200000000, 0);
	add(CONFIG_WRITE, 1, 0, 2, 0);
	add(ADVANCE, 1, 0, 700000000, 0);
	add(CONFIG_WRITE, 1, 0, 7, 0);
	add(ADVANCE, 1, 0, 900000000, 0);
	add(START, 1, 0, 0, 0);
	done(emit, opaque, "record");
}
