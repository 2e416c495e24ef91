/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The channels of the OPL3: what the registers say, how operators are connected, the rhythm section, left and right. */
#include <string.h>

#include "audio/audio.h"
#include "base/util.h"
#include "dev/sb16/opl3.h"

/* Registers; of an operator or channel those behind the first. */
enum {
	REG_FOUR = 0x04, REG_NEW = 0x05, /* in array 1 */
	REG_NOTE_SELECT = 0x08, REG_RHYTHM = 0xbd, /* in array 0 */
	REG_MULTIPLE = 0x20, REG_LEVEL = 0x40, REG_ATTACK = 0x60, REG_SUSTAIN = 0x80, REG_WAVE = 0xe0,
	REG_NUMBER = 0xa0, REG_KEY = 0xb0, REG_CONNECTION = 0xc0,
};

#define RHYTHM_ON 0x20u
#define PHASE_MASK 0x7ffffu
#define PIECE 64u           /* samples for which low frequency stands still: tremolo's step */
#define VOICE_OPERATORS 6u

/* Operators that sound together: a channel, two of them with four operators, or the rhythm section. */
struct voice {
	struct opl3_operator *op[VOICE_OPERATORS];
	const struct opl3_tone *tone[VOICE_OPERATORS];
	uint32_t step[VOICE_OPERATORS];
	uint8_t sides[VOICE_OPERATORS]; /* 1: left, 2: right */
	uint8_t count;
	uint8_t heard;          /* bits of those that do not modulate the next one but are heard */
	uint8_t feedback;
};

/* --- what the registers say --- */

static bool is_new(const struct opl3 *chip)
{
	return chip->reg[1][REG_NEW] & 1;
}

/* The channel is the first of two that are one. */
static bool is_four(const struct opl3 *chip, unsigned channel)
{
	unsigned array = channel / 9, place = channel % 9;
	return is_new(chip) && place < 3 && chip->reg[1][REG_FOUR] >> (place + 3 * array) & 1;
}

static bool is_second(const struct opl3 *chip, unsigned channel)
{
	return channel % 9 >= 3 && is_four(chip, channel - 3);
}

static bool has_rhythm(const struct opl3 *chip)
{
	return chip->reg[0][REG_RHYTHM] & RHYTHM_ON;
}

static uint8_t channel_register(const struct opl3 *chip, unsigned channel, unsigned first)
{
	return chip->reg[channel / 9][first + channel % 9];
}

static unsigned operator_of(unsigned channel, unsigned which)
{
	unsigned place = channel % 9;
	return channel / 9 * 18 + place / 3 * 6 + place % 3 + 3 * which;
}

static unsigned channel_of(unsigned operator)
{
	unsigned place = operator % 18;
	return operator / 18 * 9 + place / 6 * 3 + place % 3;
}

/* That whose frequency and key count. */
static unsigned leader(const struct opl3 *chip, unsigned channel)
{
	return is_second(chip, channel) ? channel - 3 : channel;
}

static uint8_t sides(const struct opl3 *chip, unsigned channel)
{
	return is_new(chip) ? channel_register(chip, channel, REG_CONNECTION) >> 4 & 3 : 3;
}

static uint8_t rate(unsigned value, unsigned offset)
{
	return value ? (uint8_t)MIN(4 * value + offset, 63u) : 0;
}

