/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "block/block.h"
#include "host/loop_thread.h"

static char path[64];

static int make_file(off_t size)
{
	snprintf(path, sizeof(path), "/tmp/visor-block-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

/* A worker that comes too late: block_drain does all, and what was posted runs when the disk is closed. Once for each request at most. */
#define LATE_MAX 1024
static struct { void (*fn)(void *); void *arg; } late[LATE_MAX];
static _Atomic unsigned late_count;

static void post_late(void *opaque, void (*fn)(void *), void *arg)
{
	unsigned at = late_count++;
	assert_true(at < LATE_MAX);
	late[at].fn = fn;
	late[at].arg = arg;
}

static void close_disk(struct block *block)
{
	block_close(block);
	for (unsigned i = 0; i < late_count; i++)
		late[i].fn(late[i].arg);
	late_count = 0;
}

struct outcome {
	struct block *block;
	_Atomic int calls;
	int error;
};

static void done(struct block_request *request, int error)
{
	struct outcome *outcome = request->opaque;
	outcome->error = error;
	outcome->calls++;
}

static int run(struct block *block, enum block_op op, uint64_t offset, void *data, uint64_t length)
{
	struct outcome outcome = { .error = -1 };
	struct iovec iov = { data, length };
	struct block_request request = {
		.op = op, .offset = offset, .length = length, .iov = &iov, .iov_count = 1, .done = done, .opaque = &outcome,
	};
	block_submit(block, &request);
	block_drain(block);
	assert_int_equal(outcome.calls, 1);
	return outcome.error;
}

static struct block *open_raw(bool read_only, struct error *err)
{
	const struct block_config config = { .path = path, .read_only = read_only, .worker = { post_late, NULL } };
	return block_open(&config, err);
}

static void reads_and_writes(void **state)
{
	struct error err = { 0 };
	int fd = make_file(1 << 20);
	struct block *block = open_raw(false, &err);
	assert_non_null(block);
	assert_int_equal(block->size, 1 << 20);
	uint8_t buffer[4096], back[4096];
	for (unsigned i = 0; i < sizeof(buffer); i++)
		buffer[i] = (uint8_t)(i * 7);
	assert_int_equal(run(block, BLOCK_WRITE, 8192, buffer, sizeof(buffer)), 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(run(block, BLOCK_READ, 8192, back, sizeof(back)), 0);
	assert_memory_equal(buffer, back, sizeof(back));
	assert_int_equal(pread(fd, back, sizeof(back), 8192), sizeof(back));
	assert_memory_equal(buffer, back, sizeof(back));
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, 8192, NULL, 1024), 0);
	assert_int_equal(run(block, BLOCK_READ, 8192, back, sizeof(back)), 0);
	assert_int_equal(back[0] | back[1023], 0);
	assert_int_equal(back[1025], buffer[1025]);
	assert_int_equal(run(block, BLOCK_DISCARD, 8192, NULL, 4096), 0);
	/* Out of range, in the middle of a sector. */
	assert_int_equal(run(block, BLOCK_READ, 1 << 20, back, 512), EINVAL);
	assert_int_equal(run(block, BLOCK_READ, (1 << 20) - 512, back, 1024), EINVAL);
	assert_int_equal(run(block, BLOCK_READ, UINT64_MAX - 511, back, 512), EINVAL);
	assert_int_equal(run(block, BLOCK_WRITE, 100, back, 512), EINVAL);
	close_disk(block);
	close(fd);
	unlink(path);
}

static void odd_size_is_rounded_up(void **state)
{
	struct error err = { 0 };
	int fd = make_file(1000);
	assert_int_equal(pwrite(fd, "x", 1, 999), 1);
	struct block *block = open_raw(false, &err);
	assert_non_null(block);
	assert_int_equal(block->size, 1024);
	uint8_t sector[512];
	memset(sector, 0xee, sizeof(sector));
	assert_int_equal(run(block, BLOCK_READ, 512, sector, 512), 0);
	assert_int_equal(sector[487], 'x');
	for (unsigned i = 488; i < 512; i++)
		assert_int_equal(sector[i], 0);
	memset(sector, 0x55, sizeof(sector));
	assert_int_equal(run(block, BLOCK_WRITE, 512, sector, 512), 0);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1024);
	close_disk(block);
	close(fd);
	unlink(path);
}

