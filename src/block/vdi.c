/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VDI, version 1.1, the format of VirtualBox. Blocks, usually of 1 MiB, are mapped by one table of
 * 32-bit block numbers, all little-endian; new blocks are appended. What a block loses is given back to the host as
 * a hole; the block keeps its place. A differencing image knows the one behind it only by its UUID.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/format.h"

#define SIGNATURE 0xbeda107fu
#define VERSION 0x00010001u
#define HEADER_SIZE 512u
#define BLOCK_FREE 0xffffffffu
#define BLOCK_ZERO 0xfffffffeu
#define DEFAULT_BLOCK (1u << 20)
/* The header and the beginning of the table are one page then, so that the count of blocks in use and an entry change at once: QEMU's
 * tools take a block that is only counted for an error. */
#define TABLE_PAGE 4096u
#define MAX_BLOCK (64u << 20)
#define MAX_BLOCKS (1u << 28)

/* Bytes of the header. */
enum {
	TEXT = 0, SIGNATURE_AT = 0x40, VERSION_AT = 0x44, HEADER_LENGTH = 0x48, TYPE = 0x4c, MAP_OFFSET = 0x154, DATA_OFFSET = 0x158,
	SECTOR_SIZE = 0x168, DISK_SIZE = 0x170, BLOCK_SIZE = 0x178, BLOCK_EXTRA = 0x17c, BLOCKS = 0x180, ALLOCATED = 0x184,
	UUID = 0x188, UUID_MODIFY = 0x198, UUID_PARENT = 0x1a8, UUID_PARENT_MODIFY = 0x1b8,
};

enum { TYPE_DYNAMIC = 1, TYPE_FIXED = 2, TYPE_DIFFERENCING = 4 };

struct vdi {
	struct image image;
	uint32_t type, blocks, allocated;
	uint64_t map_offset, data_offset;
	uint64_t written_end; /* nothing was ever written beyond */
	uint8_t uuid[UUID_SIZE], parent[UUID_SIZE];
};

static struct vdi *vdi_of(struct image *image)
{
	return container_of(image, struct vdi, image);
}

static bool vdi_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return size >= SIGNATURE_AT + 4 && load_le32(head + SIGNATURE_AT) == SIGNATURE;
}

/* --- opening --- */

static int damaged(const struct image *image, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "%s is damaged: %s", image->file->path, what);
}

static bool is_vdi_with(const char *path, const uint8_t uuid[UUID_SIZE])
{
	struct hostfile *file = hostfile_open_unlocked(path, NULL);
	uint8_t header[HEADER_SIZE];
	bool found = file && hostfile_read(file, header, sizeof(header), 0) == 0 && vdi_probe(header, sizeof(header), NULL) &&
		     !memcmp(header + UUID, uuid, UUID_SIZE);
	hostfile_close(file);
	return found;
}

/* The VDI of this UUID in the folder of the image. */
static char *find_parent(const char *path, const uint8_t uuid[UUID_SIZE])
{
	cleanup_free char *folder = image_relative(path, ".");
	DIR *list = folder ? opendir(folder) : NULL;
	struct dirent *entry;
	char *name = NULL;
	while (list && !name && (entry = readdir(list))) {
		const char *dot = strrchr(entry->d_name, '.');
		cleanup_free char *full = dot && !strcasecmp(dot, ".vdi") ? image_relative(path, entry->d_name) : NULL;
		if (full && is_vdi_with(full, uuid))
			name = strdup(entry->d_name);
	}
	if (list)
		closedir(list);
	return name;
}

static int find_backing(struct vdi *vdi, const struct image_config *config, struct error *err)
{
	char text[40];
	if (vdi->type != TYPE_DIFFERENCING)
		return 0;
	vdi->image.backing_format = IMAGE_VDI;
	if (config->backing)
		return 0;
	vdi->image.backing_name = find_parent(config->path, vdi->parent);
	if (vdi->image.backing_name || config->alone)
		return 0;
	return error_set(err, ENOENT, "%s: the image behind it, a VDI with the UUID %s, is not in the same folder; put it there or say where it is: "
			 "backing=FILE", config->path, image_uuid_text(vdi->parent, true, text));
}

