/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The adapter's registers by index and value, its interrupt, its state. */
#include "dev/vga/svga_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

enum { PORT_INDEX = 0, PORT_VALUE = 1, PORT_IRQ_STATUS = 8 };

enum {
	REG_ID, REG_ENABLE, REG_WIDTH, REG_HEIGHT, REG_MAX_WIDTH, REG_MAX_HEIGHT, REG_DEPTH, REG_BITS_PER_PIXEL, REG_PSEUDOCOLOR, REG_RED_MASK,
	REG_GREEN_MASK, REG_BLUE_MASK, REG_BYTES_PER_LINE, REG_FB_START, REG_FB_OFFSET, REG_VRAM_SIZE, REG_FB_SIZE, REG_CAPABILITIES,
	REG_MEM_START, REG_MEM_SIZE, REG_CONFIG_DONE, REG_SYNC, REG_BUSY, REG_GUEST_ID, REG_CURSOR_ID, REG_CURSOR_X, REG_CURSOR_Y, REG_CURSOR_ON,
	REG_HOST_BITS_PER_PIXEL, REG_SCRATCH_SIZE, REG_MEM_REGS, REG_NUM_DISPLAYS, REG_PITCHLOCK, REG_IRQMASK,
	REG_PALETTE = 1024, REG_SCRATCH = REG_PALETTE + SVGA_PALETTE
};

#define MAGIC 0x90000000u
#define VERSION_MAX 2u

#define CAP_RECT_FILL 0x00000001u
#define CAP_RECT_COPY 0x00000002u
#define CAP_CURSOR 0x00000020u
#define CAP_CURSOR_BYPASS 0x00000040u
#define CAP_CURSOR_BYPASS_2 0x00000080u
#define CAP_8BIT_EMULATION 0x00000100u
#define CAP_ALPHA_CURSOR 0x00000200u
#define CAP_EXTENDED_FIFO 0x00008000u
#define CAP_PITCHLOCK 0x00020000u
#define CAP_IRQMASK 0x00040000u
#define CAPABILITIES \
	(CAP_RECT_FILL | CAP_RECT_COPY | CAP_CURSOR | CAP_CURSOR_BYPASS | CAP_CURSOR_BYPASS_2 | CAP_8BIT_EMULATION | CAP_ALPHA_CURSOR | \
	 CAP_EXTENDED_FIFO | CAP_PITCHLOCK | CAP_IRQMASK)

#define FIFO_CAP_FENCE 0x01u
#define FIFO_CAP_PITCHLOCK 0x04u
#define FIFO_CAP_CURSOR_BYPASS_3 0x10u
#define FIFO_CAP_ESCAPE 0x20u
#define FIFO_CAP_RESERVE 0x40u

/* --- modes --- */

static bool mode_fits(unsigned width, unsigned height, unsigned bits, uint64_t lock)
{
	uint64_t line = (uint64_t)width * ((bits + 7) / 8);
	uint64_t pitch = MAX(line, lock);
	bool known = bits == 8 || bits == 15 || bits == 16 || bits == 32;
	return known && width && height && width <= SVGA_MAX_WIDTH && height <= SVGA_MAX_HEIGHT && pitch * height <= VGA_MEMORY_SIZE;
}

static uint32_t locked_pitch(const struct svga *svga)
{
	uint32_t lock = svga->pitch_lock;
	if (!lock && svga_has_fifo_register(svga, FIFO_PITCHLOCK))
		lock = svga_fifo_word(svga, FIFO_PITCHLOCK);
	return lock;
}

unsigned svga_pitch(const struct svga *svga)
{
	uint32_t lock = locked_pitch(svga), line = svga->width * svga_bytes(svga);
	bool fits = lock >= line && mode_fits(svga->width, svga->height, svga->bits, lock);
	return fits ? lock : line;
}

static void mode_changed(struct svga *svga)
{
	svga->vga->other_mode = svga->enable & 1;
	vga_post_writes(svga->vga);
}

/* What a driver asks for and cannot have leaves the mode as it is. */
static void set_mode(struct svga *svga, uint32_t width, uint32_t height, uint32_t bits)
{
	if (!mode_fits(width, height, bits, 0))
		return;
	svga->width = width;
	svga->height = height;
	svga->bits = bits;
}

static uint32_t mask(const struct svga *svga, unsigned reg)
{
	static const uint32_t masks[3][3] = { { 0x7c00, 0x03e0, 0x001f }, { 0xf800, 0x07e0, 0x001f }, { 0xff0000, 0xff00, 0xff } };
	if (svga->bits == 8)
		return 0;
	return masks[svga->bits == 15 ? 0 : svga->bits == 16 ? 1 : 2][reg - REG_RED_MASK];
}

/* --- interrupts --- */

static void update_irq(struct svga *svga)
{
	pci_intx_set(&svga->vga->function, svga->irq_status & svga->irq_mask);
}

void svga_interrupt(struct svga *svga, uint32_t flags)
{
	svga->irq_status |= flags & svga->irq_mask;
	update_irq(svga);
}

/* --- registers --- */

