/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "virtio_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dev/virtio/p9.h"
#include "p9_client.h"

#define NOFID (~0u)
#define ROOT 1u

/* /tmp/visor-p9-XXXXXX/ has `in`, which is shared, and `out`, which is not. */
struct fixture {
	char top[64], in[80];
	struct p9_client client;
};

static void on_worker(void *opaque, void (*fn)(void *), void *arg)
{
	fn(arg);
}

static void put_file(const char *folder, const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct p9_client *start(struct fixture *f, bool read_only)
{
	struct error err = { 0 };
	const struct p9_config config = { .path = f->in, .read_only = read_only, .worker = { on_worker, NULL } };
	f->client.p9 = p9_create(&config, &err);
	assert_non_null(f->client.p9);
	assert_int_equal(p9_call(&f->client, TATTACH, "44ss4", ROOT, NOFID, "root", "", 0), EPROTO);
	assert_int_equal(p9_call(&f->client, TVERSION, "4s", 65536, "9P2000.L"), 0);
	assert_int_equal(load_le32(f->client.reply + 7), 65536);
	assert_int_equal(p9_call(&f->client, TATTACH, "44ss4", ROOT, NOFID, "root", "", NOFID), 0);
	return &f->client;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[128];
	strcpy(f->top, "/tmp/visor-p9-XXXXXX");
	assert_non_null(mkdtemp(f->top));
	snprintf(f->in, sizeof(f->in), "%s/in", f->top);
	assert_int_equal(mkdir(f->in, 0755), 0);
	snprintf(path, sizeof(path), "%s/out", f->top);
	assert_int_equal(mkdir(path, 0755), 0);
	put_file(path, "secret", "secret");
	put_file(f->in, "file", "some text");
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->client.p9)
		p9_destroy(f->client.p9);
	nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static int walk1(struct p9_client *c, uint32_t from, uint32_t to, const char *name)
{
	return p9_call(c, TWALK, "442s", from, to, 1, name);
}

static uint32_t read_text(struct p9_client *c, uint32_t fid, uint64_t offset, uint32_t count)
{
	assert_int_equal(p9_call(c, TREAD, "484", fid, offset, count), 0);
	return load_le32(c->reply + 7);
}

static void files(void **state)
{
	struct p9_client *c = start(*state, false);
	assert_int_equal(walk1(c, ROOT, 2, "file"), 0);
	assert_int_equal(p9_call(c, TGETATTR, "48", 2, 0x7ffull), 0);
	assert_int_equal(load_le64(c->reply + 56), 9); /* the size */
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDWR), 0);
	assert_int_equal(read_text(c, 2, 5, 100), 4);
	assert_memory_equal(c->reply + 11, "text", 4);
	assert_int_equal(c->reply[15], 0xee);
	assert_int_equal(p9_call(c, TWRITE, "484b", 2, 5ull, 5, "bytes", 5), 0);
	assert_int_equal(read_text(c, 2, 0, 100), 10);
	assert_memory_equal(c->reply + 11, "some bytes", 10);
	assert_int_equal(read_text(c, 2, 1ull << 40, 100), 0);
	assert_int_equal(p9_call(c, TREAD, "484", 2, ~0ull, 100), EINVAL);
	assert_int_equal(p9_call(c, TFSYNC, "44", 2, 0), 0);
	/* A count that is not in the message. */
	assert_int_equal(p9_call(c, TWRITE, "484b", 2, 0ull, 6, "bytes", 5), EINVAL);
	assert_int_equal(p9_call(c, TCLUNK, "4", 2), 0);
	assert_int_equal(p9_call(c, TCLUNK, "4", 2), EBADF);
	assert_int_equal(p9_call(c, TWALK, "442", ROOT, 2, 0), 0);
	assert_int_equal(p9_call(c, TLCREATE, "4s444", 2, "new", O_RDWR | O_TRUNC, 06755, 0), 0);
	struct stat st;
	char path[128];
	snprintf(path, sizeof(path), "%s/new", ((struct fixture *)*state)->in);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755); /* nothing runs with its owner's rights */
	assert_int_equal(p9_call(c, TSETATTR, "44444" "88888", 2, 1u, 04644u, 0, 0, 0ull, 0ull, 0ull, 0ull, 0ull), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(p9_held(c->p9), 2);
}

