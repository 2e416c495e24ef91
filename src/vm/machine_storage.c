/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/block.h"
#include "dev/ide/ide.h"
#include "dev/pc/floppy.h"
#include "dev/pc/i8237.h"
#include "dev/scsi/buslogic.h"
#include "host/loop.h"
#include "vm/machine_parts.h"

/* Disks, discs and their controllers other than virtio. */

struct block *machine_open_image(struct machine *m, const struct machine_disk *disk, const struct worker *own, struct error *err)
{
	const struct block_config file = {
		.path = disk->path, .format = disk->format, .snapshot = disk->snapshot, .backing = disk->backing,
		.read_only = disk->read_only, .shared = disk->shared, .cache = (enum block_cache)disk->cache,
		.worker = own ? *own : (struct worker){ loop_post, m->loop }, .worker_waits = own != NULL,
	};
	return block_open(&file, err);
}

/* CD-ROM drives come first on the second channel, disks on the first: what systems expect. */
static int free_place(const struct ide_config *config, enum machine_disk_bus bus)
{
	static const uint8_t order[2][IDE_DRIVES] = { { 0, 1, 3, 2 }, { 2, 3, 1, 0 } };
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		unsigned place = order[bus == MACHINE_CDROM][i];
		if (config->drive[place].kind == IDE_NONE)
			return (int)place;
	}
	return -1;
}

static int add_drives(struct machine *m, enum machine_disk_bus bus, struct ide_config *config, struct error *err)
{
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		struct machine_disk *disk = &m->config.disks[i];
		if (disk->bus != bus || disk->scsi)
			continue;
		int place = free_place(config, bus);
		if (place < 0)
			return error_set(err, ENOSPC, "%s: the two IDE channels have room for %d drives; use virtio for some disks",
					 disk->path ? disk->path : "a CD-ROM drive", IDE_DRIVES);
		disk->read_only |= bus == MACHINE_CDROM;
		struct block *block = disk->path ? machine_open_image(m, disk, NULL, err) : NULL;
		if (disk->path && !block)
			return -1;
		config->drive[place] = (struct ide_drive_config){ .kind = bus == MACHINE_CDROM ? IDE_CDROM : IDE_DISK, .block = block };
		m->disk_slot[i] = (unsigned)place;
	}
	return 0;
}

static void close_drives(const struct ide_config *config)
{
	for (unsigned i = 0; i < IDE_DRIVES; i++)
		block_close(config->drive[i].block);
}

int machine_check_drives(const struct machine *m, struct error *err)
{
	for (unsigned i = 0; m->config.profile == MACHINE_MICRO && i < m->config.disk_count; i++)
		if (m->config.disks[i].bus != MACHINE_DISK_VIRTIO)
			return error_set(err, EINVAL, "%s: a machine of type micro has virtio disks alone", m->config.disks[i].path);
	return 0;
}

int machine_add_ide(struct machine *m, struct error *err)
{
	struct ide_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(ISA_BRIDGE_SLOT, 1), .ports = &m->ports, .dma = { &m->memory },
		.irq = { gsi_line(m->gsi, 14), gsi_line(m->gsi, 15) },
		.enabled_at_reset = true, /* OVMF does not do it */
	};
	bool open = add_drives(m, MACHINE_CDROM, &config, err) == 0 && add_drives(m, MACHINE_DISK_IDE, &config, err) == 0;
	m->ide = open ? ide_create(&config, err) : NULL;
	if (!m->ide) {
		close_drives(&config);
		return -1;
	}
	machine_add_device(m, (struct device *)m->ide);
	return 0;
}

/* The images of --floppy in their order; classic has both drives in any case. */
static int open_floppies(struct machine *m, struct floppy_config *config, struct error *err)
{
	unsigned next = 0;
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		config->drive[i].present = m->config.profile == MACHINE_CLASSIC;
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		struct machine_disk *disk = &m->config.disks[i];
		if (disk->bus != MACHINE_FLOPPY)
			continue;
		if (next == FLOPPY_DRIVES)
			return error_set(err, ENOSPC, "a machine has at most %d floppy drives", FLOPPY_DRIVES);
		struct block *block = disk->path ? machine_open_image(m, disk, NULL, err) : NULL;
		if (disk->path && !block)
			return -1;
		m->disk_slot[i] = next;
		config->drive[next].present = true;
		config->drive[next++].block = block;
	}
	return 0;
}

int machine_add_floppy(struct machine *m, struct error *err)
{
	struct floppy_config config = {
		.lock = &m->board_lock, .ports = &m->ports, .irq = gsi_line(m->gsi, 6), .dma = m->i8237, .clock = &m->clock,
	};
	if (open_floppies(m, &config, err) == 0) {
		if (!config.drive[0].present)
			return 0;
		m->floppy = floppy_create(&config, err);
	}
	if (!m->floppy) {
		for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
			block_close(config.drive[i].block);
		return -1;
	}
	m->floppies = (unsigned)config.drive[0].present + config.drive[1].present;
	machine_add_device(m, (struct device *)m->floppy);
	return 0;
}

