/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts all references that tables make to clusters and compares them with what the image has. Too small a count
 * is an error, since the cluster would be given away; too large a one is a leak. Repair takes over the counted
 * numbers, then the COPIED flags that follow from them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "block/qcow2.h"

#define MAX_CLUSTERS (1u << 28)

struct l2_table {
	uint32_t users; /* entries of L1 tables */
	bool active;    /* the current state has it */
};

struct checker {
	struct qcow2 *q;
	struct image_check *check;
	uint32_t *counted;
	struct l2_table *tables; /* by cluster */
	uint64_t clusters;
	int error; /* of the host */
};

static void report(struct checker *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void report(struct checker *c, const char *format, ...)
{
	char text[256];
	va_list arguments;
	if (!c->check->report)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	c->check->report(c->check->opaque, text);
}

#define hex(x) ((unsigned long long)(x))

/* `weight` references to bytes of the file; `what` is for the report. */
static void count_times(struct checker *c, uint64_t at, uint64_t length, uint32_t weight, const char *what)
{
	uint64_t first = at >> c->q->cluster_bits, end = at + length;
	if (!length)
		return;
	if (end < at || (end - 1) >> c->q->cluster_bits >= c->clusters) {
		report(c, "%s at 0x%llx is beyond the end of the file", what, hex(at));
		c->check->errors++;
		return;
	}
	for (uint64_t i = first; i <= (end - 1) >> c->q->cluster_bits; i++)
		c->counted[i] = c->counted[i] > UINT32_MAX - weight ? UINT32_MAX : c->counted[i] + weight;
}

static void count(struct checker *c, uint64_t at, uint64_t length, const char *what)
{
	count_times(c, at, length, 1, what);
}

static void count_entry(struct checker *c, uint64_t entry, uint32_t weight, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t at = entry & QCOW2_OFFSET, size = qcow2_cluster_size(q), length = size;
	if (entry & QCOW2_PACKED) {
		qcow2_packed_range(q, entry, &at, &length);
		/* The last sector may be cut off by the end of the file. */
		uint64_t end = c->clusters << q->cluster_bits;
		count_times(c, at, at < end ? MIN(length, end - at) : length, weight, "a compressed cluster");
	} else if (at % size) {
		report(c, "a cluster is said to be at 0x%llx", hex(at));
		c->check->errors++;
	} else if (at) {
		count_times(c, at, size, weight, "a cluster");
	}
	c->check->allocated += active && at ? size : 0;
	c->check->compressed += active && entry & QCOW2_PACKED ? size : 0;
}

/* The L2 tables of an L1 table are only noted: many states may share them, and each is read once. */
static void note_l1(struct checker *c, const uint64_t *l1, uint64_t at, uint32_t entries, bool active)
{
	uint64_t size = qcow2_cluster_size(c->q);
	count(c, at, ALIGN_UP(entries * 8ull, size), "an L1 table");
	for (uint32_t i = 0; i < entries; i++) {
		uint64_t table = l1[i] & QCOW2_OFFSET, cluster = table >> c->q->cluster_bits;
		if (!table)
			continue;
		if (table % size || cluster >= c->clusters) {
			report(c, "an L2 table is said to be at 0x%llx", hex(table));
			c->check->errors++;
			continue;
		}
		c->tables[cluster].users += c->tables[cluster].users != UINT32_MAX;
		c->tables[cluster].active |= active;
	}
}

static void count_tables(struct checker *c)
{
	uint64_t size = qcow2_cluster_size(c->q);
	for (uint64_t i = 0; i < c->clusters && !c->error; i++) {
		const struct l2_table *table = &c->tables[i];
		if (!table->users)
			continue;
		count_times(c, i << c->q->cluster_bits, size, table->users, "an L2 table");
		cleanup_free uint64_t *l2 = qcow2_read_table(c->q, i << c->q->cluster_bits, size / 8, &c->error);
		for (uint64_t j = 0; l2 && j < size / 8; j++)
			count_entry(c, l2[j], table->users, table->active);
	}
}

static void note_snapshots(struct checker *c)
{
	struct qcow2 *q = c->q;
	count(c, q->snapshots_offset, q->snapshots_size, "the list of snapshots");
	for (uint32_t i = 0; i < q->snapshot_count; i++) {
		int error;
		cleanup_free uint64_t *l1 = q->snapshots[i].l1_entries <= QCOW2_MAX_L1
			? qcow2_read_table(q, q->snapshots[i].l1_offset, q->snapshots[i].l1_entries, &error) : NULL;
		if (l1) {
			note_l1(c, l1, q->snapshots[i].l1_offset, q->snapshots[i].l1_entries, false);
			continue;
		}
		report(c, "the tables of snapshot '%s' cannot be read", q->snapshots[i].name);
		c->check->errors++;
	}
}

/* Persistent dirty bitmaps of other programs: a directory, in it tables, in them clusters. */
static void count_bitmaps(struct checker *c)
{
	struct qcow2 *q = c->q;
	uint64_t at = q->bitmaps_offset, end = at + q->bitmaps_size;
	uint8_t entry[24];
	if (!(q->autoclear & QCOW2_BITMAPS) || !q->bitmaps_size)
		return;
	count(c, at, q->bitmaps_size, "the directory of bitmaps");
	while (at + sizeof(entry) <= end && end <= q->file_end && !c->error) {
		c->error = hostfile_read(q->image.file, entry, sizeof(entry), at);
		uint64_t table_at = load_be64(entry);
		uint32_t entries = load_be32(entry + 8);
		int error;
		cleanup_free uint64_t *table = qcow2_read_table(q, table_at, entries, &error);
		count(c, table_at, entries * 8ull, "a table of a bitmap");
		for (uint32_t i = 0; table && i < entries; i++)
			if (table[i] & QCOW2_OFFSET)
				count(c, table[i] & QCOW2_OFFSET, qcow2_cluster_size(q), "a cluster of a bitmap");
		at += ALIGN_UP(24ull + load_be16(entry + 18) + load_be32(entry + 20), 8);
	}
}

static void count_refcounts(struct checker *c)
{
	struct qcow2 *q = c->q;
	uint64_t size = qcow2_cluster_size(q);
	count(c, q->refcounts_offset, q->refcount_entries * 8ull, "the refcount table");
	for (uint32_t i = 0; i < q->refcount_entries; i++) {
		uint64_t block = q->refcounts[i];
		if (!block)
			continue;
		if (block % size || block >= q->file_end) {
			report(c, "refcount block %u is said to be at 0x%llx", i, hex(block));
			if (c->check->repair) {
				q->refcounts[i] = 0; /* a new one is made when it is needed */
				c->check->errors_fixed++;
			} else {
				c->check->errors++;
			}
			continue;
		}
		count(c, block, size, "a refcount block");
	}
}

static void compare_cluster(struct checker *c, uint64_t cluster)
{
	struct image_check *check = c->check;
	uint64_t stored, is = cluster < c->clusters ? c->counted[cluster] : 0;
	c->error = qcow2_refcount(c->q, cluster, &stored);
	if (c->error || stored == is)
		return;
	report(c, "%s: cluster %llu has %llu references, but is counted with %llu", stored < is ? "error" : "leak",
	       (unsigned long long)cluster, (unsigned long long)is, (unsigned long long)stored);
	bool fixed = check->repair && qcow2_set_refcount(c->q, cluster, is) == 0;
	if (stored < is)
		*(fixed ? &check->errors_fixed : &check->errors) += 1;
	else
		*(fixed ? &check->leaks_fixed : &check->leaks) += 1;
}

/* Also clusters beyond the end of the file that a block counts. */
static void compare(struct checker *c)
{
	struct qcow2 *q = c->q;
	unsigned block_bits = q->cluster_bits + 3 - q->refcount_order;
	uint64_t known = (uint64_t)q->refcount_entries << block_bits;
	/* New blocks must not be put where something is that is counted wrong. */
	if (c->check->repair)
		q->next_free = q->file_end >> q->cluster_bits;
	for (uint64_t i = 0; i < MAX(c->clusters, known) && !c->error; i++) {
		if (i >= c->clusters && (i >> block_bits >= q->refcount_entries || !q->refcounts[i >> block_bits]))
			i |= (1ull << block_bits) - 1;
		else
			compare_cluster(c, i);
	}
}

/* The flag says that the count is one; true: it was wrong. */
static bool flag_is_wrong(struct checker *c, uint64_t entry, uint64_t at)
{
	uint64_t cluster = at >> c->q->cluster_bits;
	if (!at || at % qcow2_cluster_size(c->q) || cluster >= c->clusters || entry & QCOW2_PACKED)
		return false;
	return !!(entry & QCOW2_COPIED) != (c->counted[cluster] == 1);
}

static void flag(struct checker *c, uint64_t place, uint64_t entry, const char *what)
{
	struct image_check *check = c->check;
	uint8_t bytes[8];
	/* Without the flag a lone cluster is only copied once more than needed. */
	bool harmless = !(entry & QCOW2_COPIED);
	store_be64(bytes, entry ^ QCOW2_COPIED);
	bool fixed = check->repair && meta_store(c->q->image.meta, place, bytes, 8, META_MAP) == 0;
	report(c, "%s: %s at 0x%llx says that it is%s shared", harmless ? "leak" : "error", what, hex(entry & QCOW2_OFFSET), harmless ? "" : " not");
	if (!harmless)
		*(fixed ? &check->errors_fixed : &check->errors) += 1;
	else if (fixed)
		check->leaks_fixed++;
}

static void check_flags(struct checker *c)
{
	struct qcow2 *q = c->q;
	uint64_t size = qcow2_cluster_size(q);
	for (uint32_t i = 0; i < q->l1_entries && !c->error; i++) {
		uint64_t table = q->l1[i] & QCOW2_OFFSET;
		if (!table || table % size || table >= q->file_end)
			continue;
		if (flag_is_wrong(c, q->l1[i], table)) {
			flag(c, q->l1_offset + 8ull * i, q->l1[i], "the L2 table");
			q->l1[i] ^= c->check->repair ? QCOW2_COPIED : 0;
		}
		for (uint64_t j = 0; j < size / 8; j++) {
			const uint8_t *p;
			unsigned left;
			c->error = meta_load(q->image.meta, table + 8 * j, &p, &left);
			if (c->error)
				break;
			uint64_t entry = load_be64(p);
			if (flag_is_wrong(c, entry, entry & QCOW2_OFFSET))
				flag(c, table + 8 * j, entry, "the cluster");
		}
	}
}

/* Everything is right now, or as right as it gets. */
static int finish_repair(struct checker *c)
{
	struct qcow2 *q = c->q;
	int error = meta_sync(q->image.meta, true);
	if (!error && !c->check->errors && q->incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)) {
		q->incompatible &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
		error = qcow2_write_features(q);
		q->changing = false;
	}
	q->next_free = 1;
	q->freed_count = 0;
	return error;
}

