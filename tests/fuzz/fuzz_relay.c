/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay between a guest that sends anything and servers on the host that do anything; the sockets are pairs that the target holds the other ends
 * of, so that nothing leaves the process. An input is a row of steps of eight bytes.
 *
 * Each byte of a stream is told by its place in it. So it is seen that what arrives is a beginning of what was sent, that nothing is acknowledged
 * which was not, and that no window is overrun; and at the end, when guest and servers behave again, that nothing is missing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "net/backend.h"
#include "net/packet.h"
#include "net/relay.h"

#define MAX_STEPS 300u
#define CALLS 6u                /* at the same time */
#define PORT 4000u
#define MAX_SENT (4u << 20)     /* by a server */
#define MAX_FD 512
#define MTU_JUMBO 16384u
#define MAX_TURNS 3000u
#define NS_PER_S 1000000000ull

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum { OPEN, SEGMENT, ANSWER, SERVER_SEND, SERVER_READ, SERVER_END, ADVANCE, ROOM, OFFLOADS, FAIL, TURN, STEPS };

struct step {
	uint8_t what, call, how, flags;
	uint16_t a, b;
};

/* A connection as guest and server know it; places in streams count from 0. */
struct call {
	bool v6, begun, muddled;        /* of a muddled one nothing is known any more */
	uint16_t port;
	uint32_t first, relay_first;    /* the sequence numbers of both SYNs */
	bool answered, reset, finished; /* such a segment has come; the last: in its place */
	bool guest_reset, guest_fin;
	bool unknown;                   /* the relay does not know it any more: libslirp says so to the guest */
	uint32_t sent, acked;           /* the guest's bytes: without a gap, and what of them was acknowledged */
	uint32_t got, edge;             /* the server's bytes: without a gap, and the end of the largest window told */
	uint32_t promised;              /* the end of the relay's */
	unsigned shift, relay_shift;    /* of windows */
	int server;                     /* -1: closed */
	bool server_ended;
	uint32_t served, came;          /* bytes of the server, and to it */
	size_t stuffing;                /* to read before those: the socket was full when it was made */
};

static struct call calls[CALLS];
static struct call *calling;    /* the host's loopback, by the frame that is being sent; NULL: it must not be reached */
static struct loop *loop;
static struct net *net;
static struct relay *relay;
static uint64_t now;
static bool room, behaving, failed;
static uint16_t next_port;
static unsigned fail_memory, fail_socket, fail_epoll, connect_error, late;
static void (*posted)(void *arg);
static void *posted_arg;

static uint8_t pattern(uint32_t at)
{
	return (uint8_t)(at * 31 + at / 251);
}

/* --- the host, as the relay sees it --- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
int __wrap_epoll_ctl(int fd, int what, int other, struct epoll_event *event);
int __real_epoll_ctl(int fd, int what, int other, struct epoll_event *event);

static bool fails(unsigned *when)
{
	bool now_it_does = *when && --*when == 0;
	failed |= now_it_does;
	return now_it_does;
}

void *__wrap_malloc(size_t size)
{
	return fails(&fail_memory) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails(&fail_memory) ? NULL : __real_calloc(count, size);
}

int __wrap_epoll_ctl(int fd, int what, int other, struct epoll_event *event)
{
	if (what != EPOLL_CTL_ADD || !fails(&fail_epoll)) /* nothing else wants memory */
		return __real_epoll_ctl(fd, what, other, event);
	errno = ENOSPC;
	return -1;
}

/* Time is the target's: the timer has always just run out. */
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1 };
	return __real_timerfd_settime(fd, flags, &soon, old);
}

static int newest_server = -1;
/* What a process that is just being started has of the relay's sockets. */
static int copies[MAX_STEPS];
static unsigned copy_count;
static bool copied;

int __wrap_socket(int domain, int type, int protocol)
{
	int pair[2], size = 4096;
	errno = EMFILE;
	if (fails(&fail_socket) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -1;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	newest_server = pair[1];
	if (copied && copy_count < MAX_STEPS)
		copies[copy_count++] = dup(pair[0]);
	return pair[0];
}

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	if (address->sa_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127 || !v4->sin_addr.s_addr;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) || IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
}

