/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The card: ports, interrupt line, state. */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/sb16/sb16_parts.h"

enum { REG_MIXER_INDEX = 4, REG_MIXER_DATA = 5, REG_OPL2 = 8 };

void sb16_update_irq(struct sb16 *sb)
{
	int line = sb16_irq_line(sb);
	if (line >= 0)
		irq_set(&sb->irq[line], sb->irq_status != 0);
}

void sb16_raise(struct sb16 *sb, uint8_t cause)
{
	sb->irq_status |= cause;
	sb16_update_irq(sb);
}

void sb16_lower(struct sb16 *sb, uint8_t cause)
{
	sb->irq_status &= (uint8_t)~cause;
	sb16_update_irq(sb);
}

static uint64_t base_read(void *opaque, uint64_t offset, unsigned size)
{
	struct sb16 *sb = opaque;
	switch (offset) {
	case 0: case 1: case 2: case 3: return sb16_fm_read(sb, (unsigned)offset);
	case REG_MIXER_INDEX: return sb->mixer_index;
	case REG_MIXER_DATA: return sb16_mixer_read(sb);
	case REG_OPL2: case REG_OPL2 + 1: return sb16_fm_read(sb, (unsigned)offset - REG_OPL2);
	default: return sb16_dsp_read(sb, (unsigned)offset);
	}
}

static void base_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct sb16 *sb = opaque;
	switch (offset) {
	case 0: case 1: case 2: case 3: sb16_fm_write(sb, (unsigned)offset, (uint8_t)value); break;
	case REG_MIXER_INDEX: sb->mixer_index = (uint8_t)value; break;
	case REG_MIXER_DATA: sb16_mixer_write(sb, (uint8_t)value); break;
	case REG_OPL2: case REG_OPL2 + 1: sb16_fm_write(sb, (unsigned)offset - REG_OPL2, (uint8_t)value); break;
	default: sb16_dsp_write(sb, (unsigned)offset, (uint8_t)value);
	}
}

static const struct io_ops base_ops = { base_read, base_write, 1 };

/* --- state --- */

static const struct field stream_fields[] = {
	FIELD(struct sb16_stream, active),
	FIELD(struct sb16_stream, paused),
	FIELD(struct sb16_stream, stereo),
	FIELD(struct sb16_stream, is_signed),
	FIELD(struct sb16_stream, input),
	FIELD(struct sb16_stream, automatic),
	FIELD(struct sb16_stream, silence),
	FIELD(struct sb16_stream, ending),
	FIELD(struct sb16_stream, block),
	FIELD(struct sb16_stream, left),
	FIELD(struct sb16_stream, since),
	FIELD(struct sb16_stream, done),
	FIELD_END
};

/* By the names that they had when the OPL3 was nothing but its registers. */
#define FIELD_REGISTERS(array) \
	{ .name = "opl_register[" #array "]", .kind = FIELD_KIND_BYTES, .offset = offsetof(struct sb16, opl3.reg[array]), .width = 1, \
	  .count = sizeof(((struct sb16 *)0)->opl3.reg[array]) }

static const struct field fields[] = {
	FIELD(struct sb16, mixer_index),
	FIELD_BYTES(struct sb16, mixer),
	FIELD(struct sb16, irq_status),
	FIELD(struct sb16, reset_line),
	FIELD(struct sb16, command),
	FIELD_BYTES(struct sb16, parameter),
	FIELD(struct sb16, parameters),
	FIELD(struct sb16, wanted),
	FIELD_BYTES(struct sb16, out),
	FIELD(struct sb16, out_count),
	FIELD(struct sb16, test),
	FIELD(struct sb16, last),
	FIELD(struct sb16, dma_id),
	FIELD(struct sb16, dma_id_count),
	FIELD(struct sb16, speaker),
	FIELD(struct sb16, rate),
	FIELD(struct sb16, block_size),
	FIELD(struct sb16, direct),
	FIELD(struct sb16, direct_since),
	FIELD(struct sb16, direct_done),
	FIELD_STRUCT_ARRAY(struct sb16, stream, stream_fields),
	FIELD_BYTES(struct sb16, uart_in),
	FIELD(struct sb16, uart_count),
	FIELD(struct sb16, uart_mode),
	FIELD_BYTES(struct sb16, opl_index),
	FIELD_REGISTERS(0),
	FIELD_REGISTERS(1),
	FIELD_ARRAY(struct sb16, opl_started),
	FIELD_ARRAY(struct sb16, opl_loaded),
	FIELD(struct sb16, opl_flags),
	FIELD_STRUCT(struct sb16, opl3, opl3_fields),
	FIELD_END
};

