/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/sound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/sound_parts.h"

#define QUEUE_SIZE 64
#define BUFFER_MOST (4u << 20)

/* Requests (5.14.6). */
enum {
	R_JACK_INFO = 1, R_PCM_INFO = 0x0100, R_PCM_SET_PARAMS, R_PCM_PREPARE, R_PCM_RELEASE, R_PCM_START, R_PCM_STOP,
	R_CHMAP_INFO = 0x0200,
};

enum { POSITION_FL = 3, POSITION_FR };

struct query { uint32_t code, start, count, size; };
struct pcm_request { uint32_t code, stream; };
struct set_params { uint32_t code, stream, buffer_bytes, period_bytes, features; uint8_t channels, format, rate, padding; };
struct pcm_info {
	uint32_t node, features;
	uint64_t formats, rates;
	uint8_t direction, channels_min, channels_max, padding[5];
};
struct chmap_info { uint32_t node; uint8_t direction, channels, positions[18]; };

static struct virtio_sound *sound_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_sound, virtio);
}

/* --- what there is --- */

static size_t describe_pcm(unsigned id, void *to)
{
	*(struct pcm_info *)to = (struct pcm_info){
		.formats = sound_formats(), .rates = sound_rates(), .direction = (uint8_t)id, .channels_min = 1, .channels_max = 2,
	};
	return sizeof(struct pcm_info);
}

static size_t describe_chmap(unsigned id, void *to)
{
	*(struct chmap_info *)to = (struct chmap_info){
		.direction = (uint8_t)id, .channels = 2, .positions = { POSITION_FL, POSITION_FR },
	};
	return sizeof(struct chmap_info);
}

/* Writes descriptions of things behind the status, each `size` bytes of the driver's long; *written: how much. */
static uint32_t query(const struct virtqueue_element *element, unsigned things, size_t (*describe)(unsigned id, void *to), size_t *written)
{
	struct query q;
	uint64_t info[4];
	if (iov_read(element->iov, element->out_count, 0, &q, sizeof(q)) < sizeof(q) || q.start > things || q.count > things - q.start)
		return S_BAD_MSG;
	if (q.count && (q.size < describe(q.start, info) || q.size > 4096 || element->in_size < 4 + (uint64_t)q.count * q.size))
		return S_BAD_MSG;
	for (uint32_t i = 0; i < q.count; i++) {
		size_t size = describe(q.start + i, info);
		iov_write(element->iov + element->out_count, element->in_count, 4 + (uint64_t)i * q.size, info, size);
	}
	*written = 4 + (size_t)q.count * q.size;
	return S_OK;
}

/* --- streams --- */

static bool is_one(uint64_t set, unsigned number)
{
	return number < 64 && set >> number & 1;
}

static uint32_t set_params(struct virtio_sound *sound, const struct virtqueue_element *element)
{
	struct set_params p;
	if (iov_read(element->iov, element->out_count, 0, &p, sizeof(p)) < sizeof(p) || p.stream >= STREAMS)
		return S_BAD_MSG;
	struct sound_stream *s = &sound->stream[p.stream];
	if (s->state == STATE_STARTED || s->state == STATE_STOPPED || !p.period_bytes || p.period_bytes > p.buffer_bytes)
		return S_BAD_MSG;
	if (p.features || p.channels < 1 || p.channels > 2 || !is_one(sound_formats(), p.format) || !is_one(sound_rates(), p.rate) ||
	    p.buffer_bytes > BUFFER_MOST)
		return S_NOT_SUPP;
	*s = (struct sound_stream){
		.state = STATE_SET, .channels = p.channels, .format = p.format, .rate = p.rate, .buffer_bytes = p.buffer_bytes,
		.period_bytes = p.period_bytes,
	};
	return S_OK;
}

/* The states in which a request may come, by bit, and the one after it. */
static const struct {
	uint32_t code;
	uint8_t before, after;
} steps[] = {
	{ R_PCM_PREPARE, BIT(STATE_SET) | BIT(STATE_PREPARED), STATE_PREPARED },
	{ R_PCM_START, BIT(STATE_PREPARED) | BIT(STATE_STOPPED), STATE_STARTED },
	{ R_PCM_STOP, BIT(STATE_STARTED), STATE_STOPPED },
	/* The parameters stay: it may be prepared again. */
	{ R_PCM_RELEASE, BIT(STATE_PREPARED) | BIT(STATE_STOPPED), STATE_SET },
};

static uint32_t step(struct virtio_sound *sound, const struct virtqueue_element *element)
{
	struct pcm_request r;
	if (iov_read(element->iov, element->out_count, 0, &r, sizeof(r)) < sizeof(r) || r.stream >= STREAMS)
		return S_BAD_MSG;
	struct sound_stream *s = &sound->stream[r.stream];
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].code != r.code)
			continue;
		if (!(steps[i].before >> s->state & 1))
			return S_BAD_MSG;
		s->state = steps[i].after;
		s->busy = false;
		if (r.stream == STREAM_OUTPUT)
			audio_rest(&sound->voice);
	}
	return S_OK;
}

