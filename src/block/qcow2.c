/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define META_PAGE 4096u
#define MAX_NAME 1023u

static int damaged(const struct image *image, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "%s is damaged: %s", image->file->path, what);
}

static bool qcow2_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return size >= 4 && load_be32(head) == QCOW2_MAGIC;
}

uint64_t *qcow2_read_table(struct qcow2 *q, uint64_t at, uint64_t entries, int *error)
{
	uint64_t *table = NULL;
	*error = EIO;
	if (at % qcow2_cluster_size(q) || at > q->file_end || entries * 8 > q->file_end - at)
		return NULL;
	table = malloc(entries * 8 + 1);
	*error = table ? hostfile_read(q->image.file, table, entries * 8, at) : ENOMEM;
	for (uint64_t i = 0; i < entries && !*error; i++)
		table[i] = load_be64(table + i);
	if (*error) {
		free(table);
		table = NULL;
	}
	return table;
}

static int read_features(struct qcow2 *q, const uint8_t *h, struct error *err)
{
	const char *path = q->image.file->path;
	q->header_length = QCOW2_V2_LENGTH;
	q->refcount_order = 4;
	if (q->version >= 3) {
		q->incompatible = load_be64(h + QCOW2_INCOMPATIBLE);
		q->compatible = load_be64(h + QCOW2_COMPATIBLE);
		q->autoclear = load_be64(h + QCOW2_AUTOCLEAR);
		q->refcount_order = load_be32(h + QCOW2_REFCOUNT_ORDER);
		q->header_length = load_be32(h + QCOW2_HEADER_LENGTH);
		q->zstd = q->incompatible & QCOW2_COMPRESSION_TYPE && h[QCOW2_COMPRESSION] == 1;
		if (q->incompatible & QCOW2_COMPRESSION_TYPE && (h[QCOW2_COMPRESSION] != 1 || q->header_length <= QCOW2_COMPRESSION))
			return error_set(err, ENOTSUP, "%s: its compression (type %u) is not known", path, h[QCOW2_COMPRESSION]);
		if (q->header_length < QCOW2_HEADER_LENGTH + 4 || q->header_length % 8 || q->header_length > 1u << q->cluster_bits)
			return damaged(&q->image, "its header's length", err);
	}
	if (q->incompatible & QCOW2_DATA_FILE)
		return error_set(err, ENOTSUP, "%s keeps its data in another file, which is not supported; copy it with 'qemu-img convert'", path);
	if (q->incompatible & QCOW2_EXTENDED_L2)
		return error_set(err, ENOTSUP, "%s has extended L2 entries (subclusters), which are not supported; copy it with "
				 "'qemu-img convert -O qcow2'", path);
	uint64_t unknown = q->incompatible & ~(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION_TYPE);
	if (unknown)
		return error_set(err, ENOTSUP, "%s needs features that are not known (bits 0x%llx); it is from a newer program", path,
				 (unsigned long long)unknown);
	return q->refcount_order > 6 ? damaged(&q->image, "the width of its reference counts", err) : 0;
}

static int read_extension(struct qcow2 *q, uint32_t type, const uint8_t *data, uint32_t length)
{
	char name[64];
	if (type == QCOW2_EXT_BACKING_FORMAT) {
		snprintf(name, sizeof(name), "%.*s", (int)MIN(length, 63u), (const char *)data);
		q->image.backing_format = image_format_by_name(name, NULL);
	} else if (type == QCOW2_EXT_BITMAPS && length >= 24) {
		q->bitmaps_size = load_be64(data + 8);
		q->bitmaps_offset = load_be64(data + 16);
	}
	return 0;
}

static int read_extensions(struct qcow2 *q, const uint8_t *cluster, uint64_t end, struct error *err)
{
	for (uint64_t at = q->header_length; at + 8 <= end;) {
		uint32_t type = load_be32(cluster + at), length = load_be32(cluster + at + 4);
		if (type == QCOW2_EXT_END)
			break;
		if (length > end - at - 8)
			return damaged(&q->image, "a header extension is too long", err);
		read_extension(q, type, cluster + at + 8, length);
		at += 8 + ALIGN_UP((uint64_t)length, 8);
	}
	return 0;
}

