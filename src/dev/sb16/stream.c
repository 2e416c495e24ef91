/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Samples by DMA at the pace of the machine's clock. A timer comes at the end
 * of each block, and some hundred times a second in between, so that the address in the DMA
 * controller, by which drivers know where the card is, moves on smoothly.
 */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

#define TICK_NS (3 * NS_PER_SEC / 1000)
#define PIECE 1024u         /* samples at once */
#define DIRECT_RATE 44100u
#define DIRECT_MOST 1024u   /* frames that one sample of the program's may be */
#define LATE_NS (NS_PER_SEC / 2) /* more than that is not caught up with */

static uint64_t samples_a_second(const struct sb16 *sb, const struct sb16_stream *s)
{
	return (uint64_t)sb->rate << s->stereo;
}

/* The virtual time at which `done` samples are over. */
static uint64_t time_of(const struct sb16 *sb, const struct sb16_stream *s, uint64_t done)
{
	return s->since + muldiv64_up(done, NS_PER_SEC, samples_a_second(sb, s));
}

void sb16_schedule(struct sb16 *sb)
{
	uint64_t now = vclock_now(sb->clock), next = UINT64_MAX;
	for (unsigned i = 0; i < 2; i++) {
		const struct sb16_stream *s = &sb->stream[i];
		/* In stereo two samples come at once, even if the block ends with the first. */
		uint64_t end = s->done + s->left;
		if (s->active && !s->paused)
			next = MIN(next, MIN(now + TICK_NS, MAX(now, time_of(sb, s, end + (end & s->stereo)))));
	}
	if (next == UINT64_MAX)
		timer_cancel(&sb->timer);
	else
		timer_arm(&sb->timer, next);
}

/* --- formats --- */

static int32_t value_of(const uint8_t *at, bool wide, bool is_signed)
{
	unsigned v = wide ? load_le16(at) : (unsigned)*at << 8;
	return (int16_t)(is_signed ? v : v ^ 0x8000);
}

/* at: virtual time of the first sample. */
static void play(struct sb16 *sb, struct audio_voice *voice, unsigned rate, uint64_t at, const struct sb16_stream *s, bool wide,
		 const uint8_t *data, unsigned samples)
{
	int16_t frames[2 * PIECE];
	int32_t gain[2];
	unsigned bytes = wide ? 2 : 1, count = samples >> s->stereo;
	sb16_gain(sb, MIXER_VOICE, gain);
	for (unsigned i = 0; i < count; i++)
		for (unsigned c = 0; c < 2; c++) {
			const uint8_t *sample = data + ((size_t)(i << s->stereo) + (s->stereo ? c : 0)) * bytes;
			frames[2 * i + c] = sb16_scale(value_of(sample, wide, s->is_signed), gain[c]);
		}
	audio_play(voice, rate, at, frames, count);
}

static void fill_silence(const struct sb16_stream *s, bool wide, uint8_t *data, unsigned samples)
{
	for (unsigned i = 0; i < samples; i++) {
		if (wide)
			store_le16(data + 2 * i, s->is_signed ? 0 : 0x8000);
		else
			data[i] = s->is_signed ? 0 : 0x80;
	}
}

/* --- pace --- */

/* Samples that the DMA controller gave or took. */
static unsigned move(struct sb16 *sb, const struct sb16_stream *s, bool wide, unsigned samples)
{
	uint8_t data[2 * PIECE];
	int channel = sb16_dma_channel(sb, wide);
	unsigned unit = wide ? 2 : 1;
	bool terminal;
	size_t moved = samples * unit;
	fill_silence(s, wide, data, samples);
	for (size_t done = 0; !s->silence && done < moved;) {
		size_t now = channel < 0 ? 0 : i8237_transfer(sb->dma, (unsigned)channel, s->input ? I8237_TO_MEMORY : I8237_FROM_MEMORY,
							      data + done, moved - done, &terminal);
		if (!now)
			moved = done;
		done += now;
	}
	/* A stereo frame that came in part is not heard. */
	samples = (unsigned)(moved / unit);
	if (!s->input)
		play(sb, &sb->stream_voice[wide], sb->rate, time_of(sb, s, s->done), s, wide, data, samples & ~(unsigned)s->stereo);
	return samples;
}