static unsigned scsi_drives(const struct machine *m)
{
	unsigned count = 0;
	for (unsigned i = 0; i < m->config.disk_count; i++)
		count += m->config.disks[i].scsi;
	return count;
}

/* Disks have the lowest IDs, and CD-ROM drives the highest, both in their order. */
static int open_scsi_disks(struct machine *m, struct buslogic_config *config, struct error *err)
{
	unsigned drives = scsi_drives(m), next = 0, drive = BUSLOGIC_DISKS - MIN(drives, BUSLOGIC_DISKS), end = drive;
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		struct machine_disk *disk = &m->config.disks[i];
		const char *name = disk->path ? disk->path : "a CD-ROM drive";
		if (disk->bus != MACHINE_DISK_SCSI && !disk->scsi)
			continue;
		if (m->config.profile != MACHINE_CLASSIC)
			return error_set(err, EINVAL, "%s: only a machine of type classic has a SCSI adapter; use --machine classic, or %s", name,
					 disk->scsi ? "IDE" : "virtio");
		unsigned *place = disk->scsi ? &drive : &next, limit = disk->scsi ? BUSLOGIC_DISKS : end;
		if (*place == limit)
			return error_set(err, ENOSPC, "%s: the SCSI adapter has room for %d drives; use virtio for some disks", name, BUSLOGIC_DISKS);
		unsigned id = (*place)++;
		config->cdrom[id] = disk->scsi;
		disk->read_only |= disk->scsi;
		config->disk[id] = disk->path ? machine_open_image(m, disk, NULL, err) : NULL;
		if (disk->path && !config->disk[id])
			return -1;
		m->disk_slot[i] = id;
	}
	return 0;
}

int machine_add_scsi(struct machine *m, struct error *err)
{
	struct buslogic_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(SCSI_SLOT, 0), .ports = &m->ports, .dma = { &m->memory }, .clock = &m->clock,
	};
	if (open_scsi_disks(m, &config, err) == 0) {
		if (m->config.profile != MACHINE_CLASSIC)
			return 0;
		m->scsi = buslogic_create(&config, err);
	}
	if (!m->scsi) {
		for (unsigned i = 0; i < BUSLOGIC_DISKS; i++)
			block_close(config.disk[i]);
		return -1;
	}
	machine_add_device(m, (struct device *)m->scsi);
	return 0;
}

void machine_drain_storage(struct machine *m)
{
	if (m->scsi)
		buslogic_drain(m->scsi);
	if (m->ide)
		ide_drain(m->ide);
	if (m->floppy)
		floppy_drain(m->floppy);
}

/* --- other media --- */

static struct machine_disk *find_drive(struct machine *m, const char *name, unsigned *slot)
{
	unsigned count[MACHINE_DISK_BUSES] = { 0 };
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		enum machine_disk_bus bus = m->config.disks[i].bus;
		char own[24];
		snprintf(own, sizeof(own), "%s%u", machine_disk_bus_names[bus], count[bus]++);
		*slot = m->disk_slot[i];
		if ((bus == MACHINE_CDROM || bus == MACHINE_FLOPPY) && !strcmp(own, name))
			return &m->config.disks[i];
	}
	return NULL;
}

int machine_change_medium(struct machine *m, const char *drive, const char *path, bool force, struct error *err)
{
	unsigned slot;
	struct machine_disk *disk = find_drive(m, drive, &slot);
	if (!disk)
		return error_set(err, ENOENT, "the machine has no drive '%s'; drives are cdrom0, cdrom1..., floppy0, floppy1 as given to run", drive);
	struct machine_disk image = { .path = path, .read_only = disk->read_only, .cache = disk->cache, .bus = disk->bus, .scsi = disk->scsi };
	char *copy = path ? strdup(path) : NULL;
	if (path && !copy)
		return error_set(err, ENOMEM, "out of memory");
	/* The new one is opened first, so that a wrong name changes nothing. */
	struct block *block = path ? machine_open_image(m, &image, NULL, err) : NULL;
	int rc = path && !block ? -1 : 0;
	if (rc == 0)
		rc = disk->scsi			? buslogic_change_medium(m->scsi, slot, block, force, err) :
		     disk->bus == MACHINE_CDROM ? ide_change_medium(m->ide, slot, block, force, err) :
						  floppy_change_medium(m->floppy, slot, block, err);
	if (rc < 0) {
		block_close(block);
		free(copy);
		return -1;
	}
	machine_disk_free(disk);
	image.path = copy;
	*disk = image;
	return 0;
}
