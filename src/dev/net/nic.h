/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_NIC_H
#define VISOR_DEV_NET_NIC_H

#include "base/worker.h"
#include "bus/clock.h"
#include "dev/pci/pci.h"
#include "mem/dma.h"
#include "net/net.h"

/* What a network card on the PCI bus is made of, whatever its model. */
struct nic_config {
	const char *name;
	struct pci_bus *bus;
	uint8_t devfn;
	struct dma dma;
	struct worker worker;
	struct vclock *clock;
	struct net *net;      /* becomes the device's own: closed with it; on failure it stays the caller's */
	uint8_t mac[NET_MAC_SIZE];
};

typedef struct device *nic_create_fn(const struct nic_config *config, struct error *err);

#endif
