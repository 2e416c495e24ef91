/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/vmdk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define MAX_GRAIN (1u << 15)      /* sectors */
#define MAX_TABLES (1u << 22)
#define MARKER_SIZE 12u

static int damaged(const struct image *image, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "%s is damaged: %s", image->file->path, what);
}

static bool is_descriptor(const uint8_t *head, size_t size)
{
	static const char first[] = "# Disk DescriptorFile";
	return size >= sizeof(first) - 1 && !strncasecmp((const char *)head, first, sizeof(first) - 1);
}

static bool vmdk_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return is_descriptor(head, size) || (size >= 4 && (load_le32(head) == VMDK_MAGIC || !memcmp(head, "COWD", 4)));
}

/* --- sparse extents --- */

static int read_tables(struct vmdk_extent *extent, uint64_t sector, uint32_t **tables)
{
	uint64_t at = sector * 512, length = extent->table_count * 4ull;
	*tables = NULL;
	if (sector > INT64_MAX / 512 || at > extent->end || length > extent->end - at)
		return EIO;
	*tables = malloc(length + 1);
	return *tables ? hostfile_read(extent->file, *tables, length, at) : ENOMEM;
}

/* A stream's header is complete only in the footer, a sector before the end-of-stream marker. */
static int read_sparse_header(struct vmdk *vmdk, struct vmdk_extent *extent, uint8_t h[512], struct error *err)
{
	struct image *image = &vmdk->image;
	uint64_t size = 0;
	int error = hostfile_size(extent->file, &size);
	if (!error)
		error = hostfile_read(extent->file, h, 512, 0);
	if (!error && load_le32(h) == VMDK_MAGIC && load_le64(h + VMDK_GD) == VMDK_GD_AT_END && size >= 1536)
		error = hostfile_read(extent->file, h, 512, ALIGN_DOWN(size, 512ull) - 1024);
	extent->end = extent->written_end = ALIGN_UP(size, 512ull);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", extent->file->path, strerror(error));
	if (load_le32(h) != VMDK_MAGIC || load_le64(h + VMDK_GD) == VMDK_GD_AT_END)
		return damaged(image, "a sparse part has no header, or its end is missing", err);
	if (load_le32(h + VMDK_VERSION) > 3)
		return error_set(err, ENOTSUP, "%s: version %u of sparse parts is not supported", extent->file->path, load_le32(h + VMDK_VERSION));
	return 0;
}

static int check_sparse_header(struct vmdk *vmdk, struct vmdk_extent *extent, const uint8_t *h, struct error *err)
{
	struct image *image = &vmdk->image;
	uint64_t capacity = load_le64(h + VMDK_CAPACITY), grain = load_le64(h + VMDK_GRAIN_SIZE);
	extent->flags = load_le32(h + VMDK_FLAGS);
	if (!grain || grain > MAX_GRAIN || grain & (grain - 1))
		return damaged(image, "the size of its grains", err);
	if (load_le32(h + VMDK_NUM_GTES) != VMDK_GTES)
		return error_set(err, ENOTSUP, "%s: grain tables of %u entries are not supported, only 512", extent->file->path,
				 load_le32(h + VMDK_NUM_GTES));
	if (extent->flags & VMDK_FLAG_COMPRESSED && load_le16(h + VMDK_COMPRESSION) != 1)
		return error_set(err, ENOTSUP, "%s: its compression is not known", extent->file->path);
	if (image->unit && image->unit != grain * 512)
		return error_set(err, ENOTSUP, "%s: its parts have grains of different sizes", image->file->path);
	if (!capacity || capacity > INT64_MAX / 512 || capacity * 512 < extent->size)
		return damaged(image, "a sparse part is smaller than the descriptor says", err);
	uint64_t reach = grain * 512 * VMDK_GTES, tables = extent->size / reach + !!(extent->size % reach);
	if (tables > MAX_TABLES)
		return damaged(image, "a sparse part is too large", err);
	image->unit = (uint32_t)grain * 512;
	extent->table_count = (uint32_t)tables;
	if (extent->start % image->unit)
		image->read_only = true; /* grains would hang over the parts' edges */
	return 0;
}

