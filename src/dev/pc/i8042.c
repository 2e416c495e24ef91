/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/i8042.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/pc/ps2.h"

/* Status register, port 0x64. */
#define STATUS_FULL 0x01u
#define STATUS_SYSTEM 0x04u
#define STATUS_COMMAND 0x08u    /* the last write was a command */
#define STATUS_UNLOCKED 0x10u
#define STATUS_AUX 0x20u        /* the output buffer holds a byte of the mouse */

/* The controller's command byte. */
#define CB_KEYBOARD_INT 0x01u
#define CB_MOUSE_INT 0x02u
#define CB_SYSTEM 0x04u
#define CB_KEYBOARD_OFF 0x10u
#define CB_MOUSE_OFF 0x20u
#define CB_TRANSLATE 0x40u

/* Output port. */
#define OUT_RUN 0x01u           /* low: the processor is held in reset */
#define OUT_A20 0x02u
#define OUT_KEYBOARD_INT 0x10u
#define OUT_MOUSE_INT 0x20u

enum {
	READ_RAM = 0x20, WRITE_RAM = 0x60, MOUSE_OFF = 0xa7, MOUSE_ON = 0xa8, TEST_MOUSE = 0xa9, SELF_TEST = 0xaa,
	TEST_KEYBOARD = 0xab, KEYBOARD_OFF = 0xad, KEYBOARD_ON = 0xae, READ_INPUT = 0xc0, READ_OUTPUT = 0xd0,
	WRITE_OUTPUT = 0xd1, WRITE_KEYBOARD_BUFFER = 0xd2, WRITE_MOUSE_BUFFER = 0xd3, WRITE_MOUSE = 0xd4, A20_OFF = 0xdd,
	A20_ON = 0xdf, READ_TEST = 0xe0, PULSE = 0xf0,
};

struct i8042 {
	struct device device;
	uint8_t ram[32];          /* byte 0 is the command byte */
	uint8_t command;          /* waits for its argument, 0: none */
	uint8_t output;           /* the output buffer */
	uint8_t output_port;
	bool full, from_mouse, last_was_command;
	bool break_seen;          /* translation: 0xf0 went before */
	bool system;
	struct ps2_queue reply;   /* of the controller itself */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	struct i8042_config handles;
	struct io_region data, status, port_92;
};

/* --- From the devices to the output buffer. --- */

static bool translated(struct i8042 *dev, uint8_t *byte)
{
	if (!(dev->ram[0] & CB_TRANSLATE))
		return true;
	if (*byte == 0xf0) {
		dev->break_seen = true;
		return false;
	}
	*byte = ps2_translate(*byte) | (dev->break_seen ? 0x80 : 0);
	dev->break_seen = false;
	return true;
}

static bool next_byte(struct i8042 *dev, uint8_t *byte, bool *from_mouse)
{
	*from_mouse = false;
	if (dev->reply.count) {
		*byte = ps2_pop(&dev->reply);
		return true;
	}
	while (!(dev->ram[0] & CB_KEYBOARD_OFF) && dev->keyboard.queue.count) {
		*byte = ps2_pop(&dev->keyboard.queue);
		if (translated(dev, byte))
			return true;
	}
	if (dev->ram[0] & CB_MOUSE_OFF || !dev->mouse.queue.count)
		return false;
	*byte = ps2_pop(&dev->mouse.queue);
	*from_mouse = true;
	ps2_mouse_report(&dev->mouse);
	return true;
}

static void drive(const struct i8042 *dev)
{
	irq_set(&dev->handles.keyboard_irq, dev->full && !dev->from_mouse && dev->ram[0] & CB_KEYBOARD_INT);
	irq_set(&dev->handles.mouse_irq, dev->full && dev->from_mouse && dev->ram[0] & CB_MOUSE_INT);
}

static void update(struct i8042 *dev)
{
	if (!dev->full)
		dev->full = next_byte(dev, &dev->output, &dev->from_mouse);
	drive(dev);
}

static void fill(struct i8042 *dev, uint8_t byte, bool from_mouse)
{
	dev->output = byte;
	dev->from_mouse = from_mouse;
	dev->full = false;
	drive(dev); /* a new byte is a new edge */
	dev->full = true;
}

/* --- Output port: A20 and reset. --- */

static void set_output_port(struct i8042 *dev, uint8_t value)
{
	uint8_t changed = dev->output_port ^ value;
	dev->output_port = value | OUT_RUN;
	if (changed & OUT_A20 && dev->handles.a20)
		dev->handles.a20(dev->handles.opaque, value & OUT_A20);
	if (!(value & OUT_RUN) && dev->handles.reset)
		dev->handles.reset(dev->handles.opaque);
}

static void set_a20(struct i8042 *dev, bool on)
{
	set_output_port(dev, (dev->output_port & ~OUT_A20) | (on ? OUT_A20 : 0));
}

