/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The OPL3 on the card: ports, timers and status, and its sound in the machine's time. It plays up to now before a register
 * changes, and while something is heard by a timer; while nothing is, or nobody listens, only its clock is set forward.
 */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

enum { REG_TIMER1 = 2, REG_CONTROL = 4, REG_NEW = 5 };

#define CONTROL_START1 0x01u
#define CONTROL_MASK1 0x40u /* also the first timer's flag */
#define CONTROL_RESET 0x80u
#define STATUS_ANY 0x80u

#define TICK_NS (NS_PER_SEC / 100)
#define LATE (OPL3_RATE / 2) /* samples; more than that are not caught up with */
#define PIECE 512u

/* A read over the ISA bus: eight cycles of 8.33 MHz. Looks at the clock meanwhile, which may stand still: that many at most. */
#define BUS_NS 1000u
#define BUS_LOOKS 64u

/* --- sound --- */

static uint64_t samples_now(const struct sb16 *sb)
{
	return muldiv64(vclock_now(sb->clock), OPL3_RATE, NS_PER_SEC);
}

static uint64_t next_sample_time(const struct sb16 *sb)
{
	return muldiv64(sb->opl3.clock, NS_PER_SEC, OPL3_RATE);
}

static void play(struct sb16 *sb, unsigned count)
{
	int16_t frames[2 * PIECE];
	int32_t gain[2];
	uint64_t at = next_sample_time(sb);
	sb16_gain(sb, MIXER_FM, gain);
	opl3_render(&sb->opl3, frames, count);
	for (unsigned i = 0; i < 2 * count; i++)
		frames[i] = sb16_scale(frames[i], gain[i & 1]);
	audio_play(&sb->fm_voice, OPL3_RATE, at, frames, count);
}

void sb16_fm_run(struct sb16 *sb)
{
	struct opl3 *chip = &sb->opl3;
	uint64_t now = samples_now(sb);
	if (now > chip->clock + LATE) {
		audio_rest(&sb->fm_voice);
		opl3_skip(chip, now - LATE - chip->clock);
	}
	while (chip->clock < now && audio_heard(&sb->fm_voice) && opl3_audible(chip))
		play(sb, (unsigned)MIN(now - chip->clock, (uint64_t)PIECE));
	if (chip->clock < now) {
		audio_rest(&sb->fm_voice);
		opl3_skip(chip, now - chip->clock);
	}
}

static void schedule(struct sb16 *sb)
{
	bool wanted = audio_heard(&sb->fm_voice) && opl3_audible(&sb->opl3);
	if (!wanted) {
		timer_cancel(&sb->fm_timer);
		return;
	}
	audio_begin(&sb->fm_voice, OPL3_RATE, next_sample_time(sb));
	if (!timer_armed(&sb->fm_timer))
		timer_arm(&sb->fm_timer, vclock_now(sb->clock) + TICK_NS);
}

void sb16_fm_timer(void *opaque)
{
	struct sb16 *sb = opaque;
	sb16_fm_run(sb);
	schedule(sb);
}

/* --- timers --- */

/* Sets the flags of timers that have run over, which begin anew with what their register says. */
static void settle(struct sb16 *sb)
{
	const uint8_t *reg = sb->opl3.reg[0];
	uint64_t now = vclock_now(sb->clock);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t tick = i ? 320000 : 80000, period = (256u - sb->opl_loaded[i]) * tick;
		if (!(reg[REG_CONTROL] & CONTROL_START1 << i) || now - sb->opl_started[i] < period)
			continue;
		sb->opl_flags |= (uint8_t)(CONTROL_MASK1 >> i & ~reg[REG_CONTROL]);
		sb->opl_started[i] += period;
		sb->opl_loaded[i] = reg[REG_TIMER1 + i];
		period = (256u - sb->opl_loaded[i]) * tick;
		sb->opl_started[i] += (now - sb->opl_started[i]) / period * period;
	}
}

static void control(struct sb16 *sb, uint8_t value)
{
	uint8_t *now = &sb->opl3.reg[0][REG_CONTROL];
	if (value & CONTROL_RESET) {
		sb->opl_flags = 0; /* the rest of the byte does not count */
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		if (value & ~*now & CONTROL_START1 << i) {
			sb->opl_started[i] = vclock_now(sb->clock);
			sb->opl_loaded[i] = sb->opl3.reg[0][REG_TIMER1 + i];
		}
	*now = value;
	sb->opl_flags &= (uint8_t)~value; /* a masked flag stays down */
}

/* --- ports --- */

/*
 * Programs wait for a timer, when they look for an AdLib, by that many reads of the status as took 80 µs and more on every
 * bus there was. They have to take as long here, while a timer is waited for.
 */
static void spend_bus_time(const struct sb16 *sb)
{
	uint8_t control = sb->opl3.reg[0][REG_CONTROL], awaited = 0;
	for (unsigned i = 0; i < 2; i++)
		awaited |= control & CONTROL_START1 << i ? CONTROL_MASK1 >> i & ~control & ~sb->opl_flags : 0;
	uint64_t end = vclock_now(sb->clock) + BUS_NS;
	for (unsigned i = 0; awaited && i < BUS_LOOKS && vclock_now(sb->clock) < end; i++)
		;
}

uint8_t sb16_fm_read(struct sb16 *sb, unsigned reg)
{
	settle(sb);
	spend_bus_time(sb);
	return reg & 1 ? 0xff : sb->opl_flags ? sb->opl_flags | STATUS_ANY : 0;
}

/* Ports 0 and 2 take the address of a register in the one and the other array, 1 and 3 its value. */
void sb16_fm_write(struct sb16 *sb, unsigned reg, uint8_t value)
{
	unsigned array = sb->opl_index[1] & 1;
	uint8_t index = sb->opl_index[0];
	if (!(reg & 1)) {
		/* An OPL2 has one array; NEW itself is in the other. */
		sb->opl_index[0] = value;
		sb->opl_index[1] = reg >> 1 & 1 && (value == REG_NEW || sb->opl3.reg[1][REG_NEW] & 1);
		return;
	}
	if (!array && index >= REG_TIMER1 && index <= REG_CONTROL) {
		settle(sb);
		if (index == REG_CONTROL)
			control(sb, value);
		else
			sb->opl3.reg[0][index] = value;
		return;
	}
	sb16_fm_run(sb);
	opl3_write(&sb->opl3, array, index, value);
	schedule(sb);
}

static uint64_t fm_read(void *opaque, uint64_t offset, unsigned size)
{
	return sb16_fm_read(opaque, (unsigned)offset);
}

static void fm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	sb16_fm_write(opaque, (unsigned)offset, (uint8_t)value);
}

const struct io_ops sb16_fm_ops = { fm_read, fm_write, 1 };

/* --- state --- */

void sb16_fm_reset(struct sb16 *sb)
{
	timer_cancel(&sb->fm_timer);
	audio_rest(&sb->fm_voice);
	sb->opl3.stale = true;
}

bool sb16_fm_loaded(struct sb16 *sb)
{
	if (!opl3_loaded(&sb->opl3))
		return false;
	sb->opl3.clock = MIN(sb->opl3.clock, samples_now(sb));
	schedule(sb);
	return true;
}
