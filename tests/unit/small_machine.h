/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_SMALL_MACHINE_H
#define VISOR_TESTS_SMALL_MACHINE_H

#include "vm/machine_parts.h"

/*
 * A whole machine with every device (disk, virtio console and network cards without a network too), a few MiB of
 * memory and a kernel of a few instructions, driven by one thread: its
 * processors never run by themselves, and its clock goes on only when the test says so.
 */
#define SMALL_MEMORY (4u << 20)
#define SMALL_DISK (1u << 20)
#define SMALL_CODE 0x100040u   /* the kernel's first instruction */
#define SMALL_FREE 0x200000u   /* guest memory from here on belongs to the test */

/* NULL when the host has no room. no_reboot: what resets ends the machine instead. */
struct machine *small_machine_create(unsigned cpus);
/* The same with services: shared folders first, then balloon, vsock, watchdog, from SMALL_SLOT_SERVICES on. */
struct machine *small_machine_create_with(unsigned cpus, const struct machine_services *services);
/* The same of another type. */
struct machine *small_machine_create_as(enum machine_profile profile, unsigned cpus, const struct machine_services *services);
void small_machine_destroy(struct machine *m);

/* Lets `ns` of the machine's time pass, fires timers, and serves the event loop until nothing more is posted. */
void small_machine_advance(struct machine *m, uint64_t ns);
/* Executes up to `count` instructions of every processor that is not halted. */
void small_machine_step(struct machine *m, unsigned count);

/* Configuration space by the ports, as a guest does. size: 1, 2, 4. */
uint32_t small_config_read(struct machine *m, unsigned slot, unsigned offset, unsigned size);
void small_config_write(struct machine *m, unsigned slot, unsigned offset, uint32_t value, unsigned size);
/* The address of a memory BAR. */
uint64_t small_bar(struct machine *m, unsigned slot, unsigned n);

#define SMALL_SLOT_RNG FIRST_VIRTIO_SLOT
#define SMALL_SLOT_CONSOLE (FIRST_VIRTIO_SLOT + 1)
#define SMALL_SLOT_DISK (FIRST_VIRTIO_SLOT + 2)
#define SMALL_VIRTIO_SLOTS 3
#define SMALL_SLOT_NET (FIRST_VIRTIO_SLOT + 3)
#define SMALL_SLOT_E1000 (FIRST_VIRTIO_SLOT + 4)
#define SMALL_SLOT_PCNET (FIRST_VIRTIO_SLOT + 5)
#define SMALL_SLOT_SERVICES (FIRST_VIRTIO_SLOT + 6)
#define SMALL_INDIRECT (1u << 28) /* the feature of indirect descriptors */
#define SMALL_RING 8 /* entries of each queue that small_virtio_start sets up */
#define SMALL_QUEUES 4 /* at most, of a device */

/* Brings a virtio device up with rings at small_ring and, besides VERSION_1, those of the lowest 32 `features` that it offers; false when the guest (or a damaged state) is in the way. */
bool small_virtio_start(struct machine *m, unsigned slot, uint32_t features);
/* Guest-physical addresses of a queue's three parts. */
struct small_ring { uint64_t desc, avail, used; };
struct small_ring small_ring(unsigned slot, unsigned queue);
void small_virtio_notify(struct machine *m, unsigned slot, unsigned queue);

/* Timers, ports and rings in use: what a save file then has to carry. */
void small_machine_busy(struct machine *m);

#endif
