/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "image_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

#define MAX_REQUEST (1u << 20)

void image_model_init(struct image_model *model, uint64_t size, uint64_t seed)
{
	*model = (struct image_model){ .size = size, .state = seed * 0x9e3779b97f4a7c15ull + 1 };
	model->data = calloc(1, size);
	model->buffer = malloc(size);
	assert_non_null(model->data);
	assert_non_null(model->buffer);
}

void image_model_free(struct image_model *model)
{
	free(model->data);
	free(model->buffer);
}

uint64_t image_model_random(struct image_model *model, uint64_t below)
{
	model->state ^= model->state << 13;
	model->state ^= model->state >> 7;
	model->state ^= model->state << 17;
	return (model->state * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* Mostly small; often at the edge of a large power of two. */
static void choose_range(struct image_model *m, uint64_t *offset, uint64_t *length)
{
	uint64_t max = image_model_random(m, 8) ? 32 << 10 : MAX_REQUEST;
	*length = (1 + image_model_random(m, MIN(max, m->size) / 512)) * 512;
	if (!image_model_random(m, 4))
		*length = MIN(ALIGN_UP(*length, (uint64_t)(64 << 10)), m->size);
	*offset = image_model_random(m, (m->size - *length) / 512 + 1) * 512;
	if (!image_model_random(m, 3))
		*offset = MIN(ALIGN_DOWN(*offset, (uint64_t)(64 << 10)), m->size - *length);
}

static void write_some(struct image_model *m, struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t word = image_model_random(m, UINT64_MAX);
	for (uint64_t i = 0; i < length; i += 8)
		store_le64(m->data + offset + i, word + i * 0x9e3779b9);
	/* In two pieces, so that iovecs are taken apart. */
	uint64_t cut = image_model_random(m, length);
	const struct iovec iov[] = { { m->data + offset, cut }, { m->data + offset + cut, length - cut } };
	assert_int_equal(image_writev(image, iov, 2, offset, length), 0);
}

static void read_some(struct image_model *m, struct image *image, uint64_t offset, uint64_t length)
{
	memset(m->buffer, 0xee, length);
	assert_int_equal(image_read(image, m->buffer, offset, length), 0);
	if (memcmp(m->buffer, m->data + offset, length)) {
		uint64_t i = 0;
		while (m->buffer[i] == m->data[offset + i])
			i++;
		fail_msg("byte %llu of the disk is %02x instead of %02x (read of %llu at %llu)", (unsigned long long)(offset + i), m->buffer[i],
			 m->data[offset + i], (unsigned long long)length, (unsigned long long)offset);
	}
}

/* Afterwards each sector is what it was, or zeros. */
static void discard_some(struct image_model *m, struct image *image, uint64_t offset, uint64_t length)
{
	static const uint8_t zeros[512];
	assert_int_equal(image_discard(image, offset, length), 0);
	assert_int_equal(image_read(image, m->buffer, offset, length), 0);
	for (uint64_t i = 0; i < length; i += 512) {
		if (memcmp(m->buffer + i, zeros, 512))
			assert_memory_equal(m->buffer + i, m->data + offset + i, 512);
		memcpy(m->data + offset + i, m->buffer + i, 512);
	}
}

void image_model_run(struct image_model *m, struct image *image, unsigned count)
{
	while (count--) {
		uint64_t offset, length;
		choose_range(m, &offset, &length);
		switch (image_model_random(m, 12)) {
		default:
			write_some(m, image, offset, length);
			break;
		case 0: case 1: case 2:
			read_some(m, image, offset, length);
			break;
		case 3: case 4:
			assert_int_equal(image_zero(image, offset, length, image_model_random(m, 2)), 0);
			memset(m->data + offset, 0, length);
			break;
		case 5:
			discard_some(m, image, offset, length);
			break;
		case 6:
			assert_int_equal(image_flush(image), 0);
			break;
		}
	}
}

void image_model_compare(struct image_model *m, struct image *image)
{
	assert_int_equal(image_size(image), m->size);
	read_some(m, image, 0, m->size);
}

/* --- files --- */

static char folder[64];

const char *image_path_in_folder(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];
	if (!*folder) {
		/* In memory where that is possible: each flush waits for the disk. */
		snprintf(folder, sizeof(folder), "%s/visor-image-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
		assert_non_null(mkdtemp(folder));
	}
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	unlink(path);
	return path;
}

void image_folder_remove(void)
{
	if (*folder)
		image_command("rm -r %s", folder);
	*folder = 0;
}

void image_command(const char *format, ...)
{
	char command[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (system(command))
		fail_msg("it failed: %s", command);
}

bool image_has_qemu(void)
{
	return system("qemu-img --version >/dev/null 2>&1") == 0;
}

struct image *image_must_open(const char *path, bool read_only)
{
	const struct image_config config = { .path = path, .format = IMAGE_BY_CONTENT, .read_only = read_only };
	struct error err = { 0 };
	struct image *image = image_open(&config, &err);
	if (!image)
		fail_msg("%s", err.text);
	return image;
}

static void print_finding(void *opaque, const char *text)
{
	if (strncmp(text, "leak", 4))
		print_message("%s\n", text);
}

void image_must_be_clean(const char *path, bool leaks)
{
	struct image *image = image_must_open(path, true);
	struct image_check check = { .report = print_finding };
	struct error err = { 0 };
	if (image_check(image, &check, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(check.errors, 0);
	if (!leaks)
		assert_int_equal(check.leaks, 0);
	image_close(image);
}
