/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_E1000_REGS_H
#define VISOR_DEV_NET_E1000_REGS_H

#include "dev/net/e1000.h"

/* For the files e1000*.c. Register names and bits as in chapter 13 of the manual. */

#define REG_CTRL 0x0000
#define CTRL_FD 0x1u
#define CTRL_SLU 0x40u
#define CTRL_RST 0x04000000u
#define CTRL_VME 0x40000000u
#define CTRL_PHY_RST 0x80000000u
#define REG_STATUS 0x0008
#define STATUS_FD 0x1u
#define STATUS_LU 0x2u
#define STATUS_SPEED_1000 0x80u
#define REG_EECD 0x0010
#define EECD_SK 0x1u
#define EECD_CS 0x2u
#define EECD_DI 0x4u
#define EECD_DO 0x8u
#define EECD_REQ 0x40u
#define EECD_GNT 0x80u
#define EECD_PRES 0x100u
#define REG_EERD 0x0014
#define EERD_START 0x1u
#define EERD_DONE 0x10u
#define REG_MDIC 0x0020
#define MDIC_WRITE 1u
#define MDIC_READ 2u
#define MDIC_READY 0x10000000u
#define MDIC_INTERRUPT 0x20000000u
#define MDIC_ERROR 0x40000000u
#define REG_VET 0x0038
#define REG_ICR 0x00c0
#define REG_ITR 0x00c4
#define REG_ICS 0x00c8
#define REG_IMS 0x00d0
#define REG_IMC 0x00d8
#define INT_TXDW 0x1u
#define INT_TXQE 0x2u
#define INT_LSC 0x4u
#define INT_RXDMT0 0x10u
#define INT_RXT0 0x80u
#define INT_MDAC 0x200u
#define REG_RCTL 0x0100
#define RCTL_EN 0x2u
#define RCTL_UPE 0x8u
#define RCTL_MPE 0x10u
#define RCTL_LPE 0x20u
#define RCTL_BAM 0x8000u
#define RCTL_VFE 0x40000u
#define RCTL_BSEX 0x2000000u
#define RCTL_SECRC 0x4000000u
#define REG_TCTL 0x0400
#define TCTL_EN 0x2u
#define TCTL_PSP 0x8u
#define REG_PBA 0x1000
#define REG_RDBAL 0x2800
#define REG_RDBAH 0x2804
#define REG_RDLEN 0x2808
#define REG_RDH 0x2810
#define REG_RDT 0x2818
#define REG_TDBAL 0x3800
#define REG_TDBAH 0x3804
#define REG_TDLEN 0x3808
#define REG_TDH 0x3810
#define REG_TDT 0x3818
/* Statistics, cleared by reading (13.7). */
#define REG_STATISTICS 0x4000
#define STAT_PRC64 0x405c  /* received of 64 bytes; 65-127, 128-255, 256-511, 512-1023 and larger follow */
#define STAT_GPRC 0x4074
#define STAT_BPRC 0x4078
#define STAT_MPRC 0x407c
#define STAT_GPTC 0x4080
#define STAT_GORCL 0x4088
#define STAT_GOTCL 0x4090
#define STAT_TORL 0x40c0
#define STAT_TOTL 0x40c8
#define STAT_TPR 0x40d0
#define STAT_TPT 0x40d4
#define STAT_PTC64 0x40d8
#define STAT_MPTC 0x40f0
#define STAT_BPTC 0x40f4
#define STAT_TSCTC 0x40f8
#define REG_STATISTICS_END 0x4100
#define REG_RXCSUM 0x5000
#define RXCSUM_IPOFL 0x100u
#define RXCSUM_TUOFL 0x200u
#define REG_MTA 0x5200
#define REG_RAL 0x5400
#define RAH_AV 0x80000000u
#define REG_VFTA 0x5600
#define REG_END 0x6000

#define E1000_DESC_SIZE 16u
#define E1000_EEPROM_WORDS 64u
#define E1000_PHY_REGS 32u

/* What a context descriptor says (3.3.6). */
struct e1000_context {
	uint8_t ipcss, ipcso, tucss, tucso, hdrlen, tucmd;
	uint16_t ipcse, tucse, mss;
	uint32_t paylen;
};

struct e1000 {
	struct device device;
	struct lock lock;
	struct pci_function function;
	struct dma dma;
	struct worker worker;
	struct vclock *clock;
	struct net *net;
	struct timer throttle;
	uint16_t eeprom[E1000_EEPROM_WORDS];
	bool posted, full, starved; /* work is under way; the network has no room; a frame waits for descriptors */
	uint8_t packet[1u << 17];   /* the packet that is being put together */
	uint8_t frame[NET_FRAME_MAX];
	/* State. */
	uint32_t reg[REG_END / 4];
	uint32_t io_address;
	uint16_t phy[E1000_PHY_REGS];
	uint64_t next_interrupt;    /* virtual ns: not before */
	struct e1000_context context;
	/* EEPROM: bits shifted in since chip select, and the word going out. */
	uint32_t ee_in, ee_out;
	uint8_t ee_count;
};

static inline uint32_t *e1000_reg(struct e1000 *e, unsigned offset)
{
	return &e->reg[offset / 4];
}

/* --- e1000.c --- */
void e1000_interrupt(struct e1000 *e, uint32_t causes);
/* A frame of `size` bytes without check sequence was sent, or received. */
void e1000_count(struct e1000 *e, bool sent, const uint8_t *frame, size_t size);

/* --- e1000_tx.c --- */
/* Sends what stands between head and tail; true: there is more, call again. */
bool e1000_transmit(struct e1000 *e);

/* --- e1000_rx.c; with the lock taken --- */
bool e1000_receive(struct e1000 *e, const struct net_frame *frame);

/* --- e1000_phy.c --- */
void e1000_eeprom_init(struct e1000 *e, const uint8_t mac[NET_MAC_SIZE]);
uint32_t e1000_eecd_read(struct e1000 *e);
void e1000_eecd_write(struct e1000 *e, uint32_t value);
void e1000_eerd_write(struct e1000 *e, uint32_t value);
void e1000_phy_reset(struct e1000 *e);
void e1000_mdic_write(struct e1000 *e, uint32_t value);

#endif
