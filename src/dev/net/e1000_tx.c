/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A packet is taken from the ring when all of its descriptors up to the one
 * with EOP are there, and gives them back when the network has taken it: so there is nothing of a packet to save
 * besides the head of the ring and the last context.
 */
#include "dev/net/e1000_regs.h"

#include <string.h>

#include "base/util.h"
#include "net/packet.h"

#define PACKETS_AT_ONCE 128u

/* Command bits, in the highest byte of the third dword of all kinds (3.3.3, 3.3.6, 3.3.7). */
#define CMD_EOP 0x01u
#define CMD_IC 0x04u             /* legacy */
#define CMD_TSE 0x04u            /* data */
#define CMD_RS 0x08u
#define CMD_RPS 0x10u
#define CMD_DEXT 0x20u
#define CMD_VLE 0x40u
#define TUCMD_TCP 0x01u
#define TUCMD_IP 0x02u
#define POPTS_IXSM 0x01u
#define POPTS_TXSM 0x02u
#define DESC_DD 0x01u

struct tx_desc {
	uint64_t address;
	uint32_t lower, upper;
};

struct tx_packet {
	size_t size;
	unsigned descriptors;
	bool overlong, legacy;
	uint8_t command, options, cso, css; /* of the first data descriptor; legacy: of the last */
	uint16_t tag;
	bool insert_tag;
};

static uint8_t command_of(const struct tx_desc *desc)
{
	return (uint8_t)(desc->lower >> 24);
}

static bool is_context(const struct tx_desc *desc)
{
	return command_of(desc) & CMD_DEXT && !(desc->lower >> 20 & 15);
}

static uint64_t ring_base(struct e1000 *e)
{
	return (uint64_t)*e1000_reg(e, REG_TDBAH) << 32 | *e1000_reg(e, REG_TDBAL);
}

static uint32_t ring_size(struct e1000 *e)
{
	return *e1000_reg(e, REG_TDLEN) / E1000_DESC_SIZE;
}

static bool load(struct e1000 *e, uint32_t index, struct tx_desc *desc)
{
	uint8_t bytes[E1000_DESC_SIZE];
	if (!dma_read(&e->dma, ring_base(e) + (uint64_t)index * E1000_DESC_SIZE, bytes, sizeof(bytes)))
		return false;
	*desc = (struct tx_desc){ load_le64(bytes), load_le32(bytes + 8), load_le32(bytes + 12) };
	return true;
}

/* Sets DD where it was asked for (3.3.3.2). */
static bool done(struct e1000 *e, uint32_t index, const struct tx_desc *desc)
{
	if (!(command_of(desc) & (CMD_RS | CMD_RPS)))
		return false;
	uint8_t status = (uint8_t)(desc->upper | DESC_DD);
	dma_write(&e->dma, ring_base(e) + (uint64_t)index * E1000_DESC_SIZE + 12, &status, 1);
	return true;
}

static void set_context(struct e1000 *e, const struct tx_desc *desc)
{
	e->context = (struct e1000_context){
		.ipcss = (uint8_t)desc->address, .ipcso = (uint8_t)(desc->address >> 8), .ipcse = (uint16_t)(desc->address >> 16),
		.tucss = (uint8_t)(desc->address >> 32), .tucso = (uint8_t)(desc->address >> 40), .tucse = (uint16_t)(desc->address >> 48),
		.paylen = desc->lower & 0xfffff, .tucmd = command_of(desc), .hdrlen = (uint8_t)(desc->upper >> 8),
		.mss = (uint16_t)(desc->upper >> 16),
	};
}

/* A buffer of the packet. */
static void gather(struct e1000 *e, const struct tx_desc *desc, struct tx_packet *p)
{
	bool extended = command_of(desc) & CMD_DEXT;
	uint32_t length = extended ? desc->lower & 0xfffff : desc->lower & 0xffff;
	if (!p->descriptors) {
		p->legacy = !extended;
		p->command = command_of(desc);
		p->options = (uint8_t)(desc->upper >> 8);
	}
	if (!extended) {
		p->command = command_of(desc);
		p->cso = (uint8_t)(desc->lower >> 16);
		p->css = (uint8_t)(desc->upper >> 8);
	}
	if (command_of(desc) & CMD_EOP) {
		p->insert_tag = command_of(desc) & CMD_VLE;
		p->tag = (uint16_t)(desc->upper >> 16);
	}
	p->descriptors++;
	if (p->overlong || length > sizeof(e->packet) - p->size) {
		p->overlong = true;
		return;
	}
	if (length && !dma_read(&e->dma, desc->address, e->packet + p->size, length))
		memset(e->packet + p->size, 0xff, length); /* as from a bus on which nobody answers */
	p->size += length;
}

