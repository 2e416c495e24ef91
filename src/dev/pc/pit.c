/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/pit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/pc/speaker.h"

/*
 * Nothing counts: a channel remembers the clock tick at which its counting
 * element was loaded, and count and output follow from the ticks since then. A
 * timer exists only for channel 0, whose output is an interrupt line.
 *
 * In modes 2 and 3 a count written while counting takes over at the end of the
 * cycle (or half cycle): `next_count` waits until `switch_tick`.
 */
#define CONTROL_BCD 0x01u
#define READ_BACK_NO_COUNT 0x20u
#define READ_BACK_NO_STATUS 0x10u

#define REFRESH_NS 15085u    /* the refresh request toggles about every 15 us (port 0x61 bit 4) */
#define MIN_REPEAT_NS 10000u /* a faster square wave would do nothing but keep the host busy */
#define MIN_REPEAT_COUNT 24u

enum access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

struct channel {
	uint64_t load_tick;    /* the counting element holds `count` at this tick */
	uint64_t switch_tick;  /* with has_next: when next_count is loaded */
	uint64_t frozen;       /* ticks counted when the gate stopped it */
	uint32_t count;        /* initial count in effect, 1..0x10000 */
	uint32_t next_count;
	uint16_t latched_count;
	uint8_t latched_status;
	uint8_t mode, access;
	uint8_t write_low;     /* first byte of two */
	bool bcd, gate;
	bool loaded;           /* a count has been written since the control word */
	bool counting;         /* loaded, and in modes 1 and 5 triggered */
	bool stopped;          /* by the gate, or mode 0 between two bytes */
	bool has_next;
	bool write_high_next, read_high_next;
	bool has_latched_count, has_latched_status;
};

struct pit {
	struct device device;
	struct channel channel[3];
	bool speaker, parity_check, channel_check; /* port 0x61 bits 1 to 3 */
	struct speaker sound;
	struct vclock *clock;
	struct timer timer;
	struct irq_line irq;
	struct io_region region, port_b;
	struct io_space *ports;
};

static uint64_t now_tick(struct pit *pit)
{
	return muldiv64(vclock_now(pit->clock), PIT_HZ, NS_PER_SEC);
}

static uint64_t tick_ns(uint64_t tick)
{
	return muldiv64_up(tick, NS_PER_SEC, PIT_HZ);
}

static uint32_t modulus(const struct channel *c)
{
	return c->bcd ? 10000 : 0x10000;
}

static uint32_t high_part(uint32_t count)
{
	return (count + 1) / 2;
}

/* Ticks since the load; 0 in the tick between the write and the load. */
static uint64_t elapsed(const struct channel *c, uint64_t now)
{
	if (c->stopped)
		return c->frozen;
	int64_t ticks = (int64_t)(now - c->load_tick);
	return ticks > 0 ? (uint64_t)ticks : 0;
}

/* Lets a waiting count take over when its time has come. */
static void advance(struct channel *c, uint64_t now)
{
	if (!c->has_next || c->stopped || now < c->switch_tick)
		return;
	bool enter_low = false;
	if (c->mode == 3) {
		uint64_t at = (c->switch_tick - c->load_tick) % c->count;
		enter_low = at == high_part(c->count) && c->next_count > 1;
	}
	c->count = c->next_count;
	c->load_tick = c->switch_tick - (enter_low ? high_part(c->count) : 0);
	c->has_next = false;
}

static bool output(const struct channel *c, uint64_t now)
{
	if (!c->counting)
		return c->mode != 0;
	uint64_t ticks = elapsed(c, now);
	switch (c->mode) {
	case 0: case 1:
		return ticks >= c->count;
	case 2:
		return !c->gate || ticks % c->count != c->count - 1;
	case 3:
		return !c->gate || ticks % c->count < high_part(c->count);
	default:
		return ticks != c->count;
	}
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t value)
{
	return (value & 15u) + (value >> 4 & 15u) * 10 + (value >> 8 & 15u) * 100 + (value >> 12) * 1000u;
}

/* What the counting element shows. */
static uint16_t counter(const struct channel *c, uint64_t now)
{
	uint64_t ticks = c->counting ? elapsed(c, now) : 0;
	uint32_t value;
	if (c->mode == 2) {
		value = c->count - (uint32_t)(ticks % c->count);
	} else if (c->mode == 3) {
		/* By twos, from the even number at or below the count. */
		uint32_t at = (uint32_t)(ticks % c->count), high = high_part(c->count);
		value = (c->count & ~1u) - 2 * (at < high ? at : at - high);
	} else {
		uint32_t m = modulus(c);
		value = (c->count % m + m - (uint32_t)(ticks % m)) % m;
	}
	value %= modulus(c);
	return c->bcd ? to_bcd(value) : (uint16_t)value;
}

