/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio_exercise.h"

/*
 * Drivers of the balloon, the socket device, a shared folder's transport and the watchdog that do anything (virtio_exercise.h), and
 * programs of the host at the other ends of the sockets.
 */
#define CID 42u
#define HOST_PORT 5u      /* on which a program of the host listens */
#define MAX_PEERS 8

enum { SLOT_9P = SMALL_SLOT_SERVICES, SLOT_BALLOON };

static struct machine *m;
static char top[64], shared[80], socket_path[80], listener_path[80];
static int listener = -1, peers[MAX_PEERS];
static unsigned peer_count;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void clean_up(void)
{
	small_machine_destroy(m);
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_socket(const char *path, int (*fn)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strcpy(a.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && fn(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void make_places(void)
{
	snprintf(top, sizeof(top), "%s/visor-fuzz-services-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	fuzz_require(mkdtemp(top));
	snprintf(shared, sizeof(shared), "%s/shared", top);
	snprintf(socket_path, sizeof(socket_path), "%s/v", top);
	snprintf(listener_path, sizeof(listener_path), "%s/v_%u", top, HOST_PORT);
	fuzz_require(mkdir(shared, 0755) == 0);
	listener = make_socket(listener_path, bind);
	fuzz_require(listener >= 0 && listen(listener, 64) == 0);
	atexit(clean_up);
}

static void make_machine(void)
{
	const struct machine_services services = {
		.shares = { { shared, "files", false } }, .share_count = 1, .vsock_cid = CID, .vsock_path = socket_path, .balloon = true,
		.watchdog = true, .on_watchdog = ACTION_NONE,
	};
	small_machine_destroy(m);
	m = small_machine_create_with(1, &services);
	fuzz_require(m);
}

static void add_peer(int fd)
{
	if (fd < 0)
		return;
	if (peer_count == MAX_PEERS)
		close(fd);
	else
		peers[peer_count++] = fd;
}

static void host_does(const struct step *s)
{
	char data[512];
	int fd = peer_count ? peers[s->where % peer_count] : -1;
	switch (s->device % 6) {
	case 0:
		fd = make_socket(socket_path, connect);
		add_peer(fd);
		if (fd >= 0)
			send(fd, data, (size_t)snprintf(data, sizeof(data), "CONNECT %u\n", s->a % 8), MSG_NOSIGNAL);
		break;
	case 1:
		add_peer(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
		break;
	case 2:
		memset(data, (int)s->b, sizeof(data));
		if (fd >= 0)
			send(fd, data, s->a % sizeof(data), MSG_NOSIGNAL);
		break;
	case 3:
		while (fd >= 0 && recv(fd, data, sizeof(data), 0) > 0)
			;
		break;
	case 4:
		if (fd >= 0) {
			close(fd);
			unsigned last = peer_count - 1;
			peers[s->where % peer_count] = peers[last];
			peer_count = last;
		}
		break;
	default:
		machine_set_balloon(m, (uint64_t)s->a << 12, NULL);
	}
}

static const struct exercise services = { .slot = SMALL_SLOT_SERVICES, .devices = 3, .others = 1, .host = host_does };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!*top)
		make_places();
	if (!m || m->ended)
		make_machine();
	exercise_run(&services, m, data, size);
	/* An empty inflation. */
	if (!m->ended)
		exercise_expect_served(m, SLOT_BALLOON, 0, NULL, 4, 0);
	while (peer_count)
		close(peers[--peer_count]);
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
		close(fd);
	return 0;
}

/* --- seeds --- */

enum { ON_9P, ON_BALLOON, ON_VSOCK, ON_WATCHDOG };

static void packet(unsigned op, uint32_t guest_port, uint32_t host_port, uint32_t length)
{
	uint8_t h[48] = { 0 };
	store_le64(h, CID);
	store_le64(h + 8, 2);
	store_le32(h + 16, guest_port);
	store_le32(h + 20, host_port);
	store_le32(h + 24, length);
	store_le16(h + 28, 1);
	store_le16(h + 30, (uint16_t)op);
	store_le32(h + 32, op == 4 ? 3 : 0);
	store_le32(h + 36, 4096);
	exercise_bytes(EXERCISE_BUFFERS, h, sizeof(h));
	exercise_add(CHAIN, ON_VSOCK, 1, 44 + length, 0);
}

static void receive(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		exercise_add(CHAIN, ON_VSOCK, (uint64_t)(i + 1) << 4, 0, 3000);
}

static void vsock_seeds(fuzz_seed_fn *emit, void *opaque)
{
	receive(4);
	packet(1, 100, HOST_PORT, 0);
	exercise_add(HOST, 1, 0, 0, 0);
	packet(5, 100, HOST_PORT, 200);
	exercise_add(HOST, 2, 0, 300, 1);
	exercise_add(HOST, 3, 0, 0, 0);
	packet(6, 100, HOST_PORT, 0);
	packet(4, 100, HOST_PORT, 0);
	receive(2);
	exercise_done(emit, opaque, "vsock-guest");
	receive(4);
	exercise_add(HOST, 0, 0, 3, 0);
	packet(2, 3, 0x40000001, 0);
	packet(7, 3, 0x40000001, 0);
	packet(5, 3, 0x40000001, 100);
	exercise_add(HOST, 2, 0, 300, 1);
	exercise_add(HOST, 4, 0, 0, 0);
	packet(3, 3, 0x40000001, 0);
	packet(1, 7, 9, 0);
	exercise_done(emit, opaque, "vsock-host");
	exercise_add(CHAIN, ON_VSOCK, 2, 0, 8);
	for (unsigned i = 0; i < 12; i++)
		packet(5, i, 1, 0);
	receive(8);
	exercise_done(emit, opaque, "vsock-refused");
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	const uint32_t pages[] = { 0x100, 0x101, 0x3ff, 0xffffffff };
	vsock_seeds(emit, opaque);
	exercise_bytes(EXERCISE_BUFFERS, pages, sizeof(pages));
	exercise_add(CHAIN, ON_BALLOON, 0, 16, 0);
	exercise_add(CHAIN, ON_BALLOON, 1, 16, 0);
	exercise_add(CHAIN, ON_BALLOON, 2, 40, 0);
	exercise_add(CHAIN, ON_BALLOON, 3, 0, 0x4000);
	exercise_add(HOST, 5, 0, 600, 0);
	exercise_add(REGISTER_WRITE, ON_BALLOON, 0x2004, 7, 2);
	exercise_add(ADVANCE, 0, 0, 4000000000u, 0);
	exercise_done(emit, opaque, "balloon");
	exercise_bytes(EXERCISE_BUFFERS, "\x15\0\0\0\x64\xff\xff\0\0\1\0\10\0""9P2000.L", 21);
	exercise_add(CHAIN, ON_9P, 0, 21, 100);
	exercise_bytes(EXERCISE_BUFFERS, "\x17\0\0\0\x68\1\0\1\0\0\0\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff", 23);
	exercise_add(CHAIN, ON_9P, 0, 23, 100);
	exercise_add(START, ON_9P, 0, 0, 0);
	exercise_done(emit, opaque, "9p");
	static const uint32_t watchdog[][2] = { { 12, 0x80 }, { 12, 0x86 }, { 0, 50 }, { 12, 0x80 }, { 12, 0x86 }, { 4, 50 }, { 12, 0x80 }, { 12, 0x86 },
						{ 12, 0x100 } };
	exercise_add(CONFIG_WRITE, ON_WATCHDOG, 0x68, 2, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(watchdog); i++)
		exercise_add(REGISTER_WRITE, ON_WATCHDOG, watchdog[i][0], watchdog[i][1], i % 3 == 2 ? 2 : 1);
	exercise_add(ADVANCE, 0, 0, 60000000, 0);
	exercise_add(REGISTER_READ, ON_WATCHDOG, 8, 0, 2);
	exercise_add(ADVANCE, 0, 0, 60000000, 0);
	exercise_done(emit, opaque, "watchdog");
}
