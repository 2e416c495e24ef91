/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sum of what all voices play. While any sounds, the frames of the sum lie at virtual times; `pending` holds those
 * that some voice has still to add to. A voice that is a second behind is at rest: its device has nothing more to say.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audio/audio.h"
#include "audio/wav.h"
#include "base/lock.h"
#include "base/util.h"

#define PENDING (1u << 17)       /* frames; more than a second */
#define PAUSE_MOST 2000000000ull /* ns; more is not music's */
#define PIECE 512u
#define SECOND 1000000000ull

struct audio {
	struct lock lock;
	struct wav *wav;         /* NULL: to nothing */
	unsigned rate;           /* of the sum; 0: nothing was played yet */
	struct audio_voice *voices;
	uint64_t written;        /* frames that are in the file */
	uint64_t reached;        /* the end of the longest voice */
	uint64_t anchor, anchor_time; /* this frame was at this time, of what sounds now or sounded last */
	bool pauses;             /* one of the voices of it has them */
	int32_t (*pending)[2];   /* frame n at n % PENDING */
};

struct audio *audio_open(const char *spec, struct error *err)
{
	bool none = !strcmp(spec, "none");
	if (!none && (strncmp(spec, "wav:", 4) || !spec[4])) {
		error_set(err, EINVAL, "'%s': sound cannot go there; write wav:FILE or none", spec);
		return NULL;
	}
	struct audio *audio = calloc(1, sizeof(*audio));
	if (audio && !none)
		audio->pending = calloc(PENDING, sizeof(*audio->pending));
	if (!audio || (!none && !audio->pending))
		error_set(err, ENOMEM, "out of memory for sound");
	else if (none || (audio->wav = wav_create(spec + 4, err))) {
		lock_init(&audio->lock);
		return audio;
	}
	if (audio)
		free(audio->pending);
	free(audio);
	return NULL;
}

void audio_voice_init(struct audio_voice *voice, struct audio *audio, bool pauses)
{
	*voice = (struct audio_voice){ .audio = audio && audio->wav ? audio : NULL, .pauses = pauses };
	if (!voice->audio)
		return;
	lock_take(&audio->lock);
	voice->next = audio->voices;
	audio->voices = voice;
	lock_release(&audio->lock);
}

bool audio_heard(const struct audio_voice *voice)
{
	return voice->audio;
}

/* --- the file --- */

static void write_until(struct audio *audio, uint64_t end)
{
	int16_t frames[2 * PIECE];
	while (audio->written < end) {
		unsigned count = (unsigned)MIN(end - audio->written, (uint64_t)PIECE);
		for (unsigned i = 0; i < count; i++) {
			int32_t *sum = audio->pending[audio->written++ % PENDING];
			for (unsigned c = 0; c < 2; c++) {
				frames[2 * i + c] = audio_clip(sum[c]);
				sum[c] = 0;
			}
		}
		wav_put(audio->wav, frames, count);
	}
}

/* What all that sound have added to, of which the first is at `now`. False: none sounds. */
static bool flush(struct audio *audio, uint64_t now)
{
	uint64_t end = audio->reached;
	bool any = false;
	for (struct audio_voice *v = audio->voices; v; v = v->next) {
		v->sounds &= v->position + audio->rate >= now;
		if (v->sounds)
			end = MIN(end, v->position);
		any |= v->sounds;
	}
	write_until(audio, end);
	return any;
}

static void put(struct audio_voice *voice, int32_t left, int32_t right)
{
	struct audio *audio = voice->audio;
	voice->position = MAX(voice->position, audio->written); /* others did not wait */
	if (voice->position - audio->written >= PENDING)
		write_until(audio, voice->position - PENDING + PIECE);
	int32_t *sum = audio->pending[voice->position++ % PENDING];
	sum[0] += left;
	sum[1] += right;
	audio->reached = MAX(audio->reached, voice->position);
}

/* --- rates --- */

/* Frames of the sum that lie between the last frame of the source and this one, on a straight line. */
static void interpolate(struct audio_voice *voice, const int16_t *frame)
{
	unsigned rate = voice->audio->rate;
	for (; voice->phase < rate; voice->phase += voice->source) {
		int32_t value[2];
		for (unsigned i = 0; i < 2; i++)
			value[i] = (int32_t)(voice->last[i] + (int64_t)(frame[i] - voice->last[i]) * (int64_t)voice->phase / (int64_t)rate);
		put(voice, value[0], value[1]);
	}
	voice->phase -= rate;
	memcpy(voice->last, frame, sizeof(voice->last));
}

