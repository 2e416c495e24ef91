/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "image_exercise.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/partition.h"

#define STEPS 64
#define PIECE (64u << 10)

static char folder[64], path[96];

static void remove_folder(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", folder);
	if (system(command))
		perror(folder);
}

static const char *file_with(const void *data, size_t size)
{
	if (!*folder) {
		snprintf(folder, sizeof(folder), "%s/visor-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
		fuzz_require(mkdtemp(folder));
		snprintf(path, sizeof(path), "%s/image", folder);
		atexit(remove_folder);
	}
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	return path;
}

static void *file_content(size_t *size)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	fuzz_require(fd >= 0 && fstat(fd, &st) == 0);
	void *data = malloc((size_t)st.st_size + 1);
	*size = (size_t)st.st_size;
	fuzz_require(read(fd, data, *size) == (ssize_t)*size);
	close(fd);
	return data;
}

/* Offsets all over the disk: its ends, and some between. */
static uint64_t some_offset(struct image *image, unsigned step, uint64_t *length)
{
	uint64_t size = image_size(image), sectors = size / 512;
	*length = MIN(size, (uint64_t)(step % 3 == 0 ? 512 : step % 3 == 1 ? 8192 : PIECE));
	uint64_t offset = step % 4 == 0 ? 0 : step % 4 == 1 ? size - *length : sectors * 0x9e3779b97f4a7c15ull * step % sectors * 512;
	return MIN(offset, size - *length);
}

static void look_at_partitions(struct image *image)
{
	static struct partitions p;
	if (partitions_read(image, &p, NULL) < 0)
		return;
	fuzz_require(p.count <= PARTITIONS_MAX);
	for (unsigned i = 0; i < p.count; i++) {
		const struct partition *at = &p.at[i];
		fuzz_require(at->length && at->offset < image_size(image) && at->length <= image_size(image) - at->offset);
		fuzz_require(at->offset % 512 == 0 && strnlen(at->name, sizeof(at->name)) < sizeof(at->name));
		partition_content(image, at->offset, at->length);
	}
	partition_content(image, 0, image_size(image));
}

static void look(struct image *image)
{
	uint64_t size = image_size(image), offset = 0, length;
	static uint8_t buffer[PIECE];
	struct image_check check = { 0 };
	json_decref(image_info(image));
	for (unsigned i = 0; i < STEPS && offset < size; i++, offset += length) {
		enum image_content content;
		length = size - offset;
		if (image_content(image, offset, true, &content, &length))
			break;
		fuzz_require(length && length % 512 == 0 && length <= size - offset && content != IMAGE_BEHIND);
	}
	for (unsigned i = 0; i < 12; i++) {
		offset = some_offset(image, i, &length);
		image_read(image, buffer, offset, length);
	}
	image_check(image, &check, NULL);
	look_at_partitions(image);
}

static void change(struct image *image)
{
	static uint8_t buffer[PIECE];
	uint64_t length;
	memset(buffer, 0x5a, sizeof(buffer));
	for (unsigned i = 0; i < 20; i++) {
		uint64_t offset = some_offset(image, i, &length);
		if (i % 5 == 2)
			image_zero(image, offset, length, i & 1);
		else if (i % 5 == 4)
			image_discard(image, offset, length);
		else
			image_write(image, buffer, offset, length);
		if (i % 7 == 6)
			image_flush(image);
	}
	if (image_unit(image) <= PIECE)
		image_write_compressed(image, buffer, 0);
	if (image_size(image) < 1u << 30)
		image_resize(image, image_size(image) + PIECE, NULL);
}

static void mend(struct image *image)
{
	struct image_check check = { .repair = true };
	image_check(image, &check, NULL);
}

static void open_and(void (*act)(struct image *image), enum image_format format, bool read_only, bool repair)
{
	const struct image_config config = { .path = path, .format = (int)format, .read_only = read_only, .alone = true, .repair = repair };
	struct image *image = image_open(&config, NULL);
	if (image)
		act(image);
	image_close(image);
}

void image_exercise(enum image_format format, const uint8_t *data, size_t size)
{
	log_threshold = LOG_QUIET;
	file_with(data, size);
	open_and(look, format, true, false);
	open_and(change, format, false, false);
	open_and(look, format, true, false);
	open_and(mend, format, false, true);
	open_and(change, format, false, false);
}

static void write_some(struct image *image)
{
	static uint8_t buffer[4096];
	for (unsigned i = 0; i < 6; i++) {
		memset(buffer, 'a' + (int)i, sizeof(buffer));
		fuzz_require(image_write(image, buffer, i * 2 * sizeof(buffer), sizeof(buffer)) == 0);
	}
	for (unsigned i = 12; i < 16; i++)
		if (image_unit(image) == sizeof(buffer))
			image_write_compressed(image, buffer, i * sizeof(buffer));
	fuzz_require(image_zero(image, 2 * sizeof(buffer), sizeof(buffer), true) == 0);
}

uint8_t *image_start(const struct image_create *create, size_t *size)
{
	struct image_create filled = *create;
	struct error err;
	file_with("", 0);
	unlink(path);
	filled.path = path;
	if (image_create(&filled, &err) < 0)
		fuzz_failed(__FILE__, __LINE__, err.text);
	return file_content(size);
}

void image_seed(const struct image_create *create, const uint8_t *start, size_t size, fuzz_seed_fn *emit, void *opaque, const char *name)
{
	const struct image_config config = { .path = path, .format = (int)create->format, .alone = true };
	struct error err = { 0 };
	if (start)
		file_with(start, size);
	else
		free(image_start(create, &size));
	struct image *image = image_open(&config, &err);
	if (!image)
		fuzz_failed(__FILE__, __LINE__, err.text);
	fuzz_require(image);
	write_some(image);
	fuzz_require(image_close(image) == 0);
	uint8_t *data = file_content(&size);
	emit(opaque, name, data, size);
	free(data);
}
