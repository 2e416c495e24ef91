/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "audio/audio.h"
#include "base/log.h"
#include "dev/sb16/sb16.h"
#include "vm/machine_parts.h"

/* The sound card and where it is heard. */

int machine_add_sound(struct machine *m, struct error *err)
{
	if (m->config.profile != MACHINE_CLASSIC && m->config.audio)
		return error_set(err, EINVAL, "sound: only a machine of type classic has a sound card; use --machine classic");
	if (m->config.profile != MACHINE_CLASSIC)
		return 0;
	if (m->config.audio && !(m->audio = audio_open(m->config.audio, err)))
		return -1;
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

void machine_remove_sound(struct machine *m)
{
	struct error err;
	if (audio_close(m->audio, &err) < 0)
		log_error("%s", err.text);
}
