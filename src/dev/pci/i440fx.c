/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/i440fx.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"

/* 82441FX datasheet, 3.2. */
#define REG_PAM0 0x59
#define REG_PAM_LAST 0x5f
#define REG_SMRAM 0x72
#define PAM_WRITE_ENABLE 0x2
#define PAM_BITS 0x33

/* One attribute nibble: register, its low or high nibble, what it governs (datasheet, table 4). */
struct pam_segment {
	uint8_t reg, shift;
	uint32_t gpa, size;
};

static const struct pam_segment segments[] = {
	{ 0x59, 4, 0xf0000, 0x10000 },
	{ 0x5a, 0, 0xc0000, 0x4000 }, { 0x5a, 4, 0xc4000, 0x4000 },
	{ 0x5b, 0, 0xc8000, 0x4000 }, { 0x5b, 4, 0xcc000, 0x4000 },
	{ 0x5c, 0, 0xd0000, 0x4000 }, { 0x5c, 4, 0xd4000, 0x4000 },
	{ 0x5d, 0, 0xd8000, 0x4000 }, { 0x5d, 4, 0xdc000, 0x4000 },
	{ 0x5e, 0, 0xe0000, 0x4000 }, { 0x5e, 4, 0xe4000, 0x4000 },
	{ 0x5f, 0, 0xe8000, 0x4000 }, { 0x5f, 4, 0xec000, 0x4000 },
};

struct i440fx {
	struct device device;
	struct pci_function function;
	struct guest_memory *memory;
	uint32_t open; /* segments that are writable now, by index */
};

static int apply_pam(struct i440fx *bridge, bool all, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct pam_segment *s = &segments[i];
		bool open = bridge->function.config[s->reg] >> s->shift & PAM_WRITE_ENABLE;
		if (!all && open == !!(bridge->open & BIT(i)))
			continue;
		bridge->open = (bridge->open & ~BIT(i)) | (open ? BIT(i) : 0);
		if (memory_set_writable(bridge->memory, s->gpa, s->size, open, err) < 0)
			return -1;
	}
	return 0;
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct error err;
	if (offset <= REG_PAM_LAST && offset + size > REG_PAM0 && apply_pam(opaque, false, &err) < 0)
		log_warn_once("i440fx: PAM: %s", err.text);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

static const struct field fields[] = {
	FIELD_STRUCT(struct i440fx, function, pci_function_fields),
	FIELD_END
};

static void reset(void *device)
{
	struct i440fx *bridge = device;
	struct error err;
	pci_function_reset(&bridge->function);
	if (apply_pam(bridge, true, &err) < 0)
		log_warn_once("i440fx: PAM: %s", err.text);
}

static int loaded(void *device, struct error *err)
{
	struct i440fx *bridge = device;
	pci_function_loaded(&bridge->function);
	return apply_pam(bridge, true, err);
}

static void destroy(void *device)
{
	struct i440fx *bridge = device;
	pci_function_destroy(&bridge->function);
	free(bridge);
}

static const struct device_type i440fx_type = {
	.name = "i440fx",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

struct i440fx *i440fx_create(const struct i440fx_config *config, struct error *err)
{
	struct i440fx *bridge = calloc(1, sizeof(*bridge));
	if (!bridge) {
		error_set(err, ENOMEM, "out of memory for the host bridge");
		return NULL;
	}
	const struct pci_function_config function = {
		.bus = config->bus, .name = "i440fx", .devfn = PCI_DEVFN(0, 0),
		.vendor = 0x8086, .device = 0x1237, .revision = 2, .class_code = 0x060000,
		.subsystem_vendor = 0x1af4, .subsystem = 0x1100,
		.ops = &function_ops, .opaque = bridge,
	};
	bridge->memory = config->memory;
	device_init(&bridge->device, &i440fx_type, "i440fx", &config->bus->lock);
	if (pci_function_init(&bridge->function, &function, err) < 0) {
		free(bridge);
		return NULL;
	}
	for (unsigned reg = REG_PAM0; reg <= REG_PAM_LAST; reg++)
		pci_function_set_register(&bridge->function, reg, 0, PAM_BITS, 1);
	pci_function_set_register(&bridge->function, REG_SMRAM, 0x02, 0x7a, 1);
	if (apply_pam(bridge, true, err) < 0) {
		destroy(bridge);
		return NULL;
	}
	return bridge;
}
