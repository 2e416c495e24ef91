/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "audio/audio.h"
#include "base/log.h"
#include "dev/sb16/sb16.h"
#include "dev/virtio/sound.h"
#include "vm/machine_parts.h"

/* Sound cards, and where they and the loudspeaker are heard. */

int machine_open_audio(struct machine *m, struct error *err)
{
	return m->config.audio && !(m->audio = audio_open(m->config.audio, err)) ? -1 : 0;
}

int machine_add_sb16(struct machine *m, struct error *err)
{
	if (m->config.profile != MACHINE_CLASSIC)
		return 0;
	const struct sb16_config config = {
		.lock = &m->board_lock, .ports = &m->ports, .dma = m->i8237, .clock = &m->clock, .audio = m->audio,
		.irq = { gsi_line(m->gsi, 9), gsi_line(m->gsi, 5), gsi_line(m->gsi, 7), gsi_line(m->gsi, 10) },
	};
	struct sb16 *sb16 = sb16_create(&config, err);
	if (!sb16)
		return -1;
	machine_add_device(m, (struct device *)sb16);
	return 0;
}

int machine_add_virtio_sound(struct machine *m, struct error *err)
{
	if (!m->config.services.sound)
		return m->config.profile == MACHINE_CLASSIC || !m->config.audio ? 0 :
			error_set(err, EINVAL, "sound: the machine was made without a sound card; leave --audio out");
	if (m->config.profile == MACHINE_CLASSIC)
		return error_set(err, EINVAL, "sound: a machine of type classic has a Sound Blaster 16, and no virtio sound card");
	const struct virtio_sound_config config = {
		.device = { .name = "virtio-sound", .dma = { &m->memory }, .worker = { loop_post, m->loop } }, .clock = &m->clock,
		.audio = m->audio,
	};
	struct virtio_sound *sound = virtio_sound_create(&config, err);
	return sound ? machine_plug_virtio(m, virtio_sound_device(sound), err) : -1;
}

void machine_remove_sound(struct machine *m)
{
	struct error err;
	if (audio_close(m->audio, &err) < 0)
		log_error("%s", err.text);
}
