/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "block/format.h"
#include "host/random.h"

#define MAX_DEPTH 64

const char *const image_format_names[IMAGE_FORMATS + 1] = { "raw", "qcow2", "vdi", "vhd", "vmdk", "vhdx", NULL };

/* In the order of probing: what is recognised best first, what fits everything last. */
static const struct image_ops *const formats[] = { &qcow2_ops, &vdi_ops, &vmdk_ops, &vhdx_ops, &vhd_ops, &raw_ops };

static const struct image_ops *ops_of(enum image_format format)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i]->format == format)
			return formats[i];
	return NULL;
}

int image_format_by_name(const char *name, struct error *err)
{
	if (!strcasecmp(name, "vpc"))
		return IMAGE_VHD;
	for (int i = 0; i < IMAGE_FORMATS; i++)
		if (!strcasecmp(name, image_format_names[i]))
			return i;
	return error_set(err, EINVAL, "'%s' is no image format; choose from: raw, qcow2, vdi, vhd, vmdk, vhdx", name);
}

static const struct image_ops *match(const uint8_t *head, size_t size, const uint8_t *tail)
{
	size_t i = 0;
	while (!formats[i]->probe(head, size, tail))
		i++;
	return formats[i];
}

bool image_looks_raw(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return match(head, size, tail) == &raw_ops;
}

