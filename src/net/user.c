/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network of the guest's own behind address translation (libslirp): it reaches what this process
 * reaches, without privileges. Addresses as QEMU has them:
 * 10.0.2.0/24 with the host's loopback at 10.0.2.2, name server 10.0.2.3, the guest at 10.0.2.15 by DHCP; fec0::/64
 * with 2 and 3 likewise.
 *
 * TCP connections that the guest opens are the relay's (relay.h), all else is libslirp's.
 *
 * libslirp is made for poll(2): before each wait it says what it waits for, and after it looks for what came. What it waits for changes
 * only when something was done with it; then `refresh` runs once, posted to the worker, and compares. What is newly waited for is looked at
 * there and then: in a fast connection it is ready, and would only be put into an epoll set to be taken out again.
 * What is not ready goes into an epoll descriptor of ours, which is in the machine's loop together with a timer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "net/backend.h"
#include "net/packet.h"
#include "net/relay.h"

#define NS_PER_MS 1000000ull
#define MTU 1500u
/* A quarter of libslirp's window: with segments of half of it either side waits for the other to open more (RFC 9293, 3.8.6.2). */
#define MTU_JUMBO 16384u
#define MAX_TIMERS 4u
#define MAX_EVENTS 64

#define GUEST_ADDRESS "10.0.2.15"

/* By descriptor: what our epoll has of it. */
struct slot {
	bool registered, known;
	int events;
	unsigned stamp, index;
};

struct user_timer {
	bool used;
	SlirpTimerId id;
	void *cookie;
	int64_t deadline_ms;      /* of the machine's time; negative: not set */
};

struct user {
	struct net net;
	struct relay *relay;
	Slirp *slirp;
	int epoll_fd, timer_fd;
	bool looped;              /* epoll_fd is in the loop */
	int *polled;              /* what came at the descriptors that libslirp has asked for last, by its index */
	unsigned polled_count, polled_room;
	struct pollfd *fresh;     /* what of it was not registered before */
	unsigned fresh_count, fresh_room;
	int *watched;             /* descriptors that may be registered */
	unsigned watched_count, watched_room;
	struct slot *slots;
	unsigned slot_count, stamp;
	uint64_t wake_ns;         /* when the timer is going to fire; UINT64_MAX: never */
	struct user_timer timers[MAX_TIMERS];
	bool stale;               /* something was done with libslirp since the last refresh */
	uint8_t room[NET_FRAME_MAX];
};

static uint64_t now(const struct user *user)
{
	return user->net.config.now(user->net.config.now_opaque);
}

/* --- descriptors --- */

/* The same bits for poll and epoll. */
static short to_poll(int events)
{
	return (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) | (events & SLIRP_POLL_PRI ? POLLPRI : 0));
}

static int from_poll(uint32_t events)
{
	return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) | (events & POLLPRI ? SLIRP_POLL_PRI : 0) |
		(events & POLLERR ? SLIRP_POLL_ERR : 0) | (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static bool grow(void **array, unsigned *room, unsigned wanted, size_t width)
{
	if (wanted <= *room)
		return true;
	unsigned more = MAX(wanted, MAX(16u, *room * 2));
	void *bigger = realloc(*array, more * width);
	if (!bigger)
		return false;
	memset((char *)bigger + *room * width, 0, (more - *room) * width);
	*array = bigger;
	*room = more;
	return true;
}

static void unwatch(struct user *user, int fd)
{
	struct slot *slot = &user->slots[fd];
	if (slot->registered)
		epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	slot->registered = false;
}

/* libslirp lets one connection wait at a forwarded port; the host's kernel tries the others again after seconds. */
static void lengthen_queue(int fd)
{
	int listens = 0;
	socklen_t size = sizeof(listens);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
		listen(fd, SOMAXCONN);
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	if (fd < 0 || !grow((void **)&user->polled, &user->polled_room, user->polled_count + 1, sizeof(*user->polled)) ||
	    !grow((void **)&user->slots, &user->slot_count, (unsigned)fd + 1, sizeof(*user->slots)) ||
	    !grow((void **)&user->watched, &user->watched_room, user->watched_count + user->fresh_count + 1, sizeof(*user->watched)) ||
	    !grow((void **)&user->fresh, &user->fresh_room, user->fresh_count + 1, sizeof(*user->fresh)))
		return -1;
	struct slot *slot = &user->slots[fd];
	slot->stamp = user->stamp;
	slot->index = user->polled_count;
	user->polled[user->polled_count] = 0;
	if (!slot->known)
		lengthen_queue(fd);
	slot->known = true;
	if (!slot->registered) {
		user->fresh[user->fresh_count++] = (struct pollfd){ .fd = fd, .events = to_poll(events) };
	} else if (slot->events != events) {
		struct epoll_event event = { .events = (uint32_t)to_poll(events), .data.fd = fd };
		epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &event);
	}
	slot->events = events;
	return (int)user->polled_count++;
}

