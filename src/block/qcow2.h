/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_QCOW2_H
#define VISOR_BLOCK_QCOW2_H

#include "block/format.h"

/*
 * qcow2, versions 2 and 3 (docs/interop/qcow2.txt of the QEMU project). A cluster is the unit of
 * everything; a two-level table maps guest clusters to host clusters, another counts references
 * to host clusters. Clusters that lose a reference are counted down only after a sync, when no table on the disk leads to
 * them any more; until then nobody gets them.
 *
 *   qcow2.c           header, opening, information
 *   qcow2_map.c       L1 and L2 tables: map, link, zero
 *   qcow2_refcount.c  reference counts, finding room
 *   qcow2_packed.c    compressed clusters
 *   qcow2_create.c    new images, size, image behind
 *   qcow2_check.c     check and repair
 *   qcow2_snapshot.c  internal snapshots
 */
#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1 (4u << 20)              /* entries */
#define QCOW2_MAX_REFCOUNT_TABLE (1u << 20)  /* entries */

/* Bytes of the header. */
enum {
	QCOW2_VERSION = 4, QCOW2_BACKING_OFFSET = 8, QCOW2_BACKING_SIZE = 16, QCOW2_CLUSTER_BITS = 20, QCOW2_SIZE = 24,
	QCOW2_CRYPT = 32, QCOW2_L1_ENTRIES = 36, QCOW2_L1_OFFSET = 40, QCOW2_REFCOUNT_OFFSET = 48, QCOW2_REFCOUNT_CLUSTERS = 56,
	QCOW2_SNAPSHOTS = 60, QCOW2_SNAPSHOTS_OFFSET = 64, QCOW2_V2_LENGTH = 72, QCOW2_INCOMPATIBLE = 72, QCOW2_COMPATIBLE = 80,
	QCOW2_AUTOCLEAR = 88, QCOW2_REFCOUNT_ORDER = 96, QCOW2_HEADER_LENGTH = 100, QCOW2_COMPRESSION = 104, QCOW2_V3_LENGTH = 112,
};

#define QCOW2_DIRTY BIT64(0)
#define QCOW2_CORRUPT BIT64(1)
#define QCOW2_DATA_FILE BIT64(2)
#define QCOW2_COMPRESSION_TYPE BIT64(3)
#define QCOW2_EXTENDED_L2 BIT64(4)
#define QCOW2_LAZY BIT64(0)        /* compatible */
#define QCOW2_BITMAPS BIT64(0)     /* autoclear */

#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_BITMAPS 0x23852875u

/* Table entries. */
#define QCOW2_COPIED BIT64(63)
#define QCOW2_PACKED BIT64(62)
#define QCOW2_ZERO BIT64(0)
#define QCOW2_OFFSET 0x00fffffffffffe00ull

struct qcow2_snapshot {
	uint64_t l1_offset, size, vm_state;
	uint32_t l1_entries, seconds;
	char *id, *name;
};

struct qcow2 {
	struct image image;
	unsigned version, cluster_bits, refcount_order;
	uint32_t header_length;
	uint64_t incompatible, compatible, autoclear;
	bool zstd;
	uint64_t *l1, l1_offset;
	uint32_t l1_entries;
	uint64_t *refcounts, refcounts_offset;  /* the table: places of blocks, 0 where none is */
	uint32_t refcount_entries;
	uint64_t next_free;                     /* cluster: none before it is free */
	uint64_t file_end;                      /* bytes, whole clusters: nothing was ever written beyond */
	uint64_t *freed;                        /* clusters that lose a reference at the next sync */
	size_t freed_count, freed_room;
	uint64_t pack_at;                       /* where the next compressed data goes; 0: into a new cluster */
	struct qcow2_snapshot *snapshots;
	uint32_t snapshot_count;
	uint64_t snapshots_offset, snapshots_size;
	uint64_t bitmaps_offset, bitmaps_size;  /* the directory; 0: none */
	bool changing;                          /* the header says what it must while tables change */
};

static inline struct qcow2 *qcow2_of(struct image *image)
{
	return container_of(image, struct qcow2, image);
}

static inline uint64_t qcow2_cluster_size(const struct qcow2 *q)
{
	return 1ull << q->cluster_bits;
}

/* Guest clusters that an L2 table is for, as bits. */
static inline unsigned qcow2_l2_bits(const struct qcow2 *q)
{
	return q->cluster_bits - 3;
}

/* qcow2.c. All return 0 or an errno value, or -1 with an error where they take one. */
int qcow2_open(struct image *image, const struct image_config *config, struct error *err);
void qcow2_close(struct image *image);
int qcow2_sync(struct image *image);
/* Before the first change of a table. */
int qcow2_begin_change(struct qcow2 *q);
/* Writes the three sets of features into the header. */
int qcow2_write_features(struct qcow2 *q);
uint64_t *qcow2_read_table(struct qcow2 *q, uint64_t at, uint64_t entries, int *error); /* in the host's byte order */

/* qcow2_map.c */
int qcow2_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent);
int qcow2_place(struct image *image, uint64_t offset, uint64_t length, struct extent *place);
int qcow2_link(struct image *image, uint64_t offset, const struct extent *place);
void qcow2_unplace(struct image *image, uint64_t offset, const struct extent *place);
int qcow2_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done);
int qcow2_clear(struct image *image);
int qcow2_clear_from(struct qcow2 *q, uint64_t offset, uint64_t end);
int qcow2_entry(struct qcow2 *q, uint64_t offset, uint64_t *entry);
int qcow2_set_entry(struct qcow2 *q, uint64_t offset, uint64_t entry); /* the old one loses its reference */

/* qcow2_refcount.c */
int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count); /* makes the block when there is none */
uint64_t qcow2_max_refcount(const struct qcow2 *q);
/* Finds at least `min`, at most `max` free clusters in a row and counts a reference to each. */
int qcow2_allocate(struct qcow2 *q, uint64_t min, uint64_t max, uint64_t *cluster, uint64_t *count);
int qcow2_free(struct qcow2 *q, uint64_t cluster, uint64_t count);
int qcow2_count_down(struct qcow2 *q); /* what was freed */

/* qcow2_packed.c */
int qcow2_unpack(struct image *image, uint64_t offset, void *unit);
int qcow2_pack(struct image *image, uint64_t offset, const void *unit);
/* The host's bytes that hold a compressed cluster, up to the end of the last sector. */
void qcow2_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *at, uint64_t *length);

/* qcow2_create.c */
int qcow2_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err);
int qcow2_resize(struct image *image, uint64_t size, struct error *err);
int qcow2_set_backing(struct image *image, const char *path, const char *format, struct error *err);

/* qcow2_check.c */
int qcow2_check(struct image *image, struct image_check *check, struct error *err);

/* qcow2_snapshot.c */
int qcow2_load_snapshots(struct qcow2 *q, uint32_t count, uint64_t offset, struct error *err);
int qcow2_use_snapshot(struct qcow2 *q, const char *name, struct error *err);
void qcow2_forget_snapshots(struct qcow2 *q);
int qcow2_add_snapshots(const struct qcow2 *q, json_t *info);

#endif
