/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "share/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define GREETING_MAX 32u  /* bytes of "CONNECT PORT\n" */
#define GREETERS_MAX 64u  /* that have not said their line yet */

struct stream {
	struct streams *streams; /* while it greets, or is somebody's */
	struct loop *loop;
	int fd;
	uint32_t watched;
	void *_Atomic owner;
	bool greeting;
	struct stream *next;     /* of those that greet */
};

struct streams {
	struct loop *loop;
	struct streams_ops ops;
	char *name;              /* of the socket, in its folder */
	int folder, listener;
	struct stream *greeters;
	unsigned greeter_count;
};

/* By way of /proc: the path may be longer than sun_path has room for. */
static bool address(const struct streams *s, const char *suffix, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s%s", s->folder, s->name, suffix);
	return n > 0 && (size_t)n < sizeof(a->sun_path);
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* --- streams --- */

static void free_stream(void *opaque)
{
	struct stream *stream = opaque;
	loop_remove(stream->loop, stream->fd);
	close(stream->fd);
	free(stream);
}

static void forget_greeter(struct stream *stream)
{
	struct stream **at = &stream->streams->greeters;
	while (*at && *at != stream)
		at = &(*at)->next;
	if (*at) {
		*at = stream->next;
		stream->streams->greeter_count--;
	}
	stream->greeting = false;
}

void stream_close(struct stream *stream)
{
	atomic_store(&stream->owner, NULL);
	loop_post(stream->loop, free_stream, stream);
}

/* The line of a greeter, no byte more: what follows is for the guest. 1: it is there, 0: not yet, -1: it is none. */
static int read_greeting(struct stream *stream, uint32_t *port)
{
	char line[GREETING_MAX + 1], *rest;
	ssize_t n = recv(stream->fd, line, GREETING_MAX, MSG_PEEK);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	line[n] = 0;
	char *end = memchr(line, '\n', (size_t)n);
	if (!end)
		return n == 0 || n == GREETING_MAX ? -1 : 0;
	*end = 0;
	if (strncasecmp(line, "connect ", 8) || line[8] < '0' || line[8] > '9')
		return -1;
	unsigned long long number = strtoull(line + 8, &rest, 10);
	if (rest != end || number > UINT32_MAX)
		return -1;
	*port = (uint32_t)number;
	return recv(stream->fd, line, (size_t)(end - line) + 1, 0) < 0 ? -1 : 1;
}

static void greet(struct stream *stream)
{
	uint32_t port;
	struct streams *s = stream->streams;
	int result = read_greeting(stream, &port);
	if (result == 0)
		return;
	forget_greeter(stream);
	stream_watch(stream, false, false);
	if (result > 0 && s->ops.accepted)
		s->ops.accepted(s->ops.opaque, stream, port);
	if (!stream_owner(stream))
		free_stream(stream);
}

static void on_ready(void *opaque, uint32_t events)
{
	struct stream *stream = opaque;
	if (stream->greeting)
		greet(stream);
	else if (stream_owner(stream))
		stream->streams->ops.ready(stream->streams->ops.opaque, stream);
}

static struct stream *add_stream(struct streams *s, int fd, uint32_t events)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	if (stream)
		*stream = (struct stream){ .streams = s, .loop = s->loop, .fd = fd, .watched = events };
	if (stream && (!events || loop_add(s->loop, fd, events, on_ready, stream, NULL) == 0))
		return stream;
	free(stream);
	close(fd);
	return NULL;
}

static void on_connection(void *opaque, uint32_t events)
{
	struct streams *s = opaque;
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (s->greeter_count == GREETERS_MAX) { /* the oldest, which is the last, has had its time */
		struct stream *oldest = s->greeters;
		while (oldest->next)
			oldest = oldest->next;
		forget_greeter(oldest);
		free_stream(oldest);
	}
	struct stream *stream = add_stream(s, fd, EPOLLIN);
	if (!stream)
		return;
	stream->greeting = true;
	stream->next = s->greeters;
	s->greeters = stream;
	s->greeter_count++;
}

struct stream *stream_connect(struct streams *s, uint32_t port)
{
	char suffix[16];
	struct sockaddr_un a;
	snprintf(suffix, sizeof(suffix), "_%u", port);
	int fd = address(s, suffix, &a) ? new_socket() : -1;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return add_stream(s, fd, 0);
	if (fd >= 0)
		close(fd);
	return NULL;
}

