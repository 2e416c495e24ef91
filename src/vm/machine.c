/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/arch_capabilities.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/pm.h"
#include "dev/pc/uart.h"
#include "display/vnc.h"
#include "host/limits.h"
#include "host/time.h"
#include "vm/machine_parts.h"

/*
 * Life of a machine. It runs when machine_run has started it and nobody holds a
 * pause; then the clock flows. What a vCPU or another thread wants of the whole machine becomes a
 * request bit, is handled on the loop's thread with all vCPUs parked, and ends
 * in a reset, the end, or going on.
 */

#define STATUS_FAILURE 1
#define STATUS_TRIPLE_FAULT 3
#define CLOCK_MAX (UINT64_MAX >> 3) /* 73 years */

/* --- the machine as a device: virtual time; the processors have their counters themselves --- */

static const struct field machine_fields[] = {
	FIELD(struct machine, clock_ns),
	FIELD_END,
};

static void saving(void *device)
{
	struct machine *m = device;
	m->clock_ns = vclock_now(&m->clock);
}

static int loaded(void *device, struct error *err)
{
	struct machine *m = device;
	/* Devices compute with deadlines that lie ahead of it, in 64 bits. */
	if (m->clock_ns > CLOCK_MAX)
		return error_set(err, 0, "its clock shows %llu seconds; the file is damaged, use another copy",
				 (unsigned long long)(m->clock_ns / NS_PER_SEC));
	vclock_set(&m->clock, m->clock_ns);
	return 0;
}

static const struct device_type machine_type = {
	.name = "machine",
	.fields = machine_fields,
	.saving = saving,
	.loaded = loaded,
};

/* --- running and standing still --- */

static bool wants_to_run(const struct machine *m)
{
	return m->started && !m->pauses && !m->ended;
}

static void run(struct machine *m)
{
	if (m->running || !wants_to_run(m))
		return;
	/* One reading of the host's counter for all processors, so that theirs stay in step. */
	uint64_t tsc = host_tsc();
	for (unsigned i = 0; i < m->cpu_count; i++)
		cpu_start_time(m->cpus[i], tsc);
	m->run_since = host_time_ns();
	m->running = true;
	machine_rest_virtio(m, false);
	vclock_start(&m->clock);
	vcpus_release(&m->vcpus);
}

static void stop_time(struct machine *m)
{
	uint64_t tsc = host_tsc();
	for (unsigned i = 0; i < m->cpu_count; i++)
		cpu_stop_time(m->cpus[i], tsc);
}

static void stand_still(struct machine *m)
{
	if (!m->running)
		return;
	vcpus_park(&m->vcpus);
	io_catch_up(&m->mmio);
	machine_rest_virtio(m, true);
	vclock_stop(&m->clock);
	stop_time(m);
	m->run_ns += host_time_ns() - m->run_since;
	m->running = false;
}

void machine_pause(struct machine *m)
{
	m->pauses++;
	stand_still(m);
}

void machine_resume(struct machine *m)
{
	if (m->pauses)
		m->pauses--;
	run(m);
}

static void catch_up(void *opaque)
{
	struct machine *m = opaque;
	lock_take(&m->engine_lock);
	if (m->config.engine->catch_up)
		m->config.engine->catch_up(m->cpus[0]);
	lock_release(&m->engine_lock);
}

/* What an engine may do in the devices' stead. */
static void start_hooks(struct machine *m)
{
	m->ports.catch_up_opaque = m->mmio.catch_up_opaque = m;
	m->ports.catch_up = m->mmio.catch_up = m->config.engine->catch_up ? catch_up : NULL;
	bells_start(m->bells, m->config.engine, m->cpus[0]);
}

int machine_set_engine(struct machine *m, const struct engine_type *engine, struct error *err)
{
	machine_pause(m);
	bells_stop(m->bells);
	lock_take(&m->engine_lock);
	int result = engine == m->config.engine ? 0 : vcpus_change_engine(&m->vcpus, engine, err);
	if (result == 0)
		m->config.engine = engine;
	lock_release(&m->engine_lock);
	start_hooks(m);
	machine_resume(m);
	return result;
}

