/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "vm/unpack_lz4.h"

#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"
#include "host/thread.h"

#define BLOCK_SIZE ((size_t)8 << 20) /* unpacked, of all but the last */

struct block {
	const uint8_t *data;
	uint32_t size; /* packed */
};

struct frame {
	uint64_t total;
	unpack_sink *sink;
	void *opaque;
	unsigned count;
	struct block *blocks;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t begun;
	unsigned next;
	bool first_is_out, failed;
	struct error *err;
};

static int find_blocks(struct frame *frame, const struct boot_image *packed, struct error *err)
{
	uint64_t at = 4; /* behind the magic number */
	frame->count = (unsigned)((frame->total + BLOCK_SIZE - 1) / BLOCK_SIZE);
	frame->blocks = calloc(frame->count, sizeof(*frame->blocks));
	if (!frame->blocks)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < frame->count; i++) {
		if (packed->size - at < 4)
			return unpack_damaged("LZ4", "it is shorter than its end says", err);
		uint32_t size = load_le32(packed->data + at);
		at += 4;
		if (size > packed->size - at || size > LZ4_COMPRESSBOUND(BLOCK_SIZE))
			return unpack_damaged("LZ4", "a block is longer than there is room for", err);
		frame->blocks[i] = (struct block){ packed->data + at, size };
		at += size;
	}
	return at == packed->size ? 0 : unpack_damaged("LZ4", "it is longer than its end says", err);
}

/* The next block's number, or `count`: there is none left, or the frame is damaged. */
static unsigned take_block(struct frame *frame)
{
	pthread_mutex_lock(&frame->mutex);
	unsigned block = frame->failed || frame->next == frame->count ? frame->count : frame->next++;
	pthread_mutex_unlock(&frame->mutex);
	return block;
}

/* The sink wants the first block before all others. False: it is not going to have it. */
static bool await_first(struct frame *frame)
{
	pthread_mutex_lock(&frame->mutex);
	while (!frame->first_is_out && !frame->failed)
		pthread_cond_wait(&frame->begun, &frame->mutex);
	bool failed = frame->failed;
	pthread_mutex_unlock(&frame->mutex);
	return !failed;
}

static void end_block(struct frame *frame, unsigned number, int rc, const struct error *err)
{
	pthread_mutex_lock(&frame->mutex);
	if (rc < 0 && !frame->failed) {
		frame->failed = true;
		*frame->err = *err;
	}
	frame->first_is_out |= number == 0;
	pthread_cond_broadcast(&frame->begun);
	pthread_mutex_unlock(&frame->mutex);
}

static int put_block(struct frame *frame, unsigned number, uint8_t *room, struct error *err)
{
	const struct block *block = &frame->blocks[number];
	uint64_t offset = (uint64_t)number * BLOCK_SIZE, size = MIN(frame->total - offset, BLOCK_SIZE);
	int n = LZ4_decompress_safe((const char *)block->data, (char *)room, (int)block->size, (int)size);
	if (n < 0 || (uint64_t)n != size)
		return unpack_damaged("LZ4", n < 0 ? "a block cannot be read" : "it is shorter than its end says", err);
	if (number && !await_first(frame))
		return 0;
	return frame->sink(frame->opaque, offset, room, size, err);
}

static void *put_blocks(void *opaque)
{
	struct frame *frame = opaque;
	uint8_t *room = mmap(NULL, BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room != MAP_FAILED)
		madvise(room, BLOCK_SIZE, MADV_HUGEPAGE); /* all of it is about to be touched: 2048 page faults would take milliseconds */
	for (unsigned i; (i = take_block(frame)) < frame->count;) {
		struct error err;
		int rc = room == MAP_FAILED ? error_set(&err, ENOMEM, "out of memory") : put_block(frame, i, room, &err);
		end_block(frame, i, rc, &err);
	}
	if (room != MAP_FAILED)
		munmap(room, BLOCK_SIZE);
	return NULL;
}

int unpack_lz4(const struct boot_image *packed, uint64_t total, unpack_sink *sink, void *opaque, struct error *err)
{
	struct frame frame = { .total = total, .sink = sink, .opaque = opaque, .err = err };
	pthread_t second;
	int rc = find_blocks(&frame, packed, err);
	if (rc == 0) {
		pthread_mutex_init(&frame.mutex, NULL);
		pthread_cond_init(&frame.begun, NULL);
		bool two = frame.count > 1 && host_thread_start(&second, "load", put_blocks, &frame, NULL) == 0;
		put_blocks(&frame);
		if (two)
			pthread_join(second, NULL);
		pthread_cond_destroy(&frame.begun);
		pthread_mutex_destroy(&frame.mutex);
		rc = frame.failed ? -1 : 0;
	}
	free(frame.blocks);
	return rc;
}
