/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine's configuration as JSON: for the save file and for the control socket.
 */
#include "vm/snapshot_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "block/block.h"
#include "vm/nic.h"
#include "vm/snapshot.h"

const char *const cpu_model_names[] = {
	[CPU_HOST] = "host", [CPU_V1] = "x86-64-v1", [CPU_V2] = "x86-64-v2", [CPU_V3] = "x86-64-v3", [CPU_V4] = "x86-64-v4", NULL,
};

static const char *const port_names[MACHINE_PORTS] = {
	[MACHINE_SERIAL0] = "serial0", [MACHINE_SERIAL1] = "serial1", [MACHINE_HVC0] = "hvc0",
	[MACHINE_DEBUGCON] = "debugcon", [MACHINE_PARALLEL0] = "parallel0",
};

const char *const machine_profile_names[] = {
	[MACHINE_PC] = "pc", [MACHINE_MICRO] = "micro", [MACHINE_CLASSIC] = "classic", NULL,
};

const char *const machine_disk_bus_names[] = {
	[MACHINE_DISK_VIRTIO] = "virtio", [MACHINE_DISK_IDE] = "ide", [MACHINE_DISK_SCSI] = "scsi",
	[MACHINE_CDROM] = "cdrom", [MACHINE_FLOPPY] = "floppy", NULL,
};

/* Size and time of change, to notice a disk that changed after the save. */
static void add_disk_stamp(json_t *disk, const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return;
	json_object_set_new(disk, "size", json_integer(st.st_size));
	json_object_set_new(disk, "changed", json_integer((json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec));
}

/* Absolute: who restores the machine may stand elsewhere. */
static json_t *path_json(const char *path)
{
	char *absolute = path ? realpath(path, NULL) : NULL;
	json_t *json = path ? json_string(absolute ? absolute : path) : NULL;
	free(absolute);
	return json;
}

/* As they are now: forwards may have been added. */
static json_t *nics_json(const struct machine *machine)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < machine_config(machine)->nic_count; i++) {
		struct machine_nic nic;
		machine_nic(machine, i, &nic);
		json_array_append_new(list, nic_json(&nic));
	}
	return list;
}

/* What is started, and how. */
static json_t *boot_json(const struct machine_config *c)
{
	json_t *roms = json_array();
	for (unsigned i = 0; i < c->option_rom_count; i++)
		json_array_append_new(roms, path_json(c->option_roms[i]));
	return json_pack("{s:o*, s:b, s:o*, s:s*, s:o*, s:b, s:o*, s:s*, s:o}", "kernel", path_json(c->kernel), "guest_unpacks",
			 c->guest_unpacks, "initrd", path_json(c->initrd), "append", c->append, "bios", path_json(c->bios),
			 "uefi", c->uefi, "uefi_vars", path_json(c->uefi_vars), "boot", c->boot, "option_roms", roms);
}

json_t *machine_config_json(const struct machine *machine)
{
	const struct machine_config *c = machine_config(machine);
	json_t *disks = json_array(), *ports = json_array();
	for (unsigned i = 0; i < c->disk_count; i++) {
		const struct machine_disk *d = &c->disks[i];
		json_t *disk = json_pack("{s:o*, s:b, s:b, s:b, s:s, s:i, s:s*, s:s*, s:o*}", "path", path_json(d->path), "read_only", d->read_only, "shared", d->shared,
					 "scsi", d->scsi, "bus",
					 machine_disk_bus_names[d->bus], "cache", (int)d->cache, "format", d->format, "snapshot",
					 d->snapshot, "backing", path_json(d->backing));
		if (d->path)
			add_disk_stamp(disk, d->path);
		json_array_append_new(disks, disk);
	}
	for (unsigned i = 0; i < MACHINE_PORTS; i++)
		if (c->console[i].output)
			json_array_append_new(ports, json_string(port_names[i]));
	json_t *json = json_pack("{s:s, s:I, s:i, s:s, s:s, s:b, s:o, s:o, s:o}", "machine", machine_profile_names[c->profile], "memory",
				 (json_int_t)c->memory, "cpus", (int)c->cpus, "cpu", cpu_model_names[c->cpu_model], "engine",
				 c->engine ? c->engine->name : "interp", "debug_exit", c->debug_exit, "disks", disks, "nics",
				 nics_json(machine), "ports", ports);
	json_object_update_new(json, boot_json(c));
	services_add_json(json, &c->services);
	return json;
}

json_t *snapshot_make_info(const struct machine *machine)
{
	return json_pack("{s:s, s:o}", "program", "visor " VISOR_VERSION, "machine", machine_config_json(machine));
}

/* --- reading: the file may say anything --- */

static int choose(const char *name, const char *what, const char *const *names, unsigned *index, struct error *err)
{
	for (unsigned i = 0; names[i]; i++) {
		if (!strcmp(name, names[i])) {
			*index = i;
			return 0;
		}
	}
	return error_set(err, EINVAL, "the saved machine has a %s '%s' that this visor lacks; use the visor that wrote it", what, name);
}

static bool disk_changed(const json_t *saved, const char *path)
{
	json_t *now = json_object();
	add_disk_stamp(now, path);
	json_t *then = json_object_get(saved, "changed"), *time = json_object_get(now, "changed");
	bool changed = then && time && !json_equal(then, time);
	json_decref(now);
	return changed;
}

void snapshot_check_disks(const struct snapshot *snapshot, const struct machine_config *config)
{
	const json_t *disks = json_object_get(json_object_get(snapshot->info, "machine"), "disks");
	for (unsigned i = 0; i < config->disk_count; i++)
		if (config->disks[i].path && !config->disks[i].read_only && disk_changed(json_array_get(disks, i), config->disks[i].path))
			log_warn("%s: the disk was changed after the machine was saved; the guest may find its files damaged",
				 config->disks[i].path);
}

