/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "block/vhd.h"

#define EPOCH 946684800 /* 2000-01-01 in seconds since 1970 */

/* The specification's appendix: how sectors become cylinders, heads and sectors per track. */
static void put_geometry(uint8_t *footer, uint64_t size)
{
	uint64_t total = MIN(size / BLOCK_SECTOR, 65535ull * 16 * 255), per_track, heads, cylinders_heads;
	if (total >= 65535ull * 16 * 63) {
		per_track = 255;
		heads = 16;
		cylinders_heads = total / per_track;
	} else {
		per_track = 17;
		cylinders_heads = total / per_track;
		heads = MAX((cylinders_heads + 1023) / 1024, 4ull);
		if (cylinders_heads >= heads * 1024 || heads > 16) {
			per_track = 31;
			heads = 16;
			cylinders_heads = total / per_track;
		}
		if (cylinders_heads >= heads * 1024) {
			per_track = 63;
			heads = 16;
			cylinders_heads = total / per_track;
		}
	}
	store_be16(footer + VHD_CYLINDERS, (uint16_t)(cylinders_heads / heads));
	footer[VHD_HEADS] = (uint8_t)heads;
	footer[VHD_SECTORS] = (uint8_t)per_track;
}

static void put_footer(uint8_t *f, uint64_t size, uint32_t type)
{
	memcpy(f, "conectix", 8);
	store_be32(f + VHD_FEATURES, 2);
	store_be32(f + VHD_VERSION, 0x00010000);
	store_be64(f + VHD_DATA_OFFSET, type == VHD_FIXED ? UINT64_MAX : VHD_FOOTER);
	store_be32(f + VHD_TIME, (uint32_t)(time(NULL) - EPOCH));
	/* Programs go by the creator when they choose between size and geometry; for Windows it is the size. */
	memcpy(f + VHD_CREATOR, "win ", 4);
	store_be32(f + VHD_CREATOR_VERSION, 0x00060001);
	memcpy(f + VHD_CREATOR_HOST, "Wi2k", 4);
	store_be64(f + VHD_ORIGINAL_SIZE, size);
	store_be64(f + VHD_SIZE, size);
	put_geometry(f, size);
	store_be32(f + VHD_TYPE, type);
	image_new_uuid(f + VHD_UUID);
	store_be32(f + VHD_CHECKSUM, vhd_checksum(f, VHD_FOOTER, VHD_CHECKSUM));
}

/* UTF-8 as UTF-16; characters beyond the first plane and wrong bytes become '_'. Its length in bytes. */
static unsigned put_utf16(uint8_t *to, unsigned room, const char *text, bool big_endian, bool windows)
{
	unsigned n = 0;
	for (const uint8_t *p = (const uint8_t *)text; *p && n + 2 <= room; n += 2) {
		unsigned c = *p, more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
		c = !more ? c : c & (0x3fu >> more);
		for (p++; more && (*p & 0xc0) == 0x80; more--)
			c = c << 6 | (*p++ & 0x3f);
		if (c > 0xffff || more)
			c = '_';
		if (windows && c == '/')
			c = '\\';
		(big_endian ? store_be16 : store_le16)(to + n, (uint16_t)c);
	}
	return n;
}

static void put_locator(uint8_t *header, unsigned index, uint32_t code, uint64_t at, unsigned length)
{
	uint8_t *l = header + VHD_H_LOCATORS + index * VHD_LOCATOR_SIZE;
	store_be32(l, code);
	store_be32(l + 4, (uint32_t)ALIGN_UP(length, 512u));
	store_be32(l + 8, length);
	store_be64(l + 16, at);
}

static void put_header(uint8_t *h, const struct image_create *create, struct image *backing, uint32_t entries, uint64_t locator, uint8_t *name)
{
	memcpy(h, "cxsparse", 8);
	store_be64(h + VHD_H_DATA_OFFSET, UINT64_MAX);
	store_be64(h + VHD_H_TABLE_OFFSET, VHD_FOOTER + VHD_HEADER);
	store_be32(h + VHD_H_VERSION, 0x00010000);
	store_be32(h + VHD_H_ENTRIES, entries);
	store_be32(h + VHD_H_BLOCK_SIZE, VHD_DEFAULT_BLOCK);
	if (backing) {
		const struct vhd *parent = vhd_of(backing);
		memcpy(h + VHD_H_PARENT_UUID, parent->footer + VHD_UUID, UUID_SIZE);
		memcpy(h + VHD_H_PARENT_TIME, parent->footer + VHD_TIME, 4);
		put_utf16(h + VHD_H_PARENT_NAME, VHD_PARENT_NAME_SIZE - 2, create->backing, true, true);
		unsigned length = put_utf16(name, 2048, create->backing, false, true);
		put_locator(h, 0, *create->backing == '/' ? VHD_W2KU : VHD_W2RU, locator, length);
	}
	store_be32(h + VHD_H_CHECKSUM, vhd_checksum(h, VHD_HEADER, VHD_H_CHECKSUM));
}

