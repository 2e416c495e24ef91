/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues: inflate, deflate, then those whose features were negotiated: statistics, free page hints (not offered), reports. The
 * specification gives reports number 4; Linux counts only the queues that are there. So all queues that no other
 * feature has taken take reports.
 *
 * The buffer of the statistics queue stays with the device, which gives it back when it wants new numbers: no buffer is held when the
 * device is reset or saved, since what it had to say was read at once. After a load the device asks again by giving back the last one,
 * of which the number alone is kept.
 */
#include "dev/virtio/balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define QUEUE_SIZE 128
#define QUEUE_COUNT 5
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_FIRST_OPTIONAL };

/* 5.5.3 */
#define F_STATS_VQ 1
#define F_DEFLATE_ON_OOM 2
#define F_REPORTING 5

#define STAT_SIZE 10u                /* tag[2] value[8] */
#define STATS_MAX (STAT_SIZE * 64)   /* bytes of a buffer that are looked at */
#define STATS_INTERVAL (5 * NS_PER_SEC)
#define PFNS_AT_ONCE 1024u

struct balloon_space { /* 5.5.4 */
	uint32_t num_pages, actual;
};

struct virtio_balloon {
	struct virtio_device virtio;
	struct dma dma;
	struct timer timer;
	struct balloon_space space;
	uint64_t stats[BALLOON_STATS];
	uint64_t given_back, reported;
	bool has_stats_buffer;
	uint16_t stats_head;
};

static struct virtio_balloon *balloon_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_balloon, virtio);
}

static bool is_stats_queue(const struct virtio_device *virtio, unsigned queue)
{
	return queue == QUEUE_FIRST_OPTIONAL && virtio_has_feature(virtio, F_STATS_VQ);
}

/* --- pages --- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = load_le32(a), y = load_le32(b);
	return x < y ? -1 : x > y;
}

/* Neighbours go together: a call to the host for each would take longer than the guest's own work. */
static void give_back(struct virtio_balloon *balloon, uint32_t *pfns, unsigned count)
{
	qsort(pfns, count, sizeof(*pfns), by_number);
	for (unsigned first = 0, end; first < count; first = end) {
		for (end = first + 1; end < count && pfns[end] - pfns[end - 1] <= 1; end++)
			;
		uint64_t size = (uint64_t)(pfns[end - 1] - pfns[first] + 1) * VIRTIO_BALLOON_PAGE;
		balloon->given_back += memory_discard(balloon->dma.memory, (uint64_t)pfns[first] * VIRTIO_BALLOON_PAGE, size);
	}
}

