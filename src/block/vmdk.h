/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_VMDK_H
#define VISOR_BLOCK_VMDK_H

#include "block/format.h"

/*
 * VMDK ("Virtual Disk Format 5.0" of VMware). A descriptor, a text in a file of its own or inside the only extent,
 * lists the extents that make up the disk: flat ones, and sparse ones, in which grains are mapped by two levels of tables, usually kept twice.
 *
 *   vmdk.c             opening, the map
 *   vmdk_descriptor.c  the text
 *   vmdk_create.c      new images
 */
#define VMDK_MAGIC 0x564d444bu /* "KDMV" */
#define VMDK_GD_AT_END UINT64_MAX
#define VMDK_GTES 512u         /* entries of a grain table */
#define VMDK_DEFAULT_GRAIN 128u /* sectors */
#define VMDK_MAX_DESCRIPTOR (64u << 10)
#define VMDK_MAX_EXTENTS 256u

/* Bytes of a sparse extent's header; places and sizes in sectors. */
enum {
	VMDK_VERSION = 4, VMDK_FLAGS = 8, VMDK_CAPACITY = 12, VMDK_GRAIN_SIZE = 20, VMDK_DESCRIPTOR = 28, VMDK_DESCRIPTOR_SIZE = 36,
	VMDK_NUM_GTES = 44, VMDK_RGD = 48, VMDK_GD = 56, VMDK_OVERHEAD = 64, VMDK_UNCLEAN = 72, VMDK_NEWLINES = 73, VMDK_COMPRESSION = 77,
};
#define VMDK_FLAG_NEWLINES BIT(0)
#define VMDK_FLAG_REDUNDANT BIT(1)
#define VMDK_FLAG_ZERO_GRAINS BIT(2)
#define VMDK_FLAG_COMPRESSED BIT(16)
#define VMDK_FLAG_MARKERS BIT(17)

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO };

struct vmdk_extent {
	enum vmdk_kind kind;
	uint64_t start, size;      /* bytes of the disk */
	uint64_t flat_offset;      /* bytes of the file */
	struct hostfile *file;
	bool own_file;             /* not the image's */
	/* sparse */
	struct meta *meta;
	uint32_t *tables, *copies; /* sectors of the grain tables, and of the redundant ones (NULL: none) */
	uint64_t directory, directory_copy;
	uint32_t table_count, flags;
	uint64_t end;              /* where the next grain goes */
	uint64_t written_end;      /* nothing was ever written beyond */
};

struct vmdk {
	struct image image;
	struct vmdk_extent *extents;
	unsigned count;
	char type[40];
	uint32_t cid, parent_cid;
};

static inline struct vmdk *vmdk_of(struct image *image)
{
	return container_of(image, struct vmdk, image);
}

/* vmdk_descriptor.c: reads the text, and opens the files that it names; `embedded`: it is inside the image's file, which is the first
 * extent. */
int vmdk_read_descriptor(struct vmdk *vmdk, char *text, bool embedded, struct error *err);
/* vmdk.c */
int vmdk_open_sparse(struct vmdk *vmdk, struct vmdk_extent *extent, struct error *err);

/* vmdk_create.c */
int vmdk_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err);

#endif
