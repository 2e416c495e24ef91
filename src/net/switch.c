/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtual switch between the machines of one user on one host. Nobody runs it:
 * each member has a datagram socket in the directory "switch-NAME" of the run-time directory, and sends
 * its frames itself to the member that has the destination, or to all. A member
 * learns who has an address from the frames that it gets, as a switch does (IEEE 802.1Q, 8.7). inotify tells who comes and goes; what a killed
 * process left behind is removed by whoever finds nobody there.
 *
 * A member that does not read gets a queue of frames here, and beyond its limit none: a machine that stands still never holds up the others.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "host/random.h"
#include "host/rundir.h"
#include "host/time.h"
#include "net/backend.h"
#include "net/gateway.h"
#include "net/packet.h"

#define MAGIC 0x31775376u         /* "vSw1": another layout of the header is another magic */
#define MAX_PEERS 255u
#define PEER_QUEUE_MAX (4u << 20) /* bytes that wait for one member */
#define SOCKET_BUFFER (4 << 20)
#define MAC_SLOTS 1024u
#define MAC_AGE_NS (300ull * 1000000000u) /* IEEE 802.1Q, 8.8.3 */
#define FRAMES_AT_ONCE 64u
#define DIRECT_PIECES 64u          /* of a frame that is sent from where it lies */
#define NO_PEER 0u

/* Before each frame, in the host's byte order. */
struct switch_header {
	uint32_t magic;
	uint8_t checksum, valid, gso, ecn;
	uint64_t sender;
	uint16_t checksum_start, checksum_offset, gso_size, header_size;
};

struct waiting {
	struct waiting *next;
	size_t size;
	uint8_t data[];               /* header and frame */
};

struct peer {
	uint64_t id;
	int fd;                       /* connected to its socket */
	struct waiting *first, **last;
	size_t queued;
	bool gone;                    /* found dead while sending; removed afterwards */
};

struct mac_slot {
	uint8_t mac[NET_MAC_SIZE];
	uint64_t peer, seen_ns;       /* NO_PEER: free */
};

struct vswitch {
	struct net net;
	char name[64];
	uint64_t id;
	int directory, fd, notify_fd;
	struct peer *peers[MAX_PEERS];
	unsigned peer_count;
	struct mac_slot macs[MAC_SLOTS];
	struct gateway *gateway;      /* when it is ours to be */
	bool no_gateway;              /* it could not be made */
	uint8_t room[NET_FRAME_MAX];
};

/* --- members --- */

static struct sockaddr_un member_address(const struct vswitch *s, uint64_t id)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%016llx", s->directory, (unsigned long long)id);
	return address;
}

static void free_peer(struct vswitch *s, struct peer *peer)
{
	loop_remove(s->net.config.loop, peer->fd);
	close(peer->fd);
	while (peer->first) {
		struct waiting *next = peer->first->next;
		free(peer->first);
		peer->first = next;
	}
	free(peer);
}

static void forget_macs(struct vswitch *s, uint64_t id)
{
	for (unsigned i = 0; i < MAC_SLOTS; i++)
		if (s->macs[i].peer == id)
			s->macs[i].peer = NO_PEER;
}

static void remove_peer(struct vswitch *s, unsigned index)
{
	struct peer *peer = s->peers[index];
	forget_macs(s, peer->id);
	s->peers[index] = s->peers[--s->peer_count];
	free_peer(s, peer);
}

static struct peer *find_peer(const struct vswitch *s, uint64_t id)
{
	for (unsigned i = 0; i < s->peer_count; i++)
		if (s->peers[i]->id == id)
			return s->peers[i];
	return NULL;
}

static void on_peer_room(void *opaque, uint32_t events);

/* A member that is not known yet; one that does not answer is removed from the directory. */
static void meet(struct vswitch *s, uint64_t id)
{
	struct sockaddr_un address = member_address(s, id);
	if (id == s->id || find_peer(s, id) || s->peer_count == MAX_PEERS)
		return;
	struct peer *peer = calloc(1, sizeof(*peer));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), size = SOCKET_BUFFER;
	if (peer && fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* as much as there may be */
		*peer = (struct peer){ .id = id, .fd = fd };
		peer->last = &peer->first;
		s->peers[s->peer_count++] = peer;
		return;
	}
	if (fd >= 0 && errno == ECONNREFUSED)
		unlink(address.sun_path);
	if (fd >= 0)
		close(fd);
	free(peer);
}