/* The rest of the first cluster: extensions, then the name of the image behind. */
static int read_first_cluster(struct qcow2 *q, const uint8_t *header, struct error *err)
{
	uint64_t size = qcow2_cluster_size(q), name_at = load_be64(header + QCOW2_BACKING_OFFSET);
	uint32_t length = load_be32(header + QCOW2_BACKING_SIZE);
	cleanup_free uint8_t *cluster = malloc(size);
	int error = cluster ? hostfile_read(q->image.file, cluster, size, 0) : ENOMEM;
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", q->image.file->path, strerror(error));
	if (name_at && (length > MAX_NAME || name_at > size || length > size - name_at))
		return damaged(&q->image, "the name of the image behind it", err);
	if (read_extensions(q, cluster, name_at ? name_at : size, err) < 0)
		return -1;
	if (!name_at || !length)
		return 0;
	q->image.backing_name = strndup((const char *)cluster + name_at, length);
	return q->image.backing_name ? 0 : error_set(err, ENOMEM, "out of memory for %s", q->image.file->path);
}

static int read_tables(struct qcow2 *q, const uint8_t *h, struct error *err)
{
	struct image *image = &q->image;
	uint64_t clusters = load_be32(h + QCOW2_REFCOUNT_CLUSTERS), reach = 1ull << (q->cluster_bits + qcow2_l2_bits(q));
	int error;
	q->l1_entries = load_be32(h + QCOW2_L1_ENTRIES);
	q->l1_offset = load_be64(h + QCOW2_L1_OFFSET);
	q->refcounts_offset = load_be64(h + QCOW2_REFCOUNT_OFFSET);
	uint64_t entries = (clusters << q->cluster_bits) / 8;
	if (q->l1_entries > QCOW2_MAX_L1 || image->size / reach + !!(image->size % reach) > q->l1_entries)
		return damaged(image, "its L1 table does not fit its size", err);
	if (entries > QCOW2_MAX_REFCOUNT_TABLE || !entries)
		return damaged(image, "the size of its refcount table", err);
	q->l1 = qcow2_read_table(q, q->l1_offset, q->l1_entries, &error);
	if (!q->l1)
		return damaged(image, "its L1 table cannot be read", err);
	q->refcounts = qcow2_read_table(q, q->refcounts_offset, entries, &error);
	if (!q->refcounts)
		return damaged(image, "its refcount table cannot be read", err);
	q->refcount_entries = (uint32_t)entries;
	return qcow2_load_snapshots(q, load_be32(h + QCOW2_SNAPSHOTS), load_be64(h + QCOW2_SNAPSHOTS_OFFSET), err);
}

/* A damaged image must not be written; one that was not closed first gets right counts. */
static int repair_at_open(struct qcow2 *q, const struct image_config *config, struct error *err)
{
	struct image *image = &q->image;
	if (q->incompatible & QCOW2_CORRUPT && !image->read_only && !config->repair)
		return error_set(err, EIO, "%s is marked as damaged; mend it with 'visor disk check --repair %s', or attach it read-only",
				 image->file->path, image->file->path);
	if (!(q->incompatible & QCOW2_DIRTY) || image->read_only || config->repair)
		return 0;
	struct image_check check = { .repair = true };
	log_info("%s was not closed; its reference counts are made anew", image->file->path);
	if (qcow2_check(image, &check, err) < 0)
		return -1;
	return check.errors ? error_set(err, EIO, "%s was not closed, and is damaged; see 'visor disk check %s'", image->file->path,
					image->file->path) : 0;
}

