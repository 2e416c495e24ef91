/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The synthesizer without its card: what the data sheets of YMF262 and YM3812 say of frequencies, levels, times and connections. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "dev/sb16/opl3.h"

#define SECOND OPL3_RATE
#define PEAK 4084

static struct opl3 chip;
static int16_t sound[2 * 4 * SECOND];

/* reg: that of array 1 has 0x100 added. */
static void set(unsigned reg, unsigned value)
{
	opl3_write(&chip, reg >> 8, (uint8_t)reg, (uint8_t)value);
}

static int begin(void **state)
{
	memset(&chip, 0, sizeof(chip));
	opl3_make_tables();
	fields_reset(opl3_fields, &chip);
	assert_true(opl3_loaded(&chip));
	return 0;
}

/* Where the registers of an operator of channels 0 to 8 are. */
static unsigned slot(unsigned channel, unsigned which)
{
	return channel / 3 * 8 + channel % 3 + 3 * which;
}

/* An operator at full level at once, which holds until it is released at once. */
static void operator_on(unsigned array, unsigned at, unsigned flags, unsigned level)
{
	set(array + 0x20 + at, 0x20 | flags);
	set(array + 0x40 + at, level);
	set(array + 0x60 + at, 0xf0);
	set(array + 0x80 + at, 0x0f);
}

static void key(unsigned channel, unsigned number, unsigned block)
{
	unsigned array = channel / 9 * 0x100, place = channel % 9;
	set(array + 0xa0 + place, number & 0xff);
	set(array + 0xb0 + place, 0x20 | block << 2 | number >> 8);
}

static void release(unsigned channel)
{
	set(channel / 9 * 0x100 + 0xb0 + channel % 9, 0);
}

/* A sine of channel 0's carrier; its modulator is silent. */
static void sine(unsigned level, unsigned number, unsigned block)
{
	operator_on(0, slot(0, 1), 1, level);
	key(0, number, block);
}

static unsigned rises(const int16_t *frames, unsigned count, unsigned side)
{
	unsigned n = 0;
	for (unsigned i = 1; i < count; i++)
		n += frames[2 * i - 2 + side] < 0 && frames[2 * i + side] >= 0;
	return n;
}

static double rms(const int16_t *frames, unsigned count, unsigned side)
{
	double sum = 0;
	for (unsigned i = 0; i < count; i++)
		sum += (double)frames[2 * i + side] * frames[2 * i + side];
	return sqrt(sum / count);
}

static double decibels(double a, double b) { return 20 * log10(a / b); }

/* The amplitude of a frequency (Goertzel). */
static double amplitude(const int16_t *frames, unsigned count, double hz)
{
	double re = 0, im = 0;
	for (unsigned i = 0; i < count; i++) {
		re += frames[2 * i] * cos(2 * M_PI * hz * i / OPL3_RATE);
		im += frames[2 * i] * sin(2 * M_PI * hz * i / OPL3_RATE);
	}
	return 2 * sqrt(re * re + im * im) / count;
}

#define assert_near(value, wanted, most) assert_true(fabs((double)(value) - (double)(wanted)) <= (most))

/* --- operators --- */

static double ideal(unsigned wave, double x)
{
	double s = sin(2 * M_PI * x), twice = sin(4 * M_PI * x);
	bool second = x >= 0.5;
	switch (wave) {
	case 0: return s;
	case 1: return second ? 0 : s;
	case 2: return fabs(s);
	case 3: return fmod(x, 0.5) >= 0.25 ? 0 : fabs(s);
	case 4: return second ? 0 : twice;
	case 5: return second ? 0 : fabs(twice);
	case 6: return second ? -1 : 1;
	default: return second ? -exp2(-32 * (1 - x)) : exp2(-32 * x);
	}
}

