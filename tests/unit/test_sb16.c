/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sound card by its ports and the DMA controllers, heard in a WAV file. */
#include "dev_board.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "audio/audio.h"
#include "dev/sb16/sb16.h"
#include "mem/memory.h"

#define BASE 0x220
#define BUFFER 0x10000u
#define SIZE 0x1000u

static struct board b;
static struct guest_memory memory;
static struct i8237 *dma;
static struct sb16 *sb;
static struct audio *audio;
static char path[64];
static uint8_t wav[1 << 20];
static size_t wav_size;

static struct sb16 *make(void)
{
	struct error err = { 0 };
	const struct sb16_config config = {
		.lock = &b.lock, .ports = &b.ports, .dma = dma, .clock = &b.clock, .audio = audio,
		.irq = { board_line(&b, 9), board_line(&b, 5), board_line(&b, 7), board_line(&b, 10) },
	};
	struct sb16 *made = sb16_create(&config, &err);
	assert_non_null(made);
	device_reset((struct device *)made);
	return made;
}

static uint8_t *guest(void) { return memory_range(&memory, BUFFER, 0x10000, true); }

static void mixer(uint8_t index, uint8_t value)
{
	outb(&b, BASE + 4, index);
	outb(&b, BASE + 5, value);
}

static uint8_t mixer_get(uint8_t index)
{
	outb(&b, BASE + 4, index);
	return inb(&b, BASE + 5);
}

static void dsp(uint8_t value)
{
	assert_int_equal(inb(&b, BASE + 12) & 0x80, 0);
	outb(&b, BASE + 12, value);
}

static uint8_t dsp_get(void)
{
	assert_int_equal(inb(&b, BASE + 14) & 0x80, 0x80);
	return inb(&b, BASE + 10);
}

static void loud(void)
{
	for (uint8_t i = 0x30; i < 0x34; i++)
		mixer(i, 0xf8);
}

static int setup(void **state)
{
	struct error err = { 0 };
	char spec[80];
	board_init(&b);
	assert_int_equal(memory_init(&memory, 2 << 20, &err), 0);
	const struct i8237_config config = { &b.lock, &b.ports, { &memory } };
	dma = i8237_create(&config, &err);
	assert_non_null(dma);
	device_reset((struct device *)dma);
	outb(&b, 0xd6, 0xc0);
	outb(&b, 0xd4, 0);
	strcpy(path, "/tmp/visor-sound-XXXXXX");
	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "wav:%s", path);
	audio = audio_open(spec, &err);
	assert_non_null(audio);
	sb = make();
	loud();
	for (unsigned i = 0; i < 0x10000; i++)
		guest()[i] = (uint8_t)(i * 7 + (i >> 8) * 3);
	return 0;
}

static int teardown(void **state)
{
	board_end(sb);
	board_end(dma);
	audio_close(audio, NULL);
	memory_destroy(&memory);
	board_destroy(&b);
	unlink(path);
	return 0;
}

/* What was heard, without the header, which is checked. */
static const int16_t *heard(unsigned rate, size_t *frames)
{
	struct error err = { 0 };
	assert_int_equal(audio_close(audio, &err), 0);
	audio = NULL;
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	wav_size = fread(wav, 1, sizeof(wav), f);
	fclose(f);
	assert_true(wav_size >= 44);
	assert_memory_equal(wav, "RIFF", 4);
	assert_memory_equal(wav + 8, "WAVEfmt \x10\0\0\0\1\0\2\0", 16);
	assert_int_equal(load_le32(wav + 4), wav_size - 8);
	assert_int_equal(load_le32(wav + 24), rate);
	assert_int_equal(load_le32(wav + 40), wav_size - 44);
	*frames = (wav_size - 44) / 4;
	return (const int16_t *)(wav + 44);
}

/* Channel 1 (bytes) or 5 (words) from BUFFER. */
static void set_dma(bool wide, unsigned size, uint8_t mode)
{
	unsigned base = wide ? 0xc4 : 0x02, step = wide ? 2 : 1, count = wide ? size / 2 : size;
	unsigned control = wide ? 0xc0 : 0x00, address = wide ? (BUFFER >> 1) & 0xffff : BUFFER & 0xffff;
	outb(&b, (uint16_t)(control + 10 * step), 5);
	outb(&b, (uint16_t)(control + 12 * step), 0);
	outb(&b, (uint16_t)(control + 11 * step), mode | 1);
	outb(&b, (uint16_t)base, (uint8_t)address);
	outb(&b, (uint16_t)base, (uint8_t)(address >> 8));
	outb(&b, wide ? 0x8b : 0x83, BUFFER >> 16);
	outb(&b, (uint16_t)(base + step), (uint8_t)(count - 1));
	outb(&b, (uint16_t)(base + step), (uint8_t)((count - 1) >> 8));
	outb(&b, (uint16_t)(control + 10 * step), 1);
}

