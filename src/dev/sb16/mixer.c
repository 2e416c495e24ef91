/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mixer CT1745: volumes, and which interrupt and DMA channels the card has (hardware programming guide, chapter 4). */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

enum { MASTER_LEFT = 0x30, GAIN_LEFT = 0x41 };

#define IRQ_STATUS 0x82u

void sb16_mixer_reset(struct sb16 *sb)
{
	static const struct { uint8_t at, value; } defaults[] = {
		{ 0x30, 0xc0 }, { 0x31, 0xc0 }, { 0x32, 0xc0 }, { 0x33, 0xc0 }, { 0x34, 0xc0 }, { 0x35, 0xc0 }, { 0x3c, 0x1f },
		{ 0x3d, 0x15 }, { 0x3e, 0x0b }, { 0x44, 0x80 }, { 0x45, 0x80 }, { 0x46, 0x80 }, { 0x47, 0x80 },
	};
	memset(sb->mixer, 0, MIXER_IRQ); /* what is below stays: it is set up once */
	for (unsigned i = 0; i < ARRAY_SIZE(defaults); i++)
		sb->mixer[defaults[i].at] = defaults[i].value;
}

/* Registers of the Sound Blaster Pro show two 5-bit volumes as nibbles. */
static uint8_t pair_of(uint8_t index)
{
	switch (index) {
	case 0x04: return 0x32;
	case 0x22: return 0x30;
	case 0x26: return 0x34;
	case 0x28: return 0x36;
	case 0x2e: return 0x38;
	default: return 0;
	}
}

uint8_t sb16_mixer_read(struct sb16 *sb)
{
	uint8_t pair = pair_of(sb->mixer_index);
	if (pair)
		return (uint8_t)((sb->mixer[pair] & 0xf0) | sb->mixer[pair + 1] >> 4);
	if (sb->mixer_index == 0x0a)
		return sb->mixer[0x3a] >> 5;
	if (sb->mixer_index == IRQ_STATUS)
		return sb->irq_status | 0x20; /* the chip's revision */
	return sb->mixer[sb->mixer_index];
}

static void write_setup(struct sb16 *sb, uint8_t index, uint8_t value)
{
	static const uint8_t bits[] = { 0x0f, 0xeb };
	if (index == MIXER_IRQ || index == MIXER_DMA) {
		/* The line goes down on the one channel, and up on the other. */
		uint8_t status = sb->irq_status;
		sb16_lower(sb, status);
		sb->mixer[index] = value & bits[index - MIXER_IRQ];
		sb->irq_status = status;
		sb16_update_irq(sb);
	} else if (index == MIXER_MPU) {
		sb->mixer[index] = value & 0x06;
	}
}

void sb16_mixer_write(struct sb16 *sb, uint8_t value)
{
	uint8_t index = sb->mixer_index, pair = pair_of(index);
	sb16_fm_run(sb); /* what has sounded had the volume of before */
	if (!index)
		sb16_mixer_reset(sb);
	else if (pair) {
		sb->mixer[pair] = (uint8_t)((value & 0xf0) | 0x08);
		sb->mixer[pair + 1] = (uint8_t)(value << 4 | 0x08);
	} else if (index == 0x0a)
		sb->mixer[0x3a] = (uint8_t)(value << 5 | 0x18);
	else if (index >= MIXER_IRQ)
		write_setup(sb, index, value);
	else
		sb->mixer[index] = value;
}

/* Steps of 2 dB below full volume; the lowest is silence. */
static int32_t volume(uint8_t value)
{
	static const uint32_t table[32] = {
		0, 65, 82, 104, 131, 164, 207, 261, 328, 413, 520, 655, 825, 1038, 1307, 1646, 2072, 2609, 3284, 4135, 5205, 6553, 8250, 10386,
		13076, 16461, 20724, 26090, 32845, 41350, 52057, 65536,
	};
	return (int32_t)table[value >> 3];
}

void sb16_gain(const struct sb16 *sb, enum mixer_source source, int32_t gain[2])
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t product = (uint64_t)volume(sb->mixer[MASTER_LEFT + i]) * (uint64_t)volume(sb->mixer[source + i]) >> 16;
		gain[i] = (int32_t)(product << (sb->mixer[GAIN_LEFT + i] >> 6)); /* 0, 6, 12, 18 dB */
	}
}

int16_t sb16_scale(int32_t value, int32_t gain)
{
	return audio_clip((int64_t)value * gain >> 16);
}

int sb16_irq_line(const struct sb16 *sb)
{
	return sb->mixer[MIXER_IRQ] ? __builtin_ctz(sb->mixer[MIXER_IRQ]) : -1;
}

/* Without a 16-bit channel, 16-bit samples come by the 8-bit one. */
int sb16_dma_channel(const struct sb16 *sb, bool wide)
{
	unsigned low = sb->mixer[MIXER_DMA] & 0x0b, high = sb->mixer[MIXER_DMA] & 0xe0;
	unsigned mask = wide && high ? high : low;
	return mask ? __builtin_ctz(mask) : -1;
}