/* Only calls of the gateway get anywhere, and only they may get to the host's loopback. */
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	static const uint8_t stuffing[512];
	bool gateway = calling != NULL;
	fuzz_require(gateway == is_loopback(address) || (gateway && calling->muddled));
	fuzz_require(address->sa_family != AF_INET || ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) < 0xe0000000);
	if (!gateway || calling->begun) {
		close(newest_server);
		errno = ENETUNREACH;
		/* Once more, while the guest may not know yet that the first is over. */
		if (gateway)
			calling->muddled = true;
		return -1;
	}
	calling->begun = true;
	calling->server = newest_server;
	for (ssize_t n; late && (n = send(fd, stuffing, sizeof(stuffing), MSG_DONTWAIT)) > 0;)
		calling->stuffing += (size_t)n;
	return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	int result = __real_getsockopt(fd, level, name, value, size);
	if (name == SO_ERROR && connect_error) {
		*(int *)value = (int)connect_error;
		failed = true;
	}
	return result;
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	for (int fd = 0; fd < MAX_FD; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* --- a network with nothing but the relay --- */

static void post(void *opaque, void (*fn)(void *arg), void *arg)
{
	posted = fn;
	posted_arg = arg;
}

static uint64_t tell_now(void *opaque) { return now; }

static bool send_frame(struct net *n, const struct net_frame *frame)
{
	bool known = relay_input(relay, frame);
	if (calling && !known && (behaving || !calling->answered))
		calling->unknown = true;
	return true;
}

static void work(struct net *n) { relay_work(relay); }
static void resume(struct net *n) { relay_resume(relay); }
static void close_relay(struct net *n) { relay_destroy(relay); }

static void turn(void)
{
	void (*fn)(void *arg) = posted;
	posted = NULL;
	if (fn)
		fn(posted_arg);
	fuzz_require(loop_once(loop, 0, NULL) == 0);
}

/* --- the guest --- */

static struct call *call_of(const uint8_t *tcp, bool v6)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].begun && calls[i].port == load_be16(tcp + 2) && calls[i].v6 == v6)
			return &calls[i];
	return NULL;
}

static bool good_segment(void *opaque, const uint8_t *segment, size_t size)
{
	struct packet_layers layers;
	packet_layers(segment, size, &layers);
	const uint8_t *ip = segment + 14;
	fuzz_require(layers.has_transport && layers.protocol == 6 && packet_tcp_good(segment, size, &layers));
	fuzz_require(size <= 14u + atomic_load(&net->port_mtu));
	fuzz_require(14 + (ip[0] >> 4 == 4 ? load_be16(ip + 2) : 40u + load_be16(ip + 4)) == size);
	return true;
}

static void check_options(struct call *c, const uint8_t *tcp)
{
	c->relay_shift = 0;
	for (const uint8_t *option = tcp + 20, *end = tcp + (tcp[12] >> 4) * 4; option < end; option += *option == 1 ? 1 : option[1]) {
		fuzz_require(*option == 1 || (end - option >= 2 && option[1] >= 2));
		if (*option == 3)
			c->relay_shift = option[2];
	}
}

/* What the relay says of the guest's stream. Windows are told in units, so the end of one may go back by less than that. */
static void check_answer(struct call *c, const uint8_t *tcp, bool syn)
{
	uint32_t acked = load_be32(tcp + 8) - c->first - 1, window = (uint32_t)load_be16(tcp + 14) << (syn ? 0 : c->relay_shift);
	fuzz_require(acked <= c->sent + c->guest_fin && acked >= c->acked);
	c->acked = acked;
	fuzz_require(acked + window + (1u << c->relay_shift) > c->promised || acked > c->sent);
	c->promised = MAX(c->promised, acked + window);
}

static void check_text(struct call *c, const uint8_t *tcp, const uint8_t *text, uint32_t length)
{
	uint32_t at = load_be32(tcp + 4) - c->relay_first - 1;
	bool fin = tcp[13] & FIN;
	fuzz_require(at + length <= c->served + (!length && c->server_ended));
	fuzz_require(!length || at + length <= MAX(c->edge, c->got + 1));
	fuzz_require(!fin || (c->server_ended && at + length == c->served));
	for (uint32_t i = 0; i < length; i++)
		fuzz_require(text[i] == pattern(at + i));
	if (at <= c->got && at + length >= c->got && !c->finished) {
		c->got = at + length;
		c->finished |= fin;
	}
}

