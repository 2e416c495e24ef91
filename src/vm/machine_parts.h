/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_MACHINE_PARTS_H
#define VISOR_VM_MACHINE_PARTS_H

#include "base/lock.h"
#include "bus/space.h"
#include "dev/pc/apic_bus.h"
#include "dev/pc/gsi.h"
#include "dev/virtio/gpu.h"
#include "dev/virtio/virtio.h"
#include "vm/bells.h"
#include "vm/boot.h"
#include "vm/machine.h"
#include "vm/vcpu.h"

/* What a machine is made of; for the files of vm/machine*.c and vm/firmware.c alone. */

#define ISA_BRIDGE_SLOT 1
#define FIRST_VIRTIO_SLOT 2
#define SCSI_SLOT 28
#define VGA_SLOT 30 /* of whatever adapter has the screen: out of the way of those that are counted up */

/* What may be asked of the loop's thread, by bit. */
enum machine_request {
	REQUEST_RESET = 1,
	REQUEST_POWER_OFF = 2,
	REQUEST_STOP = 4,
	REQUEST_DEBUG_EXIT = 8,
	REQUEST_TRIPLE_FAULT = 16,
	REQUEST_DEBUG_STOP = 32,
	REQUEST_FAIL = 64,
	REQUEST_ENGINE = 256,        /* the stand-in goes on */
	REQUEST_HOLD = 128,          /* a pause until machine_release */
	REQUEST_END = REQUEST_POWER_OFF | REQUEST_STOP | REQUEST_DEBUG_EXIT | REQUEST_FAIL,
};

struct machine_file {
	uint8_t *data;
	size_t size;
};

/* The first loading of a kernel, beside the making of devices. */
struct machine_load {
	pthread_t thread;
	bool running, ready; /* ready: of what follows, for the first boot */
	int rc;
	struct boot_entry entry;
	struct error err;
	struct guest_memory memory; /* as the map is then */
};

/* Keys yet to be pressed and let go, of the loop's thread. Not saved: whose keys they are asks again. */
#define INPUT_RELEASE 0x80u
struct machine_input {
	struct timer timer;
	uint16_t events[8192];
	unsigned count, next;
};

struct machine {
	struct device device;       /* "machine": the clock in a save file */
	uint64_t clock_ns;          /* saved: virtual time */

	struct machine_config config;
	struct machine_file bios;
	struct machine_load load;
	struct loop *loop;
	struct guest_memory memory;
	struct io_space ports, mmio;
	struct vclock clock;
	struct lock board_lock;
	struct cpu *cpus[MACHINE_MAX_CPUS];
	unsigned cpu_count;
	struct vcpus vcpus;
	struct bells *bells;
	struct lock engine_lock;    /* outside those of devices: others than the loop's thread ask the engine for something while it changes */
	bool engine_limits;         /* the engine that the machine was made with gives these features alone */
	uint64_t engine_features[2];

	/* Devices, in the order of `devices`. */
	struct device *devices, **last_device;
	struct apic_bus apic_bus;
	struct lapic *lapics[MACHINE_MAX_CPUS];
	struct pic *pic;
	struct ioapic *ioapic;
	struct gsi *gsi;
	struct hpet *hpet;
	struct pit *pit;
	struct rtc *rtc;
	struct pm *pm;
	struct i8042 *i8042;
	struct uart *uart[2];
	struct debugport *debugport;
	struct fw_cfg *fw_cfg;
	struct pci_bus *pci;
	struct machine_virtio *virtio;
	unsigned next_slot;         /* the first PCI slot that is free */
	struct net *nets[MACHINE_MAX_NICS]; /* belong to their cards, which close them */
	unsigned nic_slot[MACHINE_MAX_NICS];
	struct ide *ide;
	struct i8237 *i8237;
	struct uefi *uefi;
	struct floppy *floppy;
	struct buslogic *scsi;
	unsigned floppies;          /* drives */
	struct audio *audio;
	struct vga *vga;
	struct svga *svga;          /* vga is a part of it */
	struct display_source screen; /* of the adapter; others see it through machine_display */
	struct virtio_gpu *gpu;     /* on other machines than micro vga is a part of it */
	struct vnc *vnc;
	unsigned disk_slot[MACHINE_MAX_DISKS]; /* PCI slots or places at the controller, for the firmware's boot order */
	struct machine_input input;
	struct services *services;
	bool held;                  /* paused by REQUEST_HOLD */
	_Atomic bool panicked;      /* the guest said so; until the next reset */
	char debug_line[256];       /* what the firmware has written to its debug port since the last newline */
	unsigned debug_length;

	/* Life. Of the loop's thread: */
	bool started, running, ended;
	unsigned pauses;
	int status;
	uint64_t run_ns, run_since;  /* host time spent running */
	void (*debugger)(void *opaque, unsigned index);
	void *debugger_opaque;
	/* Of any thread: */
	_Atomic uint32_t requests, debug_stops; /* debug_stops: bit per vCPU */
	_Atomic int asked_status;
	pthread_mutex_t text_lock;
	char text[320];             /* why the machine stopped */
};