static void waveforms(void **state)
{
	for (unsigned wave = 0; wave < 8; wave++)
		for (unsigned phase = 0; phase < 1024; phase++) {
			/* Where in its place a value is taken; an exponential falls by 2 % from one to the next. */
			double middle = wave == 7 ? phase >= 512 : wave == 4 || wave == 5 ? 0.25 : 0.5, x = (phase + middle) / 1024;
			assert_near(opl3_wave(wave, phase, 0), PEAK * ideal(wave, x), 10);
		}
	/* 32 steps are a factor of two. */
	for (unsigned level = 0; level < 511; level++)
		assert_near(opl3_wave(6, 0, level), PEAK * exp2(-(double)level / 32), 2);
	for (unsigned wave = 0; wave < 8; wave++)
		for (unsigned phase = 0; phase < 1024; phase++)
			assert_int_equal(opl3_wave(wave, phase, OPL3_LEVEL_SILENT), 0);
}

static void frequencies(void **state)
{
	/* f = F-number x rate / 2^(20 - block): 440 Hz, and the same an octave deeper. */
	sine(0, 580, 4);
	opl3_render(&chip, sound, SECOND);
	assert_near(rises(sound, SECOND, 0), 440, 1);
	assert_near(amplitude(sound, SECOND, 440), PEAK, PEAK * 0.01);
	for (unsigned i = 0; i < SECOND; i++)
		assert_int_equal(sound[2 * i], sound[2 * i + 1]);
	release(0);
	sine(0, 580, 3);
	opl3_render(&chip, sound, SECOND);
	assert_near(rises(sound, SECOND, 0), 220, 1);
	/* MULT */
	static const double multiples[16] = { 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 12, 12, 15, 15 };
	for (unsigned m = 0; m < 16; m++) {
		set(0x23, 0x20 | m);
		opl3_render(&chip, sound, SECOND);
		assert_near(rises(sound, SECOND, 0), 220 * multiples[m], 2);
	}
}

static void levels(void **state)
{
	sine(0, 580, 4);
	opl3_render(&chip, sound, SECOND / 4);
	double full = rms(sound, SECOND / 4, 0);
	for (unsigned level = 1; level < 56; level++) {
		set(0x43, level);
		opl3_render(&chip, sound, SECOND / 4);
		assert_near(decibels(full, rms(sound, SECOND / 4, 0)), 0.75 * level, level < 40 ? 0.25 : 1);
	}
	/* Key scale level: in block 7 at 3 dB an octave, and in steps of 0.1875 dB twice that at 6 dB. */
	static const double table[16] = {
		0, 9, 12, 13.875, 15, 16.125, 16.875, 17.625, 18, 18.75, 19.125, 19.5, 19.875, 20.25, 20.625, 21,
	};
	for (unsigned n = 0; n < 16; n++)
		for (unsigned block = 0; block < 8; block++)
			assert_near(opl3_key_scale(n << 6, block) * 0.1875, MAX(2 * (table[n] - 3.0 * (7 - block)), 0), 0.01);
	static const double shares[4] = { 0, 0.5, 0.25, 1 };
	set(0x43, 0);
	key(0, 1023, 4);
	opl3_render(&chip, sound, SECOND / 4);
	full = rms(sound, SECOND / 4, 0);
	for (unsigned scale = 0; scale < 4; scale++) {
		set(0x43, scale << 6);
		opl3_render(&chip, sound, SECOND / 4);
		assert_near(decibels(full, rms(sound, SECOND / 4, 0)), 24 * shares[scale], 0.3);
	}
}

/* --- envelopes --- */

/* Samples until the carrier's envelope is at the level, or past it. */
static unsigned until(unsigned level, bool rising)
{
	unsigned n = 0;
	for (; n < 10000000 && (rising ? chip.operator[3].level > level : chip.operator[3].level < level); n++)
		opl3_skip(&chip, 1);
	return n;
}

/* Milliseconds of the data sheet, which has 50000 samples a second: rate 4 to 7, and half of that for each four more. */
static const double attacks[4] = { 2826.24, 2252.80, 1884.16, 1597.44 };
static const double decays[4] = { 8212.48, 6574.08, 5509.12, 4730.88 }; /* from 90 % to 10 % */

