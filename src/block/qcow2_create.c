/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "block/qcow2.h"

#define DEFAULT_CLUSTER (64u << 10)

/* --- the first cluster --- */

static size_t put_extension(uint8_t *p, uint32_t type, const void *data, size_t length)
{
	store_be32(p, type);
	store_be32(p + 4, (uint32_t)length);
	memset(p + 8, 0, ALIGN_UP(length, 8));
	memcpy(p + 8, data, length);
	return 8 + ALIGN_UP(length, 8);
}

/* The extensions of `old` (NULL: none) but the one that names a format, then that, the end, and the name of the image behind. */
static int put_rest(uint8_t *cluster, uint32_t at, uint64_t size, const uint8_t *old, uint64_t old_end, const char *path, const char *format)
{
	uint64_t from = at, need = 24 + (path ? strlen(path) + (format ? strlen(format) + 16 : 0) : 0);
	while (old && from + 8 <= old_end && load_be32(old + from) != QCOW2_EXT_END) {
		uint64_t length = 8 + ALIGN_UP((uint64_t)load_be32(old + from + 4), 8);
		if (length > old_end - from || at + length + need > size)
			return ENOSPC;
		if (load_be32(old + from) != QCOW2_EXT_BACKING_FORMAT) {
			memcpy(cluster + at, old + from, length);
			at += (uint32_t)length;
		}
		from += length;
	}
	if (at + need > size)
		return ENOSPC;
	if (path && format)
		at += (uint32_t)put_extension(cluster + at, QCOW2_EXT_BACKING_FORMAT, format, strlen(format));
	at += (uint32_t)put_extension(cluster + at, QCOW2_EXT_END, "", 0);
	store_be64(cluster + QCOW2_BACKING_OFFSET, path ? at : 0);
	store_be32(cluster + QCOW2_BACKING_SIZE, path ? (uint32_t)strlen(path) : 0);
	if (path)
		memcpy(cluster + at, path, strlen(path));
	return 0;
}

/* Other programs know the format by this name. */
static const char *foreign_name(const char *format)
{
	return format && !strcmp(format, "vhd") ? "vpc" : format;
}

int qcow2_set_backing(struct image *image, const char *path, const char *format, struct error *err)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t size = qcow2_cluster_size(q);
	cleanup_free uint8_t *old = malloc(size), *new = calloc(1, size);
	int error = old && new ? hostfile_read(image->file, old, size, 0) : ENOMEM;
	cleanup_free char *name = path ? strdup(path) : NULL;
	if (!error && path && !name)
		error = ENOMEM;
	if (!error) {
		uint64_t end = load_be64(old + QCOW2_BACKING_OFFSET);
		memcpy(new, old, q->header_length);
		error = put_rest(new, q->header_length, size, old, end ? end : size, path, foreign_name(format));
	}
	if (error == ENOSPC || (path && strlen(path) > 1023))
		return error_set(err, ENAMETOOLONG, "%s: the name '%s' is too long for its header", image->file->path, path);
	if (!error)
		error = hostfile_write(image->file, new, size, 0);
	if (!error)
		error = hostfile_sync(image->file);
	if (error)
		return error_set(err, error, "%s: cannot change its header: %s", image->file->path, strerror(error));
	free(image->backing_name);
	image->backing_name = name;
	name = NULL;
	image->backing_format = format ? image_format_by_name(format, NULL) : IMAGE_BY_CONTENT;
	return 0;
}

/* --- size --- */

static int write_size(struct qcow2 *q, uint64_t size)
{
	uint8_t bytes[8];
	store_be64(bytes, size);
	int error = hostfile_write(q->image.file, bytes, sizeof(bytes), QCOW2_SIZE);
	return error ? error : hostfile_sync(q->image.file);
}

/* A larger L1 table, complete on the disk before the header leads to it. */
static int grow_l1(struct qcow2 *q, uint64_t entries)
{
	uint64_t size = qcow2_cluster_size(q), want = ALIGN_UP(entries * 8, size) >> q->cluster_bits, cluster, count;
	uint64_t old = q->l1_offset >> q->cluster_bits, old_count = ALIGN_UP(q->l1_entries * 8ull, size) >> q->cluster_bits;
	uint8_t header[12];
	int error = qcow2_allocate(q, want, want, &cluster, &count);
	uint64_t *l1 = error ? NULL : realloc(q->l1, entries * sizeof(*l1));
	cleanup_free uint8_t *bytes = calloc(want, size);
	if (l1)
		q->l1 = l1;
	if (!l1 || !bytes)
		return error ? error : ENOMEM;
	for (uint64_t i = q->l1_entries; i < entries; i++)
		l1[i] = 0;
	for (uint64_t i = 0; i < entries; i++)
		store_be64(bytes + i * 8, l1[i]);
	store_be32(header, (uint32_t)entries);
	store_be64(header + 4, cluster << q->cluster_bits);
	meta_forget(q->image.meta, cluster << q->cluster_bits, want * size);
	error = hostfile_write(q->image.file, bytes, want * size, cluster << q->cluster_bits);
	if (!error)
		error = meta_sync(q->image.meta, true);
	if (!error)
		error = hostfile_write(q->image.file, header, sizeof(header), QCOW2_L1_ENTRIES);
	if (error)
		return error;
	q->l1_offset = cluster << q->cluster_bits;
	q->l1_entries = (uint32_t)entries;
	return qcow2_free(q, old, old_count);
}