static void take_segment(struct call *c, const uint8_t *tcp, const uint8_t *end)
{
	uint8_t flags = tcp[13];
	if (c->muddled)
		return;
	fuzz_require(!c->reset && flags & ACK);
	if (flags & SYN) {
		fuzz_require(!c->answered || c->relay_first == load_be32(tcp + 4));
		c->answered = true;
		c->relay_first = load_be32(tcp + 4);
		check_options(c, tcp);
	}
	check_answer(c, tcp, flags & SYN);
	if (flags & RST)
		c->reset = true;
	else if (!(flags & SYN)) {
		fuzz_require(c->answered);
		check_text(c, tcp, tcp + (tcp[12] >> 4) * 4, (uint32_t)(end - tcp) - (tcp[12] >> 4) * 4u);
	}
}

static bool receive(void *opaque, const struct net_frame *frame)
{
	static uint8_t data[NET_FRAME_MAX], segment[NET_FRAME_MAX];
	if (!room)
		return false;
	fuzz_require(packet_gather(frame->iov, frame->count, 0, data, NET_FRAME_MAX) == frame->size);
	bool v6 = load_be16(data + 12) == 0x86dd;
	if (frame->offload.gso == NET_GSO_NONE) {
		fuzz_require(!frame->offload.checksum || packet_finish_checksum(data, frame->size, &frame->offload));
		good_segment(NULL, data, frame->size);
	} else {
		fuzz_require(packet_segment(data, frame->size, &frame->offload, segment, good_segment, NULL));
	}
	const uint8_t *tcp = data + (v6 ? 54 : 34);
	struct call *c = call_of(tcp, v6);
	if (c)
		take_segment(c, tcp, data + frame->size);
	return true;
}

/* --- from the guest --- */

struct sending {
	uint8_t flags, how;
	uint32_t sequence, acknowledgement;
	uint16_t window;
	unsigned options, payload;
	bool gso, open, wrong;          /* the checksum is */
	uint32_t at;                    /* of the payload in the stream */
};

static void put_addresses(const struct call *c, uint8_t *ip, unsigned to)
{
	static const uint8_t to4[][4] = {
		{ 10, 0, 2, 2 }, { 10, 0, 2, 3 }, { 10, 0, 2, 15 }, { 127, 0, 0, 1 }, { 0, 0, 0, 0 }, { 255, 255, 255, 255 }, { 224, 0, 0, 1 }, { 192, 0, 2, 1 },
	};
	static const uint8_t to6[][16] = {
		{ 0xfe, 0xc0, [15] = 2 }, { 0xfe, 0xc0, [15] = 3 }, { [15] = 1 }, { 0 }, { [10] = 0xff, 0xff, 127, 0, 0, 1 }, { 0xff, 2, [15] = 1 },
		{ 0xfe, 0x80, [15] = 2 }, { 0x20, 1, 0xd, 0xb8, [15] = 1 },
	};
	static const uint8_t own4[4] = { 10, 0, 2, 15 }, own6[16] = { 0xfe, 0xc0, [15] = 15 };
	memcpy(ip + (c->v6 ? 8 : 12), c->v6 ? own6 : own4, c->v6 ? 16 : 4);
	memcpy(ip + (c->v6 ? 24 : 16), c->v6 ? to6[to % 8] : to4[to % 8], c->v6 ? 16 : 4);
}

static size_t make_frame(const struct call *c, const struct sending *s, uint8_t *frame, struct net_offload *offload)
{
	const uint8_t options[16] = { 2, 4, (uint8_t)(s->window >> 8), (uint8_t)s->window, 1, 3, 3, (uint8_t)c->shift, 1, 1, 1, 0 };
	unsigned transport = c->v6 ? 54 : 34;
	size_t size = transport + 20 + s->options + s->payload;
	uint8_t *ip = frame + 14, *tcp = frame + transport;
	memset(frame, 0, transport + 20);
	frame[0] = frame[6] = 0x52;
	store_be16(frame + 12, c->v6 ? 0x86dd : 0x0800);
	ip[0] = c->v6 ? 0x60 : 0x45;
	ip[c->v6 ? 7 : 8] = 64;
	ip[c->v6 ? 6 : 9] = 6;
	put_addresses(c, ip, s->flags == SYN ? s->how : 0);
	store_be16(tcp, c->port);
	store_be16(tcp + 2, 80);
	store_be32(tcp + 4, s->sequence);
	store_be32(tcp + 8, s->acknowledgement);
	tcp[12] = (uint8_t)((20 + s->options) / 4 << 4);
	tcp[13] = s->flags;
	store_be16(tcp + 14, s->window);
	memcpy(tcp + 20, options, s->options);
	for (unsigned i = 0; i < s->payload; i++)
		tcp[20 + s->options + i] = pattern(s->at + i);
	const struct packet_layers layers = { c->v6 ? 0x86dd : 0x0800, 14, transport, 6, true };
	packet_open_tcp(frame, size, &layers, 1);
	*offload = (struct net_offload){ .checksum = true, .checksum_start = (uint16_t)transport, .checksum_offset = 16 };
	if (s->gso) {
		offload->gso = c->v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		offload->gso_size = 1000;
	} else if (!s->open) {
		packet_finish_checksum(frame, size, offload);
		*offload = (struct net_offload){ 0 };
		tcp[16] ^= s->wrong;
	}
	return size;
}

