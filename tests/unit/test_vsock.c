/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "dev_board.h"
#include "virtio_rig.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dev/virtio/vsock.h"

#define CID 42u
#define TX 0x200000ull       /* a packet to the device */
#define RX 0x400000ull       /* buffers of 4 KiB for packets from it */
#define RX_SIZE 4096u
#define ROOM (256u << 10)    /* the device's credit for the guest */
enum { RECEIVE, TRANSMIT, EVENT };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

struct packet {
	uint32_t src_port, dst_port, len;
	uint16_t op;
	uint32_t flags, buf_alloc, fwd_cnt;
	uint64_t data; /* guest-physical */
};

struct vsock_rig {
	struct rig rig;
	struct loop *loop;
	struct virtio_vsock *vsock;
	struct virtio_pci *pci;
	struct driver driver;
	struct driver_queue queue[3];
	unsigned given;          /* receive buffers so far */
	uint32_t forwarded;      /* what the guest says of its credit */
	uint32_t room;
	char top[64], path[80];
};

static struct virtio_vsock *create(struct vsock_rig *r, const char *path)
{
	struct streams *streams = streams_create(path, r->loop, NULL);
	assert_non_null(streams);
	const struct virtio_vsock_config config = { { "vsock", { &r->rig.memory }, rig_worker(&r->rig) }, CID, streams };
	struct virtio_vsock *vsock = virtio_vsock_create(&config, NULL);
	assert_non_null(vsock);
	device_reset((struct device *)vsock);
	return vsock;
}

static void start(struct vsock_rig *r)
{
	assert_true(driver_negotiate(&r->driver, FEATURE_VERSION_1));
	for (unsigned i = 0; i < 3; i++)
		driver_queue_init(&r->queue[i], &r->driver, i, 128);
	driver_ok(&r->driver);
	r->given = 0;
}

static void make(struct vsock_rig *r)
{
	struct error err = { 0 };
	*r = (struct vsock_rig){ .room = 1 << 20 };
	rig_init(&r->rig);
	strcpy(r->top, "/tmp/visor-vsock-XXXXXX");
	assert_non_null(mkdtemp(r->top));
	snprintf(r->path, sizeof(r->path), "%s/v", r->top);
	r->loop = loop_create(&err);
	assert_non_null(r->loop);
	r->vsock = create(r, r->path);
	const struct virtio_pci_config pci = { r->rig.bus, RIG_DEVFN, virtio_vsock_device(r->vsock) };
	r->pci = virtio_pci_create(&pci, &err);
	assert_non_null(r->pci);
	device_reset((struct device *)r->pci);
	driver_find(&r->driver, &r->rig);
	assert_int_equal(io_read(&r->rig.mmio, r->driver.config, 8), CID);
	start(r);
}

static void end(struct vsock_rig *r)
{
	rig_run(&r->rig, false);
	board_end(r->pci);
	board_end(r->vsock);
	assert_int_equal(access(r->path, F_OK), -1);
	loop_destroy(r->loop);
	rig_destroy(&r->rig);
	assert_int_equal(rmdir(r->top), 0);
}

static void settle(struct vsock_rig *r)
{
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(loop_once(r->loop, 0, NULL), 0);
		rig_run(&r->rig, false);
	}
}

static void give_buffers(struct vsock_rig *r, unsigned count)
{
	for (; count--; r->given++) {
		const struct buffer buffer = { RX + r->given % 64 * RX_SIZE, RX_SIZE, true };
		queue_add(&r->queue[RECEIVE], &buffer, 1);
	}
	queue_notify(&r->queue[RECEIVE]);
	settle(r);
}