static int read_header(struct vdi *vdi, struct error *err)
{
	struct image *image = &vdi->image;
	uint8_t h[HEADER_SIZE];
	int error = hostfile_read(image->file, h, sizeof(h), 0);
	if (error)
		return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
	if (!vdi_probe(h, sizeof(h), NULL))
		return error_set(err, EINVAL, "%s is no VDI image", image->file->path);
	if (load_le32(h + VERSION_AT) >> 16 != VERSION >> 16)
		return error_set(err, ENOTSUP, "%s: VDI version %u.%u is not supported, only 1.1", image->file->path, load_le16(h + VERSION_AT + 2),
				 load_le16(h + VERSION_AT));
	vdi->type = load_le32(h + TYPE);
	vdi->blocks = load_le32(h + BLOCKS);
	vdi->allocated = load_le32(h + ALLOCATED);
	vdi->map_offset = load_le32(h + MAP_OFFSET);
	vdi->data_offset = load_le32(h + DATA_OFFSET);
	memcpy(vdi->uuid, h + UUID, UUID_SIZE);
	memcpy(vdi->parent, h + UUID_PARENT, UUID_SIZE);
	image->size = ALIGN_UP(load_le64(h + DISK_SIZE), (uint64_t)BLOCK_SECTOR);
	image->unit = load_le32(h + BLOCK_SIZE);
	if (vdi->type != TYPE_DYNAMIC && vdi->type != TYPE_FIXED && vdi->type != TYPE_DIFFERENCING)
		return error_set(err, ENOTSUP, "%s: VDI type %u is not supported, only dynamic, fixed and differencing", image->file->path, vdi->type);
	if (load_le32(h + SECTOR_SIZE) != BLOCK_SECTOR || load_le32(h + BLOCK_EXTRA) || image->unit < BLOCK_SECTOR || image->unit > MAX_BLOCK ||
	    image->unit & (image->unit - 1))
		return error_set(err, ENOTSUP, "%s: blocks of %u bytes are not supported", image->file->path, image->unit);
	return 0;
}

static int check_header(const struct vdi *vdi, struct error *err)
{
	const struct image *image = &vdi->image;
	if (vdi->blocks > MAX_BLOCKS || !image->size || image->size > (uint64_t)vdi->blocks * image->unit)
		return damaged(image, "its size does not fit its number of blocks", err);
	if (vdi->map_offset % 4 || vdi->map_offset < UUID_PARENT_MODIFY || vdi->data_offset % BLOCK_SECTOR ||
	    vdi->data_offset < vdi->map_offset + vdi->blocks * 4ull)
		return damaged(image, "the places of its tables", err);
	return vdi->allocated > vdi->blocks ? damaged(image, "it says that more blocks are in use than it has", err) : 0;
}

static int vdi_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct vdi *vdi = vdi_of(image);
	uint64_t file_size = 0;
	if (read_header(vdi, err) < 0 || check_header(vdi, err) < 0 || find_backing(vdi, config, err) < 0)
		return -1;
	hostfile_size(image->file, &file_size);
	vdi->written_end = file_size;
	image->meta = meta_create(image->file, vdi->data_offset % TABLE_PAGE ? BLOCK_SECTOR : TABLE_PAGE);
	return image->meta ? 0 : error_set(err, ENOMEM, "out of memory for %s", image->file->path);
}

static void vdi_close(struct image *image)
{
}

static int vdi_chained(struct image *image, struct error *err)
{
	const struct vdi *vdi = vdi_of(image), *behind = vdi_of(image->backing);
	char is[40], wanted[40];
	if (image->backing->ops != &vdi_ops || !memcmp(behind->uuid, vdi->parent, UUID_SIZE))
		return 0;
	return error_set(err, EINVAL, "%s: %s is not the image that was behind it: its UUID is %s, not %s", image->file->path,
			 image->backing->file->path, image_uuid_text(behind->uuid, true, is), image_uuid_text(vdi->parent, true, wanted));
}

/* --- the map --- */

static int get_entry(struct vdi *vdi, uint64_t offset, uint32_t *entry)
{
	const uint8_t *p;
	unsigned left;
	int error = meta_load(vdi->image.meta, vdi->map_offset + offset / vdi->image.unit * 4, &p, &left);
	if (error)
		return error;
	*entry = load_le32(p);
	if (*entry >= vdi->allocated && *entry != BLOCK_FREE && *entry != BLOCK_ZERO)
		return image_broken(&vdi->image, "block %llu is said to be at block %u of the file, which has %u",
				    (unsigned long long)(offset / vdi->image.unit), *entry, vdi->allocated);
	return 0;
}

static int vdi_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	struct vdi *vdi = vdi_of(image);
	uint64_t into = offset % image->unit;
	uint32_t entry = 0;
	int error = get_entry(vdi, offset, &entry);
	extent->kind = entry == BLOCK_FREE ? EXTENT_NONE : entry == BLOCK_ZERO ? EXTENT_ZERO : EXTENT_DATA;
	extent->at = vdi->data_offset + (uint64_t)entry * image->unit + into;
	extent->length = MIN(length, image->unit - into);
	return error;
}