/* In two or three pieces of their own, so that a sanitizer sees their ends. */
static void send_pieces(const uint8_t *frame, size_t size, size_t cut, const struct net_offload *offload)
{
	struct iovec iov[3] = { { NULL, MIN(cut % 100, size) }, { NULL, MIN(cut / 100, size - iov[0].iov_len) } };
	iov[2].iov_len = size - iov[0].iov_len - iov[1].iov_len;
	for (unsigned i = 0; i < 3; frame += iov[i++].iov_len) {
		iov[i].iov_base = __real_malloc(iov[i].iov_len + !iov[i].iov_len);
		memcpy(iov[i].iov_base, frame, iov[i].iov_len);
	}
	fuzz_require(net_send(net, &(struct net_frame){ .iov = iov, .count = 3, .size = size, .offload = *offload }));
	for (unsigned i = 0; i < 3; i++)
		free(iov[i].iov_base);
}

static void send_segment(struct call *c, const struct sending *s, unsigned cut, bool to_gateway)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	size_t size = make_frame(c, s, frame, &offload);
	calling = to_gateway ? c : NULL;
	send_pieces(frame, size, cut, &offload);
	calling = NULL;
}

/* Before it is sent, since answers may come at once. */
static void note(struct call *c, const struct sending *s)
{
	uint32_t known = c->sent - s->at, acked = s->acknowledgement - c->relay_first - 1;
	if (s->flags & (SYN | RST) || s->wrong) {
		c->guest_reset |= s->flags & RST && !s->wrong;
		return;
	}
	if (!(s->flags & ACK))
		return;
	if (known <= s->payload && !c->guest_fin) {
		c->sent = s->at + s->payload;
		c->guest_fin = s->flags & FIN;
	}
	if (c->answered && acked <= c->served + 1)
		c->edge = MAX(c->edge, acked + ((uint32_t)s->window << (c->relay_shift ? MIN(c->shift, 14u) : 0)));
}

/* `to`: another address than the gateway's, which leads nowhere. */
static void open_call(struct call *c, const struct step *step, unsigned to)
{
	struct sending s = { .flags = SYN, .how = (uint8_t)to, .window = step->b, .options = step->flags & 12, .open = true };
	struct call fresh = { .v6 = step->flags & 1, .port = next_port, .server = -1, .shift = step->flags >> 4, .first = step->a * 0x10001u };
	bool again = c->begun && !c->reset && !c->guest_reset && !c->muddled && !(c->finished && c->guest_fin);
	next_port += !again || to;
	if (!again && !to) {
		if (c->server >= 0)
			close(c->server);
		*c = fresh;
	}
	late = step->flags & 2;
	copied = step->how & 8;
	s.sequence = (to ? &fresh : c)->first;
	send_segment(to ? &fresh : c, &s, step->a, !to);
	late = copied = 0;
}

static uint32_t number(uint32_t usual, unsigned how, uint32_t other)
{
	return how == 0 ? usual - other : how == 1 ? usual + other : how == 2 ? other * 0x10001 : usual;
}

/* Any segment, mostly one that is expected. */
static void any_segment(struct call *c, const struct step *step)
{
	static const unsigned sizes[] = { 0, 1, 10, 536, 1000, 1448, 20000, 65000 };
	struct sending s = {
		.flags = step->flags ^ ACK, .window = step->b, .payload = sizes[step->how % 8], .options = step->how & 8 ? 12 : 0,
		.at = number(c->sent, step->how >> 4 & 3, step->a), .open = step->how & 64,
		.acknowledgement = number(c->relay_first + 1 + c->got + c->finished, step->how >> 6, step->b),
	};
	if (!c->begun)
		return;
	s.gso = s.open && s.payload > 1000;
	s.wrong = !s.open && !(step->a & 15);
	s.sequence = c->first + 1 + s.at;
	note(c, &s);
	send_segment(c, &s, step->a, true);
}

