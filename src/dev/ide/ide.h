/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_IDE_IDE_H
#define VISOR_DEV_IDE_IDE_H

#include "block/block.h"
#include "bus/irq.h"
#include "dev/pci/pci.h"
#include "mem/dma.h"

/*
 * The IDE controller of the 82371SB (PIIX3), as PCI function 1:1: two channels
 * at the legacy ports with two drives each, programmed I/O and bus-master DMA.
 * Drives are ATA disks (ATA/ATAPI-6: LBA and LBA48, 28-bit and CHS addresses)
 * or CD-ROM drives (ATAPI packets with the commands of MMC-3).
 */
#define IDE_DRIVES 4 /* 0 and 1: primary master and slave; 2 and 3: secondary */

enum ide_kind { IDE_NONE, IDE_DISK, IDE_CDROM };

struct ide_drive_config {
	enum ide_kind kind;
	struct block *block;  /* becomes the drive's own: closed with it. NULL: a CD-ROM drive without a disc */
	const char *serial;   /* up to 20 characters; NULL: made from the drive's number */
};

struct ide_config {
	struct pci_bus *bus;
	uint8_t devfn;
	struct io_space *ports;
	struct dma dma;
	struct irq_line irq[2];       /* IRQ14, IRQ15 */
	/* The channels are decoded after a reset, for kernels and firmware that do not see to it. */
	bool enabled_at_reset;
	struct ide_drive_config drive[IDE_DRIVES];
};

struct ide;

/* On failure the blocks stay the caller's. */
struct ide *ide_create(const struct ide_config *config, struct error *err);

/* The disc of a CD-ROM drive goes and another one (NULL: none) comes; the guest is told by unit attention. The old one is
 * closed. Fails (EBUSY) when the guest has locked the tray and `force` is not set, (EINVAL) when it is no CD-ROM drive. */
int ide_change_medium(struct ide *ide, unsigned drive, struct block *block, bool force, struct error *err);

/* Completes the requests under way, and settles the disks; the caller knows that the worker stands still. */
void ide_drain(struct ide *ide);

#endif