static void read_only_and_errors(void **state)
{
	struct error err = { 0 };
	int fd = make_file(4096);
	struct block *block = open_raw(true, &err);
	uint8_t sector[512] = { 0 };
	assert_non_null(block);
	assert_int_equal(run(block, BLOCK_WRITE, 0, sector, 512), EROFS);
	assert_int_equal(run(block, BLOCK_DISCARD, 0, NULL, 512), EROFS);
	assert_int_equal(run(block, BLOCK_READ, 0, sector, 512), 0);
	close_disk(block);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_null(open_raw(false, &err));
	assert_non_null(strstr(err.text, "empty"));
	close(fd);
	unlink(path);
	assert_null(open_raw(false, &err));
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, path));
	snprintf(path, sizeof(path), "/tmp");
	assert_null(open_raw(true, &err));
	assert_non_null(strstr(err.text, "neither"));
}

static void image_is_locked(void **state)
{
	struct error err = { 0 };
	close(make_file(4096));
	struct block *writer = open_raw(false, &err);
	assert_non_null(writer);
	assert_null(open_raw(false, &err));
	assert_int_equal(err.code, EBUSY);
	assert_non_null(strstr(err.text, path));
	assert_null(open_raw(true, &err));
	close_disk(writer);
	struct block *a = open_raw(true, &err), *b = open_raw(true, &err);
	assert_non_null(a);
	assert_non_null(b);
	assert_null(open_raw(false, &err));
	close_disk(a);
	close_disk(b);
	unlink(path);
}

static void block_drain_with(struct lock *lock, struct block *block)
{
	lock_take(lock);
	block_drain(block);
	lock_release(lock);
}

/* The loop's delivery must not come in between the lines of the lock's holder. */
static void completion_waits_for_the_lock(struct block *block, struct lock *lock)
{
	uint8_t sector[512];
	struct iovec iov = { sector, sizeof(sector) };
	struct outcome outcome = { .error = -1 };
	struct block_request request = {
		.op = BLOCK_READ, .length = 512, .iov = &iov, .iov_count = 1, .done = done, .opaque = &outcome,
	};
	lock_take(lock);
	block_submit(block, &request);
	usleep(50000);
	assert_int_equal(outcome.calls, 0);
	block_drain(block);
	assert_int_equal(outcome.calls, 1);
	lock_release(lock);
}

#define MANY 300

/* All threads of the pool, completions on the loop, and a drain by the lock's holder, which the loop waits for. */
static void many_at_once(void **state)
{
	struct error err = { 0 };
	close(make_file(MANY * 512));
	struct loop_thread *thread = loop_thread_create("test", &err);
	assert_non_null(thread);
	loop_thread_go_on(thread);
	const struct block_config config = { .path = path, .worker = loop_thread_worker(thread) };
	struct block *block = block_open(&config, &err);
	static struct block_request requests[MANY];
	static struct outcome outcomes[MANY];
	static uint8_t data[MANY][512];
	struct iovec iov[MANY];
	struct lock lock;
	assert_non_null(block);
	lock_init(&lock);
	block_set_owner(block, &lock);
	memset(outcomes, 0, sizeof(outcomes));
	for (unsigned i = 0; i < MANY; i++) {
		memset(data[i], (int)(i * 3), 512);
		iov[i] = (struct iovec){ data[i], 512 };
		requests[i] = (struct block_request){
			.op = BLOCK_WRITE, .offset = i * 512u, .length = 512, .iov = &iov[i], .iov_count = 1,
			.done = done, .opaque = &outcomes[i],
		};
		block_submit(block, &requests[i]);
	}
	block_drain_with(&lock, block);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		assert_int_equal(outcomes[i].error, 0);
	}
	completion_waits_for_the_lock(block, &lock);
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t back[512];
		lock_take(&lock);
		assert_int_equal(run(block, BLOCK_READ, i * 512u, back, 512), 0);
		lock_release(&lock);
		assert_memory_equal(back, data[i], 512);
	}
	loop_thread_stop(thread);
	block_close(block);
	loop_thread_destroy(thread);
	lock_destroy(&lock);
	unlink(path);
}