#define SINGLE_OUT 0x48
#define AUTO_OUT 0x58
#define SINGLE_IN 0x44

static void rate(unsigned hz)
{
	dsp(0x41);
	dsp((uint8_t)(hz >> 8));
	dsp((uint8_t)hz);
}

static void start(uint8_t command, uint8_t mode, unsigned samples)
{
	dsp(command);
	dsp(mode);
	dsp((uint8_t)(samples - 1));
	dsp((uint8_t)((samples - 1) >> 8));
}

/* --- tests --- */

static void detection(void **state)
{
	outb(&b, BASE + 6, 1);
	outb(&b, BASE + 6, 0);
	assert_int_equal(dsp_get(), 0xaa);
	assert_int_equal(inb(&b, BASE + 14) & 0x80, 0);
	dsp(0xe1);
	assert_int_equal(dsp_get(), 4);
	assert_int_equal(dsp_get(), 5);
	dsp(0xe0);
	dsp(0x5a);
	assert_int_equal(dsp_get(), 0xa5);
	dsp(0xe4);
	dsp(0x33);
	dsp(0xe8);
	assert_int_equal(dsp_get(), 0x33);
	dsp(0xe3);
	assert_int_equal(dsp_get(), 'C');
	assert_int_equal(mixer_get(0x80), 0x02);
	assert_int_equal(mixer_get(0x81), 0x22);
	/* Interrupts on demand, on the line that the mixer says. */
	dsp(0xf2);
	assert_int_equal(b.level[5], 1);
	assert_int_equal(mixer_get(0x82) & 7, 1);
	mixer(0x80, 0x08);
	assert_int_equal(b.level[5], 0);
	assert_int_equal(b.level[10], 1);
	inb(&b, BASE + 14);
	assert_int_equal(b.level[10], 0);
	dsp(0xf3);
	assert_int_equal(mixer_get(0x82) & 7, 2);
	inb(&b, BASE + 15);
	assert_int_equal(b.level[10], 0);
	/* Registers of the Pro show the same volumes. */
	mixer(0x22, 0x5a);
	assert_int_equal(mixer_get(0x30), 0x58);
	assert_int_equal(mixer_get(0x31), 0xa8);
	mixer(0, 0);
	assert_int_equal(mixer_get(0x30), 0xc0);
	assert_int_equal(mixer_get(0x80), 0x08);
}

static void single_cycle(void **state)
{
	size_t frames;
	rate(8000);
	set_dma(false, SIZE, SINGLE_OUT);
	start(0xc0, 0x00, SIZE);
	/* Half of the time: about half of it has gone. */
	board_step(&b, SIZE / 2 * NS_PER_SEC / 8000);
	outb(&b, 0x0c, 0);
	unsigned left = inb(&b, 0x03);
	left |= (unsigned)inb(&b, 0x03) << 8;
	assert_true(left >= SIZE / 2 - 1 && left < SIZE / 2 + 40);
	assert_int_equal(b.level[5], 0);
	board_step(&b, SIZE / 2 * NS_PER_SEC / 8000);
	assert_int_equal(b.level[5], 1);
	assert_int_equal(b.rises[5], 1);
	inb(&b, BASE + 14);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.rises[5], 1);
	const int16_t *h = heard(8000, &frames);
	assert_int_equal(frames, SIZE);
	for (unsigned i = 0; i < SIZE; i++) {
		assert_int_equal(h[2 * i], (guest()[i] - 128) * 256);
		assert_int_equal(h[2 * i + 1], h[2 * i]);
	}
}

