/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/pic.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/*
 * An edge-triggered input requests while its latch, set by a rising edge, and
 * the line are both high: a line that falls before the acknowledge cycle leaves
 * nothing behind, and the cycle gets the spurious vector of input 7.
 */
#define CASCADE 2u

#define ICW1_ICW4 0x01u
#define ICW1_SINGLE 0x02u
#define ICW1 0x10u
#define ICW4_AEOI 0x02u
#define ICW4_SFNM 0x10u
#define OCW3 0x08u
#define OCW3_RIS 0x01u
#define OCW3_RR 0x02u
#define OCW3_POLL 0x04u
#define OCW3_SMM 0x20u
#define OCW3_ESMM 0x40u

enum { STEP_READY, STEP_ICW2, STEP_ICW3, STEP_ICW4 };

struct chip {
	uint8_t lines;       /* levels of the inputs */
	uint8_t latch;       /* rising edges seen since the last acknowledge */
	uint8_t isr, imr, elcr;
	uint8_t top;         /* the input of highest priority */
	uint8_t vector_base;
	uint8_t step;        /* which initialization word comes next */
	uint8_t icw1, icw3, icw4;
	bool special_mask, rotate_aeoi, read_isr, poll;
};

struct pic {
	struct device device;
	struct chip chip[2];
	struct irq_line intr;
	struct io_region command[2], edge_level;
	struct io_space *ports;
};

static uint8_t requests(const struct chip *chip)
{
	return chip->lines & (chip->latch | chip->elcr);
}

/* Distance from the highest priority of the first bit set in `mask`, 8 when there is none. */
static unsigned first_by_priority(const struct chip *chip, uint8_t mask)
{
	for (unsigned n = 0; n < 8; n++)
		if (mask & BIT((chip->top + n) & 7))
			return n;
	return 8;
}

/* The input that requests service now, or -1. */
static int pending(const struct pic *pic, unsigned index)
{
	const struct chip *chip = &pic->chip[index];
	unsigned wanted = first_by_priority(chip, requests(chip) & ~chip->imr);
	if (wanted == 8)
		return -1;
	uint8_t blocking = chip->isr;
	if (chip->special_mask)
		blocking &= ~chip->imr;
	/* Special fully nested: the slave may interrupt again while one of its requests is in service. */
	if (index == 0 && chip->icw4 & ICW4_SFNM)
		blocking &= ~BIT(CASCADE);
	return wanted < first_by_priority(chip, blocking) ? (int)((chip->top + wanted) & 7) : -1;
}

static void set_input(struct chip *chip, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)BIT(input);
	if (level && !(chip->lines & bit))
		chip->latch |= bit;
	if (level)
		chip->lines |= bit;
	else {
		chip->lines &= ~bit;
		chip->latch &= ~bit;
	}
}

static void update(struct pic *pic)
{
	set_input(&pic->chip[0], CASCADE, pending(pic, 1) >= 0);
	irq_set(&pic->intr, pending(pic, 0) >= 0);
}

/* Moves the request to service. */
static void accept(struct chip *chip, unsigned input)
{
	chip->latch &= ~BIT(input);
	if (!(chip->icw4 & ICW4_AEOI))
		chip->isr |= BIT(input);
	else if (chip->rotate_aeoi)
		chip->top = (input + 1) & 7;
}

/* One chip's part of an acknowledge cycle: its vector. */
static int acknowledge(struct pic *pic, unsigned index)
{
	struct chip *chip = &pic->chip[index];
	int input = pending(pic, index);
	if (input < 0)
		return chip->vector_base | 7;
	accept(chip, (unsigned)input);
	if (index == 0 && input == CASCADE)
		return acknowledge(pic, 1);
	if (index == 1)
		set_input(&pic->chip[0], CASCADE, false); /* INT falls in the cycle; what is left makes a new edge */
	return chip->vector_base | input;
}

