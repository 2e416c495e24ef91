/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_VIRTIO_PCI_H
#define VISOR_DEV_VIRTIO_VIRTIO_PCI_H

#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"

/*
 * The PCI transport of virtio 1.x (virtio 1.2, 4.1), modern only: BAR 0 (64 bits)
 * holds the common, ISR, device and notification structures, BAR 2 the MSI-X
 * table. One vector for each queue and one for configuration changes; INTA
 * otherwise.
 */
struct virtio_pci_config {
	struct pci_bus *bus;
	uint8_t devfn;
	struct virtio_device *device; /* outlives the transport: destroy the transport first */
};

/*
 * Another device's function, which has the lock of the virtio device, becomes that of both. There the structures
 * are in BAR 2 (64 bits), behind a page of the other one's registers, and the MSI-X table is in BAR 4. The other one
 * is reset, saved and destroyed by itself, and last.
 */
struct virtio_pci_shared {
	struct pci_function *function;
	const struct io_ops *registers;
	void *opaque;
};

struct virtio_pci;

/* Named after the device, with "pci-" in front. */
struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *config, struct error *err);
struct virtio_pci *virtio_pci_create_shared(const struct virtio_pci_config *config, const struct virtio_pci_shared *shared,
					    struct error *err);

#endif
