/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "small_machine.h"
#include "state/stream.h"
#include "vm/snapshot.h"

/* Save files of other versions: a machine's with fewer devices, and one that lacks what every version has. */

static struct error err;
static struct snapshot saved;

static int save(void **state)
{
	char path[] = "/tmp/visor-snapshot-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	struct machine *m = small_machine_create(2);
	assert_non_null(m);
	m->cpus[1]->gpr[3] = 0x1234;
	assert_int_equal(snapshot_save(m, path, &err), 0);
	small_machine_destroy(m);
	assert_int_equal(snapshot_open(&saved, path, &err), 0);
	unlink(path);
	return 0;
}

static int forget(void **state)
{
	snapshot_close(&saved);
	return 0;
}

static int write_to_buffer(void *opaque, const void *data, size_t size, struct error *e)
{
	buffer_put(opaque, data, size);
	return 0;
}

/* What was saved without the object of this name, laid into a new machine. */
static int load_without(const char *name)
{
	struct buffer file = { 0 };
	struct stream_writer writer = { .write = write_to_buffer, .opaque = &file };
	struct stream_reader reader;
	struct stream_section s;
	struct snapshot snapshot;
	unsigned left_out = 0;
	assert_int_equal(stream_read_header(&reader, saved.data, saved.size, &err), 0);
	assert_int_equal(stream_write_header(&writer, &err), 0);
	while (stream_read_section(&reader, &s, &err) > 0) {
		const struct buffer payload = { .data = (uint8_t *)s.payload, .size = s.size };
		if (s.kind == STREAM_OBJECT && !strcmp(s.name, name))
			left_out++;
		else
			assert_int_equal(stream_write_section(&writer, s.kind, s.name, &payload, &err), 0);
	}
	assert_int_equal(stream_write_end(&writer, &err), 0);
	assert_int_equal(left_out, *name != 0);
	assert_int_equal(snapshot_parse(&snapshot, file.data, file.size, &err), 0);
	struct machine *m = small_machine_create(2);
	assert_non_null(m);
	int result = snapshot_load(&snapshot, m, &err);
	assert_true(result < 0 || m->cpus[1]->gpr[3] == 0x1234);
	small_machine_destroy(m);
	snapshot_close(&snapshot);
	buffer_free(&file);
	return result;
}

static void whole_file_loads(void **state)
{
	assert_int_equal(load_without(""), 0);
}

static void devices_may_have_been_added(void **state)
{
	assert_int_equal(load_without("vga"), 0);
	assert_int_equal(load_without("ide"), 0);
}

static void every_processor_is_wanted(void **state)
{
	assert_int_equal(load_without("cpu1"), -1);
	assert_non_null(strstr(err.text, "1 processors"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_file_loads),
		cmocka_unit_test(devices_may_have_been_added),
		cmocka_unit_test(every_processor_is_wanted),
	};
	return cmocka_run_group_tests(tests, save, forget);
}
