/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "dev/pc/lapic.h"
#include "dev/pc/pm.h"
#include "dev/pci/pci.h"
#include "host/file.h"
#include "host/thread.h"
#include "vm/acpi.h"
#include "vm/machine_parts.h"
#include "vm/smbios.h"

/*
 * Boot of a machine: by firmware, which does all itself, or directly, where the
 * machine does what firmware would have done before it starts the kernel.
 */
#define RSDP_ADDRESS BOOT_BIOS_AREA
#define TABLES_ADDRESS (BOOT_BIOS_AREA + ACPI_TABLES_ALIGN)
#define SMBIOS_ADDRESS 0xf0000u /* searched for from here on (DSP0134, 5.2.1) */

/* --- in firmware's stead --- */

static int put_acpi(struct machine *m, struct error *err)
{
	const struct acpi_config config = {
		.cpus = m->cpu_count, .hpet = m->config.profile != MACHINE_MICRO, .pm_timer_32bit = true, .pm_base = PM_BASE, .isa_slot = ISA_BRIDGE_SLOT,
	};
	struct acpi_tables tables;
	if (acpi_build(&tables, &config, err) < 0)
		return -1;
	acpi_relocate(&tables, TABLES_ADDRESS);
	const struct aml *t = &tables.part[ACPI_TABLES], *rsdp = &tables.part[ACPI_RSDP];
	int rc = 0;
	if (t->size > SMBIOS_ADDRESS - TABLES_ADDRESS) {
		rc = error_set(err, 0, "the ACPI tables have %zu bytes and do not fit below 1 MiB", t->size);
	} else {
		firmware_poke(m, TABLES_ADDRESS, t->data, t->size);
		firmware_poke(m, RSDP_ADDRESS, rsdp->data, rsdp->size);
	}
	acpi_destroy(&tables);
	return rc;
}

static int put_smbios(struct machine *m, struct error *err)
{
	struct smbios smbios;
	if (smbios_build(&smbios, m->cpu_count, m->memory.ram_size, err) < 0)
		return -1;
	smbios_relocate(&smbios, SMBIOS_ADDRESS + 32);
	firmware_poke(m, SMBIOS_ADDRESS, smbios.anchor, SMBIOS_ANCHOR_SIZE);
	firmware_poke(m, SMBIOS_ADDRESS + 32, smbios.tables.data, smbios.tables.size);
	smbios_destroy(&smbios);
	return 0;
}

/* BIOS data area: where a kernel looks for the end of low memory and for the ACPI root pointer. */
static void put_bios_data(struct machine *m)
{
	const uint8_t ebda_kib = 1;
	uint8_t word[2];
	store_le16(word, BOOT_EBDA >> 4);
	firmware_poke(m, 0x40e, word, 2);
	store_le16(word, BOOT_EBDA >> 10);
	firmware_poke(m, 0x413, word, 2);
	firmware_poke(m, BOOT_EBDA, &ebda_kib, 1);
}

/* Memory types as firmware leaves them (SDM 3A, 12.11): all write-back but the VGA window and the PCI hole. */
static void set_memory_types(struct cpu *c)
{
	uint32_t out[4];
	cpu_cpuid(c, 0x80000008, 0, out);
	uint64_t physical = (1ull << (out[0] & 0xff)) - 1;
	for (unsigned i = 0; i < ARRAY_SIZE(c->mtrr_fixed); i++)
		c->mtrr_fixed[i] = i == 2 ? 0 : i < 2 ? 0x0606060606060606ull : 0x0505050505050505ull;
	c->mtrr_variable[0] = MEMORY_LOW_MAX; /* uncacheable */
	c->mtrr_variable[1] = (physical & ~(MEMORY_HIGH_BASE - MEMORY_LOW_MAX - 1)) | 0x800;
	c->mtrr_def_type = 0xc06;
}

static int set_up_pci(struct machine *m, struct error *err)
{
	const struct pci_windows windows = {
		.io_base = 0xc000, .io_end = 0x10000, .memory_base = 0xe0000000, .memory_end = 0xfec00000, .irq = { 10, 10, 11, 11 },
	};
	/* PAM: the shadow RAM, where the tables lie, can be written; the FACS has to be. */
	pci_config_write(m->pci, PCI_DEVFN(0, 0), 0x59, 0x30, 1);
	for (unsigned reg = 0x5a; reg <= 0x5f; reg++)
		pci_config_write(m->pci, PCI_DEVFN(0, 0), reg, 0x33, 1);
	/* The first DMA controller hangs on the second one's channel 4. */
	io_write(&m->ports, 0xd6, 0xc0, 1);
	io_write(&m->ports, 0xd4, 0x00, 1);
	io_write(&m->ports, 0x4d1, 0x0e, 1); /* IRQ9 to IRQ11: level, as the SCI and PCI are */
	return pci_bus_assign(m->pci, &windows, err);
}

/* --- the kernel --- */

/* The files are mapped at each boot and not kept: tens of megabytes that a running machine has no use for. */
static int load_kernel(const struct machine_config *config, struct guest_memory *memory, struct boot_entry *entry, struct error *err)
{
	struct file_map kernel = { 0 }, initrd = { 0 };
	if (file_map(&kernel, config->kernel, err) < 0)
		return error_prefix(err, "kernel");
	if (config->initrd && file_map(&initrd, config->initrd, err) < 0) {
		file_unmap(&kernel);
		return error_prefix(err, "initrd");
	}
	const struct boot_request request = {
		.memory = memory, .cmdline = config->append, .guest_unpacks = config->guest_unpacks, .rsdp = RSDP_ADDRESS,
		.kernel = { config->kernel, kernel.data, kernel.size },
		.initrd = { config->initrd, initrd.data, initrd.size },
	};
	int rc = boot_load(&request, entry, err);
	file_unmap(&kernel);
	file_unmap(&initrd);
	return rc;
}

static void *load_first(void *opaque)
{
	struct machine *m = opaque;
	m->load.rc = load_kernel(&m->config, &m->load.memory, &m->load.entry, &m->load.err);
	return NULL;
}

void machine_begin_load(struct machine *m)
{
	/* Devices that are made meanwhile change the map, not what lies where the kernel goes. */
	m->load.memory = m->memory;
	if (machine_direct_boot(m) && !m->config.restore)
		m->load.running = host_thread_start(&m->load.thread, "load", load_first, m, NULL) == 0;
}

void machine_end_load(struct machine *m)
{
	m->load.ready |= m->load.running;
	if (m->load.running)
		pthread_join(m->load.thread, NULL);
	m->load.running = false;
}

/* What machine_begin_load began, or anew. */
static int enter_kernel(struct machine *m, struct error *err)
{
	struct machine_load *load = &m->load;
	if (!load->ready)
		load->rc = load_kernel(&m->config, &m->memory, &load->entry, &load->err);
	load->ready = false;
	if (load->rc < 0)
		return error_set(err, load->err.code, "%s", load->err.text);
	boot_enter(&load->entry, m->cpus[0]);
	return 0;
}

static int direct_boot(struct machine *m, struct error *err)
{
	if (enter_kernel(m, err) < 0 || put_acpi(m, err) < 0 || put_smbios(m, err) < 0 || set_up_pci(m, err) < 0)
		return -1;
	put_bios_data(m);
	for (unsigned i = 0; i < m->cpu_count; i++) {
		lapic_virtual_wire(m->lapics[i]);
		set_memory_types(m->cpus[i]);
	}
	return 0;
}

int machine_boot(struct machine *m, struct error *err)
{
	if (machine_direct_boot(m))
		return direct_boot(m, err);
	firmware_shadow(m);
	return 0;
}
