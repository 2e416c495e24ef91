/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_MACHINE_H
#define VISOR_VM_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "cpu/cpu.h"
#include "display/surface.h"
#include "engine/engine.h"
#include "host/loop.h"
#include "mem/memory.h"
#include "net/net.h"
#include "vm/services.h"

/*
 * A virtual machine: an i440FX-class PC. Several may live in one process.
 *
 * Threads: one per vCPU; the thread that calls machine_run serves the event loop,
 * timers and queues. Unless its comment says "from any thread", a function belongs to the loop's
 * thread (or to the only thread, before machine_run). Back ends call machine_loop to watch their descriptors.
 */
struct machine;

#define MACHINE_MAX_CPUS 16
#define MACHINE_MAX_DISKS 8
#define MACHINE_MAX_NICS 8
#define MACHINE_CLASSIC_NICS 3
#define MACHINE_MAX_ROMS 4

/* Where a character device's bytes go, and come from by machine_console_input. */
struct machine_console {
	/* On a vCPU's or the loop's thread, with the device's lock taken: must neither block nor call the machine. */
	void (*output)(void *opaque, const uint8_t *data, size_t size);
	/* The device, which was full, takes input again; same rules. May be NULL. */
	void (*input_ready)(void *opaque);
	void *opaque;
};

enum machine_port {
	MACHINE_SERIAL0,     /* COM1, 0x3f8 */
	MACHINE_SERIAL1,     /* COM2, 0x2f8 */
	MACHINE_HVC0,        /* the virtio console; only there when its output is set */
	MACHINE_DEBUGCON,    /* debug ports 0xe9 and 0x402; output only */
	MACHINE_PARALLEL0,   /* the printer port, 0x378; output only. Only there when its output is set, or on classic */
	MACHINE_PORTS
};

enum machine_disk_bus {
	MACHINE_DISK_VIRTIO,
	MACHINE_DISK_IDE,
	MACHINE_DISK_SCSI,   /* at the BusLogic adapter of classic */
	MACHINE_CDROM,       /* at the IDE controller, or that of SCSI; read only */
	MACHINE_FLOPPY,
	MACHINE_DISK_BUSES
};
extern const char *const machine_disk_bus_names[];

struct machine_disk {
	const char *path;    /* NULL: a CD-ROM or floppy drive without a disk */
	const char *format, *snapshot, *backing; /* as in block/block.h; may be NULL */
	bool read_only, shared;
	bool scsi;                               /* MACHINE_CDROM: at the SCSI adapter */
	unsigned cache;                          /* enum block_cache */
	enum machine_disk_bus bus;
};

enum machine_nic_model { MACHINE_NIC_VIRTIO, MACHINE_NIC_E1000, MACHINE_NIC_PCNET, MACHINE_NIC_MODELS };
extern const char *const machine_nic_models[MACHINE_NIC_MODELS + 1]; /* their names, NULL at the end */
#define MACHINE_MAX_FORWARDS NET_MAX_FORWARDS

/* A network interface: its card, and what the cable leads to. */
struct machine_nic {
	enum net_kind kind;
	char name[64];            /* of the switch, tap device or bridge */
	enum net_switch_mode mode;
	enum machine_nic_model model;
	uint8_t mac[NET_MAC_SIZE];
	/* of NET_USER: */
	char tftp[256], boot_file[128]; /* a folder to serve, and what of it to boot; "": none */
	struct net_forward forwards[MACHINE_MAX_FORWARDS];
	unsigned forward_count;
};

/* What happened to the machine, in the words of the caller's log. */
enum machine_event_kind {
	MACHINE_POWERED_OFF, /* ACPI soft-off; status 0 */
	MACHINE_DEBUG_EXIT,  /* the guest wrote the debug-exit port; status (v << 1) | 1 */
	MACHINE_WAS_RESET,   /* keyboard controller, port 0xcf9, triple fault or machine_request_reset; goes on */
	MACHINE_SHUTDOWN,    /* a reset under no_reboot; status 3 after a triple fault, else 0 */
	MACHINE_FAILED,      /* the monitor cannot go on; status 1 */
	MACHINE_HELD,        /* paused because of what the guest did; goes on after machine_release */
	MACHINE_STOPPED,     /* machine_request_stop */
};

