/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "vm/acpi.h"

#define BASE 0xe0040u

static const struct acpi_config config = { .cpus = 4, .hpet = true, .pm_timer_32bit = true, .pm_base = 0x600, .isa_slot = 1 };

static uint8_t sum(const uint8_t *data, size_t size)
{
	uint8_t s = 0;
	for (size_t i = 0; i < size; i++)
		s += data[i];
	return s;
}

static const uint8_t *at(const struct acpi_tables *t, uint64_t address)
{
	assert_in_range(address, BASE, BASE + t->part[ACPI_TABLES].size - 36);
	return t->part[ACPI_TABLES].data + (address - BASE);
}

static const uint8_t *checked_table(const struct acpi_tables *t, uint64_t address, const char *signature)
{
	const uint8_t *table = at(t, address);
	assert_memory_equal(table, signature, 4);
	assert_int_equal(sum(table, load_le32(table + 4)), 0);
	return table;
}

static void roots_lead_to_checked_tables(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "HPET" };
	struct acpi_tables t;
	assert_int_equal(acpi_build(&t, &config, NULL), 0);
	acpi_relocate(&t, BASE);
	const uint8_t *rsdp = t.part[ACPI_RSDP].data;
	assert_int_equal(t.part[ACPI_RSDP].size, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	const uint8_t *rsdt = checked_table(&t, load_le32(rsdp + 16), "RSDT");
	const uint8_t *xsdt = checked_table(&t, load_le64(rsdp + 24), "XSDT");
	assert_int_equal(load_le32(rsdt + 4), 36 + 4 * ARRAY_SIZE(names));
	assert_int_equal(load_le32(xsdt + 4), 36 + 8 * ARRAY_SIZE(names));
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(load_le32(rsdt + 36 + 4 * i), load_le64(xsdt + 36 + 8 * i));
		checked_table(&t, load_le32(rsdt + 36 + 4 * i), names[i]);
	}
	const uint8_t *fadt = at(&t, load_le32(rsdt + 36));
	checked_table(&t, load_le64(fadt + 140), "DSDT");
	assert_int_equal(load_le32(fadt + 40), load_le64(fadt + 140));
	assert_memory_equal(at(&t, load_le32(fadt + 36)), "FACS", 4);
	assert_int_equal(load_le32(fadt + 36) % 64, 0);
	assert_int_equal(load_le64(fadt + 116 + 4), 0xcf9);
	acpi_destroy(&t);
}

/* The same as SeaBIOS: runs the script's commands over fresh tables; the result must be what acpi_relocate makes. */
static void loader_script_does_what_relocation_does(void **state)
{
	struct acpi_tables a, b;
	struct aml script;
	assert_int_equal(acpi_build(&a, &config, NULL), 0);
	assert_int_equal(acpi_build(&b, &config, NULL), 0);
	assert_int_equal(acpi_loader_script(&a, &script, NULL), 0);
	acpi_relocate(&b, BASE);
	assert_int_equal(script.size % 128, 0);
	for (size_t i = 0; i < script.size; i += 128) {
		const uint8_t *e = script.data + i;
		struct aml *part = &a.part[!strcmp((const char *)e + 4, ACPI_TABLES_FILE) ? ACPI_TABLES : ACPI_RSDP];
		if (load_le32(e) == 2) {
			assert_string_equal((const char *)e + 60, ACPI_TABLES_FILE);
			uint8_t *field = part->data + load_le32(e + 116);
			store_le(field, load_le(field, e[120]) + BASE, e[120]);
		} else if (load_le32(e) == 3) {
			uint8_t *field = part->data + load_le32(e + 60);
			*field = 0;
			*field = (uint8_t)-sum(part->data + load_le32(e + 64), load_le32(e + 68));
		}
	}
	for (unsigned i = 0; i < ACPI_PARTS; i++)
		assert_memory_equal(a.part[i].data, b.part[i].data, a.part[i].size);
	aml_destroy(&script);
	acpi_destroy(&a);
	acpi_destroy(&b);
}

static void write_table(const char *directory, const uint8_t *table)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%.4s.dat", directory, (const char *)table);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(table, load_le32(table + 4), 1, f), 1);
	fclose(f);
}

static void iasl_takes_tables_apart_and_puts_them_together(void **state)
{
	if (system("command -v iasl > /dev/null"))
		skip();
	char directory[] = "/tmp/visor-acpi-XXXXXX", command[512];
	assert_non_null(mkdtemp(directory));
	struct acpi_tables t;
	assert_int_equal(acpi_build(&t, &config, NULL), 0);
	acpi_relocate(&t, BASE);
	const uint8_t *rsdt = at(&t, load_le32(t.part[ACPI_RSDP].data + 16));
	for (uint32_t i = 36; i < load_le32(rsdt + 4); i += 4)
		write_table(directory, at(&t, load_le32(rsdt + i)));
	const uint8_t *fadt = at(&t, load_le32(rsdt + 36));
	write_table(directory, at(&t, load_le32(fadt + 40)));
	write_table(directory, at(&t, load_le32(fadt + 36)));
	/* Each must disassemble and compile again without error. */
	snprintf(command, sizeof(command), "cd %s && for f in *.dat; do iasl -d $f > log 2>&1 && ! grep -qi error log && "
		 "iasl ${f%%.dat}.dsl > log 2>&1 && grep -q ' 0 Errors, 0 Warnings' log || grep -q 'Compilation successful. 0 Errors' log "
		 "|| { echo $f; cat log; exit 1; }; done", directory);
	int rc = system(command);
	assert_int_equal(rc, 0);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
	acpi_destroy(&t);
}

static void aml_fails_instead_of_overflowing(void **state)
{
	struct aml a = { 0 };
	for (unsigned i = 0; i <= AML_MAX_DEPTH; i++)
		aml_scope(&a, "\\_SB");
	assert_true(a.failed);
	aml_destroy(&a);
	aml_end(&a);
	assert_true(a.failed);
	aml_destroy(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_lead_to_checked_tables),
		cmocka_unit_test(loader_script_does_what_relocation_does),
		cmocka_unit_test(iasl_takes_tables_apart_and_puts_them_together),
		cmocka_unit_test(aml_fails_instead_of_overflowing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
