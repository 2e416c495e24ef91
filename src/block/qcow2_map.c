/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "block/qcow2.h"

#define MAX_FREED 65536u

static uint64_t l1_index(const struct qcow2 *q, uint64_t offset)
{
	return offset >> (q->cluster_bits + qcow2_l2_bits(q));
}

/* The place of the entry for `offset` in its L2 table; 0: there is no table. */
static int entry_place(struct qcow2 *q, uint64_t offset, uint64_t *at)
{
	uint64_t size = qcow2_cluster_size(q), index = l1_index(q, offset);
	*at = 0;
	if (index >= q->l1_entries || !(q->l1[index] & QCOW2_OFFSET))
		return 0;
	uint64_t table = q->l1[index] & QCOW2_OFFSET;
	if (table % size || table >= q->file_end)
		return image_broken(&q->image, "an L2 table is said to be at 0x%llx", (unsigned long long)table);
	*at = table + (offset >> q->cluster_bits & (size / 8 - 1)) * 8;
	return 0;
}

int qcow2_entry(struct qcow2 *q, uint64_t offset, uint64_t *entry)
{
	const uint8_t *p;
	unsigned left;
	uint64_t at;
	*entry = 0;
	int error = entry_place(q, offset, &at);
	if (!error && at && !(error = meta_load(q->image.meta, at, &p, &left)))
		*entry = load_be64(p);
	return error;
}

static bool zero_flag(const struct qcow2 *q, uint64_t entry)
{
	return q->version >= 3 && (entry & QCOW2_ZERO);
}

static int describe(struct qcow2 *q, uint64_t entry, struct extent *extent)
{
	uint64_t at = entry & QCOW2_OFFSET;
	extent->at = at;
	extent->keep = !(entry & QCOW2_COPIED);
	if (entry & QCOW2_PACKED)
		extent->kind = EXTENT_PACKED;
	else if (zero_flag(q, entry))
		extent->kind = EXTENT_ZERO;
	else
		extent->kind = at ? EXTENT_DATA : EXTENT_NONE;
	if (extent->kind == EXTENT_DATA && at % qcow2_cluster_size(q))
		return image_broken(&q->image, "a cluster is said to be at 0x%llx", (unsigned long long)at);
	return 0;
}

static bool goes_on(const struct extent *a, const struct extent *b, uint64_t length)
{
	return a->kind == b->kind && (a->kind != EXTENT_DATA || (a->keep == b->keep && b->at == a->at + length));
}

int qcow2_map(struct image *image, uint64_t offset, uint64_t length, struct extent *extent)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t size = qcow2_cluster_size(q), into = offset & (size - 1), at, have;
	const uint8_t *p;
	unsigned left;
	int error = entry_place(q, offset, &at);
	if (error)
		return error;
	if (!at) {
		uint64_t reach = size << qcow2_l2_bits(q);
		extent->kind = EXTENT_NONE;
		extent->length = MIN(length, reach - (offset & (reach - 1)));
		return 0;
	}
	error = meta_load(image->meta, at, &p, &left);
	if (!error)
		error = describe(q, load_be64(p), extent);
	for (have = size; !error && have < into + length && left > 8 && extent->kind != EXTENT_PACKED; have += size) {
		struct extent next;
		p += 8;
		left -= 8;
		if (describe(q, load_be64(p), &next) || !goes_on(extent, &next, have))
			break;
	}
	extent->at += into;
	extent->length = MIN(length, have - into);
	return error;
}

/* --- change --- */

/* The L2 table for `offset` becomes the active state's own, new or as a copy. */
static int own_table(struct qcow2 *q, uint64_t offset)
{
	uint64_t index = l1_index(q, offset), size = qcow2_cluster_size(q), cluster, count;
	uint8_t entry[8];
	if (index >= q->l1_entries)
		return image_broken(&q->image, "the L1 table is shorter than the disk");
	uint64_t old = q->l1[index];
	if (old & QCOW2_COPIED && old & QCOW2_OFFSET)
		return 0;
	int error = qcow2_allocate(q, 1, 1, &cluster, &count);
	if (error)
		return error;
	cleanup_free uint8_t *table = calloc(1, size);
	if (!table)
		return ENOMEM;
	if (old & QCOW2_OFFSET)
		error = hostfile_read(q->image.file, table, size, old & QCOW2_OFFSET);
	for (uint64_t i = 0; i < size; i += 8)
		if (!(load_be64(table + i) & QCOW2_PACKED))
			table[i] &= 0x7f; /* they are the old table's, too */
	meta_forget(q->image.meta, cluster << q->cluster_bits, size);
	if (!error)
		error = hostfile_write(q->image.file, table, size, cluster << q->cluster_bits);
	store_be64(entry, cluster << q->cluster_bits | QCOW2_COPIED);
	if (!error)
		error = meta_store(q->image.meta, q->l1_offset + index * 8, entry, 8, META_MAP);
	if (error)
		return error;
	q->l1[index] = cluster << q->cluster_bits | QCOW2_COPIED;
	return old & QCOW2_OFFSET ? qcow2_free(q, (old & QCOW2_OFFSET) >> q->cluster_bits, 1) : 0;
}

static int free_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t at = entry & QCOW2_OFFSET, length = 1;
	if (entry & QCOW2_PACKED)
		qcow2_packed_range(q, entry, &at, &length);
	if (!at)
		return 0;
	uint64_t first = at >> q->cluster_bits, last = (at + length - 1) >> q->cluster_bits;
	return qcow2_free(q, first, last - first + 1);
}