int pic_acknowledge(struct pic *pic)
{
	lock_take(pic->device.lock);
	int vector = acknowledge(pic, 0);
	update(pic);
	lock_release(pic->device.lock);
	return vector;
}

static void line_set(void *opaque, unsigned pin, int level)
{
	struct pic *pic = opaque;
	lock_take(pic->device.lock);
	set_input(&pic->chip[pin >> 3], pin & 7, level);
	update(pic);
	lock_release(pic->device.lock);
}

struct irq_line pic_line(struct pic *pic, unsigned irq)
{
	if (irq > 15 || irq == CASCADE)
		return (struct irq_line){ 0 };
	return (struct irq_line){ line_set, pic, irq };
}

static void write_icw1(struct chip *chip, uint8_t value)
{
	chip->icw1 = value;
	chip->icw4 = 0;
	chip->imr = chip->isr = chip->latch = 0;
	chip->top = 0;
	chip->special_mask = chip->rotate_aeoi = chip->read_isr = chip->poll = false;
	chip->step = STEP_ICW2;
}

/* The in-service input that a non-specific EOI ends, or -1. */
static int eoi_target(const struct chip *chip)
{
	uint8_t isr = chip->isr;
	if (chip->special_mask)
		isr &= ~chip->imr;
	unsigned n = first_by_priority(chip, isr);
	return n == 8 ? -1 : (int)((chip->top + n) & 7);
}

static void write_ocw2(struct chip *chip, uint8_t value)
{
	bool rotate = value & 0x80, specific = value & 0x40, eoi = value & 0x20;
	int input = specific ? value & 7 : eoi_target(chip);
	if (!eoi && !specific) {
		chip->rotate_aeoi = rotate;
		return;
	}
	if (input < 0)
		return;
	if (eoi)
		chip->isr &= ~BIT(input);
	if (rotate)
		chip->top = (uint8_t)((input + 1) & 7);
}

static void write_ocw3(struct chip *chip, uint8_t value)
{
	if (value & OCW3_ESMM)
		chip->special_mask = value & OCW3_SMM;
	if (value & OCW3_POLL)
		chip->poll = true;
	else if (value & OCW3_RR)
		chip->read_isr = value & OCW3_RIS;
}

static void write_data(struct chip *chip, uint8_t value)
{
	switch (chip->step) {
	case STEP_ICW2:
		chip->vector_base = value & 0xf8;
		if (!(chip->icw1 & ICW1_SINGLE))
			chip->step = STEP_ICW3;
		else
			chip->step = chip->icw1 & ICW1_ICW4 ? STEP_ICW4 : STEP_READY;
		break;
	case STEP_ICW3:
		chip->icw3 = value;
		chip->step = chip->icw1 & ICW1_ICW4 ? STEP_ICW4 : STEP_READY;
		break;
	case STEP_ICW4:
		chip->icw4 = value;
		chip->step = STEP_READY;
		break;
	default:
		chip->imr = value;
	}
}

static void chip_write(void *opaque, uint64_t offset, uint64_t value, unsigned index)
{
	struct pic *pic = opaque;
	struct chip *chip = &pic->chip[index];
	if (offset)
		write_data(chip, (uint8_t)value);
	else if (value & ICW1)
		write_icw1(chip, (uint8_t)value);
	else if (value & OCW3)
		write_ocw3(chip, (uint8_t)value);
	else
		write_ocw2(chip, (uint8_t)value);
	update(pic);
}

static uint64_t chip_read(void *opaque, uint64_t offset, unsigned index)
{
	struct pic *pic = opaque;
	struct chip *chip = &pic->chip[index];
	if (chip->poll) {
		int input = pending(pic, index);
		chip->poll = false;
		if (input >= 0)
			accept(chip, (unsigned)input);
		if (index == 1)
			set_input(&pic->chip[0], CASCADE, false);
		update(pic);
		return input >= 0 ? 0x80u | (unsigned)input : 0;
	}
	if (offset)
		return chip->imr;
	return chip->read_isr ? chip->isr : requests(chip);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size) { return chip_read(opaque, offset, 0); }
