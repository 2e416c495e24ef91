/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "block/qcow2.h"

#define MAX_CLUSTER_OFFSET BIT64(56)

static unsigned block_bits(const struct qcow2 *q)
{
	return q->cluster_bits + 3 - q->refcount_order;
}

static uint64_t block_of(const struct qcow2 *q, uint64_t cluster)
{
	return cluster >> block_bits(q);
}

uint64_t qcow2_max_refcount(const struct qcow2 *q)
{
	return q->refcount_order == 6 ? UINT64_MAX : (1ull << (1u << q->refcount_order)) - 1;
}

/* Entry `index` of a block; those of less than a byte fill it from the least significant bit on. */
static uint64_t get_entry(const uint8_t *p, unsigned order, uint64_t index)
{
	switch (order) {
	case 3: return *p;
	case 4: return load_be16(p);
	case 5: return load_be32(p);
	case 6: return load_be64(p);
	default: return *p >> ((index << order) & 7) & ((1u << (1u << order)) - 1);
	}
}

static unsigned put_entry(uint8_t *p, unsigned order, uint64_t index, uint64_t value)
{
	unsigned shift = (index << order) & 7, mask = (1u << (1u << (order & 3))) - 1;
	switch (order) {
	case 3: *p = (uint8_t)value; return 1;
	case 4: store_be16(p, (uint16_t)value); return 2;
	case 5: store_be32(p, (uint32_t)value); return 4;
	case 6: store_be64(p, value); return 8;
	default: *p = (uint8_t)((*p & ~(mask << shift)) | value << shift); return 1;
	}
}

static uint64_t entry_at(const struct qcow2 *q, uint64_t index)
{
	return index << q->refcount_order >> 3;
}

static int load_entry(struct qcow2 *q, uint64_t cluster, uint64_t *at, const uint8_t **p)
{
	uint64_t index = cluster & ((1ull << block_bits(q)) - 1), block = q->refcounts[block_of(q, cluster)];
	unsigned left;
	if (block % qcow2_cluster_size(q) || block >= q->file_end)
		return image_broken(&q->image, "the place of a refcount block, 0x%llx, is none", (unsigned long long)block);
	*at = block + entry_at(q, index);
	return meta_load(q->image.meta, *at, p, &left);
}

int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	const uint8_t *p;
	uint64_t at;
	*count = 0;
	if (block_of(q, cluster) >= q->refcount_entries || !q->refcounts[block_of(q, cluster)])
		return 0;
	int error = load_entry(q, cluster, &at, &p);
	if (!error)
		*count = get_entry(p, q->refcount_order, cluster);
	return error;
}

/* Its block is there. */
static int store_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	const uint8_t *p;
	uint8_t bytes[8] = { 0 };
	uint64_t at;
	int error = load_entry(q, cluster, &at, &p);
	if (error)
		return error;
	bytes[0] = *p; /* other entries may be in it */
	unsigned size = put_entry(bytes, q->refcount_order, cluster, count);
	return meta_store(q->image.meta, at, bytes, size, META_COUNTS);
}

/* The first row of `min` to `max` free clusters. What no block is for is free. */
static int find_free(struct qcow2 *q, uint64_t min, uint64_t max, uint64_t *cluster, uint64_t *count)
{
	uint64_t first = q->next_free, n = 0;
	while (n < max) {
		uint64_t used;
		if ((first + n) >> (56 - q->cluster_bits))
			return n >= min ? (*cluster = first, *count = n, 0) : EFBIG;
		int error = qcow2_refcount(q, first + n, &used);
		if (error)
			return error;
		if (!used) {
			n++;
			continue;
		}
		if (n >= min)
			break;
		if (!n)
			q->next_free = first + 1;
		first += n + 1;
		n = 0;
	}
	*cluster = first;
	*count = n;
	return 0;
}

