/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "state/stream.h"
#include "vm/snapshot_config.h"

static const struct field no_fields[] = { FIELD_END };

static const struct field *device_fields(const struct device *device)
{
	return device->type->fields ? device->type->fields : no_fields;
}

#define CPU_TYPE "x86-cpu"

static void cpu_name(char name[16], unsigned index)
{
	snprintf(name, 16, "cpu%u", index);
}

/* --- saving --- */

static int write_to_file(void *opaque, const void *data, size_t size, struct error *err)
{
	struct file_replace *file = opaque;
	return file_write_all(file->fd, data, size, err) < 0 ? error_prefix(err, "%s", file->path) : 0;
}

static int save_info(struct stream_writer *w, struct machine *machine, struct error *err)
{
	struct buffer b = { 0 };
	json_t *info = snapshot_make_info(machine);
	char *text = info ? json_dumps(info, JSON_COMPACT) : NULL;
	json_decref(info);
	if (!text)
		return error_set(err, ENOMEM, "no memory to save the machine's configuration");
	buffer_put(&b, text, strlen(text));
	free(text);
	int result = stream_write_section(w, STREAM_INFO, "info", &b, err);
	buffer_free(&b);
	return result;
}

static int save_object(struct stream_writer *w, const char *name, const char *type, const struct field *fields, const void *object,
		       struct error *err)
{
	struct buffer b = { 0 };
	stream_put_object(&b, type, fields, object);
	int result = stream_write_section(w, STREAM_OBJECT, name, &b, err);
	buffer_free(&b);
	return result;
}

static int save_cpus(struct stream_writer *w, struct machine *machine, struct error *err)
{
	const struct engine_type *engine = machine_config(machine)->engine;
	for (unsigned i = 0; i < machine_cpu_count(machine); i++) {
		struct cpu *cpu = machine_cpu(machine, i);
		char name[16];
		cpu_name(name, i);
		if (engine && engine->get_state && engine->get_state(cpu, err) < 0)
			return error_prefix(err, "%s", name);
		if (save_object(w, name, CPU_TYPE, cpu_fields, cpu, err) < 0)
			return -1;
	}
	return 0;
}

