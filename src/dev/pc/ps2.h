/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PS2_H
#define VISOR_DEV_PC_PS2_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bus/clock.h"
#include "state/field.h"

/*
 * The two PS/2 devices behind the 8042: parts of its struct, not devices of the
 * machine. The controller writes commands to them and takes the bytes that they
 * queue. All under the board's lock.
 */
#define PS2_QUEUE 32u
#define PS2_ACK 0xfau
#define PS2_RESEND 0xfeu
#define PS2_SELF_TEST_PASSED 0xaau
#define PS2_NO_COMMAND 0u

struct ps2_queue {
	uint8_t data[PS2_QUEUE];
	uint8_t head, count;
	uint8_t last; /* for RESEND */
};
extern const struct field ps2_queue_fields[];

void ps2_push(struct ps2_queue *queue, uint8_t byte);
uint8_t ps2_pop(struct ps2_queue *queue);
static inline void ps2_clear(struct ps2_queue *queue) { queue->count = 0; }
static inline bool ps2_has_room(const struct ps2_queue *queue, unsigned bytes)
{
	return queue->count + bytes <= PS2_QUEUE;
}

struct ps2_keyboard {
	struct ps2_queue queue;
	uint8_t command;        /* waits for its argument, or PS2_NO_COMMAND */
	uint8_t scan_set;       /* 1, 2, 3 */
	uint8_t leds, rate;
	bool enabled;
	uint8_t make_break[32]; /* set 3: which codes send a break, which repeat; a bit per code */
	uint8_t typematic[32];
	uint8_t repeat_key;     /* the key that is held and repeats, 0: none */
	uint64_t repeat_at;
	struct timer timer;     /* fires with the controller's function: ps2_keyboard_repeat, then its update */
};
extern const struct field ps2_keyboard_fields[];

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
int ps2_keyboard_loaded(struct ps2_keyboard *keyboard, struct error *err);
/* A byte from the host; true when the lights changed. */
bool ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte);
void ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned keycode, bool down);
void ps2_keyboard_repeat(struct ps2_keyboard *keyboard);
/* What the controller's translation makes of a byte of scan code set 2 (0xf0 itself excepted). */
uint8_t ps2_translate(uint8_t byte);

struct ps2_mouse {
	struct ps2_queue queue;
	uint8_t command;
	uint8_t id;             /* 0 plain, 3 wheel, 4 wheel and five buttons */
	uint8_t rate, resolution;
	uint8_t knock[2];       /* the two sample rates before this one */
	uint8_t buttons;
	bool reporting, remote, wrap, scaling_2_1;
	bool changed;           /* buttons since the last packet */
	int32_t dx, dy, dz;     /* movement not yet told; y grows upwards */
};
extern const struct field ps2_mouse_fields[];

void ps2_mouse_reset(struct ps2_mouse *mouse);
int ps2_mouse_loaded(struct ps2_mouse *mouse, struct error *err);
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte);
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, unsigned buttons);
/* Queues packets of what has not been told, as far as there is room. */
void ps2_mouse_report(struct ps2_mouse *mouse);

#endif
