/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/util.h"
#include "dev/pc/ps2.h"

/* Commands (IBM PS/2 hardware interface technical reference, mouse). */
enum {
	SCALE_1_1 = 0xe6, SCALE_2_1 = 0xe7, SET_RESOLUTION = 0xe8, STATUS = 0xe9, STREAM = 0xea, READ_DATA = 0xeb,
	END_WRAP = 0xec, WRAP = 0xee, REMOTE = 0xf0, IDENTIFY = 0xf2, SET_RATE = 0xf3, ENABLE = 0xf4, DISABLE = 0xf5,
	SET_DEFAULT = 0xf6, RESEND = 0xfe, RESET = 0xff,
};

#define PACKET_ALWAYS 0x08u
#define PACKET_X_SIGN 0x10u
#define PACKET_Y_SIGN 0x20u
#define MOVEMENT_MAX 100000   /* what piles up while nobody listens */
#define ROOM_FOR_ANSWERS 8u

static int32_t take(int32_t *rest, int32_t low, int32_t high)
{
	int32_t part = MIN(MAX(*rest, low), high);
	*rest -= part;
	return part;
}

/* In stream mode small movements are stretched when 2:1 scaling is on. */
static int32_t scaled(const struct ps2_mouse *mouse, int32_t value)
{
	static const uint8_t steps[] = { 0, 1, 1, 3, 6, 9 };
	int32_t size = value < 0 ? -value : value;
	if (!mouse->scaling_2_1 || mouse->remote)
		return value;
	size = size < (int32_t)sizeof(steps) ? steps[size] : MIN(2 * size, 255);
	return value < 0 ? -size : size;
}

static void push_packet(struct ps2_mouse *mouse)
{
	int32_t dx = scaled(mouse, take(&mouse->dx, -255, 255));
	int32_t dy = scaled(mouse, take(&mouse->dy, -255, 255));
	ps2_push(&mouse->queue, (uint8_t)(PACKET_ALWAYS | (dx < 0 ? PACKET_X_SIGN : 0) | (dy < 0 ? PACKET_Y_SIGN : 0) |
					  (mouse->buttons & 7)));
	ps2_push(&mouse->queue, (uint8_t)dx);
	ps2_push(&mouse->queue, (uint8_t)dy);
	if (mouse->id == 3)
		ps2_push(&mouse->queue, (uint8_t)take(&mouse->dz, -127, 127));
	else if (mouse->id == 4)
		ps2_push(&mouse->queue, (uint8_t)((take(&mouse->dz, -8, 7) & 15) | (mouse->buttons << 1 & 0x30)));
	else
		mouse->dz = 0;
	mouse->changed = false;
}

void ps2_mouse_report(struct ps2_mouse *mouse)
{
	while (mouse->reporting && !mouse->remote && !mouse->wrap && ps2_has_room(&mouse->queue, 4 + ROOM_FOR_ANSWERS) &&
	       (mouse->changed || mouse->dx || mouse->dy || mouse->dz))
		push_packet(mouse);
}

static int32_t add(int32_t a, int b)
{
	return MIN(MAX(a + MIN(MAX(b, -MOVEMENT_MAX), MOVEMENT_MAX), -MOVEMENT_MAX), MOVEMENT_MAX);
}

/* A mouse that is not reporting forgets, so that no old movement comes when it is enabled. */
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, unsigned buttons)
{
	mouse->changed |= mouse->buttons != (buttons & 0x1f);
	mouse->buttons = buttons & 0x1f;
	if (!mouse->reporting && !mouse->remote)
		return;
	mouse->dx = add(mouse->dx, dx);
	mouse->dy = add(mouse->dy, dy < -MOVEMENT_MAX ? MOVEMENT_MAX : -dy);
	mouse->dz = add(mouse->dz, dz);
	ps2_mouse_report(mouse);
}

static void forget(struct ps2_mouse *mouse)
{
	mouse->dx = mouse->dy = mouse->dz = 0;
	mouse->changed = false;
}

static void set_defaults(struct ps2_mouse *mouse)
{
	mouse->rate = 100;
	mouse->resolution = 2;
	mouse->reporting = mouse->remote = mouse->wrap = mouse->scaling_2_1 = false;
	mouse->command = PS2_NO_COMMAND;
	forget(mouse);
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
	ps2_clear(&mouse->queue);
	set_defaults(mouse);
	mouse->id = 0;
	mouse->knock[0] = mouse->knock[1] = 0;
}