static bool parse_id(const char *name, uint64_t *id)
{
	char *end;
	*id = strtoull(name, &end, 16);
	return strlen(name) == 16 && !*end && *id != NO_PEER && strspn(name, "0123456789abcdef") == 16;
}

/* Of the members that want a gateway the one that gets the directory's lock is it; when its process ends, the lock is free again. */
static void become_gateway(struct vswitch *s)
{
	struct net_config config = s->net.config;
	struct error err;
	if (config.mode == NET_SWITCH_ISOLATED || s->gateway || s->no_gateway || flock(s->directory, LOCK_EX | LOCK_NB) < 0)
		return;
	config.name = s->name;
	config.owner = "gateway";
	s->gateway = gateway_open(&config, config.mode == NET_SWITCH_HOST, &err);
	s->no_gateway = !s->gateway;
	if (!s->gateway)
		log_warn("%s: there is no gateway: %s", s->net.name, err.text);
}

/* Who is there and who is not any more. */
static void look(struct vswitch *s)
{
	int fd = openat(s->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	uint64_t id;
	if (!directory) {
		if (fd >= 0)
			close(fd);
		log_warn_once("%s: cannot read the switch's directory: %s; new members are not seen", s->net.name, strerror(errno));
		return;
	}
	for (unsigned i = s->peer_count; i--;) {
		char name[20];
		snprintf(name, sizeof(name), "%016llx", (unsigned long long)s->peers[i]->id);
		if (s->peers[i]->gone || faccessat(s->directory, name, F_OK, 0) < 0)
			remove_peer(s, i);
	}
	while ((entry = readdir(directory)))
		if (parse_id(entry->d_name, &id))
			meet(s, id);
	closedir(directory);
	net_post(&s->net);
}

static void on_notify(void *opaque, uint32_t ready)
{
	struct vswitch *s = opaque;
	_Alignas(struct inotify_event) char events[4096];
	while (read(s->notify_fd, events, sizeof(events)) > 0)
		;
	look(s);
}

/* --- addresses --- */

static struct mac_slot *mac_slot(struct vswitch *s, const uint8_t *mac)
{
	uint32_t hash = load_le32(mac + 2) ^ load_le16(mac) * 0x9e3779b1u;
	return &s->macs[hash * 0x9e3779b1u >> 22];
}

static void learn(struct vswitch *s, const uint8_t *mac, uint64_t peer)
{
	struct mac_slot *slot = mac_slot(s, mac);
	if (mac[0] & 1)
		return;
	memcpy(slot->mac, mac, NET_MAC_SIZE);
	slot->peer = peer;
	slot->seen_ns = host_time_ns();
}

static struct peer *who_has(struct vswitch *s, const uint8_t *mac)
{
	const struct mac_slot *slot = mac_slot(s, mac);
	bool known = slot->peer != NO_PEER && !memcmp(slot->mac, mac, NET_MAC_SIZE) && host_time_ns() - slot->seen_ns < MAC_AGE_NS;
	return known ? find_peer(s, slot->peer) : NULL;
}

/* --- sending --- */

/* 1: sent; 0: no room; -1: nobody there. */
static int try_send(const struct peer *peer, const struct iovec *iov, unsigned count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };
	if (sendmsg(peer->fd, &message, MSG_NOSIGNAL) >= 0)
		return 1;
	return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == EINTR ? 0 : -1;
}

static void on_peer_room(void *opaque, uint32_t events)
{
	struct vswitch *s = opaque;
	for (unsigned i = 0; i < s->peer_count; i++) {
		struct peer *peer = s->peers[i];
		while (peer->first) {
			struct waiting *w = peer->first;
			const struct iovec iov = { w->data, w->size };
			int sent = try_send(peer, &iov, 1);
			if (sent == 0)
				break;
			peer->gone |= sent < 0;
			peer->queued -= w->size;
			peer->first = w->next;
			free(w);
		}
		if (peer->first)
			continue;
		peer->last = &peer->first;
		loop_remove(s->net.config.loop, peer->fd);
	}
}