static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size) { return chip_read(opaque, offset, 1); }

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	chip_write(opaque, offset, value, 0);
}

static void slave_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	chip_write(opaque, offset, value, 1);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
	return ((struct pic *)opaque)->chip[offset].elcr;
}

/* IRQ 0, 1, 2, 8 and 13 are always edge-triggered. */
static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pic *pic = opaque;
	pic->chip[offset].elcr = (uint8_t)value & (offset ? 0xde : 0xf8);
	update(pic);
}

static const struct io_ops master_ops = { master_read, master_write, 1 };
static const struct io_ops slave_ops = { slave_read, slave_write, 1 };
static const struct io_ops elcr_ops = { elcr_read, elcr_write, 1 };

static const struct field chip_fields[] = {
	FIELD_KEEP(struct chip, lines), /* they are the devices' to drive */
	FIELD(struct chip, latch),
	FIELD(struct chip, isr),
	FIELD_RESET(struct chip, imr, 0xff), /* undefined in the data sheet; quiet is kind */
	FIELD(struct chip, elcr),
	FIELD(struct chip, top),
	FIELD(struct chip, vector_base),
	FIELD(struct chip, step),
	FIELD(struct chip, icw1),
	FIELD(struct chip, icw3),
	FIELD(struct chip, icw4),
	FIELD(struct chip, special_mask),
	FIELD(struct chip, rotate_aeoi),
	FIELD(struct chip, read_isr),
	FIELD(struct chip, poll),
	FIELD_END
};

static const struct field pic_fields[] = {
	FIELD_STRUCT_ARRAY(struct pic, chip, chip_fields),
	FIELD_END
};

static void pic_reset(void *device)
{
	update(device);
}

static int pic_loaded(void *device, struct error *err)
{
	struct pic *pic = device;
	for (unsigned i = 0; i < 2; i++) {
		const struct chip *chip = &pic->chip[i];
		if (chip->top > 7 || chip->step > STEP_ICW4 || chip->vector_base & 7)
			return error_set(err, EINVAL, "%s: impossible state in the saved machine; the file is damaged",
					 pic->device.name);
	}
	return 0;
}

static void pic_destroy(void *device)
{
	struct pic *pic = device;
	io_space_unmap(pic->ports, &pic->command[0]);
	io_space_unmap(pic->ports, &pic->command[1]);
	io_space_unmap(pic->ports, &pic->edge_level);
	free(pic);
}

static const struct device_type pic_type = {
	.name = "pic",
	.fields = pic_fields,
	.reset = pic_reset,
	.loaded = pic_loaded,
	.destroy = pic_destroy,
};

struct pic *pic_create(const struct pic_config *config, struct error *err)
{
	struct pic *pic = calloc(1, sizeof(*pic));
	if (!pic) {
		error_set(err, ENOMEM, "pic: out of memory");
		return NULL;
	}
	device_init(&pic->device, &pic_type, "pic", config->lock);
	pic->intr = config->intr;
	pic->ports = config->ports;
	pic->command[0] = (struct io_region){ "pic master", &master_ops, pic, config->lock, .base = 0x20, .size = 2 };
	pic->command[1] = (struct io_region){ "pic slave", &slave_ops, pic, config->lock, .base = 0xa0, .size = 2 };
	pic->edge_level = (struct io_region){ "pic elcr", &elcr_ops, pic, config->lock, .base = 0x4d0, .size = 2 };
	if (io_space_map(config->ports, &pic->command[0], err) < 0 ||
	    io_space_map(config->ports, &pic->command[1], err) < 0 ||
	    io_space_map(config->ports, &pic->edge_level, err) < 0) {
		pic_destroy(pic);
		return NULL;
	}
	return pic;
}