static int vdi_place(struct image *image, uint64_t offset, uint64_t length, struct extent *place)
{
	struct vdi *vdi = vdi_of(image);
	int error = meta_is_full(image->meta) ? image_sync_alone(image) : 0;
	if (error)
		return error;
	if (vdi->allocated == vdi->blocks)
		return image_broken(image, "all blocks are in use, and still one is missing");
	place->at = vdi->data_offset + (uint64_t)vdi->allocated * image->unit;
	place->length = image->unit;
	place->fresh = place->at >= vdi->written_end;
	if (place->at + image->unit <= vdi->written_end)
		return 0;
	/* Other programs want whole blocks in the file. */
	error = hostfile_truncate(image->file, place->at + image->unit);
	if (!error)
		vdi->written_end = place->at + image->unit;
	return error;
}

static int set_entry(struct vdi *vdi, uint64_t offset, uint32_t entry)
{
	uint8_t bytes[4];
	store_le32(bytes, entry);
	return meta_store(vdi->image.meta, vdi->map_offset + offset / vdi->image.unit * 4, bytes, 4, META_MAP);
}

static int vdi_link(struct image *image, uint64_t offset, const struct extent *place)
{
	struct vdi *vdi = vdi_of(image);
	uint8_t bytes[4];
	store_le32(bytes, vdi->allocated + 1);
	int error = meta_store(image->meta, ALLOCATED, bytes, 4, META_COUNTS);
	if (!error)
		error = set_entry(vdi, offset, vdi->allocated);
	if (!error)
		vdi->allocated++;
	return error;
}

static int vdi_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct vdi *vdi = vdi_of(image);
	uint32_t entry = 0;
	int error = get_entry(vdi, offset, &entry);
	*done = image->unit;
	if (error || entry == BLOCK_ZERO)
		return error;
	if (entry != BLOCK_FREE)
		return ENOTSUP;
	return vdi->type == TYPE_DIFFERENCING ? set_entry(vdi, offset, BLOCK_ZERO) : 0;
}

/* --- check, size, information --- */

static void report(struct image_check *check, uint64_t *count, uint32_t block, const char *what)
{
	char text[100];
	snprintf(text, sizeof(text), "block %u: %s", block, what);
	++*count;
	if (check->report)
		check->report(check->opaque, text);
}

static int vdi_check(struct image *image, struct image_check *check, struct error *err)
{
	struct vdi *vdi = vdi_of(image);
	cleanup_free uint8_t *seen = calloc(vdi->allocated + 1ull, 1);
	if (!seen)
		return error_set(err, ENOMEM, "out of memory to check %s", image->file->path);
	for (uint32_t i = 0; i < vdi->blocks; i++) {
		const uint8_t *p;
		unsigned left;
		int error = meta_load(image->meta, vdi->map_offset + i * 4ull, &p, &left);
		if (error)
			return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
		uint32_t entry = load_le32(p);
		if (entry == BLOCK_FREE || entry == BLOCK_ZERO)
			continue;
		if (entry >= vdi->allocated)
			report(check, &check->errors, i, "its place is beyond the blocks in use");
		else if (seen[entry]++)
			report(check, &check->errors, i, "its place is another block's, too");
		else
			check->allocated += image->unit;
	}
	for (uint32_t i = 0; i < vdi->allocated; i++)
		if (!seen[i])
			report(check, &check->leaks, i, "of the file is not used");
	return 0;
}

static int vdi_resize(struct image *image, uint64_t size, struct error *err)
{
	struct vdi *vdi = vdi_of(image);
	uint64_t blocks = size / image->unit + !!(size % image->unit);
	uint8_t bytes[8];
	if (size < image->size || vdi->type == TYPE_FIXED)
		return error_set(err, ENOTSUP, "%s: a %s cannot be changed so; 'visor disk convert' it to qcow2 first", image->file->path,
				 vdi->type == TYPE_FIXED ? "fixed VDI's size" : "VDI's size");
	if (vdi->map_offset + blocks * 4 > vdi->data_offset || blocks > MAX_BLOCKS)
		return error_set(err, ENOSPC, "%s has no room for so large a table; 'visor disk convert' it to qcow2 first", image->file->path);
	int error = 0;
	for (uint64_t i = vdi->blocks; i < blocks && !error; i++)
		error = set_entry(vdi, i * image->unit, BLOCK_FREE);
	if (!error)
		error = meta_sync(image->meta, true);
	store_le32(bytes, (uint32_t)blocks);
	if (!error)
		error = meta_store(image->meta, BLOCKS, bytes, 4, META_COUNTS);
	store_le64(bytes, size);
	if (!error)
		error = meta_store(image->meta, DISK_SIZE, bytes, 8, META_MAP);
	if (!error)
		vdi->blocks = (uint32_t)blocks;
	return error ? error_set(err, error, "%s: cannot change its size: %s", image->file->path, strerror(error)) : 0;
}

