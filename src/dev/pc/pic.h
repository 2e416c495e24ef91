/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PIC_H
#define VISOR_DEV_PC_PIC_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * The 8259A pair of a PC: master at ports 0x20/0x21, slave at 0xa0/0xa1
 * cascaded on the master's input 2, edge/level registers at 0x4d0/0x4d1
 * (Intel 8259A data sheet; 82371AB, 7.5).
 */
struct pic_config {
	struct lock *lock;       /* the board's */
	struct io_space *ports;
	struct irq_line intr;    /* INTR, the master's output */
};

struct pic;

/* The first member of every device is its struct device. */
struct pic *pic_create(const struct pic_config *config, struct error *err);

/* Input 0..15; pin 2 is the cascade and not connected. */
struct irq_line pic_line(struct pic *pic, unsigned irq);

/* The processor's interrupt acknowledge cycle: the vector, 0..255. With nothing pending it is that of
 * input 7 of the chip that was asked (spurious), as the data sheet has it. Any thread; takes the lock. */
int pic_acknowledge(struct pic *pic);

#endif
