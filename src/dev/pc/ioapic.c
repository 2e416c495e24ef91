/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/ioapic.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/pc/apic_bus.h"

#define IOREGSEL 0x00u
#define IOWIN 0x10u
#define IOEOI 0x40u
#define REG_ID 0x00u
#define REG_VERSION 0x01u
#define REG_ARBITRATION 0x02u
#define REG_REDIRECTION 0x10u
#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

/* A redirection entry (82093AA, 3.2.4). */
#define RTE_MODE(rte) ((rte) >> 8 & 7)
#define RTE_LOGICAL BIT64(11)
#define RTE_REMOTE_IRR BIT64(14)
#define RTE_LEVEL BIT64(15)
#define RTE_MASK BIT64(16)
#define RTE_WRITABLE 0xff0000000001afffull

#define MSI_ADDRESS 0xfee00000u
#define MSI_LOGICAL BIT(2)
#define MSI_ASSERT BIT(14)
#define MSI_LEVEL BIT(15)

struct ioapic {
	struct device device;
	uint64_t redirection[IOAPIC_PINS];
	uint32_t lines;          /* levels of the pins */
	uint8_t select, id;
	uint8_t initial_id;
	struct msi_sink sink;
	struct io_region region;
	struct io_space *mmio;
};

static void send(struct ioapic *ioapic, unsigned pin)
{
	uint64_t rte = ioapic->redirection[pin];
	uint32_t address = MSI_ADDRESS | (uint32_t)(rte >> 56) << 12 | (rte & RTE_LOGICAL ? MSI_LOGICAL : 0);
	uint32_t data = (uint32_t)(rte & 0x7ff) | MSI_ASSERT | (rte & RTE_LEVEL ? MSI_LEVEL : 0);
	msi_send(&ioapic->sink, address, data);
}

/* Level-triggered interrupts that wait for an EOI; the other modes treat their input as an edge (3.2.4). */
static bool is_level(uint64_t rte)
{
	return rte & RTE_LEVEL && (RTE_MODE(rte) == APIC_FIXED || RTE_MODE(rte) == APIC_LOWEST);
}

static void service_level(struct ioapic *ioapic, unsigned pin)
{
	uint64_t rte = ioapic->redirection[pin];
	if (!is_level(rte) || rte & (RTE_MASK | RTE_REMOTE_IRR) || !(ioapic->lines & BIT(pin)))
		return;
	ioapic->redirection[pin] |= RTE_REMOTE_IRR;
	send(ioapic, pin);
}

static void pin_set(void *opaque, unsigned pin, int level)
{
	struct ioapic *ioapic = opaque;
	lock_take(ioapic->device.lock);
	bool rise = level && !(ioapic->lines & BIT(pin));
	ioapic->lines = level ? ioapic->lines | BIT(pin) : ioapic->lines & ~BIT(pin);
	if (is_level(ioapic->redirection[pin]))
		service_level(ioapic, pin);
	else if (rise && !(ioapic->redirection[pin] & RTE_MASK))
		send(ioapic, pin);
	lock_release(ioapic->device.lock);
}

struct irq_line ioapic_line(struct ioapic *ioapic, unsigned pin)
{
	if (pin >= IOAPIC_PINS)
		return (struct irq_line){ 0 };
	return (struct irq_line){ pin_set, ioapic, pin };
}

void ioapic_eoi(void *opaque, unsigned vector)
{
	struct ioapic *ioapic = opaque;
	lock_take(ioapic->device.lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = ioapic->redirection[pin];
		if (!(rte & RTE_REMOTE_IRR) || (rte & 0xff) != vector)
			continue;
		ioapic->redirection[pin] &= ~RTE_REMOTE_IRR;
		service_level(ioapic, pin);
	}
	lock_release(ioapic->device.lock);
}

