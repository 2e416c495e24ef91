/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Sound Blaster 16 with its DMA controllers: any accesses to their ports, time that passes, another card that takes over, or one with
 * a damaged state. The card's state stays possible, and after a reset it is found and its timers run. An input is a row of steps of four bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "audio/audio.h"
#include "base/util.h"
#include "dev/sb16/sb16_parts.h"
#include "fields_copy.h"
#include "fuzz.h"
#include "mem/memory.h"

#define BASE 0x220u
#define MEMORY (2u << 20)
#define MAX_STEPS 2000u

enum { PORT_WRITE, PORT_READ, FM_WRITE, DMA_WRITE, ADVANCE, COMMAND, MIXER_WRITE, MOVE, STEPS };

struct step {
	uint8_t what, where, value, more;
};

static struct lock lock;
static struct io_space ports;
static struct vclock stepped;
static struct guest_memory memory;
static struct audio *audio;
static struct i8237 *dma;
static struct sb16 *sb;
static uint64_t now;

static uint64_t tell_now(void *opaque) { return now; }
static void set_line(void *opaque, unsigned pin, int level) { }

static struct sb16 *make_card(void)
{
	struct error err;
	const struct irq_line line = { set_line, NULL, 0 };
	const struct sb16_config config = {
		.lock = &lock, .ports = &ports, .dma = dma, .clock = &stepped, .audio = audio, .irq = { line, line, line, line },
	};
	struct sb16 *made = sb16_create(&config, &err);
	fuzz_require(made);
	device_reset((struct device *)made);
	return made;
}

static void make(void)
{
	struct error err;
	const struct vclock_source source = { .now = tell_now };
	lock_init(&lock);
	fuzz_require(io_space_init(&ports, 0x10000, &err) == 0 && memory_init(&memory, MEMORY, &err) == 0);
	vclock_init(&stepped, &source);
	vclock_start(&stepped);
	audio = audio_open("wav:/dev/null", &err);
	fuzz_require(audio);
	const struct i8237_config config = { &lock, &ports, { &memory } };
	dma = i8237_create(&config, &err);
	fuzz_require(dma);
	sb = make_card();
}

static void advance(uint64_t ns)
{
	for (uint64_t end = now + ns;;) {
		uint64_t next = vclock_run(&stepped);
		if (next > end - now) {
			now = end;
			return;
		}
		now += MAX(next, 1);
	}
}

/* Another card goes on. One byte of the state may be another, but for the truth values, which the reader of save files refuses. */
static void move(const struct step *s)
{
	static struct sb16 kept;
	const struct device_type *type = sb->device.type;
	type->saving(sb);
	fields_copy(type->fields, &kept, sb);
	type->destroy(sb);
	sb = make_card();
	fields_copy(type->fields, sb, &kept);
	struct opl3_operator *op = &sb->opl3.operator[s->where % OPL3_OPERATORS];
	switch (s->more % 8) {
	case 1: op->level = (uint16_t)(s->value << 2); break;
	case 2: op->stage = s->value; break;
	case 3: op->phase = (uint32_t)s->value << (s->where & 15); break;
	case 4: op->out[0] = (int16_t)(s->value << (s->where & 8)); break;
	case 5: sb->opl3.clock ^= 1ull << (s->value & 63); break;
	case 6: sb->opl_started[s->where & 1] ^= 1ull << (s->value & 63); break;
	case 7: sb->opl3.noise ^= 1u << (s->value & 31); break;
	}
	struct error err;
	if (type->loaded(sb, &err) < 0)
		device_reset(&sb->device);
}

static void port(unsigned at, uint8_t value)
{
	io_write(&ports, at, value, 1);
}

static void take_step(const struct step *s)
{
	static const uint16_t bases[4] = { BASE, BASE, 0x388, 0x330 };
	switch (s->what % STEPS) {
	case PORT_WRITE: port(bases[s->more & 3] + (s->where & 15), s->value); break;
	case PORT_READ: io_read(&ports, bases[s->more & 3] + (s->where & 15), 1); break;
	case FM_WRITE:
		port(BASE + (s->more & 1) * 2, s->where);
		port(BASE + (s->more & 1) * 2 + 1, s->value);
		break;
	case DMA_WRITE: port((s->more & 1 ? 0xc0 : 0) + (s->where & 31), s->value); break;
	case ADVANCE: advance((uint64_t)(s->value + 1) << (s->where % 22)); break;
	case COMMAND:
		port(BASE + 12, s->where);
		port(BASE + 12, s->value);
		port(BASE + 12, s->more);
		break;
	case MIXER_WRITE:
		port(BASE + 4, s->where);
		port(BASE + 5, s->value);
		break;
	case MOVE: move(s); break;
	}
}

