/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_NET_FILTER_H
#define VISOR_DEV_VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/net.h"
#include "state/field.h"

/* Which frames a virtio network device's driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3). */
#define NET_FILTER_MACS 64u

struct net_filter {
	uint8_t mac[NET_MAC_SIZE];
	uint8_t promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	uint8_t unicast_overflow, multicast_overflow; /* the driver named more than fit: all pass */
	uint8_t unicast_count, multicast_count;
	uint8_t macs[NET_FILTER_MACS * NET_MAC_SIZE]; /* unicast ones first */
	uint8_t vlan_filter;          /* only tags of `vlans` pass */
	uint8_t vlans[4096 / 8];
};

extern const struct field net_filter_fields[];

/* After a reset: everything passes. */
void net_filter_reset(struct net_filter *filter, const uint8_t mac[NET_MAC_SIZE]);

/* head: the frame's first 18 bytes, or as many as it has. */
bool net_filter_pass(const struct net_filter *filter, const uint8_t *head, size_t size);

/* Commands of the control queue, of class RX, MAC and VLAN; false: refused. */
bool net_filter_rx(struct net_filter *filter, uint8_t command, uint8_t on);
/* Two tables, each a le32 count and so many addresses. */
bool net_filter_mac_table(struct net_filter *filter, const uint8_t *data, size_t size);
bool net_filter_vlan(struct net_filter *filter, uint8_t command, uint16_t vlan);

#endif