static uint32_t bar_address(const struct svga *svga, unsigned n)
{
	return load_le32(svga->vga->function.config + PCI_BAR(n)) & ~15u;
}

static uint32_t read_register(struct svga *svga, uint32_t reg)
{
	if (reg >= REG_SCRATCH && reg < REG_SCRATCH + SVGA_SCRATCH)
		return svga->scratch[reg - REG_SCRATCH];
	if (reg >= REG_PALETTE && reg < REG_PALETTE + SVGA_PALETTE)
		return svga->palette[reg - REG_PALETTE];
	switch (reg) {
	case REG_ID: return svga->id;
	case REG_ENABLE: return svga->enable;
	case REG_WIDTH: return svga->width;
	case REG_HEIGHT: return svga->height;
	case REG_MAX_WIDTH: return SVGA_MAX_WIDTH;
	case REG_MAX_HEIGHT: return SVGA_MAX_HEIGHT;
	case REG_DEPTH: return svga->bits == 32 ? 24 : svga->bits;
	case REG_BITS_PER_PIXEL: return svga->bits;
	case REG_PSEUDOCOLOR: return svga->bits == 8;
	case REG_RED_MASK: case REG_GREEN_MASK: case REG_BLUE_MASK: return mask(svga, reg);
	case REG_BYTES_PER_LINE: return svga_pitch(svga);
	case REG_FB_START: return bar_address(svga, 1);
	case REG_VRAM_SIZE: return VGA_MEMORY_SIZE;
	case REG_FB_SIZE: return svga_pitch(svga) * svga->height;
	case REG_CAPABILITIES: return CAPABILITIES;
	case REG_MEM_START: return bar_address(svga, 2);
	case REG_MEM_SIZE: return SVGA_FIFO_SIZE;
	case REG_CONFIG_DONE: return svga->config_done;
	case REG_BUSY: return !svga_run_fifo(svga);
	case REG_GUEST_ID: return svga->guest_id;
	case REG_CURSOR_X: return svga->cursor_x;
	case REG_CURSOR_Y: return svga->cursor_y;
	case REG_CURSOR_ON: return svga->cursor_on;
	case REG_HOST_BITS_PER_PIXEL: return 32;
	case REG_SCRATCH_SIZE: return SVGA_SCRATCH;
	case REG_MEM_REGS: return FIFO_NUM_REGS;
	case REG_NUM_DISPLAYS: return 1;
	case REG_PITCHLOCK: return svga->pitch_lock;
	case REG_IRQMASK: return svga->irq_mask;
	default: return 0;
	}
}

/* The driver has laid out the FIFO: what the adapter tells by its registers is there before it goes on. */
static void configure(struct svga *svga, uint32_t value)
{
	svga->config_done = value & 1;
	if (!svga_has_fifo_register(svga, FIFO_RESERVED))
		return;
	svga_set_fifo_word(svga, FIFO_CAPABILITIES,
			   FIFO_CAP_FENCE | FIFO_CAP_PITCHLOCK | FIFO_CAP_CURSOR_BYPASS_3 | FIFO_CAP_ESCAPE | FIFO_CAP_RESERVE);
	svga_set_fifo_word(svga, FIFO_FLAGS, 0);
	svga_set_fifo_word(svga, FIFO_3D_HWVERSION, 0);
}

static void write_register(struct svga *svga, uint32_t reg, uint32_t value)
{
	if (reg >= REG_SCRATCH && reg < REG_SCRATCH + SVGA_SCRATCH)
		svga->scratch[reg - REG_SCRATCH] = value;
	if (reg >= REG_PALETTE && reg < REG_PALETTE + SVGA_PALETTE)
		svga->palette[reg - REG_PALETTE] = (uint8_t)value;
	switch (reg) {
	case REG_ID:
		if (value >= MAGIC && value <= MAGIC + VERSION_MAX)
			svga->id = value;
		break;
	case REG_ENABLE:
		svga->enable = value & 3;
		mode_changed(svga);
		break;
	case REG_WIDTH: set_mode(svga, value, svga->height, svga->bits); break;
	case REG_HEIGHT: set_mode(svga, svga->width, value, svga->bits); break;
	case REG_BITS_PER_PIXEL: set_mode(svga, svga->width, svga->height, value); break;
	case REG_CONFIG_DONE: configure(svga, value); break;
	case REG_SYNC: svga_run_fifo(svga); break;
	case REG_GUEST_ID: svga->guest_id = value; break;
	case REG_CURSOR_X: svga->cursor_x = value; break;
	case REG_CURSOR_Y: svga->cursor_y = value; break;
	case REG_CURSOR_ON: svga->cursor_on = value; break;
	case REG_PITCHLOCK: svga->pitch_lock = value; break;
	case REG_IRQMASK:
		svga->irq_mask = value;
		update_irq(svga);
		break;
	}
}

