/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Handles of the client. One that is not open is a path, looked up at each use, and the file that was there when it was walked to. A
 * file that has lost its name, or that another one has taken the place of, is still reached if some handle has it open: Linux asks by
 * any handle of a file for what it was told by the name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "share/p9_server.h"

#define COST_MAX (256u << 20) /* bytes of all handles of a client, which may make as many as it likes */

static struct fid **bucket(struct p9_server *s, uint32_t number)
{
	return &s->fids[number * 2654435761u >> 20 & (FID_BUCKETS - 1)];
}

struct fid *fid_find(struct p9_server *s, uint32_t number)
{
	struct fid *fid = *bucket(s, number);
	while (fid && fid->number != number)
		fid = fid->next;
	return fid;
}

struct fid *call_fid(struct p9_call *call)
{
	uint32_t number = (uint32_t)get(&call->in, 4);
	return call->in.bad ? NULL : fid_find(call->server, number);
}

static void set_cost(struct p9_server *s, struct fid *fid, size_t cost)
{
	s->cost += cost - fid->cost;
	fid->cost = cost;
}

struct fid *fid_add(struct p9_server *s, uint32_t number, uint32_t uid, char *path, int *error)
{
	struct fid *fid = NULL;
	if (path && fid_find(s, number))
		*error = EBADF;
	else if (!path || s->cost > COST_MAX || !(fid = calloc(1, sizeof(*fid))))
		*error = ENOMEM;
	if (!fid) {
		free(path);
		return NULL;
	}
	*fid = (struct fid){ .number = number, .uid = uid, .path = path, .fd = -1, .next = *bucket(s, number) };
	*bucket(s, number) = fid;
	s->fid_count++;
	set_cost(s, fid, sizeof(*fid) + strlen(path) + 64);
	return fid;
}

void fid_set_path(struct p9_server *s, struct fid *fid, char *path)
{
	free(fid->path);
	fid->path = path;
	set_cost(s, fid, sizeof(*fid) + strlen(path) + 64);
}

int fid_remove(struct p9_server *s, struct fid *fid)
{
	int error = 0;
	struct fid **at = bucket(s, fid->number);
	while (*at != fid)
		at = &(*at)->next;
	*at = fid->next;
	s->fid_count--;
	s->cost -= fid->cost;
	if (fid->kind == FID_XATTR_WRITE)
		error = p9_store_xattr(s, fid);
	if (fid->kind == FID_OPEN) {
		close(fid->fd);
		s->open_count--;
	}
	free(fid->value);
	free(fid->attribute);
	free(fid->path);
	free(fid);
	return error;
}

void fids_clear(struct p9_server *s)
{
	for (unsigned i = 0; i < FID_BUCKETS; i++)
		while (s->fids[i]) {
			if (s->fids[i]->kind == FID_XATTR_WRITE)
				s->fids[i]->kind = FID_NAME; /* what was not finished is not stored */
			fid_remove(s, s->fids[i]);
		}
}

void fid_note(struct fid *fid, const struct stat *st)
{
	fid->dev = st->st_dev;
	fid->ino = st->st_ino;
	fid->mode = st->st_mode;
}

static int same_file_opened(struct p9_server *s, const struct fid *fid)
{
	for (unsigned i = 0; i < FID_BUCKETS; i++)
		for (const struct fid *other = s->fids[i]; other; other = other->next)
			if (other->kind == FID_OPEN && other->dev == fid->dev && other->ino == fid->ino)
				return other->fd;
	return -1;
}

int fid_reach(struct p9_server *s, struct fid *fid, struct stat *st)
{
	struct stat unwanted;
	st = st ? st : &unwanted;
	if (fid->kind == FID_OPEN)
		return fstat(fid->fd, st) < 0 ? -errno : fid->fd;
	int fd = folder_reach(&s->folder, fid->path);
	int error = fd < 0 ? fd : fstat(fd, st) < 0 ? -errno : 0;
	if (error == 0 && st->st_ino == fid->ino && st->st_dev == fid->dev)
		return fd;
	int other = s->open_count ? same_file_opened(s, fid) : -1;
	if (other >= 0) {
		if (fd >= 0)
			close(fd);
		fd = dup(other);
		error = fd < 0 || fstat(fd, st) < 0 ? -errno : 0;
	} else if (error == 0) {
		fid_note(fid, st); /* somebody on the host has put another file there */
	}
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

void fid_done(const struct fid *fid, int fd)
{
	if (fd >= 0 && (fid->kind != FID_OPEN || fd != fid->fd))
		close(fd);
}

void fids_renamed(struct p9_server *s, const char *from, const char *to)
{
	size_t length = strlen(from);
	for (unsigned i = 0; i < FID_BUCKETS; i++)
		for (struct fid *fid = s->fids[i]; fid; fid = fid->next) {
			if (strncmp(fid->path, from, length) || (fid->path[length] && fid->path[length] != '/'))
				continue;
			char *path = fid->path[length] ? folder_join(to, fid->path + length + 1) : strdup(to);
			if (path)
				fid_set_path(s, fid, path);
		}
}
