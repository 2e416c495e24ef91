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
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "block/block.h"

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

/* A loop thread: one disk posts one function only. */
struct loop {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	void (*fn)(void *);
	void *arg;
	unsigned pending;
	bool stop;
};

static void loop_post(void *opaque, void (*fn)(void *), void *arg)
{
	struct loop *loop = opaque;
	pthread_mutex_lock(&loop->mutex);
	loop->fn = fn;
	loop->arg = arg;
	loop->pending++;
	pthread_cond_signal(&loop->cond);
	pthread_mutex_unlock(&loop->mutex);
}

static void *loop_run(void *opaque)
{
	struct loop *loop = opaque;
	pthread_mutex_lock(&loop->mutex);
	while (!loop->stop || loop->pending) {
		if (!loop->pending) {
			pthread_cond_wait(&loop->cond, &loop->mutex);
			continue;
		}
		loop->pending--;
		pthread_mutex_unlock(&loop->mutex);
		loop->fn(loop->arg);
		pthread_mutex_lock(&loop->mutex);
	}
	pthread_mutex_unlock(&loop->mutex);
	return NULL;
}

static void loop_start(struct loop *loop)
{
	*loop = (struct loop){ 0 };
	pthread_mutex_init(&loop->mutex, NULL);
	pthread_cond_init(&loop->cond, NULL);
	assert_int_equal(pthread_create(&loop->thread, NULL, loop_run, loop), 0);
}

static void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->mutex);
	loop->stop = true;
	pthread_cond_signal(&loop->cond);
	pthread_mutex_unlock(&loop->mutex);
	pthread_join(loop->thread, NULL);
	pthread_cond_destroy(&loop->cond);
	pthread_mutex_destroy(&loop->mutex);
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
	struct loop loop;
	loop_start(&loop);
	const struct block_config config = { .path = path, .worker = { loop_post, &loop } };
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
	loop_stop(&loop);
	block_close(block);
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
static void write_errors_reach_the_request(void **state)
{
	struct error err = { 0 };
	struct rlimit before, limit;
	static uint8_t data[8192];
	close(make_file(1 << 20));
	struct block *block = open_raw(false, &err);
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
