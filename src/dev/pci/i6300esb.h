/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_I6300ESB_H
#define VISOR_DEV_PCI_I6300ESB_H

#include "bus/clock.h"
#include "dev/pci/pci.h"

/*
 * The watchdog of the Intel 6300ESB I/O controller hub (datasheet, chapter 16): two stages that count down, the second of which
 * ends in a reset. Its interrupt after the first goes to an I/O APIC of that hub which a PC does not have: it is only seen in the status
 * register.
 */
struct i6300esb_config {
	struct pci_bus *bus;
	uint8_t devfn;
	struct vclock *clock;
	/* The second stage is over, and the guest has not forbidden its output. On the clock's thread, with the device's lock taken. */
	void (*expired)(void *opaque);
	void *opaque;
};

struct i6300esb;

/* The object begins with its struct device. */
struct i6300esb *i6300esb_create(const struct i6300esb_config *config, struct error *err);

#endif
