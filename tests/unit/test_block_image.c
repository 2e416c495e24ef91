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
	if (image_create(&create, &err) < 0)
		fail_msg("%s", err.text);
}

static void write_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

static bool qemu_knows(const struct image_create *kind)
{
	return image_has_qemu() && (kind->format == IMAGE_QCOW2 || !kind->backing);
}

static bool can_be_checked(enum image_format format)
{
	return format != IMAGE_RAW;
}

/* Random requests, in several sittings; in the end our own check and QEMU's find nothing, and QEMU reads the same. */
static void run_model(const char *path, const struct image_create *kind, struct image_model *m, unsigned sittings, unsigned count)
{
	const char *raw = image_path_in_folder("model.raw");
	for (unsigned i = 0; i < sittings; i++) {
		struct image *image = image_must_open(path, false);
		image_model_compare(m, image);
		image_model_run(m, image, count);
		image_model_compare(m, image);
		assert_int_equal(image_close(image), 0);
		if (can_be_checked(kind->format))
			image_must_be_clean(path, false);
	}
	write_file(raw, m->data, m->size);
	if (!qemu_knows(kind))
		return;
	if (kind->format == IMAGE_QCOW2)
		image_command("qemu-img check -q %s", path);
	image_command("qemu-img compare -q -f %s %s -F raw %s", kind->format == IMAGE_VHD ? "vpc" : image_format_names[kind->format], path, raw);
}

static const struct image_create kinds[] = {
	{ .format = IMAGE_RAW, .size = 9 * MIB + 512 },
	{ .format = IMAGE_QCOW2, .size = 40 * MIB },
	{ .format = IMAGE_QCOW2, .size = 40 * MIB, .version = 2 },
	{ .format = IMAGE_QCOW2, .size = 8 * MIB + 512, .cluster_size = 512 },
	{ .format = IMAGE_QCOW2, .size = 8 * MIB + 1536, .cluster_size = 4096, .lazy_refcounts = true },
	{ .format = IMAGE_QCOW2, .size = 40 * MIB, .cluster_size = 2 << 20 },
	{ .format = IMAGE_VDI, .size = 19 * MIB + 512 },
	{ .format = IMAGE_VDI, .size = 9 * MIB, .fixed = true },
	{ .format = IMAGE_VHD, .size = 19 * MIB + 512 },
	{ .format = IMAGE_VHD, .size = 9 * MIB, .fixed = true },
	{ .format = IMAGE_VMDK, .size = 49 * MIB + 512 },
	{ .format = IMAGE_VMDK, .size = 9 * MIB, .fixed = true },
};

static const char *path_of(const struct image_create *kind, const char *name)
{
	char file[64];
	snprintf(file, sizeof(file), "%s.%s", name, image_format_names[kind->format]);
	return image_path_in_folder(file);
}

static void random_requests(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *path = path_of(&kinds[i], "random");
		struct image_model m;
		image_model_init(&m, kinds[i].size, i + 1);
		create(path, &kinds[i]);
		run_model(path, &kinds[i], &m, 3, 300);
		image_model_free(&m);
		unlink(path);
	}
}

/* The same on images with others behind them: a shorter one, and that on a third. */
static void random_requests_on_a_chain(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct image_create kind = kinds[i];
		const char *paths[3];
		struct image_model m;
		if (kind.format == IMAGE_RAW || kind.fixed)
			continue;
		image_model_init(&m, kind.size, i + 100);
		m.size = kind.size = 6 * MIB;
		for (unsigned depth = 0; depth < 3; depth++) {
			char name[16];
			snprintf(name, sizeof(name), "chain%u", depth);
			paths[depth] = path_of(&kind, name);
			create(paths[depth], &kind);
			run_model(paths[depth], &kind, &m, 1, 60);
			kind.backing = strrchr(paths[depth], '/') + 1;
			m.size = kind.size = kind.size + MIB;
		}
		for (unsigned depth = 0; depth < 3; depth++)
			unlink(paths[depth]);
		image_model_free(&m);
	}
}

static void size_changes(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *path = path_of(&kinds[i], "resize");
		struct image_create kind = kinds[i];
		struct image_model m;
		struct error err = { 0 };
		image_model_init(&m, kind.size + 20 * MIB, i + 200);
		m.size = kind.size = 3 * MIB;
		if ((kind.format == IMAGE_VDI && kind.fixed) || kind.format == IMAGE_VMDK) {
			image_model_free(&m);
			continue; /* it says so */
		}
		create(path, &kind);
		for (unsigned n = 0; n < 4; n++) {
			run_model(path, &kind, &m, 1, 60);
			struct image *image = image_must_open(path, false);
			m.size += 3 * MIB + 512;
			if (image_resize(image, m.size, &err) < 0)
				fail_msg("%s", err.text);
			image_model_compare(&m, image);
			assert_int_equal(image_close(image), 0);
		}
		run_model(path, &kind, &m, 1, 60);
		image_model_free(&m);
		unlink(path);
	}
}

