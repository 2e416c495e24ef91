/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/util.h"
#include "dev/pc/hpet.h"
#include "dev/pc/pm.h"
#include "dev/pc/pvpanic.h"
#include "dev/pci/pci.h"
#include "vm/acpi.h"

/*
 * The differentiated description table: what of the board a system cannot find by
 * itself. In ASL's order, one function per device.
 */

#define PCI_HOLE_FIRST 0xc0000000u
#define PCI_HOLE_LAST 0xfebfffffu

/* A device on the ISA bridge with its fixed ports (pairs of base and length, ended by length 0) and interrupt. */
struct isa_device {
	const char *name, *id;
	unsigned uid;
	struct { uint16_t base; uint8_t length; } ports[4];
	int irq; /* negative: none */
};

static const struct isa_device isa_devices[] = {
	{ "COM1", "PNP0501", 1, { { 0x3f8, 8 } }, 4 },
	{ "COM2", "PNP0501", 2, { { 0x2f8, 8 } }, 3 },
	{ "KBD", "PNP0303", 0, { { 0x60, 1 }, { 0x64, 1 } }, 1 },
	{ "MOU", "PNP0F13", 0, { { 0, 0 } }, 12 },
	{ "RTC", "PNP0B00", 0, { { 0x70, 4 } }, 8 },
	{ "PIT", "PNP0100", 0, { { 0x40, 4 } }, 0 },
	{ "PIC", "PNP0000", 0, { { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 } }, 2 },
	{ "SPKR", "PNP0800", 0, { { 0x61, 1 } }, -1 },
};

static void write_isa_device(struct aml *a, const struct isa_device *d)
{
	aml_device(a, d->name);
	aml_name_eisa_id(a, "_HID", d->id);
	if (d->uid)
		aml_name_int(a, "_UID", d->uid);
	aml_name_int(a, "_STA", 0xf);
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	for (unsigned i = 0; i < ARRAY_SIZE(d->ports) && d->ports[i].length; i++)
		aml_res_io(a, d->ports[i].base, 1, d->ports[i].length);
	if (d->irq >= 0)
		aml_res_irq(a, (unsigned)d->irq);
	aml_end(a);
	aml_end(a);
}

/* The ISA bridge, with the PIRQ route registers that the link devices below use. */
static void write_isa(struct aml *a, const struct acpi_config *config)
{
	aml_device(a, "ISA");
	aml_name_int(a, "_ADR", (uint32_t)config->isa_slot << 16);
	aml_region(a, "PIRQ", AML_PCI_CONFIG, 0x60, 4);
	aml_field(a, "PIRQ", 1);
	for (unsigned i = 0; i < 4; i++) {
		const char name[] = { 'P', 'R', 'Q', (char)('A' + i), 0 };
		aml_field_unit(a, name, 8);
	}
	aml_end(a);
	for (unsigned i = 0; i < ARRAY_SIZE(isa_devices); i++)
		write_isa_device(a, &isa_devices[i]);
	aml_end(a);
}

/* Bit 7 of a route register: the line goes nowhere (82371AB, 4.1.10). */
static void write_link_status(struct aml *a, const char *reg)
{
	aml_method(a, "_STA", 0, false);
	aml_if(a);
	aml_op(a, AML_AND);
	aml_path(a, reg);
	aml_int(a, 0x80);
	aml_op(a, AML_ZERO); /* AND has no target */
	aml_op(a, AML_RETURN);
	aml_int(a, 0x9);
	aml_end(a);
	aml_op(a, AML_RETURN);
	aml_int(a, 0xb);
	aml_end(a);
}

/* The template has one interrupt descriptor: its number lies at byte 5. */
static void write_link_current(struct aml *a, const char *reg)
{
	static const uint32_t none = 0;
	aml_method(a, "_CRS", 0, true);
	aml_name(a, "BUF0");
	aml_buffer_resources(a);
	aml_res_interrupts(a, &none, 1);
	aml_end(a);
	aml_op(a, AML_CREATE_DWORD_FIELD);
	aml_path(a, "BUF0");
	aml_int(a, 5);
	aml_path(a, "IRQN");
	aml_op(a, AML_STORE);
	aml_path(a, reg);
	aml_op(a, AML_LOCAL0);
	aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_AND);
	aml_op(a, AML_LOCAL0);
	aml_int(a, 0x80);
	aml_op(a, AML_ZERO);
	aml_op(a, AML_STORE);
	aml_op(a, AML_AND);
	aml_op(a, AML_LOCAL0);
	aml_int(a, 0xf);
	aml_op(a, AML_ZERO);
	aml_path(a, "IRQN");
	aml_end(a);
	aml_op(a, AML_RETURN);
	aml_path(a, "BUF0");
	aml_end(a);
}

