/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/piix4_pm.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* 82371AB datasheet, 7.1 and 7.2. */
#define REG_PMBASE 0x40
#define PMBASE_BITS 0xffc0u
#define PMBASE_IO 0x1u
#define REG_DEVACTB_HIGH 0x5b
#define DEVACTB_APMC_ENABLE 0x2 /* bit 25 of the dword at 0x58 */
#define REG_PMREGMISC 0x80
#define PMREGMISC_ENABLE 0x1
#define REG_SMBBASE 0x90
#define REG_SMBHSTCFG 0xd2

struct piix4_pm {
	struct device device;
	struct pci_function function;
	void (*map)(void *opaque, bool enabled, uint16_t base);
	void *opaque;
};

static void map_block(struct piix4_pm *pm)
{
	uint16_t base = (uint16_t)(load_le32(pm->function.config + REG_PMBASE) & PMBASE_BITS);
	bool enabled = pm->function.config[REG_PMREGMISC] & PMREGMISC_ENABLE && base;
	if (pm->map)
		pm->map(pm->opaque, enabled, base);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	if ((offset < REG_PMBASE + 4 && offset + size > REG_PMBASE) ||
	    (offset <= REG_PMREGMISC && offset + size > REG_PMREGMISC))
		map_block(opaque);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

static const struct field fields[] = {
	FIELD_STRUCT(struct piix4_pm, function, pci_function_fields),
	FIELD_END
};

static void reset(void *device)
{
	struct piix4_pm *pm = device;
	pci_function_reset(&pm->function);
	map_block(pm);
}

static int loaded(void *device, struct error *err)
{
	struct piix4_pm *pm = device;
	pci_function_loaded(&pm->function);
	map_block(pm);
	return 0;
}

static void destroy(void *device)
{
	struct piix4_pm *pm = device;
	pci_function_destroy(&pm->function);
	free(pm);
}

static const struct device_type piix4_pm_type = {
	.name = "piix4-pm",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

struct piix4_pm *piix4_pm_create(const struct piix4_pm_config *config, struct error *err)
{
	struct piix4_pm *pm = calloc(1, sizeof(*pm));
	if (!pm) {
		error_set(err, ENOMEM, "out of memory for the power management function");
		return NULL;
	}
	const struct pci_function_config function = {
		.bus = config->bus, .name = "piix4-pm", .devfn = PCI_DEVFN(1, 3),
		.vendor = 0x8086, .device = 0x7113, .revision = 3, .class_code = 0x068000,
		.subsystem_vendor = 0x1af4, .subsystem = 0x1100, .interrupt_pin = 1,
		.ops = &function_ops, .opaque = pm,
	};
	pm->map = config->map;
	pm->opaque = config->opaque;
	device_init(&pm->device, &piix4_pm_type, "piix4-pm", &config->bus->lock);
	if (pci_function_init(&pm->function, &function, err) < 0) {
		free(pm);
		return NULL;
	}
	pm->function.writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	pci_function_set_register(&pm->function, REG_PMBASE, (config->base & PMBASE_BITS) | PMBASE_IO, PMBASE_BITS, 4);
	pci_function_set_register(&pm->function, REG_PMREGMISC, config->base ? PMREGMISC_ENABLE : 0, PMREGMISC_ENABLE, 1);
	/* Writes to the SMI command port raise SMIs: set from the start, it tells firmware that system management mode is
	 * taken care of. The board has none, and firmware that tried to set it up would wait for its SMI for ever. */
	pci_function_set_register(&pm->function, REG_DEVACTB_HIGH, DEVACTB_APMC_ENABLE, 0, 1);
	pci_function_set_register(&pm->function, REG_SMBBASE, 1, 0xfff0, 4);
	pci_function_set_register(&pm->function, REG_SMBHSTCFG, 0, 0x0f, 1);
	map_block(pm);
	return pm;
}
