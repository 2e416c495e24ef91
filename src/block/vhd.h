/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_VHD_H
#define VISOR_BLOCK_VHD_H

#include "block/format.h"

/*
 * VHD ("Virtual Hard Disk Image Format Specification" 1.0), big-endian. A fixed image is raw with a footer. Others have
 * the footer's copy first, a header, a table of blocks (BAT), and at the end, before the footer, the blocks: a
 * bitmap of the sectors that are there, then the sectors.
 */
#define VHD_FOOTER 512u
#define VHD_HEADER 1024u
#define VHD_LOCATORS 8u
#define VHD_UNUSED 0xffffffffu /* BAT: no block */
#define VHD_DEFAULT_BLOCK (2u << 20)
#define VHD_MAX_SIZE (2040ull << 30)

enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* Bytes of the footer. */
enum {
	VHD_FEATURES = 8, VHD_VERSION = 12, VHD_DATA_OFFSET = 16, VHD_TIME = 24, VHD_CREATOR = 28, VHD_CREATOR_VERSION = 32,
	VHD_CREATOR_HOST = 36, VHD_ORIGINAL_SIZE = 40, VHD_SIZE = 48, VHD_CYLINDERS = 56, VHD_HEADS = 58, VHD_SECTORS = 59,
	VHD_TYPE = 60, VHD_CHECKSUM = 64, VHD_UUID = 68,
};

/* Bytes of the header. */
enum {
	VHD_H_DATA_OFFSET = 8, VHD_H_TABLE_OFFSET = 16, VHD_H_VERSION = 24, VHD_H_ENTRIES = 28, VHD_H_BLOCK_SIZE = 32,
	VHD_H_CHECKSUM = 36, VHD_H_PARENT_UUID = 40, VHD_H_PARENT_TIME = 56, VHD_H_PARENT_NAME = 64, VHD_H_LOCATORS = 576,
};
#define VHD_PARENT_NAME_SIZE 512u

/* A parent locator: code, data space, data length, reserved, data offset. */
#define VHD_LOCATOR_SIZE 24u
#define VHD_W2RU 0x57327275u /* a relative Windows path in UTF-16, little-endian */
#define VHD_W2KU 0x57326b75u /* an absolute one */

struct vhd {
	struct image image;
	uint32_t type, entries, block_size, bitmap_size;
	uint64_t table_offset, header_offset;
	uint64_t end;              /* where the footer is and the next block goes */
	uint8_t footer[VHD_FOOTER];
	uint8_t parent[UUID_SIZE];
	uint64_t new_block;        /* placed but not linked: its number plus one; 0: none */
	uint32_t new_sector;
};

static inline struct vhd *vhd_of(struct image *image)
{
	return container_of(image, struct vhd, image);
}

/* The checksum over `size` bytes, with the field at `at` as zeros. */
uint32_t vhd_checksum(const uint8_t *p, unsigned size, unsigned at);
/* Writes the footer at the end, and its copy. */
int vhd_write_footer(struct vhd *vhd, uint64_t at);
int vhd_write_footer_copy(struct vhd *vhd);

/* vhd_create.c */
int vhd_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err);
int vhd_resize(struct image *image, uint64_t size, struct error *err);

#endif