/* What must never be handed out, whatever the counts say: tables that the header leads to. */
static bool is_fixed_table(const struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	uint64_t from = cluster << q->cluster_bits, to = (cluster + count) << q->cluster_bits;
	return !cluster || (from < q->l1_offset + q->l1_entries * 8ull && to > q->l1_offset) ||
	       (from < q->refcounts_offset + q->refcount_entries * 8ull && to > q->refcounts_offset);
}

static void note_end(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	q->file_end = MAX(q->file_end, (cluster + count) << q->cluster_bits);
}

/*
 * A larger table, in the part of the file that no block is for yet, together with the blocks that count
 * the clusters of both.
 */
static int grow_table(struct qcow2 *q, uint64_t block)
{
	uint64_t size = qcow2_cluster_size(q), per_block = 1ull << block_bits(q), first = (uint64_t)q->refcount_entries << block_bits(q);
	uint64_t entries = MAX(block + 1, q->refcount_entries + q->refcount_entries / 2ull), blocks = 1, table;
	first = MAX(first, q->file_end >> q->cluster_bits);
	uint64_t first_block = block_of(q, first);
	do {
		entries = MAX(entries, block_of(q, first + per_block - 1) + blocks + 2);
		table = ALIGN_UP(entries * 8, size) >> q->cluster_bits;
		blocks = block_of(q, first + table + blocks) - first_block + 1;
	} while (block_of(q, first + table + blocks) - first_block + 1 > blocks || first_block + blocks > table * size / 8);
	entries = table * size / 8;
	if (entries > QCOW2_MAX_REFCOUNT_TABLE || (first + table + blocks) >> (56 - q->cluster_bits))
		return EFBIG;
	uint64_t total = (table + blocks) << q->cluster_bits;
	cleanup_free uint8_t *area = calloc(1, total);
	uint64_t *grown = realloc(q->refcounts, entries * sizeof(*grown));
	if (grown)
		q->refcounts = grown;
	if (!area || !grown)
		return ENOMEM;
	/* Blocks first, then the table. */
	for (uint64_t c = first; c < first + table + blocks; c++) {
		uint64_t in_area = c - (first_block << block_bits(q));
		put_entry(area + (in_area >> block_bits(q) << q->cluster_bits) + entry_at(q, in_area & (per_block - 1)), q->refcount_order, c, 1);
	}
	memset(grown + q->refcount_entries, 0, (entries - q->refcount_entries) * sizeof(*grown));
	uint64_t old = q->refcounts_offset >> q->cluster_bits, old_clusters = ALIGN_UP(q->refcount_entries * 8ull, size) >> q->cluster_bits;
	for (uint64_t i = 0; i < blocks; i++)
		grown[first_block + i] = (first + i) << q->cluster_bits;
	uint8_t *bytes = area + (blocks << q->cluster_bits), header[12];
	for (uint64_t i = 0; i < entries; i++)
		store_be64(bytes + 8 * i, grown[i]);
	uint64_t at = (first + blocks) << q->cluster_bits;
	store_be64(header, at);
	store_be32(header + 8, (uint32_t)table);
	meta_forget(q->image.meta, first << q->cluster_bits, total);
	int error = hostfile_write(q->image.file, area, total, first << q->cluster_bits);
	if (!error)
		error = meta_sync(q->image.meta, true);
	if (!error)
		error = hostfile_write(q->image.file, header, sizeof(header), QCOW2_REFCOUNT_OFFSET);
	if (error) {
		for (uint64_t i = 0; i < blocks; i++)
			grown[first_block + i] = 0;
		return error;
	}
	q->refcounts_offset = at;
	q->refcount_entries = (uint32_t)entries;
	note_end(q, first, table + blocks);
	return qcow2_free(q, old, old_clusters);
}

