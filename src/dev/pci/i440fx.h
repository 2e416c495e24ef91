/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_I440FX_H
#define VISOR_DEV_PCI_I440FX_H

#include "dev/pci/pci.h"
#include "mem/memory.h"

/*
 * The host bridge of the 82440FX, as function 0:0. Its PAM registers open and
 * close 0xc0000..0xfffff for writing. Reads always see memory: it holds the
 * copy of the ROM that reads would find with PAM closed, until the guest
 * overwrites it. The SMRAM register is kept but has no effect: the board has no SMM.
 */
struct i440fx_config {
	struct pci_bus *bus;
	struct guest_memory *memory;
};

struct i440fx;

/* Cuts the memory at the borders of the PAM segments, so that later changes move no slot under a running DMA. */
struct i440fx *i440fx_create(const struct i440fx_config *config, struct error *err);

#endif
