/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interfaces of the host: "tap:IF" is a tap device that is there, or is made when
 * this process may (then it goes with it); "bridge:IF" a new tap device put into that bridge. Frames carry
 * the kernel's virtio header, so that unfinished checksums and large TCP packets pass as they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>

#include "base/util.h"
#include "host/file.h"
#include "net/backend.h"
#include "net/packet.h"

#define FRAMES_AT_ONCE 64u
#define DIRECT_PIECES 64u

struct tap {
	struct net net;
	int fd;
	bool looped;
	bool full;                    /* a frame was refused: EPOLLOUT is awaited */
	uint8_t room[NET_FRAME_MAX];
};

static void watch(struct tap *t)
{
	loop_modify(t->net.config.loop, t->fd, (t->net.held ? 0 : EPOLLIN) | (t->full ? EPOLLOUT : 0), NULL);
}

static bool send_frame(struct net *net, const struct net_frame *frame)
{
	struct tap *t = container_of(net, struct tap, net);
	const struct net_offload *o = &frame->offload;
	struct virtio_net_hdr header = { 0 };
	struct iovec iov[DIRECT_PIECES + 1] = { { &header, sizeof(header) } };
	unsigned count = frame->count;
	if (o->checksum) {
		header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header.csum_start = o->checksum_start;
		header.csum_offset = o->checksum_offset;
	} else if (o->valid) {
		header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (o->gso != NET_GSO_NONE) {
		header.gso_type = (uint8_t)((o->gso == NET_GSO_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6) |
					    (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0));
		header.gso_size = o->gso_size;
		header.hdr_len = o->header_size;
	}
	if (count <= DIRECT_PIECES) {
		memcpy(iov + 1, frame->iov, count * sizeof(*iov));
	} else {
		packet_gather(frame->iov, count, 0, t->room, frame->size);
		iov[1] = (struct iovec){ t->room, frame->size };
		count = 1;
	}
	if (writev(t->fd, iov, (int)count + 1) >= 0)
		return true;
	if (errno == EAGAIN) {
		t->full = true;
		watch(t);
		return false;
	}
	net->stats.dropped++; /* the interface is down, or the frame not to the kernel's taste */
	return true;
}

static bool offload_of(const struct virtio_net_hdr *header, struct net_offload *o)
{
	*o = (struct net_offload){
		.checksum = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, .valid = header->flags & VIRTIO_NET_HDR_F_DATA_VALID,
		.ecn = header->gso_type & VIRTIO_NET_HDR_GSO_ECN, .checksum_start = header->csum_start,
		.checksum_offset = header->csum_offset, .gso_size = header->gso_size, .header_size = header->hdr_len,
	};
	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		o->gso = NET_GSO_TCP4;
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		o->gso = NET_GSO_TCP6;
		return true;
	default:
		return false;
	}
}

static void on_ready(void *opaque, uint32_t events)
{
	struct tap *t = opaque;
	if (events & EPOLLOUT && t->full) {
		t->full = false;
		net_writable(&t->net);
	}
	for (unsigned i = 0; events & EPOLLIN && i < FRAMES_AT_ONCE && !t->net.held; i++) {
		struct virtio_net_hdr header;
		struct iovec iov[2] = { { &header, sizeof(header) }, { t->room, sizeof(t->room) } };
		ssize_t n = readv(t->fd, iov, 2);
		if (n < (ssize_t)sizeof(header))
			break;
		iov[1].iov_len = (size_t)n - sizeof(header);
		struct net_frame frame = { .iov = iov + 1, .count = 1, .size = iov[1].iov_len };
		if (offload_of(&header, &frame.offload))
			net_deliver(&t->net, &frame);
		else
			t->net.stats.dropped++;
	}
	watch(t);
}

static void resume(struct net *net)
{
	watch(container_of(net, struct tap, net));
}

static void close_tap(struct net *net)
{
	struct tap *t = container_of(net, struct tap, net);
	if (t->looped)
		loop_remove(net->config.loop, t->fd);
	if (t->fd >= 0)
		close(t->fd);
}

/* --- opening --- */

static int explain(const struct tap *t, const char *what, struct error *err)
{
	int code = errno;
	bool right = code == EPERM || code == EACCES;
	return error_set(err, code, "%s: cannot %s: %s%s", t->net.name, what, strerror(code),
			 right ? "; run as root, or use --net user or --net switch:NAME" :
			 code == ENOENT || code == ENXIO || code == ENODEV ? "; see that the host has it (ip link; modprobe tun)" :
			 code == EBUSY ? "; another program has it open" : "");
}

static int open_device(struct tap *t, const char *name, struct ifreq *request, struct error *err)
{
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	*request = (struct ifreq){ .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	if (strlen(name) >= IFNAMSIZ)
		return error_set(err, ENAMETOOLONG, "%s: an interface's name has at most %d letters", t->net.name, IFNAMSIZ - 1);
	strcpy(request->ifr_name, name);
	t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0)
		return explain(t, "open /dev/net/tun", err);
	if (ioctl(t->fd, TUNSETIFF, request) < 0)
		return explain(t, "open the tap device", err);
	if (ioctl(t->fd, TUNSETOFFLOAD, offloads) < 0)
		return explain(t, "set the tap device's offloads", err);
	return 0;
}

static int set_up(const struct tap *t, int control, struct ifreq *request, struct error *err)
{
	if (ioctl(control, SIOCGIFFLAGS, request) < 0)
		return explain(t, "ask for the interface's flags", err);
	if (request->ifr_flags & IFF_UP)
		return 0;
	request->ifr_flags |= IFF_UP;
	return ioctl(control, SIOCSIFFLAGS, request) < 0 ? explain(t, "set the interface up", err) : 0;
}

static int join_bridge(const struct tap *t, const char *bridge, int control, const struct ifreq *tap, struct error *err)
{
	struct ifreq request = { 0 };
	if (strlen(bridge) >= IFNAMSIZ)
		return error_set(err, ENAMETOOLONG, "%s: an interface's name has at most %d letters", t->net.name, IFNAMSIZ - 1);
	strcpy(request.ifr_name, bridge);
	request.ifr_ifindex = (int)if_nametoindex(tap->ifr_name);
	return ioctl(control, SIOCBRADDIF, &request) < 0 ? explain(t, "put a tap device into the bridge", err) : 0;
}

static int prepare(struct tap *t, const struct net_config *config, struct error *err)
{
	bool bridge = config->kind == NET_BRIDGE;
	struct ifreq request;
	cleanup_close int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (control < 0)
		return explain(t, "make a socket", err);
	if (open_device(t, bridge ? "visor%d" : config->name, &request, err) < 0)
		return -1;
	if (bridge && join_bridge(t, config->name, control, &request, err) < 0)
		return -1;
	if (set_up(t, control, &request, err) < 0 || loop_add(config->loop, t->fd, EPOLLIN, on_ready, t, err) < 0)
		return -1;
	t->looped = true;
	return 0;
}

struct net *net_tap_open(const struct net_config *config, struct error *err)
{
	static const struct net_ops ops = { .send = send_frame, .resume = resume, .close = close_tap };
	struct tap *t = net_alloc(sizeof(*t), &ops, config, err);
	if (!t)
		return NULL;
	t->fd = -1;
	t->net.offloads = NET_OFFLOAD_ALL;
	if (prepare(t, config, err) == 0)
		return &t->net;
	close_tap(&t->net);
	free(t);
	return NULL;
}
