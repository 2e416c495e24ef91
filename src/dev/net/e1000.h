/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_E1000_H
#define VISOR_DEV_NET_E1000_H

#include "dev/net/nic.h"

/*
 * Intel's 82540EM gigabit Ethernet controller (8254x Family Software Developer's
 * Manual, 317453): both descriptor rings, checksum insertion and verification,
 * TCP segmentation, VLAN tags, address filters, interrupt throttling, EEPROM, PHY.
 * BAR 0 holds the registers, BAR 2 the same through an address and a data port. The link is always up.
 * Not there: wake-up, flash, management; a 64-bit statistics overflow.
 */
nic_create_fn e1000_create;

#endif
