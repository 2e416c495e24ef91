/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/run.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/channel.h"
#include "host/rundir.h"
#include "host/spool.h"
#include "vm/nic.h"
#include "vm/snapshot_config.h"

#define NO_WATCHDOG (~0u)
#define MEMORY_DEFAULT (512ull << 20)

static const char *const engine_names[] = { "auto", "interp", "jit", "kvm", NULL };

static const char *const firmwares[] = { "bios", "uefi", NULL };

static const char *const unpackers[] = { "host", "guest", NULL };

static const char *const gpus[] = { "standard", "virtio", NULL };

#define AT(member) .offset = offsetof(struct run_values, member)

const struct option run_options[] = {
	{ .name = "name", .kind = OPTION_STRING, AT(name), .argument = "NAME",
	  .help = "the machine's name for the other commands; without it that of the image, or vm-PID" },
	{ .name = "memory", .kind = OPTION_SIZE, AT(memory), .argument = "SIZE", .min = 2 << 20, .max = 1ull << 40,
	  .help = "the guest's memory, as 256M or 2G; 512M without it" },
	{ .name = "cpus", .kind = OPTION_NUMBER, AT(cpus), .argument = "N", .min = 1, .max = MACHINE_MAX_CPUS,
	  .help = "the number of processors, 1 to 16; 1 without it" },
	{ .name = "cpu", .kind = OPTION_CHOICE, AT(cpu), .argument = "MODEL", .choices = cpu_model_names,
	  .help = "the processor that the guest sees: host, or a level x86-64-v1 to x86-64-v4, each less what this host lacks; "
		  "host without it" },
	{ .name = "engine", .kind = OPTION_CHOICE, AT(engine), .argument = "ENGINE", .choices = engine_names,
	  .help = "what runs the guest's instructions: kvm (the host's KVM), jit (translator), interp (interpreter), or auto, the fastest that "
		  "works on this host; 'visor doctor' and --verbose say which and why" },
	{ .name = "jit-cache", .kind = OPTION_SIZE, AT(jit_cache), .argument = "SIZE", .min = 4 << 20, .max = 1ull << 31,
	  .help = "memory for translated code, of all processors together; 256M without it" },
	{ .name = "jit-dump", .kind = OPTION_OPTIONAL, AT(jit_dump), .argument = "SYMBOLS", .completion = COMPLETE_FILE,
	  .help = "name translated code for perf, in /tmp/perf-PID.map: guest address, size and privilege, and with a System.map or a copy of "
		  "the guest's /proc/kallsyms the kernel's function" },
	{ .name = "machine", .kind = OPTION_CHOICE, AT(machine), .argument = "TYPE", .choices = machine_profile_names,
	  .help = "the kind of machine: pc (i440FX board with VGA, IDE and virtio), micro (starts a --kernel fast, virtio alone), classic (the "
		  "parts that old systems have drivers for)" },
	{ .name = "kernel", .kind = OPTION_STRING, AT(kernel), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "a kernel to start: a Linux bzImage, or an ELF file for PVH or Multiboot" },
	{ .name = "kernel-unpack", .kind = OPTION_CHOICE, AT(kernel_unpack), .argument = "WHO", .choices = unpackers,
	  .help = "who unpacks a 64-bit bzImage: host (visor does, and the kernel lies at the address that it was linked for), or guest (the kernel "
		  "itself does, which takes longer, and puts itself at a random address: KASLR); host without it" },
	{ .name = "initrd", .kind = OPTION_STRING, AT(initrd), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "the kernel's initial RAM disk" },
	{ .name = "append", .kind = OPTION_STRING, AT(append), .argument = "TEXT",
	  .help = "the kernel's command line; say console=ttyS0 to see Linux" },
	{ .name = "bios", .kind = OPTION_OPTIONAL, AT(bios), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "start firmware from the reset vector; Debian's SeaBIOS without a file, and for a machine without --kernel" },
	{ .name = "firmware", .kind = OPTION_CHOICE, AT(firmware), .argument = "KIND", .choices = firmwares,
	  .help = "what starts from disks and the network: bios (SeaBIOS) or uefi (OVMF); bios without it" },
	{ .name = "uefi-vars", .kind = OPTION_STRING, AT(uefi_vars), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "the file that keeps the UEFI variables, made when it is missing; without it one for each machine with a --name" },
	{ .name = "disk", .kind = OPTION_LIST, AT(disks), .argument = "FILE[,OPTION]...", .completion = COMPLETE_FILE,
	  .help = "a disk image or block device, of format raw, qcow2, vdi, vhd, vmdk or vhdx. ro: read only; virtio, ide or scsi (classic has it): what it hangs on, "
		  "else virtio, but ide on classic; format=FORMAT, else the content says it; cache=writeback, writethrough (each write is on the disk when it is complete) "
		  "or unsafe (nothing is waited for); shared: other machines of this host that say so, too, may write it at the same time (raw and fixed VHD; their "
		  "guests must be able to, by a cluster's file system or SCSI reservations; each write is waited for); snapshot=NAME: a qcow2 image's snapshot, read only; backing=FILE: the image behind it. "
		  "May be given several times" },
	{ .name = "cdrom", .kind = OPTION_LIST, AT(cdroms), .argument = "FILE[,OPTION]...", .completion = COMPLETE_FILE,
	  .help = "an ISO image in a CD-ROM drive; none: an empty drive. scsi: the drive hangs on classic's SCSI adapter, else on the IDE controller; "
		  "format=FORMAT, else the content says it. May be given several times" },
	{ .name = "floppy", .kind = OPTION_LIST, AT(floppies), .argument = "FILE[,OPTION]...", .completion = COMPLETE_FILE,
	  .help = "a floppy disk image, with the options of --disk, in a drive for 1.44 MB; none: an empty drive. May be given twice" },
	{ .name = "net", .kind = OPTION_LIST, AT(nets), .argument = "NET[,OPTION]...",
	  .help = "a network interface and what it leads to: user (reaches what the host reaches, by address translation; "
		  "with ,tftp=FOLDER,bootfile=FILE guests may boot from that folder), switch:NAME "
		  "(the guests of one host that name it; with ,mode=host the host too, at 10.0.2.2, and addresses by DHCP; with ,mode=nat "
		  "all that the host reaches), tap:IF or bridge:IF (an interface of the host, as root), or none for no "
		  "network; without it user, but none on micro. May be given several times. ,mac=MAC: the card's address. ,model=MODEL: "
		  "virtio, e1000 (Intel 82540EM) or pcnet (AMD Am79C970A); without it virtio, but pcnet on classic, which has three cards at least" },
	{ .name = "hostfwd", .letter = 'p', .kind = OPTION_LIST, AT(forwards), .argument = "[ADDR:]HOSTPORT:PORT[/udp]",
	  .help = "forward a port of the host to the guest, by the first user network; on 127.0.0.1 unless another address stands "
		  "before, as 0.0.0.0:8080:80. May be given several times" },
	{ .name = "capture", .kind = OPTION_STRING, AT(capture), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "write the frames of the first network interface to a pcap file, those of further ones to FILE.1 and so on" },
	{ .name = "share", .letter = 'v', .kind = OPTION_LIST, AT(shares), .argument = "DIR:TAG[:ro]", .completion = COMPLETE_FILE,
	  .help = "share a folder with the guest, which mounts it by 'mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt'; ro: read only. May "
		  "be given several times" },
	{ .name = "vsock", .kind = OPTION_STRING, AT(vsock), .argument = "CID[,PATH]",
	  .help = "stream sockets between guest and host; CID, 3 or more: the guest's address. Who connects to the UNIX socket PATH and writes "
		  "CONNECT PORT and a newline reaches that port of the guest, after the answer OK and a number. What the guest connects to at the host (CID 2) "
		  "is the socket PATH_PORT. Without PATH NAME.vsock in the run-time directory" },
	{ .name = "virtio-input", .kind = OPTION_FLAG, AT(virtio_input),
	  .help = "adds a virtio keyboard and a pointer that knows where it is, so that the guest's is where that of the VNC viewer is; a guest with their "
		  "driver gets keys and movements by them" },
	{ .name = "watchdog", .kind = OPTION_CHOICE, AT(watchdog), .argument = "ACTION", .choices = machine_action_names,
	  .help = "adds a watchdog (Intel 6300ESB), and says what happens when the guest has begun to feed it and does not in time: reset, poweroff, "
		  "pause, or none (a line in the log)" },
	{ .name = "on-panic", .kind = OPTION_CHOICE, AT(on_panic), .argument = "ACTION", .choices = machine_action_names,
	  .help = "what happens when the guest's kernel says by its driver pvpanic that it has panicked: reset, poweroff, pause, or none but a line in "
		  "the log; none without it" },
	{ .name = "no-balloon", .kind = OPTION_FLAG, AT(no_balloon),
	  .help = "no virtio memory balloon, by which the guest gives free memory back to the host and 'visor balloon' changes how much it has" },
	{ .name = "boot", .kind = OPTION_STRING, AT(boot), .argument = "KIND[,KIND...]",
	  .help = "the order in which firmware tries what it may boot from: disk, cdrom, floppy, network (PXE); that order without it. With menu "
		  "in the list firmware waits for two seconds, and Esc shows a menu" },
	{ .name = "option-rom", .kind = OPTION_LIST, AT(option_roms), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "an option ROM for SeaBIOS to run. May be given several times" },
	{ .name = "console", .kind = OPTION_STRING, AT(console), .argument = "WHERE",
	  .help = "the first serial port: stdio, none, file:PATH (output only) or pipe:PATH (the FIFOs PATH.in and PATH.out); "
		  "stdio without it" },
	{ .name = "serial2", .kind = OPTION_STRING, AT(serial2), .argument = "WHERE",
	  .help = "the second serial port, in the same words; none without it" },
	{ .name = "parallel", .kind = OPTION_STRING, AT(parallel), .argument = "WHERE",
	  .help = "adds a printer port, and says where its output goes: spool (see 'visor spool'), file:PATH or none" },
	{ .name = "virtio-console", .kind = OPTION_STRING, AT(virtio_console), .argument = "WHERE",
	  .help = "adds a virtio console (hvc0 in Linux), in the same words" },
	{ .name = "audio", .kind = OPTION_STRING, AT(audio), .argument = "WHERE",
	  .help = "where the sound card and the PC's loudspeaker are heard: wav:FILE, or none; none without it. classic has a Sound Blaster 16; "
		  "to other machines this adds a virtio sound card" },
	{ .name = "gpu", .kind = OPTION_CHOICE, AT(gpu), .argument = "KIND", .choices = gpus,
	  .help = "the display adapter: standard (VGA; on classic VMware's SVGA II; micro has none), or virtio, which today's systems have "
		  "drivers for and which VNC viewers may resize; on pc it is a VGA adapter as well. standard without it" },
	{ .name = "vnc", .kind = OPTION_STRING, AT(vnc), .argument = "[HOST:]PORT",
	  .help = "show the screen by VNC at this port, of the loopback address alone without HOST" },
	{ .name = "vnc-password", .kind = OPTION_STRING, AT(vnc_password), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "a file whose first line VNC asks for; the protocol looks at 8 characters, and nothing is encrypted" },
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
	{ .name = "user", .kind = OPTION_STRING, AT(user), .argument = "NAME",
	  .help = "of a machine made from an image: a user who may log in by --ssh-key and become root by sudo; the image's usual one without it" },
	{ .name = "ssh-key", .kind = OPTION_STRING, AT(ssh_key), .argument = "FILE", .completion = COMPLETE_FILE,
	  .help = "of a machine made from an image: the public keys that its user may log in with, as in id_ed25519.pub" },
	{ .name = "hostname", .kind = OPTION_STRING, AT(hostname), .argument = "NAME",
	  .help = "of a machine made from an image: its host name; that of the machine without it. The machine keeps these three until others are given" },
	{ .name = "verbose", .kind = OPTION_FLAG, AT(verbose), .help = "say more about what happens" },
	OPTION_END
};

