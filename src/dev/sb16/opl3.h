/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SB16_OPL3_H
#define VISOR_DEV_SB16_OPL3_H

#include <stdbool.h>
#include <stdint.h>

#include "state/field.h"

/*
 * The sound of a YMF262 (OPL3): 36 operators in 18 channels, by its registers (YMF262 data sheet and application manual; YM3812's for what
 * both share). It knows no time but samples: whoever owns it lets it run up to now before each write. Timers, status and ports
 * are the card's (fm.c).
 *
 * An operator (opl3_operator.c) is a phase that looks up a waveform as a logarithm, to which its envelope and levels are added as
 * attenuation before a second table makes a number of it. Channels (opl3.c) connect two or four of them, or are the rhythm section.
 */
#define OPL3_RATE 49716u        /* frames a second: 14.31818 MHz / 288 */
#define OPL3_OPERATORS 36u
#define OPL3_CHANNELS 18u

/* Attenuation of an envelope is in steps of 0.1875 dB. */
#define OPL3_LEVEL_MAX 511u
#define OPL3_LEVEL_SILENT 384u  /* 72 dB: less than the last bit of an operator's 13 */

enum opl3_stage { OPL3_ATTACK, OPL3_DECAY, OPL3_SUSTAIN, OPL3_RELEASE, OPL3_STAGES };

struct opl3_operator {
	uint32_t phase;         /* 19 bits, of which the waveform takes the upper ten */
	uint16_t level;         /* of the envelope */
	uint8_t stage;
	bool key;
	int16_t out[2];         /* the last two samples, for feedback: 13 bits each */
};

/* What the registers say of an operator. */
struct opl3_tone {
	uint16_t number;        /* F-number, of 10 bits */
	uint8_t block, multiple, wave;
	bool vibrato, tremolo;
	uint16_t attenuation;   /* total level and key scale level */
	uint16_t sustain;       /* level */
	uint8_t rate[OPL3_STAGES]; /* 0 to 63; below 4 nothing moves */
};

/* What low frequency makes of all tones at a time. */
struct opl3_lfo {
	uint16_t tremolo;       /* attenuation */
	uint8_t vibrato;        /* eighth of its period */
	bool deep_vibrato;
};

struct opl3 {
	/* Saved: */
	uint8_t reg[2][256];
	uint64_t clock;         /* samples since the machine was made */
	uint32_t noise;         /* shift register of 23 bits */
	struct opl3_operator operator[OPL3_OPERATORS];
	/* Follows from the registers, as soon as it is wanted: */
	bool stale;
	struct opl3_tone tone[OPL3_OPERATORS];
};

/* Of what follows `reg`, which the owner saves. After a reset of these fields, and after a load, opl3_loaded. */
extern const struct field opl3_fields[];

/* False: its state cannot be. */
bool opl3_loaded(struct opl3 *chip);

/* A register of the array 0 or 1. */
void opl3_write(struct opl3 *chip, unsigned array, uint8_t index, uint8_t value);

/* There is something to hear, now or soon, without another write. */
bool opl3_audible(struct opl3 *chip);

/* `count` samples, left and right. */
void opl3_render(struct opl3 *chip, int16_t *frames, unsigned count);

/* Samples that nobody hears: envelopes go on, at a cost that does not grow with `count`. */
void opl3_skip(struct opl3 *chip, uint64_t count);

/* --- opl3_operator.c --- */

/* Once, before any operator sounds; any thread. */
void opl3_make_tables(void);

/* The key scale level in envelope steps at 6 dB an octave. */
unsigned opl3_key_scale(unsigned number, unsigned block);

/* What the phase takes a sample. */
uint32_t opl3_phase_step(const struct opl3_tone *tone, const struct opl3_lfo *lfo);

/* A sample of a waveform: phase in 1/1024 of its period, attenuation in envelope steps. */
int opl3_wave(unsigned wave, unsigned phase, unsigned attenuation);

void opl3_key(struct opl3_operator *op, const struct opl3_tone *tone, bool key);

/* The envelope of the samples from `clock` on. */
void opl3_envelope(struct opl3_operator *op, const struct opl3_tone *tone, uint64_t clock, uint64_t count);

#endif
