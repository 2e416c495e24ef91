/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BLOCK_RING_H
#define VISOR_BLOCK_RING_H

#include <stdbool.h>

#include "block/block.h"

/* Requests to a file descriptor by io_uring: the kernel does them without a thread of ours where it can. */
struct block_ring;

/* `result`: bytes, or a negative errno value; on the ring's own thread. */
typedef void block_ring_done(void *opaque, struct block_request *request, int result);

/* NULL: this kernel, or its configuration, has none; or the program was built without. */
struct block_ring *block_ring_create(block_ring_done *done, void *opaque);
/* Reads or writes request's data at request->offset of the file. False: it was not taken. Any thread. */
bool block_ring_submit(struct block_ring *ring, struct block_request *request, int fd);
/* When nothing is under way. */
void block_ring_destroy(struct block_ring *ring);

#endif