/* Rates 200, 100, 80 ask for a wheel, 200, 200, 80 for five buttons too (Microsoft IntelliMouse). */
static void set_rate(struct ps2_mouse *mouse, uint8_t rate)
{
	if (mouse->knock[0] == 200 && mouse->knock[1] == 100 && rate == 80)
		mouse->id = 3;
	else if (mouse->knock[0] == 200 && mouse->knock[1] == 200 && rate == 80)
		mouse->id = 4;
	mouse->knock[0] = mouse->knock[1];
	mouse->knock[1] = rate;
	mouse->rate = rate;
}

static void push_status(struct ps2_mouse *mouse)
{
	unsigned b = mouse->buttons;
	ps2_push(&mouse->queue, (uint8_t)(mouse->remote << 6 | mouse->reporting << 5 | mouse->scaling_2_1 << 4 |
					  (b & 1) << 2 | (b & 4) >> 1 | (b & 2) >> 1));
	ps2_push(&mouse->queue, mouse->resolution);
	ps2_push(&mouse->queue, mouse->rate);
}

static void write_argument(struct ps2_mouse *mouse, uint8_t byte)
{
	if (mouse->command == SET_RATE)
		set_rate(mouse, byte);
	else
		mouse->resolution = byte & 3;
	mouse->command = PS2_NO_COMMAND;
	ps2_push(&mouse->queue, PS2_ACK);
}

static void write_command(struct ps2_mouse *mouse, uint8_t byte)
{
	struct ps2_queue *queue = &mouse->queue;
	if (byte == RESEND) {
		ps2_push(queue, queue->last);
		return;
	}
	ps2_clear(queue);
	ps2_push(queue, PS2_ACK);
	switch (byte) {
	case SCALE_1_1: mouse->scaling_2_1 = false; break;
	case SCALE_2_1: mouse->scaling_2_1 = true; break;
	case SET_RESOLUTION: case SET_RATE: mouse->command = byte; break;
	case STATUS: push_status(mouse); break;
	case STREAM:
		mouse->remote = false;
		forget(mouse);
		break;
	case READ_DATA: push_packet(mouse); break;
	case END_WRAP: break;
	case WRAP: mouse->wrap = true; break;
	case REMOTE:
		mouse->remote = true;
		forget(mouse);
		break;
	case IDENTIFY: ps2_push(queue, mouse->id); break;
	case ENABLE:
		mouse->reporting = true;
		forget(mouse);
		break;
	case DISABLE: mouse->reporting = false; break;
	case SET_DEFAULT: set_defaults(mouse); break;
	case RESET:
		ps2_mouse_reset(mouse);
		ps2_push(queue, PS2_ACK);
		ps2_push(queue, PS2_SELF_TEST_PASSED);
		ps2_push(queue, 0);
		break;
	default:
		ps2_clear(queue);
		ps2_push(queue, PS2_RESEND);
	}
}

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte)
{
	if (mouse->wrap && byte != END_WRAP && byte != RESET) {
		ps2_push(&mouse->queue, byte);
		return;
	}
	mouse->wrap = false;
	if (mouse->command != PS2_NO_COMMAND && byte < SCALE_1_1)
		write_argument(mouse, byte);
	else
		write_command(mouse, byte);
	ps2_mouse_report(mouse);
}

const struct field ps2_mouse_fields[] = {
	FIELD_STRUCT(struct ps2_mouse, queue, ps2_queue_fields),
	FIELD(struct ps2_mouse, command),
	FIELD(struct ps2_mouse, id),
	FIELD_RESET(struct ps2_mouse, rate, 100),
	FIELD_RESET(struct ps2_mouse, resolution, 2),
	FIELD_ARRAY(struct ps2_mouse, knock),
	FIELD(struct ps2_mouse, buttons),
	FIELD(struct ps2_mouse, reporting),
	FIELD(struct ps2_mouse, remote),
	FIELD(struct ps2_mouse, wrap),
	FIELD(struct ps2_mouse, scaling_2_1),
	FIELD(struct ps2_mouse, changed),
	FIELD(struct ps2_mouse, dx),
	FIELD(struct ps2_mouse, dy),
	FIELD(struct ps2_mouse, dz),
	FIELD_END
};

int ps2_mouse_loaded(struct ps2_mouse *mouse, struct error *err)
{
	if (mouse->queue.head >= PS2_QUEUE || mouse->queue.count > PS2_QUEUE || mouse->id > 4)
		return error_set(err, EINVAL, "i8042: the mouse has impossible state in the saved machine; the file is damaged");
	mouse->dx = add(mouse->dx, 0);
	mouse->dy = add(mouse->dy, 0);
	mouse->dz = add(mouse->dz, 0);
	return 0;
}
