/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/gsi.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

struct gsi {
	struct device device;
	uint32_t level[GSI_COUNT]; /* a bit per source */
	uint8_t sources[GSI_COUNT];
	struct irq_line pic[16], ioapic[GSI_COUNT];
};

/* The pin encodes wire and source. */
static void source_set(void *opaque, unsigned pin, int level)
{
	struct gsi *gsi = opaque;
	unsigned n = pin / GSI_SOURCES;
	uint32_t bit = BIT(pin % GSI_SOURCES);
	lock_take(gsi->device.lock);
	gsi->level[n] = level ? gsi->level[n] | bit : gsi->level[n] & ~bit;
	int wire = gsi->level[n] != 0;
	if (n < 16)
		irq_set(&gsi->pic[n], wire);
	if (n != 2)
		irq_set(&gsi->ioapic[n ? n : 2], wire);
	lock_release(gsi->device.lock);
}

struct irq_line gsi_line(struct gsi *gsi, unsigned n)
{
	if (n >= GSI_COUNT || gsi->sources[n] == GSI_SOURCES)
		return (struct irq_line){ 0 };
	return (struct irq_line){ source_set, gsi, n * GSI_SOURCES + gsi->sources[n]++ };
}

static const struct field gsi_fields[] = {
	FIELD_ARRAY_KEEP(struct gsi, level), /* the devices' to drive */
	FIELD_END
};

static int gsi_loaded(void *device, struct error *err)
{
	struct gsi *gsi = device;
	for (unsigned n = 0; n < GSI_COUNT; n++)
		if (gsi->sources[n] < GSI_SOURCES && gsi->level[n] >> gsi->sources[n])
			return error_set(err, EINVAL, "gsi: wire %u has a source that this machine does not have; "
					 "start it with the devices of the saved one", n);
	return 0;
}

static void gsi_destroy(void *device)
{
	free(device);
}

static const struct device_type gsi_type = {
	.name = "gsi",
	.fields = gsi_fields,
	.loaded = gsi_loaded,
	.destroy = gsi_destroy,
};

struct gsi *gsi_create(const struct gsi_config *config, struct error *err)
{
	struct gsi *gsi = calloc(1, sizeof(*gsi));
	if (!gsi) {
		error_set(err, ENOMEM, "gsi: out of memory");
		return NULL;
	}
	device_init(&gsi->device, &gsi_type, "gsi", config->lock);
	memcpy(gsi->pic, config->pic, sizeof(gsi->pic));
	memcpy(gsi->ioapic, config->ioapic, sizeof(gsi->ioapic));
	return gsi;
}