/* The next packet that the device has sent; false: none. */
static bool next(struct vsock_rig *r, struct packet *p)
{
	struct driver_queue *q = &r->queue[RECEIVE];
	if (queue_used(q) == q->used_seen)
		return false;
	unsigned index = q->used_seen;
	uint32_t size = queue_wait(q, NULL);
	uint64_t at = RX + index % 64 * RX_SIZE;
	assert_int_equal(guest_load(&r->rig, at, 8), 2);
	assert_int_equal(guest_load(&r->rig, at + 8, 8), CID);
	assert_int_equal(guest_load(&r->rig, at + 28, 2), 1);
	*p = (struct packet){
		(uint32_t)guest_load(&r->rig, at + 16, 4), (uint32_t)guest_load(&r->rig, at + 20, 4), (uint32_t)guest_load(&r->rig, at + 24, 4),
		(uint16_t)guest_load(&r->rig, at + 30, 2), (uint32_t)guest_load(&r->rig, at + 32, 4), (uint32_t)guest_load(&r->rig, at + 36, 4),
		(uint32_t)guest_load(&r->rig, at + 40, 4), at + 44,
	};
	assert_int_equal(size, 44 + p->len);
	return true;
}

static void expect(struct vsock_rig *r, unsigned op, uint32_t src_port, uint32_t dst_port, struct packet *p)
{
	struct packet unwanted;
	p = p ? p : &unwanted;
	assert_true(next(r, p));
	assert_int_equal(p->op, op);
	assert_int_equal(p->src_port, src_port);
	assert_int_equal(p->dst_port, dst_port);
}

static void expect_nothing(struct vsock_rig *r)
{
	struct packet p;
	assert_false(next(r, &p));
}

static void put(struct vsock_rig *r, unsigned op, uint32_t src_port, uint32_t dst_port, uint32_t length, uint32_t flags)
{
	guest_store(&r->rig, TX, CID, 8);
	guest_store(&r->rig, TX + 8, 2, 8);
	guest_store(&r->rig, TX + 16, src_port, 4);
	guest_store(&r->rig, TX + 20, dst_port, 4);
	guest_store(&r->rig, TX + 24, length, 4);
	guest_store(&r->rig, TX + 28, 1, 2);
	guest_store(&r->rig, TX + 30, op, 2);
	guest_store(&r->rig, TX + 32, flags, 4);
	guest_store(&r->rig, TX + 36, r->room, 4);
	guest_store(&r->rig, TX + 40, r->forwarded, 4);
	const struct buffer buffers[] = { { TX, 44, false }, { TX + 44, length, false } };
	queue_add(&r->queue[TRANSMIT], buffers, length ? 2 : 1);
	queue_notify(&r->queue[TRANSMIT]);
	settle(r);
}