int vmdk_open_sparse(struct vmdk *vmdk, struct vmdk_extent *extent, struct error *err)
{
	struct image *image = &vmdk->image;
	uint8_t h[512];
	if (read_sparse_header(vmdk, extent, h, err) < 0 || check_sparse_header(vmdk, extent, h, err) < 0)
		return -1;
	if (extent->flags & VMDK_FLAG_COMPRESSED && !image->read_only)
		return error_set(err, EROFS, "%s is made for streaming and cannot be written; attach it read-only, or 'visor disk convert' it first",
				 image->file->path);
	extent->directory = load_le64(h + VMDK_GD);
	extent->directory_copy = load_le64(h + VMDK_RGD);
	if (read_tables(extent, extent->directory, &extent->tables))
		return damaged(image, "a grain directory cannot be read", err);
	if (extent->flags & VMDK_FLAG_REDUNDANT && read_tables(extent, extent->directory_copy, &extent->copies))
		return damaged(image, "the redundant grain directory cannot be read", err);
	extent->meta = meta_create(extent->file, BLOCK_SECTOR);
	return extent->meta ? 0 : error_set(err, ENOMEM, "out of memory for %s", image->file->path);
}

/* --- opening --- */

static int open_embedded(struct vmdk *vmdk, const uint8_t *head, struct error *err)
{
	struct image *image = &vmdk->image;
	uint64_t at = load_le64(head + VMDK_DESCRIPTOR), size = load_le64(head + VMDK_DESCRIPTOR_SIZE);
	if (!memcmp(head, "COWD", 4))
		return error_set(err, ENOTSUP, "%s: sparse parts of ESX (COWD) are not supported; convert it with VMware's tools", image->file->path);
	if (!at || !size)
		return error_set(err, EINVAL, "%s is a part of a disk; open the file with the descriptor, which names it", image->file->path);
	if (at > INT64_MAX / 512 || size > VMDK_MAX_DESCRIPTOR / 512)
		return damaged(image, "the place of its descriptor", err);
	cleanup_free char *text = calloc(1, size * 512 + 1);
	int error = text ? hostfile_read(image->file, text, size * 512, at * 512) : ENOMEM;
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	return vmdk_read_descriptor(vmdk, text, true, err);
}

