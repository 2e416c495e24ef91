/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Register accesses run on a vCPU's thread, rings are served by the worker, both
 * with the device's lock taken.
 *
 * The chip looks at its transmit descriptor every 2 ms by itself. A driver that asks for a look at each packet
 * (TDMD) needs that only for what it forgets, so then it is rarer here. A driver says nothing when it gives
 * receive descriptors back: a frame for which there is none is tried again for a few milliseconds, in stead of
 * the chip's FIFO, before it counts as missed.
 */
#include "dev/net/pcnet_regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define VENDOR_AMD 0x1022
#define DEVICE_PCNET 0x2000
#define IO_SIZE 32
#define POLL_NS 2000000ull
#define POLL_SELDOM_NS 100000000ull
#define AGAIN_NS 200000ull
#define AGAIN_MAX 40u

/* --- interrupts --- */

static void update_line(struct pcnet *p)
{
	uint16_t *csr = p->csr;
	bool pending = csr[CSR_STATUS] & CSR0_CAUSES & ~(csr[CSR_MASK] & 0x5f00u) & ~CSR0_CERR;
	/* Masks are one bit below their cause; enables of CSR5 likewise. */
	pending |= (csr[CSR_FEATURE] & CSR4_CAUSES & ~CSR4_UINT & ~(csr[CSR_FEATURE] << 1)) || csr[CSR_FEATURE] & CSR4_UINT;
	pending |= (csr[CSR_EXTENDED] & CSR5_CAUSES & csr[CSR_EXTENDED] << 1) != 0;
	csr[CSR_STATUS] &= (uint16_t)~(CSR0_INTR | CSR0_ERR);
	if (csr[CSR_STATUS] & (CSR0_BABL | CSR0_CERR | CSR0_MISS | CSR0_MERR))
		csr[CSR_STATUS] |= CSR0_ERR;
	if (pending)
		csr[CSR_STATUS] |= CSR0_INTR;
	pci_intx_set(&p->function, pending && csr[CSR_STATUS] & CSR0_IENA);
}

void pcnet_interrupt(struct pcnet *p, uint16_t causes)
{
	p->csr[CSR_STATUS] |= causes;
	update_line(p);
}

/* --- work --- */

static void arm_poll(struct pcnet *p)
{
	if (p->csr[CSR_STATUS] & CSR0_TXON && pcnet_running(p) && !(p->csr[CSR_FEATURE] & CSR4_DPOLL))
		timer_arm(&p->poll, vclock_now(p->clock) + (p->demanded ? POLL_SELDOM_NS : POLL_NS));
	else
		timer_cancel(&p->poll);
}

static void work(void *opaque)
{
	struct pcnet *p = opaque;
	lock_take(&p->lock);
	p->posted = pcnet_transmit(p);
	if (p->posted)
		worker_post(&p->worker, work, p);
	lock_release(&p->lock);
}

static void post_work(struct pcnet *p)
{
	if (p->posted)
		return;
	p->posted = true;
	worker_post(&p->worker, work, p);
}

static void poll(void *opaque)
{
	post_work(opaque);
	arm_poll(opaque);
}

static void receive_again(void *opaque)
{
	struct pcnet *p = opaque;
	if (p->starved)
		net_room(p->net);
	p->starved = false;
}

static void missed(struct pcnet *p)
{
	p->csr[CSR_MISSED]++;
	pcnet_interrupt(p, CSR0_MISS);
}

static bool receive(void *opaque, const struct net_frame *frame)
{
	struct pcnet *p = opaque;
	lock_take(&p->lock);
	bool taken = pcnet_receive(p, frame) == PCNET_TAKEN;
	if (!taken && ++p->tries > AGAIN_MAX) {
		missed(p);
		taken = true;
	}
	if (taken) {
		p->tries = 0;
	} else {
		p->starved = true;
		timer_arm(&p->again, vclock_now(p->clock) + AGAIN_NS);
	}
	lock_release(&p->lock);
	return taken;
}

static void writable(void *opaque)
{
	struct pcnet *p = opaque;
	lock_take(&p->lock);
	post_work(p);
	lock_release(&p->lock);
}

/* --- reset --- */

static const struct {
	uint8_t index;
	uint16_t value;
} bcr_reset[] = {
	{ 0, 0x0005 }, { 1, 0x0005 }, { BCR_MISC, 0x0002 }, { BCR_LED0, 0x00c0 }, { 5, 0x0084 }, { 6, 0x0088 }, { 7, 0x0090 },
	{ BCR_BUS, 0x9001 }, { BCR_EEPROM, 0x0002 }, { BCR_STYLE, SWS_CSRPCNET }, { BCR_LATENCY, 0xff06 },
};

