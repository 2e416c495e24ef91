/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/run.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "host/channel.h"
#include "host/rundir.h"
#include "vm/snapshot_config.h"

#define MEMORY_DEFAULT (512ull << 20)

static const char *const engines[] = { "auto", "interp", "jit", NULL };
#define ENGINE_AUTO "jit" /* the fastest there is */
static const char *const machines[] = { "pc", NULL };

#define AT(member) .offset = offsetof(struct run_values, member)

const struct option run_options[] = {
	{ .name = "name", .kind = OPTION_STRING, AT(name), .argument = "NAME",
	  .help = "the machine's name for the other commands; vm-PID without it" },
	{ .name = "memory", .kind = OPTION_SIZE, AT(memory), .argument = "SIZE", .min = 2 << 20, .max = 1ull << 40,
	  .help = "the guest's memory, as 256M or 2G; 512M without it" },
	{ .name = "cpus", .kind = OPTION_NUMBER, AT(cpus), .argument = "N", .min = 1, .max = MACHINE_MAX_CPUS,
	  .help = "the number of processors, 1 to 16; 1 without it" },
	{ .name = "cpu", .kind = OPTION_CHOICE, AT(cpu), .argument = "MODEL", .choices = cpu_model_names,
	  .help = "the processor that the guest sees: host, or a level x86-64-v1 to x86-64-v4, each less what this host lacks; "
		  "host without it" },
	{ .name = "engine", .kind = OPTION_CHOICE, AT(engine), .argument = "ENGINE", .choices = engines,
	  .help = "what runs the guest's instructions: jit (translator), interp (interpreter), or auto, the fastest there is" },
	{ .name = "jit-cache", .kind = OPTION_SIZE, AT(jit_cache), .argument = "SIZE", .min = 4 << 20, .max = 1ull << 31,
	  .help = "memory for translated code, of all processors together; 256M without it" },
	{ .name = "jit-dump", .kind = OPTION_OPTIONAL, AT(jit_dump), .argument = "SYMBOLS", .completion = COMPLETE_FILE,
	  .help = "name translated code for perf, in /tmp/perf-PID.map: guest address, size and privilege, and with a System.map or a copy of "
		  "the guest's /proc/kallsyms the kernel's function" },
	{ .name = "machine", .kind = OPTION_CHOICE, AT(machine), .argument = "TYPE", .choices = machines,
	  .help = "the kind of machine: pc (i440FX board)" },
	{ .name = "kernel", .kind = OPTION_STRING, AT(kernel), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "a kernel to start: a Linux bzImage, or an ELF file for PVH or Multiboot" },
	{ .name = "initrd", .kind = OPTION_STRING, AT(initrd), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "the kernel's initial RAM disk" },
	{ .name = "append", .kind = OPTION_STRING, AT(append), .argument = "TEXT",
	  .help = "the kernel's command line; say console=ttyS0 to see Linux" },
	{ .name = "bios", .kind = OPTION_OPTIONAL, AT(bios), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "start firmware from the reset vector; Debian's SeaBIOS without a file, and for a machine without --kernel" },
	{ .name = "disk", .kind = OPTION_LIST, AT(disks), .argument = "FILE[,ro]", .completion = COMPLETE_FILE,
	  .help = "a raw disk image as a virtio disk; ro: read only. May be given several times" },
	{ .name = "share", .letter = 'v', .kind = OPTION_LIST, AT(shares), .argument = "DIR:TAG[:ro]", .completion = COMPLETE_FILE,
	  .help = "share a folder with the guest, which mounts it by 'mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt'; ro: read only. May "
		  "be given several times" },
	{ .name = "console", .kind = OPTION_STRING, AT(console), .argument = "WHERE",
	  .help = "the first serial port: stdio, none, file:PATH (output only) or pipe:PATH (the FIFOs PATH.in and PATH.out); "
		  "stdio without it" },
	{ .name = "serial2", .kind = OPTION_STRING, AT(serial2), .argument = "WHERE",
	  .help = "the second serial port, in the same words; none without it" },
	{ .name = "virtio-console", .kind = OPTION_STRING, AT(virtio_console), .argument = "WHERE",
	  .help = "adds a virtio console (hvc0 in Linux), in the same words" },
	{ .name = "debugcon", .kind = OPTION_STRING, AT(debugcon), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "what firmware writes to the debug ports 0xe9 and 0x402" },
	{ .name = "debug-exit", .kind = OPTION_FLAG, AT(debug_exit),
	  .help = "a guest that writes v to port 0xf4 ends visor with status (v << 1) | 1" },
	{ .name = "no-reboot", .kind = OPTION_FLAG, AT(no_reboot),
	  .help = "end where a PC would reset: status 3 after a triple fault, else 0" },
	{ .name = "gdb", .kind = OPTION_STRING, AT(gdb), .argument = "ADDRESS",
	  .help = "wait for gdb at PORT, HOST:PORT or unix:PATH before the first instruction; in gdb: target remote :PORT" },
	{ .name = "time-limit", .kind = OPTION_NUMBER, AT(time_limit), .argument = "SECONDS", .min = 1, .max = INT_MAX,
	  .help = "end the machine after this time, with status 4" },
	{ .name = "trace", .kind = OPTION_STRING, AT(trace), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "log every instruction with its disassembly (engine interp)" },
	{ .name = "stats", .kind = OPTION_OPTIONAL, AT(stats), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "write statistics as JSON at the end; to standard error without a file" },
	{ .name = "restore", .kind = OPTION_STRING, AT(restore), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "go on with a machine that 'visor save' put into a file; memory, processors and boot come from there, --disk "
		  "gives the disks' new places" },
	{ .name = "verbose", .kind = OPTION_FLAG, AT(verbose), .help = "say more about what happens" },
	OPTION_END
};

