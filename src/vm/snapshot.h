/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_SNAPSHOT_H
#define VISOR_VM_SNAPSHOT_H

#include <jansson.h>

#include "base/error.h"
#include "host/file.h"
#include "vm/machine.h"

/*
 * A machine in a file (state/stream.h): its configuration, every device and
 * processor by its list of fields, RAM. Disks are not in it: they must be as they
 * were. On the loop's thread, like the rest of machine.h.
 */

/* Pauses, drains, saves and resumes. What had the name `path` stays until the new file is complete; on failure the machine
 * goes on as if nothing had been. */
int snapshot_save(struct machine *machine, const char *path, struct error *err);

/* A save file that was checked from end to end: structure, checksums, configuration. */
struct snapshot {
	const uint8_t *data;
	size_t size;
	json_t *info; /* {"program": ..., "machine": {...}} */
	struct file_map map; /* of snapshot_open */
};

/* Checks bytes that may be anything; they must stay as long as the snapshot. snapshot_close frees. */
int snapshot_parse(struct snapshot *snapshot, const uint8_t *data, size_t size, struct error *err);
int snapshot_open(struct snapshot *snapshot, const char *path, struct error *err);
void snapshot_close(struct snapshot *snapshot);

/* Fills in what the machine was made with: memory, cpus, cpu_model, engine, kernel, initrd, append, bios, disks, debug_exit,
 * restore. The strings live as long as the snapshot. `has_port` tells which consoles the machine had. */
int snapshot_config(const struct snapshot *snapshot, struct machine_config *config, bool has_port[MACHINE_PORTS], struct error *err);

/* Warns of disks that have changed since the save. */
void snapshot_check_disks(const struct snapshot *snapshot, const struct machine_config *config);

/*
 * Lays the saved state into a machine made from that configuration. Every object is compared with the machine before the
 * first one is changed; a machine for which this fails afterwards is fit only to be destroyed.
 */
int snapshot_load(const struct snapshot *snapshot, struct machine *machine, struct error *err);


#endif
