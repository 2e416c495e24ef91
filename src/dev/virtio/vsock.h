/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_VSOCK_H
#define VISOR_DEV_VIRTIO_VSOCK_H

#include "dev/virtio/virtio.h"
#include "share/streams.h"

/* The socket device (virtio 1.2, 5.10), stream sockets between the guest and the host (CID 2) alone. What is connected does not outlive a
 * save: the guest of the machine that is loaded is told that its transport was reset. */
struct virtio_vsock_config {
	struct virtio_device_config device;
	uint32_t cid;              /* of the guest; 3 or more */
	struct streams *streams;   /* the device's from now on, when it could be made */
};

struct virtio_vsock;

/* The object begins with its struct virtio_device. The device and its worker run on the streams' loop. */
struct virtio_vsock *virtio_vsock_create(const struct virtio_vsock_config *config, struct error *err);

static inline struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock)
{
	return (struct virtio_device *)vsock;
}

#endif
