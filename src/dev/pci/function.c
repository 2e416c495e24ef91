/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/msi.h"
#include "dev/pci/pci.h"

static const struct field msi_fields[] = {
	FIELD(struct pci_msi, pending),
	FIELD_END
};

static const struct field msix_fields[] = {
	FIELD_ARRAY(struct pci_msix, table),
	FIELD(struct pci_msix, pending),
	FIELD_END
};

/* The configuration space holds the BARs, the command register and the MSI capabilities. */
const struct field pci_function_fields[] = {
	FIELD_BYTES(struct pci_function, config),
	FIELD_STRUCT(struct pci_function, msi, msi_fields),
	FIELD_STRUCT(struct pci_function, msix, msix_fields),
	FIELD(struct pci_function, intx),
	FIELD_END
};

void pci_function_set_register(struct pci_function *function, unsigned offset, uint32_t value, uint32_t writable,
			       unsigned size)
{
	store_le(function->reset_config + offset, value, size);
	store_le(function->config + offset, value, size);
	store_le(function->writable + offset, writable, size);
}

int pci_function_add_bar(struct pci_function *function, unsigned n, enum pci_bar_kind kind, uint64_t size,
			 const struct io_ops *ops, void *opaque, struct error *err)
{
	uint64_t least = kind == PCI_BAR_IO ? 4 : 16, most = kind == PCI_BAR_IO ? 256 : 1ull << 31;
	bool wide = kind == PCI_BAR_MEMORY64;
	if (n + wide >= PCI_BARS || size < least || size > most || size & (size - 1))
		return error_set(err, EINVAL, "%s: BAR %u of %llu bytes cannot be", function->name, n,
				 (unsigned long long)size);
	function->bar[n] = (struct pci_bar){
		.kind = kind,
		.region = { .name = function->name, .ops = ops, .opaque = opaque, .lock = function->lock, .size = size },
	};
	/* PCI 3.0, 6.2.5.1: bit 0 I/O; bits 2:1 of a memory BAR: 10b for 64 bits. */
	uint32_t type = kind == PCI_BAR_IO ? 1 : wide ? 4 : 0;
	pci_function_set_register(function, PCI_BAR(n), type, (uint32_t)~(size - 1), 4);
	if (wide)
		pci_function_set_register(function, PCI_BAR(n + 1), 0, UINT32_MAX, 4);
	function->writable[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	return 0;
}

int pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned size, struct error *err)
{
	unsigned at = function->capability_end;
	if (at + size > PCI_CONFIG_SIZE)
		return error_set(err, ENOSPC, "%s: no room for PCI capability 0x%x", function->name, id);
	unsigned link = function->last_capability ? function->last_capability + 1 : PCI_CAPABILITY_POINTER;
	pci_function_set_register(function, link, at, 0, 1);
	pci_function_set_register(function, at, id, 0, 2);
	pci_function_set_register(function, PCI_STATUS, PCI_STATUS_CAPABILITIES, 0, 2);
	function->last_capability = at;
	function->capability_end = ALIGN_UP(at + size, 4u);
	return (int)at;
}

/* The pin's level on the bus after the command register's say; the status bit shows it before (PCI 3.0, 6.2.3). */
static void intx_update(struct pci_function *function, bool drive)
{
	uint8_t status = function->config[PCI_STATUS] & (uint8_t)~PCI_STATUS_INTERRUPT;
	function->config[PCI_STATUS] = status | (function->intx ? PCI_STATUS_INTERRUPT : 0);
	bool disabled = pci_function_command(function) & PCI_COMMAND_INTX_DISABLE;
	pci_bus_intx(function->bus, function, function->intx && !disabled, drive);
}

void pci_intx_set(struct pci_function *function, bool level)
{
	if (function->intx == level)
		return;
	function->intx = level;
	intx_update(function, true);
}

void pci_function_reset(struct pci_function *function)
{
	lock_take(function->lock);
	memcpy(function->config, function->reset_config, sizeof(function->config));
	pci_msi_reset(function);
	function->intx = false;
	intx_update(function, true);
	lock_release(function->lock);
	pci_bus_remap(function->bus);
}

/* What a guest cannot write is what this program's function has, whatever the file says. */
void pci_function_loaded(struct pci_function *function)
{
	lock_take(function->lock);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t mask = function->writable[i] | function->clearable[i];
		function->config[i] = (function->config[i] & mask) | (function->reset_config[i] & (uint8_t)~mask);
	}
	pci_msi_loaded(function);
	intx_update(function, false);
	lock_release(function->lock);
	pci_bus_remap(function->bus);
}

uint32_t pci_function_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
	if (offset + size > PCI_CONFIG_SIZE)
		return UINT32_MAX;
	lock_take(function->lock);
	if (function->ops && function->ops->config_reading)
		function->ops->config_reading(function->opaque, offset, size);
	uint32_t value = (uint32_t)load_le(function->config + offset, size);
	lock_release(function->lock);
	return value;
}

static bool touches(unsigned offset, unsigned size, unsigned from, unsigned length)
{
	return offset < from + length && from < offset + size;
}

void pci_function_config_write(struct pci_function *function, unsigned offset, uint32_t value, unsigned size)
{
	if (offset + size > PCI_CONFIG_SIZE)
		return;
	lock_take(function->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t *at = function->config + offset + i, byte = (uint8_t)(value >> (8 * i));
		uint8_t mask = function->writable[offset + i];
		*at = (uint8_t)((*at & ~mask) | (byte & mask));
		*at &= (uint8_t)~(byte & function->clearable[offset + i]);
	}
	if (touches(offset, size, PCI_COMMAND, 2))
		intx_update(function, true);
	pci_msi_config_written(function, offset, size);
	if (function->ops && function->ops->config_written)
		function->ops->config_written(function->opaque, offset, size);
	lock_release(function->lock);
	if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, PCI_BAR(0), 4 * PCI_BARS))
		pci_bus_remap(function->bus);
}