static void never_again(struct block_request *request, int error)
{
	done(request, error);
	if (error)
		return;
	request->op = BLOCK_FLUSH; /* a second step, as after a write for a driver that cannot flush */
	block_submit(((struct outcome *)request->opaque)->block, request);
}

/* What was not begun ends at once, each request exactly once; the disk goes on afterwards. */
static void cancelled_requests_end_once(void **state)
{
	struct error err = { 0 };
	close(make_file(MANY * 512));
	struct block *block = open_raw(false, &err);
	static struct block_request requests[MANY];
	static struct outcome outcomes[MANY];
	static uint8_t data[512];
	struct iovec iov = { data, sizeof(data) };
	assert_non_null(block);
	for (unsigned i = 0; i < MANY; i++) {
		outcomes[i] = (struct outcome){ .block = block };
		requests[i] = (struct block_request){ .op = BLOCK_WRITE, .iov = &iov, .iov_count = 1, .offset = i * 512u, .length = 512,
						      .done = never_again, .opaque = &outcomes[i] };
		block_submit(block, &requests[i]);
	}
	block_cancel(block);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(outcomes[i].error, ECANCELED); /* at the latest with the second step */
		assert_true(outcomes[i].calls == 1 || outcomes[i].calls == 2);
	}
	assert_int_equal(run(block, BLOCK_WRITE, 0, data, 512), 0);
	close_disk(block);
	unlink(path);
}

/* A host error is the request's, and the disk goes on: the file-size limit stands in for a full disk. */
static void write_errors(bool waits)
{
	struct error err = { 0 };
	struct rlimit before, limit;
	static uint8_t data[8192];
	close(make_file(1 << 20));
	const struct block_config config = { .path = path, .worker = { post_late, NULL }, .worker_waits = waits };
	struct block *block = block_open(&config, &err);
	assert_non_null(block);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 4096;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int error = run(block, BLOCK_WRITE, 8192, data, 512);
	int partial = run(block, BLOCK_WRITE, 0, data, sizeof(data));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(error, EFBIG);
	assert_int_equal(partial, EFBIG);
	assert_int_equal(run(block, BLOCK_WRITE, 8192, data, 512), 0);
	close_disk(block);
	unlink(path);
}

static void write_errors_reach_the_request(void **state)
{
	write_errors(false);
	write_errors(true);
}

/* A worker that may wait does what is near itself; `near` has it at rest. */
struct near {
	struct loop_thread *thread;
	struct block *block;
	struct lock lock;
	struct outcome outcomes[MANY];
	struct block_request requests[MANY];
	struct iovec iov[MANY];
	uint8_t data[MANY][4096];
};

static struct near *near_open(void)
{
	struct error err = { 0 };
	struct near *n = calloc(1, sizeof(*n));
	assert_non_null(n);
	n->thread = loop_thread_create("test", &err);
	assert_non_null(n->thread);
	const struct block_config config = {
		.path = path, .format = "raw", .worker = loop_thread_worker(n->thread), .worker_waits = true,
	};
	n->block = block_open(&config, &err);
	assert_non_null(n->block);
	lock_init(&n->lock);
	block_set_owner(n->block, &n->lock);
	return n;
}

static void near_close(struct near *n)
{
	loop_thread_stop(n->thread);
	block_close(n->block);
	loop_thread_destroy(n->thread);
	lock_destroy(&n->lock);
	free(n);
	unlink(path);
}

