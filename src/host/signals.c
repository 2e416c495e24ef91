/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Signals are the process's, so is this. */
static struct {
	int fd;
	struct loop *loop;
	void (*fn)(void *opaque, int signo);
	void *opaque;
} watch = { .fd = -1 };

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGTSTP);
	sigaddset(set, SIGCONT);
}

void signals_block(void)
{
	sigset_t set;
	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* A closed pipe and a file at its limit (ulimit -f) are errors of the writes that meet them. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void on_signal(void *opaque, uint32_t events)
{
	struct signalfd_siginfo info;
	while (read(watch.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		watch.fn(watch.opaque, (int)info.ssi_signo);
}

int signals_watch(struct loop *loop, void (*fn)(void *opaque, int signo), void *opaque, struct error *err)
{
	sigset_t set;
	signal_set(&set);
	watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch.fd < 0)
		return error_set(err, errno, "cannot receive signals: %s", strerror(errno));
	watch.loop = loop;
	watch.fn = fn;
	watch.opaque = opaque;
	if (loop_add(loop, watch.fd, EPOLLIN, on_signal, NULL, err) == 0)
		return 0;
	close(watch.fd);
	watch.fd = -1;
	return -1;
}

void signals_unwatch(void)
{
	if (watch.fd < 0)
		return;
	loop_remove(watch.loop, watch.fd);
	close(watch.fd);
	watch.fd = -1;
}
