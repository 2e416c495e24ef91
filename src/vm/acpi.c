/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/acpi.h"

#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "dev/pc/hpet.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/lapic.h"
#include "dev/pc/pm.h"

#define SCI_IRQ 9
#define CMOS_CENTURY 0x32
#define RESET_PORT 0xcf9
#define RESET_VALUE 6 /* full reset, CPU reset (82371AB, 4.3.1) */
#define HEADER_SIZE 36

/* FADT (ACPI 6.4, 5.2.9), revision 3: the first with 64-bit addresses. */
enum {
	FADT_SIZE = 244,
	FADT_FACS = 36, FADT_DSDT = 40, FADT_SCI = 46, FADT_SMI_CMD = 48, FADT_ACPI_ENABLE = 52, FADT_ACPI_DISABLE = 53,
	FADT_PM1A_EVT = 56, FADT_PM1A_CNT = 64, FADT_PM_TMR = 76, FADT_GPE0 = 80, FADT_PM1_EVT_LEN = 88, FADT_PM1_CNT_LEN = 89,
	FADT_PM_TMR_LEN = 91, FADT_GPE0_LEN = 92, FADT_C2_LATENCY = 96, FADT_C3_LATENCY = 98, FADT_CENTURY = 108,
	FADT_BOOT_ARCH = 109, FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128, FADT_X_FACS = 132, FADT_X_DSDT = 140,
	FADT_X_PM1A_EVT = 148, FADT_X_PM1A_CNT = 172, FADT_X_PM_TMR = 208, FADT_X_GPE0 = 220,
};
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_NO_SLEEP_BUTTON BIT(5)
#define FADT_NO_FIXED_RTC BIT(6)
#define FADT_TIMER_32BIT BIT(8)
#define FADT_HAS_RESET BIT(10)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_HAS_8042 BIT(1)
#define BOOT_NO_VGA BIT(2)

static void add_pointer(struct acpi_tables *t, enum acpi_part part, size_t offset, unsigned size, uint64_t target)
{
	if (t->pointer_count == ARRAY_SIZE(t->pointers) || t->part[part].failed) {
		t->part[part].failed = true;
		return;
	}
	store_le(t->part[part].data + offset, target, size);
	t->pointers[t->pointer_count++] = (struct acpi_pointer){ part, (uint32_t)offset, (uint8_t)size };
}

static void add_checksum(struct acpi_tables *t, enum acpi_part part, size_t offset, size_t start, size_t length)
{
	if (t->checksum_count == ARRAY_SIZE(t->checksums)) {
		t->part[part].failed = true;
		return;
	}
	t->checksums[t->checksum_count++] =
		(struct acpi_checksum){ part, (uint32_t)offset, (uint32_t)start, (uint32_t)length };
}

static void pad(struct aml *a, size_t to)
{
	while (!a->failed && a->size < to)
		aml_byte(a, 0);
}

/* Opens a table at the next multiple of 16; its length and checksum come with table_end. */
static size_t table_begin(struct acpi_tables *t, const char *signature, uint8_t revision)
{
	struct aml *a = &t->part[ACPI_TABLES];
	pad(a, ALIGN_UP(a->size, (size_t)16));
	size_t start = a->size;
	aml_bytes(a, signature, 4);
	aml_number(a, 0, 4);
	aml_byte(a, revision);
	aml_byte(a, 0);
	aml_bytes(a, "VISOR VISORPC ", 14); /* OEM ID and OEM table ID */
	aml_number(a, 1, 4);
	aml_bytes(a, "VISR", 4);
	aml_number(a, 1, 4);
	return start;
}

static void table_end(struct acpi_tables *t, size_t start)
{
	struct aml *a = &t->part[ACPI_TABLES];
	if (a->failed)
		return;
	store_le32(a->data + start + 4, (uint32_t)(a->size - start));
	add_checksum(t, ACPI_TABLES, start + 9, start, a->size - start);
}