static int read_disks(const json_t *list, struct machine_config *config, struct error *err)
{
	size_t i;
	json_t *disk;
	if (json_array_size(list) > MACHINE_MAX_DISKS)
		return error_set(err, EINVAL, "the saved machine has more than %d disks", MACHINE_MAX_DISKS);
	json_array_foreach(list, i, disk) {
		struct machine_disk *d = &config->disks[i];
		const char *bus = json_string_value(json_object_get(disk, "bus"));
		unsigned kind = MACHINE_DISK_VIRTIO;
		uint64_t cache = 0;
		if (json_get_bool(disk, "read_only", &d->read_only, err) < 0 ||
		    (bus && choose(bus, "disk on bus", machine_disk_bus_names, &kind, err) < 0) ||
		    json_get_optional_bool(disk, "shared", &d->shared, err) < 0 || json_get_optional_bool(disk, "scsi", &d->scsi, err) < 0 ||
		    (json_object_get(disk, "cache") && json_get_uint(disk, "cache", 0, BLOCK_UNSAFE, &cache, err) < 0))
			return -1;
		d->bus = (enum machine_disk_bus)kind;
		d->cache = (unsigned)cache;
		d->path = json_string_value(json_object_get(disk, "path"));
		d->format = json_string_value(json_object_get(disk, "format"));
		d->snapshot = json_string_value(json_object_get(disk, "snapshot"));
		d->backing = json_string_value(json_object_get(disk, "backing"));
		if (!d->path && kind != MACHINE_CDROM && kind != MACHINE_FLOPPY)
			return error_set(err, EINVAL, "the saved machine has a disk without a name; the file is damaged");
	}
	config->disk_count = (unsigned)json_array_size(list);
	return 0;
}

/* Older files have none. */
static int read_nics(const json_t *list, struct machine_config *config, struct error *err)
{
	size_t i;
	json_t *nic;
	if (json_array_size(list) > MACHINE_MAX_NICS)
		return error_set(err, EINVAL, "the saved machine has more than %d network interfaces", MACHINE_MAX_NICS);
	json_array_foreach(list, i, nic)
		if (nic_from_json(nic, &config->nics[i], err) < 0)
			return error_prefix(err, "the saved machine's network interface %zu", i);
	config->nic_count = (unsigned)json_array_size(list);
	return 0;
}

static int read_roms(const json_t *list, struct machine_config *config, struct error *err)
{
	size_t i;
	json_t *path;
	if (json_array_size(list) > MACHINE_MAX_ROMS)
		return error_set(err, EINVAL, "the saved machine has more than %d option ROMs", MACHINE_MAX_ROMS);
	json_array_foreach(list, i, path) {
		if (!json_is_string(path))
			return error_set(err, EINVAL, "the saved machine has an option ROM without a name; the file is damaged");
		config->option_roms[config->option_rom_count++] = json_string_value(path);
	}
	return 0;
}

static void read_ports(const json_t *list, bool has_port[MACHINE_PORTS])
{
	size_t i;
	json_t *port;
	memset(has_port, 0, MACHINE_PORTS * sizeof(*has_port));
	json_array_foreach(list, i, port) {
		const char *name = json_string_value(port);
		for (unsigned p = 0; name && p < MACHINE_PORTS; p++)
			if (!strcmp(name, port_names[p]))
				has_port[p] = true;
	}
}

int snapshot_config(const struct snapshot *snapshot, struct machine_config *config, bool has_port[MACHINE_PORTS], struct error *err)
{
	const json_t *m = json_object_get(snapshot->info, "machine");
	uint64_t cpus;
	const char *cpu, *engine, *type = json_string_value(json_object_get(m, "machine"));
	unsigned model = 0, profile = MACHINE_PC;
	if (json_get_uint(m, "memory", 1u << 20, 1ull << 40, &config->memory, err) < 0 ||
	    json_get_uint(m, "cpus", 1, MACHINE_MAX_CPUS, &cpus, err) < 0 || json_get_string(m, "cpu", &cpu, err) < 0 ||
	    json_get_string(m, "engine", &engine, err) < 0 || json_get_bool(m, "debug_exit", &config->debug_exit, err) < 0 ||
	    (type && choose(type, "type", machine_profile_names, &profile, err) < 0) ||
	    choose(cpu, "processor", cpu_model_names, &model, err) < 0 || read_disks(json_object_get(m, "disks"), config, err) < 0 ||
	    read_nics(json_object_get(m, "nics"), config, err) < 0 || read_roms(json_object_get(m, "option_roms"), config, err) < 0)
		return -1;
	if (services_read_json(m, &config->services, err) < 0)
		return -1;
	read_ports(json_object_get(m, "ports"), has_port);
	if (config->memory % (1u << 20))
		return error_set(err, EINVAL, "the saved machine's memory is no whole number of MiB; the file is damaged");
	config->profile = (enum machine_profile)profile;
	config->cpus = (unsigned)cpus;
	config->cpu_model = (enum cpu_model)model;
	config->engine = engine_by_name(engine); /* state is the same for all: one that is missing here is no obstacle */
	config->kernel = json_string_value(json_object_get(m, "kernel"));
	config->guest_unpacks = json_is_true(json_object_get(m, "guest_unpacks"));
	config->initrd = json_string_value(json_object_get(m, "initrd"));
	config->append = json_string_value(json_object_get(m, "append"));
	config->boot = json_string_value(json_object_get(m, "boot"));
	config->uefi = json_is_true(json_object_get(m, "uefi"));
	config->uefi_vars = json_string_value(json_object_get(m, "uefi_vars"));
	config->bios = json_string_value(json_object_get(m, "bios"));
	config->restore = true;
	return 0;
}
