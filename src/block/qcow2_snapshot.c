/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "block/qcow2.h"

#define MAX_SNAPSHOTS 65536u
#define ENTRY_SIZE 40u
#define MAX_ENTRY (ENTRY_SIZE + 1024u + 2 * 65536u)

/* Bytes of an entry. */
enum { L1_OFFSET = 0, L1_ENTRIES = 8, ID_SIZE = 12, NAME_SIZE = 14, SECONDS = 16, STATE_SIZE = 32, EXTRA_SIZE = 36 };

static int bad_table(const struct qcow2 *q, struct error *err)
{
	return error_set(err, EINVAL, "%s: its list of snapshots is damaged", q->image.file->path);
}

/* One entry out of `have` bytes; its length, or -1. */
static int64_t read_entry(struct qcow2 *q, struct qcow2_snapshot *snapshot, const uint8_t *p, size_t have)
{
	if (have < ENTRY_SIZE)
		return -1;
	uint32_t extra = load_be32(p + EXTRA_SIZE), id = load_be16(p + ID_SIZE), name = load_be16(p + NAME_SIZE);
	if (extra > 1024 || have < ENTRY_SIZE + extra + id + name)
		return -1;
	snapshot->l1_offset = load_be64(p + L1_OFFSET);
	snapshot->l1_entries = load_be32(p + L1_ENTRIES);
	snapshot->seconds = load_be32(p + SECONDS);
	snapshot->vm_state = extra >= 8 ? load_be64(p + ENTRY_SIZE) : load_be32(p + STATE_SIZE);
	snapshot->size = extra >= 16 ? load_be64(p + ENTRY_SIZE + 8) : q->image.size;
	const char *text = (const char *)p + ENTRY_SIZE + extra;
	snapshot->id = strndup(text, id);
	snapshot->name = strndup(text + id, name);
	if (!snapshot->id || !snapshot->name)
		return -1;
	return (int64_t)ALIGN_UP((uint64_t)ENTRY_SIZE + extra + id + name, 8);
}

int qcow2_load_snapshots(struct qcow2 *q, uint32_t count, uint64_t offset, struct error *err)
{
	uint64_t at = offset;
	if (!count)
		return 0;
	if (count > MAX_SNAPSHOTS || offset % qcow2_cluster_size(q) || offset >= q->file_end)
		return bad_table(q, err);
	q->snapshots = calloc(count, sizeof(*q->snapshots));
	cleanup_free uint8_t *entry = malloc(MAX_ENTRY);
	if (!q->snapshots || !entry)
		return error_set(err, ENOMEM, "out of memory for the snapshots of %s", q->image.file->path);
	q->snapshots_offset = offset;
	for (; q->snapshot_count < count; q->snapshot_count++) {
		if (at >= q->file_end || hostfile_read(q->image.file, entry, MAX_ENTRY, at))
			return bad_table(q, err);
		int64_t length = read_entry(q, &q->snapshots[q->snapshot_count], entry, MAX_ENTRY);
		if (length < 0) {
			q->snapshot_count++;
			return bad_table(q, err);
		}
		at += (uint64_t)length;
	}
	q->snapshots_size = at - offset;
	return 0;
}

void qcow2_forget_snapshots(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->snapshot_count; i++) {
		free(q->snapshots[i].id);
		free(q->snapshots[i].name);
	}
	free(q->snapshots);
	q->snapshots = NULL;
	q->snapshot_count = 0;
}

int qcow2_use_snapshot(struct qcow2 *q, const char *name, struct error *err)
{
	const struct qcow2_snapshot *s = NULL;
	for (uint32_t i = 0; i < q->snapshot_count && !s; i++)
		if (!strcmp(q->snapshots[i].name, name) || !strcmp(q->snapshots[i].id, name))
			s = &q->snapshots[i];
	if (!s)
		return error_set(err, ENOENT, "%s has no snapshot '%s'; 'visor disk info %s' lists them", q->image.file->path, name,
				 q->image.file->path);
	if (s->l1_entries > QCOW2_MAX_L1 || s->size > INT64_MAX ||
	    s->l1_entries < ALIGN_UP(s->size, 1ull << (q->cluster_bits + qcow2_l2_bits(q))) >> (q->cluster_bits + qcow2_l2_bits(q)))
		return bad_table(q, err);
	int error;
	uint64_t *l1 = qcow2_read_table(q, s->l1_offset, s->l1_entries, &error);
	if (!l1)
		return error_set(err, error, "%s: cannot read the snapshot '%s': %s", q->image.file->path, name, strerror(error));
	free(q->l1);
	q->l1 = l1;
	q->l1_entries = s->l1_entries;
	q->l1_offset = s->l1_offset;
	q->image.size = ALIGN_DOWN(s->size, (uint64_t)BLOCK_SECTOR);
	return 0;
}

int qcow2_add_snapshots(const struct qcow2 *q, json_t *info)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < q->snapshot_count; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "id", s->id, "name", s->name, "time", (json_int_t)s->seconds,
						      "size", (json_int_t)s->size, "vm_state", (json_int_t)s->vm_state));
	}
	return json_object_set_new(info, "snapshots", list);
}
