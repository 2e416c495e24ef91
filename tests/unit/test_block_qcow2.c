/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "image_model.h"

#define MIB (1ull << 20)

static void create(const char *path, const struct image_create *more)
{
	struct image_create create = *more;
	struct error err = { 0 };
	create.path = path;
	create.format = IMAGE_QCOW2;
	if (image_create(&create, &err) < 0)
		fail_msg("%s", err.text);
}

/* Random requests, in several sittings; in the end our own check and QEMU's find nothing, and QEMU reads the same. */
static void run_model(const char *path, struct image_model *m, unsigned sittings, unsigned count)
{
	const char *raw = image_path_in_folder("model.raw");
	for (unsigned i = 0; i < sittings; i++) {
		struct image *image = image_must_open(path, false);
		image_model_compare(m, image);
		image_model_run(m, image, count);
		image_model_compare(m, image);
		assert_int_equal(image_close(image), 0);
		image_must_be_clean(path, false);
	}
	int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, m->data, m->size), m->size);
	close(fd);
	if (!image_has_qemu())
		return;
	image_command("qemu-img check -q %s", path);
	image_command("qemu-img compare -q %s %s", path, raw);
}

static void random_requests(void **state)
{
	static const struct image_create kinds[] = {
		{ .size = 40 * MIB },
		{ .size = 40 * MIB, .version = 2 },
		{ .size = 8 * MIB + 512, .cluster_size = 512 },
		{ .size = 8 * MIB + 1536, .cluster_size = 4096, .lazy_refcounts = true },
		{ .size = 40 * MIB, .cluster_size = 2 << 20 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *path = image_path_in_folder("random.qcow2");
		struct image_model m;
		image_model_init(&m, kinds[i].size, i + 1);
		create(path, &kinds[i]);
		run_model(path, &m, 3, 300);
		image_model_free(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	image_folder_remove();
	return failed;
}
