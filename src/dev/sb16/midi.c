/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MPU-401 in UART mode: as much as drivers look for. */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

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
