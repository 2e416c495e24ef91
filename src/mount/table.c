/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "mount/table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/util.h"
#include "host/process.h"

#define TABLE "/proc/self/mountinfo"

/* Spaces and such are \ and three octal digits. */
static void decode(char *text)
{
	char *to = text;
	for (; *text; to++)
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
			text += 4;
		} else {
			*to = *text++;
		}
	*to = 0;
}

bool mount_table_has(const char *folder, char *kind, size_t room)
{
	FILE *f = fopen(TABLE, "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	bool found = false;
	while (f && getline(&line, &size, f) > 0) {
		/* Number, parent, device, root, folder, options, more..., "-", kind. */
		char *field = line, *at = NULL, *dash = strstr(line, " - ");
		for (unsigned i = 0; i < 5 && field; i++)
			at = strsep(&field, " ");
		if (!field || !at || !dash)
			continue;
		decode(at);
		if (strcmp(at, folder))
			continue;
		found = true;
		snprintf(kind, room, "%.*s", (int)strcspn(dash + 3, " "), dash + 3);
	}
	if (f)
		fclose(f);
	return found;
}

int mount_table_watch(void)
{
	return open(TABLE, O_RDONLY | O_CLOEXEC);
}

/* Only fusermount3 may, which asks whether the mount is its caller's. */
static int remove_as_user(const char *folder, bool lazy, struct error *err)
{
	char log[] = "/tmp/visor-fusermount-XXXXXX";
	const char *const argv[] = { "fusermount3", lazy ? "-uz" : "-u", folder, NULL };
	if (!process_exists("fusermount3"))
		return error_set(err, ENOENT, "%s: users besides root unmount by fusermount3; install the package fuse3", folder);
	int fd = mkstemp(log);
	int rc = process_run(argv, fd < 0 ? NULL : log, err);
	if (rc < 0 && err && strstr(err->text, "busy"))
		err->code = EBUSY;
	if (fd >= 0) {
		close(fd);
		unlink(log);
	}
	return rc;
}

int mount_table_remove(const char *folder, bool lazy, struct error *err)
{
	if (umount2(folder, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno == EPERM)
		return remove_as_user(folder, lazy, err);
	return error_set(err, errno, "%s: cannot unmount it: %s", folder, strerror(errno));
}

char *mount_path(const char *folder, struct error *err)
{
	char *path = realpath(folder, NULL);
	if (path || errno != ENOTCONN) {
		if (!path)
			error_set(err, errno, "%s: cannot find it: %s", folder, strerror(errno));
		return path;
	}
	/* Nobody answers for the folder itself any more; what leads to it is in order. */
	cleanup_free char *copy = strdup(folder);
	size_t length = copy ? strlen(copy) : 0;
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = 0;
	char *slash = copy ? strrchr(copy, '/') : NULL;
	const char *name = slash ? slash + 1 : folder;
	if (slash)
		*slash = 0;
	cleanup_free char *parent = realpath(!slash ? "." : *copy ? copy : "/", NULL);
	if (!copy || !parent || asprintf(&path, "%s/%s", strcmp(parent, "/") ? parent : "", name) < 0) {
		error_set(err, ENOTCONN, "%s: cannot find it: %s", folder, strerror(ENOTCONN));
		return NULL;
	}
	return path;
}
