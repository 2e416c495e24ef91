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
#include "dev/pci/pci.h"
#include "fuzz.h"
#include "small_machine.h"

/*
 * Drivers of the balloon, the socket device, a shared folder's transport and the watchdog that do anything, and programs of the host at the
 * other ends of the sockets. The input is a list of steps of 12 bytes: what, where, two numbers. Devices are brought
 * up first, so that steps reach their rings.
 */
#define STEP_SIZE 12
#define MAX_STEPS 300
#define MEMORY SMALL_FREE /* rings, and buffers behind them */
#define MEMORY_SIZE 0x80000u
#define BUFFERS (MEMORY + 0x60000)
#define CID 42u
#define HOST_PORT 5u      /* on which a program of the host listens */
#define MAX_PEERS 8

enum { SLOT_9P = SMALL_SLOT_SERVICES, SLOT_BALLOON, SLOT_VSOCK, SLOT_WATCHDOG, SLOTS = 4 };
enum { REGISTER_WRITE, REGISTER_READ, MEMORY_WRITE, NOTIFY, ADVANCE, CONFIG_WRITE, START, HOST, CHAIN, STEPS };

struct step {
	uint8_t what, device;
	uint16_t where;
	uint32_t a, b;
} __attribute__((packed));

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

static void poke(uint64_t at, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	store_le(bytes, value, size);
	memory_write(&m->memory, at, bytes, size);
}

/* All features that are offered, or those of `features`. */
static void start(unsigned slot, uint32_t features)
{
	if (!small_virtio_start(m, slot) || !features)
		return;
	uint64_t bar = small_bar(m, slot, 0);
	io_write(&m->mmio, bar + 0x14, 0, 1);
	io_write(&m->mmio, bar + 0x14, 3, 1);
	io_write(&m->mmio, bar + 8, 1, 4);
	io_write(&m->mmio, bar + 12, 1, 4);
	io_write(&m->mmio, bar + 8, 0, 4);
	io_write(&m->mmio, bar + 0, 0, 4);
	io_write(&m->mmio, bar + 12, io_read(&m->mmio, bar + 4, 4) & features, 4);
	io_write(&m->mmio, bar + 0x14, 11, 1);
	for (unsigned q = 0; q < SMALL_QUEUES; q++) {
		struct small_ring ring = small_ring(slot, q);
		io_write(&m->mmio, bar + 0x16, q, 2);
		io_write(&m->mmio, bar + 0x18, SMALL_RING, 2);
		io_write(&m->mmio, bar + 0x20, ring.desc, 8);
		io_write(&m->mmio, bar + 0x28, ring.avail, 8);
		io_write(&m->mmio, bar + 0x30, ring.used, 8);
		io_write(&m->mmio, bar + 0x1c, 1, 2);
	}
	io_write(&m->mmio, bar + 0x14, 15, 1);
}

