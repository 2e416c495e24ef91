/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operators of the OPL3: waveforms, phases and envelopes. */
#include <math.h>
#include <pthread.h>

#include "base/util.h"
#include "dev/sb16/opl3.h"

/* Logarithms count 256 to a factor of two. */
#define LOG_SILENT 0x1000u
#define NEGATIVE 0x8000u
#define PERIOD 1024u

static uint16_t waves[8][PERIOD]; /* -log2 of the value, and its sign */
static uint16_t powers[256];      /* 2 to the power of -n / 256 */
static uint8_t key_scale[16];     /* by the upper four bits of the F-number, in 0.75 dB */

/* --- tables --- */

/* The first quarter of a sine is all that the chip has; the others are it backwards and negative. */
static uint16_t log_sine(unsigned phase)
{
	unsigned at = phase & 0x100 ? ~phase & 0xff : phase & 0xff;
	return (uint16_t)lround(-log2(sin((at + 0.5) * M_PI / 512)) * 256) | (phase & 0x200 ? NEGATIVE : 0);
}

static uint16_t wave_entry(unsigned wave, unsigned phase)
{
	bool second = phase & 0x200;
	uint16_t sine = log_sine(phase), twice = log_sine(2 * phase % PERIOD);
	switch (wave) {
	case 0: return sine;
	case 1: return second ? LOG_SILENT : sine;
	case 2: return sine & ~NEGATIVE;
	case 3: return phase & 0x100 ? LOG_SILENT : sine & ~NEGATIVE;
	case 4: return second ? LOG_SILENT : twice;
	case 5: return second ? LOG_SILENT : twice & ~NEGATIVE;
	case 6: return second ? NEGATIVE : 0;
	/* Straight as a logarithm: falls from full to silence, then the same backwards. */
	default: return second ? (uint16_t)((~phase & 0x1ff) << 3 | NEGATIVE) : (uint16_t)(phase << 3);
	}
}

static void make_tables(void)
{
	for (unsigned wave = 0; wave < 8; wave++)
		for (unsigned phase = 0; phase < PERIOD; phase++)
			waves[wave][phase] = wave_entry(wave, phase);
	for (unsigned n = 0; n < 256; n++)
		powers[n] = (uint16_t)(2 * (1024 + lround((exp2((255 - n) / 256.0) - 1) * 1024)));
	for (unsigned n = 1; n < 16; n++)
		key_scale[n] = (uint8_t)ceil(32 + 8 * log2(n));
}

void opl3_make_tables(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_tables);
}

int opl3_wave(unsigned wave, unsigned phase, unsigned attenuation)
{
	unsigned entry = waves[wave][phase % PERIOD], log = (entry & ~NEGATIVE) + (attenuation << 3);
	int value = log >> 8 < 16 ? powers[log & 0xff] >> (log >> 8) : 0;
	return entry & NEGATIVE ? -value : value;
}

/* --- phase --- */

unsigned opl3_key_scale(unsigned number, unsigned block)
{
	/* In block 7 as the table says, 6 dB less for each below. */
	int level = 4 * key_scale[number >> 6] - 32 * (8 - (int)block);
	return level > 0 ? (unsigned)level : 0;
}

uint32_t opl3_phase_step(const struct opl3_tone *tone, const struct opl3_lfo *lfo)
{
	/* MULT, in halves. */
	static const uint8_t multiples[16] = { 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 20, 24, 24, 30, 30 };
	int number = tone->number;
	if (tone->vibrato && lfo->vibrato & 3) {
		/* A triangle of 0, 1/2, 1, 1/2, 0, -1/2, -1, -1/2 of its depth, which is the upper three bits. */
		int bend = number >> 7 >> (lfo->vibrato & 1) >> !lfo->deep_vibrato;
		number += lfo->vibrato & 4 ? -bend : bend;
	}
	return ((uint32_t)number << tone->block >> 1) * multiples[tone->multiple] >> 1;
}

/* --- envelope --- */

/*
 * Steps at the sample `clock`, whose lower bits say whether a slow rate has one there. Each rate of four is twice as fast
 * as the four before; of the three between, one, two or three steps of four in every second place come on top.
 */
static unsigned steps_at(unsigned rate, uint64_t clock)
{
	static const uint8_t more[4] = { 0x0, 0x4, 0xa, 0xe };
	unsigned octave = rate >> 2, shift = octave < 12 ? 12 - octave : 0;
	unsigned place = (unsigned)(clock >> shift);
	if (octave > 14)
		return 4;
	if (octave > 12)
		return (1u + (more[rate & 3] >> (place & 3) & 1)) << (octave - 13);
	return place & 1 ? 1 : more[rate & 3] >> (place >> 1 & 3) & 1;
}

static uint64_t next_step(unsigned rate, uint64_t clock)
{
	unsigned octave = rate >> 2;
	uint64_t mask = octave < 12 ? (1ull << (12 - octave)) - 1 : 0;
	return (clock + mask) & ~mask;
}

static void move_level(struct opl3_operator *op, unsigned steps)
{
	if (op->stage != OPL3_ATTACK) {
		op->level = (uint16_t)MIN(op->level + steps, OPL3_LEVEL_MAX);
		return;
	}
	/* An eighth of the way, rounded up, for each. */
	unsigned up = ((op->level + 1u) * steps + 7) >> 3;
	op->level = (uint16_t)(up < op->level ? op->level - up : 0);
	if (!op->level)
		op->stage = OPL3_DECAY;
}

void opl3_envelope(struct opl3_operator *op, const struct opl3_tone *tone, uint64_t clock, uint64_t count)
{
	uint64_t end = clock + count;
	for (;;) {
		if (op->stage == OPL3_DECAY && op->level >= tone->sustain)
			op->stage = OPL3_SUSTAIN;
		unsigned rate = tone->rate[op->stage];
		if (rate < 4 || (op->stage != OPL3_ATTACK && op->level >= OPL3_LEVEL_MAX))
			return;
		clock = next_step(rate, clock);
		if (clock >= end)
			return;
		move_level(op, steps_at(rate, clock++));
	}
}

void opl3_key(struct opl3_operator *op, const struct opl3_tone *tone, bool key)
{
	if (op->key == key)
		return;
	op->key = key;
	op->stage = key ? OPL3_ATTACK : OPL3_RELEASE;
	if (!key)
		return;
	op->phase = 0;
	/* The fastest attacks take no time. */
	if (tone->rate[OPL3_ATTACK] >= 60) {
		op->level = 0;
		op->stage = OPL3_DECAY;
	}
}