/* A frame of the sum is the mean of the source's in its time: less of what the lower rate cannot have is folded into it. */
static void decimate(struct audio_voice *voice, const int16_t *frame)
{
	for (uint64_t left = voice->audio->rate; left;) {
		uint64_t part = MIN(left, voice->source - voice->phase);
		for (unsigned i = 0; i < 2; i++)
			voice->sum[i] += frame[i] * (int64_t)part;
		voice->phase += part;
		left -= part;
		if (voice->phase < voice->source)
			continue;
		put(voice, (int32_t)(voice->sum[0] / voice->source), (int32_t)(voice->sum[1] / voice->source));
		memset(voice->sum, 0, sizeof(voice->sum));
		voice->phase = 0;
	}
	memcpy(voice->last, frame, sizeof(voice->last));
}

static void convert(struct audio_voice *voice, unsigned rate, const int16_t *frames, size_t count)
{
	if (voice->source != rate) {
		voice->source = rate;
		voice->phase = 0;
		memset(voice->sum, 0, sizeof(voice->sum));
	}
	for (const int16_t *frame = frames; frame < frames + 2 * count; frame += 2) {
		if (rate < voice->audio->rate)
			interpolate(voice, frame);
		else if (rate > voice->audio->rate)
			decimate(voice, frame);
		else
			put(voice, frame[0], frame[1]);
	}
	if (rate == voice->audio->rate)
		memcpy(voice->last, frames + 2 * (count - 1), sizeof(voice->last));
}

/* --- time --- */

static uint64_t frames_of(const struct audio *audio, uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * audio->rate / SECOND);
}

static uint64_t frame_at(const struct audio *audio, uint64_t at)
{
	return audio->anchor + frames_of(audio, at > audio->anchor_time ? at - audio->anchor_time : 0);
}

/* Silence up to `at`, if that is a pause: everything is at rest. */
static void pause_until(struct audio *audio, uint64_t at)
{
	uint64_t end = frame_at(audio, at);
	if (!audio->written || end <= audio->written || end - audio->written > frames_of(audio, PAUSE_MOST))
		return;
	audio->reached = end;
	write_until(audio, end);
}

static void begin(struct audio_voice *voice, unsigned rate, uint64_t at)
{
	struct audio *audio = voice->audio;
	if (voice->sounds)
		return;
	if (!audio->rate)
		audio->rate = rate;
	if (!flush(audio, frame_at(audio, at))) {
		if (audio->pauses || voice->pauses)
			pause_until(audio, at);
		audio->anchor = audio->written;
		audio->anchor_time = at;
		audio->pauses = false;
	}
	audio->pauses |= voice->pauses;
	voice->sounds = true;
	voice->position = MIN(frame_at(audio, at), audio->reached + audio->rate);
	voice->phase = 0;
	memset(voice->sum, 0, sizeof(voice->sum));
}

void audio_begin(struct audio_voice *voice, unsigned rate, uint64_t at)
{
	if (!voice->audio || !rate)
		return;
	lock_take(&voice->audio->lock);
	begin(voice, rate, at);
	lock_release(&voice->audio->lock);
}

void audio_play(struct audio_voice *voice, unsigned rate, uint64_t at, const int16_t *frames, size_t count)
{
	struct audio *audio = voice->audio;
	if (!audio || !count || !rate)
		return;
	lock_take(&audio->lock);
	begin(voice, rate, at);
	convert(voice, rate, frames, count);
	flush(audio, audio->reached);
	lock_release(&audio->lock);
}

void audio_rest(struct audio_voice *voice)
{
	struct audio *audio = voice->audio;
	if (!audio)
		return;
	lock_take(&audio->lock);
	voice->sounds = false;
	flush(audio, audio->reached);
	lock_release(&audio->lock);
}

/* --- ends --- */

void audio_voice_end(struct audio_voice *voice)
{
	struct audio *audio = voice->audio;
	if (!audio)
		return;
	audio_rest(voice);
	lock_take(&audio->lock);
	for (struct audio_voice **at = &audio->voices; *at; at = &(*at)->next)
		if (*at == voice) {
			*at = voice->next;
			break;
		}
	lock_release(&audio->lock);
	voice->audio = NULL;
}

int audio_close(struct audio *audio, struct error *err)
{
	int result = 0;
	if (!audio)
		return 0;
	for (struct audio_voice *v = audio->voices; v; v = v->next)
		v->audio = NULL;
	if (audio->wav) {
		write_until(audio, audio->reached);
		result = wav_close(audio->wav, audio->rate, err);
	}
	lock_destroy(&audio->lock);
	free(audio->pending);
	free(audio);
	return result;
}