static int open_text(struct vmdk *vmdk, struct error *err)
{
	struct image *image = &vmdk->image;
	uint64_t size = 0;
	cleanup_free char *text = calloc(1, VMDK_MAX_DESCRIPTOR + 1);
	int error = text ? hostfile_size(image->file, &size) : ENOMEM;
	if (!error && size > VMDK_MAX_DESCRIPTOR)
		return damaged(image, "its descriptor is too long", err);
	if (!error)
		error = hostfile_read(image->file, text, size, 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	return vmdk_read_descriptor(vmdk, text, false, err);
}

static int vmdk_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct vmdk *vmdk = vmdk_of(image);
	uint8_t head[512];
	int error = hostfile_read(image->file, head, sizeof(head), 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	if (!vmdk_probe(head, sizeof(head), NULL))
		return error_set(err, EINVAL, "%s is no VMDK image", image->file->path);
	if ((is_descriptor(head, sizeof(head)) ? open_text(vmdk, err) : open_embedded(vmdk, head, err)) < 0)
		return -1;
	if (!image->unit)
		image->unit = BLOCK_SECTOR;
	if (image->backing_name)
		image->backing_format = IMAGE_VMDK;
	return 0;
}

static void vmdk_close(struct image *image)
{
	struct vmdk *vmdk = vmdk_of(image);
	for (unsigned i = 0; i < vmdk->count; i++) {
		struct vmdk_extent *extent = &vmdk->extents[i];
		free(extent->tables);
		free(extent->copies);
		meta_destroy(extent->meta);
		if (extent->own_file)
			hostfile_close(extent->file);
	}
	free(vmdk->extents);
}

static int vmdk_chained(struct image *image, struct error *err)
{
	const struct vmdk *vmdk = vmdk_of(image), *behind = vmdk_of(image->backing);
	if (image->backing->ops != &vmdk_ops || behind->cid == vmdk->parent_cid || !image->backing_name)
		return 0;
	return error_set(err, EINVAL, "%s: %s, the image behind it, was changed (its CID is %08x, not %08x); use the unchanged one, or say "
			 "backing=FILE if it is right all the same", image->file->path, image->backing->file->path, behind->cid, vmdk->parent_cid);
}

/* --- the map --- */

static struct vmdk_extent *find_extent(struct vmdk *vmdk, uint64_t offset)
{
	unsigned low = 0, high = vmdk->count;
	while (high - low > 1) {
		unsigned middle = (low + high) / 2;
		*(offset < vmdk->extents[middle].start ? &high : &low) = middle;
	}
	return &vmdk->extents[low];
}

/* The byte of the file where a grain's entry is in one set of tables; 0: there is no table. */
static uint64_t entry_place(const struct vmdk *vmdk, const uint32_t *tables, const struct vmdk_extent *extent, uint64_t offset)
{
	uint64_t grain = (offset - extent->start) / vmdk->image.unit;
	uint64_t table = tables[grain / VMDK_GTES] * 512ull;
	return table ? table + grain % VMDK_GTES * 4 : 0;
}

static void describe(struct vmdk *vmdk, const struct vmdk_extent *extent, uint32_t entry, struct extent *to)
{
	to->at = entry * 512ull;
	if (!entry)
		to->kind = EXTENT_NONE;
	else if (entry == 1 && extent->flags & VMDK_FLAG_ZERO_GRAINS)
		to->kind = EXTENT_ZERO;
	else
		to->kind = extent->flags & VMDK_FLAG_COMPRESSED ? EXTENT_PACKED : EXTENT_DATA;
}

static int map_sparse(struct vmdk *vmdk, struct vmdk_extent *extent, uint64_t offset, uint64_t length, struct extent *to)
{
	uint64_t unit = vmdk->image.unit, into = (offset - extent->start) % unit, have;
	uint64_t at = entry_place(vmdk, extent->tables, extent, offset);
	const uint8_t *p;
	unsigned left;
	if (!at) {
		to->kind = EXTENT_NONE;
		to->length = MIN(length, unit - into);
		return 0;
	}
	if (at >= extent->end)
		return image_broken(&vmdk->image, "a grain table is said to be at 0x%llx", (unsigned long long)at);
	int error = meta_load(extent->meta, at, &p, &left);
	if (error)
		return error;
	describe(vmdk, extent, load_le32(p), to);
	if (to->kind == EXTENT_DATA && to->at >= extent->end)
		return image_broken(&vmdk->image, "a grain is said to be at 0x%llx", (unsigned long long)to->at);
	for (have = unit; have < into + length && left > 4 && to->kind != EXTENT_PACKED; have += unit) {
		struct extent next;
		p += 4;
		left -= 4;
		describe(vmdk, extent, load_le32(p), &next);
		if (next.kind != to->kind || (to->kind == EXTENT_DATA && (next.at != to->at + have || next.at >= extent->end)))
			break;
	}
	to->at += into;
	to->length = MIN(length, have - into);
	return 0;
}

static int vmdk_map(struct image *image, uint64_t offset, uint64_t length, struct extent *to)
{
	struct vmdk *vmdk = vmdk_of(image);
	struct vmdk_extent *extent = find_extent(vmdk, offset);
	length = MIN(length, extent->start + extent->size - offset);
	to->file = extent->file;
	to->length = length;
	if (extent->kind == VMDK_SPARSE)
		return map_sparse(vmdk, extent, offset, length, to);
	to->kind = extent->kind == VMDK_FLAT ? EXTENT_DATA : EXTENT_ZERO;
	to->at = extent->flat_offset + (offset - extent->start);
	return 0;
}

/* A compressed grain: its first sector's number, the length of the data, the data. */
static int vmdk_unpack(struct image *image, uint64_t offset, void *unit)
{
	struct vmdk *vmdk = vmdk_of(image);
	struct vmdk_extent *extent = find_extent(vmdk, offset);
	struct extent place;
	uint8_t marker[MARKER_SIZE];
	pthread_mutex_lock(&image->tables);
	int error = map_sparse(vmdk, extent, offset, image->unit, &place);
	pthread_mutex_unlock(&image->tables);
	if (!error)
		error = hostfile_read(extent->file, marker, sizeof(marker), place.at);
	if (error)
		return error;
	uint32_t length = load_le32(marker + 8);
	if (place.at >= extent->end || length > extent->end - place.at || length > 2 * image->unit + 4096)
		return image_broken(image, "a compressed grain is said to be at 0x%llx", (unsigned long long)place.at);
	cleanup_free uint8_t *data = malloc(length + 1);
	if (!data)
		return ENOMEM;
	error = hostfile_read(extent->file, data, length, place.at + MARKER_SIZE);
	uLongf made = image->unit;
	memset(unit, 0, image->unit);
	/* The last grain may be short. */
	uint64_t wanted = MIN((uint64_t)image->unit, extent->start + extent->size - offset);
	if (!error && (uncompress(unit, &made, data, length) != Z_OK || made < wanted))
		return image_broken(image, "the compressed grain at 0x%llx cannot be decompressed", (unsigned long long)place.at);
	return error;
}

/* --- change --- */

static int sync_extents(struct vmdk *vmdk, bool tables)
{
	int error = 0;
	for (unsigned i = 0; i < vmdk->count && !error; i++) {
		struct vmdk_extent *extent = &vmdk->extents[i];
		if (extent->kind != VMDK_ZERO)
			error = tables && extent->meta ? meta_sync(extent->meta, true) : hostfile_sync(extent->file);
	}
	return error;
}

static int vmdk_sync(struct image *image)
{
	return sync_extents(vmdk_of(image), true);
}

static int vmdk_sync_data(struct image *image)
{
	return sync_extents(vmdk_of(image), false);
}

/* An empty grain table where the extent has none, and its entry in the directory. */
static int add_table(struct vmdk_extent *extent, uint32_t *tables, uint64_t directory, uint64_t index)
{
	static const uint8_t empty[VMDK_GTES * 4];
	uint8_t entry[4];
	if (tables[index])
		return 0;
	uint32_t sector = (uint32_t)(extent->end / 512);
	int error = hostfile_write(extent->file, empty, sizeof(empty), extent->end);
	store_le32(entry, sector);
	meta_forget(extent->meta, extent->end, sizeof(empty));
	if (!error)
		error = meta_store(extent->meta, directory * 512 + index * 4, entry, 4, META_MAP);
	if (error)
		return error;
	tables[index] = sector;
	extent->end += sizeof(empty);
	extent->written_end = MAX(extent->written_end, extent->end);
	return 0;
}

static int vmdk_place(struct image *image, uint64_t offset, uint64_t length, struct extent *place)
{
	struct vmdk *vmdk = vmdk_of(image);
	struct vmdk_extent *extent = find_extent(vmdk, offset);
	uint64_t index = (offset - extent->start) / image->unit / VMDK_GTES;
	if (extent->kind != VMDK_SPARSE)
		return image->is_broken ? EIO : EROFS; /* zeros that the descriptor promises */
	int error = meta_is_full(extent->meta) ? image_sync_alone(image) : 0;
	if (!error)
		error = add_table(extent, extent->tables, extent->directory, index);
	if (!error && extent->copies)
		error = add_table(extent, extent->copies, extent->directory_copy, index);
	if (error)
		return error;
	if ((extent->end + image->unit) / 512 > UINT32_MAX)
		return EFBIG;
	place->file = extent->file;
	place->at = extent->end;
	place->length = image->unit;
	place->fresh = place->at >= extent->written_end;
	/* Whole grains in the file. */
	uint64_t end = place->at + image->unit;
	error = end > extent->written_end ? hostfile_truncate(extent->file, end) : 0;
	if (!error)
		extent->written_end = MAX(extent->written_end, end);
	return error;
}

static int set_entry(struct vmdk *vmdk, struct vmdk_extent *extent, uint64_t offset, uint32_t entry)
{
	uint8_t bytes[4];
	uint64_t at = entry_place(vmdk, extent->tables, extent, offset);
	uint64_t copy = extent->copies ? entry_place(vmdk, extent->copies, extent, offset) : 0;
	store_le32(bytes, entry);
	int error = meta_store(extent->meta, at, bytes, 4, META_MAP);
	return error || !copy ? error : meta_store(extent->meta, copy, bytes, 4, META_MAP);
}

static int vmdk_link(struct image *image, uint64_t offset, const struct extent *place)
{
	struct vmdk *vmdk = vmdk_of(image);
	struct vmdk_extent *extent = find_extent(vmdk, offset);
	int error = set_entry(vmdk, extent, offset, (uint32_t)(place->at / 512));
	if (!error)
		extent->end = place->at + image->unit;
	return error;
}

static int vmdk_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct vmdk *vmdk = vmdk_of(image);
	struct vmdk_extent *extent = find_extent(vmdk, offset);
	struct extent now;
	if (extent->kind != VMDK_SPARSE)
		return ENOTSUP;
	int error = map_sparse(vmdk, extent, offset, MIN(length, extent->start + extent->size - offset), &now);
	*done = now.length;
	if (error || now.kind == EXTENT_ZERO || (now.kind == EXTENT_NONE && !image_has_backing(image)))
		return error;
	return ENOTSUP;
}

