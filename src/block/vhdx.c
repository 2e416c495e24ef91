/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/vhdx.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KIB 1024ull
#define MIB (1024 * KIB)

/* Bytes of one of the two headers at 64 and 128 KiB. */
enum { H_CHECKSUM = 4, H_SEQUENCE = 8, H_LOG_GUID = 48, H_VERSION = 66, H_LOG_LENGTH = 68, H_LOG_OFFSET = 72 };

/* BAT entries. */
#define STATE(entry) ((entry) & 7)
#define PLACE(entry) ((entry) >> 20 << 20)
enum { NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULLY_PRESENT = 6, PARTIALLY_PRESENT = 7 };

static const uint8_t guid_bat[] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t guid_metadata[] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
static const uint8_t guid_parameters[] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
static const uint8_t guid_size[] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
static const uint8_t guid_sector[] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };
static const uint8_t guid_parent[] = { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c };

static struct vhdx *vhdx_of(struct image *image)
{
	return container_of(image, struct vhdx, image);
}

/* The polynomial of iSCSI, bits reversed. */
uint32_t vhdx_checksum(const uint8_t *p, size_t size, size_t at)
{
	uint32_t table[256], crc = ~0u;
	for (unsigned i = 0; i < 256; i++) {
		uint32_t c = i;
		for (unsigned bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
		table[i] = c;
	}
	for (size_t i = 0; i < size; i++)
		crc = crc >> 8 ^ table[(crc ^ (i >= at && i < at + 4 ? 0 : p[i])) & 0xff];
	return ~crc;
}

static bool vhdx_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return size >= 8 && !memcmp(head, "vhdxfile", 8);
}

static int damaged(const struct vhdx *vhdx, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "%s is damaged: %s", vhdx->image.file->path, what);
}

/* Through the log's changes. */
static int read_meta(struct vhdx *vhdx, uint64_t at, void *to, size_t size)
{
	for (uint8_t *p = to; size;) {
		const uint8_t *bytes;
		unsigned left;
		int error = meta_load(vhdx->image.meta, at, &bytes, &left);
		if (error)
			return error;
		left = (unsigned)MIN((size_t)left, size);
		memcpy(p, bytes, left);
		p += left;
		at += left;
		size -= left;
	}
	return 0;
}

/* --- headers --- */

/* The valid one with the higher number counts. */
static int read_headers(struct vhdx *vhdx, struct vhdx_log_place *log, bool *dirty, struct error *err)
{
	static const uint8_t none[UUID_SIZE];
	uint8_t h[VHDX_PAGE];
	uint64_t best = 0;
	bool found = false;
	for (uint64_t at = 64 * KIB; at <= 128 * KIB; at += 64 * KIB) {
		int error = hostfile_read(vhdx->image.file, h, sizeof(h), at);
		if (error)
			return error_set(err, error, "%s: cannot read it: %s", vhdx->image.file->path, strerror(error));
		if (memcmp(h, "head", 4) || vhdx_checksum(h, sizeof(h), H_CHECKSUM) != load_le32(h + H_CHECKSUM) ||
		    (found && load_le64(h + H_SEQUENCE) <= best))
			continue;
		if (load_le16(h + H_VERSION) != 1)
			return error_set(err, ENOTSUP, "%s: VHDX version %u is not supported, only 1", vhdx->image.file->path, load_le16(h + H_VERSION));
		found = true;
		best = load_le64(h + H_SEQUENCE);
		log->length = load_le32(h + H_LOG_LENGTH);
		log->offset = load_le64(h + H_LOG_OFFSET);
		memcpy(log->guid, h + H_LOG_GUID, UUID_SIZE);
		*dirty = memcmp(log->guid, none, UUID_SIZE) != 0;
	}
	return found ? 0 : damaged(vhdx, "both headers", err);
}

static bool fits(const struct vhdx *vhdx, uint64_t at, uint64_t length)
{
	return at >= MIB && at % MIB == 0 && at <= vhdx->file_size && length <= vhdx->file_size - at;
}

/* One of two copies; the log may have a newer one of both. */
static int read_regions(struct vhdx *vhdx, struct error *err)
{
	cleanup_free uint8_t *t = malloc(64 * KIB);
	bool found = false;
	if (!t)
		return error_set(err, ENOMEM, "out of memory for %s", vhdx->image.file->path);
	for (uint64_t at = 192 * KIB; at <= 256 * KIB && !found; at += 64 * KIB) {
		int error = read_meta(vhdx, at, t, 64 * KIB);
		if (error)
			return error_set(err, error, "%s: cannot read it: %s", vhdx->image.file->path, strerror(error));
		found = !memcmp(t, "regi", 4) && vhdx_checksum(t, 64 * KIB, 4) == load_le32(t + 4);
	}
	uint32_t count = found ? load_le32(t + 8) : 0;
	if (!found || count > 2047)
		return damaged(vhdx, "both region tables", err);
	for (const uint8_t *e = t + 16; count--; e += 32) {
		uint64_t offset = load_le64(e + 16);
		uint32_t length = load_le32(e + 24);
		bool bat = !memcmp(e, guid_bat, UUID_SIZE), metadata = !memcmp(e, guid_metadata, UUID_SIZE);
		if (!bat && !metadata && load_le32(e + 28) & 1)
			return error_set(err, ENOTSUP, "%s needs a region that is not known; it is from a newer program", vhdx->image.file->path);
		if ((bat || metadata) && !fits(vhdx, offset, length))
			return damaged(vhdx, "the place of a region", err);
		if (bat) {
			vhdx->bat_offset = offset;
			vhdx->bat_length = length;
		} else if (metadata) {
			vhdx->metadata_offset = offset;
			vhdx->metadata_length = length;
		}
	}
	return vhdx->bat_offset && vhdx->metadata_offset ? 0 : damaged(vhdx, "a region is missing", err);
}