static void near_submit(struct near *n, enum block_op op, unsigned i, uint64_t length)
{
	n->outcomes[i] = (struct outcome){ .block = n->block, .error = -1 };
	n->iov[i] = (struct iovec){ n->data[i], length };
	n->requests[i] = (struct block_request){ .op = op, .offset = i * 4096u, .length = length, .iov = &n->iov[i], .iov_count = 1,
						 .done = done, .opaque = &n->outcomes[i] };
	block_submit(n->block, &n->requests[i]);
}

static void near_wait(struct near *n)
{
	for (unsigned i = 0; i < MANY; i++) {
		for (unsigned waits = 0; !n->outcomes[i].calls && waits < 60000; waits++)
			usleep(1000);
		assert_int_equal(n->outcomes[i].calls, 1);
		assert_int_equal(n->outcomes[i].error, 0);
	}
}

static void the_worker_does_what_is_near(void **state)
{
	int fd = make_file(MANY * 4096);
	struct near *n = near_open();
	uint8_t back[4096];
	for (unsigned i = 0; i < MANY; i++) {
		memset(n->data[i], (int)(i * 3 + 1), 4096);
		near_submit(n, BLOCK_WRITE, i, 4096);
	}
	usleep(20000);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(n->outcomes[i].calls, 0);
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
	assert_int_equal(back[0], 0);
	loop_thread_go_on(n->thread);
	near_wait(n);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(pread(fd, back, sizeof(back), i * 4096), sizeof(back));
		assert_memory_equal(back, n->data[i], sizeof(back));
	}
	/* What the host's cache has, and what it has not; writes of single sectors, which others do. */
	assert_int_equal(fdatasync(fd), 0);
	posix_fadvise(fd, 0, MANY / 2 * 4096, POSIX_FADV_DONTNEED);
	memset(n->data, 0, sizeof(n->data));
	for (unsigned i = 0; i < MANY; i++)
		near_submit(n, BLOCK_READ, i, 4096);
	near_wait(n);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(n->data[i][4095], (uint8_t)(i * 3 + 1));
	for (unsigned i = 0; i < MANY; i++) {
		memset(n->data[i], 0xab, 512);
		near_submit(n, BLOCK_WRITE, i, 512);
	}
	near_wait(n);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(pread(fd, back, sizeof(back), i * 4096), sizeof(back));
		assert_int_equal(back[511], 0xab);
		assert_int_equal(back[512], (uint8_t)(i * 3 + 1));
	}
	near_close(n);
	close(fd);
}

/* Nobody waits for a worker that stands still: a drain does its requests, and what is cancelled was never done. */
static void what_is_near_needs_no_worker(void **state)
{
	int fd = make_file(MANY * 4096);
	struct near *n = near_open();
	uint8_t back[4096];
	memset(n->data, 0x11, sizeof(n->data));
	for (unsigned i = 0; i < MANY; i++)
		near_submit(n, BLOCK_WRITE, i, 4096);
	block_drain(n->block);
	near_wait(n);
	memset(n->data, 0x22, sizeof(n->data));
	for (unsigned i = 0; i < MANY; i++)
		near_submit(n, BLOCK_WRITE, i, 4096);
	block_cancel(n->block);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(n->outcomes[i].calls, 1);
		assert_int_equal(n->outcomes[i].error, ECANCELED);
		assert_int_equal(pread(fd, back, sizeof(back), i * 4096), sizeof(back));
		assert_int_equal(back[4095], 0x11);
	}
	for (unsigned i = 0; i < MANY; i++)
		near_submit(n, BLOCK_READ, i, 4096);
	loop_thread_go_on(n->thread);
	lock_take(&n->lock); /* from here on the worker cannot deliver */
	block_drain(n->block);
	lock_release(&n->lock);
	near_wait(n);
	loop_thread_rest(n->thread);
	near_submit(n, BLOCK_WRITE, 0, 4096); /* left over at the end */
	near_close(n);
	close(fd);
}

