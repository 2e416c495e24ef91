/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_NET_CAPTURE_H
#define VISOR_NET_CAPTURE_H

#include "net/net.h"

/* A file of frames as tcpdump and Wireshark read it (pcap, nanoseconds, Ethernet). Checksums that are left to the other side are
 * not filled in, and large TCP packets not cut, as in any capture on a sending host. */
struct capture;

/* The file is emptied first. */
struct capture *capture_open(const char *path, struct error *err);
/* When the file cannot be written, that is said once, and no more is written. */
void capture_frame(struct capture *capture, const struct net_frame *frame);
void capture_close(struct capture *capture);

#endif