/* One step towards a block: it may take room, so the caller looks again for what it wanted. */
static int add_block(struct qcow2 *q, uint64_t block)
{
	uint64_t cluster, count, size = qcow2_cluster_size(q);
	if (block >= q->refcount_entries)
		return grow_table(q, block);
	int error = find_free(q, 1, 1, &cluster, &count);
	if (error)
		return error;
	uint64_t its = block_of(q, cluster);
	if (its >= q->refcount_entries)
		return grow_table(q, its);
	if (its != block && !q->refcounts[its])
		block = its;
	if (is_fixed_table(q, cluster, 1))
		return image_broken(&q->image, "a table in use is counted as free");
	cleanup_free uint8_t *data = calloc(1, size);
	uint8_t entry[8];
	if (!data)
		return ENOMEM;
	if (its == block)
		put_entry(data + entry_at(q, cluster & ((1ull << block_bits(q)) - 1)), q->refcount_order, cluster, 1);
	else
		error = store_refcount(q, cluster, 1);
	store_be64(entry, cluster << q->cluster_bits);
	meta_forget(q->image.meta, cluster << q->cluster_bits, size);
	if (!error)
		error = hostfile_write(q->image.file, data, size, cluster << q->cluster_bits);
	/* It is counted and complete before the table leads to it. */
	if (!error)
		error = meta_sync(q->image.meta, true);
	if (!error)
		error = hostfile_write(q->image.file, entry, sizeof(entry), q->refcounts_offset + block * 8);
	if (error)
		return error;
	q->refcounts[block] = cluster << q->cluster_bits;
	note_end(q, cluster, 1);
	return 0;
}

/* The blocks of a row of clusters; *added: the row may no longer be free. */
static int need_blocks(struct qcow2 *q, uint64_t cluster, uint64_t count, bool *added)
{
	*added = false;
	for (uint64_t block = block_of(q, cluster); block <= block_of(q, cluster + count - 1); block++)
		if (block >= q->refcount_entries || !q->refcounts[block]) {
			*added = true;
			return add_block(q, block);
		}
	return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t min, uint64_t max, uint64_t *cluster, uint64_t *count)
{
	bool added;
	do {
		int error = find_free(q, min, max, cluster, count);
		if (!error)
			error = need_blocks(q, *cluster, *count, &added);
		if (error)
			return error;
	} while (added);
	if (is_fixed_table(q, *cluster, *count))
		return image_broken(&q->image, "a table in use is counted as free");
	for (uint64_t i = 0; i < *count; i++) {
		int error = store_refcount(q, *cluster + i, 1);
		if (error)
			return error;
	}
	if (*cluster == q->next_free)
		q->next_free += *count;
	note_end(q, *cluster, *count);
	return 0;
}

int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	bool added;
	if (count > qcow2_max_refcount(q))
		return EOVERFLOW;
	do {
		int error = need_blocks(q, cluster, 1, &added);
		if (error)
			return error;
	} while (added);
	return store_refcount(q, cluster, count);
}

int qcow2_free(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	if (q->freed_count + count > q->freed_room) {
		size_t room = (q->freed_count + count) * 2;
		uint64_t *freed = realloc(q->freed, room * sizeof(*freed));
		if (!freed)
			return ENOMEM;
		q->freed = freed;
		q->freed_room = room;
	}
	for (uint64_t i = 0; i < count; i++)
		q->freed[q->freed_count++] = cluster + i;
	return 0;
}

int qcow2_count_down(struct qcow2 *q)
{
	uint64_t count, size = qcow2_cluster_size(q);
	int error = 0;
	for (size_t i = 0; i < q->freed_count && !error; i++) {
		uint64_t cluster = q->freed[i];
		error = qcow2_refcount(q, cluster, &count);
		if (!error && !count)
			error = image_broken(&q->image, "cluster %llu is in use, but counted as free", (unsigned long long)cluster);
		if (!error)
			error = store_refcount(q, cluster, count - 1);
		if (error || count > 1)
			continue;
		q->next_free = MIN(q->next_free, cluster);
		if (q->pack_at && (q->pack_at - 1) >> q->cluster_bits == cluster)
			q->pack_at = 0;
		meta_forget(q->image.meta, cluster << q->cluster_bits, size);
		hostfile_discard(q->image.file, cluster << q->cluster_bits, size); /* a hint */
	}
	q->freed_count = 0; /* what an error left over is lost, but harmless */
	return error;
}