static void read_tone(const struct opl3 *chip, unsigned operator, struct opl3_tone *tone)
{
	/* Of 6 dB an octave: none, half of it, a quarter, all. */
	static const uint8_t shifts[4] = { 16, 1, 2, 0 };
	const uint8_t *reg = chip->reg[operator / 18] + operator % 18 / 6 * 8 + operator % 6;
	unsigned channel = leader(chip, channel_of(operator)), key = channel_register(chip, channel, REG_KEY);
	uint8_t flags = reg[REG_MULTIPLE], attack = reg[REG_ATTACK], sustain = reg[REG_SUSTAIN];
	tone->number = (uint16_t)(channel_register(chip, channel, REG_NUMBER) | (key & 3) << 8);
	tone->block = key >> 2 & 7;
	tone->multiple = flags & 0x0f;
	tone->vibrato = flags & 0x40;
	tone->tremolo = flags & 0x80;
	tone->wave = reg[REG_WAVE] & (is_new(chip) ? 7 : 3);
	tone->attenuation = (uint16_t)(4 * (reg[REG_LEVEL] & 0x3f) + (opl3_key_scale(tone->number, tone->block) >> shifts[reg[REG_LEVEL] >> 6]));
	/* The last step of 3 dB is 93 dB. */
	tone->sustain = (uint16_t)(16 * (sustain >> 4 == 15 ? 31 : sustain >> 4));
	unsigned half = tone->number >> (chip->reg[0][REG_NOTE_SELECT] & 0x40 ? 8 : 9) & 1;
	unsigned offset = (tone->block * 2u + half) >> (flags & 0x10 ? 0 : 2);
	tone->rate[OPL3_ATTACK] = rate(attack >> 4, offset);
	tone->rate[OPL3_DECAY] = rate(attack & 0x0f, offset);
	tone->rate[OPL3_RELEASE] = rate(sustain & 0x0f, offset);
	tone->rate[OPL3_SUSTAIN] = flags & 0x20 ? 0 : tone->rate[OPL3_RELEASE];
}

static void refresh(struct opl3 *chip)
{
	for (unsigned i = 0; chip->stale && i < OPL3_OPERATORS; i++)
		read_tone(chip, i, &chip->tone[i]);
	chip->stale = false;
}

static bool drum_key(const struct opl3 *chip, unsigned operator)
{
	/* Of operators 12 to 17: bass drum, hi-hat, tom-tom, bass drum, snare drum, cymbal. */
	static const uint8_t bits[6] = { 0x10, 0x01, 0x04, 0x10, 0x08, 0x02 };
	return has_rhythm(chip) && operator >= 12 && operator < 18 && chip->reg[0][REG_RHYTHM] & bits[operator - 12];
}

static void update_keys(struct opl3 *chip)
{
	refresh(chip);
	for (unsigned i = 0; i < OPL3_OPERATORS; i++) {
		bool key = channel_register(chip, leader(chip, channel_of(i)), REG_KEY) & 0x20;
		opl3_key(&chip->operator[i], &chip->tone[i], key || drum_key(chip, i));
	}
}

void opl3_write(struct opl3 *chip, unsigned array, uint8_t index, uint8_t value)
{
	chip->reg[array][index] = value;
	chip->stale = true;
	if ((index >= REG_KEY && index < REG_KEY + 9) || (array ? index == REG_FOUR || index == REG_NEW : index == REG_RHYTHM))
		update_keys(chip);
}

/* --- voices --- */

static void add_channel(struct opl3 *chip, struct voice *v, unsigned channel, unsigned from)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned operator = operator_of(channel, i);
		v->op[v->count] = &chip->operator[operator];
		v->tone[v->count] = &chip->tone[operator];
		v->sides[v->count++] = sides(chip, from);
	}
}

/* The voice that begins with this channel; false: it belongs to another one. */
static bool find_voice(struct opl3 *chip, unsigned channel, struct voice *v)
{
	uint8_t connection = channel_register(chip, channel, REG_CONNECTION);
	v->count = 0;
	v->feedback = connection >> 1 & 7;
	if (is_second(chip, channel))
		return false;
	if (is_four(chip, channel)) {
		static const uint8_t heard[4] = { 0x8, 0xa, 0x9, 0xd };
		/* Left and right are the second channel's. */
		add_channel(chip, v, channel, channel + 3);
		add_channel(chip, v, channel + 3, channel + 3);
		v->heard = heard[(connection & 1) << 1 | (channel_register(chip, channel + 3, REG_CONNECTION) & 1)];
	} else if (has_rhythm(chip) && channel >= 6 && channel < 9) {
		for (unsigned i = 6; i < 9; i++)
			add_channel(chip, v, i, i);
		v->heard = 0x3e;
		return channel == 6;
	} else {
		add_channel(chip, v, channel, channel);
		v->heard = connection & 1 ? 0x3 : 0x2;
	}
	return true;
}

