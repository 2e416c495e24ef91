/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/speaker.h"

#include "base/util.h"
#include "dev/pc/pit.h"

#define SWING 16000         /* from low to high; of 16 bits, beside other sounds */
#define TICK_NS (NS_PER_SEC / 100)
#define LATE (PIT_HZ / 2)   /* ticks; more than that is not caught up with */
#define PIECE 256u

const struct field speaker_fields[] = {
	FIELD(struct speaker, at),
	FIELD(struct speaker, high),
	FIELD(struct speaker, last),
	FIELD(struct speaker, moved),
	FIELD_END
};

static uint64_t now_tick(const struct speaker *speaker)
{
	return muldiv64(vclock_now(speaker->clock), PIT_HZ, NS_PER_SEC);
}

/* Of the sample that has begun. */
static uint64_t sample_time(const struct speaker *speaker)
{
	return muldiv64(speaker->at / SPEAKER_TICKS * SPEAKER_TICKS, NS_PER_SEC, PIT_HZ);
}

/* Nothing changes by itself, and what has changed is not heard any more. */
static bool is_quiet(struct speaker *speaker)
{
	uint64_t until;
	bool level = speaker->level(speaker->opaque, speaker->at, &until);
	return until == UINT64_MAX && speaker->moved / 256 == 0 && speaker->last == (level ? SWING : 0);
}

/* From here on as if it had been as it is for long. */
static void set_at(struct speaker *speaker, uint64_t at)
{
	uint64_t until;
	audio_rest(&speaker->voice);
	bool level = speaker->level(speaker->opaque, at, &until);
	speaker->at = at;
	speaker->high = level ? (uint8_t)(at % SPEAKER_TICKS) : 0;
	speaker->last = level ? SWING : 0;
	speaker->moved = 0;
}

static int16_t end_sample(struct speaker *speaker)
{
	int32_t value = SWING * speaker->high / (int32_t)SPEAKER_TICKS;
	/* What a capacitor lets through: down to 31 Hz. */
	speaker->moved += (value - speaker->last) * 256 - speaker->moved / 256;
	speaker->last = value;
	speaker->high = 0;
	return audio_clip(speaker->moved / 256);
}

/* Some samples; false: it has come to `end`. */
static bool play(struct speaker *speaker, uint64_t end)
{
	int16_t frames[2 * PIECE];
	unsigned count = 0;
	uint64_t first = sample_time(speaker), until = 0;
	bool level = false;
	while (speaker->at < end && count < PIECE) {
		if (speaker->at >= until)
			level = speaker->level(speaker->opaque, speaker->at, &until);
		until = MAX(until, speaker->at + 1); /* whatever a damaged state says */
		uint64_t next = MIN(MIN(until, end), (speaker->at / SPEAKER_TICKS + 1) * SPEAKER_TICKS);
		speaker->high = (uint8_t)(speaker->high + (level ? next - speaker->at : 0));
		speaker->at = next;
		if (next % SPEAKER_TICKS == 0) {
			frames[2 * count] = frames[2 * count + 1] = end_sample(speaker);
			count++;
		}
	}
	audio_play(&speaker->voice, SPEAKER_RATE, first, frames, count);
	return speaker->at < end;
}

void speaker_run(struct speaker *speaker)
{
	if (!audio_heard(&speaker->voice))
		return;
	uint64_t now = now_tick(speaker);
	if (now > speaker->at + LATE)
		set_at(speaker, is_quiet(speaker) ? now : now - LATE);
	while (speaker->at < now && !is_quiet(speaker))
		if (!play(speaker, now))
			return;
	if (speaker->at < now)
		set_at(speaker, now);
}

void speaker_go_on(struct speaker *speaker)
{
	if (!audio_heard(&speaker->voice) || is_quiet(speaker)) {
		timer_cancel(&speaker->timer);
		return;
	}
	audio_begin(&speaker->voice, SPEAKER_RATE, sample_time(speaker));
	if (!timer_armed(&speaker->timer))
		timer_arm(&speaker->timer, vclock_now(speaker->clock) + TICK_NS);
}

static void on_timer(void *opaque)
{
	speaker_run(opaque);
	speaker_go_on(opaque);
}

void speaker_reset(struct speaker *speaker)
{
	timer_cancel(&speaker->timer);
	audio_rest(&speaker->voice);
}

bool speaker_loaded(struct speaker *speaker)
{
	const int32_t most = 2 * 256 * SWING;
	if (speaker->high > SPEAKER_TICKS || speaker->last < 0 || speaker->last > SWING || speaker->moved < -most || speaker->moved > most)
		return false;
	speaker->at = MIN(speaker->at, now_tick(speaker));
	speaker_go_on(speaker);
	return true;
}

void speaker_init(struct speaker *speaker, struct lock *lock, struct vclock *clock, struct audio *audio)
{
	speaker->clock = clock;
	timer_init(&speaker->timer, clock, lock, on_timer, speaker);
	audio_voice_init(&speaker->voice, audio, true);
}

void speaker_end(struct speaker *speaker)
{
	timer_cancel(&speaker->timer);
	audio_voice_end(&speaker->voice);
}
