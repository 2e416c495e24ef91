/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "block/vhd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define MAX_BLOCK (256u << 20)

uint32_t vhd_checksum(const uint8_t *p, unsigned size, unsigned at)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < size; i++)
		sum += i >= at && i < at + 4 ? 0 : p[i];
	return ~sum;
}

/* A dynamic image has it at the start; at the end alone it is a fixed one, which names nothing else. */
static bool vhd_probe(const uint8_t *head, size_t size, const uint8_t *tail)
{
	return (size >= VHD_FOOTER && !memcmp(head, "conectix", 8)) ||
	       (!memcmp(tail, "conectix", 8) && load_be32(tail + VHD_TYPE) == VHD_FIXED);
}

static int damaged(const struct image *image, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "%s is damaged: %s", image->file->path, what);
}

static int read_error(const struct image *image, int error, struct error *err)
{
	return error_set(err, error, "%s: cannot read it: %s", image->file->path, strerror(error));
}

/* --- the image behind --- */

static char *read_locator(struct vhd *vhd, const uint8_t *header, uint32_t code)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const uint8_t *l = header + VHD_H_LOCATORS + i * VHD_LOCATOR_SIZE;
		uint32_t length = load_be32(l + 8);
		uint8_t data[4096];
		if (load_be32(l) != code || length > sizeof(data) || load_be64(l + 16) > INT64_MAX - sizeof(data))
			continue;
		if (hostfile_read(vhd->image.file, data, length, load_be64(l + 16)) == 0)
			return image_windows_path(data, length, false);
	}
	return NULL;
}

/* The relative name first, since images are moved together; absolute ones of Windows mean nothing here. */
static int find_backing(struct vhd *vhd, const uint8_t *header, struct error *err)
{
	struct image *image = &vhd->image;
	char *name = read_locator(vhd, header, VHD_W2RU);
	if (!name || !*name) {
		free(name);
		name = read_locator(vhd, header, VHD_W2KU);
		if (!name || *name != '/') {
			free(name);
			name = image_windows_path(header + VHD_H_PARENT_NAME, VHD_PARENT_NAME_SIZE, true);
		}
	}
	if (!name || !*name) {
		free(name);
		return damaged(image, "it does not name the image behind it", err);
	}
	const char *last = strrchr(name, '/');
	image->backing_name = strdup(name[0] && name[1] == ':' && last ? last + 1 : name);
	image->backing_format = IMAGE_VHD;
	free(name);
	return image->backing_name ? 0 : error_set(err, ENOMEM, "out of memory for %s", image->file->path);
}

static int vhd_chained(struct image *image, struct error *err)
{
	const struct vhd *vhd = vhd_of(image), *behind = vhd_of(image->backing);
	char is[40], wanted[40];
	if (image->backing->ops != &vhd_ops || !memcmp(behind->footer + VHD_UUID, vhd->parent, UUID_SIZE))
		return 0;
	return error_set(err, EINVAL, "%s: %s is not the image that was behind it: its UUID is %s, not %s", image->file->path,
			 image->backing->file->path, image_uuid_text(behind->footer + VHD_UUID, false, is),
			 image_uuid_text(vhd->parent, false, wanted));
}

/* --- opening --- */

static int read_footer(struct vhd *vhd, struct error *err)
{
	struct image *image = &vhd->image;
	uint8_t *f = vhd->footer;
	uint64_t file_size;
	int error = hostfile_size(image->file, &file_size);
	vhd->end = file_size > VHD_FOOTER ? ALIGN_DOWN(file_size - 1, (uint64_t)BLOCK_SECTOR) : 0;
	/* Old programs wrote 511 bytes. */
	if (!error)
		error = hostfile_read(image->file, f, VHD_FOOTER, vhd->end);
	bool at_end = !error && !memcmp(f, "conectix", 8) && load_be32(f + VHD_CHECKSUM) == vhd_checksum(f, VHD_FOOTER, VHD_CHECKSUM);
	if (!error && !at_end) {
		error = hostfile_read(image->file, f, VHD_FOOTER, 0);
		vhd->end = ALIGN_UP(file_size, (uint64_t)BLOCK_SECTOR);
	}
	if (error)
		return read_error(image, error, err);
	if (memcmp(f, "conectix", 8))
		return error_set(err, EINVAL, "%s is no VHD image", image->file->path);
	if (load_be32(f + VHD_CHECKSUM) != vhd_checksum(f, VHD_FOOTER, VHD_CHECKSUM))
		return damaged(image, "the checksum of its footer is wrong", err);
	if (!at_end)
		log_warn("%s: its footer is missing or damaged; the copy at the start is used", image->file->path);
	vhd->type = load_be32(f + VHD_TYPE);
	if (vhd->type != VHD_FIXED && vhd->type != VHD_DYNAMIC && vhd->type != VHD_DIFFERENCING)
		return error_set(err, ENOTSUP, "%s: VHD type %u is not supported, only fixed, dynamic and differencing", image->file->path, vhd->type);
	return 0;
}

