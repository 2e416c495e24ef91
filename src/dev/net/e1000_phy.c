/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/net/e1000_regs.h"

#include "base/util.h"

/* --- EEPROM: 64 words behind a Microwire interface (5.3, 5.6) --- */

#define WORD_INIT_CONTROL1 0x0a
#define WORD_SUBSYSTEM 0x0b
#define WORD_SUBSYSTEM_VENDOR 0x0c
#define WORD_DEVICE 0x0d
#define WORD_VENDOR 0x0e
#define WORD_CHECKSUM 0x3f
#define INIT_CONTROL1_SIGNATURE 0x4003 /* valid; load the IDs */
#define EEPROM_SUM 0xbaba

void e1000_eeprom_init(struct e1000 *e, const uint8_t mac[NET_MAC_SIZE])
{
	uint16_t sum = 0;
	for (unsigned i = 0; i < NET_MAC_SIZE / 2; i++)
		e->eeprom[i] = load_le16(mac + 2 * i);
	e->eeprom[WORD_INIT_CONTROL1] = INIT_CONTROL1_SIGNATURE;
	e->eeprom[WORD_SUBSYSTEM] = 0x001e;
	e->eeprom[WORD_SUBSYSTEM_VENDOR] = 0x8086;
	e->eeprom[WORD_DEVICE] = 0x100e;
	e->eeprom[WORD_VENDOR] = 0x8086;
	for (unsigned i = 0; i < WORD_CHECKSUM; i++)
		sum = (uint16_t)(sum + e->eeprom[i]);
	e->eeprom[WORD_CHECKSUM] = (uint16_t)(EEPROM_SUM - sum);
}

/* One rising edge of the clock. A read is start bit 1, opcode 10, six bits of address; then comes a 0, then the
 * word from its highest bit on. Other commands (writes) are not carried out. */
static void eeprom_clock(struct e1000 *e, bool in)
{
	if (e->ee_count < 9) {
		if (e->ee_count || in) { /* zeros before the start bit do not count */
			e->ee_in = e->ee_in << 1 | in;
			e->ee_count++;
		}
		if (e->ee_count == 9 && e->ee_in >> 6 == 6)
			e->ee_out = e->eeprom[e->ee_in & 63];
		return;
	}
	e->ee_out <<= 1; /* bit 16 is what is seen */
}

uint32_t e1000_eecd_read(struct e1000 *e)
{
	uint32_t value = *e1000_reg(e, REG_EECD) | EECD_PRES;
	bool reading = e->ee_count == 9 && e->ee_in >> 6 == 6;
	value |= value & EECD_REQ ? EECD_GNT : 0;
	if (!reading || e->ee_out & 0x10000) /* the line floats high */
		value |= EECD_DO;
	return value;
}

void e1000_eecd_write(struct e1000 *e, uint32_t value)
{
	uint32_t *eecd = e1000_reg(e, REG_EECD), old = *eecd;
	*eecd = value & (EECD_SK | EECD_CS | EECD_DI | EECD_REQ | 0x30);
	if (!(value & EECD_CS)) {
		e->ee_in = e->ee_out = 0;
		e->ee_count = 0;
	} else if (old & EECD_CS && ~old & value & EECD_SK) {
		eeprom_clock(e, value & EECD_DI);
	}
}

void e1000_eerd_write(struct e1000 *e, uint32_t value)
{
	unsigned address = value >> 8 & 0xff;
	*e1000_reg(e, REG_EERD) = value & 0xff00;
	if (value & EERD_START)
		*e1000_reg(e, REG_EERD) |= EERD_DONE | (uint32_t)(address < E1000_EEPROM_WORDS ? e->eeprom[address] : 0xffff) << 16;
}

/* --- PHY: IEEE 802.3, 22.2.4 and 40.5; the 88E1011 of 13.4.7 --- */

