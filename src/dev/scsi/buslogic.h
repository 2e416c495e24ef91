/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SCSI_BUSLOGIC_H
#define VISOR_DEV_SCSI_BUSLOGIC_H

#include "block/block.h"
#include "bus/clock.h"
#include "dev/pci/pci.h"
#include "mem/dma.h"

/*
 * The BusLogic BT-958 (firmware 5.07B): a wide Ultra SCSI host adapter of the
 * MultiMaster family with the mailbox interface of 32-bit, and for old drivers of 24-bit, addresses.
 * Its SCSI ID is 7; disks and CD-ROM drives have the IDs below. Its own BIOS is not there, so firmware does not boot from it.
 */
#define BUSLOGIC_DISKS 7

struct buslogic_config {
	struct pci_bus *bus;
	uint8_t devfn;
	struct io_space *ports;               /* for the ISA compatible ports, which are off after a reset */
	struct dma dma;
	struct vclock *clock;
	struct block *disk[BUSLOGIC_DISKS];   /* by SCSI ID; become the adapter's own. NULL: none */
	bool cdrom[BUSLOGIC_DISKS];           /* it is a CD-ROM drive, with that disc or none */
};

struct buslogic;

/* On failure the blocks stay the caller's. */
struct buslogic *buslogic_create(const struct buslogic_config *config, struct error *err);

/* Another disc for a CD-ROM drive, as ide_change_medium. */
int buslogic_change_medium(struct buslogic *adapter, unsigned id, struct block *block, bool force, struct error *err);

/* Completes the requests under way; the caller knows that the worker stands still. */
void buslogic_drain(struct buslogic *adapter);

#endif
