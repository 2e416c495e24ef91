/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_GATEWAY_H
#define VISOR_NET_GATEWAY_H

#include "net/net.h"

/* The host's end of a switch; config: the switch's. */
struct gateway;

struct gateway *gateway_open(const struct net_config *config, bool host_only, struct error *err);
void gateway_close(struct gateway *gateway);

#endif