/* Virtual PC goes by the geometry, all others by the size. */
static uint64_t disk_size(const uint8_t *f)
{
	uint64_t chs = (uint64_t)load_be16(f + VHD_CYLINDERS) * f[VHD_HEADS] * f[VHD_SECTORS] * BLOCK_SECTOR;
	bool largest = load_be16(f + VHD_CYLINDERS) == 65535 && f[VHD_HEADS] == 16 && f[VHD_SECTORS] == 255;
	return !memcmp(f + VHD_CREATOR, "vpc ", 4) && chs && !largest ? chs : load_be64(f + VHD_SIZE);
}

static int read_header(struct vhd *vhd, struct error *err)
{
	struct image *image = &vhd->image;
	uint8_t h[VHD_HEADER];
	vhd->header_offset = load_be64(vhd->footer + VHD_DATA_OFFSET);
	if (vhd->header_offset > INT64_MAX - VHD_HEADER)
		return damaged(image, "the place of its header", err);
	int error = hostfile_read(image->file, h, sizeof(h), vhd->header_offset);
	if (error)
		return read_error(image, error, err);
	if (memcmp(h, "cxsparse", 8) || load_be32(h + VHD_H_CHECKSUM) != vhd_checksum(h, VHD_HEADER, VHD_H_CHECKSUM))
		return damaged(image, "its header", err);
	vhd->table_offset = load_be64(h + VHD_H_TABLE_OFFSET);
	vhd->entries = load_be32(h + VHD_H_ENTRIES);
	vhd->block_size = load_be32(h + VHD_H_BLOCK_SIZE);
	if (vhd->block_size < BLOCK_SECTOR || vhd->block_size > MAX_BLOCK || vhd->block_size & (vhd->block_size - 1))
		return error_set(err, ENOTSUP, "%s: blocks of %u bytes are not supported", image->file->path, vhd->block_size);
	if (vhd->table_offset % BLOCK_SECTOR || vhd->table_offset > vhd->end || vhd->entries * 4ull > vhd->end - vhd->table_offset ||
	    image->size > (uint64_t)vhd->entries * vhd->block_size)
		return damaged(image, "its table of blocks does not fit", err);
	vhd->bitmap_size = ALIGN_UP(vhd->block_size / BLOCK_SECTOR / 8 + !(vhd->block_size / BLOCK_SECTOR / 8), BLOCK_SECTOR);
	memcpy(vhd->parent, h + VHD_H_PARENT_UUID, UUID_SIZE);
	return vhd->type == VHD_DIFFERENCING ? find_backing(vhd, h, err) : 0;
}

static int vhd_open(struct image *image, const struct image_config *config, struct error *err)
{
	struct vhd *vhd = vhd_of(image);
	if (read_footer(vhd, err) < 0)
		return -1;
	image->unit = BLOCK_SECTOR;
	image->size = ALIGN_DOWN(disk_size(vhd->footer), (uint64_t)BLOCK_SECTOR);
	if (!image->size || image->size > INT64_MAX)
		return damaged(image, "its size", err);
	image->in_place = vhd->type == VHD_FIXED;
	if (vhd->type == VHD_FIXED)
		return image->size > vhd->end ? damaged(image, "the file is shorter than the disk", err) : 0;
	if (read_header(vhd, err) < 0)
		return -1;
	image->meta = meta_create(image->file, BLOCK_SECTOR);
	return image->meta ? 0 : error_set(err, ENOMEM, "out of memory for %s", image->file->path);
}

static void vhd_close(struct image *image)
{
}

/* --- the map --- */

static int get_block(struct vhd *vhd, uint64_t offset, uint32_t *sector)
{
	const uint8_t *p;
	unsigned left;
	int error = meta_load(vhd->image.meta, vhd->table_offset + offset / vhd->block_size * 4, &p, &left);
	if (error)
		return error;
	*sector = load_be32(p);
	if (*sector != VHD_UNUSED && (*sector * 512ull < VHD_FOOTER + VHD_HEADER || *sector * 512ull >= vhd->end))
		return image_broken(&vhd->image, "block %llu is said to be at sector %u of the file",
				    (unsigned long long)(offset / vhd->block_size), *sector);
	return 0;
}