bool machine_paused(const struct machine *m)
{
	return m->pauses != 0;
}

int machine_drain(struct machine *m, struct error *err)
{
	machine_drain_virtio(m);
	machine_drain_storage(m);
	return machine_check_saving(m, err);
}

int machine_loaded(struct machine *m, struct error *err)
{
	m->config.restore = false; /* the next reset boots */
	memory_note_write_slow(&m->memory, 0, m->memory.size);
	for (unsigned i = 0; i < m->cpu_count; i++)
		if (cpu_loaded(m->cpus[i], err) < 0)
			return -1;
	return 0;
}

/* --- reset --- */

static int reset(struct machine *m, struct error *err)
{
	atomic_store(&m->panicked, false);
	for (struct device *d = m->devices; d; d = d->next)
		device_reset(d);
	for (unsigned i = 0; i < m->cpu_count; i++) {
		cpu_reset(m->cpus[i], true);
		m->cpus[i]->exit_detail[0] = 0;
	}
	stop_time(m);
	return m->config.restore ? 0 : machine_boot(m, err);
}

/* --- requests --- */

static void handle_requests(void *opaque);

void machine_request(struct machine *m, enum machine_request request, const char *text)
{
	if (text) {
		pthread_mutex_lock(&m->text_lock);
		snprintf(m->text, sizeof(m->text), "%s", text);
		pthread_mutex_unlock(&m->text_lock);
	}
	if (!atomic_fetch_or(&m->requests, (uint32_t)request))
		loop_post(m->loop, handle_requests, m);
	vcpus_hold(&m->vcpus);
}

void machine_request_reset(struct machine *m)
{
	machine_request(m, REQUEST_RESET, "the machine was reset");
}

void machine_request_power_off(struct machine *m)
{
	machine_request(m, REQUEST_POWER_OFF, "the machine powered off");
}

void machine_request_stop(struct machine *m, int status)
{
	atomic_store(&m->asked_status, status);
	machine_request(m, REQUEST_STOP, "the machine was stopped on request");
}

void machine_power_button(struct machine *m)
{
	pm_power_button(m->pm);
}

static void emit(struct machine *m, enum machine_event_kind kind, int status, const char *text)
{
	const struct machine_event event = { .kind = kind, .status = status, .text = text };
	if (m->config.event)
		m->config.event(m->config.event_opaque, &event);
}

static void end(struct machine *m, enum machine_event_kind kind, int status, const char *text)
{
	m->ended = true;
	m->status = status;
	emit(m, kind, status, text);
	loop_stop(m->loop);
}

/* When several came at once, the one that says most about the guest. */
static void end_for(struct machine *m, uint32_t requests, const char *text)
{
	if (requests & REQUEST_FAIL)
		end(m, MACHINE_FAILED, STATUS_FAILURE, text);
	else if (requests & REQUEST_DEBUG_EXIT)
		end(m, MACHINE_DEBUG_EXIT, atomic_load(&m->asked_status), text);
	else if (requests & REQUEST_POWER_OFF)
		end(m, MACHINE_POWERED_OFF, 0, text);
	else
		end(m, MACHINE_STOPPED, atomic_load(&m->asked_status), text);
}

static void handle_reset(struct machine *m, uint32_t requests, const char *text)
{
	struct error err;
	if (m->config.no_reboot) {
		end(m, MACHINE_SHUTDOWN, requests & REQUEST_TRIPLE_FAULT ? STATUS_TRIPLE_FAULT : 0, text);
		return;
	}
	if (reset(m, &err) < 0) {
		end(m, MACHINE_FAILED, STATUS_FAILURE, err.text);
		return;
	}
	emit(m, MACHINE_WAS_RESET, 0, text);
}

