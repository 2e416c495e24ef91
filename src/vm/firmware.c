/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/pm.h"
#include "dev/pc/rtc.h"
#include "host/file.h"
#include "vm/acpi.h"
#include "vm/machine_parts.h"
#include "vm/smbios.h"

/*
 * Boot by firmware: SeaBIOS in ROM at the top of 4 GiB, with the end of it in
 * the shadow RAM below 1 MiB, and the machine's description in fw_cfg.
 */
#define FIRMWARE_MAX (8u << 20)
#define FIRMWARE_MIN 65536u
#define SHADOW_MAX 0x20000u
#define PM_BASE_OVMF 0xb000u
#define BOOT_MENU_WAIT_MS 2000
#define BOOT_KINDS 5 /* that the user may name: disk, cdrom, floppy, network; and the menu, which boots nothing */
#define KEY_IRQ0_OVERRIDE 0x8002u /* of the x86 local keys: IRQ0 is on pin 2 of the I/O APIC */

static const char *const usual_paths[] = {
	"/usr/share/seabios/bios-256k.bin",
	"/usr/share/qemu/bios-256k.bin",
	"/usr/local/share/qemu/bios-256k.bin",
	"/usr/share/seabios/bios.bin",
};

int firmware_read(struct machine_file *file, const char *path, struct error *err)
{
	if (path && !*path)
		path = NULL;
	for (unsigned i = 0; !path && i < ARRAY_SIZE(usual_paths); i++)
		if (access(usual_paths[i], R_OK) == 0)
			path = usual_paths[i];
	if (!path)
		return error_set(err, ENOENT, "no firmware found (%s); install it with 'apt install seabios', or give --bios or --kernel",
				 usual_paths[0]);
	file->data = file_read(path, FIRMWARE_MAX, &file->size, err);
	if (!file->data)
		return error_prefix(err, "firmware");
	if (file->size < FIRMWARE_MIN || file->size % FIRMWARE_MIN)
		return error_set(err, EINVAL, "firmware '%s' has %zu bytes, which is no multiple of 64 KiB; is it a BIOS image?", path,
				 file->size);
	return 0;
}

void firmware_poke(struct machine *m, uint64_t gpa, const void *data, size_t size)
{
	const uint8_t *from = data;
	while (size) {
		bool writable;
		uint8_t *page = memory_page(&m->memory, gpa, &writable);
		size_t chunk = MIN(size, GUEST_PAGE_SIZE - (gpa & GUEST_PAGE_MASK));
		if (page) {
			memcpy(page + (gpa & GUEST_PAGE_MASK), from, chunk);
			memory_note_write_slow(&m->memory, memory_offset(&m->memory, page) + (gpa & GUEST_PAGE_MASK), chunk);
		}
		gpa += chunk;
		from += chunk;
		size -= chunk;
	}
}

void firmware_shadow(struct machine *m)
{
	/* UEFI starts at the top of 4 GiB and wants nothing here. */
	size_t size = m->config.uefi ? 0 : MIN(m->bios.size, SHADOW_MAX);
	firmware_poke(m, 0x100000 - size, m->bios.data + m->bios.size - size, size);
}

static int add_number(struct machine *m, unsigned key, uint64_t value, unsigned size, struct error *err)
{
	uint8_t bytes[8];
	store_le64(bytes, value);
	return fw_cfg_add_item(m->fw_cfg, key, bytes, size, err);
}

static int add_number_file(struct machine *m, const char *name, uint64_t value, unsigned size, struct error *err)
{
	uint8_t bytes[8];
	store_le64(bytes, value);
	return fw_cfg_add_file(m->fw_cfg, name, bytes, size, err);
}

/* RAM alone: firmware knows for itself what it takes of it. */
static int add_e820(struct machine *m, struct error *err)
{
	uint64_t low = MIN(m->memory.ram_size, MEMORY_LOW_MAX);
	uint8_t map[40] = { 0 };
	store_le64(map + 8, low);
	store_le32(map + 16, RANGE_RAM);
	store_le64(map + 20, MEMORY_HIGH_BASE);
	store_le64(map + 28, m->memory.ram_size - low);
	store_le32(map + 36, RANGE_RAM);
	return fw_cfg_add_file(m->fw_cfg, "etc/e820", map, m->memory.ram_size > low ? 40 : 20, err);
}