const struct run_values run_defaults = {
	.cpu = RUN_CPU_DEFAULT,
	.watchdog = NO_WATCHDOG,
	.console = "stdio",
	.serial2 = "none",
};

/* One option at the end of an image's name; false: it is a part of the name. */
static bool take_disk_option(char *option, struct machine_disk *disk)
{
	static const char *const caches[] = { "cache=writeback", "cache=writethrough", "cache=unsafe" };
	const struct {
		const char *name;
		const char **value;
	} values[] = { { "format=", &disk->format }, { "snapshot=", &disk->snapshot }, { "backing=", &disk->backing } };
	for (unsigned i = 0; i < ARRAY_SIZE(caches); i++)
		if (!strcmp(option, caches[i])) {
			disk->cache = i;
			return true;
		}
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		if (!strncmp(option, values[i].name, strlen(values[i].name))) {
			*values[i].value = option + strlen(values[i].name);
			return true;
		}
	for (unsigned bus = MACHINE_DISK_VIRTIO; disk->bus < MACHINE_CDROM && bus < MACHINE_CDROM; bus++)
		if (!strcmp(option, machine_disk_bus_names[bus])) {
			disk->bus = (enum machine_disk_bus)bus;
			return true;
		}
	if (disk->bus == MACHINE_CDROM && !strcmp(option, "scsi"))
		return disk->scsi = true;
	bool read_only = !strcmp(option, "ro"), shared = disk->bus < MACHINE_CDROM && !strcmp(option, "shared");
	disk->read_only |= read_only;
	disk->shared |= shared;
	return read_only || shared;
}

