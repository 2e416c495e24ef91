/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/pci.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"

#define CONFADD_ENABLE 0x80000000u
#define CONFADD_WRITABLE 0x80fffffcu
#define CONFDATA 4 /* offset from 0xcf8 */

static struct pci_function *find(const struct pci_bus *bus, uint8_t devfn)
{
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (bus->functions[i] && bus->functions[i]->devfn == devfn)
			return bus->functions[i];
	return NULL;
}

uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size)
{
	lock_take(&bus->lock);
	struct pci_function *function = find(bus, devfn);
	uint32_t value = function ? pci_function_config_read(function, offset & 0xff, size) : UINT32_MAX;
	lock_release(&bus->lock);
	return value & (uint32_t)size_mask(size);
}

void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value, unsigned size)
{
	lock_take(&bus->lock);
	struct pci_function *function = find(bus, devfn);
	if (function)
		pci_function_config_write(function, offset & 0xff, value, size);
	lock_release(&bus->lock);
}

/* True when CONFADD names a configuration dword on this bus; all others have no one to answer. */
static bool selected(const struct pci_bus *bus)
{
	return bus->address & CONFADD_ENABLE && !(bus->address >> 16 & 0xff);
}

static uint64_t data_read(struct pci_bus *bus, unsigned byte, unsigned size)
{
	if (!selected(bus))
		return UINT64_MAX;
	return pci_config_read(bus, (uint8_t)(bus->address >> 8), (bus->address & 0xfc) + byte, size);
}

static void data_write(struct pci_bus *bus, unsigned byte, uint32_t value, unsigned size)
{
	if (selected(bus))
		pci_config_write(bus, (uint8_t)(bus->address >> 8), (bus->address & 0xfc) + byte, value, size);
}

static uint64_t byte_read(struct pci_bus *bus, unsigned offset)
{
	if (offset >= CONFDATA)
		return data_read(bus, offset - CONFDATA, 1);
	return bus->byte_ports.read ? bus->byte_ports.read(bus->byte_ports.opaque, 0xcf8 + offset) : 0xff;
}

static void byte_write(struct pci_bus *bus, unsigned offset, uint8_t value)
{
	if (offset >= CONFDATA)
		data_write(bus, offset - CONFDATA, value, 1);
	else if (bus->byte_ports.write)
		bus->byte_ports.write(bus->byte_ports.opaque, 0xcf8 + offset, value);
}

