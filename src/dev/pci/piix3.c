/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/piix3.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* 82371SB datasheet, 2.2 and 2.5.4. */
#define REG_XBCS 0x4e
#define REG_PIRQRC 0x60
#define PIRQRC_DISABLED 0x80
#define PIRQRC_BITS 0x8f
#define RESET_PORT 0xcf9
#define RESET_FULL 0x02   /* with RESET_CPU rising: hard reset; without: soft, which resets the machine as well */
#define RESET_CPU 0x04
#define RESET_BITS 0x06
#define ROUTABLE 0xdef8u  /* 3..7, 9..12, 14, 15 (2.2.7) */

struct piix3 {
	struct device device;
	struct pci_function function;
	struct piix3_config config;
	struct lock irq_lock;  /* inside the bus's interrupt lock, outside the board's */
	uint8_t route[4];
	uint8_t asserted;      /* PIRQ levels */
	uint16_t driven;       /* ISA interrupts that we hold up */
	uint16_t saved_driven; /* the same in a save; a reset must not forget what it has to let down */
	uint8_t reset_control;
};

static int irq_of(uint8_t route)
{
	unsigned irq = route & 15;
	return route & PIRQRC_DISABLED || !(ROUTABLE & BIT(irq)) ? -1 : (int)irq;
}

/* Several PIRQs may share one interrupt: a line is up while any of them is. */
static void drive(struct piix3 *bridge)
{
	uint16_t wanted = 0;
	for (unsigned i = 0; i < 4; i++) {
		int irq = irq_of(bridge->route[i]);
		if (bridge->asserted & BIT(i) && irq >= 0)
			wanted |= (uint16_t)BIT(irq);
	}
	uint16_t changed = wanted ^ bridge->driven;
	bridge->driven = wanted;
	for (unsigned irq = 0; irq < 16; irq++)
		if (changed & BIT(irq))
			irq_set(&bridge->config.irq[irq], wanted >> irq & 1);
}

static void set_pirq(void *opaque, unsigned pirq, int level)
{
	struct piix3 *bridge = opaque;
	lock_take(&bridge->irq_lock);
	bridge->asserted = (uint8_t)((bridge->asserted & ~BIT(pirq)) | (level ? BIT(pirq) : 0));
	drive(bridge);
	lock_release(&bridge->irq_lock);
}

static void take_routes(struct piix3 *bridge, bool and_drive)
{
	lock_take(&bridge->irq_lock);
	for (unsigned i = 0; i < 4; i++)
		bridge->route[i] = bridge->function.config[REG_PIRQRC + i];
	if (and_drive)
		drive(bridge);
	lock_release(&bridge->irq_lock);
}

int piix3_route(struct piix3 *bridge, unsigned pirq)
{
	lock_take(&bridge->irq_lock);
	int irq = irq_of(bridge->route[pirq & 3]);
	lock_release(&bridge->irq_lock);
	return irq;
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	if (offset < REG_PIRQRC + 4 && offset + size > REG_PIRQRC)
		take_routes(opaque, true);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

static uint8_t port_read(void *opaque, unsigned port)
{
	struct piix3 *bridge = opaque;
	return port == RESET_PORT ? bridge->reset_control : 0xff;
}

static void port_write(void *opaque, unsigned port, uint8_t value)
{
	struct piix3 *bridge = opaque;
	if (port != RESET_PORT)
		return;
	bool rises = value & ~bridge->reset_control & RESET_CPU;
	bridge->reset_control = value & (RESET_BITS & ~RESET_CPU);
	if (rises && bridge->config.reset_request)
		bridge->config.reset_request(bridge->config.opaque);
}

static const struct field fields[] = {
	FIELD_STRUCT(struct piix3, function, pci_function_fields),
	FIELD(struct piix3, asserted),
	FIELD(struct piix3, reset_control),
	FIELD(struct piix3, saved_driven),
	FIELD_END
};

static void reset(void *device)
{
	struct piix3 *bridge = device;
	pci_function_reset(&bridge->function);
	take_routes(bridge, true);
}

static void saving(void *device)
{
	struct piix3 *bridge = device;
	bridge->saved_driven = bridge->driven;
}

static int loaded(void *device, struct error *err)
{
	struct piix3 *bridge = device;
	pci_function_loaded(&bridge->function);
	bridge->asserted &= 15;
	bridge->driven = bridge->saved_driven & ROUTABLE;
	bridge->reset_control &= RESET_BITS & ~RESET_CPU;
	take_routes(bridge, false);
	return 0;
}

static void destroy(void *device)
{
	struct piix3 *bridge = device;
	bridge->config.bus->router = (struct pirq_router){ 0 };
	bridge->config.bus->byte_ports = (struct pci_byte_ports){ 0 };
	pci_function_destroy(&bridge->function);
	lock_destroy(&bridge->irq_lock);
	free(bridge);
}

static const struct device_type piix3_type = {
	.name = "piix3",
	.fields = fields,
	.reset = reset,
	.saving = saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct piix3 *piix3_create(const struct piix3_config *config, struct error *err)
{
	static const uint8_t usual[4] = { 10, 10, 11, 11 };
	struct piix3 *bridge = calloc(1, sizeof(*bridge));
	if (!bridge) {
		error_set(err, ENOMEM, "out of memory for the ISA bridge");
		return NULL;
	}
	const struct pci_function_config function = {
		.bus = config->bus, .name = "piix3", .devfn = PCI_DEVFN(1, 0),
		.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100, .header_type = PCI_HEADER_MULTIFUNCTION,
		.subsystem_vendor = 0x1af4, .subsystem = 0x1100,
		.ops = &function_ops, .opaque = bridge,
	};
	bridge->config = *config;
	device_init(&bridge->device, &piix3_type, "piix3", &config->bus->lock);
	if (pci_function_init(&bridge->function, &function, err) < 0) {
		free(bridge);
		return NULL;
	}
	lock_init(&bridge->irq_lock);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t route = config->route[i] ? config->route[i] : usual[i];
		pci_function_set_register(&bridge->function, REG_PIRQRC + i, route, PIRQRC_BITS, 1);
	}
	pci_function_set_register(&bridge->function, PCI_COMMAND, 0x7, PCI_COMMAND_SERR, 2);
	pci_function_set_register(&bridge->function, REG_XBCS, 0x0003, 0xffff, 2);
	take_routes(bridge, false);
	config->bus->router = (struct pirq_router){ set_pirq, bridge };
	config->bus->byte_ports = (struct pci_byte_ports){ port_read, port_write, bridge };
	return bridge;
}
