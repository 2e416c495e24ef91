/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/ferr.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define PORT_CLEAR 0xf0u

struct ferr {
	struct device device;
	bool asserted; /* FERR# */
	bool latched;  /* IRQ13 */
	bool ignne;
	struct ferr_config handles;
	struct io_region region;
};

static void drive(struct ferr *ferr)
{
	irq_set(&ferr->handles.irq, ferr->latched);
	irq_set(&ferr->handles.ignne, ferr->ignne);
}

static void input_set(void *opaque, unsigned pin, int level)
{
	struct ferr *ferr = opaque;
	lock_take(ferr->device.lock);
	if (level && !ferr->asserted)
		ferr->latched = true;
	if (!level)
		ferr->ignne = false;
	ferr->asserted = level;
	drive(ferr);
	lock_release(ferr->device.lock);
}

struct irq_line ferr_input(struct ferr *ferr)
{
	return (struct irq_line){ input_set, ferr, 0 };
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0xff;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ferr *ferr = opaque;
	ferr->latched = false;
	ferr->ignne = ferr->asserted;
	drive(ferr);
}

static const struct io_ops port_ops = { port_read, port_write, 1 };

static void ferr_reset(void *device)
{
	drive(device);
}

static const struct field ferr_fields[] = {
	FIELD(struct ferr, asserted),
	FIELD(struct ferr, latched),
	FIELD(struct ferr, ignne),
	FIELD_END
};

static void ferr_destroy(void *device)
{
	struct ferr *ferr = device;
	io_space_unmap(ferr->handles.ports, &ferr->region);
	free(ferr);
}

static const struct device_type ferr_type = {
	.name = "ferr",
	.fields = ferr_fields,
	.reset = ferr_reset,
	.destroy = ferr_destroy,
};

struct ferr *ferr_create(const struct ferr_config *config, struct error *err)
{
	struct ferr *ferr = calloc(1, sizeof(*ferr));
	if (!ferr) {
		error_set(err, ENOMEM, "ferr: out of memory");
		return NULL;
	}
	device_init(&ferr->device, &ferr_type, "ferr", config->lock);
	ferr->handles = *config;
	ferr->region = (struct io_region){ "ferr", &port_ops, ferr, config->lock, .base = PORT_CLEAR, .size = 1 };
	if (io_space_map(config->ports, &ferr->region, err) < 0) {
		ferr_destroy(ferr);
		return NULL;
	}
	return ferr;
}
