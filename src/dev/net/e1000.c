/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Register accesses run on a vCPU's thread, rings are served by the worker, both
 * with the device's lock taken. Registers that have no function of their own keep what was written.
 */
#include "dev/net/e1000_regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define VENDOR_INTEL 0x8086
#define DEVICE_82540EM 0x100e
#define REGISTERS_BAR 0
#define REGISTERS_SIZE 0x20000
#define IO_BAR 2
#define IO_SIZE 64
#define IO_DATA 4
#define THROTTLE_UNIT_NS 256u     /* 13.4.18 */
#define INT_ALL 0x1e6dfu

/* --- interrupts --- */

static void update_line(struct e1000 *e)
{
	bool pending = *e1000_reg(e, REG_ICR) & *e1000_reg(e, REG_IMS);
	if (!pending || e->function.intx) {
		pci_intx_set(&e->function, pending);
		return;
	}
	uint64_t now = vclock_now(e->clock);
	if (now < e->next_interrupt) {
		timer_arm(&e->throttle, e->next_interrupt);
		return;
	}
	e->next_interrupt = now + (*e1000_reg(e, REG_ITR) & 0xffff) * THROTTLE_UNIT_NS;
	pci_intx_set(&e->function, true);
}

static void throttle_over(void *opaque)
{
	update_line(opaque);
}

void e1000_interrupt(struct e1000 *e, uint32_t causes)
{
	*e1000_reg(e, REG_ICR) |= causes & INT_ALL;
	update_line(e);
}

/* --- statistics: they stay at their highest value, the 64-bit ones count on (13.7) --- */

static void count(struct e1000 *e, unsigned offset, uint32_t n)
{
	uint32_t *at = e1000_reg(e, offset);
	*at = n > UINT32_MAX - *at ? UINT32_MAX : *at + n;
}

static void count64(struct e1000 *e, unsigned offset, uint32_t n)
{
	uint32_t *at = e1000_reg(e, offset);
	uint64_t value = ((uint64_t)at[1] << 32 | at[0]) + n;
	at[0] = (uint32_t)value;
	at[1] = (uint32_t)(value >> 32);
}

