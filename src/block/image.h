/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_IMAGE_H
#define VISOR_BLOCK_IMAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

/*
 * A disk image with the images behind it. Functions that transfer data return 0
 * or an errno value, wait until it is done, and may be called from any thread; offsets and lengths are
 * bytes, multiples of 512 and inside the image. Data is safe over a crash of the host after image_flush.
 */
struct image;

enum image_format { IMAGE_RAW, IMAGE_QCOW2, IMAGE_VDI, IMAGE_VHD, IMAGE_VMDK, IMAGE_VHDX, IMAGE_FORMATS };

/* "raw", "qcow2"...; NULL at the end. */
extern const char *const image_format_names[];
/* By name, also by those that other programs use ("vpc"). -1 and an error when there is none. */
int image_format_by_name(const char *name, struct error *err);

#define IMAGE_BY_CONTENT (-1)

struct image_config {
	const char *path;
	int format;             /* enum image_format or IMAGE_BY_CONTENT */
	bool read_only;
	bool unlocked;          /* read-only although another program may be writing it: only what the header says is right */
	bool shared;            /* others write it, too: those who say the same; for images without tables that change (raw, fixed VHD) */
	bool alone;             /* without the image behind it, which then reads as zeros: to look at one file only */
	bool repair;            /* open it for writing although its tables are known to be damaged */
	const char *backing;    /* the image behind it, instead of the one that it names; may be NULL */
	const char *snapshot;   /* the state of an internal snapshot, by name or id, read-only; may be NULL */
};

/* NULL: the error says what is wrong. */
struct image *image_open(const struct image_config *config, struct error *err);
/* Flushes; 0 or an errno value when that failed. NULL is no image. */
int image_close(struct image *image);
/* The same behind work that ended with `rc` (negative: err is set, and stays): rc, or an error that names the file when closing failed. */
int image_finish(struct image *image, int rc, struct error *err);

const char *image_path(const struct image *image);
enum image_format image_format(const struct image *image);
uint64_t image_size(const struct image *image);
bool image_read_only(const struct image *image);
/* Nobody said that it is raw, it only looks like nothing else. Then writes that would make it look like something else
 * fail with EPERM: the next one to open it would follow what a guest wrote, as the names of other files. */
bool image_guessed(const struct image *image);
/* Among those who share it, as hostfile_reserve; 0 when nobody does. */
int image_reserve(struct image *image, bool on);
bool image_reserved(struct image *image);
/* The one behind it or NULL. */
struct image *image_backing(struct image *image);
unsigned image_physical_block(const struct image *image);

int image_readv(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length);
int image_writev(struct image *image, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length);
int image_read(struct image *image, void *data, uint64_t offset, uint64_t length);
int image_write(struct image *image, const void *data, uint64_t offset, uint64_t length);
/* The range reads as zeros; with `unmap` space is given back. */
int image_zero(struct image *image, uint64_t offset, uint64_t length, bool unmap);
int image_discard(struct image *image, uint64_t offset, uint64_t length);
int image_flush(struct image *image);
/* The descriptor of a file that has this range at the same offset, and may be read or written there; -1: there is none. */
int image_direct(struct image *image, bool write, uint64_t offset, uint64_t length);
/* hostfile_for_guest; what that says of holes, and hostfile_ahead, where image_direct gives a descriptor. */
void image_for_guest(struct image *image);
bool image_sparse(const struct image *image);
bool image_is_hole(struct image *image, uint64_t offset, uint64_t length);
void image_ahead(struct image *image, uint64_t offset, uint64_t length);

enum image_content {
	IMAGE_BEHIND, /* not in this image: in the ones behind it, or zeros */
	IMAGE_ZEROS,
	IMAGE_DATA,
};
/* What `image` itself holds at `offset` (chain: the image with all behind it; never IMAGE_BEHIND then), and for how many bytes
 * that is so, at most *length. */
int image_content(struct image *image, uint64_t offset, bool chain, enum image_content *content, uint64_t *length);

/* A whole unit (image_unit bytes, at a multiple of it) in compressed form, into one that was never written: ENOTSUP when the format cannot. */
int image_write_compressed(struct image *image, const void *data, uint64_t offset);
uint32_t image_unit(const struct image *image);

/* Changes the size that the guest sees. What is cut off is lost. */
int image_resize(struct image *image, uint64_t size, struct error *err);

/* Names another image (NULL: none) as the one behind; does not change or compare any data. */
int image_set_backing(struct image *image, const char *path, const char *format, struct error *err);
/* Takes all data out of an image that has another behind it, so that it reads like that one. ENOTSUP when the format cannot. */
int image_empty(struct image *image);

/* `name` as seen from the folder of the file at `base`. NULL: out of memory. The caller frees it. */
char *image_relative(const char *base, const char *name);

/* Everything that is known about it, without the images behind. NULL: out of memory. */
json_t *image_info(struct image *image);

struct image_check {
	bool repair;                      /* in: mend what can be mended */
	/* Called for each finding; may be NULL. */
	void (*report)(void *opaque, const char *text);
	void *opaque;
	uint64_t errors, leaks;           /* out: clusters that are wrong, or lost but harmless; after repair what is left */
	uint64_t errors_fixed, leaks_fixed;
	uint64_t allocated, compressed;   /* bytes */
};
/* -1: the check itself failed, or the format has nothing to check (code ENOTSUP). */
int image_check(struct image *image, struct image_check *check, struct error *err);

struct image_create {
	const char *path;
	enum image_format format;
	uint64_t size;              /* 0 with a backing image: its size */
	const char *backing;        /* as it is to be written down: relative to the new image's folder; may be NULL */
	const char *backing_format; /* NULL: that of the file, by its content */
	bool fixed;                 /* VDI, VHD, VMDK: with all space from the start */
	uint32_t cluster_size;      /* 0: the format's usual one */
	unsigned version;           /* qcow2: 2 or 3; 0: 3 */
	bool zstd;                  /* qcow2: compressed clusters are zstd's */
	bool lazy_refcounts;        /* qcow2 */
};
/* Makes a new file, and removes it when that fails. */
int image_create(const struct image_create *create, struct error *err);

#endif