static bool voice_audible(const struct voice *v)
{
	for (unsigned i = 0; i < v->count; i++) {
		const struct opl3_operator *op = v->op[i];
		bool rises = op->stage == OPL3_ATTACK && v->tone[i]->rate[OPL3_ATTACK] >= 4;
		if (v->heard >> i & 1 && v->sides[i] && (op->level < OPL3_LEVEL_SILENT || rises))
			return true;
	}
	return false;
}

static int feedback(const struct voice *v)
{
	return v->feedback ? (v->op[0]->out[0] + v->op[0]->out[1]) >> (9 - v->feedback) : 0;
}

static unsigned phase_of(const struct opl3_operator *op)
{
	return op->phase >> 9;
}

static int play(const struct voice *v, unsigned i, unsigned phase, const struct opl3_lfo *lfo, uint64_t clock)
{
	struct opl3_operator *op = v->op[i];
	const struct opl3_tone *tone = v->tone[i];
	int out = opl3_wave(tone->wave, phase, op->level + tone->attenuation + (tone->tremolo ? lfo->tremolo : 0u));
	op->out[1] = op->out[0];
	op->out[0] = (int16_t)out;
	op->phase = (op->phase + v->step[i]) & PHASE_MASK;
	opl3_envelope(op, tone, clock, 1);
	return out;
}

static void add(const struct voice *v, unsigned i, int out, int32_t *sum)
{
	sum[0] += v->sides[i] & 1 ? out : 0;
	sum[1] += v->sides[i] & 2 ? out : 0;
}

static void play_channel(const struct voice *v, const struct opl3_lfo *lfo, uint64_t clock, int32_t *sum)
{
	int modulation = feedback(v);
	for (unsigned i = 0; i < v->count; i++) {
		int out = play(v, i, phase_of(v->op[i]) + (unsigned)modulation, lfo, clock);
		bool heard = v->heard >> i & 1;
		modulation = heard ? 0 : out;
		if (heard)
			add(v, i, out, sum);
	}
}

/* --- rhythm --- */

enum { BASS_MODULATOR, BASS, HI_HAT, SNARE, TOM, CYMBAL };

/*
 * Hi-hat, snare drum and cymbal have phases of a few places alone, which come from bits of the hi-hat's and the cymbal's
 * own phases and from noise.
 */
static void drum_phases(struct opl3 *chip, const struct voice *v, unsigned phase[VOICE_OPERATORS])
{
	unsigned hat = phase_of(v->op[HI_HAT]), cymbal = phase_of(v->op[CYMBAL]), noise = chip->noise & 1;
	bool mixed = ((hat >> 2 ^ hat >> 7) & 1) || ((hat >> 3 ^ cymbal >> 5) & 1) || ((cymbal >> 3 ^ cymbal >> 5) & 1);
	phase[HI_HAT] = (mixed ? 0x200 : 0) | (mixed != noise ? 0xd0 : 0x34);
	phase[SNARE] = (hat & 0x100) << 1 | ((hat >> 8 & 1) != noise ? 0x100 : 0);
	phase[TOM] = phase_of(v->op[TOM]);
	phase[CYMBAL] = (mixed ? 0x200 : 0) | 0x80;
	chip->noise = chip->noise >> 1 | ((chip->noise ^ chip->noise >> 14) & 1) << 22;
}

static void play_drums(struct opl3 *chip, const struct voice *v, const struct opl3_lfo *lfo, uint64_t clock, int32_t *sum)
{
	unsigned phase[VOICE_OPERATORS];
	int bass = play(v, BASS_MODULATOR, phase_of(v->op[BASS_MODULATOR]) + (unsigned)feedback(v), lfo, clock);
	drum_phases(chip, v, phase);
	/* Side by side, the first of the two operators is not heard. */
	phase[BASS] = phase_of(v->op[BASS]) + (channel_register(chip, 6, REG_CONNECTION) & 1 ? 0 : (unsigned)bass);
	for (unsigned i = BASS; i <= CYMBAL; i++)
		add(v, i, 2 * play(v, i, phase[i], lfo, clock), sum);
}

/* --- samples --- */

