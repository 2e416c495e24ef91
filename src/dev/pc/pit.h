/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PIT_H
#define VISOR_DEV_PC_PIT_H

#include "audio/audio.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

#define PIT_HZ 1193182ull

/*
 * 8254 programmable interval timer at ports 0x40..0x43 and the system control
 * port 0x61 (gate and output of channel 2, refresh toggle), with the loudspeaker at it.
 */
struct pit_config {
	struct lock *lock;
	struct io_space *ports;
	struct vclock *clock;
	struct irq_line irq;     /* output of channel 0 */
	struct audio *audio;     /* where the loudspeaker is heard; stays the caller's; NULL: nowhere */
};

struct pit;

struct pit *pit_create(const struct pit_config *config, struct error *err);

#endif