struct machine_event {
	enum machine_event_kind kind;
	int status;       /* what machine_run is going to return; of no meaning for MACHINE_WAS_RESET */
	const char *text; /* one line: what happened and where the guest was */
};

enum machine_profile {
	MACHINE_PC,          /* virtio for what is fast, IDE, VGA, PS/2 */
	MACHINE_MICRO,       /* starts a kernel, without what only firmware and old systems want */
	MACHINE_CLASSIC,     /* the fixed list of parts that old systems have drivers for */
	MACHINE_PROFILES
};
extern const char *const machine_profile_names[];

/* Strings and the structure itself are copied; console and event are called as long as the machine lives. */
struct machine_config {
	enum machine_profile profile;
	uint64_t memory;                  /* bytes, a multiple of 1 MiB; 0: 256 MiB */
	unsigned cpus;                    /* 1..MACHINE_MAX_CPUS; 0: 1 */
	enum cpu_model cpu_model;
	const struct engine_type *engine; /* NULL: interp */
	uint64_t code_cache;     /* bytes for translated code; 0: the engine's choice */
	const char *code_dump;   /* names of translated code go to perf's map; a file of the guest kernel's symbols, or ""; NULL: no */
	bool count_instructions; /* cpu->stats.instructions is wanted */
	const char *kernel, *initrd, *append; /* direct boot when kernel is set */
	bool guest_unpacks;               /* a Linux kernel unpacks itself, to an address of its choice (KASLR), which takes longer */
	bool uefi;                        /* OVMF as firmware */
	const char *uefi_vars;            /* the file of its variables, made when missing; NULL: they are not kept */
	const char *bios;                 /* NULL or empty: Debian's SeaBIOS when there is no kernel */
	const char *boot;                 /* kinds of drives in the order that firmware tries them, "cdrom,disk"; those not named come after */
	const char *option_roms[MACHINE_MAX_ROMS]; /* files that SeaBIOS runs: a network card's PXE ROM */
	unsigned option_rom_count;
	struct machine_disk disks[MACHINE_MAX_DISKS];
	unsigned disk_count;
	struct machine_nic nics[MACHINE_MAX_NICS];
	unsigned nic_count;
	const char *capture;              /* file for the frames of the first interface; those of the others go to FILE.1 and so on */
	struct machine_console console[MACHINE_PORTS];
	struct machine_services services;
	const char *audio;                /* where sound cards and loudspeaker are heard (audio/audio.h); NULL: nowhere */
	bool debug_exit;                  /* the isa-debug-exit device at port 0xf4 */
	bool no_reboot;                   /* a reset ends the machine */
	uint64_t started_ns;              /* host time at which the process began, for statistics; 0: machine_create */
	bool restore;                     /* state is about to be loaded: nothing is put into guest memory */
	/* On the loop's thread; may be NULL. The machine can be looked at, not destroyed. */
	void (*event)(void *opaque, const struct machine_event *event);
	void *event_opaque;
};

/* Makes the machine with all its devices, reset and paused, the guest's boot code in place. NULL and err: a file that cannot
 * be read or booted, a host without room for the memory. */
struct machine *machine_create(const struct machine_config *config, struct error *err);
/* Ends the vCPU threads and frees everything. */
void machine_destroy(struct machine *machine);

/* Starts the vCPUs (unless paused by machine_pause) and serves the event loop until the machine has ended; its exit status. */
int machine_run(struct machine *machine, struct error *err);

/* Stops all vCPUs between two instructions, and the clock; returns when all stand still. Calls nest: each pause wants its
 * resume. While paused the state of CPUs, devices and memory is the caller's to read and change. */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
/* Goes on with another engine from the instruction where each processor is; on failure with the old one. From the loop's
 * thread. */
int machine_set_engine(struct machine *machine, const struct engine_type *engine, struct error *err);
bool machine_paused(const struct machine *machine);
/* Completes disk requests under way; call while paused, before devices are saved. */
int machine_drain(struct machine *machine, struct error *err);
/* After state was loaded into CPUs, devices and memory of a paused machine: works out what follows from it.
 * Devices' own `loaded` functions are the caller's to call, before this. */
int machine_loaded(struct machine *machine, struct error *err);