static bool inflate(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_balloon *balloon = balloon_of(virtio);
	uint32_t pfns[PFNS_AT_ONCE];
	uint64_t done = 0, n;
	/* A chain that says the same page over and over is cut off where it says more than there are. */
	uint64_t most = balloon->dma.memory->ram_size / VIRTIO_BALLOON_PAGE * sizeof(*pfns);
	while (done < most && (n = iov_read(element->iov, element->out_count, done, pfns, sizeof(pfns))) >= sizeof(*pfns)) {
		give_back(balloon, pfns, (unsigned)(n / sizeof(*pfns)));
		done += n;
	}
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

/* Pages are there again as soon as they are touched. */
static bool deflate(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

/* The buffers are the free pages themselves (5.5.6.7). */
static bool report(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_balloon *balloon = balloon_of(virtio);
	struct guest_memory *memory = balloon->dma.memory;
	for (unsigned i = 0; i < element->in_count && virtio_has_feature(virtio, F_REPORTING); i++) {
		const struct iovec *piece = &element->iov[element->out_count + i];
		uint64_t freed = memory_discard_at(memory, memory_offset(memory, piece->iov_base), piece->iov_len);
		balloon->given_back += freed;
		balloon->reported += freed;
	}
	virtio_push(virtio, queue, element, 0);
	virtio_signal(virtio, queue);
	return true;
}

/* --- statistics --- */

static void forget_stats(struct virtio_balloon *balloon)
{
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		balloon->stats[i] = UINT64_MAX;
}

/* Gives the buffer back: the driver fills it anew. */
static void ask_for_stats(struct virtio_balloon *balloon)
{
	struct virtio_device *virtio = &balloon->virtio;
	if (!balloon->has_stats_buffer || !virtio_ready(virtio))
		return;
	const struct virtqueue_element element = { .head = balloon->stats_head };
	balloon->has_stats_buffer = false;
	virtio->queue[QUEUE_FIRST_OPTIONAL].outstanding++;
	virtio_push(virtio, QUEUE_FIRST_OPTIONAL, &element, 0);
	virtio_signal(virtio, QUEUE_FIRST_OPTIONAL);
}

static bool take_stats(struct virtio_device *virtio, unsigned queue, struct virtqueue_element *element)
{
	struct virtio_balloon *balloon = balloon_of(virtio);
	uint8_t buffer[STATS_MAX];
	uint64_t size = iov_read(element->iov, element->out_count, 0, buffer, sizeof(buffer));
	ask_for_stats(balloon); /* a driver that gives a second one gets the first back */
	forget_stats(balloon);
	for (uint64_t at = 0; at + STAT_SIZE <= size; at += STAT_SIZE) {
		unsigned tag = load_le16(buffer + at);
		if (tag < BALLOON_STATS)
			balloon->stats[tag] = load_le64(buffer + at + 2);
	}
	balloon->has_stats_buffer = true;
	balloon->stats_head = element->head;
	virtio->queue[queue].outstanding--; /* its pieces are looked at no more */
	return true;
}

static void on_timer(void *opaque)
{
	struct virtio_balloon *balloon = opaque;
	ask_for_stats(balloon);
	timer_arm(&balloon->timer, vclock_now(balloon->timer.clock) + STATS_INTERVAL);
}

static void serve(struct virtio_device *virtio, unsigned queue)
{
	if (queue == QUEUE_INFLATE)
		virtio_serve_chains(virtio, queue, inflate);
	else if (queue == QUEUE_DEFLATE)
		virtio_serve_chains(virtio, queue, deflate);
	else if (is_stats_queue(virtio, queue))
		virtio_serve_chains(virtio, queue, take_stats);
	else
		virtio_serve_chains(virtio, queue, report);
	struct virtio_balloon *balloon = balloon_of(virtio);
	if (is_stats_queue(virtio, queue) && !timer_armed(&balloon->timer))
		timer_arm(&balloon->timer, vclock_now(balloon->timer.clock) + STATS_INTERVAL);
}

/* --- the balloon's size --- */

static void config_written(struct virtio_device *virtio, unsigned offset, uint64_t value, unsigned size)
{
	if (offset == offsetof(struct balloon_space, actual) && size == sizeof(uint32_t))
		balloon_of(virtio)->space.actual = (uint32_t)value;
}

void virtio_balloon_set(struct virtio_balloon *balloon, uint64_t bytes)
{
	lock_take(&balloon->virtio.lock);
	uint32_t pages = (uint32_t)MIN(bytes / VIRTIO_BALLOON_PAGE, (uint64_t)UINT32_MAX);
	if (pages != balloon->space.num_pages) {
		balloon->space.num_pages = pages;
		virtio_config_changed(&balloon->virtio);
	}
	lock_release(&balloon->virtio.lock);
}

void virtio_balloon_query(struct virtio_balloon *balloon, struct virtio_balloon_state *state)
{
	lock_take(&balloon->virtio.lock);
	*state = (struct virtio_balloon_state){
		.driver = balloon->virtio.status & VIRTIO_STATUS_DRIVER_OK,
		.wanted = (uint64_t)balloon->space.num_pages * VIRTIO_BALLOON_PAGE,
		.actual = (uint64_t)balloon->space.actual * VIRTIO_BALLOON_PAGE,
		.given_back = balloon->given_back, .reported = balloon->reported,
	};
	memcpy(state->stats, balloon->stats, sizeof(state->stats));
	ask_for_stats(balloon);
	lock_release(&balloon->virtio.lock);
}

/* --- the device --- */

/* What the host wants outlives the guest's driver. */
static void reset_balloon(struct virtio_device *virtio)
{
	struct virtio_balloon *balloon = balloon_of(virtio);
	timer_cancel(&balloon->timer);
	balloon->space.actual = 0;
	balloon->has_stats_buffer = false;
	forget_stats(balloon);
}

static const struct virtio_ops balloon_ops = { .serve = serve, .reset = reset_balloon, .config_written = config_written };

static const struct field space_fields[] = {
	FIELD_KEEP(struct balloon_space, num_pages),
	FIELD(struct balloon_space, actual),
	FIELD_END
};

static const struct field fields[] = {
	FIELD_STRUCT(struct virtio_balloon, virtio, virtio_device_fields),
	FIELD_STRUCT(struct virtio_balloon, space, space_fields),
	FIELD(struct virtio_balloon, has_stats_buffer),
	FIELD(struct virtio_balloon, stats_head),
	FIELD_END
};

static int loaded(void *device, struct error *err)
{
	struct virtio_balloon *balloon = device;
	if (virtio_device_loaded(device, err) < 0)
		return -1;
	forget_stats(balloon);
	if (balloon->has_stats_buffer && is_stats_queue(&balloon->virtio, QUEUE_FIRST_OPTIONAL))
		timer_arm(&balloon->timer, vclock_now(balloon->timer.clock) + STATS_INTERVAL);
	else
		balloon->has_stats_buffer = false;
	return 0;
}

static void destroy(void *device)
{
	struct virtio_balloon *balloon = device;
	timer_cancel(&balloon->timer);
	virtio_device_destroy(&balloon->virtio);
	free(balloon);
}

static const struct device_type virtio_balloon_type = {
	.name = "virtio-balloon",
	.fields = fields,
	.reset = virtio_device_reset,
	.saving = virtio_device_saving,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_balloon *virtio_balloon_create(const struct virtio_balloon_config *config, struct error *err)
{
	struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));
	if (!balloon) {
		error_set(err, ENOMEM, "out of memory for %s", config->device.name);
		return NULL;
	}
	balloon->dma = config->device.dma;
	balloon->virtio.ops = &balloon_ops;
	balloon->virtio.type = VIRTIO_TYPE_BALLOON;
	balloon->virtio.class_code = 0x00ff00;
	balloon->virtio.queue_count = QUEUE_COUNT;
	balloon->virtio.config = (const uint8_t *)&balloon->space;
	balloon->virtio.config_size = sizeof(balloon->space);
	balloon->virtio.offered = BIT64(F_STATS_VQ) | BIT64(F_DEFLATE_ON_OOM) | BIT64(F_REPORTING);
	virtio_device_init(&balloon->virtio, &virtio_balloon_type, &config->device, QUEUE_SIZE);
	timer_init(&balloon->timer, config->clock, &balloon->virtio.lock, on_timer, balloon);
	forget_stats(balloon);
	return balloon;
}
