/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_exercise.h"

#include <string.h>

#include "base/util.h"
#include "dev/pci/pci.h"

#define MAX_STEPS 300

void exercise_poke(struct machine *m, uint64_t at, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	memory_write(&m->memory, at, bytes, size);
}

static void put_descriptor(struct machine *m, uint64_t at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
	exercise_poke(m, at, address, 8);
	exercise_poke(m, at + 8, length, 4);
	exercise_poke(m, at + 12, flags, 2);
	exercise_poke(m, at + 14, next, 2);
}

/* Puts a chain of one or two buffers onto a queue: readable bytes of `a`, writable ones of `b`. */
static void chain(const struct exercise *e, struct machine *m, const struct step *s)
{
	unsigned slot = e->slot + s->device % e->devices, queue = s->where % SMALL_QUEUES;
	struct small_ring ring = small_ring(slot, queue);
	uint16_t index = (uint16_t)load_le16(m->memory.host + ring.avail + 2), at = index % SMALL_RING;
	uint64_t buffer = EXERCISE_BUFFERS + (s->where >> 4) % 16 * 0x1000;
	if (s->a)
		put_descriptor(m, ring.desc + 16 * at, buffer, s->a, s->b ? 1 : 0, SMALL_RING - 1);
	else
		put_descriptor(m, ring.desc + 16 * at, buffer + 0x10000, s->b, 2, 0);
	if (s->a && s->b)
		put_descriptor(m, ring.desc + 16 * (SMALL_RING - 1), buffer + 0x8000, s->b, 2, 0);
	exercise_poke(m, ring.avail + 4 + 2 * at, at, 2);
	exercise_poke(m, ring.avail + 2, (uint16_t)(index + 1), 2);
	small_virtio_notify(m, slot, queue);
	small_machine_advance(m, 1000);
}

static void config_write(struct machine *m, unsigned slot, const struct step *s)
{
	unsigned size = 1u << s->b % 3, offset = s->where & 0xff & ~(size - 1);
	/* Where the device is stays: steps would not find it. */
	if (offset >= 0x40)
		small_config_write(m, slot, offset, s->a, size);
	else
		small_config_write(m, slot, PCI_COMMAND, s->a & 7, 2);
}

static void take_step(const struct exercise *e, struct machine *m, const struct step *s)
{
	unsigned slot = e->slot + s->device % (e->devices + e->others), driven = e->slot + s->device % e->devices;
	switch (s->what % STEPS) {
	case REGISTER_WRITE: io_write(&m->mmio, small_bar(m, slot, 0) + s->where, s->a, 1u << (s->b & 3)); break;
	case REGISTER_READ: io_read(&m->mmio, small_bar(m, slot, 0) + s->where, 1u << (s->b & 3)); break;
	case MEMORY_WRITE:
		exercise_poke(m, EXERCISE_MEMORY + ((uint32_t)s->where * 8) % (EXERCISE_MEMORY_SIZE - 8), (uint64_t)s->b << 32 | s->a,
			      s->device & 0x80 ? 8 : 4);
		break;
	case NOTIFY:
		small_virtio_notify(m, driven, s->where % 8);
		small_machine_advance(m, 1000);
		break;
	case ADVANCE: small_machine_advance(m, s->a % 10000000000u); break;
	case CONFIG_WRITE: config_write(m, slot, s); break;
	case START: small_virtio_start(m, driven, s->a); break;
	case HOST:
		if (e->host)
			e->host(s);
		small_machine_advance(m, 1000);
		break;
	case CHAIN: chain(e, m, s); break;
	}
}

void exercise_run(const struct exercise *e, struct machine *m, const uint8_t *data, size_t size)
{
	memset(m->memory.host + EXERCISE_MEMORY, 0, EXERCISE_MEMORY_SIZE);
	for (unsigned i = 0; i < e->devices; i++)
		small_virtio_start(m, e->slot + i, size % 3 ? EXERCISE_FEATURES : size % 2 ? 0xffffffff : 0);
	for (unsigned i = 0; i < e->others; i++)
		small_config_write(m, e->slot + e->devices + i, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	for (unsigned n = 0; n < MAX_STEPS && size >= sizeof(struct step); n++, data += sizeof(struct step), size -= sizeof(struct step)) {
		struct step step;
		memcpy(&step, data, sizeof(step));
		take_step(e, m, &step);
	}
	small_machine_advance(m, 1000000);
}

void exercise_expect_served(struct machine *m, unsigned slot, unsigned queue, const void *data, uint32_t out, uint32_t in)
{
	const struct exercise e = { .slot = slot, .devices = 1 };
	const struct step s = { .what = CHAIN, .where = (uint16_t)queue, .a = out, .b = in };
	memset(m->memory.host + EXERCISE_MEMORY, 0, EXERCISE_MEMORY_SIZE);
	small_virtio_start(m, slot, EXERCISE_FEATURES);
	if (data)
		memory_write(&m->memory, EXERCISE_BUFFERS, data, out);
	chain(&e, m, &s);
	small_machine_advance(m, 1000); /* what a worker does */
	fuzz_require(load_le16(m->memory.host + small_ring(slot, queue).used + 2) == 1);
}

/* --- seeds --- */

static struct step steps[128];
static unsigned step_count;

void exercise_add(unsigned what, unsigned device, uint64_t where, uint32_t a, uint32_t b)
{
	steps[step_count++] = (struct step){ (uint8_t)what, (uint8_t)device, (uint16_t)where, a, b };
}

void exercise_bytes(uint64_t at, const void *data, size_t size)
{
	uint8_t padded[256] = { 0 };
	memcpy(padded, data, size);
	for (size_t i = 0; i < size; i += 8)
		exercise_add(MEMORY_WRITE, 0x80, (at - EXERCISE_MEMORY + i) / 8, load_le32(padded + i), load_le32(padded + i + 4));
}

void exercise_done(fuzz_seed_fn *emit, void *opaque, const char *name)
{
	emit(opaque, name, steps, step_count * sizeof(*steps));
	step_count = 0;
}