/* The tick after `now` at which the output changes next, or 0 when it never does. */
static uint64_t next_change(const struct channel *c, uint64_t now)
{
	if (!c->counting || c->stopped)
		return 0;
	uint64_t ticks = elapsed(c, now), start = c->load_tick;
	if ((int64_t)(now - start) < 0) /* the start may lie before tick 0 */
		now = start;
	uint64_t at = ticks % c->count, cycle = now - at, next;
	switch (c->mode) {
	case 0: case 1:
		return ticks < c->count ? start + c->count : 0;
	case 2:
		next = cycle + c->count; /* the low tick before the rise is nobody's business */
		break;
	case 3:
		next = cycle + (at < high_part(c->count) && c->count > 1 ? high_part(c->count) : c->count);
		break;
	default:
		return ticks < c->count ? start + c->count : ticks == c->count ? start + c->count + 1 : 0;
	}
	return c->has_next && c->switch_tick < next ? c->switch_tick : next;
}

static void update(struct pit *pit)
{
	struct channel *c = &pit->channel[0];
	uint64_t now = now_tick(pit);
	advance(c, now);
	irq_set(&pit->irq, output(c, now));
	uint64_t next = next_change(c, now);
	if (!next) {
		timer_cancel(&pit->timer);
		return;
	}
	uint64_t ns = tick_ns(next);
	if ((c->mode == 2 || c->mode == 3) && c->count < MIN_REPEAT_COUNT)
		ns = MAX(ns, vclock_now(pit->clock) + MIN_REPEAT_NS);
	timer_arm(&pit->timer, ns);
}

static void on_timer(void *opaque)
{
	struct pit *pit = opaque;
	if (pit->channel[0].mode == 2)
		irq_set(&pit->irq, 0); /* the one low tick of the cycle that has ended */
	update(pit);
}

/* Starts the counting element from `count` at the next clock. */
static void load(struct channel *c, uint32_t count, uint64_t now)
{
	c->count = count;
	c->load_tick = now + 1;
	c->frozen = 0;
	c->counting = true;
	c->has_next = false;
}

static void write_count(struct channel *c, uint16_t value, uint64_t now)
{
	uint32_t count = c->bcd ? from_bcd(value) : value;
	if (!count)
		count = modulus(c);
	bool first = !c->loaded;
	c->loaded = true;
	switch (c->mode) {
	case 0: case 4:
		load(c, count, now);
		c->stopped = !c->gate;
		break;
	case 1: case 5:
		c->next_count = count; /* the trigger loads it */
		c->has_next = true;
		c->switch_tick = UINT64_MAX;
		break;
	default:
		if (first || c->stopped) {
			load(c, count, now);
			c->stopped = !c->gate;
			break;
		}
		c->next_count = count;
		c->has_next = true;
		uint64_t at = elapsed(c, now) % c->count;
		uint64_t end = c->mode == 3 && at < high_part(c->count) ? high_part(c->count) : c->count;
		c->switch_tick = MAX(now, c->load_tick) - at + end;
	}
}

static void write_counter(struct channel *c, uint8_t value, uint64_t now)
{
	if (c->access == ACCESS_LOW)
		return write_count(c, value, now);
	if (c->access == ACCESS_HIGH)
		return write_count(c, (uint16_t)(value << 8), now);
	if (!c->write_high_next) {
		c->write_low = value;
		c->write_high_next = true;
		if (c->mode == 0) { /* the first byte disables counting, the output goes low */
			c->counting = false;
			c->has_next = false;
		}
		return;
	}
	c->write_high_next = false;
	write_count(c, (uint16_t)(value << 8 | c->write_low), now);
}

static void set_gate(struct channel *c, bool gate, uint64_t now)
{
	bool rise = gate && !c->gate;
	bool fall = !gate && c->gate;
	advance(c, now);
	c->gate = gate;
	if (c->mode == 1 || c->mode == 5) {
		if (rise && c->loaded)
			load(c, c->has_next ? c->next_count : c->count, now);
		return;
	}
	if (!c->counting)
		return;
	if (fall) {
		c->frozen = elapsed(c, now);
		c->stopped = true;
	}
	if (rise && (c->mode == 2 || c->mode == 3)) {
		c->stopped = false;
		load(c, c->has_next ? c->next_count : c->count, now);
	} else if (rise) {
		c->stopped = false;
		c->load_tick = now - c->frozen;
	}
}