static void handle_debug_stop(struct machine *m)
{
	uint32_t stops = atomic_exchange(&m->debug_stops, 0);
	for (unsigned i = 0; i < m->cpu_count; i++) {
		if (!(stops >> i & 1) || !m->debugger)
			continue;
		machine_pause(m);
		m->debugger(m->debugger_opaque, i);
	}
}

static void hold(struct machine *m, const char *text)
{
	if (m->held)
		return;
	m->held = true;
	machine_pause(m);
	emit(m, MACHINE_HELD, 0, text);
}

void machine_release(struct machine *m)
{
	if (m->held)
		machine_resume(m);
	m->held = false;
}

bool machine_panicked(const struct machine *m)
{
	return atomic_load(&m->panicked);
}

static void stand_in(struct machine *m, const char *text)
{
	const struct engine_type *engine = engine_stand_in(m->config.engine);
	struct error err;
	if (!engine)
		return; /* somebody else has changed it meanwhile */
	log_warn("engine %s: %s; engine %s goes on", m->config.engine->name, text, engine->name);
	if (machine_set_engine(m, engine, &err) < 0)
		end(m, MACHINE_FAILED, STATUS_FAILURE, err.text);
}

static void handle_requests(void *opaque)
{
	struct machine *m = opaque;
	uint32_t requests = atomic_exchange(&m->requests, 0);
	char text[sizeof(m->text)];
	if (m->ended)
		return;
	stand_still(m);
	pthread_mutex_lock(&m->text_lock);
	memcpy(text, m->text, sizeof(text));
	pthread_mutex_unlock(&m->text_lock);
	if (requests & REQUEST_END)
		end_for(m, requests, text);
	else if (requests & (REQUEST_RESET | REQUEST_TRIPLE_FAULT))
		handle_reset(m, requests, text);
	else if (requests & REQUEST_DEBUG_STOP)
		handle_debug_stop(m);
	if (requests & REQUEST_ENGINE && !m->ended)
		stand_in(m, text);
	if (requests & REQUEST_HOLD && !m->ended)
		hold(m, text);
	run(m);
}

/* On the vCPU's thread: it has left its engine for good until the loop's thread has seen to it. */
static void vcpu_stopped(void *opaque, unsigned index, enum exit_reason reason)
{
	struct machine *m = opaque;
	struct cpu *c = m->cpus[index];
	char text[320];
	if (reason == EXIT_DEBUG) {
		atomic_fetch_or(&m->debug_stops, 1u << index);
		machine_request(m, REQUEST_DEBUG_STOP, NULL);
		return;
	}
	if (reason == EXIT_ENGINE && engine_stand_in(m->config.engine)) {
		machine_request(m, REQUEST_ENGINE, c->exit_detail);
		c->exit_detail[0] = 0; /* nothing is wrong with its state */
		return;
	}
	const char *what = reason == EXIT_SHUTDOWN ? "triple fault" : c->exit_detail[0] ? c->exit_detail : "the engine failed";
	const struct engine_type *other = reason == EXIT_ERROR ? engine_stand_in(m->config.engine) : NULL;
	snprintf(text, sizeof(text), "%s on vCPU %u at %04x:%016llx, last exception %u (error code 0x%x), CR0 %llx, CR2 %llx, CR3 %llx%s%s",
		 what, index, c->seg[SEG_CS].selector, (unsigned long long)cpu_rip(c), c->fault_vector, c->fault_error,
		 (unsigned long long)c->cr0, (unsigned long long)c->cr2, (unsigned long long)c->cr3, other ? "; use --engine " : "",
		 other ? other->name : "");
	machine_request(m, reason == EXIT_SHUTDOWN ? REQUEST_TRIPLE_FAULT : REQUEST_FAIL, text);
}

/* --- making and ending --- */

static int copy_string(const char **string, struct error *err)
{
	if (*string && !(*string = strdup(*string)))
		return error_set(err, ENOMEM, "out of memory for the machine's configuration");
	return 0;
}

void machine_disk_free(struct machine_disk *disk)
{
	free((void *)disk->path);
	free((void *)disk->format);
	free((void *)disk->snapshot);
	free((void *)disk->backing);
}

