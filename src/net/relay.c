/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay's sockets: which connections are ours, how the host's side of them begins and ends, and what wakes them.
 *
 * Sockets are in an epoll set of the relay's own, by edges, so that a busy connection needs no system calls but those that
 * move bytes. Work on a connection is done outside net_send, where frames for the guest go straight into its buffers.
 */
#define _GNU_SOURCE
#include "net/relay_parts.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/util.h"

#define BUCKETS 256u
#define MAX_EVENTS 64
#define TICK_NS 100000000l
/* Bytes under way in each direction; less for each when there are many, since the guest says how many there are. */
#define RING_SIZE (512u << 10)
#define RING_SIZE_OF_MANY (64u << 10)
#define MANY 64u
/* Connections of one network, and no more than half of the descriptors that the process may have. */
#define MAX_FLOWS 4096u
#define ASK_NS 10000000000ull

struct relay {
	struct net *net;
	int epoll_fd, timer_fd;
	bool looped, ticking;
	struct flow *bucket[BUCKETS];
	unsigned count;
	uint64_t asked;           /* when, ns of the machine's time */
	struct flow *due, **last_due;
	uint8_t room[NET_FRAME_MAX];
};

/* --- connections --- */

static unsigned hash(const struct flow_key *key)
{
	return (unsigned)(key->guest_port ^ key->remote_port ^ key->remote[3] ^ key->guest[3] ^ key->guest_port >> 8) % BUCKETS;
}

static struct flow *find(struct relay *relay, const struct flow_key *key)
{
	struct flow *flow = relay->bucket[hash(key)];
	while (flow && (flow->state == FLOW_DEAD || memcmp(&flow->key, key, sizeof(*key))))
		flow = flow->next_hashed;
	return flow;
}

uint64_t relay_now(const struct relay *relay)
{
	return relay->net->config.now(relay->net->config.now_opaque);
}

void relay_mark(struct flow *flow)
{
	struct relay *relay = flow->relay;
	if (flow->due)
		return;
	flow->due = true;
	flow->next_due = NULL;
	*relay->last_due = flow;
	relay->last_due = &flow->next_due;
}

void relay_tick_soon(struct relay *relay)
{
	const struct itimerspec spec = { .it_value = { 0, TICK_NS } };
	if (relay->ticking)
		return;
	relay->ticking = true;
	timerfd_settime(relay->timer_fd, 0, &spec, NULL);
}

/* A socket that a process which is just being started has, too, stays in the set beyond close(2). */
static void close_socket(struct flow *flow, bool reset)
{
	const struct linger now = { .l_onoff = 1 };
	if (flow->fd < 0)
		return;
	if (reset)
		setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	epoll_ctl(flow->relay->epoll_fd, EPOLL_CTL_DEL, flow->fd, NULL);
	close(flow->fd);
	flow->fd = -1;
}

void relay_kill(struct flow *flow, bool reset)
{
	close_socket(flow, reset);
	flow->state = FLOW_DEAD;
	relay_mark(flow);
}

static void free_flow(struct flow *flow)
{
	struct flow **at = &flow->relay->bucket[hash(&flow->key)];
	while (*at != flow)
		at = &(*at)->next_hashed;
	*at = flow->next_hashed;
	flow->relay->count--;
	close_socket(flow, false);
	free(flow->out.data);
	free(flow->in.data);
	free(flow);
}

/* --- the host's side --- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Where the host is to connect to, as libslirp has it: the gateway's address is the host's loopback. False: libslirp's concern, as the
 * network's other addresses, and those that no connection leads to. */