static bool null_count(const struct channel *c, uint64_t now)
{
	return !c->loaded || c->has_next || (c->counting && !c->stopped && now < c->load_tick);
}

static void latch_count(struct channel *c, uint64_t now)
{
	if (c->has_latched_count)
		return;
	c->latched_count = counter(c, now);
	c->has_latched_count = true;
}

static void latch_status(struct channel *c, uint64_t now)
{
	if (c->has_latched_status)
		return;
	c->latched_status = (uint8_t)(output(c, now) << 7 | null_count(c, now) << 6 | c->access << 4 | c->mode << 1 | c->bcd);
	c->has_latched_status = true;
}

static void read_back(struct pit *pit, uint8_t value, uint64_t now)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(value & BIT(i + 1)))
			continue;
		advance(&pit->channel[i], now);
		if (!(value & READ_BACK_NO_COUNT))
			latch_count(&pit->channel[i], now);
		if (!(value & READ_BACK_NO_STATUS))
			latch_status(&pit->channel[i], now);
	}
}

static void write_control(struct pit *pit, uint8_t value, uint64_t now)
{
	unsigned select = value >> 6;
	if (select == 3)
		return read_back(pit, value, now);
	struct channel *c = &pit->channel[select];
	advance(c, now);
	if ((value >> 4 & 3) == ACCESS_LATCH)
		return latch_count(c, now);
	uint16_t shown = counter(c, now);
	bool gate = c->gate;
	*c = (struct channel){ .gate = gate, .access = value >> 4 & 3, .mode = value >> 1 & 7, .bcd = value & CONTROL_BCD };
	if (c->mode > 5)
		c->mode &= 3; /* 110 and 111 are modes 2 and 3 */
	c->count = c->bcd ? from_bcd(shown) : shown;
	if (!c->count)
		c->count = modulus(c);
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;
	uint64_t now = now_tick(pit);
	speaker_run(&pit->sound);
	if (offset == 3) {
		write_control(pit, (uint8_t)value, now);
	} else {
		advance(&pit->channel[offset], now);
		write_counter(&pit->channel[offset], (uint8_t)value, now);
	}
	speaker_go_on(&pit->sound);
	update(pit);
}

/* The byte of a 16-bit count that the access mode asks for now. */
static uint8_t count_byte(struct channel *c, uint16_t count, bool *last)
{
	*last = true;
	if (c->access == ACCESS_LOW)
		return (uint8_t)count;
	if (c->access == ACCESS_HIGH)
		return (uint8_t)(count >> 8);
	*last = c->read_high_next;
	c->read_high_next = !c->read_high_next;
	return (uint8_t)(*last ? count >> 8 : count);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;
	if (offset == 3)
		return 0xff; /* the control word cannot be read */
	struct channel *c = &pit->channel[offset];
	uint64_t now = now_tick(pit);
	advance(c, now);
	if (c->has_latched_status) {
		c->has_latched_status = false;
		return c->latched_status;
	}
	bool last;
	if (!c->has_latched_count)
		return count_byte(c, counter(c, now), &last);
	uint8_t byte = count_byte(c, c->latched_count, &last);
	c->has_latched_count = !last;
	return byte;
}

static uint64_t port_b_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;
	struct channel *c = &pit->channel[2];
	uint64_t now = now_tick(pit);
	advance(c, now);
	bool refresh = vclock_now(pit->clock) / REFRESH_NS & 1;
	return c->gate | pit->speaker << 1 | pit->parity_check << 2 | pit->channel_check << 3 | refresh << 4 |
	       output(c, now) << 5;
}

static void port_b_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;
	speaker_run(&pit->sound);
	set_gate(&pit->channel[2], value & 1, now_tick(pit));
	pit->speaker = value & 2;
	pit->parity_check = value & 4;
	pit->channel_check = value & 8;
	speaker_go_on(&pit->sound);
}