/* The global lock lies here, hence 64-byte alignment; no header checksum (ACPI 6.4, 5.2.10). */
static size_t write_facs(struct acpi_tables *t)
{
	struct aml *a = &t->part[ACPI_TABLES];
	pad(a, ALIGN_UP(a->size, (size_t)ACPI_TABLES_ALIGN));
	size_t start = a->size;
	aml_bytes(a, "FACS", 4);
	aml_number(a, 64, 4);
	pad(a, start + 32);
	aml_byte(a, 1);
	pad(a, start + 64);
	return start;
}

/* A register block in I/O space, in the old and in the extended form (generic address structure, ACPI 6.4, 5.2.3.2). */
static void fadt_block(uint8_t *fadt, unsigned old, unsigned extended, uint16_t port, unsigned bytes)
{
	store_le32(fadt + old, port);
	fadt[extended] = 1; /* system I/O */
	fadt[extended + 1] = (uint8_t)(bytes * 8);
	fadt[extended + 3] = (uint8_t)(bytes == 4 ? 3 : 2); /* access size: dword, word */
	store_le64(fadt + extended + 4, port);
}

static void fill_fadt(uint8_t *f, const struct acpi_config *config)
{
	store_le16(f + FADT_SCI, SCI_IRQ);
	store_le32(f + FADT_SMI_CMD, 0xb2);
	f[FADT_ACPI_ENABLE] = PM_ACPI_ENABLE;
	f[FADT_ACPI_DISABLE] = PM_ACPI_DISABLE;
	fadt_block(f, FADT_PM1A_EVT, FADT_X_PM1A_EVT, config->pm_base, 4);
	fadt_block(f, FADT_PM1A_CNT, FADT_X_PM1A_CNT, config->pm_base + 4, 2);
	fadt_block(f, FADT_PM_TMR, FADT_X_PM_TMR, config->pm_base + 8, 4);
	fadt_block(f, FADT_GPE0, FADT_X_GPE0, config->pm_base + 0xc, 4);
	f[FADT_X_GPE0 + 3] = 1; /* byte registers: two of status, two of enable */
	f[FADT_PM1_EVT_LEN] = 4;
	f[FADT_PM1_CNT_LEN] = 2;
	f[FADT_PM_TMR_LEN] = 4;
	f[FADT_GPE0_LEN] = 4;
	store_le16(f + FADT_C2_LATENCY, 0xfff); /* above 100 and 1000: neither C2 nor C3 */
	store_le16(f + FADT_C3_LATENCY, 0xfff);
	f[FADT_CENTURY] = CMOS_CENTURY;
	store_le16(f + FADT_BOOT_ARCH, BOOT_LEGACY_DEVICES | BOOT_HAS_8042 | BOOT_NO_VGA);
	store_le32(f + FADT_FLAGS, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_FIXED_RTC | FADT_HAS_RESET |
		   (config->pm_timer_32bit ? FADT_TIMER_32BIT : 0));
	f[FADT_RESET_REG] = 1;
	f[FADT_RESET_REG + 1] = 8;
	f[FADT_RESET_REG + 3] = 1;
	store_le64(f + FADT_RESET_REG + 4, RESET_PORT);
	f[FADT_RESET_VALUE] = RESET_VALUE;
}

static size_t write_fadt(struct acpi_tables *t, const struct acpi_config *config, size_t facs, size_t dsdt)
{
	struct aml *a = &t->part[ACPI_TABLES];
	size_t start = table_begin(t, "FACP", 3);
	pad(a, start + FADT_SIZE);
	if (a->failed)
		return start;
	fill_fadt(a->data + start, config);
	add_pointer(t, ACPI_TABLES, start + FADT_FACS, 4, facs);
	add_pointer(t, ACPI_TABLES, start + FADT_DSDT, 4, dsdt);
	/* X_FIRMWARE_CTRL stays 0: only one of the two may be set. */
	add_pointer(t, ACPI_TABLES, start + FADT_X_DSDT, 8, dsdt);
	table_end(t, start);
	return start;
}

/* Interrupt source override: an ISA interrupt that is not on the I/O APIC pin of its number, or not edge, active high. */
static void madt_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	aml_byte(a, 2);
	aml_byte(a, 10);
	aml_byte(a, 0); /* ISA */
	aml_byte(a, irq);
	aml_number(a, gsi, 4);
	aml_number(a, flags, 2);
}

