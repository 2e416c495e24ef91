/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VGA_VGA_PARTS_H
#define VISOR_DEV_VGA_VGA_PARTS_H

#include "dev/vga/vga.h"

/*
 * Inside the adapter. Register names are those of the IBM VGA technical
 * reference. A byte of plane p at offset o of the planar memory is memory[4 * o + p].
 */
#define VGA_PLANE_SIZE 0x10000u

enum { SEQ_RESET, SEQ_CLOCKING, SEQ_MAP_MASK, SEQ_CHARACTER_MAP, SEQ_MEMORY_MODE, SEQ_COUNT };
enum {
	GR_SET_RESET, GR_ENABLE_SET_RESET, GR_COLOR_COMPARE, GR_ROTATE, GR_READ_MAP, GR_MODE, GR_MISC, GR_DONT_CARE, GR_BIT_MASK,
	GR_COUNT
};
enum {
	CR_HTOTAL, CR_HDISPLAY_END, CR_HBLANK_START, CR_HBLANK_END, CR_HRETRACE_START, CR_HRETRACE_END, CR_VTOTAL, CR_OVERFLOW,
	CR_PRESET_ROW, CR_MAX_SCAN, CR_CURSOR_START, CR_CURSOR_END, CR_START_HIGH, CR_START_LOW, CR_CURSOR_HIGH, CR_CURSOR_LOW,
	CR_VRETRACE_START, CR_VRETRACE_END, CR_VDISPLAY_END, CR_OFFSET, CR_UNDERLINE, CR_VBLANK_START, CR_VBLANK_END, CR_MODE,
	CR_LINE_COMPARE, CR_COUNT
};
enum { AT_PALETTE, AT_MODE = 16, AT_OVERSCAN, AT_PLANES, AT_PANNING, AT_COLOR_SELECT, AT_COUNT };

#define SEQ_CLOCKING_8DOT 0x01u
#define SEQ_CLOCKING_HALF 0x08u
#define SEQ_CLOCKING_OFF 0x20u
#define SEQ_MEMORY_NO_ODD_EVEN 0x04u
#define SEQ_MEMORY_CHAIN4 0x08u
#define GR_MODE_READ1 0x08u
#define GR_MODE_ODD_EVEN 0x10u
#define GR_MODE_SHIFT 0x20u
#define GR_MODE_256 0x40u
#define GR_MISC_GRAPHICS 0x01u
#define AT_MODE_LINE_GRAPHICS 0x04u
#define AT_MODE_BLINK 0x08u
#define AT_MODE_PAN_SPLIT 0x20u
#define AT_MODE_P54 0x80u
#define MISC_COLOR 0x01u
#define MISC_RAM 0x02u

/* The dispi registers. */
enum {
	DISPI_ID, DISPI_XRES, DISPI_YRES, DISPI_BPP, DISPI_ENABLE, DISPI_BANK, DISPI_VIRT_WIDTH, DISPI_VIRT_HEIGHT, DISPI_X_OFFSET,
	DISPI_Y_OFFSET, DISPI_MEMORY_64K, DISPI_COUNT
};
#define DISPI_ENABLED 0x01u
#define DISPI_GETCAPS 0x02u
#define DISPI_8BIT_DAC 0x20u
#define DISPI_LFB 0x40u
#define DISPI_NOCLEARMEM 0x80u

/* A picture that is in the frame buffer line by line, and all that its colours depend on. */
struct vga_picture {
	uint64_t from;          /* bytes to the first line */
	uint32_t pitch;         /* bytes from one line to the next */
	uint32_t width, height; /* pixels */
	uint32_t bits;          /* of a pixel; 4: planes */
	uint32_t color[256];    /* for up to 8 bits */
};

struct vga {
	struct device device;
	struct pci_function function;
	struct lock own_lock, *lock;
	struct guest_memory *ram;
	struct vclock *clock;
	struct io_space *ports, *mmio;
	struct memory_aperture *aperture;
	uint8_t *memory;
	unsigned frame_bar;
	void (*moved)(void *opaque); /* BARs may lie elsewhere: for the adapter that this one is a part of; or NULL */
	void *moved_opaque;
	struct io_region mono, color, dispi_ports, window;
	bool other_mode;         /* the adapter that this one is a part of has one of its own on */
	/* What was drawn last on a surface that comes again, and the rows that had a cursor then. */
	struct vga_picture shown;
	uint64_t shown_name;
	unsigned cursor_first, cursor_end;

	/* Saved: */
	uint8_t misc, feature;
	uint8_t seq_index, seq[SEQ_COUNT];
	uint8_t gr_index, gr[GR_COUNT];
	uint8_t cr_index, cr[CR_COUNT];
	uint8_t at_index, at[AT_COUNT];
	bool at_data;            /* the next write to 0x3c0 is data */
	uint8_t dac_mask, dac_state, dac_read, dac_write, dac_step;
	uint8_t dac_latch[3];
	uint8_t dac[256][3];
	uint8_t latch[4];
	uint16_t dispi_index;
	uint16_t dispi[DISPI_COUNT];
};

static inline bool vga_dispi_on(const struct vga *vga)
{
	return vga->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

/* --- vga_ports.c --- */
extern const struct io_ops vga_mono_ops, vga_color_ops; /* 0x3b0..0x3bb, 0x3c0..0x3df */

/* --- vga_memory.c: 0xa0000..0xbffff --- */
extern const struct io_ops vga_window_ops;

/* --- dispi.c --- */
extern const struct io_ops vga_dispi_port_ops, vga_registers_ops; /* ports, BAR 2 */
/* Bytes from one line to the next. */
unsigned vga_dispi_pitch(const struct vga *vga);
/* After a load: values that cannot be are made harmless. */
void vga_dispi_check(struct vga *vga);

/* --- vga.c --- */
/* After a change of the mode. In the VGA's own modes, where all memory is seen through the window, writes to it and to the registers that go
 * with it may be posted. */
void vga_post_writes(struct vga *vga);

/* --- vga_picture.c --- */
/* Draws what has changed. Rows [cursor_first, cursor_end) are drawn in any case, and next time again: something is put on top of them. */
int vga_draw_picture(struct vga *vga, const struct vga_picture *picture, unsigned cursor_first, unsigned cursor_end, struct surface *surface,
		     struct error *err);
/* The colour that the pixel is itself, of 15, 16, 24 or 32 bits; as 0xRRGGBB. */
uint32_t vga_direct_color(uint32_t pixel, unsigned bits);
/* A bit of each plane makes a pixel. */
void vga_shift_planar(const uint8_t *planes, uint8_t *pixel);

/* --- vga_draw.c --- */
int vga_draw(void *opaque, struct surface *surface, struct error *err);

/* --- vga_text.c --- */
int vga_draw_text(struct vga *vga, struct surface *surface, struct error *err);
char *vga_text(void *opaque);

/* The palette's colour of attribute 0..15 (with the attribute controller's say), and of a DAC register. */
uint32_t vga_dac_color(const struct vga *vga, uint8_t index);
uint32_t vga_attribute_color(const struct vga *vga, unsigned attribute);

/* Geometry from the CRT controller. */
struct vga_raster {
	unsigned columns;      /* characters that are displayed */
	unsigned lines;        /* scan lines that are displayed */
	unsigned split;        /* the line after which display starts at address 0 again */
	unsigned pitch;        /* address counts from one row to the next */
	unsigned start;
	unsigned row_height;   /* scan lines of a row */
	unsigned doubled;      /* 2: every scan line comes twice */
};
void vga_raster(const struct vga *vga, struct vga_raster *raster);

#endif