static int write_sparse(struct hostfile *file, const struct image_create *create, struct image *backing)
{
	uint64_t entries = ALIGN_UP(create->size, (uint64_t)VHD_DEFAULT_BLOCK) / VHD_DEFAULT_BLOCK, table = VHD_FOOTER + VHD_HEADER;
	uint64_t locator = ALIGN_UP(table + entries * 4, 512), end = locator + (backing ? 2048 : 0);
	cleanup_free uint8_t *all = calloc(1, end + VHD_FOOTER);
	if (!all)
		return ENOMEM;
	put_footer(all, create->size, backing ? VHD_DIFFERENCING : VHD_DYNAMIC);
	memcpy(all + end, all, VHD_FOOTER);
	put_header(all + VHD_FOOTER, create, backing, (uint32_t)entries, locator, all + locator);
	memset(all + table, 0xff, locator - table);
	return hostfile_write(file, all, end + VHD_FOOTER, 0);
}

int vhd_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	uint8_t footer[VHD_FOOTER] = { 0 };
	if (create->size > VHD_MAX_SIZE)
		return error_set(err, EFBIG, "%s: a VHD has at most 2040G; choose qcow2", create->path);
	if (backing && (backing->ops != &vhd_ops || create->fixed))
		return error_set(err, EINVAL, "%s: behind a VHD there can only be another VHD, and it cannot be fixed; choose qcow2", create->path);
	put_footer(footer, create->size, VHD_FIXED);
	int error = create->fixed ? hostfile_write(file, footer, VHD_FOOTER, create->size) : write_sparse(file, create, backing);
	return error ? error_set(err, error, "%s: cannot write it: %s", create->path, strerror(error)) : 0;
}

/* --- size --- */

/* A larger table takes the footer's place; the header leads to it when it is complete. */
static int grow_table(struct vhd *vhd, uint32_t entries)
{
	struct image *image = &vhd->image;
	uint64_t at = vhd->end, length = ALIGN_UP(entries * 4ull, 512);
	uint8_t header[VHD_HEADER];
	cleanup_free uint8_t *table = malloc(length);
	if (!table)
		return ENOMEM;
	memset(table, 0xff, length);
	int error = meta_sync(image->meta, true);
	if (!error)
		error = hostfile_read(image->file, table, vhd->entries * 4ull, vhd->table_offset);
	if (!error)
		error = hostfile_read(image->file, header, sizeof(header), vhd->header_offset);
	if (!error)
		error = vhd_write_footer(vhd, at + length);
	if (!error)
		error = hostfile_write(image->file, table, length, at);
	if (!error)
		error = hostfile_sync(image->file);
	store_be64(header + VHD_H_TABLE_OFFSET, at);
	store_be32(header + VHD_H_ENTRIES, entries);
	store_be32(header + VHD_H_CHECKSUM, vhd_checksum(header, VHD_HEADER, VHD_H_CHECKSUM));
	if (!error)
		error = hostfile_write(image->file, header, sizeof(header), vhd->header_offset);
	if (error)
		return error;
	meta_forget(image->meta, at, length);
	vhd->table_offset = at;
	vhd->entries = entries;
	vhd->end = at + length;
	return 0;
}

/* The new footer is there before the old one becomes a part of the disk. */
static int resize_fixed(struct vhd *vhd, uint64_t size)
{
	uint8_t zeros[VHD_FOOTER] = { 0 };
	int error = vhd_write_footer(vhd, size);
	if (!error)
		error = hostfile_sync(vhd->image.file);
	if (!error && size > vhd->end)
		error = hostfile_write(vhd->image.file, zeros, sizeof(zeros), vhd->end);
	if (!error)
		error = hostfile_truncate(vhd->image.file, size + VHD_FOOTER);
	vhd->end = size;
	return error;
}

int vhd_resize(struct image *image, uint64_t size, struct error *err)
{
	struct vhd *vhd = vhd_of(image);
	uint64_t entries = vhd->type == VHD_FIXED ? 0 : size / vhd->block_size + !!(size % vhd->block_size);
	if (size > VHD_MAX_SIZE)
		return error_set(err, EFBIG, "%s: a VHD has at most 2040G; 'visor disk convert' it to qcow2", image->file->path);
	if (size < image->size && vhd->type != VHD_FIXED)
		return error_set(err, ENOTSUP, "%s: a VHD that grows cannot be made smaller; 'visor disk convert' it to qcow2 first", image->file->path);
	int error = entries > vhd->entries ? grow_table(vhd, (uint32_t)entries) : 0;
	store_be64(vhd->footer + VHD_SIZE, size);
	put_geometry(vhd->footer, size);
	if (!error && vhd->type == VHD_FIXED)
		error = resize_fixed(vhd, size);
	else if (!error && !(error = vhd_write_footer(vhd, vhd->end)))
		error = vhd_write_footer_copy(vhd);
	return error ? error_set(err, error, "%s: cannot change its size: %s", image->file->path, strerror(error)) : 0;
}