/* What a guest that behaves says to all that came. */
static void answer(struct call *c, uint16_t window, unsigned payload, bool fin)
{
	struct sending s = { .flags = ACK | (fin ? FIN : 0), .window = window, .payload = payload, .at = c->sent, .open = true };
	s.acknowledgement = c->relay_first + 1 + c->got + c->finished;
	s.sequence = c->first + 1 + c->sent + c->guest_fin;
	s.gso = payload > 1000;
	if (!c->answered || c->guest_fin)
		s.payload = 0, s.gso = false, s.flags &= (uint8_t)~FIN;
	note(c, &s);
	send_segment(c, &s, 5454, true);
}

/* Bytes anywhere in a frame that are wrong. */
static void spoil(struct call *c, const struct step *step)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct net_offload offload;
	const struct sending s = {
		.flags = ACK, .window = step->b, .payload = step->a % 3000, .at = c->sent, .sequence = c->first + 1 + c->sent, .open = true,
		.acknowledgement = c->relay_first + 1 + c->got,
	};
	if (!c->begun)
		return;
	size_t size = make_frame(c, &s, frame, &offload);
	c->muddled = true;
	frame[12 + step->how % 64] ^= step->flags;
	offload.valid = true;
	calling = c;
	send_pieces(frame, step->b & 1 ? size : 14 + step->b % (size - 14), step->a, &offload);
	calling = NULL;
}

/* --- the servers --- */

static bool over(const struct call *c)
{
	return !c->begun || c->muddled || c->reset || c->guest_reset || c->unknown;
}

