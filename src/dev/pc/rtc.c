/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/rtc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/*
 * The time is an offset to the virtual clock; the time registers are written
 * from it whenever somebody looks, and it is computed anew when they are
 * written. With SET (or the divider held in reset) the registers stand still.
 * The flags of register C are likewise computed when looked at: `checked` is
 * the time up to which they are. A timer runs only for enabled interrupts.
 */
enum { REG_SECOND, REG_SECOND_ALARM, REG_MINUTE, REG_MINUTE_ALARM, REG_HOUR, REG_HOUR_ALARM, REG_WEEKDAY, REG_DAY,
       REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D, REG_CENTURY = 0x32 };

#define A_UIP 0x80u
#define A_RATE 0x0fu
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQF 0x80u
#define C_PF 0x40u
#define C_AF 0x20u
#define C_UF 0x10u
#define D_VALID 0x80u
#define HOUR_PM 0x80u
#define ALARM_ANY 0xc0u

#define UIP_NS 244141u         /* UIP comes this long before the update */
#define CRYSTAL_HZ 32768u
#define SECONDS_PER_DAY 86400
#define SECONDS_MAX 8500000000ll /* nanoseconds in 64 bits: the years 1700 to 2239 */

struct rtc {
	struct device device;
	uint8_t cmos[RTC_CMOS_SIZE];
	uint8_t index, extended_index;
	uint8_t flags;         /* register C without IRQF */
	int64_t offset;        /* ns since 1970 at virtual time 0 */
	int64_t checked;       /* flags are up to date with this time, ns since 1970 */
	bool stopped;
	bool nmi_masked;
	struct vclock *clock;
	struct timer timer;
	struct irq_line irq;
	void (*nmi_mask)(void *opaque, bool masked);
	void *nmi_opaque;
	struct io_region region;
	struct io_space *ports;
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t time_ns(const struct rtc *rtc)
{
	return rtc->offset + (int64_t)vclock_now(rtc->clock);
}

/* How far into its second a time is. */
static int64_t fraction_of(int64_t ns)
{
	int64_t rest = ns % (int64_t)NS_PER_SEC;
	return rest < 0 ? rest + (int64_t)NS_PER_SEC : rest;
}

/* --- Registers and calendar. --- */

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
	return (uint8_t)(rtc->cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return (uint8_t)(encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & 0x7f) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Days since 1970-01-01 of a date in the Gregorian calendar; the year is counted from March. */
static int64_t days_from_date(int64_t year, int month, int day)
{
	year -= month <= 2;
	int64_t era = floor_div(year, 400);
	int64_t in_era = year - era * 400;
	int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int *month, int *day)
{
	days += 719468;
	int64_t era = floor_div(days, 146097), in_era = days - era * 146097;
	int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
	int m = (int)((5 * in_year + 2) / 153);
	*day = (int)(in_year - (153 * m + 2) / 5 + 1);
	*month = m < 10 ? m + 3 : m - 9;
	*year = y + era * 400 + (*month <= 2);
}

static void registers_from_time(struct rtc *rtc)
{
	if (rtc->stopped)
		return;
	int64_t seconds = floor_div(time_ns(rtc), NS_PER_SEC);
	int64_t days = floor_div(seconds, SECONDS_PER_DAY), year;
	unsigned rest = (unsigned)(seconds - days * SECONDS_PER_DAY);
	int month, day;
	date_from_days(days, &year, &month, &day);
	rtc->cmos[REG_SECOND] = encode(rtc, rest % 60);
	rtc->cmos[REG_MINUTE] = encode(rtc, rest / 60 % 60);
	rtc->cmos[REG_HOUR] = encode_hour(rtc, rest / 3600);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, (unsigned)((days % 7 + 11) % 7) + 1); /* Sunday is 1 */
	rtc->cmos[REG_DAY] = encode(rtc, (unsigned)day);
	rtc->cmos[REG_MONTH] = encode(rtc, (unsigned)month);
	rtc->cmos[REG_YEAR] = encode(rtc, (unsigned)(year % 100 + 100) % 100);
	rtc->cmos[REG_CENTURY] = (uint8_t)((year / 1000 % 10) << 4 | year / 100 % 10);
}

/* Sets the clock to what the registers show, `fraction` ns into the second. */
static void time_from_registers(struct rtc *rtc, int64_t fraction)
{
	const uint8_t *r = rtc->cmos;
	int64_t century = (r[REG_CENTURY] >> 4) * 10 + (r[REG_CENTURY] & 15);
	int month = (int)decode(rtc, r[REG_MONTH]);
	int64_t days = days_from_date(century * 100 + decode(rtc, r[REG_YEAR]), MIN(MAX(month, 1), 12),
				      (int)decode(rtc, r[REG_DAY]));
	int64_t seconds = days * SECONDS_PER_DAY + (int64_t)decode_hour(rtc, r[REG_HOUR]) * 3600 +
			  decode(rtc, r[REG_MINUTE]) * 60 + decode(rtc, r[REG_SECOND]);
	seconds = MIN(MAX(seconds, -SECONDS_MAX), SECONDS_MAX);
	rtc->offset = seconds * (int64_t)NS_PER_SEC + fraction - (int64_t)vclock_now(rtc->clock);
	rtc->checked = time_ns(rtc);
}

/* --- Flags and interrupts. --- */

/* The periodic interrupt's period in crystal ticks, 0 for none. */
static unsigned period_ticks(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE;
	if (!rate)
		return 0;
	return BIT((rate < 3 ? rate + 7 : rate) - 1);
}

static int64_t period_index(int64_t ns, unsigned ticks)
{
	return floor_div(ns, NS_PER_SEC) * (CRYSTAL_HZ / ticks) +
	       (ns - floor_div(ns, NS_PER_SEC) * (int64_t)NS_PER_SEC) * CRYSTAL_HZ / ticks / (int64_t)NS_PER_SEC;
}

static bool divider_held(const struct rtc *rtc)
{
	return (rtc->cmos[REG_A] & 0x60) == 0x60;
}

static bool alarm_matches(uint8_t alarm, unsigned decoded, unsigned value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || decoded == value;
}

/* The first second after `seconds` at which the alarm registers match; -1 when none of the next day does. */
static int64_t next_alarm(const struct rtc *rtc, int64_t seconds)
{
	const uint8_t *r = rtc->cmos;
	int64_t end = seconds + SECONDS_PER_DAY;
	if (!alarm_matches(r[REG_SECOND_ALARM], decode(rtc, r[REG_SECOND_ALARM]) < 60, true) ||
	    !alarm_matches(r[REG_MINUTE_ALARM], decode(rtc, r[REG_MINUTE_ALARM]) < 60, true))
		return -1; /* no such second: do not look for it */
	for (int64_t at = seconds + 1; at <= end;) {
		unsigned rest = (unsigned)(at - floor_div(at, SECONDS_PER_DAY) * SECONDS_PER_DAY);
		if (!alarm_matches(r[REG_HOUR_ALARM], decode_hour(rtc, r[REG_HOUR_ALARM]), rest / 3600))
			at += 3600 - rest % 3600;
		else if (!alarm_matches(r[REG_MINUTE_ALARM], decode(rtc, r[REG_MINUTE_ALARM]), rest / 60 % 60))
			at += 60 - rest % 60;
		else if (!alarm_matches(r[REG_SECOND_ALARM], decode(rtc, r[REG_SECOND_ALARM]), rest % 60))
			at++;
		else
			return at;
	}
	return -1;
}

static uint8_t register_c(const struct rtc *rtc)
{
	return (uint8_t)(rtc->flags | (rtc->flags & rtc->cmos[REG_B] & (C_PF | C_AF | C_UF) ? C_IRQF : 0));
}

/* Brings the flags up to now. */
static void check_flags(struct rtc *rtc)
{
	int64_t now = time_ns(rtc), then = rtc->checked;
	unsigned ticks = period_ticks(rtc);
	rtc->checked = now;
	if (now <= then || divider_held(rtc))
		return;
	if (ticks && period_index(now, ticks) != period_index(then, ticks))
		rtc->flags |= C_PF;
	int64_t second = floor_div(now, NS_PER_SEC), old_second = floor_div(then, NS_PER_SEC);
	if (rtc->stopped || second == old_second)
		return;
	rtc->flags |= C_UF;
	int64_t alarm = next_alarm(rtc, old_second);
	if (alarm >= 0 && alarm <= second)
		rtc->flags |= C_AF;
}

/* When the next enabled interrupt is due, ns since 1970; INT64_MAX for never. */
static int64_t next_event(const struct rtc *rtc)
{
	uint8_t enabled = rtc->cmos[REG_B];
	int64_t second = floor_div(rtc->checked, NS_PER_SEC), event = INT64_MAX;
	unsigned ticks = period_ticks(rtc);
	if (divider_held(rtc))
		return INT64_MAX;
	if (enabled & B_UIE && !rtc->stopped)
		event = (second + 1) * (int64_t)NS_PER_SEC;
	if (enabled & B_AIE && !rtc->stopped) {
		int64_t alarm = next_alarm(rtc, second);
		if (alarm >= 0)
			event = MIN(event, alarm * (int64_t)NS_PER_SEC);
	}
	if (enabled & B_PIE && ticks) {
		unsigned per_second = CRYSTAL_HZ / ticks;
		int64_t index = period_index(rtc->checked, ticks) + 1;
		int64_t base = floor_div(index, per_second);
		int64_t rest = ((index - base * per_second) * ticks * (int64_t)NS_PER_SEC + CRYSTAL_HZ - 1) / CRYSTAL_HZ;
		event = MIN(event, base * (int64_t)NS_PER_SEC + rest);
	}
	return event;
}

/* While the line is up, nothing more can be told: the timer rests until register C is read. */
static void arm(struct rtc *rtc)
{
	int64_t event = register_c(rtc) & C_IRQF ? INT64_MAX : next_event(rtc);
	if (event == INT64_MAX)
		timer_cancel(&rtc->timer);
	else
		timer_arm(&rtc->timer, (uint64_t)MAX(event - rtc->offset, 0));
}

static void update(struct rtc *rtc)
{
	check_flags(rtc);
	irq_set(&rtc->irq, register_c(rtc) & C_IRQF ? 1 : 0);
	arm(rtc);
}

static void on_timer(void *opaque)
{
	update(opaque);
}

/* --- Ports. --- */

static bool is_time(unsigned index)
{
	return index == REG_CENTURY || (index <= REG_YEAR && (index >= REG_WEEKDAY || !(index & 1)));
}

/* After a write to register A or B: stops or starts the clock. The divider's reset ends half a second before the
 * next update; SET leaves the divider running, so the fraction of the second goes on. */
static void run_or_hold(struct rtc *rtc, bool divider_released)
{
	bool hold = rtc->cmos[REG_B] & B_SET || divider_held(rtc);
	if (hold == rtc->stopped)
		return;
	int64_t now = time_ns(rtc);
	int64_t fraction = fraction_of(now);
	if (hold) {
		check_flags(rtc);
		registers_from_time(rtc);
		rtc->stopped = true;
	} else {
		rtc->stopped = false;
		time_from_registers(rtc, divider_released ? (int64_t)NS_PER_SEC / 2 : fraction);
	}
}

static void write_time(struct rtc *rtc, unsigned index, uint8_t value)
{
	registers_from_time(rtc);
	rtc->cmos[index] = value;
	if (rtc->stopped)
		return;
	check_flags(rtc);
	time_from_registers(rtc, fraction_of(time_ns(rtc)));
}

static void write_a(struct rtc *rtc, uint8_t value)
{
	bool released = divider_held(rtc) && (value & 0x60) != 0x60;
	check_flags(rtc);
	rtc->cmos[REG_A] = value & 0x7f;
	run_or_hold(rtc, released);
}

static void write_b(struct rtc *rtc, uint8_t value)
{
	check_flags(rtc);
	registers_from_time(rtc);
	if (value & B_SET)
		value &= ~B_UIE; /* SET clears it */
	/* Hold in the old format, release in the new one: software sets the format with the registers. */
	if (value & B_SET)
		rtc->cmos[REG_B] |= B_SET;
	run_or_hold(rtc, false);
	rtc->cmos[REG_B] = value;
	run_or_hold(rtc, false);
}

static uint8_t read_a(const struct rtc *rtc)
{
	int64_t next = time_ns(rtc) + UIP_NS;
	bool updating = !rtc->stopped && floor_div(next, NS_PER_SEC) != floor_div(time_ns(rtc), NS_PER_SEC);
	return rtc->cmos[REG_A] | (updating ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *rtc)
{
	check_flags(rtc);
	uint8_t value = register_c(rtc);
	rtc->flags = 0;
	update(rtc);
	return value;
}

static uint8_t cmos_read(struct rtc *rtc, unsigned index)
{
	switch (index) {
	case REG_A: return read_a(rtc);
	case REG_C: return read_c(rtc);
	case REG_D: return D_VALID;
	}
	if (is_time(index))
		registers_from_time(rtc);
	return rtc->cmos[index];
}

static void cmos_write(struct rtc *rtc, unsigned index, uint8_t value)
{
	if (index == REG_C || index == REG_D)
		return; /* read-only */
	if (index == REG_A)
		write_a(rtc, value);
	else if (index == REG_B)
		write_b(rtc, value);
	else if (is_time(index))
		write_time(rtc, index, value);
	else {
		check_flags(rtc); /* under the alarm as it was */
		rtc->cmos[index] = value;
	}
	update(rtc);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
	struct rtc *rtc = opaque;
	switch (offset) {
	case 1: return cmos_read(rtc, rtc->index);
	case 3: return rtc->cmos[0x80 | rtc->extended_index];
	default: return 0xff; /* the index registers are write-only */
	}
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtc *rtc = opaque;
	switch (offset) {
	case 0:
		rtc->index = value & 0x7f;
		rtc->nmi_masked = value & 0x80;
		if (rtc->nmi_mask)
			rtc->nmi_mask(rtc->nmi_opaque, rtc->nmi_masked);
		break;
	case 1: cmos_write(rtc, rtc->index, (uint8_t)value); break;
	case 2: rtc->extended_index = value & 0x7f; break;
	case 3: rtc->cmos[0x80 | rtc->extended_index] = (uint8_t)value; break;
	}
}

static const struct io_ops rtc_ops = { rtc_read, rtc_write, 1 };

/* --- Contents that firmware reads. --- */

void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value)
{
	if (index > REG_D && index != REG_CENTURY && index < RTC_CMOS_SIZE)
		rtc->cmos[index] = value;
}

static void set_words(struct rtc *rtc, unsigned index, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		rtc_set_cmos(rtc, index + i, (uint8_t)(value >> 8 * i));
}

void rtc_describe(struct rtc *rtc, const struct rtc_shape *shape)
{
	uint64_t low = shape->ram_below_4g;
	uint64_t extended = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;     /* KiB above 1 MiB */
	uint64_t above_16m = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0;  /* 64 KiB blocks */
	lock_take(rtc->device.lock);
	set_words(rtc, 0x15, MIN(low >> 10, 640), 2);
	set_words(rtc, 0x17, MIN(extended, 0xffff), 2);
	set_words(rtc, 0x30, MIN(extended, 0xffff), 2);
	set_words(rtc, 0x34, MIN(above_16m, 0xffff), 2);
	set_words(rtc, 0x5b, shape->ram_above_4g >> 16, 3);
	rtc_set_cmos(rtc, 0x5f, (uint8_t)(shape->cpus ? shape->cpus - 1 : 0));
	rtc_set_cmos(rtc, 0x3d, (uint8_t)(shape->boot_order[1] << 4 | (shape->boot_order[0] & 15)));
	rtc_set_cmos(rtc, 0x38, (uint8_t)(shape->boot_order[2] << 4 | 1)); /* bit 0: no check of floppy signatures */
	static const uint8_t types[] = { 0, 0x40, 0x44 }, equipment[] = { 0, 0x01, 0x41 };
	unsigned floppies = MIN(shape->floppies, 2u);
	rtc_set_cmos(rtc, 0x10, types[floppies]);
	rtc_set_cmos(rtc, 0x14, 0x06 | equipment[floppies]); /* coprocessor, PS/2 mouse */
	lock_release(rtc->device.lock);
}

/* --- Life. --- */

static const struct field rtc_fields[] = {
	FIELD_BYTES_KEEP(struct rtc, cmos),
	FIELD(struct rtc, index),
	FIELD(struct rtc, extended_index),
	FIELD(struct rtc, flags),
	FIELD_KEEP(struct rtc, offset),
	FIELD_KEEP(struct rtc, stopped),
	FIELD(struct rtc, nmi_masked),
	FIELD_END
};

/* The RESET pin clears the enables and flags, nothing else (MC146818, "RESET"). */
static void rtc_reset(void *device)
{
	struct rtc *rtc = device;
	rtc->checked = time_ns(rtc);
	rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE);
	update(rtc);
}

