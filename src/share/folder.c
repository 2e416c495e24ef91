/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "share/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 100 /* the kernel asks for another one when folders move while it looks */

static int open_beneath(int fd, const char *path, uint64_t flags)
{
	const struct open_how how = {
		.flags = flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long result = -1;
	for (unsigned i = 0; i < TRIES && result < 0; i++) {
		result = syscall(SYS_openat2, fd, path, &how, sizeof(how));
		if (result < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	return result < 0 ? -errno : (int)result;
}

int folder_open(struct folder *folder, const char *path, bool read_only, struct error *err)
{
	*folder = (struct folder){ .read_only = read_only };
	folder->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder->fd < 0)
		return error_set(err, errno, "%s: cannot share it: %s; name a folder that you may read", path, strerror(errno));
	int test = open_beneath(folder->fd, ".", O_PATH | O_CLOEXEC);
	folder->by_component = test < 0;
	if (test >= 0)
		close(test);
	return 0;
}

void folder_close(struct folder *folder)
{
	if (folder->fd >= 0)
		close(folder->fd);
	folder->fd = -1;
}

bool folder_name_ok(const char *name)
{
	return *name && strlen(name) <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

char *folder_join(const char *path, const char *name)
{
	char *joined;
	return asprintf(&joined, *path ? "%s/%s" : "%s%s", path, name) < 0 ? NULL : joined;
}

char *folder_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	return strndup(path, slash ? (size_t)(slash - path) : 0);
}

const char *folder_last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Each name by itself, none of which may be a link: the same where the kernel is older than Linux 5.6, or a sandbox forbids openat2. */
static int reach_by_component(int fd, const char *path)
{
	char name[NAME_MAX + 1];
	int at = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	while (at >= 0 && *path) {
		size_t length = strcspn(path, "/");
		if (length > NAME_MAX) {
			close(at);
			return -ENAMETOOLONG;
		}
		memcpy(name, path, length);
		name[length] = 0;
		path += length;
		path += *path == '/';
		int next = folder_name_ok(name) ? openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (*path ? O_DIRECTORY : 0)) : -1;
		int error = folder_name_ok(name) ? errno : EINVAL;
		close(at);
		if (next < 0)
			return -error;
		at = next;
	}
	return at < 0 ? -errno : at;
}

int folder_reach(const struct folder *folder, const char *path)
{
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (folder->by_component)
		return reach_by_component(folder->fd, path);
	return open_beneath(folder->fd, *path ? path : ".", O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int folder_reach_parent(const struct folder *folder, const char *path)
{
	if (!*path)
		return -EINVAL;
	char *parent = folder_parent(path);
	int fd = parent ? folder_reach(folder, parent) : -ENOMEM;
	free(parent);
	return fd;
}

const char *folder_fd_name(int fd, char name[FOLDER_FD_NAME])
{
	snprintf(name, FOLDER_FD_NAME, "/proc/self/fd/%d", fd);
	return name;
}

int folder_reopen(int fd, int flags)
{
	char name[FOLDER_FD_NAME];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -EOPNOTSUPP;
	/* The name leads to the very file that was looked at, wherever it is by now. */
	int opened = open(folder_fd_name(fd, name), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return opened < 0 ? -errno : opened;
}