/* The Open Firmware path that SeaBIOS knows a disk by. */
static int boot_path(const struct machine *m, unsigned disk, char *text, size_t size)
{
	unsigned at = m->disk_slot[disk];
	if (m->config.disks[disk].bus == MACHINE_DISK_VIRTIO)
		return snprintf(text, size, "/pci@i0cf8/scsi@%x/disk@0,0", at);
	if (m->config.disks[disk].bus == MACHINE_FLOPPY)
		return snprintf(text, size, "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%u", ISA_BRIDGE_SLOT, at);
	if (m->config.disks[disk].bus == MACHINE_DISK_SCSI)
		return snprintf(text, size, "/pci@i0cf8/scsi@%x/disk@%u,0", SCSI_SLOT, at);
	return snprintf(text, size, "/pci@i0cf8/ide@%x,1/drive@%u/disk@%u", ISA_BRIDGE_SLOT, at / 2, at % 2);
}

/* The place of a kind in the order that the user wants; after all those of the list when it is not there. */
static unsigned boot_rank(const struct machine *m, const char *kind)
{
	const char *at = m->config.boot;
	size_t length = strlen(kind);
	unsigned rank = 0;
	for (; at && *at && rank < BOOT_KINDS; at = *at ? at + 1 : at, rank++) {
		if (!strncmp(at, kind, length) && (!at[length] || at[length] == ','))
			return rank;
		at += strcspn(at, ",");
	}
	return rank;
}

static int add_boot_order(struct machine *m, struct error *err)
{
	static const char *const kinds[MACHINE_DISK_BUSES] = {
		[MACHINE_DISK_VIRTIO] = "disk", [MACHINE_DISK_IDE] = "disk", [MACHINE_DISK_SCSI] = "disk",
		[MACHINE_CDROM] = "cdrom", [MACHINE_FLOPPY] = "floppy",
	};
	char order[(MACHINE_MAX_DISKS + MACHINE_MAX_NICS) * 64] = "";
	size_t length = 0;
	for (unsigned rank = 0; rank <= BOOT_KINDS; rank++) {
		for (unsigned i = 0; i < m->config.disk_count; i++) {
			if (boot_rank(m, kinds[m->config.disks[i].bus]) != rank)
				continue;
			length += (size_t)boot_path(m, i, order + length, sizeof(order) - length);
			order[length++] = '\n';
		}
		for (unsigned i = 0; boot_rank(m, "network") == rank && i < m->config.nic_count; i++)
			length += (size_t)snprintf(order + length, sizeof(order) - length, "/pci@i0cf8/ethernet@%x/ethernet-phy@0\n", m->nic_slot[i]);
	}
	if (!length)
		return 0;
	order[length - 1] = 0;
	return fw_cfg_add_file(m->fw_cfg, "bootorder", order, length, err);
}

/* iPXE for the machine's cards, for SeaBIOS, which takes a PCI function's ROM from a file named after its IDs; UEFI has a driver of its own. */
static int add_network_roms(struct machine *m, struct error *err)
{
	static const char *const folders[] = { "/usr/lib/ipxe/qemu", "/usr/share/qemu", "/usr/local/share/qemu" };
	static const struct { const char *file, *item; } roms[MACHINE_NIC_MODELS] = {
		[MACHINE_NIC_VIRTIO] = { "pxe-virtio.rom", "pci1af4,1041.rom" }, [MACHINE_NIC_E1000] = { "pxe-e1000.rom", "pci8086,100e.rom" },
		[MACHINE_NIC_PCNET] = { "pxe-pcnet.rom", "pci1022,2000.rom" },
	};
	bool there[MACHINE_NIC_MODELS] = { false }, wanted = m->config.boot && strstr(m->config.boot, "network");
	char path[128];
	for (unsigned i = 0; machine_wants_bios(m) && i < m->config.nic_count; i++) {
		enum machine_nic_model model = m->config.nics[i].model;
		bool found = there[model];
		for (unsigned j = 0; !found && j < ARRAY_SIZE(folders); j++) {
			snprintf(path, sizeof(path), "%s/%s", folders[j], roms[model].file);
			found = access(path, R_OK) == 0;
		}
		if (!found && wanted)
			return error_set(err, ENOENT, "--boot network: there is no iPXE for the network card (%s/%s); install it with 'apt install "
					 "ipxe-qemu'", folders[0], roms[model].file);
		if (found && !there[model] && firmware_add_rom(m, roms[model].item, path, err) < 0)
			return -1;
		there[model] = found;
	}
	return 0;
}