static int copy_disk(struct machine_disk *disk, struct error *err)
{
	struct machine_disk from = *disk;
	disk->path = disk->format = disk->snapshot = disk->backing = NULL;
	const struct {
		const char **to, *text;
	} strings[] = { { &disk->path, from.path }, { &disk->format, from.format }, { &disk->snapshot, from.snapshot },
			{ &disk->backing, from.backing } };
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		*strings[i].to = strings[i].text;
		if (copy_string(strings[i].to, err) < 0) {
			*strings[i].to = NULL;
			machine_disk_free(disk);
			return -1;
		}
	}
	return 0;
}

static int copy_config(struct machine *m, const struct machine_config *config, struct error *err)
{
	struct machine_config *c = &m->config;
	*c = *config;
	/* Strings that were not copied yet must not be freed on the way out. */
	const char **strings[] = {
		&c->kernel, &c->initrd, &c->append, &c->bios, &c->code_dump, &c->capture, &c->uefi_vars, &c->boot, &c->audio,
	};
	unsigned disks = c->disk_count, roms = c->option_rom_count;
	c->disk_count = c->option_rom_count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++)
		if (copy_string(strings[i], err) < 0) {
			while (++i < ARRAY_SIZE(strings))
				*strings[i] = NULL;
			return -1;
		}
	if (disks > MACHINE_MAX_DISKS)
		return error_set(err, EINVAL, "%u disks; a machine has at most %d", disks, MACHINE_MAX_DISKS);
	for (; c->disk_count < disks; c->disk_count++)
		if (copy_disk(&c->disks[c->disk_count], err) < 0)
			return -1;
	if (c->nic_count > MACHINE_MAX_NICS)
		return error_set(err, EINVAL, "%u network interfaces; a machine has at most %d", c->nic_count, MACHINE_MAX_NICS);
	for (; c->option_rom_count < MIN(roms, MACHINE_MAX_ROMS); c->option_rom_count++)
		if (copy_string(&c->option_roms[c->option_rom_count], err) < 0)
			return -1;
	c->memory = c->memory ? c->memory : 256ull << 20;
	c->started_ns = c->started_ns ? c->started_ns : host_time_ns();
	c->cpus = c->cpus ? c->cpus : 1;
	c->engine = c->engine ? c->engine : &engine_interp;
	if (c->cpus > MACHINE_MAX_CPUS)
		return error_set(err, EINVAL, "%u CPUs; a machine has at most %d", c->cpus, MACHINE_MAX_CPUS);
	if (c->initrd && !c->kernel)
		return error_set(err, EINVAL, "an initrd without a kernel; give --kernel too");
	return 0;
}

/* A change of the map by a vCPU (PAM): its own TLB now, the others' when they look next. */
static void memory_changed(void *opaque)
{
	struct machine *m = opaque;
	for (unsigned i = 0; i < m->cpu_count; i++) {
		struct cpu *c = m->cpus[i];
		atomic_store(&c->flush_request, FLUSH_MAP);
		cpu_attention(c, ATTN_FLUSH);
	}
}

/* Who asks has a device's lock, which the change of an engine may want. */
static bool memory_written(void *opaque, const struct memory_aperture *aperture, uint64_t *pages)
{
	struct machine *m = opaque;
	if (!lock_try(&m->engine_lock))
		return false;
	const struct engine_type *engine = m->config.engine;
	bool known = engine->written && engine->written(m->cpus[0], aperture, pages);
	lock_release(&m->engine_lock);
	return known;
}

/* Whoever wrote code, a vCPU or a device: no vCPU goes on with what it made of the old. */
static void code_written(void *opaque)
{
	struct machine *m = opaque;
	for (unsigned i = 0; i < m->cpu_count; i++)
		cpu_attention(m->cpus[i], ATTN_CODE);
}

