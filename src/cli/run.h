/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CLI_RUN_H
#define VISOR_CLI_RUN_H

#include "base/options.h"
#include "vm/machine.h"
#include "vm/snapshot.h"

#define RUN_CPU_DEFAULT (~0u)

/* What the flags of `visor run` say. */
struct run_values {
	const char *name;
	uint64_t memory, cpus; /* 0: not given */
	unsigned cpu;          /* enum cpu_model, or RUN_CPU_DEFAULT */
	unsigned engine, machine, firmware, watchdog, on_panic, gpu, kernel_unpack;
	uint64_t jit_cache;
	const char *kernel, *initrd, *append, *bios, *uefi_vars;
	struct option_list disks, cdroms, floppies, nets, forwards, shares;
	const char *capture, *vsock;
	const char *console, *serial2, *parallel, *virtio_console, *debugcon;
	bool debug_exit, no_reboot, no_balloon, virtio_input, verbose;
	const char *boot;
	struct option_list option_roms;
	const char *gdb, *audio, *vnc, *vnc_password;
	uint64_t time_limit;
	const char *trace, *stats, *restore, *jit_dump;
	const char *user, *ssh_key, *hostname; /* of a machine made from an image */
};

extern const struct option run_options[];
extern const struct run_values run_defaults;

/* What is wrong with the flags before anything is opened: usage errors. */
int run_check(const struct run_values *values, struct error *err);

/* The configuration that the flags ask for; its strings live as long as the flags and, with --restore, the snapshot.
 * has_port: which consoles the saved machine had. The consoles themselves are the caller's to fill in. */
int run_configure(const struct run_values *values, const struct snapshot *snapshot, struct machine_config *config,
		  bool has_port[MACHINE_PORTS], struct error *err);

/* What is wrong with `image` (NULL: none was named) and the flags: a usage error. The flags get the machine's drives, of which only the number
 * is right until run_use_image, and its name. */
int run_check_image(struct run_values *values, const char *image, struct error *err);
/* The machine of that name, or of the image's when it has none, made from the image: its disks go into the flags. Once in a process. */
int run_use_image(struct run_values *values, const char *image, struct error *err);

#endif