static void automatic(void **state)
{
	size_t frames;
	rate(44100);
	set_dma(true, SIZE, AUTO_OUT);
	start(0xb6, 0x30, SIZE / 4); /* signed, stereo; two blocks in the buffer */
	dsp(0xd5);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.rises[5], 0);
	dsp(0xd6);
	/* A block has SIZE / 8 frames. */
	for (unsigned i = 0; i < 5; i++) {
		board_step(&b, SIZE / 8 * NS_PER_SEC / 44100 + 1000);
		assert_int_equal(b.rises[5], i + 1);
		assert_int_equal(mixer_get(0x82) & 7, 2);
		inb(&b, BASE + 15);
	}
	/* Another card takes over in the middle of a block. */
	board_step(&b, SIZE / 16 * NS_PER_SEC / 44100);
	uint64_t half = b.now;
	struct sb16 *old = sb;
	struct device *device = (struct device *)old;
	void *copy = malloc(1 << 16);
	memset(copy, 0, 1 << 16);
	fields_copy(device->type->fields, copy, old);
	device->type->destroy(old);
	sb = make();
	fields_copy(((struct device *)sb)->type->fields, sb, copy);
	free(copy);
	assert_int_equal(((struct device *)sb)->type->loaded(sb, NULL), 0);
	assert_int_equal(b.now, half);
	dsp(0xd9);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(b.rises[5], 6);
	const int16_t *h = heard(44100, &frames);
	assert_int_equal(frames, 6 * SIZE / 8);
	for (unsigned i = 0; i < 2 * frames; i++)
		assert_int_equal(h[i], (int16_t)load_le16(guest() + 2 * i % SIZE));
}

/* The commands of older cards: a time constant, the block size apart, high speed. */
static void old_commands(void **state)
{
	size_t frames;
	dsp(0x40);
	dsp(256 - 100); /* 10 kHz */
	set_dma(false, 1000, SINGLE_OUT);
	dsp(0x14);
	dsp(999 & 0xff);
	dsp(999 >> 8);
	board_step(&b, NS_PER_SEC / 10 + 1000);
	assert_int_equal(b.rises[5], 1);
	inb(&b, BASE + 14);
	dsp(0x48);
	dsp(99);
	dsp(0);
	set_dma(false, 500, AUTO_OUT);
	dsp(0x90);
	board_step(&b, NS_PER_SEC / 20 + 1000);
	assert_true(b.rises[5] >= 2);
	dsp(0xda);
	inb(&b, BASE + 14);
	board_step(&b, NS_PER_SEC);
	/* Silence of 200 samples, then a recording of it. */
	dsp(0x80);
	dsp(199);
	dsp(0);
	inb(&b, BASE + 14);
	board_step(&b, NS_PER_SEC / 50 + 1000);
	assert_int_equal(b.level[5], 1);
	set_dma(false, 100, SINGLE_IN);
	dsp(0x24);
	dsp(99);
	dsp(0);
	board_step(&b, NS_PER_SEC / 100 + 1000);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(guest()[i], 0x80);
	assert_int_not_equal(guest()[100], 0x80);
	const int16_t *h = heard(10000, &frames);
	assert_int_equal(frames, 1000 + 600 + 200);
	assert_int_equal(h[2 * 999], ((uint8_t)(999 * 7 + 3 * 3) - 128) * 256);
	assert_int_equal(h[2 * 1700], 0);
}

/* A stereo block of an odd number of samples ends as well. */
static void odd_block(void **state)
{
	rate(8000);
	set_dma(false, SIZE, AUTO_OUT);
	start(0xc6, 0x20, 3);
	board_step(&b, NS_PER_SEC / 100);
	assert_int_equal(b.level[5], 1);
	inb(&b, BASE + 14);
	board_step(&b, NS_PER_SEC / 100);
	assert_int_equal(b.level[5], 1);
}

static void volumes(void **state)
{
	size_t frames;
	rate(8000);
	memset(guest(), 0xff, 64);
	memset(guest() + 64, 0x00, 64);
	mixer(0x30, 0xf0); /* 2 dB less on the left */
	mixer(0x33, 0x00); /* nothing on the right */
	set_dma(false, 64, SINGLE_OUT);
	start(0xc0, 0x00, 64);
	board_step(&b, NS_PER_SEC / 10);
	mixer(0x41, 0x80); /* 12 dB more: clipped */
	set_dma(false, 128, SINGLE_OUT);
	start(0xc0, 0x00, 128);
	board_step(&b, NS_PER_SEC / 10);
	const int16_t *h = heard(8000, &frames);
	assert_int_equal(frames, 192);
	int expected = (int)(127 * 256 * pow(10, -0.1));
	assert_true(abs(h[0] - expected) <= 2);
	assert_int_equal(h[1], 0);
	assert_int_equal(h[2 * 64], 32767);
	assert_int_equal(h[2 * 191], -32768);
}

