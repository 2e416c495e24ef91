/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs in a guest. vsock_peer connect PORT | listen PORT: one connection with the host; standard input goes there, and when that ends the
 * connection's sending half; what comes goes to standard output. listen says so on standard error when it is ready. many PORT N: N connections at
 * once, each sends its number as a line and must get it back.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static char buffer[65536];

static int fail(const char *what)
{
	fprintf(stderr, "vsock_peer: %s: %s\n", what, strerror(errno));
	return 1;
}

static int make(unsigned cid, unsigned port, int (*fn)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	return fd >= 0 && fn(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0)
			return -1;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Both ways at once: the other side may wait for us to read before it reads. */
static int relay(int fd)
{
	char out[65536];
	size_t at = 0, size = 0;
	int sending = 1, receiving = 1;
	while (sending || receiving) {
		struct pollfd p = { fd, (short)((receiving ? POLLIN : 0) | (sending ? POLLOUT : 0)), 0 };
		if (poll(&p, 1, -1) < 0)
			return fail("poll");
		if (receiving && p.revents & (POLLIN | POLLHUP | POLLERR)) {
			ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
			if (n < 0 && errno != EAGAIN)
				return fail("recv");
			if (n > 0 && write_all(1, buffer, (size_t)n) < 0)
				return fail("write");
			receiving = n != 0;
		}
		if (!sending || !(p.revents & POLLOUT))
			continue;
		if (at == size) {
			ssize_t n = read(0, out, sizeof(out));
			at = 0;
			size = n > 0 ? (size_t)n : 0;
		}
		if (!size) {
			shutdown(fd, SHUT_WR);
			sending = 0;
			continue;
		}
		ssize_t n = send(fd, out + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return fail("send");
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int many(unsigned port, int count)
{
	int *fds = calloc((size_t)count, sizeof(*fds));
	char line[32], got[32];
	for (int i = 0; i < count; i++)
		if ((fds[i] = make(VMADDR_CID_HOST, port, connect)) < 0)
			return fail("connect");
	for (int i = 0; i < count; i++) {
		int n = sprintf(line, "%d\n", i);
		if (write_all(fds[i], line, (size_t)n) < 0)
			return fail("write");
	}
	for (int i = count; i-- > 0;) {
		size_t n = (size_t)sprintf(line, "%d\n", i), have = 0;
		while (have < n) {
			ssize_t r = read(fds[i], got + have, n - have);
			if (r <= 0)
				return fail("read");
			have += (size_t)r;
		}
		if (memcmp(line, got, n))
			return fail("another line");
		close(fds[i]);
	}
	puts("all");
	return 0;
}

int main(int argc, char **argv)
{
	unsigned port = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	int fd = -1;
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "many"))
		return many(port, atoi(argv[3]));
	if (!strcmp(argv[1], "connect")) {
		fd = make(VMADDR_CID_HOST, port, connect);
	} else {
		int listener = make(VMADDR_CID_ANY, port, bind);
		if (listener < 0 || listen(listener, 8) < 0)
			return fail("listen");
		fprintf(stderr, "listens\n");
		fd = accept(listener, NULL, NULL);
		close(listener);
	}
	return fd < 0 ? fail(argv[1]) : relay(fd);
}
