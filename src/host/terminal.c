/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

static struct termios saved, raw;
static int terminal_fd = -1;
static volatile sig_atomic_t is_raw;

static const int fatal_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT, SIGSYS, SIGXCPU };

void terminal_restore(void)
{
	if (is_raw) {
		is_raw = 0;
		log_line_end = "\n";
		tcsetattr(terminal_fd, TCSANOW, &saved);
	}
}

/* SA_RESETHAND has put the default action back: the signal comes again when the handler returns, or by raise. */
static void on_fatal(int signo)
{
	int code = errno;
	terminal_restore();
	raise(signo);
	errno = code;
}

static void catch_fatal_signals(void)
{
	struct sigaction action = { .sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND | SA_ONSTACK }, old;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
		/* A signal that has a handler already is in use, by an engine or a sanitizer; they end by exit or abort. */
		if (sigaction(fatal_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(fatal_signals[i], &action, NULL);
	}
}

static void enter_raw(void)
{
	log_line_end = "\r\n";
	is_raw = 1;
}

int terminal_raw(int fd, struct error *err)
{
	static bool registered;
	if (tcgetattr(fd, &saved) < 0)
		return error_set(err, errno, "the terminal: cannot read its mode: %s", strerror(errno));
	raw = saved;
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (!registered) {
		atexit(terminal_restore);
		catch_fatal_signals();
		registered = true;
	}
	terminal_fd = fd;
	enter_raw();
	if (tcsetattr(fd, TCSADRAIN, &raw) == 0)
		return 0;
	is_raw = 0;
	terminal_fd = -1;
	return error_set(err, errno, "the terminal: cannot change its mode: %s", strerror(errno));
}

void terminal_resume(void)
{
	if (terminal_fd < 0 || tcgetpgrp(terminal_fd) != getpgrp())
		return;
	enter_raw();
	tcsetattr(terminal_fd, TCSADRAIN, &raw);
}

size_t terminal_filter(bool *escaped, const uint8_t *in, size_t size, uint8_t *out,
		       void (*command)(void *opaque, char key), void *opaque)
{
	size_t n = 0;
	for (size_t i = 0; i < size; i++) {
		if (!*escaped) {
			if (in[i] == TERMINAL_ESCAPE)
				*escaped = true;
			else
				out[n++] = in[i];
			continue;
		}
		*escaped = false;
		if (in[i] == TERMINAL_ESCAPE)
			out[n++] = in[i];
		else
			command(opaque, (char)in[i]);
	}
	return n;
}