static void check_rate(unsigned rate)
{
	double attack = attacks[rate & 3] * 50 / (1 << ((rate >> 2) - 1)), decay = decays[rate & 3] * 50 / (1 << ((rate >> 2) - 1));
	/* Of the rate, KSR adds block and the F-number's bit to four times the registers'. */
	unsigned block = (rate & 3) >> 1, number = rate & 1 ? 0x200 : 0x100;
	begin(NULL);
	set(0x23, 0x31);
	set(0x63, rate >> 2 << 4 | rate >> 2);
	set(0x83, 0xf0 | rate >> 2);
	key(0, number, block);
	if (rate < 60)
		assert_near(until(0, true), attack, attack * 0.05 + 8);
	assert_int_equal(chip.operator[3].level, 0);
	unsigned early = until((unsigned)(-20 * log10(0.9) / 0.1875), false);
	assert_near(until((unsigned)(20 / 0.1875), false), decay, decay * 0.04 + 4);
	assert_true(early > 0);
	until(496, false);
	/* Held at 93 dB; the release takes as long as the decay. */
	opl3_skip(&chip, 100000);
	assert_true(chip.operator[3].level < 504 && chip.operator[3].stage == OPL3_SUSTAIN);
}

static void rates(void **state)
{
	for (unsigned rate = 24; rate < 60; rate++)
		check_rate(rate);
	/* Rates from 60 on are one; attacks take no time. */
	check_rate(60);
	/* 0 does not move. */
	begin(NULL);
	set(0x23, 0x31);
	set(0x83, 0x0f);
	key(0, 1023, 7);
	opl3_skip(&chip, 1000000);
	assert_int_equal(chip.operator[3].level, OPL3_LEVEL_MAX);
	assert_false(opl3_audible(&chip));
}

