/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel does not say who holds a lock of an open file description, but
 * /proc/PID/fdinfo/FD lists the locks of each descriptor.
 */
#define _GNU_SOURCE
#include "host/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/file.h"

static size_t read_text(int folder, const char *name, char *text, size_t room)
{
	cleanup_close int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, room - 1) : 0;
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static bool holds_lock(int process, const char *number, const struct stat *file)
{
	char name[300], text[1024];
	struct stat st;
	snprintf(name, sizeof(name), "fd/%s", number);
	if (fstatat(process, name, &st, 0) < 0 || st.st_dev != file->st_dev || st.st_ino != file->st_ino)
		return false;
	snprintf(name, sizeof(name), "fdinfo/%s", number);
	read_text(process, name, text, sizeof(text));
	return strstr(text, "\nlock:") != NULL;
}

static bool process_holds_lock(int process, const struct stat *file, int own_fd)
{
	int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
	bool found = false;
	if (!list) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	struct dirent *entry;
	while (!found && (entry = readdir(list)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != own_fd)
			found = holds_lock(process, entry->d_name, file);
	closedir(list);
	return found;
}

/* "process 1234 (visor run ...)"; arguments are separated by zeros. */
static void describe(int process, long pid, char *text, size_t room)
{
	char command[96];
	size_t n = read_text(process, "cmdline", command, sizeof(command));
	while (n && !command[n - 1])
		n--;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)command[i] < ' ')
			command[i] = ' ';
	snprintf(text, room, "process %ld%s%.*s%s", pid, n ? " (" : "", (int)n, command, n ? ")" : "");
}

bool host_lock_holder(int fd, char *text, size_t room)
{
	struct stat file;
	DIR *list = opendir("/proc");
	bool found = false;
	if (!list || fstat(fd, &file) < 0) {
		if (list)
			closedir(list);
		return false;
	}
	struct dirent *entry;
	while (!found && (entry = readdir(list))) {
		long pid = atol(entry->d_name);
		cleanup_close int process = pid > 0 ? openat(dirfd(list), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		found = process >= 0 && process_holds_lock(process, &file, pid == getpid() ? fd : -1);
		if (found)
			describe(process, pid, text, room);
	}
	closedir(list);
	return found;
}
