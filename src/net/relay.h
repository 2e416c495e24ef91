/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_RELAY_H
#define VISOR_NET_RELAY_H

#include "net/net.h"

/*
 * The TCP connections that guests of a user network open to the host and beyond: each ends here, and goes on as a socket of the
 * host's. Everything else, connections to forwarded ports among it, is libslirp's.
 */
struct relay;

/* NULL and err: out of memory or descriptors. */
struct relay *relay_create(struct net *net, struct error *err);
/* Ends all connections. */
void relay_destroy(struct relay *relay);

/* A frame from the guest, inside net_send; false: it is none of ours. */
bool relay_input(struct relay *relay, const struct net_frame *frame);
/* What is due after relay_input has had the network posted. */
void relay_work(struct relay *relay);
/* The guest has room again, after net_deliver said that there was none. */
void relay_resume(struct relay *relay);

#endif
