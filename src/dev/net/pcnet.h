/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_NET_PCNET_H
#define VISOR_DEV_NET_PCNET_H

#include "dev/net/nic.h"

/*
 * AMD's PCnet-PCI II, Am79C970A (data sheet 19436): word and double-word I/O,
 * software styles 0 to 3 (16- and 32-bit structures), address filters, loopback,
 * transmit polling. BAR 0 holds the registers in I/O space, BAR 1 the same in memory. The
 * link is always up. Not there: EEPROM writes, magic packets, external address detection.
 */
nic_create_fn pcnet_create;

#endif