const struct run_values run_defaults = {
	.cpu = RUN_CPU_DEFAULT,
	.console = "stdio",
	.serial2 = "none",
};

/* "FILE,ro"; the path without its suffix goes into `room`. */
static int parse_disk(const char *text, struct machine_disk *disk, char room[PATH_MAX], struct error *err)
{
	const char *comma = strrchr(text, ',');
	size_t length = strlen(text);
	disk->read_only = comma && !strcmp(comma, ",ro");
	if (disk->read_only)
		length = (size_t)(comma - text);
	if (!length || length >= PATH_MAX)
		return error_set(err, EINVAL, "--disk '%s': the file's name is missing or too long; write --disk FILE or FILE,ro", text);
	memcpy(room, text, length);
	room[length] = 0;
	disk->path = room;
	return 0;
}

static int set_disks(const struct run_values *v, struct machine_config *config, struct error *err)
{
	static char paths[MACHINE_MAX_DISKS][PATH_MAX]; /* as long-lived as argv, of which they are a part */
	if (v->restore && v->disks.count != config->disk_count)
		return error_set(err, EINVAL, "--disk: the saved machine has %u disk(s); give each of them, or none for their old places",
				 config->disk_count);
	for (unsigned i = 0; i < v->disks.count; i++)
		if (parse_disk(v->disks.values[i], &config->disks[i], paths[i], err) < 0)
			return -1;
	config->disk_count = v->disks.count;
	return 0;
}

/* Flags that say what the saved machine already is. */
static int refuse_with_restore(const struct run_values *v, struct error *err)
{
	const struct {
		const char *name;
		bool given;
	} flags[] = {
		{ "memory", v->memory }, { "cpus", v->cpus }, { "cpu", v->cpu != RUN_CPU_DEFAULT }, { "kernel", v->kernel }, { "initrd", v->initrd },
		{ "append", v->append }, { "bios", v->bios }, { "debug-exit", v->debug_exit },
		{ "share", v->shares.count },
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].given)
			return error_set(err, EINVAL, "--%s: cannot be given with --restore, the saved machine has its own; leave it out",
					 flags[i].name);
	return 0;
}