static void key_scale_rate(void **state)
{
	/* Block and one of the F-number's upper bits, which NTS chooses; a quarter of that without KSR. */
	static const struct { uint8_t select, flags; uint16_t number; uint8_t offset; } cases[] = {
		{ 0x00, 0x30, 0x200, 11 }, { 0x00, 0x30, 0x1ff, 10 }, { 0x40, 0x30, 0x200, 10 }, { 0x40, 0x30, 0x100, 11 }, { 0x00, 0x20, 0x200, 2 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(NULL);
		set(0x08, cases[i].select);
		set(0x23, cases[i].flags);
		set(0x63, 0xf8);
		key(0, cases[i].number, 5);
		assert_int_equal(chip.tone[3].rate[OPL3_DECAY], 32 + cases[i].offset);
		assert_int_equal(chip.tone[3].rate[OPL3_ATTACK], MIN(60 + cases[i].offset, 63));
	}
}

static void stages(void **state)
{
	/* Held at 9 dB until the key is released; percussion goes on by itself. */
	for (unsigned held = 0; held < 2; held++) {
		begin(NULL);
		set(0x23, held ? 0x21 : 0x01);
		set(0x63, 0xfa);
		set(0x83, 0x3a);
		key(0, 580, 4);
		opl3_render(&chip, sound, SECOND);
		double level = chip.operator[3].level;
		if (held)
			assert_near(level * 0.1875, 9, 0.4);
		else
			assert_int_equal(level, OPL3_LEVEL_MAX);
		assert_int_equal(opl3_audible(&chip), held);
		release(0);
		opl3_render(&chip, sound, SECOND);
		assert_int_equal(chip.operator[3].level, OPL3_LEVEL_MAX);
		assert_false(opl3_audible(&chip));
		for (unsigned i = SECOND; i < 2 * SECOND; i++)
			assert_int_equal(sound[i], 0);
	}
}

/* --- low frequency --- */

static void tremolo(void **state)
{
	for (unsigned deep = 0; deep < 2; deep++) {
		begin(NULL);
		set(0xbd, deep << 7);
		set(0x23, 0xa1);
		sine(0, 1023, 6);
		set(0x23, 0xa1);
		opl3_render(&chip, sound, 4 * SECOND);
		unsigned quiet = 0, ups = 0;
		double most = 0, least = 1e9, before = 0;
		for (unsigned i = 0; i < 400; i++) {
			double now = rms(sound + 2 * (i * SECOND / 100), SECOND / 100, 0);
			most = MAX(most, now);
			least = MIN(least, now);
			bool up = now > 0.9 * PEAK / sqrt(2) * (deep ? 0.85 : 1.04);
			ups += up && !before;
			before = up;
			quiet += now < most / 1.3;
		}
		assert_near(decibels(most, least), deep ? 4.8 : 1, 0.3);
		/* 3.7 Hz for four seconds; begins at the top. */
		assert_near(ups, 15, 1);
		assert_true(deep ? quiet > 100 : quiet == 0);
	}
}

static void vibrato(void **state)
{
	for (unsigned deep = 0; deep < 2; deep++) {
		struct opl3_tone tone = { .number = 0x380, .block = 4, .multiple = 1, .vibrato = true };
		struct opl3_lfo lfo = { .deep_vibrato = deep };
		double still = opl3_phase_step(&tone, &lfo), cents = 1200 * log2(1 + (deep ? 7 : 3.5) / 896.0);
		static const double shape[8] = { 0, 0.5, 1, 0.5, 0, -0.5, -1, -0.5 };
		for (unsigned i = 0; i < 8; i++) {
			lfo.vibrato = (uint8_t)i;
			/* In steps of two cents. */
			assert_near(1200 * log2(opl3_phase_step(&tone, &lfo) / still), cents * shape[i], 2);
		}
		assert_near(cents, deep ? 14 : 7, 0.6);
	}
	/* Heard at 6.1 Hz: in one period of it the frequency is the same at its ends. */
	sine(0, 0x380, 6);
	set(0x23, 0x61);
	set(0xbd, 0x40);
	opl3_render(&chip, sound, SECOND);
	unsigned most = 0, least = SECOND;
	for (unsigned i = 0; i < 48; i++) {
		unsigned n = rises(sound + 2 * 1024 * i, 1024, 0);
		most = MAX(most, n);
		least = MIN(least, n);
	}
	assert_true(most > least);
	assert_near(rises(sound, 8192, 0), rises(sound + 2 * 8192, 8192, 0), 1);
}

/* --- connections --- */

static void modulation(void **state)
{
	/* Below 1/2 of the carrier, sidebands are at the sum and the difference. */
	operator_on(0, slot(0, 0), 2, 24);
	sine(0, 580, 4);
	opl3_render(&chip, sound, SECOND);
	double carrier = amplitude(sound, SECOND, 440), side = amplitude(sound, SECOND, 3 * 440);
	assert_true(side > PEAK * 0.1 && side < PEAK && carrier > 0);
	/* Side by side both are heard. */
	set(0xc0, 1);
	set(0x40, 0);
	opl3_render(&chip, sound, SECOND);
	assert_near(amplitude(sound, SECOND, 440), PEAK, PEAK * 0.02);
	assert_near(amplitude(sound, SECOND, 880), PEAK, PEAK * 0.02);
	/* Feedback makes overtones of a sine, more of them with every step; the last two make noise. */
	set(0x43, 63);
	double before = 0;
	for (unsigned n = 0; n < 6; n++) {
		set(0xc0, 1 | n << 1);
		opl3_render(&chip, sound, SECOND);
		double over = sqrt(2) * sqrt(fabs(pow(rms(sound, SECOND, 0), 2) - pow(amplitude(sound, SECOND, 880), 2) / 2));
		assert_true(n ? over > 1.3 * before : over < PEAK * 0.05);
		before = over;
	}
}

static void four_operators(void **state)
{
	/* Which of four operators are heard, by the connection bits of first and second channel. */
	static const uint8_t heard[4] = { 0x8, 0xa, 0x9, 0xd };
	for (unsigned pair = 0; pair < 6; pair++)
		for (unsigned connection = 0; connection < 4; connection++)
			for (unsigned alone = 0; alone < 4; alone++) {
				unsigned first = pair % 3, array = pair / 3 * 0x100;
				begin(NULL);
				set(0x105, 1);
				set(0x104, 1 << pair);
				set(array + 0xc0 + first, 0x30 | connection >> 1);
				set(array + 0xc3 + first, 0x30 | (connection & 1));
				operator_on(array, slot(first + 3 * (alone / 2), alone % 2), 1, 0);
				/* The second channel's frequency and key do not count. */
				key(pair / 3 * 9 + first + 3, 300, 2);
				opl3_render(&chip, sound, 1000);
				assert_true(rms(sound, 1000, 0) == 0);
				key(pair / 3 * 9 + first, 580, 4);
				opl3_render(&chip, sound, SECOND);
				bool is_heard = heard[connection] >> alone & 1;
				assert_near(amplitude(sound, SECOND, 440), is_heard ? PEAK : 0, PEAK * 0.02);
			}
	/* A chain of four: operators 1 to 3 change the sound. */
	begin(NULL);
	set(0x105, 1);
	set(0x104, 1);
	set(0xc3, 0x30);
	operator_on(0, slot(3, 1), 1, 0);
	key(0, 580, 4);
	double before = 2 * PEAK;
	for (unsigned i = 3; i-- > 0;) {
		operator_on(0, slot(3 * (i / 2), i % 2), 1, 20);
		release(0);
		key(0, 580, 4);
		opl3_render(&chip, sound, SECOND);
		double now = amplitude(sound, SECOND, 440);
		assert_true(fabs(now - before) > PEAK * 0.005);
		before = now;
	}
	/* Without NEW they are two channels. */
	set(0x105, 0);
	set(0xc0, 0);
	release(0);
	opl3_render(&chip, sound, SECOND);
	assert_false(opl3_audible(&chip));
}

static void panning(void **state)
{
	for (unsigned new = 0; new < 2; new++)
		for (unsigned bits = 0; bits < 4; bits++)
			for (unsigned channel = 0; channel < 9 + 9 * new; channel++) {
				begin(NULL);
				set(0x105, new);
				unsigned array = channel / 9 * 0x100;
				set(array + 0xc0 + channel % 9, bits << 4);
				operator_on(array, slot(channel % 9, 1), 1, 0);
				key(channel, 580, 4);
				opl3_render(&chip, sound, 1000);
				for (unsigned side = 0; side < 2; side++)
					assert_int_equal(rms(sound, 1000, side) > 0, !new || bits >> side & 1);
				assert_int_equal(opl3_audible(&chip), !new || bits);
			}
	/* Four waveforms without NEW, eight with it. */
	for (unsigned new = 0; new < 2; new++) {
		begin(NULL);
		set(0x105, new);
		set(0xc0, 0x10);
		set(0xe3, 6);
		sine(0, 580, 4);
		opl3_render(&chip, sound, 50);
		assert_int_equal(sound[0] == PEAK, new);
	}
	/* Many at full level are clipped, not folded. */
	begin(NULL);
	for (unsigned channel = 0; channel < 9; channel++) {
		operator_on(0, slot(channel, 0), 1, 0);
		operator_on(0, slot(channel, 1), 1, 0);
		set(0xc0 + channel, 1);
		key(channel, 580, 4);
	}
	opl3_render(&chip, sound, 1000);
	int most = 0, least = 0;
	for (unsigned i = 0; i < 1000; i++) {
		most = MAX(most, sound[2 * i]);
		least = MIN(least, sound[2 * i]);
		assert_true(i == 0 || abs(sound[2 * i] - sound[2 * i - 2]) < 9000);
	}
	assert_int_equal(most, INT16_MAX);
	assert_int_equal(least, INT16_MIN);
}

/* --- rhythm --- */

static void drums(void **state)
{
	static const uint8_t operators[5] = { 0x11 /* hi-hat */, 0x15 /* cymbal */, 0x12 /* tom-tom */, 0x14 /* snare */, 0x13 /* bass */ };
	double loud[5];
	for (unsigned drum = 0; drum < 5; drum++) {
		begin(NULL);
		set(0xbd, 0x20);
		for (unsigned channel = 6; channel < 9; channel++) {
			set(0xa0 + channel, 0x44);
			set(0xb0 + channel, 0x0a);
		}
		for (unsigned i = 0; i < 5; i++)
			operator_on(0, operators[i], 1, 0);
		opl3_render(&chip, sound, 1000);
		assert_false(opl3_audible(&chip));
		assert_true(rms(sound, 1000, 0) == 0);
		set(0xbd, 0x20 | 1 << drum);
		opl3_render(&chip, sound, SECOND);
		loud[drum] = rms(sound, SECOND, 0);
		/* Twice as loud as a channel. */
		assert_true(loud[drum] > PEAK * 0.5);
		for (unsigned i = 0; i < SECOND; i++)
			assert_true(abs(sound[2 * i]) <= 2 * PEAK);
		/* A drum of a tone has one period, the others do not. */
		double period = SECOND / (0x244 * (double)OPL3_RATE / (1 << 18));
		double same = 0, other = 0;
		for (unsigned i = 0; i < SECOND / 2; i++) {
			double d = sound[2 * i] - sound[2 * (i + (unsigned)lround(period * 5))];
			same += d * d;
			other += (double)sound[2 * i] * sound[2 * i];
		}
		bool tone = drum == 2 || drum == 4;
		assert_int_equal(same < 0.02 * other, tone);
		set(0xbd, 0x20);
		opl3_render(&chip, sound, 1000);
		opl3_render(&chip, sound, 1000);
		assert_false(opl3_audible(&chip));
	}
	/* The noise does not repeat itself soon, and has no direct current. */
	double sum = 0;
	begin(NULL);
	operator_on(0, 0x14, 1, 0);
	set(0xa7, 0x44);
	set(0xb7, 0x0a);
	set(0xbd, 0x28);
	opl3_render(&chip, sound, 2 * SECOND);
	for (unsigned i = 0; i < 2 * SECOND; i++)
		sum += sound[2 * i];
	assert_near(sum / (2 * SECOND), 0, PEAK * 0.05);
	/* Leaving the rhythm mode releases its keys. */
	set(0xbd, 0x08);
	opl3_render(&chip, sound, 1000);
	assert_false(opl3_audible(&chip));
}

/* --- time --- */

static uint32_t random_number(void)
{
	static uint32_t x = 7;
	return (x = x * 1664525u + 1013904223u) >> 8;
}

/* Anything. */
static void random_write(void)
{
	static const uint8_t first[] = { 0x20, 0x40, 0x60, 0x80, 0xa0, 0xb0, 0xb0, 0xb0, 0xc0, 0xe0, 0xbd, 0x00 };
	uint32_t r = random_number();
	unsigned index = first[r % ARRAY_SIZE(first)] + (r >> 8) % 22;
	opl3_write(&chip, r >> 16 & 1, (uint8_t)index, (uint8_t)random_number());
}

/* However many are asked for at once, the samples are the same; so they are of a copy that goes on. */
static void pieces(void **state)
{
	static struct opl3 copy;
	static int16_t other[2 * 4000];
	for (unsigned round = 0; round < 300; round++) {
		if (round % 50 == 0) {
			begin(NULL);
			set(0x105, round / 50 & 1);
			set(0xbd, round / 100 & 1 ? 0xff : 0);
		}
		for (unsigned i = random_number() % 60; i; i--)
			random_write();
		copy = chip;
		opl3_render(&chip, sound, 4000);
		struct opl3 one = chip;
		chip = copy;
		for (unsigned done = 0, count; done < 4000; done += count) {
			count = 1 + random_number() % 300;
			count = MIN(count, 4000 - done);
			opl3_render(&chip, other + 2 * done, count);
		}
		assert_memory_equal(sound, other, sizeof(other));
		assert_true(chip.clock == one.clock && chip.noise == one.noise);
		assert_memory_equal(chip.operator, one.operator, sizeof(chip.operator));
		assert_true(opl3_loaded(&chip));
	}
}

/* What is skipped leaves envelopes as what is played does. */
static void skipped(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		begin(NULL);
		for (unsigned i = 0; i < 200; i++)
			random_write();
		opl3_render(&chip, sound, 3000);
		struct opl3 copy = chip;
		opl3_render(&chip, sound, 20000);
		struct opl3 played = chip;
		chip = copy;
		opl3_skip(&chip, 12345);
		opl3_skip(&chip, 20000 - 12345);
		assert_int_equal(chip.clock, played.clock);
		for (unsigned i = 0; i < OPL3_OPERATORS; i++) {
			assert_int_equal(chip.operator[i].level, played.operator[i].level);
			assert_int_equal(chip.operator[i].stage, played.operator[i].stage);
		}
	}
	/* Years are skipped as fast. */
	opl3_skip(&chip, 1ull << 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
	const struct CMUnitTest tests[] = {
		TEST(waveforms), TEST(frequencies), TEST(levels), TEST(rates), TEST(key_scale_rate), TEST(stages), TEST(tremolo), TEST(vibrato),
		TEST(modulation), TEST(four_operators), TEST(panning), TEST(drums), TEST(pieces), TEST(skipped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