static bool speaker_level(void *opaque, uint64_t tick, uint64_t *until)
{
	struct pit *pit = opaque;
	struct channel *c = &pit->channel[2];
	advance(c, tick);
	uint64_t next = pit->speaker ? next_change(c, tick) : 0;
	*until = next ? next : UINT64_MAX;
	return pit->speaker && output(c, tick);
}

static const struct io_ops pit_ops = { pit_read, pit_write, 1 };
static const struct io_ops port_b_ops = { port_b_read, port_b_write, 1 };

static const struct field channel_fields[] = {
	FIELD(struct channel, load_tick),
	FIELD(struct channel, switch_tick),
	FIELD(struct channel, frozen),
	FIELD_RESET(struct channel, count, 0x10000),
	FIELD_RESET(struct channel, next_count, 0x10000),
	FIELD(struct channel, latched_count),
	FIELD(struct channel, latched_status),
	FIELD(struct channel, mode),
	FIELD_RESET(struct channel, access, ACCESS_BOTH),
	FIELD(struct channel, write_low),
	FIELD(struct channel, bcd),
	FIELD_RESET(struct channel, gate, 1),
	FIELD(struct channel, loaded),
	FIELD(struct channel, counting),
	FIELD(struct channel, stopped),
	FIELD(struct channel, has_next),
	FIELD(struct channel, write_high_next),
	FIELD(struct channel, read_high_next),
	FIELD(struct channel, has_latched_count),
	FIELD(struct channel, has_latched_status),
	FIELD_END
};

static const struct field pit_fields[] = {
	FIELD_STRUCT_ARRAY(struct pit, channel, channel_fields),
	FIELD(struct pit, speaker),
	FIELD(struct pit, parity_check),
	FIELD(struct pit, channel_check),
	FIELD_STRUCT(struct pit, sound, speaker_fields),
	FIELD_END
};

static void pit_reset(void *device)
{
	struct pit *pit = device;
	pit->channel[2].gate = false; /* port 0x61 is zero */
	speaker_reset(&pit->sound);
	update(pit);
}

static void pit_saving(void *device)
{
	struct pit *pit = device;
	speaker_run(&pit->sound);
}

static int pit_loaded(void *device, struct error *err)
{
	struct pit *pit = device;
	bool possible = true;
	for (unsigned i = 0; i < 3; i++) {
		const struct channel *c = &pit->channel[i];
		if (c->mode > 5 || c->access > ACCESS_BOTH || c->count - 1 > 0xffff ||
		    (c->has_next && c->next_count - 1 > 0xffff))
			possible = false;
	}
	if (!possible || !speaker_loaded(&pit->sound))
		return error_set(err, EINVAL, "%s: impossible state in the saved machine; the file is damaged", pit->device.name);
	uint64_t next = next_change(&pit->channel[0], now_tick(pit));
	timer_cancel(&pit->timer);
	if (next)
		timer_arm(&pit->timer, tick_ns(next));
	return 0;
}

static void pit_destroy(void *device)
{
	struct pit *pit = device;
	timer_cancel(&pit->timer);
	speaker_end(&pit->sound);
	io_space_unmap(pit->ports, &pit->region);
	io_space_unmap(pit->ports, &pit->port_b);
	free(pit);
}

static const struct device_type pit_type = {
	.name = "pit",
	.fields = pit_fields,
	.reset = pit_reset,
	.saving = pit_saving,
	.loaded = pit_loaded,
	.destroy = pit_destroy,
};

struct pit *pit_create(const struct pit_config *config, struct error *err)
{
	struct pit *pit = calloc(1, sizeof(*pit));
	if (!pit) {
		error_set(err, ENOMEM, "pit: out of memory");
		return NULL;
	}
	device_init(&pit->device, &pit_type, "pit", config->lock);
	pit->clock = config->clock;
	pit->irq = config->irq;
	pit->ports = config->ports;
	timer_init(&pit->timer, config->clock, config->lock, on_timer, pit);
	pit->sound.level = speaker_level;
	pit->sound.opaque = pit;
	speaker_init(&pit->sound, config->lock, config->clock, config->audio);
	pit->region = (struct io_region){ "pit", &pit_ops, pit, config->lock, .base = 0x40, .size = 4 };
	pit->port_b = (struct io_region){ "port 61", &port_b_ops, pit, config->lock, .base = 0x61, .size = 1 };
	if (io_space_map(config->ports, &pit->region, err) < 0 || io_space_map(config->ports, &pit->port_b, err) < 0) {
		pit_destroy(pit);
		return NULL;
	}
	return pit;
}
