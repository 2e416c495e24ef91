/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/net/pcnet_regs.h"

#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "net/packet.h"

#define MIN_SIZE 60u
#define FCS_SIZE 4u
#define PACKETS_AT_ONCE 64u

/* A descriptor of any software style, in the layout of style 2: status is the second dword. */
#define DESC_OWN 0x80000000u
#define DESC_ERR 0x40000000u
#define TX_ADD_FCS 0x20000000u
#define TX_LTINT 0x10000000u
#define RX_BUFF 0x04000000u
#define DESC_STP 0x02000000u
#define DESC_ENP 0x01000000u
#define RX_PAM 0x00400000u
#define RX_LAFM 0x00200000u
#define RX_BAM 0x00100000u
#define TX_RESULT 0xfc000000u

struct pcnet_desc {
	uint32_t address, status, result;
};

static unsigned style(const struct pcnet *p)
{
	return p->bcr[BCR_STYLE] & SWS_STYLE;
}

static unsigned desc_size(const struct pcnet *p)
{
	return pcnet_wide(p) ? 16 : 8;
}

/* Addresses of 16-bit structures have 24 bits; CSR2 gives the others. */
static uint64_t full_address(const struct pcnet *p, uint32_t address)
{
	return pcnet_wide(p) ? address : (address & 0xffffff) | (uint32_t)(p->csr[CSR_IADR_HIGH] & 0xff00) << 16;
}

static uint64_t desc_at(const struct pcnet *p, unsigned base, unsigned index)
{
	uint32_t start = p->csr[base] | (uint32_t)p->csr[base + 1] << 16;
	return (uint32_t)(start + index * desc_size(p));
}

static unsigned ring_length(const struct pcnet *p, unsigned length)
{
	return (uint16_t)-p->csr[length];
}

static bool load(const struct pcnet *p, unsigned base, unsigned index, struct pcnet_desc *desc)
{
	uint8_t bytes[16];
	if (!dma_read(&p->dma, desc_at(p, base, index), bytes, desc_size(p)))
		return false;
	if (!pcnet_wide(p))
		*desc = (struct pcnet_desc){
			(uint32_t)full_address(p, load_le32(bytes)), (uint32_t)(load_le16(bytes + 2) & 0xff00) << 16 | load_le16(bytes + 4), 0,
		};
	else
		*desc = (struct pcnet_desc){
			load_le32(bytes + (style(p) == 3 ? 8 : 0)), load_le32(bytes + 4), load_le32(bytes + (style(p) == 3 ? 0 : 8)),
		};
	return true;
}

/* The result first: with OWN gone the descriptor is the driver's. */
static void store(const struct pcnet *p, unsigned base, unsigned index, const struct pcnet_desc *desc)
{
	uint64_t at = desc_at(p, base, index);
	uint8_t bytes[4];
	if (!pcnet_wide(p)) {
		bool tx = base == CSR_TX_BASE;
		store_le16(bytes, (uint16_t)(tx ? desc->result >> 16 : desc->result & 0xfff));
		dma_write(&p->dma, at + 6, bytes, 2);
		bytes[0] = (uint8_t)(desc->status >> 24);
		dma_write(&p->dma, at + 3, bytes, 1);
		return;
	}
	store_le32(bytes, desc->result);
	dma_write(&p->dma, at + (style(p) == 3 ? 0 : 8), bytes, 4);
	store_le32(bytes, desc->status);
	dma_write(&p->dma, at + 4, bytes, 4);
}

static unsigned buffer_length(const struct pcnet_desc *desc)
{
	unsigned length = -desc->status & 0xfff;
	return length ? length : 4096;
}

/* --- the initialization block --- */

static void set_rings(struct pcnet *p, unsigned rlen, unsigned tlen, uint32_t rx, uint32_t tx)
{
	p->csr[CSR_RX_LENGTH] = (uint16_t)-(1 << MIN(rlen, 9u));
	p->csr[CSR_TX_LENGTH] = (uint16_t)-(1 << MIN(tlen, 9u));
	p->csr[CSR_RX_BASE] = (uint16_t)rx;
	p->csr[CSR_RX_BASE + 1] = (uint16_t)(rx >> 16);
	p->csr[CSR_TX_BASE] = (uint16_t)tx;
	p->csr[CSR_TX_BASE + 1] = (uint16_t)(tx >> 16);
	p->csr[CSR_RING_LENGTHS] = (uint16_t)(tlen << 12 | rlen << 8);
	p->rx_index = p->tx_index = 0;
}

