/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_PCNET_REGS_H
#define VISOR_DEV_NET_PCNET_REGS_H

#include "dev/net/pcnet.h"

/* For the files pcnet*.c. Names as in the data sheet's chapter on user accessible registers. */

#define CSR0_INIT 0x0001u
#define CSR0_STRT 0x0002u
#define CSR0_STOP 0x0004u
#define CSR0_TDMD 0x0008u
#define CSR0_TXON 0x0010u
#define CSR0_RXON 0x0020u
#define CSR0_IENA 0x0040u
#define CSR0_INTR 0x0080u
#define CSR0_IDON 0x0100u
#define CSR0_TINT 0x0200u
#define CSR0_RINT 0x0400u
#define CSR0_MERR 0x0800u
#define CSR0_MISS 0x1000u
#define CSR0_CERR 0x2000u
#define CSR0_BABL 0x4000u
#define CSR0_ERR 0x8000u
#define CSR0_CAUSES 0x7f00u     /* cleared by writing 1 */
#define CSR4_DPOLL 0x1000u
#define CSR4_APAD_XMT 0x0800u
#define CSR4_ASTRP_RCV 0x0400u
#define CSR4_CAUSES 0x026au     /* MFCO, UINT, RCVCCO, TXSTRT, JAB: cleared by writing 1; a mask one bit below, but for UINT */
#define CSR4_UINTCMD 0x0080u
#define CSR4_UINT 0x0040u
#define CSR4_TXSTRT 0x0008u
#define CSR5_TOKINTD 0x8000u
#define CSR5_LTINTEN 0x4000u
#define CSR5_CAUSES 0x0a90u     /* SINT, SLPINT, EXDINT, MPINT; an enable one bit below */
#define CSR5_SPND 0x0001u
#define MODE_DRX 0x0001u
#define MODE_DTX 0x0002u
#define MODE_LOOP 0x0004u
#define MODE_DXMTFCS 0x0008u
#define MODE_DRCVPA 0x2000u
#define MODE_DRCVBC 0x4000u
#define MODE_PROM 0x8000u
#define SWS_STYLE 0x00ffu
#define SWS_SSIZE32 0x0100u
#define SWS_CSRPCNET 0x0200u

enum {
	CSR_STATUS, CSR_IADR_LOW, CSR_IADR_HIGH, CSR_MASK, CSR_FEATURE, CSR_EXTENDED, CSR_RING_LENGTHS, CSR_LADRF = 8, CSR_PADR = 12,
	CSR_MODE = 15, CSR_IADR_LOW2, CSR_IADR_HIGH2, CSR_RX_BASE = 24, CSR_TX_BASE = 30, CSR_POLL = 47, CSR_STYLE = 58, CSR_RX_COUNTER = 72,
	CSR_TX_COUNTER = 74, CSR_RX_LENGTH = 76, CSR_TX_LENGTH = 78, CSR_CHIP_ID = 88, CSR_MISSED = 112, CSR_COUNT = 128,
};
enum { BCR_MISC = 2, BCR_LED0 = 4, BCR_FULL_DUPLEX = 9, BCR_IO_LOW = 16, BCR_BUS = 18, BCR_EEPROM = 19, BCR_STYLE = 20, BCR_LATENCY = 22,
       BCR_COUNT = 32 };

#define PCNET_PACKET_MAX 4096u /* a buffer's length has 12 bits; the longest Ethernet frame is far below */

struct pcnet {
	struct device device;
	struct lock lock;
	struct pci_function function;
	struct dma dma;
	struct worker worker;
	struct vclock *clock;
	struct net *net;
	struct timer poll, again; /* of the transmit ring; for a frame that waits for a receive descriptor */
	uint8_t aprom[16];
	bool posted, starved;
	unsigned tries;           /* to receive that frame */
	uint8_t packet[PCNET_PACKET_MAX + 64];
	uint8_t frame[PCNET_PACKET_MAX + 64];
	/* State. */
	uint16_t csr[CSR_COUNT], bcr[BCR_COUNT];
	uint16_t rap;
	uint8_t dword_io;
	uint8_t demanded;         /* the driver uses TDMD: polling is for its lapses only */
	uint16_t rx_index, tx_index; /* of the current descriptors */
};

static inline bool pcnet_running(const struct pcnet *p)
{
	return !(p->csr[CSR_STATUS] & CSR0_STOP) && !(p->csr[CSR_EXTENDED] & CSR5_SPND);
}

static inline bool pcnet_wide(const struct pcnet *p)
{
	return p->bcr[BCR_STYLE] & SWS_SSIZE32;
}

/* --- pcnet.c --- */
/* Sets bits of CSR0. */
void pcnet_interrupt(struct pcnet *p, uint16_t causes);

/* --- pcnet_ring.c; with the lock taken --- */
/* Reads the initialization block. */
void pcnet_initialize(struct pcnet *p);
/* Sends what the ring has; true: there is more. */
bool pcnet_transmit(struct pcnet *p);
enum pcnet_received { PCNET_TAKEN, PCNET_NO_DESCRIPTOR };
enum pcnet_received pcnet_receive(struct pcnet *p, const struct net_frame *frame);

#endif
