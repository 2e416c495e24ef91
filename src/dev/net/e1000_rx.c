/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/net/e1000_regs.h"

#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "net/packet.h"

#define MIN_SIZE 60u               /* shorter frames are padded by whoever sends them */
#define MAX_SIZE 1518u             /* with a VLAN tag 1522, both with check sequence (13.4.22) */
#define MAX_LONG_SIZE 16384u
#define FCS_SIZE 4u

/* Status and errors of a receive descriptor (3.2.3). */
#define STATUS_DD 0x01u
#define STATUS_EOP 0x02u
#define STATUS_IXSM 0x04u
#define STATUS_VP 0x08u
#define STATUS_TCPCS 0x20u
#define STATUS_IPCS 0x40u
#define STATUS_PIF 0x80u
#define ERROR_TCPE 0x20u
#define ERROR_IPE 0x40u

struct rx_packet {
	const uint8_t *data;         /* with check sequence, if it is wanted */
	size_t size;
	uint8_t status, errors;
	uint16_t checksum, tag;
};

/* --- filters (3.2.1) --- */

static bool exact_match(struct e1000 *e, const uint8_t *mac)
{
	uint32_t low = load_le32(mac), high = load_le16(mac + 4);
	for (unsigned i = 0; i < 16; i++) {
		const uint32_t *ral = e1000_reg(e, REG_RAL + 8 * i);
		if (ral[1] & RAH_AV && ral[0] == low && (ral[1] & 0xffff) == high && !(ral[1] & 0x30000))
			return true;
	}
	return false;
}

static bool hash_match(struct e1000 *e, const uint8_t *mac)
{
	static const uint8_t shifts[] = { 4, 3, 2, 0 };
	unsigned shift = shifts[*e1000_reg(e, REG_RCTL) >> 12 & 3];
	unsigned bit = load_le16(mac + 4) >> shift & 0xfff;
	return e1000_reg(e, REG_MTA)[bit / 32] >> bit % 32 & 1;
}

