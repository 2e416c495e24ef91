/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

#define SUFFIX ".sock"

static int rundir_path(char *path, size_t room, struct error *err)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;
	if (xdg && *xdg == '/')
		n = snprintf(path, room, "%s/visor", xdg);
	else if (geteuid() == 0)
		n = snprintf(path, room, "/run/visor");
	else
		n = snprintf(path, room, "/tmp/visor-%u", (unsigned)geteuid());
	if (n < 0 || (size_t)n >= room)
		return error_set(err, ENAMETOOLONG, "XDG_RUNTIME_DIR: the path is too long; set a shorter one");
	return 0;
}

int rundir_open(struct error *err)
{
	char path[PATH_MAX];
	struct stat st;
	if (rundir_path(path, sizeof(path), err) < 0)
		return -1;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "%s: cannot make the run-time directory: %s; set XDG_RUNTIME_DIR to a directory of yours",
				 path, strerror(errno));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot open the run-time directory: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 077))
		return fd;
	close(fd);
	return error_set(err, EPERM,
			 "%s: the run-time directory is open to other users; remove it, or 'chmod 700' it if it is yours", path);
}

int rundir_file_path(const char *file, char *path, size_t room, struct error *err)
{
	int fd = rundir_open(err);
	if (fd < 0 || rundir_path(path, room, err) < 0)
		return -1;
	close(fd);
	size_t length = strlen(path);
	if (snprintf(path + length, room - length, "/%s", file) >= (int)(room - length))
		return error_set(err, ENAMETOOLONG, "XDG_RUNTIME_DIR: the path is too long; set a shorter one");
	return 0;
}

bool rundir_name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t length = strlen(name);
	if (!length || length > 63 || !strchr(first, name[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr(first, name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

/* By way of /proc: the run-time directory's path may be longer than sun_path has room for. */
static struct sockaddr_un socket_address(int directory, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%.63s" SUFFIX, directory, name);
	return address;
}

static int new_socket(struct error *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 ? fd : error_set(err, errno, "cannot make a UNIX socket: %s", strerror(errno));
}

static int connect_in(int directory, const char *name, struct error *err)
{
	struct sockaddr_un address = socket_address(directory, name);
	int fd = new_socket(err);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int code = errno == ECONNREFUSED ? ENOENT : errno;
	close(fd);
	if (code == ENOENT)
		return error_set(err, ENOENT, "%s: no machine of that name is running; 'visor list' shows those that are", name);
	return error_set(err, code, "%s: cannot connect to the machine: %s", name, strerror(code));
}

static int check_name(const char *name, struct error *err)
{
	return rundir_name_ok(name) ? 0 :
		error_set(err, EINVAL, "'%s' cannot be a machine's name; use up to 63 letters, digits, '-', '_' and '.'", name);
}

int rundir_connect(const char *name, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	cleanup_close int directory = rundir_open(err);
	return directory < 0 ? -1 : connect_in(directory, name, err);
}

int rundir_listen(const char *name, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	/* The lock goes with the descriptor: two machines of one name that start together cannot both find the name free. */
	cleanup_close int directory = rundir_open(err);
	if (directory < 0)
		return -1;
	if (flock(directory, LOCK_EX) < 0)
		return error_set(err, errno, "cannot lock the run-time directory: %s", strerror(errno));
	int other = connect_in(directory, name, NULL);
	if (other >= 0) {
		close(other);
		return error_set(err, EADDRINUSE, "%s: a machine of that name is running; choose another --name, or stop it", name);
	}
	struct sockaddr_un address = socket_address(directory, name);
	int fd = new_socket(err);
	if (fd < 0)
		return -1;
	unlink(address.sun_path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 16) == 0)
		return fd;
	error_set(err, errno, "%s: cannot make the control socket: %s", name, strerror(errno));
	close(fd);
	return -1;
}

void rundir_unlink(const char *name)
{
	cleanup_close int directory = rundir_open(NULL);
	struct sockaddr_un address = socket_address(directory, name);
	if (directory >= 0)
		unlink(address.sun_path);
}

static int is_socket(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name), suffix = strlen(SUFFIX);
	return length > suffix && !strcmp(entry->d_name + length - suffix, SUFFIX);
}

int rundir_each(void (*fn)(void *opaque, const char *name), void *opaque, struct error *err)
{
	struct dirent **entries;
	cleanup_close int directory = rundir_open(err);
	if (directory < 0)
		return -1;
	int count = scandirat(directory, ".", &entries, is_socket, alphasort);
	if (count < 0)
		return error_set(err, errno, "cannot read the run-time directory: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		char *name = entries[i]->d_name;
		struct error why;
		name[strlen(name) - strlen(SUFFIX)] = 0;
		flock(directory, LOCK_EX); /* not between another's bind and listen */
		int fd = rundir_name_ok(name) ? connect_in(directory, name, &why) : -1;
		if (fd < 0 && rundir_name_ok(name) && why.code == ENOENT)
			unlink(socket_address(directory, name).sun_path);
		flock(directory, LOCK_UN);
		if (fd >= 0) {
			close(fd);
			fn(opaque, name);
		}
		free(entries[i]);
	}
	free(entries);
	return 0;
}