void e1000_count(struct e1000 *e, bool sent, const uint8_t *frame, size_t size)
{
	static const uint16_t limits[] = { 64, 127, 255, 511, 1023 };
	static const uint8_t broadcast[NET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint32_t octets = (uint32_t)size + 4;
	unsigned class = 0;
	while (class < ARRAY_SIZE(limits) && octets > limits[class])
		class++;
	count(e, (sent ? STAT_PTC64 : STAT_PRC64) + 4 * class, 1);
	count(e, sent ? STAT_GPTC : STAT_GPRC, 1);
	count(e, sent ? STAT_TPT : STAT_TPR, 1);
	count64(e, sent ? STAT_GOTCL : STAT_GORCL, octets);
	count64(e, sent ? STAT_TOTL : STAT_TORL, octets);
	if (!memcmp(frame, broadcast, NET_MAC_SIZE))
		count(e, sent ? STAT_BPTC : STAT_BPRC, 1);
	else if (frame[0] & 1)
		count(e, sent ? STAT_MPTC : STAT_MPRC, 1);
}

/* --- work --- */

static void work(void *opaque)
{
	struct e1000 *e = opaque;
	lock_take(&e->lock);
	e->posted = e1000_transmit(e);
	if (e->posted)
		worker_post(&e->worker, work, e);
	lock_release(&e->lock);
}

static void post_work(struct e1000 *e)
{
	if (e->posted)
		return;
	e->posted = true;
	worker_post(&e->worker, work, e);
}

static bool receive(void *opaque, const struct net_frame *frame)
{
	struct e1000 *e = opaque;
	lock_take(&e->lock);
	bool taken = e1000_receive(e, frame);
	lock_release(&e->lock);
	return taken;
}

static void writable(void *opaque)
{
	struct e1000 *e = opaque;
	lock_take(&e->lock);
	if (e->full)
		post_work(e);
	lock_release(&e->lock);
}

static void receive_again(struct e1000 *e)
{
	if (e->starved)
		net_room(e->net);
	e->starved = false;
}

/* --- registers --- */

/* What survives CTRL.RST is what the EEPROM gives back (14.5). */
static void reset_registers(struct e1000 *e)
{
	memset(e->reg, 0, sizeof(e->reg));
	*e1000_reg(e, REG_CTRL) = CTRL_FD;
	*e1000_reg(e, REG_STATUS) = STATUS_FD | STATUS_LU | STATUS_SPEED_1000;
	*e1000_reg(e, REG_PBA) = 0x00100030;
	*e1000_reg(e, REG_MDIC) = MDIC_READY;
	*e1000_reg(e, REG_RAL) = e->eeprom[0] | (uint32_t)e->eeprom[1] << 16;
	*e1000_reg(e, REG_RAL + 4) = e->eeprom[2] | RAH_AV;
	e->context = (struct e1000_context){ 0 };
	e->next_interrupt = 0;
	e->full = false;
	timer_cancel(&e->throttle);
	e1000_eecd_write(e, 0);
	pci_intx_set(&e->function, false);
	receive_again(e);
}

static uint32_t read_register(struct e1000 *e, unsigned offset)
{
	uint32_t value;
	if (offset >= REG_END)
		return 0;
	value = *e1000_reg(e, offset);
	switch (offset) {
	case REG_ICR:
		*e1000_reg(e, REG_ICR) = 0;
		update_line(e);
		return value;
	case REG_EECD:
		return e1000_eecd_read(e);
	case REG_ICS:
	case REG_IMC:
		return 0;
	}
	if (offset >= REG_STATISTICS && offset < REG_STATISTICS_END)
		*e1000_reg(e, offset) = 0;
	return value;
}

static void write_control(struct e1000 *e, uint32_t value)
{
	if (value & CTRL_RST) {
		reset_registers(e);
		return;
	}
	uint32_t old = *e1000_reg(e, REG_CTRL);
	*e1000_reg(e, REG_CTRL) = value & ~CTRL_PHY_RST;
	if (value & CTRL_PHY_RST)
		e1000_phy_reset(e);
	if ((value & CTRL_PHY_RST) || (value & ~old & CTRL_SLU))
		e1000_interrupt(e, INT_LSC);
}

static void write_register(struct e1000 *e, unsigned offset, uint32_t value)
{
	if (offset >= REG_END || (offset >= REG_STATISTICS && offset < REG_STATISTICS_END))
		return;
	switch (offset) {
	case REG_CTRL:
		write_control(e, value);
		return;
	case REG_STATUS:
		return;
	case REG_EECD:
		e1000_eecd_write(e, value);
		return;
	case REG_EERD:
		e1000_eerd_write(e, value);
		return;
	case REG_MDIC:
		e1000_mdic_write(e, value);
		return;
	case REG_ICR:
		*e1000_reg(e, REG_ICR) &= ~value;
		update_line(e);
		return;
	case REG_ICS:
		e1000_interrupt(e, value);
		return;
	case REG_IMS:
		*e1000_reg(e, REG_IMS) |= value & INT_ALL;
		update_line(e);
		return;
	case REG_IMC:
		*e1000_reg(e, REG_IMS) &= ~value;
		update_line(e);
		return;
	case REG_RDLEN:
	case REG_TDLEN:
		value &= 0xfff80;
		break;
	case REG_RDBAL:
	case REG_TDBAL:
		value &= ~15u;
		break;
	case REG_RDH:
	case REG_RDT:
	case REG_TDH:
	case REG_TDT:
		value &= 0xffff;
		break;
	}
	*e1000_reg(e, offset) = value;
	if (offset == REG_TDT || offset == REG_TCTL)
		post_work(e);
	if (offset == REG_RDT || offset == REG_RCTL)
		receive_again(e);
}

/* Registers are accessed by aligned dwords (13.2); narrower reads give their part, narrower writes nothing. */
static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	uint32_t value = read_register(opaque, (unsigned)offset & ~3u);
	return value >> 8 * (offset & 3) & size_mask(size);
}

static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (size == 4 && !(offset & 3))
		write_register(opaque, (unsigned)offset, (uint32_t)value);
}

static uint64_t io_bar_read(void *opaque, uint64_t offset, unsigned size)
{
	struct e1000 *e = opaque;
	if (offset == 0 && size == 4)
		return e->io_address;
	return offset == IO_DATA && size == 4 ? read_register(e, e->io_address & ~3u) : 0;
}

static void io_bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *e = opaque;
	if (offset == 0 && size == 4)
		e->io_address = (uint32_t)value & 0xfffff;
	else if (offset == IO_DATA && size == 4)
		write_register(e, e->io_address & ~3u, (uint32_t)value);
}

static const struct io_ops registers_ops = { registers_read, registers_write, 4 };
static const struct io_ops io_ops = { io_bar_read, io_bar_write, 4 };