/* Whether a sector is there, and how many from it on are the same, in one sector of the bitmap. */
static int get_bits(struct vhd *vhd, uint64_t bitmap, uint64_t index, uint64_t max, bool *set, uint64_t *count)
{
	const uint8_t *p;
	unsigned left;
	int error = meta_load(vhd->image.meta, bitmap + index / 8, &p, &left);
	if (error)
		return error;
	*set = p[0] >> (7 - index % 8) & 1;
	max = MIN(max, left * 8ull - index % 8);
	for (*count = 1; *count < max;) {
		uint64_t bit = index % 8 + *count;
		uint8_t byte = p[bit / 8];
		if (bit % 8 == 0 && byte == (*set ? 0xff : 0))
			*count = MIN(max, *count + 8);
		else if ((byte >> (7 - bit % 8) & 1) == *set)
			++*count;
		else
			break;
	}
	return 0;
}

static int vhd_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	struct vhd *vhd = vhd_of(image);
	uint32_t sector = VHD_UNUSED;
	uint64_t into, count = 0;
	bool set = false;
	if (vhd->type == VHD_FIXED) {
		extent->kind = EXTENT_DATA;
		extent->at = offset;
		extent->length = length;
		return 0;
	}
	into = offset % vhd->block_size;
	length = MIN(length, vhd->block_size - into);
	int error = get_block(vhd, offset, &sector);
	if (!error && sector != VHD_UNUSED)
		error = get_bits(vhd, sector * 512ull, into / BLOCK_SECTOR, length / BLOCK_SECTOR, &set, &count);
	extent->kind = set ? EXTENT_DATA : EXTENT_NONE;
	extent->at = sector * 512ull + vhd->bitmap_size + into;
	extent->length = sector == VHD_UNUSED ? length : count * BLOCK_SECTOR;
	return error;
}

/* --- change --- */

int vhd_write_footer(struct vhd *vhd, uint64_t at)
{
	store_be32(vhd->footer + VHD_CHECKSUM, vhd_checksum(vhd->footer, VHD_FOOTER, VHD_CHECKSUM));
	return hostfile_write(vhd->image.file, vhd->footer, VHD_FOOTER, at);
}

int vhd_write_footer_copy(struct vhd *vhd)
{
	return hostfile_write(vhd->image.file, vhd->footer, VHD_FOOTER, 0);
}

/* A block takes the footer's place, which was written behind it before. All sectors of a dynamic image's block are there
 * at once, as zeros. */
static int add_block(struct vhd *vhd, uint64_t block)
{
	uint64_t at = vhd->end, next = at + vhd->bitmap_size + vhd->block_size;
	cleanup_free uint8_t *bitmap = calloc(1, vhd->bitmap_size);
	if (at / 512 >= VHD_UNUSED || next / 512 >= VHD_UNUSED)
		return EFBIG;
	if (!bitmap)
		return ENOMEM;
	if (vhd->type == VHD_DYNAMIC)
		memset(bitmap, 0xff, vhd->block_size / BLOCK_SECTOR / 8);
	int error = vhd_write_footer(vhd, next);
	if (!error)
		error = hostfile_write(vhd->image.file, bitmap, vhd->bitmap_size, at);
	if (error)
		return error;
	meta_forget(vhd->image.meta, at, vhd->bitmap_size);
	vhd->new_block = block + 1;
	vhd->new_sector = (uint32_t)(at / 512);
	vhd->end = next;
	return 0;
}

static int vhd_place(struct image *image, uint64_t offset, uint64_t length, struct extent *place)
{
	struct vhd *vhd = vhd_of(image);
	uint64_t into = offset % vhd->block_size, block = offset / vhd->block_size;
	uint32_t sector;
	int error = meta_is_full(image->meta) ? image_sync_alone(image) : 0;
	if (!error)
		error = get_block(vhd, offset, &sector);
	if (!error && sector == VHD_UNUSED && vhd->new_block != block + 1)
		error = add_block(vhd, block);
	if (error)
		return error;
	place->fresh = sector == VHD_UNUSED;
	sector = sector == VHD_UNUSED ? vhd->new_sector : sector;
	place->at = sector * 512ull + vhd->bitmap_size + into;
	place->length = MIN(length, vhd->block_size - into);
	return 0;
}

static int set_bits(struct vhd *vhd, uint64_t bitmap, uint64_t index, uint64_t count)
{
	for (uint64_t end = index + count; index < end;) {
		const uint8_t *p;
		unsigned left;
		int error = meta_load(vhd->image.meta, bitmap + index / 8, &p, &left);
		if (error)
			return error;
		uint8_t byte = *p;
		do
			byte |= (uint8_t)(0x80 >> index % 8);
		while (++index % 8 && index < end);
		error = meta_store(vhd->image.meta, bitmap + (index - 1) / 8, &byte, 1, META_MAP);
		if (error)
			return error;
	}
	return 0;
}

