/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/util.h"
#include "dev/pc/ps2.h"

/* Commands (IBM PS/2 hardware interface technical reference, keyboard). */
enum {
	SET_LEDS = 0xed, ECHO = 0xee, SCAN_SET = 0xf0, IDENTIFY = 0xf2, SET_RATE = 0xf3, ENABLE = 0xf4, DISABLE = 0xf5,
	SET_DEFAULT = 0xf6, ALL_TYPEMATIC = 0xf7, ALL_MAKE_BREAK = 0xf8, ALL_MAKE = 0xf9, ALL_TYPEMATIC_MAKE_BREAK = 0xfa,
	KEY_TYPEMATIC = 0xfb, KEY_MAKE_BREAK = 0xfc, KEY_MAKE = 0xfd, RESEND = 0xfe, RESET = 0xff,
};

#define BREAK 0xf0u
#define EXTENDED 0xe0u
#define E 0x100u /* the table's mark for a code after 0xe0 */
#define DEFAULT_RATE 0x2bu /* 500 ms, then 10.9 a second */
#define MAX_SEQUENCE 8u

enum { KEY_SYSRQ = 99, KEY_PAUSE = 119 };

/* Scan code set 2 by Linux input code. */
static const uint16_t set2[128] = {
	[1] = 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d, 0x15,
	[17] = 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c, 0x1b, 0x23,
	[33] = 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21, 0x2a, 0x32,
	[49] = 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0c, 0x03, 0x0b,
	[65] = 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75, 0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79, 0x69, 0x72,
	[81] = 0x7a, 0x70, 0x71, 0x84, [86] = 0x61, 0x78, 0x07, 0x51, [92] = 0x64, 0x13, 0x67,
	[96] = E | 0x5a, E | 0x14, E | 0x4a, E | 0x7c, E | 0x11, [102] = E | 0x6c, E | 0x75, E | 0x7d, E | 0x6b,
	[106] = E | 0x74, E | 0x69, E | 0x72, E | 0x7a, E | 0x70, E | 0x71, [113] = E | 0x23, E | 0x21, E | 0x32,
	[116] = E | 0x37, [121] = 0x6d, [124] = 0x6a, E | 0x1f, E | 0x27, E | 0x2f,
};

static const uint8_t set3[128] = {
	[1] = 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d, 0x15,
	[17] = 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11, 0x1c, 0x1b, 0x23,
	[33] = 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a, 0x22, 0x21, 0x2a, 0x32,
	[49] = 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f,
	[65] = 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84, 0x6b, 0x73, 0x74, 0x7c, 0x69, 0x72,
	[81] = 0x7a, 0x70, 0x71, 0x57, [86] = 0x13, 0x56, 0x5e, 0x51, [92] = 0x86, 0x87, 0x85,
	[96] = 0x79, 0x58, 0x77, 0x57, 0x39, [102] = 0x6e, 0x63, 0x6f, 0x61, 0x6a, 0x65, 0x60, 0x6d, 0x67, 0x64,
	[119] = 0x62, [121] = 0x7b, [124] = 0x5d, 0x8b, 0x8c, 0x8d,
};

