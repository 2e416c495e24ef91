/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "host/limits.h"
#include "host/time.h"
#include "vm/machine_parts.h"

static const char *const exit_names[EXIT_COUNT] = {
	[EXIT_KICK] = "kick", [EXIT_HALT] = "halt", [EXIT_SPIN] = "spin", [EXIT_SHUTDOWN] = "shutdown",
	[EXIT_DEBUG] = "debug", [EXIT_ERROR] = "error", [EXIT_ENGINE] = "engine",
};

static const char *const exception_names[32] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC",
	"#XM", "#VE", "#CP",
};

static void set(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

/* Adds to a member that may be there already: devices with several regions. */
static void add(json_t *object, const char *name, uint64_t value)
{
	set(object, name, value + (uint64_t)json_integer_value(json_object_get(object, name)));
}

static void add_engine_counters(json_t *cpu, const struct vcpu *v)
{
	struct engine_counter list[256];
	const struct engine_type *engine = v->set->engine;
	unsigned count = engine->counters && v->engine_made ? engine->counters(v->cpu, list, ARRAY_SIZE(list)) : 0;
	json_t *object = json_object();
	for (unsigned i = 0; i < count; i++) {
		json_t *group = list[i].group ? json_object_get(object, list[i].group) : object;
		if (!group) {
			group = json_object();
			json_object_set_new(object, list[i].group, group);
		}
		if (list[i].per)
			json_object_set_new(group, list[i].name, json_real((double)list[i].value / (double)list[i].per));
		else
			add(group, list[i].name, list[i].value);
	}
	json_object_set_new(cpu, engine->name, object);
}

/* Popek and Goldberg's efficiency; null: not counted. */
static json_t *efficiency(bool counted, uint64_t instructions, uint64_t assisted)
{
	if (!counted || !instructions)
		return json_null();
	return json_real(1.0 - (double)MIN(assisted, instructions) / (double)instructions);
}

static json_t *cpu_stats_json(const struct vcpu *v, bool counted)
{
	const struct cpu_stats *s = &v->cpu->stats;
	json_t *exits = json_object(), *exceptions = json_object();
	for (unsigned i = 0; i < EXIT_COUNT; i++)
		set(exits, exit_names[i], v->exits[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(exception_names); i++)
		if (s->exceptions[i] && exception_names[i])
			set(exceptions, exception_names[i], s->exceptions[i]);
	json_t *cpu = json_object();
	json_object_set_new(cpu, "instructions", counted ? json_integer((json_int_t)s->instructions) : json_null());
	json_object_set_new(cpu, "efficiency", efficiency(counted, s->instructions, s->assisted));
	set(cpu, "handovers", s->handovers);
	set(cpu, "handed_over", s->handed_over);
	set(cpu, "interrupts", s->interrupts);
	set(cpu, "io_reads", s->io_reads);
	set(cpu, "io_writes", s->io_writes);
	set(cpu, "mmio_reads", s->mmio_reads);
	set(cpu, "mmio_writes", s->mmio_writes);
	set(cpu, "tlb_fills", s->tlb_fills);
	set(cpu, "tlb_flushes", s->tlb_flushes);
	set(cpu, "blocks_decoded", s->blocks_decoded);
	set(cpu, "halted_ns", v->halted_ns);
	json_object_set_new(cpu, "exceptions", exceptions);
	json_object_set_new(cpu, "exits", exits);
	add_engine_counters(cpu, v);
	return cpu;
}

static void add_space(json_t *devices, struct io_space *space)
{
	pthread_rwlock_rdlock(&space->rwlock);
	for (unsigned i = 0; i < space->count; i++) {
		const struct io_region *region = space->regions[i];
		if (!region->reads && !region->writes && !region->rings)
			continue;
		json_t *device = json_object_get(devices, region->name);
		if (!device) {
			device = json_object();
			json_object_set_new(devices, region->name, device);
		}
		add(device, "reads", region->reads);
		add(device, "writes", region->writes);
		if (region->bells.count)
			add(device, "rings", region->rings);
	}
	pthread_rwlock_unlock(&space->rwlock);
}

/* What the host keeps for the process but guest memory and translated code, which are shared memory, and the records of the latter. */
static void add_memory(json_t *stats, struct machine *m)
{
	struct host_memory_use use;
	uint64_t records = 0;
	for (unsigned i = 0; i < m->vcpus.count; i++)
		if (m->vcpus.engine->cache_memory && m->vcpus.vcpu[i].engine_made)
			records += m->vcpus.engine->cache_memory(m->cpus[i]);
	if (!host_memory_use(&use))
		return;
	set(stats, "own_memory", use.private - MIN(records, use.private));
	set(stats, "page_tables", use.page_tables);
}

json_t *machine_stats_json(struct machine *m)
{
	json_t *stats = json_object(), *cpus = json_array(), *devices = json_object(), *exits = json_object();
	uint64_t instructions = 0, assisted = 0, interrupts = 0, halted = 0;
	/* Instructions are not counted where that would slow the guest down (--stats asks for it). */
	const struct engine_type *engine = m->config.engine;
	bool counted = !engine->counts_never && (engine->counts_always || m->config.count_instructions);
	for (unsigned i = 0; i < m->vcpus.count; i++) {
		const struct vcpu *v = &m->vcpus.vcpu[i];
		instructions += v->cpu->stats.instructions;
		assisted += v->cpu->stats.assisted;
		interrupts += v->cpu->stats.interrupts;
		halted += v->halted_ns;
		for (unsigned j = 0; j < EXIT_COUNT; j++)
			add(exits, exit_names[j], v->exits[j]);
		json_array_append_new(cpus, cpu_stats_json(v, counted));
	}
	add_space(devices, &m->ports);
	add_space(devices, &m->mmio);
	uint64_t wall = m->run_ns + (m->running ? host_time_ns() - m->run_since : 0);
	/* Speed while executing: time that the processors slept in HLT is not the engine's. */
	uint64_t awake = wall * m->vcpus.count - MIN(halted, wall * m->vcpus.count);
	json_object_set_new(stats, "instructions", counted ? json_integer((json_int_t)instructions) : json_null());
	json_object_set_new(stats, "mips", counted ? json_real(awake ? (double)instructions * 1000.0 / (double)awake : 0) : json_null());
	json_object_set_new(stats, "efficiency", efficiency(counted, instructions, assisted));
	uint64_t first = m->vcpus.first_run_ns;
	json_object_set_new(stats, "start_ms", first ? json_real((double)(first - m->config.started_ns) / 1e6) : json_null());
	add_memory(stats, m);
	set(stats, "guest_memory", memory_resident(&m->memory));
	json_t *balloon = machine_balloon_json(m);
	if (balloon)
		json_object_set_new(stats, "balloon", balloon);
	set(stats, "wall_ns", wall);
	set(stats, "halted_ns", halted);
	set(stats, "interrupts", interrupts);
	json_object_set_new(stats, "exits", exits);
	json_object_set_new(stats, "cpus", cpus);
	json_object_set_new(stats, "devices", devices);
	return stats;
}