static uint32_t execute(struct virtio_sound *sound, uint32_t code, const struct virtqueue_element *element, size_t *written)
{
	switch (code) {
	case R_JACK_INFO: return query(element, 0, NULL, written);
	case R_PCM_INFO: return query(element, STREAMS, describe_pcm, written);
	case R_CHMAP_INFO: return query(element, STREAMS, describe_chmap, written);
	case R_PCM_SET_PARAMS: return set_params(sound, element);
	case R_PCM_PREPARE: case R_PCM_RELEASE: case R_PCM_START: case R_PCM_STOP: return step(sound, element);
	default: return S_NOT_SUPP;
	}
}

/* A release is answered when the stream's buffers are back, whose pieces then take the place of this element's in the device. */
static bool take(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_sound *sound = sound_of(virtio);
	struct pcm_request r = { 0 };
	size_t written = sizeof(uint32_t);
	uint64_t size = iov_read(element->iov, element->out_count, 0, &r, sizeof(r));
	uint32_t status = size < sizeof(r.code) ? S_BAD_MSG : execute(sound, r.code, element, &written);
	iov_write(element->iov + element->out_count, element->in_count, 0, &status, sizeof(status));
	struct iovec pieces[VIRTQUEUE_MAX_SEGMENTS];
	if (status == S_OK && r.code == R_PCM_RELEASE) {
		memcpy(pieces, element->iov, (element->out_count + element->in_count) * sizeof(*pieces));
		element->iov = pieces;
		sound_flush(sound, r.stream);
	}
	virtio_push(virtio, queue, element, (uint32_t)MIN(written, element->in_size));
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	if (queue == QUEUE_CONTROL) {
		virtio_serve_chains(virtio, queue, take);
		virtio_signal(virtio, queue);
	}
	if (queue != QUEUE_EVENT)
		sound_go_on(sound_of(virtio));
}

/* --- life and state --- */

static void reset_sound(struct virtio_device *virtio)
{
	struct virtio_sound *sound = sound_of(virtio);
	memset(sound->stream, 0, sizeof(sound->stream));
	timer_cancel(&sound->timer);
	audio_rest(&sound->voice);
}

static const struct virtio_ops sound_ops = { .serve = serve, .reset = reset_sound };

static const struct field stream_fields[] = {
	FIELD(struct sound_stream, state),
	FIELD(struct sound_stream, channels),
	FIELD(struct sound_stream, format),
	FIELD(struct sound_stream, rate),
	FIELD(struct sound_stream, buffer_bytes),
	FIELD(struct sound_stream, period_bytes),
	FIELD(struct sound_stream, busy),
	FIELD(struct sound_stream, due),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_sound, virtio, virtio_device_fields),
	FIELD_STRUCT_ARRAY(struct virtio_sound, stream, stream_fields),
	FIELD_END
};

static int loaded(void *device, struct error *err)
{
	struct virtio_sound *sound = device;
	for (unsigned i = 0; i < STREAMS; i++) {
		const struct sound_stream *s = &sound->stream[i];
		bool set = s->channels >= 1 && s->channels <= 2 && is_one(sound_formats(), s->format) && is_one(sound_rates(), s->rate) &&
			s->buffer_bytes <= BUFFER_MOST;
		if (s->state >= SOUND_STATES || (s->state != STATE_RELEASED && !set))
			return error_set(err, EINVAL, "%s: stream %u cannot be; the file is damaged", sound->virtio.device.name, i);
	}
	/* All queues are looked at: what was playing goes on. */
	return virtio_device_loaded(device, err);
}

static void destroy(void *device)
{
	struct virtio_sound *sound = device;
	timer_cancel(&sound->timer);
	audio_voice_end(&sound->voice);
	virtio_device_destroy(&sound->virtio);
	free(sound);
}

static const struct device_type virtio_sound_type = {
	.name = "virtio-sound",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_sound *virtio_sound_create(const struct virtio_sound_config *config, struct error *err)
{
	struct virtio_sound *sound = calloc(1, sizeof(*sound));
	if (!sound) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	sound->clock = config->clock;
	audio_voice_init(&sound->voice, config->audio, false);
	sound->space = (struct sound_space){ .streams = STREAMS, .chmaps = STREAMS };
	sound->virtio.ops = &sound_ops;
	sound->virtio.type = VIRTIO_TYPE_SOUND;
	sound->virtio.class_code = 0x040100;
	sound->virtio.queue_count = QUEUE_COUNT;
	sound->virtio.config = (const uint8_t *)&sound->space;
	sound->virtio.config_size = sizeof(sound->space);
	virtio_device_init(&sound->virtio, &virtio_sound_type, &config->device, QUEUE_SIZE);
	timer_init(&sound->timer, config->clock, &sound->virtio.lock, sound_on_time, sound);
	return sound;
}