/* True: some are ready, and their events noted; the others are in the epoll set. */
static bool look_at_fresh(struct user *user)
{
	bool any = false;
	/* While the guest is behind with what it got the set waits, and these with it. */
	if (!user->fresh_count || user->net.held || poll(user->fresh, user->fresh_count, 0) <= 0)
		for (unsigned i = 0; i < user->fresh_count; i++)
			user->fresh[i].revents = 0;
	for (unsigned i = 0; i < user->fresh_count; i++) {
		const struct pollfd *fresh = &user->fresh[i];
		struct slot *slot = &user->slots[fresh->fd];
		struct epoll_event event = { .events = (uint32_t)fresh->events, .data.fd = fresh->fd };
		if (fresh->revents & ~POLLNVAL) {
			user->polled[slot->index] = from_poll((uint32_t)fresh->revents);
			any = true;
		} else if (epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fresh->fd, &event) == 0) {
			slot->registered = true;
			user->watched[user->watched_count++] = fresh->fd;
		}
	}
	user->fresh_count = 0;
	return any;
}

static int get_revents(int index, void *opaque)
{
	const struct user *user = opaque;
	return index >= 0 && (unsigned)index < user->polled_count ? user->polled[index] : 0;
}

/* --- time --- */

static void set_timer(struct user *user, uint64_t from_now_ns)
{
	uint64_t at = now(user) + from_now_ns;
	if (at >= user->wake_ns)
		return; /* it fires earlier, and then this is worked out again */
	user->wake_ns = at;
	const struct itimerspec spec = {
		.it_value = { (time_t)(from_now_ns / (1000 * NS_PER_MS)), (long)MAX(from_now_ns % (1000 * NS_PER_MS), 1ull) },
	};
	timerfd_settime(user->timer_fd, 0, &spec, NULL);
}

static void drop_unwatched(struct user *user)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < user->watched_count; i++) {
		int fd = user->watched[i];
		if (user->slots[fd].stamp != user->stamp)
			unwatch(user, fd);
		if (user->slots[fd].registered)
			user->watched[kept++] = fd;
	}
	user->watched_count = kept;
}

static void set_next_timer(struct user *user, uint32_t timeout)
{
	uint64_t wait = timeout == UINT32_MAX ? UINT64_MAX : timeout * NS_PER_MS;
	int64_t now_ms = (int64_t)(now(user) / NS_PER_MS);
	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		const struct user_timer *timer = &user->timers[i];
		if (timer->used && timer->deadline_ms >= 0)
			wait = MIN(wait, (uint64_t)MAX(timer->deadline_ms - now_ms, 0) * NS_PER_MS);
	}
	if (wait != UINT64_MAX)
		set_timer(user, wait);
}

static void something_done(struct user *user)
{
	user->stale = true;
	net_post(&user->net);
}

static void refresh(struct user *user)
{
	uint32_t timeout = UINT32_MAX;
	user->stale = false;
	user->stamp++;
	user->polled_count = 0;
	slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
	drop_unwatched(user);
	if (look_at_fresh(user)) {
		slirp_pollfds_poll(user->slirp, false, get_revents, user);
		something_done(user);
	}
	set_next_timer(user, timeout);
}

static void work(struct net *net)
{
	struct user *user = container_of(net, struct user, net);
	relay_work(user->relay);
	if (user->stale)
		refresh(user);
}

static void run_timers(struct user *user)
{
	int64_t now_ms = (int64_t)(now(user) / NS_PER_MS);
	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		struct user_timer *timer = &user->timers[i];
		if (!timer->used || timer->deadline_ms < 0 || timer->deadline_ms > now_ms)
			continue;
		timer->deadline_ms = -1;
		slirp_handle_timer(user->slirp, timer->id, timer->cookie);
	}
}