/* --- information, check --- */

static int vmdk_info(struct image *image, json_t *info)
{
	struct vmdk *vmdk = vmdk_of(image);
	char cid[12];
	snprintf(cid, sizeof(cid), "%08x", vmdk->cid);
	json_t *more = json_pack("{s:s, s:s, s:I}", "type", vmdk->type, "cid", cid, "grain_size", (json_int_t)image->unit), *files = json_array();
	for (unsigned i = 0; i < vmdk->count; i++)
		if (vmdk->extents[i].own_file)
			json_array_append_new(files, json_string(vmdk->extents[i].file->path));
	json_object_set_new(more, "files", files);
	int rc = more ? json_object_update(info, more) : -1;
	json_decref(more);
	return rc;
}

static void report(struct image_check *check, uint64_t *count, uint64_t offset, const char *what)
{
	char text[120];
	snprintf(text, sizeof(text), "the grain for byte %llu %s", (unsigned long long)offset, what);
	++*count;
	if (check->report)
		check->report(check->opaque, text);
}

static int get_entry(struct vmdk *vmdk, struct vmdk_extent *extent, const uint32_t *tables, uint64_t offset, uint32_t *entry)
{
	const uint8_t *p;
	unsigned left;
	uint64_t at = entry_place(vmdk, tables, extent, offset);
	int error = at && at < extent->end ? meta_load(extent->meta, at, &p, &left) : 0;
	*entry = !error && at && at < extent->end ? load_le32(p) : 0;
	return error;
}