void pcnet_initialize(struct pcnet *p)
{
	uint8_t block[28];
	uint32_t address = p->csr[CSR_IADR_LOW] | (uint32_t)p->csr[CSR_IADR_HIGH] << 16;
	bool wide = pcnet_wide(p);
	if (!dma_read(&p->dma, address, block, wide ? 28 : 24)) {
		pcnet_interrupt(p, CSR0_MERR);
		return;
	}
	const uint8_t *padr = block + (wide ? 4 : 2), *ladrf = block + (wide ? 12 : 8);
	p->csr[CSR_MODE] = load_le16(block);
	for (unsigned i = 0; i < 3; i++)
		p->csr[CSR_PADR + i] = load_le16(padr + 2 * i);
	for (unsigned i = 0; i < 4; i++)
		p->csr[CSR_LADRF + i] = load_le16(ladrf + 2 * i);
	if (wide)
		set_rings(p, block[2] >> 4, block[3] >> 4, load_le32(block + 20), load_le32(block + 24));
	else
		set_rings(p, block[19] >> 5, block[23] >> 5, (uint32_t)full_address(p, load_le32(block + 16)) & ~7u,
			  (uint32_t)full_address(p, load_le32(block + 20)) & ~7u);
	pcnet_interrupt(p, CSR0_IDON);
}

/* --- receiving --- */

static bool hash_match(const struct pcnet *p, const uint8_t *mac)
{
	/* The upper six bits of the register that makes the check sequence; zlib gives its complement. */
	unsigned bit = ~(uint32_t)crc32(0, mac, NET_MAC_SIZE) >> 26;
	return p->csr[CSR_LADRF + bit / 16] >> bit % 16 & 1;
}

