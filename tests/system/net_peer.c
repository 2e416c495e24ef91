/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's end of network tests, static:
 *   net_peer udp PORT             sends datagrams back, prints "ready" first
 *   net_peer many HOST PORT N     N connections at once, each sends a line of its own and wants it back
 *   net_peer load HOST PORT up|down SECONDS   prints Mbit/s
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	inet_pton(AF_INET, host, &a.sin_addr);
	return a;
}

static int die(const char *what)
{
	perror(what);
	exit(1);
}

static int udp(const char *port)
{
	static char data[65536];
	struct sockaddr_in a = address("0.0.0.0", port), peer;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	puts("ready");
	fflush(stdout);
	for (;;) {
		socklen_t length = sizeof(peer);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&peer, &length);
		if (n >= 0)
			sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&peer, length);
	}
}

static int dial(const struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof(*a)))
		die("connect");
	return fd;
}

static int many(const char *host, const char *port, int n)
{
	struct sockaddr_in a = address(host, port);
	struct rlimit limit = { 4096, 4096 };
	setrlimit(RLIMIT_NOFILE, &limit);
	int *fds = calloc((size_t)n, sizeof(*fds));
	for (int i = 0; i < n; i++)
		fds[i] = dial(&a);
	for (int i = 0; i < n; i++)
		if (dprintf(fds[i], "line %d of its own\n", i) < 0)
			die("send");
	for (int i = 0; i < n; i++) {
		char want[64], got[64];
		int length = snprintf(want, sizeof(want), "line %d of its own\n", i), at = 0;
		while (at < length) {
			ssize_t part = read(fds[i], got + at, (size_t)(length - at));
			if (part <= 0)
				die("receive");
			at += (int)part;
		}
		if (memcmp(want, got, (size_t)length)) {
			printf("connection %d got another's data\n", i);
			return 1;
		}
	}
	printf("%d connections are good\n", n);
	return 0;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The other side sends, or takes, as much as it can. */
static int load(const char *host, const char *port, int up, double seconds)
{
	static char data[1 << 18];
	struct sockaddr_in a = address(host, port);
	int fd = dial(&a);
	double start = now(), bytes = 0;
	while (now() - start < seconds) {
		ssize_t n = up ? write(fd, data, sizeof(data)) : read(fd, data, sizeof(data));
		if (n <= 0)
			die("transfer");
		bytes += (double)n;
	}
	printf("%.0f Mbit/s\n", bytes * 8 / 1e6 / (now() - start));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "udp"))
		return udp(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "many"))
		return many(argv[2], argv[3], atoi(argv[4]));
	if (argc == 6 && !strcmp(argv[1], "load"))
		return load(argv[2], argv[3], !strcmp(argv[4], "up"), atof(argv[5]));
	return 2;
}
