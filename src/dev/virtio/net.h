/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_NET_H
#define VISOR_DEV_VIRTIO_NET_H

#include "dev/virtio/virtio.h"
#include "net/net.h"

/*
 * The virtio network device (virtio 1.2, 5.1): checksum and TCP segmentation offload
 * both ways, mergeable receive buffers, a control queue with receive filters,
 * one pair of queues for each vCPU up to VIRTIO_NET_MAX_PAIRS.
 */
#define VIRTIO_NET_MAX_PAIRS 4

struct virtio_net_config {
	struct virtio_device_config device;
	struct net *net;      /* becomes the device's own: closed with it */
	uint8_t mac[NET_MAC_SIZE];
	unsigned cpus;
};

struct virtio_net;

/* On failure the network stays the caller's. The object begins with its struct virtio_device. */
struct virtio_net *virtio_net_create(const struct virtio_net_config *config, struct error *err);

static inline struct virtio_device *virtio_net_device(struct virtio_net *net)
{
	return (struct virtio_device *)net;
}

#endif