static void stop(struct pcnet *p)
{
	p->csr[CSR_STATUS] = CSR0_STOP;
	p->csr[CSR_FEATURE] &= (uint16_t)~(CSR4_CAUSES | CSR4_UINTCMD);
	p->csr[CSR_EXTENDED] &= (uint16_t)~(CSR5_CAUSES | CSR5_SPND);
	timer_cancel(&p->poll);
	update_line(p);
	receive_again(p);
}

/* By a read of the reset register; the addresses and rings stay. */
static void soft_reset(struct pcnet *p)
{
	p->csr[CSR_MASK] = 0;
	p->csr[CSR_FEATURE] = 0x0115;
	p->csr[CSR_EXTENDED] = 0;
	p->csr[CSR_MODE] = 0;
	p->demanded = 0;
	stop(p);
}

static void hard_reset(struct pcnet *p)
{
	memset(p->csr, 0, sizeof(p->csr));
	memset(p->bcr, 0, sizeof(p->bcr));
	for (unsigned i = 0; i < ARRAY_SIZE(bcr_reset); i++)
		p->bcr[bcr_reset[i].index] = bcr_reset[i].value;
	for (unsigned i = 0; i < 3; i++)
		p->csr[CSR_PADR + i] = load_le16(p->aprom + 2 * i);
	p->csr[80] = 0x1410;
	p->csr[100] = 0x0200;
	p->rap = 0;
	p->dword_io = 0;
	p->rx_index = p->tx_index = 0;
	p->tries = 0;
	timer_cancel(&p->again);
	soft_reset(p);
}

/* --- CSRs and BCRs --- */

static void set_style(struct pcnet *p, uint16_t value)
{
	static const uint16_t flags[] = { SWS_CSRPCNET, SWS_SSIZE32, SWS_SSIZE32 | SWS_CSRPCNET, SWS_SSIZE32 | SWS_CSRPCNET };
	unsigned style = value & SWS_STYLE;
	if (style < ARRAY_SIZE(flags)) /* others are reserved */
		p->bcr[BCR_STYLE] = (uint16_t)((value & 0x0400) | flags[style] | style);
}

static void write_csr0(struct pcnet *p, uint16_t value)
{
	uint16_t *csr0 = &p->csr[CSR_STATUS];
	*csr0 &= (uint16_t)~(value & CSR0_CAUSES);
	*csr0 = (uint16_t)((*csr0 & ~CSR0_IENA) | (value & CSR0_IENA));
	if (value & CSR0_STOP) {
		stop(p);
		return;
	}
	if (value & CSR0_INIT && *csr0 & CSR0_STOP && !(*csr0 & CSR0_INIT)) {
		*csr0 |= CSR0_INIT;
		*csr0 &= (uint16_t)~CSR0_STOP;
		pcnet_initialize(p);
	}
	if (value & CSR0_STRT && !(*csr0 & CSR0_STRT)) {
		*csr0 |= CSR0_STRT;
		*csr0 &= (uint16_t)~CSR0_STOP;
		*csr0 |= (uint16_t)((p->csr[CSR_MODE] & MODE_DTX ? 0 : CSR0_TXON) | (p->csr[CSR_MODE] & MODE_DRX ? 0 : CSR0_RXON));
		post_work(p);
	}
	if (value & CSR0_TDMD && *csr0 & CSR0_TXON) {
		p->demanded = 1;
		post_work(p);
	}
	if (!timer_armed(&p->poll) || p->demanded)
		arm_poll(p);
	update_line(p);
	receive_again(p);
}

static uint16_t read_csr(const struct pcnet *p, unsigned index)
{
	switch (index) {
	case CSR_IADR_LOW2:
	case CSR_IADR_HIGH2:
		return p->csr[index - CSR_IADR_LOW2 + CSR_IADR_LOW];
	case CSR_STYLE:
		return p->bcr[BCR_STYLE];
	case CSR_RX_COUNTER:
		return (uint16_t)(p->csr[CSR_RX_LENGTH] + p->rx_index);
	case CSR_TX_COUNTER:
		return (uint16_t)(p->csr[CSR_TX_LENGTH] + p->tx_index);
	case CSR_CHIP_ID: /* version 0, part 2621h, manufacturer 001h */
		return 0x1003;
	case CSR_CHIP_ID + 1:
		return 0x0262;
	}
	return index < CSR_COUNT ? p->csr[index] : 0;
}

/* Causes are cleared by 1, the rest is written. */
static void write_causes(struct pcnet *p, unsigned index, uint16_t value, uint16_t causes)
{
	uint16_t *csr = &p->csr[index];
	*csr = (uint16_t)((*csr & causes & ~value) | (value & ~causes));
}

