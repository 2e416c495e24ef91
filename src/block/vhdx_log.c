/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log ([MS-VHDX] 2.3) is a ring of entries: a header and descriptors in whole sectors of 4 KiB, then a data sector for each data
 * descriptor. The active sequence is the one, of entries that follow each other by place and number, whose
 * last entry has the highest number; it starts at the place that this last entry calls the tail.
 */
#include <errno.h>
#include <string.h>

#include "block/vhdx.h"

/* Bytes of an entry's header; then come descriptors. */
enum { CHECKSUM = 4, LENGTH = 8, TAIL = 12, SEQUENCE = 16, DESCRIPTORS = 24, GUID = 32, FLUSHED_SIZE = 48, LAST_SIZE = 56, HEADER_SIZE = 64 };

/* Bytes of a descriptor: "desc" with the data's first and last bytes, "zero" with a length. */
enum { TRAILING = 4, LEADING = 8, ZERO_LENGTH = 8, FILE_OFFSET = 16, D_SEQUENCE = 24, DESCRIPTOR_SIZE = 32 };

#define MAX_ZEROS (64u << 20)

/* What is known of the entry that begins in a sector. */
struct slot {
	uint64_t sequence;      /* 0: none does */
	uint32_t length, tail;
	uint32_t last;          /* the sector of the last entry that follows; NOT_YET: not looked up yet */
};
#define NOT_YET UINT32_MAX

struct log {
	struct vhdx *vhdx;
	const struct vhdx_log_place *place;
	uint8_t *ring;
	struct slot *slots;
	uint32_t count;         /* sectors */
	uint64_t effort;        /* bytes that may still be checked: entries of one log hardly overlap */
};

/* An entry as it lies in the ring, which it may go around. NULL: there is none, or out of memory. */
static uint8_t *read_entry(struct log *log, uint32_t sector)
{
	uint32_t at = sector * VHDX_PAGE, size = log->place->length;
	const uint8_t *h = log->ring + at;
	uint32_t length = load_le32(h + LENGTH);
	if (memcmp(h, "loge", 4) || length < VHDX_PAGE || length % VHDX_PAGE || length > size || length > log->effort ||
	    memcmp(h + GUID, log->place->guid, UUID_SIZE) || !load_le64(h + SEQUENCE))
		return NULL;
	log->effort -= length;
	uint8_t *entry = malloc(length);
	if (!entry)
		return NULL;
	uint32_t first = MIN(length, size - at);
	memcpy(entry, h, first);
	memcpy(entry + first, log->ring, length - first);
	if (vhdx_checksum(entry, length, CHECKSUM) == load_le32(entry + CHECKSUM))
		return entry;
	free(entry);
	return NULL;
}

static void look_at(struct log *log, uint32_t sector)
{
	cleanup_free uint8_t *entry = read_entry(log, sector);
	log->slots[sector] = (struct slot){ .last = NOT_YET };
	if (!entry)
		return;
	log->slots[sector].sequence = load_le64(entry + SEQUENCE);
	log->slots[sector].length = load_le32(entry + LENGTH);
	log->slots[sector].tail = load_le32(entry + TAIL);
}

static uint32_t next_of(const struct log *log, uint32_t sector)
{
	return (sector + log->slots[sector].length / VHDX_PAGE) % log->count;
}

static bool goes_on(const struct log *log, uint32_t sector)
{
	return log->slots[next_of(log, sector)].sequence == log->slots[sector].sequence + 1;
}

/* Numbers grow along the way, so it ends. */
static uint32_t last_of(struct log *log, uint32_t sector)
{
	uint32_t last = sector;
	while (log->slots[last].last == NOT_YET && goes_on(log, last))
		last = next_of(log, last);
	last = log->slots[last].last == NOT_YET ? last : log->slots[last].last;
	for (uint32_t at = sector; log->slots[at].last == NOT_YET; at = next_of(log, at)) {
		log->slots[at].last = last;
		if (at == last)
			break;
	}
	return last;
}

static int apply_data(struct log *log, const uint8_t *descriptor, const uint8_t *sector, uint64_t sequence)
{
	uint8_t page[VHDX_PAGE];
	uint64_t number = (uint64_t)load_le32(sector + 4) << 32 | load_le32(sector + VHDX_PAGE - 4), at = load_le64(descriptor + FILE_OFFSET);
	if (memcmp(sector, "data", 4) || number != sequence || at % VHDX_PAGE || at > INT64_MAX - VHDX_PAGE)
		return EIO;
	memcpy(page, descriptor + LEADING, 8);
	memcpy(page + 8, sector + 8, VHDX_PAGE - 12);
	memcpy(page + VHDX_PAGE - 4, descriptor + TRAILING, 4);
	return meta_store(log->vhdx->image.meta, at, page, VHDX_PAGE, META_MAP);
}

