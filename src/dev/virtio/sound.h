/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_SOUND_H
#define VISOR_DEV_VIRTIO_SOUND_H

#include "audio/audio.h"
#include "bus/clock.h"
#include "dev/virtio/virtio.h"

/*
 * The sound device (virtio 1.2, 5.14): one stream of PCM that plays, one that records silence, one or two channels each. Buffers are
 * carried out at the pace of the machine's clock, and stay on the driver's queue until their time is over, so the device never holds one.
 */
struct virtio_sound_config {
	struct virtio_device_config device;
	struct vclock *clock;
	struct audio *audio; /* stays the caller's; NULL: nobody listens */
};

struct virtio_sound;

/* The object begins with its struct virtio_device. */
struct virtio_sound *virtio_sound_create(const struct virtio_sound_config *config, struct error *err);

static inline struct virtio_device *virtio_sound_device(struct virtio_sound *sound)
{
	return (struct virtio_device *)sound;
}

#endif
