/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/i8042.h"
#include "dev/vga/svga.h"
#include "dev/vga/vga.h"
#include "display/vnc.h"
#include "host/file.h"
#include "vm/machine_parts.h"

/* The screen and its option ROM. */

#define OPTION_ROM_MAX (256u << 10)

int machine_add_vga(struct machine *m, struct error *err)
{
	const struct vga_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(VGA_SLOT, 0), .ports = &m->ports, .mmio = &m->mmio, .memory = &m->memory,
		.clock = &m->clock,
	};
	if (m->config.profile == MACHINE_CLASSIC)
		m->svga = svga_create(&config, &m->vga, err);
	else
		m->vga = vga_create(&config, err);
	if (!m->vga)
		return -1;
	machine_add_device(m, (struct device *)m->vga);
	if (m->svga)
		machine_add_device(m, (struct device *)m->svga);
	return 0;
}

int machine_display(struct machine *m, struct display_source *source, struct error *err)
{
	if (!m->vga)
		return error_set(err, ENODEV, "the machine has no screen");
	*source = m->svga ? svga_display(m->svga) : vga_display(m->vga);
	return 0;
}

static void on_key(void *opaque, unsigned code, bool down)
{
	machine_key(opaque, code, down);
}

static void on_mouse(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
	machine_mouse(opaque, dx, dy, dz, buttons);
}

#define TABLET_RANGE 32767u

static bool on_pointer(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height, int dz, unsigned buttons)
{
	unsigned right = width > 1 ? width - 1 : 1, bottom = height > 1 ? height - 1 : 1;
	return machine_virtio_pointer(opaque, MIN(x, right) * TABLET_RANGE / right, MIN(y, bottom) * TABLET_RANGE / bottom, dz, buttons);
}

int machine_start_vnc(struct machine *m, const char *address, const char *password, const char *title, unsigned *port, struct error *err)
{
	struct vnc_config config = {
		.address = address, .password = password, .title = title, .key = on_key, .mouse = on_mouse, .pointer = on_pointer, .opaque = m,
	};
	if (machine_display(m, &config.source, err) < 0)
		return -1;
	m->vnc = vnc_create(&config, err);
	if (!m->vnc)
		return -1;
	*port = vnc_port(m->vnc);
	return 0;
}

int firmware_add_rom(struct machine *m, const char *name, const char *path, struct error *err)
{
	size_t size;
	cleanup_free uint8_t *data = file_read(path, OPTION_ROM_MAX, &size, err);
	if (!data)
		return error_prefix(err, "option ROM");
	return fw_cfg_add_file(m->fw_cfg, name, data, size, err);
}

/* SeaBIOS takes a PCI function's ROM from a file named after its IDs. */
int firmware_add_vga_rom(struct machine *m, struct error *err)
{
	static const char *const folders[] = { "/usr/share/seabios", "/usr/share/qemu", "/usr/local/share/qemu" };
	const char *file = m->svga ? "vgabios-vmware.bin" : "vgabios-stdvga.bin";
	char path[64];
	if (!m->vga)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], file);
		if (access(path, R_OK) == 0)
			return firmware_add_rom(m, m->svga ? "pci15ad,0405.rom" : "pci1234,1111.rom", path, err);
	}
	log_info("no VGA BIOS found (%s/%s): the screen stays dark until the guest's own driver; install it with 'apt install seabios'",
		 folders[0], file);
	return 0;
}
