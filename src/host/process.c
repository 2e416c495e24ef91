/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

#define MAX_LOG (64u << 20)

extern char **environ;

/* mke2fs and others are in folders that only root's PATH has. */
static void complete_path(void)
{
	const char *path = getenv("PATH");
	char *longer;
	if (path && strstr(path, "/usr/sbin"))
		return;
	if (asprintf(&longer, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin") < 0)
		return;
	setenv("PATH", longer, 1);
	free(longer);
}

bool process_exists(const char *program)
{
	complete_path();
	const char *at = getenv("PATH");
	char path[PATH_MAX];
	while (at && *at) {
		size_t length = strcspn(at, ":");
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)length, at, program) < (int)sizeof(path) && access(path, X_OK) == 0)
			return true;
		at += length + (at[length] == ':');
	}
	return false;
}

/* The last line that says anything. */
static void last_line(const char *log, char text[200])
{
	size_t size;
	cleanup_free char *all = log ? (char *)file_read(log, MAX_LOG, &size, NULL) : NULL;
	*text = 0;
	if (!all)
		return;
	while (size && (all[size - 1] == '\n' || all[size - 1] == '\r' || all[size - 1] == ' '))
		all[--size] = 0;
	const char *line = strrchr(all, '\n');
	snprintf(text, 200, ": %s", line ? line + 1 : all);
}

static int start(pid_t *pid, const char *const argv[], const char *log)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t defaults, none;
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGINT);
	sigaddset(&defaults, SIGQUIT);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (log)
		posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	else
		posix_spawn_file_actions_adddup2(&actions, 2, 1);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	int error = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return error;
}

int process_run(const char *const argv[], const char *log, struct error *err)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction interrupt, quit;
	char line[200];
	int status = 0;
	pid_t pid;
	complete_path();
	sigaction(SIGINT, &ignore, &interrupt);
	sigaction(SIGQUIT, &ignore, &quit);
	int error = start(&pid, argv, log);
	while (!error && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			error = errno;
	sigaction(SIGINT, &interrupt, NULL);
	sigaction(SIGQUIT, &quit, NULL);
	if (error)
		return error_set(err, error, "cannot run %s: %s", argv[0], strerror(error));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	last_line(log, line);
	if (WIFSIGNALED(status))
		return error_set(err, EINTR, "%s was ended by signal %d (%s)%s", argv[0], WTERMSIG(status), strsignal(WTERMSIG(status)), line);
	return error_set(err, EIO, "%s failed with status %d%s", argv[0], WEXITSTATUS(status), line);
}