static void start_all(uint32_t features)
{
	for (unsigned slot = SLOT_9P; slot < SLOT_WATCHDOG; slot++)
		start(slot, features);
	small_config_write(m, SLOT_WATCHDOG, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
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

/* Puts a chain of one or two buffers onto a queue: readable bytes of `a`, writable ones of `b`. */
static void chain(const struct step *s)
{
	unsigned slot = SLOT_9P + s->device % 3, queue = s->where % SMALL_QUEUES;
	struct small_ring ring = small_ring(slot, queue);
	uint16_t index = (uint16_t)load_le16(m->memory.host + ring.avail + 2);
	unsigned at = index % SMALL_RING;
	uint64_t buffer = BUFFERS + (s->where >> 4) % 16 * 0x1000;
	poke(ring.desc + 16 * at, s->a ? buffer : buffer + 0x10000, 8);
	poke(ring.desc + 16 * at + 8, s->a ? s->a : s->b, 4);
	poke(ring.desc + 16 * at + 12, s->a ? s->b ? 1 : 0 : 2, 2);
	poke(ring.desc + 16 * at + 14, SMALL_RING - 1, 2);
	if (s->a && s->b) {
		poke(ring.desc + 16 * (SMALL_RING - 1), buffer + 0x8000, 8);
		poke(ring.desc + 16 * (SMALL_RING - 1) + 8, s->b, 4);
		poke(ring.desc + 16 * (SMALL_RING - 1) + 12, 2, 2);
	}
	poke(ring.avail + 4 + 2 * at, at, 2);
	poke(ring.avail + 2, (uint16_t)(index + 1), 2);
	small_virtio_notify(m, slot, queue);
	small_machine_advance(m, 1000);
}

static void take_step(const struct step *s)
{
	unsigned slot = SLOT_9P + s->device % SLOTS;
	switch (s->what % STEPS) {
	case REGISTER_WRITE:
		io_write(&m->mmio, small_bar(m, slot, 0) + s->where, s->a, 1u << (s->b & 3));
		break;
	case REGISTER_READ:
		io_read(&m->mmio, small_bar(m, slot, 0) + s->where, 1u << (s->b & 3));
		break;
	case MEMORY_WRITE:
		poke(MEMORY + ((uint32_t)s->where * 8) % (MEMORY_SIZE - 8), (uint64_t)s->b << 32 | s->a, s->device & 0x80 ? 8 : 4);
		break;
	case NOTIFY:
		small_virtio_notify(m, SLOT_9P + s->device % 3, s->where % 8);
		small_machine_advance(m, 1000);
		break;
	case ADVANCE:
		small_machine_advance(m, s->a % 10000000000u);
		break;
	case CONFIG_WRITE:
		if (s->where & 1)
			small_config_write(m, SLOT_WATCHDOG, 0x60 + (s->where & 8), s->a, 1);
		else
			small_config_write(m, slot, PCI_COMMAND, s->a & 7, 2);
		break;
	case START:
		start(SLOT_9P + s->device % 3, s->a);
		break;
	case HOST:
		host_does(s);
		small_machine_advance(m, 1000);
		break;
	case CHAIN:
		chain(s);
		break;
	}
}

/* After all that a driver that begins anew is served: an empty inflation comes back. */
static void check_alive(void)
{
	struct small_ring ring = small_ring(SLOT_BALLOON, 0);
	memset(m->memory.host + MEMORY, 0, MEMORY_SIZE);
	start(SLOT_BALLOON, 0xffffffff & ~(1u << 29));
	poke(ring.desc, BUFFERS, 8);
	poke(ring.desc + 8, 4, 4);
	poke(ring.avail + 2, 1, 2);
	small_virtio_notify(m, SLOT_BALLOON, 0);
	small_machine_advance(m, 1000);
	fuzz_require(load_le16(m->memory.host + ring.used + 2) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!*top)
		make_places();
	if (!m || m->ended)
		make_machine();
	memset(m->memory.host + MEMORY, 0, MEMORY_SIZE);
	start_all(size % 3 ? 0xffffffff & ~(1u << 29) : size % 2 ? 0xffffffff : 0);
	for (unsigned n = 0; n < MAX_STEPS && size >= STEP_SIZE; n++, data += STEP_SIZE, size -= STEP_SIZE) {
		struct step step;
		memcpy(&step, data, sizeof(step));
		take_step(&step);
	}
	small_machine_advance(m, 1000000);
	if (!m->ended)
		check_alive();
	while (peer_count)
		close(peers[--peer_count]);
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
		close(fd);
	return 0;
}

/* --- seeds --- */

static struct step steps[128];
static unsigned step_count;

static void add(unsigned what, unsigned device, uint64_t where, uint32_t a, uint32_t b)
{
	steps[step_count++] = (struct step){ (uint8_t)what, (uint8_t)device, (uint16_t)where, a, b };
}

static void bytes(uint64_t at, const void *data, size_t size)
{
	uint8_t padded[256] = { 0 };
	memcpy(padded, data, size);
	for (size_t i = 0; i < size; i += 8)
		add(MEMORY_WRITE, 0x80, (at - MEMORY + i) / 8, load_le32(padded + i), load_le32(padded + i + 4));
}

static void done(fuzz_seed_fn *emit, void *opaque, const char *name)
{
	emit(opaque, name, steps, step_count * sizeof(*steps));
	step_count = 0;
}

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
	bytes(BUFFERS, h, sizeof(h));
	add(CHAIN, ON_VSOCK, 1, 44 + length, 0);
}

static void receive(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		add(CHAIN, ON_VSOCK, (uint64_t)(i + 1) << 4, 0, 3000);
}

static void vsock_seeds(fuzz_seed_fn *emit, void *opaque)
{
	receive(4);
	packet(1, 100, HOST_PORT, 0);
	add(HOST, 1, 0, 0, 0);
	packet(5, 100, HOST_PORT, 200);
	add(HOST, 2, 0, 300, 1);
	add(HOST, 3, 0, 0, 0);
	packet(6, 100, HOST_PORT, 0);
	packet(4, 100, HOST_PORT, 0);
	receive(2);
	done(emit, opaque, "vsock-guest");
	receive(4);
	add(HOST, 0, 0, 3, 0);
	packet(2, 3, 0x40000001, 0);
	packet(7, 3, 0x40000001, 0);
	packet(5, 3, 0x40000001, 100);
	add(HOST, 2, 0, 300, 1);
	add(HOST, 4, 0, 0, 0);
	packet(3, 3, 0x40000001, 0);
	packet(1, 7, 9, 0);
	done(emit, opaque, "vsock-host");
	add(CHAIN, ON_VSOCK, 2, 0, 8);
	for (unsigned i = 0; i < 12; i++)
		packet(5, i, 1, 0);
	receive(8);
	done(emit, opaque, "vsock-refused");
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	const uint32_t pages[] = { 0x100, 0x101, 0x3ff, 0xffffffff };
	vsock_seeds(emit, opaque);
	bytes(BUFFERS, pages, sizeof(pages));
	add(CHAIN, ON_BALLOON, 0, 16, 0);
	add(CHAIN, ON_BALLOON, 1, 16, 0);
	add(CHAIN, ON_BALLOON, 2, 40, 0);
	add(CHAIN, ON_BALLOON, 3, 0, 0x4000);
	add(HOST, 5, 0, 600, 0);
	add(REGISTER_WRITE, ON_BALLOON, 0x2004, 7, 2);
	add(ADVANCE, 0, 0, 4000000000u, 0);
	done(emit, opaque, "balloon");
	bytes(BUFFERS, "\x15\0\0\0\x64\xff\xff\0\0\1\0\10\0""9P2000.L", 21);
	add(CHAIN, ON_9P, 0, 21, 100);
	bytes(BUFFERS, "\x17\0\0\0\x68\1\0\1\0\0\0\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff", 23);
	add(CHAIN, ON_9P, 0, 23, 100);
	add(START, ON_9P, 0, 0, 0);
	done(emit, opaque, "9p");
	static const uint32_t watchdog[][2] = { { 12, 0x80 }, { 12, 0x86 }, { 0, 50 }, { 12, 0x80 }, { 12, 0x86 }, { 4, 50 }, { 12, 0x80 }, { 12, 0x86 },
						{ 12, 0x100 } };
	add(CONFIG_WRITE, ON_WATCHDOG, 9, 2, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(watchdog); i++)
		add(REGISTER_WRITE, ON_WATCHDOG, watchdog[i][0], watchdog[i][1], i % 3 == 2 ? 2 : 1);
	add(ADVANCE, 0, 0, 60000000, 0);
	add(REGISTER_READ, ON_WATCHDOG, 8, 0, 2);
	add(ADVANCE, 0, 0, 60000000, 0);
	done(emit, opaque, "watchdog");
}