/*
 * Each grain lies within the file, is nobody else's, and both sets of tables say the same. A writer that is killed has written one set
 * and not yet the other: the first is what counts, and such a grain is one that nobody has flushed.
 */
static int check_extent(struct vmdk *vmdk, struct vmdk_extent *extent, struct image_check *check)
{
	uint64_t units = extent->end / BLOCK_SECTOR + 1, unit = vmdk->image.unit;
	cleanup_free uint8_t *seen = calloc(units / 8 + 1, 1);
	if (!seen)
		return ENOMEM;
	for (uint64_t offset = extent->start; offset < extent->start + extent->size; offset += unit) {
		uint32_t entry, copy;
		struct extent to;
		int error = get_entry(vmdk, extent, extent->tables, offset, &entry);
		copy = entry;
		if (!error && extent->copies)
			error = get_entry(vmdk, extent, extent->copies, offset, &copy);
		if (error)
			return error;
		describe(vmdk, extent, entry, &to);
		if (copy != entry && (!copy || !entry))
			report(check, &check->leaks, offset, "is in one of the two tables alone");
		else if (copy != entry)
			report(check, &check->errors, offset, "is at different places by the two tables");
		if (to.kind != EXTENT_DATA && to.kind != EXTENT_PACKED)
			continue;
		if (to.at >= extent->end) {
			report(check, &check->errors, offset, "is beyond the end of the file");
			continue;
		}
		if (seen[entry / 8] & BIT(entry % 8))
			report(check, &check->errors, offset, "is another one's, too");
		seen[entry / 8] |= (uint8_t)BIT(entry % 8);
		check->allocated += unit;
		check->compressed += to.kind == EXTENT_PACKED ? unit : 0;
	}
	return 0;
}

static int vmdk_check(struct image *image, struct image_check *check, struct error *err)
{
	struct vmdk *vmdk = vmdk_of(image);
	int error = 0;
	for (unsigned i = 0; i < vmdk->count && !error; i++)
		if (vmdk->extents[i].kind == VMDK_SPARSE)
			error = check_extent(vmdk, &vmdk->extents[i], check);
	return error ? error_set(err, error, "%s: the check could not be finished: %s", image->file->path, strerror(error)) : 0;
}

const struct image_ops vmdk_ops = {
	.format = IMAGE_VMDK,
	.instance_size = sizeof(struct vmdk),
	.probe = vmdk_probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.chained = vmdk_chained,
	.map = vmdk_map,
	.unpack = vmdk_unpack,
	.place = vmdk_place,
	.link = vmdk_link,
	.zero = vmdk_zero,
	.sync = vmdk_sync,
	.sync_data = vmdk_sync_data,
	.check = vmdk_check,
	.info = vmdk_info,
	.create = vmdk_create,
};