/*
 * "FILE,ro,format=raw"; a file's name may have commas. `room` is as long-lived as argv, of which it holds a part. The kind of drive is
 * in *disk; those for media may be empty.
 */
static int parse_disk(const char *flag, const char *text, struct machine_disk *disk, char room[PATH_MAX], struct error *err)
{
	size_t length = strlen(text);
	char *comma;
	if (length < PATH_MAX) {
		memcpy(room, text, length + 1);
		while ((comma = strrchr(room, ',')) && take_disk_option(comma + 1, disk))
			*comma = 0;
		if (disk->bus >= MACHINE_CDROM && !strcmp(room, "none"))
			return 0;
	}
	if (length >= PATH_MAX || !*room)
		return error_set(err, EINVAL, "--%s '%s': the file's name is missing or too long; write --%s FILE or FILE,ro", flag, text, flag);
	disk->path = room;
	return 0;
}

/* How many drives the flags name, with a disk or without. */
static unsigned drive_count(const struct run_values *v)
{
	return v->disks.count + v->cdroms.count + v->floppies.count;
}

static int set_disks(const struct run_values *v, struct machine_config *config, struct error *err)
{
	static char paths[MACHINE_MAX_DISKS][PATH_MAX]; /* as long-lived as argv, of which they are a part */
	const struct {
		const char *flag;
		const struct option_list *list;
		struct machine_disk disk;
	} kinds[] = {
		{ "disk", &v->disks, { .bus = v->machine == MACHINE_CLASSIC ? MACHINE_DISK_IDE : MACHINE_DISK_VIRTIO } },
		{ "cdrom", &v->cdroms, { .bus = MACHINE_CDROM, .read_only = true } },
		{ "floppy", &v->floppies, { .bus = MACHINE_FLOPPY } },
	};
	unsigned count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (unsigned j = 0; j < kinds[i].list->count; j++, count++) {
			config->disks[count] = kinds[i].disk;
			if (parse_disk(kinds[i].flag, kinds[i].list->values[j], &config->disks[count], paths[count], err) < 0)
				return -1;
		}
	}
	config->disk_count = count;
	return 0;
}