/* Another rate than the file's is converted. */
static void conversion(void **state)
{
	size_t frames;
	int16_t ramp[2 * 100];
	struct audio_voice voice;
	audio_voice_init(&voice, audio, false);
	audio_play(&voice, 40000, 0, (const int16_t[2]){ 5, 5 }, 1);
	for (int i = 0; i < 100; i++)
		ramp[2 * i] = ramp[2 * i + 1] = (int16_t)(100 * i);
	audio_play(&voice, 10000, 0, ramp, 100);
	const int16_t *h = heard(40000, &frames);
	assert_true(frames >= 1 + 396 && frames <= 1 + 404);
	for (unsigned i = 10; i < 390; i++)
		assert_int_equal(h[2 * i + 2] - h[2 * i], 25);
}

static void midi_and_opl(void **state)
{
	assert_int_equal(inb(&b, 0x331) & 0xc0, 0x80);
	outb(&b, 0x331, 0xff);
	assert_int_equal(inb(&b, 0x331) & 0xc0, 0);
	assert_int_equal(mixer_get(0x82) & 4, 4);
	assert_int_equal(inb(&b, 0x330), 0xfe);
	assert_int_equal(mixer_get(0x82) & 4, 0);
	outb(&b, 0x331, 0x3f);
	assert_int_equal(inb(&b, 0x330), 0xfe);
	outb(&b, 0x331, 0x3f); /* no command any more */
	assert_int_equal(inb(&b, 0x331) & 0x80, 0x80);
	/* The timers tell that an OPL is there, its low bits which one. */
	const uint8_t quiet[][2] = { { 4, 0x60 }, { 4, 0x80 } };
	for (unsigned i = 0; i < 2; i++) {
		outb(&b, 0x388, quiet[i][0]);
		outb(&b, 0x389, quiet[i][1]);
	}
	assert_int_equal(inb(&b, 0x388), 0);
	outb(&b, 0x388, 2);
	outb(&b, 0x389, 0xff);
	outb(&b, 0x388, 4);
	outb(&b, 0x389, 0x21);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 79 * US);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 2 * US);
	assert_int_equal(inb(&b, 0x388), 0xc0);
	assert_int_equal(inb(&b, BASE + 8), 0xc0);
	outb(&b, 0x389, 0x80);
	assert_int_equal(inb(&b, 0x388), 0);
}

static void fm(unsigned reg, uint8_t value)
{
	outb(&b, (uint16_t)(BASE + (reg >> 8) * 2), (uint8_t)reg);
	outb(&b, (uint16_t)(BASE + (reg >> 8) * 2 + 1), value);
}

static void opl_timers(void **state)
{
	/* The second timer's step is four times as long; a masked one has no flag, whatever it has counted. */
	fm(2, 0xf6);
	fm(3, 0xf6);
	fm(4, 0x43);
	board_step(&b, 3199 * US);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 2 * US);
	assert_int_equal(inb(&b, 0x388), 0xa0);
	/* It goes on by itself: what is masked later falls, and what is unmasked comes with its next overflow. */
	fm(4, 0x80);
	board_step(&b, 3200 * US);
	assert_int_equal(inb(&b, 0x388), 0xa0);
	fm(4, 0x23);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 798 * US);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 2 * US);
	assert_int_equal(inb(&b, 0x388), 0xc0);
	/* A new preset counts from the next overflow on. */
	fm(4, 0x60);
	fm(2, 0x00);
	fm(4, 0x21);
	fm(2, 0xff);
	board_step(&b, 20479 * US);
	assert_int_equal(inb(&b, 0x388), 0);
	board_step(&b, 2 * US);
	assert_int_equal(inb(&b, 0x388), 0xc0);
	fm(4, 0x80);
	board_step(&b, 81 * US);
	assert_int_equal(inb(&b, 0x388), 0xc0);
	/* Stopped */
	fm(4, 0x60);
	fm(4, 0x00);
	board_step(&b, NS_PER_SEC);
	assert_int_equal(inb(&b, 0x388), 0);
}