/* A handle of a file that has lost its name, and one whose name has another file. */
static void unlinked(void **state)
{
	struct p9_client *c = start(*state, false);
	assert_int_equal(walk1(c, ROOT, 2, "file"), 0);
	assert_int_equal(walk1(c, ROOT, 3, "file"), 0);
	assert_int_equal(p9_call(c, TLOPEN, "44", 3, O_RDWR), 0);
	assert_int_equal(p9_call(c, TUNLINKAT, "4s4", ROOT, "file", 0), 0);
	assert_int_equal(p9_call(c, TGETATTR, "48", 2, 0x7ffull), 0);
	assert_int_equal(load_le64(c->reply + 56), 9);
	put_file(((struct fixture *)*state)->in, "file", "another one");
	assert_int_equal(p9_call(c, TGETATTR, "48", 2, 0x7ffull), 0);
	assert_int_equal(load_le64(c->reply + 56), 9);
	assert_int_equal(p9_call(c, TCLUNK, "4", 3), 0);
	assert_int_equal(p9_call(c, TGETATTR, "48", 2, 0x7ffull), 0);
	assert_int_equal(load_le64(c->reply + 56), 11);
}

static void renames(void **state)
{
	struct p9_client *c = start(*state, false);
	assert_int_equal(p9_call(c, TMKDIR, "4s44", ROOT, "a", 0755, 0), 0);
	assert_int_equal(walk1(c, ROOT, 2, "a"), 0);
	assert_int_equal(p9_call(c, TMKDIR, "4s44", 2, "b", 0755, 0), 0);
	assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, "file", 2, "moved"), 0);
	assert_int_equal(walk1(c, 2, 3, "moved"), 0);
	assert_int_equal(walk1(c, 2, 4, "b"), 0);
	assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, "a", ROOT, "ab"), 0);
	/* Handles of it and of what is below it have come along; those of names that only begin alike have not. */
	assert_int_equal(p9_call(c, TLOPEN, "44", 3, O_RDONLY), 0);
	assert_int_equal(p9_call(c, TRENAME, "44s", 3, 4, "again"), 0);
	assert_int_equal(p9_call(c, TWALK, "442sss", ROOT, 5, 3, "ab", "b", "again"), 0);
	assert_int_equal(load_le16(c->reply + 7), 3);
	/* As far as it goes, and no handle. */
	assert_int_equal(p9_call(c, TWALK, "442sss", ROOT, 6, 3, "ab", "b", "not"), 0);
	assert_int_equal(load_le16(c->reply + 7), 2);
	assert_int_equal(p9_call(c, TCLUNK, "4", 6), EBADF);
	assert_int_equal(p9_call(c, TLINK, "44s", ROOT, 5, "hard"), 0);
	assert_int_equal(p9_call(c, TREMOVE, "4", 5), 0);
	assert_int_equal(p9_call(c, TREMOVE, "4", 5), EBADF);
	assert_int_equal(walk1(c, ROOT, 5, "hard"), 0);
	assert_int_equal(p9_call(c, TUNLINKAT, "4s4", ROOT, "ab", AT_REMOVEDIR), ENOTEMPTY);
	assert_int_equal(p9_call(c, TRENAME, "44s", ROOT, 4, "root"), EBUSY);
}

