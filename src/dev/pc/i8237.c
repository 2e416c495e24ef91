/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/i8237.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* Registers after the four address and count pairs (8237A data sheet, "Software commands"). */
enum { REG_STATUS = 8, REG_REQUEST, REG_MASK, REG_MODE, REG_CLEAR_POINTER, REG_MASTER_CLEAR, REG_CLEAR_MASK, REG_ALL_MASK };

#define COMMAND_DISABLE 0x04u
#define MODE_TYPE(mode) ((mode) >> 2 & 3)
#define TYPE_VERIFY 0u
#define TYPE_WRITE 1u /* to memory */
#define TYPE_READ 2u
#define MODE_AUTO 0x10u
#define MODE_DOWN 0x20u
#define MODE_CASCADE 0xc0u

struct channel {
	uint16_t base_address, base_count, address, count;
	uint8_t mode, page;
};

struct controller {
	struct channel channel[4];
	uint8_t command, status, mask, request;
	bool high;  /* the next byte of an address or count is the high one */
};

struct i8237 {
	struct device device;
	struct dma dma;
	struct io_space *ports;
	struct controller controller[2]; /* bytes, words */
	uint8_t scratch[16];
	struct io_region low, high, pages;
	struct { void (*ready)(void *opaque); void *opaque; } attached[8];
};

/* Which channel a page register 0x80 + n belongs to; 0xff: none, a byte of memory. */
static const uint8_t page_channel[16] = {
	0xff, 2, 3, 1, 0xff, 0xff, 0xff, 0, 0xff, 6, 7, 5, 0xff, 0xff, 0xff, 4,
};

static bool usable(const struct controller *c, unsigned n)
{
	return !(c->mask >> n & 1) && !(c->command & COMMAND_DISABLE);
}

static void tell_ready(struct i8237 *dev, unsigned which)
{
	for (unsigned n = 0; n < 4; n++) {
		unsigned channel = 4 * which + n;
		if (usable(&dev->controller[which], n) && dev->attached[channel].ready)
			dev->attached[channel].ready(dev->attached[channel].opaque);
	}
}

static uint8_t byte_of(struct controller *c, uint16_t value)
{
	c->high = !c->high;
	return (uint8_t)(c->high ? value : value >> 8);
}

static void set_byte(struct controller *c, uint16_t *value, uint8_t byte)
{
	*value = c->high ? (uint16_t)((*value & 0xff) | byte << 8) : (uint16_t)((*value & 0xff00) | byte);
}

static uint8_t reg_read(struct controller *c, unsigned reg)
{
	struct channel *channel = &c->channel[reg / 2 % 4];
	if (reg < REG_STATUS)
		return byte_of(c, reg & 1 ? channel->count : channel->address);
	if (reg == REG_STATUS) {
		uint8_t status = c->status;
		c->status &= 0xf0;
		return status;
	}
	return reg == REG_ALL_MASK ? c->mask | 0xf0 : 0;
}

static void write_pair(struct controller *c, unsigned reg, uint8_t value)
{
	struct channel *channel = &c->channel[reg / 2];
	if (reg & 1) {
		set_byte(c, &channel->base_count, value);
		channel->count = channel->base_count;
	} else {
		set_byte(c, &channel->base_address, value);
		channel->address = channel->base_address;
	}
	c->high = !c->high;
}

static void reg_write(struct controller *c, unsigned reg, uint8_t value)
{
	uint8_t bit = (uint8_t)BIT(value & 3);
	switch (reg) {
	case REG_STATUS: c->command = value; break;
	case REG_REQUEST: c->request = value & 4 ? c->request | bit : c->request & (uint8_t)~bit; break;
	case REG_MASK: c->mask = value & 4 ? c->mask | bit : c->mask & (uint8_t)~bit; break;
	case REG_MODE: c->channel[value & 3].mode = value; break;
	case REG_CLEAR_POINTER: c->high = false; break;
	case REG_MASTER_CLEAR:
		c->command = c->status = c->request = 0;
		c->high = false;
		c->mask = 15;
		break;
	case REG_CLEAR_MASK: c->mask = 0; break;
	case REG_ALL_MASK: c->mask = value & 15; break;
	default: write_pair(c, reg, value);
	}
}

static uint64_t low_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8237 *dev = opaque;
	return reg_read(&dev->controller[0], (unsigned)offset);
}

static void low_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8237 *dev = opaque;
	reg_write(&dev->controller[0], (unsigned)offset, (uint8_t)value);
	tell_ready(dev, 0);
}

/* The second controller's registers are two ports apart. */
static uint64_t high_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8237 *dev = opaque;
	return offset & 1 ? 0xff : reg_read(&dev->controller[1], (unsigned)offset / 2);
}

static void high_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8237 *dev = opaque;
	if (offset & 1)
		return;
	reg_write(&dev->controller[1], (unsigned)offset / 2, (uint8_t)value);
	tell_ready(dev, 1);
}

static uint64_t pages_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8237 *dev = opaque;
	unsigned n = (unsigned)offset + 1, channel = page_channel[n];
	return channel == 0xff ? dev->scratch[n] : dev->controller[channel / 4].channel[channel % 4].page;
}

