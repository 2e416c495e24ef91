/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio/net_filter.h"

#include <string.h>

#include "base/util.h"

/* 5.1.6.5.1 */
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
/* 5.1.6.5.3 */
enum { VLAN_ADD, VLAN_DEL };

const struct field net_filter_fields[] = {
	FIELD_BYTES(struct net_filter, mac),
	FIELD(struct net_filter, promiscuous),
	FIELD(struct net_filter, all_multicast),
	FIELD(struct net_filter, all_unicast),
	FIELD(struct net_filter, no_multicast),
	FIELD(struct net_filter, no_unicast),
	FIELD(struct net_filter, no_broadcast),
	FIELD(struct net_filter, unicast_overflow),
	FIELD(struct net_filter, multicast_overflow),
	FIELD(struct net_filter, unicast_count),
	FIELD(struct net_filter, multicast_count),
	FIELD_BYTES(struct net_filter, macs),
	FIELD(struct net_filter, vlan_filter),
	FIELD_BYTES(struct net_filter, vlans),
	FIELD_END
};

void net_filter_reset(struct net_filter *filter, const uint8_t mac[NET_MAC_SIZE])
{
	*filter = (struct net_filter){ .promiscuous = 1 };
	memcpy(filter->mac, mac, NET_MAC_SIZE);
}

static bool listed(const struct net_filter *filter, unsigned first, unsigned count, const uint8_t *mac)
{
	for (unsigned i = first; i < first + count && i < NET_FILTER_MACS; i++)
		if (!memcmp(filter->macs + i * NET_MAC_SIZE, mac, NET_MAC_SIZE))
			return true;
	return false;
}

static bool vlan_pass(const struct net_filter *filter, const uint8_t *head, size_t size)
{
	if (!filter->vlan_filter || size < 16 || head[12] != 0x81 || head[13] != 0x00)
		return true;
	unsigned vlan = (head[14] & 15u) << 8 | head[15];
	return filter->vlans[vlan / 8] >> vlan % 8 & 1;
}

bool net_filter_pass(const struct net_filter *filter, const uint8_t *head, size_t size)
{
	static const uint8_t broadcast[NET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	if (filter->promiscuous)
		return true;
	if (!vlan_pass(filter, head, size))
		return false;
	if (!memcmp(head, broadcast, NET_MAC_SIZE))
		return !filter->no_broadcast;
	if (head[0] & 1)
		return !filter->no_multicast &&
			(filter->all_multicast || filter->multicast_overflow ||
			 listed(filter, filter->unicast_count, filter->multicast_count, head));
	return !filter->no_unicast &&
		(filter->all_unicast || filter->unicast_overflow || !memcmp(head, filter->mac, NET_MAC_SIZE) ||
		 listed(filter, 0, filter->unicast_count, head));
}

bool net_filter_rx(struct net_filter *filter, uint8_t command, uint8_t on)
{
	uint8_t *const modes[] = {
		[RX_PROMISC] = &filter->promiscuous, [RX_ALLMULTI] = &filter->all_multicast, [RX_ALLUNI] = &filter->all_unicast,
		[RX_NOMULTI] = &filter->no_multicast, [RX_NOUNI] = &filter->no_unicast, [RX_NOBCAST] = &filter->no_broadcast,
	};
	if (command >= ARRAY_SIZE(modes))
		return false;
	*modes[command] = on != 0;
	return true;
}

/* One table at *at; false: it is cut off. */
static bool take_table(struct net_filter *filter, const uint8_t *data, size_t size, size_t *at, uint8_t *count, uint8_t *overflow)
{
	unsigned used = filter->unicast_count;
	if (size - *at < 4)
		return false;
	uint32_t entries = load_le32(data + *at);
	*at += 4;
	if (entries > (size - *at) / NET_MAC_SIZE)
		return false;
	*overflow = entries > NET_FILTER_MACS - used;
	*count = *overflow ? 0 : (uint8_t)entries;
	memcpy(filter->macs + used * NET_MAC_SIZE, data + *at, *count * NET_MAC_SIZE);
	*at += (size_t)entries * NET_MAC_SIZE;
	return true;
}

bool net_filter_mac_table(struct net_filter *filter, const uint8_t *data, size_t size)
{
	struct net_filter next = *filter;
	size_t at = 0;
	next.unicast_count = 0;
	if (!take_table(&next, data, size, &at, &next.unicast_count, &next.unicast_overflow) ||
	    !take_table(&next, data, size, &at, &next.multicast_count, &next.multicast_overflow) || at != size)
		return false;
	*filter = next;
	return true;
}

bool net_filter_vlan(struct net_filter *filter, uint8_t command, uint16_t vlan)
{
	if (command > VLAN_DEL || vlan >= 4096)
		return false;
	if (command == VLAN_ADD)
		filter->vlans[vlan / 8] |= (uint8_t)BIT(vlan % 8);
	else
		filter->vlans[vlan / 8] &= (uint8_t)~BIT(vlan % 8);
	return true;
}
