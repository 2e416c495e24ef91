/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define QUEUE_SIZE 64
enum { QUEUE_EVENTS, QUEUE_STATUS, QUEUE_COUNT };

/* 5.8.4 */
enum { SELECT_NAME = 0x01, SELECT_SERIAL = 0x02, SELECT_IDS = 0x03, SELECT_EV_BITS = 0x11, SELECT_ABS_INFO = 0x12 };

enum { EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_LED = 0x11, EV_REP = 0x14 };
enum { ABS_X, ABS_Y };
#define REL_WHEEL 8
#define BTN_LEFT 0x110
#define KEYS 128u
#define LEDS 3u

#define WAITING_MAX 256u /* events for which the guest has not given buffers; what comes then is lost, in whole reports */

struct input_space {
	uint8_t select, subsel, size, reserved[5];
	uint8_t data[128];
} __attribute__((packed));

struct input_event {
	uint16_t type, code;
	uint32_t value;
};

struct virtio_input {
	struct virtio_device virtio;
	enum virtio_input_kind kind;
	struct input_space space;
	unsigned buttons;        /* held, as last said */
	struct input_event waiting[WAITING_MAX];
	unsigned first, count;
};

static struct virtio_input *input_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_input, virtio);
}

/* --- what it is --- */

static uint8_t set_bits(uint8_t *data, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		data[i / 8] |= (uint8_t)(1u << i % 8);
	return (uint8_t)((first + count + 7) / 8);
}

static uint8_t event_bits(const struct virtio_input *input, uint8_t type, uint8_t *data)
{
	bool keyboard = input->kind == VIRTIO_INPUT_KEYBOARD;
	switch (type) {
	case EV_KEY: return keyboard ? set_bits(data, 1, KEYS - 1) : set_bits(data, BTN_LEFT, 3);
	case EV_REL: return keyboard ? 0 : set_bits(data, REL_WHEEL, 1);
	case EV_ABS: return keyboard ? 0 : set_bits(data, ABS_X, 2);
	case EV_LED: return keyboard ? set_bits(data, 0, LEDS) : 0;
	case EV_REP: return keyboard;
	default: return 0;
	}
}

static uint8_t describe(const struct virtio_input *input, uint8_t select, uint8_t subsel, uint8_t *data)
{
	bool keyboard = input->kind == VIRTIO_INPUT_KEYBOARD;
	const char *name = keyboard ? "visor keyboard" : "visor tablet";
	switch (select) {
	case SELECT_NAME:
		memcpy(data, name, strlen(name));
		return (uint8_t)strlen(name);
	case SELECT_IDS: /* BUS_VIRTUAL, vendor, product, version */
		store_le16(data, 6);
		store_le16(data + 2, 0x1af4);
		store_le16(data + 4, keyboard ? 1 : 3);
		store_le16(data + 6, 1);
		return 8;
	case SELECT_EV_BITS:
		return event_bits(input, subsel, data);
	case SELECT_ABS_INFO: /* least, most, fuzz, flat, resolution */
		if (keyboard || subsel > ABS_Y)
			return 0;
		store_le32(data + 4, VIRTIO_INPUT_RANGE);
		return 20;
	default:
		return 0;
	}
}

static void show(struct virtio_input *input)
{
	struct input_space *s = &input->space;
	memset(s->data, 0, sizeof(s->data));
	s->size = describe(input, s->select, s->subsel, s->data);
}

static void config_written(struct virtio_device *virtio, unsigned offset, uint64_t value, unsigned size)
{
	struct virtio_input *input = input_of(virtio);
	for (unsigned i = 0; i < size; i++, value >>= 8) {
		if (offset + i == offsetof(struct input_space, select))
			input->space.select = (uint8_t)value;
		else if (offset + i == offsetof(struct input_space, subsel))
			input->space.subsel = (uint8_t)value;
	}
	show(input);
}

/* --- events --- */

