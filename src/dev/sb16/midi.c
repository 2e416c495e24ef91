/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MPU-401 (UART mode) and OPL3: as much as drivers look for. */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

/* --- MPU-401 --- */

#define MPU_ACK 0xfeu
#define MPU_NO_INPUT 0x80u
#define MPU_RESET 0xffu
#define MPU_UART 0x3fu

static uint64_t mpu_read(void *opaque, uint64_t offset, unsigned size)
{
	struct sb16 *sb = opaque;
	if (offset)
		return sb->uart_count ? 0x3f : 0x3f | MPU_NO_INPUT;
	uint8_t value = sb->uart_count ? sb->uart_in[0] : MPU_ACK;
	if (sb->uart_count)
		memmove(sb->uart_in, sb->uart_in + 1, --sb->uart_count);
	if (!sb->uart_count)
		sb16_lower(sb, IRQ_MPU);
	return value;
}

static void mpu_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct sb16 *sb = opaque;
	bool leaves = sb->uart_mode && value == MPU_RESET;
	if (!offset || (sb->uart_mode && value != MPU_RESET))
		return; /* MIDI to nowhere */
	sb->uart_mode = value == MPU_UART;
	/* A reset that only leaves the UART mode is not acknowledged. */
	if (leaves || sb->uart_count == UART_IN)
		return;
	sb->uart_in[sb->uart_count++] = MPU_ACK;
	sb16_raise(sb, IRQ_MPU);
}

const struct io_ops sb16_mpu_ops = { mpu_read, mpu_write, 1 };

/* --- OPL3 --- */

enum { OPL_TIMER1 = 2, OPL_TIMER2, OPL_CONTROL };

#define CONTROL_START1 0x01u
#define CONTROL_MASK1 0x40u
#define CONTROL_RESET 0x80u

/* Flags of a timer that has run over since it was started: 0x40 of the first, 0x20 of the second. */
static uint8_t flags(const struct sb16 *sb)
{
	const uint8_t *r = sb->opl_register[0];
	uint8_t result = 0;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t period = (256u - r[OPL_TIMER1 + i]) * (i ? 320000ull : 80000ull);
		if (r[OPL_CONTROL] & CONTROL_START1 << i && !(r[OPL_CONTROL] & CONTROL_MASK1 >> i) &&
		    vclock_now(sb->clock) - sb->opl_started[i] >= period)
			result |= (uint8_t)(CONTROL_MASK1 >> i);
	}
	return result;
}

uint8_t sb16_opl_read(struct sb16 *sb, unsigned reg)
{
	uint8_t now = flags(sb);
	return reg & 1 ? 0xff : now ? now | 0x80 : 0;
}

static void control(struct sb16 *sb, uint8_t value)
{
	uint8_t *now = &sb->opl_register[0][OPL_CONTROL];
	if (value & CONTROL_RESET) {
		/* The flags go down until the next time; the rest of the byte does not count. */
		for (unsigned i = 0; i < 2; i++)
			if (flags(sb) & CONTROL_MASK1 >> i)
				sb->opl_started[i] = vclock_now(sb->clock);
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		if (value & ~*now & CONTROL_START1 << i)
			sb->opl_started[i] = vclock_now(sb->clock);
	*now = value;
}

/* Ports 0 and 1 are the first array of registers, 2 and 3 the second. */
void sb16_opl_write(struct sb16 *sb, unsigned reg, uint8_t value)
{
	unsigned array = reg >> 1 & 1;
	uint8_t index = sb->opl_index[array];
	if (!(reg & 1))
		sb->opl_index[array] = value;
	else if (!array && index == OPL_CONTROL)
		control(sb, value);
	else
		sb->opl_register[array][index] = value;
}

static uint64_t opl_read(void *opaque, uint64_t offset, unsigned size)
{
	return sb16_opl_read(opaque, (unsigned)offset);
}

static void opl_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	sb16_opl_write(opaque, (unsigned)offset, (uint8_t)value);
}

const struct io_ops sb16_opl_ops = { opl_read, opl_write, 1 };