/* Other files in the places of the saved machine's; what they hang on is in the snapshot. */
static int replace_disks(const struct run_values *v, struct machine_config *config, struct error *err)
{
	struct machine_config given = { 0 };
	if (drive_count(v) != config->disk_count)
		return error_set(err, EINVAL, "--disk: the saved machine has %u drive(s); give each of them, or none for their old places",
				 config->disk_count);
	if (set_disks(v, &given, err) < 0)
		return -1;
	for (unsigned i = 0; i < config->disk_count; i++) {
		enum machine_disk_bus bus = config->disks[i].bus;
		bool scsi = config->disks[i].scsi;
		if ((bus >= MACHINE_CDROM || given.disks[i].bus >= MACHINE_CDROM) && bus != given.disks[i].bus)
			return error_set(err, EINVAL, "--restore: the saved machine's drive %u is of another kind (%s) than the one given; give as "
					 "many of --disk, --cdrom and --floppy as it was started with", i, machine_disk_bus_names[bus]);
		config->disks[i] = given.disks[i];
		config->disks[i].bus = bus;
		config->disks[i].scsi = scsi;
	}
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
		{ "append", v->append }, { "kernel-unpack", v->kernel_unpack }, { "bios", v->bios }, { "debug-exit", v->debug_exit },
		{ "share", v->shares.count }, { "no-balloon", v->no_balloon },
		{ "vsock", v->vsock }, { "watchdog", v->watchdog != NO_WATCHDOG }, { "on-panic", v->on_panic },
		{ "virtio-input", v->virtio_input }, { "gpu", v->gpu },
		{ "net", v->nets.count }, { "boot", v->boot }, { "option-rom", v->option_roms.count },
		{ "machine", v->machine }, { "firmware", v->firmware }, { "uefi-vars", v->uefi_vars },
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].given)
			return error_set(err, EINVAL, "--%s: cannot be given with --restore, the saved machine has its own; leave it out",
					 flags[i].name);
	return 0;
}

