/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The digital sound processor: commands with their parameters in the write
 * port, answers in the read port (Sound Blaster series hardware programming guide, chapter 6).
 */
#include <string.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

enum { REG_RESET = 6, REG_READ = 10, REG_WRITE = 12, REG_READ_STATUS = 14, REG_ACK_16 = 15 };

#define VERSION_MAJOR 4
#define VERSION_MINOR 5
#define RATE_MIN 4000u
#define RATE_MAX 48000u

static void answer(struct sb16 *sb, uint8_t value)
{
	if (sb->out_count < DSP_OUT)
		sb->out[sb->out_count++] = value;
}

static void answer_text(struct sb16 *sb, const char *text)
{
	for (const char *at = text; at == text || at[-1]; at++)
		answer(sb, (uint8_t)*at);
}

static void set_rate(struct sb16 *sb, uint32_t rate)
{
	sb->rate = MAX(MIN(rate, RATE_MAX), RATE_MIN);
	/* What plays goes on from here. */
	for (unsigned i = 0; i < 2; i++) {
		sb->stream[i].since = vclock_now(sb->clock);
		sb->stream[i].done = 0;
	}
	sb16_schedule(sb);
}

/* Commands of 0xb0 to 0xcf say all of a stream by themselves (6-22 to 6-25). */
static void generic(struct sb16 *sb, uint8_t command)
{
	const uint8_t *p = sb->parameter;
	struct sb16_stream stream = {
		.input = command & 8, .automatic = command & 4, .stereo = p[0] & 0x20, .is_signed = p[0] & 0x10,
		.block = ((uint32_t)p[1] | (uint32_t)p[2] << 8) + 1,
	};
	sb16_start(sb, command < 0xc0, stream);
}

/* Commands of the older cards: 8 bits, mono, unsigned. block 0: that of command 0x48. */
static void classic(struct sb16 *sb, bool input, bool automatic, bool silence, uint32_t block)
{
	struct sb16_stream stream = {
		.input = input, .automatic = automatic, .silence = silence, .block = block ? block : sb->block_size,
	};
	sb16_start(sb, false, stream);
}

/* Puts a byte, which follows from what it has been told, into memory: how drivers look for the DMA channel. */
static void identify_dma(struct sb16 *sb, uint8_t value)
{
	static const int16_t steps[4][9] = {
		{ 1, -2, -4, 8, -16, 32, 64, -128, -106 }, { -1, 2, -4, 8, 16, -32, 64, -128, 165 },
		{ -1, 2, 4, -8, 16, -32, -64, 128, -151 }, { 1, -2, 4, -8, -16, 32, -64, 128, 90 },
	};
	int channel = sb16_dma_channel(sb, false);
	bool terminal;
	for (unsigned i = 0; i < 8; i++)
		if (value >> i & 1)
			sb->dma_id = (uint8_t)(sb->dma_id + steps[sb->dma_id_count & 3][i]);
	sb->dma_id = (uint8_t)(sb->dma_id + steps[sb->dma_id_count & 3][8]);
	sb->dma_id_count++;
	uint8_t byte = sb->dma_id;
	if (channel >= 0)
		i8237_transfer(sb->dma, (unsigned)channel, I8237_TO_MEMORY, &byte, 1, &terminal);
}

static void leave_automatic(struct sb16 *sb, bool wide)
{
	sb->stream[wide].ending = true;
}

static void set_speaker(struct sb16 *sb, bool on)
{
	sb->speaker = on; /* of the DSP 4.xx a flag alone */
}

/* False: it is another command. */
static bool run_transfer(struct sb16 *sb, uint8_t command)
{
	uint32_t length = ((uint32_t)sb->parameter[0] | (uint32_t)sb->parameter[1] << 8) + 1;
	switch (command) {
	case 0x14: case 0x15: classic(sb, false, false, false, length); break;
	case 0x24: classic(sb, true, false, false, length); break;
	case 0x80: classic(sb, false, false, true, length); break;
	case 0x1c: case 0x90: classic(sb, false, true, false, 0); break;
	case 0x91: classic(sb, false, false, false, 0); break;
	case 0x2c: case 0x98: classic(sb, true, true, false, 0); break;
	case 0x99: classic(sb, true, false, false, 0); break;
	case 0x48: sb->block_size = length; break;
	default: return false;
	}
	return true;
}

