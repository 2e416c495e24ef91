/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands from the FIFO, which lies in memory that the guest writes at the
 * same time: its pointers and each word are read once, and checked.
 */
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/vga/svga_parts.h"

enum {
	CMD_UPDATE = 1, CMD_RECT_FILL = 2, CMD_RECT_COPY = 3, CMD_RECT_ROP_FILL = 13, CMD_RECT_ROP_COPY = 14, CMD_DEFINE_CURSOR = 19,
	CMD_DISPLAY_CURSOR = 20, CMD_MOVE_CURSOR = 21, CMD_DEFINE_ALPHA_CURSOR = 22, CMD_UPDATE_VERBOSE = 25, CMD_FRONT_ROP_FILL = 29,
	CMD_FENCE = 30, CMD_ESCAPE = 33, CMD_NOP = 45
};

#define ARGUMENTS 7u
/* What is carried out at once, so that others get at the adapter in between. */
#define BUDGET (64u << 20)

struct fifo {
	uint32_t min, max, next, stop; /* bytes */
};

static bool take_pointers(const struct svga *svga, struct fifo *f)
{
	f->min = svga_fifo_word(svga, FIFO_MIN);
	f->max = svga_fifo_word(svga, FIFO_MAX);
	f->next = svga_fifo_word(svga, FIFO_NEXT_CMD);
	f->stop = svga_fifo_word(svga, FIFO_STOP);
	bool whole = !((f->min | f->max | f->next | f->stop) & 3);
	return whole && f->min >= 16 && f->max <= SVGA_FIFO_SIZE && f->min < f->max && f->next >= f->min && f->next < f->max &&
	       f->stop >= f->min && f->stop < f->max;
}

/* Words that wait. */
static uint32_t available(const struct fifo *f)
{
	return (f->next >= f->stop ? f->next - f->stop : f->max - f->min - (f->stop - f->next)) / 4;
}

/* The word n after the next one. */
static uint32_t peek(const struct svga *svga, const struct fifo *f, uint32_t n)
{
	uint64_t at = (uint64_t)f->stop + 4ull * n;
	return svga_fifo_word(svga, (unsigned)((at < f->max ? at : f->min + (at - f->min) % (f->max - f->min)) / 4));
}

static void skip(struct fifo *f, uint32_t words)
{
	f->stop = f->min + (uint32_t)((f->stop - f->min + 4ull * words) % (f->max - f->min));
}

/* --- rectangles --- */

static bool inside(const struct svga *svga, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
	return x <= svga->width && width <= svga->width - x && y <= svga->height && height <= svga->height - y;
}

static void note(struct svga *svga, const uint8_t *at, size_t size)
{
	struct guest_memory *ram = svga->vga->ram;
	if (size)
		memory_note_write_slow(ram, memory_offset(ram, at), size);
}

static void copy(struct svga *svga, const uint32_t *a)
{
	uint32_t sx = a[0], sy = a[1], dx = a[2], dy = a[3], width = a[4], height = a[5];
	unsigned bytes = svga_bytes(svga), pitch = svga_pitch(svga);
	uint8_t *memory = svga->vga->memory;
	if (!inside(svga, sx, sy, width, height) || !inside(svga, dx, dy, width, height))
		return;
	for (uint32_t i = 0; i < height; i++) {
		uint32_t row = dy > sy ? height - 1 - i : i;
		uint8_t *to = memory + (size_t)(dy + row) * pitch + (size_t)dx * bytes;
		memmove(to, memory + (size_t)(sy + row) * pitch + (size_t)sx * bytes, (size_t)width * bytes);
		note(svga, to, (size_t)width * bytes);
	}
}

static void fill(struct svga *svga, const uint32_t *a)
{
	uint32_t color = a[0], x = a[1], y = a[2], width = a[3], height = a[4];
	unsigned bytes = svga_bytes(svga), pitch = svga_pitch(svga);
	if (!inside(svga, x, y, width, height))
		return;
	for (uint32_t row = 0; row < height; row++) {
		uint8_t *to = svga->vga->memory + (size_t)(y + row) * pitch + (size_t)x * bytes;
		for (uint32_t i = 0; i < width; i++)
			store_le(to + (size_t)i * bytes, color, bytes);
		note(svga, to, (size_t)width * bytes);
	}
}

