/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PCI_MSI_H
#define VISOR_DEV_PCI_MSI_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/pci/pci.h"

/*
 * Message-signalled interrupts of a function (PCI 3.0, 6.8): MSI with 64-bit
 * address and per-vector masking, and MSI-X. Messages go to the bus's sink when
 * the function is a bus master. The function's lock is taken in all calls but
 * the two that add a capability.
 */

/* vectors: 1, 2, 4 ... 32. */
int pci_msi_add(struct pci_function *function, unsigned vectors, struct error *err);

/* Table and PBA lie in memory BAR `bar` at these offsets (multiples of 8); the owner of the BAR passes accesses on.
 * vectors: 1..PCI_MSIX_MAX. */
int pci_msix_add(struct pci_function *function, unsigned vectors, unsigned bar, uint32_t table_offset,
		 uint32_t pba_offset, struct error *err);

/* True when the guest has switched the function to MSI or MSI-X: then INTx must stay down. */
bool pci_msi_enabled(const struct pci_function *function);
bool pci_msix_enabled(const struct pci_function *function);

/* Sends the vector's message, or notes it as pending while masked. A vector that is not there is ignored. */
void pci_msi_notify(struct pci_function *function, unsigned vector);
void pci_msix_notify(struct pci_function *function, unsigned vector);

/* An access to the BAR at `offset`; true when it was the table's or the PBA's. size: 4 or 8, others read as zero and
 * write nothing (PCI 3.0, 6.8.2: aligned dwords and qwords only). */
bool pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size, uint64_t *value);
bool pci_msix_write(struct pci_function *function, uint64_t offset, uint64_t value, unsigned size);

/* Called by the configuration space. */
void pci_msi_reset(struct pci_function *function);
void pci_msi_loaded(struct pci_function *function);
void pci_msi_config_written(struct pci_function *function, unsigned offset, unsigned size);

#endif