static void on_events(void *opaque, uint32_t ready)
{
	struct user *user = opaque;
	struct epoll_event events[MAX_EVENTS];
	uint64_t expirations;
	for (unsigned i = 0; i < user->polled_count; i++)
		user->polled[i] = 0;
	int count = epoll_wait(user->epoll_fd, events, MAX_EVENTS, 0);
	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;
		if (fd == user->timer_fd) {
			if (read(fd, &expirations, sizeof(expirations)) > 0)
				user->wake_ns = UINT64_MAX;
			continue;
		}
		const struct slot *slot = &user->slots[fd];
		if (slot->registered && slot->stamp == user->stamp)
			user->polled[slot->index] = from_poll(events[i].events);
	}
	run_timers(user);
	slirp_pollfds_poll(user->slirp, count < 0, get_revents, user);
	refresh(user);
}

/* --- libslirp's calls --- */

/* Segments are as large as the MTU that the device offers, whatever the driver has agreed to: libslirp forgets the guest's maximum segment
 * size when it connects. */
static ssize_t on_packet(const void *data, size_t size, void *opaque)
{
	struct user *user = opaque;
	uint8_t *bytes = (uint8_t *)data, sum[2];
	struct iovec iov[3] = { { bytes, size } };
	struct net_frame frame = { .iov = iov, .count = 1, .size = size, .offload.valid = true };
	unsigned mtu = atomic_load(&user->net.port_mtu);
	if (size > NET_FRAME_MIN + mtu && packet_to_cut(data, size, mtu, &frame.offload, sum)) {
		size_t at = frame.offload.checksum_start + frame.offload.checksum_offset;
		iov[0].iov_len = at;
		iov[1] = (struct iovec){ sum, sizeof(sum) };
		iov[2] = (struct iovec){ bytes + at + sizeof(sum), size - at - sizeof(sum) };
		frame.count = 3;
	}
	/* The guest falls behind: no more from the host's sockets meanwhile. */
	if (!net_deliver(&user->net, &frame) && user->looped)
		loop_modify(user->net.config.loop, user->epoll_fd, 0, NULL);
	return (ssize_t)size;
}

static void resume(struct net *net)
{
	struct user *user = container_of(net, struct user, net);
	loop_modify(user->net.config.loop, user->epoll_fd, EPOLLIN, NULL);
	relay_resume(user->relay);
}

static void on_guest_error(const char *message, void *opaque)
{
	log_debug("the guest on the user network: %s", message);
}

static int64_t on_clock(void *opaque)
{
	return (int64_t)now(opaque);
}

static void *on_timer_new(SlirpTimerId id, void *cookie, void *opaque)
{
	struct user *user = opaque;
	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		struct user_timer *timer = &user->timers[i];
		if (timer->used)
			continue;
		*timer = (struct user_timer){ true, id, cookie, -1 };
		return timer;
	}
	return NULL;
}

static void on_timer_free(void *timer, void *opaque)
{
	if (timer)
		((struct user_timer *)timer)->used = false;
}

static void on_timer_mod(void *timer, int64_t deadline_ms, void *opaque)
{
	if (!timer)
		return;
	((struct user_timer *)timer)->deadline_ms = deadline_ms;
	something_done(opaque);
}

static void on_register(int fd, void *opaque)
{
}

/* It is closed next, and its number may be given to another one. */
static void on_unregister(int fd, void *opaque)
{
	struct user *user = opaque;
	if (fd >= 0 && (unsigned)fd < user->slot_count) {
		unwatch(user, fd);
		user->slots[fd].known = false;
	}
}

static void on_notify(void *opaque)
{
	something_done(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_register,
	.unregister_poll_fd = on_unregister,
	.notify = on_notify,
};

/* --- the network's --- */

static bool send_frame(struct net *net, const struct net_frame *frame)
{
	struct user *user = container_of(net, struct user, net);
	bool large = frame->offload.gso != NET_GSO_NONE;
	if (relay_input(user->relay, frame))
		return true;
	if (!net_flatten(frame, user->room) || (large && !packet_finish_whole(user->room, frame->size, &frame->offload))) {
		net->stats.dropped++;
		return true;
	}
	/* libslirp takes packets of any size whole, but verifies their checksums. */
	slirp_input(user->slirp, user->room, (int)frame->size);
	something_done(user);
	return true;
}

/* The address that a guest makes itself of its MAC address (RFC 4291, appendix A). */
static struct in6_addr guest_address6(const struct user *user)
{
	const uint8_t *mac = user->net.config.mac;
	struct in6_addr address = { { { 0xfe, 0xc0, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5] } } };
	return address;
}

struct addresses {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} host, guest;
	socklen_t length;
	int flags;
};

