/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_VHDX_H
#define VISOR_BLOCK_VHDX_H

#include "block/format.h"

/*
 * VHDX ([MS-VHDX]), to read. All tables are read through image.meta, into which what the log has is put first, as
 * changes that are never written; so an image that was not closed reads right and stays as it is.
 */
#define VHDX_PAGE 4096u
#define VHDX_MAX_LOG (64u << 20)

struct vhdx_log_place {
	uint64_t offset;
	uint32_t length;
	uint8_t guid[UUID_SIZE];
};

struct vhdx {
	struct image image;
	uint64_t file_size, bat_offset, bat_length, metadata_offset;
	uint32_t block_size, sector_size, metadata_length;
	uint64_t chunk_ratio;    /* payload blocks for each block of bitmaps */
	bool has_parent;
	bool replayed;
};

/* CRC-32C over `size` bytes, with the four at `at` as zeros. */
uint32_t vhdx_checksum(const uint8_t *p, size_t size, size_t at);

/* vhdx_log.c: puts the log's changes into image.meta. */
int vhdx_replay(struct vhdx *vhdx, const struct vhdx_log_place *log, struct error *err);

#endif
