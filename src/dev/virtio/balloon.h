/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_VIRTIO_BALLOON_H
#define VISOR_DEV_VIRTIO_BALLOON_H

#include "bus/clock.h"
#include "dev/virtio/virtio.h"

/*
 * The traditional memory balloon (virtio 1.2, 5.5) with statistics, deflation when the guest is out of memory, and reporting of
 * free pages. What the guest gives away, in the balloon or by a report, goes back to the host at once, and reads as zeros when the guest
 * touches it again; it need not tell the host before it does.
 */
#define VIRTIO_BALLOON_PAGE 4096u

struct virtio_balloon_config {
	struct virtio_device_config device;
	struct vclock *clock;
};

struct virtio_balloon;

/* The object begins with its struct virtio_device. */
struct virtio_balloon *virtio_balloon_create(const struct virtio_balloon_config *config, struct error *err);

/* What the guest says of its memory (5.5.6.4), in bytes or counts; UINT64_MAX: it has not. */
enum virtio_balloon_stat {
	BALLOON_SWAP_IN, BALLOON_SWAP_OUT, BALLOON_MAJOR_FAULTS, BALLOON_MINOR_FAULTS, BALLOON_FREE, BALLOON_TOTAL, BALLOON_AVAILABLE,
	BALLOON_CACHES, BALLOON_HUGE_PAGES, BALLOON_HUGE_PAGE_FAILURES, BALLOON_STATS
};

struct virtio_balloon_state {
	bool driver;               /* the guest has one that is up */
	uint64_t wanted, actual;   /* bytes in the balloon: that the host asks for, that the guest has put there */
	uint64_t given_back;       /* bytes that went back to the host so far, by balloon or by report */
	uint64_t reported;         /* of them by report */
	uint64_t stats[BALLOON_STATS];
};

/* Any thread, without locks. bytes: how large the balloon shall be; it takes its time. */
void virtio_balloon_set(struct virtio_balloon *balloon, uint64_t bytes);
/* The state; asks the guest for new statistics, for the next time. */
void virtio_balloon_query(struct virtio_balloon *balloon, struct virtio_balloon_state *state);

static inline struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon)
{
	return (struct virtio_device *)balloon;
}

#endif