static int vhd_link(struct image *image, uint64_t offset, const struct extent *place)
{
	struct vhd *vhd = vhd_of(image);
	uint64_t block = offset / vhd->block_size, into = offset % vhd->block_size;
	uint8_t entry[4];
	int error = 0;
	if (vhd->new_block == block + 1) {
		store_be32(entry, vhd->new_sector);
		error = meta_store(image->meta, vhd->table_offset + block * 4, entry, 4, META_MAP);
		vhd->new_block = 0;
	}
	/* In a dynamic image they are set, unless another program made the block. */
	if (!error)
		error = set_bits(vhd, place->at - into - vhd->bitmap_size, into / BLOCK_SECTOR, place->length / BLOCK_SECTOR);
	return error;
}

/* Blocks that are not there need nothing. */
static int vhd_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct vhd *vhd = vhd_of(image);
	uint32_t sector = 0;
	if (vhd->type != VHD_DYNAMIC)
		return ENOTSUP;
	int error = get_block(vhd, offset, &sector);
	*done = MIN(length, vhd->block_size - offset % vhd->block_size);
	return error ? error : sector == VHD_UNUSED ? 0 : ENOTSUP;
}

static int vhd_info(struct image *image, json_t *info)
{
	struct vhd *vhd = vhd_of(image);
	static const char *const types[] = { "", "", "fixed", "dynamic", "differencing" };
	char text[40], creator[5] = "";
	for (unsigned i = 0; i < 4; i++)
		creator[i] = vhd->footer[VHD_CREATOR + i] > ' ' && vhd->footer[VHD_CREATOR + i] < 127 ? (char)vhd->footer[VHD_CREATOR + i] : ' ';
	json_t *more = json_pack("{s:s, s:s, s:s}", "type", types[vhd->type], "uuid", image_uuid_text(vhd->footer + VHD_UUID, false, text),
				 "creator", creator);
	if (more && vhd->type != VHD_FIXED)
		json_object_set_new(more, "block_size", json_integer(vhd->block_size));
	int rc = more ? json_object_update(info, more) : -1;
	json_decref(more);
	return rc;
}

/* --- check --- */

struct place {
	uint32_t sector, block;
};

static int by_sector(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static void report(struct image_check *check, uint32_t block, const char *what)
{
	char text[100];
	snprintf(text, sizeof(text), "block %u %s", block, what);
	check->errors++;
	if (check->report)
		check->report(check->opaque, text);
}

static int vhd_check(struct image *image, struct image_check *check, struct error *err)
{
	struct vhd *vhd = vhd_of(image);
	uint64_t length = ((uint64_t)vhd->bitmap_size + vhd->block_size) / 512, n = 0;
	cleanup_free struct place *places = vhd->type == VHD_FIXED ? NULL : malloc((vhd->entries + 1ull) * sizeof(*places));
	if (vhd->type == VHD_FIXED)
		return 0;
	if (!places)
		return error_set(err, ENOMEM, "out of memory to check %s", image->file->path);
	for (uint32_t i = 0; i < vhd->entries; i++) {
		const uint8_t *p;
		unsigned left;
		int error = meta_load(image->meta, vhd->table_offset + i * 4ull, &p, &left);
		if (error)
			return read_error(image, error, err);
		if (load_be32(p) == VHD_UNUSED)
			continue;
		places[n++] = (struct place){ load_be32(p), i };
		if ((load_be32(p) + length) * 512 > vhd->end || load_be32(p) * 512ull < VHD_FOOTER + VHD_HEADER)
			report(check, i, "is beyond the blocks of the file");
	}
	qsort(places, n, sizeof(*places), by_sector);
	for (uint64_t i = 1; i < n; i++)
		if (places[i].sector < places[i - 1].sector + length)
			report(check, places[i].block, "overlaps another one");
	check->allocated = n * vhd->block_size;
	return 0;
}

const struct image_ops vhd_ops = {
	.format = IMAGE_VHD,
	.instance_size = sizeof(struct vhd),
	.probe = vhd_probe,
	.open = vhd_open,
	.close = vhd_close,
	.chained = vhd_chained,
	.map = vhd_map,
	.place = vhd_place,
	.link = vhd_link,
	.zero = vhd_zero,
	.resize = vhd_resize,
	.check = vhd_check,
	.info = vhd_info,
	.create = vhd_create,
};