static uint8_t output_port(const struct i8042 *dev)
{
	bool keyboard = dev->full && !dev->from_mouse, mouse = dev->full && dev->from_mouse;
	return dev->output_port | (keyboard ? OUT_KEYBOARD_INT : 0) | (mouse ? OUT_MOUSE_INT : 0);
}

/* --- Commands. --- */

static void reply(struct i8042 *dev, uint8_t byte)
{
	ps2_push(&dev->reply, byte);
}

static void set_bits(struct i8042 *dev, uint8_t clear, uint8_t set)
{
	dev->ram[0] = (dev->ram[0] & ~clear) | set;
}

static void self_test(struct i8042 *dev)
{
	dev->full = false;
	ps2_clear(&dev->reply);
	dev->system = true;
	reply(dev, 0x55);
}

static void write_command(struct i8042 *dev, uint8_t command)
{
	dev->command = 0;
	switch (command) {
	case READ_RAM ... READ_RAM + 31: reply(dev, dev->ram[command - READ_RAM]); break;
	case WRITE_RAM ... WRITE_RAM + 31:
	case WRITE_OUTPUT: case WRITE_KEYBOARD_BUFFER: case WRITE_MOUSE_BUFFER: case WRITE_MOUSE:
		dev->command = command;
		break;
	case MOUSE_OFF: set_bits(dev, 0, CB_MOUSE_OFF); break;
	case MOUSE_ON: set_bits(dev, CB_MOUSE_OFF, 0); break;
	case TEST_MOUSE: case TEST_KEYBOARD: reply(dev, 0); break;
	case SELF_TEST: self_test(dev); break;
	case KEYBOARD_OFF: set_bits(dev, 0, CB_KEYBOARD_OFF); break;
	case KEYBOARD_ON: set_bits(dev, CB_KEYBOARD_OFF, 0); break;
	case READ_INPUT: reply(dev, 0xb0); break; /* not inhibited, no manufacturing jumper */
	case READ_OUTPUT: reply(dev, output_port(dev)); break;
	case A20_OFF: set_a20(dev, false); break;
	case A20_ON: set_a20(dev, true); break;
	case READ_TEST: reply(dev, 0); break;
	case PULSE ... PULSE + 15: /* a zero pulses the line; only that of the processor's reset shows */
		if (!(command & OUT_RUN) && dev->handles.reset)
			dev->handles.reset(dev->handles.opaque);
		break;
	}
}

static void write_argument(struct i8042 *dev, uint8_t byte)
{
	uint8_t command = dev->command;
	dev->command = 0;
	switch (command) {
	case WRITE_RAM ... WRITE_RAM + 31:
		dev->ram[command - WRITE_RAM] = byte;
		if (command == WRITE_RAM)
			dev->system = byte & CB_SYSTEM;
		break;
	case WRITE_OUTPUT: set_output_port(dev, byte); break;
	case WRITE_KEYBOARD_BUFFER: fill(dev, byte, false); break;
	case WRITE_MOUSE_BUFFER: fill(dev, byte, true); break;
	case WRITE_MOUSE:
		set_bits(dev, CB_MOUSE_OFF, 0); /* talking to a device turns its clock on */
		ps2_mouse_write(&dev->mouse, byte);
		break;
	}
}

static void write_keyboard(struct i8042 *dev, uint8_t byte)
{
	set_bits(dev, CB_KEYBOARD_OFF, 0);
	dev->break_seen = false;
	if (ps2_keyboard_write(&dev->keyboard, byte) && dev->handles.leds)
		dev->handles.leds(dev->handles.opaque, dev->keyboard.leds);
}

/* --- Ports. --- */

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *dev = opaque;
	uint8_t byte = dev->output;
	dev->full = false;
	drive(dev); /* the line falls before the next byte raises it */
	update(dev);
	return byte;
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *dev = opaque;
	dev->last_was_command = false;
	if (dev->command)
		write_argument(dev, (uint8_t)value);
	else
		write_keyboard(dev, (uint8_t)value);
	update(dev);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *dev = opaque;
	return (dev->full ? STATUS_FULL : 0) | (dev->system ? STATUS_SYSTEM : 0) |
	       (dev->last_was_command ? STATUS_COMMAND : 0) | STATUS_UNLOCKED |
	       (dev->full && dev->from_mouse ? STATUS_AUX : 0);
}

static void status_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *dev = opaque;
	dev->last_was_command = true;
	write_command(dev, (uint8_t)value);
	update(dev);
}

static uint64_t port_92_read(void *opaque, uint64_t offset, unsigned size)
{
	return ((struct i8042 *)opaque)->output_port & OUT_A20;
}

/* Bit 1 is the fast A20 gate, bit 0 the fast reset. */
static void port_92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *dev = opaque;
	set_a20(dev, value & 2);
	if (value & 1 && dev->handles.reset)
		dev->handles.reset(dev->handles.opaque);
}

