/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/util.h"
#include "host/loop.h"
#include "host/loop_thread.h"
#include "host/time.h"

static char order[16];
static struct loop *the_loop;

static void note(void *arg)
{
	strcat(order, arg);
}

static void note_and_post(void *arg)
{
	note(arg);
	loop_post(the_loop, note, "c");
}

static int set_up(void **state)
{
	order[0] = 0;
	the_loop = loop_create(NULL);
	return the_loop ? 0 : -1;
}

static int tear_down(void **state)
{
	loop_destroy(the_loop);
	return 0;
}

static void work_runs_in_order(void **state)
{
	loop_post(the_loop, note_and_post, "a");
	loop_post(the_loop, note, "b");
	assert_int_equal(loop_once(the_loop, 0, NULL), 0);
	assert_string_equal(order, "abc");
	loop_post(the_loop, note_and_post, "d");
	loop_drain(the_loop);
	assert_string_equal(order, "abcdc");
}

static unsigned calls;

static void stop_after_three(void *arg)
{
	if (++calls == 3)
		loop_stop(the_loop);
}

static void *post_from_elsewhere(void *arg)
{
	for (unsigned i = 0; i < 3; i++) {
		usleep(2000); /* so that the loop waits in between */
		loop_post(the_loop, stop_after_three, NULL);
	}
	return NULL;
}

static void other_threads_wake_it(void **state)
{
	pthread_t thread;
	calls = 0;
	assert_int_equal(pthread_create(&thread, NULL, post_from_elsewhere, NULL), 0);
	assert_int_equal(loop_run(the_loop, NULL), 0);
	assert_int_equal(calls, 3);
	pthread_join(thread, NULL);
}

static uint64_t deadline;

static uint64_t run_timer(void *opaque)
{
	uint64_t now = host_time_ns();
	if (!deadline)
		return UINT64_MAX;
	if (now < deadline)
		return deadline - now;
	deadline = 0;
	loop_stop(the_loop);
	return UINT64_MAX;
}

static void deadlines_are_finer_than_milliseconds(void **state)
{
	uint64_t start = host_time_ns();
	deadline = start + 300000;
	loop_set_timers(the_loop, run_timer, NULL);
	assert_int_equal(loop_run(the_loop, NULL), 0);
	assert_true(host_time_ns() - start >= 300000);
	assert_int_equal(deadline, 0);
}

static int fds[2][2];
static unsigned seen[2];

static void on_pipe(void *opaque, uint32_t events)
{
	unsigned *which = opaque;
	char byte;
	++*which;
	assert_true(events & EPOLLIN);
	assert_int_equal(read(fds[which - seen][0], &byte, 1), 1);
	/* Both are ready: the first to be served removes the other, which then must not be called. */
	loop_remove(the_loop, fds[!(which - seen)][0]);
}

static void removed_descriptors_are_not_called(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
		assert_int_equal(loop_add(the_loop, fds[i][0], EPOLLIN, on_pipe, &seen[i], NULL), 0);
	}
	assert_int_equal(loop_add(the_loop, fds[0][0], EPOLLIN, on_pipe, &seen[0], NULL), -1);
	assert_int_equal(loop_once(the_loop, 0, NULL), 0);
	assert_int_equal(seen[0] + seen[1], 1);
	assert_int_equal(loop_once(the_loop, 0, NULL), 0);
	assert_int_equal(seen[0] + seen[1], 1);
	for (unsigned i = 0; i < 2; i++) {
		loop_remove(the_loop, fds[i][0]);
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

static void on_file(void *opaque, uint32_t events)
{
	calls++;
	loop_stop(the_loop);
}

static void regular_files_are_always_ready(void **state)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	calls = 0;
	assert_int_equal(loop_add(the_loop, fileno(file), 0, on_file, NULL, NULL), 0);
	assert_int_equal(loop_once(the_loop, 0, NULL), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(loop_modify(the_loop, fileno(file), EPOLLIN, NULL), 0);
	assert_int_equal(loop_run(the_loop, NULL), 0);
	assert_int_equal(calls, 1);
	loop_remove(the_loop, fileno(file));
	fclose(file);
}

static void tsc_frequency_agrees_with_the_clock(void **state)
{
	uint64_t hz = host_tsc_hz();
	uint64_t ns = host_time_ns(), tsc = host_tsc();
	usleep(50000);
	double measured = (double)(host_tsc() - tsc) * 1e9 / (double)(host_time_ns() - ns);
	assert_true(measured > 0.98 * (double)hz && measured < 1.02 * (double)hz);
}

static _Atomic unsigned done;

static void count(void *arg)
{
	usleep(100);
	done++;
}

/* At rest from the first moment on, and never in the middle of something. */
static void a_thread_rests_between_two_works(void **state)
{
	struct error err;
	struct loop_thread *t = loop_thread_create("test", &err);
	assert_non_null(t);
	const struct worker worker = loop_thread_worker(t);
	done = 0;
	worker_post(&worker, count, NULL);
	usleep(20000);
	assert_int_equal(done, 0);
	for (unsigned posted = 1, round = 0; round < 200; round++) {
		loop_thread_go_on(t);
		for (unsigned i = 0; i < round % 5; i++, posted++)
			worker_post(&worker, count, NULL);
		loop_thread_rest(t);
		loop_thread_rest(t);
		unsigned before = done;
		worker_post(&worker, count, NULL);
		posted++;
		usleep(200);
		assert_int_equal(done, before);
		assert_true(done < posted);
	}
	unsigned before = done;
	worker_post(&worker, count, NULL);
	assert_int_equal(done, before);
	loop_thread_stop(t);
	/* Each one once: the first, those of the rounds, one in each round, the last. */
	assert_int_equal(done, 1 + 200 / 5 * (0 + 1 + 2 + 3 + 4) + 200 + 1);
	worker_post(&worker, count, NULL);
	loop_thread_destroy(t);
	assert_int_equal(done, 1 + 400 + 200 + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(work_runs_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(other_threads_wake_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deadlines_are_finer_than_milliseconds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removed_descriptors_are_not_called, set_up, tear_down),
		cmocka_unit_test_setup_teardown(regular_files_are_always_ready, set_up, tear_down),
		cmocka_unit_test(tsc_frequency_agrees_with_the_clock),
		cmocka_unit_test(a_thread_rests_between_two_works),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