/* Inserts a checksum over bytes start to end (inclusive; 0: the last one) at `at`; what stands there is part of the sum (3.5). */
static void insert_checksum(uint8_t *frame, size_t size, size_t start, size_t end, size_t at, bool udp)
{
	size_t stop = end && end < size ? end + 1 : size;
	if (start >= stop || at + 2 > size)
		return;
	uint16_t sum = (uint16_t)~packet_fold(packet_sum(0, frame + start, stop - start));
	if (udp && !sum)
		sum = 0xffff;
	store_le16(frame + at, sum);
}

static void insert_context_checksums(const struct e1000 *e, uint8_t *frame, size_t size, uint8_t options)
{
	const struct e1000_context *c = &e->context;
	if (options & POPTS_TXSM)
		insert_checksum(frame, size, c->tucss, c->tucse, c->tucso, !(c->tucmd & TUCMD_TCP));
	if (options & POPTS_IXSM)
		insert_checksum(frame, size, c->ipcss, c->ipcse, c->ipcso, false);
}

/* Hands over one frame of e->frame; false: no room. */
static bool emit(struct e1000 *e, size_t size, const struct tx_packet *p)
{
	uint8_t tag[4];
	struct iovec iov[3] = { { e->frame, size } };
	struct net_frame frame = { .iov = iov, .count = 1, .size = size, .offload.valid = true };
	if (p->insert_tag && *e1000_reg(e, REG_CTRL) & CTRL_VME && size >= NET_FRAME_MIN) {
		uint16_t vet = (uint16_t)*e1000_reg(e, REG_VET);
		const uint8_t bytes[4] = { (uint8_t)(vet >> 8), (uint8_t)vet, (uint8_t)(p->tag >> 8), (uint8_t)p->tag };
		memcpy(tag, bytes, sizeof(tag));
		iov[0].iov_len = 12;
		iov[1] = (struct iovec){ tag, sizeof(tag) };
		iov[2] = (struct iovec){ e->frame + 12, size - 12 };
		frame.count = 3;
		frame.size += sizeof(tag);
	}
	if (!net_send(e->net, &frame))
		return false;
	e1000_count(e, true, e->frame, frame.size);
	return true;
}

static bool send_plain(struct e1000 *e, const struct tx_packet *p)
{
	size_t size = p->size;
	if (size > NET_FRAME_MAX - 4)
		return true;
	memcpy(e->frame, e->packet, size);
	if (p->legacy && p->command & CMD_IC)
		insert_checksum(e->frame, size, p->css, 0, p->cso, false);
	else if (!p->legacy)
		insert_context_checksums(e, e->frame, size, p->options);
	if (size < 60 && *e1000_reg(e, REG_TCTL) & TCTL_PSP) {
		memset(e->frame + size, 0, 60 - size);
		size = 60;
	}
	return emit(e, size, p);
}