static int check_boot_order(const char *order, struct error *err)
{
	static const char *const kinds[] = { "disk", "cdrom", "floppy", "network", "menu" };
	for (const char *at = order; at;) {
		size_t length = strcspn(at, ",");
		bool known = false;
		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
			known |= length == strlen(kinds[i]) && !memcmp(at, kinds[i], length);
		if (!known)
			return error_set(err, EINVAL, "--boot: '%s': nothing boots from '%.*s'; write disk, cdrom, floppy, network and menu with commas between", order,
					 (int)length, at);
		at = at[length] ? at + length + 1 : NULL;
	}
	return 0;
}

static int check_boot(const struct run_values *v, struct error *err)
{
	if (!v->kernel && (v->initrd || v->append || v->kernel_unpack))
		return error_set(err, EINVAL, "--%s: belongs to a kernel; give --kernel FILE too",
				 v->initrd ? "initrd" : v->append ? "append" : "kernel-unpack");
	if (v->firmware && (v->kernel || v->bios))
		return error_set(err, EINVAL, "--firmware uefi: cannot go with --%s; leave one of them out", v->kernel ? "kernel" : "bios");
	if (v->option_roms.count > MACHINE_MAX_ROMS)
		return error_set(err, EINVAL, "--option-rom: a machine takes at most %d", MACHINE_MAX_ROMS);
	if (check_boot_order(v->boot, err) < 0)
		return -1;
	if (v->uefi_vars && !v->firmware)
		return error_set(err, EINVAL, "--uefi-vars: belongs to UEFI; give --firmware uefi too");
	if (v->machine == MACHINE_MICRO && (v->cdroms.count || v->floppies.count || v->parallel))
		return error_set(err, EINVAL, "--machine micro: has no CD-ROM, floppy drive or printer port; use --machine pc");
	if (v->machine == MACHINE_MICRO && v->vnc && !v->gpu)
		return error_set(err, EINVAL, "--machine micro: has no screen of its own; give --gpu virtio too, or use --machine pc");
	if (v->machine == MACHINE_CLASSIC && v->gpu)
		return error_set(err, EINVAL, "--gpu virtio: a machine of type classic has VMware's SVGA adapter; use --machine pc");
	if (v->machine == MACHINE_MICRO && !v->kernel)
		return error_set(err, EINVAL, "--machine micro: has no firmware to start from a disk; give --kernel FILE too, or use --machine pc");
	if (v->memory % (1u << 20))
		return error_set(err, EINVAL, "--memory: must be a whole number of MiB, as 256M");
	if (!v->kernel && !v->bios && !v->firmware && !v->boot && !drive_count(v))
		return error_set(err, EINVAL, "there is nothing to start: give --kernel FILE, --disk FILE, --cdrom FILE, --boot network, --bios, "
				 "--restore FILE, or the name of an image");
	return 0;
}