static void server_send(struct call *c, unsigned length)
{
	uint8_t data[4096];
	for (unsigned done = 0; c->server >= 0 && !c->server_ended && done < length && c->served < MAX_SENT;) {
		unsigned part = MIN(length - done, (unsigned)sizeof(data));
		for (unsigned i = 0; i < part; i++)
			data[i] = pattern(c->served + i);
		ssize_t n = send(c->server, data, part, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return;
		c->served += (uint32_t)n;
		done += (unsigned)n;
	}
}

static void server_read(struct call *c, size_t length)
{
	uint8_t data[4096];
	while (c->server >= 0 && length) {
		ssize_t n = recv(c->server, data, MIN(c->stuffing ? c->stuffing : length, sizeof(data)), MSG_DONTWAIT);
		if (n == 0) /* before it is answered it may end without a word, when the host's patience does */
			fuzz_require(over(c) || c->guest_fin || c->server_ended || !c->answered || !room || net->first || failed);
		c->unknown |= n == 0 && !c->answered;
		if (n <= 0)
			return;
		if (c->stuffing) {
			c->stuffing -= (size_t)n;
			continue;
		}
		for (ssize_t i = 0; i < n && !c->muddled; i++)
			fuzz_require(data[i] == pattern(c->came + (uint32_t)i));
		c->came += (uint32_t)n;
		fuzz_require(c->muddled || c->came <= c->sent);
		length -= (size_t)n;
	}
}

static void server_end(struct call *c, bool all)
{
	if (c->server < 0)
		return;
	c->server_ended = true;
	shutdown(c->server, SHUT_WR);
	if (all) {
		close(c->server);
		c->server = -1;
	}
}

/* --- steps --- */

static void take_step(const struct step *s)
{
	struct call *c = &calls[s->call % CALLS];
	switch (s->what % STEPS) {
	case OPEN: open_call(c, s, s->how % 8); break;
	case SEGMENT: any_segment(c, s); break;
	case ANSWER:
		if (c->begun)
			answer(c, s->b, MIN(s->a, 65000u), s->flags == 1);
		break;
	case SERVER_SEND: server_send(c, s->a); break;
	case SERVER_READ: server_read(c, s->a); break;
	case SERVER_END: server_end(c, s->flags & 1); break;
	case ADVANCE: now += (uint64_t)s->a << (s->how % 24); break;
	case ROOM:
		room = s->flags & 1;
		net_room(net);
		break;
	case OFFLOADS:
		net_set_offloads(net, s->flags & NET_OFFLOAD_ALL);
		net_set_mtu(net, s->how & 1 ? MTU_JUMBO : 1500);
		break;
	case FAIL:
		if (s->how % 8 == 7) {
			spoil(c, s);
			break;
		}
		fail_memory = s->how & 1 ? s->flags % 4 : 0;
		fail_socket = s->how & 2 ? s->flags % 2 : 0;
		fail_epoll = s->how & 4 ? s->flags % 2 : 0;
		connect_error = s->how & 8 ? s->flags & 16 ? ETIMEDOUT : ECONNREFUSED : 0;
		break;
	}
	for (unsigned i = 0; i < 1u + (s->what >= 128); i++)
		turn();
}

/* Nothing is missing at either end. */
static bool complete(const struct call *c)
{
	return over(c) || (failed && !c->answered && (c->server < 0 || copy_count)) ||
	       (c->answered && c->got == c->served && (c->came == c->sent || c->server < 0) && c->acked == c->sent + c->guest_fin &&
			   (!c->server_ended || c->finished));
}

/* What the relay had no room for goes again. */
static void again(struct call *c)
{
	uint32_t left = MIN(c->sent - c->acked, 60000u);
	const struct sending s = {
		.flags = ACK | (c->guest_fin && c->acked + left == c->sent ? FIN : 0), .window = 30000, .open = true, .gso = left > 1000, .payload = left, .at = c->acked,
		.sequence = c->first + 1 + c->acked, .acknowledgement = c->relay_first + 1 + c->got + c->finished,
	};
	if (c->acked < c->sent + c->guest_fin)
		send_segment(c, &s, 5454, true);
}

static bool behave(struct call *c, unsigned round)
{
	server_read(c, MAX_SENT);
	if (!over(c) && c->answered)
		answer(c, 30000, 0, false);
	if (!over(c) && c->answered && round % 4 == 3)
		again(c);
	return complete(c);
}

static void all_behave(void)
{
	bool done = false;
	room = behaving = true;
	fail_memory = fail_socket = fail_epoll = connect_error = 0;
	net_room(net);
	for (unsigned i = 0; i < MAX_TURNS && !done; i++) {
		done = true;
		turn();
		turn();
		for (unsigned k = 0; k < CALLS; k++)
			done &= behave(&calls[k], i);
		if (i % 16 == 15)
			now += 10 * NS_PER_S;
	}
	fuzz_require(done);
}

static void make(void)
{
	static const struct net_ops ops = { .send = send_frame, .work = work, .resume = resume, .close = close_relay };
	const struct net_config config = { .kind = NET_USER, .owner = "net0", .worker = { post, NULL }, .loop = loop, .now = tell_now };
	struct error err;
	net = net_alloc(sizeof(*net), &ops, &config, &err);
	fuzz_require(net);
	net->mtu = MTU_JUMBO;
	net->offloads = NET_OFFLOAD_ALL;
	relay = relay_create(net, &err);
	fuzz_require(relay);
	net_attach(net, &(struct net_port){ receive, NULL, NULL });
	net_set_offloads(net, NET_OFFLOAD_ALL);
	memset(calls, 0, sizeof(calls));
	for (unsigned i = 0; i < CALLS; i++)
		calls[i].server = -1;
	now = NS_PER_S;
	next_port = PORT;
	room = true;
	behaving = failed = false;
	posted = NULL;
	fail_memory = fail_socket = fail_epoll = connect_error = late = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!loop)
		loop = loop_create(NULL);
	unsigned before = open_descriptors();
	make();
	for (unsigned n = 0; n < MAX_STEPS && size >= sizeof(struct step); n++) {
		struct step s;
		memcpy(&s, data, sizeof(s));
		take_step(&s);
		data += sizeof(s);
		size -= sizeof(s);
	}
	if (!(size & 1))
		all_behave();
	fail_memory = fail_socket = fail_epoll = 0;
	net_close(net);
	if (posted) /* what was posted comes when it may, and frees what is left */
		posted(posted_arg);
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].server >= 0)
			close(calls[i].server);
	while (copy_count)
		close(copies[--copy_count]);
	fuzz_require(open_descriptors() == before);
	return 0;
}

