/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_SB16_SB16_PARTS_H
#define VISOR_DEV_SB16_SB16_PARTS_H

#include "dev/sb16/opl3.h"
#include "dev/sb16/sb16.h"

/* Inside the card. */
#define DSP_OUT 64u       /* bytes that wait to be read */
#define UART_IN 8u

/* Interrupt status, mixer register 0x82. */
#define IRQ_8BIT 0x01u
#define IRQ_16BIT 0x02u
#define IRQ_MPU 0x04u

#define MIXER_IRQ 0x80u
#define MIXER_DMA 0x81u
#define MIXER_MPU 0x84u

/* The left volume of what is mixed; the right one is behind it. */
enum mixer_source { MIXER_VOICE = 0x32, MIXER_FM = 0x34 };

/* A block that is played or recorded. */
struct sb16_stream {
	bool active, paused;
	bool stereo, is_signed, input, automatic, silence;
	bool ending;           /* leaves auto-initialize at the end of the block */
	uint32_t block, left;  /* samples of a block, and of it still to come; a stereo frame has two */
	uint64_t since;        /* virtual time at which `done` was 0 */
	uint64_t done;         /* samples */
};

struct sb16 {
	struct device device;
	struct io_space *ports;
	struct irq_line irq[4];
	struct i8237 *dma;
	struct vclock *clock;
	struct audio_voice stream_voice[2], direct_voice, fm_voice;
	struct timer timer, fm_timer; /* of the streams; of the OPL3, while it sounds */
	struct io_region base, mpu, opl;

	/* Saved: */
	uint8_t mixer_index, mixer[256];
	uint8_t irq_status;
	bool reset_line;       /* DSP reset is held */
	uint8_t command;       /* whose parameters are awaited; meaningful while `wanted` */
	uint8_t parameter[4], parameters, wanted;
	uint8_t out[DSP_OUT], out_count;
	uint8_t test, last;    /* test register; the byte read last stays in the port */
	uint8_t dma_id, dma_id_count;
	bool speaker;
	uint32_t rate;         /* frames a second */
	uint32_t block_size;   /* of commands that take it from command 0x48 */
	uint8_t direct;          /* the level of command 0x10 */
	uint64_t direct_since, direct_done; /* virtual time of the first of a row of them; frames since then */
	struct sb16_stream stream[2]; /* of 8 and of 16 bits, each with its own DMA channel and interrupt */
	/* MPU-401 */
	uint8_t uart_in[UART_IN], uart_count;
	bool uart_mode;
	/* OPL3: a register's address is latched, index and array. */
	uint8_t opl_index[2];
	uint64_t opl_started[2]; /* virtual time at which a timer was loaded last; of meaning while it runs */
	uint8_t opl_loaded[2];   /* with what */
	uint8_t opl_flags;       /* of the status */
	struct opl3 opl3;
};

/* --- sb16.c --- */
void sb16_raise(struct sb16 *sb, uint8_t cause);
void sb16_lower(struct sb16 *sb, uint8_t cause);
void sb16_update_irq(struct sb16 *sb);

/* --- dsp.c --- */
uint64_t sb16_dsp_read(struct sb16 *sb, unsigned reg);
void sb16_dsp_write(struct sb16 *sb, unsigned reg, uint8_t value);
void sb16_dsp_reset(struct sb16 *sb);

/* --- stream.c --- */
void sb16_start(struct sb16 *sb, bool wide, struct sb16_stream stream);
void sb16_pause(struct sb16 *sb, bool wide, bool pause);
void sb16_stop(struct sb16 *sb);
/* The level is `value` from now on (8 bits, unsigned). */
void sb16_direct(struct sb16 *sb, uint8_t value);
/* Arms the timer for what comes next. */
void sb16_schedule(struct sb16 *sb);
void sb16_stream_timer(void *opaque);

/* --- mixer.c --- */
uint8_t sb16_mixer_read(struct sb16 *sb);
void sb16_mixer_write(struct sb16 *sb, uint8_t value);
void sb16_mixer_reset(struct sb16 *sb);
/* Factors in 1/65536, left and right. */
void sb16_gain(const struct sb16 *sb, enum mixer_source source, int32_t gain[2]);
/* A sample by such a factor, clipped. */
int16_t sb16_scale(int32_t value, int32_t gain);
/* The line, 0 to 3, of sb16.irq; -1: none. */
int sb16_irq_line(const struct sb16 *sb);
/* -1: none is set. */
int sb16_dma_channel(const struct sb16 *sb, bool wide);

/* --- midi.c: MPU-401 --- */
extern const struct io_ops sb16_mpu_ops;

/* --- fm.c: ports, timers and time of the OPL3 --- */
extern const struct io_ops sb16_fm_ops;
uint8_t sb16_fm_read(struct sb16 *sb, unsigned reg);
void sb16_fm_write(struct sb16 *sb, unsigned reg, uint8_t value);
/* Plays up to now. */
void sb16_fm_run(struct sb16 *sb);
/* The OPL3 is silent, its registers are zero. */
void sb16_fm_reset(struct sb16 *sb);
/* False: its state cannot be. */
bool sb16_fm_loaded(struct sb16 *sb);
void sb16_fm_timer(void *opaque);

#endif
