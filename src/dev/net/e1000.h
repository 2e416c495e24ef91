/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_E1000_H
#define VISOR_DEV_NET_E1000_H

#include "base/worker.h"
#include "bus/clock.h"
#include "dev/pci/pci.h"
#include "mem/dma.h"
#include "net/net.h"

/*
 * Intel's 82540EM gigabit Ethernet controller (8254x Family Software Developer's
 * Manual, 317453): both descriptor rings, checksum insertion and verification,
 * TCP segmentation, VLAN tags, address filters, interrupt throttling, EEPROM, PHY.
 * BAR 0 holds the registers, BAR 2 the same through an address and a data port. The link is always up.
 * Not there: wake-up, flash, management; a 64-bit statistics overflow.
 */
struct e1000_config {
	const char *name;
	struct pci_bus *bus;
	uint8_t devfn;
	struct dma dma;
	struct worker worker;
	struct vclock *clock;
	struct net *net;      /* becomes the device's own: closed with it */
	uint8_t mac[NET_MAC_SIZE];
};

struct e1000;

/* On failure the network stays the caller's. The object begins with its struct device. */
struct e1000 *e1000_create(const struct e1000_config *config, struct error *err);

#endif