static void flush(struct virtio_input *input)
{
	struct virtio_device *virtio = &input->virtio;
	struct virtqueue_element element;
	bool any = false;
	do {
		while (input->count && virtio_pop(virtio, QUEUE_EVENTS, &element)) {
			const struct input_event *event = &input->waiting[input->first];
			uint64_t n = iov_write(element.iov + element.out_count, element.in_count, 0, event, sizeof(*event));
			virtio_push(virtio, QUEUE_EVENTS, &element, (uint32_t)n);
			input->first = (input->first + 1) % WAITING_MAX;
			input->count--;
			any = true;
		}
	} while (input->count && virtio_ask(virtio, QUEUE_EVENTS));
	if (any)
		virtio_signal(virtio, QUEUE_EVENTS);
}

/* The events of one moment, and the one that ends them. Where memory is out of reach for a while they wait. */
static void report(struct virtio_input *input, const struct input_event *events, unsigned count)
{
	if (!virtio_driven(&input->virtio) || !count || count + 1 > WAITING_MAX - input->count)
		return;
	for (unsigned i = 0; i <= count; i++)
		input->waiting[(input->first + input->count++) % WAITING_MAX] = i < count ? events[i] : (struct input_event){ EV_SYN, 0, 0 };
	flush(input);
}

void virtio_input_key(struct virtio_input *input, unsigned code, bool down)
{
	const struct input_event event = { EV_KEY, (uint16_t)code, down };
	lock_take(&input->virtio.lock);
	if (code && code < KEYS)
		report(input, &event, 1);
	lock_release(&input->virtio.lock);
}

void virtio_input_pointer(struct virtio_input *input, unsigned x, unsigned y, int wheel, unsigned buttons)
{
	struct input_event events[6] = {
		{ EV_ABS, ABS_X, MIN(x, VIRTIO_INPUT_RANGE) }, { EV_ABS, ABS_Y, MIN(y, VIRTIO_INPUT_RANGE) },
	};
	unsigned count = 2;
	lock_take(&input->virtio.lock);
	for (unsigned i = 0; i < 3; i++)
		if ((input->buttons ^ buttons) >> i & 1)
			events[count++] = (struct input_event){ EV_KEY, (uint16_t)(BTN_LEFT + i), buttons >> i & 1 };
	if (wheel)
		events[count++] = (struct input_event){ EV_REL, REL_WHEEL, (uint32_t)-wheel }; /* Linux counts away from the user */
	input->buttons = buttons;
	report(input, events, count);
	lock_release(&input->virtio.lock);
}

bool virtio_input_driven(struct virtio_input *input)
{
	lock_take(&input->virtio.lock);
	bool up = virtio_up(&input->virtio, QUEUE_EVENTS);
	lock_release(&input->virtio.lock);
	return up;
}

/* The lamps of a keyboard that nobody sees. */
static bool take_status(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	if (queue == QUEUE_STATUS)
		virtio_serve_chains(virtio, queue, take_status);
	else
		flush(input_of(virtio));
}

static void reset_input(struct virtio_device *virtio)
{
	struct virtio_input *input = input_of(virtio);
	input->count = input->buttons = 0;
	input->space.select = input->space.subsel = 0;
	show(input);
}

static const struct virtio_ops input_ops = { .serve = serve, .reset = reset_input, .config_written = config_written };

static const struct field space_fields[] = {
	FIELD(struct input_space, select),
	FIELD(struct input_space, subsel),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_input, virtio, virtio_device_fields),
	FIELD_STRUCT(struct virtio_input, space, space_fields),
	FIELD_END
};

static int loaded(void *device, struct error *err)
{
	show(device);
	return virtio_device_loaded(device, err);
}

static void destroy(void *device)
{
	struct virtio_input *input = device;
	virtio_device_destroy(&input->virtio);
	free(input);
}

static const struct device_type virtio_input_type = {
	.name = "virtio-input",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_input *virtio_input_create(const struct virtio_input_config *config, struct error *err)
{
	struct virtio_input *input = calloc(1, sizeof(*input));
	if (!input) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	input->kind = config->kind;
	input->virtio.ops = &input_ops;
	input->virtio.type = VIRTIO_TYPE_INPUT;
	input->virtio.class_code = config->kind == VIRTIO_INPUT_KEYBOARD ? 0x090000 : 0x098000;
	input->virtio.queue_count = QUEUE_COUNT;
	input->virtio.config = (const uint8_t *)&input->space;
	input->virtio.config_size = sizeof(input->space);
	virtio_device_init(&input->virtio, &virtio_input_type, &config->device, QUEUE_SIZE);
	return input;
}