/* --- seeds --- */

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const struct step to_server[] = {
		{ OPEN, 0, 0, 12 | 0x70, 1, 1460 }, { TURN, 0, 0, 0, 0, 0 }, { ANSWER, 0, 0, 0, 1000, 500 }, { ANSWER, 0, 0, 0, 60000, 500 },
		{ SERVER_READ, 0, 0, 0, 20000, 0 }, { ANSWER, 0, 0, 1, 10, 500 }, { SERVER_END, 0, 0, 0, 0, 0 }, { ANSWER, 0, 0, 0, 0, 500 },
	};
	static const struct step from_server[] = {
		{ OPEN, 1, 0, 13 | 0x30, 2, 1460 }, { ANSWER, 1, 0, 0, 0, 5000 }, { SERVER_SEND, 1, 0, 0, 60000, 0 }, { TURN, 0, 0, 0, 0, 0 },
		{ ANSWER, 1, 0, 0, 0, 0 }, { SERVER_SEND, 1, 0, 0, 60000, 0 }, { ADVANCE, 0, 20, 0, 4000, 0 }, { OFFLOADS, 0, 0, 1, 0, 0 },
		{ ANSWER, 1, 0, 0, 0, 5000 }, { SERVER_END, 1, 0, 1, 0, 0 }, { ANSWER, 1, 0, 0, 100, 5000 }, { ANSWER, 1, 0, 1, 0, 5000 },
	};
	static const struct step odd[] = {
		{ OPEN, 2, 0, 8, 2, 1460 }, { ANSWER, 2, 0, 0, 10, 5000 }, { SEGMENT, 2, 0x13, 0, 100, 3 }, { SEGMENT, 2, 0xc5, 8, 0, 9 },
		{ SEGMENT, 2, 0xf5, 8, 1, 9 }, { SERVER_SEND, 2, 0, 0, 100, 0 }, { SEGMENT, 2, 0xc0, 4, 5, 5 }, { SEGMENT, 2, 0xf0, SYN, 5, 5 },
		{ OPEN, 3, 1, 0, 1, 1 }, { OPEN, 3, 2, 1, 1, 1 }, { OPEN, 4, 3, 0, 1, 1 }, { OPEN, 4, 7, 1, 1, 1 }, { FAIL, 2, 7, 4, 300, 301 },
	};
	static const struct step refused[] = {
		{ FAIL, 0, 8, 0, 0, 0 }, { OPEN, 0, 0, 8, 2, 1460 }, { FAIL, 0, 0, 0, 0, 0 }, { OPEN, 1, 0, 10, 2, 1460 }, { SERVER_READ, 1, 0, 0, 60000, 0 },
		{ ANSWER, 1, 0, 0, 500, 60000 }, { ROOM, 0, 0, 0, 0, 0 }, { SERVER_SEND, 1, 0, 0, 60000, 0 }, { ANSWER, 1, 0, 0, 500, 60000 },
		{ FAIL, 0, 1, 1, 0, 0 }, { SERVER_SEND, 1, 0, 0, 60000, 0 }, { ROOM, 0, 0, 1, 0, 0 }, { SERVER_END, 1, 0, 1, 0, 0 },
		{ ANSWER, 1, 0, 0, 500, 60000 }, { ANSWER, 1, 0, 0, 500, 60000 },
	};
	static const struct step lost_answer[] = {
		{ ROOM, 0, 0, 0, 0, 0 }, { FAIL, 0, 1, 2, 0, 0 }, { OPEN, 0, 0, 8, 2, 1460 }, { ADVANCE, 0, 20, 0, 4000, 0 }, { TURN, 0, 0, 0, 0, 0 },
		{ ROOM, 0, 0, 1, 0, 0 },
	};
	static const struct step copied_socket[] = {
		{ OPEN, 0, 8, 12, 2, 1460 }, { TURN, 0, 0, 0, 0, 0 }, { ANSWER, 0, 0, 0, 10, 500 }, { SEGMENT, 0, 0xf8, RST, 0, 0 }, { TURN, 0, 0, 0, 0, 0 },
		{ SERVER_SEND, 0, 0, 0, 100, 0 }, { TURN, 0, 0, 0, 0, 0 },
	};
	emit(opaque, "copied-socket", copied_socket, sizeof(copied_socket));
	emit(opaque, "lost-answer", lost_answer, sizeof(lost_answer));
	emit(opaque, "to-server", to_server, sizeof(to_server));
	emit(opaque, "from-server", from_server, sizeof(from_server));
	emit(opaque, "odd", odd, sizeof(odd));
	emit(opaque, "refused", refused, sizeof(refused));
}