/* One segment into e->frame; 3.5.7 to 3.5.9. */
static void make_segment(struct e1000 *e, const struct tx_packet *p, size_t at, size_t part, unsigned number, bool last)
{
	const struct e1000_context *c = &e->context;
	uint8_t *ip = e->frame + c->ipcss, *l4 = e->frame + c->tucss;
	size_t size = c->hdrlen + part;
	memcpy(e->frame, e->packet, c->hdrlen);
	memcpy(e->frame + c->hdrlen, e->packet + c->hdrlen + at, part);
	if (c->tucmd & TUCMD_IP) {
		store_be16(ip + 2, (uint32_t)(size - c->ipcss));
		store_be16(ip + 4, load_be16(ip + 4) + number);
	} else {
		store_be16(ip + 4, (uint32_t)(size - c->ipcss - 40));
	}
	if (c->tucmd & TUCMD_TCP) {
		uint32_t sequence = load_be32(l4 + 4) + (uint32_t)at;
		store_be16(l4 + 4, sequence >> 16);
		store_be16(l4 + 6, sequence);
		if (!last)
			l4[13] &= (uint8_t)~0x09; /* FIN and PSH */
	} else {
		store_be16(l4 + 4, (uint32_t)(size - c->tucss));
	}
	/* The driver's pseudo header has no length in it. */
	if (p->options & POPTS_TXSM && c->tucso + 2u <= size) {
		uint8_t length[2], *field = e->frame + c->tucso;
		store_be16(length, (uint32_t)(size - c->tucss));
		store_le16(field, packet_fold((uint64_t)load_le16(field) + load_le16(length)));
	}
	insert_context_checksums(e, e->frame, size, p->options);
}

static bool send_segments(struct e1000 *e, const struct tx_packet *p)
{
	const struct e1000_context *c = &e->context;
	size_t least = MAX(c->ipcss + (c->tucmd & TUCMD_IP ? 20u : 40u), c->tucss + (c->tucmd & TUCMD_TCP ? 20u : 8u));
	if (!c->mss || c->hdrlen < least || p->size < c->hdrlen)
		return true;
	size_t payload = MIN(p->size - c->hdrlen, (size_t)c->paylen), at = 0;
	for (unsigned number = 0; at < payload || number == 0; number++) {
		size_t part = MIN(payload - at, (size_t)c->mss);
		if (c->hdrlen + part > NET_FRAME_MAX - 4)
			return true;
		make_segment(e, p, at, part, number, at + part == payload);
		if (!emit(e, c->hdrlen + part, p))
			return number != 0; /* once begun, the rest is lost, as on a wire */
		at += part;
		if (!part)
			break;
	}
	++*e1000_reg(e, STAT_TSCTC);
	return true;
}

enum result { TX_EMPTY, TX_SENT, TX_FULL };

/* Gives the descriptors from the head to `end` back. */
static void give_back(struct e1000 *e, uint32_t count)
{
	uint32_t *head = e1000_reg(e, REG_TDH), causes = 0;
	struct tx_desc desc;
	for (; count; count--) {
		if (load(e, *head, &desc) && done(e, *head, &desc))
			causes |= INT_TXDW;
		*head = (*head + 1) % ring_size(e);
	}
	if (*head == *e1000_reg(e, REG_TDT))
		causes |= INT_TXQE;
	if (causes)
		e1000_interrupt(e, causes);
}

static enum result send_next(struct e1000 *e)
{
	uint32_t size = ring_size(e), index = *e1000_reg(e, REG_TDH), tail = *e1000_reg(e, REG_TDT), taken = 0;
	struct tx_packet p = { 0 };
	struct tx_desc desc;
	for (; index != tail && taken < size; index = (index + 1) % size) {
		if (!load(e, index, &desc))
			return TX_EMPTY;
		taken++;
		if (is_context(&desc)) {
			set_context(e, &desc);
			if (!p.descriptors) {
				give_back(e, taken);
				return TX_SENT;
			}
			continue;
		}
		gather(e, &desc, &p);
		if (!(command_of(&desc) & CMD_EOP))
			continue;
		bool segments = !p.legacy && p.command & CMD_TSE;
		if (!p.overlong && !(segments ? send_segments : send_plain)(e, &p))
			return TX_FULL;
		give_back(e, taken);
		return TX_SENT;
	}
	return TX_EMPTY;
}

bool e1000_transmit(struct e1000 *e)
{
	uint32_t size = ring_size(e);
	if (!(*e1000_reg(e, REG_TCTL) & TCTL_EN) || !(pci_function_command(&e->function) & PCI_COMMAND_MASTER))
		return false;
	if (*e1000_reg(e, REG_TDH) >= size || *e1000_reg(e, REG_TDT) >= size)
		return false;
	for (unsigned i = 0; i < PACKETS_AT_ONCE; i++) {
		enum result result = send_next(e);
		e->full = result == TX_FULL;
		if (result != TX_SENT)
			return false;
	}
	return true;
}