static int host_socket(const struct vsock_rig *r, const char *suffix, int (*fn)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s%s", r->path, suffix);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(fn(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void unlink_listener(const struct vsock_rig *r, const char *suffix)
{
	char path[128];
	snprintf(path, sizeof(path), "%s%s", r->path, suffix);
	assert_int_equal(unlink(path), 0);
}

/* A connection of the guest's port 100 with a program on the host. */
static int connected(struct vsock_rig *r)
{
	int listener = host_socket(r, "_5", bind);
	assert_int_equal(listen(listener, 1), 0);
	give_buffers(r, 16);
	put(r, REQUEST, 100, 5, 0, 0);
	struct packet p;
	expect(r, RESPONSE, 5, 100, &p);
	assert_int_equal(p.buf_alloc, ROOM);
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	close(listener);
	unlink_listener(r, "_5");
	return fd;
}

static void guest_connects(void **state)
{
	struct vsock_rig r;
	struct packet p;
	char data[8192];
	make(&r);
	int fd = connected(&r);
	guest_write(&r.rig, TX + 44, "from the guest", 14);
	put(&r, RW, 100, 5, 14, 0);
	assert_int_equal(read(fd, data, sizeof(data)), 14);
	assert_memory_equal(data, "from the guest", 14);
	assert_int_equal(write(fd, "from the host", 13), 13);
	settle(&r);
	expect(&r, RW, 5, 100, &p);
	assert_int_equal(p.len, 13);
	assert_int_equal(p.fwd_cnt, 14);
	char got[13];
	memory_read(&r.rig.memory, p.data, got, 13);
	assert_memory_equal(got, "from the host", 13);
	/* The guest sends no more, but goes on reading; then the host's side ends. */
	put(&r, SHUTDOWN, 100, 5, 0, 2);
	assert_int_equal(read(fd, data, sizeof(data)), 0);
	assert_int_equal(write(fd, "last", 4), 4);
	close(fd);
	settle(&r);
	expect(&r, RW, 5, 100, &p);
	assert_int_equal(p.len, 4);
	expect(&r, SHUTDOWN, 5, 100, &p);
	assert_int_equal(p.flags & 2, 2);
	put(&r, SHUTDOWN, 100, 5, 0, 3);
	expect(&r, RST, 5, 100, NULL);
	expect_nothing(&r);
	/* It is no more. */
	put(&r, RW, 100, 5, 4, 0);
	expect(&r, RST, 5, 100, NULL);
	end(&r);
}

static void host_connects(void **state)
{
	struct vsock_rig r;
	struct packet p;
	char line[32] = { 0 };
	make(&r);
	give_buffers(&r, 16);
	int fd = host_socket(&r, "", connect);
	assert_int_equal(write(fd, "CONN", 4), 4);
	settle(&r);
	expect_nothing(&r);
	assert_int_equal(write(fd, "ECT 1234\nfirst words", 20), 20);
	settle(&r);
	assert_true(next(&r, &p));
	assert_int_equal(p.op, REQUEST);
	assert_int_equal(p.dst_port, 1234);
	expect_nothing(&r);
	uint32_t port = p.src_port;
	assert_int_equal(read(fd, line, sizeof(line)), -1);
	put(&r, RESPONSE, 1234, port, 0, 0);
	assert_true(read(fd, line, sizeof(line)) > 4);
	assert_int_equal(strtoul(line + 3, NULL, 10), port);
	expect(&r, RW, port, 1234, &p);
	assert_int_equal(p.len, 11);
	put(&r, RST, 1234, port, 0, 0);
	assert_int_equal(read(fd, line, sizeof(line)), 0);
	close(fd);
	/* One that the guest refuses gets no answer but an end; so does one that has no line. */
	fd = host_socket(&r, "", connect);
	assert_int_equal(write(fd, "connect 77\n", 11), 11);
	settle(&r);
	assert_true(next(&r, &p));
	put(&r, RST, 77, p.src_port, 0, 0);
	assert_int_equal(read(fd, line, sizeof(line)), 0);
	close(fd);
	static const char *const bad[] = { "CONNECT x\n", "GET / HTTP/1.1\n", "CONNECT 4294967296\n", "CONNECT 1 \n" };
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = host_socket(&r, "", connect);
		assert_int_equal(write(fd, bad[i], strlen(bad[i])), strlen(bad[i]));
		settle(&r);
		assert_true(read(fd, line, sizeof(line)) <= 0 && errno != EAGAIN);
		close(fd);
	}
	expect_nothing(&r);
	end(&r);
}

/* No more goes to the guest than it has room for, and no byte is lost. */
static void credit_of_the_guest(void **state)
{
	struct vsock_rig r;
	struct packet p;
	static char data[20000];
	make(&r);
	r.room = 5000;
	int fd = connected(&r);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 256);
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	settle(&r);
	uint32_t got = 0;
	for (unsigned updates = 0; got < sizeof(data); updates++) {
		uint32_t before = got;
		while (next(&r, &p)) {
			char piece[RX_SIZE];
			assert_int_equal(p.op, RW);
			memory_read(&r.rig.memory, p.data, piece, p.len);
			assert_memory_equal(piece, data + got, p.len);
			got += p.len;
			assert_true(got - r.forwarded <= 5000);
		}
		assert_true(got > before);
		assert_true(updates < 10);
		r.forwarded = got;
		give_buffers(&r, 4);
		put(&r, CREDIT_UPDATE, 100, 5, 0, 0);
	}
	expect_nothing(&r);
	close(fd);
	end(&r);
}