static void enqueue(struct vswitch *s, struct peer *peer, const struct iovec *iov, unsigned count, size_t size)
{
	bool room = peer->queued + size <= PEER_QUEUE_MAX;
	struct waiting *w = room ? malloc(sizeof(*w) + size) : NULL;
	if (!w) {
		s->net.stats.dropped++;
		return;
	}
	w->next = NULL;
	w->size = 0;
	for (unsigned i = 0; i < count; i++) {
		memcpy(w->data + w->size, iov[i].iov_base, iov[i].iov_len);
		w->size += iov[i].iov_len;
	}
	if (!peer->first && loop_add(s->net.config.loop, peer->fd, EPOLLOUT, on_peer_room, s, NULL) < 0) {
		free(w);
		s->net.stats.dropped++;
		return;
	}
	*peer->last = w;
	peer->last = &w->next;
	peer->queued += size;
}

static void send_to(struct vswitch *s, struct peer *peer, const struct iovec *iov, unsigned count, size_t size)
{
	int sent = peer->first ? 0 : try_send(peer, iov, count);
	if (sent == 0)
		enqueue(s, peer, iov, count, size);
	if (sent < 0) {
		struct sockaddr_un address = member_address(s, peer->id);
		unlink(address.sun_path);
		peer->gone = true;
		net_post(&s->net);
	}
}

static bool send_frame(struct net *net, const struct net_frame *frame)
{
	struct vswitch *s = container_of(net, struct vswitch, net);
	const struct net_offload *o = &frame->offload;
	struct switch_header header = {
		.magic = MAGIC, .checksum = o->checksum, .valid = o->valid, .gso = (uint8_t)o->gso, .ecn = o->ecn, .sender = s->id,
		.checksum_start = o->checksum_start, .checksum_offset = o->checksum_offset, .gso_size = o->gso_size,
		.header_size = o->header_size,
	};
	struct iovec iov[DIRECT_PIECES + 1] = { { &header, sizeof(header) } };
	uint8_t target[NET_MAC_SIZE];
	size_t size = sizeof(header) + frame->size;
	packet_gather(frame->iov, frame->count, 0, target, sizeof(target));
	struct peer *peer = target[0] & 1 ? NULL : who_has(s, target);
	if (peer && frame->count <= DIRECT_PIECES) {
		memcpy(iov + 1, frame->iov, frame->count * sizeof(*iov));
		send_to(s, peer, iov, frame->count + 1, size);
		return true;
	}
	/* What goes to several members is to be one frame, whatever the guest does with its buffers meanwhile. */
	packet_gather(frame->iov, frame->count, 0, s->room, frame->size);
	iov[1] = (struct iovec){ s->room, frame->size };
	for (unsigned i = 0; i < s->peer_count; i++)
		if (!peer || peer == s->peers[i])
			send_to(s, s->peers[i], iov, 2, size);
	return true;
}

/* --- receiving --- */

static bool header_ok(const struct switch_header *header, size_t size)
{
	if (header->magic != MAGIC || header->checksum > 1 || header->valid > 1 || header->ecn > 1 || header->gso > NET_GSO_TCP6)
		return false;
	if (header->checksum && (header->checksum_start >= size || header->checksum_offset + 2u > size - header->checksum_start))
		return false;
	return header->gso == NET_GSO_NONE || (header->checksum && header->gso_size && header->header_size <= size);
}