/* --- metadata items --- */

static char *text_at(const uint8_t *item, uint32_t size, uint32_t at, uint32_t length)
{
	return at <= size && length <= size - at ? image_windows_path(item + at, length, false) : NULL;
}

/* Keys and values; of the names the relative one counts. */
static int read_parent(struct vhdx *vhdx, uint64_t at, uint32_t size, struct error *err)
{
	struct image *image = &vhdx->image;
	cleanup_free uint8_t *item = size >= 20 && size <= MIB ? malloc(size) : NULL;
	if (!item || read_meta(vhdx, at, item, size))
		return damaged(vhdx, "it does not name the image behind it", err);
	unsigned count = load_le16(item + 18);
	for (unsigned i = 0; i < count && 20 + (i + 1) * 12u <= size; i++) {
		const uint8_t *e = item + 20 + i * 12;
		cleanup_free char *key = text_at(item, size, load_le32(e), load_le16(e + 8));
		char *value = text_at(item, size, load_le32(e + 4), load_le16(e + 10));
		if (key && value && !strcmp(key, "relative_path") && !image->backing_name)
			image->backing_name = value;
		else
			free(value);
	}
	image->backing_format = IMAGE_VHDX;
	return image->backing_name ? 0 : error_set(err, ENOTSUP, "%s does not name the image behind it by a relative path; say where it is: "
						   "backing=FILE", image->file->path);
}

static int read_item(struct vhdx *vhdx, const uint8_t *entry, uint64_t parent[2], struct error *err)
{
	uint32_t offset = load_le32(entry + 16), length = load_le32(entry + 20);
	uint64_t at = vhdx->metadata_offset + offset;
	uint8_t value[8] = { 0 };
	if (offset > vhdx->metadata_length || length > vhdx->metadata_length - offset)
		return damaged(vhdx, "the place of a metadata item", err);
	int error = read_meta(vhdx, at, value, MIN(length, 8u));
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", vhdx->image.file->path, strerror(error));
	if (!memcmp(entry, guid_parameters, UUID_SIZE)) {
		vhdx->block_size = load_le32(value);
		vhdx->has_parent = value[4] & 2;
	} else if (!memcmp(entry, guid_size, UUID_SIZE)) {
		vhdx->image.size = load_le64(value);
	} else if (!memcmp(entry, guid_sector, UUID_SIZE)) {
		vhdx->sector_size = load_le32(value);
	} else if (!memcmp(entry, guid_parent, UUID_SIZE)) {
		parent[0] = at;
		parent[1] = length;
	}
	return 0;
}

static int read_metadata(struct vhdx *vhdx, bool find_parent, struct error *err)
{
	uint8_t h[32], entry[32];
	uint64_t parent[2] = { 0 };
	int error = read_meta(vhdx, vhdx->metadata_offset, h, sizeof(h));
	if (error || memcmp(h, "metadata", 8) || load_le16(h + 10) > 2047)
		return damaged(vhdx, "its table of metadata", err);
	for (unsigned i = 0; i < load_le16(h + 10); i++) {
		error = read_meta(vhdx, vhdx->metadata_offset + 32 * (i + 1), entry, sizeof(entry));
		if (error)
			return error_set(err, error, "%s: cannot read it: %s", vhdx->image.file->path, strerror(error));
		if (read_item(vhdx, entry, parent, err) < 0)
			return -1;
	}
	uint32_t block = vhdx->block_size, sector = vhdx->sector_size;
	if (block < MIB || block > 256 * MIB || block & (block - 1) || (sector != 512 && sector != 4096) || !vhdx->image.size ||
	    vhdx->image.size % BLOCK_SECTOR || vhdx->image.size > 64 * KIB * KIB * MIB)
		return damaged(vhdx, "its sizes", err);
	vhdx->chunk_ratio = (1ull << 23) * sector / block;
	uint64_t blocks = (vhdx->image.size + block - 1) / block;
	if ((blocks + (blocks - 1) / vhdx->chunk_ratio) * 8 > vhdx->bat_length)
		return damaged(vhdx, "its table of blocks is too short", err);
	return vhdx->has_parent && find_parent ? read_parent(vhdx, parent[0], (uint32_t)parent[1], err) : 0;
}

