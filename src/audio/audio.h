/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_AUDIO_AUDIO_H
#define VISOR_AUDIO_AUDIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Where a sound card's samples go. The card paces itself by the machine's clock
 * and hands over what it has played; nothing is ever waited for here.
 *
 * A WAV file has 16 bits, two channels, and the rate of what was played first; sound of
 * another rate is converted to it by linear interpolation. It holds what was played, one sound after the other without the
 * silence between them. Its header is complete when it is closed.
 */
struct audio;

/* "none", or "wav:FILE", which is replaced. */
struct audio *audio_open(const char *spec, struct error *err);

/* One value a channel, left first. rate: frames a second. audio: NULL is silence. Any thread, one at a time. */
void audio_play(struct audio *audio, unsigned rate, const int16_t *frames, size_t count);

/* -1 and err: not all of it could be written. */
int audio_close(struct audio *audio, struct error *err);

#endif