/* Channel 0 plays a sine of 440 Hz at full level. */
static void tone(void)
{
	mixer(0x34, 0xf8);
	mixer(0x35, 0xf8);
	fm(0x23, 0x21);
	fm(0x43, 0x00);
	fm(0x63, 0xf0);
	fm(0x83, 0x0f);
	fm(0xa0, 580 & 0xff);
	fm(0xb0, 0x20 | 4 << 2 | 580 >> 8);
}

static void music(void **state)
{
	size_t frames;
	tone();
	board_step(&b, NS_PER_SEC / 2);
	fm(0xb0, 0);
	board_step(&b, NS_PER_SEC / 2);
	assert_int_equal(vclock_run(&b.clock), UINT64_MAX); /* nothing to do while it is silent */
	/* A pause is part of it; the volume on the left is 6 dB less, on the right nothing. */
	mixer(0x34, 0xe0);
	mixer(0x35, 0x00);
	fm(0xb0, 0x20 | 4 << 2 | 580 >> 8);
	board_step(&b, NS_PER_SEC / 2);
	fm(0xb0, 0);
	board_step(&b, 10 * NS_PER_SEC);
	/* So long a one is not. */
	tone();
	board_step(&b, NS_PER_SEC / 2);
	const int16_t *h = heard(49716, &frames);
	assert_true(frames > 49716 * 2 && frames < 49716 * 2 + 2000);
	unsigned rises = 0;
	int most[2] = { 0 };
	for (unsigned i = 1; i < 49716 / 2; i++) {
		rises += h[2 * i - 2] < 0 && h[2 * i] >= 0;
		assert_int_equal(h[2 * i], h[2 * i + 1]);
		assert_true(abs(h[2 * i]) <= 4084);
	}
	assert_true(rises >= 219 && rises <= 220);
	for (unsigned i = 49716 * 6 / 10; i < 49716 * 9 / 10; i++)
		assert_int_equal(h[2 * i], 0);
	for (unsigned i = 49716 * 11 / 10; i < 49716 * 14 / 10; i++)
		for (unsigned c = 0; c < 2; c++)
			most[c] = MAX(most[c], h[2 * i + c]);
	assert_true(abs(most[0] - (int)(4084 * pow(10, -6 / 20.0))) <= 4);
	assert_int_equal(most[1], 0);
}

/* Both at once are the sum of both, at the right time. */
static void music_and_samples(void **state)
{
	static int16_t alone[2 * 49716];
	size_t frames;
	memset(guest(), 0x80 + 40, SIZE);
	for (unsigned pass = 0; pass < 2; pass++) {
		tone();
		board_step(&b, NS_PER_SEC / 4);
		if (pass) {
			rate(8000);
			set_dma(false, 2000, SINGLE_OUT);
			start(0xc0, 0x00, 2000);
		}
		board_step(&b, NS_PER_SEC * 3 / 4);
		const int16_t *h = heard(49716, &frames);
		assert_true(frames > 49000 && frames <= 49716);
		if (!pass) {
			memcpy(alone, h, frames * 4);
			teardown(NULL);
			setup(NULL);
			memset(guest(), 0x80 + 40, SIZE);
			continue;
		}
		assert_int_equal(b.rises[5], 1);
		for (unsigned i = 0; i < frames; i++) {
			int added = h[2 * i] - alone[2 * i];
			bool inside = i > 49716 / 4 + 20 && i < 49716 / 2 - 20, outside = i < 49716 / 4 - 20 || i > 49716 / 2 + 20;
			if (inside)
				assert_int_equal(added, 40 * 256);
			if (outside)
				assert_int_equal(added, 0);
			assert_int_equal(h[2 * i + 1] - alone[2 * i + 1], added);
		}
	}
}

static void move_to_another(const struct field *without)
{
	struct device *device = (struct device *)sb;
	struct sb16 *old = sb;
	void *copy = calloc(1, 1 << 16);
	device->type->saving(old);
	fields_copy(device->type->fields, copy, old);
	device->type->destroy(old);
	sb = make();
	device = (struct device *)sb;
	for (const struct field *f = device->type->fields; f->kind != FIELD_KIND_END; f++) {
		const struct field one[2] = { *f, FIELD_END };
		if (f < without || !without)
			fields_copy(one, sb, copy);
	}
	free(copy);
	assert_int_equal(device->type->loaded(sb, NULL), 0);
}

