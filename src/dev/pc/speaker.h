/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_SPEAKER_H
#define VISOR_DEV_PC_SPEAKER_H

#include "audio/audio.h"
#include "bus/clock.h"
#include "state/field.h"

/*
 * The PC's loudspeaker, a part of the timer (pit.c): it hears what port 0x61 lets through of channel 2's output. What is high in 24
 * ticks of the timer makes a sample, so programs that play samples by the length of pulses are heard, too; the loudspeaker itself
 * passes no direct current. While nothing changes it costs nothing.
 */
#define SPEAKER_TICKS 24u
#define SPEAKER_RATE 49716u

struct speaker {
	struct audio_voice voice;
	struct vclock *clock;
	struct timer timer;
	/* What is heard at a tick, and, unless something is written before, up to which one; UINT64_MAX: for good. */
	bool (*level)(void *opaque, uint64_t tick, uint64_t *until);
	void *opaque;
	/* Saved: */
	uint64_t at;        /* ticks before this one are played */
	uint8_t high;       /* of the sample that has begun */
	int32_t last;       /* sample, with its direct current */
	int32_t moved;      /* sample without it, in 1/256 */
};

extern const struct field speaker_fields[];

void speaker_init(struct speaker *speaker, struct lock *lock, struct vclock *clock, struct audio *audio);
void speaker_end(struct speaker *speaker);

/* Plays up to now: before anything is written that it hears, and before a save. */
void speaker_run(struct speaker *speaker);
/* After that. */
void speaker_go_on(struct speaker *speaker);
/* Its fields have their values after a reset. */
void speaker_reset(struct speaker *speaker);
/* False: its state cannot be. */
bool speaker_loaded(struct speaker *speaker);

#endif