/* Pages of the file's first bytes that the host has in its cache. */
static unsigned cached(int fd, size_t length)
{
	unsigned char pages[1024];
	unsigned count = 0;
	void *at = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(at != MAP_FAILED && length / 4096 <= sizeof(pages));
	assert_int_equal(mincore(at, length, pages), 0);
	for (size_t i = 0; i < length / 4096; i++)
		count += pages[i] & 1;
	munmap(at, length);
	return count;
}

#define AHEAD_SIZE (4u << 20)

/* A file that a guest writes is not the host's to read ahead in: reads in sequence are, by us, and others are not. */
static void only_sequences_are_read_ahead(void **state)
{
	int fd = make_file(AHEAD_SIZE);
	static uint8_t data[AHEAD_SIZE];
	memset(data, 1, sizeof(data));
	assert_int_equal(pwrite(fd, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(fdatasync(fd), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (cached(fd, AHEAD_SIZE)) {
		close(fd);
		unlink(path);
		print_message("the host keeps /tmp in memory\n");
		skip();
	}
	struct near *n = near_open();
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* opening looked at its head and tail */
	for (unsigned i = 290; i > 0; i -= 29) {
		near_submit(n, BLOCK_READ, i, 4096);
		block_drain(n->block);
	}
	unsigned few = cached(fd, AHEAD_SIZE), many = 0;
	assert_true(few <= 10 + 4);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (unsigned i = 0; i < 100; i++) {
		near_submit(n, BLOCK_READ, i, 4096);
		block_drain(n->block);
	}
	for (unsigned waits = 0; (many = cached(fd, AHEAD_SIZE)) < 128 && waits < 60000; waits++)
		usleep(1000);
	assert_true(many >= 128);
	near_close(n);
	close(fd);
}

/* What was never written reads as zeros, and has no place in the host's cache; what was written is data from then on, small or large. */
static void holes_are_not_read(void **state)
{
	int fd = make_file(AHEAD_SIZE);
	struct near *n = near_open();
	static uint8_t data[1 << 20];
	struct iovec iov = { data, sizeof(data) };
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* opening looked at its head and tail */
	bool tells = lseek(fd, 0, SEEK_DATA) < 0;
	unsigned before = cached(fd, AHEAD_SIZE);
	for (unsigned turn = 0; turn < 2; turn++) {
		memset(data, 0xee, sizeof(data));
		n->outcomes[0].calls = 0;
		n->requests[0] = (struct block_request){ .op = BLOCK_READ, .length = sizeof(data), .iov = &iov, .iov_count = 1, .done = done,
							 .opaque = &n->outcomes[0] };
		block_submit(n->block, &n->requests[0]);
		block_drain(n->block);
		assert_int_equal(n->outcomes[0].calls, 1);
		for (unsigned i = 0; i < sizeof(data); i++)
			assert_int_equal(data[i], turn && i / 4096 == 70 ? 0x5a : 0);
		if (!turn && tells)
			assert_int_equal(cached(fd, AHEAD_SIZE), before);
		memset(n->data[71], 0xee, 4096);
		near_submit(n, BLOCK_READ, 71, 4096);
		block_drain(n->block);
		assert_int_equal(n->data[71][0] | n->data[71][4095], 0);
		memset(n->data[70], 0x5a, 4096);
		near_submit(n, BLOCK_WRITE, 70, 4096);
		block_drain(n->block);
	}
	near_close(n);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(cancelled_requests_end_once),
		cmocka_unit_test(odd_size_is_rounded_up),
		cmocka_unit_test(read_only_and_errors),
		cmocka_unit_test(image_is_locked),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(write_errors_reach_the_request),
		cmocka_unit_test(the_worker_does_what_is_near),
		cmocka_unit_test(what_is_near_needs_no_worker),
		cmocka_unit_test(only_sequences_are_read_ahead),
		cmocka_unit_test(holes_are_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