static void reset(void *device)
{
	struct sb16 *sb = device;
	for (unsigned i = 0; i < ARRAY_SIZE(sb->irq); i++)
		irq_set(&sb->irq[i], 0);
	sb->mixer[MIXER_IRQ] = 0x02;
	sb->mixer[MIXER_DMA] = 0x22;
	sb16_mixer_reset(sb);
	sb16_dsp_reset(sb);
	sb16_fm_reset(sb);
}

static void saving(void *device)
{
	sb16_fm_run(device);
}

static int loaded(void *device, struct error *err)
{
	struct sb16 *sb = device;
	bool possible = sb->parameters <= sb->wanted && sb->wanted <= sizeof(sb->parameter) && sb->out_count <= DSP_OUT &&
			sb->uart_count <= UART_IN && sb->rate >= 3900 && sb->rate <= 48000 && !(sb->mixer[MIXER_IRQ] & 0xf0) &&
			!(sb->mixer[MIXER_DMA] & ~0xeb);
	for (unsigned i = 0; i < 2; i++) {
		const struct sb16_stream *s = &sb->stream[i];
		possible &= s->block <= 65536 && s->left <= s->block && (!s->active || s->left) && s->done < 1ull << 60;
	}
	if (!sb16_fm_loaded(sb) || !possible)
		return error_set(err, EINVAL, "sb16: its state cannot be; the file is damaged");
	sb16_schedule(sb);
	return 0;
}

static void unmap(struct sb16 *sb)
{
	io_space_unmap(sb->ports, &sb->base);
	io_space_unmap(sb->ports, &sb->mpu);
	io_space_unmap(sb->ports, &sb->opl);
}

static void destroy(void *device)
{
	struct sb16 *sb = device;
	timer_cancel(&sb->timer);
	timer_cancel(&sb->fm_timer);
	struct audio_voice *const voices[] = { &sb->stream_voice[0], &sb->stream_voice[1], &sb->direct_voice, &sb->fm_voice };
	for (unsigned i = 0; i < ARRAY_SIZE(voices); i++)
		audio_voice_end(voices[i]);
	unmap(sb);
	free(sb);
}

static const struct device_type sb16_type = {
	.name = "sb16",
	.fields = fields,
	.reset = reset,
	.saving = saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct sb16 *sb16_create(const struct sb16_config *config, struct error *err)
{
	struct sb16 *sb = calloc(1, sizeof(*sb));
	if (!sb) {
		error_set(err, ENOMEM, "out of memory for the sound card");
		return NULL;
	}
	device_init(&sb->device, &sb16_type, "sb16", config->lock);
	sb->ports = config->ports;
	sb->dma = config->dma;
	sb->clock = config->clock;
	opl3_make_tables();
	audio_voice_init(&sb->stream_voice[0], config->audio, false);
	audio_voice_init(&sb->stream_voice[1], config->audio, false);
	audio_voice_init(&sb->direct_voice, config->audio, false);
	audio_voice_init(&sb->fm_voice, config->audio, true);
	for (unsigned i = 0; i < ARRAY_SIZE(sb->irq); i++)
		sb->irq[i] = config->irq[i];
	timer_init(&sb->timer, config->clock, config->lock, sb16_stream_timer, sb);
	timer_init(&sb->fm_timer, config->clock, config->lock, sb16_fm_timer, sb);
	sb->base = (struct io_region){ .name = "sb16", .ops = &base_ops, .opaque = sb, .lock = config->lock, .base = 0x220, .size = 16 };
	sb->mpu = (struct io_region){ .name = "mpu401", .ops = &sb16_mpu_ops, .opaque = sb, .lock = config->lock, .base = 0x330, .size = 2 };
	sb->opl = (struct io_region){ .name = "opl3", .ops = &sb16_fm_ops, .opaque = sb, .lock = config->lock, .base = 0x388, .size = 4 };
	if (io_space_map(sb->ports, &sb->base, err) == 0 && io_space_map(sb->ports, &sb->mpu, err) == 0 &&
	    io_space_map(sb->ports, &sb->opl, err) == 0)
		return sb;
	destroy(sb);
	return NULL;
}