static int apply_zeros(struct log *log, const uint8_t *descriptor)
{
	static const uint8_t page[VHDX_PAGE];
	uint64_t at = load_le64(descriptor + FILE_OFFSET), length = load_le64(descriptor + ZERO_LENGTH);
	int error = at % VHDX_PAGE || length % VHDX_PAGE || length > MAX_ZEROS || at > INT64_MAX - length ? EIO : 0;
	for (uint64_t i = 0; i < length && !error; i += VHDX_PAGE)
		error = meta_store(log->vhdx->image.meta, at + i, page, VHDX_PAGE, META_MAP);
	return error;
}

static int apply_entry(struct log *log, const uint8_t *entry)
{
	uint64_t count = load_le32(entry + DESCRIPTORS), sequence = load_le64(entry + SEQUENCE);
	uint64_t data = ALIGN_UP(HEADER_SIZE + count * DESCRIPTOR_SIZE, (uint64_t)VHDX_PAGE), length = load_le32(entry + LENGTH);
	int error = data > length ? EIO : 0;
	for (uint64_t i = 0; i < count && !error; i++) {
		const uint8_t *d = entry + HEADER_SIZE + i * DESCRIPTOR_SIZE;
		if (load_le64(d + D_SEQUENCE) != sequence)
			return EIO;
		if (!memcmp(d, "zero", 4)) {
			error = apply_zeros(log, d);
		} else if (!memcmp(d, "desc", 4) && data + VHDX_PAGE <= length) {
			error = apply_data(log, d, entry + data, sequence);
			data += VHDX_PAGE;
		} else {
			return EIO;
		}
	}
	return error;
}

static int replay(struct log *log, uint32_t from, uint32_t last)
{
	log->effort = 2ull * log->place->length;
	for (uint32_t at = from;; at = next_of(log, at)) {
		cleanup_free uint8_t *entry = read_entry(log, at);
		if (!entry || (at == last && load_le64(entry + FLUSHED_SIZE) > log->vhdx->file_size))
			return EIO; /* cut off */
		int error = apply_entry(log, entry);
		if (error || at == last)
			return error;
	}
}

static int find_and_replay(struct log *log)
{
	uint64_t best = 0;
	uint32_t from = 0;
	for (uint32_t i = 0; i < log->count; i++)
		look_at(log, i);
	for (uint32_t i = 0; i < log->count; i++) {
		const struct slot *last = log->slots[i].sequence ? &log->slots[last_of(log, i)] : NULL;
		if (last && last->tail == (uint64_t)i * VHDX_PAGE && last->sequence > best) {
			best = last->sequence;
			from = i;
		}
	}
	return best ? replay(log, from, last_of(log, from)) : EIO;
}

int vhdx_replay(struct vhdx *vhdx, const struct vhdx_log_place *place, struct error *err)
{
	struct image *image = &vhdx->image;
	struct log log = { .vhdx = vhdx, .place = place };
	if (!place->length || place->length % VHDX_PAGE || place->length > VHDX_MAX_LOG || place->offset > vhdx->file_size ||
	    place->length > vhdx->file_size - place->offset)
		return error_set(err, EINVAL, "%s is damaged: the place of its log", image->file->path);
	cleanup_free uint8_t *ring = malloc(place->length);
	int error = ring ? hostfile_read(image->file, ring, place->length, place->offset) : ENOMEM;
	cleanup_free struct slot *slots = calloc(place->length / VHDX_PAGE, sizeof(*slots));
	log.ring = ring;
	log.slots = slots;
	log.count = place->length / VHDX_PAGE;
	log.effort = 4ull * place->length;
	if (!slots)
		error = ENOMEM;
	if (!error)
		error = find_and_replay(&log);
	vhdx->replayed = !error;
	if (error == EIO)
		return error_set(err, EIO, "%s was not closed, and its log is damaged; open it with Hyper-V's tools to mend it", image->file->path);
	return error ? error_set(err, error, "%s: cannot read its log: %s", image->file->path, strerror(error)) : 0;
}
