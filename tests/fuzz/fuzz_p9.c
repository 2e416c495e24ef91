/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "p9_client.h"

/*
 * Messages to a shared folder, one after another: each begins with the length of the room for its reply. What lies beside the folder
 * must be as it was.
 */
static char top[64], shared[80];

static void inline_worker(void *opaque, void (*fn)(void *), void *arg)
{
	fn(arg);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

/* A message may have taken our own rights away; a folder is opened to us before it is listed. */
static int open_up(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return flag == FTW_D || flag == FTW_DNR ? chmod(path, 0700) : 0;
}

static void remove_tree(const char *path)
{
	chmod(path, 0700);
	for (unsigned depth = 0; depth < 2; depth++)
		nftw(path, open_up, 16, FTW_PHYS);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_all(void)
{
	remove_tree(top);
}

static void make_folder(void)
{
	snprintf(top, sizeof(top), "%s/visor-fuzz-p9-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	fuzz_require(mkdtemp(top));
	snprintf(shared, sizeof(shared), "%s/shared", top);
	atexit(remove_all);
}

static void fill_folder(void)
{
	fuzz_require(mkdir(shared, 0755) == 0);
	int folder = open(shared, O_RDONLY | O_DIRECTORY);
	int fd = openat(folder, "file", O_CREAT | O_WRONLY, 0644);
	fuzz_require(fd >= 0 && write(fd, "text", 4) == 4 && mkdirat(folder, "folder", 0755) == 0 && symlinkat("..", folder, "up") == 0);
	close(fd);
	close(folder);
}

/* The folder alone; and it has not become another one. */
static void check_outside(ino_t ino)
{
	struct stat st;
	fuzz_require(stat(shared, &st) == 0 && st.st_ino == ino && S_ISDIR(st.st_mode));
	fuzz_require(stat(top, &st) == 0 && st.st_nlink == 3);
	char name[96];
	snprintf(name, sizeof(name), "%s/file", top);
	fuzz_require(access(name, F_OK) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	struct stat st;
	static uint8_t reply[66000];
	if (!*top)
		make_folder();
	fill_folder();
	stat(shared, &st);
	const struct p9_config config = { .path = shared, .worker = { inline_worker, NULL } };
	struct p9 *p9 = p9_create(&config, &err);
	fuzz_require(p9);
	while (size >= 9) {
		uint32_t room = load_le16(data), length = load_le32(data + 2);
		uint8_t *message = malloc(size - 2);
		length = (uint32_t)MIN((size_t)length, size - 2);
		memcpy(message, data + 2, length);
		struct iovec out[8], in[8];
		struct p9_request r = { .out = out, .in = in, .out_size = length, .in_size = room };
		r.out_count = p9_pieces(message, length, out);
		r.in_count = p9_pieces(reply, room, in);
		p9_handle(p9, &r);
		fuzz_require(r.replied <= room);
		free(message);
		data += 2 + MAX(length, 7u);
		size -= 2 + MAX(length, 7u);
	}
	p9_destroy(p9);
	check_outside(st.st_ino);
	remove_tree(shared);
	return 0;
}

struct script {
	uint8_t data[4096];
	size_t size;
};

static void add(struct script *s, uint8_t type, const char *pattern, ...)
{
	va_list list;
	va_start(list, pattern);
	store_le16(s->data + s->size, 8192);
	s->size += 2 + p9_vwrite(s->data + s->size + 2, type, pattern, list);
	va_end(list);
}

static void begin(struct script *s)
{
	s->size = 0;
	add(s, TVERSION, "4s", 65536, "9P2000.L");
	add(s, TATTACH, "44ss4", 1, ~0u, "root", "", ~0u);
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	struct script s;
	begin(&s);
	add(&s, TWALK, "442s", 1, 2, 1, "file");
	add(&s, TLOPEN, "44", 2, 2);
	add(&s, TREAD, "484", 2, 0ull, 100);
	add(&s, TWRITE, "484b", 2, 4ull, 5, "bytes", 5);
	add(&s, TLOCK, "414884s", 2, 1, 0, 0ull, 5ull, 77, "guest");
	add(&s, TGETLOCK, "41884s", 2, 1, 0ull, 5ull, 77, "guest");
	add(&s, TFSYNC, "44", 2, 0);
	add(&s, TCLUNK, "4", 2);
	emit(opaque, "file", s.data, s.size);
	begin(&s);
	add(&s, TWALK, "442", 1, 2, 0);
	add(&s, TLCREATE, "4s444", 2, "new", 2, 0644, 0);
	add(&s, TSETATTR, "44444" "88888", 2, 0x1ffu, 0600, 0, 0, 9ull, 1ull, 2ull, 3ull, 4ull);
	add(&s, TGETATTR, "48", 2, 0x7ffull);
	add(&s, TUNLINKAT, "4s4", 1, "new", 0);
	add(&s, TGETATTR, "48", 2, 0x7ffull);
	add(&s, TSTATFS, "4", 1);
	emit(opaque, "create", s.data, s.size);
	begin(&s);
	add(&s, TMKDIR, "4s44", 1, "a", 0755, 0);
	add(&s, TWALK, "442s", 1, 2, 1, "a");
	add(&s, TRENAMEAT, "4s4s", 1, "file", 2, "moved");
	add(&s, TSYMLINK, "4ss4", 2, "link", "../../..", 0);
	add(&s, TMKNOD, "4s4444", 2, "fifo", 0010644, 0, 0, 0);
	add(&s, TWALK, "442ss", 1, 3, 2, "a", "link");
	add(&s, TREADLINK, "4", 3);
	add(&s, TLINK, "44s", 1, 3, "hard");
	add(&s, TRENAME, "44s", 3, 1, "other");
	add(&s, TREMOVE, "4", 3);
	emit(opaque, "names", s.data, s.size);
	begin(&s);
	add(&s, TWALK, "442sss", 1, 2, 3, "..", "folder", "..");
	add(&s, TLOPEN, "44", 2, 0);
	add(&s, TREADDIR, "484", 2, 0ull, 4096);
	add(&s, TREADDIR, "484", 2, 0ull, 60);
	emit(opaque, "folder", s.data, s.size);
	begin(&s);
	add(&s, TWALK, "442s", 1, 2, 1, "file");
	add(&s, TXATTRCREATE, "4s84", 2, "user.a", 4ull, 0);
	add(&s, TWRITE, "484b", 2, 0ull, 4, "blue", 4);
	add(&s, TCLUNK, "4", 2);
	add(&s, TWALK, "442s", 1, 2, 1, "file");
	add(&s, TXATTRWALK, "44s", 2, 3, "user.a");
	add(&s, TREAD, "484", 3, 0ull, 10);
	add(&s, TXATTRWALK, "44s", 2, 4, "");
	emit(opaque, "attributes", s.data, s.size);
}
