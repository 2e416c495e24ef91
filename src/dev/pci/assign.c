/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/util.h"
#include "dev/pci/pci.h"

static int assign_bar(struct pci_function *function, unsigned n, uint64_t *next, uint64_t end, struct error *err)
{
	const struct pci_bar *bar = &function->bar[n];
	/* A page at least: memory BARs that share a page cannot be given to different drivers. */
	uint64_t step = bar->kind == PCI_BAR_IO ? bar->region.size : MAX(bar->region.size, 4096ull);
	uint64_t base = ALIGN_UP(*next, step);
	if (base + step > end)
		return error_set(err, ENOSPC, "%s: no room for BAR %u (%llu bytes) in the PCI window; use fewer devices",
				 function->name, n, (unsigned long long)step);
	*next = base + step;
	pci_function_config_write(function, PCI_BAR(n), (uint32_t)base, 4);
	if (bar->kind == PCI_BAR_MEMORY64)
		pci_function_config_write(function, PCI_BAR(n + 1), (uint32_t)(base >> 32), 4);
	return 0;
}

static int assign_function(struct pci_function *function, const struct pci_windows *windows, uint64_t *next_io,
			   uint64_t *next_memory, struct error *err)
{
	uint16_t command = pci_function_command(function);
	pci_function_config_write(function, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY), 2);
	for (unsigned n = 0; n < PCI_BARS; n++) {
		if (function->bar[n].kind == PCI_BAR_NONE)
			continue;
		bool io = function->bar[n].kind == PCI_BAR_IO;
		if (assign_bar(function, n, io ? next_io : next_memory,
			       io ? windows->io_end : windows->memory_end, err) < 0)
			return -1;
		command |= io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	}
	pci_function_config_write(function, PCI_COMMAND, command, 2);
	unsigned pin = function->config[PCI_INTERRUPT_PIN];
	if (pin)
		pci_function_config_write(function, PCI_INTERRUPT_LINE,
					  windows->irq[pci_intx_pirq(function->devfn >> 3, pin - 1)], 1);
	return 0;
}

int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows, struct error *err)
{
	uint64_t next_io = windows->io_base, next_memory = windows->memory_base;
	int rc = 0;
	lock_take(&bus->lock);
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS && rc == 0; i++)
		if (bus->functions[i])
			rc = assign_function(bus->functions[i], windows, &next_io, &next_memory, err);
	lock_release(&bus->lock);
	return rc;
}
