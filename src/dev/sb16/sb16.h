/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SB16_SB16_H
#define VISOR_DEV_SB16_SB16_H

#include "audio/audio.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"
#include "dev/pc/i8237.h"

/*
 * The Sound Blaster 16 as an ISA card at 0x220 (Creative's hardware programming
 * guide): DSP 4.05 with 8-bit and 16-bit DMA, single cycle and auto-initialize, and direct output, mixer
 * CT1745 with volumes, MPU-401 in UART mode at 0x330, OPL3 at 0x388. What it records is silence, what MIDI sends is lost;
 * compressed (ADPCM) samples are not played.
 */
struct sb16_config {
	struct lock *lock;             /* that of the DMA controllers */
	struct io_space *ports;
	struct irq_line irq[4];        /* 9, 5, 7, 10: as the mixer's bits name them; 5 after a reset */
	struct i8237 *dma;             /* channels 1 and 5 after a reset */
	struct vclock *clock;
	struct audio *audio;           /* stays the caller's; NULL: nobody listens */
};

struct sb16;

struct sb16 *sb16_create(const struct sb16_config *config, struct error *err);

#endif