static void check_alive(void)
{
	device_reset(&sb->device);
	fuzz_require(!opl3_audible(&sb->opl3));
	port(BASE + 6, 1);
	port(BASE + 6, 0);
	fuzz_require(io_read(&ports, BASE + 10, 1) == 0xaa);
	take_step(&(struct step){ FM_WRITE, 2, 0xff, 0 });
	take_step(&(struct step){ FM_WRITE, 4, 0x21, 0 });
	advance(100000);
	fuzz_require(io_read(&ports, 0x388, 1) == 0xc0);
	take_step(&(struct step){ FM_WRITE, 0x63, 0xf0, 0 });
	take_step(&(struct step){ FM_WRITE, 0xb0, 0x31, 0 });
	fuzz_require(opl3_audible(&sb->opl3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!sb)
		make();
	device_reset((struct device *)dma);
	device_reset(&sb->device);
	for (unsigned n = 0; n < MAX_STEPS && size >= sizeof(struct step); n++) {
		struct step s;
		memcpy(&s, data, sizeof(s));
		take_step(&s);
		data += sizeof(s);
		size -= sizeof(s);
	}
	fuzz_require(opl3_loaded(&sb->opl3));
	advance(20000000);
	check_alive();
	return 0;
}

/* --- seeds --- */

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const struct step tone[] = {
		{ FM_WRITE, 0x23, 0x21, 0 }, { FM_WRITE, 0x63, 0xf4, 0 }, { FM_WRITE, 0x83, 0x24, 0 }, { FM_WRITE, 0xa0, 0x44, 0 },
		{ FM_WRITE, 0xb0, 0x32, 0 }, { ADVANCE, 18, 100, 0 }, { MIXER_WRITE, 0x34, 0xf8, 0 }, { MOVE, 0, 0, 0 },
		{ ADVANCE, 18, 100, 0 }, { FM_WRITE, 0xb0, 0x12, 0 }, { ADVANCE, 20, 200, 0 },
	};
	static const struct step four[] = {
		{ FM_WRITE, 5, 1, 1 }, { FM_WRITE, 4, 0x3f, 1 }, { FM_WRITE, 0xc0, 0x3f, 1 }, { FM_WRITE, 0xc3, 0x31, 1 }, { FM_WRITE, 0x2b, 0xe1, 1 },
		{ FM_WRITE, 0x6b, 0x84, 1 }, { FM_WRITE, 0xe8, 7, 1 }, { FM_WRITE, 0xb0, 0x3f, 1 }, { ADVANCE, 21, 100, 0 }, { MOVE, 22, 3, 2 },
	};
	static const struct step drums[] = {
		{ FM_WRITE, 0x71, 0xf4, 0 }, { FM_WRITE, 0x74, 0xf4, 0 }, { FM_WRITE, 0x75, 0xf4, 0 }, { FM_WRITE, 0xbd, 0xff, 0 },
		{ ADVANCE, 20, 30, 0 }, { FM_WRITE, 0xbd, 0x20, 0 }, { ADVANCE, 20, 30, 0 }, { MOVE, 0, 0, 7 },
	};
	static const struct step samples[] = {
		{ DMA_WRITE, 0x0a, 1, 0 }, { DMA_WRITE, 0x0b, 0x59, 0 }, { DMA_WRITE, 3, 0xff, 0 }, { DMA_WRITE, 3, 1, 0 }, { COMMAND, 0x41, 0x56, 0x22 },
		{ COMMAND, 0xc6, 0x00, 0xff }, { PORT_WRITE, 12, 0, 0 }, { ADVANCE, 20, 20, 0 }, { FM_WRITE, 0x63, 0xf4, 0 }, { FM_WRITE, 0xb0, 0x32, 0 },
		{ ADVANCE, 20, 20, 0 }, { PORT_READ, 14, 0, 0 }, { COMMAND, 0x10, 0x33, 0x10 }, { PORT_WRITE, 12, 0x55, 0 },
	};
	emit(opaque, "tone", tone, sizeof(tone));
	emit(opaque, "four", four, sizeof(four));
	emit(opaque, "drums", drums, sizeof(drums));
	emit(opaque, "samples", samples, sizeof(samples));
}