int image_probe(struct hostfile *file, const struct image_ops **ops, struct error *err)
{
	uint8_t head[PROBE_SIZE], tail[BLOCK_SECTOR];
	uint64_t size;
	int error = hostfile_size(file, &size);
	if (!error)
		error = hostfile_read(file, head, sizeof(head), 0);
	if (!error)
		error = hostfile_read(file, tail, sizeof(tail), size > sizeof(tail) ? size - sizeof(tail) : 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", file->path, strerror(error));
	*ops = match(head, (size_t)MIN(size, (uint64_t)sizeof(head)), tail);
	return 0;
}

char *image_relative(const char *base, const char *name)
{
	const char *slash = strrchr(base, '/');
	char *path = NULL;
	if (*name == '/' || !slash)
		return strdup(name);
	return asprintf(&path, "%.*s%s", (int)(slash - base) + 1, base, name) < 0 ? NULL : path;
}

void image_new_uuid(uint8_t uuid[UUID_SIZE])
{
	host_random(uuid, UUID_SIZE);
	/* RFC 4122, 4.4 */
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

const char *image_uuid_text(const uint8_t uuid[UUID_SIZE], bool swapped, char room[40])
{
	static const uint8_t order[2][UUID_SIZE] = {
		{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }, { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 },
	};
	char *p = room;
	for (unsigned i = 0; i < UUID_SIZE; i++)
		p += sprintf(p, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[order[swapped][i]]);
	return room;
}

char *image_windows_path(const uint8_t *p, unsigned bytes, bool big_endian)
{
	char *path = malloc(bytes * 2 + 1), *to = path;
	for (unsigned i = 0; path && i + 2 <= bytes; i += 2) {
		unsigned c = big_endian ? load_be16(p + i) : load_le16(p + i);
		if (!c)
			break;
		if (c == '\\')
			c = '/';
		to = put_utf8(to, c);
	}
	if (path)
		*to = 0;
	return path;
}

static struct image *make(const struct image_ops *ops, struct hostfile *file, bool read_only)
{
	struct image *image = calloc(1, ops->instance_size);
	pthread_rwlockattr_t attr;
	if (!image)
		return NULL;
	image->ops = ops;
	image->file = file;
	image->read_only = read_only;
	image->backing_format = IMAGE_BY_CONTENT;
	image->physical_block = hostfile_physical_block(file);
	image->unpacked_offset = UINT64_MAX;
	/* Readers come one after the other without a gap under load: whoever needs the image alone must not wait for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&image->use, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&image->tables, NULL);
	pthread_mutex_init(&image->unpacking, NULL);
	return image;
}

int image_close(struct image *image)
{
	if (!image)
		return 0;
	int error = image->changed ? image_flush(image) : 0;
	image->ops->close(image);
	meta_destroy(image->meta);
	hostfile_close(image->file);
	image_close(image->backing);
	pthread_rwlock_destroy(&image->use);
	pthread_mutex_destroy(&image->tables);
	pthread_mutex_destroy(&image->unpacking);
	free(image->unpacked);
	free(image->backing_name);
	free(image);
	return error;
}

int image_finish(struct image *image, int rc, struct error *err)
{
	cleanup_free char *path = image ? strdup(image->file->path) : NULL;
	int error = image_close(image);
	return rc == 0 && error ? error_set(err, error, "%s: cannot write it: %s", path ? path : "the image", strerror(error)) : rc;
}

static struct image *open_chain(const struct image_config *config, unsigned depth, struct error *err);

static int open_backing(struct image *image, const struct image_config *config, unsigned depth, struct error *err)
{
	cleanup_free char *path = NULL;
	if (config->backing)
		path = strdup(config->backing);
	else if (image->backing_name)
		path = image_relative(image->file->path, image->backing_name);
	else
		return 0;
	if (!path)
		return error_set(err, ENOMEM, "out of memory for disk image %s", image->file->path);
	if (depth == MAX_DEPTH)
		return error_set(err, ELOOP, "%s: more than %d images behind it, or one that is behind itself", image->file->path, MAX_DEPTH);
	const struct image_config backing = {
		.path = path, .format = config->backing ? IMAGE_BY_CONTENT : image->backing_format, .read_only = true,
	};
	image->backing = open_chain(&backing, depth + 1, err);
	return image->backing ? 0 : error_prefix(err, "the image behind %s", image->file->path);
}

static const struct image_ops *choose(struct hostfile *file, int format, struct error *err)
{
	const struct image_ops *ops = NULL;
	if (format == IMAGE_BY_CONTENT)
		image_probe(file, &ops, err);
	else if (!(ops = ops_of(format)))
		error_set(err, ENOTSUP, "%s: format %s is not supported", file->path, image_format_names[format]);
	return ops;
}

static int check_size(const struct image *image, struct error *err)
{
	return image->size ? 0 : error_set(err, EINVAL, "%s: its disk has a size of 0; make a new image", image->file->path);
}

static int check_shared(const struct image *image, const struct image_config *config, struct error *err)
{
	if (!config->shared || image->in_place)
		return 0;
	return error_set(err, EINVAL, "%s: a %s image with tables cannot be shared, since they would be changed by two at once; raw and fixed VHD images "
			 "can ('visor disk convert' makes them)", image->file->path, image_format_names[image->ops->format]);
}

static struct hostfile *open_file(const struct image_config *config, struct error *err)
{
	bool read_only = config->read_only || config->snapshot;
	if (config->unlocked)
		return hostfile_open_unlocked(config->path, err);
	return config->shared ? hostfile_open_shared(config->path, read_only, err) : hostfile_open(config->path, read_only, err);
}

int image_reserve(struct image *image, bool on)
{
	return hostfile_reserve(image->file, on);
}

bool image_reserved(struct image *image)
{
	return hostfile_reserved(image->file);
}

static struct image *open_chain(const struct image_config *config, unsigned depth, struct error *err)
{
	struct hostfile *file = open_file(config, err);
	const struct image_ops *ops = file ? choose(file, config->format, err) : NULL;
	struct image *image = ops ? make(ops, file, file->read_only) : NULL;
	if (!image) {
		if (ops)
			error_set(err, ENOMEM, "out of memory for disk image %s", config->path);
		hostfile_close(file);
		return NULL;
	}
	image->guessed = ops == &raw_ops && config->format == IMAGE_BY_CONTENT;
	if (ops->open(image, config, err) == 0 && check_size(image, err) == 0 && check_shared(image, config, err) == 0 && (config->alone || open_backing(image, config, depth, err) == 0) &&
	    (!ops->chained || !image->backing || ops->chained(image, err) == 0))
		return image;
	image_close(image);
	return NULL;
}

struct image *image_open(const struct image_config *config, struct error *err)
{
	return open_chain(config, 0, err);
}

int image_broken(struct image *image, const char *format, ...)
{
	char text[200];
	va_list arguments;
	if (image->is_broken)
		return EIO;
	image->is_broken = true;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_error("disk image %s is damaged: %s; it is not written any more, 'visor disk check %s' shows more", image->file->path, text,
		  image->file->path);
	if (image->ops->broken && !image->read_only)
		image->ops->broken(image);
	return EIO;
}

const char *image_path(const struct image *image)
{
	return image->file->path;
}

enum image_format image_format(const struct image *image)
{
	return image->ops->format;
}

uint64_t image_size(const struct image *image)
{
	return image->size;
}

bool image_read_only(const struct image *image)
{
	return image->read_only;
}

bool image_guessed(const struct image *image)
{
	return image->guessed;
}

struct image *image_backing(struct image *image)
{
	return image->backing;
}

unsigned image_physical_block(const struct image *image)
{
	return image->physical_block;
}

uint32_t image_unit(const struct image *image)
{
	return image->unit;
}

static int refuse(const struct image *image, const char *what, struct error *err)
{
	return error_set(err, ENOTSUP, "%s: %s is not possible for format %s; 'visor disk convert' to qcow2 helps", image->file->path, what,
			 image_format_names[image->ops->format]);
}

/* What is new reads as zeros, not as what was cut off once or what an image behind has there. */
static int clear_new(struct image *image, uint64_t old, struct error *err)
{
	uint64_t end = ALIGN_UP(old, (uint64_t)image->unit);
	if (image->backing)
		end = MAX(end, image->backing->size);
	end = MIN(end, image->size);
	int error = image->ops->place && end > old ? image_zero(image, old, end - old, true) : 0;
	return error ? error_set(err, error, "%s: cannot clear the new part: %s", image->file->path, strerror(error)) : 0;
}

int image_resize(struct image *image, uint64_t size, struct error *err)
{
	if (!image->ops->resize)
		return refuse(image, "another size", err);
	if (!size || size % BLOCK_SECTOR)
		return error_set(err, EINVAL, "%s: the size must be a multiple of 512 bytes", image->file->path);
	pthread_rwlock_wrlock(&image->use);
	image->changed = true;
	image->unpacked_offset = UINT64_MAX;
	int rc = image->is_broken ? error_set(err, EIO, "%s is damaged; mend it with 'visor disk check --repair'", image->file->path)
				  : image->ops->resize(image, size, err);
	uint64_t old = image->size;
	if (rc == 0)
		image->size = size;
	pthread_rwlock_unlock(&image->use);
	return rc == 0 && size > old ? clear_new(image, old, err) : rc;
}

int image_set_backing(struct image *image, const char *path, const char *format, struct error *err)
{
	if (!image->ops->set_backing)
		return refuse(image, "another image behind it", err);
	pthread_rwlock_wrlock(&image->use);
	int rc = image->ops->set_backing(image, path, format, err);
	pthread_rwlock_unlock(&image->use);
	return rc;
}

int image_empty(struct image *image)
{
	if (!image->ops->clear)
		return ENOTSUP;
	pthread_rwlock_wrlock(&image->use);
	image->changed = true;
	image->unpacked_offset = UINT64_MAX;
	int error = image->is_broken ? EIO : image->ops->clear(image);
	pthread_rwlock_unlock(&image->use);
	return error;
}

int image_check(struct image *image, struct image_check *check, struct error *err)
{
	if (!image->ops->check)
		return error_set(err, ENOTSUP, "%s: format %s has nothing that could be checked", image->file->path,
				 image_format_names[image->ops->format]);
	check->errors = check->leaks = check->errors_fixed = check->leaks_fixed = check->allocated = check->compressed = 0;
	pthread_rwlock_wrlock(&image->use);
	int error = image->read_only ? 0 : image_sync_alone(image);
	int rc = error ? error_set(err, error, "%s: cannot write to it: %s", image->file->path, strerror(error))
		       : image->ops->check(image, check, err);
	pthread_rwlock_unlock(&image->use);
	return rc;
}

json_t *image_info(struct image *image)
{
	uint64_t file_size = 0;
	hostfile_size(image->file, &file_size);
	json_t *info = json_pack("{s:s%, s:s, s:I, s:I, s:I}", "path", image->file->path, strlen(image->file->path), "format",
				 image_format_names[image->ops->format], "size", (json_int_t)image->size, "file_size",
				 (json_int_t)file_size, "allocated", (json_int_t)hostfile_allocated(image->file));
	if (info && image->backing_name)
		json_object_set_new(info, "backing", json_string(image->backing_name));
	if (info && image->backing_name && image->backing_format != IMAGE_BY_CONTENT)
		json_object_set_new(info, "backing_format", json_string(image_format_names[image->backing_format]));
	if (info && image->ops->info && image->ops->info(image, info) < 0) {
		json_decref(info);
		return NULL;
	}
	return info;
}

static int fill_new(struct hostfile *file, struct image_create *create, struct image *backing, struct error *err)
{
	const struct image_ops *ops = ops_of(create->format);
	if (!ops || !ops->create)
		return error_set(err, ENOTSUP, "%s: images of format %s cannot be made; choose another format", create->path,
				 image_format_names[create->format]);
	if (!create->size && backing)
		create->size = backing->size;
	if (!create->size || create->size > INT64_MAX - 511)
		return error_set(err, EINVAL, "%s: a disk needs a size from 512 bytes to 8 EiB", create->path);
	create->size = ALIGN_UP(create->size, (uint64_t)BLOCK_SECTOR);
	if (backing && !create->backing_format)
		create->backing_format = image_format_names[backing->ops->format];
	if (ops->create(file, create, backing, err) < 0)
		return -1;
	int error = hostfile_sync(file);
	return error ? error_set(err, error, "%s: cannot write it to the disk: %s", create->path, strerror(error)) : 0;
}

int image_create(const struct image_create *create, struct error *err)
{
	struct image_create filled = *create;
	struct image *backing = NULL;
	if (create->backing) {
		cleanup_free char *path = image_relative(create->path, create->backing);
		struct image_config config = { .path = path, .format = IMAGE_BY_CONTENT, .read_only = true };
		if (create->backing_format && (config.format = image_format_by_name(create->backing_format, err)) < 0)
			return -1;
		backing = path ? image_open(&config, err) : NULL;
		if (!backing)
			return path ? error_prefix(err, "the image behind %s", create->path) : error_set(err, ENOMEM, "out of memory");
	}
	struct hostfile *file = hostfile_create(create->path, err);
	int rc = file ? fill_new(file, &filled, backing, err) : -1;
	if (file && rc < 0)
		unlink(create->path);
	hostfile_close(file);
	image_close(backing);
	return rc;
}