/* A host that does not read: the guest's bytes wait up to its credit; one that sends more is cut off. */
static void credit_of_the_host(void **state)
{
	struct vsock_rig r;
	struct packet p = { 0 };
	make(&r);
	int fd = connected(&r), small = 4096;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	uint64_t sent = 0, got = 0;
	uint32_t told = 0;
	bool any = true;
	while (any) {
		any = ROOM - (uint32_t)(sent - told) >= 60000;
		if (any) {
			for (unsigned i = 0; i < 60000; i += 8)
				guest_store(&r.rig, TX + 44 + i, sent + i, 8);
			put(&r, RW, 100, 5, 60000, 0);
			sent += 60000;
		}
		while (next(&r, &p)) {
			assert_int_equal(p.op, CREDIT_UPDATE);
			told = p.fwd_cnt;
			any = true;
			give_buffers(&r, 1);
		}
	}
	assert_true(sent > ROOM);
	/* A question is answered. */
	put(&r, CREDIT_REQUEST, 100, 5, 0, 0);
	expect(&r, CREDIT_UPDATE, 5, 100, &p);
	assert_true((uint32_t)(sent - p.fwd_cnt) <= ROOM);
	while (got < sent) {
		uint64_t words[512];
		ssize_t n = read(fd, words, sizeof(words));
		if (n < 0) {
			settle(&r);
			continue;
		}
		assert_int_equal(n % 8, 0);
		for (ssize_t i = 0; i < n / 8; i++)
			assert_int_equal(words[i], got + (uint64_t)i * 8);
		got += (uint64_t)n;
	}
	settle(&r);
	while (next(&r, &p))
		give_buffers(&r, 1);
	assert_int_equal(p.op, CREDIT_UPDATE);
	/* Now more than there is room for. */
	bool cut = false;
	for (unsigned i = 0; i < 20 && !cut; i++) {
		put(&r, RW, 100, 5, 60000, 0);
		while (next(&r, &p))
			cut |= p.op == RST;
		give_buffers(&r, 2);
	}
	assert_true(cut);
	close(fd);
	end(&r);
}

static void refusals(void **state)
{
	struct vsock_rig r;
	make(&r);
	/* Many answers and no buffers: the guest's packets wait, none is lost. */
	for (unsigned i = 0; i < 120; i++)
		put(&r, RW, 1000 + i, 1, 0, 0);
	put(&r, REQUEST, 5000, 9, 0, 0);
	for (unsigned i = 0; i < 40; i++)
		put(&r, RW, 2000 + i, 1, 0, 0);
	expect_nothing(&r);
	unsigned count = 0;
	struct packet p;
	for (unsigned i = 0; i < 30; i++) {
		give_buffers(&r, 8);
		while (next(&r, &p)) {
			assert_int_equal(p.op, RST);
			count++;
		}
	}
	assert_int_equal(count, 161);
	/* A packet from another address, for another host, of another type; a reset of nothing. */
	put(&r, RST, 1, 2, 0, 0);
	expect_nothing(&r);
	end(&r);
}

static void resets(void **state)
{
	struct vsock_rig r;
	char c;
	make(&r);
	int fd = connected(&r);
	start(&r);
	settle(&r);
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
	/* A second REQUEST for a connection that there is ends it. */
	fd = connected(&r);
	put(&r, REQUEST, 100, 5, 0, 0);
	expect(&r, RST, 5, 100, NULL);
	settle(&r);
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
	end(&r);
}

/* The guest of a machine that was loaded hears that its connections have gone. */
static void restored(void **state)
{
	struct vsock_rig r;
	char path[128];
	make(&r);
	const struct buffer buffer = { 0x300000, 8, true };
	queue_add(&r.queue[EVENT], &buffer, 1);
	queue_notify(&r.queue[EVENT]);
	settle(&r);
	assert_int_equal(queue_used(&r.queue[EVENT]), 0);
	int fd = connected(&r);
	snprintf(path, sizeof(path), "%s2", r.path);
	struct virtio_vsock *other = create(&r, path);
	guest_store(&r.rig, 0x300000, 0xffffffff, 4);
	assert_int_equal(board_restore(other, r.vsock), 0);
	((struct virtio_device *)r.vsock)->status = 0;
	settle(&r);
	assert_int_equal(queue_used(&r.queue[EVENT]), 1);
	assert_int_equal(guest_load(&r.rig, 0x300000, 4), 0);
	board_end(other);
	close(fd);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_connects), cmocka_unit_test(host_connects),     cmocka_unit_test(credit_of_the_guest),
		cmocka_unit_test(credit_of_the_host), cmocka_unit_test(refusals),      cmocka_unit_test(resets),
		cmocka_unit_test(restored),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