static int vhdx_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct vhdx *vhdx = vhdx_of(image);
	struct vhdx_log_place log;
	uint8_t head[8];
	bool dirty = false;
	int error = hostfile_size(image->file, &vhdx->file_size);
	if (!error)
		error = hostfile_read(image->file, head, sizeof(head), 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	if (!vhdx_probe(head, sizeof(head), NULL))
		return error_set(err, EINVAL, "%s is no VHDX image", image->file->path);
	if (!image->read_only)
		return error_set(err, EROFS, "%s: VHDX images can only be read; attach it read-only (ro), or 'visor disk convert' it to qcow2",
				 image->file->path);
	image->meta = meta_create(image->file, VHDX_PAGE);
	if (!image->meta)
		return error_set(err, ENOMEM, "out of memory for %s", image->file->path);
	if (read_headers(vhdx, &log, &dirty, err) < 0 || (dirty && vhdx_replay(vhdx, &log, err) < 0) || read_regions(vhdx, err) < 0 ||
	    read_metadata(vhdx, !config->backing, err) < 0)
		return -1;
	image->unit = BLOCK_SECTOR;
	return 0;
}

static void vhdx_close(struct image *image)
{
}

/* --- the map --- */

static int bat_entry(struct vhdx *vhdx, uint64_t index, uint64_t *entry)
{
	const uint8_t *p;
	unsigned left;
	int error = meta_load(vhdx->image.meta, vhdx->bat_offset + index * 8, &p, &left);
	if (!error)
		*entry = load_le64(p);
	return error;
}

/* A block of which some sectors are here: one bit each, the least significant first. */
static int map_partial(struct vhdx *vhdx, uint64_t block, uint64_t into, uint64_t length, bool *here, uint64_t *reach)
{
	uint64_t entry, sectors = vhdx->block_size / vhdx->sector_size, chunk = block / vhdx->chunk_ratio;
	int error = bat_entry(vhdx, chunk * (vhdx->chunk_ratio + 1) + vhdx->chunk_ratio, &entry);
	if (error)
		return error;
	if (STATE(entry) != FULLY_PRESENT || PLACE(entry) >= vhdx->file_size)
		return image_broken(&vhdx->image, "the bitmap of block %llu is missing", (unsigned long long)block);
	uint64_t bit = block % vhdx->chunk_ratio * sectors + into / vhdx->sector_size, first = bit;
	for (*reach = 0; *reach < length; bit++) {
		const uint8_t *p;
		unsigned left;
		error = meta_load(vhdx->image.meta, PLACE(entry) + bit / 8, &p, &left);
		if (error)
			return error;
		bool set = *p >> bit % 8 & 1;
		if (bit == first)
			*here = set;
		if (set != *here)
			break;
		*reach += vhdx->sector_size - (bit == first ? into % vhdx->sector_size : 0);
	}
	*reach = MIN(*reach, length);
	return 0;
}

static int vhdx_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	struct vhdx *vhdx = vhdx_of(image);
	uint64_t block = offset / vhdx->block_size, into = offset % vhdx->block_size, entry;
	int error = bat_entry(vhdx, block + block / vhdx->chunk_ratio, &entry);
	bool here = true;
	if (error)
		return error;
	extent->length = MIN(length, vhdx->block_size - into);
	extent->at = PLACE(entry) + into;
	switch (STATE(entry)) {
	case NOT_PRESENT:
		extent->kind = EXTENT_NONE;
		return 0;
	case UNDEFINED: case ZERO: case UNMAPPED:
		extent->kind = EXTENT_ZERO;
		return 0;
	case PARTIALLY_PRESENT:
		error = map_partial(vhdx, block, into, extent->length, &here, &extent->length);
		break;
	case FULLY_PRESENT:
		break;
	default:
		return image_broken(image, "block %llu has the state %u", (unsigned long long)block, (unsigned)STATE(entry));
	}
	extent->kind = here ? EXTENT_DATA : EXTENT_NONE;
	if (here && !error && PLACE(entry) >= vhdx->file_size)
		return image_broken(image, "block %llu is said to be at 0x%llx", (unsigned long long)block, (unsigned long long)PLACE(entry));
	return error;
}

static int vhdx_info(struct image *image, json_t *info)
{
	struct vhdx *vhdx = vhdx_of(image);
	json_t *more = json_pack("{s:I, s:i, s:s, s:b}", "block_size", (json_int_t)vhdx->block_size, "sector_size", (int)vhdx->sector_size, "type",
				 vhdx->has_parent ? "differencing" : "dynamic or fixed", "log_replayed", vhdx->replayed);
	int rc = more ? json_object_update(info, more) : -1;
	json_decref(more);
	return rc;
}

const struct image_ops vhdx_ops = {
	.format = IMAGE_VHDX,
	.instance_size = sizeof(struct vhdx),
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.map = vhdx_map,
	.info = vhdx_info,
};
