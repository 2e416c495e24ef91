/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/parallel.h"

#include <errno.h>
#include <stdlib.h>

enum { REG_DATA, REG_STATUS, REG_CONTROL, REG_COUNT };

/* Status lines as the register shows them; BUSY is inverted. */
#define STATUS_NOT_ERROR 0x08u
#define STATUS_SELECTED 0x10u
#define STATUS_NOT_ACK 0x40u
#define STATUS_NOT_BUSY 0x80u
#define STATUS_READY (STATUS_NOT_ERROR | STATUS_SELECTED | STATUS_NOT_ACK | STATUS_NOT_BUSY | 0x07u)

#define CONTROL_STROBE 0x01u
#define CONTROL_INIT 0x04u
#define CONTROL_SELECT 0x08u
#define CONTROL_IRQ 0x10u
#define CONTROL_INPUT 0x20u
#define CONTROL_ALWAYS 0xc0u

struct parallel {
	struct device device;
	struct io_space *ports;
	struct irq_line irq;
	struct char_backend output;
	struct io_region region;
	uint8_t data, control;
};

static uint64_t parallel_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct parallel *p = opaque;
	switch (offset) {
	case REG_DATA: return p->control & CONTROL_INPUT ? 0xff : p->data; /* nobody drives the lines */
	case REG_STATUS: return STATUS_READY;
	default: return p->control | CONTROL_ALWAYS;
	}
}

/* The printer takes the byte as the strobe begins, and acknowledges at once: the end of nACK's pulse interrupts. */
static void strobe(struct parallel *p)
{
	char_write(&p->output, &p->data, 1);
	if (!(p->control & CONTROL_IRQ))
		return;
	irq_set(&p->irq, 1);
	irq_set(&p->irq, 0);
}

static void parallel_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct parallel *p = opaque;
	uint8_t byte = (uint8_t)value, before = p->control;
	if (offset == REG_DATA)
		p->data = byte;
	if (offset != REG_CONTROL)
		return;
	p->control = byte & 0x3f;
	if (byte & ~before & CONTROL_STROBE && byte & CONTROL_INIT && !(byte & CONTROL_INPUT))
		strobe(p);
}

static const struct io_ops parallel_ops = { parallel_read, parallel_write, 1 };

static const struct field fields[] = {
	FIELD(struct parallel, data),
	FIELD_RESET(struct parallel, control, CONTROL_INIT | CONTROL_SELECT),
	FIELD_END
};

static void destroy(void *device)
{
	struct parallel *p = device;
	io_space_unmap(p->ports, &p->region);
	free(p);
}

static const struct device_type parallel_type = {
	.name = "parallel",
	.fields = fields,
	.destroy = destroy,
};

struct parallel *parallel_create(const struct parallel_config *config, struct error *err)
{
	struct parallel *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ENOMEM, "out of memory for the printer port");
		return NULL;
	}
	device_init(&p->device, &parallel_type, "parallel", config->lock);
	p->ports = config->ports;
	p->irq = config->irq;
	p->output = config->output;
	p->region = (struct io_region){
		.name = "parallel", .ops = &parallel_ops, .opaque = p, .lock = config->lock, .base = config->base, .size = REG_COUNT,
	};
	if (io_space_map(p->ports, &p->region, err) < 0) {
		free(p);
		return NULL;
	}
	return p;
}