/* Programs that say every sample themselves: what each was is heard when the next one comes, at a rate of our own, if that is soon. */
void sb16_direct(struct sb16 *sb, uint8_t value)
{
	static const struct sb16_stream mono;
	uint64_t now = vclock_now(sb->clock), due = muldiv64(now - sb->direct_since, DIRECT_RATE, NS_PER_SEC);
	uint8_t held[DIRECT_MOST];
	if (due - sb->direct_done < DIRECT_MOST) {
		memset(held, sb->direct, sizeof(held));
		play(sb, &sb->direct_voice, DIRECT_RATE, sb->direct_since + muldiv64(sb->direct_done, NS_PER_SEC, DIRECT_RATE), &mono, false, held,
		     (unsigned)(due - sb->direct_done));
		sb->direct_done = due;
	} else {
		audio_rest(&sb->direct_voice);
		sb->direct_since = now;
		sb->direct_done = 0;
	}
	sb->direct = value;
}

static void end_block(struct sb16 *sb, bool wide)
{
	struct sb16_stream *s = &sb->stream[wide];
	if (!s->automatic || s->ending) {
		s->active = false;
		audio_rest(&sb->stream_voice[wide]);
	} else {
		s->left = s->block;
	}
	sb16_raise(sb, wide ? IRQ_16BIT : IRQ_8BIT);
}

static void advance(struct sb16 *sb, bool wide)
{
	struct sb16_stream *s = &sb->stream[wide];
	uint64_t now = vclock_now(sb->clock);
	if (now > time_of(sb, s, s->done) + LATE_NS) {
		audio_rest(&sb->stream_voice[wide]);
		s->since = now - LATE_NS;
		s->done = 0;
	}
	uint64_t due = muldiv64(now - s->since, samples_a_second(sb, s), NS_PER_SEC);
	due -= due & s->stereo;
	while (s->active && s->done < due) {
		unsigned wanted = (unsigned)MIN(MIN(due - s->done, (uint64_t)s->left), (uint64_t)PIECE);
		unsigned moved = move(sb, s, wide, wanted);
		s->done += moved;
		s->left -= moved;
		if (!s->left)
			end_block(sb, wide);
		else if (moved < wanted) { /* the channel is not ready: time stands still for the card */
			s->since = now;
			s->done = due = 0;
			audio_rest(&sb->stream_voice[wide]);
		}
	}
}

void sb16_stream_timer(void *opaque)
{
	struct sb16 *sb = opaque;
	for (unsigned i = 0; i < 2; i++)
		if (sb->stream[i].active && !sb->stream[i].paused && vclock_now(sb->clock) >= sb->stream[i].since)
			advance(sb, i);
	sb16_schedule(sb);
}

static void begin_voice(struct sb16 *sb, bool wide)
{
	const struct sb16_stream *s = &sb->stream[wide];
	if (s->active && !s->paused && !s->input)
		audio_begin(&sb->stream_voice[wide], sb->rate, s->since);
}

void sb16_start(struct sb16 *sb, bool wide, struct sb16_stream stream)
{
	stream.active = true;
	stream.left = stream.block;
	stream.since = vclock_now(sb->clock);
	sb->stream[wide] = stream;
	audio_rest(&sb->stream_voice[wide]);
	begin_voice(sb, wide);
	sb16_schedule(sb);
}

void sb16_pause(struct sb16 *sb, bool wide, bool pause)
{
	struct sb16_stream *s = &sb->stream[wide];
	if (!s->active || s->paused == pause)
		return;
	s->paused = pause;
	s->since = vclock_now(sb->clock);
	s->done = 0;
	audio_rest(&sb->stream_voice[wide]);
	begin_voice(sb, wide);
	sb16_schedule(sb);
}

void sb16_stop(struct sb16 *sb)
{
	memset(sb->stream, 0, sizeof(sb->stream));
	timer_cancel(&sb->timer);
	for (unsigned i = 0; i < 2; i++)
		audio_rest(&sb->stream_voice[i]);
}