static struct opl3_lfo low_frequency(const struct opl3 *chip)
{
	/* 3.7 Hz and 6.1 Hz; 4.8 dB or 1 dB, 14 cents or 7. */
	unsigned depth = chip->reg[0][REG_RHYTHM], place = (unsigned)(chip->clock / 64 % 210), height = place < 105 ? place : 210 - place;
	return (struct opl3_lfo){
		.tremolo = (uint16_t)(height >> (depth & 0x80 ? 2 : 4)), .vibrato = chip->clock >> 10 & 7, .deep_vibrato = depth & 0x40,
	};
}

static void skip_voice(struct opl3 *chip, const struct voice *v, unsigned done, uint64_t count)
{
	for (unsigned i = 0; i < v->count; i++)
		opl3_envelope(v->op[i], v->tone[i], chip->clock + done, count - done);
}

static void render_voice(struct opl3 *chip, struct voice *v, const struct opl3_lfo *lfo, int32_t *sum, unsigned count)
{
	unsigned i = 0;
	for (unsigned k = 0; k < v->count; k++)
		v->step[k] = opl3_phase_step(v->tone[k], lfo);
	/* It ends at the very sample: what comes later must not depend on how many were asked for at once. */
	for (; i < count && voice_audible(v); i++) {
		if (v->count == VOICE_OPERATORS)
			play_drums(chip, v, lfo, chip->clock + i, sum + 2 * i);
		else
			play_channel(v, lfo, chip->clock + i, sum + 2 * i);
	}
	skip_voice(chip, v, i, count);
}

void opl3_render(struct opl3 *chip, int16_t *frames, unsigned count)
{
	int32_t sum[2 * PIECE];
	struct voice v;
	refresh(chip);
	while (count) {
		unsigned piece = MIN(count, PIECE - (unsigned)(chip->clock % PIECE));
		struct opl3_lfo lfo = low_frequency(chip);
		memset(sum, 0, sizeof(sum));
		for (unsigned i = 0; i < OPL3_CHANNELS; i++)
			if (find_voice(chip, i, &v))
				render_voice(chip, &v, &lfo, sum, piece);
		for (unsigned i = 0; i < 2 * piece; i++)
			frames[i] = audio_clip(sum[i]);
		frames += 2 * piece;
		count -= piece;
		chip->clock += piece;
	}
}

bool opl3_audible(struct opl3 *chip)
{
	struct voice v;
	refresh(chip);
	for (unsigned i = 0; i < OPL3_CHANNELS; i++)
		if (find_voice(chip, i, &v) && voice_audible(&v))
			return true;
	return false;
}

void opl3_skip(struct opl3 *chip, uint64_t count)
{
	refresh(chip);
	for (unsigned i = 0; i < OPL3_OPERATORS; i++)
		opl3_envelope(&chip->operator[i], &chip->tone[i], chip->clock, count);
	chip->clock += count;
}

/* --- state --- */

static const struct field operator_fields[] = {
	FIELD(struct opl3_operator, phase),
	FIELD_RESET(struct opl3_operator, level, OPL3_LEVEL_MAX),
	FIELD_RESET(struct opl3_operator, stage, OPL3_RELEASE),
	FIELD(struct opl3_operator, key),
	FIELD_ARRAY(struct opl3_operator, out),
	FIELD_END
};

const struct field opl3_fields[] = {
	FIELD(struct opl3, clock),
	FIELD_RESET(struct opl3, noise, 1),
	FIELD_STRUCT_ARRAY(struct opl3, operator, operator_fields),
	FIELD_END
};

bool opl3_loaded(struct opl3 *chip)
{
	bool possible = chip->noise && !(chip->noise >> 23);
	for (unsigned i = 0; i < OPL3_OPERATORS; i++) {
		const struct opl3_operator *op = &chip->operator[i];
		possible &= op->phase <= PHASE_MASK && op->level <= OPL3_LEVEL_MAX && op->stage < OPL3_STAGES;
		for (unsigned k = 0; k < 2; k++)
			possible &= op->out[k] > -4096 && op->out[k] < 4096;
	}
	chip->stale = true;
	return possible;
}
