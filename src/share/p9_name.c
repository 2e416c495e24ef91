/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names: walking, making, renaming and removing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "share/p9_server.h"

#define WALK_MAX 16u

int p9_attach(struct p9_call *call)
{
	struct p9_server *s = call->server;
	uint32_t number = (uint32_t)get(&call->in, 4);
	get(&call->in, 4); /* afid: nobody must prove who he is */
	get_string(&call->in);
	const char *tree = get_string(&call->in);
	uint32_t uid = (uint32_t)get(&call->in, 4);
	struct stat st;
	int error = 0;
	if (call->in.bad)
		return EINVAL;
	if (*tree && strcmp(tree, "/"))
		return ENOENT;
	if (fstat(s->folder.fd, &st) < 0)
		return errno;
	struct fid *fid = fid_add(s, number, uid, strdup(""), &error);
	if (!fid)
		return error;
	fid_note(fid, &st);
	put_qid(&call->out, s, &st);
	return 0;
}

/* The path one name on, or NULL and *error. */
static char *step(const char *path, const char *name, int *error)
{
	char *next = NULL;
	*error = ENOMEM;
	if (!strcmp(name, ".."))
		next = folder_parent(path);
	else if (folder_name_ok(name))
		next = folder_join(path, name);
	else
		*error = strlen(name) > NAME_MAX ? ENAMETOOLONG : EINVAL;
	if (next && strlen(next) >= PATH_MAX) {
		free(next);
		next = NULL;
		*error = ENAMETOOLONG;
	}
	return next;
}

/* Goes as far as there are files; the number of steps taken, *path and *st where they led. */
static unsigned walk(struct p9_call *call, unsigned names, char **path, struct stat *st, int *error)
{
	struct p9_server *s = call->server;
	for (unsigned i = 0; i < names; i++) {
		const char *name = get_string(&call->in);
		struct stat found;
		*error = EINVAL;
		char *next = name ? step(*path, name, error) : NULL;
		int fd = next ? folder_reach(&s->folder, next) : -*error;
		*error = fd < 0 ? -fd : fstat(fd, &found) < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		if (*error) {
			free(next);
			return i;
		}
		free(*path);
		*path = next;
		*st = found;
		put_qid(&call->out, s, st);
	}
	return names;
}

static int walk_to(struct p9_call *call, struct fid *from, uint32_t number, char *path, const struct stat *st)
{
	struct p9_server *s = call->server;
	int error = 0;
	if (number == from->number) {
		if (from->kind != FID_NAME) {
			free(path);
			return EBADF;
		}
		fid_set_path(s, from, path);
		fid_note(from, st);
		return 0;
	}
	struct fid *fid = fid_add(s, number, from->uid, path, &error);
	if (fid)
		fid_note(fid, st);
	return error;
}

int p9_walk(struct p9_call *call)
{
	struct fid *from = call_fid(call);
	uint32_t number = (uint32_t)get(&call->in, 4);
	unsigned names = (unsigned)get(&call->in, 2);
	if (!from || call->in.bad || (number != from->number && fid_find(call->server, number)))
		return EBADF;
	if (names > WALK_MAX || from->kind == FID_XATTR_READ || from->kind == FID_XATTR_WRITE)
		return EINVAL;
	struct stat st = { .st_dev = from->dev, .st_ino = from->ino, .st_mode = from->mode };
	char *path = strdup(from->path);
	int error = 0;
	put(&call->out, names, 2);
	unsigned steps = path ? walk(call, names, &path, &st, &error) : 0;
	if (!path)
		return ENOMEM;
	if (steps == names)
		return walk_to(call, from, number, path, &st);
	free(path);
	if (!steps)
		return error;
	store_le16(call->out.data + P9_HEADER, (uint16_t)steps); /* the first ones, and no new handle */
	return 0;
}

/* --- making --- */

mode_t p9_safe_mode(mode_t mode, bool folder)
{
	return mode & (folder ? S_ISGID | S_ISVTX | 0777 : S_ISVTX | 0777);
}

/* Whoever is not root on the host keeps what the guest's users make; the guest's kernel judges their rights all the same. */
int p9_settle_new(struct p9_call *call, const struct fid *parent, int fd, mode_t mode, uint32_t gid)
{
	struct stat st;
	char name[FOLDER_FD_NAME];
	uid_t owner = parent->uid == P9_NO_UID ? (uid_t)-1 : parent->uid;
	if (fchownat(fd, "", owner, gid, AT_EMPTY_PATH) < 0 && errno != EPERM && errno != EINVAL)
		return errno;
	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISLNK(st.st_mode) && chmod(folder_fd_name(fd, name), p9_safe_mode(mode, S_ISDIR(st.st_mode))) < 0)
		return errno;
	return 0;
}

/* Settles a name that was made in `folder`, and answers with it. */
static int made(struct p9_call *call, const struct fid *parent, int folder, const char *name, mode_t mode, uint32_t gid)
{
	struct stat st;
	int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int error = fd < 0 ? errno : p9_settle_new(call, parent, fd, mode, gid);
	if (!error && fstat(fd, &st) < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	if (!error)
		put_qid(&call->out, call->server, &st);
	return error;
}

/* The folder in which `name` is to be made or removed: a descriptor, or a negative errno. */
static int change_in(struct p9_call *call, struct fid *fid, const char *name)
{
	if (!fid || call->in.bad)
		return -EBADF;
	if (!folder_name_ok(name))
		return strlen(name) > NAME_MAX ? -ENAMETOOLONG : -EINVAL;
	if (call->server->folder.read_only)
		return -EROFS;
	return fid->kind == FID_OPEN || fid->kind == FID_NAME ? fid_reach(call->server, fid, NULL) : -EBADF;
}

int p9_mkdir(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in);
	uint32_t mode = (uint32_t)get(&call->in, 4), gid = (uint32_t)get(&call->in, 4);
	int folder = change_in(call, fid, name);
	if (folder < 0)
		return -folder;
	int error = mkdirat(folder, name, 0700) < 0 ? errno : made(call, fid, folder, name, mode, gid);
	fid_done(fid, folder);
	return error;
}