/* As the reset button, the power plug and a monitor's "quit". From any thread; they take effect on the loop's thread. */
void machine_request_reset(struct machine *machine);
void machine_request_power_off(struct machine *machine);
void machine_request_stop(struct machine *machine, int status);
/* A short press of the power button: the guest is asked to shut down (ACPI fixed event). From any thread. */
void machine_power_button(struct machine *machine);

/* Bytes for a console's device; returns how many it took, the rest goes after input_ready. */
size_t machine_console_input(struct machine *machine, enum machine_port port, const uint8_t *data, size_t size);

/* --- parts, for saving, debugging and statistics --- */
struct loop *machine_loop(struct machine *machine);
const struct machine_config *machine_config(const struct machine *machine);
unsigned machine_cpu_count(const struct machine *machine);
struct cpu *machine_cpu(struct machine *machine, unsigned index); /* NULL beyond the last */
struct guest_memory *machine_memory(struct machine *machine);
struct vclock *machine_clock(struct machine *machine);
/* The list of devices, linked by `next`, in an order that does not change: controllers before what hangs on them.
 * The first is "machine" itself with the clock. CPUs are not in it. */
struct device *machine_devices(struct machine *machine);

/* The network of an interface; NULL beyond the last. */
struct net *machine_net(struct machine *machine, unsigned index);
/* An interface as it is now, with the forwards of its network. */
void machine_nic(const struct machine *machine, unsigned index, struct machine_nic *nic);
/* [{"net", "name", "model", "mac", "forwards": [...], "sent", "sent_bytes", "received", "received_bytes", "dropped"}, ...] */
json_t *machine_nets_json(struct machine *machine);
/* Types a text (ASCII) on a US keyboard, or presses keys at once and lets them go ("ctrl-alt-delete"). They come one after another
 * in the guest's time; EINVAL: no such key, ENOSPC: too many wait, ENODEV: no keyboard. */
int machine_type_text(struct machine *machine, const char *text, struct error *err);
int machine_press_keys(struct machine *machine, const char *chord, struct error *err);
/* One key by its Linux input code, after those that wait, and the mouse, at once; from any thread. */
void machine_key(struct machine *machine, unsigned code, bool down);
void machine_mouse(struct machine *machine, int dx, int dy, int dz, unsigned buttons);

/* Shows the screen by VNC (display/vnc.h: address, password or NULL) until the machine is destroyed; *port: where. */
int machine_start_vnc(struct machine *machine, const char *address, const char *password, const char *title, unsigned *port,
		      struct error *err);

/* The machine's screen; fails (ENODEV) when it has none. */
int machine_display(struct machine *machine, struct display_source *source, struct error *err);

/* Puts the image at `path` (NULL: nothing) into a drive, "cdrom0" or "floppy1", counted by kind in the order of the configuration.
 * ENOENT: no such drive; EBUSY: the guest has locked it, and `force` is not set. */
int machine_change_medium(struct machine *machine, const char *drive, const char *path, bool force, struct error *err);

/* Ends the pause of MACHINE_HELD, if there is one. */
void machine_release(struct machine *machine);
/* The guest's kernel has said that it panicked, since the last reset. From any thread. */
bool machine_panicked(const struct machine *machine);

/* How much of its memory the guest shall have, in bytes; it gives up the rest, or takes it back, as fast as it likes. ENODEV: no balloon;
 * EINVAL: more than it was made with, or too little; EAGAIN: no driver. */
int machine_set_balloon(struct machine *machine, uint64_t memory, struct error *err);

/* --- debugger: vm/ knows of stops only; breakpoints are cpu.debug_check's --- */

/* stopped: vCPU `index` left its engine with EXIT_DEBUG; the machine is paused once (machine_resume goes on). */
void machine_set_debugger(struct machine *machine, void (*stopped)(void *opaque, unsigned index), void *opaque);
/* Only this vCPU runs after the next resume; negative: all. For single steps. */
void machine_run_only(struct machine *machine, int index);

/* Guest instructions, MIPS, exits by reason, interrupts, accesses per device, wall time, as documented in the manual page.
 * The caller owns the object; NULL when out of memory. */
json_t *machine_stats_json(struct machine *machine);

#endif