static size_t write_madt(struct acpi_tables *t, const struct acpi_config *config)
{
	static const uint8_t level[] = { 5, SCI_IRQ, 10, 11 }; /* the SCI, and where PCI interrupts may be routed */
	struct aml *a = &t->part[ACPI_TABLES];
	size_t start = table_begin(t, "APIC", 1);
	aml_number(a, LAPIC_BASE, 4);
	aml_number(a, 1, 4); /* there are 8259s too */
	for (unsigned i = 0; i < config->cpus; i++) {
		aml_byte(a, 0);
		aml_byte(a, 8);
		aml_byte(a, (uint8_t)i); /* _UID of the processor's device */
		aml_byte(a, (uint8_t)i); /* APIC ID */
		aml_number(a, 1, 4);     /* enabled */
	}
	aml_byte(a, 1);
	aml_byte(a, 12);
	aml_byte(a, 0); /* I/O APIC ID */
	aml_byte(a, 0);
	aml_number(a, IOAPIC_BASE, 4);
	aml_number(a, 0, 4); /* first GSI */
	madt_override(a, 0, 2, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(level); i++)
		madt_override(a, level[i], level[i], 0xd); /* active high, level */
	aml_byte(a, 4);
	aml_byte(a, 6);
	aml_byte(a, 0xff); /* all processors */
	aml_number(a, 0, 2);
	aml_byte(a, 1);    /* LINT1 */
	table_end(t, start);
	return start;
}

static size_t write_hpet(struct acpi_tables *t)
{
	struct aml *a = &t->part[ACPI_TABLES];
	size_t start = table_begin(t, "HPET", 1);
	/* Low half of the capability register: vendor, legacy route, 64-bit counter, number of the last timer, revision. */
	aml_number(a, 0x8086a001u | (HPET_TIMERS - 1) << 8, 4);
	aml_byte(a, 0); /* memory space */
	aml_byte(a, 64);
	aml_byte(a, 0);
	aml_byte(a, 0);
	aml_number(a, HPET_BASE, 8);
	aml_byte(a, 0);
	aml_number(a, 0x80, 2); /* shortest periodic tick */
	aml_byte(a, 0);
	table_end(t, start);
	return start;
}

/* RSDT (4-byte entries) or XSDT (8). */
static size_t write_root(struct acpi_tables *t, const char *signature, unsigned size, const size_t *list, unsigned count)
{
	struct aml *a = &t->part[ACPI_TABLES];
	size_t start = table_begin(t, signature, 1);
	for (unsigned i = 0; i < count; i++) {
		aml_number(a, 0, size);
		add_pointer(t, ACPI_TABLES, a->size - size, size, list[i]);
	}
	table_end(t, start);
	return start;
}

static void write_rsdp(struct acpi_tables *t, size_t rsdt, size_t xsdt)
{
	struct aml *a = &t->part[ACPI_RSDP];
	aml_bytes(a, "RSD PTR ", 8);
	aml_byte(a, 0);
	aml_bytes(a, "VISOR ", 6);
	aml_byte(a, 2);
	aml_number(a, 0, 4);
	aml_number(a, 36, 4);
	pad(a, 36);
	add_pointer(t, ACPI_RSDP, 16, 4, rsdt);
	add_pointer(t, ACPI_RSDP, 24, 8, xsdt);
	add_checksum(t, ACPI_RSDP, 8, 0, 20);
	add_checksum(t, ACPI_RSDP, 32, 0, 36);
}

static size_t write_dsdt_table(struct acpi_tables *t, const struct acpi_config *config)
{
	size_t start = table_begin(t, "DSDT", 2);
	acpi_write_dsdt(&t->part[ACPI_TABLES], config);
	table_end(t, start);
	return start;
}

