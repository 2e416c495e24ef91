/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_SHARE_P9_SERVER_H
#define VISOR_SHARE_P9_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "share/folder.h"
#include "share/p9.h"

/* What the files share/p9_*.c share. */

#define P9_HEADER 7u             /* size[4] type[1] tag[2] */
#define P9_MSIZE_MAX (1u << 20)
#define P9_MSIZE_MIN 4096u
#define P9_MESSAGE_MAX 8192u     /* of a message or a reply without the data of read, write and readdir */
#define P9_NO_UID UINT32_MAX

/* Open flags of the protocol are those of Linux on x86. */
enum p9_fid_kind { FID_NAME, FID_OPEN, FID_XATTR_READ, FID_XATTR_WRITE };

/* The client's handle of a file. */
struct fid {
	struct fid *next;        /* in its bucket */
	uint32_t number, uid;
	char *path;              /* below the folder */
	size_t cost;             /* bytes that it takes */
	enum p9_fid_kind kind;
	dev_t dev;               /* which file it was when it was walked to */
	ino_t ino;
	mode_t mode;
	int fd;                  /* FID_OPEN */
	bool can_write;
	int64_t position;        /* of a folder's descriptor; negative: unknown */
	uint8_t *value;          /* of an extended attribute, or the list of names */
	char *attribute;         /* its name: FID_XATTR_WRITE */
	uint32_t value_size, value_done, attribute_flags;
};

/* A place in a message; reading or writing past its end makes it bad. */
struct cursor {
	uint8_t *data;
	uint32_t at, size;
	bool bad;
};

#define FID_BUCKETS 4096u

struct p9_server {
	struct folder folder;
	uint32_t msize;
	struct fid *fids[FID_BUCKETS];
	unsigned fid_count, open_count, open_max;
	size_t cost;
	dev_t root_dev;
	ino_t root_ino;
};

/* A message in work. */
struct p9_call {
	struct p9_server *server;
	const struct p9_request *request;
	struct cursor in, out;   /* after the headers */
	uint32_t payload;        /* bytes of data behind `out` in the reply, already in the client's buffers */
};

/* Handlers return 0 with the reply in call->out, or an errno value. */
typedef int p9_handler(struct p9_call *call);

/* --- p9_message.c --- */
uint64_t get(struct cursor *c, unsigned size);
/* A string of the message, ended by a zero that takes its successor's place; NULL when it is not there or has a zero inside: `bad`. */
const char *get_string(struct cursor *c);
void put(struct cursor *c, uint64_t value, unsigned size);
void put_string(struct cursor *c, const char *text, size_t length);
void put_qid(struct cursor *c, const struct p9_server *s, const struct stat *st);
uint64_t qid_path(const struct p9_server *s, dev_t dev, ino_t ino);
uint8_t qid_type(mode_t mode);

/* --- p9_fid.c --- */
struct fid *fid_find(struct p9_server *s, uint32_t number);
/* A new handle; takes `path` over, also when it fails. NULL: *error says why (the number is in use, too many). */
struct fid *fid_add(struct p9_server *s, uint32_t number, uint32_t uid, char *path, int *error);
/* 0 or an errno value of what its end has brought about. */
int fid_remove(struct p9_server *s, struct fid *fid);
void fids_clear(struct p9_server *s);
/* Another path for it; takes it over. */
void fid_set_path(struct p9_server *s, struct fid *fid, char *path);
void fid_note(struct fid *fid, const struct stat *st);
/* The file of a handle, with O_PATH or as it is open, to be closed by fid_done; negative errno. */
int fid_reach(struct p9_server *s, struct fid *fid, struct stat *st);
void fid_done(const struct fid *fid, int fd);
/* After the client has renamed a file: handles of it and of what is below it. */
void fids_renamed(struct p9_server *s, const char *from, const char *to);
/* The handle of the next field of the message; NULL: there is none. */
struct fid *call_fid(struct p9_call *call);

/* --- handlers --- */
p9_handler p9_version, p9_attach, p9_walk, p9_mkdir, p9_symlink, p9_mknod, p9_link, p9_rename, p9_renameat, p9_unlinkat, p9_remove,
	p9_readlink, p9_lcreate, p9_lopen, p9_read, p9_write, p9_readdir, p9_fsync, p9_lock, p9_getlock, p9_clunk, p9_getattr, p9_setattr,
	p9_statfs, p9_xattrwalk, p9_xattrcreate, p9_flush;

/* Makes a new file what the client asked for: mode, owner, group; fd: O_PATH or not. */
int p9_settle_new(struct p9_call *call, const struct fid *parent, int fd, mode_t mode, uint32_t gid);
/* Mode bits that a client may set: none by which a file of the host runs with its owner's rights. */
mode_t p9_safe_mode(mode_t mode, bool folder);
/* The value that a handle of an extended attribute has gathered. */
int p9_store_xattr(struct p9_server *s, const struct fid *fid);

/* One message, on the server's thread. */
void p9_serve(struct p9_server *s, struct p9_request *request);

#endif