/* A card that takes over in the middle of a tone goes on with the next sample. */
static void music_saved(void **state)
{
	static int16_t alone[2 * 49716];
	size_t frames, before = 0;
	for (unsigned pass = 0; pass < 2; pass++) {
		fm(0xbd, 0xf1);
		fm(0x31, 0xe1);
		fm(0x71, 0xf2);
		fm(0x91, 0x22);
		fm(0xc0, 0x0c);
		fm(0x20, 0xe2);
		fm(0x60, 0x84);
		fm(0x80, 0x21);
		tone();
		board_step(&b, 123456789);
		if (pass)
			move_to_another(NULL);
		board_step(&b, NS_PER_SEC / 2);
		const int16_t *h = heard(49716, &frames);
		assert_true(frames > 30000 && frames < 31000);
		if (pass) {
			assert_memory_equal(alone, h, MIN(frames, before) * 4);
			continue;
		}
		memcpy(alone, h, frames * 4);
		before = frames;
		teardown(NULL);
		setup(NULL);
	}
}

/* Files of before have the registers alone: silence, and the next key sounds as they say. */
static void music_from_old_files(void **state)
{
	size_t frames;
	tone();
	const struct field *f = ((struct device *)sb)->type->fields;
	while (strcmp(f->name, "opl_loaded"))
		f++;
	move_to_another(f);
	board_step(&b, NS_PER_SEC / 10);
	fm(0xb0, 0);
	fm(0xb0, 0x20 | 4 << 2 | 580 >> 8);
	board_step(&b, NS_PER_SEC / 10);
	const int16_t *h = heard(49716, &frames);
	assert_true(frames > 4900 && frames < 5000);
	assert_true(abs(h[2 * 28] - 4084) < 10);
}

static void random_accesses(void **state)
{
	static const uint8_t commands[] = { 0xc6, 0xb6, 0x14, 0xd0, 0xd4, 0x41, 0xe2, 0x48, 0x90, 0xb0, 0xca, 0xf2, 0x40, 0xd9, 0x99, 0x80 };
	uint32_t x = 11;
	for (unsigned i = 0; i < 200000; i++) {
		x = x * 1664525u + 1013904223u;
		unsigned port = x >> 31 ? BASE + (x >> 26 & 15) : x >> 30 & 1 ? 0xc0 + (x >> 25 & 31) : x >> 29 & 1 ? 0x388 + (x >> 25 & 3) :
				x >> 28 & 1 ? 0x330 + (x >> 25 & 1) : x >> 24 & 15;
		uint8_t value = x >> 23 & 1 ? commands[x >> 18 & 15] : (uint8_t)(x >> 10);
		if (x >> 22 & 3)
			outb(&b, (uint16_t)port, value);
		else
			inb(&b, (uint16_t)port);
		if (i % 64 == 0)
			board_step(&b, 300 * US);
	}
	device_reset((struct device *)sb);
	device_reset((struct device *)dma);
	outb(&b, 0xd6, 0xc0);
	outb(&b, 0xd4, 0);
	b.rises[5] = 0;
	rate(8000);
	set_dma(false, 80, SINGLE_OUT);
	start(0xc0, 0x00, 80);
	board_step(&b, 11 * MS);
	assert_int_equal(b.rises[5], 1);
}

/* A program's own 11025 samples a second, each as long as the time to the next one; a pause is not heard. */
static void direct(void **state)
{
	size_t frames;
	for (unsigned i = 0; i < 200; i++) {
		dsp(0x10);
		dsp((uint8_t)(i + 3));
		board_step(&b, i == 99 ? 2 * NS_PER_SEC : 90703);
	}
	const int16_t *got = heard(44100, &frames);
	assert_int_equal(frames, 2 * 99 * 4);
	for (unsigned i = 0; i < frames; i++)
		for (unsigned c = 0; c < 2; c++)
			assert_int_equal(got[2 * i + c], ((int)(i / 4 + i / 396 + 3) - 128) * 256);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(direct), TEST(detection), TEST(single_cycle), TEST(automatic), TEST(old_commands), TEST(volumes), TEST(conversion), TEST(midi_and_opl),
		TEST(odd_block), TEST(opl_timers), TEST(music), TEST(music_and_samples), TEST(music_saved), TEST(music_from_old_files), TEST(random_accesses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
