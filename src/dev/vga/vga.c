/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/vga/vga_parts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define WINDOW_BASE 0xa0000u
#define WINDOW_SIZE 0x20000u

/* The frame buffer is memory: accesses come here only from where the aperture is not known yet. */
static uint64_t frame_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	return load_le(vga->memory + offset, size);
}

static void frame_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;
	store_le(vga->memory + offset, value, size);
	memory_note_write_slow(vga->ram, memory_offset(vga->ram, vga->memory + offset), size);
}

static const struct io_ops frame_ops = { frame_read, frame_write, 8 };

/* The aperture follows the frame buffer's BAR. */
static void place(struct vga *vga)
{
	uint64_t base;
	bool shown = pci_function_bar_base(&vga->function, vga->frame_bar, &base);
	memory_move_aperture(vga->ram, vga->aperture, shown ? base : MEMORY_NOWHERE);
	if (vga->moved)
		vga->moved(vga->moved_opaque);
}

/* The window, and the registers of sequencer, DAC, graphics, CRT and attribute controllers. */
static const struct io_place posted_memory[] = { { WINDOW_BASE, WINDOW_SIZE } }, posted_ports[] = { { 0x3c0, 2 }, { 0x3c4, 12 }, { 0x3d4, 2 } };

void vga_post_writes(struct vga *vga)
{
	bool own = !vga_dispi_on(vga) && !vga->other_mode;
	atomic_store(&vga->ports->posting, own);
	atomic_store(&vga->mmio->posting, own);
	memory_put_behind(vga->ram, vga->aperture, own);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	if (offset < PCI_BAR(PCI_BARS))
		place(opaque);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

static const struct field fields[] = {
	FIELD_STRUCT(struct vga, function, pci_function_fields),
	FIELD_RESET(struct vga, misc, 0),
	FIELD(struct vga, feature),
	FIELD(struct vga, seq_index),
	FIELD_ARRAY(struct vga, seq),
	FIELD(struct vga, gr_index),
	FIELD_ARRAY(struct vga, gr),
	FIELD(struct vga, cr_index),
	FIELD_ARRAY(struct vga, cr),
	FIELD(struct vga, at_index),
	FIELD_ARRAY(struct vga, at),
	FIELD(struct vga, at_data),
	FIELD_RESET(struct vga, dac_mask, 0xff),
	FIELD(struct vga, dac_state),
	FIELD(struct vga, dac_read),
	FIELD(struct vga, dac_write),
	FIELD(struct vga, dac_step),
	FIELD_BYTES(struct vga, dac_latch),
	FIELD_BYTES(struct vga, dac),
	FIELD_BYTES(struct vga, latch),
	FIELD(struct vga, dispi_index),
	FIELD_ARRAY(struct vga, dispi),
	FIELD_END
};

static void reset(void *device)
{
	struct vga *vga = device;
	pci_function_reset(&vga->function);
	vga->dispi[DISPI_ID] = 0xb0c5;
	vga->dispi[DISPI_BPP] = 8;
	vga_post_writes(vga);
	place(vga);
}

static int loaded(void *device, struct error *err)
{
	struct vga *vga = device;
	pci_function_loaded(&vga->function);
	vga->dac_step %= 3;
	vga->gr[GR_READ_MAP] &= 3;
	vga_dispi_check(vga);
	vga_post_writes(vga);
	place(vga);
	return 0;
}

static void unmap(struct vga *vga)
{
	io_space_unmap(vga->ports, &vga->mono);
	io_space_unmap(vga->ports, &vga->color);
	io_space_unmap(vga->ports, &vga->dispi_ports);
	io_space_unmap(vga->mmio, &vga->window);
	atomic_store(&vga->mmio->posting, false);
	atomic_store(&vga->ports->posting, false);
}

static void destroy(void *device)
{
	struct vga *vga = device;
	unmap(vga);
	pci_function_destroy(&vga->function);
	lock_destroy(&vga->own_lock);
	free(vga);
}

static const struct device_type vga_type = {
	.name = "vga",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

static int map(struct vga *vga, struct error *err)
{
	const struct { struct io_region *region; struct io_space *space; const char *name; const struct io_ops *ops; uint32_t base, size; }
	regions[] = {
		{ &vga->mono, vga->ports, "vga-mono", &vga_mono_ops, 0x3b0, 12 },
		{ &vga->color, vga->ports, "vga", &vga_color_ops, 0x3c0, 32 },
		{ &vga->dispi_ports, vga->ports, "vga-dispi", &vga_dispi_port_ops, 0x1ce, 4 },
		{ &vga->window, vga->mmio, "vga-memory", &vga_window_ops, WINDOW_BASE, WINDOW_SIZE },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		*regions[i].region = (struct io_region){
			.name = regions[i].name, .ops = regions[i].ops, .opaque = vga, .lock = vga->lock,
			.base = regions[i].base, .size = regions[i].size, .awaits = true,
		};
		if (io_space_map(regions[i].space, regions[i].region, err) < 0)
			return -1;
	}
	vga->mmio->posted = posted_memory;
	vga->mmio->posted_count = ARRAY_SIZE(posted_memory);
	vga->ports->posted = posted_ports;
	vga->ports->posted_count = ARRAY_SIZE(posted_ports);
	return 0;
}

static const struct vga_identity own_identity = { .vendor = 0x1234, .device = 0x1111, .revision = 2, .registers_bar = true };

static int init_function(struct vga *vga, const struct vga_config *config, struct error *err)
{
	const struct vga_identity *id = config->identity ? config->identity : &own_identity;
	const struct pci_function_config function = {
		.bus = config->bus, .name = "vga", .devfn = config->devfn, .vendor = id->vendor, .device = id->device, .revision = id->revision,
		.class_code = 0x030000, .subsystem_vendor = config->identity ? id->vendor : 0x1af4,
		.subsystem = config->identity ? id->device : 0x1100, .interrupt_pin = id->interrupt_pin, .lock = vga->lock,
		.ops = &function_ops, .opaque = vga,
	};
	vga->frame_bar = id->frame_bar;
	if (pci_function_init(&vga->function, &function, err) < 0)
		return -1;
	if (pci_function_add_bar(&vga->function, id->frame_bar, PCI_BAR_MEMORY32, VGA_MEMORY_SIZE, &frame_ops, vga, err) == 0 &&
	    (!id->registers_bar ||
	     pci_function_add_bar(&vga->function, 2, PCI_BAR_MEMORY32, 4096, &vga_registers_ops, vga, err) == 0)) {
		/* Prefetchable: reads have no side effects (PCI 3.0, 6.2.5.1). */
		pci_function_set_register(&vga->function, PCI_BAR(id->frame_bar), 8, ~(VGA_MEMORY_SIZE - 1), 4);
		vga->function.bar[id->frame_bar].region.awaits = true;
		vga->function.bar[2].region.awaits = id->registers_bar;
		pci_function_set_register(&vga->function, PCI_COMMAND, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
		return 0;
	}
	pci_function_destroy(&vga->function);
	return -1;
}

struct vga *vga_create(const struct vga_config *config, struct error *err)
{
	struct vga *vga = calloc(1, sizeof(*vga));
	if (!vga) {
		error_set(err, ENOMEM, "out of memory for the VGA adapter");
		return NULL;
	}
	vga->ram = config->memory;
	vga->clock = config->clock;
	vga->ports = config->ports;
	vga->mmio = config->mmio;
	vga->aperture = memory_add_aperture(config->memory, VGA_MEMORY_SIZE, err);
	if (!vga->aperture) {
		free(vga);
		return NULL;
	}
	vga->memory = config->memory->host + vga->aperture->offset;
	lock_init(&vga->own_lock);
	vga->lock = config->lock ? config->lock : &vga->own_lock;
	device_init(&vga->device, &vga_type, "vga", &config->bus->lock);
	if (map(vga, err) == 0 && init_function(vga, config, err) == 0)
		return vga;
	unmap(vga);
	lock_destroy(&vga->own_lock);
	free(vga);
	return NULL;
}

struct display_source vga_display(struct vga *vga)
{
	return (struct display_source){ vga_draw, vga_text, vga };
}

struct pci_function *vga_function(struct vga *vga)
{
	return &vga->function;
}

const struct io_ops *vga_registers(void)
{
	return &vga_registers_ops;
}
