/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_PARTITION_H
#define VISOR_BLOCK_PARTITION_H

#include "block/image.h"

/*
 * The partitions of the disk in an image, as its MBR with the chain of extended partitions, or its GPT (UEFI
 * specification, 5.3), says. Nothing in a table is taken for true: what lies outside of the disk is not listed.
 */
#define PARTITIONS_MAX 128

struct partition {
	unsigned number;         /* as Linux counts: MBR 1 to 4, logical ones from 5; GPT by entry */
	uint64_t offset, length; /* bytes, multiples of 512, inside the disk; length is not 0 */
	char type[40];           /* "0x83", or a GUID as text */
	char name[109];          /* GPT, in UTF-8; may be empty */
};

enum partition_table { PARTITION_TABLE_NONE, PARTITION_TABLE_MBR, PARTITION_TABLE_GPT };
extern const char *const partition_table_names[]; /* "none", "mbr", "gpt" */

struct partitions {
	enum partition_table table;
	bool damaged;            /* a GPT of which neither copy is right: none is listed */
	unsigned count;          /* in the order of their numbers; the first PARTITIONS_MAX */
	struct partition at[PARTITIONS_MAX];
};

/* Fails when the image cannot be read. */
int partitions_read(struct image *image, struct partitions *partitions, struct error *err);

/* The kind of file system ("ext4", "vfat"...), or of other known content ("swap"), that begins at `offset`; NULL: none that is known. */
const char *partition_content(struct image *image, uint64_t offset, uint64_t length);

#endif
