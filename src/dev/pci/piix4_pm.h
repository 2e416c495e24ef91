/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_PIIX4_PM_H
#define VISOR_DEV_PCI_PIIX4_PM_H

#include "dev/pci/pci.h"

/*
 * The power management function of the 82371AB, as 1:3. It only says where the
 * power management registers (ACPI PM1 event and control, timer) appear in I/O
 * space; the registers are the board's.
 */
struct piix4_pm_config {
	struct pci_bus *bus;
	/* Moves the block: enabled at port `base` (a multiple of 64), or nowhere. Called at creation, at each change,
	 * at reset and after a load, with the PCI lock taken. */
	void (*map)(void *opaque, bool enabled, uint16_t base);
	void *opaque;
	/* PMBASE after reset, for machines without firmware; 0: disabled until firmware sets it. */
	uint16_t base;
};

struct piix4_pm;

struct piix4_pm *piix4_pm_create(const struct piix4_pm_config *config, struct error *err);

#endif