static void write_link(struct aml *a, unsigned index)
{
	static const uint32_t possible[] = { 5, 10, 11 };
	const char name[] = { 'L', 'N', 'K', (char)('A' + index), 0 };
	char reg[24];
	snprintf(reg, sizeof(reg), "\\_SB.PCI0.ISA.PRQ%c", 'A' + index);
	aml_device(a, name);
	aml_name_eisa_id(a, "_HID", "PNP0C0F");
	aml_name_int(a, "_UID", index + 1);
	write_link_status(a, reg);
	aml_name(a, "_PRS");
	aml_buffer_resources(a);
	aml_res_interrupts(a, possible, ARRAY_SIZE(possible));
	aml_end(a);
	write_link_current(a, reg);
	aml_method(a, "_DIS", 0, false);
	aml_op(a, AML_STORE);
	aml_int(a, 0x80);
	aml_path(a, reg);
	aml_end(a);
	aml_method(a, "_SRS", 1, true);
	aml_op(a, AML_CREATE_DWORD_FIELD);
	aml_op(a, AML_ARG0);
	aml_int(a, 5);
	aml_path(a, "IRQN");
	aml_op(a, AML_STORE);
	aml_path(a, "IRQN");
	aml_path(a, reg);
	aml_end(a);
	aml_end(a);
}

/* The wiring of pins to lines is the board's, as pci_intx_pirq has it. */
static void write_routing(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, 32 * 4);
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			const char link[] = { 'L', 'N', 'K', (char)('A' + pci_intx_pirq(slot, pin)), 0 };
			aml_package(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_path(a, link);
			aml_int(a, 0);
			aml_end(a);
		}
	}
	aml_end(a);
}

static void write_pci(struct aml *a, const struct acpi_config *config)
{
	aml_device(a, "PCI0");
	aml_name_eisa_id(a, "_HID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	aml_res_range(a, AML_RANGE_BUS, 2, 0, 0, 0xff);
	aml_res_io(a, 0xcf8, 1, 8);
	aml_res_range(a, AML_RANGE_IO, 2, 3, 0, 0xcf7); /* 3: the whole range, ISA and not */
	aml_res_range(a, AML_RANGE_IO, 2, 3, 0xd00, 0xffff);
	aml_res_range(a, AML_RANGE_MEMORY, 4, 3, 0xa0000, 0xbffff); /* 3: cacheable, writable */
	aml_res_range(a, AML_RANGE_MEMORY, 4, 1, PCI_HOLE_FIRST, PCI_HOLE_LAST);
	aml_end(a);
	write_routing(a);
	write_isa(a, config);
	aml_end(a);
}

/* Ports that no other device claims, so that a system does not give them to a card. */
static void write_motherboard(struct aml *a, const struct acpi_config *config)
{
	aml_device(a, "MBRD");
	aml_name_eisa_id(a, "_HID", "PNP0C02");
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	aml_res_io(a, 0x80, 1, 1);
	aml_res_io(a, 0x92, 1, 1);
	aml_res_io(a, 0xb2, 1, 2);
	aml_res_io(a, config->pm_base, 1, PM_SIZE);
	aml_end(a);
	aml_end(a);
}

static void write_hpet(struct aml *a)
{
	aml_device(a, "HPET");
	aml_name_eisa_id(a, "_HID", "PNP0103");
	aml_name_int(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	aml_res_memory32(a, (uint32_t)HPET_BASE, 0x400, false);
	aml_end(a);
	aml_end(a);
}

static void write_fw_cfg(struct aml *a)
{
	aml_device(a, "FWCF");
	aml_name_string(a, "_HID", "QEMU0002");
	aml_name_int(a, "_STA", 0xb); /* present, not shown */
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	aml_res_io(a, 0x510, 1, 12);
	aml_end(a);
	aml_end(a);
}

static void write_pvpanic(struct aml *a)
{
	aml_device(a, "PEVT");
	aml_name_string(a, "_HID", "QEMU0001");
	aml_name_int(a, "_STA", 0xf);
	aml_name(a, "_CRS");
	aml_buffer_resources(a);
	aml_res_io(a, PVPANIC_PORT, 1, 1);
	aml_end(a);
	aml_end(a);
}

static void write_processor(struct aml *a, unsigned index)
{
	char name[5];
	snprintf(name, sizeof(name), "C%03X", index & 0xfff);
	aml_device(a, name);
	aml_name_string(a, "_HID", "ACPI0007");
	aml_name_int(a, "_UID", index);
	aml_end(a);
}

void acpi_write_dsdt(struct aml *a, const struct acpi_config *config)
{
	aml_scope(a, "\\_SB");
	for (unsigned i = 0; i < config->cpus; i++)
		write_processor(a, i);
	for (unsigned i = 0; i < 4; i++)
		write_link(a, i);
	write_pci(a, config);
	write_motherboard(a, config);
	if (config->hpet)
		write_hpet(a);
	write_fw_cfg(a);
	write_pvpanic(a);
	aml_end(a);
	aml_name(a, "\\_S5");
	aml_package(a, 4);
	aml_int(a, PM_SLP_TYP_S5);
	aml_int(a, PM_SLP_TYP_S5);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);
}