static int add_option_roms(struct machine *m, struct error *err)
{
	char name[32];
	for (unsigned i = 0; i < m->config.option_rom_count; i++) {
		snprintf(name, sizeof(name), "genroms/option%u.rom", i);
		if (firmware_add_rom(m, name, m->config.option_roms[i], err) < 0)
			return -1;
	}
	return add_network_roms(m, err) < 0 ? -1 : firmware_add_vga_rom(m, err);
}

static int add_acpi(struct machine *m, struct error *err)
{
	const struct acpi_config config = {
		.cpus = m->cpu_count, .hpet = true, .pm_timer_32bit = true, .pm_base = m->config.uefi ? PM_BASE_OVMF : PM_BASE,
		.isa_slot = ISA_BRIDGE_SLOT,
	};
	struct acpi_tables tables;
	struct aml script;
	if (acpi_build(&tables, &config, err) < 0)
		return -1;
	int rc = acpi_loader_script(&tables, &script, err);
	const struct { const char *name; const struct aml *bytes; } files[] = {
		{ ACPI_TABLES_FILE, &tables.part[ACPI_TABLES] }, { ACPI_RSDP_FILE, &tables.part[ACPI_RSDP] }, { ACPI_LOADER_FILE, &script },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(files) && rc == 0; i++)
		rc = fw_cfg_add_file(m->fw_cfg, files[i].name, files[i].bytes->data, files[i].bytes->size, err);
	acpi_destroy(&tables);
	aml_destroy(&script);
	return rc;
}

static int add_smbios(struct machine *m, struct error *err)
{
	struct smbios smbios;
	if (smbios_build(&smbios, m->cpu_count, m->memory.ram_size, err) < 0)
		return -1;
	int rc = fw_cfg_add_file(m->fw_cfg, "etc/smbios/smbios-anchor", smbios.anchor, SMBIOS_ANCHOR_SIZE, err);
	if (rc == 0)
		rc = fw_cfg_add_file(m->fw_cfg, "etc/smbios/smbios-tables", smbios.tables.data, smbios.tables.size, err);
	smbios_destroy(&smbios);
	return rc;
}

static int describe(struct machine *m, struct error *err)
{
	static const uint8_t uuid[16];
	if (fw_cfg_add_item(m->fw_cfg, 0x02, uuid, sizeof(uuid), err) < 0 ||
	    add_number(m, FW_CFG_RAM_SIZE, MIN(m->memory.ram_size, MEMORY_LOW_MAX), 8, err) < 0 ||
	    add_number(m, FW_CFG_NOGRAPHIC, 1, 2, err) < 0 ||
	    add_number(m, FW_CFG_NB_CPUS, m->cpu_count, 2, err) < 0 ||
	    add_number(m, FW_CFG_MAX_CPUS, m->cpu_count, 2, err) < 0 ||
	    add_number(m, FW_CFG_BOOT_MENU, m->config.boot && strstr(m->config.boot, "menu"), 2, err) < 0 ||
	    add_number(m, KEY_IRQ0_OVERRIDE, 1, 4, err) < 0 ||
	    add_number_file(m, "etc/boot-menu-wait", BOOT_MENU_WAIT_MS, 2, err) < 0 ||
	    add_number_file(m, "etc/sercon-port", 0x3f8, 2, err) < 0)
		return -1;
	if (add_e820(m, err) < 0 || add_boot_order(m, err) < 0 || add_acpi(m, err) < 0 || add_option_roms(m, err) < 0)
		return -1;
	return add_smbios(m, err);
}

int firmware_install(struct machine *m, struct error *err)
{
	uint64_t low = MIN(m->memory.ram_size, MEMORY_LOW_MAX);
	const struct rtc_shape shape = {
		.ram_below_4g = low, .ram_above_4g = m->memory.ram_size - low, .cpus = m->cpu_count, .floppies = m->floppies,
		.boot_order = { 2, 3, 1 },
	};
	rtc_describe(m->rtc, &shape);
	if (!machine_direct_boot(m) && memory_add_rom(&m->memory, 1ull << 32, m->bios.data, m->bios.size, err) < 0)
		return -1;
	return describe(m, err);
}
