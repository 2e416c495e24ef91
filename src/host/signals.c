/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/*
 * A thread waits for them and passes their numbers on through a pipe. A signalfd would be simpler, but the host wakes who
 * waits for one at every signal of the process, and engines use SIGSEGV much.
 */
static struct {
	int pipe[2];
	pthread_t thread;
	_Atomic bool ending;
	struct loop *loop;
	void (*fn)(void *opaque, int signo);
	void *opaque;
} watch = { .pipe = { -1, -1 } }; /* signals are the process's, so is this */

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

static void *wait_for_signals(void *opaque)
{
	sigset_t set;
	int number;
	signal_set(&set);
	while (sigwait(&set, &number) == 0 && !atomic_load(&watch.ending)) {
		uint8_t byte = (uint8_t)number;
		while (write(watch.pipe[1], &byte, 1) < 0 && errno == EINTR)
			;
	}
	return NULL;
}

static void on_signal(void *opaque, uint32_t events)
{
	uint8_t number;
	while (read(watch.pipe[0], &number, 1) == 1)
		watch.fn(watch.opaque, number);
}

static void close_pipe(void)
{
	for (unsigned i = 0; i < 2; i++) {
		if (watch.pipe[i] >= 0)
			close(watch.pipe[i]);
		watch.pipe[i] = -1;
	}
}

int signals_watch(struct loop *loop, void (*fn)(void *opaque, int signo), void *opaque, struct error *err)
{
	int code = pipe2(watch.pipe, O_CLOEXEC | O_NONBLOCK) < 0 ? errno : 0;
	watch.loop = loop;
	watch.fn = fn;
	watch.opaque = opaque;
	atomic_store(&watch.ending, false);
	if (!code && loop_add(loop, watch.pipe[0], EPOLLIN, on_signal, NULL, err) < 0) {
		close_pipe();
		return -1;
	}
	if (!code && (code = pthread_create(&watch.thread, NULL, wait_for_signals, NULL)))
		loop_remove(loop, watch.pipe[0]);
	if (!code)
		return 0;
	close_pipe();
	return error_set(err, code, "cannot receive signals: %s", strerror(code));
}

void signals_unwatch(void)
{
	if (watch.pipe[0] < 0)
		return;
	atomic_store(&watch.ending, true);
	pthread_kill(watch.thread, SIGHUP);
	pthread_join(watch.thread, NULL);
	loop_remove(watch.loop, watch.pipe[0]);
	close_pipe();
}
