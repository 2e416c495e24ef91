/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_FORMAT_H
#define VISOR_BLOCK_FORMAT_H

#include <pthread.h>

#include "base/util.h"
#include "block/block.h"
#include "block/hostfile.h"
#include "block/image.h"
#include "block/meta.h"

/*
 * What a format has to say: a map from the guest's offsets to places in
 * files. All else (images behind it, copy on write, iovecs, threads) is io.c's.
 *
 * Locks. Data moves with `use` held shared, so nothing that it uses can be freed or moved; whatever changes a map
 * or finds room holds it alone. `tables` guards the caches that a map is read from. map runs under both,
 * with `use` shared or alone; all other functions have the image alone.
 */
enum extent_kind {
	EXTENT_NONE,   /* not in this image */
	EXTENT_ZERO,
	EXTENT_DATA,   /* as it is, in `file` at `at` */
	EXTENT_PACKED, /* a compressed unit, which only the format can read */
};

struct extent {
	enum extent_kind kind;
	bool keep;             /* data that others use too: not to be written in place */
	bool fresh;            /* from place(): the file has zeros there */
	struct hostfile *file;
	uint64_t at;
	uint64_t length;       /* bytes */
};

struct image_ops {
	enum image_format format;
	size_t instance_size;  /* of the struct that begins with struct image */
	/* The file is in this format, by its first bytes (`size` of them) and its last 512. */
	bool (*probe)(const uint8_t *head, size_t size, const uint8_t *tail);
	/* The file is open; sets size, unit, physical_block, backing_name, backing_format. close is called also after a failure. */
	int (*open)(struct image *image, const struct image_config *config, struct error *err);
	void (*close)(struct image *image);
	/* The chain is complete: a last check against it. May be missing. */
	int (*chained)(struct image *image, struct error *err);

	/* What is at `offset`: extent->length at most `length`. */
	int (*map)(struct image *image, uint64_t offset, uint64_t length, struct extent *extent);
	/* Reads the whole unit at `offset`, which is EXTENT_PACKED. */
	int (*unpack)(struct image *image, uint64_t offset, void *unit);

	/* For formats that can be written. Ranges are whole units. `place` finds room for at least one unit; the data is
	 * written there, then `link` makes the map show it, or `unplace`
	 * gives back what the map does not show. Missing: all is always mapped. */
	int (*place)(struct image *image, uint64_t offset, uint64_t length, struct extent *place);
	int (*link)(struct image *image, uint64_t offset, const struct extent *place);
	void (*unplace)(struct image *image, uint64_t offset, const struct extent *place);
	/* The first *done bytes of the range, at least a unit, read as zeros without data (unmap: and need no space). ENOTSUP: not without
	 * writing them. May be missing. */
	int (*zero)(struct image *image, uint64_t offset, uint64_t length, bool unmap, uint64_t *done);
	/* Puts tables and data on stable storage. Missing: meta_sync, or hostfile_sync without meta. */
	int (*sync)(struct image *image);
	/* The same when no table has changed; any thread, no lock. Missing: hostfile_sync. */
	int (*sync_data)(struct image *image);
	int (*pack)(struct image *image, uint64_t offset, const void *unit);

	int (*clear)(struct image *image); /* makes all of it EXTENT_NONE; may be missing */
	int (*resize)(struct image *image, uint64_t size, struct error *err);
	int (*set_backing)(struct image *image, const char *path, const char *format, struct error *err);
	int (*check)(struct image *image, struct image_check *check, struct error *err);
	int (*info)(struct image *image, json_t *info); /* adds members; -1: out of memory */
	/* Fills in an empty new file of `create`; `backing` is open when there is one. May make more files beside it. */
	int (*create)(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err);
	/* Says that data can no longer be relied on; under the image alone. May be missing. */
	void (*broken)(struct image *image);
};

struct image {
	const struct image_ops *ops;
	struct hostfile *file;
	uint64_t size;           /* bytes, a multiple of BLOCK_SECTOR */
	uint32_t unit;           /* bytes, a power of two: what is newly mapped is mapped in whole */
	unsigned physical_block;
	bool read_only, guessed;
	bool in_place;           /* data has its place from the start: writes change no table */
	_Atomic bool changed;    /* since the last sync: something waits in memory; set and cleared under `use` alone */
	_Atomic bool is_broken;  /* its tables make no sense: no more writes */
	char *backing_name;      /* as the image has it */
	int backing_format;
	struct image *backing;
	struct meta *meta;
	pthread_rwlock_t use;
	pthread_mutex_t tables;
	pthread_mutex_t unpacking; /* of the one unit that was unpacked last */
	uint8_t *unpacked;
	uint64_t unpacked_offset;
};

/* What is read is in the order of its bytes; a new one is random. */
#define UUID_SIZE 16
void image_new_uuid(uint8_t uuid[UUID_SIZE]);
/* With dashes, as RFC 4122 writes it; `swapped`: the first three fields are little-endian. */
const char *image_uuid_text(const uint8_t uuid[UUID_SIZE], bool swapped, char room[40]);

/* A Windows path in UTF-16 as one of this system: in UTF-8, slashes the other way. The caller frees it; NULL: out of memory. */
char *image_windows_path(const uint8_t *p, unsigned bytes, bool big_endian);

extern const struct image_ops raw_ops, qcow2_ops, vdi_ops, vhd_ops, vmdk_ops, vhdx_ops;

/* An unmapped range may read as something else than zeros. */
static inline bool image_has_backing(const struct image *image)
{
	return image->backing || image->backing_name;
}

/* Logs what is wrong with the tables, once, and keeps the image from being written. Returns EIO. */
int image_broken(struct image *image, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* io.c; these are for callers that have the image alone, or are alone with it. */
int image_read_alone(struct image *image, void *data, uint64_t offset, uint64_t length);
int image_sync_alone(struct image *image);

/* image.c */
/* The format that a file's content shows; IMAGE_RAW when none. */
int image_probe(struct hostfile *file, const struct image_ops **ops, struct error *err);
bool image_looks_raw(const uint8_t *head, size_t size, const uint8_t *tail);
#define PROBE_SIZE 512u

#endif