static int vdi_info(struct image *image, json_t *info)
{
	struct vdi *vdi = vdi_of(image);
	static const char *const types[] = { "", "dynamic", "fixed", "", "differencing" };
	char text[40];
	json_t *more = json_pack("{s:s, s:I, s:s}", "type", types[vdi->type], "block_size", (json_int_t)image->unit, "uuid",
				 image_uuid_text(vdi->uuid, true, text));
	if (more && vdi->type == TYPE_DIFFERENCING)
		json_object_set_new(more, "parent_uuid", json_string(image_uuid_text(vdi->parent, true, text)));
	int rc = more ? json_object_update(info, more) : -1;
	json_decref(more);
	return rc;
}

/* --- new images --- */

static void put_header(uint8_t *h, const struct image_create *create, struct image *backing, uint32_t blocks, uint64_t data_offset)
{
	static const char text[] = "<<< Oracle VM VirtualBox Disk Image >>>\n";
	memcpy(h + TEXT, text, sizeof(text));
	store_le32(h + SIGNATURE_AT, SIGNATURE);
	store_le32(h + VERSION_AT, VERSION);
	store_le32(h + HEADER_LENGTH, 400);
	store_le32(h + TYPE, backing ? TYPE_DIFFERENCING : create->fixed ? TYPE_FIXED : TYPE_DYNAMIC);
	store_le32(h + MAP_OFFSET, HEADER_SIZE);
	store_le32(h + DATA_OFFSET, (uint32_t)data_offset);
	store_le32(h + SECTOR_SIZE, BLOCK_SECTOR);
	store_le64(h + DISK_SIZE, create->size);
	store_le32(h + BLOCK_SIZE, DEFAULT_BLOCK);
	store_le32(h + BLOCKS, blocks);
	store_le32(h + ALLOCATED, create->fixed ? blocks : 0);
	image_new_uuid(h + UUID);
	image_new_uuid(h + UUID_MODIFY);
	if (backing) {
		memcpy(h + UUID_PARENT, vdi_of(backing)->uuid, UUID_SIZE);
		hostfile_read(backing->file, h + UUID_PARENT_MODIFY, UUID_SIZE, UUID_MODIFY);
	}
}

static int vdi_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	uint64_t blocks = ALIGN_UP(create->size, (uint64_t)DEFAULT_BLOCK) / DEFAULT_BLOCK;
	if (blocks > MAX_BLOCKS)
		return error_set(err, EFBIG, "%s: a VDI has at most 256T", create->path);
	if (backing && (backing->ops != &vdi_ops || create->fixed))
		return error_set(err, EINVAL, "%s: behind a VDI there can only be another VDI, and it cannot be fixed; choose qcow2", create->path);
	uint64_t data_offset = ALIGN_UP(HEADER_SIZE + blocks * 4, (uint64_t)DEFAULT_BLOCK);
	cleanup_free uint8_t *tables = calloc(1, data_offset);
	if (!tables)
		return error_set(err, ENOMEM, "out of memory for %s", create->path);
	put_header(tables, create, backing, (uint32_t)blocks, data_offset);
	for (uint32_t i = 0; i < blocks; i++)
		store_le32(tables + HEADER_SIZE + 4ull * i, create->fixed ? i : BLOCK_FREE);
	int error = hostfile_write(file, tables, data_offset, 0);
	if (!error && create->fixed)
		error = hostfile_truncate(file, data_offset + blocks * DEFAULT_BLOCK);
	return error ? error_set(err, error, "%s: cannot write it: %s", create->path, strerror(error)) : 0;
}

const struct image_ops vdi_ops = {
	.format = IMAGE_VDI,
	.instance_size = sizeof(struct vdi),
	.probe = vdi_probe,
	.open = vdi_open,
	.close = vdi_close,
	.chained = vdi_chained,
	.map = vdi_map,
	.place = vdi_place,
	.link = vdi_link,
	.zero = vdi_zero,
	.resize = vdi_resize,
	.check = vdi_check,
	.info = vdi_info,
	.create = vdi_create,
};