static int check_consoles(const struct run_values *v, struct error *err)
{
	const struct {
		const char *flag, *spec;
	} consoles[] = { { "console", v->console }, { "serial2", v->serial2 }, { "virtio-console", v->virtio_console },
		       { "parallel", v->parallel } };
	const char *taken = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(consoles); i++) {
		if (!consoles[i].spec)
			continue;
		if (!strcmp(consoles[i].spec, "spool") && consoles[i].spec == v->parallel)
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

/* The first user network takes the forwards. */
static int set_forwards(const struct run_values *v, struct machine_config *config, struct error *err)
{
	struct machine_nic *nic = config->nics, *end = nic + config->nic_count;
	while (nic < end && nic->kind != NET_USER)
		nic++;
	if (!v->forwards.count)
		return 0;
	if (nic == end)
		return error_set(err, EINVAL, "--hostfwd: the machine has no user network; add --net user");
	nic->forward_count = 0;
	for (unsigned i = 0; i < v->forwards.count; i++)
		if (net_forward_parse(v->forwards.values[i], &nic->forwards[nic->forward_count++], err) < 0)
			return error_prefix(err, "--hostfwd");
	return 0;
}

/* The same in every run: from the machine's name or, without one, from its first disk's. */
static void set_macs(const struct run_values *v, struct machine_config *config, const bool *has_mac)
{
	char path[PATH_MAX], name[32];
	const char *origin = v->name;
	if (!origin && config->disk_count)
		origin = realpath(config->disks[0].path, path);
	if (!origin) {
		snprintf(name, sizeof(name), "vm-%ld", (long)getpid());
		origin = name;
	}
	for (unsigned i = 0; i < config->nic_count; i++)
		if (!has_mac[i])
			net_mac_derive(origin, i, config->nics[i].mac);
}

static int set_nets(const struct run_values *v, struct machine_config *config, struct error *err)
{
	bool has_mac[MACHINE_MAX_NICS] = { false };
	const struct option_list standard = { { "user" }, v->machine != MACHINE_MICRO };
	const struct option_list *list = v->nets.count ? &v->nets : &standard;
	enum machine_nic_model model = v->machine == MACHINE_CLASSIC ? MACHINE_NIC_PCNET : MACHINE_NIC_VIRTIO;
	for (unsigned i = 0; i < list->count; i++) {
		if (!strcmp(list->values[i], "none") && list->count == 1)
			continue;
		if (config->nic_count == MACHINE_MAX_NICS)
			return error_set(err, EINVAL, "--net: a machine has at most %d network interfaces", MACHINE_MAX_NICS);
		if (nic_parse(list->values[i], model, &config->nics[config->nic_count], &has_mac[config->nic_count], err) < 0)
			return error_prefix(err, "--net");
		config->nic_count++;
	}
	/* Those that no network was named for are there without a cable. */
	while (v->machine == MACHINE_CLASSIC && config->nic_count < MACHINE_CLASSIC_NICS)
		config->nics[config->nic_count++].model = model;
	set_macs(v, config, has_mac);
	return 0;
}

/* What --net and --hostfwd say, read into nowhere. */
static int check_nets(const struct run_values *v, struct error *err)
{
	struct machine_config config = { 0 };
	if (v->restore) {
		config.nic_count = 1;
		config.nics[0].kind = NET_USER;
	} else if (set_nets(v, &config, err) < 0) {
		return -1;
	}
	return set_forwards(v, &config, err);
}

static int vsock_path(const struct run_values *v, char path[PATH_MAX], struct error *err)
{
	char file[96];
	if (v->name)
		snprintf(file, sizeof(file), "%s.vsock", v->name);
	else
		snprintf(file, sizeof(file), "vm-%ld.vsock", (long)getpid());
	return rundir_file_path(file, path, PATH_MAX, err);
}

static int set_services(const struct run_values *v, struct machine_config *config, struct error *err)
{
	static struct machine_services services; /* as long-lived as argv */
	char path[PATH_MAX];
	services_free(&services);
	services = (struct machine_services){ 0 };
	if (v->shares.count > MACHINE_MAX_SHARES)
		return error_set(err, EINVAL, "--share: a machine has at most %d shared folders", MACHINE_MAX_SHARES);
	for (unsigned i = 0; i < v->shares.count; i++) {
		if (services_parse_share(v->shares.values[i], &services.shares[i], err) < 0)
			return error_prefix(err, "--share");
		services.share_count++;
	}
	if (v->vsock && (vsock_path(v, path, err) < 0 || services_parse_vsock(v->vsock, path, &services, err) < 0))
		return error_prefix(err, "--vsock");
	services.watchdog = v->watchdog != NO_WATCHDOG;
	services.on_watchdog = services.watchdog ? (enum machine_action)v->watchdog : ACTION_NONE;
	services.on_panic = (enum machine_action)v->on_panic;
	services.gpu = v->gpu;
	services.sound = v->audio && v->machine != MACHINE_CLASSIC;
	services.input = v->virtio_input;
	services.balloon = !v->no_balloon && v->machine != MACHINE_CLASSIC;
	config->services = services;
	return 0;
}

int run_check(const struct run_values *v, struct error *err)
{
	if (v->name && !rundir_name_ok(v->name))
		return error_set(err, EINVAL, "--name: '%s' cannot be a name; use up to 63 letters, digits, '-', '_' and '.'", v->name);
	if (drive_count(v) > MACHINE_MAX_DISKS)
		return error_set(err, EINVAL, "--disk: a machine has at most %d disks", MACHINE_MAX_DISKS);
	if ((v->restore ? refuse_with_restore : check_boot)(v, err) < 0)
		return -1;
	if (v->vnc_password && !v->vnc)
		return error_set(err, EINVAL, "--vnc-password: belongs to --vnc; give that too");
	if (v->parallel && !strcmp(v->parallel, "spool") && !v->name)
		return error_set(err, EINVAL, "--parallel spool: jobs are kept by the machine's name; give --name too");
	struct machine_config unused;
	return check_nets(v, err) < 0 || set_services(v, &unused, err) < 0 ? -1 : check_consoles(v, err);
}

/* NULL: a machine without a name has nothing to keep it by. */
static const char *uefi_vars(const struct run_values *v, struct error *err)
{
	static char path[PATH_MAX]; /* as long-lived as the flags */
	if (v->uefi_vars || !v->name)
		return v->uefi_vars;
	return state_path(path, sizeof(path), v->name, ".uefi-vars", err) < 0 ? NULL : path;
}

/* A saved machine keeps its engine, if that works here. */
static void set_engine(const struct run_values *v, struct machine_config *config)
{
	struct engine_report report = { .works = true };
	char why[sizeof(report.text)];
	if (v->engine) {
		config->engine = engine_by_name(engine_names[v->engine]);
		return;
	}
	if (config->engine && config->engine->examine)
		config->engine->examine(&report);
	if (config->engine && report.works)
		return;
	const struct engine_type *had = config->engine;
	config->engine = engine_choose(why, sizeof(why));
	if (had || (engine_host_virtualizes() && config->engine != &engine_kvm)) /* somebody may want to do something about it */
		log_warn("engine %s runs the guest in place of %s: %s", config->engine->name, had ? had->name : engine_kvm.name,
			 had ? report.text : why);
	else
		log_info("engine %s: %s", config->engine->name, why);
}

int run_configure(const struct run_values *v, const struct snapshot *snapshot, struct machine_config *config,
		  bool has_port[MACHINE_PORTS], struct error *err)
{
	*config = (struct machine_config){ 0 };
	if (v->restore) {
		if (snapshot_config(snapshot, config, has_port, err) < 0)
			return error_prefix(err, "%s", v->restore);
		if (drive_count(v) && replace_disks(v, config, err) < 0)
			return -1;
		snapshot_check_disks(snapshot, config);
	} else {
		if (set_disks(v, config, err) < 0 || set_nets(v, config, err) < 0)
			return -1;
		config->memory = v->memory ? v->memory : MEMORY_DEFAULT;
		config->cpus = v->cpus ? (unsigned)v->cpus : 1;
		config->cpu_model = v->cpu != RUN_CPU_DEFAULT ? (enum cpu_model)v->cpu : CPU_HOST;
		config->profile = (enum machine_profile)v->machine;
		config->boot = v->boot;
		for (unsigned i = 0; i < v->option_roms.count; i++)
			config->option_roms[config->option_rom_count++] = v->option_roms.values[i];
		config->uefi = v->firmware;
		config->uefi_vars = v->firmware ? uefi_vars(v, err) : NULL;
		if (v->firmware && v->name && !config->uefi_vars)
			return -1;
		config->kernel = v->kernel;
		config->guest_unpacks = v->kernel_unpack;
		config->initrd = v->initrd;
		config->append = v->append;
		config->bios = v->bios;
		config->debug_exit = v->debug_exit;
		if (set_services(v, config, err) < 0)
			return -1;
	}
	if (set_forwards(v, config, err) < 0)
		return -1;
	config->capture = v->capture;
	set_engine(v, config);
	config->audio = v->audio;
	config->no_reboot = v->no_reboot;
	config->count_instructions = v->stats != NULL;
	config->code_cache = v->jit_cache;
	config->code_dump = v->jit_dump;
	return 0;
}