/* The 8042's translation of set 2 to set 1, by the byte received. */
static const uint8_t translation[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

uint8_t ps2_translate(uint8_t byte)
{
	if (byte < 0x80)
		return translation[byte];
	return byte == 0x83 ? 0x41 : byte == 0x84 ? 0x54 : byte;
}

const struct field ps2_queue_fields[] = {
	FIELD_BYTES(struct ps2_queue, data),
	FIELD(struct ps2_queue, head),
	FIELD(struct ps2_queue, count),
	FIELD(struct ps2_queue, last),
	FIELD_END
};

void ps2_push(struct ps2_queue *queue, uint8_t byte)
{
	if (queue->count < PS2_QUEUE)
		queue->data[(queue->head + queue->count++) % PS2_QUEUE] = byte;
}

uint8_t ps2_pop(struct ps2_queue *queue)
{
	if (!queue->count)
		return queue->last;
	queue->last = queue->data[queue->head];
	queue->head = (queue->head + 1) % PS2_QUEUE;
	queue->count--;
	return queue->last;
}

/* --- Scan codes. --- */

static bool bit(const uint8_t *set, unsigned n)
{
	return set[n / 8] >> n % 8 & 1;
}

static void push_code(struct ps2_queue *queue, unsigned set, uint16_t code, bool down)
{
	if (code & E)
		ps2_push(queue, EXTENDED);
	if (set == 1) {
		ps2_push(queue, ps2_translate((uint8_t)code) | (down ? 0 : 0x80));
		return;
	}
	if (!down)
		ps2_push(queue, BREAK);
	ps2_push(queue, (uint8_t)code);
}

static void push_set3(struct ps2_keyboard *keyboard, uint8_t code, bool down)
{
	if (code && (down || bit(keyboard->make_break, code)))
		push_code(&keyboard->queue, 3, code, down);
}

/* Pause has no break; Print Screen is a sequence of two. */
static void push_key(struct ps2_keyboard *keyboard, unsigned keycode, bool down)
{
	struct ps2_queue *queue = &keyboard->queue;
	unsigned set = keyboard->scan_set;
	if (set == 3) {
		push_set3(keyboard, set3[keycode], down);
	} else if (keycode == KEY_PAUSE) {
		for (unsigned i = 0; down && i < 2; i++) {
			ps2_push(queue, 0xe1);
			push_code(queue, set, 0x14, !i);
			push_code(queue, set, 0x77, !i);
		}
	} else if (keycode == KEY_SYSRQ) {
		push_code(queue, set, E | (down ? 0x12 : 0x7c), down);
		push_code(queue, set, E | (down ? 0x7c : 0x12), down);
	} else if (set2[keycode]) {
		push_code(queue, set, set2[keycode], down);
	}
}

static void stop_repeat(struct ps2_keyboard *keyboard)
{
	keyboard->repeat_key = 0;
	timer_cancel(&keyboard->timer);
}

/* Bits 5 and 6 of the rate are the delay, 250 ms a step; bits 0 to 4 the period: (8 + A) * 2^B * 4.17 ms. */
static void start_repeat(struct ps2_keyboard *keyboard, unsigned keycode)
{
	keyboard->repeat_key = (uint8_t)keycode;
	keyboard->repeat_at = vclock_now(keyboard->timer.clock) + ((keyboard->rate >> 5 & 3) + 1) * 250000000ull;
	timer_arm(&keyboard->timer, keyboard->repeat_at);
}

void ps2_keyboard_repeat(struct ps2_keyboard *keyboard)
{
	uint64_t period = ((8 + (keyboard->rate & 7ull)) << (keyboard->rate >> 3 & 3)) * 4170000;
	if (!keyboard->repeat_key)
		return;
	if (keyboard->enabled && ps2_has_room(&keyboard->queue, PS2_QUEUE / 2))
		push_key(keyboard, keyboard->repeat_key, true);
	keyboard->repeat_at = vclock_now(keyboard->timer.clock) + period;
	timer_arm(&keyboard->timer, keyboard->repeat_at);
}

static bool repeats(const struct ps2_keyboard *keyboard, unsigned keycode)
{
	if (keyboard->scan_set == 3)
		return bit(keyboard->typematic, set3[keycode]);
	return keycode != KEY_PAUSE;
}

/* A key that finds the queue full is lost, as with a real keyboard's buffer; a release takes what room there is. */
void ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned keycode, bool down)
{
	if (keycode >= ARRAY_SIZE(set2) || !(set2[keycode] || keycode == KEY_PAUSE))
		return;
	if (!down && keyboard->repeat_key == keycode)
		stop_repeat(keyboard);
	if (!keyboard->enabled || !ps2_has_room(&keyboard->queue, MAX_SEQUENCE + (down ? MAX_SEQUENCE : 0)))
		return;
	push_key(keyboard, keycode, down);
	if (down && repeats(keyboard, keycode))
		start_repeat(keyboard, keycode);
}

/* --- Commands. --- */

static void set_all(struct ps2_keyboard *keyboard, bool typematic, bool make_break)
{
	memset(keyboard->typematic, typematic ? 0xff : 0, sizeof(keyboard->typematic));
	memset(keyboard->make_break, make_break ? 0xff : 0, sizeof(keyboard->make_break));
}

static void set_type(struct ps2_keyboard *keyboard, uint8_t code, bool typematic, bool make_break)
{
	uint8_t mask = (uint8_t)BIT(code % 8);
	keyboard->typematic[code / 8] = (keyboard->typematic[code / 8] & ~mask) | (typematic ? mask : 0);
	keyboard->make_break[code / 8] = (keyboard->make_break[code / 8] & ~mask) | (make_break ? mask : 0);
}

/* Set 3 at power-on: typing and cursor keys repeat, the shifts tell of their release, the others do neither. */
static void set_defaults(struct ps2_keyboard *keyboard)
{
	static const uint8_t shifts[] = { 0x11, 0x12, 0x14, 0x19, 0x59 };
	static const uint8_t cursor[] = { 0x60, 0x61, 0x63, 0x64, 0x6a, 0x66, 0x7c };
	stop_repeat(keyboard);
	keyboard->rate = DEFAULT_RATE;
	keyboard->scan_set = 2;
	set_all(keyboard, false, false);
	for (unsigned code = 0x0d; code <= 0x5d; code++)
		if ((code & 7) != 7 && code != 0x39 && code != 0x56 && code != 0x57 && code != 0x58)
			set_type(keyboard, (uint8_t)code, true, false);
	for (unsigned i = 0; i < sizeof(shifts); i++)
		set_type(keyboard, shifts[i], false, true);
	for (unsigned i = 0; i < sizeof(cursor); i++)
		set_type(keyboard, cursor[i], true, false);
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
	ps2_clear(&keyboard->queue);
	set_defaults(keyboard);
	keyboard->command = PS2_NO_COMMAND;
	keyboard->enabled = true;
	keyboard->leds = 0;
}

