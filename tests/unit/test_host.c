/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/file.h"
#include "host/rundir.h"
#include "host/terminal.h"
#include "host/writer.h"

static struct error err;
static char directory[] = "/tmp/visor-host-XXXXXX";

static char keys[16];
static size_t key_count;

static void on_key(void *opaque, char key)
{
	keys[key_count++] = key;
}

static void escape_key_is_found(void **state)
{
	bool escaped = false;
	uint8_t out[16];
	key_count = 0;
	assert_int_equal(terminal_filter(&escaped, (const uint8_t *)"ab\x1d", 3, out, on_key, NULL), 2);
	assert_true(escaped);
	/* The escape may come in one read and its key in the next. */
	assert_int_equal(terminal_filter(&escaped, (const uint8_t *)"q\x1d\x1dz", 4, out, on_key, NULL), 2);
	assert_memory_equal(out, "\x1dz", 2);
	assert_int_equal(key_count, 1);
	assert_int_equal(keys[0], 'q');
}

static void files_are_replaced_whole(void **state)
{
	char path[256], link_path[256];
	struct file_replace f;
	size_t size;
	snprintf(path, sizeof(path), "%s/file", directory);
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
	assert_int_equal(file_replace_begin(&f, path, &err), 0);
	assert_int_equal(file_write_all(f.fd, "one", 3, &err), 0);
	assert_int_equal(file_replace_commit(&f, &err), 0);
	file_replace_end(&f);
	/* One that fails leaves the old contents and nothing else. */
	assert_int_equal(file_replace_begin(&f, path, &err), 0);
	assert_int_equal(file_write_all(f.fd, "two", 3, &err), 0);
	char *temporary = strdup(f.temporary);
	file_replace_end(&f);
	assert_int_equal(access(temporary, F_OK), -1);
	free(temporary);
	/* A link is followed. */
	assert_int_equal(symlink(path, link_path), 0);
	assert_int_equal(file_replace_begin(&f, link_path, &err), 0);
	assert_int_equal(file_write_all(f.fd, "six", 3, &err), 0);
	assert_int_equal(file_replace_commit(&f, &err), 0);
	file_replace_end(&f);
	uint8_t *data = file_read(path, 100, &size, &err);
	assert_non_null(data);
	assert_int_equal(size, 3);
	assert_string_equal((char *)data, "six");
	free(data);
	assert_null(file_read(path, 2, &size, &err));
	assert_null(file_read(directory, 100, &size, &err));
	assert_int_equal(file_replace_begin(&f, directory, &err), -1);
	assert_int_equal(file_replace_begin(&f, "/dev/null", &err), -1);
}

static int seen;

static void on_machine(void *opaque, const char *name)
{
	seen++;
	assert_string_equal(name, "alpha");
}

static void machines_have_one_name_each(void **state)
{
	int fd = rundir_listen("alpha", &err);
	assert_true(fd >= 0);
	assert_int_equal(rundir_listen("alpha", &err), -1);
	assert_int_equal(err.code, EADDRINUSE);
	int client = rundir_connect("alpha", &err);
	assert_true(client >= 0);
	close(client);
	assert_int_equal(rundir_each(on_machine, NULL, &err), 0);
	assert_int_equal(seen, 1);
	/* A killed process leaves its name; the next one takes it. */
	close(fd);
	assert_int_equal(rundir_connect("alpha", &err), -1);
	assert_int_equal(err.code, ENOENT);
	fd = rundir_listen("alpha", &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rundir_each(on_machine, NULL, &err), 0);
	assert_int_equal(seen, 1);
	assert_int_equal(rundir_listen("../alpha", &err), -1);
	assert_int_equal(rundir_listen("", &err), -1);
}

static void open_run_time_directory_is_refused(void **state)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/visor", directory);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(rundir_open(&err), -1);
	assert_int_equal(chmod(path, 0700), 0);
	int fd = rundir_open(&err);
	assert_true(fd >= 0);
	close(fd);
}

static void writer_carries_all(void **state)
{
	static uint8_t data[WRITER_HIGH_WATER];
	static size_t got;
	int fds[2];
	got = 0;
	assert_int_equal(pipe(fds), 0);
	struct writer *w = writer_create(fds[1], NULL, NULL, &err);
	assert_non_null(w);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	writer_put(w, data, sizeof(data));
	uint8_t *back = malloc(sizeof(data));
	while (got < sizeof(data)) {
		ssize_t n = read(fds[0], back + got, sizeof(data) - got);
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_memory_equal(back, data, sizeof(data));
	free(back);
	close(fds[0]);
	writer_put(w, data, sizeof(data));
	assert_int_equal(writer_destroy(w), EPIPE);
	close(fds[1]);
}

static _Atomic int busy_calls[2];

static void on_busy(void *opaque, bool busy)
{
	busy_calls[busy]++;
}

static void writer_asks_for_a_pause(void **state)
{
	static uint8_t data[2 * WRITER_HIGH_WATER];
	static uint8_t sink[4096];
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	struct writer *w = writer_create(fds[1], on_busy, NULL, &err);
	writer_put(w, data, sizeof(data));
	assert_int_equal(busy_calls[true], 1);
	assert_int_equal(busy_calls[false], 0);
	for (size_t got = 0; got < sizeof(data);) {
		ssize_t n = read(fds[0], sink, sizeof(sink));
		assert_true(n > 0);
		got += (size_t)n;
	}
	for (int i = 0; i < 2000 && !busy_calls[false]; i++)
		usleep(1000);
	assert_int_equal(busy_calls[false], 1);
	assert_int_equal(writer_destroy(w), 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escape_key_is_found),
		cmocka_unit_test(files_are_replaced_whole),
		cmocka_unit_test(machines_have_one_name_each),
		cmocka_unit_test(open_run_time_directory_is_refused),
		cmocka_unit_test(writer_carries_all),
		cmocka_unit_test(writer_asks_for_a_pause),
	};
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(directory))
		return 1;
	setenv("XDG_RUNTIME_DIR", directory, 1);
	int result = cmocka_run_group_tests(tests, NULL, NULL);
	char command[300];
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command) ? 1 : result;
}
