/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_AUDIO_AUDIO_H
#define VISOR_AUDIO_AUDIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Where a machine's sound goes. What makes sound has a voice, paces itself by the machine's clock
 * and hands over what it has played; nothing is ever waited for here. What several voices play at a time is added up.
 *
 * A WAV file has 16 bits, two channels, and the rate of what was played first; sound of
 * another rate is converted to it. It holds what was played, one sound after the other without the
 * silence between them, but for pauses in music (`pauses` below). Its header is complete when it is closed.
 */
struct audio;

/* The members are audio's own. */
struct audio_voice {
	struct audio *audio;    /* NULL: nobody listens */
	struct audio_voice *next;
	bool pauses;
	bool sounds;            /* has begun, and not come to rest */
	uint64_t position;      /* of its next frame in the sum of all */
	unsigned source;        /* rate of the sound that is converted; 0: none was yet */
	uint64_t phase;         /* within a frame of the file or of the source: convert.c */
	int64_t sum[2];
	int16_t last[2];
};

/* A sample of 16 bits: what is louder is cut off. */
static inline int16_t audio_clip(int64_t value)
{
	return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

/* "none", or "wav:FILE", which is replaced. */
struct audio *audio_open(const char *spec, struct error *err);

/* audio: NULL is silence. pauses: those of two seconds and less before and after its sounds are part of what is heard: a synthesizer. */
void audio_voice_init(struct audio_voice *voice, struct audio *audio, bool pauses);
void audio_voice_end(struct audio_voice *voice);

/* False: what is played is lost anyway. */
bool audio_heard(const struct audio_voice *voice);

/*
 * The voice will play from the virtual time `at` on, in ns: what others play then waits for it. It may be left out, but then others
 * may be past that time when the first frames come, and those are late. Nothing happens when the voice sounds already.
 */
void audio_begin(struct audio_voice *voice, unsigned rate, uint64_t at);

/*
 * One value a channel, left first. rate: frames a second. at: virtual time of the first frame; it counts when the voice
 * was at rest, after that one call goes on where the one before ended. Any thread, one at a time for each voice.
 */
void audio_play(struct audio_voice *voice, unsigned rate, uint64_t at, const int16_t *frames, size_t count);

/* What was played is over for now: other voices do not wait for this one. */
void audio_rest(struct audio_voice *voice);

/* -1 and err: not all of it could be written. Voices that are left play to nobody. */
int audio_close(struct audio *audio, struct error *err);

#endif
