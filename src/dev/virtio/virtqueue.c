/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Order of memory accesses. The host is x86: its loads are not reordered with
 * loads nor its stores with stores, so acquire and release, which bind the
 * compiler, are enough between an index and what it publishes. A store followed
 * by a load of what the other side stores (used index, then event index) needs a
 * full barrier.
 */
#include "dev/virtio/virtqueue.h"

#include <string.h>

#include "base/util.h"

/* struct virtq_desc, 2.7.5. */
#define DESC_SIZE 16u
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define DESC_F_INDIRECT 4

/* struct virtq_avail and virtq_used, 2.7.6 and 2.7.8; offsets of members. */
#define RING_FLAGS 0
#define RING_INDEX 2
#define RING_ENTRIES 4
#define AVAIL_F_NO_INTERRUPT 1
#define USED_F_NO_NOTIFY 1
#define USED_ENTRY_SIZE 8u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* A descriptor table: the queue's own, or an indirect one. */
struct table {
	const uint8_t *host;
	unsigned count;
	bool indirect;
};

const struct field virtqueue_fields[] = {
	FIELD(struct virtqueue, size),
	FIELD(struct virtqueue, enabled),
	FIELD(struct virtqueue, desc),
	FIELD(struct virtqueue, avail),
	FIELD(struct virtqueue, used),
	FIELD(struct virtqueue, next_avail),
	FIELD(struct virtqueue, next_used),
	FIELD(struct virtqueue, signalled),
	FIELD(struct virtqueue, signalled_valid),
	FIELD(struct virtqueue, broken),
	FIELD_END
};

static uint16_t ring_load(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)at, __ATOMIC_ACQUIRE);
}

static void ring_store(struct virtqueue *queue, uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)at, value, __ATOMIC_RELEASE);
	dma_wrote(&queue->dma, at, sizeof(value));
}

/* The event fields follow the rings' entries (2.7.7, 2.7.10). */
static const uint8_t *used_event(const struct virtqueue *queue)
{
	return queue->avail_host + RING_ENTRIES + 2u * queue->size;
}

static uint8_t *avail_event(const struct virtqueue *queue)
{
	return queue->used_host + RING_ENTRIES + USED_ENTRY_SIZE * queue->size;
}

static enum virtqueue_status break_queue(struct virtqueue *queue, const char *reason)
{
	queue->broken = true;
	queue->reason = reason;
	return VIRTQUEUE_BROKEN;
}

void virtqueue_reset(struct virtqueue *queue)
{
	fields_reset(virtqueue_fields, queue);
	queue->size = queue->max_size;
	queue->desc_host = queue->avail_host = queue->used_host = NULL;
	queue->reason = NULL;
	queue->outstanding = 0;
}

bool virtqueue_enable(struct virtqueue *queue)
{
	queue->enabled = true;
	uint64_t size = queue->size;
	if (!size || size > queue->max_size || size & (size - 1)) {
		break_queue(queue, "queue size is not a power of two within the limit");
		return false;
	}
	if (queue->desc % 16 || queue->avail % 2 || queue->used % 4) {
		break_queue(queue, "ring address is not aligned");
		return false;
	}
	queue->desc_host = dma_map(&queue->dma, queue->desc, DESC_SIZE * size, false);
	queue->avail_host = dma_map(&queue->dma, queue->avail, RING_ENTRIES + 2 * size + 2, false);
	queue->used_host = dma_map(&queue->dma, queue->used, RING_ENTRIES + USED_ENTRY_SIZE * size + 2, true);
	if (!queue->desc_host || !queue->avail_host || !queue->used_host)
		break_queue(queue, "ring lies outside of RAM");
	return !queue->broken;
}

/* One copy; the guest may change the original at any time. Tables of the queue are aligned, indirect ones need not be. */
static struct desc table_load(const struct table *table, unsigned index)
{
	uint8_t copy[DESC_SIZE];
	memcpy(copy, table->host + DESC_SIZE * index, DESC_SIZE);
	__asm__ volatile("" : "+m"(copy));
	return (struct desc){ load_le64(copy), load_le32(copy + 8), load_le16(copy + 12), load_le16(copy + 14) };
}