static void run_other(struct sb16 *sb, uint8_t command)
{
	const uint8_t *p = sb->parameter;
	switch (command) {
	case 0x04: case 0x05: case 0x0e: break;     /* the signal processor for effects, which is not there */
	case 0x0f: answer(sb, 0xff); break;
	case 0x10: sb16_direct(sb, p[0]); break;
	case 0x20: answer(sb, 0x80); break;
	case 0x38: break;                           /* MIDI to nowhere */
	case 0x40: set_rate(sb, 1000000u / (256u - p[0])); break;
	case 0x41: case 0x42: set_rate(sb, (uint32_t)p[0] << 8 | p[1]); break;
	case 0xd0: sb16_pause(sb, false, true); break;
	case 0xd4: sb16_pause(sb, false, false); break;
	case 0xd5: sb16_pause(sb, true, true); break;
	case 0xd6: sb16_pause(sb, true, false); break;
	case 0xd1: set_speaker(sb, true); break;
	case 0xd3: set_speaker(sb, false); break;
	case 0xd8: answer(sb, sb->speaker ? 0xff : 0); break;
	case 0xd9: leave_automatic(sb, true); break;
	case 0xda: leave_automatic(sb, false); break;
	case 0xe0: answer(sb, (uint8_t)~p[0]); break;
	case 0xe1:
		answer(sb, VERSION_MAJOR);
		answer(sb, VERSION_MINOR);
		break;
	case 0xe2: identify_dma(sb, p[0]); break;
	case 0xe3: answer_text(sb, "COPYRIGHT (C) CREATIVE TECHNOLOGY LTD, 1992."); break;
	case 0xe4: sb->test = p[0]; break;
	case 0xe8: answer(sb, sb->test); break;
	case 0xf2: sb16_raise(sb, IRQ_8BIT); break;
	case 0xf3: sb16_raise(sb, IRQ_16BIT); break;
	case 0xf8: answer(sb, 0); break;
	}
}

static void run(struct sb16 *sb, uint8_t command)
{
	if (command >= 0xb0 && command < 0xd0)
		generic(sb, command);
	else if (!run_transfer(sb, command))
		run_other(sb, command);
}

static uint8_t parameters_of(uint8_t command)
{
	if (command >= 0xb0 && command < 0xd0)
		return 3;
	switch (command) {
	case 0x04: case 0x05: case 0x0f: case 0x10: case 0x38: case 0x40: case 0xe0: case 0xe2: case 0xe4: return 1;
	case 0x0e: case 0x14: case 0x15: case 0x16: case 0x17: case 0x24: case 0x41: case 0x42: case 0x48: case 0x74: case 0x75: case 0x76:
	case 0x77: case 0x80: return 2;
	default: return 0;
	}
}

static void write_byte(struct sb16 *sb, uint8_t value)
{
	if (sb->parameters < sb->wanted) {
		sb->parameter[sb->parameters++] = value;
	} else {
		sb->command = value;
		sb->parameters = 0;
		sb->wanted = parameters_of(value);
	}
	if (sb->parameters < sb->wanted)
		return;
	sb->parameters = sb->wanted = 0;
	run(sb, sb->command);
}

void sb16_dsp_reset(struct sb16 *sb)
{
	sb16_stop(sb);
	sb->parameters = sb->wanted = sb->out_count = 0;
	sb->dma_id = 0xaa;
	sb->dma_id_count = 0;
	sb->speaker = false;
	sb->rate = 11025;
	sb->block_size = 2048;
	sb16_lower(sb, IRQ_8BIT | IRQ_16BIT);
}

uint64_t sb16_dsp_read(struct sb16 *sb, unsigned reg)
{
	switch (reg) {
	case REG_READ:
		if (sb->out_count) {
			sb->last = sb->out[0];
			memmove(sb->out, sb->out + 1, --sb->out_count);
		}
		return sb->last;
	case REG_WRITE:
		return 0x7f; /* always ready */
	case REG_READ_STATUS:
		sb16_lower(sb, IRQ_8BIT);
		return sb->out_count ? 0xff : 0x7f;
	case REG_ACK_16:
		sb16_lower(sb, IRQ_16BIT);
		return 0xff;
	default:
		return 0xff;
	}
}

void sb16_dsp_write(struct sb16 *sb, unsigned reg, uint8_t value)
{
	if (reg == REG_WRITE) {
		write_byte(sb, value);
		return;
	}
	if (reg != REG_RESET)
		return;
	if (sb->reset_line && !(value & 1)) {
		sb16_dsp_reset(sb);
		answer(sb, 0xaa);
	}
	sb->reset_line = value & 1;
}