int acpi_build(struct acpi_tables *tables, const struct acpi_config *config, struct error *err)
{
	*tables = (struct acpi_tables){ 0 };
	size_t list[4];
	unsigned count = 0;
	size_t facs = write_facs(tables);
	size_t dsdt = write_dsdt_table(tables, config);
	list[count++] = write_fadt(tables, config, facs, dsdt);
	list[count++] = write_madt(tables, config);
	if (config->hpet)
		list[count++] = write_hpet(tables);
	size_t rsdt = write_root(tables, "RSDT", 4, list, count);
	size_t xsdt = write_root(tables, "XSDT", 8, list, count);
	write_rsdp(tables, rsdt, xsdt);
	if (!tables->part[ACPI_TABLES].failed && !tables->part[ACPI_RSDP].failed && !tables->part[ACPI_TABLES].depth)
		return 0;
	acpi_destroy(tables);
	return error_set(err, ENOMEM, "out of memory for the ACPI tables");
}

void acpi_destroy(struct acpi_tables *tables)
{
	for (unsigned i = 0; i < ACPI_PARTS; i++)
		aml_destroy(&tables->part[i]);
}

void acpi_relocate(struct acpi_tables *tables, uint64_t tables_base)
{
	for (unsigned i = 0; i < tables->pointer_count; i++) {
		const struct acpi_pointer *p = &tables->pointers[i];
		uint8_t *at = tables->part[p->part].data + p->offset;
		store_le(at, load_le(at, p->size) + tables_base, p->size);
	}
	for (unsigned i = 0; i < tables->checksum_count; i++) {
		const struct acpi_checksum *c = &tables->checksums[i];
		uint8_t *data = tables->part[c->part].data, sum = 0;
		data[c->offset] = 0;
		for (uint32_t j = 0; j < c->length; j++)
			sum += data[c->start + j];
		data[c->offset] = (uint8_t)-sum;
	}
}

/* --- the loader script: 128-byte commands (QEMU's docs/specs/fw_cfg and SeaBIOS' romfile loader) --- */

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define LOADER_ENTRY 128
#define LOADER_FILE 56

static const char *const part_file[ACPI_PARTS] = { [ACPI_TABLES] = ACPI_TABLES_FILE, [ACPI_RSDP] = ACPI_RSDP_FILE };

static void put_file(uint8_t *at, enum acpi_part part)
{
	snprintf((char *)at, LOADER_FILE, "%s", part_file[part]);
}

static void script_allocate(struct aml *script, enum acpi_part part, uint32_t align, uint8_t zone)
{
	uint8_t entry[LOADER_ENTRY] = { LOADER_ALLOCATE };
	put_file(entry + 4, part);
	store_le32(entry + 4 + LOADER_FILE, align);
	entry[8 + LOADER_FILE] = zone;
	aml_bytes(script, entry, sizeof(entry));
}

int acpi_loader_script(const struct acpi_tables *tables, struct aml *script, struct error *err)
{
	*script = (struct aml){ 0 };
	script_allocate(script, ACPI_RSDP, 16, ZONE_FSEG);
	script_allocate(script, ACPI_TABLES, ACPI_TABLES_ALIGN, ZONE_HIGH);
	for (unsigned i = 0; i < tables->pointer_count; i++) {
		const struct acpi_pointer *p = &tables->pointers[i];
		uint8_t entry[LOADER_ENTRY] = { LOADER_ADD_POINTER };
		put_file(entry + 4, p->part);
		put_file(entry + 4 + LOADER_FILE, ACPI_TABLES);
		store_le32(entry + 4 + 2 * LOADER_FILE, p->offset);
		entry[8 + 2 * LOADER_FILE] = p->size;
		aml_bytes(script, entry, sizeof(entry));
	}
	for (unsigned i = 0; i < tables->checksum_count; i++) {
		const struct acpi_checksum *c = &tables->checksums[i];
		uint8_t entry[LOADER_ENTRY] = { LOADER_ADD_CHECKSUM };
		put_file(entry + 4, c->part);
		store_le32(entry + 4 + LOADER_FILE, c->offset);
		store_le32(entry + 8 + LOADER_FILE, c->start);
		store_le32(entry + 12 + LOADER_FILE, c->length);
		aml_bytes(script, entry, sizeof(entry));
	}
	return script->failed ? error_set(err, ENOMEM, "out of memory for the ACPI loader script") : 0;
}