/* Registers that say where things lie change only while the chip stands (STOP or SPND). */
static bool needs_stop(unsigned index)
{
	return index == CSR_IADR_LOW || index == CSR_IADR_HIGH || index == CSR_IADR_LOW2 || index == CSR_IADR_HIGH2 ||
		(index >= CSR_LADRF && index < CSR_MODE) || index == CSR_STYLE || index == CSR_RX_BASE || index == CSR_RX_BASE + 1 ||
		index == CSR_TX_BASE || index == CSR_TX_BASE + 1 || index == CSR_RX_LENGTH || index == CSR_TX_LENGTH;
}

static void write_csr(struct pcnet *p, unsigned index, uint16_t value)
{
	if (needs_stop(index) && pcnet_running(p))
		return;
	switch (index) {
	case CSR_STATUS:
		write_csr0(p, value);
		return;
	case CSR_FEATURE:
		write_causes(p, index, value & (uint16_t)~CSR4_UINTCMD, CSR4_CAUSES);
		p->csr[index] |= value & CSR4_UINTCMD ? CSR4_UINT : 0;
		arm_poll(p);
		break;
	case CSR_EXTENDED:
		write_causes(p, index, value, CSR5_CAUSES);
		arm_poll(p);
		post_work(p);
		receive_again(p);
		break;
	case CSR_IADR_LOW2:
	case CSR_IADR_HIGH2:
		p->csr[index - CSR_IADR_LOW2 + CSR_IADR_LOW] = value;
		break;
	case CSR_STYLE:
		set_style(p, value);
		break;
	case CSR_RX_LENGTH:
	case CSR_TX_LENGTH:
		p->csr[index] = value;
		p->rx_index = index == CSR_RX_LENGTH ? 0 : p->rx_index;
		p->tx_index = index == CSR_TX_LENGTH ? 0 : p->tx_index;
		break;
	case CSR_RING_LENGTHS:
	case CSR_RX_COUNTER:
	case CSR_TX_COUNTER:
	case CSR_CHIP_ID:
	case CSR_CHIP_ID + 1:
		return;
	default:
		if (index < CSR_COUNT)
			p->csr[index] = value;
	}
	update_line(p);
}

static uint16_t read_bcr(const struct pcnet *p, unsigned index)
{
	uint16_t value = index < BCR_COUNT ? p->bcr[index] : 0;
	/* LEDOUT: the link is up, and that is what this LED shows (LNKSTE). */
	if (index == BCR_LED0 && value & 0x0040 && net_connected(p->net))
		value |= 0x8000;
	if (index == BCR_EEPROM)
		value |= 0xa000; /* PVALID, EEDET: it was read, and is there */
	return value;
}

static void write_bcr(struct pcnet *p, unsigned index, uint16_t value)
{
	if (index == BCR_STYLE && !pcnet_running(p))
		set_style(p, value);
	else if (index == BCR_EEPROM)
		p->bcr[index] = value & 0x0017;
	else if (index < BCR_COUNT && index != BCR_STYLE && index != BCR_IO_LOW && index != BCR_IO_LOW + 1)
		p->bcr[index] = index >= BCR_LED0 && index < 8 ? value & 0x7fff : value;
}

/* --- the window: 16 bytes of address PROM, then RDP, RAP, reset and BDP, as words or as dwords --- */

enum { REG_RDP, REG_RAP, REG_RESET, REG_BDP };

static uint16_t read_window(struct pcnet *p, unsigned which)
{
	switch (which) {
	case REG_RDP:
		return read_csr(p, p->rap);
	case REG_RAP:
		return p->rap;
	case REG_RESET:
		soft_reset(p);
		return 0;
	default:
		return read_bcr(p, p->rap);
	}
}

static void write_window(struct pcnet *p, unsigned which, uint16_t value)
{
	switch (which) {
	case REG_RDP:
		write_csr(p, p->rap, value);
		break;
	case REG_RAP:
		p->rap = value & 0x7f;
		break;
	case REG_BDP:
		write_bcr(p, p->rap, value);
		break;
	}
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pcnet *p = opaque;
	unsigned width = p->dword_io ? 4 : 2;
	if (offset < 16)
		return load_le(p->aprom + offset, MIN(size, 16 - (unsigned)offset));
	if (size != width || offset % width)
		return size_mask(size);
	unsigned which = (unsigned)(offset - 16) / width;
	return which <= REG_BDP ? read_window(p, which) : size_mask(size);
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pcnet *p = opaque;
	/* A dword written to RDP makes dwords of all until the next hardware reset. */
	if (offset == 16 && size == 4)
		p->dword_io = 1;
	unsigned width = p->dword_io ? 4 : 2;
	if (offset < 16) {
		for (unsigned i = 0; i < size && offset + i < 16; i++)
			if (p->bcr[BCR_MISC] & 0x0100) /* APROMWE */
				p->aprom[offset + i] = (uint8_t)(value >> 8 * i);
	} else if (size == width && offset % width == 0) {
		write_window(p, (unsigned)(offset - 16) / width, (uint16_t)value);
	}
}

