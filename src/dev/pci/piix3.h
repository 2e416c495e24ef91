/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_PIIX3_H
#define VISOR_DEV_PCI_PIIX3_H

#include "dev/pci/pci.h"

/*
 * The PCI-to-ISA bridge of the 82371SB, as function 1:0: routes PIRQA..D to ISA
 * interrupts (registers 0x60..0x63) and has the reset control register at port
 * 0xcf9. A routed line drives the same number on the 8259 pair and the IOAPIC;
 * level sensitivity is the board's ELCR.
 */
struct piix3_config {
	struct pci_bus *bus;
	struct irq_line irq[16]; /* ISA interrupts; what may not be routed (0, 1, 2, 8, 13) is unused */
	/* Values of the four route registers after reset: 0x80 is the datasheet's "not routed"; 0 takes the board's
	 * default of 10, 10, 11, 11, since a kernel may be started without firmware that would set them. */
	uint8_t route[4];
	/* The guest asks for a reset of the machine through port 0xcf9; on the vCPU's thread with the PCI lock taken:
	 * it notes the wish, the reset itself comes later. */
	void (*reset_request)(void *opaque);
	void *opaque;
};

struct piix3;

struct piix3 *piix3_create(const struct piix3_config *config, struct error *err);

/* The ISA interrupt that a PIRQ (0..3) is routed to, -1 for none. */
int piix3_route(struct piix3 *bridge, unsigned pirq);

#endif
