/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/i8042.h"
#include "display/keys.h"
#include "vm/machine_parts.h"

/*
 * Keys that are typed for the user: one event after another at a speed that firmware, with room for
 * 15 keys, and boot loaders keep up with, and not before the guest has read the last one. Time is the guest's.
 */
#define EVENT_NS 10000000u

static void on_time(void *opaque)
{
	struct machine *m = opaque;
	struct machine_input *input = &m->input;
	if (input->next == input->count) {
		input->next = input->count = 0;
		return;
	}
	timer_arm(&input->timer, vclock_now(&m->clock) + EVENT_NS);
	uint16_t event = input->events[input->next];
	if (machine_virtio_key(m, event & 0x7f, !(event & INPUT_RELEASE))) {
		input->next++;
		return;
	}
	if (!m->i8042 || !i8042_key_room(m->i8042))
		return;
	input->next++;
	i8042_key(m->i8042, event & 0x7f, !(event & INPUT_RELEASE));
}

void machine_init_input(struct machine *m)
{
	timer_init(&m->input.timer, &m->clock, NULL, on_time, m);
}

void machine_stop_input(struct machine *m)
{
	if (m->input.timer.clock)
		timer_cancel(&m->input.timer);
}

static void add(struct machine_input *input, unsigned code, bool down)
{
	input->events[input->count++] = (uint16_t)(code | (down ? 0 : INPUT_RELEASE));
}

static int want_room(struct machine *m, size_t events, struct error *err)
{
	if (!m->i8042 && !m->config.services.input)
		return error_set(err, ENODEV, "the machine has no keyboard");
	if (events > ARRAY_SIZE(m->input.events) - m->input.count)
		return error_set(err, ENOSPC, "the keys typed before are not all pressed yet; type less, or later");
	return 0;
}

static void begin(struct machine *m)
{
	if (!timer_armed(&m->input.timer))
		timer_arm(&m->input.timer, vclock_now(&m->clock));
}

int machine_type_text(struct machine *m, const char *text, struct error *err)
{
	bool shift;
	for (const char *c = text; *c; c++)
		if (!key_by_character((unsigned char)*c, &shift))
			return error_set(err, EINVAL, "character 0x%02x is on no key of a US keyboard", (unsigned char)*c);
	if (want_room(m, 4 * strlen(text), err) < 0)
		return -1;
	for (const char *c = text; *c; c++) {
		unsigned code = key_by_character((unsigned char)*c, &shift);
		if (shift)
			add(&m->input, KEY_LEFT_SHIFT, true);
		add(&m->input, code, true);
		add(&m->input, code, false);
		if (shift)
			add(&m->input, KEY_LEFT_SHIFT, false);
	}
	begin(m);
	return 0;
}

int machine_press_keys(struct machine *m, const char *chord, struct error *err)
{
	unsigned codes[KEY_CHORD_MAX];
	int count = key_chord(chord, codes, err);
	if (count < 0 || want_room(m, 2 * (size_t)count, err) < 0)
		return -1;
	for (int i = 0; i < count; i++)
		add(&m->input, codes[i], true);
	for (int i = count; i-- > 0;)
		add(&m->input, codes[i], false);
	begin(m);
	return 0;
}

struct key_event {
	struct machine *machine;
	unsigned code;
	bool down;
};

static void take_key(void *opaque)
{
	struct key_event *event = opaque;
	struct machine *m = event->machine;
	struct error err;
	if (want_room(m, 1, &err) == 0) {
		add(&m->input, event->code, event->down);
		begin(m);
	}
	free(event);
}

/* By the same way as what is typed: a viewer may send keys faster than the guest takes them. */
void machine_key(struct machine *m, unsigned code, bool down)
{
	struct key_event *event = malloc(sizeof(*event));
	if (!event)
		return;
	*event = (struct key_event){ m, code, down };
	loop_post(m->loop, take_key, event);
}

void machine_mouse(struct machine *m, int dx, int dy, int dz, unsigned buttons)
{
	if (m->i8042)
		i8042_mouse(m->i8042, dx, dy, dz, buttons);
}