static void make_addresses(const struct user *user, const struct net_forward *forward, struct addresses *a)
{
	*a = (struct addresses){ .flags = forward->udp ? SLIRP_HOSTFWD_UDP : 0 };
	if (strchr(forward->address, ':')) {
		a->length = sizeof(a->host.v6);
		a->flags |= SLIRP_HOSTFWD_V6ONLY;
		a->host.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(forward->host_port) };
		inet_pton(AF_INET6, forward->address, &a->host.v6.sin6_addr);
		a->guest.v6 = (struct sockaddr_in6){
			.sin6_family = AF_INET6, .sin6_port = htons(forward->guest_port), .sin6_addr = guest_address6(user),
		};
		return;
	}
	a->length = sizeof(a->host.v4);
	a->host.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(forward->host_port) };
	inet_pton(AF_INET, forward->address, &a->host.v4.sin_addr);
	a->guest.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(forward->guest_port) };
	inet_pton(AF_INET, GUEST_ADDRESS, &a->guest.v4.sin_addr);
}

static int add_forward(struct net *net, const struct net_forward *forward, struct error *err)
{
	struct user *user = container_of(net, struct user, net);
	struct addresses a;
	char text[NET_FORWARD_TEXT];
	make_addresses(user, forward, &a);
	net_forward_print(forward, text, sizeof(text));
	errno = 0;
	if (slirp_add_hostxfwd(user->slirp, &a.host.any, a.length, &a.guest.any, a.length, a.flags) < 0)
		return error_set(err, errno, "%s: cannot listen on the host's port %u: %s; choose another port or address", text, forward->host_port,
				 errno ? strerror(errno) : "it was refused");
	something_done(user);
	return 0;
}

static int remove_forward(struct net *net, const struct net_forward *forward, struct error *err)
{
	struct user *user = container_of(net, struct user, net);
	struct addresses a;
	make_addresses(user, forward, &a);
	if (slirp_remove_hostxfwd(user->slirp, &a.host.any, a.length, a.flags) < 0)
		return error_set(err, ENOENT, "port %u of the host is not forwarded", forward->host_port);
	something_done(user);
	return 0;
}

static void close_user(struct net *net)
{
	struct user *user = container_of(net, struct user, net);
	relay_destroy(user->relay);
	if (user->slirp)
		slirp_cleanup(user->slirp);
	if (user->looped)
		loop_remove(user->net.config.loop, user->epoll_fd);
	if (user->epoll_fd >= 0)
		close(user->epoll_fd);
	if (user->timer_fd >= 0)
		close(user->timer_fd);
	free(user->polled);
	free(user->fresh);
	free(user->watched);
	free(user->slots);
}

static const struct net_ops ops = {
	.send = send_frame,
	.work = work,
	.resume = resume,
	.add_forward = add_forward,
	.remove_forward = remove_forward,
	.close = close_user,
};

static Slirp *make_slirp(struct user *user, unsigned mtu)
{
	SlirpConfig config = {
		.version = 4,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.if_mtu = mtu,
		.if_mru = mtu,
		.tftp_path = user->net.config.tftp,
		.bootfile = user->net.config.boot_file,
	};
	inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &config.vhost);
	inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
	inet_pton(AF_INET, GUEST_ADDRESS, &config.vdhcp_start);
	inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &config.vhost6);
	inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
	return slirp_new(&config, &callbacks, user);
}

static int open_descriptors(struct user *user, struct error *err)
{
	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	user->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = user->timer_fd };
	if (user->epoll_fd < 0 || user->timer_fd < 0 || epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, user->timer_fd, &event) < 0)
		return error_set(err, errno, "cannot make the user network: %s; raise the limit of open files (ulimit -n)", strerror(errno));
	if (loop_add(user->net.config.loop, user->epoll_fd, EPOLLIN, on_events, user, err) < 0)
		return -1;
	user->looped = true;
	return 0;
}

struct net *net_user_open(const struct net_config *config, struct error *err)
{
	struct user *user = net_alloc(sizeof(*user), &ops, config, err);
	if (!user)
		return NULL;
	user->epoll_fd = user->timer_fd = -1;
	user->wake_ns = UINT64_MAX;
	user->net.mtu = config->jumbo ? MTU_JUMBO : 0;
	user->net.offloads = NET_OFFLOAD_ALL;
	user->relay = relay_create(&user->net, err);
	if (user->relay && open_descriptors(user, err) == 0) {
		user->slirp = make_slirp(user, config->jumbo ? MTU_JUMBO : MTU);
		if (user->slirp) {
			something_done(user);
			return &user->net;
		}
		error_set(err, 0, "libslirp %s cannot make the user network", slirp_version_string());
	}
	close_user(&user->net);
	free(user);
	return NULL;
}