/* Only a whole dword at 0xcf8 is CONFADD (82441FX datasheet, 3.1.1); narrower accesses there are other ports'. */
static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = opaque;
	if (offset == 0 && size == 4)
		return bus->address;
	if (offset >= CONFDATA)
		return data_read(bus, (unsigned)offset - CONFDATA, size);
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (byte_read(bus, (unsigned)offset + i) & 0xff) << (8 * i);
	return value;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bus *bus = opaque;
	if (offset == 0 && size == 4)
		bus->address = (uint32_t)value & CONFADD_WRITABLE;
	else if (offset >= CONFDATA)
		data_write(bus, (unsigned)offset - CONFDATA, (uint32_t)value, size);
	else
		for (unsigned i = 0; i < size; i++)
			byte_write(bus, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct io_ops ports_ops = { ports_read, ports_write, 4 };

/* Where the BAR's region belongs now; false when it is not decoded: command bit off, unassigned (0), or at the
 * all-ones address that a write to learn the size leaves behind. */
bool pci_function_bar_base(const struct pci_function *function, unsigned n, uint64_t *base)
{
	const struct pci_bar *bar = &function->bar[n];
	uint16_t command = pci_function_command(function);
	uint64_t end = 0x100000000ull;
	uint32_t low = load_le32(function->config + PCI_BAR(n));
	switch (bar->kind) {
	case PCI_BAR_IO:
		*base = low & ~3u;
		end = 0x10000;
		if (!(command & PCI_COMMAND_IO))
			return false;
		break;
	case PCI_BAR_MEMORY64:
	case PCI_BAR_MEMORY32:
		*base = low & ~15u;
		if (bar->kind == PCI_BAR_MEMORY64)
			*base |= (uint64_t)load_le32(function->config + PCI_BAR(n + 1)) << 32;
		if (!(command & PCI_COMMAND_MEMORY))
			return false;
		break;
	default:
		return false;
	}
	return *base && *base + bar->region.size != end && *base + bar->region.size != 0;
}

static void unmap_moved(struct pci_bus *bus, struct pci_function *function)
{
	for (unsigned n = 0; n < PCI_BARS; n++) {
		struct pci_bar *bar = &function->bar[n];
		uint64_t base = 0;
		if (bar->region.mapped && (!pci_function_bar_base(function, n, &base) || base != bar->region.base))
			io_space_unmap(bar->kind == PCI_BAR_IO ? bus->io : bus->mmio, &bar->region);
	}
}

static void map_wanted(struct pci_bus *bus, struct pci_function *function)
{
	for (unsigned n = 0; n < PCI_BARS; n++) {
		struct pci_bar *bar = &function->bar[n];
		uint64_t base = 0;
		struct error err;
		if (bar->region.mapped || !pci_function_bar_base(function, n, &base))
			continue;
		bar->region.base = base;
		if (io_space_map(bar->kind == PCI_BAR_IO ? bus->io : bus->mmio, &bar->region, &err) < 0)
			log_debug("PCI: BAR %u not mapped: %s", n, err.text);
	}
}

/* All functions: a BAR that another one covered becomes visible when the other one moves away. */
void pci_bus_remap(struct pci_bus *bus)
{
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (bus->functions[i])
			unmap_moved(bus, bus->functions[i]);
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (bus->functions[i])
			map_wanted(bus, bus->functions[i]);
}

void pci_bus_intx(struct pci_bus *bus, const struct pci_function *function, bool level, bool drive)
{
	unsigned pin = function->config[PCI_INTERRUPT_PIN];
	if (!pin)
		return;
	unsigned pirq = pci_intx_pirq(function->devfn >> 3, pin - 1);
	lock_take(&bus->irq_lock);
	uint64_t before = bus->asserted[pirq], bit = BIT64(function->index);
	uint64_t after = level ? before | bit : before & ~bit;
	bus->asserted[pirq] = after;
	if (drive && !before != !after && bus->router.set)
		bus->router.set(bus->router.opaque, pirq, after != 0);
	lock_release(&bus->irq_lock);
}

static int add_function(struct pci_bus *bus, struct pci_function *function, struct error *err)
{
	if (find(bus, function->devfn))
		return error_set(err, EEXIST, "%s: PCI slot %u function %u is taken by %s; give it another slot",
				 function->name, function->devfn >> 3, function->devfn & 7,
				 find(bus, function->devfn)->name);
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (!bus->functions[i]) {
			function->index = i;
			bus->functions[i] = function;
			return 0;
		}
	return error_set(err, ENOSPC, "%s: the PCI bus is full (%d functions); use fewer devices", function->name,
			 PCI_MAX_FUNCTIONS);
}

int pci_function_init(struct pci_function *function, const struct pci_function_config *config, struct error *err)
{
	*function = (struct pci_function){
		.bus = config->bus, .name = config->name, .devfn = config->devfn, .lock = config->lock,
		.ops = config->ops, .opaque = config->opaque, .capability_end = 0x40,
	};
	pci_function_set_register(function, PCI_VENDOR_ID, config->vendor, 0, 2);
	pci_function_set_register(function, PCI_DEVICE_ID, config->device, 0, 2);
	pci_function_set_register(function, PCI_COMMAND, 0, PCI_COMMAND_MASTER | PCI_COMMAND_SERR, 2);
	pci_function_set_register(function, PCI_REVISION_ID, config->class_code << 8 | config->revision, 0, 4);
	pci_function_set_register(function, PCI_CACHE_LINE, 0, 0xff, 1);
	pci_function_set_register(function, PCI_LATENCY, 0, 0xff, 1);
	pci_function_set_register(function, PCI_HEADER_TYPE, config->header_type, 0, 1);
	pci_function_set_register(function, PCI_SUBSYSTEM_VENDOR_ID, config->subsystem_vendor, 0, 2);
	pci_function_set_register(function, PCI_SUBSYSTEM_ID, config->subsystem, 0, 2);
	if (config->interrupt_pin) {
		pci_function_set_register(function, PCI_INTERRUPT_LINE, 0, 0xff, 1);
		pci_function_set_register(function, PCI_INTERRUPT_PIN, config->interrupt_pin, 0, 1);
		function->writable[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
	}
	lock_take(&config->bus->lock);
	int rc = add_function(config->bus, function, err);
	lock_release(&config->bus->lock);
	return rc;
}

void pci_function_destroy(struct pci_function *function)
{
	struct pci_bus *bus = function->bus;
	lock_take(&bus->lock);
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (function->bar[n].kind != PCI_BAR_NONE)
			io_space_unmap(function->bar[n].kind == PCI_BAR_IO ? bus->io : bus->mmio,
				       &function->bar[n].region);
	pci_bus_intx(bus, function, false, true);
	if (bus->functions[function->index] == function)
		bus->functions[function->index] = NULL;
	lock_release(&bus->lock);
}

static const struct field bus_fields[] = {
	FIELD(struct pci_bus, address),
	FIELD_END
};

static int bus_loaded(void *device, struct error *err)
{
	struct pci_bus *bus = device;
	bus->address &= CONFADD_WRITABLE;
	return 0;
}

static void bus_destroy(void *device)
{
	struct pci_bus *bus = device;
	io_space_unmap(bus->io, &bus->ports);
	lock_destroy(&bus->lock);
	lock_destroy(&bus->irq_lock);
	free(bus);
}

static const struct device_type bus_type = {
	.name = "pci-bus",
	.fields = bus_fields,
	.loaded = bus_loaded,
	.destroy = bus_destroy,
};

struct pci_bus *pci_bus_create(const struct pci_bus_config *config, struct error *err)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	if (!bus) {
		error_set(err, ENOMEM, "out of memory for the PCI bus");
		return NULL;
	}
	lock_init(&bus->lock);
	lock_init(&bus->irq_lock);
	device_init(&bus->device, &bus_type, "pci", &bus->lock);
	bus->io = config->io;
	bus->mmio = config->mmio;
	bus->msi = config->msi;
	bus->ports = (struct io_region){
		.name = "pci-config", .ops = &ports_ops, .opaque = bus, .lock = &bus->lock, .base = 0xcf8, .size = 8,
	};
	if (io_space_map(bus->io, &bus->ports, err) < 0) {
		bus_destroy(bus);
		return NULL;
	}
	return bus;
}