static const char *enter_indirect(struct virtqueue *queue, const struct desc *desc, struct table *table)
{
	if (!queue->indirect)
		return "indirect descriptor without the feature";
	if (table->indirect)
		return "indirect descriptor in an indirect table";
	if (desc->flags & DESC_F_NEXT)
		return "indirect descriptor with a next one";
	if (!desc->len || desc->len % DESC_SIZE || desc->len / DESC_SIZE > 65536)
		return "indirect table of a wrong length";
	*table = (struct table){
		.host = dma_map(&queue->dma, desc->addr, desc->len, false),
		.count = desc->len / DESC_SIZE,
		.indirect = true,
	};
	return table->host ? NULL : "indirect table outside of RAM";
}

/* An empty buffer is not forbidden and adds nothing. */
static const char *add_buffer(struct virtqueue *queue, const struct desc *desc, struct virtqueue_element *element)
{
	bool writable = desc->flags & DESC_F_WRITE;
	unsigned count = element->out_count + element->in_count;
	if (!writable && element->in_count)
		return "readable buffer after a writable one";
	if (!desc->len)
		return NULL;
	if (count == VIRTQUEUE_MAX_SEGMENTS)
		return "descriptor chain too long";
	if (element->out_size + element->in_size + desc->len > UINT32_MAX)
		return "descriptor chain of over 4 GiB";
	void *host = dma_map(&queue->dma, desc->addr, desc->len, writable);
	if (!host)
		return "buffer outside of RAM";
	element->iov[count] = (struct iovec){ host, desc->len };
	*(writable ? &element->in_count : &element->out_count) += 1;
	*(writable ? &element->in_size : &element->out_size) += desc->len;
	return NULL;
}

/* A chain visits each descriptor of its table at most once: more steps than that are a loop. */
static const char *walk_chain(struct virtqueue *queue, struct virtqueue_element *element)
{
	struct table table = { queue->desc_host, queue->size, false };
	unsigned index = element->head;
	for (unsigned steps = 0;; steps++) {
		if (index >= table.count)
			return "descriptor index out of range";
		if (steps >= table.count)
			return "loop in a descriptor chain";
		struct desc desc = table_load(&table, index);
		if (desc.flags & DESC_F_INDIRECT) {
			const char *reason = enter_indirect(queue, &desc, &table);
			if (reason)
				return reason;
			steps = UINT32_MAX; /* counts anew in the new table */
			index = 0;
			continue;
		}
		const char *reason = add_buffer(queue, &desc, element);
		if (reason)
			return reason;
		if (!(desc.flags & DESC_F_NEXT))
			return NULL;
		index = desc.next;
	}
}

enum virtqueue_status virtqueue_pop(struct virtqueue *queue, struct virtqueue_element *element, struct iovec *iov)
{
	if (queue->broken)
		return VIRTQUEUE_BROKEN;
	if (!queue->enabled)
		return VIRTQUEUE_EMPTY;
	uint16_t waiting = (uint16_t)(ring_load(queue->avail_host + RING_INDEX) - queue->next_avail);
	if (!waiting)
		return VIRTQUEUE_EMPTY;
	if (waiting > queue->size)
		return break_queue(queue, "available index jumped");
	/* Each chain takes a descriptor of the table at least; the same one published again and again would pile up
	 * requests without end. */
	if (queue->outstanding >= queue->size)
		return break_queue(queue, "more chains in use than descriptors");
	unsigned slot = queue->next_avail & (queue->size - 1u);
	*element = (struct virtqueue_element){
		.head = ring_load(queue->avail_host + RING_ENTRIES + 2 * slot),
		.iov = iov,
	};
	const char *reason = walk_chain(queue, element);
	if (reason)
		return break_queue(queue, reason);
	queue->next_avail++;
	queue->outstanding++;
	return VIRTQUEUE_ELEMENT;
}