static bool destination(const struct flow_key *key, union address *to)
{
	static const uint8_t gateway[4] = { 10, 0, 2, 2 }, prefix6[8] = { 0xfe, 0xc0 }, zeros[8];
	const uint8_t *a = key->remote;
	memset(to, 0, sizeof(*to));
	if (key->ethertype == ETHERTYPE_IPV4) {
		to->v4.sin_family = AF_INET;
		to->v4.sin_port = htons(key->remote_port);
		memcpy(&to->v4.sin_addr, a, 4);
		if (memcmp(a, gateway, 4))
			return memcmp(a, gateway, 3) && a[0] && a[0] != 127 && a[0] < 224;
		to->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return true;
	}
	to->v6.sin6_family = AF_INET6;
	to->v6.sin6_port = htons(key->remote_port);
	memcpy(&to->v6.sin6_addr, a, 16);
	if (memcmp(a, prefix6, 8))
		return memcmp(a, zeros, 8) && a[0] != 0xff && !(a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
	to->v6.sin6_addr = in6addr_loopback;
	return !memcmp(a + 8, zeros, 7) && a[15] == 2;
}

static int connect_socket(struct relay *relay, struct flow *flow, const union address *to)
{
	const int on = 1;
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = flow };
	int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* The guest has put together what goes together. Urgent bytes stay where they are in the stream. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	socklen_t length = to->any.sa_family == AF_INET ? sizeof(to->v4) : sizeof(to->v6);
	if ((connect(fd, &to->any, length) < 0 && errno != EINPROGRESS) || epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool too_many(const struct relay *relay)
{
	struct rlimit files;
	return relay->count >= MAX_FLOWS || (getrlimit(RLIMIT_NOFILE, &files) == 0 && relay->count >= files.rlim_cur / 2);
}

/* A guest that was started anew knows nothing of its connections, and may be the one that wants others. */
static void ask_all(struct relay *relay)
{
	uint64_t now = relay_now(relay);
	if (relay->asked && now - relay->asked < ASK_NS)
		return;
	relay->asked = now;
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct flow *flow = relay->bucket[i]; flow; flow = flow->next_hashed)
			flow_ask(flow);
}

/* What fails at once is for libslirp to try, which finds the same and tells the guest why. What would be one too many is refused here. */
static bool begin(struct relay *relay, const struct segment *syn)
{
	union address to;
	struct flow *flow = destination(&syn->key, &to) ? calloc(1, sizeof(*flow)) : NULL;
	bool refused = too_many(relay);
	if (!flow)
		return false;
	flow->relay = relay;
	flow->net = relay->net;
	flow->key = syn->key;
	flow->fd = refused ? -1 : connect_socket(relay, flow, &to);
	if (flow->fd < 0 && !refused) {
		free(flow);
		return false;
	}
	flow->in.size = flow->out.size = relay->count < MANY ? RING_SIZE : RING_SIZE_OF_MANY;
	flow->next_hashed = relay->bucket[hash(&flow->key)];
	relay->bucket[hash(&flow->key)] = flow;
	relay->count++;
	flow_begin(flow, syn);
	if (refused) {
		ask_all(relay);
		flow_abort(flow);
	}
	return true;
}

static void connected(struct flow *flow)
{
	int error = 0;
	socklen_t size = sizeof(error);
	getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (!error)
		flow_answer(flow);
	else if (error == ETIMEDOUT)
		relay_kill(flow, false); /* the guest's own patience is over, or will be */
	else
		flow_abort(flow);
}

static void on_flow(struct flow *flow, uint32_t events)
{
	if (flow->state == FLOW_DEAD)
		return;
	if (flow->state == FLOW_CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		connected(flow);
	flow->readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	flow->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	flow->writable |= (events & EPOLLOUT) != 0;
	relay_mark(flow);
}

static void on_timer(struct relay *relay)
{
	uint64_t expirations, now = relay_now(relay);
	if (read(relay->timer_fd, &expirations, sizeof(expirations)) < 0)
		return;
	relay->ticking = false;
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct flow *flow = relay->bucket[i]; flow; flow = flow->next_hashed)
			if (flow->deadline && flow->state != FLOW_DEAD)
				flow_tick(flow, now);
}

static void on_events(void *opaque, uint32_t ready)
{
	struct relay *relay = opaque;
	struct epoll_event events[MAX_EVENTS];
	int count = epoll_wait(relay->epoll_fd, events, MAX_EVENTS, 0);
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr)
			on_flow(events[i].data.ptr, events[i].events);
		else
			on_timer(relay);
	}
	relay_work(relay);
}

/* --- the network's side --- */

bool relay_input(struct relay *relay, const struct net_frame *frame)
{
	struct segment segment;
	if (!segment_parse(&segment, frame, relay->room))
		return false;
	struct flow *flow = find(relay, &segment.key);
	if (flow)
		flow_segment(flow, &segment);
	else if ((segment.flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG)) != TCP_SYN || !begin(relay, &segment))
		return false;
	if (relay->due)
		net_post(relay->net);
	return true;
}

void relay_work(struct relay *relay)
{
	struct flow *flow = relay->due, *next;
	relay->due = NULL;
	relay->last_due = &relay->due;
	for (; flow; flow = next) {
		next = flow->next_due;
		flow->due = false;
		if (flow->state != FLOW_DEAD)
			flow_work(flow);
		if (flow->state == FLOW_DEAD && !flow->due)
			free_flow(flow);
	}
	if (relay->due)
		net_post(relay->net);
}

void relay_resume(struct relay *relay)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct flow *flow = relay->bucket[i]; flow; flow = flow->next_hashed)
			relay_mark(flow);
	if (relay->due)
		net_post(relay->net);
}

void relay_destroy(struct relay *relay)
{
	if (!relay)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (relay->bucket[i])
			free_flow(relay->bucket[i]);
	if (relay->looped)
		loop_remove(relay->net->config.loop, relay->epoll_fd);
	if (relay->epoll_fd >= 0)
		close(relay->epoll_fd);
	if (relay->timer_fd >= 0)
		close(relay->timer_fd);
	free(relay);
}

struct relay *relay_create(struct net *net, struct error *err)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	struct epoll_event event = { .events = EPOLLIN };
	if (!relay) {
		error_set(err, ENOMEM, "out of memory for the user network");
		return NULL;
	}
	relay->net = net;
	relay->last_due = &relay->due;
	relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	relay->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (relay->epoll_fd < 0 || relay->timer_fd < 0 || epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, relay->timer_fd, &event) < 0)
		error_set(err, errno, "cannot make the user network: %s; raise the limit of open files (ulimit -n)", strerror(errno));
	else if (loop_add(net->config.loop, relay->epoll_fd, EPOLLIN, on_events, relay, err) == 0)
		relay->looped = true;
	if (relay->looped)
		return relay;
	relay_destroy(relay);
	return NULL;
}