static const struct io_ops data_ops = { data_read, data_write, 1 };
static const struct io_ops status_ops = { status_read, status_write, 1 };
static const struct io_ops port_92_ops = { port_92_read, port_92_write, 1 };

void i8042_key(struct i8042 *dev, unsigned keycode, bool down)
{
	lock_take(dev->device.lock);
	ps2_keyboard_key(&dev->keyboard, keycode, down);
	update(dev);
	lock_release(dev->device.lock);
}

bool i8042_key_room(struct i8042 *dev)
{
	lock_take(dev->device.lock);
	bool room = !dev->keyboard.enabled || !dev->keyboard.queue.count;
	lock_release(dev->device.lock);
	return room;
}

void i8042_mouse(struct i8042 *dev, int dx, int dy, int dz, unsigned buttons)
{
	lock_take(dev->device.lock);
	ps2_mouse_move(&dev->mouse, dx, dy, dz, buttons);
	update(dev);
	lock_release(dev->device.lock);
}

static void on_repeat(void *opaque)
{
	struct i8042 *dev = opaque;
	ps2_keyboard_repeat(&dev->keyboard);
	update(dev);
}

static const struct field i8042_fields[] = {
	FIELD_BYTES(struct i8042, ram),
	FIELD(struct i8042, command),
	FIELD(struct i8042, output),
	FIELD_RESET(struct i8042, output_port, OUT_RUN | OUT_A20),
	FIELD(struct i8042, full),
	FIELD(struct i8042, from_mouse),
	FIELD(struct i8042, last_was_command),
	FIELD(struct i8042, break_seen),
	FIELD(struct i8042, system),
	FIELD_STRUCT(struct i8042, reply, ps2_queue_fields),
	FIELD_STRUCT(struct i8042, keyboard, ps2_keyboard_fields),
	FIELD_STRUCT(struct i8042, mouse, ps2_mouse_fields),
	FIELD_END
};

/* The command byte is what firmware leaves, so that a system booted without any finds a keyboard that works. */
static void i8042_reset(void *device)
{
	struct i8042 *dev = device;
	dev->ram[0] = CB_KEYBOARD_INT | CB_MOUSE_INT | CB_SYSTEM | CB_TRANSLATE;
	ps2_keyboard_reset(&dev->keyboard);
	ps2_mouse_reset(&dev->mouse);
	drive(dev);
	if (dev->handles.a20)
		dev->handles.a20(dev->handles.opaque, true);
	if (dev->handles.leds)
		dev->handles.leds(dev->handles.opaque, 0);
}

static int i8042_loaded(void *device, struct error *err)
{
	struct i8042 *dev = device;
	if (dev->reply.head >= PS2_QUEUE || dev->reply.count > PS2_QUEUE)
		return error_set(err, EINVAL, "i8042: impossible state in the saved machine; the file is damaged");
	if (ps2_keyboard_loaded(&dev->keyboard, err) < 0 || ps2_mouse_loaded(&dev->mouse, err) < 0)
		return -1;
	if (dev->handles.a20)
		dev->handles.a20(dev->handles.opaque, dev->output_port & OUT_A20);
	if (dev->handles.leds)
		dev->handles.leds(dev->handles.opaque, dev->keyboard.leds);
	return 0;
}

static void i8042_destroy(void *device)
{
	struct i8042 *dev = device;
	timer_cancel(&dev->keyboard.timer);
	io_space_unmap(dev->handles.ports, &dev->data);
	io_space_unmap(dev->handles.ports, &dev->status);
	io_space_unmap(dev->handles.ports, &dev->port_92);
	free(dev);
}

static const struct device_type i8042_type = {
	.name = "i8042",
	.fields = i8042_fields,
	.reset = i8042_reset,
	.loaded = i8042_loaded,
	.destroy = i8042_destroy,
};

struct i8042 *i8042_create(const struct i8042_config *config, struct error *err)
{
	struct i8042 *dev = calloc(1, sizeof(*dev));
	if (!dev) {
		error_set(err, ENOMEM, "i8042: out of memory");
		return NULL;
	}
	device_init(&dev->device, &i8042_type, "i8042", config->lock);
	dev->handles = *config;
	timer_init(&dev->keyboard.timer, config->clock, config->lock, on_repeat, dev);
	dev->data = (struct io_region){ "i8042 data", &data_ops, dev, config->lock, .base = 0x60, .size = 1 };
	dev->status = (struct io_region){ "i8042 status", &status_ops, dev, config->lock, .base = 0x64, .size = 1 };
	dev->port_92 = (struct io_region){ "port 92", &port_92_ops, dev, config->lock, .base = 0x92, .size = 1 };
	if (io_space_map(config->ports, &dev->data, err) < 0 || io_space_map(config->ports, &dev->status, err) < 0 ||
	    io_space_map(config->ports, &dev->port_92, err) < 0) {
		i8042_destroy(dev);
		return NULL;
	}
	return dev;
}