enum {
	PHY_CONTROL, PHY_STATUS, PHY_ID1, PHY_ID2, PHY_ADVERTISE, PHY_PARTNER, PHY_EXPANSION, PHY_NEXT_PAGE,
	PHY_GIGABIT_CONTROL = 9, PHY_GIGABIT_STATUS, PHY_EXTENDED_STATUS = 15, PHY_SPECIFIC_CONTROL, PHY_SPECIFIC_STATUS,
	PHY_INTERRUPT_STATUS = 19, PHY_EXTENDED_CONTROL, PHY_ERRORS,
};
#define PHY_ADDRESS 1u
#define CONTROL_SELF_CLEARING 0x8200 /* reset, restart of negotiation */

/* Negotiation is over at once, with a partner of the same abilities. */
static const uint16_t phy_reset[E1000_PHY_REGS] = {
	[PHY_CONTROL] = 0x1140,          /* negotiation, full duplex, 1000 Mbit/s */
	[PHY_STATUS] = 0x796d,           /* all of 10 and 100 Mbit/s, extended status, negotiated, link up */
	[PHY_ID1] = 0x0141, [PHY_ID2] = 0x0c20,
	[PHY_ADVERTISE] = 0x01e1,
	[PHY_PARTNER] = 0x41e1,          /* acknowledged */
	[PHY_EXPANSION] = 0x0001,
	[PHY_NEXT_PAGE] = 0x2001,
	[PHY_GIGABIT_CONTROL] = 0x0300,
	[PHY_GIGABIT_STATUS] = 0x3c00,   /* both receivers are good, the partner has both duplexes */
	[PHY_EXTENDED_STATUS] = 0x3000,
	[PHY_SPECIFIC_CONTROL] = 0x0360,
	[PHY_SPECIFIC_STATUS] = 0xac00,  /* 1000 Mbit/s, full duplex, resolved, link up */
	[PHY_EXTENDED_CONTROL] = 0x0d60,
};

/* What a write changes. */
static const uint16_t phy_writable[E1000_PHY_REGS] = {
	[PHY_CONTROL] = 0x7d80, [PHY_ADVERTISE] = 0xafff, [PHY_NEXT_PAGE] = 0xbfff, [PHY_GIGABIT_CONTROL] = 0xff00,
	[PHY_SPECIFIC_CONTROL] = 0xffff, [18] = 0xffff, [PHY_EXTENDED_CONTROL] = 0xffff,
	[22] = 0xffff, [24] = 0xffff, [26] = 0xffff, [28] = 0xffff, [29] = 0xffff, [30] = 0xffff,
};

void e1000_phy_reset(struct e1000 *e)
{
	for (unsigned i = 0; i < E1000_PHY_REGS; i++)
		e->phy[i] = phy_reset[i];
}

static void phy_write(struct e1000 *e, unsigned at, uint16_t value)
{
	if (at == PHY_CONTROL && value & 0x8000)
		e1000_phy_reset(e);
	e->phy[at] = (uint16_t)((e->phy[at] & ~phy_writable[at]) | (value & phy_writable[at]));
	if (at == PHY_CONTROL && value & CONTROL_SELF_CLEARING)
		e1000_interrupt(e, INT_LSC);
}

void e1000_mdic_write(struct e1000 *e, uint32_t value)
{
	unsigned op = value >> 26 & 3, at = value >> 16 & 31;
	uint32_t result = (value & 0x23ff0000) | (op << 26) | MDIC_READY;
	if ((value >> 21 & 31) != PHY_ADDRESS || (op != MDIC_READ && op != MDIC_WRITE))
		result |= MDIC_ERROR | (op == MDIC_READ ? 0xffff : value & 0xffff);
	else if (op == MDIC_READ)
		result |= e->phy[at];
	else
		result |= value & 0xffff;
	*e1000_reg(e, REG_MDIC) = result;
	if (op == MDIC_WRITE && !(result & MDIC_ERROR))
		phy_write(e, at, (uint16_t)value);
	if (value & MDIC_INTERRUPT)
		e1000_interrupt(e, INT_MDAC);
}