static void no_way_out(void **state)
{
	struct fixture *f = *state;
	char path[256], target[128];
	struct stat st;
	snprintf(target, sizeof(target), "%s/out", f->top);
	snprintf(path, sizeof(path), "%s/link", f->in);
	assert_int_equal(symlink(target, path), 0);
	snprintf(path, sizeof(path), "%s/up", f->in);
	assert_int_equal(symlink("..", path), 0);
	struct p9_client *c = start(f, false);
	static const char *const bad[] = { "", ".", "a/b", "/", "../out", "out/../..", "/etc" };
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(walk1(c, ROOT, 2, bad[i]), EINVAL);
		assert_int_equal(p9_call(c, TMKDIR, "4s44", ROOT, bad[i], 0755, 0), EINVAL);
		assert_int_equal(p9_call(c, TSYMLINK, "4ss4", ROOT, bad[i], "x", 0), EINVAL);
		assert_int_equal(p9_call(c, TMKNOD, "4s4444", ROOT, bad[i], S_IFREG | 0644, 0, 0, 0), EINVAL);
		assert_int_equal(p9_call(c, TUNLINKAT, "4s4", ROOT, bad[i], 0), EINVAL);
		assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, "file", ROOT, bad[i]), EINVAL);
		assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, bad[i], ROOT, "x"), EINVAL);
		assert_int_equal(p9_call(c, TLINK, "44s", ROOT, ROOT, bad[i]), EINVAL);
		assert_int_equal(p9_call(c, TLCREATE, "4s444", ROOT, bad[i], O_RDWR, 0644, 0), EINVAL);
		assert_int_equal(p9_call(c, TRENAME, "44s", ROOT, ROOT, bad[i]), EBUSY);
	}
	assert_int_equal(p9_call(c, TUNLINKAT, "4s4", ROOT, "..", AT_REMOVEDIR), EINVAL);
	assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, "file", ROOT, ".."), EINVAL);
	/* A name with a zero in it would be two names. */
	assert_int_equal(p9_call(c, TWALK, "4422b", ROOT, 2, 1, 6, "fi\0le/", 6), EINVAL);
	/* Up from the folder is the folder. */
	assert_int_equal(p9_call(c, TWALK, "442sss", ROOT, 2, 3, "..", "..", "file"), 0);
	assert_int_equal(load_le16(c->reply + 7), 3);
	assert_int_equal(stat(f->in, &st), 0);
	assert_int_equal(load_le64(c->reply + 9 + 5), st.st_ino);
	assert_int_equal(p9_call(c, TATTACH, "44ss4", 9, NOFID, "root", "../out", 0), ENOENT);
	/* Links are there, and lead nowhere. */
	static const char *const links[] = { "link", "up" };
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(walk1(c, ROOT, 10, links[i]), 0);
		assert_int_equal(p9_call(c, TLOPEN, "44", 10, O_RDONLY), ELOOP);
		assert_int_not_equal(walk1(c, 10, 11, "secret"), 0);
		assert_int_not_equal(walk1(c, 10, 11, "out"), 0);
		assert_int_not_equal(p9_call(c, TMKDIR, "4s44", 10, "made", 0755, 0), 0);
		assert_int_not_equal(p9_call(c, TLCREATE, "4s444", 10, "made", O_RDWR, 0644, 0), 0);
		assert_int_equal(p9_call(c, TREADLINK, "4", 10), 0);
		assert_int_equal(p9_call(c, TCLUNK, "4", 10), 0);
		assert_int_not_equal(p9_call(c, TLCREATE, "4s444", ROOT, links[i], O_RDWR | O_TRUNC, 0644, 0), 0);
		assert_int_equal(p9_call(c, TWALK, "442ss", ROOT, 11, 2, links[i], "secret"), 0);
		assert_int_equal(load_le16(c->reply + 7), 1);
	}
	snprintf(path, sizeof(path), "%s/made", target);
	assert_int_equal(access(path, F_OK), -1);
	/* A folder that leaves takes nobody along. */
	assert_int_equal(p9_call(c, TMKDIR, "4s44", ROOT, "leaves", 0755, 0), 0);
	assert_int_equal(walk1(c, ROOT, 12, "leaves"), 0);
	snprintf(path, sizeof(path), "%s/leaves", f->in);
	snprintf(target, sizeof(target), "%s/left", f->top);
	assert_int_equal(rename(path, target), 0);
	assert_int_equal(walk1(c, 12, 13, ".."), 0);
	assert_int_equal(p9_call(c, TMKDIR, "4s44", 12, "made", 0755, 0), ENOENT);
	/* And one that becomes a link does not, either. */
	assert_int_equal(symlink(target, path), 0);
	assert_int_not_equal(p9_call(c, TMKDIR, "4s44", 12, "made", 0755, 0), 0);
	assert_int_not_equal(walk1(c, 12, 14, "x"), 0);
}

/* Opening these would wait, or do something to the host. */
static void special_files(void **state)
{
	struct fixture *f = *state;
	char path[128];
	snprintf(path, sizeof(path), "%s/pipe", f->in);
	assert_int_equal(mkfifo(path, 0644), 0);
	struct p9_client *c = start(f, false);
	assert_int_equal(walk1(c, ROOT, 2, "pipe"), 0);
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDONLY), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TSETATTR, "44444" "88888", 2, 8u, 0, 0, 0, 5ull, 0ull, 0ull, 0ull, 0ull), EINVAL);
	assert_int_equal(p9_call(c, TLCREATE, "4s444", ROOT, "pipe", O_RDWR, 0644, 0), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TMKNOD, "4s4444", ROOT, "null", S_IFCHR | 0666, 1, 3, 0), EPERM);
	assert_int_equal(p9_call(c, TMKNOD, "4s4444", ROOT, "disk", S_IFBLK | 0666, 8, 0, 0), EPERM);
	assert_int_equal(p9_call(c, TMKNOD, "4s4444", ROOT, "fifo", S_IFIFO | 0640, 0, 0, 0), 0);
}

