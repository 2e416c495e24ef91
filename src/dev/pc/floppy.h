/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_FLOPPY_H
#define VISOR_DEV_PC_FLOPPY_H

#include "block/block.h"
#include "bus/clock.h"
#include "bus/irq.h"
#include "dev/pc/i8237.h"

/*
 * The 82077AA floppy disk controller in AT mode at ports 0x3f0..0x3f5 and 0x3f7
 * with up to two 3.5 inch drives for 1.44 MB (which take 720 KB disks as well). Data goes by channel 2 of the
 * DMA controller, or through the FIFO when the guest says so.
 */
#define FLOPPY_DRIVES 2

struct floppy_config {
	struct lock *lock;
	struct io_space *ports;
	struct irq_line irq;      /* IRQ6 */
	struct i8237 *dma;
	struct vclock *clock;
	struct { bool present; struct block *block; } drive[FLOPPY_DRIVES]; /* block: becomes the drive's own; NULL: no disk */
};

struct floppy;

/* On failure the blocks stay the caller's. */
struct floppy *floppy_create(const struct floppy_config *config, struct error *err);

/* Another disk in the drive, NULL: none. The old one is closed. Fails (EINVAL) when there is no such drive. */
int floppy_change_medium(struct floppy *floppy, unsigned drive, struct block *block, struct error *err);

void floppy_drain(struct floppy *floppy);

#endif