/* A block that repair took out must be gone on the disk, too. */
static int write_refcount_table(struct checker *c)
{
	struct qcow2 *q = c->q;
	cleanup_free uint8_t *bytes = malloc(q->refcount_entries * 8ull);
	if (!bytes)
		return ENOMEM;
	for (uint32_t i = 0; i < q->refcount_entries; i++)
		store_be64(bytes + 8ull * i, q->refcounts[i]);
	return hostfile_write(q->image.file, bytes, q->refcount_entries * 8ull, q->refcounts_offset);
}

int qcow2_check(struct image *image, struct image_check *check, struct error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct checker c = { .q = q, .check = check, .clusters = q->file_end >> q->cluster_bits };
	if (c.clusters > MAX_CLUSTERS)
		return error_set(err, EFBIG, "%s: its file is too large to be checked; copy it with 'visor disk convert'", image->file->path);
	cleanup_free uint32_t *counted = calloc(c.clusters + 1, sizeof(*counted));
	cleanup_free struct l2_table *tables = calloc(c.clusters + 1, sizeof(*tables));
	c.counted = counted;
	c.tables = tables;
	if (!counted || !tables)
		return error_set(err, ENOMEM, "out of memory to check %s", image->file->path);
	/* What the next sync would do, so that the file and the tables in memory say the same. */
	c.error = check->repair ? qcow2_count_down(q) : 0;
	count(&c, 0, qcow2_cluster_size(q), "the header");
	note_l1(&c, q->l1, q->l1_offset, q->l1_entries, true);
	note_snapshots(&c);
	count_tables(&c);
	count_bitmaps(&c);
	uint64_t before = check->errors_fixed;
	count_refcounts(&c);
	if (check->errors_fixed > before)
		c.error = write_refcount_table(&c);
	if (!c.error)
		compare(&c);
	if (!c.error)
		check_flags(&c);
	if (!c.error && check->repair)
		c.error = finish_repair(&c);
	return c.error ? error_set(err, c.error, "%s: the check could not be finished: %s", image->file->path, strerror(c.error)) : 0;
}
