/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_PCNET_H
#define VISOR_DEV_NET_PCNET_H

#include "base/worker.h"
#include "bus/clock.h"
#include "dev/pci/pci.h"
#include "mem/dma.h"
#include "net/net.h"

/*
 * AMD's PCnet-PCI II, Am79C970A (data sheet 19436): word and double-word I/O,
 * software styles 0 to 3 (16- and 32-bit structures), address filters, loopback,
 * transmit polling. BAR 0 holds the registers in I/O space, BAR 1 the same in memory. The
 * link is always up. Not there: EEPROM writes, magic packets, external address detection.
 */
struct pcnet_config {
	const char *name;
	struct pci_bus *bus;
	uint8_t devfn;
	struct dma dma;
	struct worker worker;
	struct vclock *clock;
	struct net *net;      /* becomes the device's own: closed with it */
	uint8_t mac[NET_MAC_SIZE];
};

struct pcnet;

/* On failure the network stays the caller's. The object begins with its struct device. */
struct pcnet *pcnet_create(const struct pcnet_config *config, struct error *err);

#endif