static void pages_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8237 *dev = opaque;
	unsigned n = (unsigned)offset + 1, channel = page_channel[n];
	if (channel == 0xff)
		dev->scratch[n] = (uint8_t)value;
	else
		dev->controller[channel / 4].channel[channel % 4].page = (uint8_t)value;
}

static const struct io_ops low_ops = { low_read, low_write, 1 };
static const struct io_ops high_ops = { high_read, high_write, 1 };
static const struct io_ops pages_ops = { pages_read, pages_write, 1 };

/* --- transfers --- */

static uint64_t address_of(const struct channel *channel, bool words)
{
	/* A16 of a channel of words comes from the address register, so the page's lowest bit counts for nothing. */
	if (words)
		return (uint64_t)(channel->page & 0xfe) << 16 | (uint64_t)channel->address << 1;
	return (uint64_t)channel->page << 16 | channel->address;
}

static void move(struct i8237 *dev, unsigned type, uint64_t gpa, uint8_t *data, size_t size)
{
	if (type == TYPE_WRITE)
		dma_write(&dev->dma, gpa, data, size);
	else if (type == TYPE_READ)
		dma_read(&dev->dma, gpa, data, size);
}

/* Moves one unit; the count's step below zero is the terminal count. */
static bool step(struct channel *channel)
{
	channel->address = (uint16_t)(channel->address + (channel->mode & MODE_DOWN ? -1 : 1));
	if (channel->count--)
		return false;
	if (channel->mode & MODE_AUTO) {
		channel->address = channel->base_address;
		channel->count = channel->base_count;
	}
	return true;
}

size_t i8237_transfer(struct i8237 *dev, unsigned number, enum i8237_direction direction, void *data, size_t size,
		      bool *terminal_count)
{
	struct controller *c = &dev->controller[number / 4 % 2];
	unsigned n = number % 4, unit = number / 4 ? 2 : 1;
	struct channel *channel = &c->channel[n];
	unsigned type = MODE_TYPE(channel->mode), wanted = direction == I8237_TO_MEMORY ? TYPE_WRITE : TYPE_READ;
	size_t done = 0;
	*terminal_count = false;
	if (!usable(c, n) || (type != wanted && type != TYPE_VERIFY) || (channel->mode & MODE_CASCADE) == MODE_CASCADE)
		return 0;
	/* The second controller hangs on the first one's processor side; the first cascades through channel 4. */
	if (number < 4 && dev->controller[1].mask & 1)
		return 0;
	while (done + unit <= size && !*terminal_count) {
		move(dev, type, address_of(channel, unit == 2), (uint8_t *)data + done, unit);
		*terminal_count = step(channel);
		done += unit;
	}
	if (*terminal_count) {
		c->status |= (uint8_t)BIT(n);
		if (!(channel->mode & MODE_AUTO))
			c->mask |= (uint8_t)BIT(n);
	}
	return done;
}

void i8237_attach(struct i8237 *dev, unsigned channel, void (*ready)(void *opaque), void *opaque)
{
	dev->attached[channel % 8].ready = ready;
	dev->attached[channel % 8].opaque = opaque;
}

static const struct field channel_fields[] = {
	FIELD(struct channel, base_address),
	FIELD(struct channel, base_count),
	FIELD(struct channel, address),
	FIELD(struct channel, count),
	FIELD(struct channel, mode),
	FIELD(struct channel, page),
	FIELD_END
};

static const struct field controller_fields[] = {
	FIELD_STRUCT_ARRAY(struct controller, channel, channel_fields),
	FIELD(struct controller, command),
	FIELD(struct controller, status),
	FIELD_RESET(struct controller, mask, 15),
	FIELD(struct controller, request),
	FIELD(struct controller, high),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT_ARRAY(struct i8237, controller, controller_fields),
	FIELD_BYTES(struct i8237, scratch),
	FIELD_END
};

static void destroy(void *device)
{
	struct i8237 *dev = device;
	io_space_unmap(dev->ports, &dev->low);
	io_space_unmap(dev->ports, &dev->high);
	io_space_unmap(dev->ports, &dev->pages);
	free(dev);
}

static const struct device_type i8237_type = {
	.name = "i8237",
	.fields = fields,
	.destroy = destroy,
};

struct i8237 *i8237_create(const struct i8237_config *config, struct error *err)
{
	struct i8237 *dev = calloc(1, sizeof(*dev));
	if (!dev) {
		error_set(err, ENOMEM, "out of memory for the DMA controllers");
		return NULL;
	}
	device_init(&dev->device, &i8237_type, "i8237", config->lock);
	dev->dma = config->dma;
	dev->ports = config->ports;
	dev->low = (struct io_region){ .name = "dma0", .ops = &low_ops, .opaque = dev, .lock = config->lock, .base = 0x00, .size = 16 };
	dev->high = (struct io_region){ .name = "dma1", .ops = &high_ops, .opaque = dev, .lock = config->lock, .base = 0xc0, .size = 32 };
	/* 0x80 itself is the diagnostic port. */
	dev->pages = (struct io_region){ .name = "dma-page", .ops = &pages_ops, .opaque = dev, .lock = config->lock, .base = 0x81, .size = 15 };
	if (io_space_map(dev->ports, &dev->low, err) < 0 || io_space_map(dev->ports, &dev->high, err) < 0 ||
	    io_space_map(dev->ports, &dev->pages, err) < 0) {
		destroy(dev);
		return NULL;
	}
	return dev;
}