/* Rings that stood still without bus mastering go on. */
static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct e1000 *e = opaque;
	if (offset > PCI_COMMAND || offset + size <= PCI_COMMAND)
		return;
	post_work(e);
	receive_again(e);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

/* --- the device --- */

static const struct field context_fields[] = {
	FIELD(struct e1000_context, ipcss),
	FIELD(struct e1000_context, ipcso),
	FIELD(struct e1000_context, tucss),
	FIELD(struct e1000_context, tucso),
	FIELD(struct e1000_context, hdrlen),
	FIELD(struct e1000_context, tucmd),
	FIELD(struct e1000_context, ipcse),
	FIELD(struct e1000_context, tucse),
	FIELD(struct e1000_context, mss),
	FIELD(struct e1000_context, paylen),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct e1000, function, pci_function_fields),
	FIELD_ARRAY(struct e1000, reg),
	FIELD(struct e1000, io_address),
	FIELD_ARRAY(struct e1000, phy),
	FIELD(struct e1000, next_interrupt),
	FIELD_STRUCT(struct e1000, context, context_fields),
	FIELD(struct e1000, ee_in),
	FIELD(struct e1000, ee_out),
	FIELD(struct e1000, ee_count),
	FIELD_END
};

static void reset(void *device)
{
	struct e1000 *e = device;
	pci_function_reset(&e->function);
	lock_take(&e->lock);
	reset_registers(e);
	e1000_phy_reset(e);
	lock_release(&e->lock);
}

static int loaded(void *device, struct error *err)
{
	struct e1000 *e = device;
	pci_function_loaded(&e->function);
	lock_take(&e->lock);
	e->ee_count = MIN(e->ee_count, 9);
	/* A throttle beyond the longest there is would keep interrupts away for good. */
	e->next_interrupt = MIN(e->next_interrupt, vclock_now(e->clock) + 0xffffull * THROTTLE_UNIT_NS);
	if (*e1000_reg(e, REG_ICR) & *e1000_reg(e, REG_IMS) && !e->function.intx)
		timer_arm(&e->throttle, e->next_interrupt);
	post_work(e);
	lock_release(&e->lock);
	return 0;
}

static void destroy(void *device)
{
	struct e1000 *e = device;
	timer_cancel(&e->throttle);
	net_close(e->net);
	pci_function_destroy(&e->function);
	lock_destroy(&e->lock);
	free(e);
}

static const struct device_type e1000_type = {
	.name = "e1000",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

static int add_function(struct e1000 *e, const struct nic_config *config, struct error *err)
{
	const struct pci_function_config function = {
		.bus = config->bus, .name = e->device.name, .devfn = config->devfn, .vendor = VENDOR_INTEL, .device = DEVICE_82540EM,
		.subsystem_vendor = VENDOR_INTEL, .subsystem = 0x001e, .class_code = 0x020000, .revision = 2, .interrupt_pin = 1,
		.lock = &e->lock, .ops = &function_ops, .opaque = e,
	};
	if (pci_function_init(&e->function, &function, err) < 0)
		return -1;
	if (pci_function_add_bar(&e->function, REGISTERS_BAR, PCI_BAR_MEMORY32, REGISTERS_SIZE, &registers_ops, e, err) == 0 &&
	    pci_function_add_bar(&e->function, IO_BAR, PCI_BAR_IO, IO_SIZE, &io_ops, e, err) == 0)
		return 0;
	pci_function_destroy(&e->function);
	return -1;
}

struct device *e1000_create(const struct nic_config *config, struct error *err)
{
	struct e1000 *e = calloc(1, sizeof(*e));
	if (!e) {
		error_set(err, ENOMEM, "out of memory for %s", config->name);
		return NULL;
	}
	e->dma = config->dma;
	e->worker = config->worker;
	e->clock = config->clock;
	e->net = config->net;
	lock_init(&e->lock);
	/* Its reset and load touch the configuration space, hence under the bus's lock, outside of ours. */
	device_init(&e->device, &e1000_type, config->name, &config->bus->lock);
	timer_init(&e->throttle, config->clock, &e->lock, throttle_over, e);
	e1000_eeprom_init(e, config->mac);
	if (add_function(e, config, err) < 0) {
		lock_destroy(&e->lock);
		free(e);
		return NULL;
	}
	net_attach(e->net, &(struct net_port){ receive, writable, e });
	return &e->device;
}