static int save_devices(struct stream_writer *w, struct machine *machine, struct error *err)
{
	for (struct device *d = machine_devices(machine); d; d = d->next) {
		lock_take(d->lock);
		if (d->type->saving)
			d->type->saving(d);
		int result = save_object(w, d->name, d->type->name, device_fields(d), d, err);
		lock_release(d->lock);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int save_memory(struct stream_writer *w, const struct guest_memory *memory, struct error *err)
{
	struct stream_packer *packer = stream_packer_create(err);
	struct buffer b = { 0 };
	int result = packer ? 0 : -1;
	for (uint64_t at = 0; result == 0; at += STREAM_CHUNK_SIZE) {
		at = ALIGN_DOWN(memory_next_used(memory, at), (uint64_t)STREAM_CHUNK_SIZE);
		if (at >= memory->size)
			break;
		unsigned pages = (unsigned)(MIN(memory->size - at, STREAM_CHUNK_SIZE) / STREAM_PAGE_SIZE);
		b.size = 0;
		int used = stream_put_memory(packer, &b, at, memory->host + at, pages, err);
		if (used < 0 || (used > 0 && stream_write_section(w, STREAM_MEMORY, "ram", &b, err) < 0))
			result = -1;
	}
	buffer_free(&b);
	stream_packer_destroy(packer);
	return result;
}

static int save_all(struct stream_writer *w, struct machine *machine, struct error *err)
{
	if (stream_write_header(w, err) < 0 || save_info(w, machine, err) < 0 || save_devices(w, machine, err) < 0 ||
	    save_cpus(w, machine, err) < 0 || save_memory(w, machine_memory(machine), err) < 0)
		return -1;
	return stream_write_end(w, err);
}

int snapshot_save(struct machine *machine, const char *path, struct error *err)
{
	struct file_replace file;
	if (file_replace_begin(&file, path, err) < 0)
		return -1;
	struct stream_writer w = { .write = write_to_file, .opaque = &file };
	machine_pause(machine);
	int result = machine_drain(machine, err);
	if (result == 0)
		result = save_all(&w, machine, err);
	machine_resume(machine);
	if (result == 0)
		result = file_replace_commit(&file, err);
	file_replace_end(&file);
	return result < 0 ? -1 : 0;
}

/* --- opening --- */

int snapshot_parse(struct snapshot *snapshot, const uint8_t *data, size_t size, struct error *err)
{
	struct stream_reader reader;
	struct stream_section section;
	json_error_t why;
	*snapshot = (struct snapshot){ .data = data, .size = size };
	if (stream_read_header(&reader, data, size, err) < 0)
		return -1;
	int more;
	while ((more = stream_read_section(&reader, &section, err)) > 0) {
		if (section.kind != STREAM_INFO || snapshot->info)
			continue;
		snapshot->info = json_loadb((const char *)section.payload, section.size, 0, &why);
		if (!snapshot->info)
			return error_set(err, EINVAL, "its description of the machine is damaged: %s", why.text);
	}
	if (more < 0) {
		snapshot_close(snapshot);
		return -1;
	}
	return snapshot->info ? 0 : error_set(err, EINVAL, "the file lacks the description of the machine; use another copy");
}

int snapshot_open(struct snapshot *snapshot, const char *path, struct error *err)
{
	struct file_map map;
	*snapshot = (struct snapshot){ 0 };
	if (file_map(&map, path, err) < 0)
		return -1;
	if (snapshot_parse(snapshot, map.data, map.size, err) < 0) {
		snapshot_close(snapshot);
		file_unmap(&map);
		return error_prefix(err, "%s", path);
	}
	snapshot->map = map;
	return 0;
}

void snapshot_close(struct snapshot *snapshot)
{
	json_decref(snapshot->info);
	file_unmap(&snapshot->map);
	*snapshot = (struct snapshot){ 0 };
}

/* --- loading --- */

struct target {
	const char *type;
	const struct field *fields;
	void *object;
	struct device *device; /* NULL: a CPU */
};

static bool find_target(struct machine *machine, const char *name, struct target *target)
{
	for (struct device *d = machine_devices(machine); d; d = d->next) {
		if (!strcmp(d->name, name)) {
			*target = (struct target){ d->type->name, device_fields(d), d, d };
			return true;
		}
	}
	for (unsigned i = 0; i < machine_cpu_count(machine); i++) {
		char cpu[16];
		cpu_name(cpu, i);
		if (!strcmp(cpu, name)) {
			*target = (struct target){ CPU_TYPE, cpu_fields, machine_cpu(machine, i), NULL };
			return true;
		}
	}
	return false;
}

/* Counts those of processors. */
static int load_object(const struct stream_section *section, struct machine *machine, bool change, unsigned *cpus, struct error *err)
{
	struct target t;
	if (!find_target(machine, section->name, &t))
		return error_set(err, EINVAL, "the file has an object '%s' that this machine lacks; use the visor that wrote it, "
				 "with the same disks and consoles", section->name);
	*cpus += !t.device;
	if (!change)
		return stream_get_object(section, t.type, t.fields, NULL, err);
	lock_take(t.device ? t.device->lock : NULL);
	int result = stream_get_object(section, t.type, t.fields, t.object, err);
	lock_release(t.device ? t.device->lock : NULL);
	return result;
}

static int load_sections(const struct snapshot *snapshot, struct machine *machine, struct stream_packer *packer, bool change,
			 struct error *err)
{
	struct guest_memory *memory = machine_memory(machine);
	struct stream_reader reader;
	struct stream_section s;
	unsigned cpus = 0;
	int more = stream_read_header(&reader, snapshot->data, snapshot->size, err);
	if (more < 0)
		return -1;
	while ((more = stream_read_section(&reader, &s, err)) > 0) {
		int result = 0;
		if (s.kind == STREAM_OBJECT) {
			result = load_object(&s, machine, change, &cpus, err);
		} else if (s.kind == STREAM_MEMORY) {
			result = stream_get_memory(packer, &s, change ? memory->host : NULL, memory->size, err);
		} else if (s.kind != STREAM_INFO) {
			result = error_set(err, EINVAL, "section '%s' is of the unknown kind %u; use the visor that wrote it", s.name,
					   (unsigned)s.kind);
		}
		if (result < 0)
			return -1;
	}
	if (more == 0 && cpus != machine_cpu_count(machine))
		return error_set(err, EINVAL, "the file has %u processors and this machine %u; it is damaged", cpus, machine_cpu_count(machine));
	return more;
}

static int call_loaded(struct machine *machine, struct error *err)
{
	for (struct device *d = machine_devices(machine); d; d = d->next) {
		lock_take(d->lock);
		int result = d->type->loaded ? d->type->loaded(d, err) : 0;
		lock_release(d->lock);
		if (result < 0)
			return error_prefix(err, "object '%s'", d->name);
	}
	return machine_loaded(machine, err);
}

int snapshot_load(const struct snapshot *snapshot, struct machine *machine, struct error *err)
{
	struct stream_packer *packer = stream_packer_create(err);
	if (!packer)
		return -1;
	int result = load_sections(snapshot, machine, packer, false, err);
	if (result == 0) {
		/* What firmware or ROM loading has put there is not the saved machine's. */
		memory_clear(machine_memory(machine));
		result = load_sections(snapshot, machine, packer, true, err);
	}
	stream_packer_destroy(packer);
	return result == 0 ? call_loaded(machine, err) : -1;
}
