/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_COPY_H
#define VISOR_BLOCK_COPY_H

#include "block/image.h"

/* Work on whole images. `progress` is called now and then with bytes done and bytes in all; it may be NULL. */
struct image_progress {
	void (*call)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

/* Copies all that `from` reads as, or with `chain` false only what is in itself and not behind. `to` is as large or larger; where it
 * reads as zeros from the start (`empty`) zeros are left out. */
struct image_copy {
	bool chain, empty, compress;
};
int image_copy(struct image *from, struct image *to, const struct image_copy *how, const struct image_progress *progress,
	       struct error *err);

/* The same into a new image of from's size (create->size is not looked at), which is removed when that fails. */
int image_copy_new(struct image *from, const struct image_create *create, const struct image_copy *how, const struct image_progress *progress,
		   struct error *err);

/* 0, or an error; *differ is the first byte that is not the same, or UINT64_MAX. What one image has more must be zeros. */
int image_compare(struct image *a, struct image *b, uint64_t *differ, const struct image_progress *progress, struct error *err);

/* Copies into `image` what it would read differently with `backing` (NULL: nothing) behind it than it does now. */
int image_detach(struct image *image, struct image *backing, const struct image_progress *progress, struct error *err);

#endif