static void rtc_saving(void *device)
{
	check_flags(device);
}

static int rtc_loaded(void *device, struct error *err)
{
	struct rtc *rtc = device;
	const int64_t limit = INT64_MAX / 100 * 98;
	if (rtc->index > 0x7f || rtc->extended_index > 0x7f || rtc->offset > limit || rtc->offset < -limit)
		return error_set(err, EINVAL, "rtc: impossible state in the saved machine; the file is damaged");
	rtc->checked = time_ns(rtc);
	arm(rtc);
	return 0;
}

static void rtc_destroy(void *device)
{
	struct rtc *rtc = device;
	timer_cancel(&rtc->timer);
	io_space_unmap(rtc->ports, &rtc->region);
	free(rtc);
}

static const struct device_type rtc_type = {
	.name = "rtc",
	.fields = rtc_fields,
	.reset = rtc_reset,
	.saving = rtc_saving,
	.loaded = rtc_loaded,
	.destroy = rtc_destroy,
};

struct rtc *rtc_create(const struct rtc_config *config, struct error *err)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	if (!rtc) {
		error_set(err, ENOMEM, "rtc: out of memory");
		return NULL;
	}
	device_init(&rtc->device, &rtc_type, "rtc", config->lock);
	rtc->clock = config->clock;
	rtc->irq = config->irq;
	rtc->nmi_mask = config->nmi_mask;
	rtc->nmi_opaque = config->nmi_opaque;
	rtc->ports = config->ports;
	rtc->offset = config->epoch * (int64_t)NS_PER_SEC;
	rtc->checked = time_ns(rtc);
	rtc->cmos[REG_A] = 0x26; /* 32768 Hz time base, 1024 Hz */
	rtc->cmos[REG_B] = B_24H;
	timer_init(&rtc->timer, config->clock, config->lock, on_timer, rtc);
	rtc->region = (struct io_region){ "rtc", &rtc_ops, rtc, config->lock, .base = 0x70, .size = 4 };
	if (io_space_map(config->ports, &rtc->region, err) < 0) {
		rtc_destroy(rtc);
		return NULL;
	}
	return rtc;
}