static int add_cpu(struct machine *m, unsigned index, struct error *err)
{
	struct cpu *c = cpu_new();
	if (!c)
		return error_set(err, ENOMEM, "out of memory for vCPU %u", index);
	m->cpus[m->cpu_count++] = c;
	c->index = index;
	c->count = m->config.cpus;
	c->peers = m->cpus;
	c->memory = &m->memory;
	c->count_instructions = m->config.count_instructions;
	c->code_cache = m->config.code_cache;
	c->code_dump = m->config.code_dump;
	c->mmio = &m->mmio;
	c->pio = &m->ports;
	c->clock = &m->clock;
	c->tsc_hz = c->host_tsc_hz = host_tsc_hz();
	c->arch_capabilities = index ? m->cpus[0]->arch_capabilities : arch_capabilities(m->config.engine->own_privilege);
	if (cpu_init_cpuid(c, m->config.cpu_model, err) < 0)
		return -1;
	return m->engine_limits ? cpu_limit_features(c, m->engine_features, err) : 0;
}

static uint64_t clock_now(void *opaque)
{
	return host_time_ns();
}

static uint64_t run_timers(void *opaque)
{
	struct machine *m = opaque;
	return vclock_run(&m->clock);
}

static int create_core(struct machine *m, struct error *err)
{
	m->loop = loop_create(err);
	if (!m->loop)
		return -1;
	const struct vclock_source source = { .now = clock_now, .wake = loop_wake, .opaque = m->loop };
	vclock_init(&m->clock, &source);
	loop_set_timers(m->loop, run_timers, m);
	machine_init_input(m);
	/* The host would grant it, and end some process when the guest takes it. */
	uint64_t host = host_memory_size();
	if (m->config.memory > host)
		return error_set(err, ENOMEM, "%llu MiB of memory are more than the %llu MiB that this host has; use a smaller --memory",
				 (unsigned long long)(m->config.memory >> 20), (unsigned long long)(host >> 20));
	if (memory_init_for(&m->memory, m->config.memory, m->config.services.gpu ? VIRTIO_GPU_MEMORY : 0, err) < 0)
		return -1;
	m->memory.changed = memory_changed;
	m->memory.written = memory_written;
	m->memory.code_written = code_written;
	m->memory.changed_opaque = m;
	machine_begin_load(m);
	if (io_space_init(&m->ports, 0x10000, err) < 0 || io_space_init(&m->mmio, 1ull << 52, err) < 0)
		return -1;
	m->bells = bells_create(m->loop, &m->mmio, err);
	if (!m->bells)
		return -1;
	m->engine_limits = m->config.engine->limit != NULL;
	if (m->engine_limits && m->config.engine->limit(m->engine_features, err) < 0)
		return -1;
	for (unsigned i = 0; i < m->config.cpus; i++)
		if (add_cpu(m, i, err) < 0)
			return -1;
	return 0;
}

struct machine *machine_create(const struct machine_config *config, struct error *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (!m) {
		error_set(err, ENOMEM, "out of memory for the machine");
		return NULL;
	}
	m->memory.fd = -1;
	m->last_device = &m->devices;
	pthread_mutex_init(&m->text_lock, NULL);
	lock_init(&m->engine_lock);
	lock_init(&m->board_lock);
	device_init(&m->device, &machine_type, "machine", NULL);
	machine_add_device(m, &m->device);
	if (copy_config(m, config, err) < 0 || (machine_wants_bios(m) && firmware_read(&m->bios, m->config.bios, err) < 0) ||
	    create_core(m, err) < 0 || machine_add_board(m, err) < 0 || machine_add_virtio(m, err) < 0 ||
	    machine_add_nics(m, err) < 0 || machine_add_services(m, err) < 0)
		goto fail;
	m->vcpus.stopped = vcpu_stopped;
	m->vcpus.opaque = m;
	if (vcpus_init(&m->vcpus, m->cpus, m->cpu_count, m->config.engine, err) < 0)
		goto fail;
	machine_end_load(m);
	start_hooks(m);
	if (firmware_install(m, err) < 0)
		goto fail;
	if (reset(m, err) < 0)
		goto fail;
	return m;
fail:
	machine_destroy(m);
	return NULL;
}