void stream_set_owner(struct stream *stream, void *owner)
{
	atomic_store(&stream->owner, owner);
}

void *stream_owner(const struct stream *stream)
{
	return atomic_load(&stream->owner);
}

void stream_greet(struct stream *stream, uint32_t number)
{
	char line[32];
	int length = snprintf(line, sizeof(line), "OK %u\n", number);
	/* Nothing was written to it yet: there is room. A program that has gone is found by the next read. */
	if (send(stream->fd, line, (size_t)length, MSG_NOSIGNAL) != length)
		log_debug("vsock: a program has gone before the guest answered");
}

ssize_t stream_read(struct stream *stream, const struct iovec *iov, unsigned count)
{
	ssize_t n = readv(stream->fd, iov, (int)MIN(count, (unsigned)IOV_MAX));
	return n < 0 ? errno == EINTR ? -EAGAIN : -errno : n;
}

ssize_t stream_write(struct stream *stream, const struct iovec *iov, unsigned count)
{
	const struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = MIN(count, (unsigned)IOV_MAX) };
	ssize_t n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
	return n < 0 ? errno == EINTR ? -EAGAIN : -errno : n;
}

void stream_watch(struct stream *stream, bool readable, bool writable)
{
	uint32_t events = (readable ? EPOLLIN | EPOLLRDHUP : 0) | (writable ? EPOLLOUT : 0);
	if (events == stream->watched)
		return;
	/* Errors and ends come even if nothing is asked for: a descriptor that nobody wants to hear of is not looked at. */
	bool was = stream->watched, now = events;
	stream->watched = events;
	if (was && now)
		loop_modify(stream->loop, stream->fd, events, NULL);
	else if (was)
		loop_remove(stream->loop, stream->fd);
	else
		loop_add(stream->loop, stream->fd, events, on_ready, stream, NULL);
}

void stream_shut(struct stream *stream)
{
	shutdown(stream->fd, SHUT_WR);
}

/* --- the socket --- */

static int split_path(struct streams *s, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	s->name = strdup(name);
	s->folder = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	int code = errno;
	free(folder);
	if (s->folder < 0 || !s->name)
		return error_set(err, code, "%s: cannot reach the folder of the socket: %s", path, strerror(code));
	return 0;
}

static int listen_at(struct streams *s, const char *path, struct error *err)
{
	struct sockaddr_un a;
	struct stat st;
	if (!*s->name || !address(s, "_4294967295", &a) || !address(s, "", &a))
		return error_set(err, ENAMETOOLONG, "%s: cannot be the socket's name; use a shorter one", path);
	int probe = new_socket();
	bool answered = probe >= 0 && connect(probe, (struct sockaddr *)&a, sizeof(a)) == 0;
	if (probe >= 0)
		close(probe);
	if (answered)
		return error_set(err, EADDRINUSE, "%s: another program answers there; name another socket", path);
	if (fstatat(s->folder, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
		unlinkat(s->folder, s->name, 0);
	s->listener = new_socket();
	mode_t mask = umask(077);
	int bound = s->listener < 0 ? -1 : bind(s->listener, (struct sockaddr *)&a, sizeof(a));
	int code = errno;
	umask(mask);
	if (bound < 0 || listen(s->listener, 64) < 0)
		return error_set(err, bound < 0 ? code : errno, "%s: cannot make the socket: %s", path, strerror(bound < 0 ? code : errno));
	return loop_add(s->loop, s->listener, EPOLLIN, on_connection, s, err);
}

struct streams *streams_create(const char *path, struct loop *loop, struct error *err)
{
	struct streams *s = calloc(1, sizeof(*s));
	if (!s) {
		error_set(err, ENOMEM, "out of memory for vsock");
		return NULL;
	}
	s->loop = loop;
	s->folder = s->listener = -1;
	if (split_path(s, path, err) < 0 || listen_at(s, path, err) < 0) {
		streams_destroy(s);
		return NULL;
	}
	return s;
}

void streams_set_ops(struct streams *streams, const struct streams_ops *ops)
{
	streams->ops = *ops;
}

void streams_destroy(struct streams *s)
{
	while (s->greeters) {
		struct stream *stream = s->greeters;
		forget_greeter(stream);
		free_stream(stream);
	}
	if (s->listener >= 0) {
		loop_remove(s->loop, s->listener);
		close(s->listener);
		unlinkat(s->folder, s->name, 0);
	}
	if (s->folder >= 0)
		close(s->folder);
	free(s->name);
	free(s);
}
