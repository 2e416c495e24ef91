/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "host/terminal.h"
#include "host/writer.h"

#define INPUT_ROOM 65536u /* a large paste; a terminal's keys beyond it are lost, so that the escape key always works */
#define READ_SIZE 4096u

struct channel {
	char *name;
	int in, out; /* -1: none */
	bool own_fds, is_terminal, escaped, watching, started;
	struct writer *writer;
	struct loop *loop;
	const struct channel_ops *ops;
	void *opaque;
	uint8_t *pending; /* read and not yet taken by the guest */
	size_t pending_size;
	/* Posted work holds a reference, since the loop may run it late. */
	atomic_uint references;
	atomic_bool ready_posted, busy, busy_posted;
	bool told_busy;
};

static void unref(struct channel *c)
{
	if (atomic_fetch_sub(&c->references, 1) != 1)
		return;
	free(c->pending);
	free(c->name);
	free(c);
}

static void post(struct channel *c, void (*fn)(void *))
{
	atomic_fetch_add(&c->references, 1);
	loop_post(c->loop, fn, c);
}

static void do_busy(void *arg)
{
	struct channel *c = arg;
	atomic_store(&c->busy_posted, false);
	bool busy = atomic_load(&c->busy);
	if (c->started && c->ops->busy && busy != c->told_busy) {
		c->told_busy = busy;
		c->ops->busy(c->opaque, busy);
	}
	unref(c);
}

static void on_busy(void *opaque, bool busy)
{
	struct channel *c = opaque;
	atomic_store(&c->busy, busy);
	if (c->loop && !atomic_exchange(&c->busy_posted, true))
		post(c, do_busy);
}

static int open_pipes(struct channel *c, const char *path, struct error *err)
{
	cleanup_free char *in = NULL, *out = NULL;
	if (asprintf(&in, "%s.in", path) < 0 || asprintf(&out, "%s.out", path) < 0)
		return error_set(err, ENOMEM, "out of memory");
	/* For both directions, so that neither open waits for the other side nor its end closes ours. */
	c->in = open(in, O_RDWR | O_CLOEXEC);
	if (c->in < 0)
		return error_set(err, errno, "%s: cannot open it: %s; make it with mkfifo", in, strerror(errno));
	c->out = open(out, O_RDWR | O_CLOEXEC);
	if (c->out < 0)
		return error_set(err, errno, "%s: cannot open it: %s; make it with mkfifo", out, strerror(errno));
	return 0;
}

int channel_check(const char *spec, struct error *err)
{
	if (!strcmp(spec, "none") || !strcmp(spec, "stdio"))
		return 0;
	if ((!strncmp(spec, "pipe:", 5) || !strncmp(spec, "file:", 5)) && spec[5])
		return 0;
	return error_set(err, EINVAL, "'%s' is no place for a console; write stdio, none, file:PATH or pipe:PATH", spec);
}

static int open_spec(struct channel *c, const char *spec, struct error *err)
{
	if (channel_check(spec, err) < 0)
		return -1;
	if (!strcmp(spec, "none"))
		return 0;
	if (!strcmp(spec, "stdio")) {
		c->in = STDIN_FILENO;
		c->out = STDOUT_FILENO;
		c->is_terminal = isatty(STDIN_FILENO);
		return 0;
	}
	c->own_fds = true;
	if (!strncmp(spec, "pipe:", 5))
		return open_pipes(c, spec + 5, err);
	c->out = open(spec + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	return c->out >= 0 ? 0 : error_set(err, errno, "%s: cannot write it: %s", spec + 5, strerror(errno));
}

struct channel *channel_open(const char *spec, struct error *err)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c) {
		error_set(err, ENOMEM, "no memory for a console");
		return NULL;
	}
	c->in = c->out = -1;
	atomic_init(&c->references, 1);
	c->name = strdup(spec);
	c->pending = malloc(INPUT_ROOM);
	if (!c->name || !c->pending)
		error_set(err, ENOMEM, "no memory for a console");
	else if (open_spec(c, spec, err) == 0 && (c->out < 0 || (c->writer = writer_create(c->out, on_busy, c, err))))
		return c;
	channel_close(c, NULL);
	return NULL;
}

static void deliver(struct channel *c)
{
	size_t taken = c->pending_size ? c->ops->input(c->opaque, c->pending, c->pending_size) : 0;
	taken = MIN(taken, c->pending_size);
	memmove(c->pending, c->pending + taken, c->pending_size - taken);
	c->pending_size -= taken;
	/* A pipe waits until the guest has taken what there is; a terminal is always read, for the escape key. */
	if (c->watching && !c->is_terminal)
		loop_modify(c->loop, c->in, c->pending_size ? 0 : EPOLLIN, NULL);
}

static void end_input(struct channel *c)
{
	if (c->watching)
		loop_remove(c->loop, c->in);
	c->watching = false;
}

static void on_command(void *opaque, char key)
{
	struct channel *c = opaque;
	c->ops->command(c->opaque, key);
}

static void on_input(void *opaque, uint32_t events)
{
	struct channel *c = opaque;
	uint8_t buffer[READ_SIZE];
	ssize_t n = read(c->in, buffer, sizeof(buffer));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		end_input(c);
		return;
	}
	size_t size = (size_t)n;
	if (c->is_terminal && c->ops->command)
		size = terminal_filter(&c->escaped, buffer, size, buffer, on_command, c);
	size = MIN(size, INPUT_ROOM - c->pending_size);
	memcpy(c->pending + c->pending_size, buffer, size);
	c->pending_size += size;
	if (c->started) /* a command may have stopped the channel */
		deliver(c);
}

int channel_start(struct channel *c, struct loop *loop, const struct channel_ops *ops, void *opaque, struct error *err)
{
	c->ops = ops;
	c->opaque = opaque;
	c->loop = loop;
	c->started = true;
	if (atomic_load(&c->busy))
		on_busy(c, true);
	if (c->in < 0)
		return 0;
	if (c->is_terminal && terminal_raw(c->in, err) < 0)
		return -1;
	if (loop_add(loop, c->in, EPOLLIN, on_input, c, err) < 0)
		return error_prefix(err, "console %s: cannot read its input", c->name);
	c->watching = true;
	return 0;
}

void channel_write(struct channel *c, const uint8_t *data, size_t size)
{
	if (c->writer)
		writer_put(c->writer, data, size);
}

static void do_ready(void *arg)
{
	struct channel *c = arg;
	atomic_store(&c->ready_posted, false);
	if (c->started)
		deliver(c);
	unref(c);
}

void channel_ready(struct channel *c)
{
	if (c->loop && !atomic_exchange(&c->ready_posted, true))
		post(c, do_ready);
}

void channel_stop(struct channel *c)
{
	end_input(c);
	c->started = false;
}

int channel_close(struct channel *c, struct error *err)
{
	if (!c)
		return 0;
	int code = writer_destroy(c->writer);
	c->writer = NULL;
	if (c->is_terminal)
		terminal_restore();
	if (c->own_fds && c->in >= 0)
		close(c->in);
	if (c->own_fds && c->out >= 0)
		close(c->out);
	int result = 0;
	/* A reader that went away on purpose (visor | head) is no failure of the machine. */
	if (code && code != EPIPE)
		result = error_set(err, code, "console %s: output was lost: %s", c->name ? c->name : "", strerror(code));
	unref(c);
	return result;
}