static void read_only(void **state)
{
	struct p9_client *c = start(*state, true);
	assert_int_equal(walk1(c, ROOT, 2, "file"), 0);
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDWR), EROFS);
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDONLY | O_TRUNC), EROFS);
	assert_int_equal(p9_call(c, TLCREATE, "4s444", ROOT, "new", O_RDONLY, 0644, 0), EROFS);
	assert_int_equal(p9_call(c, TMKDIR, "4s44", ROOT, "d", 0755, 0), EROFS);
	assert_int_equal(p9_call(c, TSYMLINK, "4ss4", ROOT, "l", "x", 0), EROFS);
	assert_int_equal(p9_call(c, TMKNOD, "4s4444", ROOT, "n", S_IFREG | 0644, 0, 0, 0), EROFS);
	assert_int_equal(p9_call(c, TLINK, "44s", ROOT, 2, "l"), EROFS);
	assert_int_equal(p9_call(c, TRENAMEAT, "4s4s", ROOT, "file", ROOT, "g"), EROFS);
	assert_int_equal(p9_call(c, TRENAME, "44s", 2, ROOT, "g"), EROFS);
	assert_int_equal(p9_call(c, TUNLINKAT, "4s4", ROOT, "file", 0), EROFS);
	assert_int_equal(p9_call(c, TSETATTR, "44444" "88888", 2, 1u, 0600, 0, 0, 0ull, 0ull, 0ull, 0ull, 0ull), EROFS);
	assert_int_equal(p9_call(c, TXATTRCREATE, "4s84", 2, "user.a", 1ull, 0), EROFS);
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDONLY), 0);
	assert_int_equal(p9_call(c, TWRITE, "484b", 2, 0ull, 1, "x", 1), EBADF);
	assert_int_equal(p9_call(c, TSETATTR, "44444" "88888", 2, 8u, 0, 0, 0, 0ull, 0ull, 0ull, 0ull, 0ull), EROFS);
	assert_int_equal(p9_call(c, TREMOVE, "4", 2), EROFS);
}

static void attributes(void **state)
{
	struct p9_client *c = start(*state, false);
	assert_int_equal(walk1(c, ROOT, 2, "file"), 0);
	assert_int_equal(p9_call(c, TWALK, "442", 2, 3, 0), 0);
	int first = p9_call(c, TXATTRCREATE, "4s84", 3, "user.color", 4ull, 0);
	assert_int_equal(first, 0);
	assert_int_equal(p9_call(c, TWRITE, "484b", 3, 0ull, 5, "green", 5), EINVAL);
	assert_int_equal(p9_call(c, TWRITE, "484b", 3, 0ull, 4, "blue", 4), 0);
	int stored = p9_call(c, TCLUNK, "4", 3);
	if (stored == EOPNOTSUPP) /* the host's file system has none */
		return;
	assert_int_equal(stored, 0);
	assert_int_equal(p9_call(c, TXATTRWALK, "44s", 2, 4, "user.color"), 0);
	assert_int_equal(load_le64(c->reply + 7), 4);
	assert_int_equal(read_text(c, 4, 1, 100), 3);
	assert_memory_equal(c->reply + 11, "lue", 3);
	assert_int_equal(p9_call(c, TXATTRWALK, "44s", 2, 5, ""), 0);
	assert_int_equal(load_le64(c->reply + 7), 11);
	assert_int_equal(p9_call(c, TXATTRWALK, "44s", 2, 6, "user.none"), ENODATA);
	assert_int_equal(p9_call(c, TXATTRWALK, "44s", 2, 6, "security.capability"), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TWALK, "442", 2, 7, 0), 0);
	assert_int_equal(p9_call(c, TXATTRCREATE, "4s84", 7, "security.capability", 20ull, 0), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TXATTRCREATE, "4s84", 7, "trusted.x", 20ull, 0), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TXATTRCREATE, "4s84", 7, "user.big", 1ull << 40, 0), E2BIG);
	assert_int_equal(p9_call(c, TXATTRCREATE, "4s84", 7, "user.color", 0ull, 2), 0);
	assert_int_equal(p9_call(c, TCLUNK, "4", 7), 0);
	assert_int_equal(p9_call(c, TXATTRWALK, "44s", 2, 8, "user.color"), ENODATA);
}