/* --- cursor --- */

static uint32_t scan_words(uint32_t width, uint32_t depth)
{
	return (width * depth + 31) / 32;
}

/* A pixel of a mask of one bit, most significant first, or of the screen's format. */
static uint32_t mask_pixel(const struct svga *svga, const struct fifo *f, uint32_t at, uint32_t x, uint32_t depth)
{
	uint32_t bit = x * depth, word = peek(svga, f, at + bit / 32);
	if (depth == 1)
		return word >> ((bit & 24) + 7 - (bit & 7)) & 1 ? 0xffffff : 0;
	return svga_color(svga, depth == 32 ? word : word >> bit % 32 & ((1u << depth) - 1));
}

static bool set_cursor(struct svga *svga, const uint32_t *a, bool alpha)
{
	if (a[3] > SVGA_CURSOR_SIZE || a[4] > SVGA_CURSOR_SIZE)
		return false;
	svga->hot_x = a[1];
	svga->hot_y = a[2];
	svga->cursor_width = a[3];
	svga->cursor_height = a[4];
	svga->cursor_alpha = alpha;
	return true;
}

static void define_cursor(struct svga *svga, const struct fifo *f, const uint32_t *a)
{
	uint32_t and_words = scan_words(a[3], a[5]), xor_words = scan_words(a[3], a[6]);
	if (!set_cursor(svga, a, false))
		return;
	for (uint32_t y = 0; y < a[4]; y++)
		for (uint32_t x = 0; x < a[3]; x++) {
			uint32_t i = y * SVGA_CURSOR_SIZE + x;
			svga->cursor_and[i] = mask_pixel(svga, f, 8 + y * and_words, x, a[5]);
			svga->cursor_xor[i] = mask_pixel(svga, f, 8 + a[4] * and_words + y * xor_words, x, a[6]);
		}
}

static void define_alpha_cursor(struct svga *svga, const struct fifo *f, const uint32_t *a)
{
	if (!set_cursor(svga, a, true))
		return;
	for (uint32_t y = 0; y < a[4]; y++)
		for (uint32_t x = 0; x < a[3]; x++)
			svga->cursor_xor[y * SVGA_CURSOR_SIZE + x] = peek(svga, f, 6 + y * a[3] + x);
}

/* --- commands --- */

static void fence(struct svga *svga, uint32_t value)
{
	uint32_t flags = IRQFLAG_ANY_FENCE;
	if (svga_has_fifo_register(svga, FIFO_FENCE))
		svga_set_fifo_word(svga, FIFO_FENCE, value);
	if (svga_has_fifo_register(svga, FIFO_FENCE_GOAL) && svga_fifo_word(svga, FIFO_FENCE_GOAL) == value)
		flags |= IRQFLAG_FENCE_GOAL;
	svga_interrupt(svga, flags);
}

/* Words of arguments that every command of this kind has; negative: there is no such command. */
static int arguments_of(uint32_t command)
{
	switch (command) {
	case CMD_NOP: return 0;
	case CMD_FENCE: return 1;
	case CMD_ESCAPE: case CMD_DISPLAY_CURSOR: case CMD_MOVE_CURSOR: return 2;
	case CMD_UPDATE: return 4;
	case CMD_UPDATE_VERBOSE: case CMD_RECT_FILL: case CMD_DEFINE_ALPHA_CURSOR: return 5;
	case CMD_RECT_COPY: case CMD_RECT_ROP_FILL: case CMD_FRONT_ROP_FILL: return 6;
	case CMD_RECT_ROP_COPY: case CMD_DEFINE_CURSOR: return 7;
	default: return -1;
	}
}

