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
#include "dev/virtio/gpu.h"
#include "dev/virtio/virtio_pci.h"
#include "display/vnc.h"
#include "host/file.h"
#include "vm/machine_parts.h"

/* The screen and its option ROM. */

#define OPTION_ROM_MAX (256u << 10)

static int add_vga(struct machine *m, const struct vga_identity *identity, struct lock *lock, struct error *err)
{
	const struct vga_config config = {
		.bus = m->pci, .devfn = PCI_DEVFN(VGA_SLOT, 0), .ports = &m->ports, .mmio = &m->mmio, .memory = &m->memory,
		.clock = &m->clock, .identity = identity, .lock = lock,
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

/* The GPU's lock is the VGA adapter's, too, so it is made first and goes last. */
static int add_gpu(struct machine *m, struct error *err)
{
	static const struct vga_identity identity = {
		.vendor = 0x1af4, .device = 0x1040 + VIRTIO_TYPE_GPU, .revision = 1, .interrupt_pin = 1,
	};
	const struct virtio_gpu_config config = {
		.device = { .name = "virtio-gpu", .dma = { &m->memory }, .worker = { loop_post, m->loop } }, .memory = &m->memory,
	};
	struct virtio_pci_config pci = { .bus = m->pci, .devfn = PCI_DEVFN(VGA_SLOT, 0) };
	struct virtio_pci *transport;
	m->gpu = virtio_gpu_create(&config, err);
	if (!m->gpu)
		return -1;
	pci.device = virtio_gpu_device(m->gpu);
	machine_add_device(m, &pci.device->device);
	if (m->config.profile != MACHINE_MICRO) {
		if (add_vga(m, &identity, &pci.device->lock, err) < 0)
			return -1;
		const struct display_source source = vga_display(m->vga);
		virtio_gpu_stand_by(m->gpu, &source);
		const struct virtio_pci_shared shared = { vga_function(m->vga), vga_registers(), m->vga };
		transport = virtio_pci_create_shared(&pci, &shared, err);
	} else {
		transport = virtio_pci_create(&pci, err);
	}
	if (!transport)
		return -1;
	machine_add_device(m, (struct device *)transport);
	return 0;
}

int machine_add_screen(struct machine *m, struct error *err)
{
	if (m->config.services.gpu && m->config.profile == MACHINE_CLASSIC)
		return error_set(err, EINVAL, "a machine of type classic has VMware's SVGA adapter; leave the virtio GPU out, or "
				 "use --machine pc");
	if (m->config.services.gpu)
		return add_gpu(m, err);
	return m->config.profile == MACHINE_MICRO ? 0 : add_vga(m, NULL, NULL, err);
}

/* What the guest has drawn may not have reached the adapter yet. */
static int draw(void *opaque, struct surface *surface, struct error *err)
{
	struct machine *m = opaque;
	io_catch_up(&m->mmio);
	return m->screen.draw(m->screen.opaque, surface, err);
}

static char *text(void *opaque)
{
	struct machine *m = opaque;
	io_catch_up(&m->mmio);
	return m->screen.text(m->screen.opaque);
}

int machine_display(struct machine *m, struct display_source *source, struct error *err)
{
	if (!m->vga && !m->gpu)
		return error_set(err, ENODEV, "the machine has no screen");
	if (!m->screen.draw) /* somebody may be drawing already */
		m->screen = m->gpu ? virtio_gpu_display(m->gpu) : m->svga ? svga_display(m->svga) : vga_display(m->vga);
	*source = (struct display_source){ draw, text, m };
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

static bool on_resize(void *opaque, unsigned width, unsigned height)
{
	struct machine *m = opaque;
	return m->gpu && virtio_gpu_resize(m->gpu, width, height);
}

int machine_start_vnc(struct machine *m, const char *address, const char *password, const char *title, unsigned *port, struct error *err)
{
	struct vnc_config config = {
		.address = address, .password = password, .title = title, .key = on_key, .mouse = on_mouse, .pointer = on_pointer,
		.resize = on_resize, .opaque = m,
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
	const char *file = m->svga ? "vgabios-vmware.bin" : m->gpu ? "vgabios-virtio.bin" : "vgabios-stdvga.bin";
	const char *name = m->svga ? "pci15ad,0405.rom" : m->gpu ? "pci1af4,1050.rom" : "pci1234,1111.rom";
	char path[64];
	if (!m->vga)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], file);
		if (access(path, R_OK) == 0)
			return firmware_add_rom(m, name, path, err);
	}
	log_info("no VGA BIOS found (%s/%s): the screen stays dark until the guest's own driver; install it with 'apt install seabios'",
		 folders[0], file);
	return 0;
}