/* The last made goes first: transports before the bus they sit on. */
static void destroy_devices(struct machine *m)
{
	struct device *reversed = NULL;
	for (struct device *d = m->devices, *next; d; d = next) {
		next = d->next;
		d->next = reversed;
		reversed = d;
	}
	m->devices = NULL;
	for (struct device *d = reversed, *next; d; d = next) {
		next = d->next;
		if (d->type->destroy)
			d->type->destroy(d);
	}
}

static void free_config(struct machine_config *c)
{
	free((void *)c->kernel);
	free((void *)c->initrd);
	free((void *)c->append);
	free((void *)c->bios);
	free((void *)c->code_dump);
	free((void *)c->capture);
	free((void *)c->uefi_vars);
	free((void *)c->boot);
	free((void *)c->audio);
	for (unsigned i = 0; i < c->option_rom_count; i++)
		free((void *)c->option_roms[i]);
	for (unsigned i = 0; i < c->disk_count; i++)
		machine_disk_free(&c->disks[i]);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	machine_end_load(m);
	vnc_destroy(m->vnc);
	bells_stop(m->bells);
	vcpus_destroy(&m->vcpus);
	m->ended = true;
	/* A reset takes the queues from the guest: then work that is still posted finds nothing to do and posts no more. */
	for (struct device *d = m->devices; d; d = d->next)
		device_reset(d);
	if (m->loop)
		loop_drain(m->loop);
	bells_destroy(m->bells);
	machine_stop_virtio(m);
	machine_stop_input(m);
	machine_store_uefi(m);
	destroy_devices(m);
	machine_remove_uefi(m);
	machine_remove_sound(m);
	machine_remove_virtio(m);
	machine_remove_services(m);
	loop_destroy(m->loop);
	for (unsigned i = 0; i < m->cpu_count; i++)
		cpu_free(m->cpus[i]);
	io_space_destroy(&m->ports);
	io_space_destroy(&m->mmio);
	vclock_destroy(&m->clock);
	memory_destroy(&m->memory);
	free(m->bios.data);
	free_config(&m->config);
	pthread_mutex_destroy(&m->text_lock);
	lock_destroy(&m->engine_lock);
	lock_destroy(&m->board_lock);
	free(m);
}

int machine_run(struct machine *m, struct error *err)
{
	if (vcpus_start(&m->vcpus, err) < 0)
		return STATUS_FAILURE;
	m->started = true;
	run(m);
	int rc = loop_run(m->loop, err);
	stand_still(m);
	return rc < 0 ? STATUS_FAILURE : m->status;
}

/* --- access to parts --- */

void machine_add_device(struct machine *m, struct device *device)
{
	*m->last_device = device;
	m->last_device = &device->next;
}

size_t machine_console_input(struct machine *m, enum machine_port port, const uint8_t *data, size_t size)
{
	if (port == MACHINE_HVC0)
		return machine_hvc_input(m, data, size);
	return uart_receive(m->uart[port == MACHINE_SERIAL1], data, size);
}

struct loop *machine_loop(struct machine *m)
{
	return m->loop;
}

const struct machine_config *machine_config(const struct machine *m)
{
	return &m->config;
}

unsigned machine_cpu_count(const struct machine *m)
{
	return m->cpu_count;
}

struct cpu *machine_cpu(struct machine *m, unsigned index)
{
	return index < m->cpu_count ? m->cpus[index] : NULL;
}

struct guest_memory *machine_memory(struct machine *m)
{
	return &m->memory;
}

struct vclock *machine_clock(struct machine *m)
{
	return &m->clock;
}

struct device *machine_devices(struct machine *m)
{
	return m->devices;
}

void machine_set_debugger(struct machine *m, void (*stopped)(void *opaque, unsigned index), void *opaque)
{
	m->debugger = stopped;
	m->debugger_opaque = opaque;
}

void machine_run_only(struct machine *m, int index)
{
	atomic_store(&m->vcpus.only, index);
}