/* --- machine_board.c: makes all devices --- */
int machine_add_board(struct machine *m, struct error *err);
/* Appends a device to the list. */
void machine_add_device(struct machine *m, struct device *device);

/* --- machine_storage.c: other disks --- */
/* That the type of machine has what the drives hang on. */
int machine_check_drives(const struct machine *m, struct error *err);
int machine_add_ide(struct machine *m, struct error *err);
int machine_add_floppy(struct machine *m, struct error *err);
int machine_add_scsi(struct machine *m, struct error *err);
void machine_drain_storage(struct machine *m);
/* The strings of a copied configuration. */
void machine_disk_free(struct machine_disk *disk);
/* With the machine's worker, or `own`, which is there for this disk alone; NULL and err. */
struct block *machine_open_image(struct machine *m, const struct machine_disk *disk, const struct worker *own, struct error *err);

/* --- machine_audio.c --- */
/* Before all that is heard. */
int machine_open_audio(struct machine *m, struct error *err);
int machine_add_sb16(struct machine *m, struct error *err);
int machine_add_virtio_sound(struct machine *m, struct error *err);
void machine_remove_sound(struct machine *m);

/* --- uefi.c --- */
int machine_add_uefi(struct machine *m, struct error *err);
void machine_store_uefi(struct machine *m);
void machine_remove_uefi(struct machine *m);

/* --- machine_input.c --- */
void machine_init_input(struct machine *m);
void machine_stop_input(struct machine *m);

/* --- machine_display.c --- */
int machine_add_screen(struct machine *m, struct error *err);
/* A file of fw_cfg with an option ROM in it. */
int firmware_add_rom(struct machine *m, const char *name, const char *path, struct error *err);
int firmware_add_vga_rom(struct machine *m, struct error *err);

/* --- machine_virtio.c: disks, console, random numbers on the PCI bus --- */
int machine_add_virtio(struct machine *m, struct error *err);
/* The threads that serve disks: they stand still, or go on; they end. */
void machine_rest_virtio(struct machine *m, bool rest);
void machine_stop_virtio(struct machine *m);
void machine_remove_virtio(struct machine *m);
void machine_drain_virtio(struct machine *m);
/* Puts a device and its transport into the next slot. */
int machine_plug_virtio(struct machine *m, struct virtio_device *device, struct error *err);
size_t machine_hvc_input(struct machine *m, const uint8_t *data, size_t size);

/* --- machine_net.c: network cards --- */
int machine_add_nics(struct machine *m, struct error *err);

/* --- machine_services.c: what struct machine_services asks for --- */
int machine_add_services(struct machine *m, struct error *err);
void machine_remove_services(struct machine *m);
/* What a machine's balloon does, for its statistics; NULL without one. */
json_t *machine_balloon_json(struct machine *m);
/* Events for the virtio keyboard and tablet; false: there is none, or the guest has no driver for it. x, y: 0 to 32767. */
bool machine_virtio_key(struct machine *m, unsigned code, bool down);
bool machine_virtio_pointer(struct machine *m, unsigned x, unsigned y, int wheel, unsigned buttons);
/* Fails while something is in use that no save file can hold. */
int machine_check_saving(struct machine *m, struct error *err);

/* --- machine_boot.c --- */
/* Kernel and initrd begin to go to guest memory, on a thread of their own, where they are booted directly. The
 * end is waited for before a reset. */
void machine_begin_load(struct machine *m);
void machine_end_load(struct machine *m);
/* After a reset: puts the boot code (kernel and initrd are read anew) into guest memory and the first processor at its start. */
int machine_boot(struct machine *m, struct error *err);
static inline bool machine_direct_boot(const struct machine *m) { return m->config.kernel != NULL; }
static inline bool machine_wants_bios(const struct machine *m) { return !machine_direct_boot(m) && !m->config.uefi; }

/* --- firmware.c --- */
/* Finds the firmware image when none was named. */
int firmware_read(struct machine_file *file, const char *path, struct error *err);
/* Puts it, if there is one, into ROM below 4 GiB, and describes the machine in fw_cfg and CMOS; once. */
int firmware_install(struct machine *m, struct error *err);
/* The copy below 1 MiB, after each reset. */
void firmware_shadow(struct machine *m);
/* Copies into guest memory below 1 MiB whatever is writable there: what the machine does in firmware's stead. */
void firmware_poke(struct machine *m, uint64_t gpa, const void *data, size_t size);

/* --- machine.c --- */
/* Asks the loop's thread for something; from any thread. vCPUs stop soon. text: why, or NULL. */
void machine_request(struct machine *m, enum machine_request request, const char *text);

#endif