int qcow2_set_entry(struct qcow2 *q, uint64_t offset, uint64_t entry)
{
	uint64_t at, old;
	uint8_t bytes[8];
	int error = own_table(q, offset);
	if (!error)
		error = qcow2_entry(q, offset, &old);
	if (!error)
		error = entry_place(q, offset, &at);
	if (error || old == entry)
		return error;
	store_be64(bytes, entry);
	error = meta_store(q->image.meta, at, bytes, 8, META_MAP);
	if (error || (!(old & QCOW2_PACKED) && old & QCOW2_OFFSET && !((old ^ entry) & QCOW2_OFFSET)))
		return error;
	return free_entry(q, old);
}

/* A good moment to write out what has gathered, since no change is half done. */
static int make_ready(struct qcow2 *q)
{
	if (meta_is_full(q->image.meta) || q->freed_count > MAX_FREED) {
		int error = qcow2_sync(&q->image);
		if (error)
			return error;
	}
	return qcow2_begin_change(q);
}

int qcow2_place(struct image *image, uint64_t offset, uint64_t length, struct extent *place)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t entry, cluster, count, end = q->file_end;
	int error = make_ready(q);
	if (!error)
		error = own_table(q, offset);
	if (!error)
		error = qcow2_entry(q, offset, &entry);
	if (error)
		return error;
	/* Zeros with room that was kept for them. */
	if (zero_flag(q, entry) && entry & QCOW2_COPIED && entry & QCOW2_OFFSET && !(entry & QCOW2_PACKED)) {
		place->at = entry & QCOW2_OFFSET;
		place->length = image->unit;
		return place->at % image->unit ? image_broken(image, "a cluster is said to be at 0x%llx", (unsigned long long)place->at) : 0;
	}
	uint64_t reach = (uint64_t)image->unit << qcow2_l2_bits(q);
	length = MIN(length, reach - (offset & (reach - 1)));
	end = q->file_end;
	error = qcow2_allocate(q, 1, length >> q->cluster_bits, &cluster, &count);
	place->at = cluster << q->cluster_bits;
	place->length = count << q->cluster_bits;
	place->fresh = !error && place->at >= end;
	return error;
}

int qcow2_link(struct image *image, uint64_t offset, const struct extent *place)
{
	struct qcow2 *q = qcow2_of(image);
	int error = 0;
	for (uint64_t done = 0; done < place->length && !error; done += image->unit)
		error = qcow2_set_entry(q, offset + done, (place->at + done) | QCOW2_COPIED);
	return error;
}

/* What the map leads to by now stays: a part was linked, or it had its room before. */
void qcow2_unplace(struct image *image, uint64_t offset, const struct extent *place)
{
	struct qcow2 *q = qcow2_of(image);
	for (uint64_t done = 0; done < place->length; done += image->unit) {
		uint64_t entry, at = place->at + done;
		if (qcow2_entry(q, offset + done, &entry) == 0 && (entry & QCOW2_PACKED || (entry & QCOW2_OFFSET) != at))
			qcow2_free(q, at >> q->cluster_bits, 1);
	}
}

/* The entry that reads as zeros in place of `old`. */
static int zero_entry(struct qcow2 *q, uint64_t old, bool unmap, uint64_t *entry)
{
	bool own = !(old & QCOW2_PACKED) && old & QCOW2_COPIED && old & QCOW2_OFFSET;
	if (q->version >= 3 && own && !unmap)
		*entry = (old & (QCOW2_OFFSET | QCOW2_COPIED)) | QCOW2_ZERO;
	else if (q->version >= 3 && image_has_backing(&q->image))
		*entry = QCOW2_ZERO;
	else if (!image_has_backing(&q->image) && (unmap || !own))
		*entry = 0;
	else
		return ENOTSUP;
	return 0;
}

int qcow2_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t reach = (uint64_t)image->unit << qcow2_l2_bits(q), entry, old;
	uint64_t start = offset;
	int error = make_ready(q);
	for (uint64_t end = offset + length; offset < end && !error;) {
		if (l1_index(q, offset) < q->l1_entries && !(q->l1[l1_index(q, offset)] & QCOW2_OFFSET) && !image_has_backing(image)) {
			offset = ALIGN_DOWN(offset, reach) + reach;
			continue;
		}
		error = qcow2_entry(q, offset, &old);
		if (!error)
			error = zero_entry(q, old, unmap, &entry);
		if (error == ENOTSUP && offset > start) {
			error = 0;
			break;
		}
		if (!error && entry != old)
			error = qcow2_set_entry(q, offset, entry);
		offset += image->unit;
	}
	*done = offset - start;
	return error;
}

int qcow2_clear_from(struct qcow2 *q, uint64_t offset, uint64_t end)
{
	uint64_t reach = qcow2_cluster_size(q) << qcow2_l2_bits(q), entry;
	int error = 0;
	while (offset < end && !error) {
		if (!(q->l1[l1_index(q, offset)] & QCOW2_OFFSET)) {
			offset = ALIGN_DOWN(offset, reach) + reach;
			continue;
		}
		error = qcow2_entry(q, offset, &entry);
		if (!error && entry)
			error = qcow2_set_entry(q, offset, 0);
		offset += qcow2_cluster_size(q);
	}
	return error;
}

int qcow2_clear(struct image *image)
{
	int error = make_ready(qcow2_of(image));
	return error ? error : qcow2_clear_from(qcow2_of(image), 0, image->size);
}