static void answer(struct ps2_keyboard *keyboard, uint8_t byte)
{
	ps2_push(&keyboard->queue, byte);
}

/* The argument of the command that waits. */
static bool write_argument(struct ps2_keyboard *keyboard, uint8_t byte)
{
	uint8_t command = keyboard->command;
	bool lights = false;
	keyboard->command = PS2_NO_COMMAND;
	answer(keyboard, PS2_ACK);
	switch (command) {
	case SET_LEDS:
		lights = keyboard->leds != (byte & 7);
		keyboard->leds = byte & 7;
		break;
	case SET_RATE:
		keyboard->rate = byte & 0x7f;
		break;
	case SCAN_SET:
		if (!byte)
			answer(keyboard, keyboard->scan_set);
		else if (byte <= 3)
			keyboard->scan_set = byte;
		break;
	default: /* a list of keys, until the next command */
		set_type(keyboard, byte, command == KEY_TYPEMATIC, command == KEY_MAKE_BREAK);
		keyboard->command = command;
	}
	return lights;
}

static void write_command(struct ps2_keyboard *keyboard, uint8_t byte)
{
	keyboard->command = PS2_NO_COMMAND;
	if (byte != RESEND && byte != ECHO)
		ps2_clear(&keyboard->queue); /* a command empties the output buffer */
	switch (byte) {
	case ECHO: answer(keyboard, ECHO); return;
	case RESEND: answer(keyboard, keyboard->queue.last); return;
	case SET_LEDS: case SCAN_SET: case SET_RATE: case KEY_TYPEMATIC: case KEY_MAKE_BREAK: case KEY_MAKE:
		keyboard->command = byte;
		break;
	case IDENTIFY:
		answer(keyboard, PS2_ACK);
		answer(keyboard, 0xab);
		answer(keyboard, 0x83);
		return;
	case ENABLE: keyboard->enabled = true; break;
	case DISABLE: case SET_DEFAULT:
		set_defaults(keyboard);
		keyboard->enabled = byte == SET_DEFAULT;
		break;
	case ALL_TYPEMATIC: set_all(keyboard, true, false); break;
	case ALL_MAKE_BREAK: set_all(keyboard, false, true); break;
	case ALL_MAKE: set_all(keyboard, false, false); break;
	case ALL_TYPEMATIC_MAKE_BREAK: set_all(keyboard, true, true); break;
	case RESET:
		ps2_keyboard_reset(keyboard);
		answer(keyboard, PS2_ACK);
		answer(keyboard, PS2_SELF_TEST_PASSED);
		return;
	default:
		answer(keyboard, PS2_RESEND);
		return;
	}
	answer(keyboard, PS2_ACK);
}

bool ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte)
{
	bool list = keyboard->command >= KEY_TYPEMATIC && byte >= SET_LEDS; /* a command ends a list of keys */
	uint8_t leds = keyboard->leds;
	if (keyboard->command != PS2_NO_COMMAND && !list)
		return write_argument(keyboard, byte);
	write_command(keyboard, byte);
	return leds != keyboard->leds;
}

const struct field ps2_keyboard_fields[] = {
	FIELD_STRUCT(struct ps2_keyboard, queue, ps2_queue_fields),
	FIELD(struct ps2_keyboard, command),
	FIELD_RESET(struct ps2_keyboard, scan_set, 2),
	FIELD(struct ps2_keyboard, leds),
	FIELD_RESET(struct ps2_keyboard, rate, DEFAULT_RATE),
	FIELD(struct ps2_keyboard, enabled),
	FIELD_BYTES(struct ps2_keyboard, make_break),
	FIELD_BYTES(struct ps2_keyboard, typematic),
	FIELD(struct ps2_keyboard, repeat_key),
	FIELD(struct ps2_keyboard, repeat_at),
	FIELD_END
};

int ps2_keyboard_loaded(struct ps2_keyboard *keyboard, struct error *err)
{
	const struct ps2_queue *queue = &keyboard->queue;
	if (queue->head >= PS2_QUEUE || queue->count > PS2_QUEUE || keyboard->scan_set - 1u > 2 ||
	    keyboard->repeat_key >= ARRAY_SIZE(set2))
		return error_set(err, EINVAL, "i8042: the keyboard has impossible state in the saved machine; "
				 "the file is damaged");
	timer_cancel(&keyboard->timer);
	if (keyboard->repeat_key)
		timer_arm(&keyboard->timer, keyboard->repeat_at);
	return 0;
}
