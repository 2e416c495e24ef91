/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCM streams. A buffer is read when its time is over: drivers put buffers onto the queue again before the program
 * has filled them, and do not touch them in the end.
 */
#include <string.h>

#include "base/util.h"
#include "dev/virtio/sound_parts.h"

#define LATE_NS (NS_PER_SEC / 2) /* more than that is not caught up with */
#define LEAST_NS 1000000u        /* between two looks at the queues */
#define PIECE 1024u              /* frames at once */
#define STATUS_SIZE 8u           /* struct virtio_snd_pcm_status */
#define XFER_SIZE 4u             /* struct virtio_snd_pcm_xfer */

/* --- formats and rates (5.14.6.6.2) --- */

static const struct format {
	uint8_t number, bytes;
	bool is_signed;
} formats[] = {
	/* S8, U8, S16, U16, S32, U32 */
	{ 3, 1, true }, { 4, 1, false }, { 5, 2, true }, { 6, 2, false }, { 17, 4, true }, { 18, 4, false },
};

static const uint32_t rates[] = { 5512, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 88200, 96000 };

uint64_t sound_formats(void)
{
	uint64_t bits = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		bits |= BIT64(formats[i].number);
	return bits;
}

uint64_t sound_rates(void)
{
	return BIT64(ARRAY_SIZE(rates)) - 1;
}

static const struct format *format_of(const struct sound_stream *s)
{
	unsigned i = 0;
	while (i + 1 < ARRAY_SIZE(formats) && formats[i].number != s->format)
		i++;
	return &formats[i];
}

static uint32_t frame_bytes(const struct sound_stream *s)
{
	return (uint32_t)format_of(s)->bytes * s->channels;
}

/* The upper 16 bits of a value. */
static int16_t sample(const struct format *f, const uint8_t *at)
{
	unsigned v = f->bytes == 1 ? (unsigned)*at << 8 : load_le16(at + f->bytes - 2);
	return (int16_t)(f->is_signed ? v : v ^ 0x8000);
}

/* --- buffers --- */

static void play(struct virtio_sound *sound, const struct sound_stream *s, const struct virtqueue_element *element)
{
	const struct format *f = format_of(s);
	uint8_t data[PIECE * 2 * 4];
	int16_t frames[PIECE * 2];
	uint32_t unit = frame_bytes(s);
	uint64_t left = (element->out_size - XFER_SIZE) / unit, at = XFER_SIZE, begun = s->due - muldiv64(left, NS_PER_SEC, rates[s->rate]);
	while (left) {
		size_t count = MIN(left, (uint64_t)PIECE);
		iov_read(element->iov, element->out_count, at, data, count * unit);
		for (size_t i = 0; i < 2 * count; i++)
			frames[i] = sample(f, data + i / 2 * unit + (s->channels == 2 ? i % 2 * f->bytes : 0));
		audio_play(&sound->voice, rates[s->rate], begun, frames, count);
		at += count * unit;
		left -= count;
	}
}

static void record(const struct sound_stream *s, const struct virtqueue_element *element)
{
	const struct format *f = format_of(s);
	uint8_t silence[PIECE * 4] = { 0 };
	for (unsigned i = f->bytes - 1; !f->is_signed && i < sizeof(silence); i += f->bytes)
		silence[i] = 0x80;
	for (uint64_t at = 0, size = element->in_size - STATUS_SIZE; at < size; at += sizeof(silence))
		iov_write(element->iov + element->out_count, element->in_count, at, silence, MIN(size - at, sizeof(silence)));
}

/* Bytes of samples in a buffer, or for them; false: it is none of this stream's. */
static bool buffer_size(const struct sound_stream *s, unsigned stream, const struct virtqueue_element *element, uint64_t *size)
{
	uint32_t id;
	if (element->in_size < STATUS_SIZE || iov_read(element->iov, element->out_count, 0, &id, sizeof(id)) < sizeof(id) || id != stream)
		return false;
	*size = stream == STREAM_OUTPUT ? element->out_size - XFER_SIZE : element->in_size - STATUS_SIZE;
	return *size <= s->buffer_bytes;
}

