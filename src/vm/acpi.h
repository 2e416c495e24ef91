/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_ACPI_H
#define VISOR_VM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "mem/memory.h"
#include "vm/aml.h"

/*
 * The ACPI tables of the machine (ACPI 6.4, chapter 5). They are built with
 * pointers as offsets and a list of what must be patched: direct boot patches
 * them itself, firmware is told to by a loader script.
 */
struct acpi_config {
	unsigned cpus;         /* APIC IDs 0..cpus-1 */
	bool hpet;
	bool pm_timer_32bit;
	uint16_t pm_base;      /* where firmware puts the power management registers */
	uint8_t isa_slot;      /* PCI slot of the ISA bridge, whose configuration registers 0x60..0x63 route PIRQA..D */
};

enum acpi_part { ACPI_TABLES, ACPI_RSDP, ACPI_PARTS };

#define ACPI_MAX_PATCHES 32

struct acpi_tables {
	struct aml part[ACPI_PARTS]; /* used as plain byte buffers */
	/* `size` bytes at `offset` hold an offset into ACPI_TABLES and want its address added. */
	struct acpi_pointer {
		enum acpi_part part;
		uint32_t offset;
		uint8_t size;
	} pointers[ACPI_MAX_PATCHES];
	unsigned pointer_count;
	/* The byte at `offset` makes the sum of [start, start+length) zero; in this order, after all pointers. */
	struct acpi_checksum {
		enum acpi_part part;
		uint32_t offset, start, length;
	} checksums[ACPI_MAX_PATCHES];
	unsigned checksum_count;
};

#define ACPI_TABLES_ALIGN 64u /* the FACS stands first */

int acpi_build(struct acpi_tables *tables, const struct acpi_config *config, struct error *err);
void acpi_destroy(struct acpi_tables *tables);

/* Patches the tables for these addresses; the parts can then be copied there. */
void acpi_relocate(struct acpi_tables *tables, uint64_t tables_base);

/* The script for firmware that loads the parts from files "etc/acpi/tables" and "etc/acpi/rsdp": to be given as
 * "etc/table-loader". The caller destroys *script. */
int acpi_loader_script(const struct acpi_tables *tables, struct aml *script, struct error *err);
#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE "etc/acpi/rsdp"
#define ACPI_LOADER_FILE "etc/table-loader"

/* --- acpi_dsdt.c --- */
void acpi_write_dsdt(struct aml *a, const struct acpi_config *config);

#endif
