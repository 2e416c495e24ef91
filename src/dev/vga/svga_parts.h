/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VGA_SVGA_PARTS_H
#define VISOR_DEV_VGA_SVGA_PARTS_H

#include "dev/vga/svga.h"
#include "dev/vga/vga_parts.h"

/* Inside the adapter. Names are those of VMware's SVGA device developer kit. */
#define SVGA_FIFO_SIZE (256u << 10)
#define SVGA_FIFO_WORDS (SVGA_FIFO_SIZE / 4)
#define SVGA_MAX_WIDTH 2560u
#define SVGA_MAX_HEIGHT 1600u
#define SVGA_CURSOR_SIZE 64u
#define SVGA_SCRATCH 64u
#define SVGA_PALETTE 768u

#define IRQFLAG_ANY_FENCE 0x1u
#define IRQFLAG_FIFO_PROGRESS 0x2u
#define IRQFLAG_FENCE_GOAL 0x4u

/* Words at the FIFO's beginning. */
enum {
	FIFO_MIN, FIFO_MAX, FIFO_NEXT_CMD, FIFO_STOP, FIFO_CAPABILITIES, FIFO_FLAGS, FIFO_FENCE, FIFO_3D_HWVERSION, FIFO_PITCHLOCK,
	FIFO_CURSOR_ON, FIFO_CURSOR_X, FIFO_CURSOR_Y, FIFO_CURSOR_COUNT, FIFO_CURSOR_LAST_UPDATED, FIFO_RESERVED,
	FIFO_FENCE_GOAL = 289, FIFO_BUSY = 290, FIFO_NUM_REGS = 291
};

struct svga {
	struct device device;
	struct vga *vga;
	struct memory_aperture *aperture;
	uint8_t *fifo;

	/* Saved: */
	uint32_t index, id, enable, width, height, bits, pitch_lock, config_done, guest_id;
	uint32_t irq_status, irq_mask;
	uint32_t cursor_on, cursor_x, cursor_y;
	uint32_t hot_x, hot_y, cursor_width, cursor_height;
	bool cursor_alpha;
	/* The picture is (screen & and) ^ xor; with alpha, xor has colours multiplied by it, and it on top. */
	uint32_t cursor_and[SVGA_CURSOR_SIZE * SVGA_CURSOR_SIZE], cursor_xor[SVGA_CURSOR_SIZE * SVGA_CURSOR_SIZE];
	uint8_t palette[SVGA_PALETTE];
	uint32_t scratch[SVGA_SCRATCH];
};

static inline uint32_t svga_fifo_word(const struct svga *svga, unsigned index)
{
	return __atomic_load_n((const uint32_t *)(svga->fifo + 4 * (size_t)index), __ATOMIC_ACQUIRE);
}

static inline void svga_set_fifo_word(struct svga *svga, unsigned index, uint32_t value)
{
	__atomic_store_n((uint32_t *)(svga->fifo + 4 * (size_t)index), value, __ATOMIC_RELEASE);
}

/* The FIFO has room for that register: the driver begins its commands after it. */
static inline bool svga_has_fifo_register(const struct svga *svga, unsigned index)
{
	uint32_t min = svga_fifo_word(svga, FIFO_MIN);
	return svga->config_done && min > 4 * index && min < SVGA_FIFO_SIZE;
}

/* Bytes of a pixel and of a line; always of a mode that fits into the frame buffer. */
static inline unsigned svga_bytes(const struct svga *svga)
{
	return (svga->bits + 7) / 8;
}
unsigned svga_pitch(const struct svga *svga);

void svga_interrupt(struct svga *svga, uint32_t flags);

/* A pixel as the frame buffer has it becomes 0x00rrggbb. */
uint32_t svga_color(const struct svga *svga, uint32_t pixel);

/* --- svga_fifo.c --- */
/* Carries out commands, all or at least many; false: there are more. */
bool svga_run_fifo(struct svga *svga);

/* --- svga_draw.c --- */
int svga_draw(void *opaque, struct surface *surface, struct error *err);
char *svga_text(void *opaque);

#endif