static void shrunk_images_forget(void **state)
{
	static const struct image_create smaller[] = {
		{ .format = IMAGE_RAW, .size = 4 * MIB }, { .format = IMAGE_QCOW2, .size = 4 * MIB }, { .format = IMAGE_VHD, .size = 4 * MIB, .fixed = true },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(smaller); i++) {
		const char *path = path_of(&smaller[i], "shrink");
		struct image_model m;
		struct error err = { 0 };
		image_model_init(&m, smaller[i].size, i + 300);
		create(path, &smaller[i]);
		run_model(path, &smaller[i], &m, 1, 60);
		struct image *image = image_must_open(path, false);
		assert_int_equal(image_resize(image, MIB + 512, &err), 0);
		assert_int_equal(image_resize(image, 4 * MIB, &err), 0);
		memset(m.data + MIB + 512, 0, 3 * MIB - 512);
		image_model_compare(&m, image);
		assert_int_equal(image_close(image), 0);
		run_model(path, &smaller[i], &m, 1, 60);
		image_model_free(&m);
		unlink(path);
	}
}

/* A guest must not turn its disk into something that names files of the host. */
static void guessed_raw_stays_raw(void **state)
{
	static const struct {
		const char *magic;
		unsigned length;
		uint64_t at;
	} marks[] = {
		{ "QFI\xfb", 4, 0 }, { "QFI\xfb\0\0\0\3", 8, 0 }, { "KDMV", 4, 0 }, { "COWD", 4, 0 }, { "# Disk DescriptorFile\n", 22, 0 },
		{ "conectix", 8, 0 }, { "vhdxfile", 8, 0 }, { "\x7f\x10\xda\xbe", 4, 0x40 },
	};
	const char *path = image_path_in_folder("guessed.img");
	const struct image_create kind = { .format = IMAGE_RAW, .size = MIB };
	const struct image_config told = { .path = path, .format = IMAGE_RAW };
	uint8_t sectors[1024] = { 0 };
	struct error err;
	create(path, &kind);
	for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
		struct image *image = image_must_open(path, false);
		assert_true(image_guessed(image));
		memset(sectors, 0, sizeof(sectors));
		memcpy(sectors + marks[i].at, marks[i].magic, marks[i].length);
		assert_int_equal(image_write(image, sectors, 0, 512), EPERM);
		assert_int_equal(image_write(image, sectors, 0, 1024), EPERM);
		assert_int_equal(image_write(image, sectors, 512, 1024), 0);
		assert_true(image_direct(image, true, 0, 512) < 0 && image_direct(image, true, MIB - 512, 512) < 0);
		image_close(image);
		image = image_open(&told, &err);
		assert_non_null(image);
		assert_false(image_guessed(image));
		assert_int_equal(image_write(image, sectors, 0, 512), 0);
		memset(sectors, 0, sizeof(sectors));
		assert_int_equal(image_write(image, sectors, 0, 512), 0);
		image_close(image);
	}
	struct image *image = image_must_open(path, false);
	memcpy(sectors, "conectix", 8);
	sectors[63] = 2; /* a fixed VHD's footer */
	assert_int_equal(image_write(image, sectors, MIB - 512, 512), EPERM);
	memset(sectors, 0xeb, sizeof(sectors)); /* a boot sector */
	assert_int_equal(image_write(image, sectors, 0, 512), 0);
	image_close(image);
	unlink(path);
}

/* Too many to name are refused, and an image that is behind itself. */
static void endless_chains_are_refused(void **state)
{
	struct image_create kind = { .format = IMAGE_QCOW2, .size = MIB };
	const char *path = image_path_in_folder("self.qcow2");
	const struct image_config config = { .path = path, .format = IMAGE_BY_CONTENT, .read_only = true };
	const struct image_config alone = { .path = path, .format = IMAGE_BY_CONTENT, .alone = true };
	struct error err = { 0 };
	create(path, &kind);
	struct image *image = image_open(&alone, &err);
	assert_int_equal(image_set_backing(image, "self.qcow2", "qcow2", &err), 0);
	image_close(image);
	assert_null(image_open(&config, &err));
	assert_int_equal(err.code, ELOOP);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests),
		cmocka_unit_test(random_requests_on_a_chain),
		cmocka_unit_test(size_changes),
		cmocka_unit_test(shrunk_images_forget),
		cmocka_unit_test(guessed_raw_stays_raw),
		cmocka_unit_test(endless_chains_are_refused),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	image_folder_remove();
	return failed;
}
