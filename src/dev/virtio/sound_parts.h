/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_SOUND_PARTS_H
#define VISOR_DEV_VIRTIO_SOUND_PARTS_H

#include "dev/virtio/sound.h"

/* Inside the device. */
enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_TX, QUEUE_RX, QUEUE_COUNT };
enum { STREAM_OUTPUT, STREAM_INPUT, STREAMS };

enum { S_OK = 0x8000, S_BAD_MSG, S_NOT_SUPP, S_IO_ERR };

/* What was last done with a stream (5.14.6.6.1). */
enum sound_state { STATE_RELEASED, STATE_SET, STATE_PREPARED, STATE_STARTED, STATE_STOPPED, SOUND_STATES };

struct sound_stream {
	uint8_t state;
	uint8_t channels, format, rate; /* as in the specification's tables */
	uint32_t buffer_bytes, period_bytes;
	bool busy;       /* the first buffer of the queue has begun */
	uint64_t due;    /* the virtual time at which it is over */
};

struct sound_space {
	uint32_t jacks, streams, chmaps;
};

struct virtio_sound {
	struct virtio_device virtio;
	struct sound_space space;
	struct vclock *clock;
	struct audio_voice voice;
	struct timer timer;
	/* State. */
	struct sound_stream stream[STREAMS];
};

/* --- sound_pcm.c: formats, and buffers in their time --- */
/* VIRTIO_SND_PCM_FMT_* and _RATE_*, by bit. */
uint64_t sound_formats(void);
uint64_t sound_rates(void);
/* Begins with what is on the stream's queue; after a start, and after new buffers. */
void sound_go_on(struct virtio_sound *sound);
void sound_on_time(void *opaque);
/* Gives back all buffers of a stream: before its release is answered. */
void sound_flush(struct virtio_sound *sound, unsigned stream);

#endif