static int check_boot(const struct run_values *v, struct error *err)
{
	if (!v->kernel && (v->initrd || v->append))
		return error_set(err, EINVAL, "--%s: belongs to a kernel; give --kernel FILE too", v->initrd ? "initrd" : "append");
	if (v->memory % (1u << 20))
		return error_set(err, EINVAL, "--memory: must be a whole number of MiB, as 256M");
	if (!v->kernel && !v->bios && !v->disks.count)
		return error_set(err, EINVAL, "there is nothing to start: give --kernel FILE, --disk FILE, --bios or --restore FILE");
	return 0;
}

static int check_consoles(const struct run_values *v, struct error *err)
{
	const struct {
		const char *flag, *spec;
	} consoles[] = { { "console", v->console }, { "serial2", v->serial2 }, { "virtio-console", v->virtio_console } };
	const char *taken = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(consoles); i++) {
		if (!consoles[i].spec)
			continue;
		if (channel_check(consoles[i].spec, err) < 0)
			return error_prefix(err, "--%s", consoles[i].flag);
		if (strcmp(consoles[i].spec, "stdio"))
			continue;
		if (taken)
			return error_set(err, EINVAL, "--%s: stdio is taken by --%s; send one of them elsewhere, as --%s none",
					 consoles[i].flag, taken, taken);
		taken = consoles[i].flag;
	}
	return 0;
}

static int set_services(const struct run_values *v, struct machine_config *config, struct error *err)
{
	static struct machine_services services; /* as long-lived as argv */
	services_free(&services);
	if (v->shares.count > MACHINE_MAX_SHARES)
		return error_set(err, EINVAL, "--share: a machine has at most %d shared folders", MACHINE_MAX_SHARES);
	for (unsigned i = 0; i < v->shares.count; i++) {
		if (services_parse_share(v->shares.values[i], &services.shares[i], err) < 0)
			return error_prefix(err, "--share");
		services.share_count++;
	}
	config->services = services;
	return 0;
}

int run_check(const struct run_values *v, struct error *err)
{
	if (v->name && !rundir_name_ok(v->name))
		return error_set(err, EINVAL, "--name: '%s' cannot be a name; use up to 63 letters, digits, '-', '_' and '.'", v->name);
	if (v->disks.count > MACHINE_MAX_DISKS)
		return error_set(err, EINVAL, "--disk: a machine has at most %d disks", MACHINE_MAX_DISKS);
	if ((v->restore ? refuse_with_restore : check_boot)(v, err) < 0)
		return -1;
	struct machine_config unused;
	return set_services(v, &unused, err) < 0 ? -1 : check_consoles(v, err);
}

int run_configure(const struct run_values *v, const struct snapshot *snapshot, struct machine_config *config,
		  bool has_port[MACHINE_PORTS], struct error *err)
{
	*config = (struct machine_config){ 0 };
	if (v->restore) {
		if (snapshot_config(snapshot, config, has_port, err) < 0)
			return error_prefix(err, "%s", v->restore);
		if (v->disks.count && set_disks(v, config, err) < 0)
			return -1;
		snapshot_check_disks(snapshot, config);
	} else {
		if (set_disks(v, config, err) < 0)
			return -1;
		config->memory = v->memory ? v->memory : MEMORY_DEFAULT;
		config->cpus = v->cpus ? (unsigned)v->cpus : 1;
		config->cpu_model = v->cpu != RUN_CPU_DEFAULT ? (enum cpu_model)v->cpu : CPU_HOST;
		config->kernel = v->kernel;
		config->initrd = v->initrd;
		config->append = v->append;
		config->bios = v->bios;
		config->debug_exit = v->debug_exit;
		if (set_services(v, config, err) < 0)
			return -1;
	}
	if (v->engine || !config->engine)
		config->engine = engine_by_name(v->engine ? engines[v->engine] : ENGINE_AUTO);
	config->no_reboot = v->no_reboot;
	config->count_instructions = v->stats != NULL;
	config->code_cache = v->jit_cache;
	config->code_dump = v->jit_dump;
	return 0;
}