/* The status comes last, after what was recorded. */
static void complete(struct virtio_sound *sound, unsigned stream, const struct virtqueue_element *element, uint32_t status)
{
	const uint32_t answer[2] = { status, 0 };
	uint64_t at = element->in_size < STATUS_SIZE ? 0 : element->in_size - STATUS_SIZE;
	uint64_t n = iov_write(element->iov + element->out_count, element->in_count, at, answer, sizeof(answer));
	virtio_push(&sound->virtio, QUEUE_TX + stream, element, (uint32_t)(status == S_OK && stream == STREAM_INPUT ? at + n : n));
}

/* The first buffer's time is over. */
static void finish(struct virtio_sound *sound, unsigned stream, const struct virtqueue_element *element)
{
	const struct sound_stream *s = &sound->stream[stream];
	if (stream == STREAM_OUTPUT)
		play(sound, s, element);
	else
		record(s, element);
	complete(sound, stream, element, S_OK);
}

/* One buffer: carried out if it is over, else left on the queue. begun: it is the one whose end `due` says. */
static void look_at(struct virtio_sound *sound, unsigned stream, const struct virtqueue_element *element, bool begun)
{
	struct sound_stream *s = &sound->stream[stream];
	uint64_t size;
	if (!buffer_size(s, stream, element, &size)) {
		complete(sound, stream, element, S_BAD_MSG);
		return;
	}
	if (!begun)
		s->due += muldiv64_up(size / frame_bytes(s), NS_PER_SEC, rates[s->rate]);
	s->busy = s->due > vclock_now(sound->clock);
	if (s->busy)
		virtqueue_unpop(&sound->virtio.queue[QUEUE_TX + stream]);
	else
		finish(sound, stream, element);
}

/* Carries out what is due, and begins what comes then. Only of an empty queue the driver has to say when there is more. */
static void advance(struct virtio_sound *sound, unsigned stream)
{
	struct sound_stream *s = &sound->stream[stream];
	struct virtio_device *virtio = &sound->virtio;
	struct virtqueue_element element;
	uint64_t now = vclock_now(sound->clock);
	bool begun = s->busy;
	if (!begun || now > s->due + LATE_NS) {
		if (stream == STREAM_OUTPUT)
			audio_rest(&sound->voice);
		s->due = now;
	}
	s->busy = false;
	/* At most a ring of them: those without samples take no time. */
	unsigned left = virtio->queue[QUEUE_TX + stream].size;
	do {
		for (; !s->busy && left && virtio_pop(virtio, QUEUE_TX + stream, &element); left--, begun = false)
			look_at(sound, stream, &element, begun);
	} while (!s->busy && left && virtio_ask(virtio, QUEUE_TX + stream));
	if (!left)
		virtio_kick(virtio, QUEUE_TX + stream);
	virtio_signal(virtio, QUEUE_TX + stream);
}

void sound_go_on(struct virtio_sound *sound)
{
	uint64_t now = vclock_now(sound->clock), next = UINT64_MAX;
	for (unsigned i = 0; i < STREAMS; i++) {
		struct sound_stream *s = &sound->stream[i];
		if (s->state != STATE_STARTED)
			continue;
		if (!s->busy || s->due <= now)
			advance(sound, i);
		if (s->busy)
			next = MIN(next, MAX(s->due, now + LEAST_NS));
	}
	if (next == UINT64_MAX)
		timer_cancel(&sound->timer);
	else
		timer_arm(&sound->timer, next);
}

void sound_on_time(void *opaque)
{
	sound_go_on(opaque);
}

void sound_flush(struct virtio_sound *sound, unsigned stream)
{
	struct virtqueue_element element;
	unsigned left = sound->virtio.queue[QUEUE_TX + stream].size;
	sound->stream[stream].busy = false;
	while (left-- && virtio_pop(&sound->virtio, QUEUE_TX + stream, &element))
		complete(sound, stream, &element, S_OK);
	virtio_signal(&sound->virtio, QUEUE_TX + stream);
}