/* All names once, whatever the pieces that they are asked for in. */
static void folders(void **state)
{
	struct fixture *f = *state;
	char name[32];
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "entry-%03u", i);
		put_file(f->in, name, "");
	}
	struct p9_client *c = start(f, false);
	assert_int_equal(p9_call(c, TWALK, "442", ROOT, 2, 0), 0);
	assert_int_equal(p9_call(c, TLOPEN, "44", 2, O_RDONLY), 0);
	static const uint32_t counts[] = { 100, 700, 60000 };
	for (unsigned n = 0; n < ARRAY_SIZE(counts); n++) {
		uint64_t offset = 0;
		unsigned found = 0, others = 0;
		for (;;) {
			assert_int_equal(p9_call(c, TREADDIR, "484", 2, offset, counts[n]), 0);
			uint32_t size = load_le32(c->reply + 7);
			assert_true(size <= counts[n]);
			if (!size)
				break;
			for (const uint8_t *e = c->reply + 11; e < c->reply + 11 + size; e += 24 + load_le16(e + 22)) {
				offset = load_le64(e + 13);
				if (!memcmp(e + 24, "entry-", 6))
					found++;
				else
					others++;
			}
		}
		assert_int_equal(found, 500);
		assert_int_equal(others, 3); /* "file", and the two that every folder has */
	}
	assert_int_equal(p9_call(c, TREADDIR, "484", 2, 0ull, 10), EINVAL);
	assert_int_equal(p9_call(c, TREAD, "484", 2, 0ull, 10), EISDIR);
}

static void locks(void **state)
{
	struct p9_client *c = start(*state, false);
	for (uint32_t fid = 2; fid < 4; fid++) {
		assert_int_equal(walk1(c, ROOT, fid, "file"), 0);
		assert_int_equal(p9_call(c, TLOPEN, "44", fid, O_RDWR), 0);
	}
	assert_int_equal(p9_call(c, TLOCK, "414884s", 2, 1, 0, 0ull, 5ull, 77, "guest"), 0);
	assert_int_equal(c->reply[7], 0);
	assert_int_equal(p9_call(c, TLOCK, "414884s", 3, 0, 1, 4ull, 0ull, 78, "guest"), 0);
	assert_int_equal(c->reply[7], 1); /* blocked */
	assert_int_equal(p9_call(c, TGETLOCK, "41884s", 3, 1, 4ull, 0ull, 78, "guest"), 0);
	assert_int_equal(c->reply[7], 1);
	assert_int_equal(load_le64(c->reply + 16), 5);
	assert_int_equal(p9_call(c, TLOCK, "414884s", 3, 0, 1, 5ull, 0ull, 78, "guest"), 0);
	assert_int_equal(c->reply[7], 0);
	assert_int_equal(p9_call(c, TCLUNK, "4", 2), 0);
	assert_int_equal(p9_call(c, TLOCK, "414884s", 3, 1, 1, 0ull, 0ull, 78, "guest"), 0);
	assert_int_equal(c->reply[7], 0);
	assert_int_equal(p9_call(c, TLOCK, "414884s", 3, 7, 1, 0ull, 0ull, 78, "guest"), EINVAL);
}

static void messages(void **state)
{
	struct p9_client *c = start(*state, false);
	assert_int_equal(p9_call(c, 3, ""), EOPNOTSUPP);
	assert_int_equal(p9_call(c, 255, ""), EOPNOTSUPP);
	assert_int_equal(p9_call(c, TFLUSH, "2", 7), 0);
	assert_int_equal(p9_call(c, TWALK, "4"), EBADF);
	assert_int_equal(p9_call(c, TWALK, "442", ROOT, 2, 17), EINVAL);
	assert_int_equal(p9_call(c, TWALK, "442", ROOT, ROOT, 0), 0);
	assert_int_equal(p9_call(c, TATTACH, "44ss4", ROOT, NOFID, "root", "", 0), EBADF);
	assert_int_equal(p9_call(c, TSTATFS, "4", ROOT), 0);
	/* Sizes that are none. */
	for (uint32_t size = 0; size < 12; size++) {
		struct iovec out = { c->message, size }, in = { c->reply, 100 };
		struct p9_request r = { .out = &out, .in = &in, .out_count = 1, .in_count = 1, .out_size = size, .in_size = 100 };
		p9_write_message(c->message, TCLUNK, "4", 99);
		p9_handle(c->p9, &r);
		assert_int_equal(r.replied, size < 7 ? 0 : 11);
		assert_true(size < 7 || load_le32(c->reply + 7) == (size < 11 ? EINVAL : EBADF));
	}
	/* A reply for which there is no room. */
	p9_write_message(c->message, TSTATFS, "4", ROOT);
	for (uint32_t room = 0; room < 67; room++) {
		struct iovec out = { c->message, 11 }, in = { c->reply, room };
		struct p9_request r = { .out = &out, .in = &in, .out_count = 1, .in_count = 1, .out_size = 11, .in_size = room };
		memset(c->reply, 0xee, 100);
		p9_handle(c->p9, &r);
		assert_int_equal(r.replied, room < 11 ? 0 : 11);
		assert_int_equal(c->reply[room], 0xee);
	}
	/* A new session has no handles. */
	assert_int_equal(p9_call(c, TVERSION, "4s", 8192, "9P2000"), 0);
	assert_memory_equal(c->reply + 13, "unknown", 7);
	assert_int_equal(p9_held(c->p9), 0);
	assert_int_equal(p9_call(c, TVERSION, "4s", 100, "9P2000.L"), EINVAL);
}

