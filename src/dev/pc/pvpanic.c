/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#include "bus/device.h"

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

struct pvpanic {
	struct device device;
	struct pvpanic_config config;
	struct io_region region;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	return EVENTS;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *p = opaque;
	if (value & EVENTS)
		p->config.event(p->config.opaque, (unsigned)value & EVENTS);
}

static const struct io_ops port_ops = { port_read, port_write, 1 };

static const struct field fields[] = { FIELD_END };

static void destroy(void *device)
{
	struct pvpanic *p = device;
	io_space_unmap(p->config.ports, &p->region);
	free(p);
}

static const struct device_type pvpanic_type = { .name = "pvpanic", .fields = fields, .destroy = destroy };

struct pvpanic *pvpanic_create(const struct pvpanic_config *config, struct error *err)
{
	struct pvpanic *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ENOMEM, "out of memory for the panic port");
		return NULL;
	}
	p->config = *config;
	device_init(&p->device, &pvpanic_type, "pvpanic", config->lock);
	p->region = (struct io_region){ "pvpanic", &port_ops, p, config->lock, .base = PVPANIC_PORT, .size = 1 };
	if (io_space_map(config->ports, &p->region, err) < 0) {
		free(p);
		return NULL;
	}
	return p;
}