/* One frame; false: there is none, or the guest has no room for more. */
static bool receive_one(struct vswitch *s)
{
	struct switch_header header;
	struct iovec iov[2] = { { &header, sizeof(header) }, { s->room, sizeof(s->room) } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = recvmsg(s->fd, &message, MSG_TRUNC);
	if (n < 0)
		return false;
	size_t size = (size_t)n - sizeof(header);
	if ((size_t)n < sizeof(header) + NET_FRAME_MIN || size > sizeof(s->room) || !header_ok(&header, size)) {
		s->net.stats.dropped++;
		return true;
	}
	if (!find_peer(s, header.sender))
		look(s); /* faster than inotify */
	learn(s, s->room + NET_MAC_SIZE, header.sender);
	iov[1].iov_len = size;
	const struct net_frame frame = {
		.iov = iov + 1, .count = 1, .size = size,
		.offload = {
			.checksum = header.checksum, .valid = header.valid, .ecn = header.ecn, .gso = (enum net_gso)header.gso,
			.checksum_start = header.checksum_start, .checksum_offset = header.checksum_offset, .gso_size = header.gso_size,
			.header_size = header.header_size,
		},
	};
	return net_deliver(&s->net, &frame);
}

static void on_frames(void *opaque, uint32_t events)
{
	struct vswitch *s = opaque;
	for (unsigned i = 0; i < FRAMES_AT_ONCE; i++)
		if (!receive_one(s))
			break;
	if (s->net.held)
		loop_modify(s->net.config.loop, s->fd, 0, NULL);
}

static void resume(struct net *net)
{
	struct vswitch *s = container_of(net, struct vswitch, net);
	loop_modify(net->config.loop, s->fd, EPOLLIN, NULL);
}

static void work(struct net *net)
{
	struct vswitch *s = container_of(net, struct vswitch, net);
	for (unsigned i = s->peer_count; i--;)
		if (s->peers[i]->gone)
			remove_peer(s, i);
	become_gateway(s);
}

/* --- life --- */

/* The last one takes the directory along; joining and leaving exclude one another by the run-time directory's lock. */
static void leave(struct vswitch *s)
{
	struct sockaddr_un address = member_address(s, s->id);
	char path[80];
	snprintf(path, sizeof(path), "switch-%s", s->name);
	cleanup_close int rundir = rundir_open(NULL);
	if (rundir >= 0)
		flock(rundir, LOCK_EX);
	unlink(address.sun_path);
	if (rundir >= 0)
		unlinkat(rundir, path, AT_REMOVEDIR);
}

static void close_switch(struct net *net)
{
	struct vswitch *s = container_of(net, struct vswitch, net);
	struct loop *loop = net->config.loop;
	/* Free before the others hear that this member goes: one of them takes it. */
	gateway_close(s->gateway);
	if (s->gateway)
		flock(s->directory, LOCK_UN);
	while (s->peer_count)
		remove_peer(s, s->peer_count - 1);
	if (s->fd >= 0) {
		loop_remove(loop, s->fd);
		close(s->fd);
		leave(s);
	}
	if (s->notify_fd >= 0) {
		loop_remove(loop, s->notify_fd);
		close(s->notify_fd);
	}
	if (s->directory >= 0)
		close(s->directory);
}

static int bind_member(struct vswitch *s)
{
	int size = SOCKET_BUFFER;
	s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = member_address(s, s->id);
	if (s->fd < 0)
		return -1;
	setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return bind(s->fd, (struct sockaddr *)&address, sizeof(address));
}

static int join(struct vswitch *s, struct error *err)
{
	char path[80];
	snprintf(path, sizeof(path), "switch-%s", s->name);
	cleanup_close int rundir = rundir_open(err);
	if (rundir < 0)
		return -1;
	if (flock(rundir, LOCK_EX) < 0 || (mkdirat(rundir, path, 0700) < 0 && errno != EEXIST) ||
	    (s->directory = openat(rundir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0 || bind_member(s) < 0)
		return error_set(err, errno, "%s: cannot join the switch in the run-time directory: %s", s->net.name, strerror(errno));
	return 0;
}

static int watch(struct vswitch *s, struct error *err)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->directory);
	s->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->notify_fd < 0 || inotify_add_watch(s->notify_fd, path, IN_CREATE | IN_DELETE) < 0)
		return error_set(err, errno, "%s: cannot watch the switch's directory: %s; raise fs.inotify.max_user_instances", s->net.name,
				 strerror(errno));
	if (loop_add(s->net.config.loop, s->notify_fd, EPOLLIN, on_notify, s, err) < 0 ||
	    loop_add(s->net.config.loop, s->fd, EPOLLIN, on_frames, s, err) < 0)
		return -1;
	look(s);
	return 0;
}

struct net *net_switch_open(const struct net_config *config, struct error *err)
{
	static const struct net_ops ops = { .send = send_frame, .work = work, .resume = resume, .close = close_switch };
	struct vswitch *s = net_alloc(sizeof(*s), &ops, config, err);
	if (!s)
		return NULL;
	snprintf(s->name, sizeof(s->name), "%s", config->name);
	s->net.offloads = NET_OFFLOAD_ALL;
	s->directory = s->fd = s->notify_fd = -1;
	while (s->id == NO_PEER)
		host_random(&s->id, sizeof(s->id));
	if (join(s, err) == 0 && watch(s, err) == 0)
		return &s->net;
	close_switch(&s->net);
	free(s);
	return NULL;
}