int qcow2_resize(struct image *image, uint64_t size, struct error *err)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t reach = qcow2_cluster_size(q) << qcow2_l2_bits(q), entries = size / reach + !!(size % reach);
	int error = 0;
	if (size < image->size && q->snapshot_count)
		return error_set(err, ENOTSUP, "%s cannot be made smaller, since it has snapshots; copy it with 'visor disk convert' first",
				 image->file->path);
	if (entries > QCOW2_MAX_L1)
		return error_set(err, EFBIG, "%s: with clusters of %u bytes a disk has at most %llu bytes; take larger clusters", image->file->path,
				 image->unit, (unsigned long long)(QCOW2_MAX_L1 * reach));
	error = qcow2_begin_change(q);
	if (!error && entries > q->l1_entries)
		error = grow_l1(q, entries);
	if (!error && size > image->size)
		error = image_sync_alone(image);
	if (!error)
		error = write_size(q, size);
	/* What is cut off goes after nobody can see it. */
	if (!error)
		error = qcow2_clear_from(q, ALIGN_UP(size, (uint64_t)image->unit), image->size);
	return error ? error_set(err, error, "%s: cannot change its size: %s", image->file->path, strerror(error)) : 0;
}

/* --- new images --- */

static int check_request(const struct image_create *create, uint32_t cluster, struct error *err)
{
	if (cluster & (cluster - 1) || cluster < 1u << QCOW2_MIN_CLUSTER_BITS || cluster > 1u << QCOW2_MAX_CLUSTER_BITS)
		return error_set(err, EINVAL, "%s: the cluster size must be a power of two from 512 to 2M", create->path);
	if (create->version == 2 && (create->zstd || create->lazy_refcounts))
		return error_set(err, EINVAL, "%s: zstd and lazy reference counts need version 3", create->path);
	return 0;
}

/* An image without a disk: header, refcount table and its first block. */
static int put_first_clusters(uint8_t *p, const struct image_create *create, uint32_t cluster)
{
	bool v3 = create->version != 2;
	uint32_t length = v3 ? QCOW2_V3_LENGTH : QCOW2_V2_LENGTH;
	store_be32(p, QCOW2_MAGIC);
	store_be32(p + QCOW2_VERSION, v3 ? 3 : 2);
	store_be32(p + QCOW2_CLUSTER_BITS, (uint32_t)__builtin_ctz(cluster));
	store_be64(p + QCOW2_L1_OFFSET, 3ull * cluster);
	store_be64(p + QCOW2_REFCOUNT_OFFSET, cluster);
	store_be32(p + QCOW2_REFCOUNT_CLUSTERS, 1);
	if (v3) {
		store_be64(p + QCOW2_INCOMPATIBLE, create->zstd ? QCOW2_COMPRESSION_TYPE : 0);
		store_be64(p + QCOW2_COMPATIBLE, create->lazy_refcounts ? QCOW2_LAZY : 0);
		store_be32(p + QCOW2_REFCOUNT_ORDER, 4);
		store_be32(p + QCOW2_HEADER_LENGTH, length);
		p[QCOW2_COMPRESSION] = create->zstd;
	}
	store_be64(p + cluster, 2ull * cluster);
	for (unsigned i = 0; i < 3; i++)
		store_be16(p + 2ull * cluster + 2 * i, 1);
	return put_rest(p, length, cluster, NULL, 0, create->backing, foreign_name(create->backing_format));
}

/* The rest is the work of changing its size from nothing. */
static int give_size(struct hostfile *file, uint64_t size, struct error *err)
{
	struct qcow2 q = { .image = { .ops = &qcow2_ops, .file = file } };
	const struct image_config config = { .path = file->path, .alone = true };
	int rc = qcow2_open(&q.image, &config, err);
	if (rc == 0)
		rc = qcow2_resize(&q.image, size, err);
	int error = rc == 0 ? image_sync_alone(&q.image) : 0;
	if (error)
		rc = error_set(err, error, "%s: cannot write it: %s", file->path, strerror(error));
	q.image.changed = rc < 0;
	qcow2_close(&q.image);
	meta_destroy(q.image.meta);
	free(q.image.backing_name);
	return rc;
}

int qcow2_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	uint32_t cluster = create->cluster_size ? create->cluster_size : DEFAULT_CLUSTER;
	if (check_request(create, cluster, err) < 0)
		return -1;
	cleanup_free uint8_t *first = calloc(3, cluster);
	int error = first ? put_first_clusters(first, create, cluster) : ENOMEM;
	if (error == ENOSPC || (create->backing && strlen(create->backing) > 1023))
		return error_set(err, ENAMETOOLONG, "%s: the name of the image behind it is too long for its header", create->path);
	if (!error)
		error = hostfile_write(file, first, 3ull * cluster, 0);
	if (error)
		return error_set(err, error, "%s: cannot write it: %s", create->path, strerror(error));
	return give_size(file, create->size, err);
}