/* Words that follow the arguments; more than the FIFO has: never. */
static uint32_t data_of(const struct svga *svga, uint32_t command, const uint32_t *a)
{
	if (command == CMD_ESCAPE)
		return a[1] > SVGA_FIFO_SIZE ? UINT32_MAX : (a[1] + 3) / 4;
	if (command != CMD_DEFINE_CURSOR && command != CMD_DEFINE_ALPHA_CURSOR)
		return 0;
	if (a[3] > 1024 || a[4] > 1024)
		return UINT32_MAX;
	if (command == CMD_DEFINE_ALPHA_CURSOR)
		return a[3] * a[4];
	bool known = (a[5] == 1 || a[5] == svga->bits) && (a[6] == 1 || a[6] == svga->bits) && (a[5] != 15 && a[6] != 15);
	return known ? (scan_words(a[3], a[5]) + scan_words(a[3], a[6])) * a[4] : UINT32_MAX;
}

static void execute(struct svga *svga, const struct fifo *f, uint32_t command, const uint32_t *a)
{
	switch (command) {
	case CMD_RECT_COPY: case CMD_RECT_ROP_COPY: copy(svga, a); break;
	case CMD_RECT_FILL: case CMD_RECT_ROP_FILL: fill(svga, a); break;
	case CMD_DEFINE_CURSOR: define_cursor(svga, f, a); break;
	case CMD_DEFINE_ALPHA_CURSOR: define_alpha_cursor(svga, f, a); break;
	case CMD_DISPLAY_CURSOR: svga->cursor_on = a[1]; break;
	case CMD_MOVE_CURSOR:
		svga->cursor_x = a[0];
		svga->cursor_y = a[1];
		break;
	case CMD_FENCE: fence(svga, a[0]); break;
	default: break; /* UPDATE and FRONT_ROP_FILL tell what is seen anyhow: the screen is drawn from the frame buffer */
	}
}

/* Cost in pixels. */
static uint32_t cost_of(uint32_t command, const uint32_t *a)
{
	switch (command) {
	case CMD_RECT_COPY: case CMD_RECT_ROP_COPY:
		return MIN(a[4], SVGA_MAX_WIDTH) * MIN(a[5], SVGA_MAX_HEIGHT) + 64;
	case CMD_RECT_FILL: case CMD_RECT_ROP_FILL:
		return MIN(a[3], SVGA_MAX_WIDTH) * MIN(a[4], SVGA_MAX_HEIGHT) + 64;
	default:
		return 64;
	}
}

/* One command; false: it is not there in full. What makes no sense takes the rest of the FIFO with it: where the next command
 * would begin is not known. */
static bool run_one(struct svga *svga, struct fifo *f, uint32_t *cost)
{
	uint32_t waiting = available(f), a[ARGUMENTS] = { 0 };
	if (!waiting)
		return false;
	uint32_t command = peek(svga, f, 0);
	int count = arguments_of(command);
	uint32_t data = 0;
	if (count >= 0 && waiting >= 1u + (unsigned)count) {
		for (int i = 0; i < count; i++)
			a[i] = peek(svga, f, 1 + (uint32_t)i);
		data = data_of(svga, command, a);
	} else if (count >= 0) {
		return false;
	}
	if (count < 0 || data > (f->max - f->min) / 4 - 8) {
		log_warn_once("svga: a command %u that makes no sense; what is in the FIFO is dropped", command);
		f->stop = f->next;
		return true;
	}
	if (waiting < 1u + (unsigned)count + data)
		return false;
	execute(svga, f, command, a);
	skip(f, 1u + (unsigned)count + data);
	*cost += cost_of(command, a) + data;
	return true;
}

bool svga_run_fifo(struct svga *svga)
{
	struct fifo f;
	uint32_t cost = 0;
	bool any = false;
	if (!svga->config_done || !take_pointers(svga, &f))
		return true;
	while (cost < BUDGET && run_one(svga, &f, &cost)) {
		svga_set_fifo_word(svga, FIFO_STOP, f.stop);
		any = true;
	}
	if (any)
		svga_interrupt(svga, IRQFLAG_FIFO_PROGRESS);
	/* A command without its end stays, and is nothing to wait for. */
	bool done = cost < BUDGET;
	if (done && svga_has_fifo_register(svga, FIFO_BUSY))
		svga_set_fifo_word(svga, FIFO_BUSY, 0);
	return done;
}