static void write_redirection(struct ioapic *ioapic, unsigned index, uint32_t value)
{
	unsigned pin = index / 2;
	unsigned shift = index % 2 * 32;
	uint64_t mask = RTE_WRITABLE & 0xffffffffull << shift;
	uint64_t rte = (ioapic->redirection[pin] & ~mask) | ((uint64_t)value << shift & mask);
	/* A switch to edge and back is how old systems end a level interrupt without an EOI. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	ioapic->redirection[pin] = rte;
	service_level(ioapic, pin);
}

static uint32_t read_register(const struct ioapic *ioapic)
{
	unsigned index = ioapic->select - REG_REDIRECTION;
	switch (ioapic->select) {
	case REG_ID: case REG_ARBITRATION:
		return (uint32_t)ioapic->id << 24;
	case REG_VERSION:
		return VERSION;
	default:
		if (index >= 2 * IOAPIC_PINS)
			return 0;
		return (uint32_t)(ioapic->redirection[index / 2] >> (index % 2 * 32));
	}
}

/* Registers are accessed by aligned 32-bit words; narrower reads get their part. */
static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = opaque;
	uint32_t value = 0;
	if ((offset & ~3ull) == IOREGSEL)
		value = ioapic->select;
	else if ((offset & ~3ull) == IOWIN)
		value = read_register(ioapic);
	return value >> (offset & 3) * 8;
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ioapic *ioapic = opaque;
	unsigned index = ioapic->select - REG_REDIRECTION;
	switch (offset) {
	case IOREGSEL:
		ioapic->select = (uint8_t)value;
		break;
	case IOWIN:
		if (ioapic->select == REG_ID)
			ioapic->id = value >> 24 & 15;
		else if (index < 2 * IOAPIC_PINS)
			write_redirection(ioapic, index, (uint32_t)value);
		break;
	case IOEOI:
		ioapic_eoi(ioapic, value & 0xff);
		break;
	}
}

static const struct io_ops ioapic_ops = { ioapic_read, ioapic_write, 4 };

static const struct field ioapic_fields[] = {
	FIELD_ARRAY_RESET(struct ioapic, redirection, RTE_MASK),
	FIELD_KEEP(struct ioapic, lines), /* they are the devices' to drive */
	FIELD(struct ioapic, select),
	FIELD(struct ioapic, id),
	FIELD_END
};

static void ioapic_reset(void *device)
{
	struct ioapic *ioapic = device;
	ioapic->id = ioapic->initial_id;
}

static int ioapic_loaded(void *device, struct error *err)
{
	struct ioapic *ioapic = device;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (ioapic->redirection[pin] & ~(RTE_WRITABLE | RTE_REMOTE_IRR))
			return error_set(err, EINVAL, "ioapic: pin %u has impossible bits in the saved machine; "
					 "the file is damaged", pin);
	if (ioapic->id > 15 || ioapic->lines >> IOAPIC_PINS)
		return error_set(err, EINVAL, "ioapic: impossible state in the saved machine; the file is damaged");
	return 0;
}

static void ioapic_destroy(void *device)
{
	struct ioapic *ioapic = device;
	io_space_unmap(ioapic->mmio, &ioapic->region);
	free(ioapic);
}

static const struct device_type ioapic_type = {
	.name = "ioapic",
	.fields = ioapic_fields,
	.reset = ioapic_reset,
	.loaded = ioapic_loaded,
	.destroy = ioapic_destroy,
};

struct ioapic *ioapic_create(const struct ioapic_config *config, struct error *err)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	if (!ioapic) {
		error_set(err, ENOMEM, "ioapic: out of memory");
		return NULL;
	}
	device_init(&ioapic->device, &ioapic_type, "ioapic", config->lock);
	ioapic->sink = config->sink;
	ioapic->mmio = config->mmio;
	ioapic->initial_id = config->id & 15;
	ioapic->region = (struct io_region){ "ioapic", &ioapic_ops, ioapic, config->lock,
					     .base = config->base ? config->base : IOAPIC_BASE, .size = 0x1000 };
	if (io_space_map(config->mmio, &ioapic->region, err) < 0) {
		ioapic_destroy(ioapic);
		return NULL;
	}
	return ioapic;
}
