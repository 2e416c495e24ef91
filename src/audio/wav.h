/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_AUDIO_WAV_H
#define VISOR_AUDIO_WAV_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A WAV file of 16 bits and two channels, written by a thread of its own. */
struct wav;

struct wav *wav_create(const char *path, struct error *err);
void wav_put(struct wav *wav, const int16_t *frames, size_t count);
/* Completes the header and closes. */
int wav_close(struct wav *wav, unsigned rate, struct error *err);

#endif