void virtqueue_unpop(struct virtqueue *queue)
{
	queue->next_avail--;
	queue->outstanding--;
}

void virtqueue_put(struct virtqueue *queue, const struct virtqueue_element *element, uint32_t written, unsigned ahead)
{
	queue->outstanding--;
	/* All of it: a request that failed half-way has written, too. */
	for (unsigned i = 0; i < element->in_count; i++) {
		const struct iovec *piece = &element->iov[element->out_count + i];
		dma_wrote(&queue->dma, piece->iov_base, piece->iov_len);
	}
	if (!queue->enabled || queue->broken)
		return;
	unsigned slot = (queue->next_used + ahead) & (queue->size - 1u);
	uint8_t *entry = queue->used_host + RING_ENTRIES + USED_ENTRY_SIZE * slot;
	uint32_t values[2] = { element->head, written };
	memcpy(entry, values, sizeof(values));
	dma_wrote(&queue->dma, entry, sizeof(values));
}

void virtqueue_publish(struct virtqueue *queue, unsigned count)
{
	if (!queue->enabled || queue->broken)
		return;
	queue->next_used = (uint16_t)(queue->next_used + count);
	ring_store(queue, queue->used_host + RING_INDEX, queue->next_used);
}

void virtqueue_push(struct virtqueue *queue, const struct virtqueue_element *element, uint32_t written)
{
	virtqueue_put(queue, element, written, 0);
	virtqueue_publish(queue, 1);
}

bool virtqueue_should_interrupt(struct virtqueue *queue)
{
	if (!queue->enabled || queue->broken)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_index)
		return !(ring_load(queue->avail_host + RING_FLAGS) & AVAIL_F_NO_INTERRUPT);
	uint16_t old = queue->signalled, now = queue->next_used;
	bool valid = queue->signalled_valid;
	queue->signalled = now;
	queue->signalled_valid = true;
	/* The event lies in (old, now], in 16-bit arithmetic (2.7.7.2). */
	uint16_t event = ring_load(used_event(queue));
	return !valid || (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

void virtqueue_hush(struct virtqueue *queue)
{
	if (queue->enabled && !queue->broken && !queue->event_index)
		ring_store(queue, queue->used_host + RING_FLAGS, USED_F_NO_NOTIFY);
}

bool virtqueue_ask(struct virtqueue *queue)
{
	if (!queue->enabled || queue->broken)
		return false;
	if (queue->event_index)
		ring_store(queue, avail_event(queue), queue->next_avail);
	else
		ring_store(queue, queue->used_host + RING_FLAGS, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring_load(queue->avail_host + RING_INDEX) != queue->next_avail;
}

/* The piece and the place in it where `skip` ends; the count of pieces when past the end. */
static unsigned iov_seek(const struct iovec *iov, unsigned count, uint64_t *skip)
{
	unsigned i = 0;
	while (i < count && *skip >= iov[i].iov_len)
		*skip -= iov[i++].iov_len;
	return i;
}

uint64_t iov_read(const struct iovec *iov, unsigned count, uint64_t skip, void *buffer, uint64_t size)
{
	uint64_t done = 0;
	for (unsigned i = iov_seek(iov, count, &skip); i < count && done < size; i++, skip = 0) {
		uint64_t length = MIN(size - done, iov[i].iov_len - skip);
		memcpy((char *)buffer + done, (const char *)iov[i].iov_base + skip, length);
		done += length;
	}
	return done;
}

uint64_t iov_write(const struct iovec *iov, unsigned count, uint64_t skip, const void *buffer, uint64_t size)
{
	uint64_t done = 0;
	for (unsigned i = iov_seek(iov, count, &skip); i < count && done < size; i++, skip = 0) {
		uint64_t length = MIN(size - done, iov[i].iov_len - skip);
		memcpy((char *)iov[i].iov_base + skip, (const char *)buffer + done, length);
		done += length;
	}
	return done;
}