static bool wanted(struct e1000 *e, const uint8_t *frame, bool *not_exact)
{
	static const uint8_t broadcast[NET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint32_t rctl = *e1000_reg(e, REG_RCTL);
	bool group = frame[0] & 1;
	*not_exact = false;
	if (exact_match(e, frame) || (!memcmp(frame, broadcast, NET_MAC_SIZE) && rctl & RCTL_BAM) || rctl & (group ? RCTL_MPE : RCTL_UPE))
		return true;
	*not_exact = true;
	return hash_match(e, frame);
}

static bool tagged(struct e1000 *e, const uint8_t *frame, size_t size)
{
	uint32_t vet = *e1000_reg(e, REG_VET);
	return size >= 18 && frame[12] == (vet >> 8 & 0xff) && frame[13] == (vet & 0xff);
}

static bool vlan_wanted(struct e1000 *e, uint16_t tag)
{
	unsigned vlan = tag & 0xfff;
	return !(*e1000_reg(e, REG_RCTL) & RCTL_VFE) || e1000_reg(e, REG_VFTA)[vlan / 32] >> vlan % 32 & 1;
}

/* --- checksums (3.2.9) --- */

static bool pseudo_sum_good(const uint8_t *frame, const struct packet_layers *l, size_t length)
{
	bool v4 = l->ethertype == 0x0800;
	uint8_t tail[4] = { 0, l->protocol, (uint8_t)(length >> 8), (uint8_t)length };
	uint64_t sum = packet_sum(0, frame + l->network + (v4 ? 12 : 8), v4 ? 8 : 32);
	return packet_fold(packet_sum(packet_sum(sum, tail, 4), frame + l->transport, length)) == 0xffff;
}

static void verify_transport(struct rx_packet *p, const uint8_t *frame, size_t size, const struct packet_layers *l, size_t ip_end, bool valid)
{
	size_t length = ip_end - l->transport;
	if (l->protocol == 17 && (length < 8 || !load_le16(frame + l->transport + 6)))
		return; /* without a checksum */
	if (l->protocol != 6 && l->protocol != 17)
		return;
	p->status |= STATUS_TCPCS;
	if (!valid && !pseudo_sum_good(frame, l, length))
		p->errors |= ERROR_TCPE;
}

static void verify(struct e1000 *e, struct rx_packet *p, const uint8_t *frame, size_t size, bool valid)
{
	uint32_t rxcsum = *e1000_reg(e, REG_RXCSUM);
	unsigned start = rxcsum & 0xff;
	struct packet_layers l;
	if (start < size)
		p->checksum = packet_fold(packet_sum(0, frame + start, size - start));
	p->status |= STATUS_IXSM;
	packet_layers(frame, size, &l);
	if (l.ethertype != 0x0800 || l.network + 20 > size)
		return;
	const uint8_t *ip = frame + l.network;
	size_t header = (ip[0] & 15u) * 4, ip_end = l.network + (size_t)(ip[2] << 8 | ip[3]);
	if (header < 20 || l.network + header > size || ip_end > size || ip_end < l.network + header)
		return;
	if (rxcsum & RXCSUM_IPOFL) {
		p->status = (uint8_t)((p->status & ~STATUS_IXSM) | STATUS_IPCS);
		if (packet_fold(packet_sum(0, ip, header)) != 0xffff)
			p->errors |= ERROR_IPE;
	}
	if (rxcsum & RXCSUM_TUOFL && l.has_transport && l.transport < ip_end) {
		p->status &= (uint8_t)~STATUS_IXSM;
		verify_transport(p, frame, size, &l, ip_end, valid);
	}
}

/* --- the ring --- */

static uint32_t buffer_size(uint32_t rctl)
{
	uint32_t size = 2048u >> (rctl >> 16 & 3);
	return rctl & RCTL_BSEX && size < 2048 ? size * 16 : size;
}

static uint32_t ring_size(struct e1000 *e)
{
	return *e1000_reg(e, REG_RDLEN) / E1000_DESC_SIZE;
}

static uint32_t free_descriptors(struct e1000 *e, uint32_t size)
{
	uint32_t head = *e1000_reg(e, REG_RDH), tail = *e1000_reg(e, REG_RDT);
	return head < size && tail < size ? (tail + size - head) % size : 0;
}

static void put(struct e1000 *e, const struct rx_packet *p)
{
	uint64_t base = (uint64_t)*e1000_reg(e, REG_RDBAH) << 32 | *e1000_reg(e, REG_RDBAL);
	uint32_t size = ring_size(e), room = buffer_size(*e1000_reg(e, REG_RCTL)), *head = e1000_reg(e, REG_RDH);
	for (size_t at = 0; at < p->size; *head = (*head + 1) % size) {
		uint64_t where = base + (uint64_t)*head * E1000_DESC_SIZE;
		uint8_t desc[E1000_DESC_SIZE];
		size_t part = MIN(p->size - at, (size_t)room);
		bool last = at + part == p->size;
		if (dma_read(&e->dma, where, desc, sizeof(desc)) && load_le64(desc))
			dma_write(&e->dma, load_le64(desc), p->data + at, part);
		store_le16(desc + 8, (uint16_t)part);
		store_le16(desc + 10, p->checksum);
		desc[12] = (uint8_t)(STATUS_DD | (last ? STATUS_EOP | p->status : 0));
		desc[13] = last ? p->errors : 0;
		store_le16(desc + 14, p->tag);
		/* The status byte after the rest: the driver looks at it (3.2.3). */
		dma_write(&e->dma, where + 8, desc + 8, 4);
		dma_write(&e->dma, where + 13, desc + 13, 3);
		dma_write(&e->dma, where + 12, desc + 12, 1);
		at += part;
	}
}

static void received(struct e1000 *e, uint32_t size)
{
	uint32_t left = free_descriptors(e, size), threshold = *e1000_reg(e, REG_RCTL) >> 8 & 3;
	e1000_interrupt(e, INT_RXT0 | (left <= size >> (threshold + 1) ? INT_RXDMT0 : 0));
}

/* Copies the frame, padded, without its tag if that is to go, and with a check sequence. */
static size_t prepare(struct e1000 *e, const struct net_frame *frame, struct rx_packet *p)
{
	size_t size = packet_gather(frame->iov, frame->count, 0, e->frame, frame->size);
	if (size < MIN_SIZE) {
		memset(e->frame + size, 0, MIN_SIZE - size);
		size = MIN_SIZE;
	}
	p->data = e->frame;
	if (tagged(e, e->frame, size)) {
		p->tag = (uint16_t)(e->frame[14] << 8 | e->frame[15]);
		if (*e1000_reg(e, REG_CTRL) & CTRL_VME) {
			p->status |= STATUS_VP;
			memmove(e->frame + 12, e->frame + 16, size - 16);
			size -= 4;
		}
	}
	return size;
}

bool e1000_receive(struct e1000 *e, const struct net_frame *frame)
{
	uint32_t rctl = *e1000_reg(e, REG_RCTL), size = ring_size(e);
	struct rx_packet p = { 0 };
	bool not_exact, master = pci_function_command(&e->function) & PCI_COMMAND_MASTER;
	if (!(rctl & RCTL_EN) || !master || !size || frame->size > MAX_LONG_SIZE - FCS_SIZE)
		return true;
	size_t length = prepare(e, frame, &p);
	bool tag = tagged(e, e->frame, length) || p.status & STATUS_VP;
	if (!(rctl & RCTL_LPE) && frame->size + FCS_SIZE > MAX_SIZE + (tag ? 4 : 0))
		return true;
	if (!wanted(e, e->frame, &not_exact) || (tag && !vlan_wanted(e, p.tag)))
		return true;
	p.status |= not_exact ? STATUS_PIF : 0;
	verify(e, &p, e->frame, length, frame->offload.valid);
	p.size = length;
	if (!(rctl & RCTL_SECRC)) {
		store_le32(e->frame + length, (uint32_t)crc32(0, e->frame, (unsigned)length));
		p.size += FCS_SIZE;
	}
	uint32_t needed = (uint32_t)(p.size + buffer_size(rctl) - 1) / buffer_size(rctl);
	if (needed >= size)
		return true;
	if (free_descriptors(e, size) < needed) {
		e->starved = true;
		return false;
	}
	if (!tag)
		p.tag = 0;
	put(e, &p);
	e1000_count(e, false, e->frame, length);
	received(e, size);
	return true;
}