/* The value port lies at an odd address, 32 bits wide all the same. */
static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct svga *svga = opaque;
	switch (offset) {
	case PORT_INDEX: return svga->index;
	case PORT_VALUE: return read_register(svga, svga->index);
	case PORT_IRQ_STATUS: return svga->irq_status;
	default: return 0;
	}
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct svga *svga = opaque;
	switch (offset) {
	case PORT_INDEX: svga->index = (uint32_t)value; break;
	case PORT_VALUE: write_register(svga, svga->index, (uint32_t)value); break;
	case PORT_IRQ_STATUS:
		svga->irq_status &= ~(uint32_t)value;
		update_irq(svga);
		break;
	}
}

static const struct io_ops port_ops = { port_read, port_write, 4 };

/* The FIFO is memory; accesses come here only from where the aperture is not known yet. */
static uint64_t fifo_read(void *opaque, uint64_t offset, unsigned size)
{
	struct svga *svga = opaque;
	return load_le(svga->fifo + offset, size);
}

static void fifo_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct svga *svga = opaque;
	struct guest_memory *ram = svga->vga->ram;
	store_le(svga->fifo + offset, value, size);
	memory_note_write_slow(ram, memory_offset(ram, svga->fifo + offset), size);
}

static const struct io_ops fifo_ops = { fifo_read, fifo_write, 8 };

static void moved(void *opaque)
{
	struct svga *svga = opaque;
	uint64_t base;
	bool shown = pci_function_bar_base(&svga->vga->function, 2, &base);
	memory_move_aperture(svga->vga->ram, svga->aperture, shown ? base : MEMORY_NOWHERE);
}

/* --- state --- */

static const struct field fields[] = {
	FIELD(struct svga, index),
	FIELD_RESET(struct svga, id, MAGIC + VERSION_MAX),
	FIELD(struct svga, enable),
	FIELD_RESET(struct svga, width, 640),
	FIELD_RESET(struct svga, height, 480),
	FIELD_RESET(struct svga, bits, 32),
	FIELD(struct svga, pitch_lock),
	FIELD(struct svga, config_done),
	FIELD(struct svga, guest_id),
	FIELD(struct svga, irq_status),
	FIELD(struct svga, irq_mask),
	FIELD(struct svga, cursor_on),
	FIELD(struct svga, cursor_x),
	FIELD(struct svga, cursor_y),
	FIELD(struct svga, hot_x),
	FIELD(struct svga, hot_y),
	FIELD(struct svga, cursor_width),
	FIELD(struct svga, cursor_height),
	FIELD(struct svga, cursor_alpha),
	FIELD_ARRAY(struct svga, cursor_and),
	FIELD_ARRAY(struct svga, cursor_xor),
	FIELD_BYTES(struct svga, palette),
	FIELD_ARRAY(struct svga, scratch),
	FIELD_END
};

static void reset(void *device)
{
	struct svga *svga = device;
	lock_take(svga->vga->lock);
	update_irq(svga);
	mode_changed(svga);
	lock_release(svga->vga->lock);
}

static int loaded(void *device, struct error *err)
{
	struct svga *svga = device;
	if (!mode_fits(svga->width, svga->height, svga->bits, 0) || svga->cursor_width > SVGA_CURSOR_SIZE ||
	    svga->cursor_height > SVGA_CURSOR_SIZE)
		return error_set(err, EINVAL, "svga: its state cannot be; the file is damaged");
	mode_changed(svga);
	moved(svga);
	return 0;
}

static void destroy(void *device)
{
	free(device);
}

static const struct device_type svga_type = {
	.name = "svga",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

static int extend(struct svga *svga, const struct vga_config *config, struct error *err)
{
	struct vga *vga = svga->vga;
	svga->aperture = memory_add_aperture(config->memory, SVGA_FIFO_SIZE, err);
	if (!svga->aperture || pci_function_add_bar(&vga->function, 0, PCI_BAR_IO, 16, &port_ops, svga, err) < 0 ||
	    pci_function_add_bar(&vga->function, 2, PCI_BAR_MEMORY32, SVGA_FIFO_SIZE, &fifo_ops, svga, err) < 0)
		return -1;
	pci_function_set_register(&vga->function, PCI_BAR(2), 8, ~(SVGA_FIFO_SIZE - 1), 4);
	svga->fifo = config->memory->host + svga->aperture->offset;
	vga->function.bar[0].region.awaits = true;
	vga->moved = moved;
	vga->moved_opaque = svga;
	return 0;
}

struct svga *svga_create(const struct vga_config *config, struct vga **vga, struct error *err)
{
	static const struct vga_identity identity = { .vendor = 0x15ad, .device = 0x0405, .interrupt_pin = 1, .frame_bar = 1 };
	struct svga *svga = calloc(1, sizeof(*svga));
	struct vga_config own = *config;
	if (!svga) {
		error_set(err, ENOMEM, "out of memory for the SVGA adapter");
		return NULL;
	}
	own.identity = &identity;
	svga->vga = vga_create(&own, err);
	if (svga->vga && extend(svga, config, err) == 0) {
		device_init(&svga->device, &svga_type, "svga", &config->bus->lock);
		*vga = svga->vga;
		return svga;
	}
	if (svga->vga)
		svga->vga->device.type->destroy(svga->vga);
	free(svga);
	return NULL;
}

struct display_source svga_display(struct svga *svga)
{
	return (struct display_source){ svga_draw, svga_text, svga };
}