/* --- as a device --- */

static void device(void **state)
{
	struct fixture *f = *state;
	struct rig rig;
	struct driver driver;
	struct driver_queue queue;
	struct error err = { 0 };
	uint8_t message[256];
	rig_init(&rig);
	const struct p9_config folder = { .path = f->in, .worker = rig_worker(&rig) };
	struct p9 *server = p9_create(&folder, &err);
	assert_non_null(server);
	struct virtio_9p_config config = { .device = { "9p0", { &rig.memory }, rig_worker(&rig) }, .tag = "", .server = server };
	assert_null(virtio_9p_create(&config, &err));
	config.tag = "files";
	struct virtio_9p *p9 = virtio_9p_create(&config, &err);
	assert_non_null(p9);
	const struct virtio_pci_config pci_config = { rig.bus, RIG_DEVFN, virtio_9p_device(p9) };
	struct virtio_pci *pci = virtio_pci_create(&pci_config, &err);
	assert_non_null(pci);
	device_reset((struct device *)p9);
	device_reset((struct device *)pci);
	driver_find(&driver, &rig);
	assert_int_equal(io_read(&rig.mmio, driver.config, 2), 5);
	assert_int_equal(io_read(&rig.mmio, driver.config + 2, 1), 'f');
	assert_true(driver_negotiate(&driver, FEATURE_VERSION_1 | 1));
	driver_queue_init(&queue, &driver, 0, 128);
	driver_ok(&driver);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t size = i ? p9_write_message(message, TATTACH, "44ss4", ROOT, NOFID, "root", "", 0) :
				    p9_write_message(message, TVERSION, "4s", 65536, "9P2000.L");
		const struct buffer buffers[] = { { 0x200000, 5, false }, { 0x200005, size - 5, false }, { 0x300000, 9, true }, { 0x310000, 100, true } };
		guest_write(&rig, 0x200000, message, size);
		queue_add(&queue, buffers, 4);
		queue_notify(&queue);
		assert_int_equal(queue_wait(&queue, NULL), i ? 20 : 21);
		assert_int_equal(guest_load(&rig, 0x300004, 1), i ? 105 : 101);
	}
	assert_true(virtio_9p_mounted(p9));
	/* A reset ends the session; a request under way is waited for. */
	uint32_t size = p9_write_message(message, TWALK, "442", ROOT, 2, 0);
	const struct buffer buffers[] = { { 0x200000, size, false }, { 0x300000, 100, true } };
	guest_write(&rig, 0x200000, message, size);
	queue_add(&queue, buffers, 2);
	queue_notify(&queue);
	rig_run(&rig, true);
	assert_true(driver_negotiate(&driver, FEATURE_VERSION_1));
	assert_false(virtio_9p_mounted(p9));
	rig_run(&rig, false);
	((struct device *)pci)->type->destroy(pci);
	((struct device *)p9)->type->destroy(p9);
	rig_run(&rig, false);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files, setup, teardown),
		cmocka_unit_test_setup_teardown(unlinked, setup, teardown),
		cmocka_unit_test_setup_teardown(renames, setup, teardown),
		cmocka_unit_test_setup_teardown(no_way_out, setup, teardown),
		cmocka_unit_test_setup_teardown(special_files, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(folders, setup, teardown),
		cmocka_unit_test_setup_teardown(locks, setup, teardown),
		cmocka_unit_test_setup_teardown(messages, setup, teardown),
		cmocka_unit_test_setup_teardown(device, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