/* The bits that say by what address a frame matched; 0 with `pass` when promiscuous. */
static uint32_t match(const struct pcnet *p, const uint8_t *frame, bool *pass)
{
	static const uint8_t broadcast[NET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint16_t mode = p->csr[CSR_MODE];
	uint8_t mine[NET_MAC_SIZE];
	uint32_t bits = 0;
	for (unsigned i = 0; i < 3; i++)
		store_le16(mine + 2 * i, p->csr[CSR_PADR + i]);
	if (!memcmp(frame, broadcast, NET_MAC_SIZE))
		bits = mode & MODE_DRCVBC ? 0 : RX_BAM;
	else if (frame[0] & 1)
		bits = hash_match(p, frame) ? RX_LAFM : 0;
	else if (!memcmp(frame, mine, NET_MAC_SIZE))
		bits = mode & MODE_DRCVPA ? 0 : RX_PAM;
	*pass = bits || mode & MODE_PROM;
	return pcnet_wide(p) ? bits : 0;
}

static unsigned next(const struct pcnet *p, unsigned index, unsigned length)
{
	return index + 1 < ring_length(p, length) ? index + 1 : 0;
}

/* Over as many descriptors as it takes; one that is not ours in the middle ends it (BUFF). */
static void put(struct pcnet *p, const uint8_t *data, size_t size, uint32_t bits)
{
	unsigned index = p->rx_index;
	struct pcnet_desc desc;
	size_t at = 0;
	load(p, CSR_RX_BASE, index, &desc);
	for (bool more = true; more;) {
		size_t part = MIN(size - at, (size_t)buffer_length(&desc));
		unsigned following = next(p, index, CSR_RX_LENGTH);
		struct pcnet_desc after = desc;
		dma_write(&p->dma, full_address(p, desc.address), data + at, part);
		desc.status = (desc.status & 0xffff) | (at ? 0 : DESC_STP);
		at += part;
		more = at < size && following != p->rx_index && load(p, CSR_RX_BASE, following, &after) && after.status & DESC_OWN;
		if (at == size) {
			desc.status |= DESC_ENP | bits;
			desc.result = (uint32_t)size;
		} else if (!more) {
			desc.status |= DESC_ERR | RX_BUFF;
		}
		store(p, CSR_RX_BASE, index, &desc);
		index = following;
		desc = after;
	}
	p->rx_index = (uint16_t)index;
	pcnet_interrupt(p, CSR0_RINT);
}

/* Short 802.3 frames lose padding and check sequence when the driver wants that (CSR4, ASTRP_RCV). */
static size_t finish_frame(const struct pcnet *p, uint8_t *frame, size_t size)
{
	size_t length = (size_t)frame[12] << 8 | frame[13];
	if (p->csr[CSR_FEATURE] & CSR4_ASTRP_RCV && length < 46)
		return 14 + length;
	store_le32(frame + size, (uint32_t)crc32(0, frame, (unsigned)size));
	return size + FCS_SIZE;
}

enum pcnet_received pcnet_receive(struct pcnet *p, const struct net_frame *frame)
{
	bool pass, master = pci_function_command(&p->function) & PCI_COMMAND_MASTER;
	struct pcnet_desc desc;
	if (!pcnet_running(p) || !(p->csr[CSR_STATUS] & CSR0_RXON) || !master || !ring_length(p, CSR_RX_LENGTH) ||
	    frame->size > PCNET_PACKET_MAX)
		return PCNET_TAKEN;
	size_t size = packet_gather(frame->iov, frame->count, 0, p->frame, frame->size);
	uint32_t bits = match(p, p->frame, &pass);
	if (!pass)
		return PCNET_TAKEN;
	if (!load(p, CSR_RX_BASE, p->rx_index, &desc) || !(desc.status & DESC_OWN))
		return PCNET_NO_DESCRIPTOR;
	if (size < MIN_SIZE) {
		memset(p->frame + size, 0, MIN_SIZE - size);
		size = MIN_SIZE;
	}
	put(p, p->frame, finish_frame(p, p->frame, size), bits);
	return PCNET_TAKEN;
}

/* --- sending --- */

/* False: no room. */
static bool send_packet(struct pcnet *p, size_t size, bool add_fcs)
{
	if (p->csr[CSR_MODE] & MODE_DXMTFCS && !add_fcs)
		size = size > FCS_SIZE ? size - FCS_SIZE : 0; /* the driver brought its own */
	if (size < MIN_SIZE && p->csr[CSR_FEATURE] & CSR4_APAD_XMT) {
		memset(p->packet + size, 0, MIN_SIZE - size);
		size = MIN_SIZE;
	}
	if (size < NET_FRAME_MIN)
		return true;
	const struct iovec iov = { p->packet, size };
	const struct net_frame frame = { .iov = &iov, .count = 1, .size = size };
	if (!(p->csr[CSR_MODE] & MODE_LOOP))
		return net_send(p->net, &frame);
	if (pcnet_receive(p, &frame) == PCNET_NO_DESCRIPTOR)
		pcnet_interrupt(p, CSR0_MISS);
	return true;
}

static void give_back(struct pcnet *p, unsigned count)
{
	struct pcnet_desc desc;
	for (; count; count--) {
		if (!load(p, CSR_TX_BASE, p->tx_index, &desc))
			return;
		desc.status &= ~(DESC_OWN | DESC_ERR);
		desc.result &= pcnet_wide(p) ? ~(TX_RESULT | 0xfu) : 0;
		store(p, CSR_TX_BASE, p->tx_index, &desc);
		p->tx_index = (uint16_t)next(p, p->tx_index, CSR_TX_LENGTH);
		if (!(desc.status & DESC_ENP))
			continue;
		bool wanted = p->csr[CSR_EXTENDED] & CSR5_LTINTEN ? desc.status & TX_LTINT : !(p->csr[CSR_EXTENDED] & CSR5_TOKINTD);
		p->csr[CSR_FEATURE] |= CSR4_TXSTRT;
		pcnet_interrupt(p, wanted ? CSR0_TINT : 0);
	}
}

enum result { TX_EMPTY, TX_SENT, TX_FULL };

/* One packet, when all of it is there. What does not begin with STP is given back unsent. */
static enum result send_next(struct pcnet *p)
{
	unsigned index = p->tx_index, length = ring_length(p, CSR_TX_LENGTH);
	struct pcnet_desc desc;
	size_t size = 0;
	bool good = true, add_fcs = false;
	for (unsigned taken = 1; taken <= length; taken++, index = next(p, index, CSR_TX_LENGTH)) {
		if (!load(p, CSR_TX_BASE, index, &desc) || !(desc.status & DESC_OWN))
			return TX_EMPTY;
		if (taken == 1 && !(desc.status & DESC_STP)) {
			give_back(p, 1);
			return TX_SENT;
		}
		unsigned part = buffer_length(&desc);
		add_fcs |= taken == 1 && desc.status & TX_ADD_FCS;
		good = good && part <= PCNET_PACKET_MAX - size && dma_read(&p->dma, full_address(p, desc.address), p->packet + size, part);
		size += good ? part : 0;
		if (!(desc.status & DESC_ENP))
			continue;
		if (good && !send_packet(p, size, add_fcs))
			return TX_FULL;
		give_back(p, taken);
		return TX_SENT;
	}
	return TX_EMPTY;
}

bool pcnet_transmit(struct pcnet *p)
{
	bool master = pci_function_command(&p->function) & PCI_COMMAND_MASTER;
	for (unsigned i = 0; i < PACKETS_AT_ONCE; i++) {
		if (!pcnet_running(p) || !(p->csr[CSR_STATUS] & CSR0_TXON) || !master || send_next(p) != TX_SENT)
			return false;
	}
	return true;
}