static int read_header(struct qcow2 *q, uint8_t h[QCOW2_V3_LENGTH], struct error *err)
{
	struct image *image = &q->image;
	uint64_t file_size = 0;
	int error = hostfile_size(image->file, &file_size);
	if (!error)
		error = hostfile_read(image->file, h, QCOW2_V3_LENGTH, 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	q->version = load_be32(h + QCOW2_VERSION);
	if (load_be32(h) != QCOW2_MAGIC)
		return error_set(err, EINVAL, "%s is no qcow2 image", image->file->path);
	if (q->version != 2 && q->version != 3)
		return error_set(err, ENOTSUP, "%s: qcow2 version %u is not supported, only 2 and 3", image->file->path, q->version);
	q->cluster_bits = load_be32(h + QCOW2_CLUSTER_BITS);
	if (q->cluster_bits < QCOW2_MIN_CLUSTER_BITS || q->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return damaged(image, "its cluster size", err);
	if (load_be32(h + QCOW2_CRYPT))
		return error_set(err, ENOTSUP, "%s is encrypted, which is not supported; copy it with 'qemu-img convert'", image->file->path);
	uint64_t size = load_be64(h + QCOW2_SIZE);
	if (size > INT64_MAX - BLOCK_SECTOR || file_size > INT64_MAX / 2)
		return damaged(image, "its size", err);
	image->size = ALIGN_UP(size, (uint64_t)BLOCK_SECTOR);
	image->unit = 1u << q->cluster_bits;
	q->file_end = ALIGN_UP(file_size, (uint64_t)image->unit);
	q->next_free = 1;
	return 0;
}

int qcow2_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct qcow2 *q = qcow2_of(image);
	uint8_t header[QCOW2_V3_LENGTH];
	if (read_header(q, header, err) < 0 || read_features(q, header, err) < 0 || read_first_cluster(q, header, err) < 0 ||
	    read_tables(q, header, err) < 0)
		return -1;
	image->meta = meta_create(image->file, MIN(META_PAGE, image->unit));
	if (!image->meta)
		return error_set(err, ENOMEM, "out of memory for %s", image->file->path);
	if (config->snapshot)
		return qcow2_use_snapshot(q, config->snapshot, err);
	return repair_at_open(q, config, err);
}

void qcow2_close(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);
	if (q->changing && q->incompatible & QCOW2_DIRTY && !image->changed) {
		q->incompatible &= ~QCOW2_DIRTY;
		qcow2_write_features(q);
	}
	qcow2_forget_snapshots(q);
	free(q->l1);
	free(q->refcounts);
	free(q->freed);
}

int qcow2_write_features(struct qcow2 *q)
{
	uint8_t bytes[24];
	if (q->version < 3)
		return 0;
	store_be64(bytes, q->incompatible);
	store_be64(bytes + 8, q->compatible);
	store_be64(bytes + 16, q->autoclear);
	int error = hostfile_write(q->image.file, bytes, sizeof(bytes), QCOW2_INCOMPATIBLE);
	return error ? error : hostfile_sync(q->image.file);
}

/* Features of others that a change makes wrong go; with lazy reference counts the image says that they cannot be relied on. */
int qcow2_begin_change(struct qcow2 *q)
{
	if (q->changing)
		return 0;
	bool lazy = q->compatible & QCOW2_LAZY;
	if (q->autoclear || lazy) {
		q->autoclear = 0;
		q->incompatible |= lazy ? QCOW2_DIRTY : 0;
		int error = qcow2_write_features(q);
		if (error)
			return error;
	}
	q->changing = true;
	return 0;
}

int qcow2_sync(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);
	int error = meta_sync(image->meta, !(q->incompatible & QCOW2_DIRTY));
	if (error || !q->freed_count)
		return error;
	error = qcow2_count_down(q);
	return error ? error : meta_sync(image->meta, true);
}

static void qcow2_broken(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);
	q->incompatible |= QCOW2_CORRUPT;
	qcow2_write_features(q);
}

static int qcow2_info(struct image *image, json_t *info)
{
	struct qcow2 *q = qcow2_of(image);
	json_t *more = json_pack("{s:i, s:I, s:i, s:s, s:b, s:b, s:b}", "version", (int)q->version, "cluster_size", (json_int_t)image->unit,
				 "refcount_bits", 1 << q->refcount_order, "compression", q->zstd ? "zstd" : "zlib", "lazy_refcounts",
				 (int)(q->compatible & QCOW2_LAZY), "dirty", (int)(q->incompatible & QCOW2_DIRTY), "corrupt",
				 !!(q->incompatible & QCOW2_CORRUPT));
	if (!more || json_object_update(info, more) < 0)
		return -1;
	json_decref(more);
	return qcow2_add_snapshots(q, info);
}

const struct image_ops qcow2_ops = {
	.format = IMAGE_QCOW2,
	.instance_size = sizeof(struct qcow2),
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.map = qcow2_map,
	.unpack = qcow2_unpack,
	.place = qcow2_place,
	.link = qcow2_link,
	.unplace = qcow2_unplace,
	.zero = qcow2_zero,
	.sync = qcow2_sync,
	.pack = qcow2_pack,
	.clear = qcow2_clear,
	.resize = qcow2_resize,
	.set_backing = qcow2_set_backing,
	.check = qcow2_check,
	.info = qcow2_info,
	.create = qcow2_create,
	.broken = qcow2_broken,
};