int p9_symlink(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in), *target = get_string(&call->in);
	uint32_t gid = (uint32_t)get(&call->in, 4);
	int folder = change_in(call, fid, name);
	if (folder < 0)
		return -folder;
	int error = symlinkat(target, folder, name) < 0 ? errno : made(call, fid, folder, name, 0777, gid);
	fid_done(fid, folder);
	return error;
}

/* A device of the guest's would be one of the host's. */
int p9_mknod(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in);
	uint32_t mode = (uint32_t)get(&call->in, 4);
	get(&call->in, 8);
	uint32_t gid = (uint32_t)get(&call->in, 4);
	int folder = change_in(call, fid, name);
	if (folder < 0)
		return -folder;
	int error = EPERM;
	if (S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || !(mode & S_IFMT))
		error = mknodat(folder, name, (mode & S_IFMT) | 0600, 0) < 0 ? errno : made(call, fid, folder, name, mode, gid);
	fid_done(fid, folder);
	return error;
}

int p9_link(struct p9_call *call)
{
	struct fid *fid = call_fid(call), *file = call_fid(call);
	const char *name = get_string(&call->in);
	int folder = change_in(call, fid, name);
	if (folder < 0)
		return -folder;
	int from = file ? folder_reach_parent(&call->server->folder, file->path) : -EBADF;
	int error = from < 0 ? -from : 0;
	if (!error && linkat(from, folder_last_name(file->path), folder, name, 0) < 0)
		error = errno;
	if (from >= 0)
		close(from);
	fid_done(fid, folder);
	return error;
}

int p9_readlink(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	char target[PATH_MAX];
	if (!fid || fid->kind != FID_NAME)
		return EBADF;
	int fd = fid_reach(call->server, fid, NULL);
	if (fd < 0)
		return -fd;
	ssize_t length = readlinkat(fd, "", target, sizeof(target));
	int error = length < 0 ? errno == ENOENT ? EINVAL : errno : 0;
	fid_done(fid, fd);
	if (!error)
		put_string(&call->out, target, (size_t)length);
	return error;
}

/* --- renaming and removing --- */

static int rename_between(struct p9_call *call, struct fid *from, const char *name, struct fid *to, const char *new_name)
{
	int old_folder = change_in(call, from, name);
	int new_folder = old_folder < 0 ? old_folder : change_in(call, to, new_name);
	int error = new_folder < 0 ? -new_folder : 0;
	if (!error && renameat(old_folder, name, new_folder, new_name) < 0)
		error = errno;
	if (new_folder >= 0)
		fid_done(to, new_folder);
	if (old_folder >= 0)
		fid_done(from, old_folder);
	if (error)
		return error;
	char *old_path = folder_join(from->path, name), *new_path = folder_join(to->path, new_name);
	if (old_path && new_path)
		fids_renamed(call->server, old_path, new_path);
	free(old_path);
	free(new_path);
	return 0;
}

int p9_renameat(struct p9_call *call)
{
	struct fid *from = call_fid(call);
	const char *name = get_string(&call->in);
	struct fid *to = call_fid(call);
	const char *new_name = get_string(&call->in);
	return rename_between(call, from, name, to, new_name);
}

/* The older form: a handle of the file, not of its folder. */
int p9_rename(struct p9_call *call)
{
	struct p9_server *s = call->server;
	struct fid *fid = call_fid(call), *to = call_fid(call);
	const char *new_name = get_string(&call->in);
	if (!fid || !to || call->in.bad)
		return EBADF;
	if (!*fid->path)
		return EBUSY;
	char *name = strdup(folder_last_name(fid->path));
	struct fid parent = { .path = folder_parent(fid->path), .fd = -1, .kind = FID_NAME };
	int error = name && parent.path ? 0 : ENOMEM;
	int fd = error ? -1 : folder_reach(&s->folder, parent.path);
	struct stat st;
	if (!error && (fd < 0 || fstat(fd, &st) < 0))
		error = fd < 0 ? -fd : errno;
	if (fd >= 0)
		close(fd);
	if (!error) {
		fid_note(&parent, &st);
		error = rename_between(call, &parent, name, to, new_name);
	}
	free(parent.path);
	free(name);
	return error;
}

int p9_unlinkat(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	const char *name = get_string(&call->in);
	uint32_t flags = (uint32_t)get(&call->in, 4);
	int folder = change_in(call, fid, name);
	if (folder < 0)
		return -folder;
	int error = unlinkat(folder, name, flags & AT_REMOVEDIR ? AT_REMOVEDIR : 0) < 0 ? errno : 0;
	fid_done(fid, folder);
	return error;
}

static int remove_file(struct p9_server *s, const struct fid *fid)
{
	if (s->folder.read_only)
		return EROFS;
	int folder = folder_reach_parent(&s->folder, fid->path);
	if (folder < 0)
		return -folder;
	int error = unlinkat(folder, folder_last_name(fid->path), S_ISDIR(fid->mode) ? AT_REMOVEDIR : 0) < 0 ? errno : 0;
	close(folder);
	return error;
}

/* The handle goes in any case. */
int p9_remove(struct p9_call *call)
{
	struct fid *fid = call_fid(call);
	if (!fid)
		return EBADF;
	int error = fid->kind == FID_NAME || fid->kind == FID_OPEN ? remove_file(call->server, fid) : EBADF;
	fid_remove(call->server, fid);
	return error;
}
