/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For systems without liburing.
 */
#include "block/ring.h"

#include <stddef.h>

struct block_ring *block_ring_create(block_ring_done *done, void *opaque)
{
	return NULL;
}

bool block_ring_submit(struct block_ring *ring, struct block_request *request, int fd)
{
	return false;
}

void block_ring_destroy(struct block_ring *ring)
{
}
