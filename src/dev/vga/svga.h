/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VGA_SVGA_H
#define VISOR_DEV_VGA_SVGA_H

#include "dev/vga/vga.h"

/*
 * VMware SVGA II (PCI IDs 15AD:0405): a VGA adapter until its own mode is
 * enabled, with index and value ports in BAR 0, the frame buffer in BAR 1, and the command FIFO in BAR 2. Modes of 8, 15, 16
 * and 32 bits a pixel; copies and fills of rectangles, fences with interrupts, and a cursor. No guest memory regions, screen
 * objects or 3D: drivers see by the capabilities that there are none.
 *
 * Commands are carried out when the driver writes SYNC or reads BUSY, and before somebody looks at the screen.
 */
struct svga;

/* The adapter comes as two devices; *vga, which has the PCI function, comes first. config.identity is not looked at. */
struct svga *svga_create(const struct vga_config *config, struct vga **vga, struct error *err);

struct display_source svga_display(struct svga *svga);

#endif