static const struct io_ops window_ops = { window_read, window_write, 4 };

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct pcnet *p = opaque;
	if (offset > PCI_COMMAND || offset + size <= PCI_COMMAND)
		return;
	post_work(p);
	receive_again(p);
}

static const struct pci_function_ops function_ops = { .config_written = config_written };

/* --- the device --- */

static const struct field fields[] = {
	FIELD_STRUCT(struct pcnet, function, pci_function_fields),
	FIELD_BYTES_KEEP(struct pcnet, aprom),
	FIELD_ARRAY(struct pcnet, csr),
	FIELD_ARRAY(struct pcnet, bcr),
	FIELD(struct pcnet, rap),
	FIELD(struct pcnet, dword_io),
	FIELD(struct pcnet, demanded),
	FIELD(struct pcnet, rx_index),
	FIELD(struct pcnet, tx_index),
	FIELD_END
};

static void reset(void *device)
{
	struct pcnet *p = device;
	pci_function_reset(&p->function);
	lock_take(&p->lock);
	hard_reset(p);
	lock_release(&p->lock);
}

static int loaded(void *device, struct error *err)
{
	struct pcnet *p = device;
	pci_function_loaded(&p->function);
	lock_take(&p->lock);
	p->rap &= 0x7f;
	set_style(p, p->bcr[BCR_STYLE]);
	arm_poll(p);
	post_work(p);
	lock_release(&p->lock);
	return 0;
}

static void destroy(void *device)
{
	struct pcnet *p = device;
	timer_cancel(&p->poll);
	timer_cancel(&p->again);
	net_close(p->net);
	pci_function_destroy(&p->function);
	lock_destroy(&p->lock);
	free(p);
}

static const struct device_type pcnet_type = {
	.name = "pcnet",
	.fields = fields,
	.reset = reset,
	.loaded = loaded,
	.destroy = destroy,
};

/* Address, hardware ID, sum of all bytes but its own, "WW". */
static void fill_aprom(struct pcnet *p, const uint8_t mac[NET_MAC_SIZE])
{
	uint16_t sum = 0;
	memcpy(p->aprom, mac, NET_MAC_SIZE);
	p->aprom[9] = 0x11;
	p->aprom[14] = p->aprom[15] = 0x57;
	for (unsigned i = 0; i < sizeof(p->aprom); i++)
		sum = (uint16_t)(sum + p->aprom[i]);
	store_le16(p->aprom + 12, sum);
}

static int add_function(struct pcnet *p, const struct nic_config *config, struct error *err)
{
	const struct pci_function_config function = {
		.bus = config->bus, .name = p->device.name, .devfn = config->devfn, .vendor = VENDOR_AMD, .device = DEVICE_PCNET,
		.class_code = 0x020000, .revision = 0x16, .interrupt_pin = 1, .lock = &p->lock, .ops = &function_ops, .opaque = p,
	};
	if (pci_function_init(&p->function, &function, err) < 0)
		return -1;
	pci_function_set_register(&p->function, 0x3e, 0xff06, 0, 2); /* MAX_LAT, MIN_GNT */
	if (pci_function_add_bar(&p->function, 0, PCI_BAR_IO, IO_SIZE, &window_ops, p, err) == 0 &&
	    pci_function_add_bar(&p->function, 1, PCI_BAR_MEMORY32, IO_SIZE, &window_ops, p, err) == 0)
		return 0;
	pci_function_destroy(&p->function);
	return -1;
}

struct device *pcnet_create(const struct nic_config *config, struct error *err)
{
	struct pcnet *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ENOMEM, "out of memory for %s", config->name);
		return NULL;
	}
	p->dma = config->dma;
	p->worker = config->worker;
	p->clock = config->clock;
	p->net = config->net;
	lock_init(&p->lock);
	/* Its reset and load touch the configuration space, hence under the bus's lock, outside of ours. */
	device_init(&p->device, &pcnet_type, config->name, &config->bus->lock);
	timer_init(&p->poll, config->clock, &p->lock, poll, p);
	timer_init(&p->again, config->clock, &p->lock, receive_again, p);
	fill_aprom(p, config->mac);
	if (add_function(p, config, err) < 0) {
		lock_destroy(&p->lock);
		free(p);
		return NULL;
	}
	net_attach(p->net, &(struct net_port){ receive, writable, p });
	return &p->device;
}
