/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VGA_VGA_H
#define VISOR_DEV_VGA_VGA_H

#include "bus/clock.h"
#include "dev/pci/pci.h"
#include "display/surface.h"
#include "mem/memory.h"

/*
 * A VGA adapter with the extensions of the Bochs one: IBM VGA registers and
 * 256 KiB of planar memory at 0xa0000, text and graphics modes; modes of up to 32
 * bits a pixel set by the "dispi" registers (ports 0x1ce, 0x1cf, and BAR 2), shown from
 * the linear frame buffer in BAR 0. PCI IDs 1234:1111. As a part of another adapter it
 * has that one's IDs, and the frame buffer where that one has it.
 */
#define VGA_MEMORY_SIZE (16u << 20)

struct vga_identity {
	uint16_t vendor, device;
	uint8_t revision, interrupt_pin;
	unsigned frame_bar;
	bool registers_bar;          /* BAR 2 shows the dispi registers */
};

struct vga_config {
	struct pci_bus *bus;
	uint8_t devfn;
	struct io_space *ports, *mmio;
	struct guest_memory *memory; /* takes VGA_MEMORY_SIZE of it */
	struct vclock *clock;
	const struct vga_identity *identity; /* NULL: its own */
	struct lock *lock;                   /* that of the adapter that it is a part of; NULL: its own */
};

struct vga;

struct vga *vga_create(const struct vga_config *config, struct error *err);

struct display_source vga_display(struct vga *vga);

/* For an adapter that shares the PCI function: this, and what shows the dispi registers (opaque: the struct
 * vga) where that one has them. */
struct pci_function *vga_function(struct vga *vga);
const struct io_ops *vga_registers(void);

#endif
